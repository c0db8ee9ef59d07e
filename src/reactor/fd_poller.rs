// SPDX-License-Identifier: MIT
//! An epoll instance: polls sync_files, timelines and peers for an event loop.
//!
//! A sync_file is readable once its fence has signaled. A timeline's point has no descriptor before
//! a fence is submitted for it. Until then the poller watches the timeline's event, an eventfd.
//! Then it watches the fence as a sync_file, which also reports errors.

use super::point_order;
use super::point_waiter::PointEvent;
use super::timeline::{Submission, Timeline};
use super::watch::{Failure, Outcome, Registration, Scheduler, Token, Watch};
use crate::error::{Error, Result};
use crate::fence::KernelFence;
use crate::sys::epoll;
use crate::sys::peer::ExitEvent;
use crate::sys::time::Deadline;
use crate::sys::{eventfd, futex, poll, sync_file};
use crate::util::atomic::AtomicU32;
use crate::util::key_map::KeyMap;
use crate::util::mutex::{Guard, Mutex};
use crate::util::refs::Ref;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::num::NonZeroU32;

/// The descriptors that an event loop polls.
pub(crate) struct FdPoller {
    epoll: OwnedFd,
    /// An eventfd, readable when there is work that no other descriptor announces.
    wake: OwnedFd,
    entries: Mutex<Entries>,
}

struct Entries {
    by_token: KeyMap<Token, Entry>,
    next: Token,
    ended: bool,
    /// Whether exports have to follow a kernel fence that was attached under the lock.
    has_attached: bool,
    /// How many of them are timelines.
    timelines: usize,
    device_check: DeviceCheck,
}

/// When to ask whether the devices of timelines are still there. Their loss makes no descriptor
/// readable, and the kernel never fires an event for a point that nobody can submit any more.
struct DeviceCheck {
    /// `NEVER` if none is wanted.
    next: Deadline,
    /// Whether the poller sleeps until it is woken, without a check.
    is_asleep: bool,
    /// How many checks in turn found no timeline.
    idle: u32,
}

const DEVICE_CHECK_NS: u64 = 1_000_000_000;

/// The checks go on for so long without a timeline: a thread that sleeps without them has to be
/// woken for the next one.
const MAX_IDLE_CHECKS: u32 = 10;

/// How often to ask descriptors that nothing can sleep on.
const ASK_INTERVAL_NS: u64 = 10_000_000;

/// The token of `wake`.
const WAKE: Token = 0;

enum Entry {
    /// A pending fence, as a sync_file.
    Fence(KernelFence, Ref<Watch>),
    /// A live process: a pidfd, or a socket to it.
    Peer(OwnedFd, ExitEvent, Ref<Watch>),
    /// A timeline, with the watches for points that are not submitted yet.
    Timeline(Points),
}

struct Points {
    timeline: Ref<Timeline>,
    /// The event that epoll polls.
    event: Option<Ref<PointEvent>>,
    /// The lowest point is at the top.
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

impl FdPoller {
    pub(crate) fn new() -> Result<FdPoller> {
        let (epoll, wake) = (epoll::create()?, eventfd::create()?);
        epoll::add(epoll.as_fd(), wake.as_fd(), WAKE)?;
        let entries = Entries {
            by_token: KeyMap::default(),
            next: WAKE + 1,
            ended: false,
            has_attached: false,
            timelines: 0,
            device_check: DeviceCheck { next: Deadline::NEVER, is_asleep: false, idle: 0 },
        };
        Ok(FdPoller { epoll, wake, entries: Mutex::new(entries) })
    }

    fn lock(&self) -> Guard<'_, Entries> {
        self.entries.lock()
    }

    /// Returns the epoll descriptor, which is readable while there is something to poll.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    /// Wakes the thread in `poll`, or makes the descriptor readable for the caller.
    pub(crate) fn wake(&self) {
        eventfd::add(self.wake.as_fd());
    }

    /// Adds a watch for the fence of a sync_file.
    pub(crate) fn add_fence(
        &self,
        scheduler: &dyn Scheduler,
        fence: OwnedFd,
        watch: &Ref<Watch>,
    ) -> Result<()> {
        let mut entries = self.lock();
        let found = self.watch_fence(&mut entries, fence, watch)?;
        unlock(entries);
        if found {
            scheduler.wake();
        }
        Ok(())
    }

