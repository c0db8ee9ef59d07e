// SPDX-License-Identifier: MIT
//! Wait sets.
//!
//! A wait set is for a thread that waits for any of the same fences again and again, as epoll is
//! for descriptors. umf_wait() reads its whole list in each call. A set is told once, and a wait
//! then costs what has changed. To be called back instead, or to wait in an event loop beside
//! descriptors, see umf_loop_watch().

use super::args::{no_flags, non_null};
use super::contract::c_contract;
use super::handles::{Handle, borrow, c_ref, c_unref, write_handle};
use super::returns::c_return_preserving_errno;
use super::wait::umf_condition;
use super::watch::watched_condition;
use crate::error::{self, Error, Result};
use crate::sys::time::Deadline;
use crate::util::refs::Ref;
use crate::wait::{WaitSet, WaitSetHandle};
use std::ffi::c_int;

/// A wait set: conditions on fences, which threads wait for again and again. Reference counted.
/// Since 0.1.
pub struct umf_wait_set {
    _opaque: (),
}

impl Handle for umf_wait_set {
    type Object = WaitSetHandle;
}

/// An entry that umf_wait_set_wait() reports. Since 0.1.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct umf_wait_set_result {
    /// The entry, as umf_wait_set_add() named it.
    pub id: u64,
    /// What the caller gave umf_wait_set_add() for the entry.
    pub user_data: u64,
    /// 0 if the condition is met. Else why it never will be:
    ///
    ///   -EIO         the fence failed: see umf_fence_error()
    ///   -EOWNERDEAD  the fence failed because its signaler died
    ///   -ESTALE      the fence ended: see umf_fence_create()
    ///   -ERANGE      the value of a 64-bit fence is beyond where the condition, which has no mask,
    ///                could still be met
    pub result: c_int,
    /// 0.
    pub reserved: u32,
}

/// Create a wait set without entries.
///
/// A set takes no file descriptor and has no thread. It belongs to its process. In the child of a
/// fork, calls with it return -ESTALE, and the child can only end its references.
///
/// @flags: must be 0.
/// @out_set: receives a reference, which the caller ends with umf_wait_set_unref(). Written only on
///     success.
///
/// Return: 0 on success, or
///   -EINVAL  @flags is not 0, or @out_set is NULL
///   -ENOMEM  no memory is left
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_wait_set_create(flags: u64, out_set: *mut *mut umf_wait_set) -> c_int {
    c_return_preserving_errno(|| {
        no_flags(flags)?;
        non_null(out_set)?;
        c_contract!(write_handle(WaitSetHandle::new()?, out_set));
        Ok(())
    })
}

/// Add a reference to a wait set.
///
/// @set: the set, or NULL.
///
/// Return: @set. The caller ends the new reference with umf_wait_set_unref().
///
/// Thread-safe and async-signal-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_wait_set_ref(set: *mut umf_wait_set) -> *mut umf_wait_set {
    c_contract!(c_ref(set))
}

/// End a reference to a wait set.
///
/// With the last reference the set ends its references to the fences of its entries, and with them
/// the fences that nobody else refers to. A thread that waits keeps the set until it returns, and
/// is not woken: to end its wait, add a fence for that purpose, and signal it.
///
/// @set: the set. NULL does nothing.
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_wait_set_unref(set: *mut umf_wait_set) {
    c_contract!(c_unref(set))
}

/// Add a condition to a wait set.
///
/// A set may have several entries for one fence. A thread that waits notices the new entry. An
/// entry that is not met is registered as a waiter, also while no thread waits: the next signal
/// near its value costs the signaler a system call.
///
/// @set: the set.
/// @wait: the condition, as an entry of umf_wait(). Copied. The set keeps a reference to the fence
///     until the entry is removed, so the fence does not end with the last reference of its
///     creator.
/// @flags: UMF_WAIT_PENDING, or 0.
/// @user_data: any number. Each report of the entry has it.
/// @out_id: receives the entry's id. It is never 0, and names no other entry later. Written only on
///     success.
///
/// Return: 0 on success, also if the condition is met already or never will be (a wait reports
/// that), or
///   -EINVAL  @set, @wait or @out_id is NULL, @flags has unknown bits, or umf_wait() would refuse
///            the entry
///   -ENOMEM  no memory is left
///   -ESTALE  the set belongs to another process
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_wait_set_add(
    set: *mut umf_wait_set,
    wait: *const umf_condition,
    flags: u64,
    user_data: u64,
    out_id: *mut u64,
) -> c_int {
    c_return_preserving_errno(|| {
        non_null(out_id)?;
        let set = c_contract!(own_set(set)?);
        let (fence, predicate) = c_contract!(watched_condition(wait, flags)?);
        let id = set.add(fence, predicate, user_data)?;
        c_contract!(out_id.write(id));
        Ok(())
    })
}

