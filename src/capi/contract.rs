// SPDX-License-Identifier: MIT
//! The C contract: what the header asks of its callers, and every `c_contract!` relies on.
//!
//! - A pointer is NULL or points to what its type says. A struct that starts with its size has as
//!   many bytes as that says; an array has as many elements as its count says; an output is valid
//!   for writing.
//! - A handle came from this library, and the caller holds a reference to it during the call.
//! - Memory for a fence's value is as umf_fence_create_in() asks.
//!
//! Everything else about the arguments is checked.

/// Evaluates an expression that is unsafe and that the C contract alone makes sound.
///
/// What needs more than the contract is an `unsafe` block with its own SAFETY note.
macro_rules! c_contract {
    ($expression:expr) => {
        // SAFETY: the C contract, at the top of this file.
        unsafe { $expression }
    };
}

pub(super) use c_contract;
