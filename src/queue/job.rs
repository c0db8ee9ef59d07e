// SPDX-License-Identifier: MIT
//! A job: its waits, the driver's function, and its signals. One allocation holds waits and
//! signals.

use crate::error::{self, Error, FenceErrno, Result};
use crate::fence::Fence;
use crate::reactor::{Failure, Watch};
use crate::util::callback;
use crate::util::refs::Ref;
use crate::wait::{Condition, Predicate};
use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicPtr, Ordering};

/// Does the driver's part of a job. Returns `DONE`, `SUBMITTED` or a negative errno.
pub(crate) type Run = extern "C" fn(data: *mut c_void) -> c_int;
/// Releases the data of a job, with its result.
pub(crate) type Release = extern "C" fn(data: *mut c_void, result: c_int);

/// The work is done: the queue signals.
pub(crate) const DONE: c_int = 0;
/// The work was submitted: the driver, or its device, signals.
pub(crate) const SUBMITTED: c_int = 1;

/// A job, as it is submitted.
pub(crate) struct Job {
    pub(super) dependencies: Dependencies,
    run: Run,
    release: Option<Release>,
    data: AtomicPtr<c_void>,
}

/// The waits and signals of a job, in one allocation.
pub(super) struct Dependencies {
    /// All waits, then all signals.
    items: Vec<Item>,
    /// How many of the waits are met, from the first on.
    met: usize,
}

enum Item {
    Wait(Ref<Fence>, Predicate),
    Signal(Ref<Fence>, u64),
}

impl Job {
    /// Makes a job, with memory for `count` waits and signals.
    pub(crate) fn new(
        count: usize,
        run: Run,
        release: Option<Release>,
        data: *mut c_void,
    ) -> Result<Job> {
        let mut items = Vec::new();
        items.try_reserve_exact(count).map_err(|_| Error::NoMemory)?;
        Ok(Job {
            dependencies: Dependencies { items, met: 0 },
            run,
            release,
            data: AtomicPtr::new(data),
        })
    }

    /// Adds a wait. All waits come before the first signal. The wait begins now: a value that meets
    /// it counts even if an unordered fence is rewound before the job's turn.
    pub(crate) fn wait(&mut self, fence: Ref<Fence>, predicate: Predicate) {
        let predicate = predicate.begin(&fence);
        self.dependencies.items.push(Item::Wait(fence, predicate));
    }

    /// Adds a signal. `Invalid` for a value that the fence cannot have.
    pub(crate) fn signal(&mut self, fence: Ref<Fence>, value: u64) -> Result<()> {
        if !fence.width().holds(value) {
            return Err(Error::Invalid);
        }
        self.dependencies.items.push(Item::Signal(fence, value));
        Ok(())
    }

    /// Calls the driver's function.
    pub(super) fn run(&self) -> c_int {
        callback::call(|| (self.run)(self.data.load(Ordering::Relaxed)))
    }

    /// Releases the data.
    pub(super) fn release(&self, result: Result<()>) {
        if let Some(release) = self.release {
            callback::call(|| release(self.data.load(Ordering::Relaxed), error::code(result)));
        }
    }

    /// Fails the job's signals: it will not run.
    pub(super) fn fail(self, failure: Failure) {
        self.dependencies.fail(failure.errno);
        self.release(Err(failure.error));
    }
}

/// The next thing that a job waits for.
pub(super) enum Next<'a> {
    Nothing,
    Wait(&'a Ref<Fence>, Predicate),
    Failed(Failure),
}

impl Dependencies {
    /// Returns the signals: fences and values.
    pub(super) fn signals(&self) -> impl Iterator<Item = (&Fence, u64)> {
        self.items.iter().filter_map(|item| match item {
            Item::Signal(fence, value) => Some((&**fence, *value)),
            Item::Wait(..) => None,
        })
    }

    /// Whether each signal was made, or failed.
    pub(super) fn is_signaled(&self) -> bool {
        self.signals().all(|(fence, value)| is_settled(fence, value))
    }

    /// Returns the first signal that was neither made nor failed.
    pub(super) fn first_unsignaled(&self) -> Option<(Ref<Fence>, u64)> {
        self.items.iter().find_map(|item| match item {
            Item::Signal(fence, value) if !is_settled(fence, *value) => {
                Some((fence.clone(), *value))
            }
            _ => None,
        })
    }

    /// Counts the wait that `next` returned as met. It is not checked again: the fence may be past
    /// the condition by now.
    pub(super) fn wait_was_met(&mut self) {
        self.met += 1;
    }

    /// Advances to the first wait that is not met.
    pub(super) fn next(&mut self) -> Next<'_> {
        let from = self.met;
        for item in self.items.iter().skip(from) {
            let Item::Wait(fence, predicate) = item else { break };
            match Watch::check(*predicate, fence) {
                Some(Ok(())) => self.met += 1,
                Some(Err(failure)) => return Next::Failed(failure),
                None => return Next::Wait(fence, *predicate),
            }
        }
        Next::Nothing
    }

    /// Raises the pending values of all signals, which wakes waiters for a submission.
    pub(super) fn submit(&self) -> Result<()> {
        // Checked first: a call that fails must not have raised any.
        for (fence, _) in self.signals() {
            fence.check_signalable()?;
            if let Some(errno) = fence.error()? {
                return Err(Error::of_failed_fence(errno));
            }
        }
        let mut ordered = self.signals().filter(|(fence, _)| !fence.is_unordered());
        ordered.try_for_each(|(fence, value)| fence.submit(value))
    }

    /// Signals all fences, and returns the first error.
    pub(super) fn signal(&self) -> Result<()> {
        let mut result = Ok(());
        for (fence, value) in self.signals() {
            // Also after one that failed.
            result = result.and(fence.signal(value));
        }
        result
    }

    /// Fails the fences that have not reached their values.
    pub(super) fn fail(&self, errno: FenceErrno) {
        for (fence, _) in self.signals().filter(|(fence, value)| !is_settled(fence, *value)) {
            // A fence that was destroyed meanwhile has woken its waiters.
            let _ = fence.set_error(errno);
        }
    }
}

/// Whether a fence has reached a value, or never will.
fn is_settled(fence: &Fence, value: u64) -> bool {
    Condition::reached(fence, value).is_ok_and(|condition| condition.met() != Ok(false))
}
