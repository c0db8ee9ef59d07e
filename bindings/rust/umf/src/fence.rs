// SPDX-License-Identifier: MIT
//! Fences: values that only grow, or take any value.

use crate::error::{Error, Result, check};
use crate::handle::handle;
use crate::page::name_for_c;
use crate::{Condition, Deadline, Page, Signal, sys};

handle! {
    /// A fence: a value that only grows, wraps around if it has 32 bits, or takes any value with
    /// [`FenceFlags::UNORDERED`](crate::FenceFlags::UNORDERED).
    ///
    /// [`Page::create_fence`](crate::Page::create_fence) makes one, and
    /// [`Page::open_fence`](crate::Page::open_fence) opens one of another process.
    #[doc(alias = "umf_fence")]
    Fence: umf_fence, umf_fence_ref, umf_fence_unref
}

/// A change of the value of an unordered fence: see [`Fence::update`]. Arithmetic is modulo 2^64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Update {
    /// Stores the value.
    Exchange(u64),
    /// Stores `new` if the value is `expected`: then `expected` is also what is returned.
    CompareExchange {
        /// The value that is replaced.
        expected: u64,
        /// The value that is stored.
        new: u64,
    },
    /// Adds.
    Add(u64),
    /// Subtracts.
    Subtract(u64),
    /// Bitwise and.
    And(u64),
    /// Bitwise or.
    Or(u64),
    /// Bitwise exclusive or.
    Xor(u64),
}

impl Fence {
    /// Returns the page that the fence is in.
    #[doc(alias = "umf_fence_page")]
    pub fn page(&self) -> Page {
        // SAFETY: The fence is valid, so the page is too, and it is not NULL. The new handle gets
        // the reference that is added.
        unsafe {
            let page = sys::umf_page_ref(sys::umf_fence_page(self.as_raw()));
            Page::from_raw(std::ptr::NonNull::new_unchecked(page))
        }
    }

    /// Returns the index of the fence in its page, to be sent with the page's descriptor.
    #[doc(alias = "umf_fence_index")]
    pub fn index(&self) -> u32 {
        // SAFETY: The fence is valid.
        unsafe { sys::umf_fence_index(self.as_raw()) }
    }

    /// Raises the value, and wakes the waiters that it meets. An unordered fence takes any value.
    ///
    /// A waiter that sees the value also sees the memory that the caller wrote before.
    #[doc(alias = "umf_fence_signal")]
    pub fn signal(&self, value: u64) -> Result<()> {
        // SAFETY: The fence is valid.
        check(unsafe { sys::umf_fence_signal(self.as_raw(), value) })
    }

    /// Changes the value of an unordered fence atomically, and wakes the waiters that this may
    /// concern. Returns the value before the change.
    #[doc(alias = "umf_fence_update")]
    pub fn update(&self, update: Update) -> Result<u64> {
        let (operation, operand, expected) = match update {
            Update::Exchange(value) => (sys::UMF_UPDATE_EXCHANGE, value, 0),
            Update::CompareExchange { expected, new } => {
                (sys::UMF_UPDATE_COMPARE_EXCHANGE, new, expected)
            }
            Update::Add(operand) => (sys::UMF_UPDATE_ADD, operand, 0),
            Update::Subtract(operand) => (sys::UMF_UPDATE_SUBTRACT, operand, 0),
            Update::And(operand) => (sys::UMF_UPDATE_AND, operand, 0),
            Update::Or(operand) => (sys::UMF_UPDATE_OR, operand, 0),
            Update::Xor(operand) => (sys::UMF_UPDATE_XOR, operand, 0),
        };
        let mut previous = 0;
        let out = &raw mut previous;
        // SAFETY: The fence is valid, and `out` is valid for writing.
        check(unsafe { sys::umf_fence_update(self.as_raw(), operation, operand, expected, out) })?;
        Ok(previous)
    }

    /// Returns the value. It stays readable after the fence ended.
    #[doc(alias = "umf_fence_value")]
    pub fn value(&self) -> u64 {
        // SAFETY: The fence is valid.
        unsafe { sys::umf_fence_value(self.as_raw()) }
    }

    /// Raises the pending value: work was submitted that will signal it.
    #[doc(alias = "umf_fence_submit")]
    pub fn submit(&self, value: u64) -> Result<()> {
        // SAFETY: The fence is valid.
        check(unsafe { sys::umf_fence_submit(self.as_raw(), value) })
    }

    /// Returns the greatest value that is reached or was announced by [`Fence::submit`].
    #[doc(alias = "umf_fence_pending_value")]
    pub fn pending_value(&self) -> u64 {
        // SAFETY: The fence is valid.
        unsafe { sys::umf_fence_pending_value(self.as_raw()) }
    }

