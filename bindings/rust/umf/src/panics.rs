// SPDX-License-Identifier: MIT
//! No panic crosses the C library.
//!
//! A panic in a function that the library calls is caught at once. The panic hook has printed it by
//! then. If a call of this crate's runs the function on the same thread, as
//! [`DispatchLoop::dispatch`](crate::DispatchLoop::dispatch) does, the panic goes on when that call
//! has returned. Elsewhere it ends: the thread is the library's, or the call is one that ends a
//! handle, which must not panic.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};

type Payload = Box<dyn Any + Send>;

thread_local! {
    /// For each call of `resume_after` on this thread, the panic that was caught in it.
    static CALLS: RefCell<Vec<Option<Payload>>> = const { RefCell::new(Vec::new()) };
}

/// Runs a function of the user's for the library. Returns `None` if it panicked.
pub(crate) fn contain<R>(function: impl FnOnce() -> R) -> Option<R> {
    // What a panic leaves behind is the user's, as with a thread that panics.
    match panic::catch_unwind(AssertUnwindSafe(function)) {
        Ok(result) => Some(result),
        Err(payload) => {
            keep(payload);
            None
        }
    }
}

/// Keeps the first panic for the call that this thread is in. To drop a payload may panic, so
/// others are leaked.
fn keep(payload: Payload) {
    let mut payload = Some(payload);
    // Fails while the thread's variables are being destroyed.
    let _ = CALLS.try_with(|calls| {
        if let Some(first @ None) = calls.borrow_mut().last_mut() {
            *first = payload.take();
        }
    });
    std::mem::forget(payload);
}

/// Makes a call of the library, then goes on with the panic of a function that ran in it.
pub(crate) fn resume_after<R>(call: impl FnOnce() -> R) -> R {
    CALLS.with(|calls| calls.borrow_mut().push(None));
    // A call of the C library does not unwind, so what was pushed is always popped.
    let result = call();
    if let Some(Some(payload)) = CALLS.with(|calls| calls.borrow_mut().pop()) {
        panic::resume_unwind(payload);
    }
    result
}
