// SPDX-License-Identifier: MIT
//! A DRM device that the caller has opened, for syncobj calls.

use crate::error::{Error, Result};
use crate::sys::drm;
use crate::sys::file_kind::FileKind;
use drm_sys::{DRM_CAP_SYNCOBJ, DRM_CAP_SYNCOBJ_TIMELINE};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};

/// What a device and its kernel can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DeviceCaps {
    /// Binary syncobjs.
    pub(crate) syncobj: bool,
    /// Timeline syncobjs.
    pub(crate) timeline: bool,
    /// A syncobj point can raise an eventfd (Linux 6.6).
    pub(crate) eventfd: bool,
    /// Waits can carry a deadline hint (Linux 6.8).
    pub(crate) deadline: bool,
}

/// A DRM device: a duplicate of the caller's descriptor. syncobj handles belong to an open file.
///
/// No handle that this makes outlives a call; [`super::Syncobj`] has its own rule. The child of a
/// fork shares the open file, and so the handles. If either process kept one, the other could
/// destroy it. The kernel would then give its number to another syncobj, whose fence may be
/// pending.
pub(crate) struct Device {
    fd: OwnedFd,
    caps: DeviceCaps,
}

impl Device {
    /// Opens a device. `Invalid` if `fd` is no DRM device.
    pub(crate) fn new(fd: BorrowedFd<'_>) -> Result<Device> {
        let device = FileKind::dup(&[FileKind::Drm], fd)?;
        let syncobj = drm::get_cap(device.as_fd(), DRM_CAP_SYNCOBJ)? != 0;
        // A kernel before 5.2 does not know this capability.
        let timeline =
            syncobj && drm::get_cap(device.as_fd(), DRM_CAP_SYNCOBJ_TIMELINE).unwrap_or(0) != 0;
        let caps = DeviceCaps {
            syncobj,
            timeline,
            eventfd: timeline && drm::has_eventfd(device.as_fd()),
            deadline: false,
        };
        let mut device = Device { fd: device, caps };
        if syncobj {
            let deadline =
                drm::has_deadline(device.fd(), device.scratch_syncobj(Holds::Signaled)?.handle);
            device.caps.deadline = deadline;
        }
        Ok(device)
    }

    /// Returns what the device and its kernel can do.
    pub(crate) fn caps(&self) -> DeviceCaps {
        self.caps
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Makes a sync_file that has signaled. `NotSupported` without syncobjs.
    pub(crate) fn signaled_sync_file(&self) -> Result<OwnedFd> {
        if !self.caps.syncobj {
            return Err(Error::NotSupported);
        }
        drm::export_sync_file(self.fd(), self.scratch_syncobj(Holds::Signaled)?.handle)
    }

    /// Makes a binary syncobj that is destroyed when dropped.
    pub(crate) fn scratch_syncobj(&self, holds: Holds) -> Result<Scratch<'_>> {
        Ok(Scratch { device: self, handle: drm::create(self.fd(), holds == Holds::Signaled)? })
    }
}

/// What a new syncobj holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holds {
    Nothing,
    Signaled,
}

/// See [`Device::scratch_syncobj`].
pub(crate) struct Scratch<'a> {
    device: &'a Device,
    pub(crate) handle: u32,
}

impl Drop for Scratch<'_> {
    fn drop(&mut self) {
        drm::destroy(self.device.fd(), self.handle);
    }
}
