//! An epoll instance: how a loop hears of kernel fences, and of its caller.
//!
//! A sync_file is readable once its fence signalled. A timeline's point has no file before somebody
//! submits a fence for it; until then the timeline's bell is watched, and then the fence, as a
//! sync_file, which tells errors too.

use super::point_waiter::PointEvent;
use super::timeline::{Submission, Timeline};
use super::watch::{Failure, Home, Outcome, Scheduler, Watch};
use crate::error::{Error, Result};
use crate::sys::epoll;
use crate::sys::peer::ExitEvent;
use crate::sys::time::Deadline;
use crate::sys::{eventfd, sync_file};
use crate::util::refs::Ref;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The descriptors a loop looks at.
pub(crate) struct Eye {
    epoll: OwnedFd,
    /// Readable where there is something to do that no other file tells of.
    wake: OwnedFd,
    files: Mutex<Files>,
}

struct Files {
    /// By the numbers that epoll knows them by.
    known: HashMap<u64, File, BuildHasherDefault<DefaultHasher>>,
    next: u64,
    ended: bool,
}

/// The number of `wake`.
const WAKE: u64 = 0;

enum File {
    /// A fence that is pending.
    Fence(OwnedFd, Ref<Watch>),
    /// A process that lives.
    Peer(OwnedFd, Ref<Watch>),
    /// A timeline, and who waits for points of it that nobody has submitted.
    Timeline(Points),
}

struct Points {
    timeline: Ref<Timeline>,
    /// The one that is listened to.
    bell: Option<Ref<PointEvent>>,
    unsubmitted: BinaryHeap<Unsubmitted>,
}

struct Unsubmitted {
    point: Reverse<u64>,
    watch: Ref<Watch>,
}

impl PartialEq for Unsubmitted {
    fn eq(&self, other: &Unsubmitted) -> bool {
        self.point == other.point
    }
}

impl Eq for Unsubmitted {}

impl PartialOrd for Unsubmitted {
    fn partial_cmp(&self, other: &Unsubmitted) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Unsubmitted {
    fn cmp(&self, other: &Unsubmitted) -> std::cmp::Ordering {
        self.point.cmp(&other.point)
    }
}

impl Eye {
    pub(crate) fn new() -> Result<Eye> {
        let (epoll, wake) = (epoll::create()?, eventfd::create()?);
        epoll::add(epoll.as_fd(), wake.as_fd(), WAKE)?;
        let files = Files { known: HashMap::default(), next: WAKE + 1, ended: false };
        Ok(Eye { epoll, wake, files: Mutex::new(files) })
    }

