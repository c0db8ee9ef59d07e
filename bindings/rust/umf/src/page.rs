// SPDX-License-Identifier: MIT
//! Pages of shared memory that hold fences.

use crate::error::{Error, Result, check};
use crate::handle::{handle, opened, size_of};
use crate::{Fence, FenceFlags, PageFlags, sys};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::ptr::NonNull;

handle! {
    /// A page: one shared-memory object that holds fences.
    #[doc(alias = "umf_page")]
    Page: umf_page, umf_page_ref, umf_page_unref
}

/// A fence at one time, as its page shows it.
#[doc(alias = "umf_fence_info")]
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FenceInfo {
    /// 0, or the negative errno that the fence carries.
    pub error: i32,
    /// How the fence was created, and the `UMF_FENCE_INFO_*` bits.
    pub flags: FenceFlags,
    /// The value.
    pub value: u64,
    /// The greatest value that is reached or was announced.
    pub pending: u64,
    /// The number of fences that lived in the slot before.
    pub generation: u64,
    /// The id of the process that created the fence, in its own pid namespace. 0 if there is none.
    pub creator_pid: u32,
    /// The low 28 bits of the inode number of that pid namespace. 0 if it is unknown.
    pub creator_pid_namespace: u32,
    /// The number of times that waiters of the slot were woken, which wraps around.
    pub wake_ups: u32,
}

impl Page {
    /// Creates a page with room for `fence_count` fences.
    #[doc(alias = "umf_page_create")]
    pub fn create(fence_count: u32, flags: PageFlags) -> Result<Page> {
        // SAFETY: `out` is valid for writing.
        Page::created(|out| unsafe { sys::umf_page_create(fence_count, flags.bits(), out) })
    }

    /// Opens a page that another process exported. It need not be trusted.
    ///
    /// To bound what the page may cost this process, use [`Page::import_limited`].
    #[doc(alias = "umf_page_import")]
    pub fn import(fd: impl AsFd) -> Result<Page> {
        let fd = fd.as_fd();
        // SAFETY: `out` is valid for writing, and `fd` is open during the call.
        Page::created(|out| unsafe { sys::umf_page_import(fd.as_raw_fd(), 0, out) })
    }

    /// Opens a page that another process exported, unless it has more than `max_fences` slots.
    #[doc(alias = "umf_page_import_limited")]
    pub fn import_limited(fd: impl AsFd, max_fences: u32) -> Result<Page> {
        let fd = fd.as_fd();
        let limits = sys::umf_page_limits { size: size_of::<sys::umf_page_limits>(), max_fences };
        // SAFETY: `limits` has its size and `out` is valid for writing. `fd` is open.
        Page::created(|out| unsafe {
            sys::umf_page_import_limited(fd.as_raw_fd(), 0, &raw const limits, out)
        })
    }

    /// Opens a page to look at it: a descriptor for reading is enough. Its fences cannot be opened.
    #[doc(alias = "UMF_PAGE_READ_ONLY")]
    pub fn inspect(fd: impl AsFd) -> Result<Page> {
        let (fd, flags) = (fd.as_fd(), sys::UMF_PAGE_READ_ONLY);
        // SAFETY: `out` is valid for writing, and `fd` is open during the call.
        Page::created(|out| unsafe { sys::umf_page_import(fd.as_raw_fd(), flags, out) })
    }

    /// Returns what the page shows of the fence in a slot. `Err` with ENOENT if none lives there.
    ///
    /// A peer that can write to the page can have written any of it.
    #[doc(alias = "umf_page_query_fence")]
    pub fn query_fence(&self, index: u32) -> Result<FenceInfo> {
        let mut info = sys::umf_fence_info {
            size: size_of::<sys::umf_fence_info>(),
            error: 0,
            flags: 0,
            value: 0,
            pending: 0,
            generation: 0,
            creator_pid: 0,
            creator_pid_namespace: 0,
            wake_ups: 0,
            reserved: 0,
        };
        // SAFETY: The page is valid, and `info` has its size and is valid for writing.
        check(unsafe { sys::umf_page_query_fence(self.as_raw(), index, 0, &raw mut info) })?;
        Ok(FenceInfo {
            error: info.error,
            flags: FenceFlags::from_bits(info.flags),
            value: info.value,
            pending: info.pending,
            generation: info.generation,
            creator_pid: info.creator_pid,
            creator_pid_namespace: info.creator_pid_namespace,
            wake_ups: info.wake_ups,
        })
    }

    /// Names the page, for tools and reports. The first 55 bytes up to a NUL count.
    #[doc(alias = "umf_page_set_name")]
    pub fn set_name(&self, name: &str) -> Result<()> {
        let name = name_for_c(name);
        // SAFETY: The page is valid, and the name ends with a NUL.
        check(unsafe { sys::umf_page_set_name(self.as_raw(), name.as_ptr().cast()) })
    }

    /// Returns the name of the page. `None` if it has none.
    ///
    /// A peer can have written any name. A question mark stands for each character that could
    /// affect a terminal or a parser, or is not ASCII.
    #[doc(alias = "UMF_NAME_OF_PAGE")]
    pub fn name(&self) -> Result<Option<String>> {
        self.query_name(sys::UMF_NAME_OF_PAGE)
    }

