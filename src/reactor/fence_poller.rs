//! A thread asleep on the bells of pages: how a loop hears of fences.
//!
//! Whoever signals a fence can wake only who sleeps on a futex, and nothing but a thread can. The
//! ear hears for all watches of up to 126 pages; who adds a watch to a page that it listens to
//! already need not wake it:
//!
//! ```text
//!   ear                                    add a watch                      signal (slot.rs)
//!   W1  s = the bell's sequence            (lock) make it known             S1  value
//!       (lock) look at who rang before s   W2  announce it                  S2  read sleepers
//!   W4  FUTEX_WAIT(sequence == s)          W3  look at the value; (unlock)  S3..S5, and the bell
//! ```
//!
//! Either the adder sees the value, or the signaller sees the announcement and rings, by the
//! argument in slot.rs: W2 and W3 are as there. If it rings, then the sequence moves on from what
//! it was when the watch was made known. The ear, whose last W1 was under the lock, either came to
//! it before that ring, and then W4 does not sleep or wakes; or it comes to it after, and looks at
//! the slot that rang, where it finds the watch: it was made known, under the lock, before the
//! announcement.

use super::THREAD_NAME;
use super::fence_watches::Spot;
use super::watch::{Address, Home, Registrar, Scheduler, Watch};
use crate::error::{Error, Result};
use crate::fence::Fence;
use crate::fence::poll_interval::poll_interval;
use crate::shm::owner_death;
use crate::shm::page::Page;
use crate::sys::futex::{self, Sleep, WAITV_MAX, Word};
use crate::sys::thread::{Run, Thread};
use crate::sys::time::{self, Deadline};
use crate::util::refs::Ref;
use crate::wait::Predicate;
use std::collections::HashMap;
use std::ffi::CStr;
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How a loop hears of the fences of some pages.
pub(crate) struct Ear {
    scheduler: Ref<dyn Scheduler>,
    /// Moves when the ear has to look up for something else than a bell: the futex word for that.
    control: AtomicU32,
    heard: Mutex<Heard>,
}

struct Heard {
    pages: Vec<HeardPage>,
    left: Left,
    thread: Option<Thread>,
    ended: bool,
    /// Since when there is something to look at that rings no bell: a fence that a device writes.
    restless_since: u64,
}

struct HeardPage {
    page: Ref<Page>,
    /// What was read from the bell last.
    sequence: u32,
    /// Of fences that ring.
    ringing: Spots,
    /// Of fences that a device writes, which have to be looked at from time to time.
    devices: Spots,
}

/// By slot. Nearly always one for each; more while handles on fences that ended are still around.
#[derive(Default)]
struct Spots(HashMap<u32, Vec<Spot>, BuildHasherDefault<DefaultHasher>>);

/// Fences that nobody watches any more, until the lock is open: the end of a fence rings bells, and
/// gives its notifier back to the caller, who may do anything then. There is always room for the
/// fence of each spot.
struct Left {
    fences: Vec<Ref<Fence>>,
    promised: usize,
}

/// What an ear sleeps on. It holds on to the pages, which others may forget meanwhile.
struct Bed {
    /// For one sleep on all of it: asked once, for another thread may find out meanwhile.
    has_waitv: bool,
    control: u32,
    /// What was read before looking: see `orphans`.
    orphans: u32,
    pages: [Option<(Ref<Page>, u32)>; PAGES_MAX],
    until: Deadline,
}

/// A page for each word of futex_waitv, but one for `control` and one for orphans.
const PAGES_MAX: usize = WAITV_MAX - 2;

/// Without futex_waitv.
const LOOKS_UP_AFTER_NS: u64 = 1_000_000_000;

/// How many pages an ear can hear: where there is no futex_waitv, one.
fn capacity() -> usize {
    if futex::has_waitv() { PAGES_MAX } else { 1 }
}

impl Ear {
    /// A new one, with its thread.
    pub(crate) fn start(scheduler: Ref<dyn Scheduler>) -> Result<Ref<Ear>> {
        let left = Left { fences: Vec::new(), promised: 0 };
        let heard =
            Heard { pages: Vec::new(), left, thread: None, ended: false, restless_since: 0 };
        let make = || Ok(Ear { scheduler, control: AtomicU32::new(0), heard: Mutex::new(heard) });
        let ear = Ref::try_new(make)?;
        ear.lock().thread = Some(Thread::start(ear.clone())?);
        Ok(ear)
    }

