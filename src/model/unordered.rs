// SPDX-License-Identifier: MIT
//! Unordered fences under the model checker: stores in any direction against waits, and rewinds
//! that take a value away before its waiter runs (shm/rewind.rs). A wait that is not told is a
//! deadlock, which loom reports.

use super::poller::Poller;
use super::protocol::{Many, check, check_bounded, wait_for, waits};
use crate::error::{Error, FenceErrno, Result};
use crate::fence::Fence;
use crate::shm::change::Change;
use crate::shm::generation::Kind;
use crate::shm::page::Page;
use crate::sys::time::Deadline;
use crate::util::refs::Ref;
use crate::wait::{self, Condition, Conditions, Op, Predicate, Until};
use loom::thread;

const UNORDERED: Kind = Kind { unordered: true, ..Kind::PLAIN };

fn fence(kind: Kind, value: u64) -> (Ref<Page>, Ref<Fence>) {
    let page = Page::create(1).unwrap();
    let fence = Fence::create(&page, kind, value).unwrap();
    (page, fence)
}

fn two_fences() -> (Ref<Page>, Ref<Fence>, Ref<Fence>) {
    let page = Page::create(2).unwrap();
    let make = || Fence::create(&page, UNORDERED, 0).unwrap();
    let (a, b) = (make(), make());
    (page, a, b)
}

/// Stores values one after the other.
fn stores(fence: &Ref<Fence>, values: &'static [u64]) -> thread::JoinHandle<Result<()>> {
    let fence = fence.clone();
    thread::spawn(move || values.iter().try_for_each(|value| fence.signal(*value)))
}

/// A fence at `start` takes each of `steps`, while somebody waits for `op value`.
fn op_wakes(start: u64, steps: &'static [u64], op: (Op, bool), value: u64) {
    check(move || {
        let (_page, fence) = fence(UNORDERED, start);
        let storing = stores(&fence, steps);
        let condition = Condition::new(&fence, op, value, 0, Until::Signaled).unwrap();
        assert_eq!(wait::one(condition, Deadline::NEVER), Ok(()));
        assert_eq!(storing.join().unwrap(), Ok(()));
    });
}

#[test]
fn the_value_that_meets_an_operator_wakes_its_waiter_from_either_side() {
    for (op, start, step, value) in [
        (Op::Ge, 0, [9].as_slice(), 7),
        (Op::Gt, 7, &[8], 7),
        (Op::Eq, 0, &[7], 7),
        (Op::Eq, 9, &[8, 7], 7),
        (Op::Ne, 7, &[8], 7),
        (Op::Ne, 7, &[6], 7),
        (Op::Ne, 0, &[u64::MAX], 0),
        (Op::Lt, 9, &[8, 6], 7),
        (Op::Lt, 40, &[0], 1),
        (Op::Le, 9, &[8, 7], 7),
        (Op::Le, 1 << 40, &[7], 7),
        (Op::Lt, u64::MAX, &[0], 1),
    ] {
        op_wakes(start, step, (op, false), value);
    }
    const MIN: u64 = 1 << 63;
    op_wakes(1, &[u64::MAX], (Op::Lt, true), 0);
    op_wakes(MIN, &[3], (Op::Ge, true), 0);
    op_wakes(u64::MAX, &[0], (Op::Ge, true), 0);
    op_wakes(MIN - 1, &[MIN], (Op::Lt, true), 0);
}

#[test]
fn the_last_of_two_that_count_down_wakes_the_waiter() {
    check(|| {
        let (_page, fence) = fence(UNORDERED, 2);
        let counts = |fence: &Ref<Fence>| {
            let fence = fence.clone();
            thread::spawn(move || fence.update(Change::Subtract(1)).map(drop))
        };
        let both = [counts(&fence), counts(&fence)];
        let condition = Condition::new(&fence, (Op::Lt, false), 1, 0, Until::Signaled).unwrap();
        assert_eq!(wait::one(condition, Deadline::NEVER), Ok(()));
        both.into_iter().for_each(|thread| assert_eq!(thread.join().unwrap(), Ok(())));
        assert_eq!(fence.value(), 0);
    });
}

