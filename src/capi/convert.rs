// SPDX-License-Identifier: MIT
//! Conversions that wait.
//!
//! These block until the source is signaled. A kernel fence that they make is signaled from the
//! start. An export of a value with an attached kernel fence passes that on and does not block: see
//! umf_fence_attach_sync_file(). An import that waits tells the kernel fence's driver its deadline,
//! which may raise the device's clocks (SYNC_IOC_SET_DEADLINE, Linux 6.5). Imports do not raise the
//! pending value: if waiters use UMF_WAIT_PENDING, call umf_fence_submit() first. The conversions
//! of an event loop (umf_loop_export_syncobj() and what follows it) do not block.

use super::args::{borrow_fd, no_flags, non_null};
use super::contract::c_contract;
use super::device::umf_device;
use super::fence::umf_fence;
use super::handles::borrow;
use super::returns::c_return_preserving_errno;
use crate::convert::{self, Access, Device, Point};
use crate::error::{Error, Result};
use crate::sys::time::Deadline;
use rustix::fd::IntoRawFd;
use std::ffi::c_int;

/// Wait until a fence reaches a value, then make a sync_file.
///
/// The sync_file has already signaled when the caller gets it. If a kernel fence is attached to
/// @value (umf_fence_attach_sync_file()), the call returns a descriptor of that at once; it may be
/// pending. A call that fails makes none. When the sync_file signaled (SYNC_IOC_FILE_INFO) says
/// when the fence reached @value only if the call had to wait for that.
///
/// @fence: the fence.
/// @value: the value to wait for. At most UINT32_MAX for a 32-bit fence.
/// @device: a device with syncobjs. NULL, or a device without them, needs UMF_CAP_UDMABUF.
/// @flags: must be 0.
/// @abs_timeout_ns: absolute CLOCK_MONOTONIC time in nanoseconds. 0 checks once; UINT64_MAX waits
///     forever.
/// @out_fd: receives a new descriptor, close-on-exec, which the caller closes. Written only on
///     success.
///
/// Return: 0 on success, or
///   -EINVAL           @fence or @out_fd is NULL, @value does not fit in 32 bits, or @flags is not
///                     0
///   -EOPNOTSUPP       there is neither a device with syncobjs nor /dev/udmabuf; returned before
///                     the wait
///   -ETIME            the deadline passed first
///   -EIO              the fence failed before it reached @value; umf_fence_error() has the cause
///   -EOWNERDEAD       as -EIO; the error is -EOWNERDEAD: the signaler died
///   -ESTALE           the fence ended before it reached @value: see umf_fence_create()
///   -ENODEV           the device is gone: unplugged, unbound from its driver, or disabled. Not if
///                     the fence had reached @value before
///   -ENOMEM           no memory is left
///   -EMFILE, -ENFILE  no file descriptor is left, in the process or in the system
///
/// POSIX signals do not interrupt the wait. Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_fence_export_sync_file(
    fence: *mut umf_fence,
    value: u64,
    device: *mut umf_device,
    flags: u64,
    abs_timeout_ns: u64,
    out_fd: *mut c_int,
) -> c_int {
    c_return_preserving_errno(|| {
        no_flags(flags)?;
        non_null(out_fd)?;
        let (fence, device) = c_contract!((borrow(fence)?, optional(device)));
        let fd = convert::export_sync_file(fence, value, device, Deadline::at(abs_timeout_ns))?;
        c_contract!(out_fd.write(fd.into_raw_fd()));
        Ok(())
    })
}

