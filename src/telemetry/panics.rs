//! Panics: counted, and told in one line with thread and place.
//!
//! A panic in a session's task ends that session and nothing else; this makes it known.

use std::cell::Cell;
use std::io::Write;
use std::panic::{self, PanicHookInfo};
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static PANICS: AtomicU64 = AtomicU64::new(0);

/// Panics since the start of the process.
#[must_use]
pub fn count() -> u64 {
    PANICS.load(Relaxed)
}

/// Counts and logs every panic from here on, instead of printing it. Once for the process.
pub fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| panic::set_hook(Box::new(take_note)));
}

thread_local! {
    static IS_EXPECTED: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work`, whose panics are somebody else's defects, are caught, and are told otherwise.
pub fn expected<T>(work: impl FnOnce() -> T) -> T {
    let before = IS_EXPECTED.replace(true);
    let result = work();
    IS_EXPECTED.set(before);
    result
}

fn take_note(panic: &PanicHookInfo<'_>) {
    if IS_EXPECTED.get() {
        return;
    }
    PANICS.fetch_add(1, Relaxed);
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("-");
    let place = panic
        .location()
        .map_or_else(|| "-".into(), ToString::to_string);
    // The text of a panic may hold what a peer sent: as a field it is escaped.
    let text = panic.payload_as_str().unwrap_or("-");
    if tracing::enabled!(tracing::Level::ERROR) {
        tracing::error!(thread, place, ?text, "panic: a defect of ours");
    } else {
        // Before the log begins there is nobody else to tell.
        let _ = writeln!(
            std::io::stderr(),
            "pinfold: panic in {thread} at {place}: {text:?}"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_counted_and_goes_no_further_than_its_thread() {
        // The hook is the process's: other tests keep the one they had.
        let others = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            take_note(panic);
            others(panic);
        }));
        let before = count();
        let thread = std::thread::spawn(|| panic!("on purpose"));
        assert!(thread.join().is_err());
        assert!(count() > before);
    }
}
