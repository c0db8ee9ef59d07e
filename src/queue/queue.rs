//! Deferred submission: jobs that run, in order, once what they wait for is there.
//!
//! It is the submit thread that every driver has for waits before signals, without the thread. A
//! queue has one watch, for the wait that its first job is held up by, and goes on where its loop
//! does things; queues share nothing else, so one that is held up holds up no other. Nothing is
//! allocated for a job but its own list of waits and signals.

use super::records::Claims;
use crate::diagnostics::graph;
use crate::error::{self, Error, FenceErrno, Result};
use crate::fence::Fence;
use crate::reactor::event_loop::{Loop, LoopHandle};
use crate::reactor::watch::{Effect, Failure, Watch};
use crate::shm::participant::Participant;
use crate::sys::futex;
use crate::sys::time::Deadline;
use crate::util::refs::Ref;
use crate::wait::{self, Condition, Predicate};
use rustix::thread::{Pid, gettid};
use std::collections::VecDeque;
use std::ffi::{c_int, c_void};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
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

/// How a driver's part of a job went.
pub(crate) type Run = extern "C" fn(data: *mut c_void) -> c_int;
pub(crate) type Release = extern "C" fn(data: *mut c_void, result: c_int);

/// The work is done: the queue signals.
pub(crate) const DONE: c_int = 0;
/// The work goes on: the driver, or its device, signals.
pub(crate) const SUBMITTED: c_int = 1;

/// A job, as it is submitted.
pub(crate) struct Job {
    items: Items,
    run: Run,
    release: Option<Release>,
    data: AtomicPtr<c_void>,
}

/// What a job waits for, and then what it signals: one block of memory.
pub(super) struct Items {
    items: Vec<Item>,
    /// How many of the waits are met.
    met: usize,
}

enum Item {
    Wait(Ref<Fence>, Predicate),
    Signal(Ref<Fence>, u64),
}

impl Job {
    /// A job with room for so many waits and signals.
    pub(crate) fn new(
        count: usize,
        run: Run,
        release: Option<Release>,
        data: *mut c_void,
    ) -> Result<Job> {
        let mut items = Vec::new();
        items.try_reserve_exact(count).map_err(|_| Error::NoMemory)?;
        Ok(Job { items: Items { items, met: 0 }, run, release, data: AtomicPtr::new(data) })
    }

    /// Adds a wait. All come before the first signal.
    pub(crate) fn wait(&mut self, fence: Ref<Fence>, demand: Predicate) {
        self.items.items.push(Item::Wait(fence, demand));
    }

    /// Adds a signal. `Invalid` for a value that the fence cannot have.
    pub(crate) fn signal(&mut self, fence: Ref<Fence>, value: u64) -> Result<()> {
        if !fence.width().holds(value) {
            return Err(Error::Invalid);
        }
        self.items.items.push(Item::Signal(fence, value));
        Ok(())
    }

    fn release(&self, result: Result<()>) {
        if let Some(release) = self.release {
            release(self.data.load(Ordering::Relaxed), error::code(result));
        }
    }

    /// It will not run: whoever waits for it learns that.
    fn give_up(self, failure: Failure) {
        self.items.fail(failure.errno);
        self.release(Err(failure.error));
    }
}

/// What a job waits for next.
enum Next<'a> {
    Nothing,
    Wait(&'a Ref<Fence>, Predicate),
    Failed(Failure),
}

impl Items {
    /// What the job signals.
    pub(super) fn signals(&self) -> impl Iterator<Item = (&Fence, u64)> {
        self.items.iter().filter_map(|item| match item {
            Item::Signal(fence, value) => Some((&**fence, *value)),
            Item::Wait(..) => None,
        })
    }

    /// Goes on to the first wait that is not met.
    fn next(&mut self) -> Next<'_> {
        let from = self.met;
        for item in self.items.iter().skip(from) {
            let Item::Wait(fence, demand) = item else { break };
            match Watch::look(*demand, fence) {
                Some(Ok(())) => self.met += 1,
                Some(Err(failure)) => return Next::Failed(failure),
                None => return Next::Wait(fence, *demand),
            }
        }
        Next::Nothing
    }

    /// Raises the pending values, so that who waits for work to be submitted goes on.
    fn submit(&self) -> Result<()> {
        // What fails must not have raised any.
        for (fence, _) in self.signals() {
            fence.check_signalable()?;
            if let Some(errno) = fence.error()? {
                return Err(Error::of_failed_fence(errno));
            }
        }
        self.signals().try_for_each(|(fence, value)| fence.submit(value))
    }

    fn signal(&self) -> Result<()> {
        let mut result = Ok(());
        for (fence, value) in self.signals() {
            // Also after one has failed.
            result = result.and(fence.signal(value));
        }
        result
    }

    /// Fails the fences that have not got to their values.
    fn fail(&self, errno: FenceErrno) {
        for (fence, _) in self.signals().filter(|(fence, value)| !is_over(fence, *value)) {
            // One that has ended meanwhile has told its waiters.
            let _ = fence.set_error(errno);
        }
    }
}

/// Whether a fence has reached a value, or never will.
fn is_over(fence: &Fence, value: u64) -> bool {
    Condition::reached(fence, value).is_ok_and(|condition| condition.met() != Ok(false))
}

/// Jobs that run in order.
pub(crate) struct Queue {
    event_loop: Ref<Loop>,
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
    fn new(event_loop: &Ref<Loop>, inline: Inline) -> Result<Ref<Queue>> {
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
        event_loop.eye().start(event_loop)?;
        let watch = Watch::new(event_loop, Effect::Queue(queue.clone()), &mut None)?;
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
            graph::check_after_block(owner);
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

    /// For the loop: what held the queue up is over, or somebody submitted the first job. False if
    /// `watch`, the queue's own, may become due again.
    pub(crate) fn step(&self, watch: &Watch) -> bool {
        let mut state = self.lock();
        let Some(outcome) = watch.rearm() else { return true };
        // Its fence may be past that by now.
        if std::mem::take(&mut state.held_up) && outcome.is_ok() {
            state.jobs.front_mut().into_iter().for_each(|job| job.items.met += 1);
        }
        state.claims.clear();
        self.go_on(state, AT_ONCE);
        false
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
                    match Loop::watch(&self.event_loop, fence, demand, watch) {
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
            graph::check_after_block(owner);
        }
    }

    /// Runs a job; returns what is left to be signalled by others.
    fn run(&self, job: Job) -> Option<Items> {
        match (job.run)(job.data.load(Ordering::Relaxed)) {
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
        if !items.signals().all(|(fence, value)| is_over(fence, value)) {
            return None;
        }
        self.flight.pop_front().map(|(_, items)| items)
    }

    fn first_unsignaled(&self) -> Option<(Ref<Fence>, u64)> {
        let (_, items) = self.flight.front()?;
        items.items.iter().find_map(|item| match item {
            Item::Signal(fence, value) if !is_over(fence, *value) => Some((fence.clone(), *value)),
            _ => None,
        })
    }
}
