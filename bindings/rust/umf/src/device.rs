// SPDX-License-Identifier: MIT
//! DRM devices, for conversions to and from kernel fences.

use crate::error::{Result, check};
use crate::handle::{handle, size_of};
use crate::{DeviceCapFlags, sys};
use std::os::fd::{AsFd, AsRawFd};

handle! {
    /// A DRM device file, for conversions to and from kernel fences.
    #[doc(alias = "umf_device")]
    Device: umf_device, umf_device_ref, umf_device_unref
}

/// What a device and its kernel can do.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceCaps {
    /// What is possible.
    pub flags: DeviceCapFlags,
}

impl Device {
    /// Makes a device from the descriptor of a render node or a card node.
    ///
    /// syncobj handles that are given with this device are those of this open file.
    #[doc(alias = "umf_device_create")]
    pub fn create(drm: impl AsFd) -> Result<Device> {
        let drm = drm.as_fd();
        // SAFETY: `out` is valid for writing. The library duplicates the descriptor.
        Device::created(|out| unsafe { sys::umf_device_create(drm.as_raw_fd(), 0, out) })
    }

    /// Returns what the device and its kernel can do.
    #[doc(alias = "umf_device_query_caps")]
    pub fn caps(&self) -> Result<DeviceCaps> {
        let size = size_of::<sys::umf_device_caps>();
        let mut caps = sys::umf_device_caps { size, reserved: 0, flags: 0 };
        // SAFETY: The device is valid. `caps` is valid for writing, and `size` is its size.
        check(unsafe { sys::umf_device_query_caps(self.as_raw(), &raw mut caps) })?;
        Ok(DeviceCaps { flags: DeviceCapFlags::from_bits(caps.flags) })
    }
}
