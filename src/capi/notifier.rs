// SPDX-License-Identifier: MIT
//! Notifiers: how the waits of a process hear a device's interrupts.
//!
//! A notifier is one place where interrupts arrive, for any number of fences: those of a page, or
//! those that the driver names. All waits, watches, conversions and queues of the process that wait
//! for these fences then sleep instead of polling. A driver whose own interrupt handler calls
//! umf_page_notify() needs no notifier.

use super::args::{borrow_fd, no_flags, non_null, read_sized};
use super::contract::c_contract;
use super::fence::umf_fence;
use super::handles::{Handle, borrow, c_ref, c_unref, clone_ref, write_handle};
use super::page::umf_page;
use super::returns::{c_return, c_return_preserving_errno};
use crate::error::{Error, Result};
use crate::fence::Fence;
use crate::interrupt::{InterruptSource, Notifier};
use crate::sys::file_kind::FileKind;
use crate::sys::poll;
use crate::util::user_data::UserData;
use rustix::fd::OwnedFd;
use std::ffi::{c_int, c_void};

/// Where a device's interrupts arrive, for any number of fences. Reference counted. Since 0.1.
pub struct umf_notifier {
    _opaque: (),
}

impl Handle for umf_notifier {
    type Object = Notifier;
}

/// Where a device's interrupts arrive.
///
/// For umf_notifier_create(). Exactly one of fd and wait is given. Later versions may add members
/// at the end. Since 0.1.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct umf_interrupt {
    /// sizeof(struct umf_interrupt).
    pub size: u32,
    /// A descriptor that becomes readable after the device's interrupt. Set -1 if wait is given: a
    /// zeroed struct names descriptor 0, the standard input. The library reads it and discards the
    /// data. It must not block (O_NONBLOCK): otherwise another reader could hold up the library. It
    /// is an eventfd, a socket, a pipe, a character device or the like, not a file of a file
    /// system. Use one descriptor for each process: what one process reads, the others do not hear.
    pub fd: c_int,
    /// Sleeps until the device interrupted, at most until @abs_timeout_ns.
    ///
    /// It returns at once if the device interrupted since the last call. Return any value: it is
    /// ignored. The notifier's thread calls it, and only while somebody waits. The monitored value
    /// of a fence (umf_fence_monitored_offset()) is below the values that are waited for.
    /// @abs_timeout_ns is at most a second ahead, on this process's CLOCK_MONOTONIC; in a time
    /// namespace, the ioctls of DRM count on the host's. It must not end the notifier. NULL for
    /// none.
    pub wait: Option<extern "C" fn(data: *mut c_void, abs_timeout_ns: u64) -> c_int>,
    /// Passed to wait and release.
    pub data: *mut c_void,
    /// Called once, on any thread, when wait will not be called again. See "Release functions"
    /// above.
    ///
    /// That is after the last reference to the notifier ended and the last call of wait returned.
    /// May be NULL. Not called for fd, nor if umf_notifier_create() fails.
    pub release: Option<extern "C" fn(data: *mut c_void)>,
}

/// Create a notifier from a place where interrupts arrive.
///
/// The notifier has a thread. While a wait, a watch or a queue of this process waits for a fence of
/// the notifier, the thread sleeps at @interrupt. After an interrupt, it reads the fences that it
/// was set for, and wakes the waiters whose value a device has written, in all processes. While
/// nobody waits, the thread sleeps whatever the device does.
///
/// What a misbehaving device costs:
///
/// - It writes and does not interrupt: the thread reads the fences every 20 seconds too, while
///   somebody waits. Each value that it finds so makes that time shorter, down to 4 milliseconds.
/// - It interrupts and does not write, or @interrupt is always readable: the thread takes at most a
///   twentieth of a core for it, and notices values some milliseconds late.
/// - It hangs up, or the other end of the descriptor is closed: the thread reads the fences every 4
///   milliseconds while somebody waits. The driver should fail the fences (umf_fence_set_error()).
/// - It writes a smaller value: that counts as not written. What was seen as reached stays reached.
///
/// In other processes the notifier does nothing, but what this process wakes: each process creates
/// one of its own, or its waits poll (UMF_FENCE_DEVICE). So does the child of a fork.
///
/// @interrupt: where interrupts arrive. The struct stays the caller's; interrupt->fd is duplicated;
///     interrupt->data has to stay valid until interrupt->release is called.
/// @flags: must be 0.
/// @out_notifier: receives a reference, which the caller ends with umf_notifier_unref(). Written
///     only on success.
///
/// Return: 0 on success, or
///   -EINVAL           @interrupt or @out_notifier is NULL; interrupt->size is less than the first
///                     version of the struct; both or neither of fd and wait are given; fd can
///                     block, or is of a file in a file system; @flags is not 0
///   -EBADF            interrupt->fd is not open
///   -ENOMEM           no memory is left, or no thread
///   -EMFILE, -ENFILE  no file descriptor is left, in the process or in the system
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_notifier_create(
    interrupt: *const umf_interrupt,
    flags: u64,
    out_notifier: *mut *mut umf_notifier,
) -> c_int {
    c_return_preserving_errno(|| {
        no_flags(flags)?;
        non_null(out_notifier)?;
        let interrupt = c_contract!(read_sized(interrupt)?);
        let notifier = match (interrupt.wait, interrupt.fd) {
            (Some(wait), -1) => Notifier::new(|| {
                let data = UserData::new(interrupt.data, interrupt.release);
                InterruptSource::Callback(wait, data)
            }),
            (None, fd) if fd != -1 => {
                let source = InterruptSource::fd(interrupt_fd(fd)?)?;
                Notifier::new(|| source)
            }
            _ => Err(Error::Invalid),
        }?;
        c_contract!(write_handle(notifier, out_notifier));
        Ok(())
    })
}

