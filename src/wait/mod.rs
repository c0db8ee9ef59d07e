//! Blocking waits: for one condition, for any of many, for all.

mod many;

pub(crate) use many::*;
