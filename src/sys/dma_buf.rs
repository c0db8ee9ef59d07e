//! The implicit fences of a dma-buf, as sync_files (kernel: include/uapi/linux/dma-buf.h; since
//! 6.0).

use crate::error::{Error, Result};
use rustix::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use rustix::io::Errno;
use rustix::ioctl::{Opcode, Setter, Updater, ioctl, opcode};

/// Which fences are meant (DMA_BUF_SYNC_READ, DMA_BUF_SYNC_WRITE).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Access {
    /// Reading: export gives what a reader has to wait for (the writers), import adds a reader.
    Read,
    /// Writing: export gives what a writer has to wait for (everybody), import adds a writer.
    Write,
}

impl Access {
    fn bits(self) -> u32 {
        match self {
            Access::Read => 1,
            Access::Write => 2,
        }
    }
}

/// struct dma_buf_export_sync_file and struct dma_buf_import_sync_file
#[repr(C)]
struct SyncFile {
    flags: u32,
    fd: i32,
}

const SYNC: Opcode = opcode::write::<u64>(b'b', 0);
const EXPORT_SYNC_FILE: Opcode = opcode::read_write::<SyncFile>(b'b', 2);
const IMPORT_SYNC_FILE: Opcode = opcode::write::<SyncFile>(b'b', 3);

/// What somebody who wants this access has to wait for, now.
pub(crate) fn export_sync_file(dma_buf: BorrowedFd<'_>, access: Access) -> Result<OwnedFd> {
    let mut arg = SyncFile { flags: access.bits(), fd: -1 };
    // SAFETY: the opcode was made from this struct, which holds no address.
    let answer = unsafe { ioctl(dma_buf, Updater::<EXPORT_SYNC_FILE, _>::new(&mut arg)) };
    answer.map_err(|errno| explain(dma_buf, errno))?;
    // SAFETY: the call succeeded, so the kernel made this descriptor (CLOEXEC) for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(arg.fd) })
}

/// Adds the fence of `sync_file` as one of somebody with this access.
pub(crate) fn import_sync_file(
    dma_buf: BorrowedFd<'_>,
    access: Access,
    sync_file: BorrowedFd<'_>,
) -> Result<()> {
    let arg = SyncFile { flags: access.bits(), fd: sync_file.as_raw_fd() };
    // SAFETY: the opcode was made from this struct, which holds no address.
    let answer = unsafe { ioctl(dma_buf, Setter::<IMPORT_SYNC_FILE, _>::new(arg)) };
    answer.map_err(|errno| explain(dma_buf, errno))
}

/// ENOTTY comes from a file that is no dma-buf, and from a kernel before 6.0. Every dma-buf knows
/// DMA_BUF_IOCTL_SYNC, and refuses it without a direction.
fn explain(dma_buf: BorrowedFd<'_>, errno: Errno) -> Error {
    // SAFETY: the opcode was made from a struct of one u64; no flag set, the call changes nothing.
    let sync = || unsafe { ioctl(dma_buf, Setter::<SYNC, u64>::new(0)) };
    if errno == Errno::NOTTY && sync() == Err(Errno::INVAL) {
        Error::NotSupported
    } else {
        errno.into()
    }
}
