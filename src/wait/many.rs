// SPDX-License-Identifier: MIT
//! Blocking waits for any or for all of many conditions.

use super::begun::Begun;
use super::condition::Conditions;
use super::page_events::{PageEvents, WakeReason};
use super::records::{WaitRecords, record_wait};
use super::scan::{Register, Scan, SlotIndex};
use super::slot_words::SlotWords;
use super::traced;
use crate::error::{Error, Result};
use crate::shm::slot::WaitTarget;
use crate::sys::time::Deadline;
use crate::trace;

/// Waits until one of the conditions is met, and returns its index. A condition that is met takes
/// precedence over one that cannot be met any more, which ends the wait with its error.
///
/// All conditions are checked, and registered, once. Then the event counts name the slots that
/// changed, and only those are checked again. The others are still registered: a signal that clears
/// a registration publishes an event. A short list moves to the words of its slots after the first
/// wake-up for others: see slot_words.rs.
pub(crate) fn any(conditions: &impl Conditions, deadline: Deadline) -> Result<usize> {
    if let Some(answer) = scan_all(conditions, Register::No)? {
        return answer;
    }
    if deadline == Deadline::POLL {
        return Err(Error::TimedOut);
    }
    block_for_any(conditions, deadline)
}

/// The part of `any` that blocks. A function of its own, as `block_for_all` is: inlined, each would
/// take its stack in addition to that of the other.
#[inline(never)]
fn block_for_any(conditions: &impl Conditions, deadline: Deadline) -> Result<usize> {
    let conditions = &Begun::new(conditions)?;
    if trace::is_on() {
        traced::any(conditions, || sleep_for_any(conditions, deadline))
    } else {
        sleep_for_any(conditions, deadline)
    }
}

#[inline(never)]
fn sleep_for_any(conditions: &impl Conditions, deadline: Deadline) -> Result<usize> {
    let mut events = PageEvents::new();
    events.add_pages_of(conditions)?;
    events.listen();
    if let Some(answer) = scan_all(conditions, Register::Yes)? {
        return answer;
    }
    let index = SlotIndex::of(conditions, &events)?;
    let mut records = WaitRecords::new();
    let mut on_slots: Option<SlotWords> = None;
    loop {
        records.write(conditions)?;
        let reason = match &on_slots {
            None => events.sleep(deadline)?,
            Some(words) => events.sleep_on(words.words(conditions, 0), deadline)?,
        };
        record_wake_up(reason);
        if reason == WakeReason::Deadline {
            break;
        }
        let mut scan = Scan::default();
        let mut is_complete = false;
        if reason == WakeReason::Interrupt {
            index.check_written(&events, conditions, &mut scan)?;
            if let Some(answer) = scan.answer() {
                return answer;
            }
            continue;
        }
        if !events.can_sleep_on(conditions.count()) {
            // Also if futex_waitv was forbidden meanwhile.
            on_slots = None;
        }
        if on_slots.is_none() && reason != WakeReason::Poll {
            is_complete = index.check_signaled(&mut events, conditions, &mut scan)?;
            if scan.is_empty() && events.can_sleep_on(conditions.count()) {
                (on_slots, is_complete) = (Some(SlotWords::new()), false);
            }
        }
        if !is_complete && scan.met.is_none() {
            match &mut on_slots {
                None => {
                    events.listen();
                    scan.check_all(conditions, Register::Yes)?;
                }
                Some(words) => {
                    events.read_owner_epoch();
                    scan.check_slots(conditions, words, &mut events)?;
                }
            }
        }
        if scan.met.is_none() && scan.failure.is_some() {
            // Another condition may be met, and its event not published yet, or never. It takes
            // precedence over the failure.
            scan.check_all(conditions, Register::No)?;
        }
        if let Some(answer) = scan.answer() {
            return answer;
        }
        events.account(on_slots.as_ref().map(|words| words.words(conditions, 0)));
    }
    scan_all(conditions, Register::No)?.unwrap_or(Err(Error::TimedOut))
}

fn record_wake_up(reason: WakeReason) {
    if reason == WakeReason::Event {
        trace::woken();
    }
}

