// SPDX-License-Identifier: MIT
//! FUTEX_WAIT_BITSET and FUTEX_WAKE_BITSET, Linux 2.6.25; futex_waitv, Linux 5.16.
//!
//! The words lie in memory that other processes map, so no call uses FUTEX_PRIVATE_FLAG.
#![forbid(unsafe_code)]

use super::list::List;
use super::seccomp;
use super::time::Deadline;
use crate::error::{Error, Result};
use crate::util::atomic::AtomicU32;
use rustix::io::Errno;
use rustix::thread::futex;
use rustix::time::ClockId;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU8, Ordering};

/// How a sleep ended. The caller checks its condition again in any case.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sleep {
    /// A FUTEX_WAKE of this word of the list, perhaps for nothing.
    Woken(usize),
    /// A word of the list did not hold the expected value.
    Changed,
    /// A signal handler ran, or the kernel had no memory. No other process is the cause.
    Interrupted,
    TimedOut,
}

/// The number of words that one futex_waitv sleeps on at most (FUTEX_WAITV_MAX).
pub(crate) const WAITV_MAX: usize = 128;

/// Sleep while `word` holds `expected`, until a wake with one of `bits` or until the deadline.
pub(crate) fn wait(
    word: &AtomicU32,
    expected: u32,
    bits: NonZeroU32,
    deadline: Deadline,
) -> Result<Sleep> {
    // FUTEX_WAIT_BITSET takes an absolute CLOCK_MONOTONIC timeout, FUTEX_WAIT a relative one.
    let timeout = deadline.timespec();
    let slept = futex::wait_bitset(word, futex::Flags::empty(), expected, timeout.as_ref(), bits);
    outcome(slept.map(|()| 0), deadline)
}

/// Wake every thread that sleeps on `word` with one of `bits`.
pub(crate) fn wake(word: &AtomicU32, bits: NonZeroU32) {
    // An error means that a hostile peer interferes at this moment: EFAULT if it punched a hole,
    // EINVAL if it parked a thread here that waits for a lock (FUTEX_WAIT_REQUEUE_PI). No other
    // call wakes the threads behind that one in the kernel's queue: FUTEX_WAKE_OP and FUTEX_REQUEUE
    // stop there too. They sleep on a word of that peer, or not longer than `MUTED_NS`.
    let _ = futex::wake_bitset(word, futex::Flags::empty(), i32::MAX as u32, bits);
}

/// A word to sleep on.
#[derive(Clone, Copy)]
pub(crate) struct Word<'a> {
    pub(crate) word: &'a AtomicU32,
    pub(crate) expected: u32,
}

/// Memory for the list of words that the kernel reads in [`wait_many`].
pub(crate) struct WaitList(List<futex::Wait, SHORT_LIST, WAITV_MAX>);

/// Lists up to this long need no memory beyond the stack.
pub(crate) const SHORT_LIST: usize = 4;

impl WaitList {
    pub(crate) fn new() -> WaitList {
        WaitList(List::new())
    }

    /// Remove all words.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// Append a word. `NoMemory` beyond [`WAITV_MAX`], or if there is none for a long list.
    pub(crate) fn push(&mut self, word: Word<'_>) -> Result<()> {
        let mut entry = futex::Wait::new();
        entry.val = word.expected.into();
        entry.uaddr = futex::WaitPtr::new(word.word.as_ptr().cast());
        entry.flags = futex::WaitFlags::SIZE_U32;
        self.0.push(entry)
    }
}

/// Sleep while every word holds its expected value, until a wake or until the deadline.
///
/// Requires [`has_waitv`].
pub(crate) fn wait_many(list: &WaitList, deadline: Deadline) -> Result<Sleep> {
    let timeout = deadline.timespec();
    let list = list.0.as_slice();
    let result =
        futex::waitv(list, futex::WaitvFlags::empty(), timeout.as_ref(), ClockId::Monotonic);
    outcome(result, deadline)
}

/// Whether futex_waitv works: `UNKNOWN` until somebody asks.
static WAITV: AtomicU8 = AtomicU8::new(UNKNOWN);
const UNKNOWN: u8 = 0;
const WORKS: u8 = 1;
const MISSING: u8 = 2;

