// SPDX-License-Identifier: MIT
//! getsockopt(SO_PEERPIDFD), Linux 6.5: a pidfd of the process at the other end of a Unix socket.

use super::descriptor::above_stdio;
use crate::error::{Error, Result};
use rustix::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::AddressFamily;
use rustix::net::sockopt::socket_domain;
use std::ffi::c_int;

/// SO_PEERPIDFD, which `libc` does not have for all C libraries.
const SO_PEERPIDFD: c_int = 77;

/// Returns a pidfd of the process that connected the other end of a socket, or made the pair.
/// `None` if that process is gone.
///
/// `Invalid` if the socket is not a Unix socket; `NotSupported` before Linux 6.5.
pub(crate) fn of(socket: BorrowedFd<'_>) -> Result<Option<OwnedFd>> {
    match socket_domain(socket) {
        Ok(AddressFamily::UNIX) => {}
        Ok(_) | Err(Errno::NOTSOCK) => return Err(Error::Invalid),
        Err(errno) => return Err(errno.into()),
    }
    let mut pidfd: c_int = -1;
    let mut size = size_of::<c_int>() as libc::socklen_t;
    // SAFETY: both outputs are valid for writing, and `size` is the size of the first.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_PEERPIDFD,
            (&raw mut pidfd).cast(),
            &raw mut size,
        )
    };
    if result == 0 && pidfd >= 0 {
        // SAFETY: the kernel has just opened it (CLOEXEC) for this call.
        return above_stdio(unsafe { OwnedFd::from_raw_fd(pidfd) }).map(Some);
    }
    match Errno::from_io_error(&std::io::Error::last_os_error()) {
        Some(Errno::NOPROTOOPT) => Err(Error::NotSupported),
        // The process was waited for. Kernels differ in the error.
        Some(Errno::INVAL | Errno::SRCH) => Ok(None),
        // The socket was connected before its other end had a process.
        Some(Errno::NODATA) => Err(Error::Invalid),
        Some(errno) => Err(errno.into()),
        None => Err(Error::Unexpected),
    }
}
