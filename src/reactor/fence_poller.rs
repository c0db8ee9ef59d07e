// SPDX-License-Identifier: MIT
//! A thread in futex_waitv, which polls the fences of up to 126 pages for an event loop.
//!
//! A signal can only wake a futex, and only a thread can sleep on one. This is an event-count wait
//! (see slot.rs for its proof), except that the thread which adds a watch is not the one that
//! sleeps:
//!
//! ```text
//!   poller                                add a watch                       signal (slot.rs)
//!       (lock)                                (lock) insert it into the table
//!   W1  s = the page's event count        W2  register it as a waiter       S1  value
//!       check the slots that signaled     W3  check the value               S2  read waiter bits
//!       (unlock)                              (unlock)                      S3..S5, event count
//!   W4  FUTEX_WAIT(event count == s)
//! ```
//!
//! W2 and W3 are those of slot.rs. By its argument, either the adding thread sees the value, or the
//! signaler sees the waiter bit and increments the event count. In the second case the count moves
//! on from what it was when the watch was inserted. The poller's last W1 was under the lock:
//!
//! - If the poller read the count before the increment, W4 does not sleep, or is woken.
//! - If it read it after, the poller checks the slot that signaled. It finds the watch, which was
//!   inserted under the lock, before W2.
//!
//! So a thread that adds a watch to a page that is polled already need not wake the poller.
//!
//! # Checks that take long
//!
//! If the log of events does not reach back to the last W1, the poller checks all fences of the
//! page. A peer can cause that at any time. A check of many fences takes several rounds, without a
//! sleep between them, so that other pages are served meanwhile. Each round reads the event count
//! and checks the slots that signaled since, also those that the check has passed. If the log falls
//! short again, another check follows: `must_check_all`. So before each W4 every fence was checked
//! after the W1 that ended the known part of the log.
//!
//! The watches of one fence that have no order are all checked after an event of the fence, which
//! may take several rounds too. The poller goes on with the next event once this check has reached
//! its end: `sequence` stays at the event until then. Each of the two kinds of checks gets its
//! share of a round. Both may be under way in the same fence: the one that begins later begins a
//! new pass through the watches, whose end is that of both.
//!
//! # Who is woken
//!
//! An event wakes every poller that sleeps on the page's event count. A poller that was woken there
//! [`NEEDLESS_MAX`] times for fences of others, and that has few fences of the page, sleeps on the
//! sequences of its slots instead, which only its own fences change. It checks all of these fences
//! after each sleep: W1, W2 and W3 of slot.rs for every slot, then W4.
//!
//! The event count is not among the words of that sleep, so a thread that adds a watch moves the
//! page back to the event count and wakes the poller by `control`. The poller's next round reads
//! the event count (W1), then registers all fences of the page there (W2) and checks them (W3).
//! Until then the other fences are registered with the slots on which the poller still sleeps.

use super::THREAD_NAME;
use super::fence_watches::FenceWatches;
use super::watch::{AfterUnlock, FenceKey, Registrar, Registration, Scheduler, Watch};
use super::watch_table::{DeferredDrops, WatchTable, key};
use crate::error::{Error, Result};
use crate::fence::Fence;
use crate::fence::poll_interval::poll_interval;
use crate::shm::owner_death;
use crate::shm::page::{Page, SlotHandle};
use crate::shm::page_budget::{ProcessorTime, WAKE_UP_MOST_NS, WAKE_UP_NS, clock};
use crate::shm::slot::WaitTarget;
use crate::sys::futex::{self, MUTED_NS, Sleep, WAITV_MAX, WaitList, Word};
use crate::sys::thread::{Run, Thread};
use crate::sys::time::{self, Deadline};
use crate::util::atomic::{AtomicU32, Ordering};
use crate::util::mutex::modeled::{Guard, Mutex};
use crate::util::refs::Ref;
use crate::wait::{Predicate, block};
use std::ffi::CStr;
use std::num::NonZeroU32;
use std::sync::atomic::AtomicBool;

/// Polls the fences of some pages.
pub(crate) struct FencePoller {
    scheduler: Ref<dyn Scheduler>,
    /// A futex word, incremented to wake the poller for anything but an event of a page.
    control: AtomicU32,
    /// Whether the poller sleeps on the word of a page alone, and not on `control`.
    sleeps_on_page: AtomicBool,
    state: Mutex<PollState>,
}

