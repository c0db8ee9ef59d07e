// SPDX-License-Identifier: MIT
//! A thread in futex_waitv, which polls up to 127 xshmfences for an event loop.
//!
//! Each round prepares every fence for a sleep and completes the watches of those that are
//! triggered. Then the thread sleeps on the words of the others and on `control`. A fence that is
//! triggered in between holds another value, so that the sleep ends at once. If the kernel names
//! the word on which the thread was woken, only that fence is checked: had another one changed, the
//! next sleep would end at once and a full round follow. Without futex_waitv the thread checks the
//! words at intervals, as for fences that a device writes.
//!
//! # Peers that waste time
//!
//! A peer can wake the thread or change its word as often as it likes. A fence on whose word the
//! thread was woken, or whose word holds another value than before, and that is not triggered, has
//! wasted that round: page_budget.rs limits how much it may. While it rests, the thread neither
//! sleeps on its word nor checks it. A peer that changes its word and changes it back can end a
//! sleep and not be found at it, but seldom twice in a row.

use super::THREAD_NAME;
use super::watch::{Registration, Scheduler, Trigger, Watch, WordRegistrar};
use crate::convert::Xshmfence;
use crate::error::{Error, Result};
use crate::fence::poll_interval::poll_interval;
use crate::shm::page_budget::{PageBudget, ProcessorTime, WAKE_UP_MOST_NS, WAKE_UP_NS};
use crate::sys::futex::{self, Sleep, WAITV_MAX, WaitList, Word};
use crate::sys::thread::{Run, Thread};
use crate::sys::time::{self, Deadline};
use crate::util::atomic::{AtomicU32, Ordering};
use crate::util::mutex::{Guard, Mutex};
use crate::util::refs::Ref;
use crate::wait::block;
use std::ffi::CStr;
use std::num::NonZeroU32;

/// Polls some xshmfences.
pub(crate) struct XshmfencePoller {
    scheduler: Ref<dyn Scheduler>,
    /// A futex word, incremented to wake the poller.
    control: AtomicU32,
    state: Mutex<PollState>,
}

struct PollState {
    entries: Vec<Entry>,
    /// Changes when an entry is added or removed by another thread.
    version: u64,
    thread: Option<Thread>,
    ended: bool,
    /// When the last fence was added, or was triggered: for the interval without futex_waitv.
    polling_since: u64,
}

struct Entry {
    fence: Ref<Xshmfence>,
    watch: Ref<Watch>,
    /// The value that the last sleep expected. `None` before the first.
    slept_on: Option<u32>,
    budget: PageBudget,
    /// Whether the thread did not sleep on it last: the end of its rest wakes the thread.
    rested: bool,
}

/// What one sleep waits for. It keeps the words mapped: others may remove the entries meanwhile.
struct PollSet {
    control: u32,
    /// The version of the entries that it was made from.
    version: u64,
    words: [Option<PolledWord>; FENCES_MAX],
    /// How many words the thread sleeps on, from the first on. Those behind have been used.
    len: usize,
    wait_list: WaitList,
    /// When to check fences that the thread does not sleep on.
    until: Deadline,
    /// How the last sleep ended.
    wake_up: WakeUp,
    /// Whether to measure the next sleep: the round before it led to nothing, or ended a rest.
    measures_sleep: bool,
    /// The processor time of the last sleep, as far as it was measured.
    wake_up_ns: u64,
    used: ProcessorTime,
}

/// A word, and the value that it is expected to hold.
struct PolledWord {
    fence: Ref<Xshmfence>,
    expected: u32,
}

/// Why a round begins.
#[derive(Clone, Copy)]
enum WakeUp {
    /// The first round, or the deadline of the sleep.
    Expected,
    /// Something ended the sleep at this time. The thread was woken on the word with the index, or
    /// a word held another value.
    At(u64, Option<usize>),
}

/// futex_waitv takes one word a fence, besides `control`.
const FENCES_MAX: usize = WAITV_MAX - 1;

impl XshmfencePoller {
    /// Makes a poller and starts its thread.
    pub(crate) fn start(scheduler: Ref<dyn Scheduler>) -> Result<Ref<XshmfencePoller>> {
        let state = PollState {
            entries: Vec::new(),
            version: 1,
            thread: None,
            ended: false,
            polling_since: time::now(),
        };
        let poller = Ref::try_new(|| {
            let (control, state) = (AtomicU32::new(0), Mutex::new(state));
            Ok(XshmfencePoller { scheduler, control, state })
        })?;
        poller.lock().thread = Some(Thread::start(poller.clone())?);
        Ok(poller)
    }

