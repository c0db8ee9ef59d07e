// SPDX-License-Identifier: MIT
//! What the user configures: LIBUMF_SPIN, LIBUMF_DEBUG and umf_set_spin().
//!
//! The environment is read once, when this process maps its first page. It is not read later, since
//! waits may run in signal handlers, where getenv() is not allowed.

#![forbid(unsafe_code)]

use crate::error::{Error, Result};
use crate::sys::env;
use once_cell::race::OnceBool;
use std::sync::atomic::{AtomicU32, Ordering};

/// The share of one core that wasted spins may cost, in thousandths.
pub(crate) const DEFAULT_SPIN_SHARE: u32 = 10;
const WHOLE_CORE: u32 = 1000;
/// The longest spin, in nanoseconds: about what the wake-up of an idle core costs.
pub(crate) const DEFAULT_SPIN_LIMIT_NS: u32 = 50_000;
const MAX_SPIN_LIMIT_NS: u32 = 1_000_000;

/// Means that neither the environment nor the caller has set the share.
const UNSET: u32 = u32::MAX;

static SPIN_SHARE: AtomicU32 = AtomicU32::new(UNSET);
static SPIN_LIMIT_NS: AtomicU32 = AtomicU32::new(DEFAULT_SPIN_LIMIT_NS);
static DEBUG: OnceBool = OnceBool::new();

/// Reads LIBUMF_SPIN and LIBUMF_DEBUG. Later calls do nothing. What [`set_spin`] has set stays.
pub(crate) fn read_environment() {
    let _ = DEBUG.get_or_init(|| {
        if let Some(share) = env::number(c"LIBUMF_SPIN") {
            let share = share.min(WHOLE_CORE);
            let _ = SPIN_SHARE.compare_exchange(UNSET, share, Ordering::Relaxed, Ordering::Relaxed);
        }
        env::number(c"LIBUMF_DEBUG").is_some_and(|level| level > 0)
    });
}

/// Sets the share of one core for wasted spins, in thousandths, and the longest spin, in
/// nanoseconds. 0 of either turns spinning off. `Invalid` above a whole core or a millisecond.
pub(crate) fn set_spin(share: u32, limit_ns: u32) -> Result<()> {
    if share > WHOLE_CORE || limit_ns > MAX_SPIN_LIMIT_NS {
        return Err(Error::Invalid);
    }
    SPIN_LIMIT_NS.store(limit_ns, Ordering::Relaxed);
    SPIN_SHARE.store(share, Ordering::Relaxed);
    Ok(())
}

/// The share of one core that wasted spins may cost, in thousandths.
pub(crate) fn spin_share() -> u32 {
    match SPIN_SHARE.load(Ordering::Relaxed) {
        UNSET => DEFAULT_SPIN_SHARE,
        share => share,
    }
}

/// The longest spin, in nanoseconds.
pub(crate) fn spin_limit_ns() -> u32 {
    SPIN_LIMIT_NS.load(Ordering::Relaxed)
}

/// Whether LIBUMF_DEBUG is 1 or more. Blocking waits then leave wait records, and a queue that
/// completes a deadlock prints the wait-for graph. Called on slow paths only.
pub(crate) fn is_debug() -> bool {
    // Wait records would only enlarge the state space of the model checker.
    !cfg!(modeled) && DEBUG.get() == Some(true)
}
