//! `GET /api/v1/events`: the status as server-sent events, at most twice a second and only when it changed.
//! However many listen, one snapshot is taken per interval; without listeners none. Only so many may listen, and no client
//! takes all of their places.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::Stream;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::SharedApp;
use super::access::Caller;
use super::connections::{Clients, PlaceOfClient};
use super::error::{Problem, ProblemCode};
use super::status::{Status, snapshot};

/// At most two events a second.
const INTERVAL_MS: u64 = 500;
/// An unchanged status is repeated after this many looks, so that a listener knows the server is there.
const REPEAT_AFTER_LOOKS: u32 = 30;

/// All who listen: how many more may, and the last snapshot.
pub(super) struct Listeners {
    places: Arc<Semaphore>,
    clients: Arc<Clients>,
    last: Mutex<Option<(Instant, Status)>>,
}

/// A listener's place, given back when dropped.
type Place = (PlaceOfClient, OwnedSemaphorePermit);

impl Listeners {
    pub(super) fn new(app: &SharedApp) -> Self {
        let places_max = app.config.server.event_streams_max;
        Self {
            places: Arc::new(Semaphore::new(places_max)),
            clients: Clients::new(places_max, Vec::new(), app.metrics.event_streams.clone()),
            last: Mutex::default(),
        }
    }

    fn admit(&self, client: IpAddr) -> Result<Place, Problem> {
        let place = self.clients.admit(client, self.places.available_permits());
        let place =
            place.and_then(|place| Some((place, self.places.clone().try_acquire_owned().ok()?)));
        place.ok_or_else(|| {
            Problem::new(
                ProblemCode::Overloaded,
                "Too many are listening already. Ask /api/v1/status now and then instead.",
            )
        })
    }

    /// The status, at most one interval old. Who comes while another takes it waits for that one's.
    async fn status(&self, app: &SharedApp) -> Option<Status> {
        let mut last = self.last.lock().await;
        if let Some((when, status)) = &*last
            && when.elapsed() < Duration::from_millis(INTERVAL_MS)
        {
            return Some(status.clone());
        }
        let status = snapshot(app).await.ok()?;
        *last = Some((Instant::now(), status.clone()));
        Some(status)
    }
}

/// Follow the status.
///
/// Server-sent events named `status`, each with the JSON of `/api/v1/status`: one at once, then one whenever it changes, at most
/// two a second. Only `server.event_streams_max` clients may listen at once.
#[utoipa::path(
    get, path = "/api/v1/events", tag = "operation",
    responses((status = 200, description = "Server-sent events named `status`, each with the JSON of /api/v1/status.", content_type = "text/event-stream"))
)]
pub(super) async fn get_events(
    State(app): State<SharedApp>,
    Extension(listeners): Extension<Arc<Listeners>>,
    Extension(caller): Extension<Caller>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let place = listeners.admit(caller.address)?;
    let beginning = (app, listeners, place, None);
    let stream = futures::stream::unfold(beginning, |(app, listeners, place, sent)| async move {
        let stop = app.stop.clone();
        let change = stop.run_until_cancelled(next_change(&app, &listeners, sent));
        let (event, status) = change.await?;
        Some((Ok(event), (app, listeners, place, Some(status))))
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::default()))
}

/// Waits until the status differs from the one sent last.
async fn next_change(
    app: &SharedApp,
    listeners: &Listeners,
    sent: Option<Status>,
) -> (Event, Status) {
    let mut looks = 0;
    loop {
        if sent.is_some() || looks > 0 {
            tokio::time::sleep(Duration::from_millis(INTERVAL_MS)).await;
        }
        looks += 1;
        let Some(status) = listeners.status(app).await else { continue };
        if sent.as_ref() != Some(&status) || looks >= REPEAT_AFTER_LOOKS {
            let event = Event::default().event("status").json_data(&status).unwrap_or_default();
            return (event, status);
        }
    }
}