    /// Adds a watch for the end of a process.
    pub(crate) fn add_peer(
        &self,
        peer: OwnedFd,
        exit_event: ExitEvent,
        watch: &Ref<Watch>,
    ) -> Result<()> {
        let mut entries = self.lock();
        let token = entries.reserve()?;
        match exit_event {
            ExitEvent::Readable => epoll::add(self.fd(), peer.as_fd(), token)?,
            ExitEvent::HangsUp => epoll::add_hangup(self.fd(), peer.as_fd(), token)?,
        }
        watch.set_registration(Registration::Fd(token));
        entries.by_token.insert(token, Entry::Peer(peer, exit_event, watch.clone()));
        Ok(())
    }

    /// Adds a watch for a point, submitted or not.
    pub(crate) fn add_point(
        &self,
        scheduler: &dyn Scheduler,
        timeline: &Ref<Timeline>,
        point: u64,
        watch: &Ref<Watch>,
    ) -> Result<()> {
        let mut entries = self.lock();
        let (added, found) = match timeline.fence(point)? {
            Submission::Fence(fence) => (Ok(()), self.watch_fence(&mut entries, fence, watch)?),
            Submission::NotYet(event) => {
                let token = entries.token_of(timeline)?;
                let added = self.watch_point(&mut entries, token, &event, point, watch);
                // If the event was replaced, the old one may have fired for other points. This also
                // removes the timeline if no watch is left.
                (added, self.check_timeline(&mut entries, token))
            }
        };
        let is_asleep = entries.timelines > 0 && entries.device_check.is_asleep;
        unlock(entries);
        if found {
            scheduler.wake();
        }
        if is_asleep {
            self.wake();
        }
        added
    }

    /// Removes a canceled watch, by the token that it was registered with.
    pub(crate) fn deregister(&self, token: Token) {
        let mut entries = self.lock();
        // Dropped after the lock.
        let _entry = match entries.by_token.get_mut(&token) {
            Some(Entry::Timeline(points)) => {
                points.unsubmitted.retain(|unsubmitted| unsubmitted.watch.is_armed());
                points.unsubmitted.is_empty().then(|| self.remove(&mut entries, token))
            }
            Some(Entry::Fence(..) | Entry::Peer(..)) => Some(self.remove(&mut entries, token)),
            None => None,
        };
        drop(entries);
    }

    fn remove(&self, entries: &mut Entries, token: Token) -> Option<Entry> {
        let entry = entries.by_token.remove(&token)?;
        match &entry {
            Entry::Fence(fence, _) => epoll::remove(self.fd(), fence.as_fd()),
            Entry::Peer(peer, ..) => epoll::remove(self.fd(), peer.as_fd()),
            Entry::Timeline(points) => {
                entries.timelines -= 1;
                if let Some(event) = &points.event {
                    epoll::remove(self.fd(), event.as_fd());
                }
            }
        }
        Some(entry)
    }

    /// Sleeps until a descriptor is readable or the deadline has passed, and completes what is
    /// readable. Returns false at the end.
    pub(crate) fn poll(&self, deadline: Deadline) -> bool {
        let mut tokens = [WAKE; epoll::EVENTS];
        let until = self.lock().next_device_check(deadline);
        match epoll::wait(self.fd(), &mut tokens, until) {
            Ok(readable) => readable.iter().for_each(|token| self.handle_readable(*token)),
            // A sandbox that was entered since then refuses the call.
            Err(_) => self.poll_each(until),
        }
        let mut entries = self.lock();
        entries.device_check.is_asleep = false;
        if entries.device_check.next.has_passed() {
            self.check_devices(&mut entries);
        }
        let ended = entries.ended;
        unlock(entries);
        !ended
    }

    /// Completes the watches for points of devices that are lost.
    #[cold]
    fn check_devices(&self, entries: &mut Entries) {
        let idle = if entries.timelines == 0 { entries.device_check.idle + 1 } else { 0 };
        entries.device_check = DeviceCheck { next: Deadline::NEVER, is_asleep: false, idle };
        // Without memory it asks at the next check.
        let mut tokens = Vec::new();
        if tokens.try_reserve_exact(entries.timelines).is_ok() {
            let timelines = entries.by_token.iter();
            let timelines = timelines.filter(|(_, entry)| matches!(entry, Entry::Timeline(_)));
            tokens.extend(timelines.map(|(token, _)| *token));
        }
        for token in tokens {
            self.check_timeline(entries, token);
        }
    }

