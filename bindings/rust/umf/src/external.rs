// SPDX-License-Identifier: MIT
//! Fences whose value is in memory of a driver.

use crate::error::Result;
use crate::handle::{size_of, with_box};
use crate::{Fence, FenceFlags, Page, panics, sys};
use std::ffi::{c_int, c_void};

impl Page {
    /// Creates a fence whose value a device writes into memory of its driver.
    ///
    /// `release` runs once, on any thread, when the library will not read the memory again. If the
    /// call fails, it is dropped and does not run.
    ///
    /// # Safety
    ///
    /// `value` points to 8 bytes aligned to 8, or for a fence with [`FenceFlags::BITS_32`] to 4
    /// bytes aligned to 4. They are readable until `release` runs, and are written atomically
    /// alone.
    #[doc(alias = "umf_fence_create_in")]
    pub unsafe fn create_fence_in(
        &self,
        value: *const c_void,
        flags: FenceFlags,
        release: impl FnOnce() + Send + 'static,
    ) -> Result<Fence> {
        // SAFETY: The page is valid. The caller answers for the mapping.
        mapped(value, release, |mapping, out| unsafe {
            sys::umf_fence_create_in(self.as_raw(), mapping, flags.bits(), out)
        })
    }

    /// Opens a fence that another process created with [`Page::create_fence_in`].
    ///
    /// If the fence is open in this process already, `release` runs before the call returns.
    ///
    /// # Safety
    ///
    /// As for [`Page::create_fence_in`]; `value` is where this process mapped the same memory.
    #[doc(alias = "umf_fence_open_in")]
    pub unsafe fn open_fence_in(
        &self,
        index: u32,
        value: *const c_void,
        flags: FenceFlags,
        release: impl FnOnce() + Send + 'static,
    ) -> Result<Fence> {
        // SAFETY: The page is valid. The caller answers for the mapping.
        mapped(value, release, |mapping, out| unsafe {
            sys::umf_fence_open_in(self.as_raw(), index, mapping, flags.bits(), out)
        })
    }
}

/// Calls a function that takes a mapping and gives a fence.
fn mapped<F: FnOnce() + Send + 'static>(
    value: *const c_void,
    release: F,
    call: impl FnOnce(*const sys::umf_mapping, *mut *mut sys::umf_fence) -> c_int,
) -> Result<Fence> {
    Fence::created(|out| {
        with_box(release, |data| {
            let mapping = sys::umf_mapping {
                size: size_of::<sys::umf_mapping>(),
                reserved: 0,
                value,
                data,
                release: Some(run_release::<F>),
            };
            call(&raw const mapping, out)
        })
    })
}

extern "C" fn run_release<F: FnOnce()>(data: *mut c_void) {
    // SAFETY: `data` is the box of `mapped`, which the library releases once.
    let release = unsafe { Box::from_raw(data.cast::<F>()) };
    panics::contain(release);
}
