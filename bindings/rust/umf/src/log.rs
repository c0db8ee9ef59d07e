// SPDX-License-Identifier: MIT
//! Messages of the library.

use crate::error::{Result, check};
use crate::handle::{drop_box, with_box};
use crate::{panics, sys};
use std::ffi::{CStr, c_char, c_void};
use std::ptr;

/// Has a closure receive the messages of the library, which go to stderr otherwise.
///
/// There is one so far: with `LIBUMF_DEBUG=1`, the report of a deadlock. The closure may run on
/// several threads at a time, and call anything of this crate. It is dropped once another takes its
/// place and no call of it runs.
#[doc(alias = "umf_set_log_handler")]
pub fn set_log_handler<F: Fn(&str) + Send + Sync + 'static>(handler: F) -> Result<()> {
    check(with_box(handler, |data| {
        let (call, release) = (call::<F>, drop_box::<F>);
        let handler = sys::umf_log_handler { call: Some(call), release: Some(release), data };
        // SAFETY: `data` is a box of an F, which both functions expect. Any thread may call and
        // drop it.
        unsafe { sys::umf_set_log_handler(&raw const handler, 0) }
    }))
}

/// Has the messages of the library go to stderr again.
pub fn reset_log_handler() -> Result<()> {
    // SAFETY: The handler may be NULL.
    check(unsafe { sys::umf_set_log_handler(ptr::null(), 0) })
}

extern "C" fn call<F: Fn(&str)>(data: *mut c_void, message: *const c_char) {
    // SAFETY: `data` is the box of `set_log_handler`, which lives until it is released. Only shared
    // references are made of it. `message` is a string, valid during the call.
    let (handler, message) = unsafe { (&*data.cast::<F>(), CStr::from_ptr(message)) };
    panics::contain(|| handler(&message.to_string_lossy()));
}
