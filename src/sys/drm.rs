// SPDX-License-Identifier: MIT
//! The DRM_IOCTL_SYNCOBJ_* ioctls, and DRM_IOCTL_GET_CAP.
//!
//! Binary syncobjs need Linux 4.14, timelines Linux 5.2, SYNCOBJ_EVENTFD Linux 6.6, deadline hints
//! Linux 6.8 and the export of a point Linux 6.16. A driver that lacks a feature returns
//! EOPNOTSUPP. Kernel sources: include/uapi/drm/drm.h, drivers/gpu/drm/drm_syncobj.c.
//!
//! The kernel accepts a struct that is larger or smaller than its own: it zero-extends the struct,
//! or ignores the rest. Today's structs therefore work on every kernel.

use super::descriptor::new_descriptor;
use super::retry::retry;
use super::sync_file;
use super::time::{self, Deadline};
use crate::error::{Error, Result};
use drm_sys as drm;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::io::{Errno, Result as IoResult};
use rustix::ioctl::{Opcode, Updater, ioctl, opcode};

// drm-sys defines the structs and flags, but not the ioctl numbers.
const GET_CAP: Opcode = opcode::read_write::<drm::drm_get_cap>(b'd', 0x0c);
const CREATE: Opcode = opcode::read_write::<drm::drm_syncobj_create>(b'd', 0xbf);
const DESTROY: Opcode = opcode::read_write::<drm::drm_syncobj_destroy>(b'd', 0xc0);
const HANDLE_TO_FD: Opcode = opcode::read_write::<drm::drm_syncobj_handle>(b'd', 0xc1);
const FD_TO_HANDLE: Opcode = opcode::read_write::<drm::drm_syncobj_handle>(b'd', 0xc2);
const WAIT: Opcode = opcode::read_write::<drm::drm_syncobj_wait>(b'd', 0xc3);
const RESET: Opcode = opcode::read_write::<drm::drm_syncobj_array>(b'd', 0xc4);
const SIGNAL: Opcode = opcode::read_write::<drm::drm_syncobj_array>(b'd', 0xc5);
const TIMELINE_WAIT: Opcode = opcode::read_write::<drm::drm_syncobj_timeline_wait>(b'd', 0xca);
const QUERY: Opcode = opcode::read_write::<drm::drm_syncobj_timeline_array>(b'd', 0xcb);
const TRANSFER: Opcode = opcode::read_write::<drm::drm_syncobj_transfer>(b'd', 0xcc);
const TIMELINE_SIGNAL: Opcode = opcode::read_write::<drm::drm_syncobj_timeline_array>(b'd', 0xcd);
const EVENTFD: Opcode = opcode::read_write::<drm::drm_syncobj_eventfd>(b'd', 0xcf);

/// struct drm_syncobj_handle with the member that came with Linux 6.16.
#[repr(C)]
struct PointHandle {
    handle: u32,
    flags: u32,
    fd: i32,
    pad: u32,
    point: u64,
}

const POINT_TO_FD: Opcode = opcode::read_write::<PointHandle>(b'd', 0xc1);
/// With DRM_SYNCOBJ_HANDLE_TO_FD_FLAGS_TIMELINE, which drm-sys does not have.
const EXPORT_POINT: u32 = drm::DRM_SYNCOBJ_HANDLE_TO_FD_FLAGS_EXPORT_SYNC_FILE | 1 << 1;

/// Issue one ioctl. `OPCODE` must be one of the constants above, and `T` the struct of that
/// constant.
///
/// The file must be of [`FileKind::Drm`](super::file_kind). ENODEV says that the device is gone, in
/// whichever way its driver says so.
fn call<const OPCODE: Opcode, T>(fd: BorrowedFd<'_>, arg: &mut T) -> IoResult<()> {
    let result = retry(|| {
        // SAFETY: the opcode encodes the size of `T`, and the kernel reads and writes no more of
        // `arg`. Addresses inside of the struct come from references that outlive the call: each
        // caller takes them from its own parameters or variables.
        unsafe { ioctl(fd, Updater::<OPCODE, T>::new(&mut *arg)) }
    });
    result.map_err(|errno| match (errno, Error::from(errno)) {
        // The kernel cannot read the struct: a fault of the library.
        (Errno::FAULT, _) => errno,
        // What DRM itself does not return. xe returns ECANCELED for a wedged device. Other drivers,
        // such as amdgpu and nouveau, return the error with which the device failed to resume: any
        // error of the bus, the firmware or a regulator.
        (Errno::TIMEDOUT, _) | (_, Error::Unexpected) => Errno::NODEV,
        (errno, _) => errno,
    })
}

