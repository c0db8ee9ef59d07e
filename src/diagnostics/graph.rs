// SPDX-License-Identifier: MIT
//! The wait-for graph: the wait tables of all pages of this process, checked against the fences.
//!
//! Each table is read twice. A wait counts if both reads have it: then all waits existed at one
//! time between the reads. A promise counts if either read has it. So no deadlock is reported of
//! waits that never existed together, whatever changes meanwhile. A real deadlock does not change,
//! and is found.

use super::deadlock::{self, Deadlocks, Status, Wait};
use crate::error::{Error, Result};
use crate::fence::Fence;
use crate::shm::generation::Generation;
use crate::shm::names::{self, Named};
use crate::shm::page::{Page, SlotHandle};
use crate::shm::participant::{Participant, ParticipantKind};
use crate::shm::residue::Width;
use crate::shm::wait_table::{RecordSnapshot, Role};
use crate::sys::memfd::FileId;
use crate::sys::process::{self, Name};
use crate::util::refs::Ref;

/// A fence that a participant waits for or promised to signal.
pub(crate) struct FenceNode {
    key: Key,
    pub(crate) value: u64,
    pub(crate) pending: u64,
    width: Width,
    /// Whether its values have no order: then no value is past what a record says.
    is_unordered: bool,
    pub(crate) name: Option<names::Name>,
    /// Whether any record of the graph is about it.
    pub(crate) is_mentioned: bool,
}

/// The page, the slot, and which of the slot's fences, as far as a record says that.
type Key = (FileId, u32, u32);

impl FenceNode {
    /// Reads the fence of a record. Returns `None` if it was destroyed, has failed or never
    /// existed: nothing waits for it any longer.
    fn read(page: &Ref<Page>, snapshot: &RecordSnapshot) -> Option<FenceNode> {
        let handle = SlotHandle::new(page, snapshot.slot).ok()?;
        let generation = handle.slot().generation()?;
        if generation.recorded() != snapshot.generation
            || handle.slot().error(generation) != Ok(None)
        {
            return None;
        }
        let value = readable_value(page, &handle, generation)?;
        let pending = handle.slot().pending(generation).ok()?;
        let (key, width) = (key(page, snapshot), generation.width());
        let name = page.name_of(Named::Fence(snapshot.slot, generation));
        let is_unordered = generation.is_unordered();
        Some(FenceNode { key, value, pending, width, name, is_unordered, is_mentioned: false })
    }

    /// Returns the inode number of the page's memfd, and the slot.
    pub(crate) fn place(&self) -> (u64, u32) {
        (self.key.0.1, self.key.1)
    }

    pub(crate) fn is_pending(&self, value: u64) -> bool {
        !self.width.is_before(self.pending, value)
    }
}

/// Returns the value of a fence. If the value is in external memory, only a handle that this
/// process has open can read it. Without one, the initial value is returned.
pub(super) fn readable_value(
    page: &Page,
    handle: &SlotHandle,
    generation: Generation,
) -> Option<u64> {
    match Fence::find_open(page, handle.index()) {
        Some(fence) if generation.has_external_value() && fence.is_generation(generation) => {
            Some(fence.value())
        }
        _ => handle.slot().value(generation).ok(),
    }
}

fn key(page: &Page, snapshot: &RecordSnapshot) -> Key {
    (page.id(), snapshot.slot, snapshot.generation)
}

/// A participant that waits or promised to signal.
pub(crate) struct ParticipantNode {
    pub(crate) participant: Participant,
    pub(crate) name: Option<Name>,
    pub(crate) is_dead: bool,
    /// Whether any record of the graph is its own.
    pub(crate) is_mentioned: bool,
}

/// A wait, or a promise to signal, for a value that the fence has not reached.
pub(crate) struct Record {
    /// The index of the participant in the graph, as below that of the fence.
    pub(crate) participant: usize,
    pub(crate) fence: usize,
    pub(crate) value: u64,
    pub(crate) role: Role,
    /// The number of alternatives, of which this wait is one. 1 if it is required.
    pub(crate) alternatives: u8,
    /// For a wait: a signaler that has no record may end it, since it has submitted work.
    pub(crate) may_end_outside: bool,
    /// Identifies the record, and which use of it.
    at: (usize, u64),
}

/// The graph, in an order that depends on its contents alone.
pub(crate) struct Graph {
    pub(crate) pages: usize,
    /// How many records were dropped because a wait table was full.
    pub(crate) dropped: u64,
    pub(crate) participants: Vec<ParticipantNode>,
    pub(crate) fences: Vec<FenceNode>,
    pub(crate) waits: Vec<Record>,
    pub(crate) promises: Vec<Record>,
    /// (number of a wait, number of a promise to end it), sorted.
    pub(crate) edges: Vec<(usize, usize)>,
    /// The numbers of the waits, those of the worst status first.
    pub(crate) worst_first: Vec<usize>,
    pub(crate) deadlocks: Deadlocks,
}

/// A record, and the number of the page whose wait table has it.
type PageRecord = (usize, RecordSnapshot);

