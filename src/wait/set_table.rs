// SPDX-License-Identifier: MIT
//! The entries of a wait set: by slot, and those that are ready.
//!
//! This is what epoll keeps in the kernel. An entry waits, registered in its slot, until an event
//! of the page names that slot. Then it is checked, and is *ready* from the time when it is found
//! to be met or failed until it is found not to be. A wait checks the entries of the slots that the
//! events name and those that are ready, and no others. Where the log of events does not reach back
//! to the last time, it checks all entries of that page.
//!
//! All lists are links within the entries, so that nothing but adding an entry needs memory.

use super::condition::Predicate;
use super::page_events::PageEvents;
use crate::error::{Error, Result};
use crate::fence::Fence;
use crate::interrupt::OwnedListening;
use crate::shm::owner_death;
use crate::shm::page::Page;
use crate::shm::page_budget::clock;
use crate::shm::slot::WaitTarget;
use crate::util::atomic::Ordering;
use crate::util::key_map::KeyMap;
use crate::util::refs::Ref;

/// The entries of a wait set, and its pages.
pub(super) struct SetTable {
    entries: Entries,
    pages: Vec<SetPage>,
    /// The position in `pages` of each page, by its address.
    positions: KeyMap<usize, u32>,
    /// The entries of fences that a device writes and no notifier serves, with their slots. No
    /// event names them.
    polled: KeyMap<u32, u32>,
    /// The epoch of owner_death.rs, read before the last check.
    owner_deaths: u32,
    /// The pages as waiting threads keep them. `None` once they have changed.
    snapshot: Option<Ref<SetPages>>,
    /// How many threads sleep for the set, and how many of them on the word of a page alone.
    pub(super) sleepers: u32,
    pub(super) page_sleepers: u32,
}

/// The pages of a set, each with whether it has fences to poll. It keeps them mapped.
pub(super) struct SetPages(Vec<(Ref<Page>, bool)>);

impl SetPages {
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Page, bool)> {
        self.0.iter().map(|(page, is_polled)| (&**page, *is_polled))
    }
}

struct SetPage {
    page: Ref<Page>,
    /// The event count as it was read last (W1): before the entries were checked.
    sequence: u32,
    /// Whether an event may have concerned any slot.
    must_check_all: bool,
    /// The number of its entries in `polled`.
    polled: u32,
    /// The first entry of each slot.
    slots: KeyMap<u32, u32>,
}

/// An entry.
pub(super) struct Entry {
    fence: Ref<Fence>,
    predicate: Predicate,
    user_data: u64,
    /// Has the fence's notifier listen. `None` if it has none.
    _listening: Option<OwnedListening>,
    is_ready: bool,
    is_polled: bool,
    links: [Link; 2],
}

/// An entry that a wait reports.
pub(crate) struct Ready {
    pub(crate) id: u64,
    pub(crate) user_data: u64,
    /// Whether it is met, or why it never will be.
    pub(crate) result: Result<()>,
}

/// What the caller does after the lock: the end of a fence or of a page calls release functions of
/// the library's caller.
#[must_use]
#[derive(Default)]
pub(super) struct AfterUnlock {
    _entry: Option<Entry>,
    _page: Option<Ref<Page>>,
    /// The pages as the threads that sleep have them.
    pub(super) snapshot: Option<Ref<SetPages>>,
    /// Whether these threads have to run, and whether some sleep on the word of a page alone.
    pub(super) wakes: bool,
    pub(super) wakes_page: bool,
}

/// No entry.
const NONE: u32 = u32::MAX;

/// The neighbors of an entry in a chain.
#[derive(Clone, Copy)]
struct Link {
    before: u32,
    after: u32,
}

const UNLINKED: Link = Link { before: NONE, after: NONE };

/// A list of entries. Of the entries of a slot only the first is kept.
#[derive(Clone, Copy)]
struct Chain {
    first: u32,
    last: u32,
}

