//! Conversions without waiting.

use super::args::{borrow_fd, no_flags, non_null};
use super::contract::c_contract;
use super::convert::dma_buf_access;
use super::device::umf_device;
use super::event_loop::umf_loop;
use super::fence::umf_fence;
use super::handles::{Handle, c_ref, c_unref, clone_ref, write_handle};
use super::returns::c_return_preserving_errno;
use super::watch::{create_watch, umf_callback, umf_watch};
use crate::reactor::Timeline;
use crate::wait::Condition;
use std::ffi::c_int;

/// A reference to a drm_syncobj, for conversions that go on by themselves. Reference counted.
pub struct umf_syncobj {
    _opaque: (),
}

impl Handle for umf_syncobj {
    type Object = Timeline;
}

/// Takes a reference to a syncobj, binary or timeline, by a handle of the library's own: the caller may destroy his.
///
/// \param device       the device that handle belongs to; kept.
/// \param handle       the syncobj. Stays the caller's.
/// \param flags        0.
/// \param out_syncobj  receives a reference that the caller ends with umf_syncobj_unref(). Written only on success.
///
/// \return 0, or
///         -EINVAL      device or out_syncobj NULL, flags not 0.
///         -ENOENT      handle names no syncobj.
///         -EOPNOTSUPP  the device has no syncobjs.
///         -ENOMEM      no memory.
///         -EMFILE, -ENFILE  no file descriptor left, in the process or in the machine; none is kept.
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_syncobj_open(
    device: *mut umf_device,
    handle: u32,
    flags: u64,
    out_syncobj: *mut *mut umf_syncobj,
) -> c_int {
    c_return_preserving_errno(|| {
        no_flags(flags)?;
        non_null(out_syncobj)?;
        let device = c_contract!(clone_ref(device)?);
        c_contract!(write_handle(Timeline::open(&device, handle)?, out_syncobj));
        Ok(())
    })
}

/// Another reference to a syncobj, to be ended with umf_syncobj_unref(). Returns syncobj; NULL for NULL.
///
/// Thread-safe, async-signal-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_syncobj_ref(syncobj: *mut umf_syncobj) -> *mut umf_syncobj {
    c_contract!(c_ref(syncobj))
}

/// Ends a reference to a syncobj. Watches that convert to or from it go on. NULL does nothing.
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_syncobj_unref(syncobj: *mut umf_syncobj) {
    c_contract!(c_unref(syncobj))
}

/// UMF to syncobj, without waiting: when a fence reaches a value, signals a timeline's point, or a binary syncobj. Until then
/// nothing is at the point, for any kernel fence to wait for; who knows wait-before-signal may be given it at once: a Wayland
/// compositor by linux-drm-syncobj-v1, an X server by DRI3 1.4.
///
/// The points of one umf_syncobj are signalled in their order, whatever the order in which the fences are reached, and on
/// whichever loops: one that could be early waits for those before it. If one cannot be signalled (its fence failed), those
/// behind it that were asked for by then end with the same error, for a timeline has no way to tell who waits for the lost
/// point from who waits for a later one. Points that are asked for afterwards start afresh.
///
/// \param event_loop  the loop.
/// \param fence       the fence. The watch keeps a reference to it, and to syncobj, until it is over.
/// \param value       the value to be reached.
/// \param syncobj     the syncobj.
/// \param point       the point to signal, beyond all that were submitted to this timeline before. 0 for a binary syncobj, whose
///                    fence is replaced: never for a timeline, all of whose points that would wipe out.
/// \param flags       0.
/// \param callback    who is called after that. Copied. NULL for nobody.
/// \param out_watch   as umf_loop_watch().
///
/// \return 0, also if the value is reached already; or
///         -EINVAL      event_loop, fence or syncobj NULL, callback->call NULL, flags not 0, value above UINT32_MAX for a 32-bit
///                      fence; point not beyond the last (the kernel would accept it and never signal), or asked for before.
///         -EOPNOTSUPP  point is not 0 and the device has no timelines.
///         -ENOMEM      no memory, or no thread.
///         -ESTALE      the loop belongs to another process.
///
/// Thread-safe; but who adds points to one timeline by other ways at the same time must order them. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_loop_export_syncobj(
    event_loop: *mut umf_loop,
    fence: *mut umf_fence,
    value: u64,
    syncobj: *mut umf_syncobj,
    point: u64,
    flags: u64,
    callback: *const umf_callback,
    out_watch: *mut *mut umf_watch,
) -> c_int {
    c_return_preserving_errno(|| {
        no_flags(flags)?;
        let (fence, timeline) = c_contract!((clone_ref(fence)?, clone_ref(syncobj)?));
        let predicate = Condition::reached(&fence, value)?.predicate();
        c_contract!(create_watch(event_loop, callback, out_watch, |builder| {
            builder.export_point(&fence, predicate, &timeline, point)
        }))
    })
}