impl Graph {
    pub(super) fn collect() -> Result<Graph> {
        Graph::of_pages(Page::all()?)
    }

    fn of_pages(mut pages: Vec<Ref<Page>>) -> Result<Graph> {
        pages.sort_unstable_by_key(|page| page.id());
        let records = merge(read(&pages)?, read(&pages)?)?;
        let fences = fences(&pages, &records)?;
        let participants = participants(&records)?;
        let (mut waits, mut promises) = (Vec::new(), Vec::new());
        for (page, snapshot) in &records {
            let (Some(page), Ok(participant)) = (
                pages.get(*page),
                participants.binary_search_by_key(&snapshot.participant, |node| node.participant),
            ) else {
                continue;
            };
            let key = key(page, snapshot);
            // The fence was destroyed, has failed or never existed.
            let Ok(fence) = fences.binary_search_by_key(&key, |fence| fence.key) else {
                continue;
            };
            let RecordSnapshot { role, alternatives, value, record: at, state, .. } = *snapshot;
            let record = Record {
                participant,
                fence,
                value,
                role,
                alternatives,
                may_end_outside: false,
                at: (at, state),
            };
            push(if role == Role::Signal { &mut promises } else { &mut waits }, record)?;
        }
        let dropped = pages.iter().map(|page| u64::from(page.wait_table().dropped())).sum();
        Graph::of(pages.len(), dropped, participants, fences, waits, promises)
    }

    fn of(
        pages: usize,
        dropped: u64,
        mut participants: Vec<ParticipantNode>,
        mut fences: Vec<FenceNode>,
        mut waits: Vec<Record>,
        mut promises: Vec<Record>,
    ) -> Result<Graph> {
        let fence = |record: &Record| fences.get(record.fence);
        let is_ahead = |record: &Record| {
            fence(record)
                .is_some_and(|now| now.is_unordered || now.width.is_before(now.value, record.value))
        };
        // A record whose value is reached is about to be removed.
        promises.retain(is_ahead);
        waits.retain(|wait| {
            is_ahead(wait)
                && participants.get(wait.participant).is_some_and(|node| !node.is_dead)
                && !(wait.role == Role::WaitPending
                    && fence(wait).is_some_and(|now| now.is_pending(wait.value)))
        });
        waits.sort_unstable_by_key(|wait| (wait.participant, wait.fence, wait.value, wait.at));
        promises.sort_unstable_by_key(|promise| {
            (promise.fence, promise.participant, promise.value, promise.at)
        });
        let mut edges = Vec::new();
        for (number, wait) in waits.iter_mut().enumerate() {
            if let Some(now) = fences.get(wait.fence) {
                connect((number, wait), now, &promises, &mut edges)?;
            }
        }
        let deadlocks = find_deadlocks(&participants, &waits, &promises, &edges)?;
        for record in waits.iter().chain(&promises) {
            participants
                .get_mut(record.participant)
                .into_iter()
                .for_each(|node| node.is_mentioned = true);
            fences.get_mut(record.fence).into_iter().for_each(|fence| fence.is_mentioned = true);
        }
        let mut graph = Graph {
            pages,
            dropped,
            participants,
            fences,
            waits,
            promises,
            edges,
            worst_first: Vec::new(),
            deadlocks,
        };
        graph.worst_first.try_reserve_exact(graph.waits.len()).map_err(|_| Error::NoMemory)?;
        graph.worst_first.extend(0..graph.waits.len());
        let Graph { worst_first, waits, deadlocks, .. } = &mut graph;
        let status = |number: usize| {
            waits.get(number).and_then(|wait| deadlocks.statuses.get(wait.participant)).copied()
        };
        worst_first.sort_unstable_by_key(|number| (status(*number), *number));
        Ok(graph)
    }

    pub(crate) fn status(&self, participant: usize) -> Status {
        self.deadlocks.statuses.get(participant).copied().unwrap_or(Status::Unblocked)
    }

    /// Returns a number that identifies the deadlock that a participant is part of, if any.
    pub(super) fn deadlock_id(&self, participant: Participant) -> Option<u64> {
        let index =
            self.participants.binary_search_by_key(&participant, |node| node.participant).ok()?;
        let status @ Status::Deadlocked(_) = self.status(index) else { return None };
        let members = self.waits.iter().filter(|wait| self.status(wait.participant) == status);
        // FNV-1a, by words.
        let mix = |hash: u64, word: u64| (hash ^ word).wrapping_mul(0x100_0000_01b3);
        Some(
            members.fold(0xcbf2_9ce4_8422_2325, |hash, wait| {
                mix(mix(hash, wait.at.0 as u64), wait.at.1)
            }) | 1,
        )
    }
}

fn push<T>(list: &mut Vec<T>, item: T) -> Result<()> {
    list.try_reserve(1).map_err(|_| Error::NoMemory)?;
    list.push(item);
    Ok(())
}

