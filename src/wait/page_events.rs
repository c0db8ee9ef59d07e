// SPDX-License-Identifier: MIT
//! The event counts of the pages that a wait for many fences is about.

use super::block;
use super::condition::Conditions;
use super::lead::NEEDLESS_MAX;
use super::needless::NeedlessWakeUps;
use super::slot_words::SlotWords;
use crate::error::Result;
use crate::fence::Fence;
use crate::fence::poll_interval::poll_interval;
use crate::interrupt::{Led, Notifier};
use crate::shm::event_count::EventCount;
use crate::shm::owner_death;
use crate::shm::page::Page;
use crate::sys::futex::{self, MUTED_NS, SHORT_LIST, Sleep, WAITV_MAX, WaitList, Word};
use crate::sys::list::List;
use crate::sys::time::{self, Deadline};
use crate::util::atomic::Ordering;
use std::num::NonZeroU32;

/// The eventcounts, each as it was read before the fences of its page were checked.
pub(super) struct PageEvents<'a> {
    pages: List<PageReading<'a>, SHORT_LIST, WAITV_MAX>,
    /// What the kernel reads of them.
    words: WaitList,
    /// There are more pages than a thread can block on, or no memory for them. Those that found no
    /// place are not in `pages`, so after each sleep all fences are checked.
    pub(super) too_many_pages: bool,
    /// The pages with fences that a device writes, and whose interrupts nobody hears.
    polled: PageSet,
    /// The notifiers of the fences.
    notifiers: List<&'a Notifier, NOTIFIERS_SHORT, WAITV_MAX>,
    /// Whether they listen for this thread.
    follows: bool,
    /// The number of wake-ups as a leader.
    led: u32,
    /// The interrupts that leaders had taken before this thread checked its conditions.
    taken: u32,
    /// A process that is not trusted with the fences can keep wake-ups from this thread: see
    /// [`Page::may_be_muted`].
    may_be_muted: bool,
    /// The epoch of owner_death.rs, read before the check, if this process cannot write to one of
    /// the pages.
    owner_epoch: Option<u32>,
    /// The bits of the slots that are waited for: see event_count.rs.
    wake_bits: u32,
    needless: NeedlessWakeUps,
    /// The pages that rest while the thread sleeps: see page_budget.rs.
    resting: PageSet,
    /// Whether the thread sleeps until it is time to poll.
    polls: bool,
    /// The pages whose words moved, or woke the thread, since it went to sleep.
    stirred: PageSet,
    /// The word that woke the thread, among those that it slept on.
    woken_by: Option<u8>,
    start: u64,
    /// The number of conditions.
    count: u32,
}

/// A set of pages, by their numbers in `PageEvents::pages`.
type PageSet = u128;
const _: () = assert!(PageSet::BITS as usize == WAITV_MAX);

fn bit(number: usize) -> PageSet {
    1 << (number % WAITV_MAX)
}

/// A list longer than this costs so much to check that pages pay for polls too.
const POLLED_FREELY: u32 = 32;
/// So many notifiers need no memory. Few lists have fences of more than one device.
const NOTIFIERS_SHORT: usize = 1;

/// Why a sleep ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum WakeReason {
    /// An event was published.
    Event,
    /// It is time to poll, or nobody knows what happened.
    Poll,
    /// The device interrupted. This thread is still registered.
    Interrupt,
    /// The deadline passed.
    Deadline,
}

/// What was read from a page's eventcount before the fences of the page were checked.
#[derive(Clone, Copy)]
struct PageReading<'a> {
    page: &'a Page,
    sequence: u32,
    failures: u32,
}

