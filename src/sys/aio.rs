// SPDX-License-Identifier: MIT
//! io_setup and io_submit (Linux AIO), with IOCB_CMD_POLL of Linux 4.19: add to an eventfd without
//! a write.
//!
//! A write to an eventfd blocks if the counter is full and the open file has no O_NONBLOCK. Every
//! process that has the eventfd can clear that flag and fill the counter, also between a check and
//! the write. The kernel itself adds to an eventfd without blocking, for example when an AIO
//! request completes. A poll request for the eventfd completes at once: an eventfd can always be
//! read or written.

use crate::error::{Error, Result};
use rustix::fd::{AsRawFd, BorrowedFd};
use rustix::io::Errno;
use std::ffi::{c_long, c_ulong};
use std::ptr::{from_mut, from_ref};
use std::sync::atomic::{AtomicUsize, Ordering};

/// struct iocb. The kernel writes the key.
#[repr(C)]
#[derive(Default)]
struct Request {
    data: u64,
    key_and_flags: [u32; 2],
    opcode: u16,
    priority: i16,
    fd: u32,
    buffer: u64,
    length: u64,
    offset: i64,
    reserved: u64,
    flags: u32,
    eventfd: u32,
}

/// struct io_event.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Event {
    _words: [u64; 4],
}

const POLL: u16 = 5; // IOCB_CMD_POLL
const EVENTFD: u32 = 1; // IOCB_FLAG_RESFD

/// How many requests complete until [`discard`] has to make room.
const ROOM: usize = 64;

/// The process's AIO context, or 0. It takes no descriptor, and lasts as long as the process.
static CONTEXT: AtomicUsize = AtomicUsize::new(0);

/// Add one to the counter of an eventfd. Never blocks.
///
/// `Invalid` if `fd` is not an eventfd. Any other error says that AIO cannot be used here.
pub(super) fn signal_eventfd(fd: BorrowedFd<'_>) -> Result<()> {
    for _ in 0..3 {
        let context = CONTEXT.load(Ordering::Acquire);
        match submit(context, fd) {
            Ok(()) => return Ok(()),
            Err(Errno::AGAIN) => discard(context).map(drop)?,
            // Either the file is not an eventfd, or the context is none: that of the process which
            // this one was forked from.
            Err(Errno::INVAL) if discard(context).is_ok() => return Err(Error::Invalid),
            Err(Errno::INVAL) => replace(context)?,
            Err(errno) => return Err(errno.into()),
        }
    }
    Err(Error::NoMemory)
}

/// Make a context in place of `before`, unless another thread does.
fn replace(before: usize) -> Result<()> {
    let mut context: c_ulong = 0;
    // SAFETY: the kernel writes the context's number to the variable.
    call(unsafe { libc::syscall(libc::SYS_io_setup, ROOM, from_mut(&mut context)) })?;
    let new = context as usize;
    if CONTEXT.compare_exchange(before, new, Ordering::AcqRel, Ordering::Acquire).is_err() {
        // SAFETY: the context was made above, and no other thread knows it.
        let _ = unsafe { libc::syscall(libc::SYS_io_destroy, context) };
    }
    Ok(())
}

fn submit(context: usize, fd: BorrowedFd<'_>) -> rustix::io::Result<()> {
    let fd = fd.as_raw_fd() as u32;
    let events = (libc::POLLIN | libc::POLLOUT) as u64;
    let mut request = Request {
        opcode: POLL,
        fd,
        buffer: events,
        flags: EVENTFD,
        eventfd: fd,
        ..Request::default()
    };
    let list = [from_mut(&mut request)];
    // SAFETY: the kernel reads the list and the request, and writes the request's key, all within
    // the call. `buffer` holds poll events and no address.
    call(unsafe { libc::syscall(libc::SYS_io_submit, context, 1, list.as_ptr()) }).map(drop)
}

/// Discard the results of completed requests.
fn discard(context: usize) -> rustix::io::Result<c_long> {
    let mut events = [Event::default(); ROOM];
    let now = [0 as c_long; 2];
    // SAFETY: `events` has room for as many as are asked for. `now` is a struct timespec of this
    // architecture's kernel, two words of 0.
    call(unsafe {
        let (events, now) = (events.as_mut_ptr(), from_ref(&now));
        libc::syscall(libc::SYS_io_getevents, context, 0, ROOM, events, now)
    })
}

/// Convert the result of libc's syscall().
fn call(result: c_long) -> rustix::io::Result<c_long> {
    if result >= 0 {
        return Ok(result);
    }
    // SAFETY: the address is that of this thread's errno.
    Err(Errno::from_raw_os_error(unsafe { *libc::__errno_location() }))
}

const _: () = assert!(size_of::<Request>() == 64 && size_of::<Event>() == 32);
