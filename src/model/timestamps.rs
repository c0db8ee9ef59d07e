// SPDX-License-Identifier: MIT
//! Timestamps under the model checker: signalers that race, entries that are written while they are
//! read, and the slot's next fence (shm/timestamps.rs).

use super::protocol::{check, this_process};
use crate::error::{Error, Result};
use crate::fence::Fence;
use crate::shm::event_count::EventSink;
use crate::shm::generation::Kind;
use crate::shm::page::Page;
use crate::util::refs::Ref;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;

fn fence() -> (Ref<Page>, Ref<Fence>) {
    let page = Page::create_with_timestamps(1).unwrap();
    let fence = Fence::create(&page, Kind::PLAIN, 0).unwrap();
    (page, fence)
}

/// A time that tells of which value it is. Small enough to be in the past.
const fn time_of(value: u64) -> u64 {
    value << 16
}

fn signal_all(fence: &Ref<Fence>, values: &'static [u64]) -> thread::JoinHandle<Result<()>> {
    let fence = fence.clone();
    let signal = move |value: &u64| fence.signal_at(*value, time_of(*value));
    thread::spawn(move || values.iter().try_for_each(signal))
}

#[test]
fn who_sees_the_value_finds_its_time() {
    check(|| {
        let (_page, fence) = fence();
        let signaler = signal_all(&fence, &[1]);
        if fence.value() == 1 {
            assert_eq!(fence.timestamp(1), Ok(time_of(1)));
        }
        signaler.join().unwrap().unwrap();
    });
}

#[test]
fn no_time_is_that_of_another_value() {
    check(|| {
        let (_page, fence) = fence();
        let signaler = signal_all(&fence, &[1, 2, 3, 4]);
        for value in [1, 2] {
            let time = fence.timestamp(value);
            assert!(time == Ok(time_of(value)) || time == Err(Error::NotFound));
        }
        signaler.join().unwrap().unwrap();
        assert_eq!([3, 4].map(|value| fence.timestamp(value)), [3, 4].map(|v| Ok(time_of(v))));
    });
}

#[test]
fn two_that_write_an_entry_at_once_leave_no_time_of_another_value() {
    check(|| {
        let (_page, fence) = fence();
        let signalers = [signal_all(&fence, &[1, 2, 3]), signal_all(&fence, &[4])];
        for signaler in signalers {
            let _ = signaler.join().unwrap();
        }
        for value in 1..=4 {
            let time = fence.timestamp(value);
            assert!(time == Ok(time_of(value)) || time == Err(Error::NotFound));
        }
    });
}

#[test]
fn the_time_of_a_race_is_not_later_than_the_value() {
    check(|| {
        let (_page, fence) = fence();
        let clock = Arc::new(AtomicU64::new(1));
        let signal = || {
            let (fence, clock) = (fence.clone(), clock.clone());
            thread::spawn(move || {
                let time = clock.fetch_add(1, Ordering::AcqRel) + 1;
                fence.signal_at(1, time)
            })
        };
        let signalers = [signal(), signal()];
        let seen = (fence.value() == 1).then(|| clock.fetch_add(1, Ordering::AcqRel));
        for signaler in signalers {
            signaler.join().unwrap().unwrap();
        }
        let time = fence.timestamp(1).unwrap();
        assert!(seen.is_none_or(|seen| time <= seen));
    });
}

#[test]
fn a_signaler_that_is_killed_leaves_no_earlier_time() {
    check(|| {
        let (page, fence) = fence();
        let timestamps = page.timestamps(0).unwrap();
        fence.slot().leave_time(fence.generation(), 1, timestamps, 10);
        assert_eq!(fence.timestamp(1), Err(Error::NotFound));
        fence.signal_at(1, 20).unwrap();
        assert_eq!(fence.timestamp(1), Ok(20));
    });
}

#[test]
fn a_time_of_the_next_fence_is_none_of_this_one() {
    check(|| {
        let page = Page::create_with_timestamps(1).unwrap();
        let (index, old) = page.claim(Kind::PLAIN, 1, this_process()).unwrap();
        let slot = page.slot(index).unwrap();
        assert!(slot.publish(old));
        let next = {
            let page = page.clone();
            thread::spawn(move || {
                let (slot, timestamps) = (page.slot(0).unwrap(), page.timestamps(0).unwrap());
                let sink = EventSink { events: page.events(), slot: 0 };
                slot.retire(old, sink, this_process(), slot.sequence());
                let (_, next) = page.claim(Kind::PLAIN, 0, this_process()).unwrap();
                assert!(slot.publish(next));
                slot.leave_time(next, 1, timestamps, time_of(1));
                slot.signal(next, sink, 1).unwrap();
            })
        };
        let time = slot.time_of(old, 1, page.timestamps(0).unwrap());
        assert!(time == Ok(None) || time == Err(Error::Stale));
        next.join().unwrap();
    });
}

#[test]
fn a_new_fence_has_no_time_of_the_last_one() {
    check(|| {
        let (page, fence) = fence();
        fence.signal_at(1, time_of(1)).unwrap();
        drop(fence);
        let fence = Fence::create(&page, Kind::PLAIN, 0).unwrap();
        fence.signal_at(2, time_of(2)).unwrap();
        assert_eq!(fence.timestamp(1), Err(Error::NotFound));
        assert_eq!(fence.timestamp(2), Ok(time_of(2)));
    });
}
