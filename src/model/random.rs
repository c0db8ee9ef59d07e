// SPDX-License-Identifier: MIT
//! How the models under shuttle run, and the functions of a caller's that they pass to the library.
//!
//! The schedules are chosen at random, from seeds that are the same in each run.
//! LIBUMF_SHUTTLE_RUNS says how many a model gets of each kind; the default takes seconds in all.

use crate::error::{self, Result};
use crate::fence::Fence;
use crate::queue::{self, Inline, Job, QueueHandle};
use crate::reactor::{Action, Call, Callback, LoopHandle, Mode, Watch, WatchBuilder};
use crate::shm::generation::Kind;
use crate::shm::page::Page;
use crate::sys::futex;
use crate::util::refs::Ref;
use crate::util::user_data::UserData;
use crate::wait::Condition;
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::sync::{Condvar, Mutex, MutexGuard};
use shuttle::thread::{self, JoinHandle};
use shuttle::{Config, FailurePersistence, Runner};
use std::ffi::{c_int, c_void};
use std::ptr::without_provenance_mut;
use std::sync::PoisonError;

/// How many schedules of each kind a model gets by default.
const RUNS: usize = 300;
const SEED: u64 = 7;

/// How many times a thread is preempted where it matters, in a schedule of the second kind.
const PREEMPTIONS: usize = 3;

/// Runs a model under many schedules, with futex_waitv.
pub(super) fn check(model: impl Fn() + Sync + Send + Copy + 'static) {
    check_with(true, model);
}

/// The same, with futex_waitv and without.
pub(super) fn check_both(model: impl Fn() + Sync + Send + Copy + 'static) {
    check_with(true, model);
    check_with(false, model);
}

fn check_with(has_waitv: bool, model: impl Fn() + Sync + Send + Copy + 'static) {
    // The registry of open fences is one for all models, and shuttle's mutexes for one thread.
    static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    super::end_at_the_first_failure();
    let runs = std::env::var("LIBUMF_SHUTTLE_RUNS").ok().and_then(|runs| runs.parse().ok());
    let runs = runs.unwrap_or(RUNS);
    let mut config = Config::new();
    config.stack_size = 1 << 17;
    config.failure_persistence = FailurePersistence::None;
    config.silence_warnings = true;
    futex::set_has_waitv(has_waitv);
    let random = RandomScheduler::new_from_seed(SEED, runs);
    Runner::new(random, config.clone()).run(model);
    let few_preemptions = PctScheduler::new_from_seed(SEED, PREEMPTIONS, runs);
    Runner::new(few_preemptions, config).run(model);
}

/// What the library did with the data of a callback, or of a job.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct Tally {
    pub(super) calls: u32,
    pub(super) releases: u32,
    /// The result that the last call or release was given.
    pub(super) result: c_int,
}

/// What the caller's functions do, and have seen. The data that is passed to them is an index.
#[derive(Default)]
struct World {
    tallies: Vec<Tally>,
    /// What the fence has reached by the time the job runs.
    requires: Vec<Option<(Ref<Fence>, u64)>>,
    /// What the job's function returns.
    answers: Vec<c_int>,
    /// Called once within the callback or release of that index.
    within: Vec<Option<Box<dyn FnOnce() + Send>>>,
    running: bool,
}

shuttle::lazy_static! {
    static ref WORLD: Mutex<World> = Mutex::new(World::default());
    static ref CHANGED: Condvar = Condvar::new();
}

fn world() -> MutexGuard<'static, World> {
    WORLD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The data of a new callback or job.
pub(super) fn new_data() -> usize {
    let mut world = world();
    world.tallies.push(Tally::default());
    world.requires.push(None);
    world.answers.push(queue::DONE);
    world.within.push(None);
    world.tallies.len() - 1
}

/// Has a function called within the callback or release that has this data.
pub(super) fn within(data: usize, function: impl FnOnce() + Send + 'static) {
    world().within[data] = Some(Box::new(function));
}

fn call_within(data: usize) {
    let function = world().within[data].take();
    if let Some(function) = function {
        function();
    }
}

fn change(data: usize, change: impl FnOnce(&mut Tally)) {
    change_world(|world| change(&mut world.tallies[data]));
}

fn change_world(change: impl FnOnce(&mut World)) {
    let mut world = world();
    change(&mut world);
    drop(world);
    CHANGED.notify_all();
}

pub(super) fn tally(data: usize) -> Tally {
    world().tallies[data]
}

/// Waits until the data is released, and returns what happened before.
pub(super) fn until_released(data: usize) -> Tally {
    let mut world = world();
    while world.tallies[data].releases == 0 {
        world = CHANGED.wait(world).unwrap_or_else(PoisonError::into_inner);
    }
    world.tallies[data]
}

