//! The one place that blocks on futex words: W4 of slot.rs, for one word or several.
//!
//! One word needs FUTEX_WAIT_BITSET. Several need futex_waitv, which may be missing: the kernel is
//! older than 5.16, or a sandbox forbids it, possibly one that this process entered a moment ago.
//! Then a thread can block on one word only and has to poll for the rest.

use crate::error::{Error, Result};
use crate::shm::owner_death;
use crate::sys::futex::{self, Sleep, WAITV_MAX, WaitList, Word};
use crate::sys::time::Deadline;
use std::num::NonZeroU32;

/// The number of words that a thread can block on at once. With more, it has to poll for the rest.
pub(crate) fn max_words() -> usize {
    if futex::has_waitv() { WAITV_MAX } else { 1 }
}

/// Blocks until a word differs from what is expected of it, a wake-up, or the deadline. The word
/// of owner_death.rs is one more if the caller read its `epoch`. `bits` applies to a single word.
///
/// The caller passes at most [`max_words`] words, counting that one. If futex_waitv is forbidden
/// since the caller asked, this returns as if woken, and the caller asks again.
pub(crate) fn on<'a>(
    list: &mut WaitList,
    words: impl Iterator<Item = Word<'a>>,
    bits: NonZeroU32,
    epoch: Option<u32>,
    deadline: Deadline,
) -> Result<Sleep> {
    let mut words = words.chain(epoch.and_then(owner_death::futex_word));
    let first = words.next().ok_or(Error::Unexpected)?;
    let Some(second) = words.next() else {
        return futex::wait(first.word, first.expected, bits, deadline);
    };
    if !futex::has_waitv() {
        return Ok(Sleep::Woken);
    }
    match futex::wait_many(list, [first, second].into_iter().chain(words), deadline) {
        Err(error) if futex::lost_waitv(error) => Ok(Sleep::Woken),
        slept => slept,
    }
}