struct PollState {
    pages: Vec<PolledPage>,
    drops: DeferredDrops,
    thread: Option<Thread>,
    ended: bool,
    /// The time of the last progress on a fence that a device writes, which no event announces.
    polling_since: u64,
}

struct PolledPage {
    page: Ref<Page>,
    /// The number of the first event that is not served: the event count as it was read last,
    /// unless `is_behind`.
    sequence: u32,
    /// Whether events are left that the last round had read.
    is_behind: bool,
    /// The slot whose watches are checked in part, for the event at `sequence`.
    begun: Option<u32>,
    /// What the poller sleeps on.
    target: WaitTarget,
    /// Whether to check all fences once the check under way has reached its end.
    must_check_all: bool,
    /// How often it was woken for fences of others since the last watch was added.
    needless: u32,
    /// Whether it rested since it last paid for a wake-up.
    rested: bool,
    /// Whether a check of several rounds has reached its end in this one.
    ended: bool,
    /// Whether the check under way completed a watch, and else the time that it took, in ns.
    found: bool,
    spent: u64,
    /// The sum of the sequences of its slots, if the poller sleeps on those.
    slots_sequence: u32,
    /// Watches of fences whose signals are events of the page.
    event_fences: WatchTable,
    /// Watches of fences that a device writes and no notifier serves, which are checked at
    /// intervals.
    polled_fences: WatchTable,
}

/// Which checks of a page may begin in a round.
#[derive(Clone, Copy)]
struct Begins {
    /// Any. Otherwise those under way go on, and reach their end.
    checks: bool,
    /// Of all fences, although the log may have every event.
    all: bool,
    /// Of those that a device writes: their interval has ended.
    polled: bool,
}

/// What one sleep waits for. It keeps the pages mapped: others may remove them from the state
/// meanwhile.
struct PollSet {
    /// Whether one sleep can wait for several words. Asked once: another thread may lose
    /// futex_waitv meanwhile.
    has_waitv: bool,
    control: u32,
    /// The epoch of owner deaths, read before the fences were checked: see `owner_death`.
    owner_deaths: u32,
    words: [Option<PolledWord>; PAGES_MAX],
    /// The word whose wake-up ended the last sleep.
    woken_by: Option<usize>,
    /// Whether a check of all fences of a page goes on or begins in the next round, with no sleep.
    goes_on: bool,
    /// Whether to measure the next sleep: the round before it led to nothing, or ended a rest.
    measures_sleep: bool,
    /// The processor time of the last sleep, as far as it was measured.
    wake_up_ns: u64,
    used: ProcessorTime,
    wait_list: WaitList,
    until: Deadline,
    /// When to check every fence of the pages whose wake-ups may be muted, if there are any.
    until_muted: Deadline,
    /// When the first page that rests is to be listened to again: see page_budget.rs.
    until_rested: Deadline,
}

/// A word that the poller sleeps on, and what it holds.
enum PolledWord {
    Page(Ref<Page>, u32),
    Slot(SlotHandle, u32),
}

/// A page with more fences than this is polled by its event count, which wakes other threads too.
const SLOTS_MAX: usize = 32;

/// After so many needless wake-ups the poller moves to the words of its slots. Not after the first:
/// the next watch that is added moves it back, at the price of a system call.
const NEEDLESS_MAX: u32 = if cfg!(modeled) { 1 } else { 4 };

/// futex_waitv takes at least one word a page, besides `control` and the word of owner deaths.
const PAGES_MAX: usize = WAITV_MAX - 2;

/// A check goes on in the next round after so many watches, which the pages of a poller share. The
/// other pages are served in between. A round has room for so many for events, and for so many of
/// checks of all fences.
const CHECKS_MAX: usize = if cfg!(modeled) { 1 } else { 2048 };

/// A page with more watches than this is polled by its event count, so that its checks are divided.
const SLOT_WATCHES_MAX: usize = 1024;

/// The longest sleep without futex_waitv.
const MAX_SLEEP_NS: u64 = 1_000_000_000;

