// SPDX-License-Identifier: MIT
//! memfd_create and file seals, Linux 3.17; mmap; getrlimit: shared memory whose size cannot
//! change.

use super::descriptor::above_stdio;
use super::retry::retry;
use crate::error::{Error, Result};
use once_cell::race::OnceNonZeroUsize;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};
use std::num::NonZeroUsize;
use std::ptr::NonNull;

/// The seals that a file must have before it is mapped: its size is fixed.
///
/// A peer that truncated the file would cause SIGBUS in this process. Only a memfd can have these
/// seals: other files of tmpfs are created with F_SEAL_SEAL, which forbids further seals.
const FIXED_SIZE: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW);

/// Identifies a file while it is open or mapped: device and inode.
pub(crate) type FileId = (u64, u64);

/// The processes that can write to a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Writers {
    /// Every process that has a descriptor of the file.
    Anyone,
    /// The process that mapped the file before it was sealed with F_SEAL_FUTURE_WRITE (Linux 5.1).
    /// Other processes can only read.
    CreatorOnly,
}

/// What a mapping allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Access {
    ReadWrite,
    Read,
}

/// Create a memfd of `len` zero bytes, with its memory allocated and its size sealed.
pub(crate) fn create(len: u64) -> Result<OwnedFd> {
    let fd = create_unsealed(len, len)?;
    rustix::fs::fcntl_add_seals(&fd, FIXED_SIZE | SealFlags::SEAL)?;
    Ok(fd)
}

/// Create the same memfd with `rest` bytes more that have no memory yet, map the first `mapped`
/// bytes to be written, and restrict later writers to `writers`.
///
/// `NotSupported` before Linux 5.1 for [`Writers::CreatorOnly`].
pub(crate) fn create_mapped(
    (len, rest): (u64, u64),
    mapped: u64,
    writers: Writers,
) -> Result<(OwnedFd, Mapping)> {
    let fd = create_unsealed(len + rest, len)?;
    let mapping = Mapping::new(
        fd.as_fd(),
        usize::try_from(mapped).map_err(|_| Error::NoMemory)?,
        Access::ReadWrite,
    )?;
    let write =
        if writers == Writers::CreatorOnly { SealFlags::FUTURE_WRITE } else { SealFlags::empty() };
    rustix::fs::fcntl_add_seals(&fd, FIXED_SIZE | write | SealFlags::SEAL).map_err(|errno| {
        match errno {
            Errno::INVAL => Error::NotSupported,
            errno => errno.into(),
        }
    })?;
    Ok((fd, mapping))
}

fn create_unsealed(len: u64, allocated: u64) -> Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let fd = above_stdio(create_empty(flags)?)?;
    if len > file_size_limit() {
        // ftruncate would raise SIGXFSZ.
        return Err(Error::NoMemory);
    }
    rustix::fs::ftruncate(&fd, len)?;
    allocate(fd.as_fd(), 0, allocated)?;
    Ok(fd)
}

/// Create a memfd that cannot be executed. With vm.memfd_noexec=2 the kernel makes no other.
fn create_empty(flags: MemfdFlags) -> Result<OwnedFd> {
    match rustix::fs::memfd_create(c"umf-page", flags | MemfdFlags::NOEXEC_SEAL) {
        // Kernels before 6.3 do not have MFD_NOEXEC_SEAL.
        Err(Errno::INVAL) => Ok(rustix::fs::memfd_create(c"umf-page", flags)?),
        other => Ok(other?),
    }
}

/// Read the bytes at an offset of a memfd. A part of it that has no memory reads as zeros, and gets
/// none.
pub(crate) fn read_at(fd: BorrowedFd<'_>, bytes: &mut [u8], offset: u64) -> Result<()> {
    let read = retry(|| rustix::io::pread(fd, &mut *bytes, offset))?;
    if read == bytes.len() { Ok(()) } else { Err(Error::Unexpected) }
}

/// Write bytes at an offset of a memfd, within its size.
pub(crate) fn write_at(fd: BorrowedFd<'_>, bytes: &[u8], offset: u64) -> Result<()> {
    if offset + bytes.len() as u64 > file_size_limit() {
        // The write would raise SIGXFSZ.
        return Err(Error::NoMemory);
    }
    let written = retry(|| rustix::io::pwrite(fd, bytes, offset)).map_err(no_memory)?;
    if written == bytes.len() { Ok(()) } else { Err(Error::NoMemory) }
}

/// Return the length beyond which a file may not grow: RLIMIT_FSIZE.
///
/// Calls libc and not rustix, which returns an arbitrary number if a sandbox forbids the call.
#[allow(clippy::unnecessary_cast)] // the width of rlim_t differs by architecture
pub(super) fn file_size_limit() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: the location of errno is valid as long as the thread runs, and `limit` for writing.
    // On an error the limit stays as it is.
    unsafe {
        let errno = libc::__errno_location();
        let before = *errno;
        libc::getrlimit(libc::RLIMIT_FSIZE, &mut limit);
        *errno = before;
    }
    if limit.rlim_cur == libc::RLIM_INFINITY { u64::MAX } else { limit.rlim_cur as u64 }
}

/// Allocate memory of the file from `start` to `end`, so that a lack of memory is an error now and
/// not a SIGBUS later.
pub(crate) fn allocate(fd: BorrowedFd<'_>, start: u64, end: u64) -> Result<()> {
    let (mut done, mut step) = (start, end - start);
    while done < end {
        step = step.min(end - done);
        match rustix::fs::fallocate(fd, FallocateFlags::empty(), done, step) {
            Ok(()) => done += step,
            // An interrupted call frees what it had allocated. If signals arrive more often than
            // a call takes, a smaller step succeeds.
            Err(Errno::INTR) => step = (step / 2).max(page_size() as u64),
            Err(errno) => return Err(no_memory(errno)),
        }
    }
    Ok(())
}

