// SPDX-License-Identifier: MIT
//! The closed list of errors. Each is an errno value, which C functions return negated.
//!
//! Callers may rely on the list: a kernel error that is not in it becomes [`Error::Unexpected`].

#![forbid(unsafe_code)]

/// Why a call failed. The discriminant is the errno value.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Error {
    /// The call does not accept a pointer, flag, count, value or file descriptor. Or a value would
    /// go backwards.
    Invalid = libc::EINVAL,
    /// Memory, address space, or space for shared memory is exhausted.
    NoMemory = libc::ENOMEM,
    /// The deadline passed, or a check without waiting found the condition not met.
    TimedOut = libc::ETIME,
    /// The fence failed: it has an error, and its value will never be reached. Or, of a report or a
    /// trace, an access to the file failed.
    FenceFailed = libc::EIO,
    /// The fence failed because its signaler died.
    OwnerDead = libc::EOWNERDEAD,
    /// The fence's value has passed the values for which the condition could be met.
    Past = libc::ERANGE,
    /// The fence's creator destroyed it.
    Stale = libc::ESTALE,
    /// The operation to cancel has completed, or is completing at this moment.
    Already = libc::EALREADY,
    /// The call would wait for a thread that waits for the calling one.
    Deadlock = libc::EDEADLK,
    /// The operation was canceled.
    Canceled = libc::ECANCELED,
    /// The page is larger than the caller allows.
    TooLarge = libc::EFBIG,
    /// Every slot of the page is in use, or the fence has as many kernel fences as it can.
    Full = libc::ENOSPC,
    /// The kernel, the device or the machine lacks a feature that the call needs.
    NotSupported = libc::EOPNOTSUPP,
    /// The file descriptor is not open.
    BadFd = libc::EBADF,
    /// This process reached its limit of open file descriptors.
    ProcessFdLimit = libc::EMFILE,
    /// The machine reached its limit of open files.
    SystemFdLimit = libc::ENFILE,
    /// No object has this index or this syncobj handle.
    NotFound = libc::ENOENT,
    /// The device is gone: unplugged, unbound from its driver, or disabled by it.
    DeviceGone = libc::ENODEV,
    /// The kernel or a security policy refused the access.
    Denied = libc::EACCES,
    /// The kernel returned an error that the library does not know, or the library has a bug.
    Unexpected = libc::EPROTO,
}

/// The result of every function of this crate that can fail.
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// Convert a result to what a C function returns: 0, or the negated errno.
pub(crate) fn code(result: Result<()>) -> i32 {
    result.map_or_else(Error::code, |()| 0)
}

impl Error {
    /// Return what a C function returns for this error: the negated errno.
    pub(crate) const fn code(self) -> i32 {
        -(self as i32)
    }

    /// Return the error that a fence fails with because of this error.
    pub(crate) const fn errno(self) -> FenceErrno {
        FenceErrno(self as u32)
    }

    /// Return the error of a wait on a fence that failed with `errno`.
    ///
    /// Only owner death has an error of its own. Any other number could be mistaken for an error of
    /// the wait itself: `ETIME` is a common dma_fence error.
    pub(crate) fn of_failed_fence(errno: FenceErrno) -> Error {
        if errno.0 == libc::EOWNERDEAD as u32 { Error::OwnerDead } else { Error::FenceFailed }
    }
}

impl From<rustix::io::Errno> for Error {
    fn from(errno: rustix::io::Errno) -> Error {
        use rustix::io::Errno as E;
        match errno {
            E::INVAL | E::NOTTY => Error::Invalid,
            // EAGAIN is what mmap returns beyond RLIMIT_MEMLOCK, EFBIG what ftruncate returns
            // beyond RLIMIT_FSIZE.
            E::NOMEM | E::NOSPC | E::AGAIN | E::FBIG | E::DQUOT | E::NOBUFS | E::OVERFLOW => {
                Error::NoMemory
            }
            E::TIME | E::TIMEDOUT => Error::TimedOut,
            E::OPNOTSUPP | E::NOSYS => Error::NotSupported,
            E::BADF => Error::BadFd,
            E::MFILE => Error::ProcessFdLimit,
            E::NFILE => Error::SystemFdLimit,
            E::NOENT => Error::NotFound,
            E::NODEV | E::NXIO => Error::DeviceGone,
            E::ACCESS | E::PERM => Error::Denied,
            _ => Error::Unexpected,
        }
    }
}

/// The error of a failed fence: an errno value from 1 to 4095, as in the kernel's
/// `dma_fence_set_error()`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FenceErrno(u32);

impl FenceErrno {
    /// Make the error from a positive errno. `None` if it is not within 1 to 4095.
    pub(crate) const fn new(errno: u32) -> Option<FenceErrno> {
        if errno >= 1 && errno <= 4095 { Some(FenceErrno(errno)) } else { None }
    }

    /// Convert the error word of a slot. 0 means that there is no error.
    ///
    /// A peer may have written any number. `EIO` replaces a number above 4095.
    pub(crate) fn from_shared(word: u32) -> Option<FenceErrno> {
        match word {
            0 => None,
            1..=4095 => Some(FenceErrno(word)),
            _ => Some(FenceErrno(libc::EIO as u32)),
        }
    }

    /// Return the positive errno.
    pub(crate) const fn get(self) -> u32 {
        self.0
    }
}
