//! A watch: a wait that acts when it completes, instead of blocking a thread.
//!
//! This file holds the state machine of one watch, and four traits by which it calls upward: the
//! files above implement them, and a watch knows none of their types.
//!
//! # Lock order
//!
//! A thread that holds a lock of this folder takes only those that come later here:
//!
//! 1. an event loop's turn, held while actions and callbacks run;
//! 2. a queue's state;
//! 3. an event loop's list of fence pollers;
//! 4. the state of a fence poller or of the fd poller, never of two;
//! 5. a timeline's waits, then the request to its point waiter;
//! 6. a watch's state;
//! 7. a timeline's exports;
//! 8. an event loop's due list, its exports, and the handle of its fd poller's thread: each alone.

use crate::error::{self, Error, FenceErrno, Result};
use crate::fence::Fence;
use crate::fence::WaitRecord;
use crate::shm::page::Page;
use crate::sys::eventfd;
use crate::util::process_bound::ProcessBound;
use crate::util::refs::Ref;
use crate::util::user_data::UserData;
use crate::wait::{Condition, Predicate};
use rustix::fd::{AsFd, OwnedFd};
use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a wait came to.
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
    /// Of a fence that carries an error.
    pub(crate) fn of_fence(errno: FenceErrno) -> Failure {
        Failure { error: Error::of_failed_fence(errno), errno }
    }

    /// Of a condition that ended so: with the fence's own error, if it is that.
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

/// Where watches that are over run. Implemented by the event loop.
pub(crate) trait Scheduler: Send + Sync {
    /// Gives back the room of a watch that will not become due any more.
    fn unreserve(&self);
    /// Appends a watch to what is due. There is room for it: it was reserved.
    fn enqueue(&self, watch: &Ref<Watch>);
    /// Runs what is due, on the thread of a poller, unless the caller of the library does.
    fn run_due(&self);
    /// Has what is due run, after `enqueue` by any other thread than the one that runs it anyway.
    fn wake(&self);
    /// Forgets a watch that has acted in order, or never will.
    fn untrack(&self, watch: &Watch);
    /// Forgets a watch that was canceled, in the loop's fd poller.
    fn deregister_fd(&self, token: u64);
}

/// Where a watch for a fence is registered. Implemented by the fence poller.
pub(crate) trait Registrar: Send + Sync {
    /// Forgets a watch. With `reuse` the watch is about to be registered again, so nothing of it
    /// stays behind.
    fn deregister(&self, watch: &Watch, key: Address, reuse: bool);
}

/// An action that keeps an order with others. Implemented by the timeline, whose key is a point.
pub(crate) trait Ordered: Send + Sync {
    /// Whether no action with a lower key is still to come.
    fn is_next(&self, key: u64) -> bool;
    /// Acts for a watch, whose turn it is or which failed.
    fn complete(&self, key: u64, watch: &Watch, outcome: Outcome) -> Result<()>;
    /// Gives up the turn of a watch that was canceled.
    fn abandon(&self, key: u64, watch: &Watch);
}

/// An action whose watch is armed again and again. Implemented by the queue.
pub(crate) trait Resume: Send + Sync {
    /// Goes on. False if `watch` may become due again.
    fn resume(&self, watch: &Watch) -> bool;
}

/// What a watch does when it is over, beside calling back.
pub(crate) enum Effect {
    Nothing,
    /// Adds one, however it ended.
    Eventfd(OwnedFd),
    /// Signals a fence, or fails it.
    Signal {
        fence: Ref<Fence>,
        value: u64,
    },
    /// Acts once those with a lower key have: signals a point of a timeline.
    InOrder(Ref<dyn Ordered>, u64),
    /// Fails what a process owed that is gone.
    Orphan(Owed),
    /// Goes on with a queue, whose watch is armed again each time.
    Resume(Ref<dyn Resume>),
}

