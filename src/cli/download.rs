//! A progress bar while a model is downloaded, for commands that wait for it. On a terminal only.

use std::future::Future;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use super::progress_bar::{BYTES, progress_bar};
use crate::app::App;
use crate::ingest::Ingest;
use crate::models::DownloadProgress;
use crate::serving::{ServingError, ServingState};

const REFRESH_MS: u64 = 100;

/// Does `work`, and shows the progress that `look` finds meanwhile.
pub(super) async fn with_bar<P, T>(look: impl Fn() -> Option<P>, work: impl Future<Output = T>) -> T
where
    P: Deref<Target = DownloadProgress>,
{
    let bar = progress_bar(BYTES);
    let mut ticks = tokio::time::interval(Duration::from_millis(REFRESH_MS));
    tokio::pin!(work);
    let done = loop {
        tokio::select! {
            done = &mut work => break done,
            _ = ticks.tick() => {
                if let Some(progress) = look().filter(|progress| progress.total_bytes() > 0 || progress.is_waiting()) {
                    bar.set_message(if progress.is_waiting() { "another process downloads the model" } else { "model" });
                    bar.set_length(progress.total_bytes());
                    bar.set_position(progress.done_bytes());
                }
            }
        }
    };
    bar.finish_and_clear();
    done
}

/// Brings the model up, with a bar if it has to be downloaded.
pub(super) async fn bring_up(app: &App) -> Result<Arc<Ingest>, ServingError> {
    let look = || match app.serving.state() {
        ServingState::Downloading { progress, .. } => Some(progress),
        _ => None,
    };
    with_bar(look, app.serving.bring_up()).await
}
