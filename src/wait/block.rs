// SPDX-License-Identifier: MIT
//! The one place that blocks on futex words: W4 of slot.rs, for one word or several.
//!
//! One word needs FUTEX_WAIT_BITSET. Several need futex_waitv, which may be missing: the kernel is
//! older than 5.16, or a sandbox forbids it, possibly one that this process entered a moment ago.
//! Then a thread can block on one word only and has to poll for the rest.

use crate::error::Result;
use crate::shm::owner_death;
use crate::sys::futex::{self, Sleep, WAITV_MAX, WaitList, Word};
use crate::sys::time::Deadline;
use crate::util::atomic::AtomicU32;
use std::num::NonZeroU32;

/// Whether a thread can block on so many words at once. With more, it has to poll for the rest.
pub(crate) fn can_block_on(words: usize) -> bool {
    words <= 1 || words <= WAITV_MAX && futex::has_waitv()
}

/// The same for a caller that can do with fewer words: false where a sandbox may kill the process
/// for futex_waitv, until somebody has to ask.
pub(super) fn can_harmlessly_block_on(words: usize) -> bool {
    words <= 1 || words <= WAITV_MAX && futex::has_harmless_waitv() == Some(true)
}

/// Blocks until a word differs from what is expected of it, a wake-up, or the deadline. The word
/// of owner_death.rs is one more if the caller read its `epoch`. `bits` applies to a single word.
///
/// [`can_block_on`] is true of the words, counting that one. If futex_waitv is forbidden since the
/// caller asked, this returns at once, and the caller asks again. Without any word, this sleeps
/// until the deadline.
pub(crate) fn on<'a>(
    list: &mut WaitList,
    words: impl Iterator<Item = Word<'a>>,
    bits: NonZeroU32,
    epoch: Option<u32>,
    deadline: Deadline,
) -> Result<Sleep> {
    list.clear();
    let mut only = None;
    let mut count = 0;
    for word in words.chain(epoch.and_then(owner_death::futex_word)) {
        if list.push(word).is_err() {
            return Ok(futex::sleep_without_memory(deadline));
        }
        (only, count) = (Some(word), count + 1);
    }
    // One function for all kinds of words, so that their iterators are gone from the stack.
    block(list, only.filter(|_| count == 1), count, bits, deadline)
}

#[inline(never)]
fn block(
    list: &WaitList,
    only: Option<Word<'_>>,
    count: usize,
    bits: NonZeroU32,
    deadline: Deadline,
) -> Result<Sleep> {
    match only {
        None if count == 0 => futex::wait(&AtomicU32::new(0), 0, bits, deadline),
        Some(only) => futex::wait(only.word, only.expected, bits, deadline),
        None if !futex::has_waitv() => Ok(Sleep::Interrupted),
        None => match futex::wait_many(list, deadline) {
            Err(error) if futex::lost_waitv(error) => Ok(Sleep::Interrupted),
            slept => slept,
        },
    }
}
