//! How to hear that a point was submitted where the kernel does not write to eventfds (before Linux
//! 6.6): a thread asleep in TIMELINE_WAIT.
//!
//! It waits for two syncobjs at once: the one it is about, and one of ours, which is signalled to
//! have it look up.

use super::THREAD_NAME;
use crate::convert::Syncobj;
use crate::error::{Error, Result};
use crate::sys::eventfd;
use crate::sys::thread::{Run, Thread};
use crate::util::process_bound::ProcessBound;
use crate::util::refs::Ref;
use rustix::fd::{AsFd, OwnedFd};
use std::ffi::CStr;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// An eventfd that tells of points.
pub(crate) type PointEvent = OwnedFd;

/// The thread, which ends with this.
pub(crate) struct Waiter {
    ward: Ref<Ward>,
    thread: Option<Thread>,
    creator: ProcessBound,
}

/// What the thread knows. Not the timeline, which it must not be the last to hold.
struct Ward {
    syncobj: Ref<Syncobj>,
    control: Syncobj,
    task: Mutex<Task>,
}

struct Task {
    /// The point to wait for.
    expected: Option<u64>,
    /// What to ring then. Kept afterwards: the timeline counts who has its bell.
    bell: Option<Ref<PointEvent>>,
    /// Why the thread gave up.
    failed: Option<Error>,
    ended: bool,
}

impl Waiter {
    pub(crate) fn start(syncobj: &Ref<Syncobj>) -> Result<Waiter> {
        let control = Syncobj::new(syncobj.device())?;
        let task = Mutex::new(Task { expected: None, bell: None, failed: None, ended: false });
        let ward = Ref::try_new(|| Ok(Ward { syncobj: syncobj.clone(), control, task }))?;
        let thread = Thread::start(ward.clone())?;
        Ok(Waiter { ward, thread: Some(thread), creator: ProcessBound::new() })
    }

    /// Rings once there is a fence at the point, instead of what was to be rung before.
    pub(crate) fn notify_when_submitted(&self, point: u64, bell: &Ref<PointEvent>) -> Result<()> {
        // Dropped after the lock.
        let _before;
        {
            let mut task = self.ward.lock();
            if let Some(error) = task.failed {
                return Err(error);
            }
            task.expected = Some(point);
            _before = task.bell.replace(bell.clone());
        }
        self.ward.control.at(0).signal()
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        // In the child of a fork there is no thread, and it may have held the lock.
        let Some(thread) = self.thread.take().filter(|_| self.creator.is_ours()) else { return };
        self.ward.lock().ended = true;
        // Without memory the thread hears of it when the point comes.
        let hears = self.ward.control.at(0).signal().is_ok();
        thread.end(hears);
    }
}

impl Ward {
    fn lock(&self) -> MutexGuard<'_, Task> {
        self.task.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the point has a fence or there is something new. False at the end.
    fn wait(&self) -> Result<bool> {
        let control = self.control.at(0);
        // First: who signals it after this is heard below, and who did before is heard here.
        control.reset()?;
        let point = {
            let task = self.lock();
            if task.ended {
                return Ok(false);
            }
            task.expected
        };
        match point {
            Some(point) => {
                if self.syncobj.at(point).wait_materialized_or(&control)? {
                    self.ring(point);
                }
            }
            None => {
                control.wait_materialized_or(&control)?;
            }
        }
        Ok(true)
    }

    /// Rings if what is expected is there by now, with a fence being at the point.
    fn ring(&self, point: u64) {
        let mut task = self.lock();
        if task.expected.take_if(|expected| *expected <= point).is_some() {
            if let Some(bell) = &task.bell {
                eventfd::add(bell.as_fd());
            }
        }
    }
}

impl Run for Ward {
    const NAME: &CStr = THREAD_NAME;

    fn run(&self) {
        loop {
            match self.wait() {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    // Who hears the bell expects the point again, and then is told.
                    self.lock().failed = Some(error);
                    self.ring(u64::MAX);
                    break;
                }
            }
        }
    }
}
