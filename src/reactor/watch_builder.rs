// SPDX-License-Identifier: MIT
//! The builder of watches: one function for each kind. A call that fails changes nothing.

use super::event_loop::EventLoop;
use super::point_order;
use super::timeline::Timeline;
use super::watch::{
    Action, Callback, Members, Ordered, Scheduler, TiedTarget, Trigger, Watch, WatchRecords,
};
use super::watch_many::{Entry, Quorum, WatchMany};
use crate::config;
use crate::convert::{self, Access, Xshmfence};
use crate::error::Result;
use crate::fence::{ExportSource, Fence};
use crate::shm::creator::Creator;
use crate::shm::participant::{Participant, ParticipantKind};
use crate::sys::file_kind::FileKind;
use crate::sys::peer::ExitEvent;
use crate::sys::{dma_buf, peer, peer_process, process, sync_file};
use crate::trace::{self, Subject};
use crate::util::refs::Ref;
use crate::wait::{Condition, Predicate};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};

/// Builds a watch of an event loop, with an optional callback.
pub(crate) struct WatchBuilder<'a> {
    event_loop: &'a Ref<EventLoop>,
    callback: Option<Callback>,
}

impl<'a> WatchBuilder<'a> {
    pub(crate) fn new(
        event_loop: &'a Ref<EventLoop>,
        callback: Option<Callback>,
    ) -> WatchBuilder<'a> {
        WatchBuilder { event_loop, callback }
    }

    /// Makes a watch with an action. `start` registers it.
    fn build(
        mut self,
        action: Action,
        start: impl FnOnce(&Ref<EventLoop>, &Ref<Watch>) -> Result<()>,
    ) -> Result<Ref<Watch>> {
        let watch = EventLoop::new_watch(self.event_loop, action, &mut self.callback)?;
        match start(self.event_loop, &watch) {
            Ok(()) => Ok(watch),
            Err(error) => {
                watch.undo();
                Err(error)
            }
        }
    }

    /// Watches a fence's condition. The action is one that needs no registration of its own.
    pub(crate) fn watch(
        self,
        fence: &Ref<Fence>,
        predicate: Predicate,
        action: Action,
    ) -> Result<Ref<Watch>> {
        let target = match &action {
            Action::SignalFence { fence, value, .. } => Some((fence.clone(), *value)),
            _ => None,
        };
        self.build(action, |event_loop, watch| {
            record(watch, Some((fence, predicate)), target);
            EventLoop::watch(event_loop, fence, predicate, watch).map(drop)
        })
    }

    /// Watches for any or all of some conditions, at least one.
    pub(crate) fn watch_many(self, quorum: Quorum, entries: Vec<Entry>) -> Result<Ref<Watch>> {
        let many = WatchMany::new(EventLoop::scheduler(self.event_loop), quorum, entries)?;
        let members = many.clone().unsize::<dyn Members>(|many| many);
        self.build(Action::Many(members), |event_loop, watch| {
            WatchMany::arm(&many, event_loop, watch)
        })
    }

    /// Exports a value of a fence to a timeline's point: when it is reached, or at once if a kernel
    /// fence is attached and the point is next in order. `Invalid` if the point is not beyond the
    /// last, or if another watch will add it.
    pub(crate) fn export_point(
        self,
        fence: &Ref<Fence>,
        value: u64,
        timeline: &Ref<Timeline>,
        point: u64,
    ) -> Result<Ref<Watch>> {
        let predicate = Condition::reached(fence, value)?.predicate();
        let attached = fence.attached(value);
        if attached.is_none() {
            timeline.check_forward(point)?;
        }
        let ordered = timeline.clone().unsize::<dyn Ordered>(|timeline| timeline);
        self.build(Action::InOrder(ordered, point), |event_loop, watch| {
            if let Some(kernel_fence) = attached {
                if timeline.submit_if_next(point, &kernel_fence)? {
                    Watch::finish_early(watch);
                    return Ok(());
                }
                timeline.check_forward(point)?;
            }
            event_loop.track_export(watch)?;
            timeline.enqueue(point, watch, ExportSource::new(fence, value))?;
            record(watch, Some((fence, predicate)), None);
            EventLoop::watch(event_loop, fence, predicate, watch).map(drop)?;
            // Another thread may have attached a kernel fence meanwhile.
            if fence.attached(value).is_some() {
                point_order::follow_attachments();
            }
            Ok(())
        })
    }

    /// Imports a sync_file to a fence. No descriptor stands for a fence that has signaled.
    pub(crate) fn import_sync_file(
        self,
        fence: &Ref<Fence>,
        value: u64,
        fd: Option<BorrowedFd<'_>>,
    ) -> Result<Ref<Watch>> {
        convert::check_import(fence, value)?;
        let fd = match fd {
            Some(fd) => {
                let fd = FileKind::dup(&[FileKind::Anonymous], fd)?;
                // Fails here if it is not a sync_file.
                sync_file::outcome(fd.as_fd())?;
                Some(fd)
            }
            None => None,
        };
        self.import(fence, value, fd)
    }

    /// Imports the implicit fences that a dma-buf has now to a fence.
    pub(crate) fn import_dma_buf(
        self,
        fence: &Ref<Fence>,
        value: u64,
        buffer: BorrowedFd<'_>,
        access: Access,
    ) -> Result<Ref<Watch>> {
        convert::check_import(fence, value)?;
        let buffer = FileKind::dup(&[FileKind::Anonymous], buffer)?;
        let fences = dma_buf::export_sync_file(buffer.as_fd(), access)?;
        self.import(fence, value, Some(fences))
    }

    fn import(
        self,
        fence: &Ref<Fence>,
        value: u64,
        kernel_fence: Option<OwnedFd>,
    ) -> Result<Ref<Watch>> {
        self.build(Action::signal(fence.clone(), value), |event_loop, watch| {
            record(watch, None, Some((fence.clone(), value)));
            let fd_poller = EventLoop::start_fd_poller(event_loop)?;
            match kernel_fence {
                Some(kernel_fence) => fd_poller.add_fence(&**event_loop, kernel_fence, watch),
                None => {
                    Watch::complete(watch, Ok(()));
                    event_loop.wake();
                    Ok(())
                }
            }
        })
    }

    /// Imports an xshmfence to a fence.
    pub(crate) fn import_xshmfence(
        self,
        fence: &Ref<Fence>,
        value: u64,
        fd: BorrowedFd<'_>,
    ) -> Result<Ref<Watch>> {
        convert::check_import(fence, value)?;
        let xshmfence = Ref::try_new(|| Xshmfence::open(fd))?;
        self.build(Action::signal(fence.clone(), value), |event_loop, watch| {
            record(watch, None, Some((fence.clone(), value)));
            EventLoop::watch_xshmfence(event_loop, &xshmfence, watch)
        })
    }

    /// Exports a fence to an xshmfence.
    pub(crate) fn export_xshmfence(
        self,
        fence: &Ref<Fence>,
        predicate: Predicate,
        fd: BorrowedFd<'_>,
    ) -> Result<Ref<Watch>> {
        let xshmfence = Ref::try_new(|| Xshmfence::open(fd))?;
        let trigger = xshmfence.unsize::<dyn Trigger>(|xshmfence| xshmfence);
        self.watch(fence, predicate, Action::Trigger(trigger))
    }

    /// Watches the process behind a pidfd or a socket. Its death fails the fences tied to it.
    pub(crate) fn watch_peer(self, target: TiedTarget, peer: BorrowedFd<'_>) -> Result<Ref<Watch>> {
        let peer = FileKind::dup(&[FileKind::Anonymous, FileKind::Socket], peer)?;
        let exit_event = peer::exit_event(peer.as_fd())?;
        // The kernel tells only until the process was waited for. A socket does not tell at all.
        let process = match exit_event {
            ExitEvent::Readable => process::identity_of(peer.as_fd()).map(Creator::of),
            ExitEvent::HangsUp => None,
        };
        self.build(Action::FailTied(target, process), |event_loop, watch| {
            EventLoop::start_fd_poller(event_loop)?.add_peer(peer, exit_event, watch)
        })
    }

    /// As [`watch_peer`](Self::watch_peer), for the process that a socket is connected to. The
    /// watch does not keep the socket.
    pub(crate) fn watch_peer_process(
        self,
        target: TiedTarget,
        socket: BorrowedFd<'_>,
    ) -> Result<Ref<Watch>> {
        FileKind::require(&[FileKind::Socket], socket)?;
        peer::exit_event(socket)?;
        match peer_process::of(socket)? {
            Some(pidfd) => self.watch_peer(target, pidfd.as_fd()),
            None => self.build(Action::FailTied(target, None), |event_loop, watch| {
                EventLoop::start_fd_poller(event_loop)?;
                Watch::complete(watch, Ok(()));
                event_loop.wake();
                Ok(())
            }),
        }
    }

    /// Imports a timeline's point, submitted or not, to a fence.
    pub(crate) fn import_point(
        self,
        fence: &Ref<Fence>,
        value: u64,
        timeline: &Ref<Timeline>,
        point: u64,
    ) -> Result<Ref<Watch>> {
        convert::check_import(fence, value)?;
        timeline.check_wait()?;
        self.build(Action::signal(fence.clone(), value), |event_loop, watch| {
            record(watch, None, Some((fence.clone(), value)));
            EventLoop::start_fd_poller(event_loop)?.add_point(&**event_loop, timeline, point, watch)
        })
    }
}

/// Records in the wait tables what a watch waits for, and what it will signal then. A watch that
/// signals nothing blocks no participant: it is recorded only with LIBUMF_DEBUG. An import also
/// begins in the trace.
fn record(watch: &Watch, wait: Option<(&Fence, Predicate)>, target: Option<(Ref<Fence>, u64)>) {
    if let (None, Some((fence, value)), true) = (&wait, &target, trace::is_on()) {
        trace::instant(&Subject::Fence("import to", " = ", fence.point(*value)));
    }
    if target.is_none() && !config::is_debug() {
        return;
    }
    let participant = Participant::new(ParticipantKind::Watch);
    let records = Ref::try_new(|| {
        Ok(WatchRecords {
            _wait: wait.map(|(fence, predicate)| predicate.of(fence).record(participant)),
            _signal: target.map(|(fence, value)| fence.record_signal(participant, value)),
        })
    });
    // Without memory there are no records.
    if let Ok(records) = records {
        watch.keep_records(records);
    }
}

impl Drop for WatchBuilder<'_> {
    fn drop(&mut self) {
        // No watch has taken the callback: its data stays the caller's.
        if let Some(callback) = &mut self.callback {
            callback.data.disarm();
        }
    }
}
