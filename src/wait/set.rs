// SPDX-License-Identifier: MIT
//! A wait set: fences that threads wait for again and again, as epoll's for descriptors.
//!
//! umf_wait() is told its list in each call, and so reads all of it and registers for all of it. A
//! set keeps its entries registered. Its threads sleep on the event counts of its pages, and check
//! the slots that the events name: a wait costs what has changed. This is the protocol of
//! reactor/fence_poller.rs, except that the caller's threads are the pollers, and that there may be
//! several:
//!
//! ```text
//!   wait                                  add or modify an entry             signal (slot.rs)
//!       (lock)                                (lock)
//!   W1  s = the page's event count        W1  s, if the page is new
//!       check the slots that signaled     W2  register it as a waiter        S1  value
//!       read `changes`                    W3  check the value: is it ready?  S2  read waiter bits
//!       (unlock)                              (unlock)                       S3..S5, event count
//!   W4  sleep: event count == s               changes += 1, and wake, if it
//!               and `changes` is the same     is ready or the page is new
//! ```
//!
//! The event count that the set has read is as old as the registration of each of its entries, or
//! older (W1 before W2). So by the argument in fence_poller.rs each event of an entry is beyond it:
//! a thread that read the count before the event does not sleep, or is woken, and the next one that
//! takes the lock checks the slot.
//!
//! *Several threads.* One that takes the lock moves the set's count on and checks for all. It may
//! find an entry ready that another thread sleeps for. The event that made it ready has moved the
//! count which that thread sleeps on, so that thread runs as well. Each of them reports the entry:
//! it stays ready until a check finds that it does not hold any more.
//!
//! *An entry that is ready is not registered.* The next wait checks it, and registers it if it is
//! not met any more, before it sleeps. No thread sleeps while an entry is ready and not reported to
//! it: it would have found it under the lock, or the event or `changes` has moved since.
//!
//! *A page whose last entry is removed* stays mapped while threads sleep on it: `SetPages`.

use super::condition::{Condition, Conditions, Predicate};
use super::page_events::{PageEvents, WakeReason};
use super::records::{MAX_RECORDS, WaitRecords};
use super::set_table::{AfterUnlock, Scope, SetPages, SetTable};
use super::traced;
use crate::config;
use crate::error::{Error, Result};
use crate::fence::Fence;
use crate::sys::futex::{self, Word};
use crate::sys::time::Deadline;
use crate::trace;
use crate::util::atomic::{AtomicU32, Ordering};
use crate::util::mutex::modeled::{Guard, Mutex};
use crate::util::process_bound::ProcessBound;
use crate::util::refs::Ref;
use std::num::NonZeroU32;

pub(crate) use super::set_table::Ready;

/// A wait set as C has it.
pub(crate) struct WaitSetHandle {
    set: Ref<WaitSet>,
}

impl WaitSetHandle {
    pub(crate) fn new() -> Result<Ref<WaitSetHandle>> {
        let set = WaitSet::new()?;
        Ref::try_new(|| Ok(WaitSetHandle { set }))
    }

    /// Returns the set. `Stale` in the child of a fork.
    pub(crate) fn get(&self) -> Result<&Ref<WaitSet>> {
        if self.set.creator.is_ours() { Ok(&self.set) } else { Err(Error::Stale) }
    }
}

impl Drop for WaitSetHandle {
    fn drop(&mut self) {
        if !self.set.creator.is_ours() {
            // In the child of a fork a thread that does not exist may hold the lock.
            std::mem::forget(self.set.clone());
        }
    }
}

/// Entries that threads wait for.
pub(crate) struct WaitSet {
    creator: ProcessBound,
    /// A futex word: moves when a sleeping thread has to know of a change of the entries.
    changes: AtomicU32,
    table: Mutex<SetTable>,
}

impl WaitSet {
    pub(crate) fn new() -> Result<Ref<WaitSet>> {
        let creator = ProcessBound::new();
        // Asked here and not under the lock: the answer takes a descriptor for a moment.
        let _ = futex::has_harmless_waitv();
        let table = SetTable::new();
        Ref::try_new(|| {
            Ok(WaitSet { creator, changes: AtomicU32::new(0), table: Mutex::new(table) })
        })
    }

