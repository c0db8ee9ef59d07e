// SPDX-License-Identifier: MIT
//! getenv(), and getauxval(AT_SECURE). The library reads the environment and never writes it.

use std::ffi::CStr;

/// Read a number from an environment variable.
///
/// `None` if the variable is not set or does not hold a number. Also `None` if the process has more
/// rights than the process that started it (AT_SECURE).
pub(crate) fn number(name: &CStr) -> Option<u32> {
    // SAFETY: `name` is a C string. The result points into the environment, and nothing happens
    // here before it is read. A thread that changes the environment at this moment breaks the rule
    // that applies to every getenv().
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
