//! Who waits for what, and who promised it: notes that the processes which share a page leave in it
//! for each other.
//!
//! Nothing depends on a note: waits and signals work the same without. Notes are there to be read,
//! when something hangs, by whoever asks for the wait-for graph (`diagnostics::graph`). So a note is
//! never refused and never waited for. Where no record is free it is left out, and counted, so that
//! a reader knows that he does not see everything.
//!
//! # A record
//!
//! Taking one is a compare-exchange of its `owner` from 0. What it says is written next, and
//! `state`, which makes it valid, last. Giving it back goes the other way. A reader looks at
//! `state` before and after the rest. Its sequence number changes with every use of the record, and
//! all stores are releases, all loads acquires: who reads a word of a later use also finds the
//! later state. So what is read is one use's, but for the value, which may be raised meanwhile.
//! That is enough for a diagnosis, and needs no model: no wake-up hangs on it.
//!
//! The records of a process that died stay. They tell of promises that nobody will keep, until room
//! runs out. Then they are taken over: first their state is made invalid, by a compare-exchange
//! that one taker wins, then the owner is exchanged.
//!
//! # What a peer can do
//!
//! He may write anything here. A reader checks what it uses: an index and a generation name a fence
//! or they do not. All that he can do is to lie about who waits, and to use up the records.

use crate::shm::page::Place;
use crate::shm::participant::Owner;
use crate::shm::slot::{Tag, Width};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// So many notes fit in a page; the fences begin at offset 4096.
pub(crate) const RECORDS: usize = 59;

/// All notes of a page.
#[repr(C, align(64))]
pub(crate) struct Ledger {
    /// How many notes that stand now found no record.
    lost: AtomicU32,
    reserved: [AtomicU32; 7],
    records: [Record; RECORDS],
}

#[repr(C)]
struct Record {
    /// 0 if it is free, else the [`Owner`]'s word.
    owner: AtomicU64,
    /// See [`State`].
    state: AtomicU64,
    /// The slot in the low half, and in the high half which of the slot's fences: its tag.
    fence: AtomicU64,
    value: AtomicU64,
}

/// What a note says of its owner and a value of a fence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    /// Sleeps until the fence has reached the value.
    Wait,
    /// Sleeps until somebody has submitted work that will signal the value.
    WaitPending,
    /// Will signal the fence up to the value.
    Promise,
}

/// A record's state word, from the highest: 32 bits pid namespace, 24 bits sequence number, 5 bits
/// `of`, 3 bits role. Without a role the record says nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct State(u64);

/// The most alternatives that a record can count; it also stands for more.
const MOST_ALTERNATIVES: u64 = 31;

impl State {
    /// The state of the next use of a record.
    fn next(self, namespace: u32, role: Role, of: usize) -> State {
        let role = match role {
            Role::Wait => 1,
            Role::WaitPending => 2,
            Role::Promise => 3,
        };
        let of = (of as u64).clamp(1, MOST_ALTERNATIVES);
        State(
            u64::from(namespace) << 32
                | (self.sequence().wrapping_add(1) & 0xff_ffff) << 8
                | of << 3
                | role,
        )
    }

    /// The same use, over. Whose it was stays readable, should the process die here.
    fn over(self) -> State {
        State(self.0 & !7)
    }

    fn sequence(self) -> u64 {
        self.0 >> 8 & 0xff_ffff
    }

    fn namespace(self) -> u32 {
        (self.0 >> 32) as u32
    }

    fn of(self) -> u8 {
        (self.0 >> 3 & MOST_ALTERNATIVES) as u8
    }

    fn role(self) -> Option<Role> {
        match self.0 & 7 {
            1 => Some(Role::Wait),
            2 => Some(Role::WaitPending),
            3 => Some(Role::Promise),
            _ => None,
        }
    }
}