/// Wait until a sync_file signals, then signal a value.
///
/// If the kernel fence of the sync_file fails, the fence fails with its error, and the call returns
/// -EIO; umf_fence_error() has the error.
///
/// @fence: the fence to signal.
/// @value: the value to signal. At most UINT32_MAX for a 32-bit fence.
/// @sync_file_fd: the sync_file. Stays the caller's. -1 stands for one that has signaled, as in
///     Vulkan.
/// @flags: must be 0.
/// @abs_timeout_ns: absolute CLOCK_MONOTONIC time in nanoseconds. 0 checks once; UINT64_MAX waits
///     forever.
///
/// Return: 0 on success, or
///   -EINVAL      @fence is NULL, its value is already beyond @value, or @value does not fit in 32
///                bits; @sync_file_fd is not a sync_file; @flags is not 0
///   -EBADF       @sync_file_fd is not open, or is below -1
///   -ETIME       the deadline passed first. Nothing changed
///   -EIO         the sync_file failed, or the fence carried an error before
///   -EOWNERDEAD  as -EIO; the error is -EOWNERDEAD
///   -ESTALE      the fence ended: see umf_fence_create()
///   -EACCES      this process may not signal the fence: UMF_PAGE_SINGLE_WRITER,
///                umf_fence_create_in()
///   -ENOMEM      no memory is left
///   -EMFILE      no file descriptor is left in the process
///
/// POSIX signals do not interrupt the wait. Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_fence_import_sync_file(
    fence: *mut umf_fence,
    value: u64,
    sync_file_fd: c_int,
    flags: u64,
    abs_timeout_ns: u64,
) -> c_int {
    c_return_preserving_errno(|| {
        no_flags(flags)?;
        let fence = c_contract!(borrow(fence)?);
        let fd = if sync_file_fd == -1 { None } else { Some(borrow_fd(sync_file_fd)?) };
        convert::import_sync_file(fence, value, fd, Deadline::at(abs_timeout_ns))
    })
}

/// Wait until a fence reaches a value, then signal a syncobj.
///
/// The syncobj is a point of a timeline, or a binary one. Before the wait ends, no kernel fence
/// exists at the point: a consumer that supports wait-before-signal may be given the syncobj at any
/// time. If a kernel fence is attached to @value (umf_fence_attach_sync_file()), the call puts that
/// into the syncobj at once. A call that fails leaves the syncobj as it was.
///
/// @fence: the fence.
/// @value: the value to wait for. At most UINT32_MAX for a 32-bit fence.
/// @device: the device that @handle belongs to.
/// @handle: the syncobj. Stays the caller's.
/// @point: the point to signal, beyond all points that were submitted to this timeline before. 0
///     for a binary syncobj, whose fence is replaced. Never pass 0 for a timeline: that erases all
///     its points.
/// @flags: must be 0.
/// @abs_timeout_ns: absolute CLOCK_MONOTONIC time in nanoseconds. 0 checks once; UINT64_MAX waits
///     forever.
///
/// Return: 0 on success, or
///   -EINVAL      @fence or @device is NULL, @value does not fit in 32 bits, or @flags is not 0;
///                @point is not beyond the last one (the kernel would accept it and never signal)
///   -ENOENT      @handle names no syncobj
///   -EOPNOTSUPP  the device has no syncobjs; or @point is not 0, and it has no timelines
///   -ETIME       the deadline passed first
///   -EIO         the fence failed before it reached @value; umf_fence_error() has the cause
///   -EOWNERDEAD  as -EIO; the error is -EOWNERDEAD: the signaler died
///   -ESTALE      the fence ended before it reached @value: see umf_fence_create()
///   -ENODEV      the device is gone: unplugged, unbound from its driver, or disabled
///   -ENOMEM      no memory is left
///
/// POSIX signals do not interrupt the wait. Thread-safe, but see umf_loop_export_syncobj() for
/// threads that add points to one timeline at the same time. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_fence_export_syncobj(
    fence: *mut umf_fence,
    value: u64,
    device: *mut umf_device,
    handle: u32,
    point: u64,
    flags: u64,
    abs_timeout_ns: u64,
) -> c_int {
    c_return_preserving_errno(|| {
        no_flags(flags)?;
        let (fence, device) = c_contract!((borrow(fence)?, borrow(device)?));
        convert::export_syncobj(
            fence,
            value,
            Point { device, handle, point },
            Deadline::at(abs_timeout_ns),
        )
    })
}

