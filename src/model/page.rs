// SPDX-License-Identifier: MIT
//! A page for the model checkers: the same slots and event count as in shm/page.rs, on the heap,
//! since their atomics cannot be mapped.

use super::creator::Creator;
use super::event_count::{EventCount, EventSink};
use super::generation::{Generation, Kind};
use super::names::{Name, Named};
use super::owner_death;
use super::page_budget::PageBudget;
use super::slot::Slot;
use super::timestamps::Timestamps;
use super::wait_table::WaitTable;
use crate::error::{Error, Result};
use crate::interrupt::{Notifier, SignalWord};
use crate::util::atomic::{AtomicBool, AtomicU32, Ordering};
use crate::util::refs::Ref;

/// A page as one process has it mapped.
pub(crate) struct Page {
    memory: Ref<Memory>,
    access: Access,
    owner_died: AtomicBool,
    budget: PageBudget,
    id: u64,
}

/// What the processes share.
struct Memory {
    events: EventCount,
    wait_table: WaitTable,
    slots: Vec<Slot>,
    timestamps: Vec<Timestamps>,
}

impl SignalWord for Memory {
    fn word(&self) -> &AtomicU32 {
        self.events.sequence()
    }
}

/// Who can write to the page.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Everyone,
    /// This process and no other.
    Creator,
    /// The creator, which is another process.
    Reader,
}

impl Page {
    pub(crate) fn create(fence_count: u32) -> Result<Ref<Page>> {
        Page::create_with(fence_count, Vec::new())
    }

    /// A page whose signals leave their times.
    pub(crate) fn create_with_timestamps(fence_count: u32) -> Result<Ref<Page>> {
        Page::create_with(fence_count, (0..fence_count).map(|_| Timestamps::new()).collect())
    }

    fn create_with(fence_count: u32, timestamps: Vec<Timestamps>) -> Result<Ref<Page>> {
        let slots = (0..fence_count).map(|_| Slot::new()).collect();
        let memory = Ref::try_new(|| {
            let (events, wait_table) = (EventCount::new(), WaitTable::new());
            Ok(Memory { events, wait_table, slots, timestamps })
        })?;
        Page::map(memory, Access::Everyone)
    }

    pub(crate) fn has_timestamps(&self) -> bool {
        !self.memory.timestamps.is_empty()
    }

    pub(crate) fn timestamps(&self, index: u32) -> Option<&Timestamps> {
        self.memory.timestamps.get(index as usize)
    }

    /// No file holds names.
    pub(crate) fn name_of(&self, _: Named) -> Option<Name> {
        None
    }

    /// A page that only its creator can write to: the creator's mapping, and that of a process
    /// which can only read it.
    pub(crate) fn create_single_writer(fence_count: u32) -> Result<(Ref<Page>, Ref<Page>)> {
        let memory = Page::create(fence_count)?.memory.clone();
        Ok((Page::map(memory.clone(), Access::Creator)?, Page::map(memory, Access::Reader)?))
    }

    /// A mapping of its own, as in another process. The registry of open fences outlives each run
    /// of a model, so no two pages share an id.
    fn map(memory: Ref<Memory>, access: Access) -> Result<Ref<Page>> {
        static IDS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let id = IDS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Ref::try_new(|| {
            let (owner_died, budget) = (AtomicBool::new(false), PageBudget::new());
            Ok(Page { memory, access, owner_died, budget, id })
        })
    }

    /// Records would only enlarge the state space.
    pub(crate) fn records_waits(&self) -> bool {
        false
    }

    pub(crate) fn id(&self) -> (u64, u64) {
        (0, self.id)
    }

    pub(crate) fn all() -> Result<Vec<Ref<Page>>> {
        Ok(Vec::new())
    }

    pub(crate) fn events(&self) -> &EventCount {
        &self.memory.events
    }

    pub(crate) fn signal_word(&self) -> Ref<dyn SignalWord> {
        self.memory.clone().unsize::<dyn SignalWord>(|memory| memory)
    }

    pub(crate) fn budget(&self) -> &PageBudget {
        &self.budget
    }

    pub(crate) fn is_writable(&self) -> bool {
        self.access != Access::Reader
    }

    pub(crate) fn fail_owner_died(
        &self,
        _: u32,
        _: &mut u32,
        _: Option<Creator>,
    ) -> Result<Option<u32>> {
        if !self.is_writable() {
            self.owner_died.store(true, Ordering::Release);
            owner_death::announce();
            return Ok(None);
        }
        Err(Error::NotSupported)
    }

    pub(crate) fn notifier(&self) -> Option<Ref<Notifier>> {
        None
    }

    pub(crate) fn wake_all(&self) {
        if self.is_writable() {
            self.events().wake_all();
        }
    }

    pub(crate) fn may_be_muted(&self) -> bool {
        self.access != Access::Everyone
    }

    pub(crate) fn owner_died(&self) -> bool {
        self.owner_died.load(Ordering::Acquire)
    }

    pub(crate) fn wait_table(&self) -> &WaitTable {
        &self.memory.wait_table
    }

    pub(crate) fn slot(&self, index: u32) -> Result<&Slot> {
        self.memory.slots.get(index as usize).ok_or(Error::NotFound)
    }

    pub(crate) fn claim(
        &self,
        kind: Kind,
        value: u64,
        creator: Creator,
    ) -> Result<(u32, Generation)> {
        let kind = Kind { always_wake: kind.always_wake || self.access == Access::Creator, ..kind };
        let claim = |(index, slot): (u32, &Slot)| Some((index, slot.claim(kind, value, creator)?));
        let claimed = (0..).zip(&self.memory.slots).find_map(claim).ok_or(Error::Full)?;
        if let Some(timestamps) = self.timestamps(claimed.0) {
            timestamps.clear();
        }
        Ok(claimed)
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

    pub(crate) fn page_ref(&self) -> &Ref<Page> {
        &self.page
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
        EventSink { events: self.page.events(), slot: self.index }
    }

    pub(crate) fn slot(&self) -> &Slot {
        &self.page.memory.slots[self.index as usize]
    }
}
