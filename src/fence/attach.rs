// SPDX-License-Identifier: MIT
//! Kernel fences that stand for values of a fence.
//!
//! The caller states: once the kernel fence has signaled, the work that signals the value is done.
//! It is a finite fence of the device's own, such as a submission returns. Exports of that value,
//! or of a lower one, pass that kernel fence on instead of waiting.
//!
//! An attachment ends when the fence reaches its value, fails or ends. The next attachment or
//! export notices that: a signal does not look.

#![forbid(unsafe_code)]

use super::attachments::KernelFence;
use super::fence::Fence;
use crate::error::{Error, Result};
use crate::util::refs::Ref;

impl Fence {
    /// Attaches a kernel fence to a value, in place of the one that the value has. Keeps nothing if
    /// the value is reached. `Invalid` if the value does not fit or values have no order, the
    /// fence's error if it failed or ended, `Full` if it has as many as it can, `Stale` in the
    /// child of a fork.
    pub(crate) fn attach(&self, value: u64, kernel_fence: &KernelFence) -> Result<()> {
        if self.is_unordered() || !self.width().holds(value) {
            return Err(Error::Invalid);
        }
        if self.has_reached(value)? {
            return Ok(());
        }
        if !self.attachments.is_ours() {
            return Err(Error::Stale);
        }
        self.end_attachments();
        self.attachments.insert(self.width(), value, kernel_fence.clone()).map(drop)
    }

    /// Attaches a kernel fence until the result is dropped. Returns `None` if it cannot.
    pub(crate) fn attach_for(
        this: &Ref<Fence>,
        value: u64,
        kernel_fence: &KernelFence,
    ) -> Option<Attached> {
        this.attach(value, kernel_fence).ok()?;
        Some(Attached { fence: this.clone(), kernel_fence: kernel_fence.clone() })
    }

    /// Returns the kernel fence to pass on for a value: that of the lowest attached value that is
    /// not before it. `None` if there is none, or if the fence has reached the value, failed or
    /// ended: then the fence itself says how an export ends.
    pub(crate) fn attached(&self, value: u64) -> Option<KernelFence> {
        if !self.attachments.has_any() {
            return None;
        }
        self.end_attachments();
        if !self.width().holds(value) || self.has_reached(value) != Ok(false) {
            return None;
        }
        self.attachments.find(self.width(), value)
    }

    fn has_reached(&self, value: u64) -> Result<bool> {
        self.check(|current| !self.width().is_before(current, value))
    }

    /// Drops the attachments that have ended.
    fn end_attachments(&self) {
        if !self.attachments.has_any() {
            return;
        }
        let is_over = self.error() != Ok(None);
        let (width, current) = (self.width(), self.value());
        let has_ended = |value| is_over || !width.is_before(current, value);
        while let Some(ended) = self.attachments.take_first(has_ended) {
            drop(ended);
        }
    }

    /// Whether exports wait for a value of the fence. The caller has attached a kernel fence, and
    /// has them follow it.
    pub(crate) fn has_waiting_exports(&self) -> bool {
        self.attachments.has_waiting_exports()
    }
}

/// An attachment that ends with this.
pub(crate) struct Attached {
    fence: Ref<Fence>,
    kernel_fence: KernelFence,
}

impl Drop for Attached {
    fn drop(&mut self) {
        if self.fence.attachments.has_any() {
            drop(self.fence.attachments.remove(&self.kernel_fence));
        }
    }
}

/// The fence and value that an export waits for. The fence counts it while it lives.
pub(crate) struct ExportSource {
    fence: Ref<Fence>,
    value: u64,
}

impl ExportSource {
    pub(crate) fn new(fence: &Ref<Fence>, value: u64) -> ExportSource {
        fence.attachments.add_waiting_export();
        ExportSource { fence: fence.clone(), value }
    }

    /// See [`Fence::attached`].
    pub(crate) fn attached(&self) -> Option<KernelFence> {
        self.fence.attached(self.value)
    }
}

impl Drop for ExportSource {
    fn drop(&mut self) {
        self.fence.attachments.remove_waiting_export();
    }
}
