//! Work in the background stands back behind searches: on Linux it has nice 10, which leaves it about a tenth of a processor that
//! somebody else wants, and all of one that nobody does.

/// What the crate calls a priority: on Linux nice 10; on macOS what its scheduler knows, where 31 is usual and 20 is for work that
/// nobody waits for.
const LOW: u8 = if cfg!(target_os = "macos") { 20 } else { 25 };

/// For this thread, and on Linux for those that it starts from now on. Where that is not possible, so be it.
pub fn lower_priority() {
    if let Ok(value) = thread_priority::ThreadPriorityValue::try_from(LOW) {
        let _ = thread_priority::set_current_thread_priority(
            thread_priority::ThreadPriority::Crossplatform(value),
        );
    }
}
