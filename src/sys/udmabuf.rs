//! udmabuf: a memfd's pages as a dma-buf (kernel: include/uapi/linux/udmabuf.h).

use crate::error::{Error, Result};
use rustix::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, ioctl, opcode};

/// struct udmabuf_create
#[repr(C)]
struct Create {
    memfd: u32,
    flags: u32,
    offset: u64,
    size: u64,
}

const CREATE: Opcode = opcode::write::<Create>(b'u', 0x42);
const CREATE_CLOEXEC: u32 = 1;

/// A dma-buf of the first `len` bytes of a memfd that is sealed against shrinking and not against
/// writing. `NotSupported` on a machine without /dev/udmabuf, or where this process may not open
/// it; `Invalid` for more than its size_limit_mb.
pub(crate) fn create(memfd: BorrowedFd<'_>, len: u64) -> Result<OwnedFd> {
    let device = open()?;
    let memfd = memfd.as_raw_fd() as u32;
    // SAFETY: `Create` implements the call as the kernel defines it, and holds no address.
    let fd =
        unsafe { ioctl(&device, Create { memfd, flags: CREATE_CLOEXEC, offset: 0, size: len }) }?;
    // SAFETY: the call succeeded, so the kernel made this descriptor for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// rustix has no pattern for a call that reads a struct and answers with its return value.
// SAFETY: the opcode was made from `Create`; the kernel reads it and writes nothing.
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
            Errno::NOENT | Errno::NODEV | Errno::NXIO | Errno::ACCESS | Errno::PERM => {
                Error::NotSupported
            }
            other => other.into(),
        },
    )
}

/// Whether this process may open /dev/udmabuf.
pub(crate) fn is_available() -> bool {
    open().is_ok()
}