const EMPTY: Chain = Chain { first: NONE, last: NONE };

/// Which of its two chains an entry is linked in.
#[derive(Clone, Copy)]
enum By {
    Slot,
    Ready,
}

/// The entries by their numbers, and the chain of those that are ready.
struct Entries {
    places: Vec<Place>,
    /// The first free place.
    free: u32,
    count: u32,
    ready: Chain,
    ready_count: u32,
    /// How often an entry became ready, modulo 2^32.
    found: u32,
}

/// Room for one entry at a time. An id names a place and its generation, which is never 0.
struct Place {
    generation: u32,
    entry: Option<Entry>,
    next_free: u32,
}

impl Entry {
    /// Returns how the wait for it ended. If it did not, the entry is registered as a waiter of the
    /// fence (W2, then W3). Not before the first check: a waiter bit that nobody needs would cost
    /// the next signal a system call.
    fn settle(&self) -> Option<Result<()>> {
        let condition = self.predicate.of(&self.fence);
        if let Some(result) = condition.settled().break_value() {
            return Some(result);
        }
        condition.register_waiter(WaitTarget::Page);
        condition.settled().break_value()
    }
}

impl Entries {
    const NEW: Entries = Entries {
        places: Vec::new(),
        free: NONE,
        count: 0,
        ready: EMPTY,
        ready_count: 0,
        found: 0,
    };

    fn get(&self, number: u32) -> Option<&Entry> {
        self.places.get(number as usize)?.entry.as_ref()
    }

    fn get_mut(&mut self, number: u32) -> Option<&mut Entry> {
        self.places.get_mut(number as usize)?.entry.as_mut()
    }

    /// Returns the number of the entry with this id. `NotFound` if it was removed.
    fn number_of(&self, id: u64) -> Result<u32> {
        let place = self.places.get(id as u32 as usize).ok_or(Error::NotFound)?;
        let is_there = place.entry.is_some() && u64::from(place.generation) == id >> 32;
        if is_there { Ok(id as u32) } else { Err(Error::NotFound) }
    }

    fn id_of(&self, number: u32) -> u64 {
        let generation = self.places.get(number as usize).map_or(0, |place| place.generation);
        u64::from(generation) << 32 | u64::from(number)
    }

    /// Makes room for one more.
    fn reserve(&mut self) -> Result<()> {
        if self.free != NONE {
            return Ok(());
        }
        let number = self.places.len() as u32;
        if number == NONE {
            return Err(Error::NoMemory);
        }
        self.places.try_reserve(1).map_err(|_| Error::NoMemory)?;
        self.places.push(Place { generation: 1, entry: None, next_free: NONE });
        self.free = number;
        Ok(())
    }

    /// Puts an entry into the room that `reserve` made. Returns its number.
    fn insert(&mut self, entry: Entry) -> u32 {
        let number = self.free;
        if let Some(place) = self.places.get_mut(number as usize) {
            self.free = place.next_free;
            place.entry = Some(entry);
            self.count += 1;
        }
        number
    }

    fn remove(&mut self, number: u32) -> Option<Entry> {
        self.set_ready(number, false);
        let place = self.places.get_mut(number as usize)?;
        let entry = place.entry.take()?;
        place.generation = place.generation.wrapping_add(1);
        // A place whose generations are used up is not used again: no id names two entries.
        if place.generation != 0 {
            place.next_free = std::mem::replace(&mut self.free, number);
        }
        self.count -= 1;
        Some(entry)
    }

    fn link_of(&mut self, number: u32, by: By) -> Option<&mut Link> {
        self.get_mut(number)?.links.get_mut(by as usize)
    }

    /// Puts an entry into a chain, behind its last one.
    fn link(&mut self, number: u32, by: By, chain: &mut Chain) {
        let before = std::mem::replace(&mut chain.last, number);
        let after = match self.link_of(before, by) {
            Some(link) => std::mem::replace(&mut link.after, number),
            None => std::mem::replace(&mut chain.first, number),
        };
        if let Some(link) = self.link_of(after, by) {
            link.before = number;
        }
        if let Some(link) = self.link_of(number, by) {
            *link = Link { before, after };
        }
    }