impl FencePoller {
    /// Makes a poller and starts its thread.
    pub(crate) fn start(scheduler: Ref<dyn Scheduler>) -> Result<Ref<FencePoller>> {
        let state = PollState {
            pages: Vec::new(),
            drops: DeferredDrops::default(),
            thread: None,
            ended: false,
            polling_since: 0,
        };
        let poller = Ref::try_new(|| {
            Ok(FencePoller {
                scheduler,
                control: AtomicU32::new(0),
                sleeps_on_page: AtomicBool::new(false),
                state: Mutex::new(state),
            })
        })?;
        // Asked here and not by the thread: the answer takes a descriptor for a moment. Beside the
        // caller, it could be one of the first three.
        let _ = futex::has_harmless_waitv();
        poller.lock().thread = Some(Thread::start(poller.clone())?);
        Ok(poller)
    }

    fn lock(&self) -> Guard<'_, PollState> {
        self.state.lock()
    }

    /// Whether it polls the page.
    pub(crate) fn polls(&self, page: &Page) -> bool {
        self.lock().pages.iter().any(|polled| polled.is(std::ptr::from_ref(page) as usize))
    }

    /// Whether it can poll another page.
    pub(crate) fn has_room(&self) -> bool {
        self.lock().has_room()
    }

    /// Adds a watch. Returns `None` if the page is new and the poller can take no more pages. If it
    /// fails, the watch is unchanged.
    pub(crate) fn add(
        this: &Ref<FencePoller>,
        fence: &Ref<Fence>,
        predicate: Predicate,
        watch: &Ref<Watch>,
    ) -> Result<Option<AfterUnlock>> {
        let mut guard = this.lock();
        let state = &mut *guard;
        if !state.pages.iter().any(|polled| polled.is(key(fence).page)) && !state.has_room() {
            return Ok(None);
        }
        let is_new = state.reserve(fence, predicate)?;
        let must_poll = fence.must_poll();
        let (mut found, mut moved_back) = (false, false);
        let mut unwatched = AfterUnlock::NOTHING;
        if let Some(page) = state.pages.iter_mut().find(|polled| polled.is(key(fence).page)) {
            moved_back = page.move_back();
            let at = this.clone().unsize::<dyn Registrar>(|poller| poller);
            watch.set_registration(Registration::Fence { at, key: key(fence) });
            if let Some(watches) = page.watches(key(fence)) {
                found = watches.add(predicate, watch.clone());
            }
            unwatched = page.take_unwatched(key(fence), &mut state.drops);
        }
        if must_poll {
            state.polling_since = time::now();
        }
        drop(guard);
        if is_new || moved_back || must_poll {
            this.wake();
        }
        if found {
            this.scheduler.wake();
        }
        Ok(Some(unwatched))
    }

    /// Removes a canceled watch, and the page with its last watch.
    fn forget(&self, watch: &Watch, key: FenceKey) -> AfterUnlock {
        let mut guard = self.lock();
        let state = &mut *guard;
        let at = state.pages.iter().position(|polled| polled.is(key.page));
        let Some((at, page)) = at.and_then(|at| Some((at, state.pages.get_mut(at)?))) else {
            return AfterUnlock::NOTHING;
        };
        if let Some(watches) = page.watches(key) {
            watches.count_canceled(watch);
        }
        let unwatched = page.take_unwatched(key, &mut state.drops);
        let is_empty = page.is_empty();
        // Dropped after the lock.
        let page = is_empty.then(|| state.pages.swap_remove(at));
        drop(guard);
        if let Some(page) = page {
            // The thread keeps the page while it sleeps, and may sleep on its event count alone.
            if self.sleeps_on_page.load(Ordering::SeqCst) {
                page.page.wake_all();
            }
            self.wake();
        }
        unwatched
    }

    /// Wakes the thread.
    ///
    /// It stores `sleeps_on_page` and then reads `control`. This increments `control` and then
    /// reads `sleeps_on_page`. All four are SeqCst, so one of the two sees what the other did.
    pub(crate) fn wake(&self) {
        self.control.fetch_add(1, Ordering::SeqCst);
        futex::wake(&self.control, NonZeroU32::MAX);
        if self.sleeps_on_page.load(Ordering::SeqCst) {
            self.lock().pages.iter().for_each(|polled| polled.page.wake_all());
        }
    }

    /// Whether the calling thread is its own.
    pub(crate) fn is_current(&self) -> bool {
        self.lock().thread.as_ref().is_some_and(Thread::is_current)
    }

    /// Cancels its watches and ends the thread: with `wait`, the thread has exited afterwards.
    pub(crate) fn end(&self, wait: bool) {
        let (pages, thread) = {
            let mut state = self.lock();
            state.ended = true;
            (std::mem::take(&mut state.pages), state.thread.take())
        };
        self.wake();
        for polled in pages {
            if self.sleeps_on_page.load(Ordering::SeqCst) {
                polled.page.wake_all();
            }
            let watches = polled.event_fences.into_watches();
            for watch in watches.chain(polled.polled_fences.into_watches()) {
                let _ = watch.cancel();
            }
        }
        if let Some(thread) = thread {
            thread.end(wait);
        }
    }

    /// Drops the references to fences that have lost their last watch by a check.
    fn drop_deferred(&self) {
        loop {
            let fence = self.lock().drops.pop();
            if fence.is_none() {
                break;
            }
        }
    }

    /// Checks the fences that signaled since the last time, and fills `set` for the next sleep.
    /// Returns false at the end.
    fn listen(&self, set: &mut PollSet) -> bool {
        let woken_by = set.take_words();
        let mut guard = self.lock();
        let state = &mut *guard;
        if state.ended {
            return false;
        }
        set.has_waitv = state.can_use_waitv();
        let sleeps_on_page = !set.has_waitv && !state.pages.is_empty();
        self.sleeps_on_page.store(sleeps_on_page, Ordering::SeqCst);
        set.control = self.control.load(Ordering::SeqCst);
        let owner_deaths = owner_death::epoch();
        let owner_may_have_died =
            std::mem::replace(&mut set.owner_deaths, owner_deaths) != owner_deaths;
        // Without futex_waitv, which a sandbox may take away, the thread cannot block on several
        // pages. Nor on a single read-only page: `wake` cannot change its event count.
        let cannot_block = !set.has_waitv
            && (state.pages.len() > 1
                || state.pages.iter().any(|polled| !polled.page.is_writable()));
        // Also if events keep coming.
        let timed_out = set.until.has_passed();
        let may_be_muted = set.until_muted.has_passed();
        let mut found = false;
        // A page that rests is not polled either.
        let mut polls = cannot_block;
        let mut words = set.words.iter_mut();
        // Words beyond one a page.
        let mut spare = PAGES_MAX.saturating_sub(state.pages.len());
        let allowance = (CHECKS_MAX / state.pages.len().max(1)).max(1);
        let mut check_ended = false;
        set.goes_on = false;
        set.until_rested = Deadline::NEVER;
        for page in &mut state.pages {
            let slots_max = if set.has_waitv { SLOTS_MAX.min(spare + 1) } else { 0 };
            if page.target == WaitTarget::Slot && !page.has_few_fences(slots_max) {
                page.move_back();
            }
            let (was_checking, was_checking_all) = (page.is_checking(), page.is_checking_all());
            // A check at an interval that is still under way needs no other one.
            let check_all = timed_out && cannot_block && !was_checking_all
                || owner_may_have_died && !page.page.is_writable()
                || may_be_muted && page.page.may_be_muted();
            // A check that was begun reaches its end. The page pays for it then.
            let rest = page.page.budget().rests_until(clock);
            if let (false, Some(end)) = (check_all || was_checking, rest) {
                set.until_rested = set.until_rested.min(end);
                page.rested = true;
                continue;
            }
            let may_begin = check_all || rest.is_none();
            let start = time::now();
            let before = page.sequence.wrapping_add(page.slots_sequence);
            let mut found_here = false;
            if page.target == WaitTarget::Page {
                let begins = Begins { checks: may_begin, all: check_all, polled: timed_out };
                found_here = page.listen(begins, allowance, &mut state.drops);
                if page.needless >= NEEDLESS_MAX && page.has_few_fences(slots_max) {
                    page.target = WaitTarget::Slot;
                }
            }
            if page.target == WaitTarget::Slot {
                let left = words.len();
                found_here |= page.listen_to_slots(&mut words, &mut state.drops);
                spare = (spare + 1).saturating_sub(left - words.len());
            } else if let (false, Some(word)) = (page.is_empty(), words.next()) {
                *word = Some(PolledWord::Page(page.page.clone(), page.sequence));
            }
            // A peer may also wake the thread and change nothing.
            let woken = page.sequence.wrapping_add(page.slots_sequence) != before
                || woken_by.as_ref().is_some_and(|woken_by| std::ptr::eq(&**woken_by, &*page.page));
            let costs = woken || was_checking || timed_out && !page.polled_fences.is_empty();
            // The sleep after a rest is as good as wasted.
            set.measures_sleep |= page.rested;
            page.found |= found_here;
            if costs && !page.found {
                set.measures_sleep |= woken;
                // The end of the page's rest has woken the thread too, at about the same cost. That
                // alone costs nothing, or the page would rest for ever.
                let rested = woken && std::mem::take(&mut page.rested);
                let wake_ups = u64::from(woken) + u64::from(rested);
                page.spent += set.used.since(start) + wake_ups * set.wake_up_ns;
            }
            check_ended |= was_checking_all && !page.is_checking_all();
            if std::mem::take(&mut page.ended) || !page.is_checking() {
                page.pay();
            }
            set.goes_on |= page.is_checking() || page.must_check_all || page.is_behind;
            found |= found_here;
            polls |= !page.polled_fences.is_empty();
        }
        state.pages.retain(|page| !page.is_empty());
        let until = set.until;
        set.until = Deadline::NEVER;
        if polls {
            let now = time::now();
            if found {
                state.polling_since = now;
            }
            let next = poll_interval(state.polling_since, now);
            // An interval begins when a check has reached its end.
            set.until = if timed_out || check_ended { next } else { next.min(until) };
        }
        if !state.pages.iter().any(|page| page.page.may_be_muted()) {
            set.until_muted = Deadline::NEVER;
        } else if may_be_muted || set.until_muted == Deadline::NEVER {
            set.until_muted = Deadline::NEVER.within(MUTED_NS);
        }
        if sleeps_on_page {
            // The one word it sleeps on is shared. A peer could move the thread to another word
            // (FUTEX_REQUEUE), where `wake` does not find it, and `end` would wait forever.
            set.until = set.until.min(Deadline::at(time::now().saturating_add(MAX_SLEEP_NS)));
        }
        true
    }

    fn sleep(&self, set: &mut PollSet) -> Result<Sleep> {
        let control = Word { word: &self.control, expected: set.control };
        let mut words = set.words.iter().flatten().map(|word| match word {
            PolledWord::Page(page, sequence) => {
                Word { word: page.events().sequence(), expected: *sequence }
            }
            PolledWord::Slot(slot, sequence) => slot.slot().word(*sequence),
        });
        let (bits, until) = (NonZeroU32::MAX, set.until.min(set.until_muted).min(set.until_rested));
        if set.has_waitv {
            let words = std::iter::once(control).chain(words);
            return block::on(&mut set.wait_list, words, bits, Some(set.owner_deaths), until);
        }
        let only = match (words.next(), words.next()) {
            (Some(only), None) => only,
            _ => control,
        };
        block::on(&mut set.wait_list, [only].into_iter(), bits, None, until)
    }
}

