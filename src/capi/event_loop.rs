//! Event loops.

use super::args::{no_flags, non_null};
use super::contract::c_contract;
use super::handles::{Handle, borrow, c_ref, c_unref, write_handle};
use super::returns::{c_return, c_return_preserving_errno};
use crate::error::Error;
use crate::reactor::{LoopHandle, Mode};
use rustix::fd::AsRawFd;
use std::ffi::c_int;

/// Where watches do what they are to do, one after another: never two of a loop at the same time. Reference counted.
pub struct umf_loop {
    _opaque: (),
}

impl Handle for umf_loop {
    type Object = LoopHandle;
}

/// In the flags of umf_loop_create(): the library's own thread does what falls due. Without it the caller does, by
/// umf_loop_dispatch(). Since 0.1.
pub const UMF_LOOP_THREAD: u64 = 1 << 0;

/// Creates a loop.
///
/// A loop with UMF_LOOP_THREAD has threads of its own, which start with its first watch and are gone with the loop: named
/// "umf-loop", all signals blocked. What falls due happens there.
///
/// Without it nothing happens but in umf_loop_dispatch(), which is called whenever umf_loop_fd() is readable: so a loop becomes
/// part of the caller's. There is still a thread, which starts with the first watch of a fence, since nothing but a thread
/// can hear one; all it does is to make the descriptor readable.
///
/// A loop belongs to its process: in the child of a fork, calls with it return -ESTALE, and what is left to do there is to
/// unref it.
///
/// \param flags     UMF_LOOP_THREAD, or 0.
/// \param out_loop  receives a reference that the caller ends with umf_loop_unref(). Written only on success.
///
/// \return 0, or
///         -EINVAL  unknown flags, out_loop NULL.
///         -ENOMEM  no memory.
///         -EMFILE, -ENFILE  no file descriptor left, in the process or in the machine: a loop needs two.
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

/// Another reference to a loop, to be ended with umf_loop_unref(). Returns loop; NULL for NULL.
///
/// Thread-safe, async-signal-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_loop_ref(event_loop: *mut umf_loop) -> *mut umf_loop {
    c_contract!(c_ref(event_loop))
}

/// Ends a reference to a loop. With the last the loop ends: watches that are not over are cancelled, and its threads are gone
/// when the call returns. So it waits for a callback that is running on one; called in a callback, it does not wait, and the
/// thread goes when the callback returns. NULL does nothing.
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_loop_unref(event_loop: *mut umf_loop) {
    c_contract!(c_unref(event_loop))
}

/// The descriptor that is readable (POLLIN) while umf_loop_dispatch() has something to do. It stays the loop's: not to be
/// read or closed, and valid as long as the loop.
///
/// \return the descriptor, or
///         -EINVAL  event_loop NULL, or a loop with UMF_LOOP_THREAD.
///         -ESTALE  the loop belongs to another process.
///
/// Thread-safe, async-signal-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_loop_fd(event_loop: *const umf_loop) -> c_int {
    let mut fd = -1;
    let result = c_return(|| {
        fd = c_contract!(borrow(event_loop)?).get()?.fd()?.as_raw_fd();
        Ok(())
    });
    if result == 0 { fd } else { result }
}

/// Does what is due by now, and does not wait for more. What becomes due meanwhile makes umf_loop_fd() readable again.
///
/// \param event_loop  a loop without UMF_LOOP_THREAD.
/// \param flags       0.
///
/// \return 0, also if nothing was due; or
///         -EINVAL    event_loop NULL, or one with UMF_LOOP_THREAD; flags not 0.
///         -EALREADY  the loop is being dispatched at this moment, by another thread, or by who called the callback that this
///                    is in. Nothing was done.
///         -ESTALE    the loop belongs to another process.
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
