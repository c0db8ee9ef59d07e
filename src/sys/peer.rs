//! fstat, and waitid(P_PIDFD) of Linux 5.4: how a descriptor reports that a process exited.
//!
//! The descriptor is a pidfd (Linux 5.3) or a socket that is connected to the process.
#![forbid(unsafe_code)]

use crate::error::{Error, Result};
use rustix::fd::BorrowedFd;
use rustix::fs::FileType;
use rustix::io::Errno;
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
/// `Invalid` if `fd` is neither a socket nor a pidfd.
pub(crate) fn exit_event(fd: BorrowedFd<'_>) -> Result<ExitEvent> {
    if FileType::from_raw_mode(rustix::fs::fstat(fd)?.st_mode) == FileType::Socket {
        return Ok(ExitEvent::HangsUp);
    }
    // Only a pidfd passes this call. WNOWAIT changes nothing: a child that died remains to be
    // waited for. A process that is not a child is ECHILD.
    match waitid(
        WaitId::PidFd(fd),
        WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT,
    ) {
        Ok(_) | Err(Errno::CHILD) => Ok(ExitEvent::Readable),
        Err(Errno::INVAL | Errno::BADF) => Err(Error::Invalid),
        Err(errno) => Err(errno.into()),
    }
}