/// Read the value of a capability, one of `DRM_CAP_*`.
pub(crate) fn get_cap(fd: BorrowedFd<'_>, capability: u32) -> Result<u64> {
    let mut arg = drm::drm_get_cap { capability: capability.into(), value: 0 };
    call::<GET_CAP, _>(fd, &mut arg)?;
    Ok(arg.value)
}

/// Create a binary syncobj, signaled or without a fence, and return its handle.
pub(crate) fn create(fd: BorrowedFd<'_>, signaled: bool) -> Result<u32> {
    let flags = if signaled { drm::DRM_SYNCOBJ_CREATE_SIGNALED } else { 0 };
    let mut arg = drm::drm_syncobj_create { handle: 0, flags };
    call::<CREATE, _>(fd, &mut arg)?;
    Ok(arg.handle)
}

/// Destroy a handle.
pub(crate) fn destroy(fd: BorrowedFd<'_>, handle: u32) {
    // The handle came from `create` or `duplicate`, and no caller could act on an error.
    let _ = call::<DESTROY, _>(fd, &mut drm::drm_syncobj_destroy { handle, pad: 0 });
}

/// Create another handle for the same syncobj.
///
/// `NotFound` if `handle` does not exist.
pub(crate) fn duplicate(fd: BorrowedFd<'_>, handle: u32) -> Result<u32> {
    let syncobj = export(fd, handle)?;
    let mut arg = drm::drm_syncobj_handle { fd: syncobj.as_raw_fd(), ..Default::default() };
    call::<FD_TO_HANDLE, _>(fd, &mut arg)?;
    Ok(arg.handle)
}

/// Export a syncobj as a descriptor, from which every open file of a DRM device can make a handle.
///
/// `NotFound` if `handle` does not exist.
pub(crate) fn export(fd: BorrowedFd<'_>, handle: u32) -> Result<OwnedFd> {
    let mut arg = drm::drm_syncobj_handle { handle, fd: -1, ..Default::default() };
    // The kernel returns EINVAL for a handle that does not exist.
    call::<HANDLE_TO_FD, _>(fd, &mut arg).map_err(|errno| match errno {
        Errno::INVAL => Error::NotFound,
        errno => errno.into(),
    })?;
    new_descriptor(arg.fd)
}

/// Export the fence that a binary syncobj holds now as a sync_file.
///
/// `Invalid` if the syncobj holds no fence.
pub(crate) fn export_sync_file(fd: BorrowedFd<'_>, handle: u32) -> Result<OwnedFd> {
    let flags = drm::DRM_SYNCOBJ_HANDLE_TO_FD_FLAGS_EXPORT_SYNC_FILE;
    let mut arg = drm::drm_syncobj_handle { handle, flags, fd: -1, ..Default::default() };
    call::<HANDLE_TO_FD, _>(fd, &mut arg)?;
    new_descriptor(arg.fd)
}

/// Export the fence of a timeline's point as a sync_file. Needs [`has_point_export`].
///
/// `Invalid` if the point has no fence.
pub(crate) fn export_point(fd: BorrowedFd<'_>, handle: u32, point: u64) -> Result<OwnedFd> {
    let mut arg = PointHandle { handle, flags: EXPORT_POINT, fd: -1, pad: 0, point };
    call::<POINT_TO_FD, _>(fd, &mut arg)?;
    new_descriptor(arg.fd)
}

/// Check whether the kernel exports the fence of a point (Linux 6.16).
pub(crate) fn has_point_export(fd: BorrowedFd<'_>) -> bool {
    // Handle 0 never exists. ENOENT means that the kernel has the flag and looked the handle up.
    let mut arg = PointHandle { handle: 0, flags: EXPORT_POINT, fd: -1, pad: 0, point: 1 };
    matches!(call::<POINT_TO_FD, _>(fd, &mut arg), Err(Errno::NOENT))
}

