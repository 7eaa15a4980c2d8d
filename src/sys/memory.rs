//! What the allocator holds and nobody uses.

#![expect(unsafe_code, reason = "the allocator's own calls")]

use libmimalloc_sys::{mi_collect, mi_option_set, mi_option_t};

/// Has the kernel back memory by small pages from here on: `PR_SET_THP_DISABLE(2const)`.
///
/// Sessions are many small pieces. Huge pages cost 15 to 20 MiB at rest that nobody uses, and save nothing that can be
/// measured (`docs/BENCHMARKS.md`). Never fails: where the system refuses, it stays as it was.
pub fn forgo_huge_pages() {
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}

/// Has the allocator give whole pages back to the system when they become free, not some time later: it looks at
/// the time only while it is called, so a service that falls silent after a burst would keep what the burst took.
pub fn keep_nothing_free() {
    // SAFETY: sets a number that the allocator reads when it frees pages.
    unsafe { mi_option_set(PURGE_DELAY, 0) }
}

/// Gives back what others have freed of this thread's memory, and what it keeps at hand. Microseconds where little
/// is held; for once in a while.
pub fn give_back() {
    // SAFETY: takes no pointer, and looks after the calling thread's own heap.
    unsafe { mi_collect(false) }
}

/// `mi_option_purge_delay` in mimalloc.h of version 2, milliseconds.
const PURGE_DELAY: mi_option_t = 15;

#[cfg(test)]
mod tests {
    use std::ffi::c_void;

    use libmimalloc_sys::{mi_free, mi_malloc, mi_option_get};

    use super::*;

    const PIECE: usize = 8 << 10;
    const PIECES: usize = 4096;

    /// Whether the page is in memory: `mincore(2)`. Not where nothing is mapped.
    fn is_resident(page: usize) -> bool {
        let mut state = 0;
        // SAFETY: writes one byte for one page, and touches the page not at all.
        let told = unsafe { libc::mincore(page as *mut c_void, 1, &raw mut state) };
        told == 0 && state & 1 == 1
    }

    /// Takes 32 MiB and frees them; how many of the pieces stay in memory.
    fn burst() -> usize {
        let take = |_| {
            // SAFETY: takes no pointer.
            let piece = unsafe { mi_malloc(PIECE) };
            // SAFETY: it is as large as this.
            unsafe { piece.cast::<u8>().write_bytes(1, PIECE) };
            piece
        };
        let pieces: Vec<_> = (0..PIECES).map(take).collect();
        let page = |piece: &*mut c_void| piece.addr().next_multiple_of(4096);
        let pages: Vec<_> = pieces.iter().map(page).collect();
        assert!(pages.iter().all(|page| is_resident(*page)));
        for piece in pieces {
            // SAFETY: each is freed once.
            unsafe { mi_free(piece) }
        }
        give_back();
        pages.into_iter().filter(|page| is_resident(*page)).count()
    }

    #[test]
    fn what_a_burst_took_goes_back_at_once() {
        // SAFETY: reads a number.
        let before = unsafe { mi_option_get(PURGE_DELAY) };
        assert_eq!(before, 10, "the option has another number");
        assert!(burst() > PIECES / 2, "it would go back by itself");
        keep_nothing_free();
        assert!(burst() < PIECES / 16);
    }
}