/// Convert the error of a call that needs memory for a memfd. EIO is broken memory, or a broken
/// swap device.
fn no_memory(errno: Errno) -> Error {
    if errno == Errno::IO { Error::NoMemory } else { errno.into() }
}

/// Return the length of a file whose size is sealed, and the processes that can write to it.
///
/// `Invalid` for any other kind of file.
pub(crate) fn sealed_len(fd: BorrowedFd<'_>) -> Result<(u64, Writers)> {
    // Read the seals before the length: once they are set, the length cannot change.
    let seals = rustix::fs::fcntl_get_seals(fd)?;
    if !seals.contains(FIXED_SIZE) {
        return Err(Error::Invalid);
    }
    refuse_huge_pages(fd)?;
    let stat = rustix::fs::fstat(fd)?;
    let len = u64::try_from(stat.st_size).map_err(|_| Error::Invalid)?;
    let sealed = seals.intersects(SealFlags::WRITE | SealFlags::FUTURE_WRITE);
    Ok((len, if sealed { Writers::CreatorOnly } else { Writers::Anyone }))
}

/// Check that a memfd is none of hugetlbfs.
#[allow(clippy::unnecessary_cast)] // the width of st_blksize differs by architecture
fn refuse_huge_pages(fd: BorrowedFd<'_>) -> Result<()> {
    let stat = rustix::fs::fstat(fd)?;
    // Huge pages can run out under a mapping, which causes SIGBUS. A block of hugetlbfs is a huge
    // page. A block of tmpfs is a page, or with transparent huge pages a huge one too: then
    // compare with a memfd of this process. (fstatfs tells the two apart, and some sandboxes kill
    // a process that calls it.)
    if stat.st_blksize as usize != page_size() {
        let own = create_empty(MemfdFlags::CLOEXEC)?;
        if rustix::fs::fstat(&own)?.st_dev != stat.st_dev {
            return Err(Error::Invalid);
        }
    }
    Ok(())
}

/// Check that a file is one that can have seals. `Invalid` for any other.
pub(super) fn check_seals(fd: BorrowedFd<'_>) -> Result<()> {
    rustix::fs::fcntl_get_seals(fd)?;
    Ok(())
}

/// Seal the size of a file that another program made, which must have `min` bytes and be writable.
///
/// `Invalid` if it is no memfd, or shorter. `Denied` if it cannot be sealed, or not be written. A
/// file that is refused stays as it is.
pub(crate) fn seal_size(fd: BorrowedFd<'_>, min: u64) -> Result<()> {
    let seals = rustix::fs::fcntl_get_seals(fd)?;
    if u64::try_from(rustix::fs::fstat(fd)?.st_size).is_ok_and(|len| len < min) {
        return Err(Error::Invalid);
    }
    refuse_huge_pages(fd)?;
    if !seals.contains(FIXED_SIZE) {
        rustix::fs::fcntl_add_seals(fd, FIXED_SIZE)?;
    }
    // Again: another process may have changed the size meanwhile. From here on it cannot.
    let (len, writers) = sealed_len(fd)?;
    if len < min {
        return Err(Error::Invalid);
    }
    if writers == Writers::CreatorOnly { Err(Error::Denied) } else { Ok(()) }
}

/// Return the device and inode of the file behind `fd`.
#[allow(clippy::unnecessary_cast)] // the widths differ by architecture
pub(crate) fn file_id(fd: BorrowedFd<'_>) -> Result<FileId> {
    let stat = rustix::fs::fstat(fd)?;
    Ok((stat.st_dev as u64, stat.st_ino as u64))
}

/// A shared mapping of a file. Dropping it unmaps the memory.
pub(crate) struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: this value owns an address range, which every thread can access. Code that makes
// references from the pointer is responsible for accesses to the memory.
unsafe impl Send for Mapping {}
// SAFETY: as above; `&Mapping` gives access to a pointer only.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Map the first `len` bytes of `fd`. `len` must not be zero.
    ///
    /// A write to a mapping with [`Access::Read`] raises SIGSEGV.
    pub(crate) fn new(fd: BorrowedFd<'_>, len: usize, access: Access) -> Result<Mapping> {
        let prot = match access {
            Access::ReadWrite => ProtFlags::READ | ProtFlags::WRITE,
            Access::Read => ProtFlags::READ,
        };
        // SAFETY: the kernel chooses an unused address range, so the mapping overlaps no Rust
        // object.
        let start =
            unsafe { rustix::mm::mmap(std::ptr::null_mut(), len, prot, MapFlags::SHARED, fd, 0)? };
        let start = NonNull::new(start.cast()).ok_or(Error::Unexpected)?;
        Ok(Mapping { start, len })
    }

    /// Return the address of the first byte.
    pub(crate) fn start(&self) -> NonNull<u8> {
        self.start
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: `new` made this mapping with this length. References into it borrow `self`, so
        // none is left.
        let _ = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

/// Return the size of a memory page in bytes.
pub(crate) fn page_size() -> usize {
    static SIZE: OnceNonZeroUsize = OnceNonZeroUsize::new();
    let ask = || {
        // SAFETY: sysconf takes no pointer. This variable always exists, so errno stays as it is.
        let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        usize::try_from(size).ok().and_then(NonZeroUsize::new).ok_or(Error::Unexpected)
    };
    // sysconf does not fail. If it did, the kernel would refuse calls that a wrong size breaks.
    SIZE.get_or_try_init(ask).map_or(4096, NonZeroUsize::get)
}
