// SPDX-License-Identifier: MIT
//! The library's threads as the model checkers see them: what sys/thread.rs does with the system's
//! threads, on those of loom or shuttle.

use crate::error::Result;
use crate::util::refs::Ref;
#[cfg(loom)]
use loom::thread::{self, JoinHandle};
#[cfg(shuttle)]
use shuttle::thread::{self, JoinHandle};
use std::ffi::CStr;

pub(crate) trait Run: Send + Sync + 'static {
    const NAME: &'static CStr;
    fn run(&self);
}

pub(crate) struct Thread(JoinHandle<()>);

impl Thread {
    pub(crate) fn start<T: Run>(object: Ref<T>) -> Result<Thread> {
        Ok(Thread(thread::spawn(move || object.run())))
    }

    pub(crate) fn is_current(&self) -> bool {
        thread::current().id() == self.0.thread().id()
    }

    pub(crate) fn end(self, wait: bool) {
        if wait && self.0.join().is_err() {
            unreachable!("a model panicked");
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct ThreadId(thread::ThreadId);

impl ThreadId {
    pub(crate) fn current() -> ThreadId {
        ThreadId(thread::current().id())
    }
}
