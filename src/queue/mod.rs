//! Deferred submission: jobs that run in order, each once its waits are met.

#[allow(clippy::module_inception)] // the folder's subject
pub(crate) mod queue;
mod records;

pub(crate) use queue::{DONE, Inline, Job, QueueHandle, SUBMITTED};
