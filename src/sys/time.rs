// SPDX-License-Identifier: MIT
//! clock_gettime, Linux 2.6, and deadlines on CLOCK_MONOTONIC.
//!
//! A deadline is an absolute time in nanoseconds, as in Vulkan and DRM.

use rustix::time::Timespec;

const NS_PER_S: u64 = 1_000_000_000;

/// An absolute time in nanoseconds of CLOCK_MONOTONIC. 0 has always passed; `u64::MAX` never
/// passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Deadline(u64);

impl Deadline {
    /// Check the condition once and do not wait.
    pub(crate) const POLL: Deadline = Deadline(0);
    /// Wait without a limit.
    pub(crate) const NEVER: Deadline = Deadline(u64::MAX);

    /// Make a deadline from nanoseconds of CLOCK_MONOTONIC.
    pub(crate) const fn at(ns: u64) -> Deadline {
        Deadline(ns)
    }

    /// Return the nanoseconds of CLOCK_MONOTONIC.
    pub(crate) fn ns(self) -> u64 {
        self.0
    }

    /// Return this deadline or the time `ns` nanoseconds from now, whichever is earlier.
    pub(crate) fn within(self, ns: u64) -> Deadline {
        self.min(Deadline(now().saturating_add(ns)))
    }

    /// Check whether the deadline has passed.
    pub(crate) fn has_passed(self) -> bool {
        self != Deadline::NEVER && self.0 <= now()
    }

    /// Convert to the absolute timeout of a system call. `None` means no timeout.
    pub(crate) fn timespec(self) -> Option<Timespec> {
        if self == Deadline::NEVER {
            return None;
        }
        Some(Timespec { tv_sec: (self.0 / NS_PER_S) as i64, tv_nsec: (self.0 % NS_PER_S) as _ })
    }

    /// Convert to the absolute timeout of a DRM ioctl.
    ///
    /// It is an s64 without an infinite value. Longer deadlines become the largest, 292 years.
    pub(crate) fn signed_ns(self) -> i64 {
        i64::try_from(self.0).unwrap_or(i64::MAX)
    }

    /// Convert to the relative timeout of a system call: the time left. `None` means no timeout.
    pub(crate) fn remaining(self) -> Option<Timespec> {
        Deadline(if self == Deadline::NEVER { u64::MAX } else { self.0.saturating_sub(now()) })
            .timespec()
    }
}

/// Read CLOCK_THREAD_CPUTIME_ID, in nanoseconds: the processor time of the calling thread.
///
/// 0 if a sandbox refuses the call.
#[allow(clippy::unnecessary_cast)] // the widths differ between architectures
pub(crate) fn thread_cpu_time() -> u64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the location of errno is valid as long as the thread runs, and `t` for writing.
    unsafe {
        let errno = libc::__errno_location();
        let before = *errno;
        libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut t);
        *errno = before;
    }
    (t.tv_sec as u64).wrapping_mul(NS_PER_S).wrapping_add(t.tv_nsec as u64)
}

/// Read CLOCK_MONOTONIC, in nanoseconds.
///
/// Calls libc and not rustix: on first use, rustix looks for the vDSO and allocates memory, and a
/// failed allocation there aborts the process.
#[allow(clippy::unnecessary_cast)] // the widths differ between architectures
#[cfg(not(loom))]
pub(crate) fn now() -> u64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `t` is valid for writing. This clock always exists, so the call cannot fail and
    // errno stays as it is.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut t) };
    (t.tv_sec as u64).wrapping_mul(NS_PER_S).wrapping_add(t.tv_nsec as u64)
}

/// Time stands still under loom: a model has to do the same each time.
#[cfg(loom)]
pub(crate) fn now() -> u64 {
    NS_PER_S
}
