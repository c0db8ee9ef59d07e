//! eventfd: a counter that poll can wait for.

use crate::error::{Error, Result};
use rustix::event::EventfdFlags;
use rustix::fd::{BorrowedFd, OwnedFd};

/// A new one, at zero.
pub(crate) fn create() -> Result<OwnedFd> {
    Ok(rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)
}

/// `Invalid` for what cannot be one of the kernel's objects without a name. (There is no way to ask whether it is an eventfd.)
pub(crate) fn require(fd: BorrowedFd<'_>) -> Result<()> {
    let mode = rustix::fs::fstat(fd)?.st_mode;
    if rustix::fs::FileType::from_raw_mode(mode) == rustix::fs::FileType::Unknown {
        Ok(())
    } else {
        Err(Error::Invalid)
    }
}

/// Adds one. A counter that is full is readable already, so nothing is lost.
pub(crate) fn add(fd: BorrowedFd<'_>) {
    let _ = rustix::io::write(fd, &1u64.to_ne_bytes());
}

/// Back to zero.
pub(crate) fn clear(fd: BorrowedFd<'_>) {
    let _ = rustix::io::read(fd, &mut [0u8; 8]);
}
