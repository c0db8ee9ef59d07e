// SPDX-License-Identifier: MIT
//! The wait table of a page: who waits for its fences, and who will signal them.
//!
//! Nothing depends on a record: waits and signals work the same without them. Records exist to be
//! read when something hangs, by the wait-for graph (`diagnostics`). So writing a record never
//! fails and never waits. If no record is free, it is dropped and counted, so that a reader knows
//! that the graph is incomplete.
//!
//! # A record
//!
//! A participant takes a record by a compare-exchange of its `participant` word from 0. It writes
//! the contents next, and `state`, which makes them valid, last. It releases the record in the
//! reverse order. A reader reads `state` before and after the rest. The sequence number in `state`
//! changes with every use of the record. All stores are releases and all loads acquires, so a
//! reader that sees a word of a later use also sees the later state. What it reads is of one use,
//! except for the value, which may be raised meanwhile. That is enough for a diagnosis. It needs no
//! model, since no wake-up depends on it.
//!
//! # A full table
//!
//! A record that says nothing makes room for one that does: its fence has ended, has failed or has
//! reached the value. The writer decides that from the page alone, for any participant: no
//! system call, and at most [`RECORDS`] checks. A participant in another PID namespace cannot be
//! judged by its process id at all. The state of the record is made invalid by a compare-exchange,
//! which one taker wins, and then the participant is exchanged. The owner may live. It finds the
//! sequence number changed, leaves the record alone, and writes another one if it raises the value.
//!
//! The records of a dead process stay, since they name the signals that will never come. A report
//! of the wait-for graph makes them free if the table is full ([`WaitTable::release_dead`]).
//!
//! # What a peer can do
//!
//! A peer may write anything here. A reader checks what it uses: an index and a generation name a
//! fence, or they do not. So a peer can lie about who waits, and use up the records, and no more.
//! A record that is written while the table is full costs the same, whichever process filled it.

#![forbid(unsafe_code)]

use super::generation::Generation;
use super::participant::Participant;
use super::residue::Width;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// The number of records that fit before the slots.
pub(crate) const RECORDS: usize = 59;

/// All records of a page.
#[repr(C, align(64))]
pub(crate) struct WaitTable {
    /// The number of records that are wanted now and were dropped.
    dropped: AtomicU32,
    reserved: [AtomicU32; 7],
    records: [Record; RECORDS],
}

#[repr(C)]
struct Record {
    /// 0 if it is free, otherwise the [`Participant`]'s word.
    participant: AtomicU64,
    /// See [`State`].
    state: AtomicU64,
    /// The slot's index in the low half, and what says which of its fences in the high half
    /// ([`Generation::recorded`]).
    fence: AtomicU64,
    value: AtomicU64,
}

/// What a record says of its participant and a value of a fence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    /// Waits until the fence reaches the value.
    Wait,
    /// Waits until work is submitted that will signal the value.
    WaitPending,
    /// Will signal the fence up to the value.
    Signal,
}

/// A record's state word, from the highest: 32 bits PID namespace, 24 bits sequence number, 5 bits
/// alternatives, 3 bits role. A record without a role is not valid.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct State(u64);

/// The most alternatives that a record can count. It also stands for more.
const MAX_ALTERNATIVES: u64 = 31;

impl State {
    /// The state of the next use of a record.
    fn next(self, namespace: u32, role: Role, alternatives: usize) -> State {
        let role = match role {
            Role::Wait => 1,
            Role::WaitPending => 2,
            Role::Signal => 3,
        };
        let alternatives = (alternatives as u64).clamp(1, MAX_ALTERNATIVES);
        let sequence = self.sequence().wrapping_add(1) & 0xff_ffff;
        State(u64::from(namespace) << 32 | sequence << 8 | alternatives << 3 | role)
    }

    /// The same use, no longer valid. The namespace stays readable in case the process dies here.
    fn invalid(self) -> State {
        State(self.0 & !7)
    }

    fn sequence(self) -> u64 {
        self.0 >> 8 & 0xff_ffff
    }

    fn namespace(self) -> u32 {
        (self.0 >> 32) as u32
    }

    fn alternatives(self) -> u8 {
        (self.0 >> 3 & MAX_ALTERNATIVES) as u8
    }

    fn role(self) -> Option<Role> {
        match self.0 & 7 {
            1 => Some(Role::Wait),
            2 => Some(Role::WaitPending),
            3 => Some(Role::Signal),
            _ => None,
        }
    }
}

/// What a record is to say.
#[derive(Clone, Copy)]
pub(crate) struct RecordContents {
    pub(crate) role: Role,
    /// For a wait: the number of alternatives of which this is one. 1 if this has to be met.
    pub(crate) alternatives: usize,
    pub(crate) value: u64,
}

