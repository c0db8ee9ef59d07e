// SPDX-License-Identifier: MIT
//! Conversions that do not block.
//!
//! These return at once; an event loop performs them when their source is signaled. Each makes a
//! watch, which umf_watch_cancel() cancels. Imports do not raise the pending value: if waiters use
//! UMF_WAIT_PENDING, call umf_fence_submit() first.

use super::args::{borrow_fd, no_flags, non_null};
use super::contract::c_contract;
use super::convert::dma_buf_access;
use super::device::umf_device;
use super::event_loop::umf_loop;
use super::fence::umf_fence;
use super::handles::{Handle, borrow, c_ref, c_unref, clone_ref, write_handle};
use super::returns::c_return_preserving_errno;
use super::watch::{create_watch, umf_callback, umf_watch};
use crate::reactor::Timeline;
use rustix::fd::IntoRawFd;
use std::ffi::c_int;

/// A reference to a drm_syncobj, for conversions that do not block. Reference counted. Since 0.1.
pub struct umf_syncobj {
    _opaque: (),
}

impl Handle for umf_syncobj {
    type Object = Timeline;
}

/// Make a syncobj.
///
/// It has no fence and no points yet. Like every syncobj it serves as a binary one or as a
/// timeline. umf_syncobj_export() gives it to another process, and umf_loop_export_syncobj() adds
/// points.
///
/// @device: the device to make it on. The syncobj keeps a reference to it.
/// @flags: must be 0.
/// @out_syncobj: receives a reference, which the caller ends with umf_syncobj_unref(). Written only
///     on success.
///
/// Return: 0 on success, or
///   -EINVAL      @device or @out_syncobj is NULL, or @flags is not 0
///   -EOPNOTSUPP  the device has no syncobjs
///   -ENODEV      the device is gone: unplugged, unbound from its driver, or disabled
///   -ENOMEM      no memory is left
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_syncobj_create(
    device: *mut umf_device,
    flags: u64,
    out_syncobj: *mut *mut umf_syncobj,
) -> c_int {
    c_return_preserving_errno(|| {
        no_flags(flags)?;
        non_null(out_syncobj)?;
        let device = c_contract!(clone_ref(device)?);
        c_contract!(write_handle(Timeline::create(&device)?, out_syncobj));
        Ok(())
    })
}

/// Take a reference to a syncobj, binary or timeline.
///
/// The library gets a handle of its own: the caller may destroy its handle after the call. Opening
/// the same @device and @handle twice gives two objects, whose exports are ordered with each other
/// (umf_loop_export_syncobj()). Other handles of the same timeline are not.
///
/// A caller that destroys @handle should first cancel the exports that are not over. The kernel
/// gives the number to another syncobj. If that is opened while the timelines' last points agree,
/// the points of one may wait for those of the other.
///
/// @device: the device that @handle belongs to. The syncobj keeps a reference to it.
/// @handle: the syncobj. Stays the caller's.
/// @flags: must be 0.
/// @out_syncobj: receives a reference, which the caller ends with umf_syncobj_unref(). Written only
///     on success.
///
/// Return: 0 on success, or
///   -EINVAL           @device or @out_syncobj is NULL, or @flags is not 0
///   -ENOENT           @handle names no syncobj
///   -EOPNOTSUPP       the device has no syncobjs
///   -ENODEV           the device is gone: unplugged, unbound from its driver, or disabled
///   -ENOMEM           no memory is left
///   -EMFILE, -ENFILE  no file descriptor is left, in the process or in the system; the call needs
///                     one only while it runs
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