    /// Returns the name of the fence in a slot. `None` if it has none.
    #[doc(alias = "umf_page_query_name")]
    pub fn query_name(&self, index: u32) -> Result<Option<String>> {
        let mut name = [0u8; sys::UMF_NAME_SIZE as usize];
        // SAFETY: The page is valid, and `name` has the size that the library asks for.
        check(unsafe {
            sys::umf_page_query_name(self.as_raw(), index, 0, name.as_mut_ptr().cast())
        })?;
        let text: String =
            name.iter().take_while(|byte| **byte != 0).map(|byte| char::from(*byte)).collect();
        Ok(Some(text).filter(|text| !text.is_empty()))
    }

    /// Returns a new descriptor of the page, to be sent to another process.
    #[doc(alias = "umf_page_export")]
    pub fn export(&self) -> Result<OwnedFd> {
        // SAFETY: The page is valid, and `out` is valid for writing.
        opened(|out| unsafe { sys::umf_page_export(self.as_raw(), 0, out) })
    }

    /// Returns a new dma-buf of the page, so that a GPU can write its fences.
    #[doc(alias = "umf_page_export_dma_buf")]
    pub fn export_dma_buf(&self) -> Result<OwnedFd> {
        // SAFETY: The page is valid, and `out` is valid for writing.
        opened(|out| unsafe { sys::umf_page_export_dma_buf(self.as_raw(), 0, out) })
    }

    /// Creates a fence in a free slot.
    ///
    /// The fence ends with the last of its handles in this process, unless it has
    /// [`FenceFlags::LASTING`]. Keep one until every waiter is done.
    #[doc(alias = "umf_fence_create")]
    pub fn create_fence(&self, value: u64, flags: FenceFlags) -> Result<Fence> {
        // SAFETY: The page is valid, and `out` is valid for writing.
        Fence::created(|out| unsafe {
            sys::umf_fence_create(self.as_raw(), value, flags.bits(), out)
        })
    }

    /// Opens a fence that another process created. [`Fence::index`] has the index there.
    #[doc(alias = "umf_fence_open")]
    pub fn open_fence(&self, index: u32) -> Result<Fence> {
        // SAFETY: The page is valid, and `out` is valid for writing.
        Fence::created(|out| unsafe { sys::umf_fence_open(self.as_raw(), index, 0, out) })
    }

    /// Returns where this process has mapped the page, for a device that imports memory by its
    /// address. It may be mapped for reading alone.
    ///
    /// The memory stays there until the last handles to the page and to its fences are dropped.
    #[doc(alias = "umf_page_get_memory")]
    pub fn memory(&self) -> Result<NonNull<[u8]>> {
        self.memory_for(0)
    }

    /// Returns the same memory if it can be written: a device may write the values of its fences.
    #[doc(alias = "UMF_PAGE_MEMORY_WRITE")]
    pub fn writable_memory(&self) -> Result<NonNull<[u8]>> {
        self.memory_for(sys::UMF_PAGE_MEMORY_WRITE)
    }

    fn memory_for(&self, flags: u64) -> Result<NonNull<[u8]>> {
        let (mut address, mut size) = (std::ptr::null_mut(), 0);
        // SAFETY: The page is valid, and both outputs are valid for writing.
        check(unsafe {
            sys::umf_page_get_memory(self.as_raw(), flags, &raw mut address, &raw mut size)
        })?;
        let address = NonNull::new(address.cast()).ok_or(Error::InvalidArgument)?;
        // It is mapped, so its size fits.
        Ok(NonNull::slice_from_raw_parts(address, usize::try_from(size).unwrap_or(0)))
    }

    /// Fails every fence that lives in the page, because the device that writes them is lost.
    #[doc(alias = "umf_page_set_error")]
    pub fn set_error(&self, error: Error) -> Result<()> {
        // SAFETY: The page is valid.
        check(unsafe { sys::umf_page_set_error(self.as_raw(), error.errno().wrapping_neg()) })
    }

    /// Frees the slots whose creators died, and returns how many those were.
    #[doc(alias = "umf_page_reclaim")]
    pub fn reclaim(&self) -> Result<u32> {
        let mut count = 0;
        // SAFETY: The page is valid, and `count` is valid for writing.
        check(unsafe { sys::umf_page_reclaim(self.as_raw(), 0, &raw mut count) })?;
        Ok(count)
    }

    /// Has blocking waits on the fences of the page leave wait records, in all processes, or no
    /// more. [`write_graph`](crate::write_graph) then shows them.
    #[doc(alias = "umf_page_record_waits")]
    pub fn record_waits(&self, on: bool) -> Result<()> {
        // SAFETY: The page is valid.
        check(unsafe { sys::umf_page_record_waits(self.as_raw(), on.into(), 0) })
    }

    /// Returns the flags of the page.
    #[doc(alias = "umf_page_flags")]
    pub fn flags(&self) -> PageFlags {
        // SAFETY: The page is valid.
        PageFlags::from_bits(unsafe { sys::umf_page_flags(self.as_raw()) })
    }

    /// Returns the number of fences that the page has room for.
    #[doc(alias = "umf_page_fence_count")]
    pub fn fence_count(&self) -> u32 {
        // SAFETY: The page is valid.
        unsafe { sys::umf_page_fence_count(self.as_raw()) }
    }
}

/// The beginning of a name, as much as the library keeps, and a NUL.
pub(crate) fn name_for_c(name: &str) -> [u8; sys::UMF_NAME_SIZE as usize] {
    let mut bytes = [0; sys::UMF_NAME_SIZE as usize];
    let room = bytes.iter_mut().take(sys::UMF_NAME_SIZE as usize - 1);
    room.zip(name.bytes()).for_each(|(to, from)| *to = from);
    bytes
}
