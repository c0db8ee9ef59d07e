//! UMF to drm_syncobj, binary or a timeline's point, and back.

use super::device::Holds;
use super::{Device, check_import, reach, settle};
use crate::error::{Error, Result};
use crate::fence::Fence;
use crate::sys::time::Deadline;
use crate::sys::{drm, sync_file};
use rustix::fd::AsFd;

/// Where a syncobj holds a fence.
#[derive(Clone, Copy)]
pub(crate) struct Point<'a> {
    pub(crate) device: &'a Device,
    pub(crate) handle: u32,
    /// 0 is the one fence of a binary syncobj.
    pub(crate) point: u64,
}

/// Waits until the fence reaches `value`, then signals the point. Until then nothing is at that point for a kernel fence
/// to wait for: it is not materialised.
pub(crate) fn export_syncobj(fence: &Fence, value: u64, point: Point<'_>, deadline: Deadline) -> Result<()> {
    point.check_forward()?;
    reach(fence, value, deadline)?;
    point.signal()
}

/// Waits until the point was submitted and signalled, then signals `value`.
pub(crate) fn import_syncobj(fence: &Fence, value: u64, point: Point<'_>, deadline: Deadline) -> Result<()> {
    check_import(fence, value)?;
    let fence_of_point = point.wait_materialised(deadline)?;
    // A sync_file, unlike a syncobj wait, tells errors; and it holds on to the fence, which the timeline may prune once it
    // signalled.
    let outcome = sync_file::wait(fence_of_point.as_fd(), deadline)?;
    settle(fence, value, outcome)
}

impl Point<'_> {
    /// The kernel takes a point below the last one and answers success, after which both never signal. We do not.
    fn check_forward(&self) -> Result<()> {
        let caps = self.device.caps();
        if !caps.syncobj || (self.point != 0 && !caps.timeline) {
            return Err(Error::NotSupported);
        }
        if caps.timeline && drm::last_submitted(self.device.fd(), self.handle)? >= self.point && self.point != 0 {
            return Err(Error::Invalid);
        }
        Ok(())
    }

    fn signal(&self) -> Result<()> {
        if self.point == 0 {
            return drm::signal(self.device.fd(), self.handle);
        }
        // Once more: others may have added points while we waited.
        self.check_forward()?;
        drm::timeline_signal(self.device.fd(), self.handle, self.point)
    }

    /// Waits until there is a fence at the point, and returns it as a sync_file.
    fn wait_materialised(&self, deadline: Deadline) -> Result<rustix::fd::OwnedFd> {
        let (fd, caps) = (self.device.fd(), self.device.caps());
        if caps.timeline {
            drm::wait_materialised(fd, self.handle, self.point, deadline)?;
        } else if self.point == 0 {
            // Without timelines there is no call that waits for the fence and not for its signal.
            drm::wait(fd, self.handle, deadline)?;
        } else {
            return Err(Error::NotSupported);
        }
        if self.point == 0 {
            return drm::export_sync_file(fd, self.handle);
        }
        // A point's fence comes out by way of a binary syncobj: exporting a point directly came in 6.16 only.
        let binary = self.device.scratch_syncobj(Holds::Nothing)?;
        drm::transfer_to_binary(fd, self.handle, self.point, binary.handle)?;
        drm::export_sync_file(fd, binary.handle)
    }
}
