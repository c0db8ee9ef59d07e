// SPDX-License-Identifier: MIT
//! Waiting.
//!
//! A wait blocks the calling thread. To be called back instead, see umf_loop_watch(); to run work
//! after a wait, see umf_queue_submit().

use super::args::slice;
use super::contract::c_contract;
use super::fence::umf_fence;
use super::handles::borrow;
use super::returns::c_return_from_wait;
use crate::error::{Error, Result};
use crate::sys::time::Deadline;
use crate::wait::{self, Condition, Conditions, Op, Until};
use std::ffi::c_int;

/// Wait until a fence reaches a value.
///
/// Returns 0 once the fence's value is at least @value. Memory that the signaler wrote before it
/// signaled is then visible to the caller. Later calls in this process see the value as reached,
/// whatever a peer does (but see UMF_FENCE_32BIT and UMF_FENCE_UNORDERED). Waiting may start before
/// work for the value is submitted. The thread sleeps; it uses no CPU unless a device writes the
/// fence without an interrupt (UMF_FENCE_DEVICE). umf_wait() waits for many fences.
///
/// A process that can write to the page can also wake the thread for nothing, as often as it likes.
/// That takes at most a twentieth of a core, for all threads of this process together. A wait that
/// is disturbed more than four times may then end late: by about 0.2 ms for each disturbed thread.
///
/// @fence: the fence. The caller keeps its reference until the call returns.
/// @value: the value to wait for. At most UINT32_MAX for a 32-bit fence.
/// @abs_timeout_ns: absolute CLOCK_MONOTONIC time in nanoseconds. 0 checks once; UINT64_MAX waits
///     forever.
///
/// Return: 0 on success, or
///   -ETIME       the deadline passed first, or the one check did not find the value reached
///   -EIO         the fence failed before it reached @value; umf_fence_error() has the cause
///   -EOWNERDEAD  as -EIO; the error is -EOWNERDEAD: the signaler died
///   -ESTALE      the fence ended before it reached @value: see umf_fence_create()
///   -EINVAL      @fence is NULL, or @value does not fit in 32 bits
///
/// POSIX signals do not interrupt the wait. Thread-safe and async-signal-safe, unless the fence has
/// a notifier whose wait function is not. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_fence_wait(
    fence: *mut umf_fence,
    value: u64,
    abs_timeout_ns: u64,
) -> c_int {
    // The hot paths first, without `c_return`: nothing there can panic.
    if let Ok(fence) = c_contract!(borrow(fence)) {
        if fence.is_reached_inline(value) {
            return 0;
        }
        if abs_timeout_ns == 0 && fence.is_unreached_inline() {
            return Error::TimedOut.code();
        }
    }
    c_contract!(wait_for_one(fence, value, abs_timeout_ns))
}

/// The rest of `umf_fence_wait`. A function of its own: the registers that it saves would cost the
/// hot paths as much as what they do.
///
/// # Safety
/// As for `umf_fence_wait`.
#[inline(never)]
unsafe extern "C" fn wait_for_one(fence: *mut umf_fence, value: u64, abs_timeout_ns: u64) -> c_int {
    c_return_from_wait(|| {
        let fence = c_contract!(borrow(fence)?);
        wait::one(Condition::reached(fence, value)?, Deadline::at(abs_timeout_ns))
    })
}

/// The maximum number of entries of one umf_wait(). Since 0.1.
pub const UMF_WAIT_MAX: u32 = 1048576;

/// Flag of umf_wait(): wait until one of the entries is met, not all of them. Since 0.1.
pub const UMF_WAIT_ANY: u64 = 1 << 0;

/// Flag of umf_wait(), wait sets, umf_loop_watch() and umf_loop_export_eventfd(): wait for the
/// pending value.
///
/// The wait ends when work was submitted that will signal the value (umf_fence_submit()), before it
/// is signaled. Since 0.1.
pub const UMF_WAIT_PENDING: u64 = 1 << 1;

