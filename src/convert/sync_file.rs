// SPDX-License-Identifier: MIT
//! Export to a sync_file, and import from one.

use super::device::Device;
use super::rules::{apply_outcome, check_import, scope, signaled_if_reached, wait_until_reached};
use crate::error::{Error, Result};
use crate::fence::Fence;
use crate::sys::descriptor::dup;
use crate::sys::file_kind::FileKind;
use crate::sys::sync_file::Outcome;
use crate::sys::time::Deadline;
use crate::sys::{dma_buf, memfd, sync_file, udmabuf};
use crate::util::refs::Ref;
use crate::wait::Condition;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};

/// Returns the kernel fence that is attached to `value`. Without one, waits until the fence reaches
/// it, then makes a sync_file that has signaled.
pub(crate) fn export_sync_file(
    fence: &Fence,
    value: u64,
    device: Option<&Device>,
    deadline: Deadline,
) -> Result<OwnedFd> {
    let _scope = scope("export to sync_file", fence, value);
    if let Some(kernel_fence) = fence.attached(value) {
        return dup(kernel_fence.as_fd());
    }
    if let Some(signaled) = signaled_if_reached(device, fence, value) {
        // Not a duplicate: it would share the open file with other consumers. While one of them has
        // a descriptor, the kernel leaves the file in the epoll set of another that closed its own.
        // It signaled when the device was opened, so a wait makes a new one.
        if let Ok(copy) = sync_file::copy_signaled(signaled) {
            return Ok(copy);
        }
    }
    let source = SignaledSource::find(device)?;
    wait_until_reached(fence, value, deadline)?;
    source.signaled_sync_file()
}

/// Attaches the kernel fence of a sync_file to `value`.
pub(crate) fn attach_sync_file(fence: &Fence, value: u64, fd: BorrowedFd<'_>) -> Result<()> {
    let fd = FileKind::dup(&[FileKind::Anonymous], fd)?;
    // Fails here if it is not a sync_file.
    sync_file::outcome(fd.as_fd())?;
    fence.attach(value, &Ref::try_new(|| Ok(fd))?)
}

/// Tells the driver of the kernel fence that is attached to `value` when the value is needed.
/// `NotFound` without one. Nothing if the value is reached.
pub(crate) fn set_deadline(fence: &Fence, value: u64, deadline: Deadline) -> Result<()> {
    if Condition::reached(fence, value)?.met()? {
        return Ok(());
    }
    let kernel_fence = fence.attached(value).ok_or(Error::NotFound)?;
    sync_file::set_deadline(kernel_fence.as_fd(), deadline)
}

/// Waits until the fence behind a sync_file signals, then signals `value`. No descriptor stands for
/// a fence that has signaled already, as in Vulkan and EGL.
pub(crate) fn import_sync_file(
    fence: &Fence,
    value: u64,
    fd: Option<BorrowedFd<'_>>,
    deadline: Deadline,
) -> Result<()> {
    let _scope = scope("import of sync_file", fence, value);
    check_import(fence, value)?;
    let outcome = match fd {
        Some(fd) => wait_for_signal(fd, deadline)?,
        None => Ok(()),
    };
    apply_outcome(fence, value, outcome, fd)
}

/// Waits until the fence of a sync_file signals.
fn wait_for_signal(fd: BorrowedFd<'_>, deadline: Deadline) -> Result<Outcome> {
    FileKind::require(&[FileKind::Anonymous], fd)?;
    if let Some(outcome) = sync_file::outcome(fd)? {
        return Ok(outcome);
    }
    // The caller may close the descriptor during the wait.
    sync_file::wait(FileKind::dup(&[FileKind::Anonymous], fd)?.as_fd(), deadline)
}

/// The source of signaled sync_files. Found before the wait, so that a machine without one fails at
/// once.
pub(crate) enum SignaledSource<'a> {
    /// The syncobjs of a device.
    Device(&'a Device),
    /// A dma-buf of its own, without any fence: an export from it has signaled.
    Idle(OwnedFd),
}

impl SignaledSource<'_> {
    /// Finds a source. `NotSupported` without a device with syncobjs, on a machine without udmabuf.
    pub(crate) fn find(device: Option<&Device>) -> Result<SignaledSource<'_>> {
        if let Some(device) = device.filter(|device| device.caps().syncobj) {
            return Ok(SignaledSource::Device(device));
        }
        let len = memfd::page_size() as u64;
        Ok(SignaledSource::Idle(udmabuf::create(memfd::create(len)?.as_fd(), len)?))
    }

    /// Makes a sync_file that has signaled.
    pub(crate) fn signaled_sync_file(&self) -> Result<OwnedFd> {
        match self {
            SignaledSource::Device(device) => device.signal_sync_file(),
            SignaledSource::Idle(buffer) => {
                dma_buf::export_sync_file(buffer.as_fd(), dma_buf::Access::Write)
            }
        }
    }
}
