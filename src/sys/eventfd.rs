//! eventfd: a counter that poll can wait for.

use crate::error::{Error, Result};
use rustix::event::EventfdFlags;
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::io::Errno;

/// A new one, at zero.
pub(crate) fn create() -> Result<OwnedFd> {
    Ok(rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)
}

/// `Invalid` for what is no eventfd. The kernel does not tell what one of its objects without a
/// name is; but of those eventfds are nearly the only ones that can be written to. (fanotify, bpf
/// and vfio have others. /proc would tell them apart, and is not everywhere.)
pub(crate) fn require(fd: BorrowedFd<'_>) -> Result<()> {
    let mode = rustix::fs::fstat(fd)?.st_mode;
    if rustix::fs::FileType::from_raw_mode(mode) != rustix::fs::FileType::Unknown {
        return Err(Error::Invalid);
    }
    // A list of no buffers: the answer is whether the file can be written to, and the file does not
    // hear of it.
    match rustix::io::writev(fd, &[]) {
        Err(Errno::INVAL | Errno::BADF) => Err(Error::Invalid),
        _ => Ok(()),
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
