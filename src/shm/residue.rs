// SPDX-License-Identifier: MIT
//! Which waiters a signal concerns: values modulo 32.
//!
//! FUTEX_WAKE_BITSET wakes the waiters whose 32-bit set meets that of the wake-up. A waiter for the
//! value T has bit `T % 32`. A signal that moves a fence from `old` to `new` names the residues of
//! old+1 ..= new, so it wakes every waiter that it meets. A waiter whose value has the same residue
//! may be woken too early; it checks its value and waits again.

#![forbid(unsafe_code)]

/// How wide a fence's value is, and so which of two values is further.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Width {
    /// Grows, and ends at `u64::MAX`.
    Bits64,
    /// Wraps, as the sequence numbers of hardware do. Of two values, the one that is ahead by less
    /// than 2^31 is further.
    Bits32,
}

impl Width {
    /// Whether a fence of this width can have the value.
    pub(crate) fn holds(self, value: u64) -> bool {
        self == Width::Bits64 || value <= u64::from(u32::MAX)
    }

    /// The bits that a value can have.
    pub(super) fn mask(self) -> u64 {
        match self {
            Width::Bits64 => u64::MAX,
            Width::Bits32 => u32::MAX.into(),
        }
    }

    /// The value that comes after `value`, if there is one.
    pub(crate) fn after(self, value: u64) -> Option<u64> {
        match self {
            Width::Bits64 => value.checked_add(1),
            Width::Bits32 => Some((value as u32).wrapping_add(1).into()),
        }
    }

    /// Whether a fence at `value` has not reached `target` yet.
    #[inline]
    pub(crate) fn is_before(self, value: u64, target: u64) -> bool {
        match self {
            Width::Bits64 => value < target,
            Width::Bits32 => (value as u32).wrapping_sub(target as u32) as i32 <= -1,
        }
    }

    /// The residues of old+1 ..= new, where `new` is further than `old`.
    #[inline]
    pub(super) fn passed(self, old: u64, new: u64) -> Residues {
        match self {
            Width::Bits64 => passed(old, new),
            // 2^32 is a multiple of 32, so residues wrap together with the values.
            Width::Bits32 => {
                passed(old, old.wrapping_add(u64::from((new as u32).wrapping_sub(old as u32))))
            }
        }
    }

    /// The residues that a store of an unordered fence concerns. Up: old+1 ..= new, as for a
    /// signal. Down: new ..= old, with `old` for the waiters that it met (rewind.rs).
    #[inline]
    pub(super) fn crossed(old: u64, new: u64) -> Residues {
        if new < old { residue(new) | passed(new, old) } else { passed(old, new) }
    }

    /// A value in 32 bits, for [`Width::unannounced`]: which block of 64 values it is in, as a hash
    /// of 26 bits, and where it is in there.
    pub(super) fn folded(self, value: u64) -> u32 {
        match self {
            Width::Bits64 => hash(value >> 6) << 6 | value as u32 & 63,
            Width::Bits32 => value as u32,
        }
    }

    /// The residues of the values up to `value` that were not announced yet. `announced` is the
    /// last announced value, `folded`.
    ///
    /// If it may be a value of the same block or of the block before, as the hash says, these are
    /// the values between. Otherwise all residues are wanted.
    ///
    /// Blocks that are at most 2^24 apart have different hashes: multiples of the golden ratio keep
    /// a distance of 1 / (sqrt(5) * 2^24), which is more than 2^-26. So no waiter of a value is
    /// missed that is less than 2^30 ahead. Of two values that are further apart, one pair in 2^25
    /// looks close. `u64::MAX`, the end of a fence, concerns every waiter.
    pub(super) fn unannounced(self, announced: u32, value: u64) -> Residues {
        if self == Width::Bits32 {
            let old = announced.into();
            return if self.is_before(old, value) { self.passed(old, value) } else { 0 };
        }
        let block = value >> 6;
        let within = |block| block << 6 | u64::from(announced & 63);
        let old = match announced >> 6 {
            _ if value == u64::MAX => return ALL,
            hashed if hashed == hash(block) => within(block),
            hashed if hashed == hash(block.wrapping_sub(1)) => within(block.wrapping_sub(1)),
            _ => return ALL,
        };
        if old <= value { passed(old, value) } else { ALL }
    }
}

/// 2^64 divided by the golden ratio.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The 26 highest bits of a multiple of [`GOLDEN`].
fn hash(block: u64) -> u32 {
    (block.wrapping_mul(GOLDEN) >> 38) as u32
}

/// A set of residues: bit r stands for every value v with v % 32 == r.
pub(crate) type Residues = u32;
pub(crate) const ALL: Residues = u32::MAX;