    /// Takes an entry out of its chain.
    fn unlink(&mut self, number: u32, by: By, chain: &mut Chain) {
        let Some(Link { before, after }) = self.link_of(number, by).copied() else { return };
        match self.link_of(before, by) {
            Some(link) => link.after = after,
            None => chain.first = after,
        }
        match self.link_of(after, by) {
            Some(link) => link.before = before,
            None => chain.last = before,
        }
    }

    /// Appends an entry to those that are ready, or takes it out.
    fn set_ready(&mut self, number: u32, is_ready: bool) {
        let Some(entry) = self.get_mut(number) else { return };
        if std::mem::replace(&mut entry.is_ready, is_ready) == is_ready {
            return;
        }
        let mut ready = self.ready;
        if is_ready {
            self.link(number, By::Ready, &mut ready);
            self.ready_count += 1;
        } else {
            self.unlink(number, By::Ready, &mut ready);
            self.ready_count -= 1;
        }
        self.ready = ready;
    }

    /// Checks an entry that waits. Returns whether it is ready now and was not before.
    fn check(&mut self, number: u32) -> bool {
        let Some(entry) = self.get(number) else { return false };
        let is_new = !entry.is_ready && entry.settle().is_some();
        if is_new {
            self.set_ready(number, true);
            self.found = self.found.wrapping_add(1);
        }
        is_new
    }

    /// Checks the entries of a slot, from its first one on. Returns how many it checked, and
    /// whether one became ready.
    fn check_slot(&mut self, first: u32) -> (u64, bool) {
        let (mut number, mut count, mut found) = (first, 0, false);
        while let Some(entry) = self.get(number) {
            let after = entry.links.get(By::Slot as usize).map_or(NONE, |link| link.after);
            found |= self.check(number);
            (number, count) = (after, count + 1);
        }
        (count, found)
    }
}

/// What a check costs, about: see page_budget.rs.
const CHECK_NS: u64 = 50;

impl SetPage {
    /// W1, and checks the entries of the slots that signaled since the last time. All of them if
    /// the log does not reach back that far.
    fn listen(&mut self, entries: &mut Entries) {
        let seen = self.sequence;
        // W1 for this page: before any of its entries is registered again.
        self.sequence = self.page.events().sequence().load(Ordering::Acquire);
        match self.page.events().signaled_since(seen, self.sequence) {
            None => self.must_check_all = true,
            Some(signaled) => {
                let mut checked = 0;
                for slot in signaled {
                    match slot {
                        Some(slot) if checked <= u64::from(entries.count) => {
                            let first = self.slots.get(&slot);
                            checked += first.map_or(0, |first| entries.check_slot(*first).0);
                        }
                        // An entry of the log is not written yet. Or a peer names a slot with many
                        // entries again and again.
                        None | Some(_) => self.must_check_all = true,
                    }
                }
            }
        }
        if std::mem::take(&mut self.must_check_all) {
            self.check_all(entries);
        }
    }

    /// A peer can cause this. So the page pays if nothing was found.
    fn check_all(&mut self, entries: &mut Entries) {
        let (mut count, mut found) = (0, false);
        for first in self.slots.values() {
            let checked = entries.check_slot(*first);
            (count, found) = (count + checked.0, found | checked.1);
        }
        if !found {
            self.page.budget().waste(count * CHECK_NS);
        }
    }
}

/// What a wait looks at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// The events of the pages that do not rest.
    Events,
    /// The same, and the fences that have to be polled.
    Polled,
    /// All pages, and the fences that have to be polled.
    Everything,
}

