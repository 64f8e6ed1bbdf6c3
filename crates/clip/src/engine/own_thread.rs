//! Threads inherit what the thread that starts them has changed about itself, such as its priority. So whoever starts threads
//! that are to differ from others does it on a thread that is not needed any more.

/// Does `work` on a thread of its own.
pub(crate) fn on_own_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| match scope.spawn(work).join() {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}
