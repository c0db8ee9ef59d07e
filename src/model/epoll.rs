// SPDX-License-Identifier: MIT
//! epoll under shuttle: the kernel's, except that a sleep is one of shuttle's threads.
//!
//! The models use eventfds alone, so a sleeper looks again after each write to an eventfd.

#[path = "../sys/epoll.rs"]
mod kernel;

use crate::error::Result;
use crate::sys::time::Deadline;
use rustix::fd::BorrowedFd;
use shuttle::sync::{Condvar, Mutex};
use std::sync::PoisonError;

pub(crate) use kernel::{EVENTS, add, add_hangup, create, remove};

shuttle::lazy_static! {
    static ref WRITES: Mutex<()> = Mutex::new(());
    static ref WRITTEN: Condvar = Condvar::new();
}

/// Sleeps until a descriptor is ready. Deadlines do not pass.
pub(crate) fn wait<'a>(
    epoll: BorrowedFd<'_>,
    tokens: &'a mut [u64; EVENTS],
    deadline: Deadline,
) -> Result<&'a [u64]> {
    let mut writes = WRITES.lock().unwrap_or_else(PoisonError::into_inner);
    let count = loop {
        let count = kernel::wait(epoll, tokens, Deadline::POLL)?.len();
        if count > 0 || deadline == Deadline::POLL {
            break count;
        }
        writes = WRITTEN.wait(writes).unwrap_or_else(PoisonError::into_inner);
    };
    drop(writes);
    Ok(tokens.get(..count).unwrap_or(&[]))
}

/// Calls a function that may make a descriptor ready, and wakes the sleepers.
pub(crate) fn write(write: impl FnOnce()) {
    let writes = WRITES.lock().unwrap_or_else(PoisonError::into_inner);
    write();
    drop(writes);
    WRITTEN.notify_all();
}
