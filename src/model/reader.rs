// SPDX-License-Identifier: MIT
//! Processes that can only read a page (UMF_PAGE_SINGLE_WRITER) under loom.
//!
//! They register nowhere, so the creator wakes without looking. The word of owner_death.rs says
//! that it died. Deadlines do not pass here: `MUTED_NS` would hide a lost wake-up.

use super::poller::Poller;
use super::protocol::{Many, check, check_bounded, signals, this_process, wait_for, waits};
use crate::error::{Error, FenceErrno, Result};
use crate::fence::Fence;
use crate::shm::event_count::EventSink;
use crate::shm::generation::Kind;
use crate::shm::page::Page;
use crate::sys::time::Deadline;
use crate::util::refs::Ref;
use crate::wait::{self, Until};
use loom::thread;

/// A fence as its creator has it open, and as another process has.
struct Both {
    _pages: (Ref<Page>, Ref<Page>),
    created: Ref<Fence>,
    opened: Ref<Fence>,
}

fn both() -> Both {
    let (writer, reader) = Page::create_single_writer(1).unwrap();
    let created = Fence::create(&writer, Kind::PLAIN, 0).unwrap();
    let opened = Fence::open(&reader, 0).unwrap();
    Both { _pages: (writer, reader), created, opened }
}

/// Says in the reader's process that the creator of the fence died.
fn dies(fence: &Ref<Fence>) -> thread::JoinHandle<Result<()>> {
    let fence = fence.clone();
    thread::spawn(move || fence.fail_owner_died(None))
}

/// Says the same of the creator of the page.
fn page_dies(fence: &Ref<Fence>) -> thread::JoinHandle<Result<()>> {
    let page = fence.shared_page();
    thread::spawn(move || page.fail_owner_died(0, &mut 1, None).map(|_| ()))
}

fn any(conditions: Vec<(&Fence, u64)>) -> Result<usize> {
    wait::any(&Many(conditions, Until::Signaled), Deadline::NEVER)
}

fn all(conditions: Vec<(&Fence, u64)>) -> Result<()> {
    wait::all(&Many(conditions, Until::Signaled), Deadline::NEVER)
}

#[test]
fn a_signal_wakes_a_reader() {
    check(|| {
        let fence = both();
        let signal = signals(&fence.created, 1);
        assert_eq!(wait_for(&fence.opened, 1), Ok(()));
        assert_eq!(signal.join().unwrap(), Ok(()));
        assert_eq!(fence.opened.signal(2), Err(Error::Denied));
    });
}

#[test]
fn a_signal_wakes_two_readers_of_one_process() {
    check_bounded(2, || {
        let fence = both();
        let first = waits(&fence.opened, 1);
        let second = waits(&fence.opened, 2);
        assert_eq!(fence.created.signal(1), Ok(()));
        assert_eq!(fence.created.signal(2), Ok(()));
        assert_eq!(first.join().unwrap(), Ok(()));
        assert_eq!(second.join().unwrap(), Ok(()));
    });
}

#[test]
fn a_signal_wakes_a_reader_that_waits_for_any_or_for_all() {
    check(|| {
        let fence = both();
        let signal = signals(&fence.created, 1);
        assert_eq!(any(vec![(&fence.opened, 1)]), Ok(0));
        assert_eq!(signal.join().unwrap(), Ok(()));
    });
    check(|| {
        let fence = both();
        let signal = signals(&fence.created, 1);
        assert_eq!(all(vec![(&fence.opened, 1)]), Ok(()));
        assert_eq!(signal.join().unwrap(), Ok(()));
    });
}

#[test]
fn a_failure_and_the_end_of_a_fence_wake_a_reader() {
    check(|| {
        let fence = both();
        let waiter = waits(&fence.opened, 1);
        assert_eq!(fence.created.set_error(FenceErrno::new(5).unwrap()), Ok(()));
        assert_eq!(waiter.join().unwrap(), Err(Error::FenceFailed));
    });
    check(|| {
        let fence = both();
        let waiter = waits(&fence.opened, 1);
        let events = fence.created.page().events();
        let sink = EventSink { events, slot: fence.created.index() };
        fence.created.slot().retire(fence.created.generation(), sink, this_process(), 0);
        assert_eq!(waiter.join().unwrap(), Err(Error::Stale));
    });
}

#[test]
fn the_death_of_the_creator_wakes_a_reader() {
    check(|| {
        let fence = both();
        let death = dies(&fence.opened);
        assert_eq!(wait_for(&fence.opened, 1), Err(Error::OwnerDead));
        assert_eq!(death.join().unwrap(), Ok(()));
    });
    check(|| {
        let fence = both();
        let death = page_dies(&fence.opened);
        assert_eq!(wait_for(&fence.opened, 1), Err(Error::OwnerDead));
        assert_eq!(death.join().unwrap(), Ok(()));
    });
}

#[test]
fn the_death_of_the_creator_wakes_a_reader_that_waits_for_any_or_for_all() {
    check(|| {
        let fence = both();
        let death = dies(&fence.opened);
        assert_eq!(any(vec![(&fence.opened, 1)]), Err(Error::OwnerDead));
        assert_eq!(death.join().unwrap(), Ok(()));
    });
    check(|| {
        let fence = both();
        let death = page_dies(&fence.opened);
        assert_eq!(all(vec![(&fence.opened, 1)]), Err(Error::OwnerDead));
        assert_eq!(death.join().unwrap(), Ok(()));
    });
}

#[test]
fn a_value_that_was_signaled_before_the_death_is_reached() {
    check(|| {
        let fence = both();
        let waiter = waits(&fence.opened, 1);
        assert_eq!(fence.created.signal(1), Ok(()));
        assert_eq!(fence.opened.fail_owner_died(None), Ok(()));
        assert_eq!(waiter.join().unwrap(), Ok(()));
    });
}

#[test]
fn the_death_of_one_creator_leaves_waits_for_others_asleep() {
    check_bounded(2, || {
        let (dead, alive) = (both(), both());
        let waiter = waits(&alive.opened, 1);
        assert_eq!(dead.opened.fail_owner_died(None), Ok(()));
        assert_eq!(alive.created.signal(1), Ok(()));
        assert_eq!(waiter.join().unwrap(), Ok(()));
    });
}

#[test]
fn the_death_of_the_creator_completes_a_watch() {
    check_bounded(2, || {
        let fence = both();
        let poller = Poller::start();
        poller.watch(&fence.opened, 1);
        assert_eq!(fence.opened.fail_owner_died(None), Ok(()));
        poller.end_after(1);
    });
}

#[test]
fn a_signal_completes_the_watch_of_a_reader() {
    check_bounded(2, || {
        let fence = both();
        let poller = Poller::start();
        let signal = signals(&fence.created, 1);
        poller.watch(&fence.opened, 1);
        poller.end_after(1);
        assert_eq!(signal.join().unwrap(), Ok(()));
    });
}
