//! arm64: `ldxr` arms the exclusive monitor, and losing what it holds is an event that ends `wfe`
//! and `wfet`.
//!
//! An event that comes between the two is kept, and the rest does not begin. So is one from before,
//! at the price of a look; and no `sevl` is needed, which loops use that begin with `wfe`. If
//! nothing comes, or the reservation is lost without an event, `wfet` (Armv8.7) ends at its time.
//! `wfe` ends with the event stream: Linux has the timer send one about every 100 µs, and says
//! whether it does. That is longer than most spins may be, so `wfe` is for those that have more
//! time left.

use std::arch::asm;

/// In AT_HWCAP and AT_HWCAP2 (kernel: arch/arm64/include/uapi/asm/hwcap.h).
const HWCAP_EVTSTRM: libc::c_ulong = 1 << 2;
const HWCAP2_WFXT: libc::c_ulong = 1 << 31;

/// The longest `wfet` is this part of a second: 2 µs.
const RESTS_PER_S: u64 = 500_000;
/// No two events of the stream are further apart: 100 µs, rounded to some power of two of the
/// timer's ticks.
const STREAM_NS: u64 = 200_000;

#[derive(Clone, Copy, Debug)]
pub(super) enum Monitor {
    Wfet,
    Wfe,
}

impl Monitor {
    pub(super) const ALL: &[Monitor] = &[Monitor::Wfet, Monitor::Wfe];

    pub(super) fn best() -> Option<Monitor> {
        // SAFETY: takes no pointer. It may set errno, which waits keep.
        let (caps, more) =
            unsafe { (libc::getauxval(libc::AT_HWCAP), libc::getauxval(libc::AT_HWCAP2)) };
        if more & HWCAP2_WFXT != 0 {
            Some(Monitor::Wfet)
        } else if caps & HWCAP_EVTSTRM != 0 {
            Some(Monitor::Wfe)
        } else {
            None
        }
    }

    #[inline]
    pub(super) fn watch(self, line: *const u32) {
        // Not nomem: the compiler keeps the look behind it.
        // SAFETY: reads a word that may be read, and is aligned. What it holds is not used.
        unsafe {
            asm!("ldxr {0:w}, [{1}]", out(reg) _, in(reg) line, options(nostack, preserves_flags))
        };
    }

    #[inline]
    pub(super) fn rest(self, left_ns: u64) {
        match self {
            Monitor::Wfet => wfet(),
            // SAFETY: changes nothing.
            Monitor::Wfe if left_ns >= STREAM_NS => unsafe {
                asm!("wfe", options(nostack, preserves_flags))
            },
            Monitor::Wfe => std::hint::spin_loop(),
        }
    }
}

fn wfet() {
    let (now, per_s) = counter();
    let until = now.wrapping_add(per_s / RESTS_PER_S + 1);
    // By its number: assemblers know `wfet` only where Armv8.7 is asked for.
    // SAFETY: changes nothing.
    unsafe { asm!("msr s0_3_c1_c0_0, {0}", in(reg) until, options(nostack, preserves_flags)) };
}

/// The virtual counter, and how often a second it counts.
pub(super) fn counter() -> (u64, u64) {
    let (now, per_s);
    // SAFETY: reads what every program may read, as the clock does.
    unsafe {
        asm!("mrs {0}, cntvct_el0", "mrs {1}, cntfrq_el0", out(reg) now, out(reg) per_s, options(nostack, preserves_flags));
    }
    (now, per_s)
}
