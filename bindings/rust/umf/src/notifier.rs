// SPDX-License-Identifier: MIT
//! Notifiers: how a device's interrupt wakes the waits of this process.

use crate::error::{Result, check};
use crate::handle::{drop_box, handle, size_of, with_box};
use crate::{Deadline, Fence, Page, panics, sys};
use std::ffi::{c_int, c_void};
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;

handle! {
    /// A notifier: where the interrupts of a device arrive, for any number of fences.
    #[doc(alias = "umf_notifier")]
    Notifier: umf_notifier, umf_notifier_ref, umf_notifier_unref
}

impl Notifier {
    /// Creates a notifier whose thread sleeps in `wait` until the device interrupted.
    ///
    /// The argument of `wait` is the latest time at which it must return. `wait` returns at once if
    /// the device interrupted since the last call. Only the notifier's thread calls it, and only
    /// while a thread waits.
    #[doc(alias = "umf_notifier_create")]
    pub fn create<F>(wait: F) -> Result<Notifier>
    where
        F: Fn(Deadline) + Send + Sync + 'static,
    {
        Notifier::created(|out| {
            with_box(wait, |data| {
                let interrupt = sys::umf_interrupt {
                    size: size_of::<sys::umf_interrupt>(),
                    fd: -1,
                    wait: Some(run_wait::<F>),
                    data,
                    release: Some(drop_box::<F>),
                };
                // SAFETY: The struct has its size, and `out` is valid for writing. `data` is valid
                // until `release`.
                unsafe { sys::umf_notifier_create(&raw const interrupt, 0, out) }
            })
        })
    }

    /// Creates a notifier of a descriptor that becomes readable after the device's interrupt.
    ///
    /// The library reads the descriptor, which must be nonblocking, and discards the data.
    #[doc(alias = "umf_notifier_create")]
    pub fn create_fd(fd: impl AsFd) -> Result<Notifier> {
        let fd = fd.as_fd();
        let interrupt = sys::umf_interrupt {
            size: size_of::<sys::umf_interrupt>(),
            fd: fd.as_raw_fd(),
            wait: None,
            data: ptr::null_mut(),
            release: None,
        };
        // SAFETY: The struct has its size, and `out` is valid for writing. The library duplicates
        // the descriptor, which is open during the call.
        Notifier::created(|out| unsafe { sys::umf_notifier_create(&raw const interrupt, 0, out) })
    }
}

impl Fence {
    /// Sets the notifier of a fence that a device writes, which keeps it until it ends.
    #[doc(alias = "umf_fence_set_notifier")]
    pub fn set_notifier(&self, notifier: &Notifier) -> Result<()> {
        // SAFETY: Both handles are valid.
        check(unsafe { sys::umf_fence_set_notifier(self.as_raw(), notifier.as_raw()) })
    }
}

impl Page {
    /// Sets the notifier of all fences of the page that a device writes.
    #[doc(alias = "umf_page_set_notifier")]
    pub fn set_notifier(&self, notifier: &Notifier) -> Result<()> {
        // SAFETY: Both handles are valid.
        check(unsafe { sys::umf_page_set_notifier(self.as_raw(), notifier.as_raw()) })
    }

    /// Wakes the waiters of the page's fences that a device wrote.
    ///
    /// The code that handles the device's interrupt calls this, once for all fences of the page.
    #[doc(alias = "umf_page_notify")]
    pub fn notify(&self) -> Result<()> {
        // SAFETY: The page is valid.
        check(unsafe { sys::umf_page_notify(self.as_raw()) })
    }
}

extern "C" fn run_wait<F: Fn(Deadline)>(data: *mut c_void, abs_timeout_ns: u64) -> c_int {
    // SAFETY: `data` is the box of `create`, which the library releases after the last call of
    // this. F is Sync, and the reference is shared.
    let wait = unsafe { &*data.cast::<F>() };
    panics::contain(|| wait(Deadline::at(abs_timeout_ns)));
    0
}
