// SPDX-License-Identifier: MIT
//! Wait sets under loom: set.rs and set_table.rs as they are, with threads that wait for a set
//! while others signal its fences and change its entries.

use super::protocol::{check, check_bounded, fence, signals, this_process, two_fences};
use crate::error::{Error, FenceErrno, Result};
use crate::fence::Fence;
use crate::shm::event_count::EventSink;
use crate::shm::generation::Kind;
use crate::shm::page::Page;
use crate::sys::futex;
use crate::sys::time::Deadline;
use crate::util::refs::Ref;
use crate::wait::{Condition, WaitSet};
use loom::thread;

/// A deadline that passes when the model calls `futex::expire`.
const SOMETIME: Deadline = Deadline::at(1);

fn new_set() -> Ref<WaitSet> {
    WaitSet::new().unwrap()
}

/// Adds an entry under the number `user_data`. Returns its id.
fn add(set: &WaitSet, fence: &Ref<Fence>, value: u64, user_data: u64) -> u64 {
    let predicate = Condition::reached(fence, value).unwrap().predicate();
    set.add(fence.clone(), predicate, user_data).unwrap()
}

fn modify(set: &WaitSet, id: u64, fence: &Fence, value: u64) {
    let predicate = Condition::reached(fence, value).unwrap().predicate();
    assert_eq!(set.modify(id, fence, predicate), Ok(()));
}

/// The numbers and the results of the entries that a wait reports.
fn wait_until(set: &WaitSet, deadline: Deadline) -> Result<Vec<(u64, Result<()>)>> {
    let mut found = Vec::new();
    let count = set.wait(8, deadline, |_, ready| found.push((ready.user_data, ready.result)))?;
    assert_eq!(count, found.len());
    Ok(found)
}

fn wait(set: &WaitSet) -> Vec<(u64, Result<()>)> {
    wait_until(set, Deadline::NEVER).unwrap()
}

type Waiter = thread::JoinHandle<Vec<(u64, Result<()>)>>;

fn waits(set: &Ref<WaitSet>) -> Waiter {
    let set = set.clone();
    thread::spawn(move || wait(&set))
}

#[test]
fn a_signal_wakes_a_wait_for_a_set() {
    check(|| {
        let (_page, a, b) = two_fences();
        let set = new_set();
        add(&set, &a, 1, 1);
        add(&set, &b, 1, 2);
        let signal = signals(&b, 1);
        assert_eq!(wait(&set), [(2, Ok(()))]);
        assert_eq!(signal.join().unwrap(), Ok(()));
    });
}

#[test]
fn a_signal_beside_the_addition_of_its_entry_is_not_lost() {
    check(|| {
        let (_page, a) = fence(0);
        let signal = signals(&a, 1);
        let set = new_set();
        add(&set, &a, 1, 1);
        assert_eq!(wait(&set), [(1, Ok(()))]);
        assert_eq!(signal.join().unwrap(), Ok(()));
    });
}

#[test]
fn an_entry_that_is_added_while_a_thread_sleeps_gets_its_signal() {
    check_bounded(2, || {
        let (_page, a, b) = two_fences();
        let set = new_set();
        add(&set, &a, 1, 1);
        let waiter = waits(&set);
        add(&set, &b, 1, 2);
        assert_eq!(b.signal(1), Ok(()));
        assert_eq!(waiter.join().unwrap(), [(2, Ok(()))]);
    });
}

/// The thread sleeps on the word of its one page, and not on that of the set.
fn page_alone(model: fn()) {
    futex::set_has_waitv(false);
    check_bounded(2, model);
    futex::set_has_waitv(true);
}

fn added_when_met_wakes() {
    let (_page, a, b) = two_fences();
    assert_eq!(b.signal(1), Ok(()));
    let set = new_set();
    add(&set, &a, 1, 1);
    let waiter = waits(&set);
    add(&set, &b, 1, 2);
    assert_eq!(waiter.join().unwrap(), [(2, Ok(()))]);
}

#[test]
fn an_entry_that_is_met_when_it_is_added_wakes_a_thread_that_sleeps() {
    check_bounded(2, added_when_met_wakes);
}

#[test]
fn an_entry_that_is_met_when_it_is_added_wakes_a_thread_on_the_page_alone() {
    page_alone(added_when_met_wakes);
}

#[test]
fn a_page_that_is_added_while_a_thread_sleeps_is_listened_to() {
    check_bounded(2, || {
        let ((_p, a), (_q, b)) = (fence(0), fence(0));
        let set = new_set();
        add(&set, &a, 1, 1);
        let waiter = waits(&set);
        add(&set, &b, 1, 2);
        assert_eq!(b.signal(1), Ok(()));
        assert_eq!(waiter.join().unwrap(), [(2, Ok(()))]);
    });
}

