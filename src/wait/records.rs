// SPDX-License-Identifier: MIT
//! The wait records of blocking waits, which LIBUMF_DEBUG asks for, or a tool for a page.

use super::condition::{Condition, Conditions};
use crate::config;
use crate::error::Result;
use crate::fence::{RecordPlace, WaitRecord};
use crate::shm::page::Page;
use crate::shm::participant::Participant;

/// Records that this thread waits for a condition, if somebody wants that and it is not recorded.
/// Called after the thread has registered as a waiter: one that sleeps is woken to come here again.
pub(super) fn record_wait(record: &mut Option<WaitRecord>, condition: &Condition<'_>) {
    if record.is_none() && is_wanted(condition) {
        *record = Some(condition.record(Participant::this_thread()));
    }
}

/// A peer may want it. That costs a wait what LIBUMF_DEBUG costs it: see wait_table.rs.
fn is_wanted(condition: &Condition<'_>) -> bool {
    config::is_debug() || condition.fence.page().records_waits()
}

/// The most conditions of a wait that are recorded. A blocking wait has the records on the stack,
/// which may be small.
pub(crate) const MAX_RECORDS: usize = 6;

/// The records of a wait for any. Each is as small as can be, for the same reason.
pub(super) struct WaitRecords<'a> {
    participant: Option<Participant>,
    places: [Option<(&'a Page, RecordPlace)>; MAX_RECORDS],
}

impl<'a> WaitRecords<'a> {
    /// Has no record yet.
    pub(super) fn new() -> WaitRecords<'a> {
        WaitRecords { participant: None, places: [const { None }; MAX_RECORDS] }
    }

    /// Records that this thread waits for any of the conditions, as far as that is not recorded.
    /// (A function that made the struct too would have room for it twice.)
    #[inline(never)]
    pub(super) fn write(&mut self, conditions: &'a impl Conditions) -> Result<()> {
        for (index, written) in self.places.iter_mut().enumerate().take(conditions.count()) {
            let condition = conditions.get(index)?;
            if written.is_none() && is_wanted(&condition) {
                let participant = *self.participant.get_or_insert_with(Participant::this_thread);
                let place = condition.write_record_one_of(conditions.count(), participant);
                *written = Some((condition.fence.page(), place));
            }
        }
        Ok(())
    }
}

impl Drop for WaitRecords<'_> {
    fn drop(&mut self) {
        let Some(participant) = self.participant else { return };
        for (page, place) in self.places.iter_mut().filter_map(Option::take) {
            place.release(page, participant);
        }
    }
}