    fn lock(&self) -> Guard<'_, PollState> {
        self.state.lock()
    }

    /// Adds a watch. Returns false if the poller can take no more fences.
    pub(crate) fn add(
        this: &Ref<XshmfencePoller>,
        fence: &Ref<Xshmfence>,
        watch: &Ref<Watch>,
    ) -> Result<bool> {
        let mut state = this.lock();
        if state.entries.len() >= FENCES_MAX {
            return Ok(false);
        }
        state.entries.try_reserve(1).map_err(|_| Error::NoMemory)?;
        let registrar = this.clone().unsize::<dyn WordRegistrar>(|poller| poller);
        watch.set_registration(Registration::Word(registrar));
        let (fence, watch, budget) = (fence.clone(), watch.clone(), PageBudget::new());
        state.entries.push(Entry { fence, watch, slept_on: None, budget, rested: false });
        state.version += 1;
        state.polling_since = time::now();
        drop(state);
        this.wake();
        Ok(true)
    }

    /// Wakes the thread.
    fn wake(&self) {
        self.control.fetch_add(1, Ordering::Release);
        futex::wake(&self.control, NonZeroU32::MAX);
    }

    /// Whether the calling thread is its own.
    pub(crate) fn is_current(&self) -> bool {
        self.lock().thread.as_ref().is_some_and(Thread::is_current)
    }

    /// Cancels its watches and ends the thread: with `wait`, the thread has exited afterwards.
    pub(crate) fn end(&self, wait: bool) {
        let (entries, thread) = {
            let mut state = self.lock();
            state.ended = true;
            (std::mem::take(&mut state.entries), state.thread.take())
        };
        self.wake();
        for entry in entries {
            let _ = entry.watch.cancel();
        }
        if let Some(thread) = thread {
            thread.end(wait);
        }
    }

    /// Completes the watches whose fences are triggered, and fills `set` for the next sleep.
    /// Returns false at the end.
    fn listen(&self, set: &mut PollSet) -> bool {
        let mut state = self.lock();
        if state.ended {
            return false;
        }
        let control = self.control.load(Ordering::Acquire);
        let is_named = control == set.control && state.version == set.version;
        if !(is_named && state.listen_to_woken(set)) {
            state.listen_to_all(set, control);
        }
        true
    }

    fn sleep(&self, set: &mut PollSet) {
        let control = Word { word: &self.control, expected: set.control };
        let words = set.words.iter().take(set.len).flatten();
        let words = words.map(|word| Word { word: word.fence.word(), expected: word.expected });
        let words = std::iter::once(control).chain(words);
        let is_measured = std::mem::take(&mut set.measures_sleep);
        if is_measured {
            set.used.since_asked();
        }
        let slept = block::on(&mut set.wait_list, words, NonZeroU32::MAX, None, set.until);
        let took = if is_measured { set.used.since_asked() } else { WAKE_UP_NS };
        set.wake_up_ns = took.clamp(WAKE_UP_NS, WAKE_UP_MOST_NS);
        set.wake_up = match slept {
            Ok(_) if set.until.has_passed() => WakeUp::Expected,
            // The first word is `control`.
            Ok(Sleep::Woken(word)) => WakeUp::At(time::now(), word.checked_sub(1)),
            Ok(_) => WakeUp::At(time::now(), None),
            Err(_) => {
                futex::sleep_briefly(set.until);
                WakeUp::Expected
            }
        };
    }
}

impl PollState {
    /// Checks the fence on whose word the thread was woken. Returns false if there is none, or if
    /// it has to rest: then all must be checked.
    fn listen_to_woken(&mut self, set: &mut PollSet) -> bool {
        let WakeUp::At(start, Some(index)) = set.wake_up else { return false };
        let Some(Some(woken)) = set.words.get_mut(index) else { return false };
        let is_it = |entry: &Entry| entry.fence.is(&woken.fence);
        let Some(at) = self.entries.iter().position(is_it) else { return false };
        let Some(entry) = self.entries.get_mut(at) else { return false };
        match entry.fence.prepare_wait() {
            Some(expected) => {
                woken.expected = expected;
                entry.slept_on = Some(expected);
                entry.waste(set.used.since(start), set.wake_up_ns);
                set.measures_sleep = true;
                entry.budget.rests_until(|| start).is_none()
            }
            None => {
                self.complete(at);
                set.remove(index);
                true
            }
        }
    }

