// SPDX-License-Identifier: MIT
//! Event loops.
//!
//! An event loop runs what is due: callbacks of watches, conversions, and jobs of queues. It runs
//! one at a time. Only a queue with UMF_QUEUE_INLINE runs jobs beside it.

use super::args::{no_flags, non_null};
use super::contract::c_contract;
use super::handles::{Handle, borrow, c_ref, c_unref, write_handle};
use super::returns::{c_return, c_return_preserving_errno};
use crate::error::Error;
use crate::reactor::{LoopHandle, Mode};
use rustix::fd::AsRawFd;
use std::ffi::c_int;

/// An event loop: it runs watches and jobs, one at a time (but see UMF_QUEUE_INLINE). Reference
/// counted. Since 0.1.
pub struct umf_loop {
    _opaque: (),
}

impl Handle for umf_loop {
    type Object = LoopHandle;
}

/// Flag of umf_loop_create(): the library runs the loop on a thread of its own.
///
/// Without it, the caller runs the loop with umf_loop_dispatch(). Since 0.1.
pub const UMF_LOOP_THREAD: u64 = 1 << 0;

/// Create an event loop.
///
/// A loop with UMF_LOOP_THREAD has threads of its own. They start with its first watch and end with
/// the loop; they are named "umf-loop" and block all POSIX signals. They have the policy
/// SCHED_OTHER and the CPU affinity of the process's main thread, whichever thread starts them.
/// Everything that is due runs there, one at a time (but see UMF_QUEUE_INLINE).
///
/// Without UMF_LOOP_THREAD, everything runs in umf_loop_dispatch(), which the caller calls whenever
/// umf_loop_fd() is readable: so the loop becomes part of the caller's own. The library still
/// starts a thread with the first watch of a fence, since only a thread can sleep on fences. All it
/// does is make the descriptor readable.
///
/// A loop belongs to its process. In the child of a fork, calls with it return -ESTALE, and the
/// child can only end its references.
///
/// @flags: UMF_LOOP_THREAD, or 0.
/// @out_loop: receives a reference, which the caller ends with umf_loop_unref(). Written only on
///     success.
///
/// Return: 0 on success, or
///   -EINVAL           @flags has unknown bits, or @out_loop is NULL
///   -ENOMEM           no memory is left
///   -EMFILE, -ENFILE  no file descriptor is left, in the process or in the system; a loop needs
///                     two
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_loop_create(flags: u64, out_loop: *mut *mut umf_loop) -> c_int {
    c_return_preserving_errno(|| {
        let mode = match flags {
            0 => Mode::Caller,
            UMF_LOOP_THREAD => Mode::Thread,
            _ => return Err(Error::Invalid),
        };
        non_null(out_loop)?;
        c_contract!(write_handle(LoopHandle::new(mode)?, out_loop));
        Ok(())
    })
}

/// Add a reference to an event loop.
///
/// @event_loop: the loop, or NULL.
///
/// Return: @event_loop. The caller ends the new reference with umf_loop_unref().
///
/// Thread-safe and async-signal-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_loop_ref(event_loop: *mut umf_loop) -> *mut umf_loop {
    c_contract!(c_ref(event_loop))
}

/// End a reference to an event loop.
///
/// With the last reference the loop ends: watches that are not over are canceled, and their release
/// functions are called. The loop's threads are gone when the call returns. The call therefore
/// waits for a callback or a release function that runs on such a thread: hold no lock that these
/// take. Called from one of these, it does not wait for that thread, which ends when the function
/// returns.
///
/// The library cannot notice two deadlocks: a callback or release function that waits for a thread
/// which is in this call for the same loop; and functions on the threads of two loops, each of
/// which ends the other loop.
///
/// @event_loop: the loop. NULL does nothing.
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_loop_unref(event_loop: *mut umf_loop) {
    c_contract!(c_unref(event_loop))
}

/// Get the descriptor that is readable (POLLIN) while umf_loop_dispatch() has work.
///
/// It stays the loop's, and is valid as long as the loop. The caller must not read or close it. It
/// may be readable although nothing is due, for example after a due watch was canceled.
///
/// @event_loop: a loop without UMF_LOOP_THREAD.
///
/// Return: the descriptor on success, or
///   -EINVAL  @event_loop is NULL, or has UMF_LOOP_THREAD
///   -ESTALE  the loop belongs to another process
///
/// Thread-safe and async-signal-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_loop_fd(event_loop: *const umf_loop) -> c_int {
    let mut fd = -1;
    let result = c_return(|| {
        fd = c_contract!(borrow(event_loop)?).get()?.fd()?.as_raw_fd();
        Ok(())
    });
    if result == 0 { fd } else { result }
}

/// Run what is due now, without waiting for more.
///
/// What becomes due meanwhile makes umf_loop_fd() readable again.
///
/// Let one thread poll the descriptor and dispatch. Any thread may call this. But while one
/// dispatches, the calls of others return -EALREADY at once, and the descriptor may stay readable.
///
/// @event_loop: a loop without UMF_LOOP_THREAD.
/// @flags: must be 0.
///
/// Return: 0 on success, also if nothing was due, or
///   -EINVAL    @event_loop is NULL or has UMF_LOOP_THREAD, or @flags is not 0
///   -EALREADY  the loop is being dispatched now: by another thread, or by the caller of the
///              callback that made this call. Nothing was done
///   -ESTALE    the loop belongs to another process
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_loop_dispatch(event_loop: *mut umf_loop, flags: u64) -> c_int {
    c_return_preserving_errno(|| {
        no_flags(flags)?;
        // A callback may end the last reference to the handle. The loop then ends in that call, and
        // this reference keeps its memory until the dispatch returns.
        c_contract!(borrow(event_loop)?).get()?.clone().dispatch()
    })
}