impl Effect {
    /// Does it for its watch. What it came to is what the watch did.
    fn perform(self, watch: &Watch, outcome: Outcome) -> Result<()> {
        let reported = outcome.map_err(|failure| failure.error);
        match self {
            Effect::Nothing => reported,
            Effect::Eventfd(fd) => {
                eventfd::add(fd.as_fd());
                reported
            }
            Effect::Signal { fence, value } => match outcome {
                Ok(()) => fence.signal(value),
                Err(failure) => fence.set_error(failure.errno).and(reported),
            },
            Effect::InOrder(ordered, key) => {
                let result = ordered.complete(key, watch, outcome);
                let scheduler = watch.lock().scheduler.clone();
                if let Some(scheduler) = scheduler {
                    scheduler.untrack(watch);
                }
                result
            }
            Effect::Orphan(owed) => owed.orphan(),
            // `begin` sees to it.
            Effect::Resume(_) => reported,
        }
    }
}

/// What a process owes.
pub(crate) enum Owed {
    Fence(Ref<Fence>),
    /// Every fence of the page that lives then.
    Page(Ref<Page>),
}

impl Owed {
    fn orphan(self) -> Result<()> {
        match self {
            Owed::Fence(fence) => fence.fail_owner_died(),
            Owed::Page(page) => page.fail_owner_died(),
        }
    }
}

/// Who is called when a watch is over, once.
pub(crate) struct Callback {
    pub(crate) call: extern "C" fn(data: *mut c_void, result: c_int),
    /// Given back when this is dropped: after the call, or instead of it.
    pub(crate) data: UserData,
}

impl Callback {
    fn run(self, result: Result<()>) {
        (self.call)(self.data.get(), error::code(result));
    }
}

/// A wait, and what happens when it is over.
pub(crate) struct Watch {
    creator: ProcessBound,
    state: Mutex<State>,
    /// Whether its spot still counts on it. Changed under the ear's lock only.
    listed: AtomicBool,
}

struct State {
    stage: Stage,
    /// Until it is over: nobody's handle on a watch keeps the loop, and its descriptors, any
    /// longer.
    scheduler: Option<Ref<dyn Scheduler>>,
    /// Until it is done, or cancelled.
    work: Option<Work>,
    home: Home,
}

struct Work {
    effect: Effect,
    callback: Option<Callback>,
    notes: Option<Ref<Notes>>,
}

/// What a watch tells whoever asks why nothing goes on.
pub(crate) struct Notes {
    pub(crate) _wait: Option<WaitRecord>,
    pub(crate) _promise: Option<WaitRecord>,
}

/// What there is to do for a watch that was due.
enum Begun {
    Work(Work, Outcome),
    /// It was cancelled.
    Nothing,
    /// It has to wait for its turn.
    Parked,
    /// The queue arms it again.
    Resume(Ref<dyn Resume>),
}

#[derive(Clone, Copy)]
enum Stage {
    /// Nothing has happened yet.
    Armed,
    /// It is over, and among what its loop has to do.
    Due(Outcome),
    /// It is over, and has to wait for its turn.
    Parked(Outcome),
    /// It is being done.
    Busy,
    Over(Result<()>),
    Cancelled,
}

/// Where a watch that is armed is known.
pub(crate) enum Home {
    /// Nowhere.
    None,
    /// Among the watches of a fence.
    Fence { at: Ref<dyn Registrar>, key: Address },
    /// In the fd poller of its loop, by this token.
    Fd(u64),
}

/// Which fence, for comparison alone: who finds it has a reference.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) page: usize,
    pub(crate) slot: u32,
    pub(crate) fence: usize,
}

