// SPDX-License-Identifier: MIT
//! A page of fences in shared memory: create, seal, validate, map.

use super::creator::Creator;
use super::event_count::{EventCount, EventSink};
use super::generation::{Generation, Kind};
use super::judged_creators::JudgedCreators;
use super::layout::{self, Header, MAX_FENCES};
use super::names::{self, Name, Named};
use super::owner_death;
use super::page_budget::PageBudget;
use super::slot::Slot;
use super::timestamps::Timestamps;
use super::wait_table::WaitTable;
use crate::config;
use crate::error::{Error, FenceErrno, Result};
use crate::interrupt::{Notifier, SignalWord};
use crate::sys::descriptor::dup;
use crate::sys::memfd::{self, Access, FileId, Mapping, Writers};
use crate::sys::udmabuf;
use crate::trace;
use crate::util::refs::{OnceRef, Ref};
use crate::util::registry::Registry;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};

/// A page of fences that this process has mapped. There is one for each memfd, however often it is
/// imported: what one handle has seen signaled is signaled for the whole process.
pub(crate) struct Page {
    memory: Ref<PageMemory>,
    /// Where the memory starts.
    start: NonNull<u8>,
    memfd: OwnedFd,
    /// Who can write to the page; and whether this process can.
    writers: Writers,
    is_writable: bool,
    /// Whether it was imported to be inspected only.
    is_inspected: bool,
    /// Whether its creator is known to be dead, if that cannot be written into the page.
    owner_died: AtomicBool,
    /// Where this process receives the interrupts of the device that writes its fences.
    notifier: OnceRef<Notifier>,
    id: FileId,
    /// How much time it may waste in this process.
    budget: PageBudget,
    /// Whether the file has room for names.
    has_names: bool,
    /// Whether it has timestamps. Read as `fence_count` is.
    has_timestamps: bool,
    /// Read from the header once and checked. The header is not read again, since a peer can write
    /// to it.
    fence_count: u32,
}

// SAFETY: `start` is the address of `memory`, which any thread can access.
unsafe impl Send for Page {}
// SAFETY: as above.
unsafe impl Sync for Page {}

/// The memory of a page. A notifier keeps it while it sleeps on the event count.
struct PageMemory(Mapping);

impl SignalWord for PageMemory {
    fn word(&self) -> &AtomicU32 {
        // SAFETY: as for `Page::events`: the mapping is that of a page and lives as long as `self`.
        let events =
            unsafe { self.0.start().byte_add(layout::EVENTS_OFFSET).cast::<EventCount>().as_ref() };
        events.sequence()
    }
}

static PAGES: Registry<FileId, Page> = Registry::new();

/// The pages that this process inspects. It may have the same ones open to use them.
static INSPECTED: Registry<FileId, Page> = Registry::new();

impl Page {
    /// A new page of `fence_count` fences (1 to [`MAX_FENCES`]), all free.
    #[cfg(test)]
    pub(crate) fn create(fence_count: u32) -> Result<Ref<Page>> {
        Page::create_for(fence_count, Writers::Anyone, false)
    }

    /// A new page. `writers` says who can write to it: `NotSupported` if the kernel cannot keep
    /// others from writing.
    pub(crate) fn create_for(
        fence_count: u32,
        writers: Writers,
        has_timestamps: bool,
    ) -> Result<Ref<Page>> {
        if fence_count == 0 || fence_count > MAX_FENCES {
            return Err(Error::Invalid);
        }
        let (len, names_end) = (slots_end(fence_count), names_end(fence_count));
        let file_len = if has_timestamps { timestamps_end(fence_count) } else { names_end };
        // The only process that can write maps the names too.
        let mapped = if writers == Writers::CreatorOnly { file_len } else { len };
        let mapped = if has_timestamps { file_len } else { mapped };
        let (memfd, mapping) = memfd::create_mapped((len, file_len - len), mapped, writers)?;
        if has_timestamps {
            memfd::allocate(memfd.as_fd(), names_end, file_len)?;
        }
        let header = header(&mapping);
        header.version.store(layout::VERSION, Ordering::Relaxed);
        header.fence_count.store(fence_count, Ordering::Relaxed);
        header.has_timestamps.store(has_timestamps.into(), Ordering::Relaxed);
        header.magic.store(layout::MAGIC, Ordering::Relaxed);
        let contents = (fence_count, has_timestamps);
        Page::register(mapping, (memfd, file_len), writers, Use::Create, contents)
    }

