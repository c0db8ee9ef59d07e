//! The pause between two looks of a spin: what the processor has for who waits for another to
//! write.
//!
//! Best is to name a cache line, to look, and then to have the processor rest until somebody writes
//! there. It then leaves its units to its sibling and the line to the writer, and saves power. The
//! line is named *before* the look, so a write after the look ends the rest, or keeps it from
//! beginning.
//!
//! Nothing rests on that but power. A rest ends when it likes, and in any case after a microsecond
//! or two, and whoever rested looks again, and at the clock. So an instruction that hears nothing,
//! or too much, makes a spin no wrong one.

#[cfg(target_arch = "aarch64")]
#[path = "pause/arm64.rs"]
mod monitor;
#[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
#[path = "pause/none.rs"]
mod monitor;
#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
#[path = "pause/x86.rs"]
mod monitor;

#[cfg(all(test, not(loom), any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(crate) mod emulated;

use monitor::Monitor;
use std::sync::atomic::{AtomicU8, Ordering};

/// A way to pause.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pause(Option<Monitor>);

impl Pause {
    /// Tells the processor that this is a loop, and no more: `pause`, or what it has for that. Ends
    /// at once.
    pub(crate) const HINT: Pause = Pause(None);

    /// The best that this machine has. The processor is asked once: in a virtual machine the answer
    /// takes microseconds.
    pub(crate) fn best() -> Pause {
        static BEST: AtomicU8 = AtomicU8::new(UNKNOWN);
        const UNKNOWN: u8 = u8::MAX;
        const NONE: u8 = u8::MAX - 1;
        let mut best = BEST.load(Ordering::Relaxed);
        if best == UNKNOWN {
            best = Monitor::best().map_or(NONE, |monitor| monitor as u8);
            BEST.store(best, Ordering::Relaxed);
        }
        Pause(Monitor::ALL.iter().copied().find(|monitor| *monitor as u8 == best))
    }

    /// How many pauses make it worth looking at the clock.
    pub(crate) fn pauses_per_clock(self) -> u32 {
        if self.0.is_some() { 1 } else { 32 }
    }

    /// To be called before a look at what is in `line`, a cache line. The rest that follows ends
    /// when it is written.
    #[inline]
    pub(crate) fn watch<L>(self, line: &L) {
        const { assert!(align_of::<L>() == 64) };
        if let Some(monitor) = self.0 {
            monitor.watch(std::ptr::from_ref(line).cast());
        }
    }

    /// To be called after the look, by who may spin for `left_ns` more.
    #[inline]
    pub(crate) fn rest(self, left_ns: u64) {
        match self.0 {
            Some(monitor) => monitor.rest(left_ns),
            None => std::hint::spin_loop(),
        }
    }
}
