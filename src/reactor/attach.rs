// SPDX-License-Identifier: MIT
//! Attaches kernel fences, and has the exports that wait for the fence's value follow.

use super::point_order;
use crate::convert::{self, Point};
use crate::error::Result;
use crate::fence::Fence;
use rustix::fd::BorrowedFd;

/// Attaches the kernel fence of a sync_file to `value`.
pub(crate) fn attach_sync_file(fence: &Fence, value: u64, fd: BorrowedFd<'_>) -> Result<()> {
    convert::attach_sync_file(fence, value, fd)?;
    follow(fence);
    Ok(())
}

/// Attaches the fence of a syncobj's point to `value`. `TimedOut` if none was submitted.
pub(crate) fn attach_syncobj(fence: &Fence, value: u64, point: Point<'_>) -> Result<()> {
    convert::attach_syncobj(fence, value, point)?;
    follow(fence);
    Ok(())
}

fn follow(fence: &Fence) {
    if fence.has_waiting_exports() {
        point_order::follow_attachments();
    }
}
