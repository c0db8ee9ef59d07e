// SPDX-License-Identifier: MIT
//! Finds the participants that can never continue, because all that could end their wait cannot
//! either.
//!
//! A participant is *blocked* if one of its required waits is blocked, or if all alternatives of a
//! wait for any of several are. A wait is *blocked* if at least one participant promised to end it,
//! and all that did are blocked. A wait that nobody promised to end is not blocked:
//! wait-before-signal is how these fences are used. Neither is one that a signaler outside of the
//! graph may end.
//!
//! Start by assuming that every participant with a promised wait is blocked. Then repeatedly
//! release those that are not, until nothing changes. The participants that are left wait in
//! circles, or for those that do. The circles are the strongly connected components among them
//! (Tarjan's algorithm). All of it takes time in proportion to the edges, up to sorting: peers
//! write the records, and may write a bad case.

use crate::error::{Error, Result};

/// A wait of a participant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Wait {
    /// The number of the participant.
    pub(crate) participant: usize,
    /// The number of alternatives, of which this is one. 1 if the wait is required.
    pub(crate) alternatives: u8,
    /// Whether a signaler outside of the graph may end it.
    pub(crate) may_end_outside: bool,
}

/// What is known of a participant. The worst comes first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Status {
    /// It is part of this deadlock. Deadlocks are numbered from 0, in the order of their least
    /// participants.
    Deadlocked(u32),
    /// It waits for a deadlock, and does not belong to it.
    Behind,
    /// It may continue, or does not wait.
    Unblocked,
}

/// The result.
pub(crate) struct Deadlocks {
    /// The status of each participant.
    pub(crate) statuses: Vec<Status>,
    /// The number of deadlocks.
    pub(crate) count: u32,
}

/// Finds the deadlocks among `participants` participants, numbered from 0. An edge is (number of a
/// wait, number of a participant that promised to end it). Edges are sorted.
pub(crate) fn find_deadlocks(
    participants: usize,
    waits: &[Wait],
    edges: &[(usize, usize)],
) -> Result<Deadlocks> {
    let mut blocked = BlockedSet::assume_blocked(participants, waits, edges)?;
    blocked.propagate_unblocked(waits, edges)?;
    let arcs = blocked.arcs(waits, edges)?;
    let components = Components::of(participants, &arcs)?;
    components.deadlocks(&arcs)
}

fn filled<T: Clone>(count: usize, with: T) -> Result<Vec<T>> {
    let mut list = Vec::new();
    list.try_reserve_exact(count).map_err(|_| Error::NoMemory)?;
    list.resize(count, with);
    Ok(list)
}

/// The waits of a participant, and how many of them are blocked.
#[derive(Clone, Copy, Default)]
struct BlockedCounts {
    /// Required waits that are blocked.
    required: u32,
    /// Alternatives that were recorded, those of them that are blocked, and how many there are.
    recorded_alternatives: u32,
    blocked_alternatives: u32,
    alternatives: u32,
}

impl BlockedCounts {
    fn is_blocked(&self) -> bool {
        let no_alternative = self.alternatives > 0
            && self.recorded_alternatives >= self.alternatives
            && self.blocked_alternatives == self.recorded_alternatives;
        self.required > 0 || no_alternative
    }
}

struct BlockedSet {
    participants: Vec<BlockedCounts>,
    /// Whether each wait is blocked.
    waits: Vec<bool>,
}

impl BlockedSet {
    /// The initial assumption: each wait is blocked that a participant promised to end and that no
    /// signaler outside may end.
    fn assume_blocked(
        participants: usize,
        waits: &[Wait],
        edges: &[(usize, usize)],
    ) -> Result<BlockedSet> {
        let mut blocked = BlockedSet {
            participants: filled(participants, BlockedCounts::default())?,
            waits: filled(waits.len(), false)?,
        };
        for (wait, _) in edges {
            if let (Some(is_blocked), Some(wait)) = (blocked.waits.get_mut(*wait), waits.get(*wait))
            {
                *is_blocked = !wait.may_end_outside;
            }
        }
        for (wait, is_blocked) in waits.iter().zip(&blocked.waits) {
            let Some(counts) = blocked.participants.get_mut(wait.participant) else { continue };
            if wait.alternatives > 1 {
                counts.recorded_alternatives += 1;
                counts.blocked_alternatives += u32::from(*is_blocked);
                counts.alternatives = counts.alternatives.max(wait.alternatives.into());
            } else {
                counts.required += u32::from(*is_blocked);
            }
        }
        Ok(blocked)
    }

