// SPDX-License-Identifier: MIT
//! SYNC_IOC_FILE_INFO and SYNC_IOC_MERGE, Linux 4.7, SYNC_IOC_SET_DEADLINE, Linux 6.5, and ppoll:
//! read, wait for and copy a kernel fence in a sync_file.
//!
//! Kernel sources: include/uapi/linux/sync_file.h, drivers/dma-buf/sync_file.c.

use super::descriptor::new_descriptor;
use super::poll;
use super::time::Deadline;
use crate::error::{Error, FenceErrno, Result};
use rustix::event::{PollFd, PollFlags};
use rustix::fd::{AsRawFd, BorrowedFd, OwnedFd};
use rustix::io::{Errno, Result as IoResult};
use rustix::ioctl::{Opcode, Setter, Updater, ioctl, opcode};

/// struct sync_file_info.
#[repr(C)]
#[derive(Default)]
struct FileInfo {
    name: [u8; 32],
    status: i32,
    flags: u32,
    num_fences: u32,
    pad: u32,
    sync_fence_info: u64,
}

/// struct sync_fence_info.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct FenceInfo {
    obj_name: [u8; 32],
    driver_name: [u8; 32],
    status: i32,
    flags: u32,
    timestamp_ns: u64,
}

/// struct sync_merge_data.
#[repr(C)]
#[derive(Default)]
struct Merge {
    name: [u8; 32],
    fd2: i32,
    fence: i32,
    flags: u32,
    pad: u32,
}

/// The number of fences in a container that [`outcome`] reads without allocating memory.
const INLINE_FENCES: usize = 8;

/// The number of fences in a container that [`outcome`] accepts: 5 MiB of memory.
const MAX_FENCES: usize = 1 << 16;

/// struct sync_set_deadline.
#[repr(C)]
struct SetDeadline {
    deadline_ns: u64,
    pad: u64,
}

const MERGE: Opcode = opcode::read_write::<Merge>(b'>', 3);
const FILE_INFO: Opcode = opcode::read_write::<FileInfo>(b'>', 4);
const SET_DEADLINE: Opcode = opcode::write::<SetDeadline>(b'>', 5);

/// The result of a signaled fence: success, or the error it signaled with.
pub(crate) type Outcome = std::result::Result<(), FenceErrno>;

/// Wait until the fence signals, and return whether it signaled with an error.
///
/// `Invalid` if `fd` is not a sync_file.
pub(crate) fn wait(fd: BorrowedFd<'_>, deadline: Deadline) -> Result<Outcome> {
    // Read the status before poll: poll would accept any other kind of file. Also, most fences have
    // signaled by now.
    if let Some(outcome) = outcome(fd)? {
        return Ok(outcome);
    }
    if deadline == Deadline::POLL {
        return Err(Error::TimedOut);
    }
    if deadline != Deadline::NEVER {
        // A hint: the wait does not depend on it.
        let _ = set_deadline(fd, deadline);
    }
    loop {
        // A fence that failed raises POLLIN too, and never POLLERR.
        let mut fds = [PollFd::new(&fd, PollFlags::IN)];
        match rustix::event::poll(&mut fds, deadline.remaining().as_ref()) {
            // poll may also return 0 late: it takes a relative time, and the thread may be
            // preempted after it reads the clock. So check the fence once more.
            Ok(0) => return outcome(fd)?.ok_or(Error::TimedOut),
            Ok(_) => return outcome(fd)?.ok_or(Error::Unexpected),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(poll::refused(errno)),
        }
    }
}

/// Tell the fence's driver when the fence is waited for. It may raise the device's clocks.
///
/// `NotSupported` before Linux 6.5. In a time namespace, the kernel takes the time for the host's.
pub(crate) fn set_deadline(fd: BorrowedFd<'_>, deadline: Deadline) -> Result<()> {
    let arg = SetDeadline { deadline_ns: deadline.ns(), pad: 0 };
    // SAFETY: the opcode encodes the size of this struct, and the struct holds no address.
    match unsafe { ioctl(fd, Setter::<SET_DEADLINE, _>::new(arg)) } {
        Err(Errno::NOTTY) => Err(Error::NotSupported),
        result => Ok(result?),
    }
}