/// Returns the records that count, of two reads: see above.
fn merge(first: Vec<PageRecord>, mut records: Vec<PageRecord>) -> Result<Vec<PageRecord>> {
    let use_of = |record: &PageRecord| (record.0, record.1.record, record.1.state);
    records.retain(|record| {
        record.1.role == Role::Signal || first.binary_search_by_key(&use_of(record), use_of).is_ok()
    });
    let again = records.len();
    for record in first.into_iter().filter(|record| record.1.role == Role::Signal) {
        let is_known = records
            .get(..again)
            .is_some_and(|known| known.binary_search_by_key(&use_of(&record), use_of).is_ok());
        if !is_known {
            push(&mut records, record)?;
        }
    }
    Ok(records)
}

/// Reads the wait tables once: sorted by page and record.
fn read(pages: &[Ref<Page>]) -> Result<Vec<PageRecord>> {
    let mut records = Vec::new();
    for (number, page) in pages.iter().enumerate() {
        for snapshot in page.wait_table().read() {
            push(&mut records, (number, snapshot))?;
        }
    }
    Ok(records)
}

/// Returns the fences that the records are about, sorted by key.
fn fences(pages: &[Ref<Page>], records: &[PageRecord]) -> Result<Vec<FenceNode>> {
    let mut fences: Vec<FenceNode> = Vec::new();
    for (page, snapshot) in records {
        if let Some(fence) = pages.get(*page).and_then(|page| FenceNode::read(page, snapshot)) {
            push(&mut fences, fence)?;
        }
    }
    // Of several reads of one fence, the one with the highest value.
    fences
        .sort_unstable_by_key(|fence| (fence.key, std::cmp::Reverse((fence.value, fence.pending))));
    fences.dedup_by_key(|fence| fence.key);
    Ok(fences)
}

/// Returns the participants that the records are of, sorted.
fn participants(records: &[PageRecord]) -> Result<Vec<ParticipantNode>> {
    let mut participants: Vec<ParticipantNode> = Vec::new();
    for (_, snapshot) in records {
        push(
            &mut participants,
            ParticipantNode {
                participant: snapshot.participant,
                name: None,
                is_dead: false,
                is_mentioned: false,
            },
        )?;
    }
    participants.sort_unstable_by_key(|node| node.participant);
    participants.dedup_by_key(|node| node.participant);
    let mut known: Option<(u32, u32, Option<Name>, bool)> = None;
    for node in &mut participants {
        let (namespace, pid) = (node.participant.namespace(), node.participant.pid());
        let (name, is_dead) = match known {
            Some((known_namespace, known_pid, name, is_dead))
                if (known_namespace, known_pid) == (namespace, pid) =>
            {
                (name, is_dead)
            }
            _ if process::is_own_namespace(namespace) => {
                let (name, runs) = process::look_up(pid);
                (name, !runs)
            }
            _ => (None, false),
        };
        known = Some((namespace, pid, name, is_dead));
        (node.name, node.is_dead) = (name, is_dead);
    }
    Ok(participants)
}

/// Finds the promises to end a wait, and whether a signaler without a promise has submitted work.
fn connect(
    (number, wait): (usize, &mut Record),
    now: &FenceNode,
    promises: &[Record],
    edges: &mut Vec<(usize, usize)>,
) -> Result<()> {
    // A pending value above all promises was submitted by a signaler without a record.
    let mut unaccounted = now.is_pending(wait.value);
    let first = promises.partition_point(|promise| promise.fence < wait.fence);
    let about_it = promises
        .iter()
        .enumerate()
        .skip(first)
        .take_while(|(_, promise)| promise.fence == wait.fence);
    for (at, promise) in about_it {
        unaccounted &= now.width.is_before(promise.value, now.pending);
        if wait.role == Role::Wait && !now.width.is_before(promise.value, wait.value) {
            push(edges, (number, at))?;
        }
    }
    // A wait for a submission ends with one, and any process may submit. Any process may store a
    // value without order.
    wait.may_end_outside = unaccounted || wait.role == Role::WaitPending || now.is_unordered;
    Ok(())
}

/// Finds the deadlocks. Work that a queue has started waits for nothing, so its participant is not
/// blocked. The promises of dead participants end no wait.
fn find_deadlocks(
    participants: &[ParticipantNode],
    waits: &[Record],
    promises: &[Record],
    edges: &[(usize, usize)],
) -> Result<Deadlocks> {
    let mut list = Vec::new();
    for Record { participant, alternatives, may_end_outside, .. } in waits {
        let works = participants
            .get(*participant)
            .is_some_and(|node| node.participant.kind() == Some(ParticipantKind::Work));
        push(
            &mut list,
            Wait {
                participant: *participant,
                alternatives: *alternatives,
                may_end_outside: *may_end_outside || works,
            },
        )?;
    }
    let mut signalers = Vec::new();
    for (wait, promise) in edges {
        let participant = promises.get(*promise).map_or(usize::MAX, |promise| promise.participant);
        if participants.get(participant).is_some_and(|node| !node.is_dead) {
            push(&mut signalers, (*wait, participant))?;
        }
    }
    signalers.sort_unstable();
    signalers.dedup();
    deadlock::find_deadlocks(participants.len(), &list, &signalers)
}

#[cfg(test)]
#[cfg(not(modeled))]
#[path = "graph_tests.rs"]
mod tests;
