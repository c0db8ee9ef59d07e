// SPDX-License-Identifier: MIT
//! What an unordered fence had reached before it was rewound.
//!
//! A store may lower the value of an unordered fence: a *rewind*. A wait for "at least T" that the
//! value met before the rewind counts as met, even if its thread has not run since. So a rewind
//! leaves the value that it replaces, a *peak*, in the slot.
//!
//! # Which waits a peak meets
//!
//! A peak must not meet a wait that began after the rewind. So a slot has a clock, which counts the
//! waits that began. A peak carries the time of its rewind, and meets the waits that are not
//! younger.
//!
//! ```text
//!   a wait for T begins                      a store lowers the value
//!   B1  n = ++clock                 (RMW)    R1  read the value: old
//!       then W1 to W4 of slot.rs,            R2  read the clock: c
//!       where W3 also reads the peaks:       R3  value: old -> new      (RMW; S1 of slot.rs)
//!       one >= T with a time c >= n?         R4  write the peak (old, c) (RMW)
//!                                                then S2 to S5 for the residues of new ..= old
//! ```
//!
//! *A peak meets no wait that began after the rewind.* If c >= n, R2 read B1 or a later tick, so R3
//! comes after B1. Just before R3 the value was `old`, and that was after the wait had begun.
//!
//! *A wait that the value met is told.* Let W3 have read a value below T, and let the value have
//! reached T since. The store that lowers it below T again read, in R1, a value that is later than
//! that of W3. B1, W3, R1 and R2 are SeqCst and in this order. So R2 reads n or more, and R4 leaves
//! a peak that meets the wait. Either the waiter's next W3 comes after R4 and reads the peak. Or
//! its W2 comes before S2 of the rewind, which wakes it: T is in new ..= old.
//!
//! *Readers of a page for one writer* cannot tick. They take n = clock + 1, and each rewind of such
//! a fence ticks in R2. A peak with c >= n then ticked after the wait read the clock.
//!
//! # What is remembered
//!
//! The slot has room for two peaks. A peak that is lower than an earlier one and has the same time
//! is not needed: every wait that it would meet, the earlier one meets. One that is at least as
//! high replaces all that are older. Otherwise the oldest makes room. So a thread that waits is
//! told:
//!
//! - of any number of rewinds, if no other wait on the fence begins meanwhile;
//! - of the last two rewinds, until 2^18 more waits on the fence have begun.
//!
//! Of a fence in a page for one writer, each rewind has a time of its own, so the second line
//! holds.
//!
//! Beyond that, a wait goes on as if the value had not been reached. A fence that a device writes
//! has room for one peak, since the monitored value takes the other word. What the device itself
//! writes leaves no peak. A process that is killed between R3 and R4 leaves none.
//!
//! # The word of a peak
//!
//! The time and the value share one word, so that no reader sees the time of one peak with the
//! value of another. The time has 20 bits. Each tick removes the peaks that are older than 2^18
//! ticks, before they could look young. So a wait that is older than any peak may be is met by each
//! peak that is there. The value has 44 bits: 39 digits and how far they are shifted. Values below
//! 2^39 are exact. Higher ones are rounded down, by less than one part in 2^38: a wait for the
//! values between is not told.

#![forbid(unsafe_code)]

use crate::util::atomic::{AtomicU32, AtomicU64, Ordering};

/// The clock and the peaks of a slot.
pub(super) struct Peaks<'a> {
    pub(super) clock: &'a AtomicU32,
    /// The same word twice if there is room for one.
    pub(super) words: [&'a AtomicU64; 2],
}

/// When a wait began, by the clock of its slot. [`Moment::NEVER`] if no peak meets it.
pub(crate) type Moment = u32;

/// The wait does not ask for peaks. The clock shows this time only before the first wait, and for
/// one wait in 2^32.
pub(crate) const NEVER: Moment = 0;

