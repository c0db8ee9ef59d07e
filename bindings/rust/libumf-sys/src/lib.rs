// SPDX-License-Identifier: MIT
//! The functions, structs and constants of `libumf.h`, as they are in C.
//!
//! The manual documents them: `man libumf`, and `man umf_wait` for one function. The crate `umf`
//! has the same as safe Rust.
//!
//! `bindings.rs` is made from the header by `bindings/rust/generate`. A constant that the header
//! gives 64 bits is a `u64` here, any other a `u32`.

#![no_std]

#[allow(missing_docs, non_camel_case_types)]
mod bindings;

pub use bindings::*;
