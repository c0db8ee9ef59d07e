//! A loop: what is over, and where it is done.

use super::THREAD_NAME;
use super::fd_poller::Eye;
use super::fence_poller::Ear;
use super::watch::{Callback, Effect, Scheduler, Watch};
use crate::error::{Error, Result};
use crate::fence::Fence;
use crate::shm::page::Page;
use crate::sys::thread::{Run, Thread};
use crate::sys::time::Deadline;
use crate::util::process_bound::ProcessBound;
use crate::util::refs::Ref;
use crate::wait::Predicate;
use rustix::fd::BorrowedFd;
use std::collections::{HashMap, VecDeque};
use std::ffi::CStr;
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

/// Who does what is due.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The library's own threads.
    Thread,
    /// The caller, who is told by a descriptor.
    Caller,
}

/// What a C handle stands for: with the last one the loop ends.
pub(crate) struct LoopHandle {
    event_loop: Ref<EventLoop>,
}

impl LoopHandle {
    pub(crate) fn new(mode: Mode) -> Result<Ref<LoopHandle>> {
        let event_loop = EventLoop::new(mode)?;
        Ref::try_new(|| Ok(LoopHandle { event_loop }))
    }

    /// The loop. `Stale` in the child of a fork, which has none of its threads.
    pub(crate) fn get(&self) -> Result<&Ref<EventLoop>> {
        if self.event_loop.is_ours() { Ok(&self.event_loop) } else { Err(Error::Stale) }
    }
}

impl Drop for LoopHandle {
    fn drop(&mut self) {
        if self.event_loop.is_ours() {
            self.event_loop.end();
        } else {
            // The child of a fork: a thread that is not here may have held any lock. What the loop
            // has is left alone.
            std::mem::forget(self.event_loop.clone());
        }
    }
}

/// Watches that are armed, and what is to be done.
pub(crate) struct EventLoop {
    mode: Mode,
    creator: ProcessBound,
    due: Mutex<Due>,
    /// Held by whoever does things.
    turn: Mutex<()>,
    ears: Mutex<Vec<Ref<Ear>>>,
    eye: Eye,
    /// The thread that waits at the eye, once there is something to wait for.
    eye_thread: Mutex<Option<Thread>>,
    /// Those that are to add points to timelines. One that waits for its turn there is known to
    /// nobody else here.
    exports: Mutex<Exports>,
}

/// By their addresses.
type Exports = HashMap<usize, Ref<Watch>, BuildHasherDefault<DefaultHasher>>;

/// What is to be done. There is always room for what may yet become due: where it does, memory
/// cannot be asked for.
struct Due {
    watches: VecDeque<Ref<Watch>>,
    promised: usize,
    ended: bool,
    is_cancelling: bool,
}

/// An empty list keeps no more memory than this many entries take.
const KEPT: usize = 1024;

/// Room for a watch among what is to be done, taken back unless it is kept.
pub(crate) struct Room<'a>(&'a EventLoop);

impl Room<'_> {
    pub(crate) fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        self.0.unreserve();
    }
}

impl EventLoop {
    fn new(mode: Mode) -> Result<Ref<EventLoop>> {
        let due = Due { watches: VecDeque::new(), promised: 0, ended: false, is_cancelling: false };
        let eye = Eye::new()?;
        Ref::try_new(|| {
            Ok(EventLoop {
                mode,
                creator: ProcessBound::new(),
                due: Mutex::new(due),
                turn: Mutex::new(()),
                ears: Mutex::new(Vec::new()),
                eye,
                eye_thread: Mutex::new(None),
                exports: Mutex::new(HashMap::default()),
            })
        })
    }

    /// Whether this process made it, and not the parent that it was forked from.
    pub(crate) fn is_ours(&self) -> bool {
        self.creator.is_ours()
    }