/// Get a file descriptor of a syncobj, for another process.
///
/// The receiver makes a handle of it (DRM_IOCTL_SYNCOBJ_FD_TO_HANDLE), on this or on another
/// device. Wayland's linux-drm-syncobj-v1 and X11's DRI3 1.4 take such descriptors. The receiver
/// can wait for points, and add some: see umf_loop_export_syncobj().
///
/// @syncobj: the syncobj, as umf_syncobj_create() or umf_syncobj_open() returned it.
/// @flags: must be 0.
/// @out_fd: receives the descriptor, close-on-exec, which the caller closes. Written only on
///     success.
///
/// Return: 0 on success, or
///   -EINVAL           @syncobj or @out_fd is NULL, or @flags is not 0
///   -ESTALE           the syncobj belongs to another process
///   -ENODEV           the device is gone: unplugged, unbound from its driver, or disabled
///   -ENOMEM           no memory is left
///   -EMFILE, -ENFILE  no file descriptor is left, in the process or in the system
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_syncobj_export(
    syncobj: *mut umf_syncobj,
    flags: u64,
    out_fd: *mut c_int,
) -> c_int {
    c_return_preserving_errno(|| {
        no_flags(flags)?;
        non_null(out_fd)?;
        let fd = c_contract!(borrow(syncobj)?).export()?;
        c_contract!(out_fd.write(fd.into_raw_fd()));
        Ok(())
    })
}

/// Signal a point of a syncobj, to give up the points before it.
///
/// Use it after a point was lost: its fence failed, so umf_loop_export_syncobj() ended with an
/// error and nobody will signal the point. The kernel reports a point as signaled when a later one
/// is. So this call, with a later point, ends every wait for the lost points. A Wayland compositor
/// goes on. Commit a new frame first. KWin then discards the frames of the lost points. If it
/// repaints at that moment, it shows the last of them until the next repaint. Without a new frame,
/// it shows that frame, which is not complete, until the client commits one.
///
/// The point keeps the order of the exports. It is signaled once the exports of lower points, on
/// whichever loops, are over: signaled, failed or canceled. If there are none, that is within the
/// call. If there are, they go on, and none of them fails because of this call. Exports of higher
/// points wait for this point. An export that fails does not fail those behind this point.
///
/// An attached kernel fence at a lower point (umf_fence_attach_sync_file()) may still be pending.
/// That export is over. The kernel then ends the waits for this point after that fence.
///
/// If the kernel refuses the point later, nothing reports that: the device is gone, others added a
/// higher point, or no memory is left. The next point that is signaled has the same effect.
///
/// @syncobj: the syncobj.
/// @point: the point to signal, beyond all points that were submitted before. 0 for a binary
///     syncobj, whose fence is replaced at once by one that has signaled. Never pass 0 for a
///     timeline: that erases all its points.
/// @flags: must be 0.
///
/// Return: 0 on success, also if the point is signaled later, or
///   -EINVAL      @syncobj is NULL, or @flags is not 0; @point is not beyond the last one, or was
///                requested before
///   -EOPNOTSUPP  @point is not 0, and the device has no timelines
///   -ESTALE      the syncobj belongs to another process
///   -ENODEV      the device is gone: unplugged, unbound from its driver, or disabled
///   -ENOMEM      no memory is left
///
/// Thread-safe; for other ways to add points, see umf_loop_export_syncobj(). Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_syncobj_signal(
    syncobj: *mut umf_syncobj,
    point: u64,
    flags: u64,
) -> c_int {
    c_return_preserving_errno(|| {
        no_flags(flags)?;
        // A reference of the library's own: a watch that goes on may end the caller's.
        c_contract!(clone_ref(syncobj)?).give_up(point)
    })
}

/// Add a reference to a syncobj.
///
/// @syncobj: the syncobj, or NULL.
///
/// Return: @syncobj. The caller ends the new reference with umf_syncobj_unref().
///
/// Thread-safe and async-signal-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_syncobj_ref(syncobj: *mut umf_syncobj) -> *mut umf_syncobj {
    c_contract!(c_ref(syncobj))
}

/// End a reference to a syncobj.
///
/// Watches that convert to it or from it go on.
///
/// @syncobj: the syncobj. NULL does nothing.
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_syncobj_unref(syncobj: *mut umf_syncobj) {
    c_contract!(c_unref(syncobj))
}

