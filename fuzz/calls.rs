// SPDX-License-Identifier: MIT
//! Hands libFuzzer's bytes to calls.c.
#![no_main]

extern crate libumf as _;

unsafe extern "C" {
    fn calls(data: *const u8, size: usize);
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    // SAFETY: data has this many bytes.
    unsafe { calls(data.as_ptr(), data.len()) };
});
