// SPDX-License-Identifier: MIT
//! Export to a drm_syncobj, binary or a timeline's point, and import from one.

use super::device::{Device, Holds};
use super::rules::{apply_outcome, check_import, is_reached, scope, wait_until_reached};
use crate::error::{Error, Result};
use crate::fence::Fence;
use crate::sys::time::Deadline;
use crate::sys::{drm, sync_file};
use crate::util::process_bound::ProcessBound;
use crate::util::refs::Ref;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};

/// A place for a fence in a syncobj.
#[derive(Clone, Copy)]
pub(crate) struct Point<'a> {
    pub(crate) device: &'a Device,
    pub(crate) handle: u32,
    /// 0 is the one fence of a binary syncobj.
    pub(crate) point: u64,
}

/// Puts the kernel fence that is attached to `value` at the point. Without one, waits until the
/// fence reaches it, then signals the point. Until then the point is not materialized: it holds
/// nothing that a kernel fence could wait for.
pub(crate) fn export_syncobj(
    fence: &Fence,
    value: u64,
    point: Point<'_>,
    deadline: Deadline,
) -> Result<()> {
    let _scope = scope("export to syncobj", fence, value);
    if let Some(kernel_fence) = fence.attached(value) {
        return point.submit(kernel_fence.as_fd());
    }
    if !is_reached(fence, value) {
        point.check_forward()?;
        wait_until_reached(fence, value, deadline)?;
    }
    point.signal()
}

/// Attaches the fence of the point to `value`. `TimedOut` if none was submitted: a point without a
/// fence is no kernel fence.
pub(crate) fn attach_syncobj(fence: &Fence, value: u64, point: Point<'_>) -> Result<()> {
    point.check_supported()?;
    let kernel_fence = point.fence()?.ok_or(Error::TimedOut)?;
    fence.attach(value, &Ref::try_new(|| Ok(kernel_fence))?)
}

/// Waits until the point is submitted and signals, then signals `value`.
pub(crate) fn import_syncobj(
    fence: &Fence,
    value: u64,
    point: Point<'_>,
    deadline: Deadline,
) -> Result<()> {
    let _scope = scope("import of syncobj", fence, value);
    check_import(fence, value)?;
    point.check_supported()?;
    let fence_of_point = match point.fence()? {
        Some(fence_of_point) => fence_of_point,
        None => point.wait_materialized(deadline)?,
    };
    // Unlike a syncobj wait, a sync_file reports errors. It also keeps the fence, which the
    // timeline may prune once it has signaled.
    let outcome = sync_file::wait(fence_of_point.as_fd(), deadline)?;
    apply_outcome(fence, value, outcome, Some(fence_of_point.as_fd()))
}

/// A lasting reference to a syncobj. It has a handle of its own: the caller may destroy theirs.
///
/// The child of a fork shares the device's open file and its handles. Only the process that made
/// the handle destroys it.
pub(crate) struct Syncobj {
    device: Ref<Device>,
    handle: u32,
    creator: ProcessBound,
}

impl Syncobj {
    /// Opens a syncobj of the caller's. `NotFound` if `handle` names none of the device.
    pub(crate) fn open(device: &Ref<Device>, handle: u32) -> Result<Syncobj> {
        if !device.caps().syncobj {
            return Err(Error::NotSupported);
        }
        let handle = drm::duplicate(device.fd(), handle)?;
        Ok(Syncobj { device: device.clone(), handle, creator: ProcessBound::new() })
    }

    /// Makes a syncobj of the library's own, without a fence.
    pub(crate) fn new(device: &Ref<Device>) -> Result<Syncobj> {
        if !device.caps().syncobj {
            return Err(Error::NotSupported);
        }
        let handle = drm::create(device.fd(), false)?;
        Ok(Syncobj { device: device.clone(), handle, creator: ProcessBound::new() })
    }

    pub(crate) fn device(&self) -> &Ref<Device> {
        &self.device
    }

    /// Checks that this process made the handle. In the child of a fork, the number may be that of
    /// another syncobj by now.
    pub(crate) fn check_ours(&self) -> Result<()> {
        if self.creator.is_ours() { Ok(()) } else { Err(Error::Stale) }
    }

    /// Returns a descriptor of the syncobj, for another process.
    pub(crate) fn export(&self) -> Result<OwnedFd> {
        self.check_ours()?;
        drm::export(self.device.fd(), self.handle)
    }

    /// Checks that `other` may be the same timeline: that their last points agree. `other` is read
    /// between two reads of `self`, because others may add points meanwhile.
    pub(crate) fn may_equal(&self, other: &Syncobj) -> bool {
        let (Ok(before), Ok(last), Ok(after)) =
            (self.last_point(), other.last_point(), self.last_point())
        else {
            return false;
        };
        before <= last && last <= after
    }

