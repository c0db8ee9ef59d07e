// SPDX-License-Identifier: MIT
//! How every call ends: the result becomes an int, a panic becomes an error, errno stays as it was.

use crate::error::{self, Error, Result};
use crate::util::callback::without_cancellation;
use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs the body of a C function and returns 0, or the negative errno of its error.
///
/// A panic would be a bug; it becomes the error of an unexpected event and does not unwind into C.
#[inline(always)]
pub(super) fn c_return(body: impl FnOnce() -> Result<()>) -> c_int {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(result) => error::code(result),
        Err(_) => Error::Unexpected.code(),
    }
}

/// As [`c_return`], for a body that takes a lock or allocates: both may change errno. Nor is it a
/// cancellation point: it may close a descriptor, join a thread or call the caller's functions.
pub(super) fn c_return_preserving_errno(body: impl FnOnce() -> Result<()>) -> c_int {
    c_return_from_wait(|| without_cancellation(body))
}

/// As [`c_return_preserving_errno`], for a wait. It makes system calls without libc, so there is no
/// cancellation point but in a notifier, which cares for that itself. Disabling cancellation would
/// cost a wait that is met already more than the check.
pub(super) fn c_return_from_wait(body: impl FnOnce() -> Result<()>) -> c_int {
    // SAFETY: the address is this thread's errno, valid as long as the thread. No reference: libc
    // writes there too.
    let (errno, before) = unsafe {
        let errno = libc::__errno_location();
        (errno, errno.read())
    };
    let result = c_return(body);
    // SAFETY: as above.
    unsafe { errno.write(before) };
    result
}
