// SPDX-License-Identifier: MIT
//! How often to check a value that is written without a wake-up.
//!
//! No device calls FUTEX_WAKE. A wait that no notifier serves therefore polls. Without a prediction
//! the interval grows with the time already waited. A wait of a millisecond is late by at most an
//! eighth of it. A wait of hours wakes 250 times a second to read one word. If recent waits on the
//! fence took a similar time, the wait polls rarely at first and often around the expected time:
//! see [`WaitTimePredictor`].

#![forbid(unsafe_code)]

use crate::sys::time::Deadline;
use std::sync::atomic::{AtomicU64, Ordering};

/// The shortest and the longest interval.
const INTERVAL_NS: std::ops::RangeInclusive<u64> = 20_000..=4_000_000;

/// An interval is this part of the time waited so far.
const INTERVAL_PART: u64 = 8;

/// The end of the next interval of a wait that began at `start`.
pub(crate) fn poll_interval(start: u64, now: u64) -> Deadline {
    let length = ((now - start) / INTERVAL_PART).clamp(*INTERVAL_NS.start(), *INTERVAL_NS.end());
    Deadline::at(now.saturating_add(length))
}

/// How long recent waits for a fence took, as far as they succeeded: a mean, and the mean deviation
/// from it. This is the estimate by which TCP times its retransmissions (RFC 6298). It is a guess,
/// so all accesses are relaxed and a lost update does no harm.
pub(crate) struct WaitTimePredictor {
    mean_ns: AtomicU64,
    deviation_ns: AtomicU64,
}

/// The polls around the mean cover so many deviations on each side, with so many polls a side.
const DEVIATIONS: u64 = 3;
const POLLS_PER_SIDE: u64 = 24;

/// Waits whose deviation is more than this part of the mean are not predictable.
const STEADY_PART: u64 = 8;

impl WaitTimePredictor {
    pub(crate) const fn new() -> WaitTimePredictor {
        WaitTimePredictor { mean_ns: AtomicU64::new(0), deviation_ns: AtomicU64::new(0) }
    }

    fn estimate(&self) -> (u64, u64) {
        (self.mean_ns.load(Ordering::Relaxed), self.deviation_ns.load(Ordering::Relaxed))
    }

    /// Records that a wait took `took` nanoseconds. A single delayed wait changes little, several
    /// in a row change more and more.
    pub(crate) fn learn(&self, took: u64) {
        let (mean, deviation) = self.estimate();
        let off = took.abs_diff(mean).min(4 * deviation + mean / 64);
        let (mean, deviation) = match mean {
            0 => (took, took / 2),
            _ if took < mean => (mean - off / 8, deviation - deviation / 4 + off / 4),
            _ => (mean + off / 8, deviation - deviation / 4 + off / 4),
        };
        self.mean_ns.store(mean, Ordering::Relaxed);
        self.deviation_ns.store(deviation, Ordering::Relaxed);
    }

    /// The end of the next interval of a wait that began at `start`. Before the expected time, the
    /// wait polls after a quarter and after half of it. Around the expected time it polls often,
    /// and then in intervals that grow with the delay. Unpredictable waits use [`poll_interval`].
    pub(crate) fn poll_interval(&self, start: u64, now: u64) -> Deadline {
        let (mean, deviation) = self.estimate();
        if deviation > mean / STEADY_PART {
            return poll_interval(start, now);
        }
        let (waited, margin) = (now - start, DEVIATIONS * deviation);
        let expected = mean - margin;
        let (min, max) = (*INTERVAL_NS.start(), *INTERVAL_NS.end());
        let length = match expected.checked_sub(waited) {
            Some(early @ 1..) => early.min(waited.max(expected / 4)).max(min),
            _ => {
                let overdue = waited.saturating_sub(mean + margin);
                (margin / POLLS_PER_SIDE + overdue / INTERVAL_PART).clamp(min, max)
            }
        };
        Deadline::at(now.saturating_add(length))
    }
}

#[cfg(all(test, not(modeled)))]
mod tests {
    use super::*;

    /// How often a wait polls for a value that is written after `took`, and how late it sees it.
    fn polls(predictor: &WaitTimePredictor, took: u64) -> (u32, u64) {
        let (mut now, mut count) = (0, 0);
        while now < took {
            now = predictor.poll_interval(0, now).ns();
            count += 1;
        }
        (count, now - took)
    }

    #[test]
    fn a_steady_device_is_polled_around_the_expected_time() {
        let predictor = WaitTimePredictor::new();
        for round in 0..100 {
            predictor.learn(16_000_000 + round % 5 * 40_000);
        }
        let (count, late) = polls(&predictor, 16_100_000);
        assert!(count <= 20 && late <= 30_000, "{count} polls, {late} ns late");
        // One delayed wait changes little.
        predictor.learn(80_000_000);
        let (count, late) = polls(&predictor, 16_100_000);
        assert!(count <= 30 && late <= 60_000, "{count} polls, {late} ns late");
        // An early value is seen at the latest after a quarter of the expected time, or after twice
        // the time that it took. A late one is seen after an eighth of the delay.
        for took in [100_000, 3_000_000, 9_000_000] {
            assert!(polls(&predictor, took).1 <= took.max(4_000_000));
        }
        assert!(polls(&predictor, 18_000_000).1 <= 250_000);
        assert!(polls(&predictor, 160_000_000).1 <= 4_000_000);
    }

    #[test]
    fn an_unpredictable_device_is_polled_at_growing_intervals() {
        let predictor = WaitTimePredictor::new();
        for round in 0..100 {
            assert_eq!(predictor.poll_interval(7, 1_000_007), poll_interval(7, 1_000_007));
            predictor.learn(if round % 2 == 0 { 1_000_000 } else { 16_000_000 });
        }
        for took in [0, u64::MAX / 4, 1, u64::MAX / 4, u64::MAX / 4] {
            predictor.learn(took);
            assert!(predictor.poll_interval(5, 6) > Deadline::at(6));
        }
    }
}
