use super::fence::umf_fence;
use super::answer;
use crate::error::{Error, Result};
use crate::fence::Fence;
use crate::sys::time::Deadline;
use crate::wait::{self, Condition, Conditions, Until};
use std::ffi::c_int;

/// The most entries of one umf_wait(). Since 0.1.
pub const UMF_WAIT_MAX: u32 = 1048576;

/// In the flags of umf_wait(): until one of the entries is met, not all. Since 0.1.
pub const UMF_WAIT_ANY: u64 = 1 << 0;
/// In the flags of umf_wait(): until work was submitted that will signal the values (umf_fence_submit()), not until they
/// are signalled. Since 0.1.
pub const UMF_WAIT_PENDING: u64 = 1 << 1;

/// In umf_wait.op: the fence's value is at least the entry's. Since 0.1.
pub const UMF_OP_GE: u32 = 0;

/// One entry of umf_wait().
#[repr(C)]
pub struct umf_wait {
    /// Stays the caller's, who keeps it for the length of the call.
    pub fence: *mut umf_fence,
    /// The value to be reached.
    pub value: u64,
    /// UMF_OP_GE.
    pub op: u32,
    /// 0.
    pub reserved: u32,
}

/// Waits for many fences, of any pages: for all of them, or with UMF_WAIT_ANY for one.
///
/// An entry that is met stays met, whatever happens to the fence while the others are waited for. If a fence fails or
/// ends without having reached its value, the wait ends with that error, even if others might still be met; only
/// when, with UMF_WAIT_ANY, another entry is met already, that counts.
///
/// \param waits           the entries. The same fence may appear more than once.
/// \param count           how many, 1 to UMF_WAIT_MAX.
/// \param flags           UMF_WAIT_* bits. 0 waits until all values are signalled.
/// \param abs_timeout_ns  when to give up: nanoseconds on CLOCK_MONOTONIC. 0 polls, UINT64_MAX is never.
/// \param out_index       with UMF_WAIT_ANY, receives the index of an entry that is met. May be NULL. Written only on
///                        success, and only with UMF_WAIT_ANY.
///
/// \return 0, or
///         -EINVAL      waits NULL, count out of range, unknown flags; an entry's fence NULL, op unknown, reserved not 0.
///         -ETIME       not met by then; a poll that is not met too.
///         -EIO         a fence carries an error and has not reached its value: see umf_fence_error().
///         -EOWNERDEAD  the same, the error being EOWNERDEAD.
///         -ESTALE      a fence ended before it reached its value: see umf_fence_create().
///
/// Thread-safe, async-signal-safe. Allocates nothing. Sleeps without using the CPU, but for what UMF_CAP_WAIT_MANY_PAGES
/// says. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_wait(
    waits: *const umf_wait,
    count: u32,
    flags: u64,
    abs_timeout_ns: u64,
    out_index: *mut u32,
) -> c_int {
    answer(|| {
        if flags & !(UMF_WAIT_ANY | UMF_WAIT_PENDING) != 0 {
            return Err(Error::Invalid);
        }
        let until = if flags & UMF_WAIT_PENDING != 0 { Until::Submitted } else { Until::Signaled };
        // SAFETY: the face's contract (mod.rs).
        let list = unsafe { List::new(waits, count, until)? };
        let deadline = Deadline::at(abs_timeout_ns);
        if flags & UMF_WAIT_ANY == 0 {
            return wait::all(&list, deadline);
        }
        let index = wait::any(&list, deadline)?;
        if !out_index.is_null() {
            // SAFETY: the face's contract (mod.rs).
            unsafe { out_index.write(index as u32) };
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
    /// The face's contract (mod.rs) for `waits` and `count`.
    unsafe fn new<'a>(waits: *const umf_wait, count: u32, until: Until) -> Result<List<'a>> {
        if waits.is_null() || count == 0 || count > UMF_WAIT_MAX {
            return Err(Error::Invalid);
        }
        // SAFETY: by this function's contract.
        let waits = unsafe { std::slice::from_raw_parts(waits, count as usize) };
        if waits.iter().any(|wait| wait.fence.is_null() || wait.op != UMF_OP_GE || wait.reserved != 0) {
            return Err(Error::Invalid);
        }
        Ok(List { waits, until })
    }
}

impl Conditions for List<'_> {
    fn count(&self) -> usize {
        self.waits.len()
    }

    fn get(&self, index: usize) -> Condition<'_> {
        let wait = &self.waits[index];
        // SAFETY: `new` saw that it is not NULL; the rest is the face's contract (mod.rs).
        let fence = unsafe { &*wait.fence.cast::<Fence>() };
        Condition { fence, value: wait.value, until: self.until }
    }
}
