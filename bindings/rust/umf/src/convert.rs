// SPDX-License-Identifier: MIT
//! Conversions that wait. Those of an event loop are in [`EventLoop`](crate::EventLoop).

use crate::error::{Result, check};
use crate::handle::opened;
use crate::{Deadline, Device, Fence, sys};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::ptr;

/// How the dma-buf is used. An export adds a fence of this kind; an import waits for the fences
/// that such a use has to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// A reader, which waits for writers.
    Read,
    /// A writer, which waits for readers and writers.
    Write,
}

impl Access {
    pub(crate) fn bits(self) -> u64 {
        match self {
            Access::Read => sys::UMF_DMA_BUF_READ,
            Access::Write => sys::UMF_DMA_BUF_WRITE,
        }
    }
}

fn raw_device(device: Option<&Device>) -> *mut sys::umf_device {
    device.map_or(ptr::null_mut(), Device::as_raw)
}

impl Fence {
    /// Waits until the fence reaches `value`, then makes a sync_file.
    ///
    /// The sync_file has signaled already, unless a kernel fence is attached to the value. Without
    /// a device it takes /dev/udmabuf.
    #[doc(alias = "umf_fence_export_sync_file")]
    pub fn export_sync_file(
        &self,
        value: u64,
        device: Option<&Device>,
        deadline: impl Into<Deadline>,
    ) -> Result<OwnedFd> {
        let (device, deadline) = (raw_device(device), deadline.into().nanoseconds());
        // SAFETY: The fence is valid, the device is valid or NULL, and `out` is valid for writing.
        opened(|out| unsafe {
            sys::umf_fence_export_sync_file(self.as_raw(), value, device, 0, deadline, out)
        })
    }

    /// Waits until a sync_file signals, then signals `value`.
    #[doc(alias = "umf_fence_import_sync_file")]
    pub fn import_sync_file(
        &self,
        value: u64,
        sync_file: impl AsFd,
        deadline: impl Into<Deadline>,
    ) -> Result<()> {
        let (fd, deadline) = (sync_file.as_fd().as_raw_fd(), deadline.into().nanoseconds());
        // SAFETY: The fence is valid, and the descriptor is open during the call.
        check(unsafe { sys::umf_fence_import_sync_file(self.as_raw(), value, fd, 0, deadline) })
    }

    /// Waits until the fence reaches `value`, then signals a point of a syncobj.
    ///
    /// `handle` is the caller's. The point is 0 for a binary syncobj, and never 0 for a timeline.
    #[doc(alias = "umf_fence_export_syncobj")]
    pub fn export_syncobj(
        &self,
        value: u64,
        device: &Device,
        handle: u32,
        point: u64,
        deadline: impl Into<Deadline>,
    ) -> Result<()> {
        let (device, deadline) = (device.as_raw(), deadline.into().nanoseconds());
        // SAFETY: The fence and the device are valid.
        check(unsafe {
            sys::umf_fence_export_syncobj(self.as_raw(), value, device, handle, point, 0, deadline)
        })
    }

    /// Waits until a point of a syncobj signals, then signals `value`.
    #[doc(alias = "umf_fence_import_syncobj")]
    pub fn import_syncobj(
        &self,
        value: u64,
        device: &Device,
        handle: u32,
        point: u64,
        deadline: impl Into<Deadline>,
    ) -> Result<()> {
        let (device, deadline) = (device.as_raw(), deadline.into().nanoseconds());
        // SAFETY: The fence and the device are valid.
        check(unsafe {
            sys::umf_fence_import_syncobj(self.as_raw(), value, device, handle, point, 0, deadline)
        })
    }

    /// Waits until the fence reaches `value`, then adds a signaled fence to a dma-buf.
    #[doc(alias = "umf_fence_export_dma_buf")]
    pub fn export_dma_buf(
        &self,
        value: u64,
        device: Option<&Device>,
        dma_buf: impl AsFd,
        access: Access,
        deadline: impl Into<Deadline>,
    ) -> Result<()> {
        let (fd, deadline) = (dma_buf.as_fd().as_raw_fd(), deadline.into().nanoseconds());
        let (device, flags) = (raw_device(device), access.bits());
        // SAFETY: The fence is valid, the device is valid or NULL, and the descriptor is open.
        check(unsafe {
            sys::umf_fence_export_dma_buf(self.as_raw(), value, device, fd, flags, deadline)
        })
    }

    /// Waits for the implicit fences of a dma-buf, then signals `value`.
    #[doc(alias = "umf_fence_import_dma_buf")]
    pub fn import_dma_buf(
        &self,
        value: u64,
        dma_buf: impl AsFd,
        access: Access,
        deadline: impl Into<Deadline>,
    ) -> Result<()> {
        let (fd, deadline) = (dma_buf.as_fd().as_raw_fd(), deadline.into().nanoseconds());
        // SAFETY: The fence is valid, and the descriptor is open during the call.
        check(unsafe {
            sys::umf_fence_import_dma_buf(self.as_raw(), value, fd, access.bits(), deadline)
        })
    }
}