    fn lock(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Readable while there is something to look at.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    /// Has whoever looks look up.
    pub(crate) fn poke(&self) {
        eventfd::add(self.wake.as_fd());
    }

    /// Takes in a watch for the fence of a sync_file.
    pub(crate) fn add_fence(
        &self,
        scheduler: &dyn Scheduler,
        fence: OwnedFd,
        watch: &Ref<Watch>,
    ) -> Result<()> {
        let mut files = self.lock();
        let found = self.watch_fence(&mut files, fence, watch)?;
        drop(files);
        if found {
            scheduler.wake();
        }
        Ok(())
    }

    /// Takes in a watch for the end of a process.
    pub(crate) fn add_peer(
        &self,
        peer: OwnedFd,
        exit_event: ExitEvent,
        watch: &Ref<Watch>,
    ) -> Result<()> {
        let mut files = self.lock();
        let number = files.number()?;
        match exit_event {
            ExitEvent::Readable => epoll::add(self.fd(), peer.as_fd(), number)?,
            ExitEvent::HangsUp => epoll::add_hangup(self.fd(), peer.as_fd(), number)?,
        }
        watch.settle_at(Home::Fd(number));
        files.known.insert(number, File::Peer(peer, watch.clone()));
        Ok(())
    }

    /// Takes in a watch for a point that need not be submitted yet.
    pub(crate) fn add_point(
        &self,
        scheduler: &dyn Scheduler,
        timeline: &Ref<Timeline>,
        point: u64,
        watch: &Ref<Watch>,
    ) -> Result<()> {
        let mut files = self.lock();
        let (added, found) = match timeline.fence(point)? {
            Submission::Fence(fence) => (Ok(()), self.watch_fence(&mut files, fence, watch)?),
            Submission::NotYet(bell) => {
                let number = files.number_of(timeline)?;
                let added = self.watch_point(&mut files, number, &bell, point, watch);
                // A bell that is not listened to any more may have rung for others. This also lets
                // go of the timeline if nobody waits.
                (added, self.look_at_timeline(&mut files, number))
            }
        };
        drop(files);
        if found {
            scheduler.wake();
        }
        added
    }

    /// Forgets a watch that was cancelled, by the number that it was told.
    pub(crate) fn forget(&self, number: u64) {
        let mut files = self.lock();
        // Dropped after the lock.
        let _file = match files.known.get_mut(&number) {
            Some(File::Timeline(points)) => {
                points.unsubmitted.retain(|unsubmitted| unsubmitted.watch.is_armed());
                points.unsubmitted.is_empty().then(|| self.remove(&mut files, number))
            }
            Some(File::Fence(..) | File::Peer(..)) => Some(self.remove(&mut files, number)),
            None => None,
        };
        drop(files);
    }

    fn remove(&self, files: &mut Files, number: u64) -> Option<File> {
        let file = files.known.remove(&number)?;
        match &file {
            File::Fence(file, _) | File::Peer(file, _) => epoll::remove(self.fd(), file.as_fd()),
            File::Timeline(points) => {
                if let Some(bell) = &points.bell {
                    epoll::remove(self.fd(), bell.as_fd());
                }
            }
        }
        Some(file)
    }

    /// Sleeps until something is readable, or until the deadline, and looks what is over. False at
    /// the end.
    pub(crate) fn look(&self, deadline: Deadline) -> Result<bool> {
        let mut numbers = [0; epoll::EVENTS];
        let readable = epoll::wait(self.fd(), &mut numbers, deadline)?;
        for &number in readable {
            if number == WAKE {
                eventfd::clear(self.wake.as_fd());
                continue;
            }
            let mut files = self.lock();
            match files.known.get(&number) {
                Some(File::Timeline(points)) => {
                    if let Some(bell) = &points.bell {
                        points.timeline.rang(bell);
                    }
                    self.look_at_timeline(&mut files, number);
                }
                Some(File::Fence(fence, watch)) => {
                    if let Some(outcome) =
                        outcome(fence).unwrap_or_else(|error| Some(Err(Failure::from(error))))
                    {
                        Watch::decide(watch, outcome);
                        let _file = self.remove(&mut files, number);
                        drop(files);
                    }
                }
                Some(File::Peer(_, watch)) => {
                    Watch::decide(watch, Ok(()));
                    let _file = self.remove(&mut files, number);
                    drop(files);
                }
                None => {}
            }
        }
        Ok(!self.lock().ended)
    }

    /// Watches the fence, unless it is over already: then true.
    fn watch_fence(&self, files: &mut Files, fence: OwnedFd, watch: &Ref<Watch>) -> Result<bool> {
        if let Some(outcome) = outcome(&fence)? {
            return Ok(Watch::decide(watch, outcome));
        }
        let number = files.number()?;
        epoll::add(self.fd(), fence.as_fd(), number)?;
        if watch.settle_at(Home::Fd(number)) {
            files.known.insert(number, File::Fence(fence, watch.clone()));
        } else {
            epoll::remove(self.fd(), fence.as_fd());
        }
        Ok(false)
    }

    /// Takes in a watch for a point of a timeline that is known.
    fn watch_point(
        &self,
        files: &mut Files,
        number: u64,
        bell: &Ref<PointEvent>,
        point: u64,
        watch: &Ref<Watch>,
    ) -> Result<()> {
        let Some(File::Timeline(points)) = files.known.get_mut(&number) else {
            return Err(Error::Unexpected);
        };
        points.unsubmitted.try_reserve(1).map_err(|_| Error::NoMemory)?;
        points.listen(self.fd(), number, bell)?;
        watch.settle_at(Home::Fd(number));
        points.unsubmitted.push(Unsubmitted { point: Reverse(point), watch: watch.clone() });
        Ok(())
    }

    /// Goes on to the fences of points that were submitted by now. Tells whether anything is over.
    fn look_at_timeline(&self, files: &mut Files, number: u64) -> bool {
        let mut found = false;
        while let Some(File::Timeline(points)) = files.known.get_mut(&number) {
            let Some(next) = points.unsubmitted.peek() else {
                let _file = self.remove(files, number);
                break;
            };
            if !next.watch.is_armed() {
                points.unsubmitted.pop();
                continue;
            }
            let fence = match points.timeline.fence(next.point.0) {
                Ok(Submission::Fence(fence)) => Ok(fence),
                Ok(Submission::NotYet(bell)) => match points.listen(self.fd(), number, &bell) {
                    Ok(()) => break,
                    Err(error) => Err(error),
                },
                Err(error) => Err(error),
            };
            let Some(next) = points.unsubmitted.pop() else { break };
            match fence.and_then(|fence| self.watch_fence(files, fence, &next.watch)) {
                Ok(over) => found |= over,
                Err(error) => found |= Watch::decide(&next.watch, Err(Failure::from(error))),
            }
        }
        found
    }

    /// Cancels everything, and has whoever looks know that this is the end.
    pub(crate) fn end(&self) {
        let known = {
            let mut files = self.lock();
            files.ended = true;
            std::mem::take(&mut files.known)
        };
        self.poke();
        for file in known.into_values() {
            match file {
                File::Fence(_, watch) | File::Peer(_, watch) => {
                    let _ = watch.cancel();
                }
                File::Timeline(points) => {
                    for unsubmitted in points.unsubmitted {
                        let _ = unsubmitted.watch.cancel();
                    }
                }
            }
        }
    }
}

impl File {
    fn is_of(&self, timeline: &Ref<Timeline>) -> bool {
        matches!(self, File::Timeline(points) if points.timeline.is(timeline))
    }
}

impl Points {
    /// Listens to the bell instead of another.
    fn listen(&mut self, epoll: BorrowedFd<'_>, number: u64, bell: &Ref<PointEvent>) -> Result<()> {
        if self.bell.as_ref().is_some_and(|current| current.is(bell)) {
            return Ok(());
        }
        epoll::add(epoll, bell.as_fd(), number)?;
        if let Some(bell) = self.bell.replace(bell.clone()) {
            epoll::remove(epoll, bell.as_fd());
        }
        Ok(())
    }
}

impl Files {
    /// A number that no file has, and room for a file of that number.
    fn number(&mut self) -> Result<u64> {
        self.known.try_reserve(1).map_err(|_| Error::NoMemory)?;
        let number = self.next;
        self.next += 1;
        Ok(number)
    }

    /// The number of a timeline.
    fn number_of(&mut self, timeline: &Ref<Timeline>) -> Result<u64> {
        if let Some((number, _)) = self.known.iter().find(|(_, file)| file.is_of(timeline)) {
            return Ok(*number);
        }
        let number = self.number()?;
        let points =
            Points { timeline: timeline.clone(), bell: None, unsubmitted: BinaryHeap::new() };
        self.known.insert(number, File::Timeline(points));
        Ok(number)
    }
}

/// What the fence of a sync_file came to; `None` while it is pending.
fn outcome(fence: &OwnedFd) -> Result<Option<Outcome>> {
    Ok(sync_file::outcome(fence.as_fd())?.map(|outcome| outcome.map_err(Failure::of_fence)))
}
