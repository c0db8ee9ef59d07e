// SPDX-License-Identifier: MIT
//! A kernel timeline (drm_syncobj): adds points to it in order, and has the event that announces
//! submitted points.

use super::point_order::Order;
use super::point_waiter::{PointEvent, PointWaiter};
use super::watch::{Failure, Ordered, Outcome, Watch};
use crate::convert::{Device, Syncobj};
use crate::error::{Error, Result};
use crate::fence::{ExportSource, KernelFence};
use crate::sys::eventfd;
use crate::util::mutex::{Guard, Mutex};
use crate::util::refs::Ref;
use rustix::fd::{AsFd, OwnedFd};

/// The object behind `umf_syncobj`: a syncobj, and the watches that will add points to it. A binary
/// syncobj has only point 0.
pub(crate) struct Timeline {
    syncobj: Ref<Syncobj>,
    order: Ref<Order>,
    waits: Mutex<Waits>,
}

/// The wait for points that are not submitted yet, shared by all event loops.
struct Waits {
    /// Readable once the expected point is submitted.
    event: Option<Ref<PointEvent>>,
    /// The point that the event fires for: the lowest that a watch waits for. The kernel cannot
    /// withdraw a request for an event. So there is one at a time, and the next watch uses what a
    /// canceled one has left.
    expected: Option<u64>,
    /// Fires the event where the kernel does not.
    point_waiter: Option<PointWaiter>,
}

/// What a point holds.
pub(crate) enum Submission {
    Fence(OwnedFd),
    /// Nothing yet. The event fires when that may have changed.
    NotYet(Ref<PointEvent>),
}

impl Timeline {
    /// Opens a syncobj by the caller's handle.
    pub(crate) fn open(device: &Ref<Device>, handle: u32) -> Result<Ref<Timeline>> {
        let syncobj = Ref::try_new(|| Syncobj::open(device, handle))?;
        let order = Order::of(&syncobj, handle)?;
        Timeline::new(syncobj, order)
    }

    /// Makes a new syncobj, which has no fence.
    pub(crate) fn create(device: &Ref<Device>) -> Result<Ref<Timeline>> {
        let syncobj = Ref::try_new(|| Syncobj::new(device))?;
        let order = Order::of_own(&syncobj)?;
        Timeline::new(syncobj, order)
    }

    fn new(syncobj: Ref<Syncobj>, order: Ref<Order>) -> Result<Ref<Timeline>> {
        let waits = Waits { event: None, expected: None, point_waiter: None };
        Ref::try_new(|| Ok(Timeline { syncobj, order, waits: Mutex::new(waits) }))
    }

    /// Returns a descriptor of the syncobj, for another process.
    pub(crate) fn export(&self) -> Result<OwnedFd> {
        self.syncobj.export()
    }

    // Adding points.

    /// Checks that a point can be added, as far as that is known now. `Invalid` if it is not beyond
    /// the last.
    pub(crate) fn check_forward(&self, point: u64) -> Result<()> {
        self.syncobj.at(point).check_forward()
    }

    /// Enqueues a watch that will add a point once `source` is reached, or has a kernel fence.
    pub(crate) fn enqueue(
        &self,
        point: u64,
        watch: &Ref<Watch>,
        source: ExportSource,
    ) -> Result<()> {
        self.order.enqueue(point, watch, source)
    }

    /// Puts a kernel fence at a point that is next in order. Returns false if it is not next.
    pub(crate) fn submit_if_next(&self, point: u64, kernel_fence: &KernelFence) -> Result<bool> {
        self.order.submit_if_next(&self.syncobj, point, kernel_fence)
    }

    /// Signals a point, after the watches that were enqueued for lower ones. `Invalid` if the point
    /// is not beyond the last, or if a watch will add it. `Stale` in the child of a fork, where a
    /// thread that does not exist may hold the order's lock.
    pub(crate) fn give_up(&self, point: u64) -> Result<()> {
        self.syncobj.check_ours()?;
        self.order.give_up(&self.syncobj, point)
    }

    // Waiting for points.

    fn waits(&self) -> Guard<'_, Waits> {
        self.waits.lock()
    }

    /// Checks that points can be waited for. `NotSupported` if the device has no timelines.
    pub(crate) fn check_wait(&self) -> Result<()> {
        if self.syncobj.device().caps().timeline { Ok(()) } else { Err(Error::NotSupported) }
    }

    /// Returns the fence of a point, or the event that announces it.
    pub(crate) fn fence(&self, point: u64) -> Result<Submission> {
        match self.syncobj.at(point).fence()? {
            Some(fence) => Ok(Submission::Fence(fence)),
            // If a fence is submitted in between, the event fires at once.
            None => Ok(Submission::NotYet(self.expect(point)?)),
        }
    }

    /// Has the event fire for a point, unless it will for a lower one.
    fn expect(&self, point: u64) -> Result<Ref<PointEvent>> {
        let mut waits = self.waits();
        let event = match &waits.event {
            Some(event) => event.clone(),
            None => Ref::try_new(eventfd::create)?,
        };
        if waits.expected.is_none_or(|expected| expected > point) {
            if self.syncobj.device().caps().eventfd {
                self.syncobj.at(point).notify_when_submitted(event.as_fd())?;
            } else {
                if waits.point_waiter.is_none() {
                    waits.point_waiter = Some(PointWaiter::start(&self.syncobj)?);
                }
                waits.point_waiter.as_ref().map_or(Ok(()), |point_waiter| {
                    point_waiter.notify_when_submitted(point, &event)
                })?;
            }
            waits.expected = Some(point);
        }
        waits.event = Some(event.clone());
        Ok(event)
    }

    /// Clears an event that fired. The caller, a poller of it, checks its points next.
    pub(crate) fn event_fired(&self, event: &Ref<PointEvent>) {
        let mut waits = self.waits();
        // Another poller has replaced it; it fires for nothing any more.
        if !waits.event.as_ref().is_some_and(|current| current.is(event)) {
            return;
        }
        waits.expected = None;
        // References of the timeline, of the caller, and of the point waiter: no other loop polls
        // the event, and none can begin to meanwhile.
        if event.count() == 2 + u64::from(waits.point_waiter.is_some()) {
            eventfd::clear(event.as_fd());
        } else {
            // It stays readable for the other loops.
            waits.event = None;
        }
    }
}

impl Ordered for Timeline {
    fn is_next(&self, point: u64) -> bool {
        self.order.is_next(point)
    }

    /// Adds the point. If the watch failed or the point cannot be added, fails all watches that are
    /// enqueued behind it, up to a point that was given up.
    fn complete(&self, point: u64, watch: &Watch, outcome: Outcome) -> Result<()> {
        let add = || self.order.add(&self.syncobj, point, watch).map_err(Failure::from);
        let result = outcome.and_then(|()| add());
        if let Err(failure) = result {
            // Points that are requested once this watch has finished do not fail with it.
            watch.acted_in_vain();
            while let Some(behind) = self.order.take_next_after(point, watch) {
                Watch::fail(&behind, failure);
            }
        }
        // Before the result can be seen: a point that is given up afterwards does not wait for this
        // one. What was dequeued is dropped after the result is stored, since it may end a fence.
        let _dequeued = self.order.dequeue(point, watch);
        if result.is_ok() {
            watch.finish(Ok(()));
        }
        result.map_err(|failure| failure.error)
    }

    fn abandon(&self, point: u64, watch: &Watch) {
        drop(self.order.dequeue(point, watch));
    }
}
