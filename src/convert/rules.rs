// SPDX-License-Identifier: MIT
//! The kernel's rule: no kernel fence waits for userspace.
//!
//! The kernel documentation has it in dma-buf, "Indefinite DMA Fences". So each export waits for
//! the UMF first, or sees that it is reached. The kernel fence that it then makes has already
//! signaled. No path leads from an unreached UMF to a kernel object.
//!
//! An export that does not wait makes no kernel fence. It passes on the one that the caller
//! attached to the value (`fence/attach.rs`): a `dma_fence` of a kernel driver, which depends on no
//! UMF.

use super::device::Device;
use crate::error::{Error, Result};
use crate::fence::Fence;
use crate::sys::sync_file::{self, Outcome};
use crate::sys::time::Deadline;
use crate::trace::{Scope, Subject};
use crate::wait::{self, Condition};
use rustix::fd::BorrowedFd;

/// Records a conversion in the trace, from here to the end of the call.
pub(super) fn scope(name: &'static str, fence: &Fence, value: u64) -> Scope {
    Scope::new(|| Subject::Fence(name, " = ", fence.point(value)))
}

/// Whether a kernel fence may be made of `fence` at `value` without a wait. False also for what
/// [`wait_until_reached`] refuses.
pub(super) fn is_reached(fence: &Fence, value: u64) -> bool {
    Condition::reached(fence, value).is_ok_and(|condition| condition.met() == Ok(true))
}

/// Returns the device's sync_file that has signaled, if `fence` has reached `value`.
pub(super) fn signaled_if_reached<'a>(
    device: Option<&'a Device>,
    fence: &Fence,
    value: u64,
) -> Option<BorrowedFd<'a>> {
    device?.signaled().filter(|_| is_reached(fence, value))
}

/// Waits until a kernel fence may be made of `fence` at `value`.
pub(super) fn wait_until_reached(fence: &Fence, value: u64, deadline: Deadline) -> Result<()> {
    wait::one(Condition::reached(fence, value)?, deadline)
}

/// Whether a kernel fence can become `value` of `fence`. Checked before the wait for the kernel
/// fence: an import that must fail changes nothing, and does not wait.
pub(crate) fn check_import(fence: &Fence, value: u64) -> Result<()> {
    fence.check_signalable()?;
    if let Some(errno) = fence.error()? {
        return Err(Error::of_failed_fence(errno));
    }
    let width = fence.width();
    if fence.is_unordered() || width.holds(value) && !width.is_before(value, fence.value()) {
        Ok(())
    } else {
        Err(Error::Invalid)
    }
}

/// Signals `value` if the kernel fence signaled. A kernel fence that failed fails the UMF, and the
/// call returns that.
///
/// `signaled` is the sync_file, for the time at which it signaled.
pub(super) fn apply_outcome(
    fence: &Fence,
    value: u64,
    outcome: Outcome,
    signaled: Option<BorrowedFd<'_>>,
) -> Result<()> {
    match outcome {
        Ok(()) => {
            let signaled = signaled.filter(|_| fence.leaves_times());
            fence.signal_done(value, signaled.and_then(|fd| sync_file::signal_time(fd).ok()))
        }
        Err(errno) => {
            fence.set_error(errno)?;
            Err(Error::of_failed_fence(errno))
        }
    }
}
