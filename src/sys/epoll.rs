//! epoll: many descriptors, told by numbers of ours.

use super::time::Deadline;
use crate::error::Result;
use rustix::event::epoll;
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::io::Errno;

/// How many events one call takes.
pub(crate) const EVENTS: usize = 32;

/// A new one, empty.
pub(crate) fn create() -> Result<OwnedFd> {
    Ok(epoll::create(epoll::CreateFlags::CLOEXEC)?)
}

/// From now on `wait` tells of `fd`, as `number`, as long as it is readable.
pub(crate) fn add(epoll: BorrowedFd<'_>, fd: BorrowedFd<'_>, number: u64) -> Result<()> {
    Ok(epoll::add(epoll, fd, epoll::EventData::new_u64(number), epoll::EventFlags::IN)?)
}

/// The same, once nobody is at the other end of a socket any more, whatever there is to read.
pub(crate) fn add_hangup(epoll: BorrowedFd<'_>, fd: BorrowedFd<'_>, number: u64) -> Result<()> {
    let flags = epoll::EventFlags::RDHUP | epoll::EventFlags::HUP;
    Ok(epoll::add(epoll, fd, epoll::EventData::new_u64(number), flags)?)
}

/// No longer. Closing the descriptor is not enough while the file is open elsewhere.
pub(crate) fn remove(epoll: BorrowedFd<'_>, fd: BorrowedFd<'_>) {
    let _ = epoll::delete(epoll, fd);
}

/// Waits until some are readable, and writes down which. An interrupted wait may tell of none.
pub(crate) fn wait<'a>(
    epoll: BorrowedFd<'_>,
    numbers: &'a mut [u64; EVENTS],
    deadline: Deadline,
) -> Result<&'a [u64]> {
    let mut events =
        [epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) };
            EVENTS];
    let count = match epoll::wait(epoll, &mut events, deadline.remaining().as_ref()) {
        Ok(count) => count,
        Err(Errno::INTR) => 0,
        Err(errno) => return Err(errno.into()),
    };
    for (number, event) in numbers.iter_mut().zip(&events) {
        *number = event.data.u64();
    }
    Ok(numbers.get(..count).unwrap_or(&[]))
}
