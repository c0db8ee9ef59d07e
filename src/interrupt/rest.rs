// SPDX-License-Identifier: MIT
//! How much time interrupts that wake nobody may take: a part of one core.
//!
//! A descriptor may be always readable, and a device may interrupt without writing. Time that woke
//! a waiter is well spent. Other time is a debt, which is paid back as time passes. With more debt
//! than a short burst the thread rests. What the device writes meanwhile is noticed then.

/// The debt, in nanoseconds, at the time `since`.
#[derive(Default)]
pub(super) struct Debt {
    ns: u64,
    since: u64,
}

/// This part of the time that passes is paid back, so no more can be wasted.
const PART: u64 = 25;

/// What may be wasted at once: about a hundred interrupts.
const BURST_NS: u64 = 1_000_000;

/// What a wake-up costs besides the checks: the system calls, and the switches of the thread.
const WAKE_UP_NS: u64 = 8_000;

impl Debt {
    /// A wake-up, and checks that took from `start` to `now`, led to nothing.
    pub(super) fn waste(&mut self, start: u64, now: u64) {
        let paid = start.saturating_sub(self.since) / PART;
        self.ns = self.ns.saturating_sub(paid) + now.saturating_sub(start) + WAKE_UP_NS;
        self.since = now;
    }

    /// The end of the rest. `None` if there is none.
    pub(super) fn rests_until(&self, now: u64) -> Option<u64> {
        let excess = self.ns.saturating_sub(BURST_NS);
        let end = self.since.saturating_add(excess.saturating_mul(PART));
        (excess > 0 && end > now).then_some(end)
    }
}

#[cfg(all(test, not(modeled)))]
mod tests {
    use super::*;

    #[test]
    fn interrupts_that_wake_nobody_take_at_most_a_twentieth_of_a_core() {
        let (mut debt, mut now, mut wasted) = (Debt::default(), 7, 0);
        while now < 1_000_000_000 {
            debt.waste(now, now + 2_000);
            wasted += 2_000 + WAKE_UP_NS;
            now = debt.rests_until(now).unwrap_or(now + 10_000);
        }
        assert!(wasted < 50_000_000, "{wasted}");
    }

    #[test]
    fn a_few_interrupts_that_wake_nobody_need_no_rest() {
        let mut debt = Debt::default();
        for now in (0..50).map(|second| second * 1_000_000_000) {
            debt.waste(now, now + 20_000);
            assert_eq!(debt.rests_until(now + 20_000), None);
        }
    }
}
