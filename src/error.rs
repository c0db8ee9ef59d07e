//! The closed list of errors. Each is an errno value, and the C face returns it negated.
//!
//! A caller may rely on the list: what a kernel answers that is not in it becomes
//! [`Error::Unexpected`].

/// Why a call failed. The discriminant is the errno value.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Error {
    /// A pointer, flag, count, value or file descriptor is not one the call takes; or a value would
    /// go back.
    Invalid = libc::EINVAL,
    /// Memory, address space or room for the shared pages is exhausted.
    NoMemory = libc::ENOMEM,
    /// The deadline passed, or a poll found the condition not met.
    TimedOut = libc::ETIME,
    /// The fence carries an error: its value will never be reached.
    FenceFailed = libc::EIO,
    /// The fence failed because its signaller died.
    OwnerDead = libc::EOWNERDEAD,
    /// The value is beyond where the condition could still be met.
    Past = libc::ERANGE,
    /// The fence behind the handle was given back by its creator.
    Stale = libc::ESTALE,
    /// What is to be cancelled has happened; or it is happening at this moment.
    Already = libc::EALREADY,
    /// It was cancelled.
    Canceled = libc::ECANCELED,
    /// Every slot of the page is in use.
    PageFull = libc::ENOSPC,
    /// The kernel, the device or the machine lacks what the call needs.
    NotSupported = libc::EOPNOTSUPP,
    /// The file descriptor is not open.
    BadFd = libc::EBADF,
    /// This process has no file descriptor left.
    ProcessFdLimit = libc::EMFILE,
    /// The machine has no file left.
    SystemFdLimit = libc::ENFILE,
    /// The index, or the syncobj handle, names nothing.
    NotFound = libc::ENOENT,
    /// The kernel or a security policy refused the access.
    Denied = libc::EACCES,
    /// Something the library did not foresee: a kernel answer it does not know, or a bug in it.
    Unexpected = libc::EPROTO,
}

/// The result of everything in this crate that can fail.
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// What C is told of a result: 0, or the errno, negated.
pub(crate) fn code(result: Result<()>) -> i32 {
    result.map_or_else(Error::code, |()| 0)
}

impl Error {
    /// The value the C face returns: the errno, negated.
    pub(crate) const fn code(self) -> i32 {
        -(self as i32)
    }

    /// What a fence fails with because of this.
    pub(crate) const fn errno(self) -> FenceErrno {
        FenceErrno(self as u32)
    }

    /// What a wait on a fence reports whose error word holds `errno`. Only a dead owner has an
    /// answer of its own: any other number could be mistaken for an error of the wait itself
    /// (`ETIME` is a common dma_fence error).
    pub(crate) fn of_failed_fence(errno: FenceErrno) -> Error {
        if errno.0 == libc::EOWNERDEAD as u32 { Error::OwnerDead } else { Error::FenceFailed }
    }
}

impl From<rustix::io::Errno> for Error {
    fn from(errno: rustix::io::Errno) -> Error {
        use rustix::io::Errno as E;
        match errno {
            E::INVAL | E::NOTTY => Error::Invalid,
            E::NOMEM | E::NOSPC => Error::NoMemory,
            E::TIME | E::TIMEDOUT => Error::TimedOut,
            E::OPNOTSUPP | E::NOSYS => Error::NotSupported,
            E::BADF => Error::BadFd,
            E::MFILE => Error::ProcessFdLimit,
            E::NFILE => Error::SystemFdLimit,
            E::NOENT => Error::NotFound,
            E::ACCESS | E::PERM => Error::Denied,
            _ => Error::Unexpected,
        }
    }
}

/// The error a fence carries: an errno value, 1 to 4095, as the kernel's `dma_fence_set_error`
/// takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FenceErrno(u32);

impl FenceErrno {
    /// `errno` is positive.
    pub(crate) const fn new(errno: u32) -> Option<FenceErrno> {
        if errno >= 1 && errno <= 4095 { Some(FenceErrno(errno)) } else { None }
    }

    /// Reads the error word of a shared slot, where a peer may have written anything. 0 is "no
    /// error".
    pub(crate) fn from_shared(word: u32) -> Option<FenceErrno> {
        match word {
            0 => None,
            1..=4095 => Some(FenceErrno(word)),
            _ => Some(FenceErrno(libc::EIO as u32)),
        }
    }

    /// The errno, positive.
    pub(crate) const fn get(self) -> u32 {
        self.0
    }
}
