//! The wait-for graph: what the ledgers of all pages of this process say, checked against the
//! fences.
//!
//! The ledgers are read twice, and a wait counts if it stood both times: then all of them stood at
//! once, in between. A promise counts if it was there either time. So no deadlock is made up of
//! notes that were never there together, whatever goes on meanwhile. A deadlock that is there
//! stays, and is found.

use super::deadlock::{self, Fate, Verdict, Wait};
use crate::error::{Error, Result};
use crate::fence::Fence;
use crate::shm::generation::Generation;
use crate::shm::page::{Page, SlotHandle};
use crate::shm::participant::{Participant, ParticipantKind};
use crate::shm::residue::Width;
use crate::shm::wait_table::{RecordSnapshot, Role};
use crate::sys::memfd::FileId;
use crate::sys::process::{self, Name};
use crate::util::refs::Ref;

/// A fence that somebody waits for or promised to signal.
pub(crate) struct Subject {
    key: Key,
    pub(crate) value: u64,
    pub(crate) pending: u64,
    width: Width,
    /// Whether any entry is about it.
    pub(crate) is_mentioned: bool,
}

/// Page, slot, and which of the slot's fences.
type Key = (FileId, u32, u32);

impl Subject {
    /// The fence, as it is now. `None` if it ended or failed, or never was: nobody waits for it any
    /// longer.
    fn look(page: &Ref<Page>, told: &RecordSnapshot) -> Option<Subject> {
        let place = SlotHandle::new(page, told.slot).ok()?;
        if place.slot().generation() != Some(told.generation)
            || place.slot().error(told.generation) != Ok(None)
        {
            return None;
        }
        let value = value(page, told, &place)?;
        let pending = place.slot().pending(told.generation).ok()?;
        let (key, width) = (key(page, told.slot, told.generation), told.generation.width());
        Some(Subject { key, value, pending, width, is_mentioned: false })
    }

    /// The inode number of the page's memfd, and the slot.
    pub(crate) fn name(&self) -> (u64, u32) {
        (self.key.0.1, self.key.1)
    }

    pub(crate) fn is_pending(&self, value: u64) -> bool {
        !self.width.is_before(self.pending, value)
    }
}

/// What a fence has reached. Of one whose value is not in the page only who opened it knows, and of
/// others it is where it began.
fn value(page: &Page, told: &RecordSnapshot, place: &SlotHandle) -> Option<u64> {
    match Fence::find_open(page, told.slot) {
        Some(fence)
            if told.generation.has_external_value() && fence.is_generation(told.generation) =>
        {
            Some(fence.value())
        }
        _ => place.slot().value(told.generation).ok(),
    }
}

fn key(page: &Page, index: u32, generation: Generation) -> Key {
    (page.id(), index, generation.to_shared())
}

/// Somebody who waits or promised.
pub(crate) struct Who {
    pub(crate) owner: Participant,
    pub(crate) name: Option<Name>,
    pub(crate) is_gone: bool,
    /// Whether any entry is his.
    pub(crate) is_mentioned: bool,
}

/// A note about a fence that has not reached the value. `who` and `subject` are numbers in the
/// lists of the graph.
pub(crate) struct Entry {
    pub(crate) who: usize,
    pub(crate) subject: usize,
    pub(crate) value: u64,
    pub(crate) role: Role,
    pub(crate) of: u8,
    /// For a wait: work that will end it was submitted, by somebody who left no note.
    pub(crate) is_open: bool,
    /// Which use of which record.
    at: (usize, u64),
}

/// All of it, in an order that depends on nothing but what is there.
pub(crate) struct Graph {
    pub(crate) pages: usize,
    /// Notes that found no room.
    pub(crate) lost: u64,
    pub(crate) owners: Vec<Who>,
    pub(crate) subjects: Vec<Subject>,
    pub(crate) waits: Vec<Entry>,
    pub(crate) promises: Vec<Entry>,
    /// (number of a wait, number of a promise to end it), sorted.
    pub(crate) edges: Vec<(usize, usize)>,
    /// The numbers of the waits, those of the worst fates first.
    pub(crate) worst_first: Vec<usize>,
    pub(crate) verdict: Verdict,
}

/// A note, and the number of the page that it stands in.
type Noted = (usize, RecordSnapshot);

impl Graph {
    pub(super) fn collect() -> Result<Graph> {
        Graph::of_pages(Page::all()?)
    }

