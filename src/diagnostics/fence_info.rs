// SPDX-License-Identifier: MIT
//! What a slot says of its fence, read without opening the fence.

use super::graph::readable_value;
use crate::error::{Error, FenceErrno, Result};
use crate::shm::generation::Generation;
use crate::shm::page::{Page, SlotHandle};
use crate::util::refs::Ref;

/// A fence at one time. A peer may have written any of it.
pub(crate) struct FenceInfo {
    pub(crate) generation: Generation,
    pub(crate) value: u64,
    pub(crate) pending: u64,
    pub(crate) error: Option<FenceErrno>,
    /// The process id and pid namespace of the creator. `None` if the fence lives as long as its
    /// page, or if the creator is known to be dead.
    pub(crate) creator: Option<(u32, u32)>,
    pub(crate) is_lasting: bool,
    /// Whether the slot says that a waiter is registered.
    pub(crate) has_waiters: bool,
    pub(crate) wake_ups: u32,
}

impl FenceInfo {
    /// Reads the fence that lives in a slot. `NotFound` if none does.
    pub(crate) fn read(page: &Ref<Page>, index: u32) -> Result<FenceInfo> {
        let handle = SlotHandle::new(page, index)?;
        let slot = handle.slot();
        let generation = slot.generation().ok_or(Error::NotFound)?;
        let creator = slot.creator();
        let value = readable_value(page, &handle, generation).ok_or(Error::NotFound)?;
        let pending = slot.pending(generation).map_err(|_| Error::NotFound)?;
        let info = FenceInfo {
            generation,
            value,
            // A signal leaves it behind. An unordered fence has none.
            pending: if generation.is_unordered() || generation.width().is_before(pending, value) {
                value
            } else {
                pending
            },
            error: slot.error(generation).map_err(|_| Error::NotFound)?,
            creator: creator.and_then(|creator| creator.process()),
            is_lasting: creator.is_some_and(|creator| creator.is_page()),
            has_waiters: slot.has_registered_waiters(),
            wake_ups: slot.sequence(),
        };
        // All of it is this fence's, if it lives still.
        if slot.generation() == Some(generation) { Ok(info) } else { Err(Error::NotFound) }
    }
}
