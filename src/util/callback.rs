// SPDX-License-Identifier: MIT
//! How the library calls a function of its caller's: under no lock, and with cancellation disabled.

use super::mutex;
use std::ffi::c_int;

/// Calls a function of the caller's.
///
/// The calling thread holds no lock of the library; a debug build aborts if it does. While the
/// function runs, pthread_cancel() stays pending: the unwinding that it starts cannot pass through
/// Rust, and would abort the process.
pub(crate) fn call<T>(function: impl FnOnce() -> T) -> T {
    if mutex::is_any_held() {
        eprintln!("libumf: a function of the caller's would run under a lock of the library");
        std::process::abort();
    }
    without_cancellation(function)
}

/// Runs a function that may pass a cancellation point, and leaves pthread_cancel() pending.
/// Async-signal-safe.
pub(crate) fn without_cancellation<T>(function: impl FnOnce() -> T) -> T {
    let _state = CancelState::disable();
    function()
}

/// The calling thread's cancellation state before it was disabled.
struct CancelState(c_int);

impl CancelState {
    fn disable() -> CancelState {
        let mut before = CANCEL_DISABLE;
        // SAFETY: `before` is valid for writing.
        unsafe { pthread_setcancelstate(CANCEL_DISABLE, &raw mut before) };
        CancelState(before)
    }
}

impl Drop for CancelState {
    fn drop(&mut self) {
        let mut before = CANCEL_DISABLE;
        // SAFETY: `before` is valid for writing. Only the next cancellation point acts on a request
        // that is pending, unless the thread chose asynchronous cancellation, which no function of
        // the library may be called with.
        unsafe { pthread_setcancelstate(self.0, &raw mut before) };
    }
}

/// PTHREAD_CANCEL_DISABLE, in glibc and musl. The libc crate has neither it nor the function.
const CANCEL_DISABLE: c_int = 1;

unsafe extern "C" {
    fn pthread_setcancelstate(state: c_int, before: *mut c_int) -> c_int;
}