    fn lock(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it listens to the page.
    pub(crate) fn hears(&self, page: &Page) -> bool {
        self.lock().pages.iter().any(|heard| heard.is(std::ptr::from_ref(page) as usize))
    }

    /// Whether it could listen to another page.
    pub(crate) fn has_room(&self) -> bool {
        self.lock().pages.len() < capacity()
    }

    /// Takes a watch in, unless it can listen to no other page by now: then false. If it fails
    /// nothing happened to the watch.
    pub(crate) fn add(
        this: &Ref<Ear>,
        fence: &Ref<Fence>,
        demand: Predicate,
        watch: &Ref<Watch>,
    ) -> Result<bool> {
        let mut guard = this.lock();
        let heard = &mut *guard;
        if !heard.pages.iter().any(|heard| heard.is(address(fence).page))
            && heard.pages.len() >= capacity()
        {
            return Ok(false);
        }
        let is_new = heard.make_room(fence, demand)?;
        let mut found = false;
        if let Some(page) = heard.pages.iter_mut().find(|heard| heard.is(address(fence).page)) {
            let at = this.clone().unsize::<dyn Registrar>(|ear| ear);
            watch.settle_at(Home::Fence { at, key: address(fence) });
            if let Some(spot) = page.spot(address(fence)) {
                found = spot.add(demand, watch.clone()) | spot.look();
            }
            page.sweep(fence.index(), &mut heard.left);
        }
        if fence.is_device() {
            heard.restless_since = time::now();
        }
        drop(guard);
        this.let_go();
        if is_new || fence.is_device() {
            this.poke();
        }
        if found {
            this.scheduler.wake();
        }
        Ok(true)
    }

    /// Forgets a watch that was cancelled.
    fn forget(&self, watch: &Watch, address: Address) {
        let mut guard = self.lock();
        let heard = &mut *guard;
        let Some(at) = heard.pages.iter().position(|heard| heard.is(address.page)) else { return };
        let Some(page) = heard.pages.get_mut(at) else { return };
        if let Some(spot) = page.spot(address) {
            spot.forget(watch);
        }
        page.sweep(address.slot, &mut heard.left);
        let is_empty = page.is_empty();
        // Dropped after the lock.
        let page = is_empty.then(|| heard.pages.swap_remove(at));
        drop(guard);
        self.let_go();
        if let Some(page) = page {
            // The ear holds on to the page while it sleeps, and may sleep on that bell alone.
            if !futex::has_waitv() {
                page.page.wake_all();
            }
            self.poke();
        }
    }

    /// Ends the references to fences that nobody watches any more.
    fn let_go(&self) {
        loop {
            let fence = self.lock().left.fences.pop();
            if fence.is_none() {
                break;
            }
        }
    }

    /// Has the ear look up.
    pub(crate) fn poke(&self) {
        self.control.fetch_add(1, Ordering::Release);
        futex::wake(&self.control, NonZeroU32::MAX);
        if !futex::has_waitv() {
            // It may sleep on the one bell it can hear.
            self.lock().pages.iter().for_each(|heard| heard.page.wake_all());
        }
    }

    /// Whether its thread is the one that asks.
    pub(crate) fn is_current(&self) -> bool {
        self.lock().thread.as_ref().is_some_and(Thread::is_current)
    }

    /// Ends it: whatever it knew is cancelled, and if it can be waited for, the thread is gone
    /// afterwards.
    pub(crate) fn end(&self, wait: bool) {
        let (pages, thread) = {
            let mut heard = self.lock();
            heard.ended = true;
            (std::mem::take(&mut heard.pages), heard.thread.take())
        };
        self.poke();
        for heard in pages {
            heard.page.wake_all();
            let spots =
                heard.ringing.0.into_values().chain(heard.devices.0.into_values()).flatten();
            for watch in spots.flat_map(Spot::into_watches) {
                let _ = watch.cancel();
            }
        }
        if let Some(thread) = thread {
            thread.end(wait);
        }
    }

    /// Looks at who rang since the last time, and makes the bed for the time until somebody rings
    /// again. False at the end.
    fn listen(&self, bed: &mut Bed) -> bool {
        bed.pages.fill(None);
        let mut guard = self.lock();
        let heard = &mut *guard;
        if heard.ended {
            return false;
        }
        bed.has_waitv = futex::has_waitv();
        bed.control = self.control.load(Ordering::Acquire);
        let orphans = owner_death::epoch();
        let may_be_orphaned = std::mem::replace(&mut bed.orphans, orphans) != orphans;
        // Nothing can sleep on several bells any more: a sandbox has closed around us. Or we could
        // not be roused from the one.
        let cannot_stir =
            || !futex::has_waitv() && heard.pages.iter().any(|heard| !heard.page.is_writable());
        let is_deaf = heard.pages.len() > capacity() || cannot_stir();
        // However often others ring.
        let is_time = bed.until.has_passed();
        let mut found = false;
        for page in &mut heard.pages {
            let all = is_time && is_deaf || may_be_orphaned && !page.page.is_writable();
            found |= page.listen(all, &mut heard.left);
            found |= is_time && page.devices.look(&mut heard.left);
        }
        heard.pages.retain(|page| !page.is_empty());
        for (page, place) in heard.pages.iter().zip(&mut bed.pages) {
            *place = Some((page.page.clone(), page.sequence));
        }
        let until = bed.until;
        bed.until = Deadline::NEVER;
        if is_deaf || heard.pages.iter().any(|page| !page.devices.is_empty()) {
            let now = time::now();
            if found {
                heard.restless_since = now;
            }
            let slice = poll_interval(heard.restless_since, now);
            bed.until = if is_time { slice } else { slice.min(until) };
        }
        if !futex::has_waitv() && !heard.pages.is_empty() {
            // All that it sleeps on is a peer's too, who can see to it that no wake-up finds it
            // (FUTEX_REQUEUE). Who ends it must not wait for ever.
            bed.until = bed.until.min(Deadline::at(time::now().saturating_add(LOOKS_UP_AFTER_NS)));
        }
        true
    }

    fn sleep(&self, bed: &Bed) -> Result<Sleep> {
        let control = Word { word: &self.control, expected: bed.control };
        let mut bells = bed
            .pages
            .iter()
            .flatten()
            .map(|(page, sequence)| Word { word: page.events().sequence(), expected: *sequence });
        if bed.has_waitv {
            return futex::wait_many(
                std::iter::once(control).chain(owner_death::futex_word(bed.orphans)).chain(bells),
                bed.until,
            );
        }
        let word = match (bells.next(), bells.next()) {
            (Some(only), None) => only,
            _ => control,
        };
        futex::wait(word.word, word.expected, NonZeroU32::MAX, bed.until)
    }
}

impl Registrar for Ear {
    fn deregister(&self, watch: &Watch, key: Address, reuse: bool) {
        if reuse {
            if let Some(page) = self.lock().pages.iter_mut().find(|heard| heard.is(key.page)) {
                if let Some(spot) = page.spot(key) {
                    spot.remove(watch);
                }
            }
        }
        self.forget(watch, key);
    }
}

impl Run for Ear {
    const NAME: &CStr = THREAD_NAME;