    fn is_blocked(&self, participant: usize) -> bool {
        self.participants.get(participant).is_some_and(BlockedCounts::is_blocked)
    }

    /// Unblocks the waits that an unblocked participant promised to end, and then their
    /// participants.
    fn propagate_unblocked(&mut self, waits: &[Wait], edges: &[(usize, usize)]) -> Result<()> {
        let mut promised = filled(edges.len(), (0, 0))?;
        for (promise, (wait, participant)) in promised.iter_mut().zip(edges) {
            *promise = (*participant, *wait);
        }
        promised.sort_unstable();
        let mut unblocked = Vec::new();
        // Each participant is pushed at most once.
        unblocked.try_reserve_exact(self.participants.len()).map_err(|_| Error::NoMemory)?;
        unblocked.extend(
            (0..self.participants.len()).filter(|participant| !self.is_blocked(*participant)),
        );
        while let Some(participant) = unblocked.pop() {
            let first = promised.partition_point(|promise| promise.0 < participant);
            for (_, wait) in
                promised.iter().skip(first).take_while(|promise| promise.0 == participant)
            {
                unblocked.extend(self.unblock_wait(*wait, waits));
            }
        }
        Ok(())
    }

    /// Unblocks a wait. Returns its participant if that unblocks it too.
    fn unblock_wait(&mut self, number: usize, waits: &[Wait]) -> Option<usize> {
        let wait = waits.get(number)?;
        if !std::mem::take(self.waits.get_mut(number)?) {
            return None;
        }
        let counts = self.participants.get_mut(wait.participant)?;
        let was_blocked = counts.is_blocked();
        let count = if wait.alternatives > 1 {
            &mut counts.blocked_alternatives
        } else {
            &mut counts.required
        };
        *count = count.saturating_sub(1);
        (was_blocked && !counts.is_blocked()).then_some(wait.participant)
    }

    /// Returns the arcs from each blocked participant to those that its blocked waits depend on,
    /// sorted.
    fn arcs(&self, waits: &[Wait], edges: &[(usize, usize)]) -> Result<Vec<(usize, usize)>> {
        let mut arcs = Vec::new();
        arcs.try_reserve_exact(edges.len()).map_err(|_| Error::NoMemory)?;
        for (number, signaler) in edges {
            let is_blocked = self.waits.get(*number).is_some_and(|is_blocked| *is_blocked);
            if let Some(wait) =
                waits.get(*number).filter(|wait| is_blocked && self.is_blocked(wait.participant))
            {
                arcs.push((wait.participant, *signaler));
            }
        }
        arcs.sort_unstable();
        arcs.dedup();
        Ok(arcs)
    }
}

/// Tarjan's marks on a participant.
#[derive(Clone, Copy)]
struct Mark {
    /// The order in which it was visited, from 1. 0 if it was not.
    index: usize,
    /// The least index that is known to be reachable from it.
    low_link: usize,
    /// The arc to follow next.
    next: usize,
    on_stack: bool,
    /// The least participant of its component.
    component: usize,
}

struct Components {
    marks: Vec<Mark>,
}

