// SPDX-License-Identifier: MIT
//! Syncobjs, for conversions that do not block.

use crate::error::{Result, check};
use crate::handle::{handle, opened};
use crate::{Device, sys};
use std::os::fd::OwnedFd;

handle! {
    /// A reference to a drm_syncobj, binary or timeline, for the conversions of an event loop.
    #[doc(alias = "umf_syncobj")]
    Syncobj: umf_syncobj, umf_syncobj_ref, umf_syncobj_unref
}

impl Syncobj {
    /// Makes a syncobj, which has no fence and no points yet.
    #[doc(alias = "umf_syncobj_create")]
    pub fn create(device: &Device) -> Result<Syncobj> {
        // SAFETY: The device is valid, and `out` is valid for writing.
        Syncobj::created(|out| unsafe { sys::umf_syncobj_create(device.as_raw(), 0, out) })
    }

    /// Takes a reference to a syncobj. The library gets a handle of its own.
    #[doc(alias = "umf_syncobj_open")]
    pub fn open(device: &Device, handle: u32) -> Result<Syncobj> {
        // SAFETY: The device is valid, and `out` is valid for writing.
        Syncobj::created(|out| unsafe { sys::umf_syncobj_open(device.as_raw(), handle, 0, out) })
    }

    /// Returns a new descriptor of the syncobj, for another process.
    #[doc(alias = "umf_syncobj_export")]
    pub fn export(&self) -> Result<OwnedFd> {
        // SAFETY: The syncobj is valid, and `out` is valid for writing.
        opened(|out| unsafe { sys::umf_syncobj_export(self.as_raw(), 0, out) })
    }

    /// Signals a point, to give up the points before it: nobody will signal those.
    #[doc(alias = "umf_syncobj_signal")]
    pub fn signal(&self, point: u64) -> Result<()> {
        // SAFETY: The syncobj is valid.
        check(unsafe { sys::umf_syncobj_signal(self.as_raw(), point, 0) })
    }
}
