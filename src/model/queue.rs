// SPDX-License-Identifier: MIT
//! Queues under shuttle: the code of queue/ and reactor/ as it is. Each job runs once and after its
//! waits, or not at all; its data is released once, and its signals are made or fail.

use super::random::*;
use crate::error::{Error, FenceErrno, Result};
use crate::queue::{Inline, QueueHandle, SUBMITTED};
use crate::reactor::Mode;
use crate::sys::time::Deadline;
use crate::util::refs::Ref;
use shuttle::thread::{self, JoinHandle};

const DONE: Tally = Tally { calls: 1, releases: 1, result: 0 };

fn canceled() -> Tally {
    Tally { calls: 0, releases: 1, result: code(Err(Error::Canceled)) }
}

fn lost() -> Tally {
    Tally { calls: 0, releases: 1, result: code(Err(Error::FenceFailed)) }
}

/// Calls a function with a queue on a thread of its own.
fn beside(
    queue: &Ref<QueueHandle>,
    function: impl FnOnce(&Ref<QueueHandle>) + Send + 'static,
) -> JoinHandle<()> {
    let queue = queue.clone();
    thread::spawn(move || function(&queue))
}

fn drain(queue: &Ref<QueueHandle>) -> Result<()> {
    queue.get()?.drain(Deadline::NEVER)
}

fn errno() -> FenceErrno {
    FenceErrno::new(5).unwrap()
}

#[test]
fn jobs_run_after_their_waits_and_signal() {
    check_both(|| {
        let [a, b, done] = fences();
        let event_loop = new_loop(Mode::Thread);
        let queue = new_queue(&event_loop, Inline::No);
        let threads = [signals(&a, [1]), signals(&b, [1])];
        let first = submit(&queue, Some((&a, 1)), Some((&done, 1))).unwrap();
        let second = submit(&queue, Some((&b, 1)), Some((&done, 2))).unwrap();
        assert_eq!(drain(&queue), Ok(()));
        assert_eq!([tally(first), tally(second)], [DONE, DONE]);
        assert_eq!(done.value(), 2);
        drop((queue, event_loop));
        join(threads);
    });
}

#[test]
fn a_job_remembers_a_value_that_is_gone_at_its_turn() {
    check_both(|| {
        let [before, done] = fences();
        let start = unordered_fence();
        let event_loop = new_loop(Mode::Thread);
        let queue = new_queue(&event_loop, Inline::No);
        let first = submit(&queue, Some((&before, 1)), None).unwrap();
        let second = submit(&queue, Some((&start, 5)), Some((&done, 1))).unwrap();
        let threads = [signals(&start, [5, 0]), signals(&before, [1, 2])];
        assert_eq!(drain(&queue), Ok(()));
        assert_eq!([tally(first), tally(second)], [DONE, DONE]);
        assert_eq!(done.value(), 1);
        drop((queue, event_loop));
        join(threads);
    });
}

/// Two threads submit, one job of which waits, while a third drains.
fn submitters_and_a_drain(inline: Inline) {
    let [a] = fences();
    let event_loop = new_loop(Mode::Thread);
    let queue = new_queue(&event_loop, inline);
    let fence = a.clone();
    let other = beside(&queue, move |queue| {
        let data = submit(queue, Some((&fence, 1)), None).unwrap();
        assert_eq!(drain(queue), Ok(()));
        assert_eq!(tally(data), DONE);
    });
    let signal = signals(&a, [1]);
    let own = submit(&queue, None, None).unwrap();
    assert_eq!(drain(&queue), Ok(()));
    assert_eq!(tally(own), DONE);
    other.join().unwrap();
    drop((queue, event_loop));
    join([signal]);
}

#[test]
fn two_submitters_and_drains() {
    check_both(|| submitters_and_a_drain(Inline::No));
}

#[test]
fn two_submitters_of_a_queue_that_runs_inline() {
    check(|| submitters_and_a_drain(Inline::Yes));
}

