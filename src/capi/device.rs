// SPDX-License-Identifier: MIT
//! DRM devices.
//!
//! A device is an open DRM device file, which the conversions to and from drm_syncobj need.

use super::args::{borrow_fd, no_flags, non_null, write_sized};
use super::contract::c_contract;
use super::handles::{Handle, borrow, c_ref, c_unref, write_handle};
use super::returns::{c_return, c_return_preserving_errno};
use crate::convert::Device;
use crate::util::refs::Ref;
use std::ffi::c_int;

/// A DRM device file, for conversions to and from kernel fences. Reference counted. Since 0.1.
pub struct umf_device {
    _opaque: (),
}

impl Handle for umf_device {
    type Object = Device;
}

/// Make a device from the descriptor of a DRM device.
///
/// The descriptor is one of a render node or a card node; the caller need not be DRM master. A
/// device without syncobjs is accepted too: umf_device_query_caps() tells what it can do.
///
/// @drm_fd: the DRM device. Stays the caller's, which may close it after the call: the library
///     duplicates it. syncobj handles given with this device are those of this open file.
/// @flags: must be 0.
/// @out_device: receives a reference, which the caller ends with umf_device_unref(). Written only
///     on success.
///
/// Return: 0 on success, or
///   -EINVAL           @drm_fd is not a DRM device, @flags is not 0, or @out_device is NULL
///   -EBADF            @drm_fd is not open
///   -EACCES           the kernel or a sandbox refuses the calls
///   -ENODEV           the device is gone: unplugged, unbound from its driver, or disabled
///   -ENOMEM           no memory is left
///   -EMFILE, -ENFILE  no file descriptor is left, in the process or in the system
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_device_create(
    drm_fd: c_int,
    flags: u64,
    out_device: *mut *mut umf_device,
) -> c_int {
    c_return_preserving_errno(|| {
        no_flags(flags)?;
        non_null(out_device)?;
        let fd = borrow_fd(drm_fd)?;
        c_contract!(write_handle(Ref::try_new(|| Device::new(fd))?, out_device));
        Ok(())
    })
}

/// Bit of umf_device_caps.flags: the device has binary syncobjs. Since 0.1.
pub const UMF_DEVICE_CAP_SYNCOBJ: u64 = 1 << 0;

/// Bit of umf_device_caps.flags: the device has timeline syncobjs. Since 0.1.
pub const UMF_DEVICE_CAP_TIMELINE: u64 = 1 << 1;

/// Bit of umf_device_caps.flags: a syncobj point can signal an eventfd (Linux 6.6). Since 0.1.
pub const UMF_DEVICE_CAP_EVENTFD: u64 = 1 << 2;

/// Bit of umf_device_caps.flags: a syncobj wait can carry a deadline hint (Linux 6.8).
///
/// umf_fence_import_syncobj() passes its deadline on. Since 0.1.
pub const UMF_DEVICE_CAP_DEADLINE: u64 = 1 << 3;

/// What a device and its kernel can do. umf_device_query_caps() fills it in. Later versions may add
/// members at the end. Since 0.1.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct umf_device_caps {
    /// In: sizeof(struct umf_device_caps). Out: the number of bytes that the library knows.
    pub size: u32,
    /// 0.
    pub reserved: u32,
    /// UMF_DEVICE_CAP_* bits.
    pub flags: u64,
}

/// Get what a device and its kernel can do.
///
/// @device: the device.
/// @caps: receives the answer. The caller sets caps->size to sizeof(*caps) first. A library older
///     than the caller's header fills in the members that it knows, and zeroes the rest. Stays the
///     caller's.
///
/// Return: 0 on success, or
///   -EINVAL  @device or @caps is NULL, or caps->size is less than the first version of the struct,
///            or more than 256
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_device_query_caps(
    device: *const umf_device,
    caps: *mut umf_device_caps,
) -> c_int {
    c_return(|| {
        let has = c_contract!(borrow(device)?).caps();
        let flags = [
            (has.syncobj, UMF_DEVICE_CAP_SYNCOBJ),
            (has.timeline, UMF_DEVICE_CAP_TIMELINE),
            (has.eventfd, UMF_DEVICE_CAP_EVENTFD),
            (has.deadline, UMF_DEVICE_CAP_DEADLINE),
        ];
        let flags = flags.iter().filter(|(has, _)| *has).fold(0, |flags, (_, flag)| flags | flag);
        let known =
            umf_device_caps { size: size_of::<umf_device_caps>() as u32, reserved: 0, flags };
        // SAFETY: the C contract (contract.rs). umf_device_caps starts with its size and has no
        // padding.
        unsafe { write_sized(caps, &known) }
    })
}

/// Add a reference to a device.
///
/// @device: the device, or NULL.
///
/// Return: @device. The caller ends the new reference with umf_device_unref().
///
/// Thread-safe and async-signal-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_device_ref(device: *mut umf_device) -> *mut umf_device {
    c_contract!(c_ref(device))
}

/// End a reference to a device.
///
/// The library's descriptor is closed with the last reference.
///
/// @device: the device. NULL does nothing.
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_device_unref(device: *mut umf_device) {
    c_contract!(c_unref(device))
}
