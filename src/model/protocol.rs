// SPDX-License-Identifier: MIT
//! The wake protocol under the model checker: every interleaving, and every value that the memory
//! model lets a load return, of the code in shm/, fence/ and wait/ as it is. A lost wake-up is a
//! deadlock, which loom reports.
//!
//! ci/prove runs these models. It also breaks the protocol on purpose and demands that they fail.

use crate::error::{Error, FenceErrno, Result};
use crate::fence::Fence;
use crate::shm::creator::Creator;
use crate::shm::event_count::EventSink;
use crate::shm::generation::Kind;
use crate::shm::page::Page;
use crate::shm::residue::Width;
use crate::sys::futex;
use crate::sys::time::Deadline;
use crate::util::refs::Ref;
use crate::wait::{self, Condition, Conditions, Op, Until};
use loom::sync::Arc;
use loom::thread;

/// A deadline that passes when the model calls `futex::expire`.
const SOMETIME: Deadline = Deadline::at(1);

/// Every schedule with up to three preemptions, or fewer with LOOM_MAX_PREEMPTIONS.
pub(super) fn check(model: impl Fn() + Sync + Send + 'static) {
    check_bounded(3, model);
}

/// The same with another bound, for models of many steps.
pub(super) fn check_bounded(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    super::end_at_the_first_failure();
    let mut builder = loom::model::Builder::new();
    let most = builder.preemption_bound.unwrap_or(preemptions);
    builder.preemption_bound = Some(preemptions.min(most));
    builder.check(model);
}

pub(super) fn this_process() -> Creator {
    Creator::this_process()
}

pub(super) fn fence(value: u64) -> (Ref<Page>, Ref<Fence>) {
    let page = Page::create(1).unwrap();
    let fence = Fence::create(&page, Kind::PLAIN, value).unwrap();
    (page, fence)
}

/// Of one page.
pub(super) fn two_fences() -> (Ref<Page>, Ref<Fence>, Ref<Fence>) {
    let page = Page::create(2).unwrap();
    let (a, b) = (
        Fence::create(&page, Kind::PLAIN, 0).unwrap(),
        Fence::create(&page, Kind::PLAIN, 0).unwrap(),
    );
    (page, a, b)
}

pub(super) fn signals(fence: &Ref<Fence>, value: u64) -> thread::JoinHandle<Result<()>> {
    let fence = fence.clone();
    thread::spawn(move || fence.signal(value))
}

pub(super) fn waits(fence: &Ref<Fence>, value: u64) -> thread::JoinHandle<Result<()>> {
    let fence = fence.clone();
    thread::spawn(move || wait_for(&fence, value))
}

fn waits_for_submission(fence: &Ref<Fence>, value: u64) -> thread::JoinHandle<Result<()>> {
    let fence = fence.clone();
    thread::spawn(move || {
        let condition =
            Condition { until: Until::Submitted, ..Condition::reached(&fence, value).unwrap() };
        wait::one(condition, Deadline::NEVER)
    })
}

pub(super) fn wait_for(fence: &Fence, value: u64) -> Result<()> {
    wait::one(Condition::reached(fence, value)?, Deadline::NEVER)
}

pub(super) struct Many<'a>(pub(super) Vec<(&'a Fence, u64)>, pub(super) Until);

impl Conditions for Many<'_> {
    fn count(&self) -> usize {
        self.0.len()
    }
    fn get(&self, index: usize) -> Result<Condition<'_>> {
        let (fence, value) = self.0[index];
        Ok(Condition { until: self.1, ..Condition::reached(fence, value)? })
    }
}

#[test]
fn a_signal_wakes_its_waiter() {
    check(|| {
        let (_page, fence) = fence(0);
        let signal = signals(&fence, 1);
        assert_eq!(wait_for(&fence, 1), Ok(()));
        assert_eq!(signal.join().unwrap(), Ok(()));
    });
}

