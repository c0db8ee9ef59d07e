// SPDX-License-Identifier: MIT
//! UDMABUF_CREATE of /dev/udmabuf, Linux 4.20: make a dma-buf of a memfd's memory.
//!
//! Kernel header: include/uapi/linux/udmabuf.h.

use super::descriptor::new_descriptor;
use crate::error::{Error, Result};
use rustix::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, ioctl, opcode};

/// struct udmabuf_create.
#[repr(C)]
struct Create {
    memfd: u32,
    flags: u32,
    offset: u64,
    size: u64,
}

const CREATE: Opcode = opcode::write::<Create>(b'u', 0x42);
const CREATE_CLOEXEC: u32 = 1;

/// Create a dma-buf of the first `len` bytes of a memfd.
///
/// The memfd must be sealed against shrinking, and must not be sealed against writing.
/// `NotSupported` if /dev/udmabuf does not exist or this process may not open it; `Invalid` if
/// `len` exceeds the module's size_limit_mb.
pub(crate) fn create(memfd: BorrowedFd<'_>, len: u64) -> Result<OwnedFd> {
    let device = open()?;
    let memfd = memfd.as_raw_fd() as u32;
    // SAFETY: `Create` has the layout of struct udmabuf_create, and holds no address.
    let fd =
        unsafe { ioctl(&device, Create { memfd, flags: CREATE_CLOEXEC, offset: 0, size: len }) };
    new_descriptor(fd.map_err(|errno| match errno {
        // The memory of the page is broken, or cannot be moved to where a device can reach it.
        Errno::IO | Errno::BUSY => Error::NoMemory,
        errno => errno.into(),
    })?)
}

/// rustix has no type for an ioctl that reads a struct and returns a number.
// SAFETY: the opcode encodes the size of `Create`. The kernel reads it and writes nothing.
unsafe impl Ioctl for Create {
    type Output = RawFd;
    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        CREATE
    }

    fn as_ptr(&mut self) -> *mut rustix::ffi::c_void {
        std::ptr::from_mut(self).cast()
    }

    unsafe fn output_from_ptr(
        out: IoctlOutput,
        _: *mut rustix::ffi::c_void,
    ) -> rustix::io::Result<RawFd> {
        Ok(out)
    }
}

fn open() -> Result<OwnedFd> {
    rustix::fs::open(c"/dev/udmabuf", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).map_err(
        |errno| match errno {
            Errno::MFILE | Errno::NFILE | Errno::NOMEM => errno.into(),
            // There is no such device, or something else has its name.
            _ => Error::NotSupported,
        },
    )
}

/// Check whether this process can open /dev/udmabuf.
pub(crate) fn is_available() -> bool {
    open().is_ok()
}
