// SPDX-License-Identifier: MIT
//! Watches and their closures: called at most once, dropped exactly once, and no panic gets out.

#![allow(clippy::panic, clippy::unwrap_used)]

mod common;

use common::{LONG, dropped, page_and_fence};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use umf::{Deadline, DispatchLoop, Error, EventLoop, FenceFlags, Tie, WaitFlags};

const NO_FLAGS: WaitFlags = WaitFlags::NONE;

/// Waits until a descriptor is readable.
fn assert_readable(fd: &impl AsFd) {
    let patience = Timespec { tv_sec: 20, tv_nsec: 0 };
    assert_eq!(poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&patience)), Ok(1));
}

/// Waits until the loop has work, and dispatches it.
fn dispatch_when_ready(event_loop: &DispatchLoop) {
    assert_readable(event_loop);
    event_loop.dispatch().unwrap();
}

/// Dispatches the loop until a callback has sent something.
fn dispatch_until<T>(event_loop: &DispatchLoop, sent: &Receiver<T>) -> T {
    loop {
        dispatch_when_ready(event_loop);
        if let Ok(value) = sent.try_recv() {
            return value;
        }
    }
}

#[test]
fn a_callback_runs_in_dispatch() {
    let (_page, fence) = page_and_fence();
    let event_loop = DispatchLoop::create().unwrap();
    let (sender, results) = channel();
    let watch = event_loop
        .watch(fence.reaches(1), NO_FLAGS, move |result| sender.send(result).unwrap())
        .unwrap();
    assert_eq!(watch.result(), None);
    fence.signal(1).unwrap();
    assert_eq!(dispatch_until(&event_loop, &results), Ok(()));
    assert_eq!(results.try_recv(), Err(TryRecvError::Disconnected), "the closure is dropped");
    assert_eq!(watch.result(), Some(Ok(())));
    assert_eq!(watch.cancel(), Err(Error::Already));
}

#[test]
fn a_canceled_callback_is_dropped_and_not_called() {
    let (_page, fence) = page_and_fence();
    let event_loop = EventLoop::with_thread().unwrap();
    let (sender, results) = channel();
    let watch = event_loop
        .watch(fence.reaches(1), NO_FLAGS, move |result| sender.send(result).unwrap())
        .unwrap();
    watch.cancel().unwrap();
    assert_eq!(results.try_recv(), Err(TryRecvError::Disconnected));
    assert_eq!(watch.result(), Some(Err(Error::Canceled)));
}

#[test]
fn the_end_of_the_loop_drops_callbacks() {
    let (_page, fence) = page_and_fence();
    let event_loop = EventLoop::with_thread().unwrap();
    let (value, drops) = dropped();
    event_loop.watch(fence.reaches(1), NO_FLAGS, move |_| drop(value)).unwrap();
    drop(event_loop);
    assert_eq!(drops.load(Ordering::Relaxed), 1);
}

#[test]
fn a_call_that_fails_drops_its_callback_once() {
    let (_page, fence) = page_and_fence();
    let event_loop = EventLoop::with_thread().unwrap();
    let (value, drops) = dropped();
    let peer = std::fs::File::open("/dev/null").unwrap();
    let tie = event_loop.tie_fence(&fence, &peer, Tie::Connection, move |_| drop(value));
    assert_eq!(tie.unwrap_err(), Error::InvalidArgument);
    assert_eq!(drops.load(Ordering::Relaxed), 1);
}

#[test]
fn a_callback_ends_its_own_loop() {
    let (_page, fence) = page_and_fence();
    let event_loop = EventLoop::with_thread().unwrap();
    let (sender, results) = channel();
    let last = event_loop.clone();
    event_loop
        .watch(fence.reaches(1), NO_FLAGS, move |result| {
            drop(last);
            sender.send(result).unwrap();
        })
        .unwrap();
    drop(event_loop);
    fence.signal(1).unwrap();
    assert_eq!(results.recv_timeout(LONG), Ok(Ok(())));
}

#[test]
fn a_panic_goes_on_in_dispatch() {
    let (_page, fence) = page_and_fence();
    let event_loop = DispatchLoop::create().unwrap();
    let (value, drops) = dropped();
    event_loop
        .watch(fence.reaches(1), NO_FLAGS, move |_| {
            let _value = value;
            panic!("meant to happen");
        })
        .unwrap();
    fence.signal(1).unwrap();
    assert_readable(&event_loop);
    let payload = catch_unwind(AssertUnwindSafe(|| event_loop.dispatch())).unwrap_err();
    assert_eq!(payload.downcast_ref(), Some(&"meant to happen"));
    assert_eq!(drops.load(Ordering::Relaxed), 1);
    assert_eq!(event_loop.dispatch(), Ok(()));
}

