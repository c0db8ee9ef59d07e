// SPDX-License-Identifier: MIT
//! Whether to spin before blocking, and for how long.
//!
//! The wake-up of an idle core takes some 40 µs. A signal that comes sooner is worth spinning for;
//! a spin that ends without the signal is wasted. Hence four rules:
//!
//! - No spin is longer than a limit, about what a wake-up costs.
//! - All wasted spins of the process together cost at most a share of one core, 1% by default.
//! - Each fence records whether spinning for it pays. While it does not, its waits only block.
//! - After a wasted spin, a fence may use a tenth of that share to find out whether it pays again.
//!
//! A spin that ends with its signal costs no more than the sleep and the wake-up that it replaces,
//! and is not charged.

#![forbid(unsafe_code)]

use crate::config;
use crate::error::Result;
use crate::sys::time::{self, Deadline};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// How much of its share a process may use at once: so many wasted spins of full length.
const BURST: u64 = 4;

/// A fence that is not spun for has one sleep in so many timed, to learn whether spinning would pay
/// by now.
const SLEEPS_PER_SAMPLE: u32 = 16;

/// After a wasted spin, short sleeps do not count for so many times as long as the spin has to be
/// paid for. They mislead if the signaler needs the processor that the spin occupies.
const COOLDOWN: u64 = 10;

/// Checks the condition between two reads of the clock.
const SPINS_PER_CLOCK: u32 = 32;

/// The time at which the wasted spins so far are paid for. A spin may begin while that is at most a
/// burst ahead. This is the generic cell rate algorithm.
static PAID_AT_NS: AtomicU64 = AtomicU64::new(0);

/// The time over which wasted spins of `ns` stay within a share of so many thousandths.
fn price(ns: u64, share: u64) -> u64 {
    ns * 1000 / share
}

/// How likely a spin for one fence ends with the signal. It is a guess: all accesses are relaxed,
/// and a lost update does no harm.
pub(crate) struct SpinHistory {
    /// In 1/1024.
    likelihood: AtomicU32,
    sleeps: AtomicU32,
    /// Short sleeps before this time do not count.
    cooldown_until_ns: AtomicU64,
}

/// The likelihood from which on a spin is tried.
const WORTH_IT: u32 = 256;

impl SpinHistory {
    pub(crate) const fn new() -> SpinHistory {
        SpinHistory {
            likelihood: AtomicU32::new(512),
            sleeps: AtomicU32::new(0),
            cooldown_until_ns: AtomicU64::new(0),
        }
    }

    /// Moves the likelihood towards `target` by 1/`weight` of the distance.
    fn update(&self, target: u32, weight: u32) {
        let likelihood = i64::from(self.likelihood.load(Ordering::Relaxed));
        let step = (i64::from(target) - likelihood) / i64::from(weight);
        self.likelihood.store((likelihood + step).clamp(0, 1024) as u32, Ordering::Relaxed);
    }

    /// Spins until `poll` returns an answer, if that is worth it and within the process's share,
    /// and at most until the deadline.
    pub(crate) fn spin<T>(&self, deadline: Deadline, poll: impl FnMut() -> Option<T>) -> Option<T> {
        // The model checker explores blocking waits only.
        if cfg!(modeled) || self.likelihood.load(Ordering::Relaxed) < WORTH_IT {
            return None;
        }
        let (share, limit_ns) =
            (u64::from(config::spin_share()), u64::from(config::spin_limit_ns()));
        if share == 0 || limit_ns == 0 {
            return None;
        }
        let start = time::now();
        if PAID_AT_NS.load(Ordering::Relaxed) > start + price(BURST * limit_ns, share) {
            return None;
        }
        let end = deadline.min(Deadline::at(start + limit_ns));
        let (answer, now) = poll_until(start, end, poll);
        if answer.is_some() {
            self.update(1024, 8);
            return answer;
        }
        self.update(0, 4);
        self.cooldown_until_ns.store(now + COOLDOWN * price(limit_ns, share), Ordering::Relaxed);
        let pay = |paid_at: u64| Some(paid_at.max(start) + price(now - start, share));
        let _ = PAID_AT_NS.fetch_update(Ordering::Relaxed, Ordering::Relaxed, pay);
        None
    }

    /// Runs `sleep`. If the fence is not spun for, some sleeps are timed: one that ended with its
    /// signal within the spin limit is one that a spin might have saved.
    pub(crate) fn sample<T>(&self, sleep: impl FnOnce() -> Result<T>) -> Result<T> {
        let start = self.is_time_to_sample().then(time::now);
        let answer = sleep()?;
        if let Some(start) = start {
            self.learn_from_sleep(start);
        }
        Ok(answer)
    }

    fn is_time_to_sample(&self) -> bool {
        if cfg!(modeled) || self.likelihood.load(Ordering::Relaxed) >= WORTH_IT {
            return false;
        }
        let sleeps = self.sleeps.load(Ordering::Relaxed);
        self.sleeps.store(sleeps.wrapping_add(1), Ordering::Relaxed);
        sleeps % SLEEPS_PER_SAMPLE == 0
    }

    #[cold]
    fn learn_from_sleep(&self, start: u64) {
        let was_short = time::now() - start <= config::spin_limit_ns().into();
        if was_short && start >= self.cooldown_until_ns.load(Ordering::Relaxed) {
            self.update(1024, 16);
        }
    }
}

/// Polls until there is an answer or the end has come. Returns the answer and the last clock value.
fn poll_until<T>(
    start: u64,
    end: Deadline,
    mut poll: impl FnMut() -> Option<T>,
) -> (Option<T>, u64) {
    let mut now = start;
    while Deadline::at(now) < end {
        for _ in 0..SPINS_PER_CLOCK {
            let answer = poll();
            if answer.is_some() {
                return (answer, now);
            }
            std::hint::spin_loop();
        }
        now = time::now();
    }
    (None, now)
}

#[cfg(all(test, not(modeled)))]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_spin_ends_with_its_signal_and_at_its_deadline() {
        let word = AtomicU32::new(0);
        let spin = |ns, value| {
            let start = time::now();
            let end = Deadline::at(start + ns);
            let is_signaled = || (word.load(Ordering::SeqCst) == value).then_some(());
            (end, poll_until(start, end, is_signaled))
        };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for value in 1..=100 {
                    // The spin is past its first polls by then.
                    std::thread::sleep(Duration::from_micros(100));
                    word.store(value, Ordering::SeqCst);
                    while word.load(Ordering::SeqCst) != 0 {
                        std::thread::yield_now();
                    }
                }
            });
            for value in 1..=100 {
                assert!(spin(10_000_000_000, value).1.0.is_some());
                word.store(0, Ordering::SeqCst);
            }
        });
        let (end, (answer, now)) = spin(1_000_000, 1);
        assert!(answer.is_none() && Deadline::at(now) >= end);
    }
}
