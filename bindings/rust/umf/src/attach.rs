// SPDX-License-Identifier: MIT
//! Kernel fences of the device's own, attached to values.

use crate::error::{Result, check};
use crate::{Deadline, Device, Fence, sys};
use std::os::fd::{AsFd, AsRawFd};

impl Fence {
    /// Attaches the kernel fence of a sync_file to a value: exports pass it on, and do not wait.
    ///
    /// The caller states: once the kernel fence has signaled, the work that signals `value` is
    /// done.
    #[doc(alias = "umf_fence_attach_sync_file")]
    pub fn attach_sync_file(&self, value: u64, sync_file: impl AsFd) -> Result<()> {
        let fd = sync_file.as_fd().as_raw_fd();
        // SAFETY: The fence is valid, and the descriptor is open during the call.
        check(unsafe { sys::umf_fence_attach_sync_file(self.as_raw(), value, fd, 0) })
    }

    /// Tells the device by when a value is needed. It may raise its clocks.
    ///
    /// `Err` with [`Error::NotFound`](crate::Error::NotFound) if no kernel fence is attached to the
    /// value.
    #[doc(alias = "umf_fence_set_deadline")]
    pub fn set_deadline(&self, value: u64, deadline: impl Into<Deadline>) -> Result<()> {
        let time = deadline.into().nanoseconds();
        // SAFETY: The fence is valid.
        check(unsafe { sys::umf_fence_set_deadline(self.as_raw(), value, time, 0) })
    }

    /// Attaches the kernel fence that a syncobj has at `point` to a value.
    #[doc(alias = "umf_fence_attach_syncobj")]
    pub fn attach_syncobj(
        &self,
        value: u64,
        device: &Device,
        handle: u32,
        point: u64,
    ) -> Result<()> {
        let device = device.as_raw();
        // SAFETY: The fence and the device are valid.
        check(unsafe {
            sys::umf_fence_attach_syncobj(self.as_raw(), value, device, handle, point, 0)
        })
    }
}
