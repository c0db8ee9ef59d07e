//! Deferred submission: jobs that run, in order, once what they wait for is there.
//!
//! It is the submit thread that every driver has for waits before signals, without the thread. A
//! queue has one watch, for the wait that its first job is held up by, and goes on where its loop
//! does things; queues share nothing else, so one that is held up holds up no other. Nothing is
//! allocated for a job but its own list of waits and signals.

use super::job::{DONE, Items, Job, Next, SUBMITTED};
use super::records::Claims;
use crate::diagnostics;
use crate::error::{Error, FenceErrno, Result};
use crate::fence::Fence;
use crate::reactor::event_loop::{EventLoop, LoopHandle};
use crate::reactor::watch::{Effect, Failure, Resume, Watch};
use crate::shm::participant::Participant;
use crate::sys::futex;
use crate::sys::time::Deadline;
use crate::util::refs::Ref;
use crate::wait::{self, Condition};
use rustix::thread::{Pid, gettid};
use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a C handle stands for: with the last one the queue ends.
pub(crate) struct QueueHandle {
    queue: Ref<Queue>,
    event_loop: Ref<LoopHandle>,
}

/// Whether a job whose turn has come when it is submitted runs there and then.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Inline {
    Yes,
    No,
}

impl QueueHandle {
    pub(crate) fn new(event_loop: &Ref<LoopHandle>, inline: Inline) -> Result<Ref<QueueHandle>> {
        let queue = Queue::new(event_loop.get()?, inline)?;
        Ref::try_new(|| Ok(QueueHandle { queue: queue.clone(), event_loop: event_loop.clone() }))
            .inspect_err(|_| queue.end())
    }

    /// The queue. `Stale` in the child of a fork.
    pub(crate) fn get(&self) -> Result<&Ref<Queue>> {
        self.event_loop.get().map(|_| &self.queue)
    }
}

impl Drop for QueueHandle {
    fn drop(&mut self) {
        if self.get().is_ok() {
            self.queue.end();
        } else {
            // The child of a fork: see LoopHandle.
            std::mem::forget(self.queue.clone());
        }
    }
}

/// Jobs that run in order.
pub(crate) struct Queue {
    event_loop: Ref<EventLoop>,
    inline: Inline,
    state: Mutex<State>,
    /// Moves when a job is over and somebody drains: the futex word for that.
    moves: AtomicU32,
}

struct State {
    /// What has not run.
    jobs: VecDeque<Job>,
    /// What has run, and has not signalled.
    flight: VecDeque<(u64, Items)>,
    /// How many jobs were submitted.
    submitted: u64,
    /// Who runs a job at this moment.
    runner: Option<Runner>,
    /// How many drain, and may be asleep for a job to be over.
    drainers: u32,
    /// The watch is at a fence.
    held_up: bool,
    /// While it is, what others are told of that.
    claims: Claims,
    /// With what the device was lost.
    lost: Option<FenceErrno>,
    /// Has the loop go on with the queue. `None` at the end.
    watch: Option<Ref<Watch>>,
}

/// A thread, and the number of the job that it runs, or gives up.
struct Runner {
    thread: Pid,
    number: u64,
}

/// How many jobs a queue runs before its loop looks after others.
const AT_ONCE: usize = 64;