    /// The page behind a descriptor that anybody may have made. The descriptor stays the caller's.
    /// `TooLarge` if the page has more slots than `max_fences`.
    pub(crate) fn import(fd: BorrowedFd<'_>, max_fences: u32) -> Result<Ref<Page>> {
        Page::import_for(Use::Import, fd, max_fences)
    }

    /// The same page, for a process that only looks at it: nothing there can be opened.
    pub(crate) fn inspect(fd: BorrowedFd<'_>, max_fences: u32) -> Result<Ref<Page>> {
        Page::import_for(Use::Inspect, fd, max_fences)
    }

    fn import_for(why: Use, fd: BorrowedFd<'_>, max_fences: u32) -> Result<Ref<Page>> {
        // The seals identify a memfd, and no file system is asked for them. The duplicate is
        // checked again: another thread may have given the number to another file.
        memfd::sealed_len(fd)?;
        let memfd = dup(fd)?;
        let fd = memfd.as_fd();
        let (len, writers) = memfd::sealed_len(fd)?;
        if len < layout::page_len(1) as u64 {
            return Err(Error::Invalid);
        }
        let (fence_count, has_timestamps) = {
            let start = Mapping::new(fd, layout::SLOTS_OFFSET, why.access(writers))?;
            let header = header(&start);
            if header.magic.load(Ordering::Relaxed) != layout::MAGIC
                || header.version.load(Ordering::Relaxed) != layout::VERSION
            {
                return Err(Error::Invalid);
            }
            let has_timestamps = header.has_timestamps.load(Ordering::Relaxed) != 0;
            (header.fence_count.load(Ordering::Relaxed), has_timestamps)
        };
        // From here on only the copies count. What is mapped must lie inside the file, whose length
        // is sealed.
        if fence_count == 0 || fence_count > MAX_FENCES {
            return Err(Error::Invalid);
        }
        let mapped = match has_timestamps {
            true => timestamps_end(fence_count),
            false => layout::page_len(fence_count) as u64,
        };
        if mapped > len {
            return Err(Error::Invalid);
        }
        if fence_count > max_fences {
            return Err(Error::TooLarge);
        }
        let mapped = usize::try_from(mapped).map_err(|_| Error::NoMemory)?;
        let mapping = Mapping::new(fd, mapped, why.access(writers))?;
        let contents = (fence_count, has_timestamps);
        let page = Page::register(mapping, (memfd, len), writers, why, contents)?;
        // This process may have it open already, with the number that the header had then.
        if page.fence_count > max_fences { Err(Error::TooLarge) } else { Ok(page) }
    }

    fn register(
        mapping: Mapping,
        (memfd, file_len): (OwnedFd, u64),
        writers: Writers,
        why: Use,
        (fence_count, has_timestamps): (u32, bool),
    ) -> Result<Ref<Page>> {
        config::read_environment();
        trace::start_by_environment();
        let id = memfd::file_id(memfd.as_fd())?;
        let is_inspected = why == Use::Inspect;
        let make = || {
            let (owner_died, notifier) = (AtomicBool::new(false), OnceRef::new());
            let memory = Ref::try_new(|| Ok(PageMemory(mapping)))?;
            let start = memory.0.start();
            let has_names = file_len >= names_end(fence_count);
            Ok(Page {
                memory,
                start,
                memfd,
                writers,
                is_writable: why.access(writers) == Access::ReadWrite,
                is_inspected,
                owner_died,
                notifier,
                id,
                budget: PageBudget::new(),
                has_names,
                has_timestamps,
                fence_count,
            })
        };
        let pages = if is_inspected { &INSPECTED } else { &PAGES };
        pages.get_or_make(id, |_| true, make)
    }

    /// A new descriptor of the page, close-on-exec, for another process.
    pub(crate) fn export(&self) -> Result<OwnedFd> {
        dup(&self.memfd)
    }

    /// The page as a dma-buf, close-on-exec. Its holder can write to the memory, so `Denied` on a
    /// page that this process or others may only read. `NotSupported` if the machine makes none, or
    /// none of this size.
    pub(crate) fn export_dma_buf(&self) -> Result<OwnedFd> {
        if self.writers == Writers::CreatorOnly || self.is_inspected {
            return Err(Error::Denied);
        }
        // Everything else about the request is valid, so EINVAL means the size.
        udmabuf::create(self.memfd.as_fd(), self.len()).map_err(|error| match error {
            Error::Invalid => Error::NotSupported,
            error => error,
        })
    }

