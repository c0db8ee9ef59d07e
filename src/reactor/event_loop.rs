// SPDX-License-Identifier: MIT
//! The event loop: a list of due watches, run one after another, and the pollers that fill it.

use super::THREAD_NAME;
use super::fd_poller::FdPoller;
use super::fence_poller::FencePoller;
use super::watch::{Action, AfterUnlock, Callback, Scheduler, Token, Watch};
use super::xshmfence_poller::XshmfencePoller;
use crate::convert::Xshmfence;
use crate::error::{Error, Result};
use crate::fence::Fence;
use crate::shm::page::Page;
use crate::sys::thread::{Run, Thread};
use crate::sys::time::Deadline;
use crate::trace;
use crate::util::key_map::KeyMap;
use crate::util::mutex::{Guard, Mutex, Uncounted};
use crate::util::process_bound::ProcessBound;
use crate::util::refs::Ref;
use crate::wait::Predicate;
use rustix::fd::BorrowedFd;
use std::collections::VecDeque;
use std::ffi::CStr;
use std::sync::{PoisonError, TryLockError};

/// Which thread runs what is due.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The threads of the loop's pollers, one at a time.
    Thread,
    /// The caller's, in dispatch. A descriptor is readable while there is something to do.
    Caller,
}

/// The object behind a C handle. The last reference ends the loop.
pub(crate) struct LoopHandle {
    event_loop: Ref<EventLoop>,
}

impl LoopHandle {
    pub(crate) fn new(mode: Mode) -> Result<Ref<LoopHandle>> {
        let event_loop = EventLoop::new(mode)?;
        Ref::try_new(|| Ok(LoopHandle { event_loop }))
    }

    /// Returns the loop. `Stale` in the child of a fork, which has none of its threads.
    pub(crate) fn get(&self) -> Result<&Ref<EventLoop>> {
        if self.event_loop.is_ours() { Ok(&self.event_loop) } else { Err(Error::Stale) }
    }
}

impl Drop for LoopHandle {
    fn drop(&mut self) {
        if self.event_loop.is_ours() {
            self.event_loop.end();
        } else {
            // In the child of a fork a thread that does not exist may hold any lock. So the loop is
            // leaked, with all it has.
            std::mem::forget(self.event_loop.clone());
        }
    }
}

/// The pollers, which hold the armed watches, and the watches that are due.
pub(crate) struct EventLoop {
    mode: Mode,
    creator: ProcessBound,
    due: Mutex<Due>,
    /// Held while actions and callbacks run. Not one of the library's counted locks: the only
    /// threads that wait for it are the loop's own, which hold no other lock then.
    turn: Uncounted<()>,
    fence_pollers: Mutex<Vec<Ref<FencePoller>>>,
    xshmfence_pollers: Mutex<Vec<Ref<XshmfencePoller>>>,
    fd_poller: FdPoller,
    /// The thread that runs the fd poller. Started when something needs it.
    fd_thread: Mutex<Option<Thread>>,
    /// Watches that will add a point to a timeline. While one waits for its turn there, only this
    /// map leads to it from the loop.
    exports: Mutex<Exports>,
}

/// Watches by address.
type Exports = KeyMap<usize, Ref<Watch>>;

/// The due list. A place is reserved for each watch that may become due, since an allocation at
/// that time could fail.
struct Due {
    watches: VecDeque<Ref<Watch>>,
    reserved: usize,
    ended: bool,
    is_canceling: bool,
}

/// An empty list keeps memory for at most this many entries.
const KEEP_CAPACITY: usize = 1024;

/// The slots of tied pages in which one batch fails the fences: about a millisecond's work. A page
/// of a dead process may have a million.
const TIED_SLOTS: u32 = 1024;

/// A reserved place in the due list. Returned when dropped, unless it is kept.
struct Reservation<'a>(&'a EventLoop);

impl Reservation<'_> {
    fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        self.0.unreserve();
    }
}

impl EventLoop {
    fn new(mode: Mode) -> Result<Ref<EventLoop>> {
        let due = Due { watches: VecDeque::new(), reserved: 0, ended: false, is_canceling: false };
        let fd_poller = FdPoller::new()?;
        Ref::try_new(|| {
            Ok(EventLoop {
                mode,
                creator: ProcessBound::new(),
                due: Mutex::new(due),
                turn: Uncounted::new(()),
                fence_pollers: Mutex::new(Vec::new()),
                xshmfence_pollers: Mutex::new(Vec::new()),
                fd_poller,
                fd_thread: Mutex::new(None),
                exports: Mutex::new(KeyMap::default()),
            })
        })
    }

    /// Whether this process made the loop, and not a parent that it was forked from.
    fn is_ours(&self) -> bool {
        self.creator.is_ours()
    }