impl Peaks<'_> {
    /// B1. A waiter that cannot write (`ticks` is false) takes the time of the next rewind.
    pub(super) fn begin_wait(&self, ticks: bool) -> Moment {
        if !ticks {
            return self.clock.load(Ordering::SeqCst).wrapping_add(1);
        }
        self.tick()
    }

    /// Moves the clock on, and removes each peak that is old. Returns the time.
    fn tick(&self) -> Moment {
        let now = self.clock.fetch_add(1, Ordering::SeqCst).wrapping_add(1);
        for word in self.words {
            let peak = word.load(Ordering::Relaxed);
            if Peak(peak).is_old(now) {
                let _ = word.compare_exchange(peak, 0, Ordering::Relaxed, Ordering::Relaxed);
            }
        }
        now
    }

    /// R2. The time of a rewind from `old`. `None` if it needs no peak: no wait ever began, or an
    /// earlier peak meets the same waits.
    #[inline]
    pub(super) fn time_of_rewind(&self, old: u64, ticks: bool) -> Option<Moment> {
        let now = if ticks { self.tick() } else { self.clock.load(Ordering::SeqCst) };
        (now != NEVER && !self.has(Peak::new(old, now))).then_some(now)
    }

    /// R4.
    #[cold]
    pub(super) fn leave(&self, old: u64, time: Moment) {
        let peak = Peak::new(old, time);
        loop {
            let now = self.clock.load(Ordering::SeqCst);
            // So many waits began since R2, if this thread was preempted, that the peak would soon
            // look young.
            if peak.is_old(now) || self.has(peak) {
                return;
            }
            let [first, second] = self.words.map(|word| (word, Peak(word.load(Ordering::Relaxed))));
            let (word, replaced) = if peak.covers(first.1) {
                first
            } else if peak.covers(second.1) || second.1.age(now) > first.1.age(now) {
                second
            } else {
                first
            };
            let (success, failure) = (Ordering::SeqCst, Ordering::Relaxed);
            if word.compare_exchange(replaced.0, peak.0, success, failure).is_ok() {
                return;
            }
        }
    }

    /// Whether a peak meets a wait for at least `value` that began at `since`.
    pub(super) fn meet(&self, since: Moment, value: u64) -> bool {
        // The time of a peak tells nothing of a wait that is this old. Each peak that is read from
        // here on is younger than the wait, since older ones are removed. (A reader's `since` may
        // be one ahead of the clock.)
        let age = self.clock.load(Ordering::SeqCst).wrapping_add(1).wrapping_sub(since);
        let is_old = age > OLD + OLD / 2;
        self.words.iter().any(|word| {
            let peak = Peak(word.load(Ordering::SeqCst));
            peak.0 != 0 && (is_old || peak.is_since(since)) && peak.value() >= value
        })
    }

    fn has(&self, peak: Peak) -> bool {
        self.words.iter().any(|word| Peak(word.load(Ordering::Relaxed)).covers(peak))
    }
}

/// A word of a slot: a value that was reached, and the time of the rewind from it. 0 for none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Peak(u64);

const TIME_BITS: u32 = 20;
const TIME: u32 = (1 << TIME_BITS) - 1;
/// A peak of this age is removed. Two times are compared if they are closer than half of all.
const OLD: u32 = 1 << (TIME_BITS - 2);
const DIGITS: u32 = 39;

impl Peak {
    fn new(value: u64, time: Moment) -> Peak {
        let shift = (u64::BITS - DIGITS).saturating_sub(value.leading_zeros());
        let rounded = u64::from(shift) << DIGITS | value >> shift;
        Peak(rounded << TIME_BITS | u64::from(time & TIME))
    }

    /// The value, rounded down, in a form that is ordered as values are.
    fn rounded(self) -> u64 {
        self.0 >> TIME_BITS
    }

    fn value(self) -> u64 {
        // A peer may have written any shift.
        let (digits, shift) = (self.rounded() & ((1 << DIGITS) - 1), self.rounded() >> DIGITS);
        digits << shift
    }

    /// How many waits began between this time and `now`.
    fn age(self, now: Moment) -> u32 {
        now.wrapping_sub(self.0 as u32) & TIME
    }

    fn is_old(self, now: Moment) -> bool {
        self.0 != 0 && self.age(now) >= OLD
    }

    /// Whether this time is not before `since`.
    fn is_since(self, since: Moment) -> bool {
        (self.0 as u32).wrapping_sub(since) & TIME < 1 << (TIME_BITS - 1)
    }

    /// Whether it meets every wait that `other` meets.
    fn covers(self, other: Peak) -> bool {
        other.0 == 0
            || self.0 != 0 && self.rounded() >= other.rounded() && self.is_since(other.0 as u32)
    }
}

#[cfg(all(test, not(modeled)))]
mod tests {
    use super::*;

    struct Words(AtomicU32, [AtomicU64; 2]);

    impl Words {
        fn new() -> Words {
            Words(AtomicU32::new(0), [AtomicU64::new(0), AtomicU64::new(0)])
        }

        fn peaks(&self) -> Peaks<'_> {
            Peaks { clock: &self.0, words: self.1.each_ref() }
        }

