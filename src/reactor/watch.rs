// SPDX-License-Identifier: MIT
//! A watch: a wait that acts when it completes, instead of blocking a thread.
//!
//! This file holds the state machine of one watch, and seven traits by which it calls upward. The
//! files above implement the traits, so a watch knows none of their types.
//!
//! # Lock order
//!
//! A thread that holds a lock of this folder takes only those that come later here:
//!
//! 1. an event loop's turn, held while actions and callbacks run;
//! 2. a queue's state;
//! 3. an event loop's lists of pollers, never both;
//! 4. the state of a poller, never of two;
//! 5. a timeline's waits, then the request to its point waiter;
//! 6. a watch's state;
//! 7. the order of a timeline's points;
//! 8. an event loop's due list, its exports, the handle of its fd poller's thread, a fence's
//!    attachments, the table of threads that wait for a release, and the members of a watch for
//!    many fences: each alone.

use super::release_waits;
use crate::error::{self, Error, FenceErrno, Result};
use crate::fence::Fence;
use crate::fence::WaitRecord;
#[cfg(not(loom))]
use crate::fence::{Attached, KernelFence};
use crate::shm::creator::Creator;
use crate::shm::page::Page;
#[cfg(not(loom))]
use crate::sys::sync_file;
use crate::sys::thread::ThreadId;
use crate::sys::time::Deadline;
use crate::sys::{eventfd, futex};
use crate::trace::{Arrow, Span, Subject};
use crate::util::atomic::{AtomicBool, AtomicU32, Ordering};
use crate::util::callback;
use crate::util::mutex::modeled::{Guard, Mutex};
use crate::util::process_bound::ProcessBound;
use crate::util::refs::Ref;
use crate::util::user_data::UserData;
use crate::wait::{Condition, Predicate};
#[cfg(not(loom))]
use rustix::fd::BorrowedFd;
use rustix::fd::{AsFd, OwnedFd};
use std::ffi::{c_int, c_void};
use std::num::NonZeroU32;
use std::sync::atomic::AtomicU64;

/// How a wait ended.
pub(crate) type Outcome = std::result::Result<(), Failure>;

/// Why a wait cannot be met any more.
#[derive(Clone, Copy)]
pub(crate) struct Failure {
    /// What the watch reports.
    pub(crate) error: Error,
    /// What a fence that depends on it fails with.
    pub(crate) errno: FenceErrno,
}

impl Failure {
    /// The failure of a fence that carries an error.
    pub(crate) fn of_fence(errno: FenceErrno) -> Failure {
        Failure { error: Error::of_failed_fence(errno), errno }
    }

