// SPDX-License-Identifier: MIT
//! Notifiers under the model checker: the code of interrupt/notifier.rs, fence/ and wait/ as it is,
//! with the notifier's thread. Only the source of interrupts is replaced.

use super::protocol::check_bounded;
use crate::error::Result;
use crate::fence::Fence;
use crate::interrupt::{InterruptLine, InterruptSource, Notifier};
use crate::shm::generation::Kind;
use crate::shm::page::Page;
use crate::sys::time::Deadline;
use crate::util::refs::Ref;
use crate::wait::{self, Condition};
use loom::sync::Arc;
use loom::thread;

/// A device, and a fence with its notifier.
struct Device {
    line: Arc<InterruptLine>,
    fence: Ref<Fence>,
    _page: Ref<Page>,
}

impl Device {
    fn new() -> Device {
        let page = Page::create(1).unwrap();
        let fence = Fence::create(&page, Kind { device: true, ..Kind::PLAIN }, 0).unwrap();
        let line = Arc::new(InterruptLine::default());
        let notifier = Notifier::new(|| InterruptSource(line.clone())).unwrap();
        assert_eq!(fence.set_notifier(&notifier), Ok(()));
        Device { line, fence, _page: page }
    }

    /// Writes a value, and interrupts if a waiter asked for it.
    fn writes(&self, value: u64) {
        if self.fence.slot().device_writes_and_would_interrupt(value) {
            self.line.raise();
        }
    }

    fn waits(&self, value: u64) -> thread::JoinHandle<Result<()>> {
        let fence = self.fence.clone();
        thread::spawn(move || {
            wait::one(Condition::reached(&fence, value).unwrap(), Deadline::NEVER)
        })
    }
}

#[test]
fn a_waiter_that_leads_hears_the_interrupt() {
    check_bounded(2, || {
        let device = Device::new();
        let waiter = device.waits(2);
        device.writes(1);
        device.writes(2);
        assert_eq!(waiter.join().unwrap(), Ok(()));
    });
}

#[test]
fn a_waiter_that_leads_hears_a_signal() {
    check_bounded(2, || {
        let device = Device::new();
        let waiter = device.waits(1);
        assert_eq!(device.fence.signal(1), Ok(()));
        assert_eq!(waiter.join().unwrap(), Ok(()));
    });
}

#[test]
fn two_waiters_of_a_device_hear_the_interrupt() {
    check_bounded(1, || {
        let device = Device::new();
        let (one, other) = (device.waits(1), device.waits(1));
        device.writes(1);
        assert_eq!(one.join().unwrap(), Ok(()));
        assert_eq!(other.join().unwrap(), Ok(()));
    });
}

#[test]
fn two_waiters_of_a_device_hear_signals() {
    check_bounded(1, || {
        let device = Device::new();
        let (one, other) = (device.waits(1), device.waits(2));
        assert_eq!(device.fence.signal(1), Ok(()));
        assert_eq!(device.fence.signal(2), Ok(()));
        assert_eq!(one.join().unwrap(), Ok(()));
        assert_eq!(other.join().unwrap(), Ok(()));
    });
}
