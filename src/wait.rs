//! Waiting: for one condition, for any or for all of many.

use crate::error::{Error, Result};
use crate::fence::Fence;
use crate::page::Page;
use crate::slot::{self, Bed, Width};
use crate::sys::futex::{self, Sleep, WAITV_MAX, Word};
use crate::sys::time::Deadline;
use std::num::NonZeroU32;
use std::ops::ControlFlow;

/// Which of a fence's values counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Until {
    /// The value itself.
    Signaled,
    /// The pending value: work that will signal it was submitted (Mesa: VK_SYNC_WAIT_PENDING). Only with [`Test::Reached`].
    Submitted,
}

/// How a fence's value is compared with the condition's. What hardware waits can do: xe's wait_user_fence, HSA's signals,
/// CUDA's stream memory operations.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Test {
    /// At least the condition's; for a 32-bit fence, not behind it.
    Reached,
    /// Less than the condition's; for a 32-bit fence, behind it.
    Before,
    /// Equal.
    Equal,
    /// Not equal.
    Differs,
    /// Compared as plain numbers, under a mask: `(value & mask) op (condition's & mask)`.
    Masked { mask: u64, op: Op },
}

/// A comparison of two plain numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Op {
    Ge,
    Gt,
    Eq,
    Ne,
    Lt,
    Le,
}

impl Op {
    fn holds(self, a: u64, b: u64) -> bool {
        match self {
            Op::Ge => a >= b,
            Op::Gt => a > b,
            Op::Eq => a == b,
            Op::Ne => a != b,
            Op::Lt => a < b,
            Op::Le => a <= b,
        }
    }
}

/// One entry of a wait.
#[derive(Clone, Copy)]
pub(crate) struct Condition<'a> {
    /// Whose value.
    pub(crate) fence: &'a Fence,
    /// What it is compared with.
    pub(crate) value: u64,
    pub(crate) test: Test,
    pub(crate) until: Until,
}

impl<'a> Condition<'a> {
    /// The everyday one: until the fence has reached the value.
    #[inline]
    pub(crate) fn reached(fence: &'a Fence, value: u64) -> Condition<'a> {
        Condition { fence, value, test: Test::Reached, until: Until::Signaled }
    }

    /// `fence`'s value `op` `value`, under `mask` unless that is 0. `Invalid` for a value that the fence cannot have, and for
    /// one that it would have to exceed but cannot.
    pub(crate) fn new(fence: &'a Fence, op: Op, value: u64, mask: u64, until: Until) -> Result<Condition<'a>> {
        let width = fence.width();
        if !width.holds(value) {
            return Err(Error::Invalid);
        }
        // v > T is v >= T+1, and v <= T is v < T+1.
        let (test, value) = match (op, width.after(value)) {
            _ if mask != 0 => (Test::Masked { mask, op }, value),
            (Op::Ge, _) => (Test::Reached, value),
            (Op::Lt, _) => (Test::Before, value),
            (Op::Eq, _) => (Test::Equal, value),
            (Op::Ne, _) => (Test::Differs, value),
            (Op::Gt, after) => (Test::Reached, after.ok_or(Error::Invalid)?),
            (Op::Le, Some(after)) => (Test::Before, after),
            (Op::Le, None) => (Test::Reached, 0),
        };
        if until == Until::Submitted && test != Test::Reached {
            return Err(Error::Invalid);
        }
        Ok(Condition { fence, value, test, until })
    }

    #[inline]
    fn met(&self) -> Result<bool> {
        // What this process has seen reached needs no look at the shared memory.
        if self.test == Test::Reached && self.fence.has_seen(self.value) {
            return Ok(true);
        }
        if self.until == Until::Submitted && self.fits(self.fence.pending_value()) {
            return Ok(true);
        }
        if self.fence.check(|value| self.fits(value))? {
            return Ok(true);
        }
        if self.is_past() { Err(Error::Past) } else { Ok(false) }
    }

    #[inline]
    fn fits(&self, value: u64) -> bool {
        let before = || self.fence.width().is_before(value, self.value);
        match self.test {
            Test::Reached => !before(),
            Test::Before => before(),
            Test::Equal => value == self.value,
            Test::Differs => value != self.value,
            Test::Masked { mask, op } => op.holds(value & mask, self.value & mask),
        }
    }

    /// Whether a value that only grows is beyond where the condition, which is not met, could be.
    fn is_past(&self) -> bool {
        let value = self.fence.value();
        self.fence.width() == Width::Bits64
            && match self.test {
                Test::Before => value >= self.value,
                Test::Equal => value > self.value,
                _ => false,
            }
    }

    /// The same as `met`, as a reason to stop waiting.
    fn settled(&self) -> ControlFlow<Result<()>> {
        match self.met() {
            Ok(false) => ControlFlow::Continue(()),
            Ok(true) => ControlFlow::Break(Ok(())),
            Err(error) => ControlFlow::Break(Err(error)),
        }
    }

    /// The residues of the values at which the condition, which is not met now, can become met: a signal wakes who waits for
    /// a value that it passes.
    fn residues(&self) -> slot::Residues {
        match self.test {
            // Reached at T. Before: a 32-bit value falls behind T when it passes T + 2^31, of the same residue. Equal: at T.
            Test::Reached | Test::Before | Test::Equal => slot::residue(self.value),
            // It differs once it left T.
            Test::Differs => slot::residue(self.value.wrapping_add(1)),
            Test::Masked { .. } => slot::ALL,
        }
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
    let spinning = &condition.fence.spinning;
    if let Some(answer) = spinning.spin(deadline, || condition.settled().break_value()) {
        return answer;
    }
    let residues = NonZeroU32::new(condition.residues()).unwrap_or(NonZeroU32::MAX);
    spinning.sample(|| condition.fence.slot().sleep_until(residues, deadline, || condition.settled()))?
}

/// A list of conditions that are looked up one at a time: what C hands over needs no copy.
pub(crate) trait Conditions {
    /// How many there are; at least one.
    fn count(&self) -> usize;
    /// The condition at `index`, below `count`.
    fn get(&self, index: usize) -> Result<Condition<'_>>;
}

/// Waits until one of the conditions is met, and tells which. One that is met counts before one that cannot be met any
/// more, which ends the wait with its error.
pub(crate) fn any(conditions: &impl Conditions, deadline: Deadline) -> Result<usize> {
    let look = |announce: bool| -> Result<Option<usize>> {
        let mut failure = None;
        for index in 0..conditions.count() {
            let condition = conditions.get(index)?;
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
    let mut bells = Bells::of(conditions)?;
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
            if !conditions.get(index)?.met()? {
                return Ok(index);
            }
        }
        Ok(count)
    };
    let any_failure = |from: usize| (from..count).try_for_each(|index| conditions.get(index)?.met().map(drop));

    let mut at = first_unmet(0)?;
    any_failure(at)?;
    if at == count {
        return Ok(());
    }
    if deadline == Deadline::POLL {
        return Err(Error::TimedOut);
    }
    let mut bells = Bells::of(conditions)?;
    while at < count {
        if bells.listen() {
            any_failure(at)?;
        }
        let condition = conditions.get(at)?;
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
    fn of(conditions: &'a impl Conditions) -> Result<Bells<'a>> {
        let most = if futex::has_waitv() { WAITV_MAX } else { 1 };
        let mut bells = Bells { rung: [const { None }; WAITV_MAX], count: 0, crowded: false, slice_ns: SLICE_MIN_NS };
        for index in 0..conditions.count() {
            let page = conditions.get(index)?.fence.page();
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
        Ok(bells)
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