impl Watch {
    /// A new watch, armed, that nobody knows yet. The caller has reserved room for it among what is
    /// due, which is kept until it is over. The callback is taken if it succeeds.
    pub(crate) fn new(
        scheduler: Ref<dyn Scheduler>,
        effect: Effect,
        callback: &mut Option<Callback>,
    ) -> Result<Ref<Watch>> {
        Ref::try_new(|| {
            let work = Work { effect, callback: callback.take(), notes: None };
            let state = Mutex::new(State {
                stage: Stage::Armed,
                scheduler: Some(scheduler),
                work: Some(work),
                home: Home::None,
            });
            Ok(Watch { creator: ProcessBound::new(), state, listed: AtomicBool::new(false) })
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers where the watch is known, as long as it is armed. False if it is not.
    pub(crate) fn settle_at(&self, home: Home) -> bool {
        let mut state = self.lock();
        let is_armed = matches!(state.stage, Stage::Armed);
        if is_armed {
            state.home = home;
        }
        is_armed
    }

    /// Leaves notes that stand until it is over.
    pub(crate) fn keep(&self, notes: Ref<Notes>) {
        if let Some(work) = &mut self.lock().work {
            work.notes = Some(notes);
        }
    }

    /// Says whether the spot counts on it, and tells whether it did.
    pub(crate) fn list(&self, listed: bool) -> bool {
        self.listed.swap(listed, Ordering::Relaxed)
    }

    pub(crate) fn is_listed(&self) -> bool {
        self.listed.load(Ordering::Relaxed)
    }

    /// Whether nothing has happened to it yet.
    pub(crate) fn is_armed(&self) -> bool {
        matches!(self.lock().stage, Stage::Armed)
    }

    /// What `condition` came to, if it is over.
    pub(crate) fn look(demand: Predicate, fence: &Fence) -> Option<Outcome> {
        let condition = demand.of(fence);
        match condition.met() {
            Ok(false) => None,
            Ok(true) => Some(Ok(())),
            Err(error) => Some(Err(Failure::of_condition(condition, error))),
        }
    }

    /// It is over: to be done. Whoever calls this takes it out of where it was known, and rouses
    /// the loop. False if it was over before, or cancelled.
    pub(crate) fn decide(this: &Ref<Watch>, outcome: Outcome) -> bool {
        let mut state = this.lock();
        if !matches!(state.stage, Stage::Armed) {
            return false;
        }
        state.stage = Stage::Due(outcome);
        let _home = std::mem::replace(&mut state.home, Home::None);
        let scheduler = state.scheduler.clone();
        drop(state);
        if let Some(scheduler) = scheduler {
            scheduler.enqueue(this);
        }
        true
    }

    /// It is over in failure, whatever it was about to come to, because of another.
    pub(crate) fn fail(this: &Ref<Watch>, failure: Failure) {
        let mut state = this.lock();
        let home = std::mem::replace(&mut state.home, Home::None);
        let is_due = match state.stage {
            Stage::Armed | Stage::Parked(_) => false,
            Stage::Due(_) => true,
            Stage::Busy | Stage::Over(_) | Stage::Cancelled => return,
        };
        state.stage = Stage::Due(Err(failure));
        let scheduler = state.scheduler.clone();
        drop(state);
        let Some(scheduler) = scheduler else { return };
        this.leave(&*scheduler, home);
        if !is_due {
            scheduler.enqueue(this);
            scheduler.wake();
        }
    }

    /// The loop is to do what it is for, although nothing is over: for a queue's watch that is at
    /// no fence.
    pub(crate) fn kick(this: &Ref<Watch>) {
        let scheduler = this.lock().scheduler.clone();
        if let (true, Some(scheduler)) = (Watch::decide(this, Ok(())), scheduler) {
            scheduler.wake();
        }
    }

    /// Takes a queue's watch away from its fence. It stays armed; if it was over at this moment,
    /// the queue is told all the same.
    pub(crate) fn recall(&self) {
        let home = std::mem::replace(&mut self.lock().home, Home::None);
        if let Home::Fence { at, key } = home {
            at.deregister(self, key, true);
        }
    }

    /// A queue's watch that was due is at no fence, and may be armed for another: returns why it
    /// was. `None` if it was cancelled meanwhile. Under the queue's lock, as is all that arms it:
    /// so it is never at two fences, or at one and due.
    pub(crate) fn rearm(&self) -> Option<Outcome> {
        let mut state = self.lock();
        let Stage::Due(outcome) = state.stage else { return None };
        state.stage = Stage::Armed;
        Some(outcome)
    }

    /// Its turn has come.
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

    /// Does what is to be done, if it was not cancelled meanwhile. Called where the loop does
    /// things. False if it may become due again.
    pub(crate) fn fire(&self) -> bool {
        let (work, outcome) = match self.begin() {
            Begun::Work(work, outcome) => (work, outcome),
            Begun::Nothing => return true,
            Begun::Parked => return false,
            Begun::Resume(action) => return action.resume(self),
        };
        let result = work.effect.perform(self, outcome);
        drop(work.notes);
        self.end(result);
        if let Some(callback) = work.callback {
            callback.run(result);
        }
        true
    }

    /// It is over.
    fn end(&self, result: Result<()>) {
        let mut state = self.lock();
        state.stage = Stage::Over(result);
        // Dropped after the lock.
        let _scheduler = state.scheduler.take();
        drop(state);
    }

    fn begin(&self) -> Begun {
        let mut state = self.lock();
        let Stage::Due(outcome) = state.stage else { return Begun::Nothing };
        if let Some(Work { effect: Effect::Resume(action), .. }) = &state.work {
            return Begun::Resume(action.clone());
        }
        // A failure changes nothing on a timeline, so it need not wait.
        if let (Some(Work { effect: Effect::InOrder(ordered, key), .. }), Ok(())) =
            (&state.work, outcome)
        {
            if !ordered.is_next(*key) {
                // Whoever is next before it takes this lock after having left.
                state.stage = Stage::Parked(outcome);
                return Begun::Parked;
            }
        }
        state.stage = Stage::Busy;
        state.work.take().map_or(Begun::Nothing, |work| Begun::Work(work, outcome))
    }

    /// Sees to it that nothing happens any more. `Already` if it has, or is happening.
    pub(crate) fn cancel(&self) -> Result<()> {
        let mut state = self.lock();
        let is_due = match state.stage {
            Stage::Armed | Stage::Parked(_) => false,
            // The loop comes upon it, and leaves it.
            Stage::Due(_) => true,
            Stage::Cancelled => return Ok(()),
            Stage::Busy | Stage::Over(_) => return Err(Error::Already),
        };
        state.stage = Stage::Cancelled;
        let home = std::mem::replace(&mut state.home, Home::None);
        let work = state.work.take();
        let scheduler = state.scheduler.take();
        drop(state);
        let in_order = match &work {
            Some(Work { effect: Effect::InOrder(ordered, key), .. }) => Some((ordered, *key)),
            _ => None,
        };
        if let Some(scheduler) = scheduler {
            self.leave(&*scheduler, home);
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
        // Gives the callback's data back.
        drop(work);
        Ok(())
    }

    /// The same for the caller: `Stale` in the child of a fork, where the loop and its locks are
    /// out of order.
    pub(crate) fn cancel_for_caller(&self) -> Result<()> {
        if self.is_ours() { self.cancel() } else { Err(Error::Stale) }
    }

    /// Takes back what the call that made the watch did: the callback's data stays the caller's.
    pub(crate) fn undo(&self) {
        if let Some(Work { callback: Some(callback), .. }) = &mut self.lock().work {
            callback.data.disarm();
        }
        let _ = self.cancel();
    }

    fn is_ours(&self) -> bool {
        self.creator.is_ours()
    }

    fn leave(&self, scheduler: &dyn Scheduler, home: Home) {
        match home {
            Home::None => {}
            Home::Fence { at, key } => at.deregister(self, key, false),
            Home::Fd(token) => scheduler.deregister_fd(token),
        }
    }

    /// What it came to; `TimedOut` while it is not over.
    pub(crate) fn result(&self) -> Result<()> {
        if !self.is_ours() {
            return Err(Error::Stale);
        }
        match self.lock().stage {
            Stage::Armed | Stage::Due(_) | Stage::Parked(_) | Stage::Busy => Err(Error::TimedOut),
            Stage::Over(result) => result,
            Stage::Cancelled => Err(Error::Canceled),
        }
    }
}
