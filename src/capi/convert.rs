//! Conversions that wait.

use super::args::{borrow_fd, non_null};
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

/// Waits until the fence reaches value, then makes a sync_file, which has signalled when the caller sees it. A call that
/// fails makes none.
///
/// \param fence           the fence.
/// \param value           the value to be reached.
/// \param device          a device with syncobjs. NULL, or a device without, needs UMF_CAP_UDMABUF.
/// \param abs_timeout_ns  when to give up: nanoseconds on CLOCK_MONOTONIC. 0 polls, UINT64_MAX is never.
/// \param out_fd          receives a new descriptor, close-on-exec, that the caller closes. Written only on success.
///
/// \return 0, or
///         -EINVAL      fence or out_fd NULL, value above UINT32_MAX for a 32-bit fence.
///         -EOPNOTSUPP  neither a device with syncobjs nor /dev/udmabuf; said at once, not after the wait.
///         -ETIME, -EIO, -EOWNERDEAD, -ESTALE  as umf_fence_wait().
///         -ENOMEM      no memory.
///         -EMFILE, -ENFILE  no file descriptor left, in the process or in the machine.
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_fence_export_sync_file(
    fence: *mut umf_fence,
    value: u64,
    device: *mut umf_device,
    abs_timeout_ns: u64,
    out_fd: *mut c_int,
) -> c_int {
    c_return_preserving_errno(|| {
        non_null(out_fd)?;
        let (fence, device) = c_contract!((borrow(fence)?, optional(device)));
        let fd = convert::export_sync_file(fence, value, device, Deadline::at(abs_timeout_ns))?;
        c_contract!(out_fd.write(fd.into_raw_fd()));
        Ok(())
    })
}

/// Waits until the kernel fence of a sync_file signalled, then signals value. If that fence failed, its error becomes the
/// UMF's (umf_fence_error() tells which), and the call returns -EIO.
///
/// \param fence           the fence.
/// \param value           the value to signal.
/// \param sync_file_fd    stays the caller's. -1 stands for a sync_file that has signalled, as in Vulkan.
/// \param abs_timeout_ns  when to give up: nanoseconds on CLOCK_MONOTONIC. 0 polls, UINT64_MAX is never.
///
/// \return 0, or
///         -EINVAL      fence NULL, the fence is beyond value or cannot have it (32 bits), sync_file_fd is no sync_file.
///         -EBADF       sync_file_fd is not open, or below -1.
///         -ETIME       not signalled by then. Nothing changed.
///         -EIO         the sync_file failed, or the fence carried an error before.
///         -EOWNERDEAD  the same, the error being EOWNERDEAD.
///         -ESTALE      the fence ended: see umf_fence_create().
///         -EACCES      the fence is for others to signal: UMF_PAGE_SINGLE_WRITER, umf_fence_create_in().
///         -ENOMEM      no memory.
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_fence_import_sync_file(
    fence: *mut umf_fence,
    value: u64,
    sync_file_fd: c_int,
    abs_timeout_ns: u64,
) -> c_int {
    c_return_preserving_errno(|| {
        let fence = c_contract!(borrow(fence)?);
        let fd = if sync_file_fd == -1 { None } else { Some(borrow_fd(sync_file_fd)?) };
        convert::import_sync_file(fence, value, fd, Deadline::at(abs_timeout_ns))
    })
}

/// Waits until the fence reaches value, then signals a syncobj: a timeline's point, or a binary one. Before that nothing is
/// at the point: who knows wait-before-signal may be given the syncobj at any time. A call that fails leaves the syncobj
/// as it was.
///
/// \param fence           the fence.
/// \param value           the value to be reached.
/// \param device          the device that handle belongs to.
/// \param handle          the syncobj.
/// \param point           the point to signal, beyond all that were submitted to this timeline before. 0 for a binary
///                        syncobj, whose fence is replaced: never for a timeline, all of whose points that would wipe out.
/// \param abs_timeout_ns  when to give up: nanoseconds on CLOCK_MONOTONIC. 0 polls, UINT64_MAX is never.
///
/// \return 0, or
///         -EINVAL      fence or device NULL, value above UINT32_MAX for a 32-bit fence; point not beyond the last (the kernel would accept it and never signal).
///         -ENOENT      handle names no syncobj.
///         -EOPNOTSUPP  the device has no syncobjs, or point is not 0 and it has no timelines.
///         -ETIME, -EIO, -EOWNERDEAD, -ESTALE  as umf_fence_wait().
///         -ENOMEM      no memory.
///
/// Thread-safe; but who adds points to one timeline from two threads at once must order them. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_fence_export_syncobj(
    fence: *mut umf_fence,
    value: u64,
    device: *mut umf_device,
    handle: u32,
    point: u64,
    abs_timeout_ns: u64,
) -> c_int {
    c_return_preserving_errno(|| {
        let (fence, device) = c_contract!((borrow(fence)?, borrow(device)?));
        convert::export_syncobj(
            fence,
            value,
            Point { device, handle, point },
            Deadline::at(abs_timeout_ns),
        )
    })
}

