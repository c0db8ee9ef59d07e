//! Blocking waits: for one condition, for any of many, for all of many.

#![forbid(unsafe_code)]

pub(crate) mod block;
mod condition;
mod many;
mod one;
mod page_events;
mod records;

pub(crate) use condition::{Condition, Op, Predicate, Until};
pub(crate) use many::{Conditions, all, any};
pub(crate) use one::one;