#[test]
fn writes_before_the_signal_are_visible_after_the_wait() {
    check(|| {
        let (_page, fence) = fence(0);
        let work = Arc::new(loom::cell::UnsafeCell::new(0));
        let signal = {
            let (fence, work) = (fence.clone(), work.clone());
            thread::spawn(move || {
                // SAFETY: nobody reads before the fence is signaled; loom checks just that.
                work.with_mut(|work| unsafe { *work = 7 });
                fence.signal(1)
            })
        };
        let other = {
            let (fence, work) = (fence.clone(), work.clone());
            thread::spawn(move || {
                assert_eq!(wait_for(&fence, 1), Ok(()));
                // SAFETY: as above.
                work.with(|work| assert_eq!(unsafe { *work }, 7));
            })
        };
        // The second waiter may learn of the value from what the first one saw.
        assert_eq!(wait_for(&fence, 1), Ok(()));
        // SAFETY: as above.
        work.with(|work| assert_eq!(unsafe { *work }, 7));
        other.join().unwrap();
        assert_eq!(signal.join().unwrap(), Ok(()));
    });
}

#[test]
fn two_signalers_and_a_waiter_for_the_higher_value() {
    check(|| {
        let (_page, fence) = fence(0);
        let (low, high) = (signals(&fence, 1), signals(&fence, 2));
        assert_eq!(wait_for(&fence, 2), Ok(()));
        // The lower one may come too late, and is then refused.
        assert!(matches!(low.join().unwrap(), Ok(()) | Err(Error::Invalid)));
        assert_eq!(high.join().unwrap(), Ok(()));
        assert_eq!(fence.value(), 2);
    });
}

#[test]
fn two_signalers_whose_values_alias() {
    check(|| {
        let (_page, fence) = fence(0);
        let (low, high) = (signals(&fence, 1), signals(&fence, 33));
        assert_eq!(wait_for(&fence, 33), Ok(()));
        assert!(matches!(low.join().unwrap(), Ok(()) | Err(Error::Invalid)));
        assert_eq!(high.join().unwrap(), Ok(()));
    });
}

#[test]
fn two_waiters_for_different_residues() {
    check(|| {
        let (_page, fence) = fence(0);
        let (first, second) = (waits(&fence, 1), waits(&fence, 2));
        assert_eq!(fence.signal(1), Ok(()));
        assert_eq!(fence.signal(2), Ok(()));
        assert_eq!(first.join().unwrap(), Ok(()));
        assert_eq!(second.join().unwrap(), Ok(()));
    });
}

#[test]
fn two_waiters_for_the_same_value() {
    check(|| {
        let (_page, fence) = fence(0);
        let (first, second) = (waits(&fence, 1), waits(&fence, 1));
        assert_eq!(fence.signal(1), Ok(()));
        assert_eq!(first.join().unwrap(), Ok(()));
        assert_eq!(second.join().unwrap(), Ok(()));
    });
}

#[test]
fn two_waiters_whose_values_alias() {
    check(|| {
        let (_page, fence) = fence(0);
        let (low, high) = (waits(&fence, 1), waits(&fence, 33));
        assert_eq!(fence.signal(1), Ok(()));
        assert_eq!(fence.signal(33), Ok(()));
        assert_eq!(low.join().unwrap(), Ok(()));
        assert_eq!(high.join().unwrap(), Ok(()));
    });
}

#[test]
fn a_jump_by_a_multiple_of_2_to_the_32_and_one_to_the_end() {
    for target in [1 << 32, 5 << 32, u64::MAX] {
        check(move || {
            let (_page, fence) = fence(0);
            let signal = signals(&fence, target);
            assert_eq!(wait_for(&fence, target), Ok(()));
            assert_eq!(signal.join().unwrap(), Ok(()));
        });
    }
}

#[test]
fn a_timeout_races_a_signal_and_the_other_waiter_still_wakes() {
    check(|| {
        let (_page, fence) = fence(0);
        let with_deadline = {
            let fence = fence.clone();
            thread::spawn(move || wait::one(Condition::reached(&fence, 1)?, SOMETIME))
        };
        let without_deadline = waits(&fence, 1);
        let clock = thread::spawn(futex::expire);
        assert_eq!(fence.signal(1), Ok(()));
        assert!(matches!(with_deadline.join().unwrap(), Ok(()) | Err(Error::TimedOut)));
        assert_eq!(without_deadline.join().unwrap(), Ok(()));
        clock.join().unwrap();
    });
}

