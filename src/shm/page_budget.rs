// SPDX-License-Identifier: MIT
//! How much time a page may waste in this process: a part of one core, whatever a peer does.
//!
//! A peer can wake the threads that sleep for its page as often as it likes, with events that tell
//! nothing, or that make a thread check every fence; or it marks its fences as written by a device,
//! so that they are checked at intervals. Time that led to the end of a wait or of a watch is well
//! spent. Other time is a debt of the page, which is paid back as time passes. A page with more
//! debt than a short burst rests: no thread of the process sleeps on its words or checks its fences
//! until the debt is paid. What is signaled meanwhile is noticed then. The threads that wait for
//! other pages as well go on with those.
//!
//! This is the generic cell rate algorithm, on one word that all threads share. It is a guess: all
//! accesses are relaxed, and a lost update does no harm.

#![forbid(unsafe_code)]

use crate::sys::time::{self, Deadline};
use std::sync::atomic::{AtomicU64, Ordering};

// The clock of the budgets is CLOCK_MONOTONIC. A model checker has its own, since each run has to
// be the same.
#[cfg(modeled)]
pub(crate) use crate::sys::futex::now as clock;
#[cfg(not(modeled))]
pub(crate) use crate::sys::time::now as clock;

/// The time at which the debt of a page is paid, in nanoseconds. A debt of a burst is none yet.
pub(crate) struct PageBudget(AtomicU64);

/// A page pays back this part of the time that passes, so it can waste no more.
const PART: u64 = 30;

/// What may be wasted at once: about a hundred needless wake-ups.
const BURST_NS: u64 = 1_000_000;

/// What a wake-up costs besides the checks, if that is not measured: the system calls, and the
/// switches of the thread.
pub(crate) const WAKE_UP_NS: u64 = 8_000;

/// The most that a page pays for a measured one: a signal handler may have run meanwhile.
pub(crate) const WAKE_UP_MOST_NS: u64 = 100_000;

/// From here on, elapsed time may be that of other threads, and the processor time is asked for.
const PREEMPTION_NS: u64 = 200_000;

/// The processor time of a thread that checks pages, as far as it asks for it.
pub(crate) struct ProcessorTime {
    asked: u64,
}

impl ProcessorTime {
    pub(crate) const fn new() -> ProcessorTime {
        ProcessorTime { asked: 0 }
    }

    /// What the thread used since it asked last.
    pub(crate) fn since_asked(&mut self) -> u64 {
        let now = time::thread_cpu_time();
        now.saturating_sub(std::mem::replace(&mut self.asked, now))
    }

    /// What the thread used since `start`, a time of CLOCK_MONOTONIC. If it was preempted, and did
    /// not ask shortly before, that counts as used.
    pub(crate) fn since(&mut self, start: u64) -> u64 {
        let elapsed = time::now().saturating_sub(start);
        if elapsed < PREEMPTION_NS { elapsed } else { elapsed.min(self.since_asked()) }
    }
}

impl PageBudget {
    pub(crate) const fn new() -> PageBudget {
        PageBudget(AtomicU64::new(0))
    }

    /// `cost` nanoseconds led to nothing. (A model decides itself when a page rests.)
    #[cfg(not(modeled))]
    pub(crate) fn waste(&self, cost: u64) {
        self.waste_at(clock(), cost);
    }

    #[cfg(modeled)]
    pub(crate) fn waste(&self, _: u64) {}

    #[cfg(not(modeled))]
    fn waste_at(&self, now: u64, cost: u64) {
        let paid_at =
            |paid_at: u64| Some(paid_at.max(now).saturating_add(cost.saturating_mul(PART)));
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, paid_at);
    }

    /// The end of the page's rest. `None` if it does not rest. `now` is asked only if it may.
    pub(crate) fn rests_until(&self, now: impl FnOnce() -> u64) -> Option<Deadline> {
        let end = self.0.load(Ordering::Relaxed).saturating_sub(BURST_NS * PART);
        (end > 0 && end > now()).then_some(Deadline::at(end))
    }

    /// Has the page rest until that time of a model's clock.
    #[cfg(modeled)]
    pub(crate) fn rest_until(&self, end: u64) {
        self.0.store(end + BURST_NS * PART, Ordering::Relaxed);
    }
}

#[cfg(all(test, not(modeled)))]
mod tests {
    use super::*;

    /// The part of a second that a page wastes whose peer makes each check last `check_ns`.
    fn wasted(check_ns: u64) -> u64 {
        let (budget, mut now, mut wasted) = (PageBudget::new(), 7, 0);
        while now < 1_000_000_000 {
            let cost = check_ns + WAKE_UP_NS;
            now += cost;
            budget.waste_at(now, cost);
            wasted += cost;
            now = budget.rests_until(|| now).map_or(now, Deadline::ns);
        }
        wasted
    }

    #[test]
    fn a_page_wastes_a_twentieth_of_the_time_at_most() {
        for check_ns in [0, 100, 10_000, 1_000_000, 5_000_000] {
            let wasted = wasted(check_ns);
            assert!(wasted <= 50_000_000 + check_ns, "{check_ns}: {wasted}");
        }
    }

    #[test]
    fn time_of_other_threads_is_not_used() {
        let mut used = ProcessorTime::new();
        used.since_asked();
        let start = time::now();
        std::thread::sleep(std::time::Duration::from_millis(20));
        assert!(used.since(start) < 5_000_000);
    }

    #[test]
    fn a_page_that_wastes_little_does_not_rest() {
        let budget = PageBudget::new();
        for now in (0..1_000_000_000).step_by(1_000_000) {
            budget.waste_at(now, WAKE_UP_NS + 1_000);
            assert_eq!(budget.rests_until(|| now), None);
        }
    }
}
