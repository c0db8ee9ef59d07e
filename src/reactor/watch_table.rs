// SPDX-License-Identifier: MIT
//! The watched fences of a page, by slot, and a check of all of them in parts.
//!
//! A check of many fences takes long, and a peer can cause one at any time. So does a check of one
//! fence with many watches that have no order. So a caller gives a check an allowance, serves its
//! other pages, and lets the check go on. A check of all fences proceeds from the last slot to the
//! first. A removed slot is replaced by the last one. That one is either checked already, or comes
//! before the position that the check has reached: no slot is left out.

#![forbid(unsafe_code)]

use super::fence_watches::FenceWatches;
use super::watch::{FenceKey, Watch};
use crate::error::{Error, Result};
use crate::fence::Fence;
use crate::shm::page::Page;
use crate::shm::slot::WaitTarget;
use crate::util::key_map::KeyMap;
use crate::util::refs::Ref;
use crate::wait::Predicate;

/// The watches of a page's fences.
#[derive(Default)]
pub(super) struct WatchTable {
    slots: Vec<WatchedSlot>,
    /// The position of each slot in `slots`.
    positions: KeyMap<u32, u32>,
    /// A check of all slots has reached this position. Those before it remain.
    unchecked: usize,
    /// The slot before that position, if it is checked in part.
    begun: Option<u32>,
}

/// What a visit of a slot's fences found.
#[derive(Clone, Copy, Default)]
pub(super) struct Visit {
    /// Whether any watch completed.
    pub(super) found: bool,
    /// Whether the allowance ended before the check.
    pub(super) is_begun: bool,
}

struct WatchedSlot {
    index: u32,
    /// Several only while this process holds on to fences of the slot that were destroyed.
    fences: Vec<FenceWatches>,
}

/// References to fences whose last watch a check has removed. The thread drops them after the lock
/// is released.
///
/// The end of a fence wakes its waiters, and releases its notifier in the caller's code, which may
/// call the library again. A place for the fence of each `FenceWatches` is reserved.
#[derive(Default)]
pub(super) struct DeferredDrops {
    fences: Vec<Ref<Fence>>,
    reserved: usize,
}

pub(super) fn key(fence: &Fence) -> FenceKey {
    let page = std::ptr::from_ref::<Page>(fence.page()) as usize;
    FenceKey { page, slot: fence.index(), fence: std::ptr::from_ref(fence) as usize }
}

impl DeferredDrops {
    /// Reserves a place for one more fence.
    fn reserve(&mut self) -> Result<()> {
        self.fences.try_reserve(self.reserved + 1).map_err(|_| Error::NoMemory)?;
        self.reserved += 1;
        Ok(())
    }

    fn push(&mut self, fence: Ref<Fence>) {
        self.unreserve();
        self.fences.push(fence);
    }

    /// Returns the place of a fence whose reference its caller drops.
    pub(super) fn unreserve(&mut self) {
        self.reserved -= 1;
    }

    /// Returns a fence, which the caller drops after the lock.
    pub(super) fn pop(&mut self) -> Option<Ref<Fence>> {
        self.fences.pop()
    }
}

impl WatchTable {
    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Returns the number of fences. `None` if there are more fences or slots than `count`, or more
    /// watches than `watches_max`.
    pub(super) fn fences_up_to(&self, count: usize, watches_max: usize) -> Option<usize> {
        if self.slots.len() > count {
            return None;
        }
        let (mut fences, mut watches) = (0, 0);
        for slot in &self.slots {
            fences += slot.fences.len();
            watches += slot.fences.iter().map(FenceWatches::count).sum::<usize>();
        }
        (fences <= count && watches <= watches_max).then_some(fences)
    }

    pub(super) fn get(&mut self, key: FenceKey) -> Option<&mut FenceWatches> {
        let at = self.position(key.slot)?;
        self.slots.get_mut(at)?.fences.iter_mut().find(|watches| watches.is_for(key))
    }

    fn position(&self, slot: u32) -> Option<usize> {
        self.positions.get(&slot).map(|at| *at as usize)
    }

    /// Reserves memory for another watch of a fence.
    pub(super) fn reserve(
        &mut self,
        fence: &Ref<Fence>,
        predicate: Predicate,
        drops: &mut DeferredDrops,
    ) -> Result<()> {
        if let Some(watches) = self.get(key(fence)) {
            return watches.reserve(predicate);
        }
        let mut watches = FenceWatches::new(fence.clone());
        watches.reserve(predicate)?;
        let at = self.reserve_slot(fence.index())?;
        let fences = &mut self.slots.get_mut(at).ok_or(Error::Unexpected)?.fences;
        // Nearly every slot has one: exact, since a Vec would begin with room for four.
        let reserved =
            fences.try_reserve_exact(1).map_err(|_| Error::NoMemory).and_then(|()| drops.reserve());
        if reserved.is_ok() {
            fences.push(watches);
        } else if fences.is_empty() {
            self.remove(at);
        }
        reserved
    }

