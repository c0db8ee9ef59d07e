//! Blocking waits for any or for all of many conditions.

use super::condition::Condition;
use super::page_events::{PageEvents, WakeReason};
use super::records::{record_wait, record_waits};
use crate::error::{Error, Result};
use crate::shm::page::Page;
use crate::sys::time::Deadline;

/// A list of conditions, looked up one at a time: the array that C passes needs no copy.
pub(crate) trait Conditions {
    /// The number of conditions, at least one.
    fn count(&self) -> usize;
    /// The condition at `index`, below `count`.
    fn get(&self, index: usize) -> Result<Condition<'_>>;
}

/// Waits until one of the conditions is met, and returns its index. A condition that is met takes
/// precedence over one that cannot be met any more, which ends the wait with its error.
///
/// All conditions are checked, and registered, once. After that the eventcounts name the slots that
/// changed, and only those are checked again. The others are still registered: a signal that clears
/// a registration publishes an event.
pub(crate) fn any(conditions: &impl Conditions, deadline: Deadline) -> Result<usize> {
    if let Some(answer) = scan_all(conditions, Register::No)? {
        return answer;
    }
    if deadline == Deadline::POLL {
        return Err(Error::TimedOut);
    }
    let mut events = PageEvents::of(conditions)?;
    events.listen();
    if let Some(answer) = scan_all(conditions, Register::Yes)? {
        return answer;
    }
    let index = SlotIndex::of(conditions, &events)?;
    let _records = record_waits(conditions)?;
    loop {
        let reason = events.sleep(deadline)?;
        if reason == WakeReason::Deadline {
            break;
        }
        let mut scan = Scan::default();
        let is_complete =
            reason != WakeReason::Poll && events.check_signaled(conditions, &index, &mut scan)?;
        if !is_complete && scan.met.is_none() {
            events.listen();
            scan.check_all(conditions, Register::Yes)?;
        }
        if scan.met.is_none() && scan.failure.is_some() {
            // Another condition may be met, and its event not published yet, or never. It takes
            // precedence over the failure.
            scan.check_all(conditions, Register::No)?;
        }
        if let Some(answer) = scan.answer() {
            return answer;
        }
    }
    scan_all(conditions, Register::No)?.unwrap_or(Err(Error::TimedOut))
}

/// Whether the thread registers as a waiter before it checks a condition.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Register {
    Yes,
    No,
}

/// What was found among conditions of which one is enough.
#[derive(Default)]
pub(super) struct Scan {
    met: Option<usize>,
    failure: Option<Error>,
}

impl Scan {
    /// Checks each condition until one is met.
    fn check_all(&mut self, conditions: &impl Conditions, register: Register) -> Result<()> {
        for index in 0..conditions.count() {
            if self.met.is_some() {
                break;
            }
            let condition = conditions.get(index)?;
            if register == Register::Yes {
                condition.register_waiter();
            }
            self.check(index, condition);
        }
        Ok(())
    }