    /// The failure of a condition that ended with `error`. If that is the fence's error, `errno` is
    /// the one that the fence carries.
    fn of_condition(condition: Condition<'_>, error: Error) -> Failure {
        match condition.fence.error() {
            Ok(Some(errno)) if error == Error::of_failed_fence(errno) => Failure { error, errno },
            _ => Failure::from(error),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure { error, errno: error.errno() }
    }
}

/// Names a descriptor in the fd poller.
pub(crate) type Token = u64;

/// Where completed watches run. Implemented by the event loop, and for the members of a watch for
/// many conditions by `WatchMany`.
pub(crate) trait Scheduler: Send + Sync {
    /// Returns the reservation of a watch that will not become due.
    fn unreserve(&self);
    /// Appends a watch to the due list. Its place there was reserved, so this cannot fail.
    fn enqueue(&self, watch: &Ref<Watch>);
    /// Runs what is due on the thread of a poller, or leaves it to the caller of dispatch.
    fn run_due(&self);
    /// Has what is due run soon. To be called after `enqueue` on any thread but one that calls
    /// `run_due` next.
    fn wake(&self);
    /// Forgets a watch with an ordered action, which has acted or never will.
    fn untrack(&self, watch: &Watch);
    /// Removes a canceled watch from the loop's fd poller.
    fn deregister_fd(&self, token: Token);
}

/// Where a watch for a fence is registered. Implemented by the fence poller.
pub(crate) trait Registrar: Send + Sync {
    /// Removes a watch. With `reuse` the watch will be registered again, so no trace of it may stay
    /// behind.
    fn deregister(&self, watch: &Watch, key: FenceKey, reuse: bool) -> AfterUnlock;
}

/// Where a watch for the futex word of another kind of fence is registered. Implemented by the
/// poller of xshmfences.
pub(crate) trait WordRegistrar: Send + Sync {
    /// Removes a canceled watch.
    fn deregister(&self, watch: &Watch);
}

/// A fence of another kind that an action triggers. Implemented by the xshmfence.
pub(crate) trait Trigger: Send + Sync {
    fn trigger(&self);
}

/// A reference to a fence that has no watch left. A caller that holds a lock drops it after the
/// lock: the end of a fence calls release functions of the library's caller.
#[must_use]
pub(crate) struct AfterUnlock {
    pub(crate) _fence: Option<Ref<Fence>>,
}

impl AfterUnlock {
    pub(crate) const NOTHING: AfterUnlock = AfterUnlock { _fence: None };
}

/// An action that has to keep an order with others. Implemented by the timeline; the key is a
/// point.
pub(crate) trait Ordered: Send + Sync {
    /// Whether no action with a lower key is still to come.
    fn is_next(&self, key: u64) -> bool;
    /// Acts for a watch whose turn it is, or that failed. Calls [`Watch::finish`] once it has acted
    /// with success, or [`Watch::acted_in_vain`].
    fn complete(&self, key: u64, watch: &Watch, outcome: Outcome) -> Result<()>;
    /// Gives up the turn of a canceled watch.
    fn abandon(&self, key: u64, watch: &Watch);
}

/// An action whose watch is armed again and again. Implemented by the queue.
pub(crate) trait Resume: Send + Sync {
    /// Continues. Returns false if `watch` may become due again.
    fn resume(&self, watch: &Watch) -> bool;
}

/// Watches for single conditions, on which a watch for many conditions depends. Implemented by
/// `WatchMany`.
pub(crate) trait Members: Send + Sync {
    /// Returns the outcome of a watch that acts, and the index of the condition that decided it.
    fn decide(&self, outcome: Outcome) -> (Outcome, u32);
    /// Cancels the members, for a watch that has its result or is canceled.
    fn cancel(&self);
}

/// What a watch does when it completes, before it calls back.
pub(crate) enum Action {
    None,
    /// Adds one to an eventfd, whatever the outcome.
    Eventfd(OwnedFd),
    /// Triggers a fence that carries no error. A failed watch does not.
    Trigger(Ref<dyn Trigger>),
    /// Signals a fence, or fails it.
    SignalFence {
        fence: Ref<Fence>,
        value: u64,
        /// The kernel fence that an import waits for stands for the value until then.
        #[cfg(not(loom))]
        attached: Option<Attached>,
        /// When the kernel fence of an import signaled, if that is of use.
        time: Option<u64>,
    },
    /// Fails the fences of a process that died. Its slots can then be reclaimed, if the kernel told
    /// which process it was.
    FailTied(TiedTarget, Option<Creator>),
    /// Acts once every action with a lower key has: signals a point of a timeline.
    InOrder(Ref<dyn Ordered>, u64),
    /// Resumes a queue, whose watch is armed again each time.
    Resume(Ref<dyn Resume>),
    /// Ends the watches for single conditions.
    Many(Ref<dyn Members>),
    /// Nothing: it is such a watch, for the condition of this index.
    Member(u32),
}

impl Action {
    /// Signals a fence, or fails it.
    pub(crate) fn signal(fence: Ref<Fence>, value: u64) -> Action {
        Action::SignalFence {
            fence,
            value,
            #[cfg(not(loom))]
            attached: None,
            time: None,
        }
    }