/// Replace the fence of a binary syncobj by that of a sync_file.
///
/// `Invalid` if `sync_file` is not a sync_file, `NotFound` if `handle` does not exist.
pub(crate) fn import_sync_file(
    fd: BorrowedFd<'_>,
    handle: u32,
    sync_file: BorrowedFd<'_>,
) -> Result<()> {
    let flags = drm::DRM_SYNCOBJ_FD_TO_HANDLE_FLAGS_IMPORT_SYNC_FILE;
    let fd_of_fence = sync_file.as_raw_fd();
    let mut arg = drm::drm_syncobj_handle { handle, flags, fd: fd_of_fence, ..Default::default() };
    Ok(call::<FD_TO_HANDLE, _>(fd, &mut arg)?)
}

/// Wait until a binary syncobj holds a fence and the fence has signaled. If the kernel has deadline
/// hints, the fence's driver is told the deadline.
pub(crate) fn wait(
    fd: BorrowedFd<'_>,
    handle: u32,
    deadline: Deadline,
    has_deadline: bool,
) -> Result<()> {
    let timeout_nsec = timeout(fd, deadline);
    let mut arg = drm::drm_syncobj_wait {
        handles: address(&handle),
        count_handles: 1,
        timeout_nsec,
        flags: drm::DRM_SYNCOBJ_WAIT_FLAGS_WAIT_FOR_SUBMIT,
        ..Default::default()
    };
    if has_deadline && deadline != Deadline::POLL && deadline != Deadline::NEVER {
        arg.flags |= drm::DRM_SYNCOBJ_WAIT_FLAGS_WAIT_DEADLINE;
        arg.deadline_nsec = timeout_nsec as u64;
    }
    Ok(until_deadline(deadline, || call::<WAIT, _>(fd, &mut arg))?)
}

/// Wait until one of several points has a fence, signaled or not, and return the point's index.
///
/// Point 0 stands for the fence of a binary syncobj.
pub(crate) fn wait_materialized<const N: usize>(
    fd: BorrowedFd<'_>,
    handles: &[u32; N],
    points: &[u64; N],
    deadline: Deadline,
) -> Result<u32> {
    // Before Linux 6.8, WAIT_AVAILABLE alone does not wait. With WAIT_FOR_SUBMIT it waits on every
    // kernel.
    let flags =
        drm::DRM_SYNCOBJ_WAIT_FLAGS_WAIT_FOR_SUBMIT | drm::DRM_SYNCOBJ_WAIT_FLAGS_WAIT_AVAILABLE;
    let mut arg = drm::drm_syncobj_timeline_wait {
        handles: address(handles),
        points: address(points),
        count_handles: N as u32,
        timeout_nsec: timeout(fd, deadline),
        flags,
        ..Default::default()
    };
    until_deadline(deadline, || call::<TIMELINE_WAIT, _>(fd, &mut arg))?;
    Ok(arg.first_signaled)
}

/// Convert a deadline to the absolute timeout of an ioctl.
///
/// These ioctls count in the CLOCK_MONOTONIC of the host, also in a time namespace (Linux 5.6),
/// where this process sees another one. CRIU restores every container into a time namespace.
fn timeout(fd: BorrowedFd<'_>, deadline: Deadline) -> i64 {
    if deadline == Deadline::POLL || deadline == Deadline::NEVER || deadline.has_passed() {
        return deadline.signed_ns();
    }
    deadline.signed_ns().saturating_add(host_clock_offset(fd).unwrap_or(0))
}

/// Return how far the host's CLOCK_MONOTONIC is ahead of the one that this process sees.
///
/// No call reads the host's clock. But a fence records the time at which it signals on that clock,
/// and a new signaled syncobj holds a fence that signals at this moment.
fn host_clock_offset(fd: BorrowedFd<'_>) -> Result<i64> {
    let read = || {
        let before = time::now();
        let syncobj = create(fd, true)?;
        let fence = export_sync_file(fd, syncobj);
        destroy(fd, syncobj);
        let host = sync_file::signal_time(fence?.as_fd())?;
        Ok::<_, Error>((before, host, time::now()))
    };
    let (start, first, after) = read()?;
    if start <= first && first <= after {
        return Ok(0);
    }
    // Before Linux 5.13, all signaled syncobjs share one fence, whose time tells nothing.
    let (before, host, end) = read()?;
    if host <= first || host - first > end.saturating_sub(start) {
        return Ok(0);
    }
    Ok(host.wrapping_sub(before) as i64)
}

/// Repeat a wait that timed out before its deadline. The kernel counts in jiffies, and so may time
/// out slightly early.
fn until_deadline(deadline: Deadline, mut wait: impl FnMut() -> IoResult<()>) -> IoResult<()> {
    loop {
        match wait() {
            Err(Errno::TIME) if !deadline.has_passed() => {}
            result => return result,
        }
    }
}

