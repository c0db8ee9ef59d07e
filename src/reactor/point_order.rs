// SPDX-License-Identifier: MIT
//! The order in which points are added to a timeline: by watches, and by giving points up.
//!
//! The kernel accepts points in any order, after which neither of two swapped points signals. So
//! each entry of an [`Order`] waits for the entries with lower points. An entry is one of these:
//!
//! - A watch that adds its point once its fence is reached, or once a kernel fence is attached that
//!   can be put at the point.
//! - A point that the caller gave up: it is signaled as soon as it is next. It waits for no fence,
//!   so no thread or loop is needed for it. The thread that removes the entry before it signals it.
//!
//! A kernel fence at a lower point may be pending when a point is signaled. The kernel then keeps
//! the order: the later point signals after that fence.
//!
//! # One order for all handles of a timeline
//!
//! All timelines that the caller opened by the same handle of the same device share one [`Order`].
//! The kernel has no call that compares two syncobjs. A number may be that of another syncobj by
//! now, if the caller has destroyed the first. Two things follow. An order is shared only while the
//! last points of both syncobjs agree, which those of two rarely do once they are in use. And only
//! the order is shared: each entry adds its point to the syncobj that it was made for. If two
//! timelines share an order by mistake, points come late, and never to the wrong timeline.

use super::watch::Watch;
use crate::convert::{Device, Syncobj};
use crate::error::{Error, Result};
use crate::fence::{ExportSource, KernelFence};
use crate::sys::process;
use crate::util::mutex::{Guard, Mutex};
use crate::util::refs::Ref;
use crate::util::registry::Registry;
use rustix::fd::AsFd;
use std::collections::VecDeque;

/// The points that will be added to a timeline. Point 0, the one fence of a binary syncobj, has no
/// order: several watches may have it, and the other entries do not wait for these.
pub(crate) struct Order {
    key: OrderKey,
    /// The syncobj that it was made for.
    syncobj: Ref<Syncobj>,
    /// Sorted by point. The first in order is a watch, except while `advance` runs.
    entries: Mutex<VecDeque<Entry>>,
}

/// The process, the address of the device, which the syncobj keeps, and the caller's handle. In the
/// child of a fork, no watch of the parent goes on. For a syncobj that the caller has no handle of:
/// the address of the syncobj, and [`NO_HANDLE`].
type OrderKey = (u32, usize, u32);

/// The kernel's handles begin with 1.
const NO_HANDLE: u32 = 0;

struct Entry {
    point: u64,
    kind: EntryKind,
}

enum EntryKind {
    Export(Export),
    /// The point is given up.
    GivenUp(Ref<Syncobj>),
}

/// A watch that adds the point. If it completes early, it waits for the entries before it.
struct Export {
    watch: Ref<Watch>,
    source: ExportSource,
    /// What to put at the point: a kernel fence that was attached to the source while it waited.
    /// Otherwise the point is signaled, once the source is reached.
    kernel_fence: Option<KernelFence>,
}

/// What a watch has left. Dropping it may end a fence, and so call a release function.
#[must_use]
pub(crate) struct Dequeued {
    _entry: Option<Entry>,
}

static ORDERS: Registry<OrderKey, Order> = Registry::new();

impl Order {
    /// Returns the order of the syncobj behind the caller's handle. See above.
    pub(crate) fn of(syncobj: &Ref<Syncobj>, handle: u32) -> Result<Ref<Order>> {
        let device = std::ptr::from_ref::<Device>(syncobj.device()) as usize;
        let key = (process::id(), device, handle);
        let make = || Ok(Order::new(key, syncobj));
        ORDERS.get_or_make(key, |order| order.syncobj.may_equal(syncobj), make)
    }

    /// Makes the order of a syncobj that no caller has a handle of. It is registered like the
    /// others, so that its exports follow attachments.
    pub(crate) fn of_own(syncobj: &Ref<Syncobj>) -> Result<Ref<Order>> {
        // Unique: the order keeps the syncobj.
        let key = (process::id(), std::ptr::from_ref::<Syncobj>(syncobj) as usize, NO_HANDLE);
        ORDERS.get_or_make(key, |_| false, || Ok(Order::new(key, syncobj)))
    }

