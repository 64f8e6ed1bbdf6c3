//! SIGTERM and Ctrl-C: the first one asks a command to come to its end, a second one ends the process at once.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::EXIT_INTERRUPTED;

/// Calls `stop` at the first signal. Without handlers (which only fails when the system has no room for them) a signal ends
/// the process at once, which loses nothing either.
pub(super) fn on_signal(stop: impl FnOnce() + Send + 'static) {
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return;
    };
    tokio::spawn(async move {
        either(&mut terminate, &mut interrupt).await;
        stop();
        either(&mut terminate, &mut interrupt).await;
        std::process::exit(i32::from(EXIT_INTERRUPTED));
    });
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
