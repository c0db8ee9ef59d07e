// SPDX-License-Identifier: MIT
//! The loaded library: its version, what it can do, and a setting.

use crate::error::{Result, check};
use crate::handle::size_of;
use crate::{CapFlags, sys};
use std::time::Duration;

/// Returns the version of the loaded library: major, minor, patch.
#[doc(alias = "umf_version")]
pub fn version() -> (u32, u32, u32) {
    // SAFETY: The call has no arguments.
    let version = unsafe { sys::umf_version() };
    (version >> 16, version >> 8 & 0xff, version & 0xff)
}

/// What the library can do on this machine.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// What is possible.
    pub flags: CapFlags,
    /// The most fences that a page can have.
    pub max_fences: u32,
    /// The most conditions that a wait can have.
    pub max_waits: u32,
}

/// Returns what the library can do on this machine.
#[doc(alias = "umf_query_caps")]
pub fn caps() -> Result<Caps> {
    let size = size_of::<sys::umf_caps>();
    let mut caps = sys::umf_caps { size, version: 0, flags: 0, max_fences: 0, max_waits: 0 };
    // SAFETY: `caps` is valid for writing, and `size` is its size.
    check(unsafe { sys::umf_query_caps(&raw mut caps) })?;
    let flags = CapFlags::from_bits(caps.flags);
    Ok(Caps { flags, max_fences: caps.max_fences, max_waits: caps.max_waits })
}

/// Limits the CPU time that the waits of this process spend spinning before they sleep.
///
/// Spins that end in a sleep take at most `vain_permille` thousandths of one core. No spin takes
/// longer than `limit`, which is at most 1 ms.
#[doc(alias = "umf_set_spin")]
pub fn set_spin(vain_permille: u32, limit: Duration) -> Result<()> {
    let limit = u32::try_from(limit.as_nanos()).unwrap_or(u32::MAX);
    // SAFETY: The call takes numbers alone.
    check(unsafe { sys::umf_set_spin(vain_permille, limit, 0) })
}
