//! Deadlines: absolute CLOCK_MONOTONIC nanoseconds, as in Vulkan and DRM.

use rustix::time::Timespec;

const NS_PER_S: u64 = 1_000_000_000;

/// A point in time. 0 has always passed (a poll), `u64::MAX` never comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Deadline(u64);

impl Deadline {
    /// A condition is looked at once, never waited for.
    pub(crate) const POLL: Deadline = Deadline(0);
    /// No limit.
    pub(crate) const NEVER: Deadline = Deadline(u64::MAX);

    /// `ns` on CLOCK_MONOTONIC.
    pub(crate) const fn at(ns: u64) -> Deadline {
        Deadline(ns)
    }

    /// Nanoseconds on CLOCK_MONOTONIC.
    pub(crate) fn ns(self) -> u64 {
        self.0
    }

    /// `ns` nanoseconds from now, or this deadline, whichever comes first.
    pub(crate) fn within(self, ns: u64) -> Deadline {
        self.min(Deadline(now().saturating_add(ns)))
    }

    /// Whether it has come.
    pub(crate) fn has_passed(self) -> bool {
        self != Deadline::NEVER && self.0 <= now()
    }

    /// For system calls in which no timeout means forever.
    pub(crate) fn timespec(self) -> Option<Timespec> {
        if self == Deadline::NEVER {
            return None;
        }
        Some(Timespec { tv_sec: (self.0 / NS_PER_S) as i64, tv_nsec: (self.0 % NS_PER_S) as _ })
    }

    /// For DRM ioctls, whose timeout is an s64 without an infinite value: 292 years stand for it.
    pub(crate) fn signed_ns(self) -> i64 {
        i64::try_from(self.0).unwrap_or(i64::MAX)
    }

    /// For system calls that take the time left: what remains, `None` for forever.
    pub(crate) fn remaining(self) -> Option<Timespec> {
        Deadline(if self == Deadline::NEVER { u64::MAX } else { self.0.saturating_sub(now()) })
            .timespec()
    }
}

/// CLOCK_MONOTONIC, in nanoseconds.
///
/// libc's: rustix's would look for the vDSO on first use and allocate on the way, where missing
/// memory aborts.
#[allow(clippy::unnecessary_cast)] // the widths differ between architectures
pub(crate) fn now() -> u64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `t` is valid for writing. This clock exists everywhere, so errno stays as it is.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut t) };
    (t.tv_sec as u64).wrapping_mul(NS_PER_S).wrapping_add(t.tv_nsec as u64)
}
