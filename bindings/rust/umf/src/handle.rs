//! Handles: a reference to an object of the library, which ends with the handle.

use crate::error::{Error, Result, check};
use std::ffi::c_int;
use std::ptr::{self, NonNull};

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

/// Calls a function that gives the caller a reference through a pointer.
pub(crate) fn created<T>(create: impl FnOnce(*mut *mut T) -> c_int) -> Result<NonNull<T>> {
    let mut object = ptr::null_mut();
    check(create(&raw mut object))?;
    // The library writes the pointer when it succeeds.
    NonNull::new(object).ok_or(Error::Protocol)
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