    /// What a trace calls it.
    fn name(&self) -> &'static str {
        match self {
            Action::None | Action::Member(_) => "watch",
            Action::Eventfd(_) => "watch: add to eventfd",
            Action::Trigger(_) => "watch: export to xshmfence",
            Action::SignalFence { .. } => "watch: signal",
            Action::FailTied(..) => "watch: fail what is tied",
            Action::InOrder(..) => "watch: export to syncobj",
            Action::Many(_) | Action::Resume(_) => "watch for many",
        }
    }

    /// Acts in part, if the action may take long: fails the fences of a page in as many slots as
    /// `allowance` says. Returns whether something is left to do for another call.
    fn perform_part(&mut self, outcome: Outcome, allowance: &mut u32) -> bool {
        match self {
            Action::FailTied(TiedTarget::Page { page, next }, dead) if outcome.is_ok() => {
                match page.fail_owner_died(*next, allowance, *dead) {
                    Ok(Some(slot)) => {
                        *next = slot;
                        true
                    }
                    Ok(None) | Err(_) => false,
                }
            }
            _ => false,
        }
    }

    /// Acts for a watch, after the parts of the action, and stores the result. No function of the
    /// caller's runs before that, since [`Watch::result`] waits for it.
    fn perform(&self, watch: &Watch, outcome: Outcome) -> Result<()> {
        let reported = outcome.map_err(|failure| failure.error);
        let result = match self {
            Action::None => reported,
            Action::Eventfd(fd) => {
                eventfd::add_shared(fd.as_fd());
                reported
            }
            Action::Trigger(fence) => reported.inspect(|()| fence.trigger()),
            Action::SignalFence { fence, value, time, .. } => match outcome {
                Ok(()) => fence.signal_done(*value, *time),
                Err(failure) => fence.set_error(failure.errno).and(reported),
            },
            Action::InOrder(ordered, key) => {
                let scheduler = watch.lock().scheduler.clone();
                let result = ordered.complete(*key, watch, outcome);
                if let Some(scheduler) = scheduler {
                    scheduler.untrack(watch);
                }
                result
            }
            Action::FailTied(target, dead) => reported.and_then(|()| target.fail_owner_died(*dead)),
            // `run` ends the members. `start` never returns a queue's watch as work, and members
            // are in no due list.
            Action::Many(_) | Action::Resume(_) | Action::Member(_) => reported,
        };
        watch.finish(result);
        result
    }
}

/// The fences that a process would have signaled.
pub(crate) enum TiedTarget {
    Fence(Ref<Fence>),
    /// Every fence that the page has at that time, from the slot `next` on.
    Page {
        page: Ref<Page>,
        next: u32,
    },
}

impl TiedTarget {
    fn fail_owner_died(&self, dead: Option<Creator>) -> Result<()> {
        match self {
            TiedTarget::Fence(fence) => fence.fail_owner_died(dead),
            // Done in parts.
            TiedTarget::Page { .. } => Ok(()),
        }
    }
}

/// A C function, called once when a watch has completed.
pub(crate) struct Callback {
    pub(crate) call: Call,
    /// Released when this is dropped: after the call, or instead of it.
    pub(crate) data: UserData,
}

/// The function of a callback.
#[derive(Clone, Copy)]
pub(crate) enum Call {
    Result(extern "C" fn(data: *mut c_void, result: c_int)),
    /// Also told which of many conditions decided.
    ResultAndIndex(extern "C" fn(data: *mut c_void, result: c_int, index: u32)),
}

impl Callback {
    fn run(self, result: Result<()>, index: u32) {
        let (data, result) = (self.data.get(), error::code(result));
        callback::call(|| match self.call {
            Call::Result(call) => call(data, result),
            Call::ResultAndIndex(call) => call(data, result, index),
        });
    }
}

/// A wait, and what happens when it completes.
pub(crate) struct Watch {
    creator: ProcessBound,
    state: Mutex<State>,
    /// Whether `FenceWatches` has it and counts it as one that waits, not as canceled. Changed only
    /// under the fence poller's lock.
    counted: AtomicBool,
    /// A futex word: not 0 once what threads wait for has happened.
    settled: AtomicU32,
    /// The arrow of a trace that leads to what the watch does, or 0. See `trace::Point`.
    cause: AtomicU64,
}

