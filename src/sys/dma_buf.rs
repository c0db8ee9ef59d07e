// SPDX-License-Identifier: MIT
//! DMA_BUF_IOCTL_EXPORT_SYNC_FILE and DMA_BUF_IOCTL_IMPORT_SYNC_FILE, Linux 6.0.
//!
//! They convert the implicit fences of a dma-buf to and from sync_files. Kernel header:
//! include/uapi/linux/dma-buf.h.

use super::descriptor::new_descriptor;
use crate::error::{Error, Result};
use rustix::fd::{AsRawFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::ioctl::{Opcode, Setter, Updater, ioctl, opcode};

/// The kind of access that the fences are for: DMA_BUF_SYNC_READ or DMA_BUF_SYNC_WRITE.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Access {
    /// Export returns what a reader has to wait for: the writers. Import adds a reader.
    Read,
    /// Export returns what a writer has to wait for: all readers and writers. Import adds a writer.
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

/// struct dma_buf_export_sync_file and struct dma_buf_import_sync_file.
#[repr(C)]
struct SyncFile {
    flags: u32,
    fd: i32,
}

const SYNC: Opcode = opcode::write::<u64>(b'b', 0);
const EXPORT_SYNC_FILE: Opcode = opcode::read_write::<SyncFile>(b'b', 2);
const IMPORT_SYNC_FILE: Opcode = opcode::write::<SyncFile>(b'b', 3);

/// Export the fences that an access has to wait for now as a sync_file.
///
/// The caller has checked that the file is of [`FileKind::Anonymous`](super::file_kind). `Invalid`
/// if it is not a dma-buf, `NotSupported` before Linux 6.0.
pub(crate) fn export_sync_file(dma_buf: BorrowedFd<'_>, access: Access) -> Result<OwnedFd> {
    let mut arg = SyncFile { flags: access.bits(), fd: -1 };
    // SAFETY: the opcode encodes the size of this struct, and the struct holds no address.
    let result = unsafe { ioctl(dma_buf, Updater::<EXPORT_SYNC_FILE, _>::new(&mut arg)) };
    result.map_err(|errno| explain(dma_buf, errno))?;
    new_descriptor(arg.fd)
}

/// Add the fence of `sync_file` to the dma-buf, as the fence of a reader or of a writer.
///
/// `Invalid` if the file is not a dma-buf, `NotSupported` before Linux 6.0.
pub(crate) fn import_sync_file(
    dma_buf: BorrowedFd<'_>,
    access: Access,
    sync_file: BorrowedFd<'_>,
) -> Result<()> {
    let arg = SyncFile { flags: access.bits(), fd: sync_file.as_raw_fd() };
    // SAFETY: the opcode encodes the size of this struct, and the struct holds no address.
    let result = unsafe { ioctl(dma_buf, Setter::<IMPORT_SYNC_FILE, _>::new(arg)) };
    result.map_err(|errno| explain(dma_buf, errno))
}

/// Tell a file that is not a dma-buf from a kernel before 6.0: both return ENOTTY.
///
/// Every dma-buf implements DMA_BUF_IOCTL_SYNC, and returns EINVAL if no direction is set.
fn explain(dma_buf: BorrowedFd<'_>, errno: Errno) -> Error {
    // SAFETY: the opcode encodes the size of the struct, one u64. With no flag set, the call
    // changes nothing.
    let sync = || unsafe { ioctl(dma_buf, Setter::<SYNC, u64>::new(0)) };
    if errno == Errno::NOTTY && sync() == Err(Errno::INVAL) {
        Error::NotSupported
    } else {
        errno.into()
    }
}
