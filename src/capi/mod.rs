//! Every `extern "C"` function: check arguments, call one thing, turn the result into an int. No logic.
//!
//! The documentation comments in this room become the C header; they are written for its readers. How a call ends is
//! written once, in [`answer`]: everything that returns an error to C goes through it.
//!
//! # The face's contract
//!
//! What the header asks of its callers, and every SAFETY note in this room relies on: a pointer is NULL or points to what
//! its type says; a handle came from this library and the caller holds a reference to it during the call; an array has as
//! many elements as its count says; an output is valid for writing. Anything else about the arguments is checked.

#![allow(non_camel_case_types)] // these are the names that C sees

// In the order in which the header tells them.
mod library;
mod page;
mod fence;
mod wait;
mod device;
mod convert;
mod event_loop;
mod syncobj;
mod queue;
mod graph;

use crate::error::{self, Error, Result};
use crate::util::refs::Ref;
use rustix::fd::BorrowedFd;
use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A C handle: the opaque type that the header shows, and what is really behind its pointer.
trait Handle {
    type Object;
}

/// Runs the body of a C function. 0, or the error's negative errno. A panic, which would be a bug, does not get out.
#[inline(always)]
fn answer(body: impl FnOnce() -> Result<()>) -> c_int {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(result) => error::code(result),
        Err(_) => Error::Unexpected.code(),
    }
}

/// The same for what takes a lock or allocates: both may change errno behind our back, and the caller's stays his.
fn answer_keeping_errno(body: impl FnOnce() -> Result<()>) -> c_int {
    // SAFETY: the address is this thread's errno, valid as long as the thread. No reference: libc writes there too.
    let (errno, before) = unsafe {
        let errno = libc::__errno_location();
        (errno, errno.read())
    };
    let result = answer(body);
    // SAFETY: as above.
    unsafe { errno.write(before) };
    result
}

/// What a handle stands for. `Invalid` for NULL.
///
/// # Safety
/// Not NULL, it is a handle that the library gave out and whose reference the caller holds for `'a`.
#[inline(always)]
unsafe fn borrow<'a, H: Handle>(handle: *const H) -> Result<&'a H::Object> {
    // SAFETY: by this function's contract; `into_raw` made the pointer from a reference to the object.
    unsafe { handle.cast::<H::Object>().as_ref() }.ok_or(Error::Invalid)
}

/// A counted reference beside the caller's, which stays his.
///
/// # Safety
/// As for [`borrow`].
unsafe fn share<H: Handle>(handle: *const H) -> Result<Ref<H::Object>> {
    if handle.is_null() {
        return Err(Error::Invalid);
    }
    // SAFETY: by this function's contract; the reference is the caller's, so ours must not end it.
    let held = std::mem::ManuallyDrop::new(unsafe { Ref::<H::Object>::from_raw(handle.cast()) });
    Ok((*held).clone())
}

/// umf_*_ref: another reference for the caller. NULL gives NULL.
///
/// # Safety
/// As for [`borrow`].
unsafe fn reference<H: Handle>(handle: *mut H) -> *mut H {
    // SAFETY: by this function's contract.
    if let Ok(shared) = unsafe { share(handle) } {
        std::mem::forget(shared);
    }
    handle
}

/// umf_*_unref: ends a reference of the caller's. NULL is nothing.
///
/// # Safety
/// As for [`borrow`], and the caller does not use this reference again.
unsafe fn unreference<H: Handle>(handle: *mut H) {
    if handle.is_null() {
        return;
    }
    answer_keeping_errno(|| {
        // SAFETY: by this function's contract.
        drop(unsafe { Ref::<H::Object>::from_raw(handle.cast()) });
        Ok(())
    });
}

/// Hands a new reference to the caller.
///
/// # Safety
/// `out` is valid for writing.
unsafe fn hand_out<H: Handle>(object: Ref<H::Object>, out: *mut *mut H) {
    // SAFETY: by this function's contract.
    unsafe { out.write(object.into_raw().cast_mut().cast()) };
}

/// Outputs and inputs that the caller must give.
fn required<T>(pointer: *const T) -> Result<()> {
    if pointer.is_null() { Err(Error::Invalid) } else { Ok(()) }
}

/// No flag is defined where this is asked, so none may be set.
fn no_flags(flags: u64) -> Result<()> {
    if flags == 0 { Ok(()) } else { Err(Error::Invalid) }
}

/// A descriptor that the caller lends for the call.
fn lent<'a>(fd: c_int) -> Result<BorrowedFd<'a>> {
    if fd < 0 {
        return Err(Error::BadFd);
    }
    // SAFETY: it is not -1. If it is not open, the kernel says so; if the caller closes it meanwhile, that is as harmless
    // to us as any wrong number: every use of it is a single system call that checks what it got.
    Ok(unsafe { BorrowedFd::borrow_raw(fd) })
}
