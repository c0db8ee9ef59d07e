// SPDX-License-Identifier: MIT
//! What a notifier needs of a fence: to look at the value that the device writes, and to wake.

#![forbid(unsafe_code)]

use super::external_memory::ExternalMemory;
use crate::interrupt::DeviceValue;
use crate::shm::generation::Generation;
use crate::shm::page::SlotHandle;
use crate::util::refs::Ref;

/// A fence that a device writes, without the fence's handle: the notifier keeps no fence alive.
pub(super) struct WrittenSlot {
    pub(super) slot: SlotHandle,
    pub(super) generation: Generation,
    /// The value, if it is not in the slot.
    pub(super) memory: Option<Ref<ExternalMemory>>,
}

impl DeviceValue for WrittenSlot {
    fn announce(&self) -> bool {
        let (slot, generation) = (self.slot.slot(), self.generation);
        let value = match &self.memory {
            None => slot.value(generation).ok(),
            Some(memory) => memory.load(generation.width()),
        };
        value.is_some_and(|value| slot.announce(generation, self.slot.sink(), value))
    }
}