    fn eye_thread(&self) -> MutexGuard<'_, Option<Thread>> {
        self.eye_thread.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The eye. Sees to it that somebody looks, if the loop has threads.
    pub(crate) fn started_eye(this: &Ref<EventLoop>) -> Result<&Eye> {
        let mut thread = this.eye_thread();
        if thread.is_none() && this.mode == Mode::Thread {
            *thread = Some(Thread::start(this.clone())?);
        }
        Ok(&this.eye)
    }

    /// Whether the thread that asks is one of the loop's.
    fn is_current(&self) -> bool {
        self.eye_thread().as_ref().is_some_and(Thread::is_current)
            || self.ears().iter().any(|ear| ear.is_current())
    }

    fn scheduler(this: &Ref<EventLoop>) -> Ref<dyn Scheduler> {
        this.clone().unsize::<dyn Scheduler>(|event_loop| event_loop)
    }

    /// A new watch, armed, that nobody knows yet. The callback is taken if it succeeds.
    pub(crate) fn new_watch(
        this: &Ref<EventLoop>,
        effect: Effect,
        callback: &mut Option<Callback>,
    ) -> Result<Ref<Watch>> {
        let room = this.promise()?;
        let watch = Watch::new(EventLoop::scheduler(this), effect, callback)?;
        room.keep();
        Ok(watch)
    }

    /// Readable while there is something to dispatch. `Invalid` for a loop with a thread.
    pub(crate) fn fd(&self) -> Result<BorrowedFd<'_>> {
        if self.mode == Mode::Caller { Ok(self.eye.fd()) } else { Err(Error::Invalid) }
    }

    fn due(&self) -> MutexGuard<'_, Due> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ears(&self) -> MutexGuard<'_, Vec<Ref<Ear>>> {
        self.ears.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Arms a watch for a fence.
    pub(crate) fn watch(
        this: &Ref<EventLoop>,
        fence: &Ref<Fence>,
        demand: Predicate,
        watch: &Ref<Watch>,
    ) -> Result<()> {
        // An ear that had room may be full when we come back to it.
        while !Ear::add(&EventLoop::ear_for(this, fence.page())?, fence, demand, watch)? {}
        Ok(())
    }

    /// One that listens to the page, or could.
    fn ear_for(this: &Ref<EventLoop>, page: &Page) -> Result<Ref<Ear>> {
        let mut ears = this.ears();
        let listening = ears.iter().find(|ear| ear.hears(page));
        if let Some(ear) = listening.or_else(|| ears.iter().find(|ear| ear.has_room())) {
            return Ok(ear.clone());
        }
        ears.try_reserve(1).map_err(|_| Error::NoMemory)?;
        // One without a thread would not do what is due.
        let ear = Ear::start(EventLoop::scheduler(this))?;
        ears.push(ear.clone());
        Ok(ear)
    }

    /// Room for one more watch among what is to be done.
    fn promise(&self) -> Result<Room<'_>> {
        let mut due = self.due();
        let room = due.promised + 1;
        due.watches.try_reserve(room).map_err(|_| Error::NoMemory)?;
        due.promised = room;
        Ok(Room(self))
    }

    fn exports(&self) -> MutexGuard<'_, Exports> {
        self.exports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in a watch that is to add a point to a timeline.
    pub(crate) fn add_export(&self, watch: &Ref<Watch>) -> Result<()> {
        let mut exports = self.exports();
        exports.try_reserve(1).map_err(|_| Error::NoMemory)?;
        exports.insert(std::ptr::from_ref::<Watch>(watch) as usize, watch.clone());
        Ok(())
    }

    /// Whether things are done while the thread that asks waits.
    pub(crate) fn goes_on_meanwhile(&self) -> bool {
        self.mode == Mode::Thread && !self.is_current()
    }

    /// Does what is due by now, and sees to what fell due meanwhile later: it may be the same
    /// again.
    fn run_batch(&self) {
        let mut left = self.due().watches.len();
        while left > 0 {
            let Some(watch) = self.take() else { break };
            if watch.fire() {
                self.unreserve();
            }
            left -= 1;
        }
        let mut due = self.due();
        if due.watches.is_empty() && due.promised == 0 && due.watches.capacity() > KEPT {
            due.watches = VecDeque::new();
        }
        let is_more = !due.watches.is_empty();
        drop(due);
        if is_more {
            self.wake();
        }
    }

    /// The next watch to be done. As long as it is not, its room is kept.
    fn take(&self) -> Option<Ref<Watch>> {
        let mut due = self.due();
        if due.ended {
            return None;
        }
        let watch = due.watches.pop_front()?;
        due.promised += 1;
        Some(watch)
    }

    /// For the caller: looks at the files, and does what is due. `Already` if that is going on
    /// elsewhere, or around the call.
    pub(crate) fn dispatch(&self) -> Result<()> {
        if self.mode != Mode::Caller {
            return Err(Error::Invalid);
        }
        let _turn = match self.turn.try_lock() {
            Ok(turn) => turn,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Err(Error::Already),
        };
        self.eye.look(Deadline::POLL)?;
        self.run_batch();
        Ok(())
    }

    /// Cancels everything, and ends the threads: waits for them, unless it is one of them that
    /// asks.
    fn end(&self) {
        self.due().ended = true;
        self.cancel_due();
        let exports = std::mem::take(&mut *self.exports());
        for watch in exports.into_values() {
            let _ = watch.cancel();
        }
        // In a callback no thread can be waited for: it may be this one, or wait for its turn.
        let wait = !self.is_current();
        let ears = std::mem::take(&mut *self.ears());
        for ear in &ears {
            ear.end(wait);
        }
        let thread = self.eye_thread().take();
        self.eye.end();
        if let Some(thread) = thread {
            thread.end(wait);
        }
        // What fell due meanwhile.
        self.cancel_due();
    }

    /// After the end, when nothing is done any more.
    fn cancel_due(&self) {
        if std::mem::replace(&mut self.due().is_cancelling, true) {
            // What a cancelled watch had due is cancelled by who is at it, and not in here: it may
            // be a long chain.
            return;
        }
        loop {
            let mut due = self.due();
            let Some(watch) = due.watches.pop_front() else {
                due.is_cancelling = false;
                break;
            };
            drop(due);
            let _ = watch.cancel();
        }
    }
}