/// sync_file to UMF, without waiting: when the kernel fence of a sync_file signals, signals value. If it fails, its error becomes the
/// UMF's; so does what keeps the library from waiting for it.
///
/// \param event_loop    the loop.
/// \param fence         the fence. The watch keeps a reference to it until it is over.
/// \param value         the value to signal.
/// \param sync_file_fd  stays the caller's, who may close it: the library duplicates it until the watch is over. -1 stands for a
///                      sync_file that has signalled, as in Vulkan.
/// \param flags         0.
/// \param callback      who is called after that. Copied. NULL for nobody.
/// \param out_watch     as umf_loop_watch().
///
/// \return 0, also if the sync_file has signalled already; or
///         -EINVAL      event_loop or fence NULL, callback->call NULL, flags not 0, the fence is beyond value or cannot have it (32
///                      bits), sync_file_fd is no sync_file.
///         -EBADF       sync_file_fd is not open, or below -1.
///         -EIO, -EOWNERDEAD  the fence carries an error.
///         -ESTALE      the fence ended: see umf_fence_create(); or the loop belongs to another process.
///         -EACCES      the fence is for others to signal: UMF_PAGE_SINGLE_WRITER, umf_fence_create_in().
///         -ENOMEM      no memory, or no thread.
///         -EMFILE      no file descriptor left in the process.
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_loop_import_sync_file(
    event_loop: *mut umf_loop,
    fence: *mut umf_fence,
    value: u64,
    sync_file_fd: c_int,
    flags: u64,
    callback: *const umf_callback,
    out_watch: *mut *mut umf_watch,
) -> c_int {
    c_return_preserving_errno(|| {
        no_flags(flags)?;
        let fence = c_contract!(clone_ref(fence)?);
        let fd = if sync_file_fd == -1 { None } else { Some(borrow_fd(sync_file_fd)?) };
        c_contract!(create_watch(event_loop, callback, out_watch, |builder| {
            builder.import_sync_file(&fence, value, fd)
        }))
    })
}

/// syncobj to UMF, without waiting: when somebody has submitted a fence for a point and that fence signals, signals value. If
/// it fails, its error becomes the UMF's; so does what keeps the library from waiting for it. (What is known of the errors of
/// fences that failed before, umf_fence_import_syncobj() says.)
///
/// \param event_loop  the loop.
/// \param fence       the fence. The watch keeps a reference to it, and to syncobj, until it is over.
/// \param value       the value to signal.
/// \param syncobj     the syncobj. Once it waits for a point that nobody has submitted it takes a descriptor; and where its device
///                    has no UMF_DEVICE_CAP_EVENTFD (before Linux 6.6) a thread, which sleeps, and which is gone with it. Each point
///                    whose fence was submitted and is pending takes a descriptor more.
/// \param point       the point to wait for. 0 for a binary syncobj.
/// \param flags       0.
/// \param callback    who is called after that. Copied. NULL for nobody.
/// \param out_watch   as umf_loop_watch().
///
/// \return 0, also if the point has signalled already; or
///         -EINVAL      event_loop, fence or syncobj NULL, callback->call NULL, flags not 0, the fence is beyond value or cannot have it
///                      (32 bits).
///         -EOPNOTSUPP  the device has no timelines.
///         -EIO, -EOWNERDEAD  the fence carries an error.
///         -ESTALE      the fence ended: see umf_fence_create(); or the loop belongs to another process.
///         -EACCES      the fence is for others to signal: UMF_PAGE_SINGLE_WRITER, umf_fence_create_in().
///         -ENOMEM      no memory, or no thread.
///         -EMFILE, -ENFILE  no file descriptor left, in the process or in the machine.
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_loop_import_syncobj(
    event_loop: *mut umf_loop,
    fence: *mut umf_fence,
    value: u64,
    syncobj: *mut umf_syncobj,
    point: u64,
    flags: u64,
    callback: *const umf_callback,
    out_watch: *mut *mut umf_watch,
) -> c_int {
    c_return_preserving_errno(|| {
        no_flags(flags)?;
        let (fence, timeline) = c_contract!((clone_ref(fence)?, clone_ref(syncobj)?));
        c_contract!(create_watch(event_loop, callback, out_watch, |builder| {
            builder.import_point(&fence, value, &timeline, point)
        }))
    })
}

/// dma-buf to UMF, without waiting: when the implicit fences that a buffer has now have signalled, signals value. If one of
/// them fails, its error becomes the UMF's. Needs Linux 6.0.
///
/// \param event_loop  the loop.
/// \param fence       the fence. The watch keeps a reference to it until it is over.
/// \param value       the value to signal.
/// \param dma_buf_fd  the buffer. Stays the caller's. The watch takes a descriptor while the fences are pending.
/// \param flags       UMF_DMA_BUF_READ waits for what a reader has to wait for, UMF_DMA_BUF_WRITE or both for what a writer has to.
/// \param callback    who is called after that. Copied. NULL for nobody.
/// \param out_watch   as umf_loop_watch().
///
/// \return 0, also if all of them have signalled; or
///         -EINVAL      event_loop or fence NULL, callback->call NULL, unknown flags or none, the fence is beyond value or cannot have
///                      it (32 bits), dma_buf_fd is no dma-buf.
///         -EBADF       dma_buf_fd is not open.
///         -EOPNOTSUPP  the kernel cannot.
///         -EIO, -EOWNERDEAD  the fence carries an error.
///         -ESTALE      the fence ended: see umf_fence_create(); or the loop belongs to another process.
///         -EACCES      the fence is for others to signal: UMF_PAGE_SINGLE_WRITER, umf_fence_create_in().
///         -ENOMEM      no memory, or no thread.
///         -EMFILE, -ENFILE  no file descriptor left, in the process or in the machine.
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_loop_import_dma_buf(
    event_loop: *mut umf_loop,
    fence: *mut umf_fence,
    value: u64,
    dma_buf_fd: c_int,
    flags: u64,
    callback: *const umf_callback,
    out_watch: *mut *mut umf_watch,
) -> c_int {
    c_return_preserving_errno(|| {
        let fence = c_contract!(clone_ref(fence)?);
        let (buffer, access) = (borrow_fd(dma_buf_fd)?, dma_buf_access(flags)?);
        c_contract!(create_watch(event_loop, callback, out_watch, |builder| {
            builder.import_dma_buf(&fence, value, buffer, access)
        }))
    })
}