impl Queue {
    fn new(event_loop: &Ref<EventLoop>, inline: Inline) -> Result<Ref<Queue>> {
        let state = State {
            jobs: VecDeque::new(),
            flight: VecDeque::new(),
            submitted: 0,
            runner: None,
            drainers: 0,
            held_up: false,
            claims: Claims::new(),
            lost: None,
            watch: None,
        };
        let queue = Ref::try_new(|| {
            let (state, moves) = (Mutex::new(state), AtomicU32::new(0));
            Ok(Queue { event_loop: event_loop.clone(), inline, state, moves })
        })?;
        EventLoop::started_eye(event_loop)?;
        let resume = Effect::Resume(queue.clone().unsize::<dyn Resume>(|queue| queue));
        let watch = EventLoop::new_watch(event_loop, resume, &mut None)?;
        queue.lock().watch = Some(watch);
        Ok(queue)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a job in. If that fails, nothing happened: its data is the caller's.
    pub(crate) fn submit(&self, job: Job) -> Result<()> {
        let mut state = self.land(self.lock());
        if let Some(errno) = state.lost {
            return Err(Error::of_failed_fence(errno));
        }
        let room = state.jobs.len() + 2;
        state.jobs.try_reserve(1).map_err(|_| Error::NoMemory)?;
        state.flight.try_reserve(room).map_err(|_| Error::NoMemory)?;
        job.items.submit()?;
        if state.held_up {
            state.claims.promise(&job.items);
        }
        state.jobs.push_back(job);
        state.submitted += 1;
        if state.held_up {
            let owner = state.claims.owner();
            drop(state);
            diagnostics::report_new_deadlock(owner);
            return Ok(());
        }
        if state.jobs.len() > 1 || state.runner.is_some() {
            return Ok(());
        }
        if self.inline == Inline::Yes {
            self.go_on(state, usize::MAX);
        } else if let Some(watch) = &state.watch {
            Watch::kick(watch);
        }
        Ok(())
    }

    /// Runs what can be run, up to so many: then it is the turn of others of the loop.
    fn go_on<'a>(&'a self, mut state: MutexGuard<'a, State>, mut left: usize) {
        while state.runner.is_none() && !state.held_up {
            let State { jobs, held_up, watch, claims, .. } = &mut *state;
            let Some(job) = jobs.front_mut() else { break };
            if left == 0 {
                watch.iter().for_each(Watch::kick);
                break;
            }
            left -= 1;
            let failure = match job.items.next() {
                Next::Nothing => None,
                Next::Failed(failure) => Some(failure),
                Next::Wait(fence, demand) => {
                    let Some(watch) = watch else { break };
                    if !watch.is_armed() {
                        // Recalled when it was due already: a step is about to come.
                        break;
                    }
                    match EventLoop::watch(&self.event_loop, fence, demand, watch) {
                        Ok(()) => {
                            *held_up = true;
                            claims.wait(fence, demand);
                            break;
                        }
                        // Without memory it cannot wait.
                        Err(error) => Some(Failure::from(error)),
                    }
                }
            };
            let Some(job) = jobs.pop_front() else { break };
            let number = state.begun();
            state.runner = Some(Runner { thread: gettid(), number });
            drop(state);
            let flight = match failure {
                None => self.run(job),
                Some(failure) => {
                    job.give_up(failure);
                    None
                }
            };
            state = self.lock();
            if let Some(items) = flight {
                state = self.take_off(state, number, items);
            }
            state.runner = None;
            self.tell(&state);
        }
        if state.held_up {
            let owner = state.claim();
            drop(state);
            diagnostics::report_new_deadlock(owner);
        }
    }

    /// Runs a job; returns what is left to be signalled by others.
    fn run(&self, job: Job) -> Option<Items> {
        match job.run() {
            SUBMITTED => {
                job.release(Ok(()));
                Some(job.items)
            }
            DONE => {
                let result = job.items.signal();
                job.release(result);
                None
            }
            error => {
                let errno = u32::try_from(-i64::from(error)).ok().and_then(FenceErrno::new);
                let errno = errno.unwrap_or(Error::Unexpected.errno());
                job.give_up(Failure::of_fence(errno));
                self.fail(errno);
                None
            }
        }
    }

