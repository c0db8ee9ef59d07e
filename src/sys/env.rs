//! The environment: read, never written.

use std::ffi::CStr;

/// The number that a variable holds. `None` if it is not set, no number, or the process runs with
/// more rights than whoever started it.
pub(crate) fn number(name: &CStr) -> Option<u32> {
    // SAFETY: `name` is a C string. The answer points into the environment, and is read before
    // anything else happens here; another thread that changes the environment at this moment is as
    // wrong as it is beside any other getenv.
    let value = unsafe {
        if libc::getauxval(libc::AT_SECURE) != 0 {
            return None;
        }
        let value = libc::getenv(name.as_ptr());
        if value.is_null() {
            return None;
        }
        CStr::from_ptr(value)
    };
    value.to_str().ok()?.parse().ok()
}
