// SPDX-License-Identifier: MIT
//! A queue replaces the submit thread that drivers use for wait-before-signal, without a thread.
//!
//! Jobs run in order, each once its waits are met. A queue has one watch, for the first unmet wait
//! of its first job, and its event loop resumes it. Queues share nothing else, so a blocked queue
//! does not block another. The only allocation for a job is its list of waits and signals.

use super::job::{DONE, Dependencies, Job, Next, SUBMITTED};
use super::records::QueueRecords;
use crate::diagnostics;
use crate::error::{Error, FenceErrno, Result};
use crate::fence::Fence;
use crate::reactor::{Action, EventLoop, Failure, LoopHandle, Resume, Watch};
use crate::shm::participant::Participant;
use crate::sys::futex;
use crate::sys::thread::ThreadId;
use crate::sys::time::Deadline;
use crate::trace::{self, Arrow, Span, Subject};
use crate::util::atomic::{AtomicU32, Ordering};
use crate::util::mutex::{Guard, Mutex};
use crate::util::refs::Ref;
use crate::wait::{self, Condition};
use std::collections::VecDeque;
use std::num::NonZeroU32;

/// The object behind a C handle. The last reference ends the queue.
pub(crate) struct QueueHandle {
    queue: Ref<Queue>,
    event_loop: Ref<LoopHandle>,
}

/// Whether a job that is ready when it is submitted runs in that call.
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

    /// Returns the queue. `Stale` in the child of a fork.
    pub(crate) fn get(&self) -> Result<&Ref<Queue>> {
        self.event_loop.get().map(|_| &self.queue)
    }
}

impl Drop for QueueHandle {
    fn drop(&mut self) {
        if self.get().is_ok() {
            self.queue.end();
        } else {
            // Leaked in the child of a fork, as by LoopHandle.
            std::mem::forget(self.queue.clone());
        }
    }
}

/// Jobs that run in order.
pub(crate) struct Queue {
    event_loop: Ref<EventLoop>,
    inline: Inline,
    state: Mutex<State>,
    /// A futex word, incremented when a job has finished and a thread drains the queue.
    finished: AtomicU32,
}

struct State {
    /// Jobs that have not run.
    jobs: VecDeque<Job>,
    /// The numbers and signals of jobs that have run, and have not signaled.
    in_flight: VecDeque<(u64, Dependencies)>,
    /// How many jobs were submitted.
    submitted: u64,
    /// The thread that runs a job now.
    runner: Option<Runner>,
    /// How many threads drain the queue, and may sleep on `finished`.
    drainers: u32,
    /// Whether the watch is registered: a wait is not met.
    blocked: bool,
    /// The records in the wait tables while the queue is blocked.
    records: QueueRecords,
    /// The error that the device was lost with.
    lost: Option<FenceErrno>,
    /// Has the event loop resume the queue. `None` at the end.
    watch: Option<Ref<Watch>>,
}

/// A thread, and the number of the job that it runs or fails.
struct Runner {
    thread: ThreadId,
    number: u64,
}

/// How many jobs a queue runs before its event loop runs what else is due.
const BATCH: usize = 64;

impl Queue {
    fn new(event_loop: &Ref<EventLoop>, inline: Inline) -> Result<Ref<Queue>> {
        let state = State {
            jobs: VecDeque::new(),
            in_flight: VecDeque::new(),
            submitted: 0,
            runner: None,
            drainers: 0,
            blocked: false,
            records: QueueRecords::new(),
            lost: None,
            watch: None,
        };
        let queue = Ref::try_new(|| {
            let (state, finished) = (Mutex::new(state), AtomicU32::new(0));
            Ok(Queue { event_loop: event_loop.clone(), inline, state, finished })
        })?;
        EventLoop::start_fd_poller(event_loop)?;
        let resume = Action::Resume(queue.clone().unsize::<dyn Resume>(|queue| queue));
        let watch = EventLoop::new_watch(event_loop, resume, &mut None)?;
        queue.lock().watch = Some(watch);
        Ok(queue)
    }