#[test]
fn a_value_that_is_taken_back_at_once_ends_the_wait_that_began_before() {
    for steps in [&[9, 0], &[9, 3]] {
        check(move || {
            let (_page, fence) = fence(UNORDERED, 0);
            let waiter = waits(&fence, 5);
            assert_eq!(stores(&fence, steps).join().unwrap(), Ok(()));
            // A wait that began too late is told by the last value.
            assert_eq!(fence.signal(20), Ok(()));
            assert_eq!(waiter.join().unwrap(), Ok(()));
        });
    }
}

/// Runs `store` once a wait for 5 has begun. The fence is at 0 before and after.
fn met_after_it_began(store: impl Fn(&Ref<Fence>) + Copy + Send + Sync + 'static) {
    check_bounded(2, move || {
        let (_page, fence) = fence(UNORDERED, 0);
        let condition = Condition::reached(&fence, 5).unwrap();
        let begun = condition.predicate().begin(&fence);
        let storing = {
            let fence = fence.clone();
            thread::spawn(move || store(&fence))
        };
        assert_eq!(wait::one(begun.of(&fence), Deadline::NEVER), Ok(()));
        storing.join().unwrap();
    });
}

#[test]
fn a_wait_that_had_begun_is_told_of_a_value_that_is_gone() {
    met_after_it_began(|fence| {
        assert_eq!(fence.signal(9), Ok(()));
        assert_eq!(fence.signal(0), Ok(()));
    });
}

#[test]
fn a_wait_that_had_begun_is_told_although_others_aliased_it_before() {
    met_after_it_began(|fence| {
        for value in [37 - 32 - 1, 0, 5, 0] {
            assert_eq!(fence.signal(value), Ok(()));
        }
    });
}

#[test]
fn a_wait_that_had_begun_is_told_by_the_second_of_two_signalers() {
    met_after_it_began(|fence| {
        let rewinds = {
            let fence = fence.clone();
            thread::spawn(move || {
                let rewind = Change::CompareExchange { expected: 9, new: 0 };
                while fence.update(rewind) == Ok(0) {
                    thread::yield_now();
                }
            })
        };
        assert_eq!(fence.signal(9), Ok(()));
        rewinds.join().unwrap();
    });
}

#[test]
fn a_wait_that_had_begun_is_told_of_the_higher_of_two_rewinds_at_once() {
    met_after_it_began(|fence| {
        let other = stores(fence, &[3, 0]);
        assert_eq!(fence.signal(9), Ok(()));
        assert_eq!(fence.signal(0), Ok(()));
        assert_eq!(other.join().unwrap(), Ok(()));
    });
}

#[test]
fn a_wait_that_begins_after_a_rewind_is_not_told_of_it() {
    check(|| {
        let (_page, fence) = fence(UNORDERED, 9);
        // Another wait has begun, or no rewind would be noted.
        let other = Condition::reached(&fence, 10).unwrap().predicate().begin(&fence);
        let storing = stores(&fence, &[0]);
        // By a branch instead, loom would not find the schedules with the new value.
        while fence.value() != 0 {
            thread::yield_now();
        }
        let late = Condition::reached(&fence, 5).unwrap().predicate().begin(&fence);
        assert_eq!(late.of(&fence).met(), Ok(false));
        assert_eq!(storing.join().unwrap(), Ok(()));
        assert_eq!(late.of(&fence).met(), Ok(false));
        assert_eq!(other.of(&fence).met(), Ok(false));
    });
}

#[test]
fn a_reader_that_cannot_register_is_told_of_a_rewind_and_of_no_earlier_one() {
    check_bounded(2, || {
        let (page, reader) = Page::create_single_writer(1).unwrap();
        let fence = Fence::create(&page, UNORDERED, 9).unwrap();
        let seen = Fence::open(&reader, fence.index()).unwrap();
        assert_eq!(fence.signal(0), Ok(()));
        let begun = Condition::reached(&seen, 5).unwrap().predicate().begin(&seen);
        assert_eq!(begun.of(&seen).met(), Ok(false));
        let storing = stores(&fence, &[7, 0]);
        assert_eq!(wait::one(begun.of(&seen), Deadline::NEVER), Ok(()));
        assert_eq!(storing.join().unwrap(), Ok(()));
    });
}

