// SPDX-License-Identifier: MIT
//! An xshmfence, the fence that X11 clients and the X server share (DRI3, Present).
//!
//! It is one 32-bit futex word in a file of its own. The protocol is that of libxshmfence 1.3
//! (xorg/lib/libxshmfence, src/xshmfence_futex.c); no text of it is used here:
//!
//! | step | word |
//! |---|---|
//! | reset | 1 becomes 0 |
//! | trigger | becomes 1. If it was -1, FUTEX_WAKE for all waiters |
//! | await | 0 becomes -1; FUTEX_WAIT while it is -1; over once it is 1 |
//!
//! The fence carries no error and no count. A waiter that is slower than the next reset misses the
//! trigger. The word is an attacker's data: another process may write any number at any time.

use crate::error::Result;
use crate::sys::futex;
use crate::sys::shared_word::SharedWord;
use crate::util::atomic::{AtomicU32, Ordering};
use rustix::fd::BorrowedFd;
use std::num::NonZeroU32;

/// A mapped xshmfence. It needs no descriptor.
pub(crate) struct Xshmfence(SharedWord);

const RESET: u32 = 0;
const TRIGGERED: u32 = 1;
/// Somebody may sleep.
const AWAITED: u32 = u32::MAX;

impl Xshmfence {
    /// Opens the fence of a descriptor. See [`SharedWord::map`] for what is refused.
    pub(crate) fn open(fd: BorrowedFd<'_>) -> Result<Xshmfence> {
        Ok(Xshmfence(SharedWord::map(fd)?))
    }

    /// Triggers the fence.
    pub(crate) fn trigger(&self) {
        let before = self.word().swap(TRIGGERED, Ordering::AcqRel);
        // Also for a word that no step of the protocol writes.
        if before != RESET && before != TRIGGERED {
            futex::wake(self.word(), NonZeroU32::MAX);
        }
    }

    /// Returns what to sleep on: the word holds this value, and changes when the fence is
    /// triggered. `None` if it is triggered.
    pub(crate) fn prepare_wait(&self) -> Option<u32> {
        let word = self.word();
        let mut value = word.load(Ordering::Acquire);
        if value == RESET {
            value = word
                .compare_exchange(RESET, AWAITED, Ordering::AcqRel, Ordering::Acquire)
                .map_or_else(|current| current, |_| AWAITED);
        }
        (value != TRIGGERED).then_some(value)
    }

    /// The futex word.
    pub(crate) fn word(&self) -> &AtomicU32 {
        self.0.get()
    }
}
