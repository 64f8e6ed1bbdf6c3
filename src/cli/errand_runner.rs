//! Has an errand done: where a server runs, by the server, on the handles that it has open; otherwise here, on handles that are
//! opened for it.

use std::process::ExitCode;

use super::errand::{Errand, Handles, Terminal};
use super::errand_work::perform;
use super::{control, open_catalog};
use crate::app::App;
use crate::config::Config;

/// Has the running server do it, or does it here.
pub(super) async fn run(config: Config, errand: Errand) -> anyhow::Result<ExitCode> {
    let mut terminal = Terminal::default();
    if let Some(server) = control::connect(&config.data_dir).await? {
        return Ok(server.ask(&errand, &mut terminal).await?.into());
    }
    let code = match errand {
        Errand::Learn | Errand::Prune => {
            let app = Box::pin(App::open(config)).await?;
            let perform = async {
                if matches!(errand, Errand::Learn) {
                    app.serving.only_answer().await?;
                }
                perform(&errand, &Handles::of(&app), &mut terminal).await
            };
            let done = Box::pin(perform).await;
            app.shut_down().await;
            done?
        }
        _ => {
            let catalog = Box::pin(open_catalog(&config)).await?;
            let handles = Handles::here(config, catalog);
            let done = Box::pin(perform(&errand, &handles, &mut terminal)).await;
            handles.catalog.close().await;
            done?
        }
    };
    Ok(code.into())
}
