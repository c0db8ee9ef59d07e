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
    /// A point's fence can be exported directly (Linux 6.16).
    pub(crate) point_export: bool,
}

/// A DRM device: a duplicate of the caller's descriptor. syncobj handles belong to an open file.
///
/// No handle that this makes outlives a call; [`super::Syncobj`] has its own rule. The child of a
/// fork shares the open file, and so the handles. If either process kept one, the other could
/// destroy it. The kernel would then give its number to another syncobj, whose fence may be
/// pending.
///
/// A sync_file that has signaled is kept instead. No ioctl changes what it holds: neither the child
/// of a fork nor the owner of a sync_file that was merged from it can change it.
pub(crate) struct Device {
    fd: OwnedFd,
    caps: DeviceCaps,
    /// `None` without syncobjs, or if the kernel did not make one.
    signaled: Option<OwnedFd>,
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
            point_export: timeline && drm::has_point_export(device.as_fd()),
        };
        let mut device = Device { fd: device, caps, signaled: None };
        if syncobj {
            let scratch = device.scratch_syncobj(Holds::Signaled)?;
            let deadline = drm::has_deadline(device.fd(), scratch.handle);
            let signaled = drm::export_sync_file(device.fd(), scratch.handle).ok();
            drop(scratch);
            device.caps.deadline = deadline;
            device.signaled = signaled;
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

    /// Returns a sync_file that has signaled, for a call of this process. It never leaves the
    /// process: a consumer gets an open file of its own. `None` if there is none.
    pub(crate) fn signaled(&self) -> Option<BorrowedFd<'_>> {
        self.signaled.as_ref().map(AsFd::as_fd)
    }

    /// Makes a sync_file that signals at this moment. `NotSupported` without syncobjs.
    pub(crate) fn signal_sync_file(&self) -> Result<OwnedFd> {
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