#[test]
fn an_error_ends_a_wait_for_a_value_that_will_not_come() {
    check(|| {
        let (_page, fence) = fence(0);
        let waiter = waits(&fence, 1);
        assert_eq!(fence.set_error(FenceErrno::new(5).unwrap()), Ok(()));
        assert_eq!(waiter.join().unwrap(), Err(Error::FenceFailed));
    });
}

#[test]
fn an_error_races_a_signal_and_one_wakes_the_waiter() {
    check(|| {
        let (_page, fence) = fence(0);
        let signal = signals(&fence, 1);
        let waiter = waits(&fence, 1);
        assert_eq!(fence.set_error(FenceErrno::new(5).unwrap()), Ok(()));
        let signaled = signal.join().unwrap();
        let waited = waiter.join().unwrap();
        assert!(matches!(signaled, Ok(()) | Err(Error::FenceFailed)));
        assert!(matches!(waited, Ok(()) | Err(Error::FenceFailed)));
        // If the waiter saw the value as reached, the signal succeeded.
        assert!(waited.is_err() || signaled.is_ok());
    });
}

#[test]
fn a_device_writes_and_somebody_notifies() {
    check(|| {
        let (_page, fence) = fence(0);
        let waiter = waits(&fence, 3);
        fence.slot().device_writes(3);
        assert_eq!(fence.notify(), Ok(()));
        assert_eq!(waiter.join().unwrap(), Ok(()));
    });
}

#[test]
fn a_device_writes_and_two_listeners_wake_its_waiter() {
    check(|| {
        let (page, fence) = fence(0);
        let waiter = waits(&fence, 3);
        fence.slot().device_writes(3);
        let listens = |page: &Page, fence: &Fence| {
            let sink = EventSink { events: page.events(), slot: 0 };
            fence.slot().announce(fence.generation(), sink, fence.value());
        };
        let listener = {
            let (page, fence) = (page.clone(), fence.clone());
            thread::spawn(move || listens(&page, &fence))
        };
        listens(&page, &fence);
        assert_eq!(waiter.join().unwrap(), Ok(()));
        listener.join().unwrap();
    });
}

#[test]
fn a_device_that_interrupts_only_beyond_the_monitored_value_wakes_its_waiter() {
    check(|| {
        let page = Page::create(1).unwrap();
        let fence = Fence::create(&page, Kind { device: true, ..Kind::PLAIN }, 0).unwrap();
        let waiter = waits(&fence, 2);
        for value in 1..=3 {
            if fence.slot().device_writes_and_would_interrupt(value) {
                assert_eq!(fence.notify(), Ok(()));
            }
        }
        assert_eq!(waiter.join().unwrap(), Ok(()));
    });
}

#[test]
fn a_submission_wakes_a_waiter_for_the_pending_value() {
    check(|| {
        let (_page, fence) = fence(0);
        let waiter = waits_for_submission(&fence, 2);
        assert_eq!(fence.submit(2), Ok(()));
        assert_eq!(waiter.join().unwrap(), Ok(()));
    });
}

#[test]
fn a_signal_wakes_a_waiter_for_the_pending_value() {
    check(|| {
        let (_page, fence) = fence(0);
        let waiter = waits_for_submission(&fence, 2);
        assert_eq!(fence.signal(2), Ok(()));
        assert_eq!(waiter.join().unwrap(), Ok(()));
    });
}

#[test]
fn the_end_of_a_fence_ends_its_waits_and_the_next_of_the_slot_is_another() {
    check(|| {
        let page = Page::create(1).unwrap();
        let slot_user = Fence::create(&page, Kind::PLAIN, 0).unwrap();
        let generation = slot_user.generation();
        let waiter = waits(&slot_user, 1);
        // What the creator's last unref does, in another process than the waiter's.
        slot_user.slot().retire(
            generation,
            EventSink { events: page.events(), slot: 0 },
            this_process(),
            0,
        );
        let (_, next) = page.claim(Kind::PLAIN, 1, this_process()).unwrap();
        slot_user.slot().publish(next);
        // The next fence starts at the very value that was waited for: the waiter must not take it
        // for its own.
        assert_eq!(waiter.join().unwrap(), Err(Error::Stale));
        assert_eq!(slot_user.value(), 0);
    });
}