    fn lock(&self) -> Guard<'_, SetTable> {
        self.table.lock()
    }

    /// Adds an entry, and returns its id.
    pub(crate) fn add(
        &self,
        fence: Ref<Fence>,
        predicate: Predicate,
        user_data: u64,
    ) -> Result<u64> {
        let (id, after) = self.lock().add(fence, predicate, user_data)?;
        self.finish(after);
        Ok(id)
    }

    /// Has an entry wait for something else of the same fence.
    pub(crate) fn modify(&self, id: u64, fence: &Fence, predicate: Predicate) -> Result<()> {
        let after = self.lock().modify(id, fence, predicate)?;
        self.finish(after);
        Ok(())
    }

    /// Removes an entry.
    pub(crate) fn remove(&self, id: u64) -> Result<()> {
        let after = self.lock().remove(id)?;
        self.finish(after);
        Ok(())
    }

    /// Has the threads that sleep notice a change. Called without the lock.
    fn finish(&self, after: AfterUnlock) {
        if after.wakes {
            self.changes.fetch_add(1, Ordering::SeqCst);
            futex::wake(&self.changes, NonZeroU32::MAX);
        }
        if let (true, Some(pages)) = (after.wakes_page, &after.snapshot) {
            pages.iter().for_each(|(page, _)| page.wake_all());
        }
    }

    /// Waits until entries are ready, reports `limit` of them at most, and returns their number.
    /// `report` calls nothing of the library and nothing of its caller's.
    pub(crate) fn wait(
        &self,
        limit: usize,
        deadline: Deadline,
        mut report: impl FnMut(usize, Ready),
    ) -> Result<usize> {
        let is_poll = deadline == Deadline::POLL;
        let count = {
            let mut table = self.lock();
            table.listen(if is_poll { Scope::Everything } else { Scope::Events });
            match table.report(limit, &mut report) {
                0 if is_poll => return Err(Error::TimedOut),
                0 => table.count(),
                found => return Ok(found),
            }
        };
        if trace::is_on() {
            return traced::set(count, || self.block(limit, deadline, &mut report));
        }
        self.block(limit, deadline, &mut report)
    }

    #[inline(never)]
    fn block(
        &self,
        limit: usize,
        deadline: Deadline,
        report: &mut impl FnMut(usize, Ready),
    ) -> Result<usize> {
        loop {
            let (pages, recorded) = {
                let mut table = self.lock();
                let pages = table.pages()?;
                let recorded = Recorded::new(&table, &pages);
                (pages, recorded)
            };
            if let Some(found) = self.sleep_on(&pages, &recorded, limit, deadline, report)? {
                return Ok(found);
            }
        }
    }

    /// Sleeps until entries are ready, or the set has other pages: then this is `None`.
    fn sleep_on(
        &self,
        pages: &Ref<SetPages>,
        recorded: &Recorded,
        limit: usize,
        deadline: Deadline,
        report: &mut impl FnMut(usize, Ready),
    ) -> Result<Option<usize>> {
        let mut events = PageEvents::new();
        events.add_set(pages.iter());
        let mut records = WaitRecords::new();
        // What ended the last sleep. The first check is of polled fences, too.
        let mut reason = WakeReason::Poll;
        // What the threads of the set had found when this one went to sleep.
        let mut found_before = None;
        loop {
            let on_page = events.set_sleeps_on_page();
            let mut table = self.lock();
            // What another thread found since has woken this one too.
            let is_needless = found_before == Some(table.found());
            table.listen(match reason {
                WakeReason::Event | WakeReason::Interrupt => Scope::Events,
                WakeReason::Poll => Scope::Polled,
                WakeReason::Deadline => Scope::Everything,
            });
            match table.report(limit, &mut *report) {
                0 if reason == WakeReason::Deadline => return Err(Error::TimedOut),
                0 if !table.is_current(pages) || recorded.is_missing(pages) => return Ok(None),
                0 => {}
                found => return Ok(Some(found)),
            }
            table.tell_readings(&mut events);
            let expected = self.changes.load(Ordering::SeqCst);
            table.sleepers += 1;
            table.page_sleepers += u32::from(on_page);
            let found = table.found();
            drop(table);
            match found_before.replace(found) {
                None => {}
                Some(_) if is_needless => events.account(None::<std::iter::Empty<_>>),
                Some(_) => events.excuse(),
            }
            let changes = Word { word: &self.changes, expected };
            let slept = records
                .write(recorded)
                .and_then(|()| events.sleep_for_set(Some(changes).filter(|_| !on_page), deadline));
            let mut table = self.lock();
            table.sleepers -= 1;
            table.page_sleepers -= u32::from(on_page);
            drop(table);
            reason = slept?;
            if reason == WakeReason::Event {
                trace::woken();
            }
        }
    }
}

