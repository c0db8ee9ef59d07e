//! A fence as this process has it open.

pub(crate) mod device_notifier;
pub(crate) mod external_memory;
#[allow(clippy::module_inception)] // the folder's subject
mod fence;
pub(crate) mod poll_interval;
mod spin;
mod wait_record;

pub(crate) use fence::Fence;
pub(crate) use wait_record::WaitRecord;