    fn new(key: OrderKey, syncobj: &Ref<Syncobj>) -> Order {
        Order { key, syncobj: syncobj.clone(), entries: Mutex::new(VecDeque::new()) }
    }

    fn entries(&self) -> Guard<'_, VecDeque<Entry>> {
        self.entries.lock()
    }

    /// Enqueues a watch that will add a point once `source` is reached, or has a kernel fence.
    /// `Invalid` if another entry has the point.
    pub(crate) fn enqueue(
        &self,
        point: u64,
        watch: &Ref<Watch>,
        source: ExportSource,
    ) -> Result<()> {
        // Made before the lock is taken, so dropped after it is released if this fails.
        let export = Export { watch: watch.clone(), source, kernel_fence: None };
        let mut entries = self.entries();
        let at = place(&entries, point)?;
        insert(&mut entries, at, Entry { point, kind: EntryKind::Export(export) })
    }

    /// Puts a kernel fence at a point that is next. Returns false if it is not next.
    pub(crate) fn submit_if_next(
        &self,
        syncobj: &Syncobj,
        point: u64,
        kernel_fence: &KernelFence,
    ) -> Result<bool> {
        // Held until the point is added: see `add`.
        let entries = self.entries();
        let is_next = point == 0 || first(&entries).is_none_or(|entry| entry.point > point);
        if is_next {
            syncobj.at(point).submit(kernel_fence.as_fd())?;
        }
        Ok(is_next)
    }

    /// Signals a point now, or once the entries before it are gone. `Invalid` if it is not beyond
    /// the last, or if another entry has the point.
    pub(crate) fn give_up(&self, syncobj: &Ref<Syncobj>, point: u64) -> Result<()> {
        if point == 0 {
            return syncobj.at(0).signal();
        }
        let mut entries = self.entries();
        let at = place(&entries, point)?;
        if at == first_index(&entries) {
            return syncobj.at(point).signal();
        }
        syncobj.at(point).check_forward()?;
        insert(&mut entries, at, Entry { point, kind: EntryKind::GivenUp(syncobj.clone()) })
    }

    /// Whether no entry has a lower point.
    pub(crate) fn is_next(&self, point: u64) -> bool {
        point == 0 || first(&self.entries()).is_none_or(|entry| entry.point >= point)
    }

    /// Adds the point of a watch that is next: its kernel fence, or a signaled one.
    pub(crate) fn add(&self, syncobj: &Syncobj, point: u64, watch: &Watch) -> Result<()> {
        // Held from the check of the last point to the signal. While one loop adds the point that
        // is next, a lower one may be enqueued on another loop, and is then next as well.
        let entries = self.entries();
        let entry = position(&entries, point, watch).and_then(|at| entries.get(at));
        match entry.and_then(Entry::kernel_fence) {
            Some(kernel_fence) => syncobj.at(point).submit(kernel_fence.as_fd()),
            None => syncobj.at(point).signal(),
        }
    }

    /// Dequeues the watch right after one that fails, which fails with it. `None` if a given-up
    /// point comes first: it tells waiters of the lost points of success, so the points behind it
    /// lose nothing. Also `None` if `watch` was itself dequeued so: watches that were enqueued
    /// since then do not fail with it.
    pub(crate) fn take_next_after(&self, point: u64, watch: &Watch) -> Option<Ref<Watch>> {
        let taken = {
            let mut entries = self.entries();
            let next = position(&entries, point, watch).filter(|_| point != 0)? + 1;
            match entries.get(next)?.kind {
                EntryKind::GivenUp(_) => None,
                EntryKind::Export(_) => entries.remove(next),
            }
        };
        // Its source is dropped here, not under the lock.
        taken.and_then(Entry::into_watch)
    }

    /// Dequeues a watch, if it is enqueued. Signals given-up points that are next then, and unparks
    /// the watch that is next.
    pub(crate) fn dequeue(&self, point: u64, watch: &Watch) -> Dequeued {
        let entry = {
            let mut entries = self.entries();
            position(&entries, point, watch).and_then(|at| entries.remove(at))
        };
        self.advance();
        Dequeued { _entry: entry }
    }

    fn advance(&self) {
        while let Some(next) = self.next() {
            match next {
                Next::Watch(watch) => return Watch::unpark(&watch),
                Next::Signaled(syncobj) => drop(syncobj),
            }
        }
    }

    /// Returns the watch that is next, or signals a given-up point that is next.
    fn next(&self) -> Option<Next> {
        let mut entries = self.entries();
        let at = first_index(&entries);
        if let EntryKind::Export(export) = &entries.get(at)?.kind {
            return Some(Next::Watch(export.watch.clone()));
        }
        let Entry { point, kind: EntryKind::GivenUp(syncobj) } = entries.remove(at)? else {
            return None;
        };
        // If others have passed the point, or the device is gone, nobody waits for it. Without
        // memory, the next point tells the same waiters.
        let _ = syncobj.at(point).signal();
        Some(Next::Signaled(syncobj))
    }

    /// Gives an export the kernel fence that is attached to its source. Returns `None` if there is
    /// none that has one and does not know it.
    fn follow_one(&self) -> Option<Ref<Watch>> {
        self.entries().iter_mut().find_map(|entry| match &mut entry.kind {
            EntryKind::Export(export) => export.follow(),
            EntryKind::GivenUp(_) => None,
        })
    }
}