    /// The memory that this process mapped, for a driver that imports it by its address. It is
    /// writable if [`Page::is_writable`].
    pub(crate) fn memory(&self) -> (NonNull<u8>, u64) {
        (self.start, self.len())
    }

    /// The bytes of header and slots, in whole memory pages.
    fn len(&self) -> u64 {
        slots_end(self.fence_count)
    }

    /// Names the page or one of its fences. `Denied` if this process cannot write to the page,
    /// `NotSupported` if its file has no room: another program made it.
    pub(crate) fn set_name(&self, of: Named, name: Name) -> Result<()> {
        if !self.is_writable {
            return Err(Error::Denied);
        }
        let at = self.name_offset(of).ok_or(Error::NotSupported)?;
        let (fd, entry) = (self.memfd.as_fd(), name.to_entry(of));
        if self.writers == Writers::Anyone {
            return memfd::write_at(fd, &entry, at);
        }
        // The seal refuses writes to the file, also of this process. It mapped the names before.
        memfd::allocate(fd, at, at + names::ENTRY_LEN as u64)?;
        let offset = usize::try_from(at).map_err(|_| Error::Unexpected)?;
        // SAFETY: the only process that can write to such a page created it, with a mapping up to
        // `names_end` at least. Entries are multiples of 8 bytes, at such a multiple.
        let words = unsafe { self.at(offset).cast::<[AtomicU64; names::ENTRY_LEN / 8]>().as_ref() };
        for (word, bytes) in words.iter().zip(entry.chunks_exact(8)) {
            let bytes = bytes.try_into().map_err(|_| Error::Unexpected)?;
            word.store(u64::from_ne_bytes(bytes), Ordering::Relaxed);
        }
        Ok(())
    }

    /// The name, if there is one.
    pub(crate) fn name_of(&self, of: Named) -> Option<Name> {
        let mut entry = [0; names::ENTRY_LEN];
        memfd::read_at(self.memfd.as_fd(), &mut entry, self.name_offset(of)?).ok()?;
        Name::of_entry(&entry, of)
    }

    fn name_offset(&self, of: Named) -> Option<u64> {
        self.has_names.then(|| self.len() + of.entry() * names::ENTRY_LEN as u64)
    }

    /// Whether signals leave their times in the page.
    pub(crate) fn has_timestamps(&self) -> bool {
        self.has_timestamps
    }

    /// The times of a slot's fence, if the page has room for them and such a slot.
    pub(crate) fn timestamps(&self, index: u32) -> Option<&Timestamps> {
        if !self.has_timestamps || index >= self.fence_count {
            return None;
        }
        let offset = names_end(self.fence_count) + timestamps_len(index);
        let offset = usize::try_from(offset).ok()?;
        // SAFETY: the mapping is `timestamps_end(fence_count)` bytes long (`create_for`, `import`),
        // so the entry lies inside it. `names_end` is a multiple of the size of a memory page, and
        // the size of an entry one of its alignment. Atomics, as for `events`.
        unsafe { Some(self.at(offset).cast::<Timestamps>().as_ref()) }
    }

    /// The number of slots.
    pub(crate) fn fence_count(&self) -> u32 {
        self.fence_count
    }

    /// Who can write to the page.
    pub(crate) fn writers(&self) -> Writers {
        self.writers
    }

    /// Whether this process can. A write to a page that it cannot write to raises SIGSEGV.
    pub(crate) fn is_writable(&self) -> bool {
        self.is_writable
    }

    /// Whether this process only looks at the page.
    pub(crate) fn is_inspected(&self) -> bool {
        self.is_inspected
    }

    /// `Denied` if this process only looks at the page.
    pub(crate) fn check_usable(&self) -> Result<()> {
        if self.is_inspected { Err(Error::Denied) } else { Ok(()) }
    }

    /// Whether a process that may not write to the page can keep its wake-ups from the waiters. The
    /// kernel lets every process that can read a futex word park a thread there or move those that
    /// sleep there. On a page that anyone can write to, such a process could withhold the value as
    /// well.
    pub(crate) fn may_be_muted(&self) -> bool {
        self.writers == Writers::CreatorOnly
    }

