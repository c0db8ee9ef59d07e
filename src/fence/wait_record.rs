// SPDX-License-Identifier: MIT
//! A record in a page's wait table that is valid until its guard is dropped.

#![forbid(unsafe_code)]

use crate::shm::generation::Generation;
use crate::shm::page::{Page, SlotHandle};
use crate::shm::participant::Participant;
use crate::shm::wait_table::{RecordContents, RecordKey, RecordSnapshot, Role};

/// Says what a participant waits for or will signal, until it is dropped.
pub(crate) struct WaitRecord {
    /// Keeps the page, but not the fence.
    slot: SlotHandle,
    generation: Generation,
    participant: Participant,
    contents: RecordContents,
    place: RecordPlace,
}

/// Where a record is: all that a caller has to keep that knows the page and the participant.
pub(crate) enum RecordPlace {
    Table(RecordKey),
    /// The table was full, or the participant has enough records.
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
        let mut record = WaitRecord::unwritten(slot, generation, participant, contents);
        record.place = RecordPlace::write(slot, generation, participant, contents);
        record
    }

    /// The same, without a place in the table before [`WaitRecord::retry`].
    pub(crate) fn dropped(
        slot: &SlotHandle,
        generation: Generation,
        participant: Participant,
        contents: RecordContents,
    ) -> WaitRecord {
        let mut record = WaitRecord::unwritten(slot, generation, participant, contents);
        if may_write(slot, participant) {
            record.place = RecordPlace::dropped(slot);
        }
        record
    }

    fn unwritten(
        slot: &SlotHandle,
        generation: Generation,
        participant: Participant,
        contents: RecordContents,
    ) -> WaitRecord {
        let slot = slot.clone();
        WaitRecord { slot, generation, participant, contents, place: RecordPlace::Nowhere }
    }

    /// Whether it is counted as dropped.
    pub(crate) fn is_dropped(&self) -> bool {
        matches!(self.place, RecordPlace::Dropped)
    }

    /// Writes a record that was dropped, if there is room now.
    pub(crate) fn retry(&mut self) {
        if !self.is_dropped() || !self.participant.is_ours() {
            return;
        }
        if let Some(key) = try_write(&self.slot, self.generation, self.participant, self.contents) {
            self.slot.page().wait_table().release_dropped();
            self.place = RecordPlace::Table(key);
        }
    }

    /// Raises the value. A value that is not further changes nothing.
    pub(crate) fn raise(&mut self, value: u64) {
        let width = self.generation.width();
        if !width.is_before(self.contents.value, value) || !self.participant.is_ours() {
            return;
        }
        self.contents.value = value;
        let RecordPlace::Table(key) = self.place else { return };
        if !self.slot.page().wait_table().raise(key, self.participant, width, value) {
            // The record said nothing for a time, and was taken over.
            self.place =
                RecordPlace::write(&self.slot, self.generation, self.participant, self.contents);
        }
    }
}

/// Whether a record of the participant can be in the slot's page.
fn may_write(slot: &SlotHandle, participant: Participant) -> bool {
    participant.is_ours() && slot.page().is_writable()
}

/// Writes a record. `None` if the table is full.
fn try_write(
    slot: &SlotHandle,
    generation: Generation,
    participant: Participant,
    contents: RecordContents,
) -> Option<RecordKey> {
    let page = slot.page();
    let says_nothing = |record: &RecordSnapshot| says_nothing(page, record);
    page.wait_table().write(participant, (slot.index(), generation), contents, says_nothing)
}

/// Whether nothing can wait for what the record says: its fence has ended or failed, or reached the
/// value.
fn says_nothing(page: &Page, record: &RecordSnapshot) -> bool {
    let Ok(slot) = page.slot(record.slot) else { return true };
    let Some(generation) = slot.generation() else { return true };
    if generation.recorded() != record.generation || slot.error(generation) != Ok(None) {
        return true;
    }
    if generation.is_unordered() {
        // The value may come back from where it is.
        return false;
    }
    let reaches = |value: u64| !generation.width().is_before(value, record.value);
    // A value in external memory is not known here.
    !generation.has_external_value() && slot.value(generation).is_ok_and(reaches)
        || record.role == Role::WaitPending && slot.pending(generation).is_ok_and(reaches)
}

impl RecordPlace {
    /// Writes a record about the fence `generation` of a slot, for a caller that releases it.
    /// Async-signal-safe.
    pub(crate) fn write(
        slot: &SlotHandle,
        generation: Generation,
        participant: Participant,
        contents: RecordContents,
    ) -> RecordPlace {
        if !may_write(slot, participant) {
            return RecordPlace::Nowhere;
        }
        try_write(slot, generation, participant, contents)
            .map_or_else(|| RecordPlace::dropped(slot), RecordPlace::Table)
    }

    /// Counts a record as dropped.
    fn dropped(slot: &SlotHandle) -> RecordPlace {
        slot.page().wait_table().count_dropped();
        RecordPlace::Dropped
    }

    /// Removes the record of a participant from the page.
    pub(crate) fn release(&self, page: &Page, participant: Participant) {
        if !participant.is_ours() {
            return;
        }
        match *self {
            RecordPlace::Table(key) => page.wait_table().release(key, participant),
            RecordPlace::Dropped => page.wait_table().release_dropped(),
            RecordPlace::Nowhere => {}
        }
    }
}

impl Drop for WaitRecord {
    fn drop(&mut self) {
        self.place.release(self.slot.page(), self.participant);
    }
}

#[cfg(all(test, not(modeled)))]
#[path = "wait_record_tests.rs"]
mod tests;
