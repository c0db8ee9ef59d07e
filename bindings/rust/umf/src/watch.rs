// SPDX-License-Identifier: MIT
//! Watches: waits that block no thread.

use crate::error::{Error, Result, check};
use crate::handle::handle;
use crate::sys;

handle! {
    /// A watch: a wait that performs an action when it is due. [`EventLoop`](crate::EventLoop)
    /// makes them.
    ///
    /// The end of the last handle does not cancel the watch.
    #[doc(alias = "umf_watch")]
    Watch: umf_watch, umf_watch_ref, umf_watch_unref
}

impl Watch {
    /// Cancels the watch, if its action has not begun.
    ///
    /// After `Ok`, neither the action nor the callback has happened or ever will, and the callback
    /// is dropped. After [`Error::Already`], the callback has run, is running or is about to run.
    #[doc(alias = "umf_watch_cancel")]
    pub fn cancel(&self) -> Result<()> {
        // SAFETY: The watch is valid.
        check(unsafe { sys::umf_watch_cancel(self.as_raw()) })
    }

    /// Returns how the watch ended. `None` if it is not over.
    #[doc(alias = "umf_watch_result")]
    pub fn result(&self) -> Option<Result<()>> {
        // SAFETY: The watch is valid.
        match check(unsafe { sys::umf_watch_result(self.as_raw()) }) {
            Err(Error::TimedOut) => None,
            result => Some(result),
        }
    }
}
