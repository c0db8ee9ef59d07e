// SPDX-License-Identifier: MIT
//! Waits for many fences.

use crate::error::{Error, Result, check};
use crate::{Deadline, Fence, WaitFlags, sys};
use std::marker::PhantomData;
use std::ptr;

/// How a fence's value is compared. The fence's value is on the left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Op {
    /// At least the value.
    #[default]
    Ge,
    /// Greater than the value.
    Gt,
    /// Equal to the value. A wait may miss a value that later signals pass.
    Eq,
    /// Not equal to the value.
    Ne,
    /// Less than the value.
    Lt,
    /// At most the value.
    Le,
}

/// A condition on one fence, for waits, watches and jobs: see [`Fence::reaches`].
///
/// It borrows the fence:
///
/// ```compile_fail,E0505
/// # use umf::{FenceFlags, Page, PageFlags, WaitFlags, wait_all};
/// # let page = Page::create(1, PageFlags::NONE)?;
/// let fence = page.create_fence(0, FenceFlags::NONE)?;
/// let condition = fence.reaches(1);
/// drop(fence);
/// wait_all(&[condition], WaitFlags::NONE, umf::Deadline::NOW)?;
/// # Ok::<(), umf::Error>(())
/// ```
#[doc(alias = "umf_condition")]
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub struct Condition<'fence>(sys::umf_condition, PhantomData<&'fence Fence>);

// SAFETY: A condition is a shared reference to a fence, and numbers. Fence is Sync.
unsafe impl Send for Condition<'_> {}
// SAFETY: As for `Send`. A condition does not change through a shared reference.
unsafe impl Sync for Condition<'_> {}

impl<'fence> Condition<'fence> {
    /// Returns the condition that the fence's value is at least `value`.
    pub fn new(fence: &'fence Fence, value: u64) -> Condition<'fence> {
        let op = sys::UMF_OP_GE;
        let raw = sys::umf_condition { fence: fence.as_raw(), value, op, reserved: 0, mask: 0 };
        Condition(raw, PhantomData)
    }

    /// Returns the condition with signed numbers compared. Only for unordered fences.
    #[doc(alias = "UMF_OP_SIGNED")]
    pub fn signed(mut self) -> Condition<'fence> {
        self.0.op |= sys::UMF_OP_SIGNED;
        self
    }

    /// Returns the condition with another comparison.
    pub fn with_op(mut self, op: Op) -> Condition<'fence> {
        let signed = self.0.op & sys::UMF_OP_SIGNED;
        let op = match op {
            Op::Ge => sys::UMF_OP_GE,
            Op::Gt => sys::UMF_OP_GT,
            Op::Eq => sys::UMF_OP_EQ,
            Op::Ne => sys::UMF_OP_NE,
            Op::Lt => sys::UMF_OP_LT,
            Op::Le => sys::UMF_OP_LE,
        };
        self.0.op = signed | op;
        self
    }

    /// Returns the condition on the bits of `mask` alone. 0 stands for all bits.
    pub fn with_mask(mut self, mask: u64) -> Condition<'fence> {
        self.0.mask = mask;
        self
    }

    pub(crate) fn as_raw(&self) -> *const sys::umf_condition {
        &raw const self.0
    }
}

/// Waits until all conditions are met.
///
/// If a fence fails or ends before its condition is met, the wait returns that error. An empty list
/// is an error.
#[doc(alias = "umf_wait")]
pub fn wait_all(
    conditions: &[Condition<'_>],
    flags: WaitFlags,
    deadline: impl Into<Deadline>,
) -> Result<()> {
    wait(conditions, flags.bits(), deadline.into()).map(drop)
}

/// Waits until one of the conditions is met, and returns its index.
///
/// A condition that is already met takes precedence over a fence that failed.
#[doc(alias = "umf_wait")]
pub fn wait_any(
    conditions: &[Condition<'_>],
    flags: WaitFlags,
    deadline: impl Into<Deadline>,
) -> Result<usize> {
    let index = wait(conditions, flags.bits() | sys::UMF_WAIT_ANY, deadline.into())?;
    usize::try_from(index).map_err(|_| Error::Protocol)
}

fn wait(conditions: &[Condition<'_>], flags: u64, deadline: Deadline) -> Result<u32> {
    let (first, count) = raw_list(conditions)?;
    let mut index = 0;
    // SAFETY: `first` are `count` conditions, whose fences are borrowed during the call, and
    // `index` is valid for writing.
    check(unsafe { sys::umf_wait(first, count, flags, deadline.nanoseconds(), &raw mut index) })?;
    Ok(index)
}

/// A list as C has it: the first entry, NULL if there is none, and the number of entries. Both are
/// valid as long as the slice. T is a Condition or a Signal, with the layout of Raw, its C struct.
pub(crate) fn raw_list<T, Raw>(list: &[T]) -> Result<(*const Raw, u32)> {
    let first = if list.is_empty() { ptr::null() } else { list.as_ptr().cast() };
    Ok((first, u32::try_from(list.len()).map_err(|_| Error::InvalidArgument)?))
}