        fn rewind(&self, old: u64) {
            if let Some(time) = self.peaks().time_of_rewind(old, false) {
                self.peaks().leave(old, time);
            }
        }
    }

    #[test]
    fn a_peak_is_exact_below_2_to_the_39_and_is_never_rounded_up() {
        for bit in 0..64 {
            for value in (1u64 << bit).saturating_sub(3)..=(1u64 << bit).saturating_add(3) {
                let kept = Peak::new(value, 7).value();
                assert!(kept <= value && value - kept <= value >> 38, "{value} as {kept}");
                assert!(value >> DIGITS != 0 || kept == value, "{value} as {kept}");
                let next = Peak::new(value.saturating_add(1), 7);
                assert!(next.rounded() >= Peak::new(value, 7).rounded(), "{value}");
            }
        }
        assert_eq!(Peak::new(u64::MAX, 0).value(), u64::MAX << 25);
    }

    #[test]
    fn a_peak_meets_the_waits_that_began_before_the_rewind_and_no_others() {
        let words = Words::new();
        words.rewind(100);
        let before = words.peaks().begin_wait(true);
        assert!(!words.peaks().meet(before, 1), "no wait had begun");
        words.rewind(10);
        let after = words.peaks().begin_wait(true);
        assert!(words.peaks().meet(before, 10) && !words.peaks().meet(before, 11));
        assert!(!words.peaks().meet(after, 1));
        words.rewind(5);
        assert!(words.peaks().meet(before, 10) && words.peaks().meet(after, 5));
        assert!(!words.peaks().meet(after, 6));
    }

    #[test]
    fn rewinds_without_another_wait_between_them_leave_the_highest_peak() {
        let words = Words::new();
        let since = words.peaks().begin_wait(true);
        for old in [7, 9, 3, 1, 8].into_iter().cycle().take(10_000) {
            words.rewind(old);
        }
        assert!(words.peaks().meet(since, 9) && !words.peaks().meet(since, 10));
    }

    #[test]
    fn the_last_two_rewinds_are_remembered_and_a_higher_peak_lasts_longer() {
        let words = Words::new();
        let waits = [9, 5, 3].map(|old| {
            let since = words.peaks().begin_wait(true);
            words.rewind(old);
            since
        });
        // The peak at 9 made room. The other two are told to all who began before them.
        assert!(!words.peaks().meet(waits[0], 6) && words.peaks().meet(waits[0], 5));
        assert!(words.peaks().meet(waits[1], 5) && words.peaks().meet(waits[2], 3));
        assert!(!words.peaks().meet(waits[2], 4));
        words.rewind(100);
        assert!(waits.iter().all(|since| words.peaks().meet(*since, 100)));
    }

    #[test]
    fn a_peak_is_removed_before_it_could_look_young() {
        let words = Words::new();
        for start in [0u32, 1 << 18, (1 << 20) - 5, u32::MAX - (1 << 19)] {
            words.0.store(start, Ordering::Relaxed);
            let first = words.peaks().begin_wait(true);
            words.rewind(50);
            assert!(words.peaks().meet(first, 50));
            for _ in 0..1 << 21 {
                let since = words.peaks().begin_wait(true);
                assert!(!words.peaks().meet(since, 1));
            }
        }
    }

    #[test]
    fn a_wait_is_told_of_a_rewind_however_many_waits_began_before() {
        for others in [1, 1 << 18, 1 << 19, (1 << 20) + 5] {
            let words = Words::new();
            let _ = words.peaks().begin_wait(true);
            words.rewind(70);
            let since = words.peaks().begin_wait(true);
            for _ in 0..others {
                let _ = words.peaks().begin_wait(true);
            }
            assert!(!words.peaks().meet(since, 1), "{others}");
            words.rewind(50);
            assert!(words.peaks().meet(since, 50) && !words.peaks().meet(since, 51), "{others}");
            assert!(!words.peaks().meet(words.peaks().begin_wait(true), 1), "{others}");
        }
    }

    #[test]
    fn a_rewind_that_took_too_long_leaves_no_peak() {
        let words = Words::new();
        let peaks = words.peaks();
        let _ = peaks.begin_wait(true);
        let time = peaks.time_of_rewind(50, false);
        words.0.fetch_add(OLD, Ordering::Relaxed);
        peaks.leave(50, time.unwrap_or(NEVER));
        assert_eq!(words.1.each_ref().map(|word| word.load(Ordering::Relaxed)), [0, 0]);
    }

    /// A rewind in a page for one writer.
    fn rewind_alone(words: &Words, old: u64) {
        if let Some(time) = words.peaks().time_of_rewind(old, true) {
            words.peaks().leave(old, time);
        }
    }

    #[test]
    fn a_high_peak_of_one_writer_is_removed_before_it_could_look_young() {
        let words = Words::new();
        rewind_alone(&words, 1000);
        for step in 0..(1 << 19) + 1000 {
            let since = words.peaks().begin_wait(false);
            assert!(!words.peaks().meet(since, 1), "{step}");
            rewind_alone(&words, 5);
            assert!(words.peaks().meet(since, 5) && !words.peaks().meet(since, 6), "{step}");
        }
    }

    #[test]
    fn a_reader_that_cannot_tick_is_told_of_rewinds_after_it_began() {
        let words = Words::new();
        let (peaks, rewind) = (words.peaks(), |old| rewind_alone(&words, old));
        rewind(9);
        let since = peaks.begin_wait(false);
        assert!(!peaks.meet(since, 1));
        rewind(5);
        assert!(peaks.meet(since, 5) && !peaks.meet(since, 6));
    }
}