/// Value of umf_condition.op: the fence's value is at least the entry's. Since 0.1.
pub const UMF_OP_GE: u32 = 0;

/// Value of umf_condition.op: the fence's value is greater than the entry's. Since 0.1.
pub const UMF_OP_GT: u32 = 1;

/// Value of umf_condition.op: the fence's value equals the entry's.
///
/// The wait may miss a value that later signals pass. Since 0.1.
pub const UMF_OP_EQ: u32 = 2;

/// Value of umf_condition.op: the fence's value differs from the entry's. Since 0.1.
pub const UMF_OP_NE: u32 = 3;

/// Value of umf_condition.op: the fence's value is less than the entry's. Since 0.1.
pub const UMF_OP_LT: u32 = 4;

/// Value of umf_condition.op: the fence's value is at most the entry's. Since 0.1.
pub const UMF_OP_LE: u32 = 5;

/// Bit of umf_condition.op, beside one of the values above: compare signed numbers.
///
/// Only for fences with UMF_FENCE_UNORDERED, and without a mask. Since 0.1.
pub const UMF_OP_SIGNED: u32 = 256;

/// A condition on one fence, for umf_wait(), wait sets, watches and jobs. Since 0.1.
#[repr(C)]
pub struct umf_condition {
    /// The fence. The caller keeps its reference until the call returns.
    pub fence: *mut umf_fence,
    /// The value that the fence's value is compared with. At most UINT32_MAX for a 32-bit fence.
    pub value: u64,
    /// UMF_OP_GE to UMF_OP_LE, and UMF_OP_SIGNED or not. The fence's value is on the left.
    pub op: u32,
    /// Must be 0.
    pub reserved: u32,
    /// 0 for all bits, or the bits to compare.
    ///
    /// With a mask, the condition is (fence's value & mask) op (value & mask), as plain numbers.
    pub mask: u64,
}

/// Wait for many fences, of any pages.
///
/// Waits until all entries are met, or with UMF_WAIT_ANY until one is. Memory that a signaler wrote
/// before it signaled the value of an entry that is met is then visible to the caller.
///
/// An entry that is met stays met, whatever happens to its fence during the wait. If a fence fails
/// or ends before its entry is met, the wait returns that error, even if others could still be met.
/// With UMF_WAIT_ANY, an entry that is already met takes precedence over a failure. Use
/// umf_fence_error() to find the fence that failed, and remove its entry before the next call: it
/// would end that wait too.
///
/// A wait for all checks the entries in order. For UMF_OP_GE and UMF_OP_GT the order makes no
/// difference. An entry with another operator is met if it holds when the wait reaches it.
/// See UMF_FENCE_UNORDERED for the rewinds that a wait does not remember.
///
/// The thread sleeps and uses no CPU, except as UMF_CAP_WAIT_MANY_PAGES and UMF_FENCE_DEVICE say.
///
/// A process that can write to a page may disturb the waits there: see umf_fence_wait(). A wait
/// with more than 32 entries, or with device-written ones among them, is then late for the fences
/// of that page by up to 25 times what a check of its entries takes. Other pages are not affected.
///
/// @waits: the entries. A fence may appear more than once. The array stays the caller's.
/// @count: the number of entries, 1 to UMF_WAIT_MAX. Unlike in Vulkan, 0 is an error.
/// @flags: UMF_WAIT_* bits. 0 waits until all values are signaled.
/// @abs_timeout_ns: absolute CLOCK_MONOTONIC time in nanoseconds. 0 checks once; UINT64_MAX waits
///     forever.
/// @out_index: with UMF_WAIT_ANY, receives the index of an entry that is met. May be NULL. Not
///     written on failure: it does not name a fence that failed. Not written without UMF_WAIT_ANY.
///
/// Return: 0 on success, or
///   -EINVAL      @waits is NULL, @count is out of range, or @flags has unknown bits; an entry's
///                fence is NULL, its op is unknown, its reserved is not 0, or its value is above
///                UINT32_MAX for a 32-bit fence; with UMF_WAIT_PENDING, an op is not UMF_OP_GE or
///                UMF_OP_GT, a mask is not 0, or a fence has UMF_FENCE_UNORDERED; UMF_OP_SIGNED for
///                another fence, or with a mask
///   -ETIME       the deadline passed first, or the one check did not find the entries met
///   -ERANGE      the value of a 64-bit fence is beyond where its entry, which has no mask, could
///                still be met
///   -EIO         a fence failed before its entry was met: see umf_fence_error()
///   -EOWNERDEAD  as -EIO; the error is -EOWNERDEAD: the signaler died
///   -ESTALE      a fence ended before its entry was met: see umf_fence_create()
///
/// POSIX signals do not interrupt the wait. Thread-safe; async-signal-safe for up to 128 entries.
/// A wait that blocks may map some KiB of memory with mmap(), which it unmaps before it returns:
/// for more than three entries, or several notifiers. If that fails, it polls. With more than eight
/// entries, of which one has UMF_FENCE_UNORDERED, it does the same; if that fails, its last entries
/// miss rewinds. With more than 128 entries, it also allocates memory, and is slower if there is
/// none. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_wait(
    waits: *const umf_condition,
    count: u32,
    flags: u64,
    abs_timeout_ns: u64,
    out_index: *mut u32,
) -> c_int {
    c_return_from_wait(|| {
        if flags & !(UMF_WAIT_ANY | UMF_WAIT_PENDING) != 0 {
            return Err(Error::Invalid);
        }
        let until = if flags & UMF_WAIT_PENDING != 0 { Until::Submitted } else { Until::Signaled };
        let list = c_contract!(List::new(waits, count, until)?);
        let deadline = Deadline::at(abs_timeout_ns);
        if flags & UMF_WAIT_ANY == 0 {
            return wait::all(&list, deadline);
        }
        let index = wait::any(&list, deadline)?;
        if !out_index.is_null() {
            c_contract!(out_index.write(index as u32));
        }
        Ok(())
    })
}

