//! DRM devices.

use super::args::{borrow_fd, non_null, write_sized};
use super::contract::c_contract;
use super::handles::{Handle, borrow, c_ref, c_unref, write_handle};
use super::returns::{c_return, c_return_preserving_errno};
use crate::convert::Device;
use crate::util::refs::Ref;
use std::ffi::c_int;

/// A DRM device file, for conversions to and from drm_syncobj. Reference counted.
pub struct umf_device {
    _opaque: (),
}

impl Handle for umf_device {
    type Object = Device;
}

/// Wraps a DRM device that the caller opened: a render node or a card node, without being master. A device without
/// syncobjs is taken too; umf_device_query_caps() tells.
///
/// \param drm_fd      stays the caller's, who may close it afterwards: the library duplicates it. syncobj handles are those
///                    of this open file.
/// \param out_device  receives a reference that the caller ends with umf_device_unref(). Written only on success.
///
/// \return 0, or
///         -EINVAL  drm_fd is no DRM device, out_device NULL.
///         -EBADF   drm_fd is not open.
///         -EACCES  the kernel or a sandbox refuses the calls.
///         -ENOMEM  no memory.
///         -EMFILE, -ENFILE  no file descriptor left, in the process or in the machine.
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_device_create(
    drm_fd: c_int,
    out_device: *mut *mut umf_device,
) -> c_int {
    c_return_preserving_errno(|| {
        non_null(out_device)?;
        let fd = borrow_fd(drm_fd)?;
        c_contract!(write_handle(Ref::try_new(|| Device::new(fd))?, out_device));
        Ok(())
    })
}

/// In umf_device_caps.flags: binary syncobjs. Since 0.1.
pub const UMF_DEVICE_CAP_SYNCOBJ: u64 = 1 << 0;

/// In umf_device_caps.flags: timeline syncobjs. Since 0.1.
pub const UMF_DEVICE_CAP_TIMELINE: u64 = 1 << 1;

/// In umf_device_caps.flags: a syncobj point can raise an eventfd (Linux 6.6). Since 0.1.
pub const UMF_DEVICE_CAP_EVENTFD: u64 = 1 << 2;

/// In umf_device_caps.flags: syncobj waits can carry a deadline hint (Linux 6.8). Since 0.1.
pub const UMF_DEVICE_CAP_DEADLINE: u64 = 1 << 3;

/// What a device can do: see umf_device_query_caps(). Grows at the end.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct umf_device_caps {
    /// In: sizeof(struct umf_device_caps). Out: how many bytes the library knows of.
    pub size: u32,
    /// 0.
    pub reserved: u32,
    /// UMF_DEVICE_CAP_* bits.
    pub flags: u64,
}

/// Tells what a device and its kernel can do.
///
/// \param device  the device.
/// \param caps    set caps->size to sizeof(*caps) before. A library older than the caller's header fills in what it
///                knows, and zeroes what is behind. Stays the caller's.
///
/// \return 0, or
///         -EINVAL  device or caps NULL, or caps->size less than the first version of the struct.
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
        // SAFETY: the C contract (contract.rs); umf_device_caps starts with its size and has no padding.
        unsafe { write_sized(caps, &known) }
    })
}

/// Another reference to a device, to be ended with umf_device_unref(). Returns device; NULL for NULL.
///
/// Thread-safe, async-signal-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_device_ref(device: *mut umf_device) -> *mut umf_device {
    c_contract!(c_ref(device))
}

/// Ends a reference to a device. Its descriptor is closed with the last. NULL does nothing.
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_device_unref(device: *mut umf_device) {
    c_contract!(c_unref(device))
}
