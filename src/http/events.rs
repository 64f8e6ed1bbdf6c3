//! `GET /api/v1/events`: the status as server-sent events, at most twice a second and only when it changed.
//! However many listen, one snapshot is taken per interval; without listeners none.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::Stream;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::Shared;
use super::status::{Status, snapshot};

/// At most two events a second.
const INTERVAL_MS: u64 = 500;
/// An unchanged status is repeated after this many looks, so that a listener knows the server is there.
const REPEAT_AFTER_LOOKS: u32 = 30;

/// The last snapshot, for all who listen.
#[derive(Default)]
pub(super) struct LastStatus {
    taken: Mutex<Option<(Instant, Status)>>,
}

impl LastStatus {
    /// The status, at most one interval old. Who comes while another takes it waits for that one's.
    async fn get(&self, app: &Shared) -> Option<Status> {
        let mut taken = self.taken.lock().await;
        if let Some((when, status)) = &*taken
            && when.elapsed() < Duration::from_millis(INTERVAL_MS)
        {
            return Some(status.clone());
        }
        let status = snapshot(app).await.ok()?;
        *taken = Some((Instant::now(), status.clone()));
        Some(status)
    }
}

/// Live status.
#[utoipa::path(get, path = "/api/v1/events", tag = "operation", responses((status = 200, description = "Server-sent events named `status`, each with the JSON of /api/v1/status", content_type = "text/event-stream")))]
pub(super) async fn get_events(
    State(app): State<Shared>,
    axum::Extension(last): axum::Extension<std::sync::Arc<LastStatus>>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let stream = futures::stream::unfold((app, last, None), |(app, last, sent)| async move {
        let stop = app.stop.clone();
        let (event, status) = stop.run_until_cancelled(next_change(&app, &last, sent)).await?;
        Some((Ok(event), (app, last, Some(status))))
    });
    Sse::new(stream).keep_alive(KeepAlive::default())
}

/// Waits until the status differs from the one sent last.
async fn next_change(app: &Shared, last: &LastStatus, sent: Option<Status>) -> (Event, Status) {
    let mut looks = 0;
    loop {
        if sent.is_some() || looks > 0 {
            tokio::time::sleep(Duration::from_millis(INTERVAL_MS)).await;
        }
        looks += 1;
        let Some(status) = last.get(app).await else { continue };
        if sent.as_ref() != Some(&status) || looks >= REPEAT_AFTER_LOOKS {
            let event = Event::default().event("status").json_data(&status).unwrap_or_default();
            return (event, status);
        }
    }
}
