//! The event counts of the pages that a wait for many fences is about.

use super::block;
use super::condition::Conditions;
use super::slot_words::SlotWords;
use crate::error::Result;
use crate::fence::poll_interval::poll_interval;
use crate::shm::event_count::EventCount;
use crate::shm::owner_death;
use crate::shm::page::Page;
use crate::sys::futex::{MUTED_NS, SHORT_LIST, Sleep, WAITV_MAX, WaitList, Word};
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
    /// Something is written without an event: by a device, or on a page that has no place here.
    must_poll: bool,
    /// A process that is not trusted with the fences can keep wake-ups from this thread: see
    /// [`Page::may_be_muted`].
    may_be_muted: bool,
    /// The epoch of owner_death.rs, read before the check, if this process cannot write to one of
    /// the pages.
    owner_epoch: Option<u32>,
    /// The bits of the slots that are waited for: see event_count.rs.
    wake_bits: u32,
    start: u64,
}

/// Why a sleep ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum WakeReason {
    /// An event was published.
    Event,
    /// It is time to poll.
    Poll,
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
            must_poll: false,
            may_be_muted: false,
            owner_epoch: None,
            wake_bits: 0,
            start: time::now(),
        }
    }

    /// Adds the pages of the conditions' fences.
    pub(super) fn add_pages_of(&mut self, conditions: &'a impl Conditions) -> Result<()> {
        let max_pages = block::max_words();
        for index in 0..conditions.count() {
            let fence = conditions.get(index)?.fence;
            self.must_poll |= fence.is_device();
            self.wake_bits |= EventCount::wake_bit(fence.index());
            let page = fence.page();
            self.may_be_muted |= page.may_be_muted();
            if !page.is_writable() {
                self.owner_epoch = Some(0);
            }
            self.add(page, max_pages);
        }
        Ok(())
    }

    fn add(&mut self, page: &'a Page, max_pages: usize) {
        // The page that was added last comes first: neighbors in a list tend to share their page.
        let mut known = self.pages.as_slice().iter().rev();
        if known.any(|known| std::ptr::eq(known.page, page)) {
            return;
        }
        let reading = PageReading { page, sequence: 0, failures: 0 };
        if self.pages.as_slice().len() >= max_pages || self.pages.push(reading).is_err() {
            (self.too_many_pages, self.must_poll) = (true, true);
        }
    }

    /// W1 for every page. Called before the thread registers with any slot. Returns whether a fence
    /// of these pages may have failed since the last call.
    pub(super) fn listen(&mut self) -> bool {
        let mut failed = self.too_many_pages | self.read_owner_epoch();
        for reading in self.pages.as_mut_slice() {
            let events = reading.page.events();
            reading.sequence = events.sequence().load(Ordering::Acquire);
            let failures = events.failures();
            failed |= failures != reading.failures;
            reading.failures = failures;
        }
        failed
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

    pub(super) fn number_of(&self, page: &Page) -> Option<usize> {
        self.pages.as_slice().iter().position(|reading| std::ptr::eq(reading.page, page))
    }

    /// W4: sleeps until one of the pages has an event that `listen` has not seen.
    ///
    /// A thread cannot block on more than 128 pages, nor on several without futex_waitv, nor on a
    /// device that wakes nobody. Then it polls.
    pub(super) fn sleep(&mut self, deadline: Deadline) -> Result<WakeReason> {
        let max_words = block::max_words();
        let count = self.pages.as_slice().len();
        if count > max_words && !self.too_many_pages {
            // futex_waitv is forbidden since `of` asked. Check everything, and poll from now on.
            (self.too_many_pages, self.must_poll) = (true, true);
            return Ok(WakeReason::after(Sleep::Woken, deadline, deadline));
        }
        let can_block = count + usize::from(self.owner_epoch.is_some()) <= max_words;
        let (epoch, until) = self.until(can_block, deadline);
        let bits = NonZeroU32::new(self.wake_bits).unwrap_or(NonZeroU32::MAX);
        let words = self
            .pages
            .as_slice()
            .iter()
            .take(max_words)
            .map(|page| Word { word: page.page.events().sequence(), expected: page.sequence });
        let slept = block::on(&mut self.words, words, bits, epoch, until)?;
        Ok(WakeReason::after(slept, until, deadline))
    }

    /// Whether `sleep_on` can be called for so many slots.
    pub(super) fn can_sleep_on(&self, slots: usize) -> bool {
        SlotWords::fits(slots, self.owner_epoch.is_some().into())
    }

    /// W4 on the words of the slots instead. The caller has done W1 to W3 there, and has read the
    /// owners' epoch.
    pub(super) fn sleep_on<'w>(
        &mut self,
        words: impl Iterator<Item = Word<'w>>,
        deadline: Deadline,
    ) -> Result<WakeReason> {
        let (epoch, until) = self.until(true, deadline);
        let slept = block::on(&mut self.words, words, NonZeroU32::MAX, epoch, until)?;
        Ok(WakeReason::after(slept, until, deadline))
    }

    /// The owners' epoch to sleep on, if that is possible, and the end of the next sleep.
    fn until(&self, can_block: bool, deadline: Deadline) -> (Option<u32>, Deadline) {
        let epoch = self.owner_epoch.filter(|_| can_block);
        let poll_end = || poll_interval(self.start, time::now());
        let until = if self.must_poll || !can_block { deadline.min(poll_end()) } else { deadline };
        (epoch, if self.may_be_muted { until.within(MUTED_NS) } else { until })
    }
}

impl WakeReason {
    /// The reason after a sleep that was to end at `until`.
    fn after(slept: Sleep, until: Deadline, deadline: Deadline) -> WakeReason {
        match slept {
            Sleep::TimedOut if until == deadline => WakeReason::Deadline,
            // Also after a wake-up: a peer that wakes this thread all the time must not keep it
            // here.
            _ if deadline.has_passed() => WakeReason::Deadline,
            Sleep::Woken => WakeReason::Event,
            Sleep::TimedOut => WakeReason::Poll,
        }
    }
}
