// SPDX-License-Identifier: MIT
//! The list of the kernel fences that stand for values of a fence, in this process.
//!
//! Nothing of this is in the page: a peer neither sees an attachment nor makes one. `attach.rs` has
//! the rules.

#![forbid(unsafe_code)]

use crate::error::{Error, Result};
use crate::shm::residue::Width;
use crate::util::mutex::Mutex;
use crate::util::process_bound::ProcessBound;
use crate::util::refs::{OnceRef, Ref};
use rustix::fd::OwnedFd;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};

/// A kernel fence, as a sync_file.
pub(crate) type KernelFence = Ref<OwnedFd>;

/// How many values of a fence can have a kernel fence at a time.
pub(crate) const MAX_ATTACHMENTS: usize = 256;

/// The kernel fences of a fence. Most fences have none, and take neither memory nor a lock for
/// them.
pub(super) struct Attachments {
    creator: ProcessBound,
    /// The length of the list.
    count: AtomicU32,
    waiting_exports: AtomicU32,
    /// Made with the first attachment. Sorted by value. All values are ahead of the fence's when
    /// they are added.
    list: OnceRef<Mutex<VecDeque<Attachment>>>,
}

pub(super) struct Attachment {
    value: u64,
    kernel_fence: KernelFence,
}

impl Attachments {
    pub(super) fn new() -> Attachments {
        Attachments {
            creator: ProcessBound::new(),
            count: AtomicU32::new(0),
            waiting_exports: AtomicU32::new(0),
            list: OnceRef::new(),
        }
    }

    /// Whether this process made the list. The child of a fork has it as it was, perhaps with a
    /// lock that nobody releases. It must not use it.
    pub(super) fn is_ours(&self) -> bool {
        self.creator.is_ours()
    }

    /// Whether this process has attached anything.
    pub(super) fn has_any(&self) -> bool {
        // SeqCst: see `has_waiting_exports`.
        self.count.load(Ordering::SeqCst) != 0 && self.is_ours()
    }

    /// Changes the list, if there is one. The caller drops what `change` removes and returns, after
    /// the lock.
    fn change<T>(&self, change: impl FnOnce(&mut VecDeque<Attachment>) -> T) -> Option<T> {
        let mut list = self.list.get()?.lock();
        let result = change(&mut list);
        self.count.store(list.len() as u32, Ordering::SeqCst);
        Some(result)
    }

    /// Makes the list.
    fn make(&self) -> Result<()> {
        if self.list.get().is_none() {
            let list = Ref::try_new(|| Ok(Mutex::new(VecDeque::new())))?;
            // Another thread may be first.
            drop(self.list.set(list, |_| false));
        }
        Ok(())
    }

    /// Removes the first attachment, if `has_ended` holds for its value.
    pub(super) fn take_first(&self, has_ended: impl FnOnce(u64) -> bool) -> Option<Attachment> {
        self.change(|list| {
            let is_first = list.front().is_some_and(|first| has_ended(first.value));
            if is_first { list.pop_front() } else { None }
        })?
    }

    /// Adds an attachment. It replaces one for the same value, which is returned. `Full` beyond
    /// [`MAX_ATTACHMENTS`].
    pub(super) fn insert(
        &self,
        width: Width,
        value: u64,
        kernel_fence: KernelFence,
    ) -> Result<Option<Attachment>> {
        let new = Attachment { value, kernel_fence };
        self.make()?;
        let inserted = self.change(|list| {
            let at = list.partition_point(|other| width.is_before(other.value, value));
            if let Some(same) = list.get_mut(at).filter(|other| other.value == value) {
                return Ok(Some(std::mem::replace(same, new)));
            }
            if list.len() >= MAX_ATTACHMENTS {
                return Err(Error::Full);
            }
            list.try_reserve(1).map_err(|_| Error::NoMemory)?;
            list.insert(at, new);
            Ok(None)
        });
        inserted.unwrap_or(Err(Error::Unexpected))
    }

    /// Removes the attachment of this kernel fence, if it is still there.
    pub(super) fn remove(&self, kernel_fence: &KernelFence) -> Option<Attachment> {
        self.change(|list| {
            let at = list.iter().position(|other| other.kernel_fence.is(kernel_fence))?;
            list.remove(at)
        })?
    }

    /// Returns the kernel fence of the lowest value that is not before `value`.
    pub(super) fn find(&self, width: Width, value: u64) -> Option<KernelFence> {
        let list = self.list.get()?.lock();
        let at = list.partition_point(|other| width.is_before(other.value, value));
        list.get(at).map(|found| found.kernel_fence.clone())
    }

    /// Counts an export that waits for a value of the fence.
    pub(super) fn add_waiting_export(&self) {
        self.waiting_exports.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn remove_waiting_export(&self) {
        self.waiting_exports.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether exports wait for a value of the fence.
    ///
    /// SeqCst, as is the count of the list: an export counts itself and then looks for attachments;
    /// a thread that attaches changes the list and then asks this. One of them notices the other.
    pub(super) fn has_waiting_exports(&self) -> bool {
        self.waiting_exports.load(Ordering::SeqCst) != 0
    }
}

impl Drop for Attachments {
    fn drop(&mut self) {
        let is_held = self.list.get().is_some_and(|list| list.try_lock().is_none());
        if !self.is_ours() && is_held {
            // A thread of the parent was changing the list at the fork: leak it.
            std::mem::forget(self.list.clone_ref());
        }
    }
}
