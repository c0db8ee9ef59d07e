//! Library.

use super::args::{no_flags, write_sized};
use super::page::UMF_PAGE_MAX_FENCES;
use super::returns::c_return;
use super::wait::UMF_WAIT_MAX;
use crate::config;
use crate::sys::{futex, udmabuf};
use std::ffi::c_int;

/// The version of the library that this header describes; what is loaded at run time is told by umf_version().
pub const UMF_VERSION_MAJOR: u32 = 0;

/// See UMF_VERSION_MAJOR.
pub const UMF_VERSION_MINOR: u32 = 1;

/// See UMF_VERSION_MAJOR.
pub const UMF_VERSION_PATCH: u32 = 0;

/// The version of the loaded library: major << 16 | minor << 8 | patch.
///
/// Thread-safe, async-signal-safe. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn umf_version() -> u32 {
    UMF_VERSION_MAJOR << 16 | UMF_VERSION_MINOR << 8 | UMF_VERSION_PATCH
}

/// In umf_caps.flags: one wait sleeps on the fences of up to 128 pages (Linux 5.16, and no sandbox that forbids
/// futex_waitv). Without it, umf_wait() on fences of more than one page looks from time to time, as with UMF_FENCE_DEVICE; and so
/// does any wait for what only another process may signal (UMF_PAGE_SINGLE_WRITER). Since 0.1.
pub const UMF_CAP_WAIT_MANY_PAGES: u64 = 1 << 0;

/// In umf_caps.flags: /dev/udmabuf can be opened, so sync_files can be exported without a DRM device. Since 0.1.
pub const UMF_CAP_UDMABUF: u64 = 1 << 1;

/// What the library can do on this machine: see umf_query_caps(). Grows at the end.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct umf_caps {
    /// In: sizeof(struct umf_caps). Out: how many bytes the library knows of.
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

/// Tells what the library can do on this machine.
///
/// \param caps  set caps->size to sizeof(*caps) before. A library older than the caller's header fills in what it knows,
///              and zeroes what is behind. Stays the caller's.
///
/// \return 0, or
///         -EINVAL  caps is NULL, or caps->size less than the first version of the struct.
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
        // SAFETY: the C contract (contract.rs); umf_caps starts with its size and has no padding.
        unsafe { write_sized(caps, &known) }
    })
}

/// Sets how much CPU time waits may spend spinning before they sleep. To wake a sleeping core takes tens of microseconds, so
/// a signal that comes sooner is worth spinning for, and each fence learns whether it does. Spins that end in a sleep all the
/// same are in vain; they cost this process at most a share of one core.
///
/// \param vain_permille  the share, in thousandths of one core, 0 to 1000. 0 is no spinning. 10 unless the environment
///                       variable LIBUMF_SPIN said otherwise when the first page was made or imported.
/// \param limit_ns       the longest spin, in nanoseconds, up to 1,000,000. 0 is no spinning. 50,000 unless set.
/// \param flags          0.
///
/// \return 0, or
///         -EINVAL  an argument is out of range, flags not 0.
///
/// Thread-safe, async-signal-safe. Holds for all waits of the process that begin later. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn umf_set_spin(vain_permille: u32, limit_ns: u32, flags: u64) -> c_int {
    c_return(|| {
        no_flags(flags)?;
        config::set_spin(vain_permille, limit_ns)
    })
}