    /// Returns the position of a slot, which may be new.
    fn reserve_slot(&mut self, index: u32) -> Result<usize> {
        if let Some(at) = self.position(index) {
            return Ok(at);
        }
        self.positions.try_reserve(1).map_err(|_| Error::NoMemory)?;
        self.slots.try_reserve(1).map_err(|_| Error::NoMemory)?;
        let at = self.slots.len();
        // A page has fewer slots than 2^32.
        self.positions.insert(index, at as u32);
        self.slots.push(WatchedSlot { index, fences: Vec::new() });
        Ok(at)
    }

    /// Removes a slot without fences. The last slot takes its position.
    fn remove(&mut self, at: usize) {
        self.positions.remove(&self.slots.swap_remove(at).index);
        if let Some(moved) = self.slots.get(at) {
            self.positions.insert(moved.index, at as u32);
        }
        self.unchecked = self.unchecked.min(self.slots.len());
    }

    /// Checks the fences of a slot for an event, for as many watches as are allowed. `begins`
    /// unless it goes on with such a check. `None` if there is no such fence.
    pub(super) fn check_slot(
        &mut self,
        slot: u32,
        begins: bool,
        allowance: &mut usize,
        drops: &mut DeferredDrops,
    ) -> Option<Visit> {
        let at = self.position(slot)?;
        Some(self.go_on(at, begins, allowance, drops))
    }

    /// Begins a check of all fences.
    pub(super) fn begin_check(&mut self) {
        self.unchecked = self.slots.len();
        self.begun = None;
    }

    /// Ends the check of all fences.
    pub(super) fn end_check(&mut self) {
        self.unchecked = 0;
    }

    /// Whether a check of all fences has begun and has not reached its end.
    pub(super) fn is_checking(&self) -> bool {
        self.unchecked > 0
    }

    /// Whether the check of all fences has checked this slot in part.
    pub(super) fn is_checking_slot(&self, slot: u32) -> bool {
        self.is_checking() && self.begun == Some(slot)
    }

    /// Goes on with the check of all fences, for as many watches as are allowed. Each slot counts
    /// as one too. Returns whether any watch completed.
    pub(super) fn go_on_checking(
        &mut self,
        allowance: &mut usize,
        drops: &mut DeferredDrops,
    ) -> bool {
        let mut found = false;
        while self.unchecked > 0 && *allowance > 0 {
            let at = self.unchecked - 1;
            let slot = self.slots.get(at).map(|slot| slot.index);
            let begins = self.begun.take() != slot;
            *allowance -= usize::from(begins);
            // Before the visit, which may remove the slot.
            self.unchecked = at;
            let visit = self.go_on(at, begins, allowance, drops);
            found |= visit.found;
            if visit.is_begun {
                (self.unchecked, self.begun) = (at + 1, slot);
            }
        }
        found
    }

    /// Begins a pass through the fences at a position, or goes on with it.
    fn go_on(
        &mut self,
        at: usize,
        begins: bool,
        allowance: &mut usize,
        drops: &mut DeferredDrops,
    ) -> Visit {
        let mut is_begun = false;
        let found = self.visit(at, drops, |watches| {
            if begins {
                watches.begin();
            }
            let found = watches.go_on(WaitTarget::Page, allowance);
            is_begun |= !watches.is_empty() && !watches.has_ended();
            found
        });
        Visit { found, is_begun }
    }

    /// Lets `check` check each fence. Returns whether any watch completed.
    pub(super) fn check_each(
        &mut self,
        drops: &mut DeferredDrops,
        mut check: impl FnMut(&mut FenceWatches) -> bool,
    ) -> bool {
        let positions = (0..self.slots.len()).rev();
        positions.fold(false, |found, at| self.visit(at, drops, &mut check) | found)
    }

    /// Lets `check` check the fences at a position, and removes those without watches.
    fn visit(
        &mut self,
        at: usize,
        drops: &mut DeferredDrops,
        mut check: impl FnMut(&mut FenceWatches) -> bool,
    ) -> bool {
        let Some(WatchedSlot { fences, .. }) = self.slots.get_mut(at) else { return false };
        let found = fences.iter_mut().fold(false, |found, watches| check(watches) | found);
        while let Some(at) = fences.iter().position(FenceWatches::is_empty) {
            drops.push(fences.swap_remove(at).into_fence());
        }
        if fences.is_empty() {
            self.remove(at);
        }
        found
    }

    /// Removes a fence if it has no watch left.
    pub(super) fn take_unwatched(&mut self, key: FenceKey) -> Option<Ref<Fence>> {
        let at = self.position(key.slot)?;
        let fences = &mut self.slots.get_mut(at)?.fences;
        let is_unwatched = |watches: &FenceWatches| watches.is_for(key) && watches.is_empty();
        let fence = fences.swap_remove(fences.iter().position(is_unwatched)?).into_fence();
        if fences.is_empty() {
            self.remove(at);
        }
        Some(fence)
    }

    /// Returns the watches, for the end of the loop.
    pub(super) fn into_watches(self) -> impl Iterator<Item = Ref<Watch>> {
        let fences = self.slots.into_iter().flat_map(|slot| slot.fences);
        fences.flat_map(FenceWatches::into_watches)
    }
}