/// A wait for many that has begun.
struct BegunMany<'a>([(&'a Fence, Predicate); 2]);

impl Conditions for BegunMany<'_> {
    fn count(&self) -> usize {
        2
    }
    fn get(&self, index: usize) -> Result<Condition<'_>> {
        let (fence, predicate) = self.0[index];
        Ok(predicate.of(fence))
    }
}

#[test]
fn waits_for_any_and_all_are_told_of_a_rewind() {
    check_bounded(2, || {
        let (_page, a, b) = two_fences();
        let storing = {
            let b = b.clone();
            // The wait may begin only after the rewind, and is then met by the last value.
            thread::spawn(move || [9, 0, 6].iter().try_for_each(|value| b.signal(*value)))
        };
        let conditions = Many(vec![(&a, 5), (&b, 5)], Until::Signaled);
        assert_eq!(wait::any(&conditions, Deadline::NEVER), Ok(1));
        assert_eq!(a.signal(5), Ok(()));
        assert_eq!(storing.join().unwrap(), Ok(()));
        assert_eq!(wait::all(&conditions, Deadline::NEVER), Ok(()));
    });
}

#[test]
fn an_entry_that_a_wait_for_all_has_not_come_to_is_told_of_a_rewind() {
    check_bounded(2, || {
        let (_page, a, b) = two_fences();
        let begun = BegunMany([&a, &b].map(|fence| {
            (&**fence, Condition::reached(fence, 5).unwrap().predicate().begin(fence))
        }));
        let storing = {
            let (a, b) = (a.clone(), b.clone());
            thread::spawn(move || {
                b.signal(9)?;
                b.signal(0)?;
                a.signal(5)
            })
        };
        assert_eq!(wait::all(&begun, Deadline::NEVER), Ok(()));
        assert_eq!(storing.join().unwrap(), Ok(()));
    });
}

#[test]
fn a_watch_is_told_of_a_rewind() {
    check_bounded(2, || {
        let (_page, fence) = fence(UNORDERED, 0);
        let poller = Poller::start();
        poller.watch(&fence, 5);
        assert_eq!(fence.signal(9), Ok(()));
        assert_eq!(fence.signal(0), Ok(()));
        poller.end_after(1);
    });
}

#[test]
fn watches_of_a_process_take_no_rewind_from_each_other() {
    check_bounded(2, || {
        let (_page, fence) = fence(UNORDERED, 0);
        let poller = Poller::start();
        for value in [9, 7, 5, 3] {
            poller.watch(&fence, value);
            assert_eq!(fence.signal(value), Ok(()));
            assert_eq!(fence.signal(0), Ok(()));
        }
        poller.end_after(4);
    });
}

#[test]
fn a_device_writes_an_unordered_fence_down_and_its_interrupt_wakes() {
    check(|| {
        let (_page, fence) = fence(Kind { device: true, ..UNORDERED }, 9);
        let waiter = {
            let fence = fence.clone();
            thread::spawn(move || {
                let condition = Condition::new(&fence, (Op::Lt, false), 5, 0, Until::Signaled)?;
                wait::one(condition, Deadline::NEVER)
            })
        };
        for value in [7, 9, 3] {
            if fence.slot().device_writes_and_would_interrupt(value) {
                assert_eq!(fence.notify(), Ok(()));
            }
        }
        assert_eq!(waiter.join().unwrap(), Ok(()));
    });
}

#[test]
fn an_error_ends_a_wait_that_no_value_met() {
    check(|| {
        let (_page, fence) = fence(UNORDERED, 9);
        let waiter = waits(&fence, 10);
        assert_eq!(fence.signal(0), Ok(()));
        assert_eq!(fence.set_error(FenceErrno::new(5).unwrap()), Ok(()));
        assert_eq!(waiter.join().unwrap(), Err(Error::FenceFailed));
        assert_eq!(wait_for(&fence, 0), Ok(()));
    });
}
