// SPDX-License-Identifier: MIT
//! General code that does not depend on fences.

pub(crate) mod atomic;
pub(crate) mod callback;
pub(crate) mod key_map;
pub(crate) mod mutex;
pub(crate) mod name;
#[cfg(loom)]
#[path = "../model/optional.rs"]
pub(crate) mod optional;
pub(crate) mod process_bound;
pub(crate) mod refs;
pub(crate) mod registry;
pub(crate) mod user_data;
