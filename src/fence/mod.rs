//! A fence as this process has it open.

pub(crate) mod device_notifier;
pub(crate) mod external_memory;
#[allow(clippy::module_inception)] // the folder's subject
pub(crate) mod fence;
pub(crate) mod spin;

pub(crate) use fence::Fence;
