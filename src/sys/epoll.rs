// SPDX-License-Identifier: MIT
//! epoll, Linux 2.6.27 (epoll_create1).
//!
//! Each descriptor is registered with a token of the caller's, and [`wait`] returns tokens.
#![forbid(unsafe_code)]

use crate::error::Result;
use crate::sys::descriptor::above_stdio;
use crate::sys::time::Deadline;
use rustix::event::epoll;
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::io::Errno;

/// The number of events that one [`wait`] returns at most.
pub(crate) const EVENTS: usize = 32;

/// Create an epoll instance without descriptors.
pub(crate) fn create() -> Result<OwnedFd> {
    above_stdio(epoll::create(epoll::CreateFlags::CLOEXEC)?)
}

/// Register `fd`: [`wait`] returns `token` while `fd` is readable.
pub(crate) fn add(epoll: BorrowedFd<'_>, fd: BorrowedFd<'_>, token: u64) -> Result<()> {
    Ok(epoll::add(epoll, fd, epoll::EventData::new_u64(token), epoll::EventFlags::IN)?)
}

/// Register a socket: [`wait`] returns `token` once every descriptor of the other end is closed.
///
/// Data that can be read does not matter.
pub(crate) fn add_hangup(epoll: BorrowedFd<'_>, fd: BorrowedFd<'_>, token: u64) -> Result<()> {
    let flags = epoll::EventFlags::RDHUP | epoll::EventFlags::HUP;
    Ok(epoll::add(epoll, fd, epoll::EventData::new_u64(token), flags)?)
}

/// Unregister `fd`.
///
/// Closing the descriptor is not enough: while another descriptor of the same file is open, the
/// kernel keeps the registration.
pub(crate) fn remove(epoll: BorrowedFd<'_>, fd: BorrowedFd<'_>) {
    let _ = epoll::delete(epoll, fd);
}

/// Wait until registered descriptors are ready, and return their tokens.
///
/// Returns no token if the deadline passed or a signal handler interrupted the wait.
pub(crate) fn wait<'a>(
    epoll: BorrowedFd<'_>,
    tokens: &'a mut [u64; EVENTS],
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
    for (token, event) in tokens.iter_mut().zip(&events) {
        *token = event.data.u64();
    }
    Ok(tokens.get(..count).unwrap_or(&[]))
}
