// SPDX-License-Identifier: MIT
//! What a wait is for: a fence, a comparison and a value.

use crate::error::{Error, Result};
use crate::fence::{Fence, RecordPlace, WaitRecord};
use crate::shm::participant::Participant;
use crate::shm::residue::{self, Residues, Width};
use crate::shm::rewind::{self, Moment};
use crate::shm::slot::WaitTarget;
use crate::shm::wait_table::{RecordContents, Role};
use std::ops::ControlFlow;

/// Which of a fence's two values is compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Until {
    /// The value itself.
    Signaled,
    /// The pending value: work that will signal it was submitted (Mesa: VK_SYNC_WAIT_PENDING). Only
    /// with [`Comparison::Reached`].
    Submitted,
}

/// How a fence's value is compared with the condition's: an [`Op`] as [`Condition::new`] simplified
/// it. `>` and `<=` became `>=` and `<` of the next value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Comparison {
    /// At least the condition's. For a 32-bit fence, not behind it.
    Reached,
    /// Less than the condition's. For a 32-bit fence, behind it.
    Before,
    /// Equal.
    Equal,
    /// Not equal.
    Differs,
    /// Compared as plain numbers, under a mask: `(value & mask) op (condition's & mask)`.
    Masked { mask: u64, op: Op },
    /// Compared as plain numbers, of an unordered fence.
    Plain { op: Op, signed: bool },
}

/// What the caller asks for, UMF_OP_*: a comparison of two plain numbers.
///
/// These are the comparisons that hardware waits offer: xe's wait_user_fence, HSA's signals, CUDA's
/// stream memory operations.
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

/// The sign bit of a value.
const SIGN: u64 = 1 << 63;

/// One entry of a wait.
#[derive(Clone, Copy)]
pub(crate) struct Condition<'a> {
    pub(crate) fence: &'a Fence,
    /// What the fence's value is compared with.
    pub(crate) value: u64,
    pub(crate) comparison: Comparison,
    pub(crate) until: Until,
    /// When the wait began: values that an unordered fence had since then count.
    pub(crate) since: Moment,
}

/// A condition without its fence, for callers that keep their own reference to the fence.
#[derive(Clone, Copy)]
pub(crate) struct Predicate {
    value: u64,
    comparison: Comparison,
    until: Until,
    since: Moment,
}

impl Predicate {
    /// The condition on `fence`, which has to be the fence that the predicate was made for.
    #[inline]
    pub(crate) fn of(self, fence: &Fence) -> Condition<'_> {
        let Predicate { value, comparison, until, since } = self;
        Condition { fence, value, comparison, until, since }
    }

    /// The same for a wait that begins now, whether or not it has begun before.
    pub(super) fn begin_again(self, fence: &Fence) -> Predicate {
        Predicate { since: rewind::NEVER, ..self }.begin(fence)
    }

    /// The same for a wait that begins now, if it has not begun.
    pub(crate) fn begin(self, fence: &Fence) -> Predicate {
        self.of(fence).begin().predicate()
    }
}

impl<'a> Condition<'a> {
    /// The common one: the fence has reached the value. `Invalid` for a value that the fence cannot
    /// have.
    pub(crate) fn reached(fence: &'a Fence, value: u64) -> Result<Condition<'a>> {
        let mut comparison = Comparison::Reached;
        // The common kind takes one test.
        if !fence.is_common() {
            if fence.is_unordered() {
                comparison = Comparison::Plain { op: Op::Ge, signed: false };
            } else if !fence.width().holds(value) {
                return Err(Error::Invalid);
            }
        }
        Ok(Condition { fence, value, comparison, until: Until::Signaled, since: rewind::NEVER })
    }

    /// `fence`'s value `op` `value`, under `mask` unless that is 0. `Invalid` for a value that the
    /// fence cannot have, and for one that it would have to exceed but cannot. Only values of
    /// unordered fences are compared as signed numbers, without a mask.
    pub(crate) fn new(
        fence: &'a Fence,
        (op, signed): (Op, bool),
        value: u64,
        mask: u64,
        until: Until,
    ) -> Result<Condition<'a>> {
        if fence.is_unordered() || signed {
            return Condition::unordered(fence, (op, signed), value, mask, until);
        }
        let width = fence.width();
        if !width.holds(value) {
            return Err(Error::Invalid);
        }
        // v > T is v >= T+1, and v <= T is v < T+1.
        let (comparison, value) = match (op, width.after(value)) {
            _ if mask != 0 => (Comparison::Masked { mask, op }, value),
            (Op::Ge, _) => (Comparison::Reached, value),
            (Op::Lt, _) => (Comparison::Before, value),
            (Op::Eq, _) => (Comparison::Equal, value),
            (Op::Ne, _) => (Comparison::Differs, value),
            (Op::Gt, after) => (Comparison::Reached, after.ok_or(Error::Invalid)?),
            (Op::Le, Some(after)) => (Comparison::Before, after),
            (Op::Le, None) => (Comparison::Reached, 0),
        };
        if until == Until::Submitted && comparison != Comparison::Reached {
            return Err(Error::Invalid);
        }
        Ok(Condition { fence, value, comparison, until, since: rewind::NEVER })
    }

