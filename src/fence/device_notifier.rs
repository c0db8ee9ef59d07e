//! How a wait sleeps for a value that a device writes: no device calls FUTEX_WAKE.
//!
//! Best is a driver whose interrupt ends in `umf_fence_notify`: then the wait is asleep like any
//! other, and the slices below hardly matter. Where the interrupt arrives in a blocking call (xe's
//! wait_user_fence ioctl) or as a readable descriptor, one waiter at a time sleeps *there*, and
//! wakes the others when it returns. Both happen only while somebody waits, and the monitored value
//! in the slot tells the device from which value on anybody cares (the kernel's lazy
//! enable_signaling).
//!
//! Who sleeps there cannot hear a futex at the same time, so he looks up now and then for signals
//! and errors from programs. Where there is no notifier nobody hears the device, and the sleep
//! comes in slices, which grow with the time that was waited already: a wait of a millisecond is
//! late by an eighth of it at most, and a wait of hours wakes 250 times a second to look at one
//! word. Who waits again and again for jobs that take about as long looks when the next is due, and
//! seldom before: see [`Pace`].

use crate::error::Result;
use crate::sys::poll;
use crate::sys::time::Deadline;
use crate::util::atomic::{AtomicBool, Ordering};
use crate::util::refs::Ref;
use rustix::fd::{AsFd, OwnedFd};
use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicPtr, AtomicU64};
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

/// How long the waits for a fence took lately, as far as they ended well: a mean, and how far from
/// it they are (the estimate by which TCP times its retransmissions, RFC 6298). A guess, so all
/// accesses are relaxed and a lost update does not matter.
pub(crate) struct Pace {
    mean_ns: AtomicU64,
    deviation_ns: AtomicU64,
}

/// Around the mean, so many deviations are looked through, in so many looks for each side.
const DEVIATIONS: u64 = 3;
const LOOKS: u64 = 24;

/// Waits whose deviation is more than this part of the mean have no pace.
const STEADY_PART: u64 = 8;

impl Pace {
    const fn new() -> Pace {
        Pace { mean_ns: AtomicU64::new(0), deviation_ns: AtomicU64::new(0) }
    }

    /// Tells that a wait took so long. One that was held up counts for little, several in a row for
    /// ever more.
    pub(crate) fn learn(&self, took: u64) {
        let (mean, deviation) =
            (self.mean_ns.load(Ordering::Relaxed), self.deviation_ns.load(Ordering::Relaxed));
        let off = took.abs_diff(mean).min(4 * deviation + mean / 64);
        let (mean, deviation) = match mean {
            0 => (took, took / 2),
            _ if took < mean => (mean - off / 8, deviation - deviation / 4 + off / 4),
            _ => (mean + off / 8, deviation - deviation / 4 + off / 4),
        };
        self.mean_ns.store(mean, Ordering::Relaxed);
        self.deviation_ns.store(deviation, Ordering::Relaxed);
    }

    /// The end of the next slice of a wait that began at `began`. Before it is due it is looked at
    /// after a quarter of that time and a half; where it is due, closely; and then in slices that
    /// grow with the time that it is overdue. Where there is no pace, as ever.
    pub(crate) fn slice(&self, began: u64, now: u64) -> Deadline {
        let (mean, deviation) =
            (self.mean_ns.load(Ordering::Relaxed), self.deviation_ns.load(Ordering::Relaxed));
        if deviation > mean / STEADY_PART {
            return slice(began, now);
        }
        let (waited, margin) = (now - began, DEVIATIONS * deviation);
        let due = mean - margin;
        let length = match due.checked_sub(waited) {
            Some(early @ 1..) => early.min(waited.max(due / 4)).max(*SLICE_NS.start()),
            _ => {
                let overdue = waited.saturating_sub(mean + margin);
                (margin / LOOKS + overdue / SLICE_PART).clamp(*SLICE_NS.start(), *SLICE_NS.end())
            }
        };
        Deadline::at(now.saturating_add(length))
    }
}

/// A driver's blocking wait: returns when its device interrupted, or at the deadline, or at any
/// time.
pub(crate) type Callback =
    extern "C" fn(data: *mut c_void, value: u64, abs_timeout_ns: u64) -> c_int;

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
    /// When to look without a source.
    pub(crate) pace: Pace,
}

impl Notifier {
    pub(crate) fn new() -> Notifier {
        Notifier { source: Mutex::new(None), led: AtomicBool::new(false), pace: Pace::new() }
    }

    /// Takes the place of the source that was there. A wait that is in it keeps it until it
    /// returns.
    pub(crate) fn set(&self, source: Option<Ref<Source>>) {
        // Dropped after the lock.
        let _before = std::mem::replace(
            &mut *self.source.lock().unwrap_or_else(PoisonError::into_inner),
            source,
        );
    }

    /// Sleeps for the device to write `value`, for a while and at most until `deadline`, if there
    /// is a source and nobody else is asleep there. Tells whether it did; the caller then has
    /// others look.
    pub(crate) fn lead(&self, value: u64, deadline: Deadline) -> Result<bool> {
        // A wait may be in a signal handler that interrupted `set`, or in the child of a fork: if
        // the lock is taken, it does without for this slice.
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

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// How often, and how late at most, a wait looks for a value that comes after `took`.
    fn looks(pace: &Pace, took: u64) -> (u32, u64) {
        let (mut now, mut count) = (0, 0);
        while now < took {
            now = pace.slice(0, now).ns();
            count += 1;
        }
        (count, now - took)
    }

    #[test]
    fn a_steady_device_is_looked_at_when_it_is_due() {
        let pace = Pace::new();
        for round in 0..100 {
            pace.learn(16_000_000 + round % 5 * 40_000);
        }
        let (count, late) = looks(&pace, 16_100_000);
        assert!(count <= 20 && late <= 30_000, "{count} looks, {late} ns late");
        // One that was held up changes little.
        pace.learn(80_000_000);
        let (count, late) = looks(&pace, 16_100_000);
        assert!(count <= 30 && late <= 60_000, "{count} looks, {late} ns late");
        // One that is early is noticed after a quarter, or twice the time, and one that is late
        // after an eighth of what it is late.
        for took in [100_000, 3_000_000, 9_000_000] {
            assert!(looks(&pace, took).1 <= took.max(4_000_000));
        }
        assert!(looks(&pace, 18_000_000).1 <= 250_000 && looks(&pace, 160_000_000).1 <= 4_000_000);
    }

    #[test]
    fn a_device_without_a_pace_is_looked_at_as_ever() {
        let pace = Pace::new();
        for round in 0..100 {
            assert_eq!(pace.slice(7, 1_000_007), slice(7, 1_000_007));
            pace.learn(if round % 2 == 0 { 1_000_000 } else { 16_000_000 });
        }
        for took in [0, u64::MAX / 4, 1, u64::MAX / 4, u64::MAX / 4] {
            pace.learn(took);
            assert!(pace.slice(5, 6) > Deadline::at(6));
        }
    }
}
