// SPDX-License-Identifier: MIT
//! One pass over the conditions of a wait for any, and the index that finds those on a slot.

use super::condition::{Condition, Conditions};
use super::page_events::PageEvents;
use super::slot_words::SlotWords;
use crate::error::{Error, Result};
use crate::shm::page::Page;
use crate::shm::slot::WaitTarget;

/// Whether the thread registers as a waiter before it checks a condition.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Register {
    Yes,
    No,
}

/// What was found among conditions of which one is enough.
#[derive(Default)]
pub(super) struct Scan {
    pub(super) met: Option<usize>,
    pub(super) failure: Option<Error>,
}

impl Scan {
    /// Checks each condition until one is met.
    pub(super) fn check_all(
        &mut self,
        conditions: &impl Conditions,
        register: Register,
    ) -> Result<()> {
        for index in 0..conditions.count() {
            if self.met.is_some() {
                break;
            }
            let condition = conditions.get(index)?;
            if register == Register::Yes {
                condition.register_waiter(WaitTarget::Page);
            }
            self.check(index, condition);
        }
        Ok(())
    }

    /// Reads the slots' words (W1), registers the conditions there, and checks them until one is
    /// met.
    #[inline(never)]
    pub(super) fn check_slots(
        &mut self,
        conditions: &impl Conditions,
        words: &mut SlotWords,
        events: &mut PageEvents<'_>,
    ) -> Result<()> {
        words.listen(conditions, 0, |page| events.stir(page))?;
        for index in 0..conditions.count() {
            if self.met.is_some() {
                break;
            }
            self.recheck(index, conditions.get(index)?, WaitTarget::Slot);
        }
        Ok(())
    }

    /// Checks a condition that may be met by now, and registers it only if it is not: a bit that
    /// nobody needs costs the next signal a system call.
    fn recheck(&mut self, index: usize, condition: Condition<'_>, target: WaitTarget) {
        if !self.check(index, condition) {
            condition.register_waiter(target);
            self.check(index, condition);
        }
    }

    fn check(&mut self, index: usize, condition: Condition<'_>) -> bool {
        match condition.met() {
            Ok(true) => self.met = Some(index),
            Ok(false) => return false,
            Err(error) => self.failure = self.failure.or(Some(error)),
        }
        true
    }

    /// Whether nothing was found.
    pub(super) fn is_empty(&self) -> bool {
        self.met.is_none() && self.failure.is_none()
    }

    pub(super) fn answer(self) -> Option<Result<usize>> {
        self.met.map(Ok).or(self.failure.map(Err))
    }
}

/// Finds the conditions on a slot.
pub(super) enum SlotIndex {
    /// By going through all of them: for short lists, and if there is no memory.
    Linear,
    /// (number of the page in [`PageEvents`], slot, index of the condition, what `first_value`
    /// returned), sorted.
    Sorted(Vec<(usize, u32, usize, u64)>),
}

/// The value in the slot from which on the condition, which is not met, may be met. 0 if only a
/// check tells.
fn first_value(condition: &Condition<'_>) -> u64 {
    let in_slot = condition.fence.is_common();
    condition.threshold().filter(|_| in_slot).unwrap_or(0)
}

/// Lists up to this long need no memory.
const LINEAR_MAX: usize = 128;

impl SlotIndex {
    #[inline(never)]
    pub(super) fn of(conditions: &impl Conditions, events: &PageEvents<'_>) -> Result<SlotIndex> {
        let count = conditions.count();
        let mut entries = Vec::new();
        // With too many pages everything is checked anyway.
        if count <= LINEAR_MAX || events.too_many_pages || entries.try_reserve_exact(count).is_err()
        {
            return Ok(SlotIndex::Linear);
        }
        for condition in 0..count {
            let Condition { fence, .. } = conditions.get(condition)?;
            let page = events.number_of(fence.page()).ok_or(Error::Unexpected)?;
            entries.push((
                page,
                fence.index(),
                condition,
                first_value(&conditions.get(condition)?),
            ));
        }
        entries.sort_unstable();
        Ok(SlotIndex::Sorted(entries))
    }

    /// Has `scan` check the conditions on the slots with events since the last time. Returns false
    /// if they are not known, or too many: then everything has to be checked.
    #[inline(never)]
    pub(super) fn check_signaled(
        &self,
        events: &mut PageEvents<'_>,
        conditions: &impl Conditions,
        scan: &mut Scan,
    ) -> Result<bool> {
        if events.too_many_pages || !self.is_quick(conditions.count()) {
            return Ok(false);
        }
        // A peer may name a slot with many conditions again and again.
        let (mut checked, most) = (0, conditions.count());
        let is_complete = events.for_each_signaled(|page, slot| {
            if checked <= most {
                checked += self.check(page, slot, conditions, scan)?;
            }
            Ok(())
        })?;
        Ok(is_complete && checked <= most)
    }

    /// Has `scan` check the conditions whose value a device may have written, after an interrupt.
    /// The values of a long list are read in their order in memory, and of most conditions nothing
    /// else.
    pub(super) fn check_written(
        &self,
        events: &PageEvents<'_>,
        conditions: &impl Conditions,
        scan: &mut Scan,
    ) -> Result<()> {
        let SlotIndex::Sorted(entries) = self else {
            return scan.check_all(conditions, Register::No);
        };
        for (page, slot, condition, first_value) in entries {
            let slot = events.page(*page).and_then(|page| page.slot(*slot).ok());
            if slot.is_none_or(|slot| slot.value_hint() >= *first_value) {
                scan.check(*condition, conditions.get(*condition)?);
            }
            if scan.met.is_some() {
                break;
            }
        }
        Ok(())
    }

    /// Whether looking up what may be hundreds of slots is cheaper than one check of everything.
    fn is_quick(&self, count: usize) -> bool {
        matches!(self, SlotIndex::Sorted(_)) || count <= LINEAR_MAX
    }

    /// Has `scan` check every condition on a slot of a page. Returns how many.
    fn check(
        &self,
        (number, page): (usize, &Page),
        slot: u32,
        conditions: &impl Conditions,
        scan: &mut Scan,
    ) -> Result<usize> {
        let mut checked = 0;
        match self {
            SlotIndex::Linear => {
                for index in 0..conditions.count() {
                    let condition = conditions.get(index)?;
                    let fence = condition.fence;
                    if fence.index() == slot && std::ptr::eq(fence.page(), page) {
                        scan.recheck(index, condition, WaitTarget::Page);
                        checked += 1;
                    }
                }
            }
            SlotIndex::Sorted(entries) => {
                let key = |entry: &(usize, u32, usize, u64)| (entry.0, entry.1);
                let first = entries.partition_point(|entry| key(entry) < (number, slot));
                let found = entries.iter().skip(first);
                for entry in found.take_while(|entry| key(entry) == (number, slot)) {
                    scan.recheck(entry.2, conditions.get(entry.2)?, WaitTarget::Page);
                    checked += 1;
                }
            }
        }
        Ok(checked)
    }
}
