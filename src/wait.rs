//! Waiting: for one condition, for any or for all of many.

use crate::error::{Error, Result};
use crate::fence::Fence;
use crate::page::Page;
use crate::slot::{self, Bed};
use crate::sys::futex::{self, Sleep, WAITV_MAX, Word};
use crate::sys::time::Deadline;
use std::num::NonZeroU32;
use std::ops::ControlFlow;

/// What a wait is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Until {
    /// The value is reached.
    Signaled,
    /// Work that will signal the value was submitted, or the value is reached (Vulkan: VK_SYNC_WAIT_PENDING).
    Submitted,
}

/// One entry of a wait.
#[derive(Clone, Copy)]
pub(crate) struct Condition<'a> {
    /// Whose value.
    pub(crate) fence: &'a Fence,
    /// The value that the fence's has to be at least.
    pub(crate) value: u64,
    /// Which value of the fence counts.
    pub(crate) until: Until,
}

impl Condition<'_> {
    #[inline]
    fn met(&self) -> Result<bool> {
        match self.until {
            Until::Signaled => self.fence.reached(self.value),
            Until::Submitted => self.fence.submitted(self.value),
        }
    }

    /// The same, as a reason to stop waiting.
    fn settled(&self) -> ControlFlow<Result<()>> {
        match self.met() {
            Ok(false) => ControlFlow::Continue(()),
            Ok(true) => ControlFlow::Break(Ok(())),
            Err(error) => ControlFlow::Break(Err(error)),
        }
    }

    fn residues(&self) -> slot::Residues {
        slot::residue(self.value)
    }
}

/// Waits for one condition.
#[inline]
pub(crate) fn one(condition: Condition<'_>, deadline: Deadline) -> Result<()> {
    if condition.met()? {
        return Ok(());
    }
    if deadline == Deadline::POLL {
        return Err(Error::TimedOut);
    }
    let residues = NonZeroU32::new(condition.residues()).unwrap_or(NonZeroU32::MAX);
    condition.fence.slot().sleep_until(residues, deadline, || condition.settled())?
}

/// A list of conditions that are looked up one at a time: what C hands over needs no copy.
pub(crate) trait Conditions {
    /// How many there are; at least one.
    fn count(&self) -> usize;
    /// The condition at `index`, below `count`.
    fn get(&self, index: usize) -> Condition<'_>;
}