/// What is next in order.
enum Next {
    Watch(Ref<Watch>),
    /// A given-up point of this syncobj was, and is signaled now. Dropped after the lock.
    Signaled(Ref<Syncobj>),
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

impl Drop for Order {
    fn drop(&mut self) {
        ORDERS.forget(self.key, self);
    }
}

impl Entry {
    fn kernel_fence(&self) -> Option<&KernelFence> {
        match &self.kind {
            EntryKind::Export(export) => export.kernel_fence.as_ref(),
            EntryKind::GivenUp(_) => None,
        }
    }

    fn into_watch(self) -> Option<Ref<Watch>> {
        match self.kind {
            EntryKind::Export(export) => Some(export.watch),
            EntryKind::GivenUp(_) => None,
        }
    }
}

impl Export {
    /// Takes the kernel fence that is attached to its source, and returns its watch. `None` if
    /// there is no such fence, or if it has one.
    fn follow(&mut self) -> Option<Ref<Watch>> {
        if self.kernel_fence.is_none() {
            self.kernel_fence = self.source.attached();
            return self.kernel_fence.is_some().then(|| self.watch.clone());
        }
        None
    }
}

/// Returns the index for a new entry. `Invalid` if another has the point.
fn place(entries: &VecDeque<Entry>, point: u64) -> Result<usize> {
    let at = entries.partition_point(|entry| entry.point < point);
    if point != 0 && entries.get(at).is_some_and(|entry| entry.point == point) {
        return Err(Error::Invalid);
    }
    Ok(at)
}

fn insert(entries: &mut VecDeque<Entry>, at: usize, entry: Entry) -> Result<()> {
    entries.try_reserve(1).map_err(|_| Error::NoMemory)?;
    entries.insert(at, entry);
    Ok(())
}

/// Returns the index of the first entry in order, behind those that have none.
fn first_index(entries: &VecDeque<Entry>) -> usize {
    entries.partition_point(|entry| entry.point == 0)
}

/// Returns the first entry in order.
fn first(entries: &VecDeque<Entry>) -> Option<&Entry> {
    entries.get(first_index(entries))
}

/// Returns the index of a watch, if it is enqueued.
fn position(entries: &VecDeque<Entry>, point: u64, watch: &Watch) -> Option<usize> {
    let first = entries.partition_point(|entry| entry.point < point);
    // Several may export to the same binary syncobj.
    let mut same_point = entries.iter().skip(first).take_while(|entry| entry.point == point);
    let at = same_point.position(|entry| match &entry.kind {
        EntryKind::Export(export) => std::ptr::eq::<Watch>(&*export.watch, watch),
        EntryKind::GivenUp(_) => false,
    })?;
    Some(first + at)
}
