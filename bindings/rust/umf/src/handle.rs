// SPDX-License-Identifier: MIT
//! Handles: a reference to an object of the library, which ends with the handle. Also what calls of
//! the library take and give: boxes, descriptors and sizes.

use crate::error::{Error, Result, check};
use crate::panics;
use std::ffi::{c_int, c_void};

macro_rules! handle {
    ($(#[$doc:meta])* $name:ident: $raw:ident, $add:ident, $end:ident) => {
        $(#[$doc])*
        pub struct $name(std::ptr::NonNull<crate::sys::$raw>);

        // SAFETY: The library's objects are counted atomically, and all its functions may be called
        // on any thread and at the same time (libumf.h, "Handles"). The handle has nothing else.
        unsafe impl Send for $name {}
        // SAFETY: As for `Send`. A shared handle gives calls that are thread-safe.
        unsafe impl Sync for $name {}

        impl $name {
            /// Makes a handle of the reference that a function of the library gives through a
            /// pointer.
            pub(crate) fn created(
                make: impl FnOnce(*mut *mut crate::sys::$raw) -> std::ffi::c_int,
            ) -> crate::Result<$name> {
                let mut object = std::ptr::null_mut();
                crate::error::check(make(&raw mut object))?;
                // The library writes the pointer when it succeeds.
                std::ptr::NonNull::new(object).map($name).ok_or(crate::Error::Protocol)
            }

            /// Returns the C library's pointer. The reference stays this handle's.
            pub fn as_raw(&self) -> *mut crate::sys::$raw {
                self.0.as_ptr()
            }

            /// Returns the C library's pointer, with the reference of this handle.
            pub fn into_raw(self) -> std::ptr::NonNull<crate::sys::$raw> {
                std::mem::ManuallyDrop::new(self).0
            }

            /// Makes a handle of the C library's pointer.
            ///
            /// # Safety
            ///
            /// The pointer is one that the library returned, and the caller passes on a reference.
            pub unsafe fn from_raw(raw: std::ptr::NonNull<crate::sys::$raw>) -> $name {
                $name(raw)
            }
        }

        impl Clone for $name {
            fn clone(&self) -> $name {
                // SAFETY: The pointer is valid as long as this handle has its reference. The new
                // handle gets the reference that the call adds.
                unsafe { crate::sys::$add(self.as_raw()) };
                $name(self.0)
            }
        }

        impl Drop for $name {
            fn drop(&mut self) {
                // SAFETY: The reference was this handle's, which nothing uses from here on.
                unsafe { crate::sys::$end(self.as_raw()) }
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_tuple(stringify!($name)).field(&self.0).finish()
            }
        }
    };
}
pub(crate) use handle;

/// Passes a box to a function of the library, and drops it if the function fails.
///
/// A function that succeeds keeps the box until it calls back to end it, as with [`drop_box`].
pub(crate) fn with_box<T>(value: T, function: impl FnOnce(*mut c_void) -> c_int) -> c_int {
    let data = Box::into_raw(Box::new(value));
    let result = function(data.cast());
    if result < 0 {
        // SAFETY: A function that fails does not keep the data, and calls no release. So the box is
        // still this call's.
        drop(unsafe { Box::from_raw(data) });
    }
    result
}

/// The release function of a box of [`with_box`] with a T.
pub(crate) extern "C" fn drop_box<T>(data: *mut c_void) {
    // SAFETY: `data` is a box of `with_box` with a T. The library calls this once, and does not use
    // the data afterwards.
    let value = unsafe { Box::from_raw(data.cast::<T>()) };
    panics::contain(|| drop(value));
}

/// Calls a function that gives the caller a descriptor through a pointer.
pub(crate) fn opened(open: impl FnOnce(*mut c_int) -> c_int) -> Result<std::os::fd::OwnedFd> {
    let mut fd = -1;
    check(open(&raw mut fd))?;
    if fd < 0 {
        return Err(Error::Protocol);
    }
    // SAFETY: The library wrote a new descriptor, which the caller closes.
    Ok(unsafe { std::os::fd::FromRawFd::from_raw_fd(fd) })
}

/// The size of a struct that begins with its size.
pub(crate) const fn size_of<T>() -> u32 {
    // No struct of the library is larger than 256 bytes.
    std::mem::size_of::<T>() as u32
}
