// SPDX-License-Identifier: MIT
//! eventfd2, Linux 2.6.27: a counter that is readable while it is above zero.
#![forbid(unsafe_code)]

use crate::error::{Error, Result};
use crate::sys::aio;
use crate::sys::descriptor::above_stdio;
use rustix::event::{EventfdFlags, PollFd, PollFlags};
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::io::Errno;

/// Create a non-blocking eventfd with the count zero.
pub(crate) fn create() -> Result<OwnedFd> {
    above_stdio(rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)
}

/// Return `Invalid` if `fd` is not an eventfd.
///
/// The caller has checked that the file is of [`FileKind::Anonymous`](super::file_kind). The check
/// is not exact: no system call returns the kind of an anonymous inode. But eventfds are nearly the
/// only ones that are open for writing. Others come from fanotify, bpf and vfio. /proc would tell
/// them apart, but is not always mounted.
pub(crate) fn require(fd: BorrowedFd<'_>) -> Result<()> {
    // With an empty list of buffers, the kernel checks only whether the file can be written to,
    // and does not call the file's driver.
    match rustix::io::writev(fd, &[]) {
        Err(Errno::INVAL | Errno::BADF) => Err(Error::Invalid),
        _ => Ok(()),
    }
}

/// Add one to the counter.
///
/// Ignores a full counter (EAGAIN): it is readable already, so no wake-up is lost.
pub(crate) fn add(fd: BorrowedFd<'_>) {
    let _ = rustix::io::write(fd, &1u64.to_ne_bytes());
}

/// Add one to the counter of an eventfd that another process may have too. Never blocks.
///
/// Where a sandbox forbids AIO, another process that clears O_NONBLOCK and fills the counter at
/// this moment can make the call block.
pub(crate) fn add_shared(fd: BorrowedFd<'_>) {
    // A full counter is readable already. AIO would add to it, and make it an error to poll.
    if can_write_now(fd) && aio::signal_eventfd(fd).is_err() {
        add(fd);
    }
}

/// Check whether a write would add to the counter now.
fn can_write_now(fd: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::new(&fd, PollFlags::OUT)];
    let now = rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 };
    rustix::event::poll(&mut fds, Some(&now)) == Ok(1)
}

/// Reset the counter to zero.
pub(crate) fn clear(fd: BorrowedFd<'_>) {
    let _ = rustix::io::read(fd, &mut [0u8; 8]);
}