impl Components {
    fn of(participants: usize, arcs: &[(usize, usize)]) -> Result<Components> {
        let mark = Mark { index: 0, low_link: 0, next: 0, on_stack: false, component: usize::MAX };
        let mut components = Components { marks: filled(participants, mark)? };
        // The path from the root, and Tarjan's stack: those visited that are in no component yet.
        let (mut path, mut stack) = (Vec::new(), Vec::new());
        path.try_reserve_exact(participants).map_err(|_| Error::NoMemory)?;
        stack.try_reserve_exact(participants).map_err(|_| Error::NoMemory)?;
        let mut count = 0;
        for root in 0..participants {
            components.visit(root, &mut count, arcs, &mut path, &mut stack);
            while let Some(at) = path.last().copied() {
                match components.follow(at, arcs) {
                    Some(next) => components.visit(next, &mut count, arcs, &mut path, &mut stack),
                    None => {
                        path.pop();
                        components.finish(at, path.last().copied(), &mut stack);
                    }
                }
            }
        }
        Ok(components)
    }

    /// Visits a participant, unless it was visited before.
    fn visit(
        &mut self,
        participant: usize,
        count: &mut usize,
        arcs: &[(usize, usize)],
        path: &mut Vec<usize>,
        stack: &mut Vec<usize>,
    ) {
        if let Some(mark) = self.marks.get_mut(participant).filter(|mark| mark.index == 0) {
            *count += 1;
            let next = arcs.partition_point(|arc| arc.0 < participant);
            *mark = Mark {
                index: *count,
                low_link: *count,
                next,
                on_stack: true,
                component: usize::MAX,
            };
            path.push(participant);
            stack.push(participant);
        }
    }

    /// Follows the next arc of a participant. Returns where it leads.
    fn follow(&mut self, at: usize, arcs: &[(usize, usize)]) -> Option<usize> {
        let mark = self.marks.get_mut(at)?;
        let to = arcs.get(mark.next).filter(|arc| arc.0 == at)?.1;
        mark.next += 1;
        let reached =
            self.marks.get(to).filter(|mark| mark.on_stack).map_or(usize::MAX, |mark| mark.index);
        let mark = self.marks.get_mut(at)?;
        mark.low_link = mark.low_link.min(reached);
        Some(to)
    }

    /// Finishes a participant, all of whose arcs were followed. If no earlier one is reachable from
    /// it, those on the stack from it on are a component.
    fn finish(&mut self, at: usize, parent: Option<usize>, stack: &mut Vec<usize>) {
        let Some(Mark { index, low_link, .. }) = self.marks.get(at).copied() else { return };
        if let Some(mark) = parent.and_then(|parent| self.marks.get_mut(parent)) {
            mark.low_link = mark.low_link.min(low_link);
        }
        if low_link != index {
            return;
        }
        let first = stack.iter().rposition(|participant| *participant == at).unwrap_or(0);
        let least = stack.iter().skip(first).min().copied().unwrap_or(at);
        for participant in stack.drain(first..) {
            if let Some(mark) = self.marks.get_mut(participant) {
                (mark.on_stack, mark.component) = (false, least);
            }
        }
    }

    fn component(&self, participant: usize) -> Option<usize> {
        self.marks.get(participant).map(|mark| mark.component)
    }

    /// A component is a deadlock if an arc leads from it to itself. Any other participant with an
    /// arc waits for a deadlock.
    fn deadlocks(&self, arcs: &[(usize, usize)]) -> Result<Deadlocks> {
        let mut statuses = filled(self.marks.len(), Status::Unblocked)?;
        let mut cyclic = filled(self.marks.len(), false)?;
        for (from, to) in arcs {
            if let Some(status) = statuses.get_mut(*from) {
                *status = Status::Behind;
            }
            if self.component(*from) == self.component(*to) {
                if let Some(cyclic) =
                    self.component(*from).and_then(|component| cyclic.get_mut(component))
                {
                    *cyclic = true;
                }
            }
        }
        let mut count = 0;
        let mut numbers = filled(self.marks.len(), None)?;
        for (participant, status) in statuses.iter_mut().enumerate() {
            let component = self.component(participant).unwrap_or(participant);
            if cyclic.get(component) != Some(&true) {
                continue;
            }
            if let Some(number) = numbers.get_mut(component) {
                let known = *number.get_or_insert(count);
                count = count.max(known + 1);
                *status = Status::Deadlocked(known);
            }
        }
        Ok(Deadlocks { statuses, count })
    }
}

#[cfg(test)]
mod tests {
    use super::Status::{Behind, Deadlocked, Unblocked};
    use super::*;

