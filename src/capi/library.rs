// SPDX-License-Identifier: MIT
//! Version, capabilities and settings.

use super::args::{no_flags, write_sized};
use super::page::UMF_PAGE_MAX_FENCES;
use super::returns::c_return;
use super::wait::UMF_WAIT_MAX;
use crate::config;
use crate::sys::{futex, udmabuf};
use std::ffi::c_int;

/// The major version of the library that this header describes. umf_version() returns the loaded
/// one's.
pub const UMF_VERSION_MAJOR: u32 = 0;

/// The minor version. See UMF_VERSION_MAJOR.
pub const UMF_VERSION_MINOR: u32 = 1;

/// The patch version. See UMF_VERSION_MAJOR.
pub const UMF_VERSION_PATCH: u32 = 0;

const fn is_number(text: &str, number: u32) -> bool {
    matches!(u32::from_str_radix(text, 10), Ok(parsed) if parsed == number)
}
const _: () = assert!(
    is_number(env!("CARGO_PKG_VERSION_MAJOR"), UMF_VERSION_MAJOR)
        && is_number(env!("CARGO_PKG_VERSION_MINOR"), UMF_VERSION_MINOR)
        && is_number(env!("CARGO_PKG_VERSION_PATCH"), UMF_VERSION_PATCH),
    "UMF_VERSION_* differ from the version in Cargo.toml"
);

/// Get the version of the loaded library.
///
/// Return: major << 16 | minor << 8 | patch.
///
/// Thread-safe and async-signal-safe. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn umf_version() -> u32 {
    UMF_VERSION_MAJOR << 16 | UMF_VERSION_MINOR << 8 | UMF_VERSION_PATCH
}

/// Bit of umf_caps.flags: one wait can sleep on the fences of up to 128 pages.
///
/// Read it before you rely on two kinds of waits, which poll at intervals without it, as those on
/// fences with UMF_FENCE_DEVICE do. These are umf_wait() and wait sets on fences of more than one
/// page, and every wait for a fence that only another process may signal (UMF_PAGE_SINGLE_WRITER).
/// It needs Linux 5.16 and no sandbox that forbids futex_waitv.
///
/// A sandbox may kill a process for futex_waitv. Where a filter of system calls is in force, the
/// library asks for it only in umf_query_caps(), for waits and loops over several pages, for
/// watches and wait sets of a UMF_PAGE_SINGLE_WRITER page of another process, and for watches of an
/// xshmfence. Until one of these has asked, a loop wakes once a second there, and other signals in
/// the page wake its waiters more often. Enter such a sandbox before the first wait, and do not
/// call umf_query_caps() there. Since 0.1.
pub const UMF_CAP_WAIT_MANY_PAGES: u64 = 1 << 0;

/// Bit of umf_caps.flags: this process can open /dev/udmabuf.
///
/// sync_files can then be exported without a DRM device. Since 0.1.
pub const UMF_CAP_UDMABUF: u64 = 1 << 1;

/// What the library can do on this machine. umf_query_caps() fills it in. Later versions may add
/// members at the end. Since 0.1.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct umf_caps {
    /// In: sizeof(struct umf_caps). Out: the number of bytes that the library knows.
    pub size: u32,
    /// What umf_version() returns.
    pub version: u32,
    /// UMF_CAP_* bits.
    pub flags: u64,
    /// UMF_PAGE_MAX_FENCES of the loaded library.
    pub max_fences: u32,
    /// UMF_WAIT_MAX of the loaded library.
    pub max_waits: u32,
}

/// Get what the library can do on this machine.
///
/// @caps: receives the answer. The caller sets caps->size to sizeof(*caps) first. A library older
///     than the caller's header fills in the members that it knows, and zeroes the rest. Stays the
///     caller's.
///
/// Return: 0 on success, or
///   -EINVAL  @caps is NULL, or caps->size is less than the first version of the struct, or more
///            than 256
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_query_caps(caps: *mut umf_caps) -> c_int {
    c_return(|| {
        let mut flags = 0;
        if futex::has_waitv() {
            flags |= UMF_CAP_WAIT_MANY_PAGES;
        }
        if udmabuf::is_available() {
            flags |= UMF_CAP_UDMABUF;
        }
        let size = size_of::<umf_caps>() as u32;
        let known = umf_caps {
            size,
            version: umf_version(),
            flags,
            max_fences: UMF_PAGE_MAX_FENCES,
            max_waits: UMF_WAIT_MAX,
        };
        // SAFETY: the C contract (contract.rs). umf_caps starts with its size and has no padding.
        unsafe { write_sized(caps, &known) }
    })
}

/// Limit the CPU time that waits spend spinning before they sleep.
///
/// It takes tens of microseconds to wake a sleeping core, so a signal that comes sooner is worth
/// spinning for. Each fence learns whether it is. A spin that ends in a sleep all the same is
/// wasted. Wasted spins cost this process at most a share of one core. The call holds for all waits
/// of this process that begin later.
///
/// @vain_permille: the share for wasted spins, in thousandths of one core, 0 to 1000. 0 disables
///     spinning. The default is 10, or the value of the environment variable LIBUMF_SPIN when this
///     process created or imported its first page.
/// @limit_ns: the longest spin in nanoseconds, up to 1,000,000. 0 disables spinning. The default is
///     50,000.
/// @flags: must be 0.
///
/// Return: 0 on success, or
///   -EINVAL  an argument is out of range, or @flags is not 0
///
/// Thread-safe and async-signal-safe. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn umf_set_spin(vain_permille: u32, limit_ns: u32, flags: u64) -> c_int {
    c_return(|| {
        no_flags(flags)?;
        config::set_spin(vain_permille, limit_ns)
    })
}
