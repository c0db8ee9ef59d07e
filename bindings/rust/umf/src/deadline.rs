// SPDX-License-Identifier: MIT
//! Deadlines of waits.

use std::time::{Duration, Instant};

/// The time at which a wait gives up: a time on CLOCK_MONOTONIC, now, or never.
///
/// A `Duration` converts to the time so long from now, and an `Instant` to that time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Deadline(u64);

impl Deadline {
    /// The call checks once, and returns [`Error::TimedOut`](crate::Error::TimedOut) if the
    /// condition is not met.
    pub const NOW: Deadline = Deadline(0);
    /// The call waits for ever.
    pub const NEVER: Deadline = Deadline(u64::MAX);

    /// Returns the deadline at a time on CLOCK_MONOTONIC, in nanoseconds.
    pub const fn at(nanoseconds: u64) -> Deadline {
        Deadline(nanoseconds)
    }

    /// Returns the time on CLOCK_MONOTONIC, in nanoseconds. 0 stands for [`Deadline::NOW`].
    pub const fn nanoseconds(self) -> u64 {
        self.0
    }
}

impl From<Duration> for Deadline {
    fn from(duration: Duration) -> Deadline {
        let wait = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Deadline(monotonic_now().saturating_add(wait))
    }
}

impl From<Instant> for Deadline {
    fn from(instant: Instant) -> Deadline {
        instant.saturating_duration_since(Instant::now()).into()
    }
}

fn monotonic_now() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is valid for writing. The call cannot fail: every kernel has the clock.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(now.tv_nsec).unwrap_or(0))
}