    fn fd_thread(&self) -> Guard<'_, Option<Thread>> {
        self.fd_thread.lock()
    }

    /// Returns the fd poller, whose thread runs from then on if the loop has threads.
    pub(crate) fn start_fd_poller(this: &Ref<EventLoop>) -> Result<&FdPoller> {
        let mut thread = this.fd_thread();
        if thread.is_none() && this.mode == Mode::Thread {
            *thread = Some(Thread::start(this.clone())?);
        }
        Ok(&this.fd_poller)
    }

    /// Whether the calling thread is one of the loop's.
    fn is_current(&self) -> bool {
        self.fd_thread().as_ref().is_some_and(Thread::is_current)
            || self.fence_pollers().iter().any(|poller| poller.is_current())
            || self.xshmfence_pollers().iter().any(|poller| poller.is_current())
    }

    /// Returns the loop as what its watches know of it.
    pub(crate) fn scheduler(this: &Ref<EventLoop>) -> Ref<dyn Scheduler> {
        this.clone().unsize::<dyn Scheduler>(|event_loop| event_loop)
    }

    /// Makes an armed watch that is registered nowhere. Takes the callback if it succeeds.
    pub(crate) fn new_watch(
        this: &Ref<EventLoop>,
        action: Action,
        callback: &mut Option<Callback>,
    ) -> Result<Ref<Watch>> {
        let reservation = this.reserve()?;
        let watch = Watch::new(EventLoop::scheduler(this), action, callback)?;
        reservation.keep();
        Ok(watch)
    }

    /// Returns a descriptor that is readable while there is something to dispatch. `Invalid` for a
    /// loop with threads.
    pub(crate) fn fd(&self) -> Result<BorrowedFd<'_>> {
        if self.mode == Mode::Caller { Ok(self.fd_poller.fd()) } else { Err(Error::Invalid) }
    }

    fn due(&self) -> Guard<'_, Due> {
        self.due.lock()
    }

    fn fence_pollers(&self) -> Guard<'_, Vec<Ref<FencePoller>>> {
        self.fence_pollers.lock()
    }

    fn xshmfence_pollers(&self) -> Guard<'_, Vec<Ref<XshmfencePoller>>> {
        self.xshmfence_pollers.lock()
    }

    /// Registers a watch for an xshmfence, with a poller that has room for it.
    pub(crate) fn watch_xshmfence(
        this: &Ref<EventLoop>,
        fence: &Ref<Xshmfence>,
        watch: &Ref<Watch>,
    ) -> Result<()> {
        let mut pollers = this.xshmfence_pollers();
        for poller in pollers.iter() {
            if XshmfencePoller::add(poller, fence, watch)? {
                return Ok(());
            }
        }
        pollers.try_reserve(1).map_err(|_| Error::NoMemory)?;
        let poller = XshmfencePoller::start(EventLoop::scheduler(this))?;
        pollers.push(poller.clone());
        XshmfencePoller::add(&poller, fence, watch).map(drop)
    }

    /// Registers a watch for a fence's condition. A caller that holds a lock drops the result after
    /// it.
    pub(crate) fn watch(
        this: &Ref<EventLoop>,
        fence: &Ref<Fence>,
        predicate: Predicate,
        watch: &Ref<Watch>,
    ) -> Result<AfterUnlock> {
        if trace::is_on() {
            trace::instant(&predicate.of(fence).subject("watch"));
        }
        loop {
            let poller = EventLoop::fence_poller_for(this, fence.page())?;
            // Another thread may fill a poller that had room for the page.
            if let Some(added) = FencePoller::add(&poller, fence, predicate, watch)? {
                return Ok(added);
            }
        }
    }

    /// Returns a fence poller that polls the page or has room for it.
    fn fence_poller_for(this: &Ref<EventLoop>, page: &Page) -> Result<Ref<FencePoller>> {
        let mut pollers = this.fence_pollers();
        let polling = pollers.iter().find(|poller| poller.polls(page));
        if let Some(poller) = polling.or_else(|| pollers.iter().find(|poller| poller.has_room())) {
            return Ok(poller.clone());
        }
        pollers.try_reserve(1).map_err(|_| Error::NoMemory)?;
        // Not added before its thread runs: `wake` relies on the first poller.
        let poller = FencePoller::start(EventLoop::scheduler(this))?;
        pollers.push(poller.clone());
        Ok(poller)
    }

    /// Reserves a place for one more watch in the due list.
    fn reserve(&self) -> Result<Reservation<'_>> {
        let mut due = self.due();
        let reserved = due.reserved + 1;
        due.watches.try_reserve(reserved).map_err(|_| Error::NoMemory)?;
        due.reserved = reserved;
        Ok(Reservation(self))
    }

    fn exports(&self) -> Guard<'_, Exports> {
        self.exports.lock()
    }

    /// Remembers a watch that will add a point to a timeline.
    pub(crate) fn track_export(&self, watch: &Ref<Watch>) -> Result<()> {
        let mut exports = self.exports();
        exports.try_reserve(1).map_err(|_| Error::NoMemory)?;
        exports.insert(std::ptr::from_ref::<Watch>(watch) as usize, watch.clone());
        Ok(())
    }

    /// Whether the loop runs what is due while the calling thread sleeps.
    pub(crate) fn runs_meanwhile(&self) -> bool {
        self.mode == Mode::Thread && !self.is_current()
    }

    /// Runs what is due now. What becomes due meanwhile waits for the next batch: it may be the
    /// same watch again.
    fn run_batch(&self) {
        let mut left = self.due().watches.len();
        let mut allowance = TIED_SLOTS;
        while left > 0 {
            let Some(watch) = self.next_due() else { break };
            if Watch::run(&watch, &mut allowance) {
                self.unreserve();
            }
            left -= 1;
        }
        let mut due = self.due();
        if due.watches.is_empty() && due.reserved == 0 && due.watches.capacity() > KEEP_CAPACITY {
            due.watches = VecDeque::new();
        }
        let has_more = !due.watches.is_empty();
        drop(due);
        if has_more {
            self.wake();
        }
    }

    /// Takes the next watch from the due list. Its place stays reserved while it runs.
    fn next_due(&self) -> Option<Ref<Watch>> {
        let mut due = self.due();
        if due.ended {
            return None;
        }
        let watch = due.watches.pop_front()?;
        due.reserved += 1;
        Some(watch)
    }

    /// Polls the descriptors and runs what is due, on the caller's thread. `Already` if another
    /// thread does so, or if this is a callback of the loop.
    pub(crate) fn dispatch(&self) -> Result<()> {
        if self.mode != Mode::Caller {
            return Err(Error::Invalid);
        }
        let _turn = match self.turn.try_lock() {
            Ok(turn) => turn,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Err(Error::Already),
        };
        self.fd_poller.poll(Deadline::POLL);
        self.run_batch();
        Ok(())
    }

    /// Cancels all watches, and ends the threads. Waits for them, unless the calling thread is one.
    fn end(&self) {
        self.due().ended = true;
        self.cancel_due();
        let exports = std::mem::take(&mut *self.exports());
        for watch in exports.into_values() {
            let _ = watch.cancel();
        }
        // A callback can wait for no thread: it runs on one, and the others may wait for the turn.
        let wait = !self.is_current();
        let pollers = std::mem::take(&mut *self.fence_pollers());
        for poller in &pollers {
            poller.end(wait);
        }
        let pollers = std::mem::take(&mut *self.xshmfence_pollers());
        for poller in &pollers {
            poller.end(wait);
        }
        let thread = self.fd_thread().take();
        self.fd_poller.end();
        if let Some(thread) = thread {
            thread.end(wait);
        }
        // What became due meanwhile.
        self.cancel_due();
    }

    /// Cancels what is due: the loop has ended.
    fn cancel_due(&self) {
        if std::mem::replace(&mut self.due().is_canceling, true) {
            // The outer call cancels it too. A canceled watch may have another become due, and so
            // on: a long chain must not recurse.
            return;
        }
        loop {
            let mut due = self.due();
            let Some(watch) = due.watches.pop_front() else {
                due.is_canceling = false;
                break;
            };
            drop(due);
            if watch.cancel().is_err() {
                watch.finish_action();
            }
        }
    }
}

