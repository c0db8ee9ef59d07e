// SPDX-License-Identifier: MIT
//! How the value of an unordered fence changes. Arithmetic is modulo 2^64.

#![forbid(unsafe_code)]

#[derive(Clone, Copy)]
pub(crate) enum Change {
    Store(u64),
    /// Stores `new` if the value is `expected`.
    CompareExchange {
        expected: u64,
        new: u64,
    },
    Add(u64),
    Subtract(u64),
    And(u64),
    Or(u64),
    Xor(u64),
}

impl Change {
    /// What becomes of `old`. `None` if nothing is stored.
    #[inline(always)]
    pub(crate) fn of(self, old: u64) -> Option<u64> {
        match self {
            Change::Store(value) => Some(value),
            Change::CompareExchange { expected, new } => (old == expected).then_some(new),
            Change::Add(value) => Some(old.wrapping_add(value)),
            Change::Subtract(value) => Some(old.wrapping_sub(value)),
            Change::And(bits) => Some(old & bits),
            Change::Or(bits) => Some(old | bits),
            Change::Xor(bits) => Some(old ^ bits),
        }
    }
}
