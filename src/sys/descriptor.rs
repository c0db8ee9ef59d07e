// SPDX-License-Identifier: MIT
//! fcntl(F_DUPFD_CLOEXEC), Linux 2.6.24: duplicates, and descriptors above 2. ioctl(FIOQSIZE).
//!
//! A program may close its standard descriptors. If the library took their numbers, a stray
//! `write(1, ...)` would go into a page or an eventfd. So each descriptor that the library keeps or
//! returns is above 2.

use crate::error::{Error, Result};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use rustix::io::Errno;
use rustix::ioctl::{Getter, Opcode, ioctl};

/// The lowest number of a descriptor of the library.
const LOWEST: RawFd = 3;

/// Duplicate a descriptor, with CLOEXEC.
pub(crate) fn dup(fd: impl AsFd) -> Result<OwnedFd> {
    rustix::io::fcntl_dupfd_cloexec(fd, LOWEST).map_err(|errno| match errno {
        // RLIMIT_NOFILE allows no number from `LOWEST` on.
        Errno::INVAL => Error::ProcessFdLimit,
        errno => errno.into(),
    })
}

/// Return this new descriptor, or a duplicate if its number is one of the standard descriptors'.
pub(crate) fn above_stdio(fd: OwnedFd) -> Result<OwnedFd> {
    if fd.as_raw_fd() >= LOWEST { Ok(fd) } else { dup(fd) }
}

/// Check whether the file has a size in its file system: a regular file or a directory.
///
/// ioctl(FIOQSIZE), which the kernel answers itself for every file, and never the file system.
/// True if a sandbox refuses it.
#[cfg(any(target_arch = "x86_64", target_arch = "x86", target_arch = "aarch64"))]
pub(crate) fn has_size(fd: BorrowedFd<'_>) -> Result<bool> {
    const FIOQSIZE: Opcode = 0x5460;
    // SAFETY: the kernel writes an i64 for this opcode on these architectures (asm/ioctls.h).
    match unsafe { ioctl(fd, Getter::<FIOQSIZE, i64>::new()) } {
        Err(Errno::NOTTY) => Ok(false),
        Err(Errno::BADF) => Err(Error::BadFd),
        Ok(_) | Err(_) => Ok(true),
    }
}

/// On other architectures the number differs, and a wrong one would reach the file system.
#[cfg(not(any(target_arch = "x86_64", target_arch = "x86", target_arch = "aarch64")))]
pub(crate) fn has_size(_: BorrowedFd<'_>) -> Result<bool> {
    Ok(true)
}

/// Take ownership of a descriptor that an ioctl of the kernel returned.
///
/// The file must be one that the kernel serves: a peer's answer could be the number of another
/// descriptor of this process.
pub(crate) fn new_descriptor(fd: RawFd) -> Result<OwnedFd> {
    if fd < 0 {
        return Err(Error::Unexpected);
    }
    // SAFETY: it is not -1. The call that returned it succeeded, so it is open (CLOEXEC) and has no
    // other owner.
    above_stdio(unsafe { OwnedFd::from_raw_fd(fd) })
}
