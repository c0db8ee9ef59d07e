// SPDX-License-Identifier: MIT
//! A fence as this process has it open.

#[cfg(not(loom))]
mod attach;
mod attachments;
mod device_value;
pub(crate) mod external_memory;
#[allow(clippy::module_inception)] // the folder's subject
mod fence;
pub(crate) mod poll_interval;
mod spin;
mod wait_record;

#[cfg(not(loom))]
pub(crate) use attach::{Attached, ExportSource};
#[cfg(not(loom))]
pub(crate) use attachments::{KernelFence, MAX_ATTACHMENTS};
pub(crate) use fence::Fence;
pub(crate) use wait_record::{RecordPlace, WaitRecord};
