//! x86: `umonitor` and `umwait` of Intel's processors, `monitorx` and `mwaitx` of AMD's.
//!
//! A hypervisor that wants to see the processor idle hides them: then it would take an exit from
//! the virtual machine each time.

#[cfg(target_arch = "x86")]
use std::arch::x86::{__cpuid, __cpuid_count, _rdtsc};
#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{__cpuid, __cpuid_count, _rdtsc};

use std::arch::asm;

/// The longest rest, in ticks of the time stamp counter: a microsecond or two, five on the slowest.
/// The kernel's own limit (IA32_UMWAIT_CONTROL) is 100,000, if it was not changed.
const REST_TICKS: u32 = 4000;

/// Not deeper than C0.1, the light sleep that ends soonest.
const UMWAIT_C0_1: u32 = 1;
/// Not even C1.
const MWAITX_C0: u32 = 0xf0;
/// EBX says how long.
const MWAITX_TIMER: u32 = 1 << 1;

#[derive(Clone, Copy, Debug)]
pub(super) enum Monitor {
    Umwait,
    Mwaitx,
}

impl Monitor {
    pub(super) const ALL: &[Monitor] = &[Monitor::Umwait, Monitor::Mwaitx];

    pub(super) fn best() -> Option<Monitor> {
        const WAITPKG: u32 = 1 << 5;
        const MONITORX: u32 = 1 << 29;
        let (features, extended) = features();
        if features & WAITPKG != 0 {
            Some(Monitor::Umwait)
        } else if extended & MONITORX != 0 {
            Some(Monitor::Mwaitx)
        } else {
            None
        }
    }

    /// Both monitors are armed in the order of loads: before the loads that follow.
    #[inline]
    pub(super) fn watch(self, line: *const u32) {
        // Not nomem: the compiler keeps the look behind it.
        match self {
            // SAFETY: reads nothing that the program could tell, of an address that may be read.
            Monitor::Umwait => unsafe {
                asm!("umonitor {0}", in(reg) line, options(nostack, preserves_flags));
            },
            // SAFETY: as above. The address is in rax (eax); no extensions, no hints.
            #[cfg(target_arch = "x86_64")]
            Monitor::Mwaitx => unsafe {
                asm!("monitorx", in("rax") line, in("ecx") 0, in("edx") 0, options(nostack, preserves_flags));
            },
            // SAFETY: as above.
            #[cfg(target_arch = "x86")]
            Monitor::Mwaitx => unsafe {
                asm!("monitorx", in("eax") line, in("ecx") 0, in("edx") 0, options(nostack, preserves_flags));
            },
        }
    }

    #[inline]
    pub(super) fn rest(self, _left_ns: u64) {
        match self {
            Monitor::Umwait => {
                // SAFETY: reads a counter. Where a process is forbidden to, it could not have read
                // the clock either.
                let until = unsafe { _rdtsc() }.wrapping_add(REST_TICKS.into());
                // SAFETY: changes nothing but the flags.
                unsafe {
                    asm!("umwait {0:e}", in(reg) UMWAIT_C0_1, in("eax") until as u32, in("edx") (until >> 32) as u32,
                        options(nostack));
                }
            }
            // SAFETY: changes nothing. LLVM keeps rbx (ebx) for itself, so it is given back.
            #[cfg(target_arch = "x86_64")]
            Monitor::Mwaitx => unsafe {
                asm!("xchg {0:r}, rbx", "mwaitx", "xchg {0:r}, rbx", inout(reg) u64::from(REST_TICKS) => _,
                    in("eax") MWAITX_C0, in("ecx") MWAITX_TIMER, options(nostack, preserves_flags));
            },
            // SAFETY: as above.
            #[cfg(target_arch = "x86")]
            Monitor::Mwaitx => unsafe {
                asm!("xchg {0:e}, ebx", "mwaitx", "xchg {0:e}, ebx", inout(reg) REST_TICKS => _,
                    in("eax") MWAITX_C0, in("ecx") MWAITX_TIMER, options(nostack, preserves_flags));
            },
        }
    }
}

/// ECX of CPUID leaf 7, and of leaf 0x80000001. 0 for what the processor has not.
#[allow(unused_unsafe)] // safe to call in newer versions of Rust
fn features() -> (u32, u32) {
    // SAFETY: every processor that Rust's programs run on has CPUID, and a leaf is asked for after
    // it was said to be there.
    unsafe {
        let features = if __cpuid(0).eax >= 7 { __cpuid_count(7, 0).ecx } else { 0 };
        let extended =
            if __cpuid(0x8000_0000).eax > 0x8000_0000 { __cpuid(0x8000_0001).ecx } else { 0 };
        (features, extended)
    }
}
