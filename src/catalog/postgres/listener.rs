//! What other processes say through LISTEN and NOTIFY. It is a hint and no more: what is missed while the connection is away is
//! found a little later anyway, by whoever looks regularly.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use tokio::task::AbortHandle;

use super::{Hint, Hints};
use crate::catalog::hints::Announcer;

/// The one channel, with the word of the hint behind it.
const CHANNEL: &str = "image_search";
pub(super) const TELL: &str = "SELECT pg_notify('image_search', $1)";
/// After the connection broke.
const PAUSE: Duration = Duration::from_secs(1);

/// Listens on a connection of its own until it is stopped.
pub(super) struct Listener {
    hints: Hints,
    task: AbortHandle,
}

impl Listener {
    pub(super) fn start(connect: PgConnectOptions) -> Self {
        let (announcer, hints) = Announcer::new();
        let task = tokio::spawn(async move {
            loop {
                if let Err(error) = listen(&connect, &announcer).await {
                    tracing::debug!(%error, "no news from other processes for now");
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
        Self { hints, task: task.abort_handle() }
    }

    /// What is told from now on.
    pub(super) fn hints(&self) -> Hints {
        let mut hints = self.hints.clone();
        hints.work.mark_unchanged();
        hints.model.mark_unchanged();
        hints
    }

    pub(super) fn stop(&self) {
        self.task.abort();
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn listen(connect: &PgConnectOptions, announcer: &Announcer) -> Result<(), sqlx::Error> {
    let pool = PgPoolOptions::new().max_connections(1).connect_lazy_with(connect.clone());
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.listen(CHANNEL).await?;
    // What was said before is not repeated.
    announcer.tell_all();
    loop {
        let told = listener.recv().await?;
        if let Ok(hint) = told.payload().parse::<Hint>() {
            announcer.tell(hint);
        }
    }
}
