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

    /// The residues of the values up to `value` that were not announced yet. `announced` is the
    /// last announced value, `folded`.
    ///
    /// If the high halves of both values are the same, it gives the low half back. Otherwise it
    /// gives a wrong one, and all residues are wanted. They are returned unless that half is below
    /// that of `value` by less than 32. A counter that passes 2^32, or that holds a number of its
    /// own in the high half, does not come there: `folded` reverses the high half, so its lowest
    /// bits change the highest ones of the low half. Of arbitrary values, one pair in 2^27 does.
    /// `u64::MAX`, the end of a fence that counts from 0, would be one: it concerns every waiter.
    pub(super) fn unannounced(self, announced: u32, value: u64) -> Residues {
        if value == u64::MAX {
            return ALL;
        }
        let low = announced ^ folded(value) ^ value as u32;
        let old = value & !u64::from(u32::MAX) | u64::from(low);
        if self.is_before(old, value) {
            self.passed(old, value)
        } else if old == value || self == Width::Bits32 {
            0
        } else {
            ALL
        }
    }
}

/// A set of residues: bit r stands for every value v with v % 32 == r.
pub(crate) type Residues = u32;
pub(crate) const ALL: Residues = u32::MAX;

/// The residue of one value.
pub(crate) fn residue(value: u64) -> Residues {
    1 << (value % 32)
}

/// A value in 32 bits, for [`Width::unannounced`].
pub(super) fn folded(value: u64) -> u32 {
    value as u32 ^ ((value >> 32) as u32).reverse_bits()
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

    #[test]
    fn an_announcement_concerns_the_residues_since_the_last() {
        let width = Width::Bits64;
        for high in [0, 1, 2, 3, 7, 255, 1 << 20] {
            for old in (0..70).chain(1 << 20..(1 << 20) + 70).map(|low| high << 32 | low) {
                for steps in 0..70 {
                    let (new, expected) = (old + steps, passed(old, old + steps));
                    assert_eq!(width.unannounced(folded(old), new), expected, "{old} to {new}");
                }
            }
        }
        let width = Width::Bits32;
        assert_eq!(width.unannounced(folded(0xffff_ffff), 1), 0b11);
        assert_eq!(width.unannounced(folded(1), 0xffff_ffff), 0);
    }

    #[test]
    fn an_announcement_of_another_high_half_concerns_every_residue() {
        let width = Width::Bits64;
        for (old, new) in [(0, 1), (0, 2), (1, 2), (1, 255), (0xf, 0x10), (0x7f_ffff, 0x80_0000)] {
            for low in 0..250 {
                for steps in 0..70 {
                    let (old, new) = (folded(old << 32 | low), new << 32 | (low + steps));
                    assert_eq!(width.unannounced(old, new), ALL);
                }
            }
        }
        for low in 0..250 {
            assert_eq!(width.unannounced(folded(low), u64::MAX), ALL);
        }
        for high in 0..1000u64 {
            for new in 0..70 {
                let (old, new) = (folded((high << 32) + 0xffff_fff0), (high + 1) << 32 | new);
                assert_eq!(width.unannounced(old, new), ALL);
            }
        }
    }

    #[test]
    fn a_jump_concerns_every_residue() {
        for jump in [32, 1 << 32, 3 << 32, u64::MAX] {
            assert_eq!(passed(0, jump), ALL);
        }
    }
}