/// Duplicates a descriptor that becomes readable after an interrupt.
fn interrupt_fd(fd: c_int) -> Result<OwnedFd> {
    let fd = borrow_fd(fd)?;
    poll::require_nonblocking(fd)?;
    let kinds =
        [FileKind::Anonymous, FileKind::Socket, FileKind::Pipe, FileKind::Drm, FileKind::Device];
    FileKind::dup(&kinds, fd)
}

/// Add a reference to a notifier.
///
/// @notifier: the notifier, or NULL.
///
/// Return: @notifier. The caller ends the new reference with umf_notifier_unref().
///
/// Thread-safe and async-signal-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_notifier_ref(notifier: *mut umf_notifier) -> *mut umf_notifier {
    c_contract!(c_ref(notifier))
}

/// End a reference to a notifier.
///
/// The fences and pages that it was set for hold references too. With the last one its thread ends
/// and the library's descriptors are closed.
///
/// @notifier: the notifier. NULL does nothing.
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_notifier_unref(notifier: *mut umf_notifier) {
    c_contract!(c_unref(notifier))
}

/// Set the notifier of a fence that a device writes.
///
/// Waits, watches and jobs of this process that begin after the call hear it. A fence keeps its
/// notifier until this process ends its last reference to the fence. To set the same one again
/// changes nothing. The child of a fork may set a notifier of its own.
///
/// @fence: a fence with UMF_FENCE_DEVICE. It holds a reference to @notifier.
/// @notifier: the notifier.
///
/// Return: 0 on success, or
///   -EINVAL    @fence or @notifier is NULL, or @fence has no UMF_FENCE_DEVICE
///   -EALREADY  the fence has another notifier
///   -EACCES    this process imported the page, which has UMF_PAGE_SINGLE_WRITER
///   -ESTALE    @notifier belongs to the process that this one was forked from
///   -ENOMEM    no memory is left
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_fence_set_notifier(
    fence: *mut umf_fence,
    notifier: *mut umf_notifier,
) -> c_int {
    c_return_preserving_errno(|| {
        let fence = c_contract!(borrow(fence)?);
        fence.set_notifier(&c_contract!(clone_ref(notifier)?))
    })
}

/// Set the notifier of all fences of a page that a device writes.
///
/// As umf_fence_set_notifier() for each fence with UMF_FENCE_DEVICE that this process has open and
/// that has no notifier, and for each that it creates or opens later. If there is no memory for
/// one of these fences, waits for that fence poll.
///
/// @page: the page. It holds a reference to @notifier.
/// @notifier: the notifier.
///
/// Return: 0 on success, or
///   -EINVAL    @page or @notifier is NULL
///   -EALREADY  the page has another notifier
///   -EACCES    this process imported the page, which has UMF_PAGE_SINGLE_WRITER, or imported it
///              with UMF_PAGE_READ_ONLY
///   -ESTALE    @notifier belongs to the process that this one was forked from
///   -ENOMEM    no memory is left
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_page_set_notifier(
    page: *mut umf_page,
    notifier: *mut umf_notifier,
) -> c_int {
    c_return_preserving_errno(|| {
        let page = c_contract!(borrow(page)?);
        Fence::set_page_notifier(page, &c_contract!(clone_ref(notifier)?))
    })
}

/// Wake the waiters of a page's fences that a device wrote.
///
/// The code that handles the device's interrupt calls this, once for all fences of the page. It
/// reads each fence with UMF_FENCE_DEVICE, and wakes the waiters for the values that were written
/// since the last call in any process, of this function or of a notifier. Waiters of other fences
/// sleep on. A value of umf_fence_create_in() is not read: all waiters of such a fence are woken.
/// The call takes time in proportion to the size of the page.
///
/// @page: the page.
///
/// Return: 0 on success, or
///   -EINVAL  @page is NULL
///   -EACCES  this process imported the page, which has UMF_PAGE_SINGLE_WRITER, or imported it with
///            UMF_PAGE_READ_ONLY
///
/// Thread-safe and async-signal-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_page_notify(page: *mut umf_page) -> c_int {
    c_return(|| c_contract!(borrow(page)?).notify())
}