    fn of_pages(mut pages: Vec<Ref<Page>>) -> Result<Graph> {
        pages.sort_unstable_by_key(|page| page.id());
        let notes = notes(read(&pages)?, read(&pages)?)?;
        let subjects = subjects(&pages, &notes)?;
        let owners = owners(&notes)?;
        let (mut waits, mut promises) = (Vec::new(), Vec::new());
        for (page, told) in &notes {
            let (Some(page), Ok(who)) =
                (pages.get(*page), owners.binary_search_by_key(&told.participant, |who| who.owner))
            else {
                continue;
            };
            let key = key(page, told.slot, told.generation);
            // Of a fence that is over, or one that never was, there is nothing to say.
            let Ok(subject) = subjects.binary_search_by_key(&key, |subject| subject.key) else {
                continue;
            };
            let RecordSnapshot { role, alternatives: of, value, record: at, state, .. } = *told;
            let entry = Entry { who, subject, value, role, of, is_open: false, at: (at, state) };
            push(if role == Role::Signal { &mut promises } else { &mut waits }, entry)?;
        }
        let lost = pages.iter().map(|page| u64::from(page.wait_table().dropped())).sum();
        Graph::of(pages.len(), lost, owners, subjects, waits, promises)
    }

    fn of(
        pages: usize,
        lost: u64,
        mut owners: Vec<Who>,
        mut subjects: Vec<Subject>,
        mut waits: Vec<Entry>,
        mut promises: Vec<Entry>,
    ) -> Result<Graph> {
        let subject = |entry: &Entry| subjects.get(entry.subject);
        let is_ahead = |entry: &Entry| {
            subject(entry).is_some_and(|now| now.width.is_before(now.value, entry.value))
        };
        // A note that is met is about to be taken away.
        promises.retain(is_ahead);
        waits.retain(|wait| {
            is_ahead(wait)
                && owners.get(wait.who).is_some_and(|who| !who.is_gone)
                && !(wait.role == Role::WaitPending
                    && subject(wait).is_some_and(|now| now.is_pending(wait.value)))
        });
        waits.sort_unstable_by_key(|wait| (wait.who, wait.subject, wait.value, wait.at));
        promises.sort_unstable_by_key(|promise| {
            (promise.subject, promise.who, promise.value, promise.at)
        });
        let mut edges = Vec::new();
        for (number, wait) in waits.iter_mut().enumerate() {
            if let Some(now) = subjects.get(wait.subject) {
                connect((number, wait), now, &promises, &mut edges)?;
            }
        }
        let verdict = judge(&owners, &waits, &promises, &edges)?;
        for entry in waits.iter().chain(&promises) {
            owners.get_mut(entry.who).into_iter().for_each(|who| who.is_mentioned = true);
            subjects
                .get_mut(entry.subject)
                .into_iter()
                .for_each(|subject| subject.is_mentioned = true);
        }
        let mut graph = Graph {
            pages,
            lost,
            owners,
            subjects,
            waits,
            promises,
            edges,
            worst_first: Vec::new(),
            verdict,
        };
        graph.worst_first.try_reserve_exact(graph.waits.len()).map_err(|_| Error::NoMemory)?;
        graph.worst_first.extend(0..graph.waits.len());
        let Graph { worst_first, waits, verdict, .. } = &mut graph;
        let fate =
            |number: usize| waits.get(number).and_then(|wait| verdict.fates.get(wait.who)).copied();
        worst_first.sort_unstable_by_key(|number| (fate(*number), *number));
        Ok(graph)
    }

    pub(crate) fn fate(&self, who: usize) -> Fate {
        self.verdict.fates.get(who).copied().unwrap_or(Fate::Free)
    }

