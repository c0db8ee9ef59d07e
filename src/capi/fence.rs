// SPDX-License-Identifier: MIT
//! Fences.
//!
//! A fence is a value in a slot of a page. umf_fence_signal() raises it; umf_fence_wait() and
//! umf_wait(), in any process that has the page, sleep until it is reached. A second number, the
//! pending value, says how far the submitted work will signal. A fence that fails carries an error,
//! and ends every wait for a value that it has not reached.
//!
//! A process that has a fence open remembers the greatest value that it saw. That value stays
//! reached in this process, whatever a peer writes, and even after the fence ended (but see
//! UMF_FENCE_32BIT and UMF_FENCE_UNORDERED).

use super::args::{fence_errno, no_flags, non_null};
use super::contract::c_contract;
use super::handles::{Handle, borrow, borrowed_handle, c_ref, c_unref, clone_ref, write_handle};
use super::page::umf_page;
use super::returns::{c_return, c_return_preserving_errno};
use crate::error::Error;
use crate::fence::Fence;
use crate::shm::change::Change;
use crate::shm::generation::Kind;
use crate::shm::residue::Width;
use std::ffi::c_int;

/// A fence: a value that only grows, wraps around if it has 32 bits, or takes any value with
/// UMF_FENCE_UNORDERED. Reference counted. Since 0.1.
pub struct umf_fence {
    _opaque: (),
}

impl Handle for umf_fence {
    type Object = Fence;
}

/// Flag of umf_fence_create(): the value has 32 bits and wraps around.
///
/// Set it for sequence numbers of hardware that do that. A value is greater than another if it is
/// less than 2^31 ahead of it. All comparisons work that way. This process does not remember the
/// values that it saw reached, as it does for 64 bits: every wait reads the value again. Since 0.1.
pub const UMF_FENCE_32BIT: u64 = 1 << 0;

/// Flag of umf_fence_create(): a device writes the value and wakes no waiter.
///
/// Set it if a GPU or other hardware writes the value at umf_fence_offset(). The process that
/// submits the work to the device calls umf_fence_submit(), since a device does not raise the
/// pending value.
///
/// With a notifier (umf_notifier_create()), waiters sleep until the device interrupts. Without one,
/// a waiter polls the value at intervals until umf_fence_notify() or umf_page_notify() wakes it.
/// The interval is an eighth of the time waited so far, and at most 4 ms. If recent waits on this
/// fence took a similar time, umf_fence_wait() polls rarely at first and often around the expected
/// time.
///
/// In a page with UMF_PAGE_SINGLE_WRITER, only the device of the page's creator can write the
/// value. Other processes poll, and cannot have a notifier; a notification by the creator wakes
/// them.
/// Since 0.1.
pub const UMF_FENCE_DEVICE: u64 = 1 << 1;

/// Flag of umf_fence_create(): the fence lives as long as its page.
///
/// Set it for pages that are handed over with all their contents, such as the payload of a Vulkan
/// semaphore. The fence does not end with its creator's last reference. It lives until the last
/// mapping and the last file descriptor of the page are closed. Any process that has one of them
/// can open the fence again. Its slot is not reused. Since 0.1.
pub const UMF_FENCE_LASTING: u64 = 1 << 2;

/// Flag of umf_fence_create() and umf_fence_create_in(): the value has no order.
///
/// Set it for fences that are rewound (D3D12) or count down (HSA). umf_fence_signal() stores any
/// value, and umf_fence_update() changes the value by arithmetic. Waits compare plain numbers, with
/// UMF_OP_SIGNED signed ones. No wait returns -ERANGE. There is no pending value. This process
/// remembers no value that it saw: every wait reads the value again.
///
/// A store that lowers the value is a rewind. A wait for "at least" or "greater than" a number
/// stays met by a rewind, if the value met it after the wait began. That holds even if the waiter
/// has not run since, in each process, and for watches too. The wait of a job begins when the job
/// is submitted. Any number of rewinds are remembered, unless another wait on the fence begins
/// meanwhile. Then the last two are, until 2^18 more waits on the fence have begun. Beyond that,
/// the wait goes on as if it had not been met. Watches of one event loop do not count as other
/// waits for each other, nor do entries of one wait set. In a page with UMF_PAGE_SINGLE_WRITER, the
/// last two are remembered. From 2^39 on, a rewound value counts rounded down, by less than one
/// part in 2^38. Other operators, UMF_OP_SIGNED and masks compare the value that is there when the
/// waiter looks.
///
/// Of a fence that a device writes too, rewinds by the device are not remembered, and of those by
/// programs only the last. umf_page_notify() wakes all its waiters, and while one waits, the device
/// interrupts for each value (umf_fence_monitored_offset()). Since 0.1.
pub const UMF_FENCE_UNORDERED: u64 = 1 << 4;