struct State {
    stage: Stage,
    /// Whether threads wait for the end of the stage `Acting` or `Releasing`.
    has_waiters: bool,
    /// Present until the watch has finished. So a handle on a finished watch does not keep the loop
    /// and its descriptors.
    scheduler: Option<Ref<dyn Scheduler>>,
    /// Present until it is done, or canceled.
    work: Option<Work>,
    records: Option<Ref<WatchRecords>>,
    registration: Registration,
}

struct Work {
    action: Action,
    callback: Option<Callback>,
}

/// What a watch writes into the wait tables, for the wait-for graph.
pub(crate) struct WatchRecords {
    pub(crate) _wait: Option<WaitRecord>,
    pub(crate) _signal: Option<WaitRecord>,
}

/// What to do for a watch that was due.
enum Start {
    Work(Work, Outcome),
    /// Nothing: it was canceled.
    Nothing,
    /// Nothing yet: it waits for its turn.
    Parked,
    /// Resume the queue, which arms it again.
    Resume(Ref<dyn Resume>),
}

impl Start {
    /// The rest of an action, which begins only for a wait that was met.
    fn rest_of(work: Work) -> Start {
        Start::Work(work, Ok(()))
    }
}

#[derive(Clone, Copy)]
enum Stage {
    /// It waits.
    Armed,
    /// It has completed, and is in the due list of its loop.
    Due(Outcome),
    /// It has completed, and waits for its turn.
    Parked(Outcome),
    /// Its action runs. Others may see what it did, and do not know the result yet.
    Acting,
    /// Its action failed, which others cannot see. Or a part of its action is left, and it is in
    /// the due list. More is to do before the watch has finished.
    Running,
    Finished(Result<()>),
    /// It is canceled, and this thread releases what it has.
    Releasing(ThreadId),
    Canceled,
}

/// Where an armed watch is registered.
pub(crate) enum Registration {
    None,
    /// With a fence poller, among the watches of a fence.
    Fence {
        at: Ref<dyn Registrar>,
        key: FenceKey,
    },
    /// With the fd poller of its loop.
    Fd(Token),
    /// With a poller of other futex words.
    Word(Ref<dyn WordRegistrar>),
}

/// Identifies a fence by its addresses. For comparison alone: the watch table that has the fence
/// holds a reference to it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct FenceKey {
    pub(crate) page: usize,
    pub(crate) slot: u32,
    pub(crate) fence: usize,
}

impl Watch {
    /// Makes an armed watch that is registered nowhere. The caller has reserved its place in the
    /// due list. Takes the callback if it succeeds.
    pub(crate) fn new(
        scheduler: Ref<dyn Scheduler>,
        action: Action,
        callback: &mut Option<Callback>,
    ) -> Result<Ref<Watch>> {
        Ref::try_new(|| {
            let work = Work { action, callback: callback.take() };
            let state = Mutex::new(State {
                stage: Stage::Armed,
                has_waiters: false,
                scheduler: Some(scheduler),
                work: Some(work),
                records: None,
                registration: Registration::None,
            });
            let (counted, settled) = (AtomicBool::new(false), AtomicU32::new(0));
            let cause = AtomicU64::new(0);
            Ok(Watch { creator: ProcessBound::new(), state, counted, settled, cause })
        })
    }

