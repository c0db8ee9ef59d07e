//! A job: what it waits for, what it runs, and what it signals.

use crate::error::{self, Error, FenceErrno, Result};
use crate::fence::Fence;
use crate::reactor::watch::{Failure, Watch};
use crate::util::refs::Ref;
use crate::wait::{Condition, Predicate};
use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicPtr, Ordering};

/// How a driver's part of a job went.
pub(crate) type Run = extern "C" fn(data: *mut c_void) -> c_int;
pub(crate) type Release = extern "C" fn(data: *mut c_void, result: c_int);

/// The work is done: the queue signals.
pub(crate) const DONE: c_int = 0;
/// The work goes on: the driver, or its device, signals.
pub(crate) const SUBMITTED: c_int = 1;

/// A job, as it is submitted.
pub(crate) struct Job {
    pub(super) items: Items,
    run: Run,
    release: Option<Release>,
    data: AtomicPtr<c_void>,
}

/// What a job waits for, and then what it signals: one block of memory.
pub(super) struct Items {
    items: Vec<Item>,
    /// How many of the waits are met.
    met: usize,
}

enum Item {
    Wait(Ref<Fence>, Predicate),
    Signal(Ref<Fence>, u64),
}

impl Job {
    /// A job with room for so many waits and signals.
    pub(crate) fn new(
        count: usize,
        run: Run,
        release: Option<Release>,
        data: *mut c_void,
    ) -> Result<Job> {
        let mut items = Vec::new();
        items.try_reserve_exact(count).map_err(|_| Error::NoMemory)?;
        Ok(Job { items: Items { items, met: 0 }, run, release, data: AtomicPtr::new(data) })
    }

    /// Adds a wait. All come before the first signal.
    pub(crate) fn wait(&mut self, fence: Ref<Fence>, demand: Predicate) {
        self.items.items.push(Item::Wait(fence, demand));
    }

    /// Adds a signal. `Invalid` for a value that the fence cannot have.
    pub(crate) fn signal(&mut self, fence: Ref<Fence>, value: u64) -> Result<()> {
        if !fence.width().holds(value) {
            return Err(Error::Invalid);
        }
        self.items.items.push(Item::Signal(fence, value));
        Ok(())
    }

    /// Does the driver's part.
    pub(super) fn run(&self) -> c_int {
        (self.run)(self.data.load(Ordering::Relaxed))
    }

    pub(super) fn release(&self, result: Result<()>) {
        if let Some(release) = self.release {
            release(self.data.load(Ordering::Relaxed), error::code(result));
        }
    }

    /// It will not run: whoever waits for it learns that.
    pub(super) fn give_up(self, failure: Failure) {
        self.items.fail(failure.errno);
        self.release(Err(failure.error));
    }
}

/// What a job waits for next.
pub(super) enum Next<'a> {
    Nothing,
    Wait(&'a Ref<Fence>, Predicate),
    Failed(Failure),
}

impl Items {
    /// What the job signals.
    pub(super) fn signals(&self) -> impl Iterator<Item = (&Fence, u64)> {
        self.items.iter().filter_map(|item| match item {
            Item::Signal(fence, value) => Some((&**fence, *value)),
            Item::Wait(..) => None,
        })
    }

    /// Whether each signal is there, or has failed.
    pub(super) fn is_signaled(&self) -> bool {
        self.signals().all(|(fence, value)| is_over(fence, value))
    }

    /// The first signal that is neither there nor failed.
    pub(super) fn first_unsignaled(&self) -> Option<(Ref<Fence>, u64)> {
        self.items.iter().find_map(|item| match item {
            Item::Signal(fence, value) if !is_over(fence, *value) => Some((fence.clone(), *value)),
            _ => None,
        })
    }

    /// The wait that `next` returned is met: its fence may be past that by now.
    pub(super) fn wait_was_met(&mut self) {
        self.met += 1;
    }

    /// Goes on to the first wait that is not met.
    pub(super) fn next(&mut self) -> Next<'_> {
        let from = self.met;
        for item in self.items.iter().skip(from) {
            let Item::Wait(fence, demand) = item else { break };
            match Watch::look(*demand, fence) {
                Some(Ok(())) => self.met += 1,
                Some(Err(failure)) => return Next::Failed(failure),
                None => return Next::Wait(fence, *demand),
            }
        }
        Next::Nothing
    }

    /// Raises the pending values, so that who waits for work to be submitted goes on.
    pub(super) fn submit(&self) -> Result<()> {
        // What fails must not have raised any.
        for (fence, _) in self.signals() {
            fence.check_signalable()?;
            if let Some(errno) = fence.error()? {
                return Err(Error::of_failed_fence(errno));
            }
        }
        self.signals().try_for_each(|(fence, value)| fence.submit(value))
    }

    pub(super) fn signal(&self) -> Result<()> {
        let mut result = Ok(());
        for (fence, value) in self.signals() {
            // Also after one has failed.
            result = result.and(fence.signal(value));
        }
        result
    }

    /// Fails the fences that have not got to their values.
    pub(super) fn fail(&self, errno: FenceErrno) {
        for (fence, _) in self.signals().filter(|(fence, value)| !is_over(fence, *value)) {
            // One that has ended meanwhile has told its waiters.
            let _ = fence.set_error(errno);
        }
    }
}

/// Whether a fence has reached a value, or never will.
fn is_over(fence: &Fence, value: u64) -> bool {
    Condition::reached(fence, value).is_ok_and(|condition| condition.met() != Ok(false))
}
