//! Sealed shared memory: memfd_create, seals, mmap.

use crate::error::{Error, Result};
use once_cell::race::OnceNonZeroUsize;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};
use std::num::NonZeroUsize;
use std::ptr::NonNull;

/// What a file must promise before we map it: the size is fixed, so no peer can truncate it under
/// us (SIGBUS). Only a memfd can carry these seals: other tmpfs files are created with F_SEAL_SEAL
/// alone.
const FIXED_SIZE: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW);

/// The file's identity while it is open or mapped: device and inode.
pub(crate) type FileId = (u64, u64);

/// Who can write to a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Writers {
    /// Everybody who has it.
    Anyone,
    /// Those who mapped it before it was sealed (F_SEAL_FUTURE_WRITE, Linux 5.1); for all others it
    /// is to be read.
    CreatorOnly,
}

/// A new memfd of `len` bytes, all zero, its memory allocated, its size sealed.
pub(crate) fn create(len: u64) -> Result<OwnedFd> {
    let fd = create_unsealed(len)?;
    rustix::fs::fcntl_add_seals(&fd, FIXED_SIZE | SealFlags::SEAL)?;
    Ok(fd)
}

/// The same, mapped; and for those who are given it, what `access` says.
pub(crate) fn create_mapped(len: u64, access: Writers) -> Result<(OwnedFd, Mapping)> {
    let fd = create_unsealed(len)?;
    let mapping = Mapping::new(
        fd.as_fd(),
        usize::try_from(len).map_err(|_| Error::NoMemory)?,
        Writers::Anyone,
    )?;
    let write =
        if access == Writers::CreatorOnly { SealFlags::FUTURE_WRITE } else { SealFlags::empty() };
    rustix::fs::fcntl_add_seals(&fd, FIXED_SIZE | write | SealFlags::SEAL).map_err(|errno| {
        match errno {
            Errno::INVAL => Error::NotSupported,
            errno => errno.into(),
        }
    })?;
    Ok((fd, mapping))
}

fn create_unsealed(len: u64) -> Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let fd = match rustix::fs::memfd_create(c"umf-page", flags | MemfdFlags::NOEXEC_SEAL) {
        // NOEXEC_SEAL came in 6.3; older kernels know no such flag.
        Err(Errno::INVAL) => rustix::fs::memfd_create(c"umf-page", flags)?,
        other => other?,
    };
    rustix::fs::ftruncate(&fd, len)?;
    allocate(fd.as_fd(), len)?;
    Ok(fd)
}

/// Memory that is missing is an error here, not a SIGBUS when the first fence is touched.
fn allocate(fd: BorrowedFd<'_>, len: u64) -> Result<()> {
    let (mut done, mut step) = (0, len);
    while done < len {
        step = step.min(len - done);
        match rustix::fs::fallocate(fd, FallocateFlags::empty(), done, step) {
            Ok(()) => done += step,
            // The kernel gives back what an interrupted call had got. Where signals come faster
            // than it gets all, smaller steps do.
            Err(Errno::INTR) => step = (step / 2).max(page_size() as u64),
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// The length of a file whose seals promise that it stays so, and whether they let us write.
/// `Invalid` for any other kind of file.
#[allow(clippy::unnecessary_cast)] // the width of f_type and of libc's constant differs between architectures
pub(crate) fn sealed_len(fd: BorrowedFd<'_>) -> Result<(u64, Writers)> {
    // The seals first: once they are seen, the length cannot change any more.
    let seals = rustix::fs::fcntl_get_seals(fd)?;
    if !seals.contains(FIXED_SIZE) {
        return Err(Error::Invalid);
    }
    // Huge pages can run out under a mapping, which is a SIGBUS again: no hugetlbfs.
    if rustix::fs::fstatfs(fd)?.f_type as i64 != libc::TMPFS_MAGIC as i64 {
        return Err(Error::Invalid);
    }
    let len = u64::try_from(rustix::fs::fstat(fd)?.st_size).map_err(|_| Error::Invalid)?;
    let sealed = seals.intersects(SealFlags::WRITE | SealFlags::FUTURE_WRITE);
    Ok((len, if sealed { Writers::CreatorOnly } else { Writers::Anyone }))
}

/// The identity of the file behind `fd`.
#[allow(clippy::unnecessary_cast)] // the widths differ between architectures
pub(crate) fn file_id(fd: BorrowedFd<'_>) -> Result<FileId> {
    let stat = rustix::fs::fstat(fd)?;
    Ok((stat.st_dev as u64, stat.st_ino as u64))
}

/// A new descriptor for the same file, CLOEXEC.
pub(crate) fn dup(fd: impl AsFd) -> Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(fd, 0)?)
}

/// A shared mapping; unmapped when dropped.
pub(crate) struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping is an address range owned by this value; it has no thread affinity. What is
// stored in the range is the business of whoever turns the pointer into references.
unsafe impl Send for Mapping {}
// SAFETY: as above; `&Mapping` gives out only a pointer and a length.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the first `len` bytes of `fd`, which must not be empty. A write to what is mapped to be
    /// read ends the process.
    pub(crate) fn new(fd: BorrowedFd<'_>, len: usize, access: Writers) -> Result<Mapping> {
        let prot = match access {
            Writers::Anyone => ProtFlags::READ | ProtFlags::WRITE,
            Writers::CreatorOnly => ProtFlags::READ,
        };
        // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing that Rust
        // knows of.
        let start =
            unsafe { rustix::mm::mmap(std::ptr::null_mut(), len, prot, MapFlags::SHARED, fd, 0)? };
        let start = NonNull::new(start.cast()).ok_or(Error::Unexpected)?;
        Ok(Mapping { start, len })
    }

    pub(crate) fn start(&self) -> NonNull<u8> {
        self.start
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: `new` made this mapping with this length, and whoever borrowed from it borrowed
        // from `self`.
        let _ = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

/// The size of a memory page in bytes.
pub(crate) fn page_size() -> usize {
    static SIZE: OnceNonZeroUsize = OnceNonZeroUsize::new();
    let ask = || {
        // SAFETY: sysconf takes no pointer; this variable exists everywhere, so errno stays as it
        // is.
        let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        usize::try_from(size).ok().and_then(NonZeroUsize::new).ok_or(Error::Unexpected)
    };
    // 4096 where sysconf fails, which it does not: the kernel would refuse what is wrong for it.
    SIZE.get_or_try_init(ask).map_or(4096, NonZeroUsize::get)
}
