//! A page for the model checker: the same slots and bell as in page.rs, on the heap, since loom's
//! atomics cannot be mapped.

use crate::error::{Error, Result};
use crate::fence::Fence;
use crate::shm::slot::{Bell, Kind, Slot, Tag};
use crate::shm::wait_table::Ledger;
use crate::util::refs::{Ref, Registry};

pub(crate) struct Page {
    bell: Bell,
    ledger: Ledger,
    slots: Vec<Slot>,
    fences: Registry<u32, Fence>,
}

impl Page {
    pub(crate) fn create(fence_count: u32) -> Result<Ref<Page>> {
        let slots = (0..fence_count).map(|_| Slot::new()).collect();
        Ref::try_new(|| {
            Ok(Page { bell: Bell::new(), ledger: Ledger::new(), slots, fences: Registry::new() })
        })
    }

    pub(crate) fn fences(&self) -> &Registry<u32, Fence> {
        &self.fences
    }

    pub(crate) fn bell(&self) -> &Bell {
        &self.bell
    }

    pub(crate) fn is_writable(&self) -> bool {
        true
    }

    pub(crate) fn is_orphaned(&self) -> bool {
        false
    }

    pub(crate) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    pub(crate) fn claim(&self, kind: Kind, value: u64) -> Result<(u32, Tag)> {
        (0..)
            .zip(&self.slots)
            .find_map(|(index, slot)| Some((index, slot.claim(kind, value)?)))
            .ok_or(Error::PageFull)
    }
}

#[derive(Clone)]
pub(crate) struct Place {
    page: Ref<Page>,
    index: u32,
}

impl Place {
    pub(crate) fn new(page: &Ref<Page>, index: u32) -> Result<Place> {
        Ok(Place { page: page.clone(), index })
    }

    pub(crate) fn page(&self) -> &Page {
        &self.page
    }

    pub(crate) fn index(&self) -> u32 {
        self.index
    }

    pub(crate) fn offset(&self) -> u64 {
        0
    }

    pub(crate) fn slot(&self) -> &Slot {
        &self.page.slots[self.index as usize]
    }
}
