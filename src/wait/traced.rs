// SPDX-License-Identifier: MIT
//! Waits as traces show them: their begin and end, and which signal ended them.

use super::condition::{Comparison, Condition, Conditions, Op, Until};
use crate::error::{Error, Result};
use crate::trace::{self, Subject};

/// Records a wait for one condition.
#[cold]
#[inline(never)]
pub(super) fn one(condition: &Condition<'_>, wait: impl FnOnce() -> Result<()>) -> Result<()> {
    trace::begin(&subject(condition));
    let result = wait();
    record_end(Some(condition), result);
    result
}

/// Records a wait for any of many conditions.
#[cold]
#[inline(never)]
pub(super) fn any(
    conditions: &impl Conditions,
    wait: impl FnOnce() -> Result<usize>,
) -> Result<usize> {
    trace::begin(&subject_of_many("wait for any of", conditions));
    let result = wait();
    let met = result.ok().and_then(|index| conditions.get(index).ok());
    record_end(met.as_ref(), result.map(drop));
    result
}

/// Records a wait for a set of so many entries. Which of them ended it is not recorded.
#[cold]
#[inline(never)]
pub(super) fn set(count: u32, wait: impl FnOnce() -> Result<usize>) -> Result<usize> {
    trace::begin(&Subject::Fences("wait for a set of", count.into()));
    let result = wait();
    trace::end(result.map(drop));
    result
}

/// Records a wait for all of many conditions. Which of them was met last is not known.
#[cold]
#[inline(never)]
pub(super) fn all(conditions: &impl Conditions, wait: impl FnOnce() -> Result<()>) -> Result<()> {
    trace::begin(&subject_of_many("wait for all of", conditions));
    let result = wait();
    for condition in
        (0..conditions.count().min(MAX_ARROWS)).filter_map(|at| conditions.get(at).ok())
    {
        record_condition(&condition, result);
    }
    trace::end(result);
    result
}

/// The most arrows that lead to the end of a wait for all.
const MAX_ARROWS: usize = 8;

fn record_end(condition: Option<&Condition<'_>>, result: Result<()>) {
    if let Some(condition) = condition {
        record_condition(condition, result);
    }
    trace::end(result);
}

/// Records why the wait for a condition is over, with an arrow from the signal or the failure.
fn record_condition(condition: &Condition<'_>, result: Result<()>) {
    let value = condition.fence.value();
    let point = condition.fence.point(value);
    // A rewind, or another store, came before this thread.
    let is_gone = condition.fence.is_unordered() && !condition.holds(value);
    let name = if is_gone { "reached before" } else { "reached" };
    match result {
        Ok(()) => trace::reached(&Subject::Fence(name, " = ", point), point.arrow()),
        Err(Error::FenceFailed | Error::OwnerDead) if condition.fence.error() != Ok(None) => {
            trace::reached(&Subject::Fence("failed", " at ", point), point.failure_arrow());
        }
        Err(_) => {}
    }
}

fn subject_of_many(name: &'static str, conditions: &impl Conditions) -> Subject {
    Subject::Fences(name, conditions.count() as u64)
}

fn subject(condition: &Condition<'_>) -> Subject {
    let name = match condition.until {
        Until::Signaled => "wait",
        Until::Submitted => "wait for submission",
    };
    condition.subject(name)
}

impl Condition<'_> {
    /// The condition, as traces name it.
    pub(crate) fn subject(&self, name: &'static str) -> Subject {
        let between = match self.comparison {
            Comparison::Reached => " >= ",
            Comparison::Before => " < ",
            Comparison::Equal => " == ",
            Comparison::Differs => " != ",
            Comparison::Masked { .. } => " by mask ",
            Comparison::Plain { op: Op::Ge, .. } => " >= ",
            Comparison::Plain { op: Op::Gt, .. } => " > ",
            Comparison::Plain { op: Op::Eq, .. } => " == ",
            Comparison::Plain { op: Op::Ne, .. } => " != ",
            Comparison::Plain { op: Op::Lt, .. } => " < ",
            Comparison::Plain { op: Op::Le, .. } => " <= ",
        };
        Subject::Fence(name, between, self.fence.point(self.value))
    }
}