impl Registrar for FencePoller {
    fn deregister(&self, watch: &Watch, key: FenceKey, reuse: bool) -> AfterUnlock {
        if reuse {
            if let Some(page) = self.lock().pages.iter_mut().find(|polled| polled.is(key.page)) {
                if let Some(watches) = page.watches(key) {
                    watches.remove(watch);
                }
            }
        }
        self.forget(watch, key)
    }
}

impl Run for FencePoller {
    const NAME: &CStr = THREAD_NAME;

    fn run(&self) {
        let mut set = PollSet {
            has_waitv: true,
            control: 0,
            owner_deaths: 0,
            words: [const { None }; PAGES_MAX],
            woken_by: None,
            goes_on: false,
            measures_sleep: false,
            wake_up_ns: WAKE_UP_NS,
            used: ProcessorTime::new(),
            wait_list: WaitList::new(),
            until: Deadline::NEVER,
            until_muted: Deadline::NEVER,
            until_rested: Deadline::NEVER,
        };
        while self.listen(&mut set) {
            self.drop_deferred();
            self.scheduler.run_due();
            if set.goes_on {
                set.wake_up_ns = 0;
                continue;
            }
            let is_measured = std::mem::take(&mut set.measures_sleep);
            if is_measured {
                set.used.since_asked();
            }
            let slept = self.sleep(&mut set);
            let took = if is_measured { set.used.since_asked() } else { WAKE_UP_NS };
            set.wake_up_ns = took.clamp(WAKE_UP_NS, WAKE_UP_MOST_NS);
            match slept {
                Ok(Sleep::Woken(word)) => set.woken_by = set.number_in_words(word),
                Ok(Sleep::Changed | Sleep::Interrupted | Sleep::TimedOut) => {}
                Err(_) => futex::sleep_briefly(set.until),
            }
        }
        // For watches that completed at the end.
        self.scheduler.wake();
    }
}

