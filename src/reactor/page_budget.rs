//! How much time the fences of a page may waste: a part of one core, whatever a peer does.
//!
//! A peer can wake the poller of its page as often as it likes, with events that tell nothing, or
//! that make the poller check every fence; or it marks its fences as written by a device, so that
//! the poller checks them all at intervals. Time that led to a completed watch is well spent. Other
//! time is a debt of the page, which is paid back as time passes. A page with more debt than a
//! short burst rests: the poller neither sleeps on its words nor checks its fences until the debt
//! is paid. What is signaled meanwhile is noticed then, and the other pages are served as ever.

#![forbid(unsafe_code)]

/// The debt of a page, in nanoseconds, at the time `since`.
#[derive(Default)]
pub(super) struct PageBudget {
    debt: u64,
    since: u64,
}

/// A page pays back this part of the time that passes, so it can waste no more.
const PART: u64 = 25;

/// What may be wasted at once: about a hundred needless wake-ups.
const BURST_NS: u64 = 1_000_000;

/// What a wake-up costs besides the checks: the system calls, and the switches of the thread.
const WAKE_UP_NS: u64 = 8_000;

impl PageBudget {
    fn pay_back(&mut self, now: u64) {
        self.debt = self.debt.saturating_sub(now.saturating_sub(self.since) / PART);
        self.since = now;
    }

    /// Checks that took from `start` to `now` led to nothing, nor did the wake-up before them if
    /// there was one.
    pub(super) fn waste(&mut self, start: u64, now: u64, woken: bool) {
        self.pay_back(start);
        self.debt += now.saturating_sub(start) + if woken { WAKE_UP_NS } else { 0 };
        self.since = now;
    }

    /// The end of the page's rest. `None` if it does not rest.
    pub(super) fn rests_until(&self, now: u64) -> Option<u64> {
        let excess = self.debt.saturating_sub(BURST_NS);
        let end = self.since.saturating_add(excess.saturating_mul(PART));
        (excess > 0 && end > now).then_some(end)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// The part of a second that a page wastes whose peer makes each check last `check_ns`.
    fn wasted(check_ns: u64) -> u64 {
        let (mut budget, mut now, mut wasted) = (PageBudget::default(), 7, 0);
        while now < 1_000_000_000 {
            budget.waste(now, now + check_ns, true);
            wasted += check_ns + WAKE_UP_NS;
            now = budget.rests_until(now + check_ns).unwrap_or(now + check_ns + WAKE_UP_NS);
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
    fn a_page_that_wastes_little_does_not_rest() {
        let mut budget = PageBudget::default();
        for now in (0..1_000_000_000).step_by(1_000_000) {
            budget.waste(now, now + 1_000, true);
            assert_eq!(budget.rests_until(now), None);
        }
    }
}
