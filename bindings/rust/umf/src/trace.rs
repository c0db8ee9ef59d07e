// SPDX-License-Identifier: MIT
//! Traces for Perfetto.

use crate::error::{Result, check};
use crate::{Error, sys};
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Records what this process does into a file, which opens in Perfetto and chrome://tracing.
///
/// `%p` in the name stands for the process id. Events are appended to a trace that exists. If one
/// cannot be written, recording stops, and nothing else changes.
#[doc(alias = "umf_trace_start")]
pub fn start_trace(path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref().as_os_str().as_bytes();
    let path = CString::new(path).map_err(|_| Error::InvalidArgument)?;
    // SAFETY: The path ends with 0, and is valid during the call.
    check(unsafe { sys::umf_trace_start(path.as_ptr(), 0) })
}

/// Records no more events.
#[doc(alias = "umf_trace_stop")]
pub fn stop_trace() {
    // SAFETY: The call has no arguments.
    unsafe { sys::umf_trace_stop() };
}
