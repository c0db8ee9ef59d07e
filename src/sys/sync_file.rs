//! sync_file: a kernel fence as a file (kernel: include/uapi/linux/sync_file.h,
//! drivers/dma-buf/sync_file.c).

use super::time::Deadline;
use crate::error::{Error, FenceErrno, Result};
use rustix::event::{PollFd, PollFlags};
use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use rustix::ioctl::{Opcode, Updater, ioctl, opcode};

/// struct sync_file_info
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

/// struct sync_fence_info
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct FenceInfo {
    obj_name: [u8; 32],
    driver_name: [u8; 32],
    status: i32,
    flags: u32,
    timestamp_ns: u64,
}

/// So many are looked at without memory.
const FEW: usize = 8;

const FILE_INFO: Opcode = opcode::read_write::<FileInfo>(b'>', 4);

/// What a fence that signalled came to.
pub(crate) type Outcome = std::result::Result<(), FenceErrno>;

/// Waits until the fence signalled, and tells whether it did so with an error. `Invalid` if `fd` is
/// no sync_file.
pub(crate) fn wait(fd: BorrowedFd<'_>, deadline: Deadline) -> Result<Outcome> {
    // Asked before poll, which would accept any other kind of file; and most fences are done by
    // now.
    if let Some(outcome) = outcome(fd)? {
        return Ok(outcome);
    }
    if deadline == Deadline::POLL {
        return Err(Error::TimedOut);
    }
    loop {
        // The same POLLIN for success and error; never POLLERR.
        let mut fds = [PollFd::new(&fd, PollFlags::IN)];
        match rustix::event::poll(&mut fds, deadline.remaining().as_ref()) {
            // 0 can also come early: the kernel was told a length of time, and then we slept past
            // reading the clock.
            Ok(0) => return outcome(fd)?.ok_or(Error::TimedOut),
            Ok(_) => return outcome(fd)?.ok_or(Error::Unexpected),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// What the fence came to, `None` while it is pending. `Invalid` if `fd` is no sync_file.
pub(crate) fn outcome(fd: BorrowedFd<'_>) -> Result<Option<Outcome>> {
    let mut info = FileInfo::default();
    file_info(fd, &mut info)?;
    if info.status == 1 && info.num_fences > 0 {
        // The status of a container (a chain: what a timeline point is) tells that all of it
        // signalled, but not with what. Given room for the fences inside, the kernel answers with
        // the first error among them.
        let count = info.num_fences as usize;
        // Nearly always one. Who fires a watch has no memory to ask for.
        let (mut few, mut many) = ([FenceInfo::default(); FEW], Vec::new());
        let inside = match few.get_mut(..count) {
            Some(few) => few,
            None => {
                many.try_reserve_exact(count).map_err(|_| Error::NoMemory)?;
                many.resize(count, FenceInfo::default());
                many.as_mut_slice()
            }
        };
        info.sync_fence_info = inside.as_mut_ptr() as usize as u64;
        file_info(fd, &mut info)?;
    }
    Ok(match info.status {
        0 => None,
        1.. => Some(Ok(())),
        error => Some(Err(FenceErrno::from_shared(error.unsigned_abs()).ok_or(Error::Unexpected)?)),
    })
}

fn file_info(fd: BorrowedFd<'_>, info: &mut FileInfo) -> Result<()> {
    // SAFETY: the opcode was made from this struct. `sync_fence_info` is 0 with `num_fences` 0, or
    // the address of a live array of `num_fences` elements; the kernel refuses (EINVAL) where it
    // has more fences than that.
    Ok(unsafe { ioctl(fd, Updater::<FILE_INFO, _>::new(info)) }?)
}

const _: () = assert!(size_of::<FileInfo>() == 56 && size_of::<FenceInfo>() == 80);