#[test]
fn the_end_of_a_fence_wakes_a_waiter_whose_bit_a_killed_signaler_cleared() {
    check(|| {
        let (page, fence) = fence(0);
        let killed = {
            let fence = fence.clone();
            // S2b and S3 of a signaler, and nothing after.
            thread::spawn(move || fence.slot().clear_waiters(u64::MAX))
        };
        let waiter = waits(&fence, 1);
        let sink = EventSink { events: page.events(), slot: 0 };
        fence.slot().retire(fence.generation(), sink, this_process(), 0);
        killed.join().unwrap();
        assert_eq!(waiter.join().unwrap(), Err(Error::Stale));
    });
}

#[test]
fn the_last_value_is_reached_though_its_fence_ends_at_once() {
    check(|| {
        let (page, fence) = fence(0);
        let generation = fence.generation();
        let waiter = waits(&fence, 1);
        assert_eq!(fence.signal(1), Ok(()));
        fence.slot().retire(
            generation,
            EventSink { events: page.events(), slot: 0 },
            this_process(),
            0,
        );
        assert_eq!(waiter.join().unwrap(), Ok(()));
    });
}

#[test]
fn a_claim_that_is_given_back_shows_old_handles_nothing() {
    check(|| {
        let (page, fence) = fence(5);
        let generation = fence.generation();
        fence.slot().retire(
            generation,
            EventSink { events: page.events(), slot: 0 },
            this_process(),
            0,
        );
        let waiter = waits(&fence, 500);
        // A creation that fails half-way: no memory for the handle.
        let (_, claimed) = page.claim(Kind::PLAIN, 1000, this_process()).unwrap();
        fence.slot().unclaim(claimed, this_process());
        assert_eq!(waiter.join().unwrap(), Err(Error::Stale));
        assert_eq!(fence.value(), 5);
    });
}

#[test]
fn a_read_through_an_old_handle_is_not_of_the_value_of_the_next_fence() {
    check(|| {
        let (page, old) = fence(5);
        let reader = {
            let old = old.clone();
            thread::spawn(move || old.slot().value(old.generation()))
        };
        let sink = EventSink { events: page.events(), slot: 0 };
        old.slot().retire(old.generation(), sink, this_process(), 0);
        page.claim(Kind::PLAIN, 1000, this_process()).unwrap();
        let read = reader.join().unwrap();
        assert!(read == Ok(5) || read == Err(Error::Stale));
    });
}

#[test]
fn either_fence_wakes_a_wait_for_any() {
    check(|| {
        let (_page, a, b) = two_fences();
        let signal = signals(&b, 1);
        assert_eq!(
            wait::any(&Many(vec![(&a, 1), (&b, 1)], Until::Signaled), Deadline::NEVER),
            Ok(1)
        );
        assert_eq!(signal.join().unwrap(), Ok(()));
    });
}

#[test]
fn fences_of_two_pages_wake_a_wait_for_any() {
    check(|| {
        let ((_p, a), (_q, b)) = (fence(0), fence(0));
        let (one, other) = (signals(&a, 1), signals(&b, 1));
        assert!(wait::any(&Many(vec![(&a, 1), (&b, 1)], Until::Signaled), Deadline::NEVER).is_ok());
        assert_eq!(one.join().unwrap(), Ok(()));
        assert_eq!(other.join().unwrap(), Ok(()));
    });
}

#[test]
fn one_signal_wakes_a_wait_for_one_and_a_wait_for_any() {
    check(|| {
        let (_page, a) = fence(0);
        let waiter = waits(&a, 1);
        let signal = signals(&a, 1);
        assert_eq!(wait::any(&Many(vec![(&a, 1)], Until::Signaled), Deadline::NEVER), Ok(0));
        assert_eq!(waiter.join().unwrap(), Ok(()));
        assert_eq!(signal.join().unwrap(), Ok(()));
    });
}