fn scan_all(conditions: &impl Conditions, register: Register) -> Result<Option<Result<usize>>> {
    let mut scan = Scan::default();
    scan.check_all(conditions, register)?;
    Ok(scan.answer())
}

/// Waits until each of the conditions was met. A condition that cannot be met any more ends the
/// wait with its error, wherever it is in the list.
///
/// The wait goes through the list once, and registers only with the fence that it has got to. The
/// fences behind it can be signaled without waking anybody. What is reached stays reached. Other
/// conditions count as they are when their turn comes. Failures publish an event in any case.
pub(crate) fn all(conditions: &impl Conditions, deadline: Deadline) -> Result<()> {
    let at = first_unmet(conditions, 0)?;
    check_failures(conditions, at)?;
    if at == conditions.count() {
        return Ok(());
    }
    if deadline == Deadline::POLL {
        return Err(Error::TimedOut);
    }
    block_for_all(conditions, at, deadline)
}

/// Returns the index of the first condition from `from` on that is not met.
fn first_unmet(conditions: &impl Conditions, from: usize) -> Result<usize> {
    for index in from..conditions.count() {
        if !conditions.get(index)?.met()? {
            return Ok(index);
        }
    }
    Ok(conditions.count())
}

/// Returns the error of a condition from `from` on that cannot be met any more.
fn check_failures(conditions: &impl Conditions, from: usize) -> Result<()> {
    (from..conditions.count()).try_for_each(|index| conditions.get(index)?.met().map(drop))
}

/// The part of `all` that blocks. The conditions before `at` are met.
#[inline(never)]
fn block_for_all(conditions: &impl Conditions, at: usize, deadline: Deadline) -> Result<()> {
    let conditions = &Begun::new(conditions)?;
    if trace::is_on() {
        traced::all(conditions, || sleep_for_all(conditions, at, deadline))
    } else {
        sleep_for_all(conditions, at, deadline)
    }
}

#[inline(never)]
fn sleep_for_all(conditions: &impl Conditions, mut at: usize, deadline: Deadline) -> Result<()> {
    let count = conditions.count();
    let mut events = PageEvents::new();
    events.add_pages_of(conditions)?;
    events.wait_unregistered();
    let (mut record, mut recorded_at) = (None, at);
    let mut on_slots: Option<SlotWords> = None;
    // The condition for which the thread slept last.
    let mut slept_at = count;
    while at < count {
        if !events.can_sleep_on(count - at) {
            // Also if futex_waitv was forbidden meanwhile.
            on_slots = None;
        }
        // The slots that the wait has not got to are among the words: a failure wakes them too.
        let (target, may_have_failed) = match &mut on_slots {
            None => (WaitTarget::Page, events.listen()),
            Some(words) => {
                events.read_owner_epoch();
                words.listen(conditions, at, |page| events.stir(page))?;
                (WaitTarget::Slot, true)
            }
        };
        if may_have_failed {
            check_failures(conditions, at)?;
        }
        let condition = conditions.get(at)?;
        if condition.met()? {
            // Met before this thread registered: nobody needs to be woken for it.
            at = first_unmet(conditions, at + 1)?;
            continue;
        }
        condition.register_waiter(target);
        if condition.met()? {
            at = first_unmet(conditions, at + 1)?;
            continue;
        }
        if std::mem::replace(&mut recorded_at, at) != at {
            // The old record is released first: the new one may take its place in the table.
            record = None;
        }
        record_wait(&mut record, &condition);
        if std::mem::replace(&mut slept_at, at) == at {
            events.account(on_slots.as_ref().map(|words| words.words(conditions, at)));
        }
        let reason = match &on_slots {
            None => events.sleep(deadline)?,
            Some(words) => events.sleep_on(words.words(conditions, at), deadline)?,
        };
        record_wake_up(reason);
        if reason == WakeReason::Deadline {
            return if first_unmet(conditions, at)? == count {
                Ok(())
            } else {
                Err(Error::TimedOut)
            };
        }
        if on_slots.is_none()
            && reason == WakeReason::Event
            && matches!(condition.met(), Ok(false))
            && events.can_sleep_on(count - at)
        {
            on_slots = Some(SlotWords::new());
        }
    }
    Ok(())
}
