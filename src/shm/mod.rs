//! What lies in shared memory. Nothing that is read there is trusted.

pub(crate) mod owner_death;
#[cfg_attr(loom, path = "../model/page.rs")]
pub(crate) mod page;
pub(crate) mod participant;
pub(crate) mod slot;
pub(crate) mod wait_table;