impl PollSet {
    /// Removes the words. Returns the page whose word woke the thread, if one did.
    fn take_words(&mut self) -> Option<Ref<Page>> {
        let woken_by = self.woken_by.take().and_then(|word| self.words.get(word)?.as_ref());
        let page = woken_by.map(PolledWord::page);
        self.words.fill_with(|| None);
        page
    }

    /// The number in `words` of a word that the last sleep had, by its number there.
    fn number_in_words(&self, slept_on: usize) -> Option<usize> {
        if self.has_waitv { slept_on.checked_sub(1) } else { Some(0) }
    }
}

impl PolledWord {
    fn page(&self) -> Ref<Page> {
        match self {
            PolledWord::Page(page, _) => page.clone(),
            PolledWord::Slot(slot, _) => slot.shared_page(),
        }
    }
}

impl PollState {
    /// Whether it can take another page: a single one without futex_waitv.
    fn has_room(&self) -> bool {
        self.pages.is_empty() || self.pages.len() < PAGES_MAX && futex::has_waitv()
    }

    /// Whether to use futex_waitv. For one page that this process can write to, one word is enough,
    /// and a sandbox may kill for more.
    fn can_use_waitv(&self) -> bool {
        match self.pages.as_slice() {
            [] => futex::has_harmless_waitv().unwrap_or(false),
            [only] if only.page.is_writable() => futex::has_harmless_waitv().unwrap_or(false),
            _ => futex::has_waitv(),
        }
    }