    fn lock(&self) -> Guard<'_, State> {
        self.state.lock()
    }

    /// Remembers where the watch is registered. Returns false if it is not armed.
    pub(crate) fn set_registration(&self, registration: Registration) -> bool {
        let mut state = self.lock();
        let is_armed = matches!(state.stage, Stage::Armed);
        if is_armed {
            state.registration = registration;
        }
        is_armed
    }

    /// Keeps records in the wait tables until the watch has acted.
    pub(crate) fn keep_records(&self, records: Ref<WatchRecords>) {
        let mut state = self.lock();
        if state.work.is_some() {
            state.records = Some(records);
        }
    }

    /// Attaches the kernel fence that an import waits for to the fence that it will signal. The
    /// caller has the exports of that fence follow. It holds a lock: returns whether it has to.
    #[cfg(not(loom))]
    pub(crate) fn attach(&self, kernel_fence: &KernelFence) -> bool {
        let mut state = self.lock();
        match state.work.as_mut().map(|work| &mut work.action) {
            Some(Action::SignalFence { fence, value, attached, .. }) => {
                // An import goes on without: the attachment makes exports early and no more.
                *attached = Fence::attach_for(fence, *value, kernel_fence);
                attached.is_some() && fence.has_waiting_exports()
            }
            _ => false,
        }
    }

    /// Completes the import of a sync_file, which has signaled.
    #[cfg(not(loom))]
    pub(crate) fn complete_import(
        watch: &Ref<Watch>,
        outcome: Outcome,
        sync_file: BorrowedFd<'_>,
    ) -> bool {
        if let Some(Work { action: Action::SignalFence { fence, time: signaled, .. }, .. }) =
            &mut watch.lock().work
        {
            if fence.leaves_times() {
                *signaled = sync_file::signal_time(sync_file).ok();
            }
        }
        Watch::complete(watch, outcome)
    }

    /// Sets whether `FenceWatches` counts the watch, and returns whether it did.
    pub(crate) fn set_counted(&self, counted: bool) -> bool {
        self.counted.swap(counted, Ordering::Relaxed)
    }

    pub(crate) fn is_counted(&self) -> bool {
        self.counted.load(Ordering::Relaxed)
    }

    /// Remembers for the trace which signal is about to complete the watch.
    pub(crate) fn set_cause(&self, arrow: u64) {
        self.cause.store(arrow, Ordering::Relaxed);
    }

    /// The same for the whole that a member decides.
    pub(crate) fn take_cause_of(&self, member: &Watch) {
        self.set_cause(member.cause.load(Ordering::Relaxed));
    }

    /// Records in the trace what the watch did since `span` began.
    #[cold]
    fn record(&self, span: Span, name: &'static str) {
        let arrow = match self.cause.swap(0, Ordering::Relaxed) {
            0 => Arrow::None,
            arrow => Arrow::Ends(arrow),
        };
        span.end(&Subject::Nothing(name), arrow, Ok(()));
    }

    /// Whether it still waits.
    pub(crate) fn is_armed(&self) -> bool {
        matches!(self.lock().stage, Stage::Armed)
    }

    /// Checks a condition. Returns `None` while it may yet be met.
    pub(crate) fn check(predicate: Predicate, fence: &Fence) -> Option<Outcome> {
        let condition = predicate.of(fence);
        match condition.met() {
            Ok(false) => None,
            Ok(true) => Some(Ok(())),
            Err(error) => Some(Err(Failure::of_condition(condition, error))),
        }
    }

    /// Ends the wait and appends the watch to the due list. Returns false if the watch had
    /// completed before, or was canceled.
    ///
    /// The caller removes the watch from where it was registered, and wakes the loop.
    pub(crate) fn complete(this: &Ref<Watch>, outcome: Outcome) -> bool {
        let mut state = this.lock();
        if !matches!(state.stage, Stage::Armed) {
            return false;
        }
        state.stage = Stage::Due(outcome);
        let _registration = std::mem::replace(&mut state.registration, Registration::None);
        let scheduler = state.scheduler.clone();
        drop(state);
        if let Some(scheduler) = scheduler {
            scheduler.enqueue(this);
        }
        true
    }

    /// Ends the wait before its condition is met: the action can be performed without. Nothing
    /// happens to a watch that does not wait any more.
    pub(crate) fn complete_early(this: &Ref<Watch>) {
        let mut state = this.lock();
        if !matches!(state.stage, Stage::Armed) {
            return;
        }
        state.stage = Stage::Due(Ok(()));
        let registration = std::mem::replace(&mut state.registration, Registration::None);
        let scheduler = state.scheduler.clone();
        drop(state);
        let Some(scheduler) = scheduler else { return };
        this.deregister(&*scheduler, registration);
        scheduler.enqueue(this);
        scheduler.wake();
    }

    /// Ends a watch whose action the call that made it has performed. What remains is the callback,
    /// if there is one. The watch is registered nowhere.
    pub(crate) fn finish_early(this: &Ref<Watch>) {
        let mut state = this.lock();
        let scheduler = state.scheduler.clone();
        let has_callback = state.work.as_ref().is_some_and(|work| work.callback.is_some());
        // Dropped after the lock.
        let _action = match &mut state.work {
            Some(work) if has_callback => std::mem::replace(&mut work.action, Action::None),
            work => work.take().map_or(Action::None, |work| work.action),
        };
        drop(state);
        match scheduler {
            _ if has_callback => Watch::trigger(this),
            Some(scheduler) => {
                this.finish(Ok(()));
                scheduler.unreserve();
            }
            None => {}
        }
    }

    /// Fails a watch because another failed, unless it runs or has finished. Also one that is due
    /// with success.
    pub(crate) fn fail(this: &Ref<Watch>, failure: Failure) {
        let mut state = this.lock();
        let registration = std::mem::replace(&mut state.registration, Registration::None);
        let is_due = match state.stage {
            Stage::Armed | Stage::Parked(_) => false,
            Stage::Due(_) => true,
            Stage::Acting | Stage::Running => return,
            Stage::Finished(_) | Stage::Releasing(_) | Stage::Canceled => return,
        };
        state.stage = Stage::Due(Err(failure));
        let scheduler = state.scheduler.clone();
        drop(state);
        let Some(scheduler) = scheduler else { return };
        this.deregister(&*scheduler, registration);
        if !is_due {
            scheduler.enqueue(this);
            scheduler.wake();
        }
    }

    /// Completes a watch that is registered nowhere: has the loop resume a queue.
    pub(crate) fn trigger(this: &Ref<Watch>) {
        let scheduler = this.lock().scheduler.clone();
        if let (true, Some(scheduler)) = (Watch::complete(this, Ok(())), scheduler) {
            scheduler.wake();
        }
    }

    /// Deregisters a queue's watch from its fence. The watch stays armed. If it has completed at
    /// this moment, the queue is resumed all the same.
    pub(crate) fn withdraw(&self) -> AfterUnlock {
        let registration = std::mem::replace(&mut self.lock().registration, Registration::None);
        let Registration::Fence { at, key } = registration else { return AfterUnlock::NOTHING };
        at.deregister(self, key, true)
    }

    /// Arms a queue's watch that was due, and returns the outcome of its wait. Returns `None` if it
    /// was canceled meanwhile.
    ///
    /// The queue's lock is held, as for everything that arms this watch. So it is never registered
    /// at two fences, nor registered and due.
    pub(crate) fn rearm(&self) -> Option<Outcome> {
        let mut state = self.lock();
        let Stage::Due(outcome) = state.stage else { return None };
        state.stage = Stage::Armed;
        Some(outcome)
    }

    /// Returns which member of a watch for many this is, and how it completed. `None` if it is
    /// canceled.
    pub(crate) fn member_outcome(&self) -> Option<(u32, Outcome)> {
        let state = self.lock();
        match (state.stage, &state.work) {
            (Stage::Due(outcome), Some(Work { action: Action::Member(index), .. })) => {
                Some((*index, outcome))
            }
            _ => None,
        }
    }

    /// Appends a parked watch to the due list: its turn has come.
    pub(crate) fn unpark(this: &Ref<Watch>) {
        let mut state = this.lock();
        let Stage::Parked(outcome) = state.stage else { return };
        state.stage = Stage::Due(outcome);
        let scheduler = state.scheduler.clone();
        drop(state);
        if let Some(scheduler) = scheduler {
            scheduler.enqueue(this);
            scheduler.wake();
        }
    }

    /// Acts and calls back, unless the watch was canceled meanwhile. The loop's turn is held.
    /// Returns false if the watch may become due again, or is due again since its action needs more
    /// than is left of `allowance`.
    pub(crate) fn run(this: &Ref<Watch>, allowance: &mut u32) -> bool {
        let span = Span::begin();
        let (mut work, mut outcome) = match this.start() {
            Start::Work(work, outcome) => (work, outcome),
            Start::Nothing => return true,
            Start::Parked => return false,
            Start::Resume(action) => {
                let is_over = action.resume(this);
                if let Some(span) = span {
                    this.record(span, "queue");
                }
                return is_over;
            }
        };
        let name = work.action.name();
        if work.action.perform_part(outcome, allowance) {
            Watch::go_on_later(this, work);
            return false;
        }
        let mut index = 0;
        if let Action::Many(members) = &work.action {
            (outcome, index) = members.decide(outcome);
        }
        let result = work.action.perform(this, outcome);
        if let Action::Many(members) = &work.action {
            members.cancel();
        }
        // May end a fence, and so call a release function.
        drop(work.action);
        if let Some(callback) = work.callback {
            callback.run(result, index);
        }
        if let Some(span) = span {
            this.record(span, name);
        }
        true
    }

    /// Appends a watch whose action is done in part to the due list again.
    fn go_on_later(this: &Ref<Watch>, work: Work) {
        let mut state = this.lock();
        (state.stage, state.work) = (Stage::Running, Some(work));
        let scheduler = state.scheduler.clone();
        this.settle(state);
        if let Some(scheduler) = scheduler {
            scheduler.enqueue(this);
        }
    }

    /// Completes an action that is done in part, at the end of the loop. The callback is released.
    pub(crate) fn finish_action(&self) {
        let mut state = self.lock();
        let is_running = matches!(state.stage, Stage::Running);
        let work = state.work.take_if(|_| is_running);
        drop(state);
        if let Some(mut work) = work {
            work.action.perform_part(Ok(()), &mut { u32::MAX });
            let _ = work.action.perform(self, Ok(()));
            drop(work);
        }
    }

    /// Stores the result, if that was not done before.
    pub(super) fn finish(&self, result: Result<()>) {
        let records = self.lock().records.take();
        drop(records);
        let mut state = self.lock();
        state.stage = Stage::Finished(result);
        // Dropped after the lock.
        let _scheduler = state.scheduler.take();
        self.settle(state);
    }

    /// Notes that the action changed nothing, and that it takes a while until the result is stored.
    pub(super) fn acted_in_vain(&self) {
        let mut state = self.lock();
        state.stage = Stage::Running;
        self.settle(state);
    }

    /// Wakes the threads that wait for the end of a stage.
    fn settle(&self, state: Guard<'_, State>) {
        let has_waiters = state.has_waiters;
        drop(state);
        if has_waiters {
            release_waits::leave(self.address());
            self.settled.store(1, Ordering::Release);
            futex::wake(&self.settled, NonZeroU32::MAX);
        }
    }

    /// Sleeps until a thread calls `settle`.
    fn wait_settled(&self, mut state: Guard<'_, State>) {
        state.has_waiters = true;
        drop(state);
        if futex::wait(&self.settled, 0, NonZeroU32::MAX, Deadline::NEVER).is_err() {
            futex::sleep_briefly(Deadline::NEVER);
        }
    }

    fn start(&self) -> Start {
        let mut state = self.lock();
        let outcome = match state.stage {
            Stage::Due(outcome) => outcome,
            // A part of its action is left, if it has work.
            Stage::Running => return state.work.take().map_or(Start::Nothing, Start::rest_of),
            _ => return Start::Nothing,
        };
        if let Some(Work { action: Action::Resume(action), .. }) = &state.work {
            return Start::Resume(action.clone());
        }
        // A failed watch adds no point to the timeline, so it does not wait for its turn.
        if let (Some(Work { action: Action::InOrder(ordered, key), .. }), Ok(())) =
            (&state.work, outcome)
        {
            if !ordered.is_next(*key) {
                // The action before it takes this lock, in `unpark`, after it has left the order.
                state.stage = Stage::Parked(outcome);
                return Start::Parked;
            }
        }
        state.stage = Stage::Acting;
        state.work.take().map_or(Start::Nothing, |work| Start::Work(work, outcome))
    }

    /// Cancels the watch: no action, no callback. `Already` if it runs or has finished. Another
    /// thread that cancels it may still release what it has.
    pub(crate) fn cancel(&self) -> Result<()> {
        let mut state = self.lock();
        let is_due = match state.stage {
            Stage::Armed | Stage::Parked(_) => false,
            // The loop finds it in the due list, and skips it.
            Stage::Due(_) => true,
            Stage::Releasing(_) | Stage::Canceled => return Ok(()),
            Stage::Acting | Stage::Running | Stage::Finished(_) => return Err(Error::Already),
        };
        state.stage = Stage::Releasing(ThreadId::current());
        let registration = std::mem::replace(&mut state.registration, Registration::None);
        let (work, records) = (state.work.take(), state.records.take());
        let scheduler = state.scheduler.take();
        drop(state);
        let in_order = match &work {
            Some(Work { action: Action::InOrder(ordered, key), .. }) => Some((ordered, *key)),
            _ => None,
        };
        if let Some(scheduler) = scheduler {
            self.deregister(&*scheduler, registration);
            if !is_due {
                scheduler.unreserve();
            }
            if in_order.is_some() {
                scheduler.untrack(self);
            }
        }
        if let Some((ordered, key)) = in_order {
            ordered.abandon(key, self);
        }
        if let Some(Work { action: Action::Many(members), .. }) = &work {
            members.cancel();
        }
        // Releases the callback's data.
        drop((work, records));
        let mut state = self.lock();
        state.stage = Stage::Canceled;
        self.settle(state);
        Ok(())
    }

    /// Waits until another thread that cancels the watch has released what it has. If that is the
    /// calling thread, a release function has called this. `Deadlock` if the other thread waits for
    /// the calling one.
    fn wait_released(&self) -> Result<()> {
        loop {
            let state = self.lock();
            let Stage::Releasing(thread) = state.stage else { return Ok(()) };
            if thread == ThreadId::current() {
                return Ok(());
            }
            if release_waits::enter(self.address(), thread)? {
                self.wait_settled(state);
            } else {
                drop(state);
                futex::sleep_briefly(Deadline::NEVER);
            }
        }
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(self) as usize
    }

    /// Cancels the watch for the caller of the library: also what another thread is canceling is
    /// released afterwards. `Deadlock` if that thread waits for the calling one. `Stale` in the
    /// child of a fork, where the loop's locks may be held by threads that do not exist.
    pub(crate) fn cancel_for_caller(&self) -> Result<()> {
        if !self.is_ours() {
            return Err(Error::Stale);
        }
        self.cancel().and_then(|()| self.wait_released())
    }

    /// Cancels the watch because the call that made it fails: the callback's data stays the
    /// caller's.
    pub(crate) fn undo(&self) {
        if let Some(Work { callback: Some(callback), .. }) = &mut self.lock().work {
            callback.data.disarm();
        }
        let _ = self.cancel();
    }

    fn is_ours(&self) -> bool {
        self.creator.is_ours()
    }

    fn deregister(&self, scheduler: &dyn Scheduler, registration: Registration) {
        match registration {
            Registration::None => {}
            Registration::Fence { at, key } => drop(at.deregister(self, key, false)),
            Registration::Fd(token) => scheduler.deregister_fd(token),
            Registration::Word(at) => at.deregister(self),
        }
    }

    /// Returns the result. `TimedOut` while the watch has not finished. Waits for an action that
    /// runs: a caller that saw what it did finds the result.
    pub(crate) fn result(&self) -> Result<()> {
        if !self.is_ours() {
            return Err(Error::Stale);
        }
        loop {
            let state = self.lock();
            match state.stage {
                Stage::Armed | Stage::Due(_) | Stage::Parked(_) | Stage::Running => {
                    return Err(Error::TimedOut);
                }
                Stage::Acting => self.wait_settled(state),
                Stage::Finished(result) => return result,
                Stage::Releasing(_) | Stage::Canceled => return Err(Error::Canceled),
            }
        }
    }
}
