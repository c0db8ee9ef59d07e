// SPDX-License-Identifier: MIT
//! A wait for one fence that sleeps where interrupts arrive: see interrupt/notifier.rs.

use super::condition::Condition;
use super::records::record_wait;
use crate::error::{Error, Result};
use crate::interrupt::{Led, Notifier};
use crate::shm::slot::WaitTarget;
use crate::sys::time::Deadline;
use crate::trace;
use crate::util::atomic::Ordering;

/// After so many wake-ups for nothing a wait follows: interrupts and signals for others cost it
/// less there.
pub(super) const NEEDLESS_MAX: u32 = 8;

/// Waits as the notifier's leader. `None` if the wait has to go on as a follower.
pub(super) fn wait(
    condition: &Condition<'_>,
    notifier: &Notifier,
    deadline: Deadline,
) -> Option<Result<()>> {
    if !notifier.may_lead() {
        return None;
    }
    let mut record = None;
    let page = condition.fence.page();
    let word = page.events().sequence();
    for _ in 0..NEEDLESS_MAX {
        // W1, W2, W3, W4.
        let taken = notifier.taken();
        let value = word.load(Ordering::Acquire);
        condition.register_waiter(WaitTarget::Page);
        record_wait(&mut record, condition);
        if let Some(answer) = condition.settled().break_value() {
            return Some(answer);
        }
        let led = notifier.lead(|| page.signal_word(), word, value, taken, deadline);
        trace::woken();
        // Checked before this thread registers again: a bit that nobody needs costs the next signal
        // a system call.
        if let Some(answer) = condition.settled().break_value() {
            if led == Led::Silence && answer.is_ok() {
                notifier.missed_interrupt();
            }
            return Some(answer);
        }
        if deadline.has_passed() {
            return Some(Err(Error::TimedOut));
        }
        if led == Led::No {
            break;
        }
    }
    None
}
