//! Whether the database can be reached. As soon as something takes suspiciously long or breaks, a connection of its own is tried;
//! once it is known that nobody is there, everybody is told at once instead of waiting their time out, until somebody is.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sqlx::Connection;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::CatalogError;

/// Waiting for longer than this is a reason to look.
pub(super) const SUSPICIOUS: Duration = Duration::from_millis(500);
/// While it is known to be away: it may be back before anybody has noticed. A look that finds nobody takes less.
const GRACE: Duration = Duration::from_millis(500);
/// From one try to the next while it is away.
const PAUSE: Duration = Duration::from_millis(250);

pub(super) struct Reach {
    connect: PgConnectOptions,
    timeout: Duration,
    /// Why it cannot be reached.
    away: Arc<watch::Sender<Option<String>>>,
    trying: Mutex<Option<AbortHandle>>,
}

impl Reach {
    pub(super) fn new(connect: PgConnectOptions, timeout: Duration) -> Self {
        let away = Arc::new(watch::Sender::new(None));
        Self { connect, timeout, away, trying: Mutex::default() }
    }

    /// The result of `asked`, or that nobody is there as soon as that is known.
    pub(super) async fn unless_away<T>(
        &self,
        asked: impl Future<Output = T>,
    ) -> Result<T, CatalogError> {
        let mut told = self.away.subscribe();
        // What the next look finds is worth waiting for; then it is asked, or told as away below.
        if told.borrow_and_update().is_some() {
            let _ = tokio::time::timeout(GRACE, told.changed()).await;
        }
        let suspicion = async {
            tokio::time::sleep(SUSPICIOUS).await;
            self.suspect();
            std::future::pending::<()>().await;
        };
        let away = async {
            let reason = told.wait_for(Option::is_some).await.map(|reason| reason.clone());
            // The sender is ours, so that it cannot end meanwhile.
            reason.ok().flatten().unwrap_or_default()
        };
        tokio::select! {
            biased;
            reason = away => Err(CatalogError::Unavailable(format!("the database cannot be reached: {reason}"))),
            answered = asked => Ok(answered),
            () = suspicion => Err(CatalogError::Unavailable("the database cannot be reached".to_owned())),
        }
    }

    /// Looks whether it is there, unless somebody is looking.
    pub(super) fn suspect(&self) {
        let mut trying = self.trying.lock();
        if trying.as_ref().is_none_or(AbortHandle::is_finished) {
            let look = look(self.connect.clone(), self.timeout, self.away.clone());
            *trying = Some(tokio::spawn(look).abort_handle());
        }
    }

    pub(super) fn stop(&self) {
        if let Some(trying) = self.trying.lock().take() {
            trying.abort();
        }
    }
}

impl Drop for Reach {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Ends as soon as somebody answers, even if the answer is no: that is told to whoever asks.
async fn look(
    connect: PgConnectOptions,
    timeout: Duration,
    away: Arc<watch::Sender<Option<String>>>,
) {
    loop {
        let tried = tokio::time::timeout(timeout, PgConnection::connect_with(&connect)).await;
        let reason = match tried {
            Ok(Ok(connection)) => {
                let _ = connection.close().await;
                break;
            }
            Ok(Err(sqlx::Error::Database(refusal))) if !is_starting(&*refusal) => break,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} ms", timeout.as_millis()),
        };
        if away.borrow().is_none() {
            tracing::warn!(reason, "the database of the catalog cannot be reached");
        }
        away.send_replace(Some(reason));
        tokio::time::sleep(PAUSE).await;
    }
    if away.send_replace(None).is_some() {
        tracing::info!("the database of the catalog can be reached again");
    }
}

/// It is there, and not yet or no longer for anybody.
fn is_starting(refusal: &dyn sqlx::error::DatabaseError) -> bool {
    refusal.code().is_some_and(|code| code.starts_with("57P"))
}
