// SPDX-License-Identifier: MIT
//! Blocking waits: for one condition, for any of many, for all of many, for a set that is kept.

#![forbid(unsafe_code)]

mod begun;
pub(crate) mod block;
mod condition;
mod lead;
mod many;
mod needless;
mod one;
mod page_events;
mod records;
mod scan;
mod set;
mod set_table;
mod slot_words;
mod traced;

pub(crate) use condition::{Condition, Conditions, Op, Predicate, Until};
pub(crate) use many::{all, any};
pub(crate) use one::one;
pub(crate) use records::MAX_RECORDS;
pub(crate) use set::WaitSet;
#[cfg(not(modeled))]
pub(crate) use set::WaitSetHandle;
