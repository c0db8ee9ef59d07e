// SPDX-License-Identifier: MIT
//! What lies in shared memory. Nothing that is read there is trusted.

pub(crate) mod change;
pub(crate) mod creator;
pub(crate) mod event_count;
pub(crate) mod generation;
#[cfg(not(modeled))]
mod judged_creators;
#[cfg(not(modeled))]
pub(crate) mod layout;
pub(crate) mod names;
pub(crate) mod owner_death;
#[cfg_attr(modeled, path = "../model/page.rs")]
pub(crate) mod page;
pub(crate) mod page_budget;
pub(crate) mod participant;
pub(crate) mod residue;
pub(crate) mod rewind;
pub(crate) mod slot;
pub(crate) mod timestamps;
pub(crate) mod wait_table;
