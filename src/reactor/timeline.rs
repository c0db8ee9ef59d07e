//! A kernel timeline (drm_syncobj): the watches that add points to it in order, and the event that
//! announces submitted points.
//!
//! # One order for all handles of a timeline
//!
//! The kernel accepts points in any order, after which neither of two swapped points signals. So
//! all [`Timeline`]s that the caller opened by the same handle of the same device share one
//! [`Order`]. The kernel has no call that compares two syncobjs. A number may be that of another
//! syncobj by now, if the caller has destroyed the first. Two things follow. An order is shared
//! only while the last points of both syncobjs agree, which those of two rarely do once they are
//! in use. And only the order is shared: each timeline adds its points to the syncobj that it was
//! opened for. If two timelines share an order by mistake, points come late, and never to the wrong
//! timeline.

use super::point_waiter::{PointEvent, PointWaiter};
use super::watch::{Failure, Ordered, Outcome, Watch};
use crate::convert::{Device, Syncobj};
use crate::error::{Error, Result};
use crate::fence::{ExportSource, KernelFence};
use crate::sys::{eventfd, process};
use crate::util::mutex::{Guard, Mutex};
use crate::util::refs::Ref;
use crate::util::registry::Registry;
use rustix::fd::{AsFd, OwnedFd};
use std::collections::VecDeque;

/// The object behind `umf_syncobj`: a syncobj, and the watches that will add points to it. A binary
/// syncobj has only point 0.
pub(crate) struct Timeline {
    syncobj: Ref<Syncobj>,
    order: Ref<Order>,
    waits: Mutex<Waits>,
}

/// The order in which points are added to a timeline.
struct Order {
    key: OrderKey,
    /// The syncobj that it was made for.
    syncobj: Ref<Syncobj>,
    /// Sorted by point. A watch that completes early waits for those before it.
    exports: Mutex<VecDeque<Export>>,
}

/// The process, the address of the device, which the syncobj keeps, and the caller's handle. In the
/// child of a fork, no watch of the parent goes on.
type OrderKey = (u32, usize, u32);

static ORDERS: Registry<OrderKey, Order> = Registry::new();

impl Order {
    /// Returns the order of the syncobj behind the caller's handle. See above.
    fn of(syncobj: &Ref<Syncobj>, handle: u32) -> Result<Ref<Order>> {
        let device = std::ptr::from_ref::<Device>(syncobj.device()) as usize;
        let key = (process::id(), device, handle);
        let make =
            || Ok(Order { key, syncobj: syncobj.clone(), exports: Mutex::new(VecDeque::new()) });
        ORDERS.get_or_make(key, |order| order.syncobj.may_equal(syncobj), make)
    }
}

impl Drop for Order {
    fn drop(&mut self) {
        ORDERS.forget(self.key, self);
    }
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

struct Export {
    point: u64,
    watch: Ref<Watch>,
    source: ExportSource,
    /// What to put at the point: a kernel fence that was attached to the source while it waited.
    /// Otherwise the point is signaled, once the source is reached.
    kernel_fence: Option<KernelFence>,
}

impl Timeline {
    pub(crate) fn open(device: &Ref<Device>, handle: u32) -> Result<Ref<Timeline>> {
        let syncobj = Ref::try_new(|| Syncobj::open(device, handle))?;
        let order = Order::of(&syncobj, handle)?;
        Ref::try_new(|| {
            Ok(Timeline {
                syncobj,
                order,
                waits: Mutex::new(Waits { event: None, expected: None, point_waiter: None }),
            })
        })
    }

    // Adding points.

    fn exports(&self) -> Guard<'_, VecDeque<Export>> {
        self.order.exports.lock()
    }

    /// Checks that a point can be added, as far as that is known now. `Invalid` if it is not beyond
    /// the last.
    pub(crate) fn check_forward(&self, point: u64) -> Result<()> {
        self.syncobj.at(point).check_forward()
    }

    /// Enqueues a watch that will add a point once `source` is reached, or has a kernel fence. The
    /// point 0 of binary syncobjs has no order.
    pub(crate) fn enqueue(
        &self,
        point: u64,
        watch: &Ref<Watch>,
        source: ExportSource,
    ) -> Result<()> {
        let mut exports = self.exports();
        let at = exports.partition_point(|export| export.point < point);
        if point != 0 && exports.get(at).is_some_and(|export| export.point == point) {
            return Err(Error::Invalid);
        }
        exports.try_reserve(1).map_err(|_| Error::NoMemory)?;
        exports.insert(at, Export { point, watch: watch.clone(), source, kernel_fence: None });
        Ok(())
    }

