//! The process that an object belongs to.
#![forbid(unsafe_code)]

use rustix::process::{Pid, getpid};

/// Remembers the process that made an object. The child of a fork has a copy of the object, but
/// neither its threads nor a right to its kernel handles.
pub(crate) struct ProcessBound(Pid);

impl ProcessBound {
    /// Binds an object to this process.
    pub(crate) fn new() -> ProcessBound {
        ProcessBound(getpid())
    }

    /// Whether this process made the object, and not a parent that it was forked from.
    pub(crate) fn is_ours(&self) -> bool {
        self.0 == getpid()
    }
}
