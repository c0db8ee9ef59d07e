// SPDX-License-Identifier: MIT
//! The slots' own words, for short lists: only its own fences wake a thread that sleeps there.
//!
//! A wait for many begins on the eventcounts of the pages, one word a page, whatever the length of
//! the list. All waiters of the page share these words. Once a wake-up was for a fence of others, a
//! wait with a short list goes on with the sequences of its slots, one word a fence (futex_waitv):
//! W1, W2 and W3 of slot.rs for each of them, then W4 for all. Not from the start: a sleep on one
//! word is faster. Nor in a sandbox that may kill for futex_waitv, unless the process needs that
//! for something else.

use super::block;
use super::condition::Conditions;
use crate::error::Result;
use crate::shm::page::Page;
use crate::sys::futex::Word;

/// The sequences of the slots, as they were read before the conditions were checked.
pub(super) struct SlotWords([u32; SLOTS_MAX]);

/// The longest list for which a thread sleeps on the slots' words. Longer ones, which cost more to
/// sleep on and to check, stay with the eventcounts.
const SLOTS_MAX: usize = if cfg!(loom) { 2 } else { 32 };

impl SlotWords {
    /// Whether a thread can sleep on the words of so many slots, and on `others`.
    pub(super) fn fits(count: usize, others: usize) -> bool {
        count <= SLOTS_MAX && block::can_harmlessly_block_on(count + others)
    }

    pub(super) fn new() -> SlotWords {
        SlotWords([0; SLOTS_MAX])
    }

    /// W1 for the conditions from `from` on. Called before the thread registers with their slots.
    /// Calls `moved` with the page of each word that has moved since the last time.
    pub(super) fn listen(
        &mut self,
        conditions: &impl Conditions,
        from: usize,
        mut moved: impl FnMut(&Page),
    ) -> Result<()> {
        for (index, sequence) in (from..conditions.count()).zip(&mut self.0) {
            let fence = conditions.get(index)?.fence;
            let now = fence.slot().sequence();
            if std::mem::replace(sequence, now) != now {
                moved(fence.page());
            }
        }
        Ok(())
    }

    /// The words to block on (W4), for the same conditions, each with its page.
    pub(super) fn words<'a>(
        &'a self,
        conditions: &'a impl Conditions,
        from: usize,
    ) -> impl Iterator<Item = (&'a Page, Word<'a>)> {
        (from..conditions.count()).zip(&self.0).filter_map(|(index, sequence)| {
            let fence = conditions.get(index).ok()?.fence;
            Some((fence.page(), fence.slot().word(*sequence)))
        })
    }
}