    #[cold]
    fn unordered(
        fence: &'a Fence,
        (op, signed): (Op, bool),
        value: u64,
        mask: u64,
        until: Until,
    ) -> Result<Condition<'a>> {
        if !fence.is_unordered() || until == Until::Submitted || signed && mask != 0 {
            return Err(Error::Invalid);
        }
        let comparison = if mask == 0 {
            Comparison::Plain { op, signed }
        } else {
            Comparison::Masked { mask, op }
        };
        Ok(Condition { fence, value, comparison, until, since: rewind::NEVER })
    }

    /// The condition without its fence.
    pub(crate) fn predicate(&self) -> Predicate {
        let Condition { value, comparison, until, since, .. } = *self;
        Predicate { value, comparison, until, since }
    }

    /// The same for a wait that begins now, if it has not begun.
    #[inline]
    pub(super) fn begin(self) -> Condition<'a> {
        if self.since != rewind::NEVER {
            return self;
        }
        Condition { since: self.fence.begin_wait(), ..self }
    }

    /// Whether it is met. The error if it is not met and never will be.
    #[inline]
    pub(crate) fn met(&self) -> Result<bool> {
        // A latched value needs no load from shared memory.
        if self.comparison == Comparison::Reached && self.fence.is_latched(self.value) {
            return Ok(true);
        }
        self.met_in_memory()
    }

    /// The same, by loads from shared memory. It is a function of its own so that lists of latched
    /// values are passed quickly.
    #[inline(never)]
    fn met_in_memory(&self) -> Result<bool> {
        // The common condition is recognized once, here and in `residues`: what follows a sleep
        // runs with cold caches, and each branch costs.
        if self.comparison == Comparison::Reached && self.until == Until::Signaled {
            return self.fence.check(|value| !self.fence.width().is_before(value, self.value));
        }
        if self.until == Until::Submitted && self.holds(self.fence.pending_value()) {
            return Ok(true);
        }
        if self.fence.check(|value| self.holds(value) || self.held_before_a_rewind())? {
            return Ok(true);
        }
        if self.is_past() { Err(Error::Past) } else { Ok(false) }
    }

    #[inline]
    pub(super) fn holds(&self, value: u64) -> bool {
        let is_before = || self.fence.width().is_before(value, self.value);
        match self.comparison {
            Comparison::Reached => !is_before(),
            Comparison::Before => is_before(),
            Comparison::Equal => value == self.value,
            Comparison::Differs => value != self.value,
            Comparison::Masked { mask, op } => op.holds(value & mask, self.value & mask),
            Comparison::Plain { op, signed: false } => op.holds(value, self.value),
            // With the sign bits reversed, signed numbers have the order of unsigned ones.
            Comparison::Plain { op, signed: true } => op.holds(value ^ SIGN, self.value ^ SIGN),
        }
    }

    /// Whether the value was at least the condition's since the wait began, and is not any more.
    fn held_before_a_rewind(&self) -> bool {
        let least = match self.comparison {
            Comparison::Plain { op: Op::Ge, signed: false } => Some(self.value),
            Comparison::Plain { op: Op::Gt, signed: false } => self.value.checked_add(1),
            _ => None,
        };
        least.is_some_and(|least| self.fence.was_reached(self.since, least))
    }

    /// Whether a value that only grows is beyond every value at which the condition, which is not
    /// met, could be met.
    fn is_past(&self) -> bool {
        let value = self.fence.value();
        self.fence.width() == Width::Bits64
            && match self.comparison {
                Comparison::Before => value >= self.value,
                Comparison::Equal => value > self.value,
                Comparison::Differs => value == u64::MAX,
                Comparison::Reached | Comparison::Masked { .. } | Comparison::Plain { .. } => false,
            }
    }

    /// The same as `met`, as a reason to stop waiting.
    pub(super) fn settled(&self) -> ControlFlow<Result<()>> {
        match self.met() {
            Ok(false) => ControlFlow::Continue(()),
            Ok(true) => ControlFlow::Break(Ok(())),
            Err(error) => ControlFlow::Break(Err(error)),
        }
    }

    /// The residues of the values at which the condition, which is not met now, can become met: a
    /// signal wakes the waiters for the values that it passes.
    pub(super) fn residues(&self) -> Residues {
        if self.comparison == Comparison::Reached {
            // The same as below, with fewer branches.
            return residue::residue(self.value);
        }
        match self.comparison {
            Comparison::Masked { .. } | Comparison::Plain { signed: true, .. } => residue::ALL,
            // The value leaves T upwards or downwards.
            Comparison::Plain { op: Op::Ne, .. } => {
                residue::residue(self.value.wrapping_add(1))
                    | residue::residue(self.value.wrapping_sub(1))
            }
            Comparison::Plain { .. } => residue::residue(self.first_value()),
            Comparison::Reached | Comparison::Before | Comparison::Equal | Comparison::Differs => {
                residue::residue(self.first_value())
            }
        }
    }

    /// The first value at which the condition, which is not met now, may become met, if the value
    /// only grows. `None` if there is no such order: a value that wraps, a mask, a pending value.
    pub(crate) fn threshold(&self) -> Option<u64> {
        let is_ordered = match self.comparison {
            Comparison::Reached | Comparison::Before | Comparison::Equal | Comparison::Differs => {
                true
            }
            Comparison::Masked { .. } | Comparison::Plain { .. } => false,
        };
        let only_grows = self.fence.width() == Width::Bits64 && self.until == Until::Signaled;
        (is_ordered && only_grows).then(|| self.first_value())
    }

    /// The first value at which the condition, which is not met now, may become met.
    pub(super) fn first_value(&self) -> u64 {
        match self.comparison {
            Comparison::Reached | Comparison::Equal => self.value,
            // Never for a 64-bit value. A 32-bit value falls behind T when it is 2^31 ahead of it.
            Comparison::Before => (self.value as u32).wrapping_add(1 << 31).into(),
            // It differs once it left T.
            Comparison::Differs => self.value.wrapping_add(1),
            Comparison::Masked { .. } => self.fence.value().wrapping_add(1),
            // The value next to the ones at which it is not met.
            Comparison::Plain { op: Op::Ge | Op::Eq | Op::Le, .. } => self.value,
            Comparison::Plain { op: Op::Gt | Op::Ne, .. } => self.value.wrapping_add(1),
            Comparison::Plain { op: Op::Lt, .. } => self.value.wrapping_sub(1),
        }
    }

    /// Records that `participant` waits until this is met.
    pub(crate) fn record(&self, participant: Participant) -> WaitRecord {
        self.record_one_of(1, participant)
    }

    /// Records that `participant` waits until one of `alternatives` conditions is met, of which
    /// this is one.
    pub(crate) fn record_one_of(
        &self,
        alternatives: usize,
        participant: Participant,
    ) -> WaitRecord {
        self.fence.record(participant, self.record_contents(alternatives))
    }

    /// The same for a caller that keeps only the place, and releases it.
    pub(super) fn write_record_one_of(
        &self,
        alternatives: usize,
        participant: Participant,
    ) -> RecordPlace {
        self.fence.write_record(participant, self.record_contents(alternatives))
    }

    fn record_contents(&self, alternatives: usize) -> RecordContents {
        let role = if self.until == Until::Submitted { Role::WaitPending } else { Role::Wait };
        RecordContents { role, alternatives, value: self.first_value() }
    }

    /// W2 for a waiter that will sleep on `target`. Called before the value is checked.
    pub(crate) fn register_waiter(&self, target: WaitTarget) {
        self.fence.register_waiter(target, self.residues());
        self.monitor();
    }

    /// Tells the device, if one writes the value, from which value on somebody waits. Called before
    /// the value is checked.
    pub(super) fn monitor(&self) {
        if self.fence.is_device() {
            self.fence.monitor(self.first_value());
        }
    }
}

/// A list of conditions, looked up one at a time: the array that C passes needs no copy.
pub(crate) trait Conditions {
    /// The number of conditions, at least one.
    fn count(&self) -> usize;
    /// The condition at `index`, below `count`.
    fn get(&self, index: usize) -> Result<Condition<'_>>;
}