#[test]
fn a_submission_races_a_cancellation() {
    check_both(|| {
        let [a, done] = fences();
        let event_loop = new_loop(Mode::Thread);
        let queue = new_queue(&event_loop, Inline::No);
        let first = submit(&queue, Some((&a, 1)), None).unwrap();
        let cancels = beside(&queue, |queue| queue.get().unwrap().cancel());
        let signal = signals(&a, [1]);
        let second = submit(&queue, Some((&a, 1)), Some((&done, 1))).unwrap();
        cancels.join().unwrap();
        assert_eq!(drain(&queue), Ok(()));
        for data in [first, second] {
            let tally = until_released(data);
            assert!(tally == DONE || tally == canceled(), "{tally:?}");
        }
        assert_eq!(done.value() == 1, tally(second) == DONE);
        assert_eq!(done.error().unwrap().is_some(), tally(second) == canceled());
        // The queue accepts jobs afterwards.
        let third = submit(&queue, Some((&a, 1)), None).unwrap();
        assert_eq!(until_released(third), DONE);
        drop((queue, event_loop));
        join([signal]);
    });
}

#[test]
fn a_queue_whose_wait_was_recalled_waits_for_the_next_job() {
    check_both(|| {
        let [a] = fences();
        let event_loop = new_loop(Mode::Thread);
        let queue = new_queue(&event_loop, Inline::No);
        let first = submit(&queue, Some((&a, 1)), None).unwrap();
        queue.get().unwrap().cancel();
        assert_eq!(tally(first), canceled());
        // Of the same fence, a higher value: what was left of the first wait would end the second.
        let signal = signals(&a, [1, 2]);
        let second = submit(&queue, Some((&a, 2)), None).unwrap();
        assert_eq!(until_released(second), DONE);
        drop((queue, event_loop));
        join([signal]);
    });
}

#[test]
fn a_recall_races_the_signal_and_other_watches_of_the_fence() {
    check_both(|| {
        let [a, b] = fences();
        let event_loop = new_loop(Mode::Thread);
        let queue = new_queue(&event_loop, Inline::No);
        let first = submit(&queue, Some((&a, 1)), None).unwrap();
        let (_, other) = watch(&event_loop, &a, 2);
        let threads = [signals(&a, [1, 2]), signals(&b, [1])];
        queue.get().unwrap().cancel();
        let second = submit(&queue, Some((&b, 1)), None).unwrap();
        let first = until_released(first);
        assert!(first == DONE || first == canceled());
        assert_eq!(until_released(second), DONE);
        assert_eq!(until_released(other), DONE);
        drop((queue, event_loop));
        join(threads);
    });
}

#[test]
fn a_submission_races_the_loss_of_the_device() {
    check_both(|| {
        let [a, first_done, second_done] = fences();
        let event_loop = new_loop(Mode::Thread);
        let queue = new_queue(&event_loop, Inline::No);
        let first = submit(&queue, Some((&a, 1)), Some((&first_done, 1))).unwrap();
        let fails = beside(&queue, |queue| queue.get().unwrap().fail(errno()));
        let signal = signals(&a, [1]);
        let second = submit(&queue, Some((&a, 1)), Some((&second_done, 1)));
        fails.join().unwrap();
        let first = until_released(first);
        assert!(first == DONE || first == lost(), "{first:?}");
        assert_eq!(first_done.value() == 1, first == DONE);
        assert_eq!(first_done.error().unwrap().is_some(), first == lost());
        match second {
            Ok(data) => {
                let second = until_released(data);
                assert!(second == DONE || second == lost(), "{second:?}");
                assert_eq!(second_done.error().unwrap().is_some(), second == lost());
            }
            Err(error) => {
                assert_eq!(error, Error::FenceFailed);
                assert_eq!(second_done.pending_value(), 0);
            }
        }
        assert_eq!(submit(&queue, None, None), Err(Error::FenceFailed));
        assert_eq!(drain(&queue), Ok(()));
        drop((queue, event_loop));
        join([signal]);
    });
}

#[test]
fn a_job_in_flight_is_signaled_or_fails_with_the_device() {
    check_both(|| {
        let [a, done] = fences();
        let event_loop = new_loop(Mode::Thread);
        let queue = new_queue(&event_loop, Inline::No);
        let (job, data) = job(Some((&a, 1)), Some((&done, 1)), SUBMITTED);
        assert_eq!(queue.get().unwrap().submit(job), Ok(()));
        let fails = beside(&queue, |queue| queue.get().unwrap().fail(errno()));
        let device = {
            let done = done.clone();
            thread::spawn(move || done.signal(1))
        };
        assert_eq!(a.signal(1), Ok(()));
        // Ends in any case.
        assert_eq!(drain(&queue), Ok(()));
        fails.join().unwrap();
        assert_eq!(device.join().unwrap().is_ok(), done.value() == 1);
        assert!(done.value() == 1 || done.error() == Ok(Some(errno())));
        let tally = until_released(data);
        assert!(tally == DONE || tally == lost(), "{tally:?}");
        drop((queue, event_loop));
    });
}

