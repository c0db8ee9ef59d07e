//! Shared memory full of fences: create, seal, validate, map.
//!
//! ```text
//!   offset    0  header: magic, layout version, number of fences, written once; where to look for a free slot
//!   offset   64  bell, and the log of who rang it
//!   offset 2176  ledger: who waits for what, and who promised it
//!   offset 4096  slot 0, slot 1, ... 64 bytes each
//! ```

use crate::config;
use crate::error::{Error, Result};
use crate::fence::Fence;
use crate::shm::owner_death;
use crate::shm::slot::{Bell, Kind, Rope, Slot, Tag};
use crate::shm::wait_table::Ledger;
use crate::sys::memfd::{self, FileId, Mapping, Writers};
use crate::sys::udmabuf;
use crate::util::refs::{Ref, Registry};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// The most fences a page can hold: 64 MiB of them.
pub(crate) const MAX_FENCES: u32 = 1 << 20;

/// "umf page", read as a little-endian number.
const MAGIC: u64 = u64::from_le_bytes(*b"umf page");
/// Any change of this page's, the slot's, the bell's or the ledger's layout or meaning is a new
/// version.
const LAYOUT_VERSION: u32 = 3;

const LEDGER_OFFSET: usize = size_of::<Header>() + size_of::<Bell>();
const SLOTS_OFFSET: usize = LEDGER_OFFSET + size_of::<Ledger>();

#[repr(C, align(64))]
struct Header {
    magic: AtomicU64,
    version: AtomicU32,
    fence_count: AtomicU32,
    /// Where the search for a free slot goes on, modulo the number of fences. It only moves
    /// forward, so that a slot rests as long as possible before it is used again, whoever creates
    /// fences.
    next_free: AtomicU32,
    reserved: [AtomicU32; 11],
}

/// A page of fences that this process mapped. There is one of these for each memfd, however often
/// it is imported, so that whatever one handle has seen signalled is signalled for all of this
/// process.
pub(crate) struct Page {
    mapping: Mapping,
    memfd: OwnedFd,
    /// Who can write to it; and this process, whether it can.
    access: Writers,
    is_writable: bool,
    /// Whether its creator is known to be gone, where that cannot be written into the page.
    is_orphaned: AtomicBool,
    id: FileId,
    /// Read from the header once, checked, and never looked at there again: a peer can write to the
    /// header.
    fence_count: u32,
    /// The fences of this page that are open in this process.
    fences: Registry<u32, Fence>,
}

static PAGES: Registry<FileId, Page> = Registry::new();

impl Page {
    /// A new page of `fence_count` fences (1 to [`MAX_FENCES`]), all free.
    #[cfg(test)]
    pub(crate) fn create(fence_count: u32) -> Result<Ref<Page>> {
        Page::create_for(fence_count, Writers::Anyone)
    }

    /// The same, for whom `access` says. `NotSupported` where others cannot be kept from writing.
    pub(crate) fn create_for(fence_count: u32, access: Writers) -> Result<Ref<Page>> {
        if fence_count == 0 || fence_count > MAX_FENCES {
            return Err(Error::Invalid);
        }
        let len = layout_len(fence_count);
        let (memfd, mapping) =
            memfd::create_mapped(len.next_multiple_of(memfd::page_size()) as u64, access)?;
        let header = header(&mapping);
        header.version.store(LAYOUT_VERSION, Ordering::Relaxed);
        header.fence_count.store(fence_count, Ordering::Relaxed);
        header.magic.store(MAGIC, Ordering::Relaxed);
        Page::register(mapping, memfd, (access, true), fence_count)
    }