/// What a record said when it was read. Nothing in it is to be believed unchecked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Told {
    pub(crate) owner: Owner,
    pub(crate) role: Role,
    /// For a wait: of how many alternatives this is one. Each is in a record of its own, up to a
    /// limit.
    pub(crate) of: u8,
    /// The slot.
    pub(crate) index: u32,
    /// Which of the slot's fences.
    pub(crate) tag: Tag,
    pub(crate) value: u64,
    /// Which use of which record this is: the same place and state later mean that it stood all the
    /// time between.
    pub(crate) at: usize,
    pub(crate) state: u64,
}

impl Record {
    fn state(&self) -> State {
        State(self.state.load(Ordering::Acquire))
    }

    /// Whom the record belongs to now; the namespace is that of the state.
    fn owner(&self, state: State) -> Owner {
        Owner::from_shared(state.namespace(), self.owner.load(Ordering::Acquire))
    }

    fn try_take(&self, from: u64, owner: Owner) -> bool {
        self.owner
            .compare_exchange(from, owner.to_shared(), Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    /// Takes the record of a process that is gone.
    fn try_take_over(&self, owner: Owner) -> bool {
        let state = self.state();
        let before = self.owner(state);
        if before.to_shared() == 0 || !before.is_gone() {
            return false;
        }
        // Another sequence number: of two who got here, one wins.
        let invalid = state.next(state.namespace(), Role::Wait, 1).over();
        self.state.compare_exchange(state.0, invalid.0, Ordering::AcqRel, Ordering::Relaxed).is_ok()
            && self.try_take(before.to_shared(), owner)
    }

    /// Says what a record of ours is about. The state that makes it valid is returned.
    fn fill(&self, owner: Owner, place: &Place, tag: Tag, said: Said) -> State {
        self.fence
            .store(u64::from(tag.to_shared()) << 32 | u64::from(place.index()), Ordering::Release);
        self.value.store(said.value, Ordering::Release);
        let state = self.state().next(owner.namespace(), said.role, said.of);
        self.state.store(state.0, Ordering::Release);
        state
    }

    /// Whether it is still the use that `owner` and `state` tell of. It is, unless somebody who
    /// thought us dead took it over.
    fn is_still(&self, owner: Owner, state: State) -> bool {
        self.owner(state) == owner && self.state() == state
    }

    /// Gives a record back.
    fn give_back(&self, owner: Owner, state: State) {
        if self.is_still(owner, state)
            && self
                .state
                .compare_exchange(state.0, state.over().0, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
        {
            let _ = self.owner.compare_exchange(
                owner.to_shared(),
                0,
                Ordering::Release,
                Ordering::Relaxed,
            );
        }
    }

    fn read(&self, at: usize) -> Option<Told> {
        self.read_while(at, || {})
    }

    /// A test has something happen in the middle.
    fn read_while(&self, at: usize, something_happens: impl FnOnce()) -> Option<Told> {
        let state = self.state();
        let role = state.role()?;
        let owner = self.owner(state);
        owner.kind()?;
        let fence = self.fence.load(Ordering::Acquire);
        something_happens();
        let value = self.value.load(Ordering::Acquire);
        let (index, tag) = (fence as u32, Tag::from_shared((fence >> 32) as u32));
        let told = Told { owner, role, of: state.of(), index, tag, value, at, state: state.0 };
        (self.state() == state).then_some(told)
    }
}

impl Ledger {
    /// What the records say now.
    pub(crate) fn read(&self) -> impl Iterator<Item = Told> {
        self.records.iter().enumerate().filter_map(|(at, record)| record.read(at))
    }

    /// How many notes found no room.
    pub(crate) fn lost(&self) -> u32 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Takes a free record; else, that of a process that is gone.
    fn take(&self, owner: Owner) -> Option<(usize, &Record)> {
        // Not everybody begins at the same one.
        let start = owner.serial() as usize % RECORDS;
        let order = || self.records.iter().enumerate().cycle().skip(start).take(RECORDS);
        let is_free = |record: &Record| record.owner.load(Ordering::Relaxed) == 0;
        let free = order().find(|(_, record)| is_free(record) && record.try_take(0, owner));
        free.or_else(|| order().find(|(_, record)| record.try_take_over(owner)))
    }

    #[cfg(loom)]
    pub(crate) fn new() -> Ledger {
        let word = || AtomicU64::new(0);
        let record = |_| Record { owner: word(), state: word(), fence: word(), value: word() };
        let reserved = std::array::from_fn(|_| AtomicU32::new(0));
        Ledger { lost: AtomicU32::new(0), reserved, records: std::array::from_fn(record) }
    }
}

/// What a note is to say.
#[derive(Clone, Copy)]
pub(crate) struct Said {
    pub(crate) role: Role,
    /// For a wait: of how many alternatives this is one; 1 if it has to be met.
    pub(crate) of: usize,
    pub(crate) value: u64,
}

/// A note that stands as long as this lives.
pub(crate) struct Note {
    /// Keeps the page.
    place: Place,
    width: Width,
    owner: Owner,
    kept: Kept,
}

/// Where a note is.
enum Kept {
    Record(usize, State),
    /// No record was free.
    Lost,
    /// It would be the parent's, or the page is not ours to write to.
    Nowhere,
}

impl Note {
    /// Leaves a note about the fence `tag` of a slot. Async-signal-safe.
    pub(crate) fn leave(place: &Place, tag: Tag, owner: Owner, said: Said) -> Note {
        let ledger = place.page().ledger();
        let kept = if !owner.is_ours() || !place.page().is_writable() {
            Kept::Nowhere
        } else if let Some((at, record)) = ledger.take(owner) {
            Kept::Record(at, record.fill(owner, place, tag, said))
        } else {
            ledger.lost.fetch_add(1, Ordering::Relaxed);
            Kept::Lost
        };
        Note { place: place.clone(), width: tag.width(), owner, kept }
    }

    /// Says that more was promised. A value that is not further changes nothing.
    pub(crate) fn raise(&self, value: u64) {
        let Kept::Record(at, state) = self.kept else { return };
        let record = self.place.page().ledger().records.get(at);
        if let Some(record) =
            record.filter(|record| self.owner.is_ours() && record.is_still(self.owner, state))
        {
            let further = |old| self.width.is_before(old, value).then_some(value);
            let _ = record.value.fetch_update(Ordering::Release, Ordering::Relaxed, further);
        }
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        if !self.owner.is_ours() {
            return;
        }
        let ledger = self.place.page().ledger();
        match self.kept {
            Kept::Record(at, state) => {
                if let Some(record) = ledger.records.get(at) {
                    record.give_back(self.owner, state);
                }
            }
            Kept::Lost => {
                let fewer = |lost: u32| lost.checked_sub(1);
                let _ = ledger.lost.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer);
            }
            Kept::Nowhere => {}
        }
    }
}

const _: () = assert!(size_of::<Ledger>() == 1920 && size_of::<Record>() == 32);

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::error::{Error, Result};
    use crate::fence::Fence;
    use crate::shm::page::Page;
    use crate::shm::participant::OwnerKind;
    use crate::shm::slot::Kind;
    use crate::sys::process;
    use crate::util::refs::Ref;

    fn fence() -> Result<(Ref<Page>, Ref<Fence>)> {
        let page = Page::create(2)?;
        let fence = Fence::create(&page, Kind::PLAIN, 0)?;
        Ok((page, fence))
    }

    /// (owner, role, value) of all notes.
    fn told(page: &Page) -> Vec<(Owner, Role, u64)> {
        let mut told: Vec<_> =
            page.ledger().read().map(|told| (told.owner, told.role, told.value)).collect();
        told.sort_unstable_by_key(|told| (told.0, told.2));
        told
    }

    /// An id that no process has.
    fn dead_pid() -> Result<u32> {
        let mut child =
            std::process::Command::new("true").spawn().map_err(|_| Error::Unexpected)?;
        child.wait().map_err(|_| Error::Unexpected)?;
        Ok(child.id())
    }

    fn somebody(pid: u32, kind: OwnerKind) -> Owner {
        Owner::from_shared(process::namespace(), u64::from(pid) << 32 | (kind as u64) << 29 | 1)
    }

    /// Fills the table with notes that look like those of another process.
    fn fill_with(page: &Page, owner: Owner) {
        for record in &page.ledger().records {
            record.owner.store(owner.to_shared(), Ordering::Relaxed);
            record
                .state
                .store(State(0).next(owner.namespace(), Role::Promise, 1).0, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_note_stands_while_it_lives() -> Result<()> {
        let (page, fence) = fence()?;
        let (queue, watch) = (Owner::new(OwnerKind::Queue), Owner::new(OwnerKind::Watch));
        let promise = fence.note_promise(queue, 7);
        let wait = fence.note_wait(watch, 3);
        assert_eq!(told(&page), [(queue, Role::Promise, 7), (watch, Role::Wait, 3)]);
        promise.raise(9);
        promise.raise(8);
        assert_eq!(told(&page), [(queue, Role::Promise, 9), (watch, Role::Wait, 3)]);
        drop(promise);
        assert_eq!(told(&page), [(watch, Role::Wait, 3)]);
        drop(wait);
        assert_eq!(told(&page), []);
        Ok(())
    }

    #[test]
    fn a_note_keeps_its_page_and_not_its_fence() -> Result<()> {
        let (page, fence) = fence()?;
        let note = fence.note_wait(Owner::this_thread(), 1);
        let again = fence.index();
        drop(fence);
        assert!(Fence::open(&page, again).is_err());
        drop(page);
        drop(note);
        Ok(())
    }

    #[test]
    fn what_finds_no_room_is_counted_while_it_stands() -> Result<()> {
        let (page, fence) = fence()?;
        let queue = Owner::new(OwnerKind::Queue);
        let mut notes: Vec<Note> =
            (0..RECORDS as u64 + 3).map(|value| fence.note_wait(queue, value + 1)).collect();
        assert_eq!((told(&page).len(), page.ledger().lost()), (RECORDS, 3));
        notes.pop();
        assert_eq!((told(&page).len(), page.ledger().lost()), (RECORDS, 2));
        notes.remove(0);
        let late = fence.note_wait(queue, 1000);
        assert_eq!((told(&page).len(), page.ledger().lost()), (RECORDS, 2));
        assert!(told(&page).contains(&(queue, Role::Wait, 1000)));
        drop((notes, late));
        assert_eq!((told(&page).len(), page.ledger().lost()), (0, 0));
        Ok(())
    }

    #[test]
    fn the_records_of_the_dead_are_taken_over_when_all_are_in_use() -> Result<()> {
        let (page, fence) = fence()?;
        let queue = Owner::new(OwnerKind::Queue);
        fill_with(&page, somebody(dead_pid()?, OwnerKind::Queue));
        let notes: Vec<Note> =
            (1..=RECORDS as u64).map(|value| fence.note_wait(queue, value)).collect();
        assert_eq!(
            told(&page),
            (1..=RECORDS as u64).map(|value| (queue, Role::Wait, value)).collect::<Vec<_>>()
        );
        assert_eq!(page.ledger().lost(), 0);
        drop(notes);
        assert_eq!(told(&page), []);
        Ok(())
    }

    #[test]
    fn the_records_of_the_living_and_of_strangers_are_left_alone() -> Result<()> {
        let parent = std::os::unix::process::parent_id();
        let dead = somebody(dead_pid()?, OwnerKind::Queue).to_shared();
        let stranger = Owner::from_shared(process::namespace() ^ 1, dead);
        let unknown = Owner::from_shared(0, dead);
        for other in [somebody(parent, OwnerKind::Queue), stranger, unknown] {
            let (page, fence) = fence()?;
            fill_with(&page, other);
            let note = fence.note_wait(Owner::this_thread(), 1);
            assert_eq!((told(&page).len(), page.ledger().lost()), (RECORDS, 1));
            drop(note);
            assert!(told(&page).iter().all(|told| told.0 == other));
        }
        Ok(())
    }

    #[test]
    fn a_record_that_nobody_can_have_written_is_free() -> Result<()> {
        let (page, fence) = fence()?;
        for record in &page.ledger().records {
            record.owner.store(u64::from(process::id()) << 32 | 7 << 29, Ordering::Relaxed);
            record.state.store(u64::MAX, Ordering::Relaxed);
        }
        assert_eq!(told(&page), []);
        let note = fence.note_wait(Owner::this_thread(), 1);
        assert_eq!(told(&page), [(Owner::this_thread(), Role::Wait, 1)]);
        drop(note);
        Ok(())
    }

    #[test]
    fn a_child_leaves_the_notes_of_its_parent_alone() -> Result<()> {
        let (page, fence) = fence()?;
        let queue = Owner::new(OwnerKind::Queue);
        let parents = Owner::from_shared(queue.namespace(), queue.to_shared() ^ 1 << 32);
        // What the parent left and the child inherited: as if the fork had changed our id.
        let mut inherited = fence.note_promise(queue, 5);
        inherited.owner = parents;
        inherited.raise(6);
        drop(inherited);
        assert_eq!(told(&page), [(queue, Role::Promise, 5)]);
        // In the parent's name the child leaves none, nor is it counted.
        let note = fence.note_wait(parents, 1);
        assert_eq!((told(&page).len(), page.ledger().lost()), (1, 0));
        drop(note);
        assert_eq!((told(&page).len(), page.ledger().lost()), (1, 0));
        Ok(())
    }

    #[test]
    fn what_a_peer_took_is_not_given_back() -> Result<()> {
        let (page, fence) = fence()?;
        let note = fence.note_promise(Owner::new(OwnerKind::Queue), 5);
        let other = somebody(1, OwnerKind::Queue);
        fill_with(&page, other);
        note.raise(1 << 40);
        drop(note);
        assert_eq!(told(&page).len(), RECORDS);
        assert!(told(&page).iter().all(|told| told.0 == other && told.2 != 1 << 40));
        Ok(())
    }

    #[test]
    fn a_record_that_is_taken_says_nothing_before_it_is_filled() -> Result<()> {
        let (page, fence) = fence()?;
        let queue = Owner::new(OwnerKind::Queue);
        drop(fence.note_wait(queue, 1));
        assert!(page.ledger().take(queue).is_some());
        assert_eq!(told(&page), []);
        fill_with(&page, somebody(dead_pid()?, OwnerKind::Queue));
        assert!(page.ledger().take(queue).is_some());
        assert_eq!(told(&page).len(), RECORDS - 1);
        assert!(told(&page).iter().all(|told| told.0 != queue));
        Ok(())
    }

    #[test]
    fn what_changes_while_it_is_read_is_not_told() -> Result<()> {
        let (page, fence) = fence()?;
        let queue = Owner::new(OwnerKind::Queue);
        let mut note = Some(fence.note_wait(queue, 1));
        let at = page.ledger().read().map(|told| told.at).next().ok_or(Error::NotFound)?;
        let record = page.ledger().records.get(at).ok_or(Error::NotFound)?;
        assert_eq!(record.read_while(at, || {}).map(|told| told.value), Some(1));
        // The same owner waits for the same fence again.
        let again = || {
            note = None;
            note = Some(fence.note_wait(queue, 2));
        };
        assert_eq!(record.read_while(at, again), None);
        assert_eq!(record.read_while(at, || note = None), None);
        assert_eq!(record.read(at), None);
        Ok(())
    }

    #[test]
    fn what_is_read_is_of_one_use() -> Result<()> {
        let (page, fence) = fence()?;
        let other = Fence::create(&page, Kind::PLAIN, 0)?;
        let writing = AtomicU32::new(1);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let owner = Owner::new(OwnerKind::Queue);
                for round in 0..200_000 {
                    // The value tells which fence and role belong to it.
                    drop(if round % 2 == 0 {
                        fence.note_wait(owner, round)
                    } else {
                        other.note_promise(owner, round)
                    });
                }
                writing.store(0, Ordering::Relaxed);
            });
            while writing.load(Ordering::Relaxed) == 1 {
                for told in page.ledger().read() {
                    assert_eq!(told.index == other.index(), told.value % 2 == 1);
                    assert_eq!(told.role == Role::Promise, told.value % 2 == 1);
                }
            }
        });
        assert_eq!(told(&page), []);
        Ok(())
    }
}
