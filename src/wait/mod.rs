// SPDX-License-Identifier: MIT
//! Blocking waits: for one condition, for any of many, for all of many.

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
mod slot_words;
mod traced;

pub(crate) use condition::{Condition, Conditions, Op, Predicate, Until};
pub(crate) use many::{all, any};
pub(crate) use one::one;
pub(crate) use records::MAX_RECORDS;
