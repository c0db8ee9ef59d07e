// SPDX-License-Identifier: MIT
//! A thread in DRM_IOCTL_SYNCOBJ_TIMELINE_WAIT, which fires an eventfd when a point is submitted.
//!
//! Linux 6.6 and later do that themselves (DRM_IOCTL_SYNCOBJ_EVENTFD). The thread waits for two
//! syncobjs at once: the caller's, and a control syncobj, which is signaled to wake the thread.

use super::THREAD_NAME;
use crate::convert::Syncobj;
use crate::error::{Error, Result};
use crate::sys::eventfd;
use crate::sys::thread::{Run, Thread};
use crate::sys::time::Deadline;
use crate::util::mutex::{Guard, Mutex};
use crate::util::process_bound::ProcessBound;
use crate::util::refs::Ref;
use rustix::fd::{AsFd, OwnedFd};
use std::ffi::CStr;

/// How long the thread waits in one ioctl. Once the device is gone, nothing ends a wait that has
/// begun, and the next ioctl returns ENODEV.
const SLICE_NS: u64 = 1_000_000_000;

/// An eventfd that is readable once a point is submitted.
pub(crate) type PointEvent = OwnedFd;

/// The thread. It ends when this is dropped.
pub(crate) struct PointWaiter {
    shared: Ref<Shared>,
    thread: Option<Thread>,
    creator: ProcessBound,
}

/// The thread's state. It has no reference to the timeline: the drop of the last one waits for the
/// thread.
struct Shared {
    syncobj: Ref<Syncobj>,
    control: Syncobj,
    request: Mutex<Request>,
}

struct Request {
    /// The point that the thread waits for.
    expected: Option<u64>,
    /// The event to fire. Kept afterwards: the timeline counts the references to it.
    event: Option<Ref<PointEvent>>,
    /// Why the thread has exited.
    failed: Option<Error>,
    ended: bool,
}

impl PointWaiter {
    pub(crate) fn start(syncobj: &Ref<Syncobj>) -> Result<PointWaiter> {
        let control = Syncobj::new(syncobj.device())?;
        let request =
            Mutex::new(Request { expected: None, event: None, failed: None, ended: false });
        let shared = Ref::try_new(|| Ok(Shared { syncobj: syncobj.clone(), control, request }))?;
        let thread = Thread::start(shared.clone())?;
        Ok(PointWaiter { shared, thread: Some(thread), creator: ProcessBound::new() })
    }

    /// Has the thread fire an event once the point is submitted. Replaces the request before.
    pub(crate) fn notify_when_submitted(&self, point: u64, event: &Ref<PointEvent>) -> Result<()> {
        // Dropped after the lock.
        let _before;
        {
            let mut request = self.shared.lock();
            if let Some(error) = request.failed {
                return Err(error);
            }
            request.expected = Some(point);
            _before = request.event.replace(event.clone());
        }
        self.shared.control.at(0).signal()
    }
}

impl Drop for PointWaiter {
    fn drop(&mut self) {
        // The child of a fork has no such thread, which may have held the lock.
        let Some(thread) = self.thread.take().filter(|_| self.creator.is_ours()) else { return };
        self.shared.lock().ended = true;
        // If that fails, for want of memory or because the device is gone, the thread exits at the
        // end of its slice.
        let _ = self.shared.control.at(0).signal();
        thread.end(true);
    }
}

impl Shared {
    fn lock(&self) -> Guard<'_, Request> {
        self.request.lock()
    }

    /// Waits until the point is submitted or the request changes. Returns false at the end.
    fn wait(&self) -> Result<bool> {
        let control = self.control.at(0);
        // Before the request is read: a later signal ends the wait below, and what an earlier
        // signal announced is read here.
        control.reset()?;
        let point = {
            let request = self.lock();
            if request.ended {
                return Ok(false);
            }
            request.expected
        };
        let waited = match point {
            Some(point) => self.syncobj.at(point),
            None => control,
        };
        let submitted =
            match waited.wait_materialized_or(&control, Deadline::NEVER.within(SLICE_NS)) {
                Err(Error::TimedOut) => false,
                result => result?,
            };
        if let Some(point) = point.filter(|_| submitted) {
            self.notify(point);
        }
        Ok(true)
    }

    /// Fires the event if the requested point is not above `point`, which was submitted.
    fn notify(&self, point: u64) {
        let mut request = self.lock();
        if request.expected.take_if(|expected| *expected <= point).is_some() {
            if let Some(event) = &request.event {
                eventfd::add(event.as_fd());
            }
        }
    }
}

impl Run for Shared {
    const NAME: &CStr = THREAD_NAME;

    fn run(&self) {
        loop {
            match self.wait() {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    // A watch that polls the event requests the point again, and gets the error.
                    self.lock().failed = Some(error);
                    self.notify(u64::MAX);
                    break;
                }
            }
        }
    }
}