    /// What tells the deadlock that an owner is part of from any other; `None` if he is not.
    pub(super) fn circle_of(&self, owner: Participant) -> Option<u64> {
        let who = self.owners.binary_search_by_key(&owner, |who| who.owner).ok()?;
        let fate @ Fate::Deadlocked(_) = self.fate(who) else { return None };
        let members = self.waits.iter().filter(|wait| self.fate(wait.who) == fate);
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

/// The notes that count, of two reads: see above.
fn notes(first: Vec<Noted>, mut notes: Vec<Noted>) -> Result<Vec<Noted>> {
    let use_of = |noted: &Noted| (noted.0, noted.1.record, noted.1.state);
    notes.retain(|noted| {
        noted.1.role == Role::Signal || first.binary_search_by_key(&use_of(noted), use_of).is_ok()
    });
    let again = notes.len();
    for noted in first.into_iter().filter(|noted| noted.1.role == Role::Signal) {
        let is_known = notes
            .get(..again)
            .is_some_and(|known| known.binary_search_by_key(&use_of(&noted), use_of).is_ok());
        if !is_known {
            push(&mut notes, noted)?;
        }
    }
    Ok(notes)
}

/// What the ledgers say now: sorted by page and record.
fn read(pages: &[Ref<Page>]) -> Result<Vec<Noted>> {
    let mut notes = Vec::new();
    for (number, page) in pages.iter().enumerate() {
        for told in page.wait_table().read() {
            push(&mut notes, (number, told))?;
        }
    }
    Ok(notes)
}

/// The fences that the notes are about, each looked at once.
fn subjects(pages: &[Ref<Page>], notes: &[Noted]) -> Result<Vec<Subject>> {
    let mut subjects: Vec<Subject> = Vec::new();
    for (page, told) in notes {
        if let Some(subject) = pages.get(*page).and_then(|page| Subject::look(page, told)) {
            push(&mut subjects, subject)?;
        }
    }
    // Of several looks at one fence, the last.
    subjects.sort_unstable_by_key(|subject| {
        (subject.key, std::cmp::Reverse((subject.value, subject.pending)))
    });
    subjects.dedup_by_key(|subject| subject.key);
    Ok(subjects)
}

/// Whose the notes are.
fn owners(notes: &[Noted]) -> Result<Vec<Who>> {
    let mut owners: Vec<Who> = Vec::new();
    for (_, told) in notes {
        push(
            &mut owners,
            Who { owner: told.participant, name: None, is_gone: false, is_mentioned: false },
        )?;
    }
    owners.sort_unstable_by_key(|who| who.owner);
    owners.dedup_by_key(|who| who.owner);
    let mut known: Option<(u32, u32, Option<Name>, bool)> = None;
    for who in &mut owners {
        let (namespace, pid) = (who.owner.namespace(), who.owner.pid());
        let (name, is_gone) = match known {
            Some((its_namespace, its_pid, name, is_gone))
                if (its_namespace, its_pid) == (namespace, pid) =>
            {
                (name, is_gone)
            }
            _ if process::is_own_namespace(namespace) => {
                let (name, runs) = process::look_up(pid);
                (name, !runs)
            }
            _ => (None, false),
        };
        known = Some((namespace, pid, name, is_gone));
        (who.name, who.is_gone) = (name, is_gone);
    }
    Ok(owners)
}

/// Finds the promises to end a wait, and whether somebody submitted work who left no promise.
fn connect(
    (number, wait): (usize, &mut Entry),
    now: &Subject,
    promises: &[Entry],
    edges: &mut Vec<(usize, usize)>,
) -> Result<()> {
    // What is pending beyond all promises was submitted by somebody else.
    let mut unaccounted = now.is_pending(wait.value);
    let first = promises.partition_point(|promise| promise.subject < wait.subject);
    let about_it = promises
        .iter()
        .enumerate()
        .skip(first)
        .take_while(|(_, promise)| promise.subject == wait.subject);
    for (at, promise) in about_it {
        unaccounted &= now.width.is_before(promise.value, now.pending);
        if wait.role == Role::Wait && !now.width.is_before(promise.value, wait.value) {
            push(edges, (number, at))?;
        }
    }
    // Who waits for a submission is freed by that alone, and anybody may submit.
    wait.is_open = unaccounted || wait.role == Role::WaitPending;
    Ok(())
}

/// Work that a queue has started waits for nothing, so its owner is free. The promises of those who
/// are gone end no wait.
fn judge(
    owners: &[Who],
    waits: &[Entry],
    promises: &[Entry],
    edges: &[(usize, usize)],
) -> Result<Verdict> {
    let mut list = Vec::new();
    for Entry { who, of, is_open, .. } in waits {
        let works =
            owners.get(*who).is_some_and(|who| who.owner.kind() == Some(ParticipantKind::Work));
        push(&mut list, Wait { owner: *who, of: *of, open: *is_open || works })?;
    }
    let mut promisers = Vec::new();
    for (wait, promise) in edges {
        let who = promises.get(*promise).map_or(usize::MAX, |promise| promise.who);
        if owners.get(who).is_some_and(|who| !who.is_gone) {
            push(&mut promisers, (*wait, who))?;
        }
    }
    promisers.sort_unstable();
    promisers.dedup();
    deadlock::judge(owners.len(), &list, &promisers)
}

#[cfg(test)]
#[path = "graph_tests.rs"]
mod tests;