    /// The eventcount, for waits for many of the page's fences.
    pub(crate) fn events(&self) -> &EventCount {
        // SAFETY: `register` was given a mapping of at least `page_len(1)` bytes that starts at a
        // memory page, so an EventCount fits at this offset and is aligned. It consists of atomics:
        // every bit pattern is valid, and other processes may write them at any time. The mapping
        // lives as long as `self`.
        unsafe { self.at(layout::EVENTS_OFFSET).cast::<EventCount>().as_ref() }
    }

    /// The event count's futex word, for a notifier. It keeps the memory mapped and not the page.
    pub(crate) fn signal_word(&self) -> Ref<dyn SignalWord> {
        self.memory.clone().unsize::<dyn SignalWord>(|memory| memory)
    }

    /// How much time the page may waste in this process.
    pub(crate) fn budget(&self) -> &PageBudget {
        &self.budget
    }

    /// Wakes every thread that sleeps on the event count, although no fence changed. A process that
    /// cannot write to the page wakes nobody; its threads wake up by a deadline of their own.
    pub(crate) fn wake_all(&self) {
        if self.is_writable {
            self.events().wake_all();
        }
    }

    /// The records of who waits for the page's fences and who will signal them.
    pub(crate) fn wait_table(&self) -> &WaitTable {
        // SAFETY: as for `events`: it lies before the slots, at a multiple of its alignment, and
        // consists of atomics.
        unsafe { self.at(layout::WAIT_TABLE_OFFSET).cast::<WaitTable>().as_ref() }
    }

    /// Whether blocking waits are to leave records. A peer may have asked for it.
    pub(crate) fn records_waits(&self) -> bool {
        header(&self.memory.0).record_waits.load(Ordering::SeqCst) != 0
    }

    /// Has blocking waits leave records, or no more. Those that sleep are woken, and leave one.
    /// `Denied` if this process cannot write to the page.
    pub(crate) fn record_waits(&self, is_wanted: bool) -> Result<()> {
        if !self.is_writable {
            return Err(Error::Denied);
        }
        header(&self.memory.0).record_waits.store(u32::from(is_wanted), Ordering::SeqCst);
        // A waiter registers and then looks here, so it sees the word or is seen registered: the
        // argument of S1, S2, W2 and W3 (slot.rs).
        fence(Ordering::SeqCst);
        for index in (0..self.fence_count).filter(|_| is_wanted) {
            let slot = self.slot(index)?;
            if let Some(generation) = slot.generation() {
                let sink = EventSink { events: self.events(), slot: index };
                slot.wake_waiters(generation, sink);
            }
        }
        Ok(())
    }

    /// Every page that this process has mapped. One that it uses and inspects is listed once, as
    /// the one that it uses.
    pub(crate) fn all() -> Result<Vec<Ref<Page>>> {
        let (mut all, inspected) = (PAGES.all()?, INSPECTED.all()?);
        all.try_reserve_exact(inspected.len()).map_err(|_| Error::NoMemory)?;
        all.extend(inspected);
        all.sort_unstable_by_key(|page| (page.id, page.is_inspected));
        all.dedup_by_key(|page| page.id);
        Ok(all)
    }

    /// The identity of the file behind the page, the same in every process that maps it.
    pub(crate) fn id(&self) -> FileId {
        self.id
    }

    /// The signaler of its fences died. Fails every fence that lives now, for every process. On a
    /// page that this process cannot write to, fails all of its fences for this process. If it is
    /// known which process `dead` was, its slots can be reclaimed.
    ///
    /// Fails the fences from slot `from` on, in as many slots as `allowance` says, and takes them
    /// off it. Returns the slot to continue with, if any are left.
    pub(crate) fn fail_owner_died(
        &self,
        from: u32,
        allowance: &mut u32,
        dead: Option<Creator>,
    ) -> Result<Option<u32>> {
        if !self.is_writable {
            // O1 (owner_death.rs).
            self.owner_died.store(true, Ordering::Release);
            owner_death::announce();
            return Ok(None);
        }
        let events = self.events();
        let end = self.fence_count.min(from.saturating_add(*allowance));
        *allowance -= end.saturating_sub(from);
        for index in from..end {
            let slot = self.slot(index)?;
            let sink = EventSink { events, slot: index };
            // A slot without a fence may have waiters of the last one.
            let _ = slot.fail_owner_died(slot.generation(), sink, dead);
        }
        Ok((end < self.fence_count).then_some(end))
    }

