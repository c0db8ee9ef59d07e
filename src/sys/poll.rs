//! Waiting for a descriptor.

use super::time::Deadline;
use crate::error::{Error, Result};
use rustix::event::{PollFd, PollFlags};
use rustix::fd::BorrowedFd;
use rustix::fs::OFlags;
use rustix::io::Errno;

/// `Invalid` for a descriptor that blocks, which [`readable`] must not be given: between poll and
/// read, another may take what was there.
pub(crate) fn require_nonblocking(fd: BorrowedFd<'_>) -> Result<()> {
    if rustix::fs::fcntl_getfl(fd)?.contains(OFlags::NONBLOCK) {
        Ok(())
    } else {
        Err(Error::Invalid)
    }
}

/// Sleeps until `fd` is readable and takes what is there, or until the deadline. An interrupted
/// sleep may end early. False if nobody is at the other end any more: a sleep there would end at
/// once, over and over.
pub(crate) fn readable(fd: BorrowedFd<'_>, deadline: Deadline) -> Result<bool> {
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    match rustix::event::poll(&mut fds, deadline.remaining().as_ref()) {
        Ok(0) | Err(Errno::INTR) => Ok(true),
        Ok(_) if fds.iter().all(|fd| fd.revents().contains(PollFlags::IN)) => {
            // One read empties an eventfd, or takes the events of a driver. What it says does not
            // matter, the value does.
            Ok(rustix::io::read(fd, &mut [0u8; 256]) != Ok(0))
        }
        Ok(_) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}