/// Give an entry of a wait set another condition.
///
/// This is how a thread goes on to a fence's next value. It takes no memory, and is faster than to
/// remove the entry and to add another. A thread that waits notices the new condition.
///
/// @set: the set.
/// @id: the entry.
/// @wait: the condition. Copied. It has the same fence as before.
/// @flags: UMF_WAIT_PENDING, or 0.
///
/// Return: 0 on success, or
///   -EINVAL  @set or @wait is NULL, @flags has unknown bits, umf_wait() would refuse the entry, or
///            the condition is on another fence
///   -ENOENT  the set has no such entry, or it was removed
///   -ESTALE  the set belongs to another process
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_wait_set_modify(
    set: *mut umf_wait_set,
    id: u64,
    wait: *const umf_condition,
    flags: u64,
) -> c_int {
    c_return_preserving_errno(|| {
        let set = c_contract!(own_set(set)?);
        let (fence, predicate) = c_contract!(watched_condition(wait, flags)?);
        set.modify(id, &fence, predicate)
    })
}

/// Remove an entry from a wait set.
///
/// No call of umf_wait_set_wait() that begins later reports it. One that is about to return on
/// another thread may.
///
/// @set: the set.
/// @id: the entry.
///
/// Return: 0 on success, or
///   -EINVAL  @set is NULL
///   -ENOENT  the set has no such entry, or it was removed
///   -ESTALE  the set belongs to another process
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_wait_set_remove(set: *mut umf_wait_set, id: u64) -> c_int {
    c_return_preserving_errno(|| c_contract!(own_set(set)?).remove(id))
}

/// Wait until entries of a wait set are met, or can no longer be.
///
/// Reports the entries that are ready. It is level-triggered, as epoll is: each wait reports an
/// entry again, as long as its condition is met, or after its fence failed or ended, until the
/// entry is modified or removed. If more entries are ready than @results has room for, the next
/// waits report the others first. Memory that a signaler wrote before it signaled the value of an
/// entry that is reported as met is then visible to the caller.
///
/// An entry of a fence with UMF_FENCE_UNORDERED is also reported, once, if its condition was met
/// since the entry was last added, modified or reported, and is not any more: see
/// UMF_FENCE_UNORDERED. So a caller that rewinds a fence after a report modifies the entry, to wait
/// for the next time alone.
///
/// A wait costs what has changed since the last one, however many entries the set has. There are
/// three exceptions. If more than 256 events of a page came meanwhile, all entries for that page
/// are checked once. Entries of fences with UMF_FENCE_DEVICE that had no notifier when they were
/// added are checked at intervals, as in umf_wait(). With an entry of a fence with
/// UMF_FENCE_UNORDERED that is added, modified, or reported for a value that is gone, the others of
/// that fence are checked.
///
/// Several threads may wait for one set, and add, modify and remove entries meanwhile. Each of
/// those that sleep when an entry becomes ready may report it. A wait for a set without entries
/// lasts until another thread adds one.
///
/// The thread sleeps and uses no CPU, except as UMF_CAP_WAIT_MANY_PAGES and UMF_FENCE_DEVICE say.
/// It can sleep for entries of up to 126 pages, and polls for a set of more. Where a sandbox may
/// kill for futex_waitv, a thread that waits for a set of one page wakes once a second. A process
/// that can write to a page may disturb the waits there: see umf_wait().
///
/// @set: the set. The caller keeps its reference until the call returns.
/// @results: receives the entries.
/// @count: the number of elements in @results, at least 1.
/// @abs_timeout_ns: absolute CLOCK_MONOTONIC time in nanoseconds. 0 checks once; UINT64_MAX waits
///     forever.
/// @out_count: receives how many entries are reported, at least 1. Written only on success.
///
/// Return: 0 on success, or
///   -EINVAL  @set, @results or @out_count is NULL, or @count is 0
///   -ETIME   the deadline passed first, or the one check found no entry ready
///   -ENOMEM  no memory is left for the list of the set's pages, which have changed
///   -ESTALE  the set belongs to another process
///
/// POSIX signals do not interrupt the wait. It is no cancellation point. Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_wait_set_wait(
    set: *mut umf_wait_set,
    results: *mut umf_wait_set_result,
    count: u32,
    abs_timeout_ns: u64,
    out_count: *mut u32,
) -> c_int {
    c_return_preserving_errno(|| {
        non_null(results)?;
        non_null(out_count)?;
        if count == 0 {
            return Err(Error::Invalid);
        }
        // The set lasts until the wait is over, even if another thread ends the last reference.
        let set = c_contract!(own_set(set)?).clone();
        let found = set.wait(count as usize, Deadline::at(abs_timeout_ns), |index, ready| {
            let result = umf_wait_set_result {
                id: ready.id,
                user_data: ready.user_data,
                result: error::code(ready.result),
                reserved: 0,
            };
            // The index is below `count`.
            c_contract!(results.add(index).write(result));
        })?;
        c_contract!(out_count.write(found as u32));
        Ok(())
    })
}

/// Borrows the set behind a handle. `Stale` in the child of a fork.
///
/// # Safety
/// As for [`borrow`].
unsafe fn own_set<'a>(set: *const umf_wait_set) -> Result<&'a Ref<WaitSet>> {
    // SAFETY: by this function's contract.
    unsafe { borrow(set)? }.get()
}
