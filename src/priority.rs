//! Work in the background stands back behind searches: it has nice 10, which leaves it about a tenth of a processor that
//! somebody else wants, and all of one that nobody does.

/// Nice 10 for this thread and those that it starts from now on. Where that is not possible, so be it.
pub fn lower_priority() {
    #[cfg(target_os = "linux")]
    if let Ok(value) = thread_priority::ThreadPriorityValue::try_from(25) {
        let _ = thread_priority::set_current_thread_priority(
            thread_priority::ThreadPriority::Crossplatform(value),
        );
    }
}
