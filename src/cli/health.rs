//! `health`: whether the server of this configuration answers, for container health checks: no curl is needed.

use std::process::ExitCode;

use super::{EXIT_ERROR, remote, say};
use crate::config::Config;

pub(super) async fn run(config: &Config) -> ExitCode {
    let server = format!("http://127.0.0.1:{}", config.server.port);
    match remote::is_alive(&server).await {
        Ok(()) => {
            say("ok");
            ExitCode::SUCCESS
        }
        Err(error) => {
            say(format_args!("{error:#}"));
            ExitCode::from(EXIT_ERROR)
        }
    }
}