/// Waits until somebody submitted a fence for a syncobj's point and that fence signalled, then signals value. If that fence
/// failed, its error becomes the UMF's (umf_fence_error() tells which), and the call returns -EIO. That a fence failed before
/// the call is known only of the last point of a timeline: of the others the kernel keeps no more than that they signalled.
///
/// \param fence           the fence.
/// \param value           the value to signal.
/// \param device          the device that handle belongs to.
/// \param handle          the syncobj.
/// \param point           the point to wait for. 0 for a binary syncobj.
/// \param abs_timeout_ns  when to give up: nanoseconds on CLOCK_MONOTONIC. 0 polls, UINT64_MAX is never.
///
/// \return 0, or
///         -EINVAL      fence or device NULL, the fence is beyond value or cannot have it (32 bits); a binary syncobj that was reset meanwhile.
///         -ENOENT      handle names no syncobj.
///         -EOPNOTSUPP  the device has no syncobjs, or point is not 0 and it has no timelines.
///         -ETIME       not submitted, or not signalled, by then. Nothing changed.
///         -EIO         the fence of the point failed, or the UMF carried an error before.
///         -EOWNERDEAD  the same, the error being EOWNERDEAD.
///         -ESTALE      the fence ended: see umf_fence_create().
///         -EACCES      the fence is for others to signal: UMF_PAGE_SINGLE_WRITER, umf_fence_create_in().
///         -ENOMEM      no memory.
///         -EMFILE, -ENFILE  no file descriptor left, in the process or in the machine.
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_fence_import_syncobj(
    fence: *mut umf_fence,
    value: u64,
    device: *mut umf_device,
    handle: u32,
    point: u64,
    abs_timeout_ns: u64,
) -> c_int {
    c_return_preserving_errno(|| {
        let (fence, device) = c_contract!((borrow(fence)?, borrow(device)?));
        convert::import_syncobj(
            fence,
            value,
            Point { device, handle, point },
            Deadline::at(abs_timeout_ns),
        )
    })
}

/// For the dma-buf conversions: readers of the buffer. Exporting adds a reader's fence, importing waits for what a reader
/// has to wait for: the writers. Since 0.1.
pub const UMF_DMA_BUF_READ: u64 = 1 << 0;

/// For the dma-buf conversions: writers of the buffer. Exporting adds a writer's fence, importing waits for what a writer
/// has to wait for: readers and writers. Since 0.1.
pub const UMF_DMA_BUF_WRITE: u64 = 1 << 1;

/// Waits until the fence reaches value, then adds a fence, which has signalled, to the implicit fences of a dma-buf. A call
/// that fails adds none. Needs Linux 6.0.
///
/// \param fence           the fence.
/// \param value           the value to be reached.
/// \param device          a device with syncobjs. NULL, or a device without, needs UMF_CAP_UDMABUF.
/// \param dma_buf_fd      the buffer. Stays the caller's.
/// \param flags           UMF_DMA_BUF_READ or UMF_DMA_BUF_WRITE: whose fence it is. Both are a writer's.
/// \param abs_timeout_ns  when to give up: nanoseconds on CLOCK_MONOTONIC. 0 polls, UINT64_MAX is never.
///
/// \return 0, or
///         -EINVAL      fence NULL, value above UINT32_MAX for a 32-bit fence, unknown flags or none, dma_buf_fd is no dma-buf.
///         -EBADF       dma_buf_fd is not open.
///         -EOPNOTSUPP  the kernel cannot, or neither a device with syncobjs nor /dev/udmabuf; said at once, not after
///                      the wait.
///         -ETIME, -EIO, -EOWNERDEAD, -ESTALE  as umf_fence_wait().
///         -ENOMEM      no memory.
///         -EMFILE, -ENFILE  no file descriptor left, in the process or in the machine.
///
/// Thread-safe. Since 0.1.
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

/// Waits for the implicit fences that a dma-buf has now and that are pending, then signals value. If one of them fails, its
/// error becomes the UMF's (umf_fence_error() tells which), and the call returns -EIO. Needs Linux 6.0.
///
/// \param fence           the fence.
/// \param value           the value to signal.
/// \param dma_buf_fd      the buffer. Stays the caller's.
/// \param flags           UMF_DMA_BUF_READ waits for what a reader has to wait for, UMF_DMA_BUF_WRITE or both for what a
///                        writer has to.
/// \param abs_timeout_ns  when to give up: nanoseconds on CLOCK_MONOTONIC. 0 polls, UINT64_MAX is never.
///
/// \return 0, or
///         -EINVAL      fence NULL, the fence is beyond value or cannot have it (32 bits), unknown flags or none, dma_buf_fd is no dma-buf.
///         -EBADF       dma_buf_fd is not open.
///         -EOPNOTSUPP  the kernel cannot.
///         -ETIME       not signalled by then. Nothing changed.
///         -EIO         a fence of the buffer failed, or the UMF carried an error before.
///         -EOWNERDEAD  the same, the error being EOWNERDEAD.
///         -ESTALE      the fence ended: see umf_fence_create().
///         -EACCES      the fence is for others to signal: UMF_PAGE_SINGLE_WRITER, umf_fence_create_in().
///         -ENOMEM      no memory.
///         -EMFILE, -ENFILE  no file descriptor left, in the process or in the machine.
///
/// Thread-safe. Since 0.1.
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

/// A device that the caller may leave out.
///
/// # Safety
/// As for [`borrow`].
unsafe fn optional<'a>(device: *const umf_device) -> Option<&'a Device> {
    // SAFETY: by this function's contract.
    unsafe { borrow(device) }.ok()
}

pub(super) fn dma_buf_access(flags: u64) -> Result<Access> {
    match flags {
        UMF_DMA_BUF_READ => Ok(Access::Read),
        _ if flags & !(UMF_DMA_BUF_READ | UMF_DMA_BUF_WRITE) != 0 || flags == 0 => {
            Err(Error::Invalid)
        }
        _ => Ok(Access::Write),
    }
}
