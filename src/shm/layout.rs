// SPDX-License-Identifier: MIT
//! Where things lie in a page of fences.
//!
//! ```text
//!   offset    0  header: magic, layout version, number of fences, where to look for a free slot
//!   offset   64  event count, and the log of the slots that changed
//!   offset 2176  wait table: who waits, and who will signal
//!   offset 4096  slot 0, slot 1, ... 64 bytes each
//!   then, from the next memory page on, names (names.rs), 64 bytes each
//!   then, from the next memory page on, timestamps (timestamps.rs), 128 bytes each, if the header
//!   says so
//! ```

#![forbid(unsafe_code)]

use super::event_count::EventCount;
use super::slot::Slot;
use super::wait_table::WaitTable;
use std::sync::atomic::{AtomicU32, AtomicU64};

/// The most fences that a page can hold: 64 MiB of them.
pub(crate) const MAX_FENCES: u32 = 1 << 20;

/// "umf page", read as a little-endian number.
pub(super) const MAGIC: u64 = u64::from_le_bytes(*b"umf page");

/// Any change of the layout or of the meaning of the header, the slots, the event count or the
/// wait table is a new version.
pub(super) const VERSION: u32 = 6;

#[repr(C, align(64))]
pub(super) struct Header {
    pub(super) magic: AtomicU64,
    pub(super) version: AtomicU32,
    pub(super) fence_count: AtomicU32,
    /// Where the search for a free slot begins, modulo the number of fences. It only moves forward,
    /// so that a slot stays unused as long as possible, whichever process creates fences.
    pub(super) next_free: AtomicU32,
    reserved: [AtomicU32; 9],
    /// Not 0 if the file has timestamps.
    pub(super) has_timestamps: AtomicU32,
    /// Not 0 while blocking waits are to leave wait records.
    pub(super) record_waits: AtomicU32,
}

pub(super) const EVENTS_OFFSET: usize = size_of::<Header>();
pub(super) const WAIT_TABLE_OFFSET: usize = EVENTS_OFFSET + size_of::<EventCount>();
pub(super) const SLOTS_OFFSET: usize = WAIT_TABLE_OFFSET + size_of::<WaitTable>();

/// The byte offset of a slot.
pub(super) const fn slot_offset(index: u32) -> usize {
    SLOTS_OFFSET + index as usize * size_of::<Slot>()
}

/// The bytes that a page of so many fences needs.
pub(super) const fn page_len(fence_count: u32) -> usize {
    slot_offset(fence_count)
}

// The layout is shared between processes of 32 and 64 bits.
const _: () = assert!(size_of::<Header>() == 64);
const _: () = assert!(WAIT_TABLE_OFFSET == 2176 && SLOTS_OFFSET == 4096);
