//! Where processes share a catalog, each says now and then that it lives, what it does and how fast, and at its end that it ends.

use std::sync::Arc;

use crate::app::App;
use crate::catalog::SIGN_OF_LIFE;
use crate::types::now_ms;

/// A process that was silent for so long is not shown any more.
const FORGET_AFTER_MS: i64 = 24 * 60 * 60 * 1000;

/// Until the application stops. Nothing is written where nobody else would read it.
pub(super) async fn give(app: Arc<App>) {
    if !app.catalog.is_shared() {
        return;
    }
    loop {
        let (process, before_ms) = (app.sign_of_life(), now_ms() - FORGET_AFTER_MS);
        if let Err(error) = app.catalog.note_process(&process, before_ms).await {
            tracing::debug!(%error, "others do not hear of this process now");
        }
        let pause = tokio::time::sleep(SIGN_OF_LIFE);
        if app.stop.run_until_cancelled(pause).await.is_none() {
            break;
        }
    }
    if let Err(error) = app.catalog.forget_process(&app.sign_of_life().instance).await {
        tracing::debug!(%error, "others are not told that this process ends");
    }
}