/// Waits until one of the conditions is met, and tells which. One that is met counts before one that cannot be met any
/// more, which ends the wait with its error.
pub(crate) fn any(conditions: &impl Conditions, deadline: Deadline) -> Result<usize> {
    let look = |announce: bool| -> Result<Option<usize>> {
        let mut failure = None;
        for index in 0..conditions.count() {
            let condition = conditions.get(index);
            if announce {
                condition.fence.slot().announce(Bed::Bell, condition.residues());
            }
            match condition.met() {
                Ok(true) => return Ok(Some(index)),
                Ok(false) => {}
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        failure.map_or(Ok(None), Err)
    };
    if let Some(index) = look(false)? {
        return Ok(index);
    }
    if deadline == Deadline::POLL {
        return Err(Error::TimedOut);
    }
    let mut bells = Bells::of(conditions);
    loop {
        bells.listen();
        if let Some(index) = look(true)? {
            return Ok(index);
        }
        if bells.sleep(deadline)? == Sleep::TimedOut {
            return look(false)?.ok_or(Error::TimedOut);
        }
    }
}

/// Waits until each of the conditions was met. One that cannot be met any more ends the wait with its error, whichever
/// it is.
///
/// Conditions that were met stay met, so the wait goes through the list once, and announces itself only to the fence it
/// has got to: the fences behind it may go on without waking anybody. Failures ring the bell unasked.
pub(crate) fn all(conditions: &impl Conditions, deadline: Deadline) -> Result<()> {
    let count = conditions.count();
    let first_unmet = |from: usize| -> Result<usize> {
        for index in from..count {
            if !conditions.get(index).met()? {
                return Ok(index);
            }
        }
        Ok(count)
    };
    let any_failure = |from: usize| (from..count).try_for_each(|index| conditions.get(index).met().map(drop));

    let mut at = first_unmet(0)?;
    any_failure(at)?;
    if at == count {
        return Ok(());
    }
    if deadline == Deadline::POLL {
        return Err(Error::TimedOut);
    }
    let mut bells = Bells::of(conditions);
    while at < count {
        if bells.listen() {
            any_failure(at)?;
        }
        let condition = conditions.get(at);
        condition.fence.slot().announce(Bed::Bell, condition.residues());
        if condition.met()? {
            at = first_unmet(at)?;
        } else if bells.sleep(deadline)? == Sleep::TimedOut {
            return if first_unmet(at)? == count { Ok(()) } else { Err(Error::TimedOut) };
        }
    }
    Ok(())
}

/// The bells of the pages whose fences a wait is for.
struct Bells<'a> {
    rung: [Option<Rung<'a>>; WAITV_MAX],
    count: usize,
    /// The pages are more than one sleep can listen to.
    crowded: bool,
    /// How long the next sleep of a crowd may be.
    slice_ns: u64,
}

/// A bell, and what was read there before looking at the fences.
struct Rung<'a> {
    page: &'a Page,
    sequence: u32,
    failures: u32,
}

/// What a sleep that cannot hear every bell may cost in delay: it grows from the first to the second.
const SLICE_MIN_NS: u64 = 1_000_000;
const SLICE_MAX_NS: u64 = 16_000_000;

impl<'a> Bells<'a> {
    fn of(conditions: &'a impl Conditions) -> Bells<'a> {
        let most = if futex::has_waitv() { WAITV_MAX } else { 1 };
        let mut bells = Bells { rung: [const { None }; WAITV_MAX], count: 0, crowded: false, slice_ns: SLICE_MIN_NS };
        for index in 0..conditions.count() {
            let page = conditions.get(index).fence.page();
            // Most recently added first: neighbours in a list tend to share their page.
            if bells.rung.iter().take(bells.count).flatten().rev().any(|rung| std::ptr::eq(rung.page, page)) {
                continue;
            }
            match bells.rung.get_mut(bells.count) {
                Some(free) if bells.count < most => {
                    *free = Some(Rung { page, sequence: 0, failures: 0 });
                    bells.count += 1;
                }
                _ => bells.crowded = true,
            }
        }
        bells
    }

    /// W1 for every bell. To be called before announcing oneself to any slot. Tells whether a fence of these pages may
    /// have failed since the last time.
    fn listen(&mut self) -> bool {
        let mut failed = self.crowded;
        for rung in self.rung.iter_mut().flatten() {
            rung.sequence = rung.page.bell().sequence().load(crate::sync::Ordering::Acquire);
            let failures = rung.page.bell().failures();
            failed |= failures != rung.failures;
            rung.failures = failures;
        }
        failed
    }

    /// Sleeps until one of the bells rang since `listen`. `TimedOut` only at the deadline.
    fn sleep(&mut self, deadline: Deadline) -> Result<Sleep> {
        if !self.crowded {
            return self.sleep_listening(deadline);
        }
        // A kernel before 5.16 (or a sandbox) without futex_waitv and several pages, or more than 128 pages: nothing can
        // sleep on all of them, so the sleep is cut into slices that grow.
        let slice = deadline.within(self.slice_ns);
        self.slice_ns = (self.slice_ns * 2).min(SLICE_MAX_NS);
        match self.sleep_listening(slice)? {
            Sleep::TimedOut if slice != deadline => Ok(Sleep::Woken),
            ended => Ok(ended),
        }
    }

    fn sleep_listening(&self, deadline: Deadline) -> Result<Sleep> {
        let mut words =
            self.rung.iter().flatten().map(|rung| Word { word: rung.page.bell().sequence(), expected: rung.sequence });
        match (self.count, words.next()) {
            (1, Some(only)) => futex::wait(only.word, only.expected, NonZeroU32::MAX, deadline),
            (_, first) => futex::wait_many(first.into_iter().chain(words), deadline),
        }
    }
}
