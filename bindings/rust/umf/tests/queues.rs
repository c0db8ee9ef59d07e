// SPDX-License-Identifier: MIT
//! Queues and their jobs.

#![allow(clippy::panic, clippy::unwrap_used)]

mod common;

use common::{LONG, dropped, page_and_fence};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Sender, channel};
use umf::{
    Deadline, DispatchLoop, Error, EventLoop, FenceFlags, Job, Progress, Queue, QueueFlags, Result,
};

/// A job that returns `run`, and tells its result.
struct Told {
    run: Result<Progress>,
    told: Sender<Result<()>>,
}

impl Job for Told {
    fn run(&mut self) -> Result<Progress> {
        self.run
    }

    fn release(self, result: Result<()>) {
        self.told.send(result).unwrap();
    }
}

#[test]
fn a_job_runs_when_its_waits_are_met() {
    let (page, acquired) = page_and_fence();
    let done = page.create_fence(0, FenceFlags::NONE).unwrap();
    let event_loop = EventLoop::with_thread().unwrap();
    let queue = Queue::create(&event_loop, QueueFlags::NONE).unwrap();
    let job = || Ok(Progress::Done);
    queue.submit(&[acquired.reaches(1)], &[done.signals(5)], job).unwrap();
    assert_eq!((done.value(), done.pending_value()), (0, 5));
    assert_eq!(queue.drain(Deadline::NOW), Err(Error::TimedOut));
    acquired.signal(1).unwrap();
    assert_eq!(done.wait(5, LONG), Ok(()));
    assert_eq!(queue.drain(LONG), Ok(()));
}

#[test]
fn a_job_without_waits_runs_inline() {
    let (_page, done) = page_and_fence();
    let event_loop = EventLoop::with_thread().unwrap();
    let queue = Queue::create(&event_loop, QueueFlags::INLINE).unwrap();
    queue.submit(&[], &[done.signals(1)], || Ok(Progress::Done)).unwrap();
    assert_eq!(done.value(), 1);
}

#[test]
fn a_job_that_is_submitted_to_the_device_signals_nothing() {
    let (_page, done) = page_and_fence();
    let event_loop = EventLoop::with_thread().unwrap();
    let queue = Queue::create(&event_loop, QueueFlags::INLINE).unwrap();
    let (told, results) = channel();
    queue.submit(&[], &[done.signals(1)], Told { run: Ok(Progress::Submitted), told }).unwrap();
    assert_eq!(results.try_recv(), Ok(Ok(())));
    assert!(!done.is_reached(1).unwrap());
    queue.fail(Error::DeviceGone).unwrap();
    assert_eq!(done.error(), Ok(Some(Error::DeviceGone)));
}

#[test]
fn a_canceled_job_is_released_with_the_error() {
    let (page, acquired) = page_and_fence();
    let done = page.create_fence(0, FenceFlags::NONE).unwrap();
    let event_loop = EventLoop::with_thread().unwrap();
    let queue = Queue::create(&event_loop, QueueFlags::NONE).unwrap();
    let (told, results) = channel();
    let job = Told { run: Ok(Progress::Done), told };
    queue.submit(&[acquired.reaches(1)], &[done.signals(1)], job).unwrap();
    queue.cancel().unwrap();
    assert_eq!(results.try_iter().collect::<Vec<_>>(), [Err(Error::Canceled)]);
    assert_eq!(done.wait(1, LONG), Err(Error::Failed));
}

#[test]
fn a_job_that_fails_loses_the_device() {
    for (run, cause) in [
        (Err(Error::Other(libc::ENXIO)), Error::Other(libc::ENXIO)),
        // Not an errno: the library must not take it for success.
        (Err(Error::Other(0)), Error::Protocol),
        (Err(Error::Other(-1)), Error::Protocol),
    ] {
        let (_page, done) = page_and_fence();
        let event_loop = EventLoop::with_thread().unwrap();
        let queue = Queue::create(&event_loop, QueueFlags::INLINE).unwrap();
        let (told, results) = channel();
        queue.submit(&[], &[done.signals(1)], Told { run, told }).unwrap();
        assert_eq!(results.try_recv(), Ok(Err(Error::Failed)));
        assert_eq!(done.error(), Ok(Some(cause)));
    }
}

#[test]
fn a_job_that_panics_fails_its_queue() {
    let (_page, done) = page_and_fence();
    let event_loop = DispatchLoop::create().unwrap();
    let queue = Queue::create(&event_loop, QueueFlags::NONE).unwrap();
    queue.submit(&[], &[done.signals(1)], || panic!("meant to happen")).unwrap();
    let result = catch_unwind(AssertUnwindSafe(|| event_loop.dispatch()));
    assert_eq!(result.unwrap_err().downcast_ref(), Some(&"meant to happen"));
    assert_eq!(done.wait(1, Deadline::NOW), Err(Error::Failed));
    assert_eq!(queue.submit(&[], &[], || Ok(Progress::Done)), Err(Error::Failed));
}

#[test]
fn a_job_that_is_refused_is_dropped_once() {
    let (_page, done) = page_and_fence();
    done.set_error(Error::Failed).unwrap();
    let event_loop = EventLoop::with_thread().unwrap();
    let queue = Queue::create(&event_loop, QueueFlags::NONE).unwrap();
    let (value, drops) = dropped();
    let job = move || {
        let _value = &value;
        Ok(Progress::Done)
    };
    assert_eq!(queue.submit(&[], &[done.signals(1)], job), Err(Error::Failed));
    assert_eq!(drops.load(Ordering::Relaxed), 1);
}
