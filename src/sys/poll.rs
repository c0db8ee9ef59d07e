// SPDX-License-Identifier: MIT
//! ppoll, Linux 2.6.16, and preadv2(RWF_NOWAIT), Linux 4.14: wait until one descriptor is readable.

#![forbid(unsafe_code)]

#[cfg(not(loom))]
use super::peer::ExitEvent;
use super::time::Deadline;
use crate::error::{Error, Result};
use rustix::event::{PollFd, PollFlags};
use rustix::fd::BorrowedFd;
use rustix::fs::OFlags;
use rustix::io::{Errno, ReadWriteFlags};
use std::io::IoSliceMut;

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

/// Wait until `fd` has this event, or until the deadline. Return whether it has.
///
/// A signal handler may end the wait early.
#[cfg(not(loom))]
pub(crate) fn is_ready(fd: BorrowedFd<'_>, event: ExitEvent, deadline: Deadline) -> Result<bool> {
    let flags = match event {
        ExitEvent::Readable => PollFlags::IN,
        ExitEvent::HangsUp => PollFlags::RDHUP,
    };
    let mut fds = [PollFd::new(&fd, flags)];
    match rustix::event::poll(&mut fds, deadline.remaining().as_ref()) {
        Ok(count) => Ok(count > 0),
        Err(Errno::INTR) => Ok(false),
        Err(errno) => Err(refused(errno)),
    }
}

/// Convert the error of a poll.
pub(super) fn refused(errno: Errno) -> Error {
    match errno {
        // RLIMIT_NOFILE is below the number of descriptors that are polled.
        Errno::INVAL => Error::ProcessFdLimit,
        errno => errno.into(),
    }
}

/// How a [`readable`] ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// The descriptor was readable, and was read from.
    Read,
    /// The other descriptor is readable.
    Woken,
    /// The deadline passed, or a signal handler ran.
    TimedOut,
    /// The other end is closed, or the descriptor has an error: every later call would return this.
    Dead,
}

/// Wait until `fd` is readable and read from it once, until `wake` is readable, or until the
/// deadline.
pub(crate) fn readable(
    fd: BorrowedFd<'_>,
    wake: BorrowedFd<'_>,
    deadline: Deadline,
) -> Result<Readiness> {
    let mut fds = [PollFd::new(&fd, PollFlags::IN), PollFd::new(&wake, PollFlags::IN)];
    match rustix::event::poll(&mut fds, deadline.remaining().as_ref()) {
        Ok(0) | Err(Errno::INTR) => return Ok(Readiness::TimedOut),
        Ok(_) => {}
        Err(errno) => return Err(refused(errno)),
    }
    let [fd_events, wake_events] = fds.map(|fd| fd.revents());
    if fd_events.contains(PollFlags::IN) {
        Ok(if discard(fd) { Readiness::Read } else { Readiness::Dead })
    } else if wake_events.contains(PollFlags::IN) {
        Ok(Readiness::Woken)
    } else {
        Ok(Readiness::Dead)
    }
}

/// Read from `fd` once, without blocking. Returns false if the other end is closed, or if a read
/// could block.
///
/// One read resets an eventfd, or takes the events of a driver. The caller checks the fence's
/// value, so the content does not matter.
fn discard(fd: BorrowedFd<'_>) -> bool {
    // Small, for waits on small stacks. What is left makes the next poll return at once.
    let mut buffer = [0u8; 64];
    // Another process that has the file may clear O_NONBLOCK, and read the data first. Offset -1 is
    // that of the file.
    let mut parts = [IoSliceMut::new(&mut buffer)];
    match rustix::io::preadv2(fd, &mut parts, u64::MAX, ReadWriteFlags::NOWAIT) {
        Ok(count) => count > 0,
        Err(Errno::AGAIN) => true,
        // A driver whose files have no RWF_NOWAIT, or a sandbox that forbids preadv2.
        Err(_) => require_nonblocking(fd).is_ok() && rustix::io::read(fd, &mut buffer) != Ok(0),
    }
}