#[test]
fn both_signals_wake_a_wait_for_all_in_any_order() {
    check(|| {
        let (_page, a, b) = two_fences();
        let (one, other) = (signals(&a, 1), signals(&b, 1));
        assert_eq!(
            wait::all(&Many(vec![(&a, 1), (&b, 1)], Until::Signaled), Deadline::NEVER),
            Ok(())
        );
        assert_eq!(one.join().unwrap(), Ok(()));
        assert_eq!(other.join().unwrap(), Ok(()));
    });
}

#[test]
fn the_failure_of_a_fence_that_it_has_not_got_to_wakes_a_wait_for_all() {
    check(|| {
        let (_page, a, b) = two_fences();
        let fails = {
            let b = b.clone();
            thread::spawn(move || b.set_error(FenceErrno::new(5).unwrap()))
        };
        let conditions = Many(vec![(&a, 1), (&b, 1)], Until::Signaled);
        assert_eq!(wait::all(&conditions, Deadline::NEVER), Err(Error::FenceFailed));
        assert_eq!(fails.join().unwrap(), Ok(()));
    });
}

/// The second of two fences fails or ends by `end`, while somebody waits for all and has not got to
/// it.
fn ends_a_wait_for_all(end: fn(&Fence, EventSink<'_>), error: Error) {
    check(move || {
        let (page, a, b) = two_fences();
        let ends = {
            let (page, b) = (page.clone(), b.clone());
            thread::spawn(move || end(&b, EventSink { events: page.events(), slot: b.index() }))
        };
        let conditions = Many(vec![(&a, 1), (&b, 1)], Until::Signaled);
        assert_eq!(wait::all(&conditions, Deadline::NEVER), Err(error));
        ends.join().unwrap();
    });
}

#[test]
fn the_failure_of_a_tied_fence_that_it_has_not_got_to_wakes_a_wait_for_all() {
    let fail = |fence: &Fence, sink: EventSink<'_>| {
        fence.slot().mark_failed(fence.generation(), FenceErrno::new(5).unwrap()).unwrap();
        fence.slot().wake_ended(sink);
    };
    ends_a_wait_for_all(fail, Error::FenceFailed);
}

/// A fence at `start` is signaled to each of `steps`, while somebody waits for `op value & mask`.
fn op_wakes(width: Width, start: u64, steps: &'static [u64], op: Op, value: u64, mask: u64) {
    check(move || {
        let page = Page::create(1).unwrap();
        let fence = Fence::create(&page, Kind { width, ..Kind::PLAIN }, start).unwrap();
        let waiter = {
            let fence = fence.clone();
            thread::spawn(move || {
                let condition = Condition::new(&fence, (op, false), value, mask, Until::Signaled)?;
                wait::one(condition, Deadline::NEVER)
            })
        };
        for step in steps {
            assert_eq!(fence.signal(*step), Ok(()));
        }
        assert_eq!(waiter.join().unwrap(), Ok(()));
    });
}

#[test]
fn the_value_that_meets_an_operator_wakes_its_waiter() {
    op_wakes(Width::Bits64, 0, &[1, 2], Op::Ge, 2, 0);
    op_wakes(Width::Bits64, 0, &[1, 2], Op::Gt, 1, 0);
    op_wakes(Width::Bits64, 0, &[5], Op::Eq, 5, 0);
    op_wakes(Width::Bits64, 5, &[6], Op::Ne, 5, 0);
    op_wakes(Width::Bits64, 5, &[5 + (1 << 32)], Op::Ne, 5, 0);
    op_wakes(Width::Bits64, 0, &[1, 2], Op::Eq, 2, 2);
    op_wakes(Width::Bits64, 7, &[8], Op::Lt, 1, 7);
}

