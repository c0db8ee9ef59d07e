//! How each kind of watch begins. A call that fails leaves nothing behind.

use super::event_loop::EventLoop;
use super::timeline::Timeline;
use super::watch::{Callback, Effect, Notes, Ordered, Owed, Scheduler, Watch};
use crate::config;
use crate::convert::{self, Access};
use crate::error::Result;
use crate::fence::Fence;
use crate::shm::participant::{Participant, ParticipantKind};
use crate::sys::{dma_buf, memfd, peer, sync_file};
use crate::util::refs::Ref;
use crate::wait::Predicate;
use rustix::fd::{BorrowedFd, OwnedFd};

/// What is watched, on which loop, and who is told.
pub(crate) struct Order<'a> {
    event_loop: &'a Ref<EventLoop>,
    callback: Option<Callback>,
}

impl<'a> Order<'a> {
    pub(crate) fn new(event_loop: &'a Ref<EventLoop>, callback: Option<Callback>) -> Order<'a> {
        Order { event_loop, callback }
    }

    /// Makes a watch with this effect, and hands it to `start`, who makes it known.
    fn arm(
        mut self,
        effect: Effect,
        start: impl FnOnce(&Ref<EventLoop>, &Ref<Watch>) -> Result<()>,
    ) -> Result<Ref<Watch>> {
        let watch = EventLoop::new_watch(self.event_loop, effect, &mut self.callback)?;
        match start(self.event_loop, &watch) {
            Ok(()) => Ok(watch),
            Err(error) => {
                watch.undo();
                Err(error)
            }
        }
    }

    /// A fence's condition, with an effect that needs nothing else.
    pub(crate) fn watch(
        self,
        fence: &Ref<Fence>,
        demand: Predicate,
        effect: Effect,
    ) -> Result<Ref<Watch>> {
        let target = match &effect {
            Effect::Signal { fence, value } => Some((fence.clone(), *value)),
            _ => None,
        };
        self.arm(effect, |event_loop, watch| {
            note(watch, Some((fence, demand)), target);
            EventLoop::watch(event_loop, fence, demand, watch)
        })
    }

    /// A fence to a timeline's point: `Invalid` if the point is not beyond the last, or is promised
    /// already.
    pub(crate) fn export_point(
        self,
        fence: &Ref<Fence>,
        demand: Predicate,
        timeline: &Ref<Timeline>,
        point: u64,
    ) -> Result<Ref<Watch>> {
        timeline.check_forward(point)?;
        let ordered = timeline.clone().unsize::<dyn Ordered>(|timeline| timeline);
        self.arm(Effect::InOrder(ordered, point), |event_loop, watch| {
            event_loop.add_export(watch)?;
            timeline.enlist(point, watch)?;
            note(watch, Some((fence, demand)), None);
            EventLoop::watch(event_loop, fence, demand, watch)
        })
    }

    /// A sync_file to a fence. No descriptor stands for one that has signalled.
    pub(crate) fn import_sync_file(
        self,
        fence: &Ref<Fence>,
        value: u64,
        fd: Option<BorrowedFd<'_>>,
    ) -> Result<Ref<Watch>> {
        convert::check_import(fence, value)?;
        let fd = match fd {
            Some(fd) => {
                // Asked here, where it can be refused: is it one at all?
                sync_file::outcome(fd)?;
                Some(memfd::dup(fd)?)
            }
            None => None,
        };
        self.import(fence, value, fd)
    }

    /// The implicit fences that a dma-buf has now to a fence.
    pub(crate) fn import_dma_buf(
        self,
        fence: &Ref<Fence>,
        value: u64,
        buffer: BorrowedFd<'_>,
        access: Access,
    ) -> Result<Ref<Watch>> {
        convert::check_import(fence, value)?;
        let fences = dma_buf::export_sync_file(buffer, access)?;
        self.import(fence, value, Some(fences))
    }

    fn import(
        self,
        fence: &Ref<Fence>,
        value: u64,
        kernel_fence: Option<OwnedFd>,
    ) -> Result<Ref<Watch>> {
        self.arm(Effect::Signal { fence: fence.clone(), value }, |event_loop, watch| {
            note(watch, None, Some((fence.clone(), value)));
            let eye = EventLoop::started_eye(event_loop)?;
            match kernel_fence {
                Some(kernel_fence) => eye.add_fence(&**event_loop, kernel_fence, watch),
                None => {
                    Watch::decide(watch, Ok(()));
                    event_loop.wake();
                    Ok(())
                }
            }
        })
    }

    /// The end of the process behind a pidfd or a socket to the fences that it owed.
    pub(crate) fn tie(self, owed: Owed, peer: BorrowedFd<'_>) -> Result<Ref<Watch>> {
        let (exit_event, peer) = (peer::exit_event(peer)?, memfd::dup(peer)?);
        self.arm(Effect::Orphan(owed), |event_loop, watch| {
            EventLoop::started_eye(event_loop)?.add_peer(peer, exit_event, watch)
        })
    }

    /// A timeline's point, which need not be submitted yet, to a fence.
    pub(crate) fn import_point(
        self,
        fence: &Ref<Fence>,
        value: u64,
        timeline: &Ref<Timeline>,
        point: u64,
    ) -> Result<Ref<Watch>> {
        convert::check_import(fence, value)?;
        timeline.check_wait()?;
        self.arm(Effect::Signal { fence: fence.clone(), value }, |event_loop, watch| {
            note(watch, None, Some((fence.clone(), value)));
            EventLoop::started_eye(event_loop)?.add_point(&**event_loop, timeline, point, watch)
        })
    }
}

/// Tells who asks for the wait-for graph what a watch waits for, and what it will signal then. One
/// that signals nothing holds up nobody: it is told of only if the user wants to see everything.
fn note(watch: &Watch, wait: Option<(&Fence, Predicate)>, target: Option<(Ref<Fence>, u64)>) {
    if target.is_none() && !config::is_debug() {
        return;
    }
    let owner = Participant::new(ParticipantKind::Watch);
    let notes = Ref::try_new(|| {
        Ok(Notes {
            _wait: wait.map(|(fence, demand)| demand.of(fence).record(owner)),
            _promise: target.map(|(fence, value)| fence.record_signal(owner, value)),
        })
    });
    // Without memory there is no note.
    if let Ok(notes) = notes {
        watch.keep(notes);
    }
}

impl Drop for Order<'_> {
    fn drop(&mut self) {
        // No watch came of it: the data stays the caller's.
        if let Some(callback) = &mut self.callback {
            callback.data.disarm();
        }
    }
}
