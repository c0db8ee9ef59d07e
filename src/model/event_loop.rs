// SPDX-License-Identifier: MIT
//! Event loops under shuttle: the code of reactor/ as it is, with its threads. A watch that misses
//! its signal is a deadlock, which shuttle reports. A callback that runs under a lock of the
//! library aborts (util/callback.rs).

use super::random::*;
use crate::error::Error;
use crate::reactor::{Action, EventLoop, Mode, WatchBuilder};
use crate::sys::peer::ExitEvent;
use crate::sys::time::Deadline;
use crate::sys::{descriptor, epoll, eventfd};
use crate::wait::Condition;
use rustix::fd::AsFd;
use shuttle::thread;

const OK: Tally = Tally { calls: 1, releases: 1, result: 0 };

/// A watch that was canceled in time.
const CANCELED: Tally = Tally { calls: 0, releases: 1, result: 0 };

#[test]
fn watches_that_are_added_beside_signals_call_back() {
    check_both(|| {
        let [a, b] = fences();
        let event_loop = new_loop(Mode::Thread);
        let (_, first) = watch(&event_loop, &a, 1);
        let threads = [signals(&a, [1]), signals(&b, [1, 2])];
        let (_, second) = watch(&event_loop, &b, 1);
        let (_, third) = watch(&event_loop, &b, 2);
        for data in [first, second, third] {
            assert_eq!(until_released(data), OK);
        }
        drop(event_loop);
        join(threads);
    });
}

#[test]
fn watches_of_several_pages_that_are_added_beside_signals_call_back() {
    check_both(|| {
        let ([a], [b]) = (fences(), fences());
        let event_loop = new_loop(Mode::Thread);
        let threads = [signals(&a, [1]), signals(&b, [1])];
        let datas = [watch(&event_loop, &a, 1).1, watch(&event_loop, &b, 1).1];
        for data in datas {
            assert_eq!(until_released(data), OK);
        }
        drop(event_loop);
        join(threads);
    });
}

#[test]
fn a_value_that_is_reached_calls_back_while_the_loop_sleeps_for_others() {
    check_both(|| {
        let [a, b] = fences();
        let event_loop = new_loop(Mode::Thread);
        let (_, waiting) = watch(&event_loop, &a, 1);
        assert_eq!(b.signal(1), Ok(()));
        let (_, reached) = watch(&event_loop, &b, 1);
        assert_eq!(until_released(reached), OK);
        drop(event_loop);
        assert_eq!(tally(waiting), CANCELED);
    });
}

#[test]
fn two_threads_add_watches() {
    check_both(|| {
        let [a, b] = fences();
        let event_loop = new_loop(Mode::Thread);
        let other = {
            let (event_loop, a) = (event_loop.clone(), a.clone());
            thread::spawn(move || watch(&event_loop, &a, 1).1)
        };
        let (_, own) = watch(&event_loop, &b, 1);
        let threads = [signals(&a, [1]), signals(&b, [1])];
        let other = other.join().unwrap();
        assert_eq!([until_released(own), until_released(other)], [OK, OK]);
        drop(event_loop);
        join(threads);
    });
}

#[test]
fn the_result_of_a_cancellation_is_definite() {
    check_both(|| {
        let [a] = fences();
        let event_loop = new_loop(Mode::Thread);
        let (canceled, data) = watch(&event_loop, &a, 1);
        let (_, other) = watch(&event_loop, &a, 1);
        let signal = signals(&a, [1]);
        match canceled.cancel_for_caller() {
            Ok(()) => {
                assert_eq!(tally(data), CANCELED);
                assert_eq!(canceled.result(), Err(Error::Canceled));
            }
            Err(error) => {
                assert_eq!(error, Error::Already);
                assert_eq!(until_released(data), OK);
            }
        }
        assert_eq!(until_released(other), OK);
        drop(event_loop);
        join([signal]);
    });
}