/// A record that this process wrote: its index, and its state at that use.
#[derive(Clone, Copy)]
pub(crate) struct RecordKey {
    index: usize,
    state: State,
}

/// What a record said when it was read. Nothing in it is to be believed unchecked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RecordSnapshot {
    pub(crate) participant: Participant,
    pub(crate) role: Role,
    /// For a wait: the number of alternatives of which this is one. Each alternative has a record,
    /// up to a limit.
    pub(crate) alternatives: u8,
    /// The index of the fence's slot.
    pub(crate) slot: u32,
    /// Which of the slot's fences: see [`Generation::recorded`].
    pub(crate) generation: u32,
    pub(crate) value: u64,
    /// The record's index and its state. If both are the same later, it was valid all the time
    /// between.
    pub(crate) record: usize,
    pub(crate) state: u64,
}

impl Record {
    fn state(&self) -> State {
        State(self.state.load(Ordering::Acquire))
    }

    /// The participant that the record belongs to now. Its namespace is in the state.
    fn participant(&self, state: State) -> Participant {
        Participant::from_shared(state.namespace(), self.participant.load(Ordering::Acquire))
    }

    fn is_free(&self) -> bool {
        self.participant.load(Ordering::Relaxed) == 0
    }

    fn try_take_free(&self, participant: Participant) -> bool {
        let word = participant.to_shared();
        self.is_free()
            && self
                .participant
                .compare_exchange(0, word, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
    }

    fn exchange_state(&self, from: State, to: State) -> bool {
        self.state.compare_exchange(from.0, to.0, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Takes a record that says nothing. A record that is not valid is being written, unless no
    /// process that follows the rules wrote its participant.
    fn try_take_over(
        &self,
        index: usize,
        participant: Participant,
        says_nothing: impl Fn(&RecordSnapshot) -> bool,
    ) -> bool {
        let state = self.state();
        let before = self.participant(state);
        let is_of_use = |snapshot: &RecordSnapshot| snapshot.state == state.0;
        let says_nothing = before.kind().is_none()
            || self.read(index).filter(is_of_use).is_some_and(|snapshot| says_nothing(&snapshot));
        says_nothing && self.try_end(state, before.to_shared(), participant.to_shared())
    }

    /// Ends a use of the record that may be another process's, and exchanges the participant.
    fn try_end(&self, state: State, before: u64, after: u64) -> bool {
        // Another sequence number: of two threads that get here, one wins.
        let invalid = state.next(state.namespace(), Role::Wait, 1).invalid();
        self.exchange_state(state, invalid)
            && self
                .participant
                .compare_exchange(before, after, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
    }

    /// Writes the contents of a record that was taken. Returns the state that makes it valid.
    fn fill(
        &self,
        participant: Participant,
        (slot, generation): (u32, Generation),
        contents: RecordContents,
    ) -> State {
        let fence = u64::from(generation.recorded()) << 32 | u64::from(slot);
        self.fence.store(fence, Ordering::Release);
        self.value.store(contents.value, Ordering::Release);
        let state =
            self.state().next(participant.namespace(), contents.role, contents.alternatives);
        self.state.store(state.0, Ordering::Release);
        state
    }

    /// Whether it is still the use that `participant` and `state` name. It is, unless the record
    /// was taken over.
    fn is_still(&self, participant: Participant, state: State) -> bool {
        self.participant(state) == participant && self.state() == state
    }

    fn release(&self, participant: Participant, state: State) {
        if self.is_still(participant, state) && self.exchange_state(state, state.invalid()) {
            let (success, failure) = (Ordering::Release, Ordering::Relaxed);
            let word = participant.to_shared();
            let _ = self.participant.compare_exchange(word, 0, success, failure);
        }
    }

    fn read(&self, index: usize) -> Option<RecordSnapshot> {
        self.read_while(index, || {})
    }

    /// Reads the record. Tests have something happen in the middle.
    fn read_while(&self, index: usize, event: impl FnOnce()) -> Option<RecordSnapshot> {
        let state = self.state();
        let role = state.role()?;
        let participant = self.participant(state);
        participant.kind()?;
        let fence = self.fence.load(Ordering::Acquire);
        event();
        let value = self.value.load(Ordering::Acquire);
        let snapshot = RecordSnapshot {
            participant,
            role,
            alternatives: state.alternatives(),
            slot: fence as u32,
            generation: (fence >> 32) as u32,
            value,
            record: index,
            state: state.0,
        };
        (self.state() == state).then_some(snapshot)
    }
}

impl WaitTable {
    /// What the records say now.
    pub(crate) fn read(&self) -> impl Iterator<Item = RecordSnapshot> {
        self.records.iter().enumerate().filter_map(|(index, record)| record.read(index))
    }

    /// The number of records that are wanted now and were dropped.
    pub(crate) fn dropped(&self) -> u32 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Writes a record about the fence of a slot. `None` if the table is full of records of which
    /// `says_nothing` holds for none. Async-signal-safe.
    pub(crate) fn write(
        &self,
        participant: Participant,
        fence: (u32, Generation),
        contents: RecordContents,
        says_nothing: impl Fn(&RecordSnapshot) -> bool,
    ) -> Option<RecordKey> {
        let (index, record) = self.take(participant, says_nothing)?;
        Some(RecordKey { index, state: record.fill(participant, fence, contents) })
    }

    /// Takes a free record, or else one that says nothing.
    fn take(
        &self,
        participant: Participant,
        says_nothing: impl Fn(&RecordSnapshot) -> bool,
    ) -> Option<(usize, &Record)> {
        // Participants begin their search at different records.
        let start = participant.serial() as usize;
        self.find(start, |_, record| record.try_take_free(participant)).or_else(|| {
            self.find(start, |index, record| {
                record.try_take_over(index, participant, &says_nothing)
            })
        })
    }

    /// Finds a record, from one on. A function of its own: each search needs stack.
    #[inline(never)]
    fn find(
        &self,
        start: usize,
        mut is_it: impl FnMut(usize, &Record) -> bool,
    ) -> Option<(usize, &Record)> {
        let all = (0..RECORDS).map(|step| start.wrapping_add(step) % RECORDS);
        all.filter_map(|index| Some((index, self.records.get(index)?)))
            .find(|(index, record)| is_it(*index, record))
    }

    /// If the table is full, makes the records free whose participant `is_dead`.
    pub(crate) fn release_dead(&self, is_dead: impl Fn(Participant) -> bool) {
        if self.records.iter().any(Record::is_free) {
            return;
        }
        for record in &self.records {
            let state = record.state();
            let participant = record.participant(state);
            if is_dead(participant) {
                record.try_end(state, participant.to_shared(), 0);
            }
        }
    }

    /// Raises the value of a record. A value that is not further changes nothing. False if the
    /// record was taken over.
    pub(crate) fn raise(
        &self,
        key: RecordKey,
        participant: Participant,
        width: Width,
        value: u64,
    ) -> bool {
        let record = self.records.get(key.index);
        let record = record.filter(|record| record.is_still(participant, key.state));
        let further = |old| width.is_before(old, value).then_some(value);
        record.is_some_and(|record| {
            let _ = record.value.fetch_update(Ordering::Release, Ordering::Relaxed, further);
            true
        })
    }

    /// Makes a record free.
    pub(crate) fn release(&self, key: RecordKey, participant: Participant) {
        if let Some(record) = self.records.get(key.index) {
            record.release(participant, key.state);
        }
    }

    /// Counts a record as dropped, until [`WaitTable::release_dropped`].
    pub(crate) fn count_dropped(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// A record that was dropped is not wanted any more, or found room.
    pub(crate) fn release_dropped(&self) {
        let fewer = |dropped: u32| dropped.checked_sub(1);
        let _ = self.dropped.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer);
    }

    #[cfg(modeled)]
    pub(crate) fn new() -> WaitTable {
        let word = || AtomicU64::new(0);
        let record =
            |_| Record { participant: word(), state: word(), fence: word(), value: word() };
        let reserved = std::array::from_fn(|_| AtomicU32::new(0));
        WaitTable { dropped: AtomicU32::new(0), reserved, records: std::array::from_fn(record) }
    }
}

const _: () = assert!(size_of::<WaitTable>() == 1920 && size_of::<Record>() == 32);

/// What a peer can do to the table, for tests.
#[cfg(all(test, not(modeled)))]
impl WaitTable {
    /// Makes every record look like one that `participant` wrote about a fence.
    pub(crate) fn forge_all(
        &self,
        participant: Participant,
        (slot, generation): (u32, Generation),
        contents: RecordContents,
    ) {
        let state = State(0).next(participant.namespace(), contents.role, 1);
        self.garble_all(participant.to_shared(), state.0);
        for record in &self.records {
            let fence = u64::from(generation.recorded()) << 32 | u64::from(slot);
            record.fence.store(fence, Ordering::Relaxed);
            record.value.store(contents.value, Ordering::Relaxed);
        }
    }

    /// Writes the two words that say whose every record is.
    pub(crate) fn garble_all(&self, participant: u64, state: u64) {
        for record in &self.records {
            record.participant.store(participant, Ordering::Relaxed);
            record.state.store(state, Ordering::Relaxed);
        }
    }

    /// Takes a record and dies before it is written.
    pub(crate) fn take_and_die(&self, participant: Participant) -> bool {
        self.take(participant, |_| true).is_some()
    }

    /// Reads one record, with something happening in the middle.
    pub(crate) fn read_while(&self, index: usize, event: impl FnOnce()) -> Option<RecordSnapshot> {
        self.records.get(index)?.read_while(index, event)
    }
}
