// SPDX-License-Identifier: MIT
//! Kernel fences of the device's own.
//!
//! A driver's submission may return a kernel fence for the work that will signal a value: an
//! out-fence, or a syncobj that it was put into. If the driver attaches that fence to the value,
//! exports of the value do not wait for it. They hand out the kernel fence, which may be pending.
//! It waits for the device alone, and never for a userspace fence. These functions do not block.

use super::args::{borrow_fd, no_flags};
use super::contract::c_contract;
use super::device::umf_device;
use super::fence::umf_fence;
use super::handles::borrow;
use super::returns::c_return_preserving_errno;
use crate::convert::{self, Point};
use crate::fence::MAX_ATTACHMENTS;
use crate::reactor;
use crate::sys::time::Deadline;
use std::ffi::c_int;

/// How many values of a fence can have a kernel fence attached at a time.
///
/// Values that the fence has reached do not count. Since 0.1.
pub const UMF_FENCE_MAX_ATTACHMENTS: u32 = 256;

const _: () = assert!(UMF_FENCE_MAX_ATTACHMENTS as usize == MAX_ATTACHMENTS);

/// Attach the kernel fence of a sync_file to a value of a fence.
///
/// The caller states: once the kernel fence has signaled, the work that signals @value is done.
/// Only the code that submitted the work can know that. From then on, exports in this process that
/// ask for @value, or for a lower value that the fence has not reached, do not wait:
///
///   - umf_fence_export_sync_file() returns a descriptor of this kernel fence
///   - umf_fence_export_syncobj() and umf_loop_export_syncobj() put it into the syncobj
///   - umf_fence_export_dma_buf() adds it to the dma-buf
///
/// Each takes the kernel fence of the lowest attached value that is not below the one it asks for.
/// An export by a loop that waits already follows: its loop adds the point soon, in order. A
/// blocking export that waits already goes on waiting for the value.
///
/// An attachment ends when the fence reaches its value, fails or ends, and with the last handle in
/// this process. A later attachment to the same value replaces it. What was handed out stays. While
/// it lasts it takes one descriptor. A signal does not close that: the next call that attaches to
/// the fence or exports it does.
///
/// The fence itself does not change. If the kernel fence signals, the fence does not reach the
/// value by that. If it fails, the fence does not fail by that, and exports hand out the failed
/// kernel fence; call umf_fence_set_error() if the work will not be done.
/// umf_loop_import_sync_file() attaches the sync_file and does both.
///
/// Other processes know nothing of it. Nor does the child of a fork, where the exports wait.
///
/// @fence: the fence. This process need not be able to signal it.
/// @value: the value. At most UINT32_MAX for a 32-bit fence. Nothing is kept if the fence has
///     reached it: the device may be faster than the caller.
/// @sync_file_fd: the sync_file, pending or not. Stays the caller's, which may close it after the
///     call: the library duplicates it. -1 is refused: signal the fence if the work is done.
/// @flags: must be 0.
///
/// Return: 0 on success, or
///   -EINVAL      @fence is NULL or has UMF_FENCE_UNORDERED, @flags is not 0, @value does not fit
///                in 32 bits, or @sync_file_fd is not a sync_file
///   -EBADF       @sync_file_fd is not open, or is negative
///   -ENOSPC      UMF_FENCE_MAX_ATTACHMENTS values of the fence have a kernel fence
///   -EIO         the fence failed before it reached @value; umf_fence_error() has the cause
///   -EOWNERDEAD  as -EIO; the error is -EOWNERDEAD: the signaler died
///   -ESTALE      the fence ended before it reached @value: see umf_fence_create(); or this process
///                is the child of a fork, and the handle its parent's
///   -ENOMEM      no memory is left
///   -EMFILE      no file descriptor is left in the process
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_fence_attach_sync_file(
    fence: *mut umf_fence,
    value: u64,
    sync_file_fd: c_int,
    flags: u64,
) -> c_int {
    c_return_preserving_errno(|| {
        no_flags(flags)?;
        let fence = c_contract!(borrow(fence)?);
        reactor::attach_sync_file(fence, value, borrow_fd(sync_file_fd)?)
    })
}

