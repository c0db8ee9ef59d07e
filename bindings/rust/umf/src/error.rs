// SPDX-License-Identifier: MIT
//! Errors that the library returns.

use std::ffi::c_int;
use std::{fmt, io};

/// The result of a call of the library.
pub type Result<T> = std::result::Result<T, Error>;

macro_rules! errors {
    ($($(#[$doc:meta])* $name:ident = $errno:ident, $message:literal;)*) => {
        /// Why a call failed, or how a wait ended.
        ///
        /// One variant for each errno of the library's. The manual page of the C function tells
        /// what it means there.
        #[non_exhaustive]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Error {
            $($(#[$doc])* $name,)*
            /// Another errno: the error of a kernel fence or of a driver.
            Other(i32),
        }

        impl Error {
            /// Returns the error of an errno, such as `libc::EIO`.
            pub const fn from_errno(errno: i32) -> Error {
                match errno {
                    $(libc::$errno => Error::$name,)*
                    _ => Error::Other(errno),
                }
            }

            /// Returns the errno, such as `libc::EIO`.
            pub const fn errno(self) -> i32 {
                match self {
                    $(Error::$name => libc::$errno,)*
                    Error::Other(errno) => errno,
                }
            }
        }

        impl fmt::Display for Error {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Error::$name => f.write_str($message),)*
                    Error::Other(errno) => write!(f, "errno {errno}"),
                }
            }
        }
    };
}

errors! {
    /// An argument is not one that the call accepts, or a value or point would go backwards.
    InvalidArgument = EINVAL, "invalid argument, or a value that would go backwards";
    /// The deadline passed before the condition was met.
    TimedOut = ETIME, "the deadline passed";
    /// The fence failed. [`Fence::error`](crate::Fence::error) has the cause.
    Failed = EIO, "the fence failed";
    /// The fence failed because its signaler died.
    OwnerDied = EOWNERDEAD, "the signaler of the fence died";
    /// The fence's value is beyond where the condition could be met.
    OutOfRange = ERANGE, "the value is beyond where the condition could be met";
    /// The fence ended, or the loop, watch, queue or syncobj belongs to another process.
    Stale = ESTALE, "the fence ended, or the handle belongs to another process";
    /// It is too late: what is to be canceled has happened, or another thread dispatches.
    Already = EALREADY, "it has happened already";
    /// To wait in this release function would be a deadlock.
    Deadlock = EDEADLK, "the call would wait for the calling thread";
    /// The watch or job was canceled.
    Canceled = ECANCELED, "it was canceled";
    /// Every slot of the page is in use, or the fence has as many attachments as it can.
    NoSpace = ENOSPC, "no slot is free";
    /// The index or the handle names nothing.
    NotFound = ENOENT, "the index or handle names nothing";
    /// The file descriptor is not open.
    BadDescriptor = EBADF, "the file descriptor is not open";
    /// The kernel, the device or the machine cannot do it.
    NotSupported = EOPNOTSUPP, "the kernel or the device cannot do it";
    /// The kernel, a sandbox or the page's flags refuse it.
    AccessDenied = EACCES, "access denied";
    /// The page has more slots than the caller allows.
    TooLarge = EFBIG, "the page has too many slots";
    /// The device is gone: unplugged, unbound from its driver, or disabled.
    DeviceGone = ENODEV, "the device is gone";
    /// No memory is left.
    NoMemory = ENOMEM, "no memory is left";
    /// No file descriptor is left in the process.
    NoDescriptor = EMFILE, "no file descriptor is left in the process";
    /// No file descriptor is left in the system.
    NoSystemDescriptor = ENFILE, "no file descriptor is left in the system";
    /// An event that the library does not expect.
    Protocol = EPROTO, "an event that the library does not expect";
}

impl std::error::Error for Error {}

impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        io::Error::from_raw_os_error(error.errno())
    }
}

/// The result of a C function: 0 or more, or a negative errno.
pub(crate) fn check(result: c_int) -> Result<()> {
    if result < 0 { Err(Error::from_errno(result.wrapping_neg())) } else { Ok(()) }
}
