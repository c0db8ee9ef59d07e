//! UMF to drm_syncobj, binary or a timeline's point, and back.

use super::device::{Device, Holds};
use super::rules::{apply_outcome, check_import, wait_until_reached};
use crate::error::{Error, Result};
use crate::fence::Fence;
use crate::sys::time::Deadline;
use crate::sys::{drm, sync_file};
use crate::util::process_bound::ProcessBound;
use crate::util::refs::Ref;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};

/// Where a syncobj holds a fence.
#[derive(Clone, Copy)]
pub(crate) struct Point<'a> {
    pub(crate) device: &'a Device,
    pub(crate) handle: u32,
    /// 0 is the one fence of a binary syncobj.
    pub(crate) point: u64,
}

/// Waits until the fence reaches `value`, then signals the point. Until then nothing is at that
/// point for a kernel fence to wait for: it is not materialized.
pub(crate) fn export_syncobj(
    fence: &Fence,
    value: u64,
    point: Point<'_>,
    deadline: Deadline,
) -> Result<()> {
    point.check_forward()?;
    wait_until_reached(fence, value, deadline)?;
    point.signal()
}

/// Waits until the point was submitted and signalled, then signals `value`.
pub(crate) fn import_syncobj(
    fence: &Fence,
    value: u64,
    point: Point<'_>,
    deadline: Deadline,
) -> Result<()> {
    check_import(fence, value)?;
    let fence_of_point = point.wait_materialized(deadline)?;
    // A sync_file, unlike a syncobj wait, tells errors; and it holds on to the fence, which the
    // timeline may prune once it signalled.
    let outcome = sync_file::wait(fence_of_point.as_fd(), deadline)?;
    apply_outcome(fence, value, outcome)
}

/// A reference to a syncobj that lasts, by a handle of its own: the caller may destroy his.
///
/// The child of a fork shares the device's open file and its handles, but does not touch this one:
/// only who made it destroys it.
pub(crate) struct Syncobj {
    device: Ref<Device>,
    handle: u32,
    creator: ProcessBound,
}

impl Syncobj {
    /// `NotFound` if `handle` names no syncobj of the device.
    pub(crate) fn open(device: &Ref<Device>, handle: u32) -> Result<Syncobj> {
        if !device.caps().syncobj {
            return Err(Error::NotSupported);
        }
        let handle = drm::duplicate(device.fd(), handle)?;
        Ok(Syncobj { device: device.clone(), handle, creator: ProcessBound::new() })
    }

    /// A new one, binary, that nobody else knows.
    pub(crate) fn new(device: &Ref<Device>) -> Result<Syncobj> {
        let handle = drm::create(device.fd(), false)?;
        Ok(Syncobj { device: device.clone(), handle, creator: ProcessBound::new() })
    }

    pub(crate) fn device(&self) -> &Ref<Device> {
        &self.device
    }

    /// One of its points; 0 is the one fence of a binary syncobj.
    pub(crate) fn at(&self, point: u64) -> Point<'_> {
        Point { device: &self.device, handle: self.handle, point }
    }
}

impl Drop for Syncobj {
    fn drop(&mut self) {
        if self.creator.is_ours() {
            drm::destroy(self.device.fd(), self.handle);
        }
    }
}

impl Point<'_> {
    /// The kernel takes a point below the last one and answers success, after which both never
    /// signal. We do not.
    pub(crate) fn check_forward(&self) -> Result<()> {
        let caps = self.device.caps();
        if !caps.syncobj || (self.point != 0 && !caps.timeline) {
            return Err(Error::NotSupported);
        }
        if caps.timeline
            && drm::last_submitted(self.device.fd(), self.handle)? >= self.point
            && self.point != 0
        {
            return Err(Error::Invalid);
        }
        Ok(())
    }

    pub(crate) fn signal(&self) -> Result<()> {
        if self.point == 0 {
            return drm::signal(self.device.fd(), self.handle);
        }
        // Once more: others may have added points while we waited.
        self.check_forward()?;
        drm::timeline_signal(self.device.fd(), self.handle, self.point)
    }

    /// Takes the fence out of a binary syncobj.
    pub(crate) fn reset(&self) -> Result<()> {
        drm::reset(self.device.fd(), self.handle)
    }

    /// Waits until there is a fence at the point, and returns it as a sync_file.
    fn wait_materialized(&self, deadline: Deadline) -> Result<OwnedFd> {
        let (fd, caps) = (self.device.fd(), self.device.caps());
        if caps.timeline {
            drm::wait_materialized(fd, &[self.handle], &[self.point], deadline)?;
        } else if self.point == 0 {
            // Without timelines there is no call that waits for the fence and not for its signal.
            drm::wait(fd, self.handle, deadline)?;
        } else {
            return Err(Error::NotSupported);
        }
        self.export_sync_file()
    }

    /// Waits until there is a fence at the point, or at another of the same device, and tells
    /// whether it is at this one.
    pub(crate) fn wait_materialized_or(&self, other: &Point<'_>) -> Result<bool> {
        let (handles, points) = ([self.handle, other.handle], [self.point, other.point]);
        Ok(drm::wait_materialized(self.device.fd(), &handles, &points, Deadline::NEVER)? == 0)
    }

    /// The fence at the point as a sync_file. `None` if nobody submitted one.
    pub(crate) fn fence(&self) -> Result<Option<OwnedFd>> {
        match self.export_sync_file() {
            Ok(fence) => Ok(Some(fence)),
            // What the kernel says of a point without a fence. The handle is ours, so nothing else
            // can be invalid.
            Err(Error::Invalid) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Has the kernel write to an eventfd once the point has a fence, or a later one has.
    pub(crate) fn notify_when_submitted(&self, eventfd: BorrowedFd<'_>) -> Result<()> {
        drm::eventfd_when_submitted(self.device.fd(), self.handle, self.point, eventfd)
    }

    fn export_sync_file(&self) -> Result<OwnedFd> {
        let fd = self.device.fd();
        if self.point == 0 {
            return drm::export_sync_file(fd, self.handle);
        }
        // A point's fence comes out by way of a binary syncobj: exporting a point directly came in
        // 6.16 only.
        let binary = self.device.scratch_syncobj(Holds::Nothing)?;
        drm::transfer_to_binary(fd, self.handle, self.point, binary.handle)?;
        drm::export_sync_file(fd, binary.handle)
    }
}
