// SPDX-License-Identifier: MIT
//! Repeats interrupted system calls.

#![forbid(unsafe_code)]

use rustix::io::{Errno, Result};

/// Repeat a call until it was not interrupted. For files of other programs, whose file system may
/// return EAGAIN without end.
pub(super) fn retry_interrupted<T>(mut call: impl FnMut() -> Result<T>) -> Result<T> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}

/// Repeat a call until it neither was interrupted nor asks to be tried again. A call with a
/// timeout has to take an absolute one, so that the last repetition ends when the first call would
/// have.
pub(super) fn retry<T>(mut call: impl FnMut() -> Result<T>) -> Result<T> {
    loop {
        match call() {
            // libdrm's drmIoctl() repeats on EAGAIN too: some drivers return it during a reset.
            Err(Errno::INTR | Errno::AGAIN) => {}
            result => return result,
        }
    }
}