impl SetTable {
    pub(super) fn new() -> SetTable {
        SetTable {
            entries: Entries::NEW,
            pages: Vec::new(),
            positions: KeyMap::default(),
            polled: KeyMap::default(),
            owner_deaths: owner_death::epoch(),
            snapshot: None,
            sleepers: 0,
            page_sleepers: 0,
        }
    }

    /// The number of entries.
    pub(super) fn count(&self) -> u32 {
        self.entries.count
    }

    /// How often an entry became ready, modulo 2^32.
    pub(super) fn found(&self) -> u32 {
        self.entries.found
    }

    /// Adds an entry, and returns its id. On failure nothing has changed.
    pub(super) fn add(
        &mut self,
        fence: Ref<Fence>,
        predicate: Predicate,
        user_data: u64,
    ) -> Result<(u64, AfterUnlock)> {
        self.entries.reserve()?;
        self.polled.try_reserve(1).map_err(|_| Error::NoMemory)?;
        // Before W2: this reads the event count of a new page.
        let (at, is_new) = self.reserve_page(&fence)?;
        let found = self.check_earlier(&fence);
        let predicate = predicate.begin(&fence);
        let (slot, is_polled) = (fence.index(), fence.must_poll());
        let _listening = fence.listen_owned();
        let number = self.entries.insert(Entry {
            fence,
            predicate,
            user_data,
            _listening,
            is_ready: false,
            is_polled,
            links: [UNLINKED; 2],
        });
        let mut is_changed = is_new;
        if let Some(page) = self.pages.get_mut(at) {
            // Behind the first one, which so stays the first.
            let first = *page.slots.entry(slot).or_insert(number);
            if first != number {
                self.entries.link(number, By::Slot, &mut Chain { first, last: first });
            }
            if is_polled {
                self.polled.insert(number, slot);
                page.polled += 1;
                is_changed |= page.polled == 1;
            }
        }
        let found = self.entries.check(number) | found;
        Ok((self.entries.id_of(number), self.changed(is_changed, found)))
    }

    /// Returns the position of the fence's page, which has room for one more slot, and whether it
    /// is new.
    fn reserve_page(&mut self, fence: &Fence) -> Result<(usize, bool)> {
        if let Some(at) = self.position(fence) {
            let page = self.pages.get_mut(at).ok_or(Error::Unexpected)?;
            page.slots.try_reserve(1).map_err(|_| Error::NoMemory)?;
            return Ok((at, false));
        }
        let mut slots = KeyMap::default();
        slots.try_reserve(1).map_err(|_| Error::NoMemory)?;
        self.positions.try_reserve(1).map_err(|_| Error::NoMemory)?;
        self.pages.try_reserve(1).map_err(|_| Error::NoMemory)?;
        let (at, page) = (self.pages.len(), fence.shared_page());
        let sequence = page.events().sequence().load(Ordering::Acquire);
        self.positions.insert(address(&page), at as u32);
        self.pages.push(SetPage { page, sequence, must_check_all: false, polled: 0, slots });
        Ok((at, true))
    }

    fn position(&self, fence: &Fence) -> Option<usize> {
        self.positions.get(&address(fence.page())).map(|at| *at as usize)
    }

    /// The rewinds so far are told to the earlier entries of the fence first: a wait that begins
    /// may have the fence forget them (rewind.rs). Returns whether one became ready.
    fn check_earlier(&mut self, fence: &Fence) -> bool {
        let first = self.position(fence).filter(|_| fence.is_unordered()).and_then(|at| {
            let page = self.pages.get(at)?;
            page.slots.get(&fence.index()).copied()
        });
        first.is_some_and(|first| self.entries.check_slot(first).1)
    }

