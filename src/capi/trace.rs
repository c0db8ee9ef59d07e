// SPDX-License-Identifier: MIT
//! Traces.
//!
//! A trace shows when this process signaled, waited, was woken, ran watches and jobs, and converted
//! fences. It opens in Perfetto (ui.perfetto.dev) and chrome://tracing. Arrows lead from each
//! signal to the waits that it ended, also in other processes. docs/traces.md has a picture.

use super::args::{no_flags, non_null};
use super::returns::c_return_preserving_errno;
use crate::fence::Fence;
use crate::trace;
use std::ffi::{CStr, c_char, c_int};

/// Record what this process does into a file.
///
/// As the environment variable LIBUMF_TRACE does from the first page on that the process creates or
/// imports. Each event is a line of JSON, which one write() appends. So the file is complete if the
/// process is killed, a forked child goes on in it, and several processes may share a file: their
/// ids tell them apart. Events are appended to a trace that exists; remove it first for a new one.
///
/// What is recorded: signals, updates and failures of fences, waits that do not end at once,
/// wake-ups, watches, jobs, and conversions. An event takes about two microseconds. Not recorded
/// are a wait that is met at once, a check with a deadline of 0, a value that is read or submitted,
/// what a device or another program does, and fences that fail because their page is tied to a
/// process.
///
/// If an event cannot be written as a whole, recording stops in this process, and nothing else
/// changes: the file system is full, the program has closed the descriptor, or a limit on the size
/// of files (RLIMIT_FSIZE) was set. A second call goes on in the other file.
///
/// @path: the file. It is created, or begins as a trace does. "%p" stands for the process id. A
///     file system that may block, blocks the calls that are recorded.
/// @flags: must be 0.
///
/// Return: 0 on success, or
///   -EINVAL           @path is NULL, or is not a regular file, or one that begins otherwise;
///                     @flags is not 0
///   -ENOENT           a folder in @path does not exist, or is none
///   -EACCES           the process may not read and write the file, or the file system is read-only
///   -ENOMEM           no memory is left, no room on the file system, or a limit on the size of
///                     files is set
///   -EMFILE, -ENFILE  no file descriptor is left, in the process or in the system
///   -EIO              the file cannot be opened or read for another reason
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_trace_start(path: *const c_char, flags: u64) -> c_int {
    c_return_preserving_errno(|| {
        no_flags(flags)?;
        non_null(path)?;
        // SAFETY: the C contract (contract.rs): not NULL, so a string that ends with 0.
        trace::start(unsafe { CStr::from_ptr(path) })?;
        Fence::trace_signals().inspect_err(|_| trace::stop())
    })
}

/// Record no more events.
///
/// Does nothing if none are recorded. Threads that are recording an event may still write it. The
/// library keeps the descriptor of the file, also for the next umf_trace_start().
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn umf_trace_stop() {
    // Each fence learns of it with its next signal.
    let _ = c_return_preserving_errno(|| {
        trace::stop();
        Ok(())
    });
}