    fn lock(&self) -> Guard<'_, State> {
        self.state.lock()
    }

    /// Appends a job. If that fails, nothing has changed, and its data stays the caller's.
    pub(crate) fn submit(&self, job: Job) -> Result<()> {
        let span = Span::begin();
        let mut state = self.retire(self.lock());
        if let Some(errno) = state.lost {
            return Err(Error::of_failed_fence(errno));
        }
        let in_flight = state.jobs.len() + 2;
        state.jobs.try_reserve(1).map_err(|_| Error::NoMemory)?;
        state.in_flight.try_reserve(in_flight).map_err(|_| Error::NoMemory)?;
        job.dependencies.submit()?;
        state.submitted += 1;
        if state.blocked {
            let number = state.submitted;
            state.records.jobs.add(number, &job.dependencies);
        }
        state.jobs.push_back(job);
        if let Some(span) = span {
            state.record_job(span, "submit job", state.submitted, Arrow::Begins);
        }
        if state.blocked {
            let participant = state.records.participant();
            drop(state);
            diagnostics::report_new_deadlock(participant);
            return Ok(());
        }
        if state.jobs.len() > 1 || state.runner.is_some() {
            return Ok(());
        }
        if self.inline == Inline::Yes {
            self.run_ready(state, usize::MAX);
        } else if let Some(watch) = &state.watch {
            Watch::trigger(watch);
        }
        Ok(())
    }

    /// Runs the jobs that are ready, at most `limit`: then the event loop runs what else is due.
    fn run_ready<'a>(&'a self, mut state: Guard<'a, State>, limit: usize) {
        let mut left = limit;
        let mut after_unlock = None;
        while state.runner.is_none() && !state.blocked {
            let State { jobs, blocked, watch, records, .. } = &mut *state;
            let Some(job) = jobs.front_mut() else { break };
            if left == 0 {
                watch.iter().for_each(Watch::trigger);
                break;
            }
            left -= 1;
            let failure = match job.dependencies.next() {
                Next::Nothing => None,
                Next::Failed(failure) => Some(failure),
                Next::Wait(fence, predicate) => {
                    let Some(watch) = watch else { break };
                    if !watch.is_armed() {
                        // Withdrawn when it was due already: `resume` will be called.
                        break;
                    }
                    match EventLoop::watch(&self.event_loop, fence, predicate, watch) {
                        Ok(deferred) => {
                            after_unlock = Some(deferred);
                            *blocked = true;
                            records.record_wait(fence, predicate);
                            break;
                        }
                        // Without memory the job cannot wait, so it fails.
                        Err(error) => Some(Failure::from(error)),
                    }
                }
            };
            let Some(job) = jobs.pop_front() else { break };
            let number = state.begun();
            state.records.jobs.remove(number, &job.dependencies);
            state.runner = Some(Runner { thread: ThreadId::current(), number });
            drop(state);
            let span = Span::begin();
            let name = if failure.is_none() { "job" } else { "fail job" };
            let in_flight = match failure {
                None => self.run(job),
                Some(failure) => {
                    job.fail(failure);
                    None
                }
            };
            state = self.lock();
            if let Some(span) = span {
                state.record_job(span, name, number, Arrow::Ends);
            }
            if let Some(dependencies) = in_flight {
                state = self.track(state, number, dependencies);
            }
            state.runner = None;
            self.notify_drainers(&state);
        }
        let participant = state.blocked.then(|| state.record());
        drop(state);
        drop(after_unlock);
        if let Some(participant) = participant {
            diagnostics::report_new_deadlock(participant);
        }
    }

    /// Runs a job. Returns its signals if others will make them.
    fn run(&self, job: Job) -> Option<Dependencies> {
        match job.run() {
            SUBMITTED => {
                job.release(Ok(()));
                Some(job.dependencies)
            }
            DONE => {
                let result = job.dependencies.signal();
                job.release(result);
                None
            }
            error => {
                let errno = u32::try_from(-i64::from(error)).ok().and_then(FenceErrno::new);
                let errno = errno.unwrap_or(Error::Unexpected.errno());
                job.fail(Failure::of_fence(errno));
                self.fail(errno);
                None
            }
        }
    }

    /// Remembers the signals of a job that others will make.
    fn track<'a>(
        &'a self,
        mut state: Guard<'a, State>,
        number: u64,
        dependencies: Dependencies,
    ) -> Guard<'a, State> {
        let Some(errno) = state.lost else {
            state.in_flight.push_back((number, dependencies));
            return state;
        };
        // The device was lost while the job ran: no other call fails its signals.
        drop(state);
        dependencies.fail(errno);
        drop(dependencies);
        self.lock()
    }

    /// Forgets the first jobs in flight that have signaled. Not under the lock: the last reference
    /// to a fence releases its notifier, and that function of the driver may call the library.
    fn retire<'a>(&'a self, mut state: Guard<'a, State>) -> Guard<'a, State> {
        while let Some(dependencies) = state.retired() {
            drop(state);
            drop(dependencies);
            state = self.lock();
        }
        state
    }

    /// Wakes the threads that drain the queue: a job has finished.
    fn notify_drainers(&self, state: &State) {
        if state.drainers > 0 {
            self.finished.fetch_add(1, Ordering::Release);
            futex::wake(&self.finished, NonZeroU32::MAX);
        }
    }

    /// Drops the jobs that have not run, and fails their signals.
    pub(crate) fn cancel(&self) {
        self.drop_jobs(self.lock(), Failure::from(Error::Canceled));
    }

    /// Fails the queue: its device is lost. Does the same as `cancel`, also fails the signals in
    /// flight, and accepts no job any more.
    pub(crate) fn fail(&self, errno: FenceErrno) {
        let mut state = self.lock();
        state.lost = state.lost.or(Some(errno));
        let in_flight = std::mem::take(&mut state.in_flight);
        state.records.in_flight.clear();
        self.drop_jobs(state, Failure::of_fence(errno));
        for (_, dependencies) in in_flight {
            dependencies.fail(errno);
        }
    }

    fn drop_jobs(&self, mut state: Guard<'_, State>, failure: Failure) {
        let jobs = std::mem::take(&mut state.jobs);
        let mut after_unlock = None;
        state.records.jobs.clear();
        if std::mem::take(&mut state.blocked) {
            state.records.clear_wait();
            after_unlock = state.watch.as_ref().map(|watch| watch.withdraw());
        }
        self.notify_drainers(&state);
        drop(state);
        drop(after_unlock);
        for job in jobs {
            job.fail(failure);
        }
    }

    /// Ends the queue: the last handle is gone.
    fn end(&self) {
        self.cancel();
        let watch = self.lock().watch.take();
        if let Some(watch) = watch {
            let _ = watch.cancel();
        }
    }

    /// Waits until the jobs submitted so far have run and signaled, or never will. `Invalid` if
    /// they cannot while the calling thread waits.
    pub(crate) fn drain(&self, deadline: Deadline) -> Result<()> {
        let target = self.lock().submitted;
        loop {
            let mut state = self.retire(self.lock());
            let has_run = state.has_run(target);
            if has_run && state.in_flight.front().is_none_or(|(number, _)| *number > target) {
                return Ok(());
            }
            if deadline.has_passed() {
                return Err(Error::TimedOut);
            }
            if state.runner.as_ref().is_some_and(|runner| runner.thread == ThreadId::current())
                || !self.event_loop.runs_meanwhile()
            {
                return Err(Error::Invalid);
            }
            if !has_run {
                // Under the lock: a thread that finishes a job from here on sees the drainer.
                let finished = self.finished.load(Ordering::Acquire);
                state.drainers += 1;
                drop(state);
                let slept = futex::wait(&self.finished, finished, NonZeroU32::MAX, deadline);
                self.lock().drainers -= 1;
                slept?;
                continue;
            }
            // `None` if it was signaled since the check.
            let Some((fence, value)) = state.first_unsignaled() else { continue };
            drop(state);
            // A fence that failed need not be waited for either.
            if wait::one(Condition::reached(&fence, value)?, deadline) == Err(Error::TimedOut) {
                return Err(Error::TimedOut);
            }
        }
    }
}