    /// Remembers what is left to be signalled by others.
    fn take_off<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        number: u64,
        items: Items,
    ) -> MutexGuard<'a, State> {
        let Some(errno) = state.lost else {
            state.flight.push_back((number, items));
            return state;
        };
        // Lost while the job ran: nobody else knows of its signals.
        drop(state);
        items.fail(errno);
        drop(items);
        self.lock()
    }

    /// Forgets what has signalled by now. Not under the lock: the last reference to a fence gives
    /// its notifier back, and the driver may do anything then.
    fn land<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        while let Some(items) = state.landed() {
            drop(state);
            drop(items);
            state = self.lock();
        }
        state
    }

    /// A job is over: whoever drains may look.
    fn tell(&self, state: &State) {
        if state.drainers > 0 {
            self.moves.fetch_add(1, Ordering::Release);
            futex::wake(&self.moves, NonZeroU32::MAX);
        }
    }

    /// Drops what has not run: it never will, and its signals fail.
    pub(crate) fn cancel(&self) {
        self.drop_jobs(self.lock(), Failure::from(Error::Canceled));
    }

    /// The device is lost: the same, also for what has run and not signalled; and nothing is taken
    /// in any more.
    pub(crate) fn fail(&self, errno: FenceErrno) {
        let mut state = self.lock();
        state.lost = state.lost.or(Some(errno));
        let flight = std::mem::take(&mut state.flight);
        self.drop_jobs(state, Failure::of_fence(errno));
        for (_, items) in flight {
            items.fail(errno);
        }
    }

    fn drop_jobs(&self, mut state: MutexGuard<'_, State>, failure: Failure) {
        let jobs = std::mem::take(&mut state.jobs);
        if std::mem::take(&mut state.held_up) {
            state.claims.clear();
            if let Some(watch) = &state.watch {
                watch.recall();
            }
        }
        self.tell(&state);
        drop(state);
        for job in jobs {
            job.give_up(failure);
        }
    }

    /// Nobody has a handle any more.
    fn end(&self) {
        self.cancel();
        let watch = self.lock().watch.take();
        if let Some(watch) = watch {
            let _ = watch.cancel();
        }
    }

    /// Waits until what was submitted by now has run and signalled, or never will. `Invalid` where
    /// that could not come while this waits.
    pub(crate) fn drain(&self, deadline: Deadline) -> Result<()> {
        let target = self.lock().submitted;
        loop {
            let mut state = self.land(self.lock());
            let has_run = state.has_run(target);
            if has_run && state.flight.front().is_none_or(|(number, _)| *number > target) {
                return Ok(());
            }
            if deadline.has_passed() {
                return Err(Error::TimedOut);
            }
            if state.runner.as_ref().is_some_and(|runner| runner.thread == gettid())
                || !self.event_loop.goes_on_meanwhile()
            {
                return Err(Error::Invalid);
            }
            if !has_run {
                // Under the lock: who ends a job from here on sees that somebody drains.
                let moves = self.moves.load(Ordering::Acquire);
                state.drainers += 1;
                drop(state);
                let slept = futex::wait(&self.moves, moves, NonZeroU32::MAX, deadline);
                self.lock().drainers -= 1;
                slept?;
                continue;
            }
            // None: it was signalled since we looked.
            let Some((fence, value)) = state.first_unsignaled() else { continue };
            drop(state);
            // Failed is over too.
            if wait::one(Condition::reached(&fence, value)?, deadline) == Err(Error::TimedOut) {
                return Err(Error::TimedOut);
            }
        }
    }
}

impl Resume for Queue {
    /// For the loop: what held the queue up is over, or somebody submitted the first job. False if
    /// `watch`, the queue's own, may become due again.
    fn resume(&self, watch: &Watch) -> bool {
        let mut state = self.lock();
        let Some(outcome) = watch.rearm() else { return true };
        if std::mem::take(&mut state.held_up) && outcome.is_ok() {
            state.jobs.front_mut().into_iter().for_each(|job| job.items.wait_was_met());
        }
        state.claims.clear();
        self.go_on(state, AT_ONCE);
        false
    }
}

impl State {
    /// Tells what will be signalled once the queue goes on, and what already is under way.
    fn claim(&mut self) -> Participant {
        self.jobs.iter().for_each(|job| self.claims.promise(&job.items));
        self.flight.iter().for_each(|(_, items)| self.claims.started(items));
        self.claims.owner()
    }

    /// How many jobs do not wait for their turn any more.
    fn begun(&self) -> u64 {
        self.submitted - self.jobs.len() as u64
    }

    /// Whether the first so many jobs have run, or never will.
    fn has_run(&self, count: u64) -> bool {
        // Those behind the one that runs may be over before it is.
        self.begun() >= count && self.runner.as_ref().is_none_or(|runner| runner.number > count)
    }

    /// What was under way first, if it has signalled by now.
    fn landed(&mut self) -> Option<Items> {
        let (_, items) = self.flight.front()?;
        if !items.is_signaled() {
            return None;
        }
        self.flight.pop_front().map(|(_, items)| items)
    }

    fn first_unsignaled(&self) -> Option<(Ref<Fence>, u64)> {
        self.flight.front()?.1.first_unsignaled()
    }
}