    /// Has an entry wait for something else of the same fence. `Invalid` for another fence.
    pub(super) fn modify(
        &mut self,
        id: u64,
        fence: &Fence,
        predicate: Predicate,
    ) -> Result<AfterUnlock> {
        let number = self.entries.number_of(id)?;
        let is_its_fence =
            self.entries.get(number).is_some_and(|entry| std::ptr::eq(&*entry.fence, fence));
        if !is_its_fence {
            return Err(Error::Invalid);
        }
        let found = self.check_earlier(fence);
        if let Some(entry) = self.entries.get_mut(number) {
            entry.predicate = predicate.begin(fence);
        }
        // One that is ready is checked by the next wait.
        let found = self.entries.check(number) | found;
        Ok(self.changed(false, found))
    }

    /// Removes an entry.
    pub(super) fn remove(&mut self, id: u64) -> Result<AfterUnlock> {
        let number = self.entries.number_of(id)?;
        let fence = self.entries.get(number).map(|entry| (&*entry.fence, entry.is_polled));
        let (fence, was_polled) = fence.ok_or(Error::Unexpected)?;
        let (slot, at) = (fence.index(), self.position(fence).ok_or(Error::Unexpected)?);
        let page = self.pages.get_mut(at).ok_or(Error::Unexpected)?;
        let first = page.slots.get_mut(&slot).ok_or(Error::Unexpected)?;
        let mut chain = Chain { first: *first, last: NONE };
        self.entries.unlink(number, By::Slot, &mut chain);
        *first = chain.first;
        if chain.first == NONE {
            page.slots.remove(&slot);
        }
        if was_polled {
            self.polled.remove(&number);
            page.polled -= 1;
        }
        let is_changed = page.slots.is_empty() || was_polled && page.polled == 0;
        let page = if page.slots.is_empty() { Some(self.remove_page(at)) } else { None };
        let entry = self.entries.remove(number);
        Ok(AfterUnlock { _entry: entry, _page: page, ..self.changed(is_changed, false) })
    }

    /// Removes a page without entries. The last page takes its position.
    fn remove_page(&mut self, at: usize) -> Ref<Page> {
        let SetPage { page, .. } = self.pages.swap_remove(at);
        self.positions.remove(&address(&page));
        if let Some(moved) = self.pages.get(at) {
            self.positions.insert(address(&moved.page), at as u32);
        }
        page
    }

    /// What has to follow a change of the pages, or of the entries that are ready.
    fn changed(&mut self, pages: bool, found: bool) -> AfterUnlock {
        let snapshot = if pages { self.snapshot.take() } else { self.snapshot.clone() };
        let wakes = self.sleepers > 0 && (pages || found);
        AfterUnlock {
            snapshot,
            wakes,
            wakes_page: wakes && self.page_sleepers > 0,
            ..AfterUnlock::default()
        }
    }

    /// The pages, for a thread that will sleep. They keep the positions until `is_current` says
    /// otherwise.
    #[inline(never)]
    pub(super) fn pages(&mut self) -> Result<Ref<SetPages>> {
        if let Some(pages) = &self.snapshot {
            return Ok(pages.clone());
        }
        let mut list = Vec::new();
        list.try_reserve_exact(self.pages.len()).map_err(|_| Error::NoMemory)?;
        list.extend(self.pages.iter().map(|page| (page.page.clone(), page.polled > 0)));
        let pages = Ref::try_new(|| Ok(SetPages(list)))?;
        self.snapshot = Some(pages.clone());
        Ok(pages)
    }

    pub(super) fn is_current(&self, pages: &Ref<SetPages>) -> bool {
        self.snapshot.as_ref().is_some_and(|current| current.is(pages))
    }

    /// Has the sleep of a thread end when the events go on from what was read here.
    pub(super) fn tell_readings(&self, events: &mut PageEvents<'_>) {
        let sequences = self.pages.iter().map(|page| page.sequence);
        events.take_readings(sequences, self.owner_deaths, self.count());
    }

