//! Hands libFuzzer's bytes to calls.c.
#![no_main]

extern crate libumf as _;

unsafe extern "C" {
    fn calls(data: *const u8, size: usize);
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    // SAFETY: the bytes are as many as it is told.
    unsafe { calls(data.as_ptr(), data.len()) };
});