#[test]
fn a_32_bit_fence_wakes_its_waiters_across_its_wrap() {
    const LAST: u64 = u32::MAX as u64;
    op_wakes(Width::Bits32, LAST, &[0, 1], Op::Ge, 1, 0);
    op_wakes(Width::Bits32, LAST - 1, &[LAST, 0], Op::Gt, LAST, 0);
    op_wakes(Width::Bits32, LAST, &[0], Op::Ne, LAST, 0);
    // The other half of the circle is before.
    op_wakes(Width::Bits32, 5, &[0x7fff_ffff, 0x8000_0006], Op::Lt, 5, 0);
    op_wakes(Width::Bits32, LAST, &[3], Op::Le, 3, 0xff);
}

#[test]
fn two_waits_for_any_on_one_page_each_wake_for_their_own_signal() {
    check(|| {
        let (_page, a, b) = two_fences();
        let other = {
            let b = b.clone();
            thread::spawn(move || wait::any(&Many(vec![(&b, 1)], Until::Signaled), Deadline::NEVER))
        };
        let signal = signals(&a, 1);
        assert_eq!(wait::any(&Many(vec![(&a, 1)], Until::Signaled), Deadline::NEVER), Ok(0));
        assert_eq!(b.signal(1), Ok(()));
        assert_eq!(other.join().unwrap(), Ok(0));
        assert_eq!(signal.join().unwrap(), Ok(()));
    });
}

#[test]
fn a_log_that_overflowed_is_no_reason_to_sleep_on() {
    check(|| {
        let (_page, a) = fence(0);
        let signal = {
            let a = a.clone();
            // Each of these is registered under the residue of the value that is waited for, or of
            // one before it.
            thread::spawn(move || (1..=3).try_for_each(|step| a.signal(step * 32)))
        };
        assert_eq!(wait::any(&Many(vec![(&a, 96)], Until::Signaled), Deadline::NEVER), Ok(0));
        assert_eq!(signal.join().unwrap(), Ok(()));
    });
}

#[test]
fn a_signal_wakes_a_waiter_that_cannot_register() {
    check(|| {
        let page = Page::create(1).unwrap();
        let fence = Fence::create(&page, Kind { always_wake: true, ..Kind::PLAIN }, 0).unwrap();
        let waiter = waits(&fence, 1);
        assert_eq!(fence.signal(1), Ok(()));
        assert_eq!(waiter.join().unwrap(), Ok(()));
    });
}

#[test]
fn a_signal_that_comes_after_the_end_of_its_fence_is_stale() {
    check(|| {
        let (page, ended) = fence(0);
        let late = signals(&ended, 1);
        ended.slot().retire(
            ended.generation(),
            EventSink { events: page.events(), slot: 0 },
            this_process(),
            0,
        );
        // The next fence starts beyond the value that is signaled.
        let (_, next) = page.claim(Kind::PLAIN, 2, this_process()).unwrap();
        ended.slot().publish(next);
        assert!(matches!(late.join().unwrap(), Ok(()) | Err(Error::Stale)));
    });
}

#[test]
fn a_device_that_stops_at_the_value_that_is_waited_for_wakes_its_waiter() {
    check(|| {
        let page = Page::create(1).unwrap();
        let fence = Fence::create(&page, Kind { device: true, ..Kind::PLAIN }, 0).unwrap();
        let waiter = waits(&fence, 2);
        for value in 1..=2 {
            if fence.slot().device_writes_and_would_interrupt(value) {
                assert_eq!(fence.notify(), Ok(()));
            }
        }
        assert_eq!(waiter.join().unwrap(), Ok(()));
    });
}

#[test]
fn the_second_of_two_pages_wakes_a_wait_for_any() {
    check(|| {
        let ((_p, a), (_q, b)) = (fence(0), fence(0));
        let signal = signals(&b, 1);
        assert_eq!(
            wait::any(&Many(vec![(&a, 1), (&b, 1)], Until::Signaled), Deadline::NEVER),
            Ok(1)
        );
        assert_eq!(signal.join().unwrap(), Ok(()));
    });
}

