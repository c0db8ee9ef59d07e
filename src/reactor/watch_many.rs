// SPDX-License-Identifier: MIT
//! A watch for any or for all of many conditions.
//!
//! Each condition has a watch of its own, a *member*, which is registered with a fence poller as
//! any watch is. Its scheduler is not the event loop but the [`WatchMany`] that it belongs to,
//! which counts the members that completed. The member that decides completes the *whole*, the
//! watch that the caller knows, and that one becomes due in the event loop. So a signal costs as
//! much as with a watch for one fence, and the pollers know nothing of this file.
//!
//! The members that are left are canceled once the whole has its result or is canceled, and not
//! where it was decided: a poller decides under its lock, which the cancellation needs. The end of
//! the loop cancels the members that it finds in its pollers, and the first of them cancels the
//! whole.

use super::event_loop::EventLoop;
use super::watch::{Action, Members, Outcome, Scheduler, Token, Watch, WatchRecords};
use crate::config;
use crate::error::{Error, Result};
use crate::fence::Fence;
use crate::shm::participant::{Participant, ParticipantKind};
use crate::util::mutex::{Guard, Mutex};
use crate::util::refs::Ref;
use crate::wait::{MAX_RECORDS, Predicate};

/// What is waited for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quorum {
    Any,
    All,
}

/// A condition with its fence.
pub(crate) type Entry = (Ref<Fence>, Predicate);

/// The members of one watch.
pub(crate) struct WatchMany {
    scheduler: Ref<dyn Scheduler>,
    quorum: Quorum,
    entries: Vec<Entry>,
    state: Mutex<ManyState>,
}

struct ManyState {
    stage: Stage,
    members: Vec<Ref<Watch>>,
    /// How many members have yet to be met until the whole is.
    missing: usize,
    decision: Option<Decision>,
}

enum Stage {
    /// Members are made. A decision waits until all are.
    Arming,
    /// The whole completes with the decision.
    Armed(Ref<Watch>),
    /// The members are canceled.
    Ended,
}

#[derive(Clone, Copy)]
struct Decision {
    outcome: Outcome,
    index: u32,
}

/// The index that is reported if no one entry decided: all were met.
const NO_INDEX: u32 = u32::MAX;

impl WatchMany {
    /// Makes the members' common part. `entries` is not empty.
    pub(crate) fn new(
        scheduler: Ref<dyn Scheduler>,
        quorum: Quorum,
        entries: Vec<Entry>,
    ) -> Result<Ref<WatchMany>> {
        let mut members = Vec::new();
        members.try_reserve_exact(entries.len()).map_err(|_| Error::NoMemory)?;
        let missing = if quorum == Quorum::Any { 1 } else { entries.len() };
        let state = ManyState { stage: Stage::Arming, members, missing, decision: None };
        Ref::try_new(|| Ok(WatchMany { scheduler, quorum, entries, state: Mutex::new(state) }))
    }

    fn lock(&self) -> Guard<'_, ManyState> {
        self.state.lock()
    }

    /// Registers the members, until one decides. If it fails, the caller cancels the whole.
    pub(crate) fn arm(
        this: &Ref<WatchMany>,
        event_loop: &Ref<EventLoop>,
        whole: &Ref<Watch>,
    ) -> Result<()> {
        let participant = Participant::new(ParticipantKind::Watch);
        for (index, (fence, predicate)) in this.entries.iter().enumerate() {
            let scheduler = this.clone().unsize::<dyn Scheduler>(|many| many);
            let member = Watch::new(scheduler, Action::Member(index as u32), &mut None)?;
            if config::is_debug() && index < MAX_RECORDS {
                this.record(&member, fence, *predicate, participant);
            }
            // Its place was reserved.
            this.lock().members.push(member.clone());
            drop(EventLoop::watch(event_loop, fence, *predicate, &member)?);
            if this.lock().decision.is_some() {
                break;
            }
        }
        let decision = {
            let mut state = this.lock();
            state.stage = Stage::Armed(whole.clone());
            state.decision
        };
        if let Some(decision) = decision {
            Watch::complete(whole, decision.outcome);
            this.scheduler.wake();
        }
        Ok(())
    }

    /// Records in the wait table what a member waits for.
    fn record(
        &self,
        member: &Watch,
        fence: &Fence,
        predicate: Predicate,
        participant: Participant,
    ) {
        let alternatives = if self.quorum == Quorum::Any { self.entries.len() } else { 1 };
        let wait = predicate.of(fence).record_one_of(alternatives, participant);
        // Without memory there is no record.
        if let Ok(records) = Ref::try_new(|| Ok(WatchRecords { _wait: Some(wait), _signal: None }))
        {
            member.keep_records(records);
        }
    }

    /// Returns the index of an entry that is met now.
    fn met_entry(&self) -> Option<u32> {
        let is_met =
            |(fence, predicate): &Entry| matches!(Watch::check(*predicate, fence), Some(Ok(())));
        self.entries.iter().position(is_met).map(|index| index as u32)
    }
}

impl ManyState {
    /// Counts a member that completed. Returns the whole if that decides, and all members are
    /// armed.
    fn count(&mut self, index: u32, outcome: Outcome) -> Option<Ref<Watch>> {
        if self.decision.is_some() {
            return None;
        }
        if outcome.is_ok() {
            self.missing -= 1;
            if self.missing > 0 {
                return None;
            }
        }
        self.decision = Some(Decision { outcome, index });
        match &self.stage {
            Stage::Armed(whole) => Some(whole.clone()),
            Stage::Arming | Stage::Ended => None,
        }
    }
}

/// What the members call. A poller's lock may be held.
impl Scheduler for WatchMany {
    /// A member was canceled: by this, or because the loop ends.
    fn unreserve(&self) {
        let whole = match &self.lock().stage {
            Stage::Armed(whole) => Some(whole.clone()),
            Stage::Arming | Stage::Ended => None,
        };
        if let Some(whole) = whole {
            let _ = whole.cancel();
        }
    }

    fn enqueue(&self, member: &Ref<Watch>) {
        // `None` if it was canceled at this moment.
        let Some((index, outcome)) = member.member_outcome() else { return };
        let whole = self.lock().count(index, outcome);
        if let Some(whole) = whole {
            whole.take_cause_of(member);
            // The poller wakes the loop, or runs what is due.
            Watch::complete(&whole, outcome);
        }
    }

    fn run_due(&self) {
        self.scheduler.run_due();
    }

    fn wake(&self) {
        self.scheduler.wake();
    }

    /// No member has an ordered action.
    fn untrack(&self, _: &Watch) {}

    /// No member is registered with the fd poller.
    fn deregister_fd(&self, _: Token) {}
}

impl Members for WatchMany {
    fn decide(&self, outcome: Outcome) -> (Outcome, u32) {
        if self.quorum == Quorum::Any && outcome.is_err() {
            // Another entry may be met, whose poller has not seen it yet. It takes precedence.
            if let Some(index) = self.met_entry() {
                return (Ok(()), index);
            }
        }
        let decision = self.lock().decision;
        let index = match decision {
            Some(decision) if self.quorum == Quorum::Any || outcome.is_err() => decision.index,
            _ => NO_INDEX,
        };
        (outcome, index)
    }

    fn cancel(&self) {
        let (_whole, members) = {
            let mut state = self.lock();
            let stage = std::mem::replace(&mut state.stage, Stage::Ended);
            (stage, std::mem::take(&mut state.members))
        };
        for member in members {
            let _ = member.cancel();
        }
    }
}