/// Create a fence in a free slot of a page.
///
/// The fence lives until this process ends its last reference (but see UMF_FENCE_LASTING): keep one
/// until every waiter is done. Watches, jobs and wait sets of this process hold references too.
///
/// When the fence ends, waits in all processes for values that it has not reached return -ESTALE.
/// The slot becomes free for a new fence, which handles to the old fence never see. Waits for
/// values that it has reached succeed until the slot is reused. From then on they return -ESTALE,
/// except in a process that saw the value reached. Slots are reused in turn, so that is as far away
/// as the page has free slots.
///
/// A device that writes the fence must be done with it before the last reference ends, or it writes
/// to the slot's next fence: see umf_fence_end().
///
/// A process that exits or dies without umf_fence_unref() ends nothing. Its waiters sleep until a
/// process fails the fences that it should have signaled, as umf_loop_tie_fence() and
/// umf_loop_tie_page() do. Its slots stay in use until umf_page_reclaim().
///
/// @page: the page. The fence keeps a reference to it.
/// @value: the initial value. A wait for it or for less is met at once.
/// @flags: UMF_FENCE_* bits, or 0.
/// @out_fence: receives a reference, which the caller ends with umf_fence_unref(). Written only on
///     success.
///
/// Return: 0 on success, or
///   -EINVAL  @page or @out_fence is NULL; @flags has unknown bits, or both UMF_FENCE_32BIT and
///            UMF_FENCE_UNORDERED; or @value is above UINT32_MAX for a 32-bit fence
///   -ENOSPC  all slots of the page are in use: see umf_page_reclaim()
///   -EACCES  this process imported the page, which has UMF_PAGE_SINGLE_WRITER, or imported it with
///            UMF_PAGE_READ_ONLY
///   -ENOMEM  no memory is left
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_fence_create(
    page: *mut umf_page,
    value: u64,
    flags: u64,
    out_fence: *mut *mut umf_fence,
) -> c_int {
    c_return_preserving_errno(|| {
        let known = UMF_FENCE_32BIT | UMF_FENCE_DEVICE | UMF_FENCE_LASTING | UMF_FENCE_UNORDERED;
        if flags & !known != 0 {
            return Err(Error::Invalid);
        }
        let kind = Kind {
            width: if flags & UMF_FENCE_32BIT != 0 { Width::Bits32 } else { Width::Bits64 },
            device: flags & UMF_FENCE_DEVICE != 0,
            unordered: flags & UMF_FENCE_UNORDERED != 0,
            ..Kind::PLAIN
        };
        non_null(out_fence)?;
        let page = c_contract!(clone_ref(page)?);
        let lasting = flags & UMF_FENCE_LASTING != 0;
        let create = if lasting { Fence::create_lasting } else { Fence::create };
        c_contract!(write_handle(create(&page, kind, value)?, out_fence));
        Ok(())
    })
}

/// Open a fence that another process created.
///
/// Opening the same fence twice gives two references to one object.
///
/// @page: the page, usually an imported one. The fence keeps a reference to it.
/// @index: what umf_fence_index() returns in the process that created the fence.
/// @flags: must be 0.
/// @out_fence: receives a reference, which the caller ends with umf_fence_unref(). Written only on
///     success.
///
/// Return: 0 on success, or
///   -EINVAL      @page or @out_fence is NULL, or @flags is not 0
///   -ENOENT      the page has no such index, or no fence lives there now
///   -EACCES      the page was imported with UMF_PAGE_READ_ONLY
///   -EOPNOTSUPP  the value is not in the page: use umf_fence_open_in(). Not if the fence is
///                already open in this process
///   -ENOMEM      no memory is left
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_fence_open(
    page: *mut umf_page,
    index: u32,
    flags: u64,
    out_fence: *mut *mut umf_fence,
) -> c_int {
    c_return_preserving_errno(|| {
        no_flags(flags)?;
        non_null(out_fence)?;
        let page = c_contract!(clone_ref(page)?);
        page.check_usable()?;
        c_contract!(write_handle(Fence::open(&page, index)?, out_fence));
        Ok(())
    })
}