#[test]
fn a_thread_that_waits_for_an_empty_set_notices_the_first_entry() {
    check_bounded(2, || {
        let (_page, a) = fence(0);
        let set = new_set();
        let waiter = waits(&set);
        add(&set, &a, 1, 1);
        assert_eq!(a.signal(1), Ok(()));
        assert_eq!(waiter.join().unwrap(), [(1, Ok(()))]);
    });
}

#[test]
fn an_entry_that_is_modified_while_a_thread_sleeps_gets_its_signal() {
    check_bounded(2, || {
        let (_page, a) = fence(0);
        let set = new_set();
        let id = add(&set, &a, 2, 1);
        let waiter = waits(&set);
        modify(&set, id, &a, 1);
        assert_eq!(a.signal(1), Ok(()));
        assert_eq!(waiter.join().unwrap(), [(1, Ok(()))]);
    });
}

#[test]
fn an_entry_that_was_reported_gets_the_signal_of_its_next_value() {
    check(|| {
        let (_page, a) = fence(1);
        let set = new_set();
        let id = add(&set, &a, 1, 1);
        assert_eq!(wait(&set), [(1, Ok(()))]);
        let signal = signals(&a, 2);
        modify(&set, id, &a, 2);
        assert_eq!(wait(&set), [(1, Ok(()))]);
        assert_eq!(a.value(), 2);
        assert_eq!(signal.join().unwrap(), Ok(()));
    });
}

#[test]
fn a_removed_entry_does_not_keep_the_others_from_a_thread_that_sleeps() {
    check_bounded(2, || {
        let ((_p, a), (_q, b)) = (fence(0), fence(0));
        let set = new_set();
        let id = add(&set, &a, 1, 1);
        add(&set, &b, 1, 2);
        let waiter = waits(&set);
        assert_eq!(set.remove(id), Ok(()));
        assert_eq!(a.signal(1), Ok(()));
        assert_eq!(b.signal(1), Ok(()));
        assert_eq!(waiter.join().unwrap(), [(2, Ok(()))]);
        assert_eq!(set.remove(id), Err(Error::NotFound));
    });
}

#[test]
fn one_signal_wakes_two_threads_that_wait_for_a_set() {
    check_bounded(2, || {
        let (_page, a) = fence(0);
        let set = new_set();
        add(&set, &a, 1, 1);
        let other = waits(&set);
        let signal = signals(&a, 1);
        assert_eq!(wait(&set), [(1, Ok(()))]);
        assert_eq!(other.join().unwrap(), [(1, Ok(()))]);
        assert_eq!(signal.join().unwrap(), Ok(()));
    });
}

#[test]
fn two_threads_of_which_one_goes_on_both_get_the_next_value() {
    check_bounded(2, || {
        let (_page, a) = fence(0);
        let set = new_set();
        let id = add(&set, &a, 1, 1);
        let other = waits(&set);
        assert_eq!(a.signal(1), Ok(()));
        assert_eq!(wait(&set), [(1, Ok(()))]);
        modify(&set, id, &a, 2);
        assert_eq!(a.signal(2), Ok(()));
        assert_eq!(wait(&set), [(1, Ok(()))]);
        assert_eq!(other.join().unwrap(), [(1, Ok(()))]);
    });
}

#[test]
fn a_set_gets_its_signal_among_more_events_than_the_log_holds() {
    check_bounded(2, || {
        let (_page, a, b) = two_fences();
        let set = new_set();
        add(&set, &a, 1, 1);
        add(&set, &b, 9, 2);
        let waiter = waits(&set);
        assert_eq!(a.signal(1), Ok(()));
        for _ in 0..2 {
            assert_eq!(b.notify(), Ok(()));
        }
        assert_eq!(waiter.join().unwrap(), [(1, Ok(()))]);
    });
}

#[test]
fn the_failure_and_the_end_of_a_fence_wake_a_wait_for_a_set() {
    check(|| {
        let (_page, a) = fence(0);
        let set = new_set();
        add(&set, &a, 1, 1);
        let waiter = waits(&set);
        assert_eq!(a.set_error(FenceErrno::new(5).unwrap()), Ok(()));
        assert_eq!(waiter.join().unwrap(), [(1, Err(Error::FenceFailed))]);
    });
    check(|| {
        let (page, a) = fence(0);
        let set = new_set();
        add(&set, &a, 1, 1);
        let waiter = waits(&set);
        let sink = EventSink { events: page.events(), slot: a.index() };
        a.slot().retire(a.generation(), sink, this_process(), 0);
        assert_eq!(waiter.join().unwrap(), [(1, Err(Error::Stale))]);
    });
}