/// The residue of one value.
pub(crate) fn residue(value: u64) -> Residues {
    1 << (value % 32)
}

/// The residues of old+1 ..= new.
fn passed(old: u64, new: u64) -> Residues {
    match new.wrapping_sub(old) {
        0 => 0,
        steps @ 1..32 => ((1u32 << steps) - 1).rotate_left((old.wrapping_add(1) % 32) as u32),
        _ => ALL,
    }
}

#[cfg(all(test, not(modeled)))]
mod tests {
    use super::*;

    #[test]
    fn a_signal_concerns_exactly_the_residues_of_the_values_it_passes() {
        let starts = (0..70).chain((1 << 32) - 40..(1 << 32) + 40).chain(u64::MAX - 70..=u64::MAX);
        for old in starts {
            for steps in 0..=70.min(u64::MAX - old) {
                let new = old + steps;
                let expected = (1..=steps).fold(0, |set, step| set | residue(old + step));
                assert_eq!(passed(old, new), expected, "{old} to {new}");
            }
        }
    }

    #[test]
    fn a_32_bit_fence_concerns_the_same_residues_across_its_wrap() {
        let width = Width::Bits32;
        for old in (u32::MAX - 40..=u32::MAX).map(u64::from) {
            for steps in 1..70 {
                let new = u64::from((old as u32).wrapping_add(steps));
                assert!(width.is_before(old, new) && !width.is_before(new, old));
                let expected =
                    (1..=u64::from(steps)).fold(0, |set, step| set | residue(old + step));
                assert_eq!(width.passed(old, new), expected, "{old} to {new}");
            }
        }
        assert!(
            !width.is_before(7, 7)
                && width.is_before(0, 0x7fff_ffff)
                && !width.is_before(0, 0x8000_0001)
        );
    }

    #[test]
    fn a_store_concerns_the_residues_between_both_values_and_a_rewind_that_of_the_old_one_too() {
        let starts = (0..70).chain((1 << 32) - 40..(1 << 32) + 40).chain(u64::MAX - 70..=u64::MAX);
        for low in starts {
            for steps in 0..=70.min(u64::MAX - low) {
                let high = low + steps;
                let between = (1..=steps).fold(0, |set, step| set | residue(low + step));
                assert_eq!(Width::crossed(low, high), between, "{low} to {high}");
                if steps > 0 {
                    assert_eq!(Width::crossed(high, low), between | residue(low));
                }
            }
        }
        assert_eq!((Width::crossed(0, u64::MAX), Width::crossed(u64::MAX, 0)), (ALL, ALL));
    }

    /// Every value from 70 below to 70 above each power of two, and 0.
    fn around_powers_of_two() -> impl Iterator<Item = u64> {
        let powers = std::iter::once(0).chain((0..64).map(|bit| 1 << bit));
        powers.flat_map(|power: u64| power.saturating_sub(70)..=power.saturating_add(70))
    }

    #[test]
    fn an_announcement_concerns_the_residues_since_the_last() {
        let width = Width::Bits64;
        for old in around_powers_of_two() {
            for steps in 0..70 {
                let (new, expected) = (old + steps, passed(old, old + steps));
                assert_eq!(width.unannounced(width.folded(old), new), expected, "{old} to {new}");
            }
        }
        let width = Width::Bits32;
        assert_eq!(width.unannounced(width.folded(0xffff_ffff), 1), 0b11);
        assert_eq!(width.unannounced(width.folded(1), 0xffff_ffff), 0);
    }

    #[test]
    fn an_announcement_after_a_jump_concerns_every_residue() {
        let width = Width::Bits64;
        for old in 0..200 {
            for new in around_powers_of_two().chain([u64::MAX]).filter(|new| *new > old + 32) {
                assert_eq!(width.unannounced(width.folded(old), new), ALL, "{old} to {new}");
            }
        }
        for high in 0..1000u64 {
            for new in 40..70 {
                let (old, new) = ((high << 32) + 0xffff_fff0, (high + 1) << 32 | new);
                assert_eq!(width.unannounced(width.folded(old), new), ALL);
            }
        }
    }

    #[test]
    fn blocks_that_are_close_have_different_hashes() {
        let near = (1..1u64 << 24).find(|distance| {
            let product = distance.wrapping_mul(GOLDEN);
            product.min(product.wrapping_neg()) >> 38 == 0
        });
        assert_eq!(near, None);
    }

    #[test]
    fn a_jump_concerns_every_residue() {
        for jump in [32, 1 << 32, 3 << 32, u64::MAX] {
            assert_eq!(passed(0, jump), ALL);
        }
    }
}
