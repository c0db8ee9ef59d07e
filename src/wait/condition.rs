// SPDX-License-Identifier: MIT
//! What a wait is for: a fence, a comparison and a value.

use crate::error::{Error, Result};
use crate::fence::{Fence, RecordPlace, WaitRecord};
use crate::shm::participant::Participant;
use crate::shm::residue::{self, Residues, Width};
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

/// One entry of a wait.
#[derive(Clone, Copy)]
pub(crate) struct Condition<'a> {
    pub(crate) fence: &'a Fence,
    /// What the fence's value is compared with.
    pub(crate) value: u64,
    pub(crate) comparison: Comparison,
    pub(crate) until: Until,
}

/// A condition without its fence, for callers that keep their own reference to the fence.
#[derive(Clone, Copy)]
pub(crate) struct Predicate {
    value: u64,
    comparison: Comparison,
    until: Until,
}

impl Predicate {
    /// The condition on `fence`, which has to be the fence that the predicate was made for.
    #[inline]
    pub(crate) fn of(self, fence: &Fence) -> Condition<'_> {
        Condition { fence, value: self.value, comparison: self.comparison, until: self.until }
    }
}

impl<'a> Condition<'a> {
    /// The common one: the fence has reached the value. `Invalid` for a value that the fence cannot
    /// have.
    pub(crate) fn reached(fence: &'a Fence, value: u64) -> Result<Condition<'a>> {
        let comparison = Comparison::Reached;
        let condition = Condition { fence, value, comparison, until: Until::Signaled };
        if fence.width().holds(value) { Ok(condition) } else { Err(Error::Invalid) }
    }

    /// `fence`'s value `op` `value`, under `mask` unless that is 0. `Invalid` for a value that the
    /// fence cannot have, and for one that it would have to exceed but cannot.
    pub(crate) fn new(
        fence: &'a Fence,
        op: Op,
        value: u64,
        mask: u64,
        until: Until,
    ) -> Result<Condition<'a>> {
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
        Ok(Condition { fence, value, comparison, until })
    }

    /// The condition without its fence.
    pub(crate) fn predicate(&self) -> Predicate {
        Predicate { value: self.value, comparison: self.comparison, until: self.until }
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
        if self.fence.check(|value| self.holds(value))? {
            return Ok(true);
        }
        if self.is_past() { Err(Error::Past) } else { Ok(false) }
    }

    #[inline]
    fn holds(&self, value: u64) -> bool {
        let is_before = || self.fence.width().is_before(value, self.value);
        match self.comparison {
            Comparison::Reached => !is_before(),
            Comparison::Before => is_before(),
            Comparison::Equal => value == self.value,
            Comparison::Differs => value != self.value,
            Comparison::Masked { mask, op } => op.holds(value & mask, self.value & mask),
        }
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
                Comparison::Reached | Comparison::Masked { .. } => false,
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
            Comparison::Masked { .. } => residue::ALL,
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
            Comparison::Masked { .. } => false,
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