/// Signal a syncobj when a fence reaches a value.
///
/// The syncobj is a point of a timeline, or a binary one. Until then no kernel fence exists at the
/// point, and none waits. A consumer that supports wait-before-signal may be given the point at
/// once: a Wayland compositor through linux-drm-syncobj-v1, an X server through DRI3 1.4.
///
/// The points of one umf_syncobj are signaled in order, whatever the order in which the fences are
/// reached, and on whichever loops: a point waits for those before it. So are the points of all
/// umf_syncobjs that this process opened by the same umf_device and handle. If a point cannot be
/// signaled (its fence failed), the later points that were requested by then end with the same
/// error: a timeline cannot tell waiters of the lost point from waiters of a later one. Points that
/// are requested afterwards start afresh. umf_syncobj_signal() ends the waits for lost points.
///
/// If a kernel fence is attached to @value (umf_fence_attach_sync_file()), and no point before this
/// one waits, the call itself puts it at the point. If it is attached later, the loop does so. The
/// callback then says that the point has a fence, which may be pending. Canceling a watch whose
/// point was added by the call cancels its callback only.
///
/// All threads may export to these at the same time: a point that comes after a higher one was
/// signaled gets -EINVAL. Other ways to add points are ordered neither with this nor with each
/// other: another handle or umf_device, umf_fence_export_syncobj(), a driver, another process. If
/// two points are added at the same moment and the lower one comes second, the kernel accepts it,
/// and neither signals. The callers must order these calls themselves.
///
/// @event_loop: the loop.
/// @fence: the fence. The watch keeps references to it and to @syncobj until it is over.
/// @value: the value to wait for. At most UINT32_MAX for a 32-bit fence.
/// @syncobj: the syncobj to signal.
/// @point: the point to signal, beyond all points that were submitted to this timeline before. 0
///     for a binary syncobj, whose fence is replaced. Never pass 0 for a timeline: that erases all
///     its points.
/// @flags: must be 0.
/// @callback: what to call after that. Copied. NULL for none.
/// @out_watch: as in umf_loop_watch().
///
/// Return: 0 on success, also if the value is reached already, or
///   -EINVAL      @event_loop, @fence, @syncobj or callback->call is NULL, @flags is not 0, or
///                @value does not fit in 32 bits; @point is not beyond the last one (the kernel
///                would accept it and never signal), or was requested before
///   -EOPNOTSUPP  @point is not 0, and the device has no timelines
///   -ENODEV      the device is gone: unplugged, unbound from its driver, or disabled
///   -ENOMEM      no memory or thread is left
///   -ESTALE      the loop belongs to another process. If the fence ends first, the callback gets
///                -ESTALE
///
/// Thread-safe; for other ways to add points at the same time, see above. Since 0.1.
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
        c_contract!(create_watch(event_loop, callback, out_watch, |builder| {
            builder.export_point(&fence, value, &timeline, point)
        }))
    })
}

/// Signal a value when a sync_file signals.
///
/// If the kernel fence of the sync_file fails, the fence fails with its error. If the library can
/// no longer wait for the sync_file, the fence fails with that error.
///
/// Until then the kernel fence is attached to @value, as by umf_fence_attach_sync_file(), unless
/// the fence has as many as it can. Exports of the value do not wait.
///
/// @event_loop: the loop.
/// @fence: the fence to signal. The watch keeps a reference to it until it is over.
/// @value: the value to signal. At most UINT32_MAX for a 32-bit fence.
/// @sync_file_fd: the sync_file. Stays the caller's, which may close it after the call: the library
///     duplicates it until the watch is over. -1 stands for one that has signaled, as in Vulkan.
/// @flags: must be 0.
/// @callback: what to call after that. Copied. NULL for none.
/// @out_watch: as in umf_loop_watch().
///
/// Return: 0 on success, also if the sync_file has signaled already, or
///   -EINVAL            @event_loop, @fence or callback->call is NULL, or @flags is not 0; the
///                      fence's value is already beyond @value, or @value does not fit in 32 bits;
///                      @sync_file_fd is not a sync_file
///   -EBADF             @sync_file_fd is not open, or is below -1
///   -EIO, -EOWNERDEAD  the fence carries an error
///   -ESTALE            the fence ended: see umf_fence_create(); or the loop belongs to another
///                      process
///   -EACCES            this process may not signal the fence: UMF_PAGE_SINGLE_WRITER,
///                      umf_fence_create_in()
///   -ENOMEM            no memory or thread is left
///   -EMFILE            no file descriptor is left in the process
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

