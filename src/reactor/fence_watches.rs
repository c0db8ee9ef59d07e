//! The watches of one fence, so arranged that a signal costs the same however many have yet to
//! wait.

use super::watch::{Address, Watch};
use crate::error::{Error, Result};
use crate::fence::Fence;
use crate::util::refs::Ref;
use crate::wait::Predicate;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A watch and what it waits for.
struct Entry {
    /// The value below which it cannot be over.
    from: u64,
    demand: Predicate,
    watch: Ref<Watch>,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Entry) -> bool {
        self.from == other.from
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Entry) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Entry) -> std::cmp::Ordering {
        // The heap's top is its greatest.
        Reverse(self.from).cmp(&Reverse(other.from))
    }
}

/// The watches of one fence.
pub(crate) struct Spot {
    fence: Ref<Fence>,
    /// Those with a turning point: only the lowest has to be looked at, and announced.
    ordered: BinaryHeap<Entry>,
    /// The others, all of which have to.
    scanned: Vec<Entry>,
    /// How many of both were cancelled, and wait to be swept out.
    cancelled: usize,
}

/// Fewer than this are not worth sweeping out.
const SWEEP_FROM: usize = 16;

impl Spot {
    pub(crate) fn new(fence: Ref<Fence>) -> Spot {
        Spot { fence, ordered: BinaryHeap::new(), scanned: Vec::new(), cancelled: 0 }
    }

    /// The fence alone.
    pub(crate) fn into_fence(self) -> Ref<Fence> {
        self.fence
    }

    pub(crate) fn is_at(&self, address: Address) -> bool {
        std::ptr::from_ref::<Fence>(&self.fence) as usize == address.fence
    }

    /// Nobody watches the fence any more.
    pub(crate) fn is_empty(&self) -> bool {
        self.ordered.len() + self.scanned.len() == self.cancelled
    }

    /// Makes room for another watch. Most fences have one, for which a list that is to grow would
    /// be too much.
    pub(crate) fn reserve(&mut self, demand: Predicate) -> Result<()> {
        let room = match demand.of(&self.fence).threshold() {
            Some(_) if self.ordered.is_empty() => self.ordered.try_reserve_exact(1),
            Some(_) => self.ordered.try_reserve(1),
            None if self.scanned.is_empty() => self.scanned.try_reserve_exact(1),
            None => self.scanned.try_reserve(1),
        };
        room.map_err(|_| Error::NoMemory)
    }

    /// Adds a watch, unless it is over already: then true. There is room for it. To be followed by
    /// a look, since it is not announced.
    pub(crate) fn add(&mut self, demand: Predicate, watch: Ref<Watch>) -> bool {
        // A turning point is one only for what is not met before.
        if let Some(outcome) = Watch::look(demand, &self.fence) {
            return Watch::decide(&watch, outcome);
        }
        watch.list(true);
        match demand.of(&self.fence).threshold() {
            Some(from) => self.ordered.push(Entry { from, demand, watch }),
            None => self.scanned.push(Entry { from: 0, demand, watch }),
        }
        false
    }

    /// Notes that a watch was cancelled, and sweeps now and then.
    pub(crate) fn forget(&mut self, watch: &Watch) {
        if !watch.list(false) {
            // A look came upon it before.
            return;
        }
        self.cancelled += 1;
        if self.cancelled >= SWEEP_FROM
            && self.cancelled * 2 > self.ordered.len() + self.scanned.len()
        {
            // One that was cancelled this moment and is not counted yet stays, and is counted when
            // its turn comes.
            let stays = |entry: &Entry| entry.watch.is_listed();
            self.ordered.retain(stays);
            self.scanned.retain(stays);
            self.cancelled = 0;
        }
    }

    /// Takes a watch out that is going to be used again: nothing of it may stay behind.
    pub(crate) fn remove(&mut self, watch: &Watch) {
        if watch.list(false) {
            let stays = |entry: &Entry| !std::ptr::eq::<Watch>(&*entry.watch, watch);
            self.ordered.retain(stays);
            self.scanned.retain(stays);
        }
    }

    /// Finds what is over, and announces to the fence what is not. The page's bell was listened to
    /// before. Tells whether anything was over.
    pub(crate) fn look(&mut self) -> bool {
        let mut found = false;
        while let Some(entry) = self.ordered.peek() {
            let seen = Self::look_at(&self.fence, entry);
            match seen {
                Seen::Waiting => break,
                Seen::Over => found = true,
                Seen::Swept => self.cancelled -= 1,
                Seen::Cancelled => {}
            }
            self.ordered.pop();
        }
        let (fence, cancelled) = (&self.fence, &mut self.cancelled);
        self.scanned.retain(|entry| {
            let seen = Self::look_at(fence, entry);
            match seen {
                Seen::Over => found = true,
                Seen::Swept => *cancelled -= 1,
                Seen::Waiting | Seen::Cancelled => {}
            }
            matches!(seen, Seen::Waiting)
        });
        found
    }

    fn look_at(fence: &Fence, entry: &Entry) -> Seen {
        let mut outcome = Watch::look(entry.demand, fence);
        if outcome.is_none() {
            if !entry.watch.is_armed() {
                return Seen::of_cancelled(entry);
            }
            // W2, and W3 again: a bit that nobody needs would cost the next signal a system call.
            entry.demand.of(fence).register_waiter();
            outcome = Watch::look(entry.demand, fence);
        }
        match outcome {
            None => Seen::Waiting,
            Some(outcome) if Watch::decide(&entry.watch, outcome) => {
                entry.watch.list(false);
                Seen::Over
            }
            Some(_) => Seen::of_cancelled(entry),
        }
    }

    /// The watches themselves, for the end of the loop.
    pub(crate) fn into_watches(self) -> impl Iterator<Item = Ref<Watch>> {
        self.ordered.into_vec().into_iter().chain(self.scanned).map(|entry| entry.watch)
    }
}

/// What a look found.
enum Seen {
    Waiting,
    Over,
    /// Cancelled, and not counted as that yet.
    Cancelled,
    /// Cancelled, and counted.
    Swept,
}

impl Seen {
    fn of_cancelled(entry: &Entry) -> Seen {
        if entry.watch.list(false) { Seen::Cancelled } else { Seen::Swept }
    }
}