/// End a fence, and keep its slot.
///
/// For a fence that a device may still write, such as one of a queue that hangs. Once the last
/// reference is gone, the slot is free for a new fence, and a late write of the device would be a
/// signal of that one. This call ends the fence for its waiters at once, in all processes, as the
/// last reference does: see umf_fence_create(). Its slot stays in use as long as this process has a
/// reference. The caller ends that when the device cannot write any more.
///
/// If this process dies before, the slot stays in use until umf_page_reclaim(). The kernel closes a
/// dead process's device files before its death can be noticed, which ends the queues that belong
/// to them. After a fork it is the parent's references that count.
///
/// @fence: the fence.
///
/// Return: 0 on success, or
///   -EINVAL  @fence is NULL
///   -ESTALE  the fence ended before
///   -EACCES  this process did not create the fence, or the fence has UMF_FENCE_LASTING: its slot
///            is never used again
///
/// Thread-safe and async-signal-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_fence_end(fence: *mut umf_fence) -> c_int {
    c_return(|| c_contract!(borrow(fence)?).end())
}

/// Add a reference to a fence.
///
/// @fence: the fence, or NULL.
///
/// Return: @fence. The caller ends the new reference with umf_fence_unref().
///
/// Thread-safe and async-signal-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_fence_ref(fence: *mut umf_fence) -> *mut umf_fence {
    c_contract!(c_ref(fence))
}

/// End a reference to a fence.
///
/// When the process that created the fence ends its last reference, the fence ends, unless it has
/// UMF_FENCE_LASTING: see umf_fence_create(). No thread may still be waiting through this
/// reference.
///
/// @fence: the fence. NULL does nothing.
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_fence_unref(fence: *mut umf_fence) {
    c_contract!(c_unref(fence))
}

/// Get the page of a fence.
///
/// To share a fence, export its page and send the descriptor with umf_fence_index(). A program that
/// keeps its fences need not keep their pages too.
///
/// @fence: the fence.
///
/// Return: the page, without a reference of the caller's: it is valid as long as the fence is. Add
///     one with umf_page_ref() to keep it longer. NULL for NULL.
///
/// Thread-safe and async-signal-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_fence_page(fence: *const umf_fence) -> *mut umf_page {
    match c_contract!(borrow(fence)) {
        Ok(fence) => borrowed_handle(fence.page_ref()),
        Err(_) => std::ptr::null_mut(),
    }
}

/// Get the index of a fence's slot in its page.
///
/// Send it with the page's descriptor to a process that calls umf_fence_open().
///
/// @fence: the fence.
///
/// Return: the index. UINT32_MAX for NULL.
///
/// Thread-safe and async-signal-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_fence_index(fence: *const umf_fence) -> u32 {
    c_contract!(borrow(fence)).map_or(u32::MAX, Fence::index)
}

/// Raise a fence's value and wake the waiters that it meets.
///
/// A waiter that sees the value also sees the memory that the caller wrote before this call.
/// Signaling the current value again succeeds and changes nothing. The call makes no system call
/// unless a waiter sleeps for the value (but see UMF_PAGE_SINGLE_WRITER). A fence with
/// UMF_FENCE_UNORDERED takes the value whatever it was before. In a page with UMF_PAGE_TIMESTAMPS
/// the call also records its time.
///
/// @fence: the fence.
/// @value: the new value. At most UINT32_MAX for a 32-bit fence.
///
/// Return: 0 on success, or
///   -EINVAL      @fence is NULL, its value is already beyond @value (but see
///                UMF_FENCE_UNORDERED), or @value does not fit in 32 bits. Nothing changed
///   -EIO         the fence carries an error: see umf_fence_set_error(). Nothing changed
///   -EOWNERDEAD  as -EIO; the error is -EOWNERDEAD. Nothing changed
///   -ESTALE      the fence ended: see umf_fence_create()
///   -EACCES      this process may not signal the fence: UMF_PAGE_SINGLE_WRITER,
///                umf_fence_create_in()
///
/// Thread-safe and async-signal-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_fence_signal(fence: *mut umf_fence, value: u64) -> c_int {
    // The hot path, without `c_return`: nothing here can panic, allocate or change errno.
    match c_contract!(borrow(fence)).and_then(|fence| fence.signal(value)) {
        Ok(()) => 0,
        Err(error) => error.code(),
    }
}

/// Value of @operation of umf_fence_update(): store the operand. Since 0.1.
pub const UMF_UPDATE_EXCHANGE: u32 = 0;

/// Value of @operation of umf_fence_update(): store the operand if the value is @expected.
///
/// It was stored if the previous value equals @expected. Otherwise nothing changed. Since 0.1.
pub const UMF_UPDATE_COMPARE_EXCHANGE: u32 = 1;

/// Value of @operation of umf_fence_update(): add the operand, modulo 2^64. Since 0.1.
pub const UMF_UPDATE_ADD: u32 = 2;

