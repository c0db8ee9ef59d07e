//! UMF to the implicit fences of a dma-buf and back.

use super::rules::{apply_outcome, check_import, wait_until_reached};
use super::sync_file::SignaledSource;
use super::{Access, Device};
use crate::error::Result;
use crate::fence::Fence;
use crate::sys::time::Deadline;
use crate::sys::{dma_buf, sync_file};
use rustix::fd::{AsFd, BorrowedFd};

/// Waits until the fence reaches `value`, then adds a signalled fence to the buffer, as one of
/// somebody with `access`.
pub(crate) fn export_dma_buf(
    fence: &Fence,
    value: u64,
    buffer: BorrowedFd<'_>,
    access: Access,
    device: Option<&Device>,
    deadline: Deadline,
) -> Result<()> {
    let source = SignaledSource::find(device)?;
    // Fails where the import below would: no dma-buf, or a kernel without these calls.
    drop(dma_buf::export_sync_file(buffer, access)?);
    wait_until_reached(fence, value, deadline)?;
    dma_buf::import_sync_file(buffer, access, source.signaled_sync_file()?.as_fd())
}

/// Waits for the fences that the buffer has now and that somebody who wants `access` has to wait
/// for, then signals `value`.
pub(crate) fn import_dma_buf(
    fence: &Fence,
    value: u64,
    buffer: BorrowedFd<'_>,
    access: Access,
    deadline: Deadline,
) -> Result<()> {
    check_import(fence, value)?;
    let fences = dma_buf::export_sync_file(buffer, access)?;
    let outcome = sync_file::wait(fences.as_fd(), deadline)?;
    apply_outcome(fence, value, outcome)
}