    /// The page behind a descriptor that anybody may have made. The descriptor stays the caller's.
    pub(crate) fn import(fd: BorrowedFd<'_>) -> Result<Ref<Page>> {
        let (len, access) = memfd::sealed_len(fd)?;
        if len < layout_len(1) as u64 {
            return Err(Error::Invalid);
        }
        let fence_count = {
            let start = Mapping::new(fd, SLOTS_OFFSET, access)?;
            let header = header(&start);
            if header.magic.load(Ordering::Relaxed) != MAGIC
                || header.version.load(Ordering::Relaxed) != LAYOUT_VERSION
            {
                return Err(Error::Invalid);
            }
            header.fence_count.load(Ordering::Relaxed)
        };
        // From here on only the copy counts. The slots must lie inside of the file, whose length is
        // sealed.
        if fence_count == 0 || fence_count > MAX_FENCES || (layout_len(fence_count) as u64) > len {
            return Err(Error::Invalid);
        }
        let mapping = Mapping::new(fd, layout_len(fence_count), access)?;
        Page::register(mapping, memfd::dup(fd)?, (access, access == Writers::Anyone), fence_count)
    }

    fn register(
        mapping: Mapping,
        memfd: OwnedFd,
        (access, is_writable): (Writers, bool),
        fence_count: u32,
    ) -> Result<Ref<Page>> {
        config::read_environment();
        let id = memfd::file_id(memfd.as_fd())?;
        let make = || {
            let (is_orphaned, fences) = (AtomicBool::new(false), Registry::new());
            Ok(Page { mapping, memfd, access, is_writable, is_orphaned, id, fence_count, fences })
        };
        PAGES.get_or_make(id, |_| true, make)
    }

    /// A new descriptor of the page, CLOEXEC, for another process.
    pub(crate) fn export(&self) -> Result<OwnedFd> {
        memfd::dup(&self.memfd)
    }

    /// The page as a dma-buf, CLOEXEC, which gives its holder the memory to write to: `Denied` on a
    /// page that others may only read. `NotSupported` where the machine makes none, or none of this
    /// size.
    pub(crate) fn export_dma_buf(&self) -> Result<OwnedFd> {
        if self.access == Writers::CreatorOnly {
            return Err(Error::Denied);
        }
        let len = layout_len(self.fence_count).next_multiple_of(memfd::page_size());
        // All else of it is in order, so what may be refused is the size.
        udmabuf::create(self.memfd.as_fd(), len as u64).map_err(|error| match error {
            Error::Invalid => Error::NotSupported,
            error => error,
        })
    }

    /// How many fences the page has room for.
    pub(crate) fn fence_count(&self) -> u32 {
        self.fence_count
    }

    /// Who can write to it.
    pub(crate) fn access(&self) -> Writers {
        self.access
    }

    /// Whether this process can: every write to a page that it cannot write to would end it.
    pub(crate) fn is_writable(&self) -> bool {
        self.is_writable
    }

    /// The fences of this page that are open in this process.
    pub(crate) fn fences(&self) -> &Registry<u32, Fence> {
        &self.fences
    }

    /// What those sleep on who wait for many of the page's fences.
    pub(crate) fn bell(&self) -> &Bell {
        // SAFETY: `register` was given a mapping of at least `layout_len(1)` bytes at a page
        // boundary, so a Bell fits at this offset and is aligned. It consists of atomics, for which
        // every bit pattern is valid and which other processes may write at any time. The mapping
        // lives as long as `self`.
        unsafe { self.mapping.start().byte_add(size_of::<Header>()).cast::<Bell>().as_ref() }
    }

    /// Wakes those who sleep on the bell, though nobody rang: they look up. Nobody wakes where this
    /// process cannot write; who sleeps there looks up by itself.
    pub(crate) fn stir(&self) {
        if self.is_writable {
            self.bell().stir();
        }
    }

    /// Who waits for the page's fences, and who promised to signal them.
    pub(crate) fn ledger(&self) -> &Ledger {
        // SAFETY: as for `bell`: it lies before the slots, at a multiple of its alignment, and
        // consists of atomics.
        unsafe { self.mapping.start().byte_add(LEDGER_OFFSET).cast::<Ledger>().as_ref() }
    }

    /// Every page that this process has mapped.
    pub(crate) fn all() -> Result<Vec<Ref<Page>>> {
        PAGES.all()
    }

    /// The file behind the page, the same for all who map it.
    pub(crate) fn id(&self) -> FileId {
        self.id
    }