/// Value of @operation of umf_fence_update(): subtract the operand, modulo 2^64. Since 0.1.
pub const UMF_UPDATE_SUBTRACT: u32 = 3;

/// Value of @operation of umf_fence_update(): bitwise and with the operand. Since 0.1.
pub const UMF_UPDATE_AND: u32 = 4;

/// Value of @operation of umf_fence_update(): bitwise or with the operand. Since 0.1.
pub const UMF_UPDATE_OR: u32 = 5;

/// Value of @operation of umf_fence_update(): bitwise exclusive or with the operand. Since 0.1.
pub const UMF_UPDATE_XOR: u32 = 6;

/// Change the value of a fence with UMF_FENCE_UNORDERED atomically.
///
/// It wakes the waiters that the change may concern, and makes no system call unless one sleeps
/// (but see UMF_PAGE_SINGLE_WRITER). A waiter that sees the new value, or one of a later update,
/// also sees the memory that the caller wrote before this call. The caller sees what was written
/// before the update whose value it replaces. To store a value only, call umf_fence_signal().
///
/// @fence: the fence.
/// @operation: UMF_UPDATE_*.
/// @operand: what the operation stores, adds, subtracts or combines.
/// @expected: for UMF_UPDATE_COMPARE_EXCHANGE. Other operations ignore it.
/// @out_previous: receives the value before the change. May be NULL. Written only on success.
///
/// Return: 0 on success, also if UMF_UPDATE_COMPARE_EXCHANGE stored nothing, or
///   -EINVAL      @fence is NULL or has no UMF_FENCE_UNORDERED, or @operation is unknown
///   -EIO         the fence carries an error: see umf_fence_set_error(). Nothing changed
///   -EOWNERDEAD  as -EIO; the error is -EOWNERDEAD. Nothing changed
///   -ESTALE      the fence ended: see umf_fence_create()
///   -EACCES      this process may not signal the fence: UMF_PAGE_SINGLE_WRITER,
///                umf_fence_create_in()
///
/// Thread-safe and async-signal-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_fence_update(
    fence: *mut umf_fence,
    operation: u32,
    operand: u64,
    expected: u64,
    out_previous: *mut u64,
) -> c_int {
    // Without `c_return`, as `umf_fence_signal`.
    let change = match operation {
        UMF_UPDATE_EXCHANGE => Change::Store(operand),
        UMF_UPDATE_COMPARE_EXCHANGE => Change::CompareExchange { expected, new: operand },
        UMF_UPDATE_ADD => Change::Add(operand),
        UMF_UPDATE_SUBTRACT => Change::Subtract(operand),
        UMF_UPDATE_AND => Change::And(operand),
        UMF_UPDATE_OR => Change::Or(operand),
        UMF_UPDATE_XOR => Change::Xor(operand),
        _ => return Error::Invalid.code(),
    };
    match c_contract!(borrow(fence)).and_then(|fence| fence.update(change)) {
        Ok(previous) => {
            if !out_previous.is_null() {
                c_contract!(out_previous.write(previous));
            }
            0
        }
        Err(error) => error.code(),
    }
}

/// Get the current value of a fence.
///
/// A value that this process saw once, through this call or a wait, stays: nothing that a peer
/// writes makes it smaller here (but see UMF_FENCE_32BIT and UMF_FENCE_UNORDERED). Memory that the
/// signaler wrote before it signaled this value is then visible to the caller.
///
/// Do not use it to detect the end of a fence: it goes on returning a value. umf_fence_error()
/// returns -ESTALE then.
///
/// @fence: the fence.
///
/// Return: the value. 0 for NULL.
///
/// Thread-safe and async-signal-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_fence_value(fence: *const umf_fence) -> u64 {
    c_contract!(borrow(fence)).map_or(0, Fence::value)
}

/// Raise a fence's pending value: work was submitted that will signal it.
///
/// This wakes waiters with UMF_WAIT_PENDING. It is an announcement only: the library does not
/// enforce that the value is signaled. A value below the pending value changes nothing.
///
/// @fence: the fence.
/// @value: the value that will be signaled. At most UINT32_MAX for a 32-bit fence.
///
/// Return: 0 on success, or
///   -EINVAL      @fence is NULL or has UMF_FENCE_UNORDERED, or @value does not fit in 32 bits
///   -EIO         the fence carries an error: see umf_fence_set_error(). Nothing changed
///   -EOWNERDEAD  as -EIO; the error is -EOWNERDEAD. Nothing changed
///   -ESTALE      the fence ended: see umf_fence_create()
///   -EACCES      this process may not signal the fence: UMF_PAGE_SINGLE_WRITER
///
/// Thread-safe and async-signal-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_fence_submit(fence: *mut umf_fence, value: u64) -> c_int {
    c_return(|| c_contract!(borrow(fence)?).submit(value))
}

