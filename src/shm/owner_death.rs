// SPDX-License-Identifier: MIT
//! How waits learn that the creator of a page died, if this process cannot write to the page.
//!
//! A process that can write to a page fails the fences of a dead signaler there, for every process.
//! A single-writer page stays as it is, so each process that waits there has to know by itself: it
//! marks its own `Page`, or `Fence`. Its waiters must then wake up, and nobody here can change the
//! words of the page on which they sleep. A FUTEX_WAKE alone would be lost on a waiter that has
//! checked and does not sleep yet. So they sleep on one more word, which belongs to this process:
//!
//! ```text
//!   the creator died                wait (slot.rs)
//!   O1  mark the page               W1  s = the page's sequence; e = EPOCH
//!   O2  EPOCH += 1                  W3  check the value, and the mark
//!   O3  FUTEX_WAKE(EPOCH)           W4  futex_waitv(sequence == s, EPOCH == e)
//! ```
//!
//! If W1 reads what O2 wrote, then by release and acquire W3 sees the mark. Otherwise W4 finds that
//! EPOCH has changed, or the waiter is in the kernel's queue before O3 looks there.
//!
//! One word serves all pages: it changes only when a process is found dead, and a waiter that is
//! woken needlessly sleeps again. Counting the waiters, and waking until each has run, would work
//! without futex_waitv. But then the thread that marks would wait for the scheduler, and in the
//! child of a fork for threads that do not exist there. Without futex_waitv nothing can sleep on
//! both words, and a wait on such a page polls, as for a device that writes without an interrupt.

#![forbid(unsafe_code)]

use crate::sys::futex::{self, Word};
use crate::util::atomic::{AtomicU32, Ordering};
use std::num::NonZeroU32;

#[cfg(not(modeled))]
static EPOCH: AtomicU32 = AtomicU32::new(0);
// Each run of a model has a word of its own.
#[cfg(loom)]
loom::lazy_static! {
    static ref EPOCH: AtomicU32 = AtomicU32::new(0);
}
#[cfg(shuttle)]
shuttle::lazy_static! {
    static ref EPOCH: AtomicU32 = AtomicU32::new(0);
}

/// W1: how many deaths were announced.
pub(crate) fn epoch() -> u32 {
    EPOCH.load(Ordering::Acquire)
}

/// The word to sleep on as well. `epoch` was read before the check.
pub(crate) fn futex_word(epoch: u32) -> Option<Word<'static>> {
    Some(Word { word: &EPOCH, expected: epoch })
}

/// O2 and O3.
pub(crate) fn announce() {
    EPOCH.fetch_add(1, Ordering::Release);
    futex::wake(&EPOCH, NonZeroU32::MAX);
}