impl<'a> PageEvents<'a> {
    /// Has no page yet. The caller calls `add_pages_of` next. (A function that did both would copy
    /// the struct to return it, and this has to run on small stacks.)
    pub(super) fn new() -> PageEvents<'a> {
        PageEvents {
            pages: List::new(),
            words: WaitList::new(),
            too_many_pages: false,
            polled: 0,
            notifiers: List::new(),
            follows: false,
            led: 0,
            taken: 0,
            may_be_muted: false,
            owner_epoch: None,
            wake_bits: 0,
            needless: NeedlessWakeUps::new(),
            resting: 0,
            polls: false,
            stirred: 0,
            woken_by: None,
            start: time::now(),
            count: 0,
        }
    }

    /// Adds the pages of the conditions' fences.
    pub(super) fn add_pages_of(&mut self, conditions: &'a impl Conditions) -> Result<()> {
        self.count = u32::try_from(conditions.count()).unwrap_or(u32::MAX);
        for index in 0..conditions.count() {
            let fence = conditions.get(index)?.fence;
            let is_polled = fence.is_device() && !self.listen_to_notifier(fence);
            self.wake_bits |= EventCount::wake_bit(fence.index());
            self.expect_interference(fence.page());
            let number = self.add(fence.page());
            self.poll(number, is_polled);
        }
        match self.may_lead() {
            Some((notifier, _)) => self.taken = notifier.taken(),
            None => drop(self.follow()),
        }
        Ok(())
    }

    /// Adds the pages of a wait set, each once. The notifiers listen for the set all the time. All
    /// slots' bits wake: entries may be added while the thread sleeps. No wake-up is free, since a
    /// set is waited for again and again.
    pub(super) fn add_set(&mut self, pages: impl Iterator<Item = (&'a Page, bool)>) {
        self.needless = NeedlessWakeUps::all_paid();
        for (page, is_polled) in pages {
            self.expect_interference(page);
            let Some(number) = self.push(page) else { break };
            self.poll(Some(number), is_polled);
        }
        if !self.set_sleeps_on_page() && !block::can_block_on(self.set_words()) {
            self.too_many_pages = true;
        }
    }

    /// The number of words of a sleep for a wait set, with that of the set.
    fn set_words(&self) -> usize {
        self.pages.as_slice().len() + usize::from(self.owner_epoch.is_some()) + 1
    }

    /// Notes what others can do to the wake-ups of a page.
    fn expect_interference(&mut self, page: &Page) {
        self.may_be_muted |= page.may_be_muted();
        if !page.is_writable() {
            self.owner_epoch = Some(0);
        }
    }

    /// Has the page with this number polled, if it has one.
    fn poll(&mut self, number: Option<usize>, is_polled: bool) {
        if let (true, Some(number)) = (is_polled, number) {
            self.polled |= bit(number);
        }
    }

    /// Has the notifier of a fence listen. Returns false if it has none.
    fn listen_to_notifier(&mut self, fence: &'a Fence) -> bool {
        let Some(notifier) = fence.notifier_of_any_process() else { return false };
        let mut known = self.notifiers.as_slice().iter().rev();
        if known.any(|known| std::ptr::eq(*known, notifier)) {
            return true;
        }
        // Asked once for each notifier: the answer takes a system call.
        notifier.is_ours() && self.notifiers.push(notifier).is_ok()
    }

    /// The notifier and the page of a thread that may lead: see lead.rs.
    fn may_lead(&self) -> Option<(&'a Notifier, PageReading<'a>)> {
        let ([notifier], [page]) = (self.notifiers.as_slice(), self.pages.as_slice()) else {
            return None;
        };
        let is_alone = !self.follows && self.polled == 0 && self.owner_epoch.is_none();
        let may_lead = is_alone && self.led < NEEDLESS_MAX && notifier.may_lead();
        may_lead.then_some((*notifier, *page))
    }

    /// Has the notifiers listen for this thread from now on. Called before the thread checks its
    /// conditions and sleeps on a futex. Returns whether they did not before.
    fn follow(&mut self) -> bool {
        let is_new = !std::mem::replace(&mut self.follows, true);
        if is_new {
            self.forget_wake_up();
            self.notifiers.as_slice().iter().for_each(|notifier| notifier.enter());
        }
        is_new && !self.notifiers.as_slice().is_empty()
    }

    /// Before a sleep whose end no page pays for: see `account`.
    fn forget_wake_up(&mut self) {
        (self.stirred, self.woken_by) = (0, None);
    }

    /// W4 as the notifier's leader.
    fn lead(
        &mut self,
        notifier: &Notifier,
        reading: PageReading<'_>,
        deadline: Deadline,
    ) -> WakeReason {
        let (page, word) = (reading.page, reading.page.events().sequence());
        self.led += 1;
        self.forget_wake_up();
        let (signals, value) = (|| page.signal_word(), reading.sequence);
        let led = notifier.lead(signals, word, value, self.taken, deadline);
        self.taken = notifier.taken();
        match led {
            _ if deadline.has_passed() => WakeReason::Deadline,
            Led::Interrupt => WakeReason::Interrupt,
            Led::Silence | Led::Other | Led::No => {
                if led == Led::No {
                    self.follow();
                }
                WakeReason::Poll
            }
        }
    }

    /// Returns the page's number, unless it has no place.
    fn add(&mut self, page: &'a Page) -> Option<usize> {
        // The page that was added last comes first: neighbors in a list tend to share their page.
        let known = self.pages.as_slice().iter().rposition(|known| std::ptr::eq(known.page, page));
        if known.is_some() { known } else { self.push(page) }
    }

    /// Adds a page that has no number yet.
    fn push(&mut self, page: &'a Page) -> Option<usize> {
        let number = self.pages.as_slice().len();
        let reading = PageReading { page, sequence: 0, failures: 0 };
        if !block::can_block_on(number + 1) || self.pages.push(reading).is_err() {
            self.too_many_pages = true;
            return None;
        }
        Some(number)
    }

    /// Says in each page that this thread hears of failures of fences where it does not register.
    /// Called before the first `listen`.
    pub(super) fn wait_unregistered(&self) {
        for reading in self.pages.as_slice().iter().filter(|reading| reading.page.is_writable()) {
            reading.page.events().wait_unregistered(self.wake_bits);
        }
    }

    /// W1 for every page. Called before the thread registers with any slot. Returns whether a fence
    /// of these pages may have failed since the last call.
    pub(super) fn listen(&mut self) -> bool {
        let mut failed = self.too_many_pages | self.read_owner_epoch();
        for (number, reading) in self.pages.as_mut_slice().iter_mut().enumerate() {
            let events = reading.page.events();
            let seen = reading.sequence;
            reading.sequence = events.sequence().load(Ordering::Acquire);
            if reading.sequence != seen {
                self.stirred |= bit(number);
            }
            let failures = events.failures();
            failed |= failures != reading.failures;
            reading.failures = failures;
        }
        failed
    }

    /// Takes over what a wait set of `count` entries read from its pages (W1), and from
    /// owner_death.rs.
    pub(super) fn take_readings(
        &mut self,
        sequences: impl Iterator<Item = u32>,
        epoch: u32,
        count: u32,
    ) {
        self.count = count;
        for (number, sequence) in sequences.enumerate() {
            let Some(reading) = self.pages.as_mut_slice().get_mut(number) else { break };
            if std::mem::replace(&mut reading.sequence, sequence) != sequence {
                self.stirred |= bit(number);
            }
        }
        self.owner_epoch = self.owner_epoch.map(|_| epoch);
    }

    /// W1 again, and calls `check` for each slot with an event since the last time, with the page
    /// and its number. Returns false if the logs cannot tell all of those slots.
    pub(super) fn for_each_signaled(
        &mut self,
        mut check: impl FnMut((usize, &Page), u32) -> Result<()>,
    ) -> Result<bool> {
        let mut is_complete = !self.read_owner_epoch();
        for (number, reading) in self.pages.as_mut_slice().iter_mut().enumerate() {
            let events = reading.page.events();
            let seen = reading.sequence;
            // W1 for this page: before the thread registers with any of its slots again.
            reading.sequence = events.sequence().load(Ordering::Acquire);
            if reading.sequence != seen {
                self.stirred |= bit(number);
            }
            let Some(slots) = events.signaled_since(seen, reading.sequence) else {
                is_complete = false;
                continue;
            };
            for slot in slots {
                match slot {
                    None => is_complete = false,
                    Some(slot) => check((number, reading.page), slot)?,
                }
            }
        }
        Ok(is_complete)
    }

    /// W1 of owner_death.rs. Returns whether a fence of these pages may have lost its signaler
    /// since the last time.
    pub(super) fn read_owner_epoch(&mut self) -> bool {
        let now = self.owner_epoch.map(|_| owner_death::epoch());
        std::mem::replace(&mut self.owner_epoch, now) != now
    }

    /// The page with a number.
    pub(super) fn page(&self, number: usize) -> Option<&'a Page> {
        self.pages.as_slice().get(number).map(|reading| reading.page)
    }

    /// The number of a page. `None` if it has no place.
    pub(super) fn number_of(&self, page: &Page) -> Option<usize> {
        number_in(self.pages.as_slice(), page)
    }

    /// W4: sleeps until one of the pages has an event that `listen` has not seen.
    ///
    /// A thread cannot block on more than 128 pages, nor on several without futex_waitv, nor on a
    /// device that wakes nobody. Then it polls.
    pub(super) fn sleep(&mut self, deadline: Deadline) -> Result<WakeReason> {
        if let Some((notifier, page)) = self.may_lead() {
            return Ok(self.lead(notifier, page, deadline));
        }
        if self.follow() {
            return Ok(WakeReason::Poll);
        }
        let count = self.pages.as_slice().len();
        let max_pages = if block::can_block_on(count) { count } else { 1 };
        if count > max_pages && !self.too_many_pages {
            // futex_waitv is forbidden since `add` asked. Check everything, and poll from now on.
            self.too_many_pages = true;
            return Ok(self.wake_up(Sleep::Interrupted, deadline, deadline));
        }
        let (can_block, epoch) = match self.owner_epoch {
            None => (count <= max_pages, None),
            // One word is enough, since this thread checks for a death once a second.
            Some(_) if count <= 1 && futex::has_harmless_waitv().is_none() => (true, None),
            epoch if block::can_block_on(count + 1) => (true, epoch),
            Some(_) => (false, None),
        };
        let until = self.until(can_block, deadline);
        let bits = NonZeroU32::new(self.wake_bits).unwrap_or(NonZeroU32::MAX);
        let resting = self.resting;
        let pages = self.pages.as_slice().iter().enumerate().take(max_pages);
        let words = pages
            .filter(|(number, _)| resting & bit(*number) == 0)
            .map(|(_, page)| Word { word: page.page.events().sequence(), expected: page.sequence });
        let slept = block::on(&mut self.words, words, bits, epoch, until)?;
        Ok(self.wake_up(slept, until, deadline))
    }

    /// Whether a wait set has its thread sleep on the word of its one page alone: where a sandbox
    /// may kill for futex_waitv. Then whatever wakes the thread moves that word.
    pub(super) fn set_sleeps_on_page(&self) -> bool {
        matches!(self.pages.as_slice(), [only] if only.page.is_writable())
            && futex::has_harmless_waitv() != Some(true)
    }

    /// W4 for a wait set: as `sleep`, and until `changes` moves. `None` on its one page alone.
    pub(super) fn sleep_for_set(
        &mut self,
        changes: Option<Word<'_>>,
        deadline: Deadline,
    ) -> Result<WakeReason> {
        let can_block = changes.is_none() || block::can_block_on(self.set_words());
        self.too_many_pages |= !can_block;
        let until = self.until(can_block, deadline);
        // A peer could move the thread to another word (FUTEX_REQUEUE), where the set does not find
        // it.
        let until = if changes.is_none() { until.within(MUTED_NS) } else { until };
        let resting = self.resting;
        let pages = self.pages.as_slice().iter().enumerate();
        let words = pages
            .filter(|(number, _)| can_block && resting & bit(*number) == 0)
            .map(|(_, page)| Word { word: page.page.events().sequence(), expected: page.sequence });
        let epoch = self.owner_epoch.filter(|_| can_block);
        let (words, bits) = (words.chain(changes), NonZeroU32::MAX);
        let slept = block::on(&mut self.words, words, bits, epoch, until)?;
        let reason = self.wake_up(slept, until, deadline);
        if !can_block {
            // It was the set's own word.
            self.woken_by = None;
        }
        Ok(reason)
    }

    /// Whether `sleep_on` can be called for so many slots.
    pub(super) fn can_sleep_on(&self, slots: usize) -> bool {
        SlotWords::fits(slots, self.owner_epoch.is_some().into())
    }

    /// W4 on the words of the slots instead. The caller has done W1 to W3 there, and has read the
    /// owners' epoch.
    pub(super) fn sleep_on<'w>(
        &mut self,
        words: impl Iterator<Item = (&'w Page, Word<'w>)>,
        deadline: Deadline,
    ) -> Result<WakeReason> {
        if self.follow() {
            return Ok(WakeReason::Poll);
        }
        let (epoch, until) = (self.owner_epoch, self.until(true, deadline));
        let (pages, resting) = (self.pages.as_slice(), self.resting);
        let words = words.filter(|(page, _)| resting & bit_of(pages, page) == 0);
        let words = words.map(|(_, word)| word);
        let slept = block::on(&mut self.words, words, NonZeroU32::MAX, epoch, until)?;
        Ok(self.wake_up(slept, until, deadline))
    }

    /// The reason after a sleep that was to end at `until`.
    #[inline(never)]
    fn wake_up(&mut self, slept: Sleep, until: Deadline, deadline: Deadline) -> WakeReason {
        self.stirred = 0;
        self.woken_by = match slept {
            Sleep::Woken(word) => u8::try_from(word).ok(),
            Sleep::Changed | Sleep::Interrupted | Sleep::TimedOut => None,
        };
        match slept {
            Sleep::TimedOut if until == deadline => WakeReason::Deadline,
            // Also after a wake-up: a peer that wakes this thread all the time must not keep it
            // here.
            _ if deadline.has_passed() => WakeReason::Deadline,
            Sleep::TimedOut if self.polls => {
                if self.count > POLLED_FREELY {
                    self.stirred |= self.polled & !self.resting;
                }
                WakeReason::Poll
            }
            Sleep::TimedOut if self.resting == 0 => WakeReason::Poll,
            // The log tells the events of a page that rested.
            Sleep::TimedOut | Sleep::Woken(_) | Sleep::Changed | Sleep::Interrupted => {
                WakeReason::Event
            }
        }
    }

    /// Notes that a word of a page has moved.
    pub(super) fn stir(&mut self, page: &Page) {
        self.stirred |= bit_of(self.pages.as_slice(), page);
    }

    /// Has the pages that caused the last wake-up pay for it and for the check after it: called
    /// before the thread sleeps again, if these led to nothing. `slots` are the words of slots that
    /// the thread slept on, if it did.
    #[inline(never)]
    pub(super) fn account<'w>(
        &mut self,
        slots: Option<impl Iterator<Item = (&'w Page, Word<'w>)>>,
    ) {
        if let (0, Some(word)) = (self.stirred, self.woken_by) {
            // The peer woke the thread and moved nothing.
            let (pages, resting) = (self.pages.as_slice(), self.resting);
            let listens = |page: &PageSet| resting & page == 0;
            let page = match slots {
                Some(slots) => {
                    slots.map(|(page, _)| bit_of(pages, page)).filter(listens).nth(word.into())
                }
                None => (0..pages.len()).map(bit).filter(listens).nth(word.into()),
            };
            self.stirred = page.unwrap_or(0);
        }
        if self.stirred == 0 {
            return;
        }
        let Some(cost) = self.needless.count(self.count) else { return };
        for (number, reading) in self.pages.as_slice().iter().enumerate() {
            if self.stirred & bit(number) != 0 {
                reading.page.budget().waste(cost);
            }
        }
    }

    /// The last wake-up led to nothing here, but to something in another thread: no page pays.
    pub(super) fn excuse(&mut self) {
        self.needless.excuse();
    }

    /// The end of the next sleep. Decides which pages rest meanwhile.
    #[inline(never)] // its stack is free again before the sleep
    fn until(&mut self, can_block: bool, deadline: Deadline) -> Deadline {
        let mut until = deadline;
        self.resting = 0;
        for (number, reading) in self.pages.as_slice().iter().enumerate() {
            if let Some(end) = self.needless.rests_until(reading.page) {
                self.resting |= bit(number);
                until = until.min(end);
            }
        }
        self.polls = self.too_many_pages || !can_block || self.polled & !self.resting != 0;
        if self.polls {
            until = until.min(poll_interval(self.start, time::now()));
        }
        if self.may_be_muted { until.within(MUTED_NS) } else { until }
    }
}

impl Drop for PageEvents<'_> {
    fn drop(&mut self) {
        if self.follows {
            self.notifiers.as_slice().iter().for_each(|notifier| notifier.leave());
        }
    }
}

fn number_in(pages: &[PageReading<'_>], page: &Page) -> Option<usize> {
    pages.iter().position(|reading| std::ptr::eq(reading.page, page))
}

/// The set of one page. Empty if the page has no place.
fn bit_of(pages: &[PageReading<'_>], page: &Page) -> PageSet {
    number_in(pages, page).map_or(0, bit)
}