    /// Completes what a readable descriptor announces.
    fn handle_readable(&self, token: Token) {
        if token == WAKE {
            return eventfd::clear(self.wake.as_fd());
        }
        let mut entries = self.lock();
        match entries.by_token.get(&token) {
            Some(Entry::Timeline(points)) => {
                if let Some(event) = &points.event {
                    points.timeline.event_fired(event);
                }
                self.check_timeline(&mut entries, token);
                unlock(entries);
            }
            Some(Entry::Fence(fence, watch)) => {
                if let Some(outcome) =
                    outcome(fence.as_fd()).unwrap_or_else(|error| Some(Err(Failure::from(error))))
                {
                    Watch::complete_import(watch, outcome, fence.as_fd());
                    let _entry = self.remove(&mut entries, token);
                    drop(entries);
                }
            }
            Some(Entry::Peer(_, _, watch)) => {
                Watch::complete(watch, Ok(()));
                let _entry = self.remove(&mut entries, token);
                drop(entries);
            }
            None => {}
        }
    }

    /// Does what `poll` does without epoll_wait: sleeps in poll, and asks each descriptor.
    #[cold]
    fn poll_each(&self, deadline: Deadline) {
        if poll::is_ready(self.fd(), ExitEvent::Readable, deadline).is_err() {
            // Nor that. Fences are still heard after an interval.
            let until = deadline.within(ASK_INTERVAL_NS);
            let _ = futex::wait(&AtomicU32::new(0), 0, NonZeroU32::MAX, until);
        }
        self.handle_readable(WAKE);
        let mut tokens = Vec::new();
        let entries = self.lock();
        // Without memory it asks after the next sleep.
        if tokens.try_reserve_exact(entries.by_token.len()).is_ok() {
            tokens.extend(entries.by_token.keys().copied());
        }
        drop(entries);
        for token in tokens {
            if self.is_readable(token) {
                self.handle_readable(token);
            }
        }
    }

    /// Whether to ask what a descriptor announces. A peer that cannot be asked fails its watch.
    fn is_readable(&self, token: Token) -> bool {
        let mut entries = self.lock();
        match entries.by_token.get(&token) {
            Some(Entry::Fence(..)) => true,
            Some(Entry::Timeline(points)) => points.event.as_ref().is_none_or(|event| {
                let ready = poll::is_ready(event.as_fd(), ExitEvent::Readable, Deadline::POLL);
                ready.unwrap_or(true)
            }),
            Some(Entry::Peer(peer, exit_event, watch)) => {
                match poll::is_ready(peer.as_fd(), *exit_event, Deadline::POLL) {
                    Ok(ready) => ready,
                    Err(error) => {
                        Watch::complete(watch, Err(Failure::from(error)));
                        let _entry = self.remove(&mut entries, token);
                        drop(entries);
                        false
                    }
                }
            }
            None => false,
        }
    }

    /// Polls a fence, and attaches it to the fence that it will signal. Returns true if it has
    /// signaled or failed, which completes the watch.
    fn watch_fence(
        &self,
        entries: &mut Entries,
        fence: OwnedFd,
        watch: &Ref<Watch>,
    ) -> Result<bool> {
        if let Some(outcome) = outcome(fence.as_fd())? {
            return Ok(Watch::complete_import(watch, outcome, fence.as_fd()));
        }
        let fence = Ref::try_new(|| Ok(fence))?;
        let token = entries.reserve()?;
        epoll::add(self.fd(), fence.as_fd(), token)?;
        if watch.set_registration(Registration::Fd(token)) {
            entries.has_attached |= watch.attach(&fence);
            entries.by_token.insert(token, Entry::Fence(fence, watch.clone()));
        } else {
            epoll::remove(self.fd(), fence.as_fd());
        }
        Ok(false)
    }

    /// Adds a watch for a point of a timeline that has an entry.
    fn watch_point(
        &self,
        entries: &mut Entries,
        token: Token,
        event: &Ref<PointEvent>,
        point: u64,
        watch: &Ref<Watch>,
    ) -> Result<()> {
        let Some(Entry::Timeline(points)) = entries.by_token.get_mut(&token) else {
            return Err(Error::Unexpected);
        };
        points.unsubmitted.try_reserve(1).map_err(|_| Error::NoMemory)?;
        points.poll_event(self.fd(), token, event)?;
        watch.set_registration(Registration::Fd(token));
        points.unsubmitted.push(Unsubmitted { point: Reverse(point), watch: watch.clone() });
        Ok(())
    }

