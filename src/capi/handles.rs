// SPDX-License-Identifier: MIT
//! Handles: how a C pointer becomes a reference to the object behind it, and back.

use super::returns::c_return_preserving_errno;
use crate::error::{Error, Result};
use crate::util::refs::Ref;
use std::mem::{self, ManuallyDrop};

/// A C handle: the opaque type in the header, and the Rust object that its pointer leads to.
pub(super) trait Handle {
    type Object;
}

/// Borrows the object behind a handle. `Invalid` for NULL.
///
/// # Safety
/// Unless NULL, the library returned the handle, and the caller keeps a reference to it for `'a`.
#[inline(always)]
pub(super) unsafe fn borrow<'a, H: Handle>(handle: *const H) -> Result<&'a H::Object> {
    // SAFETY: by this function's contract; `into_raw` made the pointer from a reference to the
    // object.
    unsafe { handle.cast::<H::Object>().as_ref() }.ok_or(Error::Invalid)
}

/// Takes a counted reference of the library's own. The caller keeps the one it has.
///
/// # Safety
/// As for [`borrow`].
pub(super) unsafe fn clone_ref<H: Handle>(handle: *const H) -> Result<Ref<H::Object>> {
    if handle.is_null() {
        return Err(Error::Invalid);
    }
    // SAFETY: by this function's contract. The reference is the caller's: `ManuallyDrop` keeps it.
    let held = ManuallyDrop::new(unsafe { Ref::<H::Object>::from_raw(handle.cast()) });
    Ok((*held).clone())
}

/// Does the work of umf_*_ref(): adds a reference for the caller. Returns NULL for NULL.
///
/// # Safety
/// As for [`borrow`].
pub(super) unsafe fn c_ref<H: Handle>(handle: *mut H) -> *mut H {
    // SAFETY: by this function's contract.
    if let Ok(reference) = unsafe { clone_ref(handle) } {
        mem::forget(reference);
    }
    handle
}

/// Does the work of umf_*_unref(): ends a reference of the caller's. Does nothing for NULL.
///
/// # Safety
/// As for [`borrow`], and the caller does not use this reference again.
pub(super) unsafe fn c_unref<H: Handle>(handle: *mut H) {
    if handle.is_null() {
        return;
    }
    c_return_preserving_errno(|| {
        // SAFETY: by this function's contract.
        drop(unsafe { Ref::<H::Object>::from_raw(handle.cast()) });
        Ok(())
    });
}

/// The handle of an object to which another object of the caller's keeps a reference.
pub(super) fn borrowed_handle<H: Handle>(object: &Ref<H::Object>) -> *mut H {
    object.as_raw().cast_mut().cast()
}

/// Writes a new handle to the caller's output; the reference is then the caller's.
///
/// # Safety
/// `out` is valid for writing.
pub(super) unsafe fn write_handle<H: Handle>(object: Ref<H::Object>, out: *mut *mut H) {
    // SAFETY: by this function's contract.
    unsafe { out.write(object.into_raw().cast_mut().cast()) };
}