/// Read the result of the fence. `None` while it is pending.
///
/// The caller has checked that the file is of [`FileKind::Anonymous`](super::file_kind).
/// `Invalid` if `fd` is not a sync_file.
pub(crate) fn outcome(fd: BorrowedFd<'_>) -> Result<Option<Outcome>> {
    // The count is nearly always one. A watch that completes must not need memory.
    let mut few = [FenceInfo::default(); INLINE_FENCES];
    match fences(fd, &mut few) {
        // The status is the first error among the fences inside, or 1.
        Ok((inside, status)) if inside.iter().all(|fence| fence.status != 0) => outcome_of(status),
        Ok(([_], _)) => Ok(None),
        // Some are pending, which does not tell whether their container is.
        Ok(_) | Err(Errno::INVAL) => outcome_of_many(fd),
        Err(errno) => Err(errno.into()),
    }
}

/// Do the same for a container of any size.
#[cold]
fn outcome_of_many(fd: BorrowedFd<'_>) -> Result<Option<Outcome>> {
    let mut info = FileInfo::default();
    file_info(fd, &mut info)?;
    if info.status != 1 || info.num_fences == 0 {
        return outcome_of(info.status);
    }
    // The status of a container says that all of its fences signaled, but not with which error. A
    // timeline point is such a container (a chain). If the struct has room for the fences inside,
    // the kernel returns the first error among them as the status.
    let count = info.num_fences as usize;
    if count > MAX_FENCES {
        return Err(Error::NoMemory);
    }
    let mut many = Vec::new();
    many.try_reserve_exact(count).map_err(|_| Error::NoMemory)?;
    many.resize(count, FenceInfo::default());
    let (_, status) = fences(fd, &mut many)?;
    outcome_of(status)
}

fn outcome_of(status: i32) -> Result<Option<Outcome>> {
    Ok(match status {
        0 => None,
        1.. => Some(Ok(())),
        error => Some(Err(FenceErrno::from_shared(error.unsigned_abs()).ok_or(Error::Unexpected)?)),
    })
}

/// Read the fences inside and the status that sums them up. EINVAL if there are more than `space`.
fn fences<'a>(fd: BorrowedFd<'_>, space: &'a mut [FenceInfo]) -> IoResult<(&'a [FenceInfo], i32)> {
    let mut info = FileInfo {
        num_fences: space.len() as u32,
        sync_fence_info: space.as_mut_ptr() as usize as u64,
        ..FileInfo::default()
    };
    file_info(fd, &mut info)?;
    Ok((space.get(..info.num_fences as usize).unwrap_or_default(), info.status))
}

/// Make a sync_file of the fences of `signaled`, which have signaled. It is an open file of its
/// own, and has signaled too.
pub(crate) fn copy_signaled(signaled: BorrowedFd<'_>) -> Result<OwnedFd> {
    let mut merge = Merge { fd2: signaled.as_raw_fd(), ..Merge::default() };
    // SAFETY: the opcode encodes the size of this struct, and the struct holds no address.
    unsafe { ioctl(signaled, Updater::<MERGE, _>::new(&mut merge)) }?;
    new_descriptor(merge.fence)
}

/// Return when a signaled fence signaled, in nanoseconds of the host's CLOCK_MONOTONIC: the last
/// one in a container.
///
/// `Invalid` for a container of more fences than [`INLINE_FENCES`], and for other files.
pub(crate) fn signal_time(fd: BorrowedFd<'_>) -> Result<u64> {
    let mut few = [FenceInfo::default(); INLINE_FENCES];
    let (inside, _) = fences(fd, &mut few)?;
    inside.iter().map(|fence| fence.timestamp_ns).max().ok_or(Error::Invalid)
}

/// Issue SYNC_IOC_FILE_INFO.
fn file_info(fd: BorrowedFd<'_>, info: &mut FileInfo) -> IoResult<()> {
    // SAFETY: the opcode encodes the size of this struct. `sync_fence_info` is 0 with `num_fences`
    // 0, or the address of a live array of `num_fences` elements. If there are more fences than
    // that, the kernel returns EINVAL and writes none.
    unsafe { ioctl(fd, Updater::<FILE_INFO, _>::new(info)) }
}

const _: () = assert!(size_of::<FileInfo>() == 56 && size_of::<FenceInfo>() == 80);
const _: () = assert!(size_of::<SetDeadline>() == 16 && size_of::<Merge>() == 48);