#[test]
fn the_end_of_a_fence_that_it_has_not_got_to_wakes_a_wait_for_all() {
    let end = |fence: &Fence, sink: EventSink<'_>| {
        fence.slot().retire(fence.generation(), sink, this_process(), 0);
    };
    ends_a_wait_for_all(end, Error::Stale);
}

#[test]
fn a_signal_among_more_events_than_the_log_holds_wakes_a_wait_for_any() {
    check(|| {
        let (_page, a, b) = two_fences();
        let publishes = {
            let (a, b) = (a.clone(), b.clone());
            thread::spawn(move || {
                a.signal(1)?;
                (0..2).try_for_each(|_| b.notify())
            })
        };
        assert_eq!(wait::any(&Many(vec![(&a, 1)], Until::Signaled), Deadline::NEVER), Ok(0));
        assert_eq!(publishes.join().unwrap(), Ok(()));
    });
}

#[test]
fn a_wait_for_any_on_the_event_count_checks_all_if_the_log_overflowed() {
    check_bounded(2, || {
        let (_page, a, b) = two_fences();
        let publishes = {
            let (a, b) = (a.clone(), b.clone());
            thread::spawn(move || {
                a.signal(1)?;
                (0..2).try_for_each(|_| b.notify())
            })
        };
        // Too many for the words of their slots.
        let conditions = Many(vec![(&b, 1), (&b, 1), (&a, 1)], Until::Signaled);
        assert_eq!(wait::any(&conditions, Deadline::NEVER), Ok(2));
        assert_eq!(publishes.join().unwrap(), Ok(()));
    });
}

#[test]
fn the_next_fence_of_a_slot_does_not_inherit_the_error_of_the_last() {
    check(|| {
        let (page, failed) = fence(0);
        assert_eq!(failed.set_error(FenceErrno::new(5).unwrap()), Ok(()));
        drop(failed);
        let next = Fence::create(&page, Kind::PLAIN, 0).unwrap();
        let signal = signals(&next, 1);
        assert_eq!(wait_for(&next, 1), Ok(()));
        assert_eq!(signal.join().unwrap(), Ok(()));
    });
}

#[test]
fn a_wait_for_a_submission_does_not_take_that_of_the_next_fence_for_its_own() {
    check(|| {
        let (page, ended) = fence(0);
        let waiter = waits_for_submission(&ended, 1);
        let sink = EventSink { events: page.events(), slot: 0 };
        ended.slot().retire(ended.generation(), sink, this_process(), 0);
        let (_, next) = page.claim(Kind::PLAIN, 0, this_process()).unwrap();
        ended.slot().publish(next);
        assert_eq!(ended.slot().submit(next, sink, 1), Ok(()));
        assert_eq!(waiter.join().unwrap(), Err(Error::Stale));
    });
}

/// Notifies the first fence, which wakes its waiter for nothing: it sleeps on the slots' words from
/// then on. Then does something that ends the wait.
fn wakes_for_nothing(
    a: &Ref<Fence>,
    b: &Ref<Fence>,
    then: impl Fn(&Fence, &Fence) -> Result<()> + Send + 'static,
) -> thread::JoinHandle<Result<()>> {
    let (a, b) = (a.clone(), b.clone());
    thread::spawn(move || {
        a.notify()?;
        then(&a, &b)
    })
}

#[test]
fn a_wait_for_any_that_was_woken_for_nothing_hears_its_signal() {
    check(|| {
        let (_page, a, b) = two_fences();
        let wakes = wakes_for_nothing(&a, &b, |_, b| b.signal(1));
        let conditions = Many(vec![(&a, 1), (&b, 1)], Until::Signaled);
        assert_eq!(wait::any(&conditions, Deadline::NEVER), Ok(1));
        assert_eq!(wakes.join().unwrap(), Ok(()));
    });
}

#[test]
fn a_wait_for_any_of_one_that_was_woken_for_nothing_hears_its_signal() {
    check(|| {
        let (_page, a, b) = two_fences();
        // Its residue is not the bit of its slot.
        let wakes = wakes_for_nothing(&a, &b, |a, _| a.signal(7));
        let conditions = Many(vec![(&a, 7)], Until::Signaled);
        assert_eq!(wait::any(&conditions, Deadline::NEVER), Ok(0));
        assert_eq!(wakes.join().unwrap(), Ok(()));
    });
}

