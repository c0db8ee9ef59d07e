//! drm_syncobj ioctls (kernel: include/uapi/drm/drm.h, drivers/gpu/drm/drm_syncobj.c).
//!
//! drm_ioctl accepts a struct that is larger or smaller than its own: it zero-extends, or ignores
//! the rest. Today's structs therefore work on every kernel. A feature that the driver lacks is
//! EOPNOTSUPP.

use super::retry::retry;
use super::time::Deadline;
use crate::error::{Error, Result};
use drm_sys as drm;
use rustix::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use rustix::io::{Errno, Result as IoResult};
use rustix::ioctl::{Opcode, Updater, ioctl, opcode};

// drm-sys has the structs and flags, but no ioctl numbers.
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

/// One call. `OPCODE` must be one of the constants above, `T` the struct it was made with.
fn call<const OPCODE: Opcode, T>(fd: BorrowedFd<'_>, arg: &mut T) -> IoResult<()> {
    retry(|| {
        // SAFETY: the opcode encodes the size of `T`, and the kernel reads and writes no more than
        // that in place. The structs that hold addresses get them from references that outlive the
        // call (see the callers).
        unsafe { ioctl(fd, Updater::<OPCODE, T>::new(&mut *arg)) }
    })
}

/// The value of one of the `DRM_CAP_*`.
pub(crate) fn get_cap(fd: BorrowedFd<'_>, capability: u32) -> Result<u64> {
    let mut arg = drm::drm_get_cap { capability: capability.into(), value: 0 };
    call::<GET_CAP, _>(fd, &mut arg)?;
    Ok(arg.value)
}

/// A new syncobj's handle.
pub(crate) fn create(fd: BorrowedFd<'_>, signaled: bool) -> Result<u32> {
    let flags = if signaled { drm::DRM_SYNCOBJ_CREATE_SIGNALED } else { 0 };
    let mut arg = drm::drm_syncobj_create { handle: 0, flags };
    call::<CREATE, _>(fd, &mut arg)?;
    Ok(arg.handle)
}

/// Gives a handle back.
pub(crate) fn destroy(fd: BorrowedFd<'_>, handle: u32) {
    // The handle came from `create`: nothing can fail, and nobody could act on it.
    let _ = call::<DESTROY, _>(fd, &mut drm::drm_syncobj_destroy { handle, pad: 0 });
}

/// Another handle for the same syncobj.
pub(crate) fn duplicate(fd: BorrowedFd<'_>, handle: u32) -> Result<u32> {
    let mut arg = drm::drm_syncobj_handle { handle, fd: -1, ..Default::default() };
    // A handle that does not exist is EINVAL here.
    call::<HANDLE_TO_FD, _>(fd, &mut arg).map_err(|errno| match errno {
        Errno::INVAL => Error::NotFound,
        errno => errno.into(),
    })?;
    // SAFETY: the call succeeded, so the kernel made this descriptor (CLOEXEC) for us alone.
    let syncobj = unsafe { OwnedFd::from_raw_fd(arg.fd) };
    let mut arg = drm::drm_syncobj_handle { fd: syncobj.as_raw_fd(), ..Default::default() };
    call::<FD_TO_HANDLE, _>(fd, &mut arg)?;
    Ok(arg.handle)
}

/// A sync_file of the fence that the binary syncobj holds now. `Invalid` if it holds none.
pub(crate) fn export_sync_file(fd: BorrowedFd<'_>, handle: u32) -> Result<OwnedFd> {
    let flags = drm::DRM_SYNCOBJ_HANDLE_TO_FD_FLAGS_EXPORT_SYNC_FILE;
    let mut arg = drm::drm_syncobj_handle { handle, flags, fd: -1, ..Default::default() };
    call::<HANDLE_TO_FD, _>(fd, &mut arg)?;
    // SAFETY: the call succeeded, so the kernel made this descriptor (CLOEXEC) for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(arg.fd) })
}

/// Waits until the binary syncobj holds a fence and the fence signalled.
pub(crate) fn wait(fd: BorrowedFd<'_>, handle: u32, deadline: Deadline) -> Result<()> {
    let mut arg = drm::drm_syncobj_wait {
        handles: address(&handle),
        count_handles: 1,
        timeout_nsec: deadline.signed_ns(),
        flags: drm::DRM_SYNCOBJ_WAIT_FLAGS_WAIT_FOR_SUBMIT,
        ..Default::default()
    };
    Ok(until_deadline(deadline, || call::<WAIT, _>(fd, &mut arg))?)
}

