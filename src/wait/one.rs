// SPDX-License-Identifier: MIT
//! A blocking wait for one condition: check, spin, block.

use super::block;
use super::condition::Condition;
use super::lead;
use super::needless::NeedlessWakeUps;
use super::records::record_wait;
use super::traced;
use crate::error::{Error, Result};
use crate::interrupt::Notifier;
use crate::shm::owner_death;
use crate::sys::futex::{self, MUTED_NS, Sleep, WaitList};
use crate::sys::time::{self, Deadline};
use crate::trace;
use std::num::NonZeroU32;

/// Waits until the condition is met.
pub(crate) fn one(condition: Condition<'_>, deadline: Deadline) -> Result<()> {
    if condition.met()? {
        return Ok(());
    }
    if deadline == Deadline::POLL {
        return Err(Error::TimedOut);
    }
    let condition = condition.begin();
    if trace::is_on() {
        return traced::one(&condition, || unmet(condition, deadline));
    }
    unmet(condition, deadline)
}

/// The part of `one` that waits: spins, then blocks.
fn unmet(condition: Condition<'_>, deadline: Deadline) -> Result<()> {
    let spin = &condition.fence.spin;
    if let Some(answer) = spin.spin(deadline, || condition.settled().break_value()) {
        return answer;
    }
    spin.sample(|| without_spinning(condition, deadline))
}

/// Blocks. Learns how long the device takes, for the next wait.
fn without_spinning(condition: Condition<'_>, deadline: Deadline) -> Result<()> {
    let fence = condition.fence;
    let notifier = fence.notifier();
    if let Some(answer) = notifier.and_then(|notifier| lead::wait(&condition, notifier, deadline)) {
        return answer;
    }
    let listening = notifier.map(Notifier::listen);
    let is_polled = fence.is_device() && listening.is_none();
    let may_poll = is_polled || !fence.page().is_writable();
    let start = if may_poll { time::now() } else { 0 };
    block_since(start, is_polled, condition, deadline)?;
    if is_polled {
        fence.wait_times.learn(time::now() - start);
    }
    Ok(())
}

/// Waits, for a wait that began at `start`, which determines the poll intervals. The condition is
/// checked once more after the deadline: a signal takes precedence over the timeout.
fn block_since(
    start: u64,
    is_polled: bool,
    condition: Condition<'_>,
    deadline: Deadline,
) -> Result<()> {
    let mut record = None;
    let fence = condition.fence;
    let residues = if fence.accepts_waiters() {
        NonZeroU32::new(condition.residues()).or(Some(NonZeroU32::MAX))
    } else {
        None
    };
    let bits = residues.unwrap_or(NonZeroU32::MAX);
    let needs_epoch = !fence.page().is_writable();
    let may_be_muted = fence.page().may_be_muted();
    let mut needless = NeedlessWakeUps::new();
    loop {
        // `None`: the word of the page is enough, since this thread checks for a death once a
        // second.
        let waitv = if needs_epoch { futex::has_harmless_waitv() } else { None };
        let epoch = (waitv == Some(true)).then(owner_death::epoch);
        let must_poll = is_polled || waitv == Some(false);
        let poll_end = || fence.wait_times.poll_interval(start, time::now());
        let until = if must_poll { deadline.min(poll_end()) } else { deadline };
        let until = if may_be_muted { until.within(MUTED_NS) } else { until };
        let rest_end = needless.rests_until(fence.page());
        let until = rest_end.map_or(until, |end| deadline.min(end));

        // W1 and W2, W3, W4.
        let word = fence.slot().prepare_wait(residues);
        record_wait(&mut record, &condition);
        condition.monitor();
        if let Some(answer) = condition.settled().break_value() {
            return answer;
        }
        let words = Some(word).filter(|_| rest_end.is_none()).into_iter();
        let slept = block::on(&mut WaitList::new(), words, bits, epoch, until)?;
        if matches!(slept, Sleep::Woken(_)) {
            trace::woken();
        }
        // Checked before this thread registers again: a bit that nobody needs costs the next signal
        // a system call.
        if let Some(answer) = condition.settled().break_value() {
            return answer;
        }
        if rest_end.is_none() && matches!(slept, Sleep::Woken(0) | Sleep::Changed) {
            if let Some(cost) = needless.count(1) {
                fence.page().budget().waste(cost);
            }
        }
        // Also after a wake-up: a peer that wakes this thread all the time must not keep it here.
        if (slept == Sleep::TimedOut && until == deadline) || deadline.has_passed() {
            return Err(Error::TimedOut);
        }
    }
}
