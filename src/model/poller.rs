// SPDX-License-Identifier: MIT
//! Watches under the model checker: the code of fence_poller.rs, fence_watches.rs and watch.rs as
//! it is, with the poller's thread. Only the event loop is replaced, by a scheduler that counts
//! what is due. A watch that misses its signal is a deadlock, which loom reports.

use super::protocol::{check, check_bounded, fence, signals, two_fences};
use crate::error::{Error, FenceErrno};
use crate::fence::Fence;
use crate::reactor::{Action, FencePoller, Scheduler, Token, Watch};
use crate::shm::generation::Kind;
use crate::shm::page::Page;
use crate::sys::futex;
use crate::util::refs::Ref;
use crate::wait::{Condition, Op, Until};
use loom::sync::{Condvar, Mutex};

/// Counts the watches that are due.
struct Due {
    count: Mutex<usize>,
    changed: Condvar,
}

impl Scheduler for Due {
    fn unreserve(&self) {}

    fn enqueue(&self, _: &Ref<Watch>) {
        *self.count.lock().unwrap() += 1;
        self.changed.notify_all();
    }

    fn run_due(&self) {}

    fn wake(&self) {}

    fn untrack(&self, _: &Watch) {}

    fn deregister_fd(&self, _: Token) {}
}

/// A fence poller with its thread, and where its watches become due.
pub(super) struct Poller {
    poller: Ref<FencePoller>,
    due: Ref<Due>,
}

impl Poller {
    pub(super) fn start() -> Poller {
        let due = Ref::try_new(|| Ok(Due { count: Mutex::new(0), changed: Condvar::new() }));
        let due = due.unwrap();
        let poller = FencePoller::start(due.clone().unsize::<dyn Scheduler>(|due| due)).unwrap();
        Poller { poller, due }
    }

    /// Adds a watch.
    fn add(&self, condition: Condition<'_>, fence: &Ref<Fence>) -> Ref<Watch> {
        let scheduler = self.due.clone().unsize::<dyn Scheduler>(|due| due);
        let watch = Watch::new(scheduler, Action::None, &mut None).unwrap();
        let added = FencePoller::add(&self.poller, fence, condition.predicate(), &watch);
        assert_eq!(added.map(|added| added.is_some()), Ok(true));
        watch
    }

    /// Adds a watch that is over once the fence has reached the value.
    pub(super) fn watch(&self, fence: &Ref<Fence>, value: u64) -> Ref<Watch> {
        self.add(Condition::reached(fence, value).unwrap(), fence)
    }

    /// Waits until this many watches became due.
    pub(super) fn wait_for(&self, count: usize) {
        let mut due = self.due.count.lock().unwrap();
        while *due < count {
            due = self.due.changed.wait(due).unwrap();
        }
        assert_eq!(*due, count);
    }

    /// The same, and ends the poller.
    pub(super) fn end_after(self, count: usize) {
        self.wait_for(count);
        self.poller.end(true);
    }
}

#[test]
fn a_watch_that_is_added_while_the_poller_runs_gets_its_signal() {
    check(|| {
        let (_page, a, b) = two_fences();
        let poller = Poller::start();
        poller.watch(&a, 1);
        let signal = signals(&b, 1);
        poller.watch(&b, 1);
        assert_eq!(a.signal(1), Ok(()));
        poller.end_after(2);
        assert_eq!(signal.join().unwrap(), Ok(()));
    });
}

#[test]
fn two_watches_of_a_fence_each_get_their_signal() {
    check(|| {
        let (_page, a) = fence(0);
        let poller = Poller::start();
        poller.watch(&a, 2);
        poller.watch(&a, 1);
        assert_eq!(a.signal(1), Ok(()));
        poller.wait_for(1);
        assert_eq!(a.signal(2), Ok(()));
        poller.end_after(2);
    });
}

#[test]
fn watches_without_an_order_each_get_their_signal() {
    check(|| {
        let (_page, a) = fence(0);
        let poller = Poller::start();
        for bit in [1, 2] {
            let condition = Condition::new(&a, (Op::Ne, false), 0, bit, Until::Signaled);
            poller.add(condition.unwrap(), &a);
        }
        assert_eq!(a.signal(1), Ok(()));
        poller.wait_for(1);
        assert_eq!(a.signal(3), Ok(()));
        poller.end_after(2);
    });
}

#[test]
fn a_watch_gets_its_signal_after_others_of_the_same_residue() {
    check(|| {
        let (_page, a) = fence(0);
        let poller = Poller::start();
        poller.watch(&a, 96);
        for value in [32, 64, 96] {
            assert_eq!(a.signal(value), Ok(()));
        }
        poller.end_after(1);
    });
}

fn signal_among_more_events_than_the_log_holds() {
    let (_page, a, b) = two_fences();
    let poller = Poller::start();
    poller.watch(&a, 1);
    assert_eq!(a.signal(1), Ok(()));
    for _ in 0..2 {
        assert_eq!(b.notify(), Ok(()));
    }
    poller.end_after(1);
}

#[test]
fn a_watch_gets_its_signal_among_more_events_than_the_log_holds() {
    check(signal_among_more_events_than_the_log_holds);
}

/// Without futex_waitv the poller stays on the event count, whatever it is woken for.
#[test]
fn a_poller_that_stays_on_the_event_count_checks_all_if_the_log_overflowed() {
    futex::set_has_waitv(false);
    check_bounded(2, signal_among_more_events_than_the_log_holds);
    futex::set_has_waitv(true);
}

