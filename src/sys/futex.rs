//! Futexes on memory that other processes map, so never FUTEX_PRIVATE_FLAG.

use super::time::Deadline;
use crate::error::{Error, Result};
use crate::util::atomic::AtomicU32;
use once_cell::race::OnceBool;
use rustix::io::Errno;
use rustix::thread::futex;
use rustix::time::ClockId;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};

/// How a sleep ended. `Woken` may be spurious: look at the condition again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sleep {
    Woken,
    TimedOut,
}

/// The most words one futex_waitv call sleeps on (FUTEX_WAITV_MAX).
pub(crate) const WAITV_MAX: usize = 128;

/// Sleeps while `word` holds `expected`, until a wake with one of `bits` or the deadline.
pub(crate) fn wait(
    word: &AtomicU32,
    expected: u32,
    bits: NonZeroU32,
    deadline: Deadline,
) -> Result<Sleep> {
    // FUTEX_WAIT_BITSET takes absolute CLOCK_MONOTONIC time, FUTEX_WAIT relative time.
    let timeout = deadline.timespec();
    outcome(
        futex::wait_bitset(word, futex::Flags::empty(), expected, timeout.as_ref(), bits),
        deadline,
    )
}

/// Wakes everybody who sleeps on `word` with one of `bits`.
pub(crate) fn wake(word: &AtomicU32, bits: NonZeroU32) {
    // An error comes from a peer who plays with the page at this moment (punches a hole: EFAULT;
    // uses the word for a lock: EINVAL), and who is missed then sleeps on a word of that peer's.
    let _ = futex::wake_bitset(word, futex::Flags::empty(), i32::MAX as u32, bits);
}

/// One word of a sleep on many.
#[derive(Clone, Copy)]
pub(crate) struct Word<'a> {
    pub(crate) word: &'a AtomicU32,
    pub(crate) expected: u32,
}

/// Sleeps while every word holds what is expected of it. At most [`WAITV_MAX`] words, and only
/// where [`has_waitv`].
pub(crate) fn wait_many<'a>(
    words: impl Iterator<Item = Word<'a>>,
    deadline: Deadline,
) -> Result<Sleep> {
    let mut list = [futex::Wait::new(); WAITV_MAX];
    let mut count = 0;
    for (entry, word) in list.iter_mut().zip(words) {
        entry.val = word.expected.into();
        entry.uaddr = futex::WaitPtr::new(word.word.as_ptr().cast());
        entry.flags = futex::WaitFlags::SIZE_U32;
        count += 1;
    }
    let timeout = deadline.timespec();
    let list = list.get(..count).unwrap_or(&[]);
    let answer =
        futex::waitv(list, futex::WaitvFlags::empty(), timeout.as_ref(), ClockId::Monotonic);
    outcome(answer.map(drop), deadline)
}

/// Whether futex_waitv is known to work: Linux 5.16, and no sandbox that forbids it.
pub(crate) fn has_waitv() -> bool {
    // An empty list is EINVAL where the call exists. ENOSYS and a seccomp filter's EPERM both mean
    // that it cannot be used.
    let probe = || {
        let answer = futex::waitv(&[], futex::WaitvFlags::empty(), None, ClockId::Monotonic);
        matches!(answer, Err(Errno::INVAL))
    };
    !WAITV_LOST.load(Ordering::Relaxed) && HAS_WAITV.get_or_init(probe)
}

/// Whether the error of a sleep means that futex_waitv cannot be used any more: a process may enter
/// its sandbox after the probe. Other errors may be temporary.
pub(crate) fn lost_waitv(error: Error) -> bool {
    let lost = matches!(error, Error::NotSupported | Error::Denied);
    if lost {
        WAITV_LOST.store(true, Ordering::Relaxed);
    }
    lost
}

static HAS_WAITV: OnceBool = OnceBool::new();
static WAITV_LOST: AtomicBool = AtomicBool::new(false);

/// A short sleep that nothing but time ends, for when the kernel gives no other.
pub(crate) fn sleep_briefly(deadline: Deadline) {
    let _ = rustix::event::poll(&mut [], deadline.within(BRIEF_NS).remaining().as_ref());
}

const BRIEF_NS: u64 = 1_000_000;

fn outcome(answer: rustix::io::Result<()>, deadline: Deadline) -> Result<Sleep> {
    match answer {
        // AGAIN: the word changed before we slept. INTR: a signal handler ran. FAULT: a peer
        // punched a hole where the word is, at the moment when the kernel looked it up; the next
        // time it is there. All for the caller's loop.
        Ok(()) | Err(Errno::AGAIN | Errno::INTR | Errno::FAULT) => Ok(Sleep::Woken),
        Err(Errno::TIMEDOUT) => Ok(Sleep::TimedOut),
        Err(Errno::NOMEM) => {
            sleep_briefly(deadline);
            Ok(if deadline.has_passed() { Sleep::TimedOut } else { Sleep::Woken })
        }
        Err(errno) => Err(Error::from(errno)),
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_no_error_of_the_wait() {
        let outcome = |errno| outcome(Err(errno), Deadline::NEVER);
        for passing in [Errno::AGAIN, Errno::INTR, Errno::FAULT, Errno::NOMEM] {
            assert_eq!(outcome(passing), Ok(Sleep::Woken));
        }
        assert_eq!(outcome(Errno::TIMEDOUT), Ok(Sleep::TimedOut));
        assert_eq!(outcome(Errno::NOSYS), Err(Error::NotSupported));
    }
}
