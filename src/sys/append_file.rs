// SPDX-License-Identifier: MIT
//! open, fcntl(F_SETFL), fstat and write: a file to which many threads and processes append.
//!
//! Each record is one write() with O_APPEND, which the kernel puts at the end of a local file as a
//! whole. So records of several writers do not mix, and a process that is killed loses none that it
//! wrote. No lock is taken and no memory allocated: [`AppendFile::append`] is async-signal-safe.

use super::descriptor::above_stdio;
use super::memfd::file_size_limit;
use super::retry::retry_interrupted;
use crate::error::{Error, Result};
use rustix::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use std::ffi::CStr;
use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

/// A file, or none so far. It is never closed: another thread may be about to write to it.
pub(crate) struct AppendFile {
    /// -1 if there is none.
    fd: AtomicI32,
    /// Its device and inode. A program may close descriptors that it does not know, and get the
    /// same number for another file.
    device: AtomicU64,
    inode: AtomicU64,
}

impl AppendFile {
    pub(crate) const fn new() -> AppendFile {
        AppendFile { fd: AtomicI32::new(-1), device: AtomicU64::new(0), inode: AtomicU64::new(0) }
    }

    /// Open or create a regular file that begins with `head`, in place of the one so far.
    ///
    /// `Invalid` for a file of another kind, or one that begins with something else; see
    /// [`explain`] for other errors. Two calls at a time must not be made.
    pub(crate) fn open(&self, path: &CStr, head: &[u8; 2]) -> Result<()> {
        if is_size_limited() {
            return Err(Error::NoMemory);
        }
        // NONBLOCK: a FIFO without a peer is refused, not waited for.
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOCTTY;
        let mode = Mode::from_raw_mode(0o666);
        let open = || rustix::fs::open(path, flags | OFlags::NONBLOCK, mode);
        let file = above_stdio(retry_interrupted(open).map_err(explain)?)?;
        let stat = rustix::fs::fstat(&file).map_err(explain)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Error::Invalid);
        }
        let mut found = [0; 2];
        match retry_interrupted(|| rustix::io::pread(&file, &mut found, 0)).map_err(explain)? {
            // Of two processes that get here, each writes the same.
            0 => drop(retry_interrupted(|| rustix::io::pwrite(&file, head, 0)).map_err(explain)?),
            2 if found == *head => {}
            _ => return Err(Error::Invalid),
        }
        rustix::fs::fcntl_setfl(&file, OFlags::APPEND).map_err(explain)?;
        self.replace(file)
    }

    /// Use this file from now on, with the number of the one so far.
    fn replace(&self, file: OwnedFd) -> Result<()> {
        let (device, inode) = super::memfd::file_id(borrow(file.as_raw_fd()))?;
        let old = self.fd.load(Ordering::Relaxed);
        let has_old = old >= 0 && self.is_file(borrow(old));
        if has_old {
            // SAFETY: the descriptor is open, as was just checked, and nothing closes it.
            let mut old = ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(old) });
            let cloexec = rustix::io::DupFlags::CLOEXEC;
            rustix::io::dup3(&file, &mut old, cloexec).map_err(explain)?;
        }
        // A thread that writes meanwhile may compare with one of each, and then drops its record.
        self.device.store(device, Ordering::Relaxed);
        self.inode.store(inode, Ordering::Relaxed);
        if !has_old {
            self.fd.store(file.into_raw_fd(), Ordering::Release);
        }
        Ok(())
    }

    /// Append a record by one call. If that fails, a part of it may have been written.
    ///
    /// `NoMemory` under a limit on the size of files, where a write may raise SIGXFSZ.
    pub(crate) fn append(&self, record: &[u8]) -> Result<()> {
        let fd = self.fd.load(Ordering::Acquire);
        if fd < 0 || !self.is_file(borrow(fd)) {
            return Err(Error::BadFd);
        }
        if is_size_limited() {
            return Err(Error::NoMemory);
        }
        let written = retry_interrupted(|| rustix::io::write(borrow(fd), record))?;
        if written == record.len() { Ok(()) } else { Err(Error::NoMemory) }
    }

    fn is_file(&self, fd: BorrowedFd<'_>) -> bool {
        let own = (self.device.load(Ordering::Relaxed), self.inode.load(Ordering::Relaxed));
        super::memfd::file_id(fd) == Ok(own)
    }
}

/// Convert the error of a call for a path or a file of the program's. The file system, which may be
/// a server, can return any.
fn explain(errno: Errno) -> Error {
    match errno {
        Errno::NOTDIR | Errno::LOOP => Error::NotFound,
        Errno::ROFS | Errno::TXTBSY | Errno::NOSYS => Error::Denied,
        Errno::ISDIR | Errno::NAMETOOLONG | Errno::NXIO | Errno::NODEV | Errno::OPNOTSUPP => {
            Error::Invalid
        }
        Errno::AGAIN | Errno::TIMEDOUT | Errno::TIME => Error::FenceFailed,
        errno => match Error::from(errno) {
            Error::Unexpected => Error::FenceFailed,
            error => error,
        },
    }
}

fn is_size_limited() -> bool {
    file_size_limit() != u64::MAX
}

fn borrow<'a>(fd: i32) -> BorrowedFd<'a> {
    // SAFETY: it is not -1. The library never closes it. If the program did, each use is a system
    // call that reports that, or [`AppendFile::is_file`] has noticed another file.
    unsafe { BorrowedFd::borrow_raw(fd) }
}
