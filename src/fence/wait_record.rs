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
    place: Place,
}

/// Where a record is.
enum Place {
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
        if record.may_write() {
            record.write();
        }
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
        if record.may_write() {
            record.drop_it();
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
        WaitRecord { slot, generation, participant, contents, place: Place::Nowhere }
    }

    fn may_write(&self) -> bool {
        self.participant.is_ours() && self.slot.page().is_writable()
    }

    fn drop_it(&mut self) {
        self.slot.page().wait_table().count_dropped();
        self.place = Place::Dropped;
    }

    fn write(&mut self) {
        match self.try_write() {
            Some(key) => self.place = Place::Table(key),
            None => self.drop_it(),
        }
    }

    fn try_write(&self) -> Option<RecordKey> {
        let page = self.slot.page();
        let fence = (self.slot.index(), self.generation);
        let says_nothing = |record: &RecordSnapshot| says_nothing(page, record);
        page.wait_table().write(self.participant, fence, self.contents, says_nothing)
    }

    /// Whether it is counted as dropped.
    pub(crate) fn is_dropped(&self) -> bool {
        matches!(self.place, Place::Dropped)
    }

    /// Writes a record that was dropped, if there is room now.
    pub(crate) fn retry(&mut self) {
        if !self.is_dropped() || !self.participant.is_ours() {
            return;
        }
        if let Some(key) = self.try_write() {
            self.slot.page().wait_table().release_dropped();
            self.place = Place::Table(key);
        }
    }

    /// Raises the value. A value that is not further changes nothing.
    pub(crate) fn raise(&mut self, value: u64) {
        let width = self.generation.width();
        if !width.is_before(self.contents.value, value) || !self.participant.is_ours() {
            return;
        }
        self.contents.value = value;
        let Place::Table(key) = self.place else { return };
        if !self.slot.page().wait_table().raise(key, self.participant, width, value) {
            // The record said nothing for a time, and was taken over.
            self.write();
        }
    }
}

/// Whether nothing can wait for what the record says: its fence has ended or failed, or reached the
/// value.
fn says_nothing(page: &Page, record: &RecordSnapshot) -> bool {
    let Ok(slot) = page.slot(record.slot) else { return true };
    let Some(generation) = slot.generation() else { return true };
    if generation.recorded() != record.generation || slot.error(generation) != Ok(None) {
        return true;
    }
    let reaches = |value: u64| !generation.width().is_before(value, record.value);
    // A value in external memory is not known here.
    !generation.has_external_value() && slot.value(generation).is_ok_and(reaches)
        || record.role == Role::WaitPending && slot.pending(generation).is_ok_and(reaches)
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

#[cfg(all(test, not(modeled)))]
#[path = "wait_record_tests.rs"]
mod tests;
