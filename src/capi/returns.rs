//! How every call ends: the result becomes an int, a panic becomes an error, errno stays as it was.

use crate::error::{self, Error, Result};
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

/// As [`c_return`], for a body that takes a lock or allocates: both may change errno.
pub(super) fn c_return_preserving_errno(body: impl FnOnce() -> Result<()>) -> c_int {
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
