//! Conversion to and from kernel fences, one file per kernel object. The functions block in
//! userspace; what goes on by itself (`events`) uses the same parts.
//!
//! The kernel's rule is that no kernel fence may wait for userspace (kernel documentation, dma-buf,
//! "Indefinite DMA Fences"). So everything here that makes a kernel fence out of a UMF waits for
//! the UMF first, and the kernel fence it then makes is one that has already signalled. No path
//! leads from an unreached UMF to a kernel object.

mod device;
mod dma_buf;
mod sync_file;
mod syncobj;

pub(crate) use crate::sys::dma_buf::Access;
pub(crate) use device::Device;
pub(crate) use dma_buf::{export_dma_buf, import_dma_buf};
pub(crate) use sync_file::{export_sync_file, import_sync_file};
pub(crate) use syncobj::{Point, Syncobj, export_syncobj, import_syncobj};

use crate::error::{Error, Result};
use crate::fence::Fence;
use crate::sys::sync_file::Outcome;
use crate::sys::time::Deadline;
use crate::wait::{self, Condition};

/// Waits until a kernel fence may be made of `fence` at `value`.
fn reach(fence: &Fence, value: u64, deadline: Deadline) -> Result<()> {
    wait::one(Condition::reached(fence, value)?, deadline)
}

/// Whether a kernel fence can become `value` of `fence`, asked before the wait for it: what must
/// fail changes nothing and need not be waited for.
pub(crate) fn check_import(fence: &Fence, value: u64) -> Result<()> {
    fence.check_signalable()?;
    if let Some(errno) = fence.error()? {
        return Err(Error::of_failed_fence(errno));
    }
    let width = fence.width();
    if width.holds(value) && !width.is_before(value, fence.value()) {
        Ok(())
    } else {
        Err(Error::Invalid)
    }
}

/// Passes on what a kernel fence came to. A failed one fails the UMF, and the call says so.
fn settle(fence: &Fence, value: u64, outcome: Outcome) -> Result<()> {
    match outcome {
        Ok(()) => fence.signal(value),
        Err(errno) => {
            fence.set_error(errno)?;
            Err(Error::of_failed_fence(errno))
        }
    }
}
