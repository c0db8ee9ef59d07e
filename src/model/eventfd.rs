// SPDX-License-Identifier: MIT
//! eventfds under shuttle: the kernel's, whose writes wake what sleeps in model/epoll.rs.

#[path = "../sys/eventfd.rs"]
mod kernel;

use crate::sys::epoll;
use rustix::fd::BorrowedFd;

pub(crate) use kernel::{clear, create, require};

pub(crate) fn add(fd: BorrowedFd<'_>) {
    epoll::write(|| kernel::add(fd));
}

pub(crate) fn add_shared(fd: BorrowedFd<'_>) {
    epoll::write(|| kernel::add_shared(fd));
}
