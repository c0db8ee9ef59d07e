// SPDX-License-Identifier: MIT
//! Arguments that are not handles: checks, and how structs and arrays are read and written.

use crate::error::{Error, FenceErrno, Result};
use rustix::fd::BorrowedFd;
use std::ffi::c_int;

/// Refuses NULL, for pointers that the caller must pass.
pub(super) fn non_null<T>(pointer: *const T) -> Result<()> {
    if pointer.is_null() { Err(Error::Invalid) } else { Ok(()) }
}

/// Refuses every flag, for functions that define none yet.
pub(super) fn no_flags(flags: u64) -> Result<()> {
    if flags == 0 { Ok(()) } else { Err(Error::Invalid) }
}

/// Reads the error that the caller gives a fence: a negative errno, as in the kernel.
pub(super) fn fence_errno(error: c_int) -> Result<FenceErrno> {
    let errno = if error < 0 { FenceErrno::new(error.unsigned_abs()) } else { None };
    errno.ok_or(Error::Invalid)
}

/// Borrows a file descriptor from the caller for the call.
pub(super) fn borrow_fd<'a>(fd: c_int) -> Result<BorrowedFd<'a>> {
    if fd < 0 {
        return Err(Error::BadFd);
    }
    // SAFETY: it is not -1. If it is not open, the kernel reports that. If the caller closes it
    // during the call, that is as harmless as any wrong number: every use of it is one system call
    // that checks what it got.
    Ok(unsafe { BorrowedFd::borrow_raw(fd) })
}

/// Reads an array of the caller's, which may be NULL if it has no elements.
///
/// # Safety
/// `first` is NULL or points to `count` elements that stay valid and unchanged for `'a`.
pub(super) unsafe fn slice<'a, T>(first: *const T, count: u32) -> Result<&'a [T]> {
    if count == 0 {
        return Ok(&[]);
    }
    non_null(first)?;
    // SAFETY: by this function's contract.
    Ok(unsafe { std::slice::from_raw_parts(first, count as usize) })
}

/// Reads a struct of the caller's that starts with its size in bytes. It may be newer than the
/// library's.
///
/// # Safety
/// `given` is NULL or valid for as many bytes as its first member, a u32, says, for `'a`. `T`
/// starts with that u32.
pub(super) unsafe fn read_sized<'a, T>(given: *const T) -> Result<&'a T> {
    // SAFETY: by this function's contract.
    let size = *unsafe { given.cast::<u32>().as_ref() }.ok_or(Error::Invalid)?;
    // All versions so far have this size. Once a struct has grown, compare with the first size.
    if (size as usize) < size_of::<T>() {
        return Err(Error::Invalid);
    }
    // SAFETY: `size_of::<T>()` bytes are valid, as just compared.
    Ok(unsafe { &*given })
}

/// The largest size of a struct that the library writes, in any version.
const MAX_OUTPUT: usize = 256;

/// Writes `known` to a struct of the caller's that starts with its size in bytes. It may be newer
/// than the library's; the rest is zeroed. `Invalid` for a size that no version will have: the
/// caller has not set it.
///
/// # Safety
/// `out` is NULL or valid for as many bytes as its first member, a u32, says. `T` starts with that
/// u32 and has no padding.
pub(super) unsafe fn write_sized<T: Copy>(out: *mut T, known: &T) -> Result<()> {
    non_null(out)?;
    // SAFETY: by this function's contract.
    let size = unsafe { out.cast::<u32>().read() } as usize;
    // All versions so far have this size. Once a struct has grown, compare with the first size.
    if !(size_of::<T>()..=MAX_OUTPUT).contains(&size) {
        return Err(Error::Invalid);
    }
    // SAFETY: `size_of::<T>()` bytes are valid for writing, as just compared ...
    unsafe {
        out.cast::<u8>().copy_from_nonoverlapping(std::ptr::from_ref(known).cast(), size_of::<T>())
    };
    // SAFETY: ... and so is the rest, up to `size`.
    unsafe { out.cast::<u8>().add(size_of::<T>()).write_bytes(0, size - size_of::<T>()) };
    Ok(())
}
