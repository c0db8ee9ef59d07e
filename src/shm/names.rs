// SPDX-License-Identifier: MIT
//! Names of a page and of its fences, for tools and reports.
//!
//! A slot is full, and a signal must not pay for a name. So names lie behind the slots, from the
//! next memory page on: an entry of 64 bytes for the page, and one for each slot. That part of the
//! file has no memory until a name is written, is not mapped for others, and is read by a system
//! call, which gives it none. An entry says which of the slot's fences it is of: a fence that is
//! created later has no name, and creating one costs nothing more.
//!
//! A peer may write anything. A name is read once, into 56 bytes, and shown as `plain_chars` has
//! it.

#![forbid(unsafe_code)]

use super::generation::Generation;
use crate::util::name::plain_chars;

/// The bytes of a name, with the NUL at its end.
pub(crate) const NAME_LEN: usize = 56;

/// The bytes of an entry: the fence, and the name.
pub(super) const ENTRY_LEN: usize = 8 + NAME_LEN;

/// What has a name.
#[derive(Clone, Copy)]
pub(crate) enum Named {
    Page,
    /// The fence of this generation in the slot.
    Fence(u32, Generation),
}

impl Named {
    /// The number of the entry.
    pub(super) fn entry(self) -> u64 {
        match self {
            Named::Page => 0,
            Named::Fence(index, _) => u64::from(index) + 1,
        }
    }

    /// What the entry says to be of this.
    fn tag(self) -> u64 {
        match self {
            Named::Page => 1,
            Named::Fence(_, generation) => generation.recorded().into(),
        }
    }
}

/// A name, up to the first NUL. The last byte is one.
#[derive(Clone, Copy)]
pub(crate) struct Name([u8; NAME_LEN]);

impl Name {
    /// The name of the caller's bytes, cut off where there is no room.
    pub(crate) fn new(bytes: impl Iterator<Item = u8>) -> Name {
        let mut name = [0; NAME_LEN];
        name.iter_mut().take(NAME_LEN - 1).zip(bytes).for_each(|(to, from)| *to = from);
        Name(name)
    }

    /// The characters, with `?` for those that could affect a terminal or a parser.
    pub(crate) fn chars(&self) -> impl Iterator<Item = char> {
        plain_chars(&self.0)
    }

    pub(super) fn to_entry(self, of: Named) -> [u8; ENTRY_LEN] {
        let mut entry = [0; ENTRY_LEN];
        let (tag, text) = entry.split_at_mut(8);
        tag.copy_from_slice(&of.tag().to_ne_bytes());
        text.copy_from_slice(&self.0);
        entry
    }

    /// The name that an entry has for `of`, if it is one.
    pub(super) fn of_entry(entry: &[u8; ENTRY_LEN], of: Named) -> Option<Name> {
        let (tag, text) = entry.split_at(8);
        let name = Name::new(text.iter().copied());
        (tag == of.tag().to_ne_bytes() && name.0[0] != 0).then_some(name)
    }
}