/// Read the highest point that has a fence, signaled or not.
pub(crate) fn last_submitted(fd: BorrowedFd<'_>, handle: u32) -> Result<u64> {
    let mut point = 0u64;
    let mut arg = drm::drm_syncobj_timeline_array {
        handles: address(&handle),
        points: (&raw mut point) as usize as u64,
        count_handles: 1,
        flags: drm::DRM_SYNCOBJ_QUERY_FLAGS_LAST_SUBMITTED,
    };
    call::<QUERY, _>(fd, &mut arg)?;
    Ok(point)
}

/// Replace the fence of a binary syncobj by a signaled one.
pub(crate) fn signal(fd: BorrowedFd<'_>, handle: u32) -> Result<()> {
    let mut arg = drm::drm_syncobj_array { handles: address(&handle), count_handles: 1, pad: 0 };
    Ok(call::<SIGNAL, _>(fd, &mut arg)?)
}

/// Remove the fence from a binary syncobj.
pub(crate) fn reset(fd: BorrowedFd<'_>, handle: u32) -> Result<()> {
    let mut arg = drm::drm_syncobj_array { handles: address(&handle), count_handles: 1, pad: 0 };
    Ok(call::<RESET, _>(fd, &mut arg)?)
}

/// Add a signaled fence at `point`.
///
/// The kernel does not check that points increase. The caller has to compare `point` with
/// [`last_submitted`].
pub(crate) fn timeline_signal(fd: BorrowedFd<'_>, handle: u32, point: u64) -> Result<()> {
    let mut arg = drm::drm_syncobj_timeline_array {
        handles: address(&handle),
        points: address(&point),
        count_handles: 1,
        flags: 0,
    };
    Ok(call::<TIMELINE_SIGNAL, _>(fd, &mut arg)?)
}

/// Copy a fence from one syncobj and point to another. Point 0 is the fence of a binary syncobj.
///
/// `Invalid` if there is no fence.
pub(crate) fn transfer(fd: BorrowedFd<'_>, from: (u32, u64), to: (u32, u64)) -> Result<()> {
    let mut arg = drm::drm_syncobj_transfer {
        src_handle: from.0,
        src_point: from.1,
        dst_handle: to.0,
        dst_point: to.1,
        ..Default::default()
    };
    Ok(call::<TRANSFER, _>(fd, &mut arg)?)
}

/// Have the kernel add to an eventfd once the point has a fence, signaled or not.
///
/// The registration cannot be canceled.
pub(crate) fn eventfd_when_submitted(
    fd: BorrowedFd<'_>,
    handle: u32,
    point: u64,
    eventfd: BorrowedFd<'_>,
) -> Result<()> {
    let flags = drm::DRM_SYNCOBJ_WAIT_FLAGS_WAIT_AVAILABLE;
    let mut arg =
        drm::drm_syncobj_eventfd { handle, flags, point, fd: eventfd.as_raw_fd(), pad: 0 };
    Ok(call::<EVENTFD, _>(fd, &mut arg)?)
}

/// Check whether the kernel has SYNCOBJ_EVENTFD (Linux 6.6).
pub(crate) fn has_eventfd(fd: BorrowedFd<'_>) -> bool {
    // Handle 0 never exists. ENOENT means that the kernel has the call and looked the handle up.
    let mut arg = drm::drm_syncobj_eventfd { fd: -1, ..Default::default() };
    matches!(call::<EVENTFD, _>(fd, &mut arg), Err(Errno::NOENT))
}

/// Check whether waits accept a deadline hint (Linux 6.8).
///
/// `signaled` is a binary syncobj that holds a signaled fence.
pub(crate) fn has_deadline(fd: BorrowedFd<'_>, signaled: u32) -> bool {
    let mut arg = drm::drm_syncobj_wait {
        handles: address(&signaled),
        count_handles: 1,
        flags: drm::DRM_SYNCOBJ_WAIT_FLAGS_WAIT_DEADLINE,
        ..Default::default()
    };
    call::<WAIT, _>(fd, &mut arg).is_ok()
}

/// Return the address of an element, or of an array, as the ioctls' structs hold it.
fn address<T>(element: &T) -> u64 {
    std::ptr::from_ref(element) as usize as u64
}
