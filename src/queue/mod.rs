// SPDX-License-Identifier: MIT
//! Deferred submission: jobs run in order, each once its waits are met.

#![forbid(unsafe_code)]

mod job;
#[allow(clippy::module_inception)] // the folder's subject
mod queue;
mod records;

pub(crate) use job::{DONE, Job, SUBMITTED};
pub(crate) use queue::{Inline, QueueHandle};