impl Resume for Queue {
    /// Continues after the wait has ended, or after the first job was submitted.
    fn resume(&self, watch: &Watch) -> bool {
        let mut state = self.lock();
        let Some(outcome) = watch.rearm() else { return true };
        if std::mem::take(&mut state.blocked) && outcome.is_ok() {
            state.jobs.front_mut().into_iter().for_each(|job| job.dependencies.wait_was_met());
        }
        state.records.clear_wait();
        self.run_ready(state, BATCH);
        false
    }
}

impl State {
    /// Records in the trace what happened to a job since `span` began.
    #[cold]
    fn record_job(&self, span: Span, name: &'static str, number: u64, arrow: fn(u64) -> Arrow) {
        let queue = self.records.participant().serial();
        let arrow = arrow(trace::job_arrow(queue, number));
        span.end(&Subject::Job(name, number, queue), arrow, Ok(()));
    }

    /// Records what a blocked queue will signal, and what is in flight, as far as it is not
    /// recorded yet.
    fn record(&mut self) -> Participant {
        let begun = self.begun();
        let State { jobs, in_flight, records, .. } = self;
        let recorded = records.jobs.recorded().saturating_sub(begun);
        for (number, job) in (begun + 1..).zip(jobs.iter()).skip(recorded as usize) {
            records.jobs.add(number, &job.dependencies);
        }
        let recorded = records.in_flight.recorded();
        let recorded = in_flight.partition_point(|(number, _)| *number <= recorded);
        for (number, dependencies) in in_flight.iter().skip(recorded) {
            records.in_flight.add(*number, dependencies);
        }
        records.jobs.refill(jobs.iter().map(|job| &job.dependencies));
        records.in_flight.refill(in_flight.iter().map(|(_, dependencies)| dependencies));
        records.participant()
    }

    /// How many jobs have left the list of those that have not run.
    fn begun(&self) -> u64 {
        self.submitted - self.jobs.len() as u64
    }

    /// Whether the first `count` jobs have run, or never will.
    fn has_run(&self, count: u64) -> bool {
        // Jobs behind the one that runs may be canceled before it returns.
        self.begun() >= count && self.runner.as_ref().is_none_or(|runner| runner.number > count)
    }

    /// Removes the first job in flight, if it has signaled.
    fn retired(&mut self) -> Option<Dependencies> {
        let (number, dependencies) = self.in_flight.front()?;
        if !dependencies.is_signaled() {
            return None;
        }
        self.records.in_flight.remove(*number, dependencies);
        self.in_flight.pop_front().map(|(_, dependencies)| dependencies)
    }

    /// Returns the first signal in flight that was not made.
    fn first_unsignaled(&self) -> Option<(Ref<Fence>, u64)> {
        self.in_flight.front()?.1.first_unsignaled()
    }
}