    /// Puts a kernel fence at a point that is next in order. Returns false if it is not next.
    pub(crate) fn submit_if_next(&self, point: u64, kernel_fence: &KernelFence) -> Result<bool> {
        // Held until the point is added: see `add`.
        let exports = self.exports();
        let is_next = point == 0 || first_point(&exports).is_none_or(|first| first.point > point);
        if is_next {
            self.syncobj.at(point).submit(kernel_fence.as_fd())?;
        }
        Ok(is_next)
    }

    /// Adds the point of a watch: its kernel fence, or a signaled one.
    fn add(&self, point: u64, watch: &Watch) -> Result<()> {
        // Held from the check of the last point to the signal. While one loop adds the point that
        // is next, a lower one may be enqueued on another loop, and is then next as well.
        let exports = self.exports();
        let export = position(&exports, point, watch).and_then(|at| exports.get(at));
        match export.and_then(|export| export.kernel_fence.as_ref()) {
            Some(kernel_fence) => self.syncobj.at(point).submit(kernel_fence.as_fd()),
            None => self.syncobj.at(point).signal(),
        }
    }

    /// Dequeues the watch right after one that fails. Returns `None` if `watch` was itself dequeued
    /// so: watches that were enqueued since then do not fail with it.
    fn take_next_after(&self, point: u64, watch: &Watch) -> Option<Export> {
        let mut exports = self.exports();
        let at = position(&exports, point, watch).filter(|_| point != 0)?;
        exports.remove(at + 1)
    }

    /// Dequeues a watch, if it is enqueued, and unparks the one that is next.
    fn dequeue(&self, point: u64, watch: &Watch) {
        // Dropped after the lock.
        let _dequeued;
        let next = {
            let mut exports = self.exports();
            _dequeued = position(&exports, point, watch).and_then(|at| exports.remove(at));
            first_point(&exports).map(|export| export.watch.clone())
        };
        if let Some(next) = next {
            Watch::unpark(&next);
        }
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
        point == 0 || first_point(&self.exports()).is_none_or(|first| first.point >= point)
    }

    /// Adds the point. If the watch failed or the point cannot be added, fails all watches that are
    /// enqueued behind it.
    fn complete(&self, point: u64, watch: &Watch, outcome: Outcome) -> Result<()> {
        let result = outcome.and_then(|()| self.add(point, watch).map_err(Failure::from));
        match result {
            Ok(()) => watch.finish(Ok(())),
            // Points that are requested once this watch has finished do not fail with it.
            Err(failure) => {
                watch.acted_in_vain();
                while let Some(behind) = self.take_next_after(point, watch) {
                    Watch::fail(&behind.watch, failure);
                }
            }
        }
        self.dequeue(point, watch);
        result.map_err(|failure| failure.error)
    }

    fn abandon(&self, point: u64, watch: &Watch) {
        self.dequeue(point, watch);
    }
}

/// Returns the index of a watch, if it is enqueued.
fn position(exports: &VecDeque<Export>, point: u64, watch: &Watch) -> Option<usize> {
    let first = exports.partition_point(|export| export.point < point);
    // Several may export to the same binary syncobj.
    let mut same_point = exports.iter().skip(first).take_while(|export| export.point == point);
    let at = same_point.position(|export| std::ptr::eq::<Watch>(&*export.watch, watch))?;
    Some(first + at)
}

/// Returns the next export in order. Those to a binary syncobj have none.
fn first_point(exports: &VecDeque<Export>) -> Option<&Export> {
    exports.get(exports.partition_point(|export| export.point == 0))
}

/// Has the exports that wait follow the kernel fences that are attached by now to the fences that
/// they wait for. Their loops add the points, in order.
pub(crate) fn follow_attachments() {
    // Without memory, the exports wait for their values, as without an attachment.
    let Ok(orders) = ORDERS.all() else { return };
    // In the child of a fork, a thread that does not exist may hold the locks of the others.
    let process = process::id();
    for order in orders.iter().filter(|order| order.key.0 == process) {
        while let Some(watch) = order.follow_one() {
            Watch::complete_early(&watch);
        }
    }
}

impl Order {
    /// Gives an export the kernel fence that is attached to its source. Returns `None` if there is
    /// none that has one and does not know it.
    fn follow_one(&self) -> Option<Ref<Watch>> {
        let mut exports = self.exports.lock();
        exports.iter_mut().filter(|export| export.kernel_fence.is_none()).find_map(|export| {
            export.kernel_fence = export.source.attached();
            export.kernel_fence.is_some().then(|| export.watch.clone())
        })
    }
}
