//! The wait records of blocking waits, which only LIBUMF_DEBUG asks for.

use super::condition::{Condition, Conditions};
use crate::config;
use crate::error::Result;
use crate::fence::WaitRecord;
use crate::shm::participant::Participant;

/// The most conditions of a wait that are recorded. A blocking wait has the records on the stack,
/// which may be small.
pub(crate) const MAX_RECORDS: usize = 6;

/// Records that this thread waits for a condition.
pub(super) fn record_wait(condition: &Condition<'_>) -> Option<WaitRecord> {
    config::is_debug().then(|| condition.record(Participant::this_thread()))
}

/// Records that this thread waits for any of the conditions.
pub(super) fn record_waits(
    conditions: &impl Conditions,
    records: &mut [Option<WaitRecord>; MAX_RECORDS],
) -> Result<()> {
    if config::is_debug() {
        let participant = Participant::this_thread();
        for (index, record) in records.iter_mut().enumerate().take(conditions.count()) {
            let condition = conditions.get(index)?;
            *record = Some(condition.record_one_of(conditions.count(), participant));
        }
    }
    Ok(())
}
