// SPDX-License-Identifier: MIT
//! A hash map for small integer keys.

#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A hash map whose keys are a few integers.
pub(crate) type KeyMap<K, V> = HashMap<K, V, BuildHasherDefault<KeyHasher>>;

/// Mixes each integer of a key by one multiplication, as FxHash and foldhash do.
///
/// It has no random seed: that would need a system call. It needs none, since the keys are file
/// ids, slot indices and addresses of what this process opened. It is several times faster than
/// SipHash, which shows when a fence is created.
#[derive(Default)]
pub(crate) struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64((*byte).into()));
    }

    fn write_u64(&mut self, word: u64) {
        // An odd number without structure: the fraction of the golden ratio.
        let product = u128::from(self.0 ^ word) * 0x9e37_79b9_7f4a_7c15;
        self.0 = product as u64 ^ (product >> 64) as u64;
    }

    fn write_u32(&mut self, word: u32) {
        // A word of 0 must change the hash too.
        self.write_u64(u64::from(word) | 1 << 32);
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