/// Get the pending value of a fence.
///
/// @fence: the fence.
///
/// Return: the greatest value that is reached or that umf_fence_submit() announced. The value of a
///     fence with UMF_FENCE_UNORDERED. 0 for NULL.
///
/// Thread-safe and async-signal-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_fence_pending_value(fence: *const umf_fence) -> u64 {
    c_contract!(borrow(fence)).map_or(0, Fence::pending_value)
}

/// Get the time at which a value was signaled.
///
/// For frame statistics: when the work of a frame was done, as sync_file reports it for a kernel
/// fence (SYNC_IOC_FILE_INFO). The page must have UMF_PAGE_TIMESTAMPS. The times of the last seven
/// values are known, or of fewer if several signalers raced for one. Only values that were signaled
/// have one: a signal that passes a value gives it no time. A consumer asks when its wait or watch
/// is over, or some frames later.
///
/// The time is when the signaler called umf_fence_signal(), or when its job or watch signaled. The
/// value was not reached before. An import passes on when the kernel fence signaled. If several
/// signalers race for one value, the time is the latest of theirs. It is never that of another
/// value. A process that sees the value reached finds its time, unless the value is old.
///
/// The clock is CLOCK_MONOTONIC of the signaler's time namespace, and for kernel fences that of the
/// host. These are one clock, unless a process runs in a container with a clock of its own
/// (time_namespaces(7)): then its times cannot be compared with others. A time that is in the
/// future by the caller's clock is not returned. A process that can write to the page can write any
/// other time.
///
/// @fence: the fence.
/// @value: the value that was signaled. At most UINT32_MAX for a 32-bit fence.
/// @out_ns: receives the time in nanoseconds. Written only on success.
///
/// Return: 0 on success, or
///   -EINVAL  @fence or @out_ns is NULL, or @value does not fit in 32 bits
///   -ENOENT  no time is known: the value is not reached, or was passed by a signal of a greater
///            value; seven values were signaled after it; a device signaled it; the page has no
///            UMF_PAGE_TIMESTAMPS; or the fence has UMF_FENCE_UNORDERED, whose values recur
///   -ESTALE  the fence ended, and its slot was used again: see umf_fence_create()
///
/// Thread-safe and async-signal-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_fence_timestamp(
    fence: *const umf_fence,
    value: u64,
    out_ns: *mut u64,
) -> c_int {
    c_return(|| {
        non_null(out_ns)?;
        let time = c_contract!(borrow(fence)?).timestamp(value)?;
        c_contract!(out_ns.write(time));
        Ok(())
    })
}

/// Fail a fence: end every wait for a value that it has not reached.
///
/// Such waits, in all processes, return -EIO, or -EOWNERDEAD if that is the error;
/// umf_fence_error() returns the error. umf_fence_signal() no longer raises the value; values that
/// a device still writes count. Waits for values that are reached still succeed, and so do waits
/// with UMF_WAIT_PENDING for values that were submitted before. The first error stays. A second
/// call keeps it and wakes all waiters once more.
///
/// @fence: the fence.
/// @error: a negative errno, -4095 to -1, as in the kernel's dma_fence_set_error().
///
/// Return: 0 on success, or
///   -EINVAL  @fence is NULL, or @error is out of range
///   -ESTALE  the fence ended: see umf_fence_create()
///   -EACCES  this process may not fail the fence: UMF_PAGE_SINGLE_WRITER
///
/// Thread-safe and async-signal-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_fence_set_error(fence: *mut umf_fence, error: c_int) -> c_int {
    c_return(|| c_contract!(borrow(fence)?).set_error(fence_errno(error)?))
}

/// Get the error that a fence carries.
///
/// @fence: the fence.
/// @out_error: receives 0 for none, else a negative errno: that of umf_fence_set_error(), or that
///     of a kernel fence that was imported. Written only on success.
///
/// Return: 0 on success, or
///   -EINVAL  @fence or @out_error is NULL
///   -ESTALE  the fence ended: see umf_fence_create()
///
/// Thread-safe and async-signal-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_fence_error(fence: *const umf_fence, out_error: *mut c_int) -> c_int {
    c_return(|| {
        non_null(out_error)?;
        let error = c_contract!(borrow(fence)?).error()?;
        c_contract!(out_error.write(error.map_or(0, |errno| -(errno.get() as c_int))));
        Ok(())
    })
}