#[test]
fn the_death_of_a_creator_wakes_a_reader_that_waits_for_a_set() {
    check_bounded(2, || {
        let (writer, reader) = Page::create_single_writer(1).unwrap();
        let _created = Fence::create(&writer, Kind::PLAIN, 0).unwrap();
        let opened = Fence::open(&reader, 0).unwrap();
        let set = new_set();
        add(&set, &opened, 1, 1);
        let waiter = waits(&set);
        assert_eq!(opened.fail_owner_died(None), Ok(()));
        assert_eq!(waiter.join().unwrap(), [(1, Err(Error::OwnerDead))]);
    });
}

#[test]
fn a_store_that_is_rewound_is_reported_once() {
    check_bounded(2, || {
        let page = Page::create(1).unwrap();
        let unordered = Kind { unordered: true, ..Kind::PLAIN };
        let a = Fence::create(&page, unordered, 0).unwrap();
        let set = new_set();
        add(&set, &a, 5, 1);
        let waiter = waits(&set);
        assert_eq!(a.signal(5), Ok(()));
        assert_eq!(a.signal(0), Ok(()));
        assert_eq!(waiter.join().unwrap(), [(1, Ok(()))]);
    });
}

#[test]
fn a_signal_takes_precedence_over_the_deadline() {
    check_bounded(2, || {
        let (_page, a) = fence(0);
        let set = new_set();
        add(&set, &a, 1, 1);
        let waiter = {
            let set = set.clone();
            thread::spawn(move || wait_until(&set, SOMETIME))
        };
        assert_eq!(a.signal(1), Ok(()));
        futex::expire();
        assert_eq!(waiter.join().unwrap(), Ok(vec![(1, Ok(()))]));
    });
}

#[test]
fn a_set_gets_the_signal_of_a_page_that_rests() {
    check_bounded(2, || {
        let (page, a) = fence(0);
        page.budget().rest_until(1);
        let clock = thread::spawn(futex::expire);
        let set = new_set();
        add(&set, &a, 1, 1);
        let waiter = waits(&set);
        assert_eq!(a.signal(1), Ok(()));
        assert_eq!(waiter.join().unwrap(), [(1, Ok(()))]);
        clock.join().unwrap();
    });
}

#[test]
fn a_thread_on_a_page_alone_leaves_it_with_its_last_entry() {
    page_alone(|| {
        let ((_p, a), (_q, b)) = (fence(0), fence(0));
        let set = new_set();
        let id = add(&set, &a, 1, 1);
        let waiter = waits(&set);
        assert_eq!(set.remove(id), Ok(()));
        assert_eq!(a.signal(1), Ok(()));
        add(&set, &b, 1, 2);
        assert_eq!(b.signal(1), Ok(()));
        assert_eq!(waiter.join().unwrap(), [(2, Ok(()))]);
    });
}

#[test]
fn an_entry_that_is_modified_to_a_value_that_is_there_wakes_a_thread_on_the_page_alone() {
    page_alone(|| {
        let (_page, a) = fence(1);
        let set = new_set();
        let id = add(&set, &a, 2, 1);
        let waiter = waits(&set);
        modify(&set, id, &a, 1);
        assert_eq!(waiter.join().unwrap(), [(1, Ok(()))]);
    });
}

#[test]
fn two_threads_on_a_page_alone_both_get_an_entry_that_is_added() {
    page_alone(|| {
        let (_page, a, b) = two_fences();
        assert_eq!(b.signal(1), Ok(()));
        let set = new_set();
        add(&set, &a, 1, 1);
        let waiter = waits(&set);
        let adder = {
            let (set, b) = (set.clone(), b.clone());
            thread::spawn(move || drop(add(&set, &b, 1, 2)))
        };
        assert_eq!(wait(&set), [(2, Ok(()))]);
        assert_eq!(waiter.join().unwrap(), [(2, Ok(()))]);
        adder.join().unwrap();
    });
}

#[test]
fn two_threads_are_each_told_of_an_entry_of_two_on_a_fence_without_order() {
    check_bounded(2, || {
        let page = Page::create(1).unwrap();
        let unordered = Kind { unordered: true, ..Kind::PLAIN };
        let a = Fence::create(&page, unordered, 0).unwrap();
        let set = new_set();
        add(&set, &a, 5, 1);
        add(&set, &a, 3, 2);
        let other = {
            let set = set.clone();
            thread::spawn(move || set.wait(1, Deadline::NEVER, |_, _| {}).unwrap())
        };
        assert_eq!(a.signal(5), Ok(()));
        assert_eq!(set.wait(1, Deadline::NEVER, |_, _| {}), Ok(1));
        assert_eq!(other.join().unwrap(), 1);
        assert_eq!(a.signal(0), Ok(()));
        // Each entry held after it was last reported.
        assert!(!wait(&set).is_empty());
    });
}
