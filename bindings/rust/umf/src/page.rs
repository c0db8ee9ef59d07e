//! Pages of shared memory that hold fences.

use crate::error::{Result, check};
use crate::handle::{created, handle, opened, size_of};
use crate::{Fence, FenceFlags, PageFlags, sys};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::ptr;

handle! {
    /// A page: one shared-memory object that holds fences.
    #[doc(alias = "umf_page")]
    Page: umf_page, umf_page_ref, umf_page_unref
}

impl Page {
    /// Creates a page with room for `fence_count` fences.
    #[doc(alias = "umf_page_create")]
    pub fn create(fence_count: u32, flags: PageFlags) -> Result<Page> {
        // SAFETY: `out` is valid for writing.
        let page = created(|out| unsafe { sys::umf_page_create(fence_count, flags.bits(), out) })?;
        Ok(Page(page))
    }

    /// Opens a page that another process exported. It need not be trusted.
    ///
    /// To bound what the page may cost this process, use [`Page::import_limited`].
    #[doc(alias = "umf_page_import")]
    pub fn import(fd: impl AsFd) -> Result<Page> {
        let fd = fd.as_fd();
        // SAFETY: `out` is valid for writing, and `fd` is open during the call.
        created(|out| unsafe { sys::umf_page_import(fd.as_raw_fd(), 0, out) }).map(Page)
    }

    /// Opens a page that another process exported, unless it has more than `max_fences` slots.
    #[doc(alias = "umf_page_import_limited")]
    pub fn import_limited(fd: impl AsFd, max_fences: u32) -> Result<Page> {
        let fd = fd.as_fd();
        let limits = sys::umf_page_limits { size: size_of::<sys::umf_page_limits>(), max_fences };
        // SAFETY: `limits` has its size and `out` is valid for writing. `fd` is open.
        let page = created(|out| unsafe {
            sys::umf_page_import_limited(fd.as_raw_fd(), 0, &raw const limits, out)
        })?;
        Ok(Page(page))
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
        let fence = created(|out| unsafe {
            sys::umf_fence_create(self.as_raw(), value, flags.bits(), out)
        })?;
        // SAFETY: The call gave a reference.
        Ok(unsafe { Fence::from_raw(fence) })
    }

    /// Opens a fence that another process created. [`Fence::index`] has the index there.
    #[doc(alias = "umf_fence_open")]
    pub fn open_fence(&self, index: u32) -> Result<Fence> {
        // SAFETY: The page is valid, and `out` is valid for writing.
        let fence = created(|out| unsafe { sys::umf_fence_open(self.as_raw(), index, 0, out) })?;
        // SAFETY: The call gave a reference.
        Ok(unsafe { Fence::from_raw(fence) })
    }

    /// Frees the slots whose creators died, and returns how many those were.
    #[doc(alias = "umf_page_reclaim")]
    pub fn reclaim(&self) -> Result<u32> {
        let mut count = 0;
        // SAFETY: The page is valid, and `count` is valid for writing.
        check(unsafe { sys::umf_page_reclaim(self.as_raw(), 0, ptr::from_mut(&mut count)) })?;
        Ok(count)
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
