//! The state word of a slot: which of its fences lives there, and of which kind.
//!
//! A slot is reused after the end of its fence. A counter in the state word distinguishes the
//! fences, which is the usual answer to the ABA problem. A handle holds the word as it was while
//! its fence lived, and compares.

#![forbid(unsafe_code)]

use super::residue::Width;

/// The state word of a slot while one certain fence lives in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Generation(u32);

/// The two low bits of a state word. The kind comes next, and the counter above it.
const FREE: u32 = 0;
const CLAIMED: u32 = 1;
const LIVE: u32 = 2;
const LIFE: u32 = 3;
const IS_32_BIT: u32 = 4;
const IS_DEVICE: u32 = 8;
const ALWAYS_WAKE: u32 = 16;
const EXTERNAL_VALUE: u32 = 32;
const KIND: u32 = IS_32_BIT | IS_DEVICE | ALWAYS_WAKE | EXTERNAL_VALUE;
const COUNT: u32 = 64;

/// The state word of a free slot while a new fence is written into it. `None` if it is not free.
pub(super) fn claimed(free: u32) -> Option<u32> {
    (free & LIFE == FREE).then_some(free | CLAIMED)
}

impl Generation {
    /// The generation of a new fence of this kind, in a slot whose state word was `free`.
    pub(super) fn next(free: u32, kind: Kind) -> Generation {
        Generation(free & !KIND | kind.bits() | LIVE)
    }

    /// The fence that lives in a slot with this state word.
    pub(super) fn of_live(state: u32) -> Option<Generation> {
        (state & LIFE == LIVE).then_some(Generation(state))
    }

    /// The state word while the fence lives. Wait records hold it.
    pub(crate) fn to_shared(self) -> u32 {
        self.0
    }

    /// A generation that was read from shared memory, where a peer may have written anything. It
    /// means a fence only if a slot has the same state word.
    pub(crate) fn from_shared(word: u32) -> Generation {
        Generation(word)
    }

    /// The state word between the end of this fence and the claim of the next.
    pub(super) fn ended(self) -> u32 {
        (self.0 & !(LIFE | KIND)).wrapping_add(COUNT) | FREE
    }

    #[inline]
    pub(crate) fn width(self) -> Width {
        if self.0 & IS_32_BIT == 0 { Width::Bits64 } else { Width::Bits32 }
    }

    /// Whether the value has 64 bits and lies in the slot: the common case.
    #[inline]
    pub(crate) fn is_inline_u64(self) -> bool {
        self.0 & (IS_32_BIT | EXTERNAL_VALUE) == 0
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
}

impl Kind {
    /// 64 bits wide, and signaled by programs.
    pub(crate) const PLAIN: Kind =
        Kind { width: Width::Bits64, device: false, always_wake: false, external_value: false };

    fn bits(self) -> u32 {
        let bit = |is_set, bit| if is_set { bit } else { 0 };
        bit(self.width == Width::Bits32, IS_32_BIT)
            | bit(self.device, IS_DEVICE)
            | bit(self.always_wake, ALWAYS_WAKE)
            | bit(self.external_value, EXTERNAL_VALUE)
    }
}