    /// Who owed its fences is gone: fails every one that lives now, for everybody. Where only its
    /// creator may write, for this process, and all of them.
    pub(crate) fn orphan(&self) -> Result<()> {
        if !self.is_writable {
            // O1.
            self.is_orphaned.store(true, Ordering::Release);
            owner_death::tell();
            return Ok(());
        }
        for index in 0..self.fence_count {
            let slot = self.slot(index)?;
            if let Some(tag) = slot.tag() {
                // One that has ended meanwhile has told its waiters.
                let _ = slot.set_error(
                    tag,
                    Rope { bell: self.bell(), index },
                    Error::OwnerDead.errno(),
                );
            }
        }
        Ok(())
    }

    /// Whether all of its fences have failed, for this process.
    pub(crate) fn is_orphaned(&self) -> bool {
        self.is_orphaned.load(Ordering::Acquire)
    }

    /// The slot of an index, which may come from anywhere. `NotFound` if the page has no such slot.
    fn slot(&self, index: u32) -> Result<&Slot> {
        if index >= self.fence_count {
            return Err(Error::NotFound);
        }
        // SAFETY: the mapping is `layout_len(fence_count)` bytes long (`create`, `import`), so the
        // slot lies inside of it; offset and size are multiples of its alignment. Atomics, as for
        // `bell`.
        unsafe { Ok(self.mapping.start().byte_add(offset_of(index)).cast::<Slot>().as_ref()) }
    }

    /// Takes a free slot for a new fence at `value`; the caller publishes it or gives it back.
    /// `Denied` on a page of others, `NotSupported` for a device's fence where waiters cannot leave
    /// word.
    pub(crate) fn claim(&self, kind: Kind, value: u64) -> Result<(u32, Tag)> {
        if !self.is_writable {
            return Err(Error::Denied);
        }
        let kind = Kind { shouts: self.access == Writers::CreatorOnly, ..kind };
        if kind.shouts && kind.device {
            return Err(Error::NotSupported);
        }
        let next_free = &header(&self.mapping).next_free;
        let start = next_free.load(Ordering::Relaxed);
        for step in 0..self.fence_count {
            let index = ((u64::from(start) + u64::from(step)) % u64::from(self.fence_count)) as u32;
            if let Some(tag) = self.slot(index)?.claim(kind, value) {
                next_free.store(index.wrapping_add(1), Ordering::Relaxed);
                return Ok((index, tag));
            }
        }
        Err(Error::PageFull)
    }
}

/// A slot of a page, its index checked once and for all.
#[derive(Clone)]
pub(crate) struct Place {
    page: Ref<Page>,
    index: u32,
    slot: NonNull<Slot>,
}

// SAFETY: a place is a counted reference to a page and an address in its mapping; both may be used
// on any thread.
unsafe impl Send for Place {}
// SAFETY: as above: a Slot consists of atomics.
unsafe impl Sync for Place {}

impl Place {
    pub(crate) fn new(page: &Ref<Page>, index: u32) -> Result<Place> {
        let slot = NonNull::from(page.slot(index)?);
        Ok(Place { page: page.clone(), index, slot })
    }

    pub(crate) fn page(&self) -> &Page {
        &self.page
    }

    pub(crate) fn shared_page(&self) -> Ref<Page> {
        self.page.clone()
    }

    pub(crate) fn index(&self) -> u32 {
        self.index
    }

    /// Where in the page the slot lies. In bytes.
    pub(crate) fn offset(&self) -> u64 {
        offset_of(self.index) as u64
    }

    #[inline]
    pub(crate) fn slot(&self) -> &Slot {
        // SAFETY: `new` got the address from a reference into the mapping of `page`, which lives as
        // long as `self`.
        unsafe { self.slot.as_ref() }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        PAGES.forget(self.id, self);
    }
}

fn header(mapping: &Mapping) -> &Header {
    // SAFETY: every mapping made here is longer than a Header, and starts at a page boundary.
    // Atomics, as for `bell`.
    unsafe { mapping.start().cast::<Header>().as_ref() }
}

const fn offset_of(index: u32) -> usize {
    SLOTS_OFFSET + index as usize * size_of::<Slot>()
}

const fn layout_len(fence_count: u32) -> usize {
    offset_of(fence_count)
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Header>() == 64 && SLOTS_OFFSET == 4096);