    fn last_point(&self) -> Result<u64> {
        drm::last_submitted(self.device.fd(), self.handle)
    }

    /// Returns a point. 0 is the one fence of a binary syncobj.
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
    fn check_supported(&self) -> Result<()> {
        let caps = self.device.caps();
        let is_supported = caps.syncobj && (self.point == 0 || caps.timeline);
        if is_supported { Ok(()) } else { Err(Error::NotSupported) }
    }

    /// Checks that the point is beyond the last. The kernel accepts a lower one, reports success,
    /// and then neither signals.
    pub(crate) fn check_forward(&self) -> Result<()> {
        self.check_supported()?;
        if self.device.caps().timeline
            && drm::last_submitted(self.device.fd(), self.handle)? >= self.point
            && self.point != 0
        {
            return Err(Error::Invalid);
        }
        Ok(())
    }

    /// Signals the point.
    pub(crate) fn signal(&self) -> Result<()> {
        if self.point == 0 {
            self.check_supported()?;
            return drm::signal(self.device.fd(), self.handle);
        }
        // Also after a wait: others may have added points meanwhile.
        self.check_forward()?;
        drm::timeline_signal(self.device.fd(), self.handle, self.point)
    }

    /// Puts the kernel fence of a sync_file at the point.
    pub(crate) fn submit(&self, sync_file: BorrowedFd<'_>) -> Result<()> {
        self.check_supported()?;
        let fd = self.device.fd();
        if self.point == 0 {
            return drm::import_sync_file(fd, self.handle, sync_file);
        }
        self.check_forward()?;
        // By way of a binary syncobj: the direct import at a point came with Linux 6.16, and warns
        // in the kernel's log if the fence is itself a point's.
        let binary = self.device.scratch_syncobj(Holds::Nothing)?;
        drm::import_sync_file(fd, binary.handle, sync_file)?;
        drm::transfer(fd, (binary.handle, 0), (self.handle, self.point))
    }

    /// Removes the fence of a binary syncobj.
    pub(crate) fn reset(&self) -> Result<()> {
        drm::reset(self.device.fd(), self.handle)
    }

    /// Waits until the point has a fence, and returns it as a sync_file.
    fn wait_materialized(&self, deadline: Deadline) -> Result<OwnedFd> {
        let (fd, caps) = (self.device.fd(), self.device.caps());
        if caps.timeline {
            drm::wait_materialized(fd, &[self.handle], &[self.point], deadline)?;
        } else if self.point == 0 {
            // Without timelines no call waits for the fence alone: this waits for its signal.
            drm::wait(fd, self.handle, deadline, caps.deadline)?;
        } else {
            return Err(Error::NotSupported);
        }
        self.export_sync_file()
    }

    /// Waits until the point has a fence, or another point of the same device has. Returns whether
    /// this one has.
    pub(crate) fn wait_materialized_or(
        &self,
        other: &Point<'_>,
        deadline: Deadline,
    ) -> Result<bool> {
        let (handles, points) = ([self.handle, other.handle], [self.point, other.point]);
        Ok(drm::wait_materialized(self.device.fd(), &handles, &points, deadline)? == 0)
    }

    /// Returns the fence of the point as a sync_file, or `None` if none was submitted.
    pub(crate) fn fence(&self) -> Result<Option<OwnedFd>> {
        match self.export_sync_file() {
            Ok(fence) => Ok(Some(fence)),
            // The kernel's answer for a point without a fence. A handle that does not exist is
            // `NotFound`.
            Err(Error::Invalid) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Has the kernel write to an eventfd once the point, or a later one, has a fence.
    pub(crate) fn notify_when_submitted(&self, eventfd: BorrowedFd<'_>) -> Result<()> {
        drm::eventfd_when_submitted(self.device.fd(), self.handle, self.point, eventfd)
    }

    fn export_sync_file(&self) -> Result<OwnedFd> {
        let fd = self.device.fd();
        if self.point == 0 {
            return drm::export_sync_file(fd, self.handle);
        }
        if self.device.caps().point_export {
            match drm::export_point(fd, self.handle, self.point) {
                // The kernel takes a descriptor before it looks whether there is a fence.
                Err(Error::ProcessFdLimit | Error::SystemFdLimit) => {}
                result => return result,
            }
        }
        // By way of a binary syncobj, which tells first whether there is a fence.
        let binary = self.device.scratch_syncobj(Holds::Nothing)?;
        drm::transfer(fd, (self.handle, self.point), (binary.handle, 0))?;
        drm::export_sync_file(fd, binary.handle)
    }
}