    /// Fails every fence that lives now. All errors are written before the first waiter wakes up.
    /// `Denied` if this process cannot write to the page.
    pub(crate) fn set_error(&self, errno: FenceErrno) -> Result<()> {
        if !self.is_writable {
            return Err(Error::Denied);
        }
        for index in 0..self.fence_count {
            let slot = self.slot(index)?;
            // A fence that ends meanwhile wakes its waiters by that.
            let _ = slot.generation().map(|generation| slot.mark_failed(generation, errno));
        }
        for index in 0..self.fence_count {
            let slot = self.slot(index)?;
            let error = slot.generation().map(|generation| slot.error(generation));
            if matches!(error, Some(Ok(Some(_)))) {
                slot.wake_ended(EventSink { events: self.events(), slot: index });
            }
        }
        Ok(())
    }

    /// Frees the slots whose creators are known to be dead, and returns how many. `Denied` on a
    /// page that only others can write to.
    pub(crate) fn reclaim(&self) -> Result<u32> {
        if !self.is_writable {
            return Err(Error::Denied);
        }
        let (events, this_process) = (self.events(), Creator::this_process());
        let mut judged = JudgedCreators::new(self.fence_count)?;
        let mut count = 0;
        for index in 0..self.fence_count {
            let slot = self.slot(index)?;
            let dead = slot.creator().filter(|creator| judged.is_dead(*creator));
            let sink = EventSink { events, slot: index };
            count += u32::from(dead.is_some_and(|dead| slot.reclaim(dead, sink, this_process)));
        }
        Ok(count)
    }

    /// The notifier for fences that have none of their own.
    pub(crate) fn notifier(&self) -> Option<Ref<Notifier>> {
        self.notifier.clone_ref()
    }

    /// Sets the notifier. `Already` if it has another one of this process.
    pub(crate) fn set_notifier(&self, notifier: &Ref<Notifier>) -> Result<()> {
        match self.notifier.set(notifier.clone(), |current| !current.is_ours()) {
            Err(_) if !self.notifier.holds(notifier) => Err(Error::Already),
            _ => Ok(()),
        }
    }

    /// Wakes the waiters of its fences for what a device wrote. A value that is not in the page
    /// cannot be read here: every waiter of such a fence is woken. `Denied` if this process cannot
    /// write to the page.
    pub(crate) fn notify(&self) -> Result<()> {
        if !self.is_writable {
            return Err(Error::Denied);
        }
        fence(Ordering::SeqCst);
        for index in 0..self.fence_count {
            let slot = self.slot(index)?;
            let Some(generation) = slot.generation().filter(|fence| fence.is_device()) else {
                continue;
            };
            let sink = EventSink { events: self.events(), slot: index };
            if generation.has_external_value() {
                slot.wake_waiters(generation, sink);
            } else if let Ok(value) = slot.value(generation) {
                slot.announce(generation, sink, value);
            }
        }
        Ok(())
    }

    /// Whether all of its fences have failed, for this process.
    pub(crate) fn owner_died(&self) -> bool {
        self.owner_died.load(Ordering::Acquire)
    }

    /// The slot of an index, which may come from anywhere. `NotFound` if the page has no such slot.
    pub(crate) fn slot(&self, index: u32) -> Result<&Slot> {
        if index >= self.fence_count {
            return Err(Error::NotFound);
        }
        // SAFETY: the mapping is `page_len(fence_count)` bytes long (`create_for`, `import`), so
        // the slot lies inside it; offset and size are multiples of its alignment. Atomics, as for
        // `events`.
        unsafe { Ok(self.at(layout::slot_offset(index)).cast::<Slot>().as_ref()) }
    }

    /// The address at a byte offset of the mapping.
    ///
    /// # Safety
    /// The offset is at most the length of the mapping.
    unsafe fn at(&self, offset: usize) -> NonNull<u8> {
        // SAFETY: by this function's contract.
        unsafe { self.start.byte_add(offset) }
    }

