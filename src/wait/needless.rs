// SPDX-License-Identifier: MIT
//! The wake-ups of one wait that led to nothing, and what its pages pay for them.
//!
//! The first few are free, so that a wait is not slowed by what honest processes do: a signal also
//! wakes waiters of other values of the same residue. From then on each is a debt of the page whose
//! word woke the thread, and the wait leaves out the words of pages that rest: see page_budget.rs.
//! A wait that nobody disturbs does not look at the budget, whatever a peer does to other words of
//! the page.

use crate::shm::page::Page;
use crate::shm::page_budget::{WAKE_UP_NS, clock};
use crate::sys::time::{self, Deadline};

/// How often a wait was woken for nothing.
pub(super) struct NeedlessWakeUps {
    count: u32,
    /// The processor time of the thread when a page last paid. 0 before that.
    paid_until: u64,
}

/// Each wait has so many for free.
const FREE: u32 = if cfg!(modeled) { 0 } else { 4 };

/// The most that a page pays at once, and besides for each condition. A signal handler may have run
/// meanwhile, for which no page pays.
const MOST_NS: u64 = 100_000;
const CONDITION_MOST_NS: u64 = 200;

impl NeedlessWakeUps {
    pub(super) fn new() -> NeedlessWakeUps {
        NeedlessWakeUps { count: 0, paid_until: 0 }
    }

    /// None is free.
    pub(super) fn all_paid() -> NeedlessWakeUps {
        NeedlessWakeUps { count: FREE + 1, paid_until: 0 }
    }

    /// Counts one more. Returns what it cost, in a wait for so many conditions: the processor time
    /// since the last one. `None` if it is free.
    pub(super) fn count(&mut self, conditions: u32) -> Option<u64> {
        self.count = self.count.saturating_add(1);
        if cfg!(modeled) || !self.exceeds_free() {
            return None;
        }
        let now = time::thread_cpu_time();
        let since = std::mem::replace(&mut self.paid_until, now);
        let cost = if since == 0 { WAKE_UP_NS } else { now.saturating_sub(since).max(WAKE_UP_NS) };
        Some(cost.min(MOST_NS + CONDITION_MOST_NS * u64::from(conditions)))
    }

    /// No page pays for what the thread did until now.
    pub(super) fn excuse(&mut self) {
        if !cfg!(modeled) && self.exceeds_free() {
            self.paid_until = time::thread_cpu_time();
        }
    }

    fn exceeds_free(&self) -> bool {
        self.count > FREE
    }

    /// The end of the page's rest, for this wait. `None` if the wait sleeps on the page's words.
    pub(super) fn rests_until(&self, page: &Page) -> Option<Deadline> {
        if self.exceeds_free() { page.budget().rests_until(clock) } else { None }
    }
}
