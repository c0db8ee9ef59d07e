//! How waits of this process learn that a device wrote a value.

use crate::error::{Result, check};
use crate::handle::size_of;
use crate::{Deadline, Fence, panics, sys};
use std::ffi::{c_int, c_void};
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;

impl Fence {
    /// Has waits of this process sleep in `wait` until the device interrupted.
    ///
    /// `wait` gets the value and until when to sleep at most. It returns when the device
    /// interrupted, for whatever reason. It runs on the thread of a wait, mostly of one at a time.
    /// It must not wait for this fence or change its notifier: such a wait may not end.
    #[doc(alias = "umf_fence_set_notifier")]
    pub fn set_notifier<F>(&self, wait: F) -> Result<()>
    where
        F: Fn(u64, Deadline) + Send + Sync + 'static,
    {
        let data = Box::into_raw(Box::new(wait));
        let notifier = sys::umf_notifier {
            size: size_of::<sys::umf_notifier>(),
            fd: -1,
            wait: Some(run_wait::<F>),
            data: data.cast(),
            release: Some(release::<F>),
        };
        // SAFETY: The fence and the notifier are valid. `data` is valid until `release`.
        let result =
            check(unsafe { sys::umf_fence_set_notifier(self.as_raw(), &raw const notifier) });
        if result.is_err() {
            // SAFETY: A call that fails does not keep the notifier, and calls no release.
            drop(unsafe { Box::from_raw(data) });
        }
        result
    }

    /// Has waits of this process sleep until `fd` is readable, which is after the device's
    /// interrupt.
    ///
    /// The library reads the descriptor, which must be nonblocking, and discards the data.
    #[doc(alias = "umf_fence_set_notifier")]
    pub fn set_notifier_fd(&self, fd: impl AsFd) -> Result<()> {
        let fd = fd.as_fd();
        let notifier = sys::umf_notifier {
            size: size_of::<sys::umf_notifier>(),
            fd: fd.as_raw_fd(),
            wait: None,
            data: ptr::null_mut(),
            release: None,
        };
        // SAFETY: The fence and the notifier are valid. The library duplicates the descriptor.
        check(unsafe { sys::umf_fence_set_notifier(self.as_raw(), &raw const notifier) })
    }

    /// Removes the notifier.
    #[doc(alias = "umf_fence_set_notifier")]
    pub fn remove_notifier(&self) -> Result<()> {
        // SAFETY: The fence is valid. NULL removes the notifier.
        check(unsafe { sys::umf_fence_set_notifier(self.as_raw(), ptr::null()) })
    }
}

extern "C" fn run_wait<F: Fn(u64, Deadline)>(
    data: *mut c_void,
    value: u64,
    abs_timeout_ns: u64,
) -> c_int {
    // SAFETY: `data` is the box of `set_notifier`, which lives until `release`. Several threads may
    // be here at the same time: F is Sync, and the reference is shared.
    let wait = unsafe { &*data.cast::<F>() };
    panics::contain(|| wait(value, Deadline::at(abs_timeout_ns)));
    0
}

extern "C" fn release<F>(data: *mut c_void) {
    // SAFETY: `data` is the box of `set_notifier`, which the library releases once, after the last
    // call of `run_wait`.
    let wait = unsafe { Box::from_raw(data.cast::<F>()) };
    panics::contain(|| drop(wait));
}
