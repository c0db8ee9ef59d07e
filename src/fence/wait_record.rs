//! A record in a page's wait table that is valid until its guard is dropped.

#![forbid(unsafe_code)]

use crate::shm::generation::Generation;
use crate::shm::page::SlotHandle;
use crate::shm::participant::Participant;
use crate::shm::wait_table::{RecordContents, RecordKey};

/// Says what a participant waits for or will signal, until it is dropped.
pub(crate) struct WaitRecord {
    /// Keeps the page, but not the fence.
    slot: SlotHandle,
    generation: Generation,
    participant: Participant,
    place: Place,
}

/// Where a record is.
enum Place {
    Table(RecordKey),
    /// The table was full.
    Dropped,
    /// There is none: the participant belongs to the parent of this process, or this process cannot
    /// write to the page.
    Nowhere,
}

impl WaitRecord {
    /// Writes a record about the fence `generation` of a slot. Async-signal-safe.
    pub(crate) fn new(
        slot: &SlotHandle,
        generation: Generation,
        participant: Participant,
        contents: RecordContents,
    ) -> WaitRecord {
        let page = slot.page();
        let place = if !participant.is_ours() || !page.is_writable() {
            Place::Nowhere
        } else {
            page.wait_table()
                .write(participant, (slot.index(), generation), contents)
                .map_or(Place::Dropped, Place::Table)
        };
        WaitRecord { slot: slot.clone(), generation, participant, place }
    }

    /// Raises the value. A value that is not further changes nothing.
    pub(crate) fn raise(&self, value: u64) {
        if let (Place::Table(key), true) = (&self.place, self.participant.is_ours()) {
            let width = self.generation.width();
            self.slot.page().wait_table().raise(*key, self.participant, width, value);
        }
    }
}

impl Drop for WaitRecord {
    fn drop(&mut self) {
        if !self.participant.is_ours() {
            return;
        }
        let table = self.slot.page().wait_table();
        match self.place {
            Place::Table(key) => table.release(key, self.participant),
            Place::Dropped => table.release_dropped(),
            Place::Nowhere => {}
        }
    }
}

#[cfg(all(test, not(loom)))]
#[path = "wait_record_tests.rs"]
mod tests;