/// Tell the device by when a value is needed.
///
/// The driver of the kernel fence that exports of @value would pass on may raise the device's
/// clocks (SYNC_IOC_SET_DEADLINE, Linux 6.5). A compositor calls this with the time at which it
/// composes the next frame, for a fence that follows a client's sync_file or point
/// (umf_loop_import_sync_file(), umf_loop_import_syncobj()). It is a hint: no wait begins or ends.
/// Of several times the kernel keeps the earliest.
///
/// The deadlines of umf_fence_wait() and umf_wait() are not told: often they only say when to give
/// up. Blocking imports tell theirs.
///
/// @fence: the fence.
/// @value: the value that is needed. At most UINT32_MAX for a 32-bit fence.
/// @abs_deadline_ns: absolute CLOCK_MONOTONIC time in nanoseconds. In a time namespace the kernel
///     takes it for the host's time.
/// @flags: must be 0.
///
/// Return: 0 on success, also if the fence has reached @value, or
///   -EINVAL      @fence is NULL, @flags is not 0, or @value does not fit in 32 bits
///   -ENOENT      no kernel fence is attached to @value, or to a greater one, in this process
///   -EOPNOTSUPP  the kernel is older than 6.5
///   -EIO         the fence failed before it reached @value; umf_fence_error() has the cause
///   -EOWNERDEAD  as -EIO; the error is -EOWNERDEAD: the signaler died
///   -ESTALE      the fence ended before it reached @value: see umf_fence_create()
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_fence_set_deadline(
    fence: *mut umf_fence,
    value: u64,
    abs_deadline_ns: u64,
    flags: u64,
) -> c_int {
    c_return_preserving_errno(|| {
        no_flags(flags)?;
        let fence = c_contract!(borrow(fence)?);
        convert::set_deadline(fence, value, Deadline::at(abs_deadline_ns))
    })
}

/// Attach the kernel fence of a syncobj to a value of a fence.
///
/// As umf_fence_attach_sync_file(), for drivers whose submission puts its kernel fence into a
/// syncobj. The syncobj must have a fence at @point. A point that nobody has submitted is refused:
/// it is no kernel fence, and may never become one. umf_loop_import_syncobj() waits for it, and
/// then attaches its fence.
///
/// The attachment is of the fence that is there now. If the syncobj is reset, or its fence
/// replaced, that changes nothing.
///
/// @fence: the fence. This process need not be able to signal it.
/// @value: the value, as in umf_fence_attach_sync_file().
/// @device: the device that @handle belongs to.
/// @handle: the syncobj. Stays the caller's.
/// @point: the point. 0 for a binary syncobj.
/// @flags: must be 0.
///
/// Return: 0 on success, or
///   -EINVAL           @fence or @device is NULL, @flags is not 0, @value does not fit in 32 bits,
///                     or the fence has UMF_FENCE_UNORDERED
///   -ETIME            no fence was submitted for @point yet
///   -ENOENT           @handle names no syncobj
///   -EOPNOTSUPP       the device has no syncobjs; or @point is not 0, and it has no timelines
///   -ENOSPC           UMF_FENCE_MAX_ATTACHMENTS values of the fence have a kernel fence
///   -EIO              the fence failed before it reached @value; umf_fence_error() has the cause
///   -EOWNERDEAD       as -EIO; the error is -EOWNERDEAD: the signaler died
///   -ESTALE           the fence ended before it reached @value: see umf_fence_create(); or this
///                     process is the child of a fork, and the handle its parent's
///   -ENODEV           the device is gone: unplugged, unbound from its driver, or disabled
///   -ENOMEM           no memory is left
///   -EMFILE, -ENFILE  no file descriptor is left, in the process or in the system
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_fence_attach_syncobj(
    fence: *mut umf_fence,
    value: u64,
    device: *mut umf_device,
    handle: u32,
    point: u64,
    flags: u64,
) -> c_int {
    c_return_preserving_errno(|| {
        no_flags(flags)?;
        let (fence, device) = c_contract!((borrow(fence)?, borrow(device)?));
        reactor::attach_syncobj(fence, value, Point { device, handle, point })
    })
}