/// The entries of a wait that are recorded. None unless somebody asks for records.
struct Recorded {
    entries: [Option<(Ref<Fence>, Predicate)>; MAX_RECORDS],
    count: usize,
}

impl Recorded {
    fn new(table: &SetTable, pages: &SetPages) -> Recorded {
        let is_wanted = Recorded::is_wanted(pages);
        let count = if is_wanted { table.count() as usize } else { 0 };
        Recorded { entries: table.first(count), count }
    }

    fn is_wanted(pages: &SetPages) -> bool {
        pages.iter().any(|(page, _)| config::is_debug() || page.records_waits())
    }

    /// Whether somebody asks for records since this was made.
    fn is_missing(&self, pages: &SetPages) -> bool {
        self.count == 0 && Recorded::is_wanted(pages)
    }
}

impl Conditions for Recorded {
    fn count(&self) -> usize {
        self.count
    }

    fn get(&self, index: usize) -> Result<Condition<'_>> {
        let (fence, predicate) =
            self.entries.get(index).and_then(Option::as_ref).ok_or(Error::Unexpected)?;
        Ok(predicate.of(fence))
    }
}

#[cfg(all(test, not(modeled)))]
mod tests {
    use super::*;
    use crate::shm::generation::Kind;
    use crate::shm::page::Page;
    use crate::shm::page_budget::clock;
    use std::sync::atomic::AtomicU64;

    #[test]
    fn a_page_does_not_pay_for_a_wake_up_whose_entry_another_thread_took() -> Result<()> {
        const LAST: u64 = 1000;
        const THREADS: u32 = 3;
        let page = Page::create(1)?;
        let fence = Fence::create(&page, Kind::PLAIN, 0)?;
        let set = WaitSet::new()?;
        let reaches = |value| Condition::reached(&fence, value).map(|wait| wait.predicate());
        let id = set.add(fence.clone(), reaches(1)?, 0)?;
        let taken = AtomicU64::new(0);
        let take = || -> Result<()> {
            while taken.load(Ordering::SeqCst) < LAST {
                set.wait(1, Deadline::NEVER, |_, _| {})?;
                let value = fence.value();
                if taken.fetch_max(value, Ordering::SeqCst) < value && value < LAST {
                    set.modify(id, &fence, reaches(value + 1)?)?;
                }
            }
            Ok(())
        };
        let rested = std::thread::scope(|scope| {
            let threads = [(); THREADS as usize].map(|()| scope.spawn(take));
            let mut rested = 0;
            for value in 1..=LAST {
                while set.lock().sleepers < THREADS {
                    std::thread::yield_now();
                }
                rested += u64::from(page.budget().rests_until(clock).is_some());
                assert_eq!(fence.signal(value), Ok(()));
                while taken.load(Ordering::SeqCst) < value {
                    std::thread::yield_now();
                }
            }
            assert!(threads.into_iter().all(|thread| matches!(thread.join(), Ok(Ok(())))));
            rested
        });
        assert_eq!(rested, 0);
        Ok(())
    }
}
