//! What tells that a process is gone: a pidfd, or a socket to it.

use crate::error::{Error, Result};
use rustix::fd::BorrowedFd;
use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::process::{WaitId, WaitIdOptions, waitid};

/// How a descriptor tells it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ExitEvent {
    /// A pidfd is readable then.
    Readable,
    /// A socket hangs up.
    HangsUp,
}

/// `Invalid` for what is neither.
pub(crate) fn exit_event(fd: BorrowedFd<'_>) -> Result<ExitEvent> {
    if FileType::from_raw_mode(rustix::fs::fstat(fd)?.st_mode) == FileType::Socket {
        return Ok(ExitEvent::HangsUp);
    }
    // Asked of a pidfd, this is answered, and changes nothing: a child that has died stays to be
    // waited for.
    match waitid(
        WaitId::PidFd(fd),
        WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT,
    ) {
        Ok(_) | Err(Errno::CHILD) => Ok(ExitEvent::Readable),
        Err(Errno::INVAL | Errno::BADF) => Err(Error::Invalid),
        Err(errno) => Err(errno.into()),
    }
}
