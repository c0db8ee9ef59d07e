//! Where this process receives a device's interrupt: what the driver gave for a fence.
//!
//! The best driver calls `umf_fence_notify` from its interrupt path: then waits sleep as for any
//! other fence. The interrupt may also arrive in a blocking call (xe's wait_user_fence ioctl) or as
//! a readable descriptor. Then one waiter at a time sleeps *there*, as the leader, and wakes the
//! others when it returns: the leader/followers pattern. The device interrupts, and a leader
//! sleeps, only while somebody waits. The monitored value in the slot tells the device from which
//! value on anybody waits, as the kernel's lazy enable_signaling does.
//!
//! The leader cannot sleep on a futex at the same time, so it checks from time to time for signals
//! and errors from programs.

#![forbid(unsafe_code)]

use crate::error::Result;
use crate::sys::poll;
use crate::sys::time::{self, Deadline};
use crate::util::atomic::{AtomicU64, Ordering};
use crate::util::callback::without_cancellation;
use crate::util::mutex::Mutex;
use crate::util::refs::Ref;
use crate::util::user_data::UserData;
use rustix::fd::{AsFd, OwnedFd};
use std::ffi::{c_int, c_void};

/// How long a leader sleeps without checking for signals and errors from programs.
const LEADER_SLEEP_NS: u64 = 50_000_000;

/// A leader that is not back so long after its deadline may never be: a signal handler jumped out
/// of the wait, or this is the child of a fork without that thread. Then another thread leads.
const LEADER_GRACE_NS: u64 = 100_000_000;

/// A driver's blocking wait. It returns when its device interrupted, at the deadline, or at any
/// other time.
pub(crate) type Callback =
    extern "C" fn(data: *mut c_void, value: u64, abs_timeout_ns: u64) -> c_int;

/// Where a device's interrupt arrives.
pub(crate) enum InterruptSource {
    Callback(Callback, UserData),
    /// Readable after an interrupt.
    Fd(OwnedFd),
}

/// The interrupt source of a fence, and whether a waiter sleeps there.
pub(crate) struct DeviceNotifier {
    source: Mutex<Option<Ref<InterruptSource>>>,
    /// The time until which the leader leads at most. 0 if there is none.
    leads_until_ns: AtomicU64,
}

impl DeviceNotifier {
    pub(crate) fn new() -> DeviceNotifier {
        DeviceNotifier { source: Mutex::new(None), leads_until_ns: AtomicU64::new(0) }
    }

    /// Replaces the source. A wait that sleeps in the old one keeps it until it returns.
    pub(crate) fn set(&self, source: Option<Ref<InterruptSource>>) {
        // Dropped after the lock is released.
        let _before = std::mem::replace(&mut *self.source.lock(), source);
    }

    /// Sleeps until the device interrupts for `value`, for a while and at most until `deadline`, if
    /// there is a source and no leader. Returns whether it slept; the caller then wakes the other
    /// waiters.
    pub(crate) fn wait_as_leader(&self, value: u64, deadline: Deadline) -> Result<bool> {
        // The driver's function may pass a cancellation point, and so does the end of the source.
        without_cancellation(|| self.lead(value, deadline))
    }

    fn lead(&self, value: u64, deadline: Deadline) -> Result<bool> {
        // A wait may run in a signal handler that interrupted `set`, or in the child of a fork. If
        // the lock is taken, it does without the source until its next poll.
        let source = self.source.try_lock().and_then(|source| source.clone());
        let Some(source) = source else { return Ok(false) };
        let deadline = deadline.within(LEADER_SLEEP_NS);
        let leads_until = self.leads_until_ns.load(Ordering::Relaxed);
        let until = deadline.ns().saturating_add(LEADER_GRACE_NS);
        let leads = leads_until <= time::now()
            && self
                .leads_until_ns
                .compare_exchange(leads_until, until, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok();
        if !leads {
            return Ok(false);
        }
        let slept = match &*source {
            InterruptSource::Callback(wait, data) => {
                // Whatever it returns, the value is checked next. Not `callback::call`: this thread
                // may hold a lock if it is in a signal handler, which may not take any.
                wait(data.get(), value, deadline.ns());
                Ok(true)
            }
            InterruptSource::Fd(fd) => poll::readable(fd.as_fd(), deadline),
        };
        // If it took too long, another thread leads.
        let _ =
            self.leads_until_ns.compare_exchange(until, 0, Ordering::Release, Ordering::Relaxed);
        slept
    }
}