impl Scheduler for EventLoop {
    fn unreserve(&self) {
        self.due().reserved -= 1;
    }

    fn enqueue(&self, watch: &Ref<Watch>) {
        let mut due = self.due();
        due.reserved -= 1;
        due.watches.push_back(watch.clone());
    }

    /// One thread runs what is due at a time; the others wait for the turn.
    fn run_due(&self) {
        match self.mode {
            Mode::Caller => {
                if !self.due().watches.is_empty() {
                    self.fd_poller.wake();
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
            Mode::Caller => self.fd_poller.wake(),
            Mode::Thread => {
                let poller = self.fence_pollers().first().cloned();
                poller.map_or_else(|| self.fd_poller.wake(), |poller| poller.wake());
            }
        }
    }

    fn untrack(&self, watch: &Watch) {
        let mut exports = self.exports();
        let _removed = exports.remove(&(std::ptr::from_ref(watch) as usize));
        if exports.is_empty() && exports.capacity() > KEEP_CAPACITY {
            *exports = KeyMap::default();
        }
        drop(exports);
    }

    fn deregister_fd(&self, token: Token) {
        self.fd_poller.deregister(token);
    }
}

impl Run for EventLoop {
    const NAME: &CStr = THREAD_NAME;

    /// The thread of the fd poller.
    fn run(&self) {
        while self.fd_poller.poll(Deadline::NEVER) {
            self.run_due();
        }
        // For watches that completed at the end.
        self.wake();
    }
}