    /// Reserves memory for another watch of a fence, and polls its page from now on. Returns
    /// whether the page is new. On failure nothing has changed.
    fn reserve(&mut self, fence: &Ref<Fence>, predicate: Predicate) -> Result<bool> {
        let known = self.pages.iter().position(|polled| polled.is(key(fence).page));
        let at = known.unwrap_or(self.pages.len());
        if known.is_none() {
            self.pages.try_reserve(1).map_err(|_| Error::NoMemory)?;
            let page = fence.shared_page();
            // W1.
            let sequence = page.events().sequence().load(Ordering::Acquire);
            self.pages.push(PolledPage {
                page,
                sequence,
                is_behind: false,
                begun: None,
                target: WaitTarget::Page,
                must_check_all: false,
                needless: 0,
                rested: false,
                ended: false,
                found: false,
                spent: 0,
                slots_sequence: 0,
                event_fences: WatchTable::default(),
                polled_fences: WatchTable::default(),
            });
        }
        let page = self.pages.get_mut(at).ok_or(Error::Unexpected)?;
        let reserved = page.reserve(fence, predicate, &mut self.drops);
        if reserved.is_err() && page.is_empty() {
            self.pages.swap_remove(at);
        }
        reserved.map(|()| known.is_none())
    }
}

impl PolledPage {
    fn is(&self, page: usize) -> bool {
        std::ptr::from_ref::<Page>(&self.page) as usize == page
    }

    fn is_empty(&self) -> bool {
        self.event_fences.is_empty() && self.polled_fences.is_empty()
    }

    /// Returns the watches of a fence.
    fn watches(&mut self, key: FenceKey) -> Option<&mut FenceWatches> {
        self.event_fences.get(key).or_else(|| self.polled_fences.get(key))
    }