    /// (the participant that waits, the number of alternatives, whether it may end outside, those
    /// that promised).
    type Row<'a> = (usize, u8, bool, &'a [usize]);

    fn statuses(participants: usize, rows: &[Row<'_>]) -> Vec<Status> {
        let waits: Vec<Wait> = rows
            .iter()
            .map(|(participant, alternatives, may_end_outside, _)| Wait {
                participant: *participant,
                alternatives: *alternatives,
                may_end_outside: *may_end_outside,
            })
            .collect();
        let edges: Vec<(usize, usize)> = rows
            .iter()
            .enumerate()
            .flat_map(|(wait, row)| row.3.iter().map(move |participant| (wait, *participant)))
            .collect();
        let deadlocks = find_deadlocks(participants, &waits, &edges)
            .unwrap_or(Deadlocks { statuses: Vec::new(), count: 0 });
        let most = deadlocks
            .statuses
            .iter()
            .filter_map(|status| if let Deadlocked(n) = status { Some(n + 1) } else { None })
            .max();
        assert_eq!(deadlocks.count, most.unwrap_or(0));
        deadlocks.statuses
    }

    /// A required wait that only `signalers` promised to end.
    fn chain(participant: usize, signalers: &[usize]) -> Row<'_> {
        (participant, 1, false, signalers)
    }

    #[test]
    fn two_or_three_that_wait_for_each_other_are_deadlocked() {
        assert_eq!(statuses(2, &[chain(0, &[1]), chain(1, &[0])]), [Deadlocked(0); 2]);
        assert_eq!(
            statuses(3, &[chain(2, &[0]), chain(0, &[1]), chain(1, &[2])]),
            [Deadlocked(0); 3]
        );
    }

    #[test]
    fn a_participant_may_wait_for_what_it_alone_promised() {
        assert_eq!(statuses(1, &[chain(0, &[0])]), [Deadlocked(0)]);
        assert_eq!(statuses(2, &[chain(0, &[0, 1])]), [Unblocked; 2]);
        assert_eq!(statuses(2, &[chain(0, &[0, 1]), chain(1, &[0])]), [Deadlocked(0); 2]);
    }

    #[test]
    fn a_chain_has_an_end() {
        assert_eq!(statuses(3, &[chain(0, &[1]), chain(1, &[2])]), [Unblocked; 3]);
        assert_eq!(statuses(0, &[]), []);
    }

    #[test]
    fn one_unblocked_signaler_is_enough() {
        assert_eq!(statuses(3, &[chain(0, &[1, 2]), chain(1, &[0])]), [Unblocked; 3]);
        assert_eq!(
            statuses(3, &[chain(0, &[1, 2]), chain(1, &[0]), chain(2, &[0])]),
            [Deadlocked(0); 3]
        );
    }

    #[test]
    fn a_signaler_outside_of_the_graph_may_end_a_wait() {
        assert_eq!(statuses(2, &[(0, 1, true, &[1]), chain(1, &[0])]), [Unblocked; 2]);
    }

    #[test]
    fn a_wait_that_nobody_promised_to_end_is_not_blocked() {
        assert_eq!(statuses(2, &[chain(0, &[]), chain(1, &[0])]), [Unblocked; 2]);
    }

    #[test]
    fn a_wait_for_a_deadlock_is_told_from_one_in_it() {
        let rows = [chain(0, &[1]), chain(1, &[2]), chain(2, &[3]), chain(3, &[2]), chain(4, &[5])];
        assert_eq!(
            statuses(6, &rows),
            [Behind, Behind, Deadlocked(0), Deadlocked(0), Unblocked, Unblocked]
        );
    }

    #[test]
    fn deadlocks_are_counted_and_may_depend_on_each_other() {
        let two = [chain(0, &[3]), chain(3, &[0]), chain(1, &[2]), chain(2, &[1])];
        assert_eq!(statuses(4, &two), [Deadlocked(0), Deadlocked(1), Deadlocked(1), Deadlocked(0)]);
        let linked =
            [chain(0, &[1]), chain(1, &[0]), chain(1, &[2]), chain(2, &[3]), chain(3, &[2])];
        assert_eq!(
            statuses(4, &linked),
            [Deadlocked(0), Deadlocked(0), Deadlocked(1), Deadlocked(1)]
        );
    }

    #[test]
    fn every_wait_has_to_be_met() {
        // One of two waits is blocked, whatever becomes of the other.
        assert_eq!(
            statuses(3, &[chain(0, &[2]), chain(0, &[1]), chain(1, &[0])]),
            [Deadlocked(0), Deadlocked(0), Unblocked]
        );
    }

    #[test]
    fn of_alternatives_one_is_enough() {
        let (to_1, to_2): (Row<'_>, Row<'_>) = ((0, 2, false, &[1]), (0, 2, false, &[2]));
        assert_eq!(statuses(3, &[to_1, to_2, chain(1, &[0])]), [Unblocked; 3]);
        assert_eq!(statuses(3, &[to_1, to_2, chain(1, &[0]), chain(2, &[0])]), [Deadlocked(0); 3]);
        // An alternative that is not recorded may be the one that is met.
        assert_eq!(statuses(3, &[to_1, chain(1, &[0])]), [Unblocked; 3]);
        assert_eq!(
            statuses(3, &[to_1, (0, 2, true, &[2]), chain(1, &[0]), chain(2, &[0])]),
            [Unblocked; 3]
        );
    }

    /// The definition, by brute force.
    fn blocked_by_definition(participants: usize, rows: &[Row<'_>]) -> Vec<bool> {
        let mut blocked = vec![true; participants];
        loop {
            let wait_is_blocked = |row: &Row<'_>| {
                !row.2 && !row.3.is_empty() && row.3.iter().all(|participant| blocked[*participant])
            };
            let is_blocked = |participant: usize| {
                let mine = || rows.iter().filter(move |row| row.0 == participant);
                let alternatives: Vec<bool> =
                    mine().filter(|row| row.1 > 1).map(wait_is_blocked).collect();
                let of = mine().map(|row| row.1).filter(|of| *of > 1).max().unwrap_or(u8::MAX);
                mine().any(|row| row.1 == 1 && wait_is_blocked(row))
                    || alternatives.len() >= of.into()
                        && alternatives.iter().all(|is_blocked| *is_blocked)
            };
            let next: Vec<bool> = (0..participants).map(is_blocked).collect();
            if next == blocked {
                return blocked;
            }
            blocked = next;
        }
    }

    #[test]
    fn random_graphs_are_judged_by_the_definition() {
        let mut state = 1u64;
        let mut random = |below: usize| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        for _ in 0..5000 {
            let participants = 1 + random(7);
            let signalers: Vec<Vec<usize>> = (0..random(12))
                .map(|_| {
                    let mut list: Vec<usize> =
                        (0..random(4)).map(|_| random(participants)).collect();
                    list.sort_unstable();
                    list.dedup();
                    list
                })
                .collect();
            let rows: Vec<Row<'_>> = signalers
                .iter()
                .map(|list| {
                    (random(participants), 1 + random(2) as u8, random(8) == 0, list.as_slice())
                })
                .collect();
            let expected = blocked_by_definition(participants, &rows);
            let found: Vec<bool> =
                statuses(participants, &rows).iter().map(|status| *status != Unblocked).collect();
            assert_eq!(found, expected, "{rows:?}");
        }
    }

    #[test]
    fn a_long_chain_into_a_deadlock_takes_no_stack() {
        let count = 200_000;
        let next: Vec<[usize; 1]> = (0..count)
            .map(|participant| [if participant + 1 == count { count - 2 } else { participant + 1 }])
            .collect();
        let rows: Vec<Row<'_>> =
            next.iter().enumerate().map(|(participant, next)| chain(participant, next)).collect();
        let found = statuses(count, &rows);
        assert_eq!(
            found[..count - 2].iter().filter(|status| **status == Behind).count(),
            count - 2
        );
        assert_eq!(found[count - 2..], [Deadlocked(0); 2]);
    }
}