#[test]
fn a_wait_for_all_that_was_woken_for_nothing_hears_both_signals() {
    check(|| {
        let (_page, a, b) = two_fences();
        let wakes = wakes_for_nothing(&a, &b, |a, b| a.signal(1).and(b.signal(1)));
        let conditions = Many(vec![(&a, 1), (&b, 1)], Until::Signaled);
        assert_eq!(wait::all(&conditions, Deadline::NEVER), Ok(()));
        assert_eq!(wakes.join().unwrap(), Ok(()));
    });
}

#[test]
fn a_wait_for_all_that_was_woken_for_nothing_hears_of_a_failure() {
    check(|| {
        let (_page, a, b) = two_fences();
        let wakes = wakes_for_nothing(&a, &b, |_, b| b.set_error(FenceErrno::new(5).unwrap()));
        let conditions = Many(vec![(&a, 1), (&b, 1)], Until::Signaled);
        assert_eq!(wait::all(&conditions, Deadline::NEVER), Err(Error::FenceFailed));
        assert_eq!(wakes.join().unwrap(), Ok(()));
    });
}

/// The page rests from the first needless wake-up on, until the clock's next tick.
fn rests(page: &Page) -> thread::JoinHandle<()> {
    page.budget().rest_until(1);
    thread::spawn(futex::expire)
}

#[test]
fn a_wait_whose_page_rests_hears_its_signal() {
    check_bounded(2, || {
        let (page, a) = fence(0);
        let clock = rests(&page);
        let wakes = wakes_for_nothing(&a, &a, |a, _| a.signal(1));
        assert_eq!(wait_for(&a, 1), Ok(()));
        assert_eq!(wakes.join().unwrap(), Ok(()));
        clock.join().unwrap();
    });
}

#[test]
fn a_wait_for_any_whose_page_rests_hears_its_signal() {
    // Two sleep on the words of their slots, three on the event count.
    for repeated in [0, 1] {
        check_bounded(2, move || {
            let (page, a, b) = two_fences();
            let clock = rests(&page);
            let wakes = wakes_for_nothing(&a, &b, |_, b| b.signal(1));
            let mut list = vec![(&*a, 1); 1 + repeated];
            list.push((&b, 1));
            let met = wait::any(&Many(list, Until::Signaled), Deadline::NEVER);
            assert_eq!(met, Ok(1 + repeated));
            assert_eq!(wakes.join().unwrap(), Ok(()));
            clock.join().unwrap();
        });
    }
}

#[test]
fn a_wait_for_all_whose_page_rests_hears_of_a_failure() {
    for repeated in [0, 1] {
        check_bounded(2, move || {
            let (page, a, b) = two_fences();
            let clock = rests(&page);
            let fails = |_: &Fence, b: &Fence| b.set_error(FenceErrno::new(5).unwrap());
            let wakes = wakes_for_nothing(&a, &b, fails);
            let mut list = vec![(&*a, 1); 1 + repeated];
            list.push((&b, 1));
            let ended = wait::all(&Many(list, Until::Signaled), Deadline::NEVER);
            assert_eq!(ended, Err(Error::FenceFailed));
            assert_eq!(wakes.join().unwrap(), Ok(()));
            clock.join().unwrap();
        });
    }
}

#[test]
fn another_page_wakes_a_wait_for_any_while_one_rests() {
    check_bounded(2, || {
        let ((page, a), (_q, b)) = (fence(0), fence(0));
        page.budget().rest_until(u64::MAX / 50);
        let wakes = wakes_for_nothing(&a, &b, |_, b| b.signal(1));
        let conditions = Many(vec![(&a, 1), (&b, 1)], Until::Signaled);
        assert_eq!(wait::any(&conditions, Deadline::NEVER), Ok(1));
        assert_eq!(wakes.join().unwrap(), Ok(()));
    });
}
