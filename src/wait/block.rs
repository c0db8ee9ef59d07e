//! The one place that blocks on futex words: W4 of slot.rs, for one word or several.
//!
//! One word needs FUTEX_WAIT_BITSET. Several need futex_waitv, which may be missing: the kernel is
//! older than 5.16, or a sandbox forbids it, possibly one that this process entered a moment ago.
//! Then a thread can block on one word only and has to poll for the rest.

use crate::error::{Error, Result};
use crate::shm::owner_death;
use crate::sys::futex::{self, Sleep, WAITV_MAX, Word};
use crate::sys::time::Deadline;
use std::num::NonZeroU32;

/// Whether a thread can block on so many words at once. If not, it has to poll.
pub(crate) fn can_block_on(words: usize) -> bool {
    words <= 1 || words <= WAITV_MAX && futex::has_waitv()
}

/// Blocks until a word differs from what is expected of it, a wake-up, or the deadline. The word
/// of owner_death.rs is one more if the caller read its `epoch`. `bits` applies to a single word.
///
/// If the thread cannot block on all of them, it blocks on the first alone: see [`can_block_on`].
/// If futex_waitv turns out to be forbidden during the call, it returns as if woken.
pub(crate) fn on<'a>(
    words: impl Iterator<Item = Word<'a>>,
    bits: NonZeroU32,
    epoch: Option<u32>,
    deadline: Deadline,
) -> Result<Sleep> {
    let mut words = words.chain(epoch.and_then(owner_death::futex_word));
    let first = words.next().ok_or(Error::Unexpected)?;
    let second = words.next().filter(|_| futex::has_waitv());
    let Some(second) = second else {
        return futex::wait(first.word, first.expected, bits, deadline);
    };
    match futex::wait_many([first, second].into_iter().chain(words), deadline) {
        Err(error) if futex::lost_waitv(error) => Ok(Sleep::Woken),
        slept => slept,
    }
}