    /// Checks a condition that was registered before, and registers it again only if it is still
    /// not met: a bit that nobody needs costs the next signal a system call.
    fn recheck(&mut self, index: usize, condition: Condition<'_>) {
        if !self.check(index, condition) {
            condition.register_waiter();
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

    fn answer(self) -> Option<Result<usize>> {
        self.met.map(Ok).or(self.failure.map(Err))
    }
}

fn scan_all(conditions: &impl Conditions, register: Register) -> Result<Option<Result<usize>>> {
    let mut scan = Scan::default();
    scan.check_all(conditions, register)?;
    Ok(scan.answer())
}

/// Finds the conditions on a slot.
pub(super) enum SlotIndex {
    /// By going through all of them: for short lists, and if there is no memory.
    Linear,
    /// (number of the page in [`PageEvents`], slot, index of the condition), sorted.
    Sorted(Vec<(usize, u32, usize)>),
}

/// Lists up to this long need no memory.
const LINEAR_MAX: usize = 128;

impl SlotIndex {
    fn of(conditions: &impl Conditions, events: &PageEvents<'_>) -> Result<SlotIndex> {
        let count = conditions.count();
        let mut entries = Vec::new();
        // With too many pages everything is checked anyway.
        if count <= LINEAR_MAX || events.too_many_pages || entries.try_reserve_exact(count).is_err()
        {
            return Ok(SlotIndex::Linear);
        }
        for condition in 0..count {
            let fence = conditions.get(condition)?.fence;
            let page = events.number_of(fence.page()).ok_or(Error::Unexpected)?;
            entries.push((page, fence.index(), condition));
        }
        entries.sort_unstable();
        Ok(SlotIndex::Sorted(entries))
    }

    /// Whether looking up what may be hundreds of slots is cheaper than one check of everything.
    pub(super) fn is_quick(&self, count: usize) -> bool {
        matches!(self, SlotIndex::Sorted(_)) || count <= LINEAR_MAX
    }

    /// Has `scan` check every condition on a slot of a page.
    pub(super) fn check(
        &self,
        (number, page): (usize, &Page),
        slot: u32,
        conditions: &impl Conditions,
        scan: &mut Scan,
    ) -> Result<()> {
        match self {
            SlotIndex::Linear => {
                for index in 0..conditions.count() {
                    let condition = conditions.get(index)?;
                    let fence = condition.fence;
                    if fence.index() == slot && std::ptr::eq(fence.page(), page) {
                        scan.recheck(index, condition);
                    }
                }
            }
            SlotIndex::Sorted(entries) => {
                let key = |entry: &(usize, u32, usize)| (entry.0, entry.1);
                let first = entries.partition_point(|entry| key(entry) < (number, slot));
                let found = entries.iter().skip(first);
                for entry in found.take_while(|entry| key(entry) == (number, slot)) {
                    scan.recheck(entry.2, conditions.get(entry.2)?);
                }
            }
        }
        Ok(())
    }
}

/// Waits until each of the conditions was met. A condition that cannot be met any more ends the
/// wait with its error, wherever it is in the list.
///
/// The wait goes through the list once, and registers only with the fence that it has got to: the
/// fences behind it can be signaled without waking anybody. What is reached stays reached. Other
/// conditions count as they are when their turn comes. Failures publish an event in any case.
pub(crate) fn all(conditions: &impl Conditions, deadline: Deadline) -> Result<()> {
    let count = conditions.count();
    let first_unmet = |from: usize| -> Result<usize> {
        for index in from..count {
            if !conditions.get(index)?.met()? {
                return Ok(index);
            }
        }
        Ok(count)
    };
    let check_failures =
        |from: usize| (from..count).try_for_each(|index| conditions.get(index)?.met().map(drop));

    let mut at = first_unmet(0)?;
    check_failures(at)?;
    if at == count {
        return Ok(());
    }
    if deadline == Deadline::POLL {
        return Err(Error::TimedOut);
    }
    let mut events = PageEvents::of(conditions)?;
    let mut recorded = None;
    while at < count {
        if events.listen() {
            check_failures(at)?;
        }
        let condition = conditions.get(at)?;
        if condition.met()? {
            // Met before this thread registered: nobody needs to be woken for it.
            at = first_unmet(at + 1)?;
            continue;
        }
        condition.register_waiter();
        if condition.met()? {
            at = first_unmet(at + 1)?;
            continue;
        }
        if recorded.as_ref().is_none_or(|(recorded_at, _)| *recorded_at != at) {
            // The old record is released first: the new one may take its place in the table.
            drop(recorded.take());
            recorded = Some((at, record_wait(&condition)));
        }
        if events.sleep(deadline)? == WakeReason::Deadline {
            return if first_unmet(at)? == count { Ok(()) } else { Err(Error::TimedOut) };
        }
    }
    Ok(())
}
