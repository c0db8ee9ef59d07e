//! How a wait sleeps for a value that a device writes: no device calls FUTEX_WAKE.
//!
//! Best is a driver whose interrupt ends in `umf_fence_notify`: then the wait is asleep like any other, and the slices below
//! hardly matter. Where the interrupt arrives in a blocking call (xe's wait_user_fence ioctl) or as a readable descriptor,
//! one waiter at a time sleeps *there*, and wakes the others when it returns. Both happen only while somebody waits, and the
//! monitored value in the slot tells the device from which value on anybody cares (the kernel's lazy enable_signaling).
//!
//! Who sleeps there cannot hear a futex at the same time, so he looks up now and then for signals and errors from programs.
//! Where there is no notifier nobody hears the device, and the sleep comes in slices, which grow with the time that was waited
//! already: a wait of a millisecond is late by an eighth of it at most, and a wait of hours wakes 250 times a second to look
//! at one word.

use crate::error::Result;
use crate::rc::Ref;
use crate::sync::{AtomicBool, Ordering};
use crate::sys::poll;
use crate::sys::time::Deadline;
use rustix::fd::{AsFd, OwnedFd};
use std::ffi::{c_int, c_void};
use std::sync::atomic::AtomicPtr;
use std::sync::{Mutex, PoisonError, TryLockError};

/// The shortest and the longest slice.
const SLICE_NS: std::ops::RangeInclusive<u64> = 20_000..=4_000_000;

/// The part of the time waited so far that a slice is.
const SLICE_PART: u64 = 8;

/// How long somebody sleeps for a device's interrupt without hearing a futex.
const LED_NS: u64 = 50_000_000;

/// The end of the next slice of a wait that began at `began`.
pub(crate) fn slice(began: u64, now: u64) -> Deadline {
    let length = ((now - began) / SLICE_PART).clamp(*SLICE_NS.start(), *SLICE_NS.end());
    Deadline::at(now.saturating_add(length))
}

/// A driver's blocking wait: returns when its device interrupted, or at the deadline, or at any time.
pub(crate) type Callback = extern "C" fn(data: *mut c_void, value: u64, abs_timeout_ns: u64) -> c_int;

/// What a driver's callback was given, to be given back when nobody can call it any more.
pub(crate) struct Data {
    pub(crate) data: AtomicPtr<c_void>,
    pub(crate) release: Option<extern "C" fn(data: *mut c_void)>,
}

impl Drop for Data {
    fn drop(&mut self) {
        if let Some(release) = self.release {
            release(self.data.load(Ordering::Relaxed));
        }
    }
}

/// Where a device's interrupt is heard.
pub(crate) enum Source {
    Callback(Callback, Data),
    /// Readable after an interrupt.
    Fd(OwnedFd),
}

/// What the driver gave for a fence, in this process.
pub(crate) struct Notifier {
    source: Mutex<Option<Ref<Source>>>,
    /// Somebody sleeps there.
    led: AtomicBool,
}

impl Notifier {
    pub(crate) fn new() -> Notifier {
        Notifier { source: Mutex::new(None), led: AtomicBool::new(false) }
    }

    /// Takes the place of the source that was there. A wait that is in it keeps it until it returns.
    pub(crate) fn set(&self, source: Option<Ref<Source>>) {
        // Dropped after the lock.
        let _before = std::mem::replace(&mut *self.source.lock().unwrap_or_else(PoisonError::into_inner), source);
    }

    /// Sleeps for the device to write `value`, for a while and at most until `deadline`, if there is a source and nobody else
    /// is asleep there. Tells whether it did; the caller then has others look.
    pub(crate) fn lead(&self, value: u64, deadline: Deadline) -> Result<bool> {
        // A wait may be in a signal handler that interrupted `set`, or in the child of a fork: if the lock is taken, it does
        // without for this slice.
        let source = match self.source.try_lock() {
            Ok(source) => source.clone(),
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner().clone(),
            Err(TryLockError::WouldBlock) => None,
        };
        let Some(source) = source else { return Ok(false) };
        if self.led.swap(true, Ordering::AcqRel) {
            return Ok(false);
        }
        let deadline = deadline.within(LED_NS);
        let slept = match &*source {
            Source::Callback(wait, data) => {
                // Whatever it answers, the value is looked at next.
                wait(data.data.load(Ordering::Relaxed), value, deadline.ns());
                Ok(true)
            }
            Source::Fd(fd) => poll::readable(fd.as_fd(), deadline),
        };
        self.led.store(false, Ordering::Release);
        slept
    }
}