    /// Polls the fences of the points that are submitted by now. Returns whether any watch
    /// completed.
    fn check_timeline(&self, entries: &mut Entries, token: Token) -> bool {
        let mut found = false;
        while let Some(Entry::Timeline(points)) = entries.by_token.get_mut(&token) {
            let Some(next) = points.unsubmitted.peek() else {
                let _entry = self.remove(entries, token);
                break;
            };
            if !next.watch.is_armed() {
                points.unsubmitted.pop();
                continue;
            }
            let fence = match points.timeline.fence(next.point.0) {
                Ok(Submission::Fence(fence)) => Ok(fence),
                Ok(Submission::NotYet(event)) => {
                    match points.poll_event(self.fd(), token, &event) {
                        Ok(()) => break,
                        Err(error) => Err(error),
                    }
                }
                Err(error) => Err(error),
            };
            let Some(next) = points.unsubmitted.pop() else { break };
            match fence.and_then(|fence| self.watch_fence(entries, fence, &next.watch)) {
                Ok(completed) => found |= completed,
                Err(error) => found |= Watch::complete(&next.watch, Err(Failure::from(error))),
            }
        }
        found
    }

    /// Cancels all watches, and ends the thread in `poll`.
    pub(crate) fn end(&self) {
        let removed = {
            let mut entries = self.lock();
            entries.ended = true;
            entries.timelines = 0;
            std::mem::take(&mut entries.by_token)
        };
        self.wake();
        for entry in removed.into_values() {
            match entry {
                Entry::Fence(_, watch) | Entry::Peer(_, _, watch) => {
                    let _ = watch.cancel();
                }
                Entry::Timeline(points) => {
                    for unsubmitted in points.unsubmitted {
                        let _ = unsubmitted.watch.cancel();
                    }
                }
            }
        }
    }
}

impl Entry {
    fn is_for(&self, timeline: &Ref<Timeline>) -> bool {
        matches!(self, Entry::Timeline(points) if points.timeline.is(timeline))
    }
}

impl Points {
    /// Polls this event in place of the one before.
    fn poll_event(
        &mut self,
        epoll: BorrowedFd<'_>,
        token: Token,
        event: &Ref<PointEvent>,
    ) -> Result<()> {
        if self.event.as_ref().is_some_and(|current| current.is(event)) {
            return Ok(());
        }
        epoll::add(epoll, event.as_fd(), token)?;
        if let Some(event) = self.event.replace(event.clone()) {
            epoll::remove(epoll, event.as_fd());
        }
        Ok(())
    }
}

impl Entries {
    /// Reserves memory for an entry, and returns its token, which no other entry ever has.
    fn reserve(&mut self) -> Result<Token> {
        self.by_token.try_reserve(1).map_err(|_| Error::NoMemory)?;
        let token = self.next;
        self.next += 1;
        Ok(token)
    }

    /// Returns when to check the devices next, or the deadline if that is earlier. Called before
    /// the poller sleeps.
    fn next_device_check(&mut self, deadline: Deadline) -> Deadline {
        let is_wanted =
            self.timelines > 0 || (1..MAX_IDLE_CHECKS).contains(&self.device_check.idle);
        if self.device_check.next == Deadline::NEVER && is_wanted {
            self.device_check.next = Deadline::NEVER.within(DEVICE_CHECK_NS);
        }
        let until = deadline.min(self.device_check.next);
        self.device_check.is_asleep = until == Deadline::NEVER;
        until
    }

    /// Returns the token of a timeline, for which an entry is made if need be.
    fn token_of(&mut self, timeline: &Ref<Timeline>) -> Result<Token> {
        if let Some((token, _)) = self.by_token.iter().find(|(_, entry)| entry.is_for(timeline)) {
            return Ok(*token);
        }
        let token = self.reserve()?;
        let points =
            Points { timeline: timeline.clone(), event: None, unsubmitted: BinaryHeap::new() };
        self.by_token.insert(token, Entry::Timeline(points));
        self.timelines += 1;
        Ok(token)
    }
}

/// Returns the outcome of a sync_file's fence, or `None` while it is pending.
fn outcome(fence: BorrowedFd<'_>) -> Result<Option<Outcome>> {
    Ok(sync_file::outcome(fence)?.map(|outcome| outcome.map_err(Failure::of_fence)))
}

/// Releases the lock, and has exports follow what was attached under it.
fn unlock(mut entries: Guard<'_, Entries>) {
    let has_attached = std::mem::replace(&mut entries.has_attached, false);
    drop(entries);
    if has_attached {
        point_order::follow_attachments();
    }
}