#[test]
fn each_of_two_cancellations_returns_after_the_release() {
    check(|| {
        let [a] = fences();
        let event_loop = new_loop(Mode::Thread);
        let (canceled, data) = watch(&event_loop, &a, 1);
        let other = {
            let canceled = canceled.clone();
            thread::spawn(move || {
                let result = canceled.cancel_for_caller();
                assert!(result.is_err() || tally(data) == CANCELED);
                result
            })
        };
        let signal = signals(&a, [1]);
        let result = canceled.cancel_for_caller();
        assert!(result.is_err() || tally(data) == CANCELED);
        assert_eq!(other.join().unwrap(), result);
        drop(event_loop);
        assert_eq!(tally(data).releases, 1);
        join([signal]);
    });
}

#[test]
fn releases_that_cancel_each_others_watches_end() {
    check(|| {
        let [a] = fences();
        let event_loop = new_loop(Mode::Thread);
        let watches = [1, 2, 3].map(|value| watch(&event_loop, &a, value));
        let (sent, results) = shuttle::sync::mpsc::channel();
        for at in 0..3 {
            let next = watches[(at + 1) % 3].0.clone();
            let sent = sent.clone();
            within(watches[at].1, move || sent.send(next.cancel_for_caller()).unwrap());
        }
        let cancelers = watches.clone().map(|(watch, data)| {
            thread::spawn(move || {
                assert_eq!(watch.cancel_for_caller(), Ok(()));
                assert_eq!(tally(data), CANCELED);
            })
        });
        cancelers.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(watches.clone().map(|(_, data)| tally(data)), [CANCELED; 3]);
        let refused = results.try_iter().filter(|result| result.is_err()).count();
        assert!(refused <= 1);
        drop(event_loop);
    });
}

#[test]
fn a_callback_cancels_a_watch_that_is_due() {
    check_both(|| {
        let [a] = fences();
        let event_loop = new_loop(Mode::Thread);
        let (second, second_data) = watch(&event_loop, &a, 2);
        let (_, first_data) = watch(&event_loop, &a, 1);
        within(first_data, move || {
            let canceled = second.cancel_for_caller().is_ok();
            assert_eq!(canceled, tally(second_data) == CANCELED);
        });
        let signal = signals(&a, [1, 2]);
        assert_eq!(until_released(first_data), OK);
        let second = until_released(second_data);
        assert!(second == OK || second == CANCELED);
        drop(event_loop);
        join([signal]);
    });
}

#[test]
fn a_callback_adds_a_watch_and_ends_the_fence() {
    check_both(|| {
        let [a, b] = fences();
        let event_loop = new_loop(Mode::Thread);
        let (_, first) = watch(&event_loop, &a, 1);
        let (added, was_added) = shuttle::sync::mpsc::channel();
        let (of_callback, fence) = (event_loop.clone(), b.clone());
        within(first, move || {
            added.send(watch(&of_callback, &fence, 1).1).unwrap();
        });
        let threads = [signals(&a, [1]), signals(&b, [1])];
        assert_eq!(until_released(first), OK);
        assert_eq!(until_released(was_added.recv().unwrap()), OK);
        drop(event_loop);
        join(threads);
    });
}

#[test]
fn the_end_of_a_loop_releases_everything_beside_signals() {
    check_both(|| {
        let [a, b] = fences();
        let event_loop = new_loop(Mode::Thread);
        let datas = [(&a, 1), (&b, 1), (&b, 2)].map(|(fence, value)| {
            let (_, data) = watch(&event_loop, fence, value);
            data
        });
        let threads = [signals(&a, [1]), signals(&b, [1, 2])];
        drop(event_loop);
        let after = datas.map(tally);
        assert!(after.iter().all(|tally| *tally == OK || *tally == CANCELED), "{after:?}");
        join(threads);
        assert_eq!(datas.map(tally), after);
    });
}

#[test]
fn a_loop_that_ends_in_its_own_callback_releases_everything() {
    check_both(|| {
        let [a, b] = fences();
        let event_loop = new_loop(Mode::Thread);
        let (_, first) = watch(&event_loop, &a, 1);
        let (_, second) = watch(&event_loop, &b, 1);
        within(first, move || drop(event_loop));
        let threads = [signals(&a, [1]), signals(&b, [1])];
        assert_eq!(until_released(first), OK);
        let second = until_released(second);
        assert!(second == OK || second == CANCELED);
        join(threads);
    });
}

