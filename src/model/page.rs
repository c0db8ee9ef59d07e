//! A page for the model checker: the same slots and event count as in shm/page.rs, on the heap,
//! since loom's atomics cannot be mapped.

use super::creator::Creator;
use super::event_count::{EventCount, EventSink};
use super::generation::{Generation, Kind};
use super::page_budget::PageBudget;
use super::slot::Slot;
use super::wait_table::WaitTable;
use crate::error::{Error, Result};
use crate::util::refs::Ref;

pub(crate) struct Page {
    events: EventCount,
    wait_table: WaitTable,
    slots: Vec<Slot>,
    budget: PageBudget,
    id: u64,
}

impl Page {
    pub(crate) fn create(fence_count: u32) -> Result<Ref<Page>> {
        static IDS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let id = IDS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let slots = (0..fence_count).map(|_| Slot::new()).collect();
        Ref::try_new(|| {
            let (events, wait_table) = (EventCount::new(), WaitTable::new());
            Ok(Page { events, wait_table, slots, budget: PageBudget::new(), id })
        })
    }

    /// The registry of open fences outlives each run of a model, so no two pages share an id.
    pub(crate) fn id(&self) -> (u64, u64) {
        (0, self.id)
    }

    pub(crate) fn events(&self) -> &EventCount {
        &self.events
    }

    pub(crate) fn budget(&self) -> &PageBudget {
        &self.budget
    }

    pub(crate) fn is_writable(&self) -> bool {
        true
    }

    pub(crate) fn fail_owner_died(
        &self,
        _: u32,
        _: &mut u32,
        _: Option<Creator>,
    ) -> Result<Option<u32>> {
        Err(Error::NotSupported)
    }

    pub(crate) fn wake_all(&self) {
        self.events.wake_all();
    }

    pub(crate) fn may_be_muted(&self) -> bool {
        false
    }

    pub(crate) fn owner_died(&self) -> bool {
        false
    }

    pub(crate) fn wait_table(&self) -> &WaitTable {
        &self.wait_table
    }

    pub(crate) fn slot(&self, index: u32) -> Result<&Slot> {
        self.slots.get(index as usize).ok_or(Error::NotFound)
    }

    pub(crate) fn claim(
        &self,
        kind: Kind,
        value: u64,
        creator: Creator,
    ) -> Result<(u32, Generation)> {
        let claim = |(index, slot): (u32, &Slot)| Some((index, slot.claim(kind, value, creator)?));
        (0..).zip(&self.slots).find_map(claim).ok_or(Error::Full)
    }
}

#[derive(Clone)]
pub(crate) struct SlotHandle {
    page: Ref<Page>,
    index: u32,
}

impl SlotHandle {
    pub(crate) fn new(page: &Ref<Page>, index: u32) -> Result<SlotHandle> {
        Ok(SlotHandle { page: page.clone(), index })
    }

    pub(crate) fn shared_page(&self) -> Ref<Page> {
        self.page.clone()
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

    pub(crate) fn sink(&self) -> EventSink<'_> {
        EventSink { events: &self.page.events, slot: self.index }
    }

    pub(crate) fn slot(&self) -> &Slot {
        &self.page.slots[self.index as usize]
    }
}
