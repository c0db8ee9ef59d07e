//! A kernel timeline: who is about to add points to it, in order, and who waits for points of it.

use super::point_waiter::{PointEvent, Waiter};
use super::watch::{Failure, Ordered, Outcome, Watch};
use crate::convert::{Device, Syncobj};
use crate::error::{Error, Result};
use crate::sys::eventfd;
use crate::util::refs::Ref;
use rustix::fd::{AsFd, OwnedFd};
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A syncobj, and the watches that will add points to it.
pub(crate) struct Timeline {
    syncobj: Ref<Syncobj>,
    /// By point. One that has its fence early waits for those before it: the kernel would take the
    /// points in any order, and then neither would signal.
    exports: Mutex<VecDeque<Export>>,
    waits: Mutex<Waits>,
}

/// How a point that nobody has submitted yet is waited for, on whichever loops.
struct Waits {
    /// Written to when the point that is expected was submitted: readable from then on.
    bell: Option<Ref<PointEvent>>,
    /// The point that the bell rings for. Whoever rings cannot be told to forget it. So there is
    /// one at a time, for the lowest point that is waited for, and what is left of a wait that was
    /// cancelled serves the next.
    expected: Option<u64>,
    /// Who rings where the kernel does not.
    waiter: Option<Waiter>,
}

/// What there is at a point.
pub(crate) enum Submission {
    Fence(OwnedFd),
    /// Nothing yet: this will ring when there may be.
    NotYet(Ref<PointEvent>),
}

struct Export {
    point: u64,
    watch: Ref<Watch>,
}

impl Timeline {
    pub(crate) fn open(device: &Ref<Device>, handle: u32) -> Result<Ref<Timeline>> {
        let syncobj = Ref::try_new(|| Syncobj::open(device, handle))?;
        Ref::try_new(|| {
            Ok(Timeline {
                syncobj,
                exports: Mutex::new(VecDeque::new()),
                waits: Mutex::new(Waits { bell: None, expected: None, waiter: None }),
            })
        })
    }

    // Adding points.

    fn exports(&self) -> MutexGuard<'_, VecDeque<Export>> {
        self.exports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a point can be added, as far as can be told now. `Invalid` if it is not beyond the
    /// last.
    pub(crate) fn check_forward(&self, point: u64) -> Result<()> {
        self.syncobj.at(point).check_forward()
    }

    /// Takes in a watch that will add a point. Point 0, the one fence of a binary syncobj, has no
    /// order.
    pub(crate) fn enlist(&self, point: u64, watch: &Ref<Watch>) -> Result<()> {
        if point == 0 {
            return Ok(());
        }
        let mut exports = self.exports();
        let at = exports.partition_point(|export| export.point < point);
        if exports.get(at).is_some_and(|export| export.point == point) {
            return Err(Error::Invalid);
        }
        exports.try_reserve(1).map_err(|_| Error::NoMemory)?;
        exports.insert(at, Export { point, watch: watch.clone() });
        Ok(())
    }

    fn signal(&self, point: u64) -> Result<()> {
        // Held between the look at the last point and the signal. While one loop does a point whose
        // turn it is, somebody may ask for a lower one on another loop, and then it is its turn
        // too.
        let _exports = self.exports();
        self.syncobj.at(point).signal()
    }

    /// Takes out the watch that is next behind one that fails. None is behind one that fails with
    /// another: it was taken out itself, and who was enlisted since then starts afresh.
    fn take_behind(&self, point: u64, watch: &Watch) -> Option<Ref<Watch>> {
        let mut exports = self.exports();
        let at = position(&exports, point, watch)?;
        exports.remove(at + 1).map(|export| export.watch)
    }

    // Waiting for points.

    fn waits(&self) -> MutexGuard<'_, Waits> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `NotSupported` if the device cannot.
    pub(crate) fn check_wait(&self) -> Result<()> {
        if self.syncobj.device().caps().timeline { Ok(()) } else { Err(Error::NotSupported) }
    }

    /// The fence of a point, if one was submitted.
    pub(crate) fn fence(&self, point: u64) -> Result<Submission> {
        match self.syncobj.at(point).fence()? {
            Some(fence) => Ok(Submission::Fence(fence)),
            // If it comes in between, the bell rings at once.
            None => Ok(Submission::NotYet(self.expect(point)?)),
        }
    }

    fn expect(&self, point: u64) -> Result<Ref<PointEvent>> {
        let mut waits = self.waits();
        let bell = match &waits.bell {
            Some(bell) => bell.clone(),
            None => Ref::try_new(eventfd::create)?,
        };
        if waits.expected.is_none_or(|expected| expected > point) {
            if self.syncobj.device().caps().eventfd {
                self.syncobj.at(point).notify_when_submitted(bell.as_fd())?;
            } else {
                if waits.waiter.is_none() {
                    waits.waiter = Some(Waiter::start(&self.syncobj)?);
                }
                waits
                    .waiter
                    .as_ref()
                    .map_or(Ok(()), |waiter| waiter.notify_when_submitted(point, &bell))?;
            }
            waits.expected = Some(point);
        }
        waits.bell = Some(bell.clone());
        Ok(bell)
    }

    /// The bell rang, as somebody found who listens to it, and who will look at his points now.
    pub(crate) fn rang(&self, bell: &Ref<PointEvent>) {
        let mut waits = self.waits();
        // Somebody else was here before, and it is not expected to ring any more.
        if !waits.bell.as_ref().is_some_and(|current| current.is(bell)) {
            return;
        }
        waits.expected = None;
        // Ours, his, and who rings: nobody else listens, nor can meanwhile.
        if bell.count() == 2 + u64::from(waits.waiter.is_some()) {
            eventfd::clear(bell.as_fd());
        } else {
            // It goes on ringing for the others.
            waits.bell = None;
        }
    }
}

impl Ordered for Timeline {
    /// Whether nobody is to add a point before this one.
    fn is_next(&self, point: u64) -> bool {
        point == 0 || self.exports().front().is_none_or(|export| export.point >= point)
    }

    /// Adds the point of a watch, whose turn it is; or sees to it that, as it fails, those behind
    /// it that are enlisted by now fail too.
    fn complete(&self, point: u64, watch: &Watch, outcome: Outcome) -> Result<()> {
        let result = outcome.and_then(|()| self.signal(point).map_err(Failure::from));
        if let Err(failure) = result {
            while let Some(behind) = self.take_behind(point, watch) {
                Watch::fail(&behind, failure);
            }
        }
        self.abandon(point, watch);
        result.map_err(|failure| failure.error)
    }

    /// The point of a watch will not be added any more, or has been: it is the next one's turn.
    /// Nothing to a watch that was not enlisted.
    fn abandon(&self, point: u64, watch: &Watch) {
        // Dropped after the lock.
        let _left;
        let next = {
            let mut exports = self.exports();
            _left = position(&exports, point, watch).and_then(|at| exports.remove(at));
            exports.front().map(|export| export.watch.clone())
        };
        if let Some(next) = next {
            Watch::unpark(&next);
        }
    }
}

/// Where a watch is enlisted, if it is.
fn position(exports: &VecDeque<Export>, point: u64, watch: &Watch) -> Option<usize> {
    let at = exports.partition_point(|export| export.point < point);
    exports.get(at).filter(|export| std::ptr::eq::<Watch>(&*export.watch, watch)).map(|_| at)
}
