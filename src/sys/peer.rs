// SPDX-License-Identifier: MIT
//! waitid(P_PIDFD), Linux 5.4; getsockopt and getpeername: how a descriptor reports that a process
//! exited.
//!
//! The descriptor is a pidfd (Linux 5.3) or a socket that is connected to the process.
#![forbid(unsafe_code)]

use super::file_kind::FileKind;
use crate::error::{Error, Result};
use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use rustix::net::SocketType;
use rustix::net::sockopt::socket_type;
use rustix::process::{WaitId, WaitIdOptions, waitid};

/// The event by which a descriptor reports that its process exited.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ExitEvent {
    /// A pidfd becomes readable.
    Readable,
    /// A socket hangs up, once every descriptor of the other end is closed.
    HangsUp,
}

/// Return the event by which `fd` reports that its process exited.
///
/// `Invalid` if `fd` is neither a connected socket nor a pidfd.
pub(crate) fn exit_event(fd: BorrowedFd<'_>) -> Result<ExitEvent> {
    if FileKind::of(fd)? == FileKind::Socket {
        return require_connection(fd).map(|()| ExitEvent::HangsUp);
    }
    // Only a pidfd passes this call, which asks no other file. WNOWAIT changes nothing: a child
    // that died remains to be waited for. A process that is not a child is ECHILD.
    match waitid(
        WaitId::PidFd(fd),
        WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT,
    ) {
        Ok(_) | Err(Errno::CHILD) => Ok(ExitEvent::Readable),
        Err(Errno::INVAL | Errno::BADF) => Err(Error::Invalid),
        Err(errno) => Err(errno.into()),
    }
}

/// Return `Invalid` unless the socket reports that its other end was closed.
///
/// A datagram socket never does. A socket without a connection has no other end, and polls as hung
/// up if it never had one.
fn require_connection(socket: BorrowedFd<'_>) -> Result<()> {
    match socket_type(socket) {
        Ok(SocketType::STREAM | SocketType::SEQPACKET) => {}
        Ok(_) | Err(Errno::NOTSOCK) => return Err(Error::Invalid),
        Err(errno) => return Err(errno.into()),
    }
    match rustix::net::getpeername(socket) {
        // The address may be of a family that rustix does not know.
        Ok(_) => Ok(()),
        Err(Errno::NOTCONN | Errno::INVAL) => Err(Error::Invalid),
        Err(errno) => Err(errno.into()),
    }
}