    /// Checks all fences that do not rest.
    fn listen_to_all(&mut self, set: &mut PollSet, control: u32) {
        let (start, woken_on) = (set.wake_up.time(), set.woken_on().cloned());
        (set.control, set.version) = (control, self.version);
        set.until = Deadline::NEVER;
        let (mut at, mut len) = (0, 0);
        while let Some(entry) = self.entries.get_mut(at) {
            if let Some(end) = entry.budget.rests_until(|| start) {
                set.until = set.until.min(end);
                (entry.slept_on, entry.rested) = (None, true);
                at += 1;
                continue;
            }
            let Some(expected) = entry.fence.prepare_wait() else {
                self.complete(at);
                continue;
            };
            let changed = entry.slept_on.replace(expected).is_some_and(|last| last != expected);
            if changed || woken_on.as_ref().is_some_and(|fence| fence.is(&entry.fence)) {
                entry.waste(set.used.since(start), set.wake_up_ns);
                set.measures_sleep = true;
            }
            set.measures_sleep |= entry.rested;
            if let Some(word) = set.words.get_mut(len) {
                PolledWord::set(word, &entry.fence, expected);
                len += 1;
            }
            at += 1;
        }
        if !futex::has_waitv() && !self.entries.is_empty() {
            set.until = set.until.min(poll_interval(self.polling_since, time::now()));
            len = 0;
        }
        set.len = len;
    }

    fn complete(&mut self, at: usize) {
        let entry = self.entries.swap_remove(at);
        Watch::complete(&entry.watch, Ok(()));
        self.polling_since = time::now();
    }
}

impl Entry {
    /// Notes that a wake-up, and what was done in `used` nanoseconds, led to nothing.
    fn waste(&mut self, used: u64, wake_up_ns: u64) {
        let wake_ups = 1 + u64::from(std::mem::take(&mut self.rested));
        self.budget.waste(used + wake_ups * wake_up_ns);
    }
}

impl PolledWord {
    /// Stores a word. Most are the same as in the round before.
    fn set(this: &mut Option<PolledWord>, fence: &Ref<Xshmfence>, expected: u32) {
        match this {
            Some(word) if word.fence.is(fence) => word.expected = expected,
            _ => *this = Some(PolledWord { fence: fence.clone(), expected }),
        }
    }
}

impl WakeUp {
    /// The begin of the round.
    fn time(self) -> u64 {
        match self {
            WakeUp::At(time, _) => time,
            WakeUp::Expected => time::now(),
        }
    }
}

impl PollSet {
    /// Returns the fence on whose word the thread was woken.
    fn woken_on(&self) -> Option<&Ref<Xshmfence>> {
        let WakeUp::At(_, Some(index)) = self.wake_up else { return None };
        self.words.get(index)?.as_ref().map(|word| &word.fence)
    }

    fn remove(&mut self, index: usize) {
        self.len = self.len.saturating_sub(1);
        if index < self.len {
            self.words.swap(index, self.len);
        }
    }

    /// Drops the words that have been used. That unmaps them, a system call that would delay what
    /// is due.
    fn drop_used(&mut self) {
        // None of the words is set behind the first that is not.
        self.words.iter_mut().skip(self.len).map_while(Option::take).for_each(drop);
    }
}

impl WordRegistrar for XshmfencePoller {
    fn deregister(&self, watch: &Watch) {
        let entry = {
            let mut state = self.lock();
            let is_it = |entry: &Entry| std::ptr::eq::<Watch>(&*entry.watch, watch);
            let at = state.entries.iter().position(is_it);
            state.version += 1;
            at.map(|at| state.entries.swap_remove(at))
        };
        // Not under the lock: this may unmap the word. The thread has it mapped while it sleeps.
        if let Some(entry) = entry {
            drop(entry);
            self.wake();
        }
    }
}

impl Trigger for Xshmfence {
    fn trigger(&self) {
        Xshmfence::trigger(self);
    }
}

impl Run for XshmfencePoller {
    const NAME: &CStr = THREAD_NAME;

    fn run(&self) {
        let mut set = PollSet {
            control: 0,
            version: 0,
            words: [const { None }; FENCES_MAX],
            len: 0,
            wait_list: WaitList::new(),
            until: Deadline::NEVER,
            wake_up: WakeUp::Expected,
            measures_sleep: false,
            wake_up_ns: WAKE_UP_NS,
            used: ProcessorTime::new(),
        };
        while self.listen(&mut set) {
            self.scheduler.run_due();
            set.drop_used();
            self.sleep(&mut set);
        }
        // For watches that completed at the end.
        self.scheduler.wake();
    }
}