    /// Takes a free slot for a new fence at `value`. The caller publishes it or gives it back.
    /// `Denied` on a page that only others can write to.
    pub(crate) fn claim(
        &self,
        kind: Kind,
        value: u64,
        creator: Creator,
    ) -> Result<(u32, Generation)> {
        if !self.is_writable {
            return Err(Error::Denied);
        }
        let kind = Kind { always_wake: self.writers == Writers::CreatorOnly, ..kind };
        let next_free = &header(&self.memory.0).next_free;
        let start = next_free.load(Ordering::Relaxed);
        for step in 0..self.fence_count {
            let index = ((u64::from(start) + u64::from(step)) % u64::from(self.fence_count)) as u32;
            if let Some(generation) = self.slot(index)?.claim(kind, value, creator) {
                if let Some(timestamps) = self.timestamps(index) {
                    timestamps.clear();
                }
                next_free.store(index.wrapping_add(1), Ordering::Relaxed);
                return Ok((index, generation));
            }
        }
        Err(Error::Full)
    }
}

/// What this process maps a page for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Create,
    Import,
    Inspect,
}

impl Use {
    /// The creator of a page that others can only read mapped it before it was sealed.
    fn access(self, writers: Writers) -> Access {
        match (self, writers) {
            (Use::Create, _) | (Use::Import, Writers::Anyone) => Access::ReadWrite,
            (Use::Import, Writers::CreatorOnly) | (Use::Inspect, _) => Access::Read,
        }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        let pages = if self.is_inspected { &INSPECTED } else { &PAGES };
        pages.forget(self.id, self);
    }
}

/// The bytes of header and slots of so many fences, in whole memory pages.
fn slots_end(fence_count: u32) -> u64 {
    layout::page_len(fence_count).next_multiple_of(memfd::page_size()) as u64
}

/// Where the names behind the slots end: at a whole memory page.
fn names_end(fence_count: u32) -> u64 {
    let len = (u64::from(fence_count) + 1).saturating_mul(names::ENTRY_LEN as u64);
    slots_end(fence_count) + len.next_multiple_of(memfd::page_size() as u64)
}

/// The bytes of the timestamps of so many fences.
fn timestamps_len(fence_count: u32) -> u64 {
    u64::from(fence_count).saturating_mul(size_of::<Timestamps>() as u64)
}

/// Where the timestamps behind the names end: at a whole memory page.
fn timestamps_end(fence_count: u32) -> u64 {
    let len = timestamps_len(fence_count).next_multiple_of(memfd::page_size() as u64);
    names_end(fence_count) + len
}

fn header(mapping: &Mapping) -> &Header {
    // SAFETY: every mapping made here is longer than a Header, and starts at a memory page.
    // Atomics, as for `Page::events`.
    unsafe { mapping.start().cast::<Header>().as_ref() }
}

/// A slot of a page, whose index was checked once.
#[derive(Clone)]
pub(crate) struct SlotHandle {
    page: Ref<Page>,
    index: u32,
    slot: NonNull<Slot>,
}

// SAFETY: a counted reference to a page and an address in its mapping. Both may be used on any
// thread.
unsafe impl Send for SlotHandle {}
// SAFETY: as above: a Slot consists of atomics.
unsafe impl Sync for SlotHandle {}

impl SlotHandle {
    pub(crate) fn new(page: &Ref<Page>, index: u32) -> Result<SlotHandle> {
        let slot = NonNull::from(page.slot(index)?);
        Ok(SlotHandle { page: page.clone(), index, slot })
    }

    pub(crate) fn page(&self) -> &Page {
        &self.page
    }

    pub(crate) fn page_ref(&self) -> &Ref<Page> {
        &self.page
    }

    pub(crate) fn shared_page(&self) -> Ref<Page> {
        self.page.clone()
    }

    pub(crate) fn index(&self) -> u32 {
        self.index
    }

    /// The byte offset of the slot in its page.
    pub(crate) fn offset(&self) -> u64 {
        layout::slot_offset(self.index) as u64
    }

    /// Where the slot's events are published.
    #[inline]
    pub(crate) fn sink(&self) -> EventSink<'_> {
        EventSink { events: self.page.events(), slot: self.index }
    }

    #[inline]
    pub(crate) fn slot(&self) -> &Slot {
        // SAFETY: `new` took the address from a reference into the mapping of `page`, which lives
        // as long as `self`.
        unsafe { self.slot.as_ref() }
    }
}
