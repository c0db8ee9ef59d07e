//! Deadlines: absolute CLOCK_MONOTONIC nanoseconds, as in Vulkan and DRM.

use rustix::time::{ClockId, Timespec, clock_gettime};

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
        Deadline(if self == Deadline::NEVER { u64::MAX } else { self.0.saturating_sub(now()) }).timespec()
    }
}

/// CLOCK_MONOTONIC, in nanoseconds.
pub(crate) fn now() -> u64 {
    let t = clock_gettime(ClockId::Monotonic);
    (t.tv_sec as u64).wrapping_mul(NS_PER_S).wrapping_add(t.tv_nsec as u64)
}
