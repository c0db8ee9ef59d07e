// SPDX-License-Identifier: MIT
//! statx, Linux 4.11; ioctl(FIOQSIZE), getsockopt and fstat: the kind of file that a descriptor
//! refers to.
//!
//! A peer may pass a descriptor of a file that it serves itself, on a FUSE mount. The peer then
//! answers each ioctl, read, write and poll on it: with any number, as often and as late as it
//! likes. So the library learns what a file is before any other call on it, by a call that the
//! kernel answers alone.

#![forbid(unsafe_code)]

use super::descriptor::{dup, has_size};
use crate::error::{Error, Result};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, OFlags, RawMode, StatxFlags, major};
use rustix::io::Errno;

/// The kind of a file, as far as the library makes a difference.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FileKind {
    /// An object of the kernel that no file system shows: a sync_file, a dma-buf, an eventfd, a
    /// pidfd or the like. No call tells these apart, but each refuses the ioctls of the others.
    Anonymous,
    Socket,
    Pipe,
    /// A device node of DRM: a GPU or an accelerator.
    Drm,
    /// Another character device.
    Device,
    /// A file of a file system.
    Other,
}

/// The numbers that the kernel reserves for the device nodes of DRM (drivers/gpu/drm,
/// drivers/accel).
const DRM_MAJORS: [u32; 2] = [226, 261];

impl FileKind {
    /// Return the kind of the file behind `fd`. Its file system is not asked.
    pub(crate) fn of(fd: BorrowedFd<'_>) -> Result<FileKind> {
        // A FUSE mount fills in what the kernel remembers of the file, and never asks the peer.
        let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
        let (mode, device) = match rustix::fs::statx(fd, c"", flags, StatxFlags::TYPE) {
            // Without a mode, 0 would look like an anonymous file. FUSE returns no mode if none is
            // requested.
            Ok(stat) if stat.stx_mask & StatxFlags::TYPE.bits() == 0 => return Ok(FileKind::Other),
            Ok(stat) => (stat.stx_mode.into(), stat.stx_rdev_major),
            Err(Errno::NOSYS | Errno::PERM | Errno::ACCESS) => return FileKind::without_statx(fd),
            Err(Errno::BADF) => return Err(Error::BadFd),
            Err(Errno::NOMEM) => return Err(Error::NoMemory),
            // FUSE refuses users that may not use the mount.
            Err(_) => return Ok(FileKind::Other),
        };
        Ok(FileKind::of_mode(mode, device))
    }

    /// The same where a sandbox refuses statx, or FUSE the user.
    ///
    /// fstat asks the server of a FUSE mount. So the files that an unprivileged server can have are
    /// told before: regular files and directories, and pipes with a name there. (To open a device
    /// node, the mount has to allow devices.)
    #[cold]
    fn without_statx(fd: BorrowedFd<'_>) -> Result<FileKind> {
        if has_size(fd)? {
            return Ok(FileKind::Other);
        }
        if rustix::net::sockopt::socket_type(fd).is_ok() {
            return Ok(FileKind::Socket);
        }
        // A named pipe is a pipe of the kernel, wherever its name is.
        if rustix::io::ioctl_fionread(fd).is_ok() {
            return Ok(FileKind::Pipe);
        }
        let stat = rustix::fs::fstat(fd)?;
        Ok(FileKind::of_mode(stat.st_mode, major(stat.st_rdev)))
    }

    fn of_mode(mode: RawMode, device: u32) -> FileKind {
        match FileType::from_raw_mode(mode) {
            // Every file system gives its files a type, and refuses a file without one that an
            // image or a peer describes (fuse_valid_type() in the kernel). Only anonymous inodes
            // have none.
            FileType::Unknown => FileKind::Anonymous,
            FileType::Socket => FileKind::Socket,
            FileType::Fifo => FileKind::Pipe,
            FileType::CharacterDevice if DRM_MAJORS.contains(&device) => FileKind::Drm,
            FileType::CharacterDevice => FileKind::Device,
            _ => FileKind::Other,
        }
    }

    /// Duplicate a descriptor whose file is of one of these kinds. `Invalid` if it is of another.
    pub(crate) fn dup(kinds: &[FileKind], fd: BorrowedFd<'_>) -> Result<OwnedFd> {
        // The caller's descriptor first: the close of a duplicate asks the peer of a FUSE mount
        // (FUSE_FLUSH), and may last as long as the peer likes.
        FileKind::require(kinds, fd)?;
        let duplicate = dup(fd)?;
        // Another thread may have given the number to another file.
        FileKind::require(kinds, duplicate.as_fd())?;
        Ok(duplicate)
    }

    /// Return `Invalid` for a file that is of no such kind.
    ///
    /// Enough for a descriptor on which one call follows. [`FileKind::dup`] is for more.
    pub(crate) fn require(kinds: &[FileKind], fd: BorrowedFd<'_>) -> Result<()> {
        if kinds.contains(&FileKind::of(fd)?) {
            return Ok(());
        }
        // A descriptor with O_PATH names a file that is not open: other calls return EBADF for it.
        let is_open = !rustix::fs::fcntl_getfl(fd)?.contains(OFlags::PATH);
        Err(if is_open { Error::Invalid } else { Error::BadFd })
    }
}

#[cfg(all(test, not(modeled)))]
mod tests {
    use super::*;
    use rustix::event::EventfdFlags;
    use rustix::fs::Mode;

    #[test]
    fn a_file_of_a_file_system_is_no_kernel_object() {
        let eventfd = rustix::event::eventfd(0, EventfdFlags::CLOEXEC).ok();
        let memfd = rustix::fs::memfd_create(c"test", rustix::fs::MemfdFlags::CLOEXEC).ok();
        let open = |path| rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        let cases = [
            (eventfd, FileKind::Anonymous),
            (memfd, FileKind::Other),
            (open(c"/dev/null").ok(), FileKind::Device),
            (open(c"/proc/self/stat").ok(), FileKind::Other),
            (open(c"/").ok(), FileKind::Other),
        ];
        for (fd, kind) in cases {
            let kinds =
                fd.map(|fd| (FileKind::of(fd.as_fd()), FileKind::without_statx(fd.as_fd())));
            assert_eq!(kinds, Some((Ok(kind), Ok(kind))));
        }
    }
}
