//! A DRM device that the caller gave us, for syncobj calls.

use crate::error::{Error, Result};
use crate::sys::{drm, memfd};
use drm_sys::{DRM_CAP_SYNCOBJ, DRM_CAP_SYNCOBJ_TIMELINE};
use once_cell::sync::OnceCell;
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

/// A DRM device. syncobj handles belong to an open file; this one is the caller's, duplicated.
pub(crate) struct Device {
    fd: OwnedFd,
    caps: DeviceCaps,
    /// A syncobj that holds a signalled fence: where signalled sync_files come from.
    signaled: OnceCell<u32>,
}

impl Device {
    /// `Invalid` if `fd` is no DRM device.
    pub(crate) fn new(fd: BorrowedFd<'_>) -> Result<Device> {
        let syncobj = drm::get_cap(fd, DRM_CAP_SYNCOBJ)? != 0;
        // A kernel before 5.2 does not know this capability.
        let timeline = syncobj && drm::get_cap(fd, DRM_CAP_SYNCOBJ_TIMELINE).unwrap_or(0) != 0;
        let caps = DeviceCaps { syncobj, timeline, eventfd: timeline && drm::has_eventfd(fd), deadline: false };
        let mut device = Device { fd: memfd::dup(fd)?, caps, signaled: OnceCell::new() };
        if syncobj {
            device.caps.deadline = drm::has_deadline(device.fd(), device.signaled_syncobj()?);
        }
        Ok(device)
    }

    /// What the device and its kernel can do.
    pub(crate) fn caps(&self) -> DeviceCaps {
        self.caps
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// A new sync_file that has signalled. `NotSupported` without syncobjs.
    pub(crate) fn signaled_sync_file(&self) -> Result<OwnedFd> {
        drm::export_sync_file(self.fd(), self.signaled_syncobj()?)
    }

    fn signaled_syncobj(&self) -> Result<u32> {
        if !self.caps.syncobj {
            return Err(Error::NotSupported);
        }
        self.signaled.get_or_try_init(|| drm::create(self.fd(), true)).copied()
    }

    /// A binary syncobj that is gone when dropped.
    pub(crate) fn scratch_syncobj(&self) -> Result<Scratch<'_>> {
        Ok(Scratch { device: self, handle: drm::create(self.fd(), false)? })
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        if let Some(handle) = self.signaled.get() {
            drm::destroy(self.fd(), *handle);
        }
    }
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
