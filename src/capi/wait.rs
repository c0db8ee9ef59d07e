//! Waiting.

use super::args::slice;
use super::contract::c_contract;
use super::fence::umf_fence;
use super::handles::borrow;
use super::returns::c_return_preserving_errno;
use crate::error::{Error, Result};
use crate::sys::time::Deadline;
use crate::wait::{self, Condition, Conditions, Op, Until};
use std::ffi::c_int;

/// Waits until the fence's value is at least value. umf_wait() waits for many.
///
/// \param fence           the fence.
/// \param value           the value to be reached.
/// \param abs_timeout_ns  when to give up: nanoseconds on CLOCK_MONOTONIC. 0 polls, UINT64_MAX is never. A signal handler
///                        that runs meanwhile does not end the wait.
///
/// \return 0: reached; it stays so for this process, and what the signaller did before is visible. Or
///         -EINVAL      fence NULL, or value above UINT32_MAX for a 32-bit fence.
///         -ETIME       not reached by then; a poll that is not met too.
///         -EIO         the fence carries an error and has not reached value: see umf_fence_error().
///         -EOWNERDEAD  the same, the error being EOWNERDEAD.
///         -ESTALE      the fence ended before it reached value: see umf_fence_create().
///
/// Thread-safe; async-signal-safe, unless the fence has a notifier that is not. Uses no CPU while it sleeps, but for what
/// UMF_FENCE_DEVICE says. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_fence_wait(
    fence: *mut umf_fence,
    value: u64,
    abs_timeout_ns: u64,
) -> c_int {
    // The hot path first, without `c_return`: nothing in there can panic.
    if c_contract!(borrow(fence)).is_ok_and(|fence| fence.is_reached_inline(value)) {
        return 0;
    }
    c_return_preserving_errno(|| {
        let fence = c_contract!(borrow(fence)?);
        wait::one(Condition::reached(fence, value)?, Deadline::at(abs_timeout_ns))
    })
}

/// The most entries of one umf_wait(). Since 0.1.
pub const UMF_WAIT_MAX: u32 = 1048576;

/// In the flags of umf_wait(): until one of the entries is met, not all. Since 0.1.
pub const UMF_WAIT_ANY: u64 = 1 << 0;

/// In the flags of umf_wait(): until work was submitted that will signal the values (umf_fence_submit()), not until they
/// are signalled. Since 0.1.
pub const UMF_WAIT_PENDING: u64 = 1 << 1;

/// In umf_wait.op: the fence's value is at least the entry's. Since 0.1.
pub const UMF_OP_GE: u32 = 0;

/// In umf_wait.op: the fence's value is greater than the entry's. Since 0.1.
pub const UMF_OP_GT: u32 = 1;

/// In umf_wait.op: the fence's value equals the entry's. A value that a signal passes over is not noticed. Since 0.1.
pub const UMF_OP_EQ: u32 = 2;

/// In umf_wait.op: the fence's value differs from the entry's. Since 0.1.
pub const UMF_OP_NE: u32 = 3;

/// In umf_wait.op: the fence's value is less than the entry's. Since 0.1.
pub const UMF_OP_LT: u32 = 4;

/// In umf_wait.op: the fence's value is at most the entry's. Since 0.1.
pub const UMF_OP_LE: u32 = 5;

/// One entry of umf_wait().
#[repr(C)]
pub struct umf_wait {
    /// Stays the caller's, who keeps it for the length of the call.
    pub fence: *mut umf_fence,
    /// What the fence's value is compared with.
    pub value: u64,
    /// UMF_OP_*: the fence's value is on the left.
    pub op: u32,
    /// 0.
    pub reserved: u32,
    /// 0, or the bits that are compared: (the fence's value & mask) op (value & mask), as plain numbers.
    pub mask: u64,
}

/// Waits for many fences, of any pages: for all of them, or with UMF_WAIT_ANY for one.
///
/// An entry that is met stays met, whatever happens to the fence while the others are waited for. If a fence fails or
/// ends without having reached its value, the wait ends with that error, even if others might still be met; only
/// when, with UMF_WAIT_ANY, another entry is met already, that counts. Which fence it was, umf_fence_error() of each tells.
///
/// A wait for all goes through the entries in their order. With UMF_OP_GE and UMF_OP_GT that makes no difference; another
/// entry is met if it is so when the wait gets to it.
///
/// \param waits           the entries. The same fence may appear more than once.
/// \param count           how many, 1 to UMF_WAIT_MAX. Unlike in Vulkan, a wait for none is refused.
/// \param flags           UMF_WAIT_* bits. 0 waits until all values are signalled.
/// \param abs_timeout_ns  when to give up: nanoseconds on CLOCK_MONOTONIC. 0 polls, UINT64_MAX is never.
/// \param out_index       with UMF_WAIT_ANY, receives the index of an entry that is met. May be NULL. Written only on
///                        success, and only with UMF_WAIT_ANY.
///
/// \return 0, or
///         -EINVAL      waits NULL, count out of range, unknown flags; an entry's fence NULL, op unknown, reserved not 0, value
///                      above UINT32_MAX for a 32-bit fence; with UMF_WAIT_PENDING, op not GE or GT, or a mask.
///         -ETIME       not met by then; a poll that is not met too.
///         -ERANGE      a 64-bit fence's value is beyond where its entry, without a mask, could still be met.
///         -EIO         a fence carries an error and has not reached its value: see umf_fence_error().
///         -EOWNERDEAD  the same, the error being EOWNERDEAD.
///         -ESTALE      a fence ended before it reached its value: see umf_fence_create().
///
/// Thread-safe; async-signal-safe for up to 128 entries, for which it needs no memory (for more it does better with some).
/// Sleeps without using the CPU, but for what UMF_CAP_WAIT_MANY_PAGES and UMF_FENCE_DEVICE say. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_wait(
    waits: *const umf_wait,
    count: u32,
    flags: u64,
    abs_timeout_ns: u64,
    out_index: *mut u32,
) -> c_int {
    c_return_preserving_errno(|| {
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

/// The caller's array, checked, and used where it lies.
struct List<'a> {
    waits: &'a [umf_wait],
    until: Until,
}

impl List<'_> {
    /// # Safety
    /// The C contract (contract.rs) for `waits` and `count`.
    unsafe fn new<'a>(waits: *const umf_wait, count: u32, until: Until) -> Result<List<'a>> {
        if count == 0 || count > UMF_WAIT_MAX {
            return Err(Error::Invalid);
        }
        // SAFETY: by this function's contract.
        let waits = unsafe { slice(waits, count)? };
        let list = List { waits, until };
        // A list that is wrong anywhere is refused, also where one of its entries is met.
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
pub(super) unsafe fn condition(wait: &umf_wait, until: Until) -> Result<Condition<'_>> {
    if wait.reserved != 0 {
        return Err(Error::Invalid);
    }
    let op = match wait.op {
        UMF_OP_GE => Op::Ge,
        UMF_OP_GT => Op::Gt,
        UMF_OP_EQ => Op::Eq,
        UMF_OP_NE => Op::Ne,
        UMF_OP_LT => Op::Lt,
        UMF_OP_LE => Op::Le,
        _ => return Err(Error::Invalid),
    };
    // SAFETY: by this function's contract.
    Condition::new(unsafe { borrow(wait.fence)? }, op, wait.value, wait.mask, until)
}