    /// Reserves memory for another watch of a fence.
    fn reserve(
        &mut self,
        fence: &Ref<Fence>,
        predicate: Predicate,
        drops: &mut DeferredDrops,
    ) -> Result<()> {
        // A fence that got its notifier only now stays where it is.
        let is_polled = fence.must_poll() || self.polled_fences.get(key(fence)).is_some();
        let table = if is_polled { &mut self.polled_fences } else { &mut self.event_fences };
        table.reserve(fence, predicate, drops)
    }

    /// Whether it has at most so many fences.
    fn has_few_fences(&self, count: usize) -> bool {
        let of = |table: &WatchTable, count| table.fences_up_to(count, SLOT_WATCHES_MAX);
        let others = of(&self.event_fences, count);
        others.is_some_and(|others| of(&self.polled_fences, count - others).is_some())
    }

    /// Whether a check of all fences has begun and has not reached its end.
    fn is_checking_all(&self) -> bool {
        self.event_fences.is_checking() || self.polled_fences.is_checking()
    }

    /// Whether any check has.
    fn is_checking(&self) -> bool {
        self.is_checking_all() || self.begun.is_some()
    }

    /// Has the poller sleep on the event count, for a watch that is added. Returns whether it slept
    /// on the slots, and has to be woken.
    fn move_back(&mut self) -> bool {
        self.needless = 0;
        let moves = self.target == WaitTarget::Slot;
        self.target = WaitTarget::Page;
        // No fence is registered there yet.
        self.must_check_all |= moves;
        moves
    }

    /// W1 to W3 for each slot, and writes their words to `words`. Returns whether any watch
    /// completed.
    fn listen_to_slots<'w>(
        &mut self,
        words: &mut impl Iterator<Item = &'w mut Option<PolledWord>>,
        drops: &mut DeferredDrops,
    ) -> bool {
        let mut found = false;
        let mut sum = 0u32;
        // This is a check of all fences.
        (self.must_check_all, self.is_behind, self.begun) = (false, false, None);
        for table in [&mut self.event_fences, &mut self.polled_fences] {
            table.end_check();
            found |= table.check_each(drops, |watches| {
                let slot = watches.fence().slot_handle();
                let sequence = slot.slot().sequence();
                sum = sum.wrapping_add(sequence);
                let found = watches.check(WaitTarget::Slot);
                if let (false, Some(word)) = (watches.is_empty(), words.next()) {
                    *word = Some(PolledWord::Slot(slot, sequence));
                }
                found
            });
        }
        self.slots_sequence = sum;
        found
    }

    /// W1, then checks the slots that signaled since the last time. Begins to check all fences if
    /// that is asked for, or if the log does not reach back that far. Checks so many watches as
    /// `allowance` says, of either kind. Returns whether any watch completed.
    fn listen(&mut self, begins: Begins, allowance: usize, drops: &mut DeferredDrops) -> bool {
        self.must_check_all |= begins.all;
        let mut found = self.serve_events(begins.checks, allowance, drops);
        // After W1. A check that is under way may have passed fences whose events are missing.
        let was_checking = self.is_checking_all();
        if begins.checks && self.must_check_all && !was_checking {
            self.must_check_all = false;
            self.event_fences.begin_check();
            self.polled_fences.begin_check();
        } else if begins.checks && begins.polled && !self.polled_fences.is_checking() {
            self.polled_fences.begin_check();
        }
        let mut allowance = allowance;
        for table in [&mut self.event_fences, &mut self.polled_fences] {
            found |= table.go_on_checking(&mut allowance, drops);
        }
        self.ended |= was_checking && !self.is_checking_all();
        found
    }

    /// W1, then checks the slots that signaled since the last time. Begins with none of them unless
    /// `may_begin`. Returns whether any watch completed.
    fn serve_events(
        &mut self,
        may_begin: bool,
        mut allowance: usize,
        drops: &mut DeferredDrops,
    ) -> bool {
        let (before, begun) = (self.sequence, self.begun.take());
        let now = self.page.events().sequence().load(Ordering::Acquire);
        self.sequence = now;
        let (mut found, mut is_needless) = (false, true);
        let page = self.page.clone();
        match page.events().signaled_since(before, now) {
            None => self.must_check_all = true,
            Some(signaled) => {
                for (step, slot) in (0..).zip(signaled) {
                    let event = before.wrapping_add(step);
                    let goes_on = event == before && slot.is_some() && slot == begun;
                    if allowance == 0 || !goes_on && !may_begin {
                        self.sequence = event;
                        break;
                    }
                    let Some(slot) = slot else {
                        (self.must_check_all, is_needless) = (true, false);
                        continue;
                    };
                    for table in [&mut self.event_fences, &mut self.polled_fences] {
                        if table.is_checking_slot(slot) {
                            // If each event began this fence anew, the check would not end.
                            self.must_check_all = true;
                            is_needless = false;
                            continue;
                        }
                        let visit = table.check_slot(slot, !goes_on, &mut allowance, drops);
                        let Some(visit) = visit else { continue };
                        (found, is_needless) = (found | visit.found, false);
                        if visit.is_begun {
                            self.begun = Some(slot);
                        }
                    }
                    if self.begun.is_some() {
                        self.sequence = event;
                        break;
                    }
                    self.ended |= goes_on;
                }
            }
        }
        self.is_behind = self.sequence != now;
        is_needless &= self.sequence != before;
        self.needless = self.needless.saturating_add((is_needless && !found).into());
        found
    }

    /// Charges the page with the time that was spent since the last time and completed no watch.
    fn pay(&mut self) {
        let spent = std::mem::take(&mut self.spent);
        if !std::mem::take(&mut self.found) && spent > 0 {
            self.page.budget().waste(spent);
        }
    }

    /// Removes a fence if it has no watch left.
    ///
    /// The caller drops the reference itself, not the thread: a caller that has canceled a watch
    /// may count on its slot.
    fn take_unwatched(&mut self, key: FenceKey, drops: &mut DeferredDrops) -> AfterUnlock {
        let unwatched = self.event_fences.take_unwatched(key);
        let unwatched = unwatched.or_else(|| self.polled_fences.take_unwatched(key));
        if unwatched.is_some() {
            drops.unreserve();
        }
        AfterUnlock { _fence: unwatched }
    }
}