/// Check whether futex_waitv works: Linux 5.16 or later, and no sandbox forbids it.
///
/// For callers that need several words: some sandboxes kill a process for the call that finds out.
pub(crate) fn has_waitv() -> bool {
    if WAITV.load(Ordering::Relaxed) == UNKNOWN {
        let answer = if probe_waitv() { WORKS } else { MISSING };
        let _ = WAITV.compare_exchange(UNKNOWN, answer, Ordering::Relaxed, Ordering::Relaxed);
    }
    WAITV.load(Ordering::Relaxed) == WORKS
}

/// Check the same where one word is enough. `None` if that is not known, and a sandbox may kill
/// the process for the call that finds out.
pub(crate) fn has_harmless_waitv() -> Option<bool> {
    match WAITV.load(Ordering::Relaxed) {
        UNKNOWN if seccomp::is_unfiltered() => Some(has_waitv()),
        UNKNOWN => None,
        known => Some(known == WORKS),
    }
}

/// Call futex_waitv with a word that does not hold the expected value.
///
/// Only the call itself returns EAGAIN for that. A seccomp filter returns ENOSYS, EPERM, EINVAL or
/// any other error.
fn probe_waitv() -> bool {
    let word = AtomicU32::new(0);
    let mut entry = futex::Wait::new();
    entry.val = 1;
    entry.uaddr = futex::WaitPtr::new(word.as_ptr().cast());
    entry.flags = futex::WaitFlags::SIZE_U32;
    let result = futex::waitv(&[entry], futex::WaitvFlags::empty(), None, ClockId::Monotonic);
    matches!(result, Err(Errno::AGAIN))
}

/// Check whether the error of a sleep means that futex_waitv cannot be used anymore, and remember
/// it.
///
/// A process may enter its sandbox after the probe. Other errors may be temporary.
pub(crate) fn lost_waitv(error: Error) -> bool {
    let lost = matches!(error, Error::NotSupported | Error::Denied) || !probe_waitv();
    if lost {
        WAITV.store(MISSING, Ordering::Relaxed);
    }
    lost
}

/// The longest sleep on a word where a process that is not trusted with the fence can keep a
/// wake-up from its waiters: see [`wake`], and FUTEX_REQUEUE, which moves them to another word.
pub(crate) const MUTED_NS: u64 = 1_000_000_000;

/// Sleep for a millisecond, or until the deadline if that is earlier, and return how that ended.
///
/// For callers that have to wait but cannot sleep on a word, for lack of memory.
pub(crate) fn sleep_without_memory(deadline: Deadline) -> Sleep {
    sleep_briefly(deadline);
    if deadline.has_passed() { Sleep::TimedOut } else { Sleep::Interrupted }
}

/// Sleep for a millisecond, or until the deadline if that is earlier.
///
/// For callers that have to wait but cannot sleep on a word, because the kernel returned an error.
pub(crate) fn sleep_briefly(deadline: Deadline) {
    let _ = rustix::event::poll(&mut [], deadline.within(BRIEF_NS).remaining().as_ref());
}

const BRIEF_NS: u64 = 1_000_000;

fn outcome(result: rustix::io::Result<usize>, deadline: Deadline) -> Result<Sleep> {
    match result {
        Ok(word) => Ok(Sleep::Woken(word)),
        // FAULT: a peer punched a hole at the word while the kernel looked it up; the next lookup
        // finds memory there.
        Err(Errno::AGAIN | Errno::FAULT) => Ok(Sleep::Changed),
        Err(Errno::INTR) => Ok(Sleep::Interrupted),
        Err(Errno::TIMEDOUT) => Ok(Sleep::TimedOut),
        Err(Errno::NOMEM) => Ok(sleep_without_memory(deadline)),
        Err(errno) => Err(Error::from(errno)),
    }
}

#[cfg(all(test, not(modeled)))]
mod tests {
    use super::*;

    #[test]
    fn temporary_errors_end_the_sleep_without_an_error() {
        let outcome = |errno| outcome(Err(errno), Deadline::NEVER);
        for of_a_word in [Errno::AGAIN, Errno::FAULT] {
            assert_eq!(outcome(of_a_word), Ok(Sleep::Changed));
        }
        for of_this_process in [Errno::INTR, Errno::NOMEM] {
            assert_eq!(outcome(of_this_process), Ok(Sleep::Interrupted));
        }
        assert_eq!(outcome(Errno::TIMEDOUT), Ok(Sleep::TimedOut));
        assert_eq!(outcome(Errno::NOSYS), Err(Error::NotSupported));
    }
}
