// SPDX-License-Identifier: MIT
//! Export to the implicit fences of a dma-buf, and import from them.

use super::rules::{apply_outcome, check_import, scope, signaled_if_reached, wait_until_reached};
use super::sync_file::SignaledSource;
use super::{Access, Device};
use crate::error::Result;
use crate::fence::Fence;
use crate::sys::file_kind::FileKind;
use crate::sys::time::Deadline;
use crate::sys::{dma_buf, sync_file};
use rustix::fd::{AsFd, BorrowedFd};

/// Adds the kernel fence that is attached to `value` to the buffer, with this access. Without one,
/// waits until the fence reaches it, then adds a signaled fence.
pub(crate) fn export_dma_buf(
    fence: &Fence,
    value: u64,
    buffer: BorrowedFd<'_>,
    access: Access,
    device: Option<&Device>,
    deadline: Deadline,
) -> Result<()> {
    let _scope = scope("export to dma-buf", fence, value);
    if let Some(kernel_fence) = fence.attached(value) {
        FileKind::require(&[FileKind::Anonymous], buffer)?;
        return dma_buf::import_sync_file(buffer, access, kernel_fence.as_fd());
    }
    if let Some(signaled) = signaled_if_reached(device, fence, value) {
        FileKind::require(&[FileKind::Anonymous], buffer)?;
        return dma_buf::import_sync_file(buffer, access, signaled);
    }
    let source = SignaledSource::find(device)?;
    let buffer = FileKind::dup(&[FileKind::Anonymous], buffer)?;
    // Fails now if the import below would: no dma-buf, or a kernel without these ioctls.
    drop(dma_buf::export_sync_file(buffer.as_fd(), access)?);
    wait_until_reached(fence, value, deadline)?;
    dma_buf::import_sync_file(buffer.as_fd(), access, source.signaled_sync_file()?.as_fd())
}

/// Waits for the fences that the buffer has now and that `access` has to wait for, then signals
/// `value`.
pub(crate) fn import_dma_buf(
    fence: &Fence,
    value: u64,
    buffer: BorrowedFd<'_>,
    access: Access,
    deadline: Deadline,
) -> Result<()> {
    let _scope = scope("import of dma-buf", fence, value);
    check_import(fence, value)?;
    let buffer = FileKind::dup(&[FileKind::Anonymous], buffer)?;
    let fences = dma_buf::export_sync_file(buffer.as_fd(), access)?;
    let outcome = sync_file::wait(fences.as_fd(), deadline)?;
    apply_outcome(fence, value, outcome, Some(fences.as_fd()))
}