/// Wait until a syncobj point signals, then signal a value.
///
/// The wait begins before a fence is submitted for the point, if necessary. If the point's fence
/// fails, the fence fails with its error, and the call returns -EIO; umf_fence_error() has the
/// error. A failure from before the call is known only for the last point of a timeline: of other
/// points the kernel keeps only that they signaled.
///
/// @fence: the fence to signal.
/// @value: the value to signal. At most UINT32_MAX for a 32-bit fence.
/// @device: the device that @handle belongs to.
/// @handle: the syncobj. Stays the caller's.
/// @point: the point to wait for. 0 for a binary syncobj.
/// @flags: must be 0.
/// @abs_timeout_ns: absolute CLOCK_MONOTONIC time in nanoseconds. 0 checks once; UINT64_MAX waits
///     forever.
///
/// Return: 0 on success, or
///   -EINVAL           @fence or @device is NULL, or @flags is not 0; the fence's value is already
///                     beyond @value, or @value does not fit in 32 bits; a binary syncobj was reset
///                     during the wait
///   -ENOENT           @handle names no syncobj
///   -EOPNOTSUPP       the device has no syncobjs; or @point is not 0, and it has no timelines
///   -ETIME            the deadline passed before the point was submitted or before it signaled.
///                     Nothing changed
///   -EIO              the fence of the point failed, or @fence carried an error before
///   -EOWNERDEAD       as -EIO; the error is -EOWNERDEAD
///   -ESTALE           @fence ended: see umf_fence_create()
///   -EACCES           this process may not signal @fence: UMF_PAGE_SINGLE_WRITER,
///                     umf_fence_create_in()
///   -ENODEV           the device is gone: unplugged, unbound from its driver, or disabled
///   -ENOMEM           no memory is left
///   -EMFILE, -ENFILE  no file descriptor is left, in the process or in the system
///
/// POSIX signals do not interrupt the wait. Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_fence_import_syncobj(
    fence: *mut umf_fence,
    value: u64,
    device: *mut umf_device,
    handle: u32,
    point: u64,
    flags: u64,
    abs_timeout_ns: u64,
) -> c_int {
    c_return_preserving_errno(|| {
        no_flags(flags)?;
        let (fence, device) = c_contract!((borrow(fence)?, borrow(device)?));
        convert::import_syncobj(
            fence,
            value,
            Point { device, handle, point },
            Deadline::at(abs_timeout_ns),
        )
    })
}

/// Flag of the dma-buf conversions: readers of the buffer.
///
/// An export adds a reader's fence. An import waits for what a reader has to wait for: the writers.
/// Since 0.1.
pub const UMF_DMA_BUF_READ: u64 = 1 << 0;

/// Flag of the dma-buf conversions: writers of the buffer.
///
/// An export adds a writer's fence. An import waits for what a writer has to wait for: readers and
/// writers. Since 0.1.
pub const UMF_DMA_BUF_WRITE: u64 = 1 << 1;

/// Wait until a fence reaches a value, then add a signaled fence to a dma-buf.
///
/// The call adds it to the implicit fences of the buffer. If a kernel fence is attached to @value
/// (umf_fence_attach_sync_file()), the call adds that at once. A call that fails adds none. Needs
/// Linux 6.0.
///
/// @fence: the fence.
/// @value: the value to wait for. At most UINT32_MAX for a 32-bit fence.
/// @device: a device with syncobjs. NULL, or a device without them, needs UMF_CAP_UDMABUF.
/// @dma_buf_fd: the buffer. Stays the caller's.
/// @flags: UMF_DMA_BUF_READ or UMF_DMA_BUF_WRITE: whose fence it is. Both together are a writer's.
/// @abs_timeout_ns: absolute CLOCK_MONOTONIC time in nanoseconds. 0 checks once; UINT64_MAX waits
///     forever.
///
/// Return: 0 on success, or
///   -EINVAL           @fence is NULL, @value does not fit in 32 bits, @flags has unknown bits or
///                     none, or @dma_buf_fd is not a dma-buf
///   -EBADF            @dma_buf_fd is not open
///   -EOPNOTSUPP       the kernel cannot do it, or there is neither a device with syncobjs nor
///                     /dev/udmabuf; returned before the wait
///   -ETIME            the deadline passed first
///   -EIO              the fence failed before it reached @value; umf_fence_error() has the cause
///   -EOWNERDEAD       as -EIO; the error is -EOWNERDEAD: the signaler died
///   -ESTALE           the fence ended before it reached @value: see umf_fence_create()
///   -ENODEV           the device is gone: unplugged, unbound from its driver, or disabled
///   -ENOMEM           no memory is left
///   -EMFILE, -ENFILE  no file descriptor is left, in the process or in the system
///
/// POSIX signals do not interrupt the wait. Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_fence_export_dma_buf(
    fence: *mut umf_fence,
    value: u64,
    device: *mut umf_device,
    dma_buf_fd: c_int,
    flags: u64,
    abs_timeout_ns: u64,
) -> c_int {
    c_return_preserving_errno(|| {
        let (fence, device) = c_contract!((borrow(fence)?, optional(device)));
        let deadline = Deadline::at(abs_timeout_ns);
        convert::export_dma_buf(
            fence,
            value,
            borrow_fd(dma_buf_fd)?,
            dma_buf_access(flags)?,
            device,
            deadline,
        )
    })
}

