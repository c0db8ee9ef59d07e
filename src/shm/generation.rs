// SPDX-License-Identifier: MIT
//! The state word of a slot: which of its fences lives there, and of which kind.
//!
//! A slot is reused after the end of its fence. A counter in the state word distinguishes the
//! fences, which is the usual answer to the ABA problem. A handle holds the word as it was while
//! its fence lived, and compares.
//!
//! The counter has 57 bits and does not wrap: a slot that has counted to the end is not used again.
//! A process that did nothing but reuse one slot would need 15,000 years for that.

#![forbid(unsafe_code)]

use super::residue::Width;
use std::sync::atomic::{AtomicU64, Ordering};

/// The state word of a slot while one certain fence lives in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Generation(u64);

/// The two low bits of a state word. The kind comes next, and the counter above it.
const FREE: u64 = 0;
const CLAIMED: u64 = 1;
const LIVE: u64 = 2;
const LIFE: u64 = 3;
const IS_32_BIT: u64 = 4;
const IS_DEVICE: u64 = 8;
const ALWAYS_WAKE: u64 = 16;
const EXTERNAL_VALUE: u64 = 32;
const UNORDERED: u64 = 64;
const KIND: u64 = IS_32_BIT | IS_DEVICE | ALWAYS_WAKE | EXTERNAL_VALUE | UNORDERED;
const COUNT: u64 = 128;

/// A state word with this count, or a higher one, is of no fence: the counter cannot go on.
const LAST_COUNT: u64 = !(LIFE | KIND);

/// The state word of a slot that is free, or that was being claimed, once its next fence cannot be
/// confused with the last.
///
/// The counter moves on after a claim: the claim has overwritten the value of the fence before,
/// which its handles may still read ([`super::slot::Slot::value`]).
pub(super) fn freed(state: u64) -> u64 {
    match state & LIFE {
        FREE => state,
        _ => (state & !(LIFE | KIND)).saturating_add(COUNT) & !(LIFE | KIND) | FREE,
    }
}

impl Generation {
    /// The generation of a new fence of this kind, in a slot with the state word `free`. `None` if
    /// the slot is not free, or cannot be used again.
    pub(crate) fn next(free: u64, kind: Kind) -> Option<Generation> {
        let is_usable = free & LIFE == FREE && free < LAST_COUNT;
        is_usable.then_some(Generation(free & !KIND | kind.bits() | LIVE))
    }

    /// The fence that lives in a slot with this state word.
    pub(super) fn of_live(state: u64) -> Option<Generation> {
        (state & LIFE == LIVE && state < LAST_COUNT).then_some(Generation(state))
    }

    /// The state word while the fence lives.
    pub(super) fn live(self) -> u64 {
        self.0
    }

    /// The state word while the fence is written into the slot.
    pub(super) fn claimed(self) -> u64 {
        self.0 & !(LIFE | KIND) | CLAIMED
    }

    /// The state word between the end of this fence and the claim of the next.
    pub(crate) fn ended(self) -> u64 {
        // No generation has the last count, so this does not wrap.
        (self.0 & !(LIFE | KIND)).wrapping_add(COUNT) | FREE
    }

    /// What a wait record says of the generation: the low half. Fences of one slot with the same
    /// low half are 2^25 reuses apart.
    pub(crate) fn recorded(self) -> u32 {
        self.0 as u32
    }

    /// The number of fences that lived in the slot before.
    pub(crate) fn count(self) -> u64 {
        self.0 / COUNT
    }

    /// Any word, as a peer may write it.
    #[cfg(all(test, not(modeled)))]
    pub(crate) fn forged(word: u64) -> Generation {
        Generation(word)
    }

    #[inline]
    pub(crate) fn width(self) -> Width {
        if self.0 & IS_32_BIT == 0 { Width::Bits64 } else { Width::Bits32 }
    }

    /// Whether the value has 64 bits, only grows and lies in the slot: the common case.
    #[inline]
    pub(crate) fn is_common(self) -> bool {
        self.0 & (IS_32_BIT | EXTERNAL_VALUE | UNORDERED) == 0
    }

    /// Whether the value has 64 bits and only grows.
    #[inline]
    pub(crate) fn only_grows(self) -> bool {
        self.0 & (IS_32_BIT | UNORDERED) == 0
    }

