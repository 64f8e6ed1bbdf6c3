//! Work in the background of the embedded store stands back behind searches.

/// Nice 10 for this thread alone, as for the engine's own indexing threads. Where that is not possible, so be it.
pub(super) fn lower_priority() {
    #[cfg(target_os = "linux")]
    if let Ok(value) = thread_priority::ThreadPriorityValue::try_from(25) {
        let _ = thread_priority::set_current_thread_priority(
            thread_priority::ThreadPriority::Crossplatform(value),
        );
    }
}
