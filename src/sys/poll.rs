//! ppoll, Linux 2.6.16: wait until one descriptor is readable.

#![forbid(unsafe_code)]

use super::time::Deadline;
use crate::error::{Error, Result};
use rustix::event::{PollFd, PollFlags};
use rustix::fd::BorrowedFd;
use rustix::fs::OFlags;
use rustix::io::Errno;

/// Return `Invalid` if reads of `fd` block.
///
/// [`readable`] requires a non-blocking descriptor: another reader may take the data between poll
/// and read.
pub(crate) fn require_nonblocking(fd: BorrowedFd<'_>) -> Result<()> {
    if rustix::fs::fcntl_getfl(fd)?.contains(OFlags::NONBLOCK) {
        Ok(())
    } else {
        Err(Error::Invalid)
    }
}

/// Wait until `fd` is readable and read from it once, or until the deadline.
///
/// A signal handler may end the wait early. Returns false if the other end is closed or `fd` has an
/// error: every later wait on `fd` would return at once.
pub(crate) fn readable(fd: BorrowedFd<'_>, deadline: Deadline) -> Result<bool> {
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    match rustix::event::poll(&mut fds, deadline.remaining().as_ref()) {
        Ok(0) | Err(Errno::INTR) => Ok(true),
        Ok(_) if fds.iter().all(|fd| fd.revents().contains(PollFlags::IN)) => {
            // One read resets an eventfd, or takes the events of a driver. The caller checks the
            // fence's value, so the content does not matter.
            Ok(rustix::io::read(fd, &mut [0u8; 256]) != Ok(0))
        }
        Ok(_) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}