/// Waits until one of some points has a fence, signalled or not, and tells which. Point 0 is the
/// fence of a binary syncobj.
pub(crate) fn wait_materialized<const N: usize>(
    fd: BorrowedFd<'_>,
    handles: &[u32; N],
    points: &[u64; N],
    deadline: Deadline,
) -> Result<u32> {
    // WAIT_AVAILABLE alone did not wait before 6.8; with WAIT_FOR_SUBMIT it always did.
    let flags =
        drm::DRM_SYNCOBJ_WAIT_FLAGS_WAIT_FOR_SUBMIT | drm::DRM_SYNCOBJ_WAIT_FLAGS_WAIT_AVAILABLE;
    let mut arg = drm::drm_syncobj_timeline_wait {
        handles: address(handles),
        points: address(points),
        count_handles: N as u32,
        timeout_nsec: deadline.signed_ns(),
        flags,
        ..Default::default()
    };
    until_deadline(deadline, || call::<TIMELINE_WAIT, _>(fd, &mut arg))?;
    Ok(arg.first_signaled)
}

/// The kernel counts in jiffies, which may be a little early: then the wait goes on.
fn until_deadline(deadline: Deadline, mut wait: impl FnMut() -> IoResult<()>) -> IoResult<()> {
    loop {
        match wait() {
            Err(Errno::TIME) if !deadline.has_passed() => {}
            done => return done,
        }
    }
}

/// The highest point that anybody submitted a fence for, signalled or not.
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

/// Puts a signalled fence into a binary syncobj, in place of what it holds.
pub(crate) fn signal(fd: BorrowedFd<'_>, handle: u32) -> Result<()> {
    let mut arg = drm::drm_syncobj_array { handles: address(&handle), count_handles: 1, pad: 0 };
    Ok(call::<SIGNAL, _>(fd, &mut arg)?)
}

/// Takes the fence out of a binary syncobj.
pub(crate) fn reset(fd: BorrowedFd<'_>, handle: u32) -> Result<()> {
    let mut arg = drm::drm_syncobj_array { handles: address(&handle), count_handles: 1, pad: 0 };
    Ok(call::<RESET, _>(fd, &mut arg)?)
}

/// Adds a signalled fence at `point`. The kernel does not check that points go forward: see
/// `last_submitted`.
pub(crate) fn timeline_signal(fd: BorrowedFd<'_>, handle: u32, point: u64) -> Result<()> {
    let mut arg = drm::drm_syncobj_timeline_array {
        handles: address(&handle),
        points: address(&point),
        count_handles: 1,
        flags: 0,
    };
    Ok(call::<TIMELINE_SIGNAL, _>(fd, &mut arg)?)
}

/// Copies the fence at `point` of one syncobj into a binary one.
pub(crate) fn transfer_to_binary(fd: BorrowedFd<'_>, from: u32, point: u64, to: u32) -> Result<()> {
    let mut arg = drm::drm_syncobj_transfer {
        src_handle: from,
        src_point: point,
        dst_handle: to,
        ..Default::default()
    };
    Ok(call::<TRANSFER, _>(fd, &mut arg)?)
}

/// Has an eventfd written to once there is a fence at the point, signalled or not. It cannot be
/// taken back.
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

/// Whether syncobjs can raise eventfds (6.6).
pub(crate) fn has_eventfd(fd: BorrowedFd<'_>) -> bool {
    // Handle 0 exists nowhere: ENOENT says that the kernel knows the call and looked for it.
    let mut arg = drm::drm_syncobj_eventfd { fd: -1, ..Default::default() };
    matches!(call::<EVENTFD, _>(fd, &mut arg), Err(Errno::NOENT))
}

/// Whether waits can carry a deadline hint (6.8). `signaled` is a binary syncobj that holds a
/// signalled fence.
pub(crate) fn has_deadline(fd: BorrowedFd<'_>, signaled: u32) -> bool {
    let mut arg = drm::drm_syncobj_wait {
        handles: address(&signaled),
        count_handles: 1,
        flags: drm::DRM_SYNCOBJ_WAIT_FLAGS_WAIT_DEADLINE,
        ..Default::default()
    };
    call::<WAIT, _>(fd, &mut arg).is_ok()
}

/// The address of one element, or of all, as the ioctls' arrays take it.
fn address<T>(element: &T) -> u64 {
    std::ptr::from_ref(element) as usize as u64
}