    /// W1, and checks the entries that may have become ready since the last time.
    pub(super) fn listen(&mut self, scope: Scope) {
        let deaths = owner_death::epoch();
        let somebody_died = std::mem::replace(&mut self.owner_deaths, deaths) != deaths;
        for page in &mut self.pages {
            page.must_check_all |= somebody_died && !page.page.is_writable();
            if scope == Scope::Everything || !rests(&page.page) {
                page.listen(&mut self.entries);
            }
        }
        if scope == Scope::Events {
            return;
        }
        for number in self.polled.keys() {
            let page = self.entries.get(*number).map(|entry| entry.fence.page());
            if scope == Scope::Everything || page.is_some_and(|page| !rests(page)) {
                self.entries.check(*number);
            }
        }
    }

    /// Reports the entries that are ready, `limit` at most. The others come first the next time.
    pub(super) fn report(&mut self, limit: usize, mut report: impl FnMut(usize, Ready)) -> usize {
        let mut count = 0;
        for _ in 0..self.entries.ready_count {
            let number = self.entries.ready.first;
            let Some(entry) = self.entries.get(number).filter(|_| count < limit) else { break };
            let settled = entry.settle();
            self.entries.set_ready(number, false);
            let Some(result) = settled else { continue };
            if result.is_ok() {
                self.begin_again(number);
            }
            self.entries.set_ready(number, true);
            if let Some(entry) = self.entries.get(number) {
                let id = self.entries.id_of(number);
                report(count, Ready { id, user_data: entry.user_data, result });
                count += 1;
            }
        }
        count
    }

    /// From now on a reported entry of an unordered fence is met by later values alone. One that is
    /// met by the present value need not begin again: when that is gone, it is reported once more.
    fn begin_again(&mut self, number: u32) {
        let is_gone = |entry: &&Entry| {
            let condition = entry.predicate.of(&entry.fence);
            condition.fence.is_unordered() && !condition.holds(condition.fence.value())
        };
        let Some(entry) = self.entries.get(number).filter(is_gone) else { return };
        let fence = entry.fence.clone();
        self.check_earlier(&fence);
        if let Some(entry) = self.entries.get_mut(number) {
            entry.predicate = entry.predicate.begin_again(&fence);
        }
    }

    /// Some of the entries, `count` at most, as wait records tell them.
    pub(super) fn first<const MOST: usize>(
        &self,
        count: usize,
    ) -> [Option<(Ref<Fence>, Predicate)>; MOST] {
        let entries = self.entries.places.iter().filter_map(|place| place.entry.as_ref());
        let mut entries = entries.take(count).map(|entry| (entry.fence.clone(), entry.predicate));
        std::array::from_fn(|_| entries.next())
    }
}

/// Whether a page wasted its share of the time: see page_budget.rs.
fn rests(page: &Page) -> bool {
    page.budget().rests_until(clock).is_some()
}

fn address(page: &Page) -> usize {
    std::ptr::from_ref(page) as usize
}

#[cfg(all(test, not(modeled)))]
mod tests {
    use super::*;
    use crate::shm::generation::Kind;
    use crate::wait::Condition;

    #[test]
    fn no_id_names_another_entry_after_all_generations_of_its_place() -> Result<()> {
        let page = Page::create(1)?;
        let fence = Fence::create(&page, Kind::PLAIN, 0)?;
        let predicate = Condition::reached(&fence, 1)?.predicate();
        let mut table = SetTable::new();
        let (first, _) = table.add(fence.clone(), predicate, 0)?;
        let _ = table.remove(first)?;
        for place in &mut table.entries.places {
            place.generation = u32::MAX;
        }
        let (last, _) = table.add(fence.clone(), predicate, 0)?;
        assert_eq!(last >> 32, u64::from(u32::MAX));
        let _ = table.remove(last)?;
        let (next, _) = table.add(fence.clone(), predicate, 0)?;
        assert!(next != first && next != last && next >> 32 != 0, "{next:#x}");
        assert!(table.remove(last).is_err() && table.remove(u64::from(last as u32)).is_err());
        assert_eq!(table.count(), 1);
        Ok(())
    }
}
