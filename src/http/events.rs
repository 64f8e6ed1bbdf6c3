//! `GET /api/v1/events`: the status as server-sent events, at most twice a second and only when it changed.
//! Each listener takes its own snapshots, which are a few indexed queries; the connection limit bounds how many there are.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::Stream;

use super::Shared;
use super::status::{Status, snapshot};

/// At most two events a second.
const INTERVAL_MS: u64 = 500;
/// An unchanged status is repeated after this many looks, so that a listener knows the server is there.
const REPEAT_AFTER_LOOKS: u32 = 30;

/// Live status.
#[utoipa::path(get, path = "/api/v1/events", tag = "operation", responses((status = 200, description = "Server-sent events named `status`, each with the JSON of /api/v1/status", content_type = "text/event-stream")))]
pub(super) async fn get_events(State(app): State<Shared>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let stream = futures::stream::unfold((app, None), |(app, last)| async move {
        let stop = app.stop.clone();
        let (event, status) = stop.run_until_cancelled(next_change(&app, last)).await?;
        Some((Ok(event), (app, Some(status))))
    });
    Sse::new(stream).keep_alive(KeepAlive::default())
}

/// Waits until the status differs from the last one sent.
async fn next_change(app: &Shared, last: Option<Status>) -> (Event, Status) {
    let mut looks = 0;
    loop {
        if last.is_some() {
            tokio::time::sleep(Duration::from_millis(INTERVAL_MS)).await;
        }
        looks += 1;
        let Ok(status) = snapshot(app).await else {
            tokio::time::sleep(Duration::from_millis(INTERVAL_MS)).await;
            continue;
        };
        if last.as_ref() != Some(&status) || looks >= REPEAT_AFTER_LOOKS {
            let event = Event::default().event("status").json_data(&status).unwrap_or_default();
            return (event, status);
        }
    }
}