#[cfg(all(test, not(modeled)))]
mod tests {
    use super::*;
    use crate::reactor::watch::{Action, Token};
    use crate::shm::generation::Kind;
    use crate::wait::{Condition, Op, Until};

    struct Nowhere;

    impl Scheduler for Nowhere {
        fn unreserve(&self) {}
        fn enqueue(&self, _: &Ref<Watch>) {}
        fn run_due(&self) {}
        fn wake(&self) {}
        fn untrack(&self, _: &Watch) {}
        fn deregister_fd(&self, _: Token) {}
    }

    /// The events of two rounds are more than the log holds, those of one are not. So the watches
    /// are checked now for an event and now because of the overflow.
    #[test]
    fn a_check_reaches_its_end_while_events_of_its_fence_come() -> Result<()> {
        const WATCHES: usize = 9;
        let page = Page::create(1)?;
        let fence = Fence::create(&page, Kind::PLAIN, 0)?;
        let (pages, drops) = (Vec::new(), DeferredDrops::default());
        let mut state = PollState { pages, drops, thread: None, ended: false, polling_since: 0 };
        for _ in 0..WATCHES {
            // Never met, and without an order.
            let condition = Condition::new(&fence, (Op::Eq, false), 1, 1, Until::Signaled)?;
            let predicate = condition.predicate();
            let scheduler = Ref::try_new(|| Ok(Nowhere))?.unsize::<dyn Scheduler>(|it| it);
            let watch = Watch::new(scheduler, Action::None, &mut None)?;
            state.reserve(&fence, predicate)?;
            let watches = state.pages.first_mut().and_then(|page| page.watches(key(&fence)));
            assert_eq!(watches.map(|watches| watches.add(predicate, watch)), Some(false));
        }
        let PollState { pages, drops, .. } = &mut state;
        let polled = pages.first_mut().ok_or(Error::Unexpected)?;
        let begins = Begins { checks: true, all: false, polled: false };
        let ended = (0..4 * WATCHES).any(|_| {
            for _ in 0..200 {
                assert_eq!(fence.notify(), Ok(()));
            }
            polled.listen(begins, 1, drops);
            std::mem::take(&mut polled.ended)
        });
        assert!(ended);
        Ok(())
    }
}