extern "C" fn call(data: *mut c_void, result: c_int) {
    change(data.addr(), |tally| {
        assert_eq!(tally.releases, 0);
        tally.calls += 1;
        tally.result = result;
    });
    call_within(data.addr());
}

extern "C" fn release(data: *mut c_void) {
    call_within(data.addr());
    change(data.addr(), |tally| tally.releases += 1);
}

extern "C" fn run(data: *mut c_void) -> c_int {
    let required = {
        let mut world = world();
        assert!(!world.running, "two jobs run at the same time");
        world.running = true;
        world.requires[data.addr()].take()
    };
    if let Some((fence, value)) = required {
        // An unordered one may have been rewound since.
        let is_met = fence.is_unordered() || fence.value() >= value;
        assert!(is_met, "a job runs before its wait is met");
    }
    thread::yield_now();
    let mut world = world();
    world.running = false;
    world.tallies[data.addr()].calls += 1;
    world.answers[data.addr()]
}

extern "C" fn release_job(data: *mut c_void, result: c_int) {
    call_within(data.addr());
    forget(data.addr());
    change(data.addr(), |tally| {
        tally.releases += 1;
        tally.result = result;
    });
}

/// Drops what a job requires that will not run. Fences end under no lock of the model's.
fn forget(data: usize) {
    let _required = world().requires[data].take();
}

pub(super) fn fences<const N: usize>() -> [Ref<Fence>; N] {
    let page = Page::create(N as u32).unwrap();
    std::array::from_fn(|_| Fence::create(&page, Kind::PLAIN, 0).unwrap())
}

/// A fence without order, at 0.
pub(super) fn unordered_fence() -> Ref<Fence> {
    let page = Page::create(1).unwrap();
    Fence::create(&page, Kind { unordered: true, ..Kind::PLAIN }, 0).unwrap()
}

/// Signals each of the values, on a thread of its own.
pub(super) fn signals<const N: usize>(
    fence: &Ref<Fence>,
    values: [u64; N],
) -> JoinHandle<Result<()>> {
    let fence = fence.clone();
    thread::spawn(move || values.into_iter().try_for_each(|value| fence.signal(value)))
}

/// Waits for threads whose signals were all accepted.
pub(super) fn join<const N: usize>(threads: [JoinHandle<Result<()>>; N]) {
    for thread in threads {
        assert_eq!(thread.join().unwrap(), Ok(()));
    }
}

pub(super) fn new_loop(mode: Mode) -> Ref<LoopHandle> {
    LoopHandle::new(mode).unwrap()
}

pub(super) fn callback(data: usize) -> Callback {
    let data = UserData::new(without_provenance_mut(data), Some(release));
    Callback { call: Call::Result(call), data }
}

/// Calls back once the fence has reached the value. Returns the watch and its data.
pub(super) fn watch(
    event_loop: &Ref<LoopHandle>,
    fence: &Ref<Fence>,
    value: u64,
) -> (Ref<Watch>, usize) {
    let data = new_data();
    let builder = WatchBuilder::new(event_loop.get().unwrap(), Some(callback(data)));
    let predicate = Condition::reached(fence, value).unwrap().predicate();
    (builder.watch(fence, predicate, Action::None).unwrap(), data)
}

pub(super) fn new_queue(event_loop: &Ref<LoopHandle>, inline: Inline) -> Ref<QueueHandle> {
    QueueHandle::new(event_loop, inline).unwrap()
}

/// A job that waits for a value and signals one. Its function returns `answer`.
pub(super) fn job(
    wait: Option<(&Ref<Fence>, u64)>,
    signal: Option<(&Ref<Fence>, u64)>,
    answer: c_int,
) -> (Job, usize) {
    let data = new_data();
    {
        let mut world = world();
        world.requires[data] = wait.map(|(fence, value)| (fence.clone(), value));
        world.answers[data] = answer;
    }
    let mut job = Job::new(2, run, Some(release_job), without_provenance_mut(data)).unwrap();
    if let Some((fence, value)) = wait {
        let predicate = Condition::reached(fence, value).unwrap().predicate();
        job.wait(fence.clone(), predicate);
    }
    if let Some((fence, value)) = signal {
        job.signal(fence.clone(), value).unwrap();
    }
    (job, data)
}

/// Submits such a job, whose function returns `DONE`. Returns its data.
pub(super) fn submit(
    queue: &Ref<QueueHandle>,
    wait: Option<(&Ref<Fence>, u64)>,
    signal: Option<(&Ref<Fence>, u64)>,
) -> Result<usize> {
    let (job, data) = job(wait, signal, queue::DONE);
    queue.get()?.submit(job).inspect_err(|_| forget(data))?;
    Ok(data)
}

/// What a release is given for a result.
pub(super) fn code(result: Result<()>) -> c_int {
    error::code(result)
}
