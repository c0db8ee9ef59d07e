// SPDX-License-Identifier: MIT
//! The watches of one fence: a binary heap by threshold, and a list for those that have none.
//!
//! A signal checks the top of the heap. So its cost does not depend on how many watches wait for
//! higher values. It checks the whole list, in passes that may take several rounds of the poller. A
//! pass goes from the last watch to the first. A removed watch is replaced by the last one, which
//! the pass has checked already, or has yet to reach.

use super::watch::{FenceKey, Watch};
use crate::error::{Error, Result};
use crate::fence::Fence;
use crate::interrupt::OwnedListening;
use crate::shm::slot::WaitTarget;
use crate::trace;
use crate::util::refs::Ref;
use crate::wait::Predicate;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A watch and what it waits for.
struct WatchEntry {
    /// The condition cannot be met below this value.
    threshold: u64,
    predicate: Predicate,
    watch: Ref<Watch>,
}

impl PartialEq for WatchEntry {
    fn eq(&self, other: &WatchEntry) -> bool {
        self.threshold == other.threshold
    }
}

impl Eq for WatchEntry {}

impl PartialOrd for WatchEntry {
    fn partial_cmp(&self, other: &WatchEntry) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for WatchEntry {
    fn cmp(&self, other: &WatchEntry) -> std::cmp::Ordering {
        // The top of a heap is its greatest entry; the lowest threshold has to be there.
        Reverse(self.threshold).cmp(&Reverse(other.threshold))
    }
}

/// The watches of one fence.
pub(crate) struct FenceWatches {
    fence: Ref<Fence>,
    /// Has the fence's notifier listen. `None` if it has none.
    _listening: Option<OwnedListening>,
    /// Those with a threshold: only the lowest is checked, and registered as a waiter.
    by_threshold: BinaryHeap<WatchEntry>,
    /// The others, each of which is.
    unordered: Vec<WatchEntry>,
    /// How many of both are canceled, and have yet to be purged.
    canceled: usize,
    /// What the pass under way has left to check: the heap, and so many watches of the list less
    /// one. 0 if none is.
    left: usize,
}

/// Fewer canceled watches than this are not purged.
const PURGE_FROM: usize = 16;

impl FenceWatches {
    pub(crate) fn new(fence: Ref<Fence>) -> FenceWatches {
        let (by_threshold, unordered) = (BinaryHeap::new(), Vec::new());
        let _listening = fence.listen_owned();
        FenceWatches { fence, _listening, by_threshold, unordered, canceled: 0, left: 0 }
    }

    /// Returns the fence alone.
    pub(crate) fn into_fence(self) -> Ref<Fence> {
        self.fence
    }

    pub(crate) fn is_for(&self, key: FenceKey) -> bool {
        std::ptr::from_ref::<Fence>(&self.fence) as usize == key.fence
    }

    /// Whether no watch waits for the fence.
    pub(crate) fn is_empty(&self) -> bool {
        self.count() == self.canceled
    }

    /// How many watches it has, with canceled ones.
    pub(crate) fn count(&self) -> usize {
        self.by_threshold.len() + self.unordered.len()
    }

    /// Reserves memory for another watch. Most fences have one watch, so the first reservation is
    /// exact.
    pub(crate) fn reserve(&mut self, predicate: Predicate) -> Result<()> {
        let reserved = match predicate.of(&self.fence).threshold() {
            Some(_) if self.by_threshold.is_empty() => self.by_threshold.try_reserve_exact(1),
            Some(_) => self.by_threshold.try_reserve(1),
            None if self.unordered.is_empty() => self.unordered.try_reserve_exact(1),
            None => self.unordered.try_reserve(1),
        };
        reserved.map_err(|_| Error::NoMemory)
    }

    /// Adds a watch, for which memory was reserved, and registers it as a waiter of the fence.
    /// Returns true if it completes at once instead, or if others did.
    pub(crate) fn add(&mut self, predicate: Predicate, watch: Ref<Watch>) -> bool {
        // A threshold is valid only for a condition that is not met now.
        if let Some(outcome) = Watch::check(predicate, &self.fence) {
            return Watch::complete(&watch, outcome);
        }
        // The rewinds so far are told to the earlier watches first: so no watch of this process has
        // another one forget a rewind (rewind.rs).
        let found = self.fence.is_unordered() && self.check(WaitTarget::Page);
        let predicate = predicate.begin(&self.fence);
        watch.set_counted(true);
        // The earlier watches are registered already.
        let completed = match predicate.of(&self.fence).threshold() {
            Some(threshold) => {
                self.by_threshold.push(WatchEntry { threshold, predicate, watch });
                self.check_heap(WaitTarget::Page, &mut { usize::MAX }).found
            }
            None => {
                self.unordered.push(WatchEntry { threshold: 0, predicate, watch });
                self.check_unordered(self.unordered.len() - 1, WaitTarget::Page)
            }
        };
        found | completed
    }

