// SPDX-License-Identifier: MIT
//! When the last values of a fence were signaled, in a page with room for that.
//!
//! ```text
//!   a signal of N                            a reader asks for N
//!   T1  read the clock: t                    U1  the value has reached N: acquire
//!   T2  read the value: old < N              U2  read the entries: the latest t of N
//!   T3  take an entry, write (N, t)          U3  the state: still this fence?
//!   T4  value: N (RMW): S1 to S5 of slot.rs
//! ```
//!
//! *The time is not later than the value.* When the clock was read, the value was below N. So each
//! time that an entry has for N is one at which a signaler had called for N, and N was not reached.
//! Signalers that race for N leave several. The latest is the best: it is not before that of the
//! signaler that won, and not after N was reached. A signaler that is killed between T3 and T4
//! leaves its time, which then is one of several, or the only one if another value passes N.
//!
//! *A reader that sees the value sees its time.* T3 comes before T4, and U1 reads from T4 or later.
//!
//! *A time is never that of another value.* An entry is two words, which other processes may write
//! at once, or be killed between. So the second word is the exclusive or of value and time. A
//! reader takes an entry for N if both words together give N. Words of two writes give another
//! number, unless the two times differ in exactly the bits in which two values differ: by a few
//! nanoseconds, for values that are close.
//!
//! *A time is never that of another fence.* The creator clears the entries between C2 and C4. A
//! reader of the old fence that sees an entry of the next one sees the claim too, in U3.
//!
//! What remains is as with every stale handle: see architecture.md, "The state word".

#![forbid(unsafe_code)]

use crate::util::atomic::{AtomicU32, AtomicU64, Ordering};

/// The number of signals that are remembered.
pub(crate) const ENTRIES: usize = if cfg!(loom) { 2 } else { 7 };

/// The times of a slot's fence. All zero: none. `align(128)`, since a signal writes two parts of
/// it.
#[repr(C, align(128))]
pub(crate) struct Timestamps {
    /// The number of entries that were taken. It wraps around, and then skips some.
    taken: AtomicU32,
    reserved: AtomicU32,
    entries: [Entry; ENTRIES],
}

/// All zero: none.
#[repr(C)]
struct Entry {
    /// In nanoseconds. 0 if there is none.
    time: AtomicU64,
    /// The value, exclusive or the time.
    check: AtomicU64,
}

impl Timestamps {
    /// T3, in an entry that no other signal takes before as many follow as there are entries.
    pub(super) fn leave(&self, value: u64, time: u64) {
        let taken = self.taken.fetch_add(1, Ordering::Relaxed) as usize % ENTRIES;
        if let Some(entry) = self.entries.get(taken) {
            entry.write(value, time);
        }
    }

    /// U2: the latest time that is known for `value`.
    pub(super) fn latest(&self, value: u64) -> Option<u64> {
        self.entries.iter().filter_map(|entry| entry.time_of(value)).max()
    }

    /// Forgets the times of the slot's last fence.
    pub(super) fn clear(&self) {
        // Release: a reader that finds nothing here also finds the claim.
        self.entries.iter().for_each(|entry| entry.time.store(0, Ordering::Release));
    }
}

impl Entry {
    /// Release: a reader that sees this sees which fence lives in the slot.
    fn write(&self, value: u64, time: u64) {
        self.check.store(value ^ time, Ordering::Release);
        self.time.store(time, Ordering::Release);
    }

    fn time_of(&self, value: u64) -> Option<u64> {
        let time = self.time.load(Ordering::Acquire);
        let check = self.check.load(Ordering::Acquire);
        (time != 0 && time ^ check == value).then_some(time)
    }
}

/// What shared memory gives for free, the model checker has to make.
#[cfg(modeled)]
impl Timestamps {
    pub(crate) fn new() -> Timestamps {
        let entry = |_| Entry { time: AtomicU64::new(0), check: AtomicU64::new(0) };
        let [taken, reserved] = std::array::from_fn(|_| AtomicU32::new(0));
        Timestamps { taken, reserved, entries: std::array::from_fn(entry) }
    }
}

// The layout is shared between processes of 32 and 64 bits.
#[cfg(not(modeled))]
const _: () = {
    use std::mem::{align_of, offset_of};
    assert!(size_of::<Timestamps>() == 128 && align_of::<Timestamps>() == 128);
    assert!(offset_of!(Timestamps, entries) == 8 && size_of::<Entry>() == 16);
    assert!(offset_of!(Entry, check) == 8);
};
