//! How waits hear that the exporter is gone of a page that this process may not write to.
//!
//! Where a process may write, it fails the fences of a dead signaller in the page itself, for
//! everybody. What only its creator may write to stays as it is, so each process that waits there
//! knows by itself who is gone: a mark in its `Page`, or `Fence`. Its own sleepers have to look up
//! for that, and nobody here can move the words of the page on which they sleep: a FUTEX_WAKE alone
//! would be lost on who has looked and does not sleep yet. So they sleep on one more word, which is
//! this process's own:
//!
//! ```text
//!   the exporter is gone            wait (slot.rs)
//!   O1  mark the page               W1  s = the page's sequence; h = HEARD
//!   O2  HEARD += 1                  W3  look at the value, and at the mark
//!   O3  FUTEX_WAKE(HEARD)           W4  futex_waitv(sequence == s, HEARD == h)
//! ```
//!
//! If W1 reads what O2 wrote, then by release and acquire W3 sees the mark. Else W4 finds that
//! HEARD has moved, or is in the kernel's queue before O3 looks there.
//!
//! One word for all pages is enough: it moves when a process is found to be gone, and who is woken
//! for nothing sleeps on. To count the sleepers, and wake until each has been, would do without
//! futex_waitv; but then the one who marks waits for the scheduler, and in the child of a fork for
//! threads that are not there. Without futex_waitv nothing sleeps on both words, and a wait on such
//! a page looks in slices, as where a device writes.

#[cfg(not(loom))]
mod word {
    use crate::sys::futex::{self, Word};
    use std::num::NonZeroU32;
    use std::sync::atomic::{AtomicU32, Ordering};

    static HEARD: AtomicU32 = AtomicU32::new(0);

    /// W1: how often one was found to be gone.
    pub(crate) fn heard() -> u32 {
        HEARD.load(Ordering::Acquire)
    }

    /// What to sleep on besides; `heard` was read before looking.
    pub(crate) fn word(heard: u32) -> Option<Word<'static>> {
        Some(Word { word: &HEARD, expected: heard })
    }

    /// O2 and O3.
    pub(crate) fn tell() {
        HEARD.fetch_add(1, Ordering::Release);
        futex::wake(&HEARD, NonZeroU32::MAX);
    }
}

/// The model checker's pages can be written to by all.
#[cfg(loom)]
mod word {
    use crate::sys::futex::Word;

    pub(crate) fn heard() -> u32 {
        0
    }

    pub(crate) fn word(_heard: u32) -> Option<Word<'static>> {
        None
    }
}

pub(crate) use word::*;