#[test]
fn a_job_in_flight_that_nobody_signals_fails_with_the_device() {
    check(|| {
        let [a, done] = fences();
        let event_loop = new_loop(Mode::Thread);
        let queue = new_queue(&event_loop, Inline::No);
        let (job, data) = job(Some((&a, 1)), Some((&done, 1)), SUBMITTED);
        assert_eq!(queue.get().unwrap().submit(job), Ok(()));
        let signal = signals(&a, [1]);
        queue.get().unwrap().fail(errno());
        assert_eq!(drain(&queue), Ok(()));
        let tally = until_released(data);
        assert!(tally == DONE || tally == lost(), "{tally:?}");
        drop((queue, event_loop));
        assert_eq!(done.error(), Ok(Some(errno())));
        join([signal]);
    });
}

#[test]
fn the_end_of_a_queue_releases_its_jobs_beside_signals() {
    check_both(|| {
        let [a, first_done, second_done] = fences();
        let event_loop = new_loop(Mode::Thread);
        let queue = new_queue(&event_loop, Inline::No);
        let first = submit(&queue, Some((&a, 1)), Some((&first_done, 1))).unwrap();
        let second = submit(&queue, Some((&a, 2)), Some((&second_done, 1))).unwrap();
        let signal = signals(&a, [1, 2]);
        drop(queue);
        for (data, done) in [(first, first_done), (second, second_done)] {
            let tally = until_released(data);
            assert!(tally == DONE || tally == canceled(), "{tally:?}");
            assert_eq!(done.value() == 1, tally == DONE);
            assert_eq!(done.error().unwrap().is_some(), tally == canceled());
        }
        drop(event_loop);
        join([signal]);
    });
}

#[test]
fn the_end_of_the_queue_and_of_its_loop_release_everything() {
    check(|| {
        let [a] = fences();
        let event_loop = new_loop(Mode::Thread);
        let queue = new_queue(&event_loop, Inline::No);
        let job = submit(&queue, Some((&a, 1)), None).unwrap();
        let (_, callback) = watch(&event_loop, &a, 1);
        drop(event_loop);
        let signal = signals(&a, [1]);
        // The last reference to the loop, too.
        drop(queue);
        assert_eq!([tally(job).releases, tally(callback).releases], [1, 1]);
        join([signal]);
    });
}

#[test]
fn a_release_calls_the_queue_that_releases_it() {
    check_both(|| {
        let [a] = fences();
        let event_loop = new_loop(Mode::Thread);
        let queue = new_queue(&event_loop, Inline::No);
        let first = submit(&queue, Some((&a, 1)), None).unwrap();
        let (sent, submitted) = shuttle::sync::mpsc::channel();
        let (of_release, fence) = (queue.clone(), a.clone());
        within(first, move || {
            of_release.get().unwrap().cancel();
            sent.send(submit(&of_release, Some((&fence, 1)), None).unwrap()).unwrap();
        });
        let cancels = beside(&queue, |queue| queue.get().unwrap().cancel());
        let signal = signals(&a, [1]);
        let first = until_released(first);
        assert!(first == DONE || first == canceled(), "{first:?}");
        let second = until_released(submitted.recv().unwrap());
        assert!(second == DONE || second == canceled(), "{second:?}");
        cancels.join().unwrap();
        drop((queue, event_loop));
        join([signal]);
    });
}

#[test]
fn a_drain_ends_when_others_cancel_or_fail_the_jobs() {
    check_both(|| {
        let [a] = fences();
        let event_loop = new_loop(Mode::Thread);
        let queue = new_queue(&event_loop, Inline::No);
        let data = submit(&queue, Some((&a, 1)), None).unwrap();
        let drains = beside(&queue, |queue| assert_eq!(drain(queue), Ok(())));
        queue.get().unwrap().cancel();
        drains.join().unwrap();
        assert_eq!(tally(data), canceled());
        let data = submit(&queue, Some((&a, 1)), None).unwrap();
        let drains = beside(&queue, |queue| assert_eq!(drain(queue), Ok(())));
        queue.get().unwrap().fail(errno());
        drains.join().unwrap();
        assert_eq!(tally(data), lost());
        drop((queue, event_loop));
    });
}