    /// See [`Kind::unordered`].
    #[inline]
    pub(crate) fn is_unordered(self) -> bool {
        self.0 & UNORDERED != 0
    }

    /// Whether a device writes the value, without waking anybody. An external value is always a
    /// device's, whatever a peer wrote here.
    #[inline]
    pub(crate) fn is_device(self) -> bool {
        self.0 & (IS_DEVICE | EXTERNAL_VALUE) != 0
    }

    /// See [`Kind::always_wake`].
    #[inline]
    pub(crate) fn always_wakes(self) -> bool {
        self.0 & ALWAYS_WAKE != 0
    }

    /// See [`Kind::external_value`].
    #[inline]
    pub(crate) fn has_external_value(self) -> bool {
        self.0 & EXTERNAL_VALUE != 0
    }
}

/// The generation that the signals and updates of a fence expect in its slot.
///
/// While they are recorded in a trace, or leave timestamps, it is one that no slot has: each signal
/// then fails with `Stale`, and its caller makes it again and records it. So nothing else has to be
/// checked by the other signals. A peer that writes such a word has a signal recorded nowhere.
pub(crate) struct SignaledGeneration(AtomicU64);

impl SignaledGeneration {
    pub(crate) fn new(generation: Generation, is_recorded: bool) -> SignaledGeneration {
        let signaled = SignaledGeneration(AtomicU64::new(0));
        signaled.set(generation, is_recorded);
        signaled
    }

    pub(crate) fn set(&self, generation: Generation, is_recorded: bool) {
        let word = if is_recorded { generation.0 | LIFE } else { generation.0 };
        self.0.store(word, Ordering::Relaxed);
    }

    #[inline(always)]
    pub(crate) fn get(&self) -> Generation {
        Generation(self.0.load(Ordering::Relaxed))
    }
}

/// The kind of a fence, chosen when it is created.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Kind {
    pub(crate) width: Width,
    /// A device writes the value, without waking anybody.
    pub(crate) device: bool,
    /// Waiters cannot write to the page, so they cannot register. Every signal wakes all of them.
    pub(crate) always_wake: bool,
    /// The value lies in memory that a driver mapped. The value in the slot means nothing.
    pub(crate) external_value: bool,
    /// The value may be stored in any order. Only with 64 bits.
    pub(crate) unordered: bool,
}

impl Kind {
    /// 64 bits wide, and signaled by programs.
    pub(crate) const PLAIN: Kind = Kind {
        width: Width::Bits64,
        device: false,
        always_wake: false,
        external_value: false,
        unordered: false,
    };

    fn bits(self) -> u64 {
        let bit = |is_set, bit| if is_set { bit } else { 0 };
        bit(self.width == Width::Bits32, IS_32_BIT)
            | bit(self.device, IS_DEVICE)
            | bit(self.always_wake, ALWAYS_WAKE)
            | bit(self.external_value, EXTERNAL_VALUE)
            | bit(self.unordered, UNORDERED)
    }
}

#[cfg(all(test, not(modeled)))]
mod tests {
    use super::*;
    use crate::error::{Error, Result};

    #[test]
    fn the_counter_moves_with_each_fence_and_never_wraps() -> Result<()> {
        let mut state = 0;
        for count in 1..=3 {
            let next = Generation::next(state, Kind::PLAIN).ok_or(Error::Invalid)?;
            assert_eq!((next.ended(), freed(next.claimed())), (count * COUNT, count * COUNT));
            assert_eq!((freed(next.live()), freed(next.ended())), (next.ended(), next.ended()));
            assert_eq!(Generation::of_live(next.live()), Some(next));
            assert!(Generation::next(next.claimed(), Kind::PLAIN).is_none());
            state = next.ended();
        }
        let last = Generation::next(LAST_COUNT - COUNT, Kind::PLAIN).ok_or(Error::Invalid)?;
        assert_eq!((last.ended(), freed(last.claimed())), (LAST_COUNT, LAST_COUNT));
        for state in [LAST_COUNT, LAST_COUNT | CLAIMED, LAST_COUNT | LIVE, u64::MAX] {
            assert!(Generation::next(state, Kind::PLAIN).is_none());
            assert!(Generation::of_live(state).is_none());
            assert_eq!(freed(state), LAST_COUNT);
        }
        Ok(())
    }
}