    fn run(&self) {
        let mut bed = Bed {
            has_waitv: true,
            control: 0,
            orphans: 0,
            pages: [const { None }; PAGES_MAX],
            until: Deadline::NEVER,
        };
        while self.listen(&mut bed) {
            self.let_go();
            self.scheduler.run_due();
            match self.sleep(&bed) {
                Ok(_) => {}
                // It goes on with what is left.
                Err(error) if futex::lost_waitv(error) => {}
                Err(_) => futex::sleep_briefly(bed.until),
            }
        }
        // What it found to be over at the end.
        self.scheduler.wake();
    }
}

impl Heard {
    /// Makes room for another watch of a fence, whose page is listened to from now on; tells
    /// whether it was not before. What fails leaves nothing behind.
    fn make_room(&mut self, fence: &Ref<Fence>, demand: Predicate) -> Result<bool> {
        let known = self.pages.iter().position(|heard| heard.is(address(fence).page));
        let at = known.unwrap_or(self.pages.len());
        if known.is_none() {
            self.pages.try_reserve(1).map_err(|_| Error::NoMemory)?;
            let page = fence.shared_page();
            // W1.
            let sequence = page.events().sequence().load(Ordering::Acquire);
            self.pages.push(HeardPage {
                page,
                sequence,
                ringing: Spots::default(),
                devices: Spots::default(),
            });
        }
        let page = self.pages.get_mut(at).ok_or(Error::Unexpected)?;
        let made = page.make_room(fence, demand, &mut self.left);
        if made.is_err() && page.is_empty() {
            self.pages.swap_remove(at);
        }
        made.map(|()| known.is_none())
    }
}

impl Left {
    /// Room for the fence of one more spot.
    fn promise(&mut self) -> Result<()> {
        self.fences.try_reserve(self.promised + 1).map_err(|_| Error::NoMemory)?;
        self.promised += 1;
        Ok(())
    }

