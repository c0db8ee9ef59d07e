// SPDX-License-Identifier: MIT
//! X11's fences.
//!
//! An xshmfence is the fence that X11 clients and the X server share (DRI3FenceFromFD, Present):
//! one futex word in a file. It is triggered or not, and carries no error. These functions need no
//! X11 library. They take a file as libxshmfence's xshmfence_alloc_shm() makes it: a memfd of at
//! least 4 bytes. Its size is sealed before the word is mapped (F_SEAL_SHRINK, F_SEAL_GROW), since
//! a process that truncated the file would end this one with SIGBUS. A file that cannot be sealed
//! is refused, such as one of /dev/shm, which libxshmfence makes on kernels without memfds.

use super::args::{borrow_fd, no_flags};
use super::contract::c_contract;
use super::event_loop::umf_loop;
use super::fence::umf_fence;
use super::handles::clone_ref;
use super::returns::c_return_preserving_errno;
use super::watch::{create_watch, umf_callback, umf_watch};
use crate::wait::Condition;
use std::ffi::c_int;

/// Signal a value when an xshmfence is triggered.
///
/// One thread serves 127 xshmfences, and a watch takes no descriptor. Reset the xshmfence before
/// the call, and not before the watch is over: a trigger that is reset before the loop sees it is
/// lost, as it is for xshmfence_await().
///
/// Another process that has the xshmfence can trigger it, or never do so, and can delay it by
/// wake-ups that tell nothing. It cannot take more than a twentieth of a core by them. Tie the
/// fence to the process that should trigger it (umf_loop_tie_fence()) if that may die.
///
/// @event_loop: the loop.
/// @fence: the fence to signal. The watch keeps a reference to it until it is over.
/// @value: the value to signal. At most UINT32_MAX for a 32-bit fence.
/// @xshmfence_fd: the xshmfence. Stays the caller's, which may close it after the call: the library
///     maps the file until the watch is over.
/// @flags: must be 0.
/// @callback: what to call after that. Copied. NULL for none.
/// @out_watch: as in umf_loop_watch().
///
/// Return: 0 on success, also if the xshmfence is triggered already, or
///   -EINVAL            @event_loop, @fence or callback->call is NULL, or @flags is not 0; the
///                      fence's value is already beyond @value, or @value does not fit in 32 bits;
///                      @xshmfence_fd is not a memfd of at least 4 bytes, or is one of huge pages
///   -EBADF             @xshmfence_fd is not open
///   -EIO, -EOWNERDEAD  the fence carries an error
///   -ESTALE            the fence ended: see umf_fence_create(); or the loop belongs to another
///                      process
///   -EACCES            the size of the file cannot be sealed, or the file cannot be written; or
///                      this process may not signal the fence: UMF_PAGE_SINGLE_WRITER,
///                      umf_fence_create_in()
///   -ENOMEM            no memory or thread is left
///   -EMFILE            no file descriptor is left in the process; the call needs one only while it
///                      runs
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_loop_import_xshmfence(
    event_loop: *mut umf_loop,
    fence: *mut umf_fence,
    value: u64,
    xshmfence_fd: c_int,
    flags: u64,
    callback: *const umf_callback,
    out_watch: *mut *mut umf_watch,
) -> c_int {
    c_return_preserving_errno(|| {
        no_flags(flags)?;
        let fence = c_contract!(clone_ref(fence)?);
        let fd = borrow_fd(xshmfence_fd)?;
        c_contract!(create_watch(event_loop, callback, out_watch, |builder| {
            builder.import_xshmfence(&fence, value, fd)
        }))
    })
}

/// Trigger an xshmfence when a fence reaches a value.
///
/// If the fence fails or ends, the xshmfence is not triggered: it carries no error, and a trigger
/// would tell that the work is done. The callback gets the error. To give the xshmfence up, export
/// a fence that is reached to it.
///
/// @event_loop: the loop.
/// @fence: the fence to wait for. The watch keeps a reference to it until it is over.
/// @value: the value to wait for. At most UINT32_MAX for a 32-bit fence.
/// @xshmfence_fd: the xshmfence, as in umf_loop_import_xshmfence().
/// @flags: must be 0.
/// @callback: what to call after that. Copied. NULL for none.
/// @out_watch: as in umf_loop_watch().
///
/// Return: 0 on success, also if the value is reached already, or
///   -EINVAL  @event_loop, @fence or callback->call is NULL, @flags is not 0, or @value does not
/// fit
///            in 32 bits; @xshmfence_fd is not a memfd of at least 4 bytes, or is one of huge pages
///   -EBADF   @xshmfence_fd is not open
///   -EACCES  the size of the file cannot be sealed, or the file cannot be written
///   -ENOMEM  no memory or thread is left
///   -EMFILE  no file descriptor is left in the process; the call needs one only while it runs
///   -ESTALE  the loop belongs to another process. If the fence ends first, the callback gets
///            -ESTALE
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_loop_export_xshmfence(
    event_loop: *mut umf_loop,
    fence: *mut umf_fence,
    value: u64,
    xshmfence_fd: c_int,
    flags: u64,
    callback: *const umf_callback,
    out_watch: *mut *mut umf_watch,
) -> c_int {
    c_return_preserving_errno(|| {
        no_flags(flags)?;
        let fence = c_contract!(clone_ref(fence)?);
        let fd = borrow_fd(xshmfence_fd)?;
        let predicate = Condition::reached(&fence, value)?.predicate();
        c_contract!(create_watch(event_loop, callback, out_watch, |builder| {
            builder.export_xshmfence(&fence, predicate, fd)
        }))
    })
}