    /// Counts a watch as canceled, and sometimes purges those that are.
    pub(crate) fn count_canceled(&mut self, watch: &Watch) {
        if !watch.set_counted(false) {
            // A check has removed it.
            return;
        }
        self.canceled += 1;
        if self.canceled >= PURGE_FROM && self.canceled * 2 > self.count() {
            // A watch that was canceled this moment still counts as one that waits. It stays until
            // its own call.
            let stays = |entry: &WatchEntry| entry.watch.is_counted();
            self.by_threshold.retain(stays);
            self.unordered.retain(stays);
            self.canceled = 0;
        }
    }

    /// Removes a watch that will be registered again: no entry of it may stay behind.
    pub(crate) fn remove(&mut self, watch: &Watch) {
        if watch.set_counted(false) {
            let stays = |entry: &WatchEntry| !std::ptr::eq::<Watch>(&*entry.watch, watch);
            self.by_threshold.retain(stays);
            self.unordered.retain(stays);
        }
    }

    /// The fence.
    pub(crate) fn fence(&self) -> &Fence {
        &self.fence
    }

    /// Begins a pass through all watches. If one is under way, it begins anew: its end is then the
    /// end of both.
    pub(crate) fn begin(&mut self) {
        self.left = self.unordered.len() + 1;
    }

    /// Whether no pass is under way.
    pub(crate) fn has_ended(&self) -> bool {
        self.left == 0
    }

    /// Goes on with the pass, for as many watches as are allowed: completes those whose condition
    /// is met or failed, and registers the others as waiters of the fence. The caller read the
    /// sequence of `target` before it began the pass. Returns whether any completed.
    pub(crate) fn go_on(&mut self, target: WaitTarget, allowance: &mut usize) -> bool {
        // Some may have been canceled meanwhile.
        let mut left = self.left.min(self.unordered.len() + 1);
        if left == 0 {
            return false;
        }
        let heap = self.check_heap(target, allowance);
        let mut found = heap.found;
        while left > 1 && *allowance > 0 {
            *allowance -= 1;
            left -= 1;
            found |= self.check_unordered(left - 1, target);
        }
        self.left = if left == 1 && heap.ended { 0 } else { left };
        found
    }

    /// A pass in one piece.
    pub(crate) fn check(&mut self, target: WaitTarget) -> bool {
        self.begin();
        self.go_on(target, &mut { usize::MAX })
    }

    /// Checks the heap down to a watch that waits on: that one, and as many as are allowed.
    fn check_heap(&mut self, target: WaitTarget, allowance: &mut usize) -> HeapCheck {
        let mut found = false;
        while let Some(entry) = self.by_threshold.peek() {
            let checked = Self::check_entry(&self.fence, entry, target);
            match checked {
                Checked::Waiting => break,
                Checked::Completed => found = true,
                Checked::CanceledCounted => self.canceled -= 1,
                Checked::Canceled => {}
            }
            self.by_threshold.pop();
            if *allowance == 0 {
                return HeapCheck { found, ended: self.by_threshold.is_empty() };
            }
            *allowance -= 1;
        }
        HeapCheck { found, ended: true }
    }

    /// Checks a watch of the list. Returns whether it completed.
    fn check_unordered(&mut self, at: usize, target: WaitTarget) -> bool {
        let Some(entry) = self.unordered.get(at) else { return false };
        let checked = Self::check_entry(&self.fence, entry, target);
        match checked {
            Checked::Waiting => return false,
            Checked::CanceledCounted => self.canceled -= 1,
            Checked::Completed | Checked::Canceled => {}
        }
        self.unordered.swap_remove(at);
        matches!(checked, Checked::Completed)
    }

    fn check_entry(fence: &Fence, entry: &WatchEntry, target: WaitTarget) -> Checked {
        let mut outcome = Watch::check(entry.predicate, fence);
        if outcome.is_none() {
            if !entry.watch.is_armed() {
                return Checked::of_canceled(entry);
            }
            // W2, then W3. Not before the first check: a waiter bit that no watch needs would cost
            // the next signal a system call.
            entry.predicate.of(fence).register_waiter(target);
            outcome = Watch::check(entry.predicate, fence);
        }
        if let (Some(outcome), true) = (outcome, trace::is_on()) {
            let point = fence.point(fence.value());
            entry.watch.set_cause(match outcome {
                Ok(()) => point.arrow(),
                Err(_) => point.failure_arrow(),
            });
        }
        match outcome {
            None => Checked::Waiting,
            Some(outcome) if Watch::complete(&entry.watch, outcome) => {
                entry.watch.set_counted(false);
                Checked::Completed
            }
            Some(_) => Checked::of_canceled(entry),
        }
    }

    /// Returns the watches, for the end of the loop.
    pub(crate) fn into_watches(self) -> impl Iterator<Item = Ref<Watch>> {
        self.by_threshold.into_vec().into_iter().chain(self.unordered).map(|entry| entry.watch)
    }
}

struct HeapCheck {
    /// Whether any watch completed.
    found: bool,
    ended: bool,
}

/// What a check of one watch found.
enum Checked {
    Waiting,
    Completed,
    /// Canceled; `canceled` does not count it yet.
    Canceled,
    /// Canceled; `canceled` counts it.
    CanceledCounted,
}

impl Checked {
    fn of_canceled(entry: &WatchEntry) -> Checked {
        if entry.watch.set_counted(false) { Checked::Canceled } else { Checked::CanceledCounted }
    }
}