    /// Returns when a value was signaled, in nanoseconds of CLOCK_MONOTONIC.
    ///
    /// [`Error::NotFound`] if that is not known: see the manual page of the C function.
    #[doc(alias = "umf_fence_timestamp")]
    pub fn timestamp(&self, value: u64) -> Result<u64> {
        let mut ns = 0;
        // SAFETY: The fence is valid, and `ns` is valid for writing.
        check(unsafe { sys::umf_fence_timestamp(self.as_raw(), value, &mut ns) })?;
        Ok(ns)
    }

    /// Fails the fence: ends every wait for a value that it has not reached.
    ///
    /// The waits return [`Error::Failed`], or [`Error::OwnerDied`] if that is the error.
    #[doc(alias = "umf_fence_set_error")]
    pub fn set_error(&self, error: Error) -> Result<()> {
        // SAFETY: The fence is valid.
        check(unsafe { sys::umf_fence_set_error(self.as_raw(), error.errno().wrapping_neg()) })
    }

    /// Ends the fence now, and keeps its slot until its last handle in this process is dropped.
    ///
    /// For a fence that a device may still write: no later fence gets its slot before.
    #[doc(alias = "umf_fence_end")]
    pub fn end(&self) -> Result<()> {
        // SAFETY: The fence is valid.
        check(unsafe { sys::umf_fence_end(self.as_raw()) })
    }

    /// Names the fence, for tools and reports: see [`Page::set_name`](crate::Page::set_name).
    #[doc(alias = "umf_fence_set_name")]
    pub fn set_name(&self, name: &str) -> Result<()> {
        let name = name_for_c(name);
        // SAFETY: The fence is valid, and the name ends with a NUL.
        check(unsafe { sys::umf_fence_set_name(self.as_raw(), name.as_ptr().cast()) })
    }

    /// Returns the error that the fence carries, if any.
    #[doc(alias = "umf_fence_error")]
    pub fn error(&self) -> Result<Option<Error>> {
        let mut error = 0;
        // SAFETY: The fence is valid, and `error` is valid for writing.
        check(unsafe { sys::umf_fence_error(self.as_raw(), &raw mut error) })?;
        Ok(check(error).err())
    }

    /// Waits until the fence reaches `value`.
    ///
    /// Memory that the signaler wrote before it signaled is then visible to the caller.
    #[doc(alias = "umf_fence_wait")]
    pub fn wait(&self, value: u64, deadline: impl Into<Deadline>) -> Result<()> {
        let deadline = deadline.into().nanoseconds();
        // SAFETY: The fence is valid, and borrowed during the call.
        check(unsafe { sys::umf_fence_wait(self.as_raw(), value, deadline) })
    }

    /// Returns whether the fence has reached `value`; an error if it failed or ended before.
    #[doc(alias = "umf_fence_wait")]
    pub fn is_reached(&self, value: u64) -> Result<bool> {
        match self.wait(value, Deadline::NOW) {
            Ok(()) => Ok(true),
            Err(Error::TimedOut) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Returns the condition that the fence's value is at least `value`.
    pub fn reaches(&self, value: u64) -> Condition<'_> {
        Condition::new(self, value)
    }

    /// Returns what a job signals: see [`Queue::submit`](crate::Queue::submit).
    pub fn signals(&self, value: u64) -> Signal<'_> {
        Signal::new(self, value)
    }

    /// Returns the offset of the value in the page, where a device writes it. `None` if the value
    /// is in a driver's memory.
    #[doc(alias = "umf_fence_offset")]
    pub fn offset(&self) -> Option<u64> {
        // SAFETY: The fence is valid.
        let offset = unsafe { sys::umf_fence_offset(self.as_raw()) };
        (offset != u64::MAX).then_some(offset)
    }

    /// Returns the offset in the page of the value that tells a device when to interrupt. `None` in
    /// a page with [`PageFlags::SINGLE_WRITER`](crate::PageFlags::SINGLE_WRITER): the device
    /// interrupts for each value there.
    #[doc(alias = "umf_fence_monitored_offset")]
    pub fn monitored_offset(&self) -> Option<u64> {
        // SAFETY: The fence is valid.
        let offset = unsafe { sys::umf_fence_monitored_offset(self.as_raw()) };
        (offset != u64::MAX).then_some(offset)
    }

    /// Wakes the waiters of a fence whose value a device wrote.
    #[doc(alias = "umf_fence_notify")]
    pub fn notify(&self) -> Result<()> {
        // SAFETY: The fence is valid.
        check(unsafe { sys::umf_fence_notify(self.as_raw()) })
    }
}
