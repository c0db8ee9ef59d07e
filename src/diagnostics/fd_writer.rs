// SPDX-License-Identifier: MIT
//! `fmt::Write` to a file descriptor, through a small buffer: it allocates nothing.

use crate::error::{Error, Result};
use rustix::event::{PollFd, PollFlags};
use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use std::fmt;

/// A buffered writer to a descriptor. `finish` has to be called to write what is in the buffer.
pub(crate) struct FdWriter<'fd> {
    fd: BorrowedFd<'fd>,
    buffer: [u8; 1024],
    filled: usize,
    /// The first error. Nothing is written after it.
    failure: Option<Error>,
}

impl<'fd> FdWriter<'fd> {
    pub(crate) fn new(fd: BorrowedFd<'fd>) -> FdWriter<'fd> {
        FdWriter { fd, buffer: [0; 1024], filled: 0, failure: None }
    }

    /// Writes the rest. Returns the first error of all writes.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.flush();
        self.failure.map_or(Ok(()), Err)
    }

    fn flush(&mut self) {
        let mut rest = self.buffer.get(..self.filled).unwrap_or_default();
        while !rest.is_empty() && self.failure.is_none() {
            match write_some(self.fd, rest) {
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(error) => self.failure = Some(error),
            }
        }
        self.filled = 0;
    }
}

impl fmt::Write for FdWriter<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if self.filled == self.buffer.len() {
                self.flush();
            }
            if let Some(free) = self.buffer.get_mut(self.filled) {
                *free = byte;
                self.filled += 1;
            }
        }
        if self.failure.is_some() { Err(fmt::Error) } else { Ok(()) }
    }
}

/// -EIO.
const WRITE_FAILED: Error = Error::FenceFailed;

/// Converts the error of a write. Each kind of file has its own: the reader of a pipe or a socket
/// is gone, or a disk is broken.
fn explain(errno: Errno) -> Error {
    match Error::from(errno) {
        Error::Unexpected => WRITE_FAILED,
        error => error,
    }
}

/// Writes at least one byte. Waits if a non-blocking descriptor cannot take any.
fn write_some(fd: BorrowedFd<'_>, bytes: &[u8]) -> Result<usize> {
    loop {
        match rustix::io::write(fd, bytes) {
            Ok(0) => return Err(WRITE_FAILED),
            Ok(written) => return Ok(written),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                match rustix::event::poll(&mut [PollFd::new(&fd, PollFlags::OUT)], None) {
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(errno) => return Err(explain(errno)),
                }
            }
            Err(errno) => return Err(explain(errno)),
        }
    }
}
