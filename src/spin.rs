//! Spinning before sleeping, within a promise.
//!
//! To wake a core that sleeps takes some 40 µs; a signal that comes sooner is worth spinning for. One that does not come is
//! not: the spin was in vain. So
//!
//! - no spin is longer than a limit, about what a wake-up costs;
//! - spins in vain cost the whole process at most a share of one core: 1%, by default;
//! - each fence learns whether spinning for it pays, and is not spun for while it does not.
//!
//! A spin that ends with its signal costs no more than the sleep and the wake-up it saves, and is not counted.

use crate::error::{Error, Result};
use crate::sys::env;
use crate::sys::time::{self, Deadline};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// The share of one core, in thousandths, that spins in vain may cost.
pub(crate) const DEFAULT_SHARE: u32 = 10;
const WHOLE_CORE: u32 = 1000;
/// The longest spin.
pub(crate) const DEFAULT_LIMIT_NS: u32 = 50_000;

/// How much of its share a process may use up at once, counted as spins in vain of full length.
const BURST: u64 = 4;

/// Looks at the condition between looks at the clock.
const LOOKS_PER_CLOCK: u32 = 32;
/// While a fence is not spun for, one sleep in so many is timed, to learn whether spinning would pay by now.
const SLEEPS_PER_SAMPLE: u32 = 16;

static SHARE: AtomicU32 = AtomicU32::new(DEFAULT_SHARE);
static LIMIT_NS: AtomicU32 = AtomicU32::new(DEFAULT_LIMIT_NS);
static CONFIGURED: AtomicBool = AtomicBool::new(false);

/// When the spins in vain so far will have been paid for. Spinning is allowed while that is at most a burst away (this
/// is the generic cell rate algorithm).
static PAID_AT_NS: AtomicU64 = AtomicU64::new(0);

/// Sets the promise for this process: thousandths of one core, and the longest spin in nanoseconds. 0 of either is no
/// spinning. `Invalid` for more than all of a core, or a millisecond.
pub(crate) fn set(share: u32, limit_ns: u32) -> Result<()> {
    if share > WHOLE_CORE || limit_ns > 1_000_000 {
        return Err(Error::Invalid);
    }
    // The environment must not override this later.
    CONFIGURED.store(true, Ordering::Relaxed);
    LIMIT_NS.store(limit_ns, Ordering::Relaxed);
    SHARE.store(share, Ordering::Relaxed);
    Ok(())
}

/// Takes the share from the environment, once: LIBUMF_SPIN, thousandths of one core. Called where a page is made, since
/// waits may happen in signal handlers, where the environment must not be read.
pub(crate) fn configure() {
    if !CONFIGURED.swap(true, Ordering::Relaxed) {
        if let Some(share) = env::number(c"LIBUMF_SPIN") {
            SHARE.store(share.min(WHOLE_CORE), Ordering::Relaxed);
        }
    }
}

/// The time in which spins in vain of `ns` are within a share of so many thousandths.
fn price(ns: u64, share: u64) -> u64 {
    ns * 1000 / share
}

/// What a fence learnt: how likely a spin for it ends with the signal, in 1/1024. A guess, so all accesses are relaxed and a
/// lost update does not matter.
pub(crate) struct Learnt {
    likely: AtomicU32,
    sleeps: AtomicU32,
}

/// Whether to spin is decided by this.
const WORTH_IT: u32 = 256;

impl Learnt {
    pub(crate) const fn new() -> Learnt {
        Learnt { likely: AtomicU32::new(512), sleeps: AtomicU32::new(0) }
    }

    fn towards(&self, target: u32, weight: u32) {
        let likely = self.likely.load(Ordering::Relaxed);
        let step = (i64::from(target) - i64::from(likely)) / i64::from(weight);
        self.likely.store((i64::from(likely) + step).clamp(0, 1024) as u32, Ordering::Relaxed);
    }

    /// Spins until `met` answers, if that is worth it and within the promise, and at most until the deadline.
    pub(crate) fn spin<T>(&self, deadline: Deadline, mut met: impl FnMut() -> Option<T>) -> Option<T> {
        // The model checker has enough to do with those who sleep.
        if cfg!(loom) || self.likely.load(Ordering::Relaxed) < WORTH_IT {
            return None;
        }
        let (share, limit_ns) = (u64::from(SHARE.load(Ordering::Relaxed)), u64::from(LIMIT_NS.load(Ordering::Relaxed)));
        if share == 0 || limit_ns == 0 {
            return None;
        }
        let began = time::now();
        if PAID_AT_NS.load(Ordering::Relaxed) > began + price(BURST * limit_ns, share) {
            return None;
        }
        let end = deadline.min(Deadline::at(began + limit_ns));
        let mut now = began;
        while Deadline::at(now) < end {
            for _ in 0..LOOKS_PER_CLOCK {
                if let Some(answer) = met() {
                    self.towards(1024, 8);
                    return Some(answer);
                }
                std::hint::spin_loop();
            }
            now = time::now();
        }
        self.towards(0, 4);
        let pay = |paid_at: u64| Some(paid_at.max(began) + price(now - began, share));
        let _ = PAID_AT_NS.fetch_update(Ordering::Relaxed, Ordering::Relaxed, pay);
        None
    }

    /// Runs a sleep for a fence that is not spun for, and now and then times it: a sleep that ended with its signal within the
    /// limit is one that a spin might have saved.
    pub(crate) fn sample<T>(&self, sleep: impl FnOnce() -> Result<T>) -> Result<T> {
        if cfg!(loom)
            || self.likely.load(Ordering::Relaxed) >= WORTH_IT
            || self.sleeps.fetch_add(1, Ordering::Relaxed) % SLEEPS_PER_SAMPLE != 0
        {
            return sleep();
        }
        let began = time::now();
        let answer = sleep()?;
        if time::now() - began <= LIMIT_NS.load(Ordering::Relaxed).into() {
            self.towards(1024, 16);
        }
        Ok(answer)
    }
}