/// Signal a value when a syncobj point signals.
///
/// The wait begins before a fence is submitted for the point, if necessary. If the point's fence
/// fails, the fence fails with its error. If the library can no longer wait for the point, the
/// fence fails with that error. For fences that failed before the call, see
/// umf_fence_import_syncobj(). Once submitted, the point's fence is attached to @value, as in
/// umf_loop_import_sync_file().
///
/// If the device is lost before a fence is submitted, the watch ends with -ENODEV about a second
/// later. The kernel announces no such loss, so the loop asks the device once a second meanwhile.
/// Without UMF_LOOP_THREAD it asks in umf_loop_dispatch(), and its descriptor does not become
/// readable for that.
///
/// @event_loop: the loop.
/// @fence: the fence to signal. The watch keeps references to it and to @syncobj until it is over.
/// @value: the value to signal. At most UINT32_MAX for a 32-bit fence.
/// @syncobj: the syncobj. While it waits for a point that was not submitted, it takes a descriptor;
///     and if its device has no UMF_DEVICE_CAP_EVENTFD (before Linux 6.6), a sleeping thread, which
///     ends with it. Each point whose fence was submitted and is pending takes one more descriptor.
/// @point: the point to wait for. 0 for a binary syncobj.
/// @flags: must be 0.
/// @callback: what to call after that. Copied. NULL for none.
/// @out_watch: as in umf_loop_watch().
///
/// Return: 0 on success, also if the point has signaled already, or
///   -EINVAL            @event_loop, @fence, @syncobj or callback->call is NULL, or @flags is not
///                      0; the fence's value is already beyond @value, or @value does not fit in 32
///                      bits
///   -EOPNOTSUPP        the device has no timelines
///   -EIO, -EOWNERDEAD  the fence carries an error
///   -ESTALE            the fence ended: see umf_fence_create(); or the loop belongs to another
///                      process
///   -EACCES            this process may not signal the fence: UMF_PAGE_SINGLE_WRITER,
///                      umf_fence_create_in()
///   -ENODEV            the device is gone: unplugged, unbound from its driver, or disabled
///   -ENOMEM            no memory or thread is left
///   -EMFILE, -ENFILE   no file descriptor is left, in the process or in the system
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

/// Signal a value when the implicit fences of a dma-buf have signaled.
///
/// These are the fences that the buffer has at the time of the call. If one of them fails, the
/// fence fails with its error. Until then they are attached to @value, as in
/// umf_loop_import_sync_file(). Needs Linux 6.0.
///
/// @event_loop: the loop.
/// @fence: the fence to signal. The watch keeps a reference to it until it is over.
/// @value: the value to signal. At most UINT32_MAX for a 32-bit fence.
/// @dma_buf_fd: the buffer. Stays the caller's. The watch takes a descriptor while the fences are
///     pending.
/// @flags: UMF_DMA_BUF_READ waits for what a reader has to wait for; UMF_DMA_BUF_WRITE, or both,
///     for what a writer has to wait for.
/// @callback: what to call after that. Copied. NULL for none.
/// @out_watch: as in umf_loop_watch().
///
/// Return: 0 on success, also if all of them have signaled, or
///   -EINVAL            @event_loop, @fence or callback->call is NULL; @flags has unknown bits or
///                      none; the fence's value is already beyond @value, or @value does not fit in
///                      32 bits; @dma_buf_fd is not a dma-buf
///   -EBADF             @dma_buf_fd is not open
///   -EOPNOTSUPP        the kernel cannot do it
///   -EIO, -EOWNERDEAD  the fence carries an error
///   -ESTALE            the fence ended: see umf_fence_create(); or the loop belongs to another
///                      process
///   -EACCES            this process may not signal the fence: UMF_PAGE_SINGLE_WRITER,
///                      umf_fence_create_in()
///   -ENOMEM            no memory or thread is left
///   -EMFILE, -ENFILE   no file descriptor is left, in the process or in the system
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