#[test]
fn each_watch_gets_its_signal_by_a_check_of_several_rounds() {
    check_bounded(2, || {
        let (_page, a, b) = two_fences();
        let poller = Poller::start();
        poller.watch(&a, 1);
        poller.watch(&b, 1);
        assert_eq!(a.signal(1), Ok(()));
        assert_eq!(b.signal(1), Ok(()));
        for _ in 0..2 {
            assert_eq!(b.notify(), Ok(()));
        }
        poller.end_after(2);
    });
}

#[test]
fn a_watch_gets_its_signal_if_the_log_falls_short_amid_a_check() {
    check_bounded(2, || {
        let (_page, a, b) = two_fences();
        let poller = Poller::start();
        poller.watch(&a, 1);
        poller.watch(&b, 1);
        for _ in 0..3 {
            assert_eq!(b.notify(), Ok(()));
        }
        // The check begins with the last fence, and may have passed it by now.
        assert_eq!(b.signal(1), Ok(()));
        for _ in 0..2 {
            assert_eq!(b.notify(), Ok(()));
        }
        poller.wait_for(1);
        assert_eq!(a.signal(1), Ok(()));
        poller.end_after(2);
    });
}

#[test]
fn a_check_of_all_fences_checks_a_watch_that_an_event_has_passed() {
    check_bounded(2, || {
        let (_page, a) = fence(0);
        let poller = Poller::start();
        for bit in [1, 2] {
            let condition = Condition::new(&a, (Op::Ne, false), 0, bit, Until::Signaled);
            poller.add(condition.unwrap(), &a);
        }
        // The check for this event begins with the second watch.
        assert_eq!(a.notify(), Ok(()));
        assert_eq!(a.signal(2), Ok(()));
        for _ in 0..2 {
            assert_eq!(a.notify(), Ok(()));
        }
        poller.end_after(1);
    });
}

#[test]
fn the_failure_of_a_fence_completes_its_watch() {
    check(|| {
        let (_page, a) = fence(0);
        let poller = Poller::start();
        poller.watch(&a, 1);
        assert_eq!(a.set_error(FenceErrno::new(5).unwrap()), Ok(()));
        poller.end_after(1);
    });
}

#[test]
fn a_watch_gets_its_signal_after_another_is_canceled() {
    check(|| {
        let (_page, a) = fence(0);
        let poller = Poller::start();
        let canceled = poller.watch(&a, 1);
        poller.watch(&a, 2);
        assert_eq!(canceled.cancel(), Ok(()));
        assert_eq!(a.signal(2), Ok(()));
        poller.end_after(1);
    });
}

#[test]
fn a_watch_gets_its_signal_after_the_page_was_forgotten() {
    check(|| {
        let (_page, a) = fence(0);
        let poller = Poller::start();
        assert_eq!(poller.watch(&a, 1).cancel(), Ok(()));
        poller.watch(&a, 1);
        assert_eq!(a.signal(1), Ok(()));
        poller.end_after(1);
    });
}

#[test]
fn the_end_of_the_poller_cancels_its_watches() {
    check(|| {
        let (_page, a) = fence(0);
        let poller = Poller::start();
        let watch = poller.watch(&a, 1);
        poller.end_after(0);
        assert_eq!(watch.result(), Err(Error::Canceled));
    });
}

#[test]
fn a_watch_hears_its_signal_after_the_poller_moved_to_its_slot() {
    check_bounded(2, || {
        let (_page, a, b) = two_fences();
        let poller = Poller::start();
        poller.watch(&a, 1);
        // An event of no watch: the poller sleeps on the slot from then on.
        assert_eq!(b.notify(), Ok(()));
        assert_eq!(a.signal(1), Ok(()));
        poller.end_after(1);
    });
}

#[test]
fn a_watch_hears_its_signal_after_the_poller_moved_back_to_the_event_count() {
    check_bounded(2, || {
        let (_page, a, b) = two_fences();
        let poller = Poller::start();
        poller.watch(&a, 2);
        assert_eq!(b.notify(), Ok(()));
        poller.watch(&b, 1);
        assert_eq!(b.signal(1), Ok(()));
        poller.wait_for(1);
        assert_eq!(a.signal(2), Ok(()));
        poller.end_after(2);
    });
}

/// The log loses the event that took the registration with the event count. The check of all fences
/// has not come to this one when the poller moves to the slots, and registers it only there.
#[test]
fn a_watch_hears_its_signal_after_the_log_overflowed_and_the_poller_moved_back() {
    check_bounded(1, || {
        let page = Page::create(3).unwrap();
        let [a, b, c] = std::array::from_fn(|_| Fence::create(&page, Kind::PLAIN, 0).unwrap());
        let poller = Poller::start();
        poller.watch(&a, 2);
        poller.watch(&c, 1);
        assert_eq!(a.notify(), Ok(()));
        for _ in 0..2 {
            assert_eq!(b.notify(), Ok(()));
        }
        poller.watch(&b, 1);
        assert_eq!(b.signal(1), Ok(()));
        poller.wait_for(1);
        assert_eq!(a.signal(2), Ok(()));
        poller.end_after(2);
    });
}

#[test]
fn a_watch_of_a_page_that_rests_gets_its_signal() {
    check_bounded(2, || {
        let (page, a) = fence(0);
        page.budget().rest_until(1);
        let clock = loom::thread::spawn(futex::expire);
        let poller = Poller::start();
        poller.watch(&a, 1);
        assert_eq!(a.signal(1), Ok(()));
        poller.end_after(1);
        clock.join().unwrap();
    });
}