#[test]
fn a_release_at_the_end_of_a_loop_makes_another_watch_due() {
    check(|| {
        let [a, b] = fences();
        let event_loop = new_loop(Mode::Thread);
        let (_, first) = watch(&event_loop, &a, 1);
        let (_, second) = watch(&event_loop, &b, 1);
        let fence = b.clone();
        within(first, move || assert_eq!(fence.signal(1), Ok(())));
        let signal = signals(&a, [1]);
        drop(event_loop);
        assert_eq!([tally(first).releases, tally(second).releases], [1, 1]);
        join([signal]);
    });
}

#[test]
fn a_fence_that_a_watch_signals_makes_a_watch_of_another_loop_due() {
    check_both(|| {
        let ([a], [b]) = (fences(), fences());
        let (one, other) = (new_loop(Mode::Thread), new_loop(Mode::Thread));
        let builder = WatchBuilder::new(one.get().unwrap(), None);
        let action = Action::signal(b.clone(), 1);
        let reached = Condition::reached(&a, 1).unwrap().predicate();
        let link = builder.watch(&a, reached, action).unwrap();
        let signal = signals(&a, [1]);
        let (_, data) = watch(&other, &b, 1);
        assert_eq!(until_released(data), OK);
        drop((one, other));
        assert_eq!(link.result(), Ok(()));
        join([signal]);
    });
}

#[test]
fn a_loop_of_the_callers_becomes_readable_and_dispatches() {
    check_both(|| {
        let [a, b] = fences();
        let event_loop = new_loop(Mode::Caller);
        let (_, first) = watch(&event_loop, &a, 1);
        let threads = [signals(&a, [1]), signals(&b, [1])];
        let (_, second) = watch(&event_loop, &b, 1);
        let dispatched = event_loop.get().unwrap();
        while [tally(first), tally(second)] != [OK, OK] {
            assert!(epoll::wait(dispatched.fd().unwrap(), &mut [0; 32], Deadline::NEVER).is_ok());
            assert_eq!(dispatched.dispatch(), Ok(()));
        }
        drop(event_loop);
        join(threads);
    });
}

#[test]
fn a_descriptor_that_becomes_readable_races_a_cancellation_and_the_end() {
    check_both(|| {
        let event_loop = new_loop(Mode::Thread);
        let peer = eventfd::create().unwrap();
        let watches = [(); 2].map(|()| {
            let (event_loop, data) = (event_loop.get().unwrap(), new_data());
            let watch =
                EventLoop::new_watch(event_loop, Action::None, &mut Some(callback(data))).unwrap();
            let poller = EventLoop::start_fd_poller(event_loop).unwrap();
            let added =
                poller.add_peer(descriptor::dup(&peer).unwrap(), ExitEvent::Readable, &watch);
            assert_eq!(added, Ok(()));
            (watch, data)
        });
        let exits = thread::spawn(move || eventfd::add(peer.as_fd()));
        let [(first, first_data), (_second, second_data)] = watches;
        match first.cancel_for_caller() {
            Ok(()) => assert_eq!(tally(first_data), CANCELED),
            Err(_) => assert_eq!(until_released(first_data), OK),
        }
        drop(event_loop);
        let second = tally(second_data);
        assert!(second == OK || second == CANCELED, "{second:?}");
        exits.join().unwrap();
    });
}

#[test]
fn a_watch_hears_its_signal_after_the_page_was_forgotten() {
    check_both(|| {
        let [a] = fences();
        let event_loop = new_loop(Mode::Thread);
        let (canceled, data) = watch(&event_loop, &a, 1);
        assert_eq!(canceled.cancel_for_caller(), Ok(()));
        assert_eq!(tally(data), CANCELED);
        let signal = signals(&a, [1]);
        let (_, data) = watch(&event_loop, &a, 1);
        assert_eq!(until_released(data), OK);
        drop(event_loop);
        join([signal]);
    });
}
