// SPDX-License-Identifier: MIT
//! getenv(), and getauxval(AT_SECURE). The library reads the environment and never writes it.

use std::ffi::CStr;

/// Read a number from an environment variable.
///
/// `None` if the variable is not set or does not hold a number, and as for [`text`].
pub(crate) fn number(name: &CStr) -> Option<u32> {
    text(name, |value| value.to_str().ok()?.parse().ok()).flatten()
}

/// Read an environment variable.
///
/// `None` if the variable is not set. Also `None` if the process has more rights than the process
/// that started it (AT_SECURE).
pub(crate) fn text<T>(name: &CStr, read: impl FnOnce(&CStr) -> T) -> Option<T> {
    // SAFETY: `name` is a C string. The result points into the environment, and no function of the
    // caller's runs before it is read. A thread that changes the environment at this moment breaks
    // the rule that applies to every getenv().
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
    Some(read(value))
}
