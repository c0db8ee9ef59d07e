// SPDX-License-Identifier: MIT
//! A pointer of a C caller's, with the function that releases it.
#![forbid(unsafe_code)]

use super::callback;
use std::ffi::c_void;
use std::sync::atomic::{AtomicPtr, Ordering};

/// A callback's data pointer. It is released when this is dropped: no call can use it any more.
pub(crate) struct UserData {
    /// Atomic only so that any thread may hold it. It never changes.
    data: AtomicPtr<c_void>,
    release: Option<extern "C" fn(data: *mut c_void)>,
}

impl UserData {
    pub(crate) fn new(
        data: *mut c_void,
        release: Option<extern "C" fn(data: *mut c_void)>,
    ) -> UserData {
        UserData { data: AtomicPtr::new(data), release }
    }

    /// The pointer, for a call of the caller's function.
    pub(crate) fn get(&self) -> *mut c_void {
        self.data.load(Ordering::Relaxed)
    }

    /// Leaves the pointer to the caller: it is not released.
    pub(crate) fn disarm(&mut self) {
        self.release = None;
    }
}

impl Drop for UserData {
    fn drop(&mut self) {
        if let Some(release) = self.release {
            callback::call(|| release(self.get()));
        }
    }
}