impl Scheduler for EventLoop {
    fn unreserve(&self) {
        self.due().promised -= 1;
    }

    fn enqueue(&self, watch: &Ref<Watch>) {
        let mut due = self.due();
        due.promised -= 1;
        due.watches.push_back(watch.clone());
    }

    /// One thread at a time.
    fn run_due(&self) {
        match self.mode {
            Mode::Caller => {
                if !self.due().watches.is_empty() {
                    self.eye.poke();
                }
            }
            Mode::Thread => {
                if !self.due().watches.is_empty() {
                    let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
                    self.run_batch();
                }
            }
        }
    }

    fn wake(&self) {
        if self.due().ended {
            return self.cancel_due();
        }
        match self.mode {
            Mode::Caller => self.eye.poke(),
            Mode::Thread => {
                let ear = self.ears().first().cloned();
                ear.map_or_else(|| self.eye.poke(), |ear| ear.poke());
            }
        }
    }

    fn untrack(&self, watch: &Watch) {
        let mut exports = self.exports();
        let _removed = exports.remove(&(std::ptr::from_ref(watch) as usize));
        if exports.is_empty() && exports.capacity() > KEPT {
            *exports = HashMap::default();
        }
        drop(exports);
    }

    fn deregister_fd(&self, token: u64) {
        self.eye.forget(token);
    }
}

impl Run for EventLoop {
    const NAME: &CStr = THREAD_NAME;

    /// The eye's thread.
    fn run(&self) {
        while self.eye.look(Deadline::NEVER).is_ok_and(|goes_on| goes_on) {
            self.run_due();
        }
        // What it found to be over at the end.
        self.wake();
    }
}
