// SPDX-License-Identifier: MIT
//! Notifiers under the model checker: the code of interrupt/notifier.rs, fence/ and wait/ as it is,
//! with the notifier's thread. Only the source of interrupts is replaced.

use super::protocol::{Many, check_bounded};
use crate::error::Result;
use crate::fence::Fence;
use crate::interrupt::{InterruptLine, InterruptSource, Notifier};
use crate::shm::generation::Kind;
use crate::shm::page::Page;
use crate::shm::slot::WaitTarget;
use crate::sys::futex;
use crate::sys::time::Deadline;
use crate::util::atomic::Ordering;
use crate::util::refs::Ref;
use crate::wait::{self, Condition, Until};
use loom::sync::Arc;
use loom::thread;
use std::num::NonZeroU32;

/// A device, and a fence with its notifier.
struct Device {
    line: Arc<InterruptLine>,
    fence: Ref<Fence>,
    notifier: Ref<Notifier>,
    _page: Ref<Page>,
}

impl Device {
    fn new() -> Device {
        let page = Page::create(1).unwrap();
        let fence = Fence::create(&page, Kind { device: true, ..Kind::PLAIN }, 0).unwrap();
        let line = Arc::new(InterruptLine::default());
        let notifier = Notifier::new(|| InterruptSource(line.clone())).unwrap();
        assert_eq!(fence.set_notifier(&notifier), Ok(()));
        Device { line, fence, notifier, _page: page }
    }

    /// Writes a value, and interrupts if a waiter asked for it. Returns whether it did.
    fn writes(&self, value: u64) -> bool {
        let interrupts = self.fence.slot().device_writes_and_would_interrupt(value);
        if interrupts {
            self.line.raise();
        }
        interrupts
    }

    fn wait(&self, value: u64) -> Result<()> {
        wait::one(Condition::reached(&self.fence, value).unwrap(), Deadline::NEVER)
    }

    fn wait_for_any(&self, value: u64) -> Result<()> {
        wait::any(&Many(vec![(&self.fence, value)], Until::Signaled), Deadline::NEVER).map(drop)
    }

    /// Sleeps for the interrupt once, as the last step of a wait for another fence.
    fn leads_once(&self) {
        let page = self.fence.page();
        let word = page.events().sequence();
        let value = word.load(Ordering::Acquire);
        let taken = self.notifier.taken();
        self.notifier.lead(|| page.signal_word(), word, value, taken, Deadline::NEVER);
    }
}

fn start_waiter(device: &Arc<Device>, value: u64) -> thread::JoinHandle<Result<()>> {
    let device = device.clone();
    thread::spawn(move || device.wait(value))
}

#[test]
fn a_waiter_that_leads_hears_the_interrupt() {
    check_bounded(2, || {
        let device = Arc::new(Device::new());
        let waiter = start_waiter(&device, 2);
        device.writes(1);
        device.writes(2);
        assert_eq!(waiter.join().unwrap(), Ok(()));
    });
}

#[test]
fn a_waiter_that_leads_hears_a_signal() {
    check_bounded(2, || {
        let device = Arc::new(Device::new());
        let waiter = start_waiter(&device, 1);
        assert_eq!(device.fence.signal(1), Ok(()));
        assert_eq!(waiter.join().unwrap(), Ok(()));
    });
}

/// The other leader's interrupt is for the waiter too, which does not follow yet.
#[test]
fn a_waiter_whose_interrupt_another_leader_took_does_not_sleep() {
    check_beside_another_leader(Device::wait);
}

#[test]
fn a_wait_for_any_whose_interrupt_another_leader_took_does_not_sleep() {
    check_beside_another_leader(Device::wait_for_any);
}

fn check_beside_another_leader(wait: fn(&Device, u64) -> Result<()>) {
    check_bounded(2, move || {
        let device = Arc::new(Device::new());
        let other = thread::spawn({
            let device = device.clone();
            move || device.writes(1).then(|| device.leads_once())
        });
        assert_eq!(wait(&device, 1), Ok(()));
        // For the other, if the waiter took the interrupt itself.
        device.line.raise();
        other.join().unwrap();
    });
}

#[test]
fn two_waiters_of_a_device_hear_the_interrupt() {
    check_bounded(1, || {
        let device = Arc::new(Device::new());
        let (one, other) = (start_waiter(&device, 1), start_waiter(&device, 1));
        device.writes(1);
        assert_eq!(one.join().unwrap(), Ok(()));
        assert_eq!(other.join().unwrap(), Ok(()));
    });
}

#[test]
fn two_waiters_of_a_device_hear_signals() {
    check_bounded(1, || {
        let device = Arc::new(Device::new());
        let (one, other) = (start_waiter(&device, 1), start_waiter(&device, 2));
        assert_eq!(device.fence.signal(1), Ok(()));
        assert_eq!(device.fence.signal(2), Ok(()));
        assert_eq!(one.join().unwrap(), Ok(()));
        assert_eq!(other.join().unwrap(), Ok(()));
    });
}

/// The waiter may lead until the other follower comes, who stays until the waiter is done.
fn check_beside_a_follower(happens: fn(&Device)) {
    check_bounded(2, move || {
        let device = Arc::new(Device::new());
        let waiter = start_waiter(&device, 1);
        device.notifier.enter();
        happens(&device);
        assert_eq!(waiter.join().unwrap(), Ok(()));
        device.notifier.leave();
    });
}

#[test]
fn a_waiter_that_is_not_alone_any_more_hears_the_interrupt() {
    check_beside_a_follower(|device| drop(device.writes(1)));
}

#[test]
fn a_waiter_that_is_not_alone_any_more_hears_a_signal() {
    check_beside_a_follower(|device| assert_eq!(device.fence.signal(1), Ok(())));
}

/// The follower has found the condition unmet when the device writes the value.
#[test]
fn a_follower_hears_of_the_interrupt_that_a_leader_took() {
    check_bounded(1, || {
        let device = Arc::new(Device::new());
        let leader = start_waiter(&device, 1);
        // That it leads takes no preemption then.
        thread::yield_now();
        let _follows = device.notifier.listen();
        let word = device.fence.page().events().sequence();
        let seen = word.load(Ordering::Acquire);
        let condition = Condition::reached(&device.fence, 1).unwrap();
        condition.register_waiter(WaitTarget::Page);
        device.writes(1);
        assert!(futex::wait(word, seen, NonZeroU32::MAX, Deadline::NEVER).is_ok());
        assert_eq!(leader.join().unwrap(), Ok(()));
    });
}