/// Wait for the implicit fences of a dma-buf, then signal a value.
///
/// The call waits for the fences that the buffer has now and that are pending. If one of them
/// fails, the fence fails with its error, and the call returns -EIO; umf_fence_error() has the
/// error. Needs Linux 6.0.
///
/// @fence: the fence to signal.
/// @value: the value to signal. At most UINT32_MAX for a 32-bit fence.
/// @dma_buf_fd: the buffer. Stays the caller's.
/// @flags: UMF_DMA_BUF_READ waits for what a reader has to wait for; UMF_DMA_BUF_WRITE, or both,
///     for what a writer has to wait for.
/// @abs_timeout_ns: absolute CLOCK_MONOTONIC time in nanoseconds. 0 checks once; UINT64_MAX waits
///     forever.
///
/// Return: 0 on success, or
///   -EINVAL           @fence is NULL, its value is already beyond @value, or @value does not fit
///                     in 32 bits; @flags has unknown bits or none; @dma_buf_fd is not a dma-buf
///   -EBADF            @dma_buf_fd is not open
///   -EOPNOTSUPP       the kernel cannot do it
///   -ETIME            the deadline passed first. Nothing changed
///   -EIO              a fence of the buffer failed, or @fence carried an error before
///   -EOWNERDEAD       as -EIO; the error is -EOWNERDEAD
///   -ESTALE           @fence ended: see umf_fence_create()
///   -EACCES           this process may not signal @fence: UMF_PAGE_SINGLE_WRITER,
///                     umf_fence_create_in()
///   -ENOMEM           no memory is left
///   -EMFILE, -ENFILE  no file descriptor is left, in the process or in the system
///
/// POSIX signals do not interrupt the wait. Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_fence_import_dma_buf(
    fence: *mut umf_fence,
    value: u64,
    dma_buf_fd: c_int,
    flags: u64,
    abs_timeout_ns: u64,
) -> c_int {
    c_return_preserving_errno(|| {
        let fence = c_contract!(borrow(fence)?);
        convert::import_dma_buf(
            fence,
            value,
            borrow_fd(dma_buf_fd)?,
            dma_buf_access(flags)?,
            Deadline::at(abs_timeout_ns),
        )
    })
}

/// Borrows a device, which the caller may leave out.
///
/// # Safety
/// As for [`borrow`].
unsafe fn optional<'a>(device: *const umf_device) -> Option<&'a Device> {
    // SAFETY: by this function's contract.
    unsafe { borrow(device) }.ok()
}

/// Reads the flags of a dma-buf conversion.
pub(super) fn dma_buf_access(flags: u64) -> Result<Access> {
    match flags {
        UMF_DMA_BUF_READ => Ok(Access::Read),
        _ if flags & !(UMF_DMA_BUF_READ | UMF_DMA_BUF_WRITE) != 0 || flags == 0 => {
            Err(Error::Invalid)
        }
        _ => Ok(Access::Write),
    }
}