/// The caller's array of entries, checked and not copied.
struct List<'a> {
    waits: &'a [umf_condition],
    until: Until,
}

impl List<'_> {
    /// # Safety
    /// The C contract (contract.rs) for `waits` and `count`.
    unsafe fn new<'a>(waits: *const umf_condition, count: u32, until: Until) -> Result<List<'a>> {
        if count == 0 || count > UMF_WAIT_MAX {
            return Err(Error::Invalid);
        }
        // SAFETY: by this function's contract.
        let waits = unsafe { slice(waits, count)? };
        let list = List { waits, until };
        // One wrong entry refuses the whole list, even if another entry is met.
        (0..list.count()).try_for_each(|index| list.get(index).map(drop))?;
        Ok(list)
    }
}

impl Conditions for List<'_> {
    fn count(&self) -> usize {
        self.waits.len()
    }

    #[inline]
    fn get(&self, index: usize) -> Result<Condition<'_>> {
        let wait = self.waits.get(index).ok_or(Error::Invalid)?;
        c_contract!(condition(wait, self.until))
    }
}

/// Reads one entry.
///
/// # Safety
/// The C contract (contract.rs) for the entry's fence.
pub(super) unsafe fn condition(wait: &umf_condition, until: Until) -> Result<Condition<'_>> {
    if wait.reserved != 0 {
        return Err(Error::Invalid);
    }
    let op = match wait.op & !UMF_OP_SIGNED {
        UMF_OP_GE => Op::Ge,
        UMF_OP_GT => Op::Gt,
        UMF_OP_EQ => Op::Eq,
        UMF_OP_NE => Op::Ne,
        UMF_OP_LT => Op::Lt,
        UMF_OP_LE => Op::Le,
        _ => return Err(Error::Invalid),
    };
    // SAFETY: by this function's contract.
    let fence = unsafe { borrow(wait.fence)? };
    let signed = wait.op & UMF_OP_SIGNED != 0;
    Condition::new(fence, (op, signed), wait.value, wait.mask, until)
}