#[test]
fn a_panic_on_the_loops_thread_leaves_the_loop_going() {
    let (_page, fence) = page_and_fence();
    let event_loop = EventLoop::with_thread().unwrap();
    let (sender, results) = channel();
    event_loop.watch(fence.reaches(1), NO_FLAGS, |_| panic!("meant to happen")).unwrap();
    event_loop
        .watch(fence.reaches(2), NO_FLAGS, move |result| sender.send(result).unwrap())
        .unwrap();
    fence.signal(1).unwrap();
    fence.signal(2).unwrap();
    assert_eq!(results.recv_timeout(LONG), Ok(Ok(())));
}

#[test]
fn a_value_that_panics_when_it_is_dropped_does_no_harm() {
    struct Panics;
    impl Drop for Panics {
        fn drop(&mut self) {
            panic!("meant to happen");
        }
    }
    let (_page, fence) = page_and_fence();
    let event_loop = EventLoop::with_thread().unwrap();
    let value = Panics;
    let watch = event_loop.watch(fence.reaches(1), NO_FLAGS, move |_| {
        let _value = &value;
    });
    watch.unwrap().cancel().unwrap();
}

#[test]
fn an_eventfd_is_written() {
    let (_page, fence) = page_and_fence();
    let event_loop = EventLoop::with_thread().unwrap();
    let fd = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).unwrap();
    let watch = event_loop.export_eventfd(fence.reaches(1), NO_FLAGS, &fd, ()).unwrap();
    fence.signal(1).unwrap();
    assert_readable(&fd);
    assert_eq!(watch.result(), Some(Ok(())));
}

#[test]
fn a_fence_signals_another() {
    let (page, fence) = page_and_fence();
    let target = page.create_fence(0, FenceFlags::NONE).unwrap();
    let event_loop = EventLoop::with_thread().unwrap();
    event_loop.export_fence(&fence, 1, &target, 9, ()).unwrap();
    fence.signal(1).unwrap();
    assert_eq!(target.wait(9, LONG), Ok(()));
}

#[test]
fn a_closed_connection_fails_the_fence() {
    let (_page, fence) = page_and_fence();
    let event_loop = EventLoop::with_thread().unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    event_loop.tie_fence(&fence, &ours, Tie::Connection, ()).unwrap();
    assert_eq!(fence.wait(1, Deadline::NOW), Err(Error::TimedOut));
    drop(theirs);
    assert_eq!(fence.wait(1, LONG), Err(Error::OwnerDied));
}

#[test]
fn a_watch_for_many_tells_which_fence_decided() {
    let (page, first) = page_and_fence();
    let second = page.create_fence(0, FenceFlags::NONE).unwrap();
    let event_loop = DispatchLoop::create().unwrap();
    let (sender, results) = channel();
    let tell = |name| {
        let sender = sender.clone();
        move |result, index| sender.send((name, result, index)).unwrap()
    };
    let both = [first.reaches(1), second.reaches(1)];
    event_loop.watch_any(&both, NO_FLAGS, tell("any")).unwrap();
    second.signal(1).unwrap();
    assert_eq!(dispatch_until(&event_loop, &results), ("any", Ok(()), Some(1)));

    event_loop.watch_all(&both, NO_FLAGS, tell("all")).unwrap();
    first.signal(1).unwrap();
    assert_eq!(dispatch_until(&event_loop, &results), ("all", Ok(()), None));

    event_loop.watch_all(&[first.reaches(2)], NO_FLAGS, tell("failed")).unwrap();
    first.set_error(Error::DeviceGone).unwrap();
    assert_eq!(dispatch_until(&event_loop, &results), ("failed", Err(Error::Failed), Some(0)));

    let (value, drops) = dropped();
    let refused = event_loop.watch_any(&[], NO_FLAGS, move |_, _| drop(value));
    assert_eq!(refused.unwrap_err(), Error::InvalidArgument);
    assert_eq!(drops.load(Ordering::Relaxed), 1);
}

#[test]
fn an_xshmfence_is_triggered() {
    let (page, fence) = page_and_fence();
    let imported = page.create_fence(0, FenceFlags::NONE).unwrap();
    let event_loop = EventLoop::with_thread().unwrap();
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let xshmfence = memfd_create("xshmfence", flags).unwrap();
    ftruncate(&xshmfence, 4).unwrap();
    event_loop.import_xshmfence(&imported, 1, &xshmfence, ()).unwrap();
    event_loop.export_xshmfence(&fence, 1, &xshmfence, ()).unwrap();
    assert_eq!(imported.wait(1, Deadline::NOW), Err(Error::TimedOut));
    fence.signal(1).unwrap();
    assert_eq!(imported.wait(1, LONG), Ok(()));
}
