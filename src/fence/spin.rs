//! Spinning before sleeping, within a promise.
//!
//! To wake a core that sleeps takes some 40 µs; a signal that comes sooner is worth spinning for.
//! One that does not come is not: the spin was in vain. So
//!
//! - no spin is longer than a limit, about what a wake-up costs;
//! - spins in vain cost the whole process at most a share of one core: 1%, by default;
//! - each fence learns whether spinning for it pays, and is not spun for while it does not;
//! - to find out whether it pays by now, a fence that was spun for in vain takes a tenth of that
//!   share.
//!
//! A spin that ends with its signal costs no more than the sleep and the wake-up it saves, and is
//! not counted.

use crate::error::{Error, Result};
use crate::sys::env;
use crate::sys::pause::Pause;
use crate::sys::time::{self, Deadline};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// The share of one core, in thousandths, that spins in vain may cost.
pub(crate) const DEFAULT_SHARE: u32 = 10;
const WHOLE_CORE: u32 = 1000;
/// The longest spin.
pub(crate) const DEFAULT_LIMIT_NS: u32 = 50_000;

/// How much of its share a process may use up at once, counted as spins in vain of full length.
const BURST: u64 = 4;

/// While a fence is not spun for, one sleep in so many is timed, to learn whether spinning would
/// pay by now.
const SLEEPS_PER_SAMPLE: u32 = 16;

/// After a spin in vain, short sleeps do not tempt a fence for so many times as long as the promise
/// asks anyway. They mislead where the signaller needs the very processor that a spin keeps from
/// it.
const REST: u64 = 10;

static SHARE: AtomicU32 = AtomicU32::new(DEFAULT_SHARE);
static LIMIT_NS: AtomicU32 = AtomicU32::new(DEFAULT_LIMIT_NS);
static CONFIGURED: AtomicBool = AtomicBool::new(false);

/// When the spins in vain so far will have been paid for. Spinning is allowed while that is at most
/// a burst away (this is the generic cell rate algorithm).
static PAID_AT_NS: AtomicU64 = AtomicU64::new(0);

/// Sets the promise for this process: thousandths of one core, and the longest spin in nanoseconds.
/// 0 of either is no spinning. `Invalid` for more than all of a core, or a millisecond.
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

/// Takes the share from the environment, once: LIBUMF_SPIN, thousandths of one core. Called where a
/// page is made, since waits may happen in signal handlers, where the environment must not be read.
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

/// What a fence learnt: how likely a spin for it ends with the signal, in 1/1024. A guess, so all
/// accesses are relaxed and a lost update does not matter.
pub(crate) struct Learnt {
    likely: AtomicU32,
    sleeps: AtomicU32,
    /// Until then, short sleeps tempt nobody.
    rests_until_ns: AtomicU64,
}

/// Whether to spin is decided by this.
const WORTH_IT: u32 = 256;

impl Learnt {
    pub(crate) const fn new() -> Learnt {
        Learnt {
            likely: AtomicU32::new(512),
            sleeps: AtomicU32::new(0),
            rests_until_ns: AtomicU64::new(0),
        }
    }

    fn towards(&self, target: u32, weight: u32) {
        let likely = self.likely.load(Ordering::Relaxed);
        let step = (i64::from(target) - i64::from(likely)) / i64::from(weight);
        self.likely.store((i64::from(likely) + step).clamp(0, 1024) as u32, Ordering::Relaxed);
    }

