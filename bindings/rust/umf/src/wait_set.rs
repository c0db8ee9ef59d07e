// SPDX-License-Identifier: MIT
//! Wait sets.

use crate::error::{Error, Result, check};
use crate::handle::handle;
use crate::{Condition, Deadline, WaitFlags, sys};
use std::mem::MaybeUninit;

handle! {
    /// Conditions that threads wait for again and again, as epoll's for descriptors.
    ///
    /// [`wait_any`](crate::wait_any) reads its whole list in each call. A set is told once, and a
    /// wait costs what has changed.
    ///
    /// ```
    /// # use umf::{Deadline, Error, FenceFlags, Page, PageFlags, WaitFlags, WaitSet};
    /// # let page = Page::create(1, PageFlags::NONE)?;
    /// # let fence = page.create_fence(0, FenceFlags::NONE)?;
    /// let set = WaitSet::create()?;
    /// let id = set.add(&fence.reaches(1), WaitFlags::NONE, 7)?;
    /// fence.signal(1)?;
    /// let ready = set.wait(16, Deadline::NEVER)?;
    /// assert_eq!((ready[0].id, ready[0].user_data, ready[0].result), (id, 7, Ok(())));
    /// // It is reported again until it waits for something else, or is removed.
    /// set.modify(id, &fence.reaches(2), WaitFlags::NONE)?;
    /// assert_eq!(set.wait(16, Deadline::NOW), Err(Error::TimedOut));
    /// # Ok::<(), Error>(())
    /// ```
    #[doc(alias = "umf_wait_set")]
    WaitSet: umf_wait_set, umf_wait_set_ref, umf_wait_set_unref
}

/// Names an entry of a [`WaitSet`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EntryId(u64);

/// An entry that [`WaitSet::wait`] reports.
#[doc(alias = "umf_wait_set_result")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// The entry.
    pub id: EntryId,
    /// What the caller gave [`WaitSet::add`] for it.
    pub user_data: u64,
    /// Whether its condition is met, or why it never will be.
    pub result: Result<()>,
}

impl WaitSet {
    /// Creates a set without entries.
    #[doc(alias = "umf_wait_set_create")]
    pub fn create() -> Result<WaitSet> {
        // SAFETY: The pointer is valid for writing.
        WaitSet::created(|set| unsafe { sys::umf_wait_set_create(0, set) })
    }

    /// Adds a condition. The set keeps the fence until the entry is removed.
    #[doc(alias = "umf_wait_set_add")]
    pub fn add(
        &self,
        condition: &Condition<'_>,
        flags: WaitFlags,
        user_data: u64,
    ) -> Result<EntryId> {
        let (set, condition) = (self.as_raw(), condition.as_raw());
        let mut id = 0;
        // SAFETY: The set, the condition and its fence are borrowed during the call, and `id` is
        // valid for writing.
        check(unsafe {
            sys::umf_wait_set_add(set, condition, flags.bits(), user_data, &raw mut id)
        })?;
        Ok(EntryId(id))
    }

    /// Gives an entry another condition on its fence.
    #[doc(alias = "umf_wait_set_modify")]
    pub fn modify(&self, id: EntryId, condition: &Condition<'_>, flags: WaitFlags) -> Result<()> {
        let (set, condition) = (self.as_raw(), condition.as_raw());
        // SAFETY: The set, the condition and its fence are borrowed during the call.
        check(unsafe { sys::umf_wait_set_modify(set, id.0, condition, flags.bits()) })
    }

    /// Removes an entry.
    #[doc(alias = "umf_wait_set_remove")]
    pub fn remove(&self, id: EntryId) -> Result<()> {
        // SAFETY: The set is borrowed during the call.
        check(unsafe { sys::umf_wait_set_remove(self.as_raw(), id.0) })
    }

    /// Waits until entries are ready, and returns `limit` of them at most.
    ///
    /// An entry stays ready until it is modified or removed.
    #[doc(alias = "umf_wait_set_wait")]
    pub fn wait(&self, limit: usize, deadline: impl Into<Deadline>) -> Result<Vec<Ready>> {
        let room = u32::try_from(limit).map_err(|_| Error::InvalidArgument)?;
        let mut results: Vec<MaybeUninit<sys::umf_wait_set_result>> = Vec::new();
        results.try_reserve_exact(limit).map_err(|_| Error::NoMemory)?;
        let (first, deadline) = (results.as_mut_ptr().cast(), deadline.into().nanoseconds());
        let mut count = 0;
        // SAFETY: The set is borrowed during the call. `first` has room for `room` results, and
        // `count` is valid for writing.
        check(unsafe {
            sys::umf_wait_set_wait(self.as_raw(), first, room, deadline, &raw mut count)
        })?;
        // SAFETY: The library wrote so many results, `room` at most.
        unsafe { results.set_len(count as usize) };
        Ok(results
            .into_iter()
            .map(|result| {
                // SAFETY: As above.
                let result = unsafe { result.assume_init() };
                let sys::umf_wait_set_result { id, user_data, result, .. } = result;
                Ready { id: EntryId(id), user_data, result: check(result) }
            })
            .collect())
    }
}
