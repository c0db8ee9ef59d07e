//! statx, Linux 4.11: the kind of file that a descriptor refers to.
//!
//! A peer may pass a descriptor of a file that it serves itself, on a FUSE mount. The peer then
//! answers each ioctl, read, write and poll on it: with any number, as often and as late as it
//! likes. So the library learns what a file is before any other call on it, by a call that the
//! kernel answers alone.

#![forbid(unsafe_code)]

use super::descriptor::dup;
use crate::error::{Error, Result};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, OFlags, StatxFlags, major};
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
            // A sandbox may refuse statx. Without it, the file system may be asked.
            Err(Errno::NOSYS | Errno::PERM) => {
                let stat = rustix::fs::fstat(fd)?;
                (stat.st_mode, major(stat.st_rdev))
            }
            Err(Errno::BADF) => return Err(Error::BadFd),
            // FUSE refuses users that may not use the mount.
            Err(_) => return Ok(FileKind::Other),
        };
        Ok(match FileType::from_raw_mode(mode) {
            // Every file system gives its files a type, and refuses a file without one that an
            // image or a peer describes (fuse_valid_type() in the kernel). Only anonymous inodes
            // have none.
            FileType::Unknown => FileKind::Anonymous,
            FileType::Socket => FileKind::Socket,
            FileType::Fifo => FileKind::Pipe,
            FileType::CharacterDevice if DRM_MAJORS.contains(&device) => FileKind::Drm,
            FileType::CharacterDevice => FileKind::Device,
            _ => FileKind::Other,
        })
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

#[cfg(all(test, not(loom)))]
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
            assert_eq!(fd.map(|fd| FileKind::of(fd.as_fd())), Some(Ok(kind)));
        }
    }
}