    /// Spins until `met`, which looks at what is in a cache line, answers, if that is worth it and
    /// within the promise, and at most until the deadline.
    pub(crate) fn spin<L, T>(
        &self,
        line: &L,
        deadline: Deadline,
        met: impl FnMut() -> Option<T>,
    ) -> Option<T> {
        // The model checker has enough to do with those who sleep.
        if cfg!(loom) || self.likely.load(Ordering::Relaxed) < WORTH_IT {
            return None;
        }
        let (share, limit_ns) =
            (u64::from(SHARE.load(Ordering::Relaxed)), u64::from(LIMIT_NS.load(Ordering::Relaxed)));
        if share == 0 || limit_ns == 0 {
            return None;
        }
        let began = time::now();
        if PAID_AT_NS.load(Ordering::Relaxed) > began + price(BURST * limit_ns, share) {
            return None;
        }
        let end = deadline.min(Deadline::at(began + limit_ns));
        let (answer, now) = look_until(Pause::best(), line, began, end, met);
        if answer.is_some() {
            self.towards(1024, 8);
            return answer;
        }
        self.towards(0, 4);
        self.rests_until_ns.store(now + REST * price(limit_ns, share), Ordering::Relaxed);
        let pay = |paid_at: u64| Some(paid_at.max(began) + price(now - began, share));
        let _ = PAID_AT_NS.fetch_update(Ordering::Relaxed, Ordering::Relaxed, pay);
        None
    }

    /// Runs a sleep for a fence that is not spun for, and now and then times it: a sleep that ended
    /// with its signal within the limit is one that a spin might have saved.
    pub(crate) fn sample<T>(&self, sleep: impl FnOnce() -> Result<T>) -> Result<T> {
        let began = self.is_time_to_sample().then(time::now);
        let answer = sleep()?;
        if let Some(began) = began {
            self.learn_from_sleep(began);
        }
        Ok(answer)
    }

    fn is_time_to_sample(&self) -> bool {
        if cfg!(loom) || self.likely.load(Ordering::Relaxed) >= WORTH_IT {
            return false;
        }
        let sleeps = self.sleeps.load(Ordering::Relaxed);
        self.sleeps.store(sleeps.wrapping_add(1), Ordering::Relaxed);
        sleeps % SLEEPS_PER_SAMPLE == 0
    }

    #[cold]
    fn learn_from_sleep(&self, began: u64) {
        let short = time::now() - began <= LIMIT_NS.load(Ordering::Relaxed).into();
        if short && began >= self.rests_until_ns.load(Ordering::Relaxed) {
            self.towards(1024, 16);
        }
    }
}

/// Looks until there is an answer, or the end has come. Tells the answer, and the time of the last
/// look at the clock.
fn look_until<L, T>(
    best: Pause,
    line: &L,
    began: u64,
    end: Deadline,
    mut met: impl FnMut() -> Option<T>,
) -> (Option<T>, u64) {
    // Who answers at once is not made to wait for a processor that has gone to rest: it rests after
    // the first look at the clock.
    let (mut pause, mut now) = (Pause::HINT, began);
    while Deadline::at(now) < end {
        for _ in 0..pause.pauses_per_clock() {
            pause.watch(line);
            let answer = met();
            if answer.is_some() {
                return (answer, now);
            }
            pause.rest(end.ns() - now);
        }
        (pause, now) = (best, time::now());
    }
    (None, now)
}

#[cfg(all(test, not(loom), any(target_arch = "x86_64", target_arch = "aarch64")))]
mod tests {
    use super::*;
    use crate::sys::pause::emulated;
    use std::time::Duration;

    #[repr(align(64))]
    struct Line(AtomicU32);

    #[test]
    fn a_spin_ends_with_its_signal_and_in_time_whatever_it_pauses_with() {
        for pause in emulated::pauses() {
            let line = Line(AtomicU32::new(0));
            let signal_of = |value| move |now| (now == value).then_some(());
            let spin = |ns, value| {
                let (began, met) = (time::now(), signal_of(value));
                let end = Deadline::at(began + ns);
                (end, look_until(pause, &line, began, end, || met(line.0.load(Ordering::SeqCst))))
            };
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    for value in 1..=100 {
                        // The spin is past its first looks by then.
                        std::thread::sleep(Duration::from_micros(100));
                        line.0.store(value, Ordering::SeqCst);
                        while line.0.load(Ordering::SeqCst) != 0 {
                            std::thread::yield_now();
                        }
                    }
                });
                for value in 1..=100 {
                    assert!(spin(10_000_000_000, value).1.0.is_some());
                    line.0.store(0, Ordering::SeqCst);
                }
            });
            let (end, (answer, now)) = spin(1_000_000, 1);
            assert!(answer.is_none() && Deadline::at(now) >= end);
        }
    }
}