    fn push(&mut self, fence: Ref<Fence>) {
        self.promised -= 1;
        self.fences.push(fence);
    }
}

impl HeardPage {
    fn is(&self, page: usize) -> bool {
        std::ptr::from_ref::<Page>(&self.page) as usize == page
    }

    fn is_empty(&self) -> bool {
        self.ringing.is_empty() && self.devices.is_empty()
    }

    /// The spot of a fence.
    fn spot(&mut self, address: Address) -> Option<&mut Spot> {
        self.ringing.get(address).or_else(|| self.devices.get(address))
    }

    /// Room for another watch of a fence.
    fn make_room(&mut self, fence: &Ref<Fence>, demand: Predicate, left: &mut Left) -> Result<()> {
        let spots = if fence.is_device() { &mut self.devices } else { &mut self.ringing };
        spots.make_room(fence, demand, left)
    }

    /// W1, and a look at the slots that rang; or at all.
    fn listen(&mut self, all: bool, left: &mut Left) -> bool {
        let heard = self.sequence;
        self.sequence = self.page.events().sequence().load(Ordering::Acquire);
        let (mut found, mut known) = (false, !all);
        let page = self.page.clone();
        match page.events().signaled_since(heard, self.sequence) {
            None => known = false,
            Some(rings) => {
                for slot in rings {
                    match slot {
                        None => known = false,
                        Some(slot) => {
                            found |=
                                self.ringing.look_at(slot, left) | self.devices.look_at(slot, left);
                        }
                    }
                }
            }
        }
        if !known {
            found |= self.ringing.look(left) | self.devices.look(left);
        }
        found
    }

    /// Lets go of the spots of a slot that nobody watches any more.
    fn sweep(&mut self, slot: u32, left: &mut Left) {
        self.ringing.sweep(slot, left);
        self.devices.sweep(slot, left);
    }
}

impl Spots {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn get(&mut self, address: Address) -> Option<&mut Spot> {
        self.0.get_mut(&address.slot)?.iter_mut().find(|spot| spot.is_at(address))
    }

    fn make_room(&mut self, fence: &Ref<Fence>, demand: Predicate, left: &mut Left) -> Result<()> {
        if let Some(spot) = self.get(address(fence)) {
            return spot.reserve(demand);
        }
        let mut spot = Spot::new(fence.clone());
        spot.reserve(demand)?;
        self.0.try_reserve(1).map_err(|_| Error::NoMemory)?;
        let spots = self.0.entry(fence.index()).or_default();
        let reserved =
            spots.try_reserve(1).map_err(|_| Error::NoMemory).and_then(|()| left.promise());
        if reserved.is_ok() {
            spots.push(spot);
        } else if spots.is_empty() {
            self.0.remove(&fence.index());
        }
        reserved
    }

    /// Looks at all.
    fn look(&mut self, left: &mut Left) -> bool {
        let mut found = false;
        self.0.retain(|_, spots| {
            found |= look(spots, left);
            !spots.is_empty()
        });
        found
    }

    fn look_at(&mut self, slot: u32, left: &mut Left) -> bool {
        let Some(spots) = self.0.get_mut(&slot) else { return false };
        let found = look(spots, left);
        if spots.is_empty() {
            self.0.remove(&slot);
        }
        found
    }

    fn sweep(&mut self, slot: u32, left: &mut Left) {
        let Some(spots) = self.0.get_mut(&slot) else { return };
        sweep(spots, left);
        if spots.is_empty() {
            self.0.remove(&slot);
        }
    }
}

fn look(spots: &mut Vec<Spot>, left: &mut Left) -> bool {
    let found = spots.iter_mut().fold(false, |found, spot| spot.look() | found);
    sweep(spots, left);
    found
}

fn sweep(spots: &mut Vec<Spot>, left: &mut Left) {
    while let Some(at) = spots.iter().position(Spot::is_empty) {
        left.push(spots.swap_remove(at).into_fence());
    }
}

fn address(fence: &Fence) -> Address {
    let page = std::ptr::from_ref::<Page>(fence.page()) as usize;
    Address { page, slot: fence.index(), fence: std::ptr::from_ref(fence) as usize }
}
