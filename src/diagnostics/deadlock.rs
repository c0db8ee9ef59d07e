//! Who can never go on, because those who could end his wait cannot go on either.
//!
//! An owner is *stuck* if one of the waits that he has to see met is hopeless, or if all
//! alternatives of a wait for any of many are. A wait is *hopeless* if somebody promised to end it,
//! and all who did are stuck. One that nobody promised is not: wait-before-signal is how these
//! fences are used. Neither is one that somebody outside of the graph may end.
//!
//! That is found by taking everybody for stuck who waits, and freeing whom that does not hold for,
//! until nothing changes. Those who are left go round in circles, or wait for those who do. The
//! circles are the strongly connected components among them (Tarjan's algorithm). All of it takes
//! time in proportion to the edges: what is in the ledgers may be anybody's idea of a bad case.

use crate::error::{Error, Result};

/// Somebody waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Wait {
    /// Who: his number.
    pub(crate) owner: usize,
    /// Of how many alternatives this is one; 1 if it has to be met.
    pub(crate) of: u8,
    /// Somebody who is no owner may end it.
    pub(crate) open: bool,
}

/// What is to become of an owner. The worst comes first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Fate {
    /// He is part of this deadlock. They are numbered from 0, in the order of the least owners of
    /// each.
    Deadlocked(u32),
    /// He waits for a deadlock, of which he is no part.
    Behind,
    /// Somebody may free him, if he waits at all.
    Free,
}

/// What was found.
pub(crate) struct Verdict {
    /// Of each owner.
    pub(crate) fates: Vec<Fate>,
    /// How many there are.
    pub(crate) deadlocks: u32,
}

/// Tells the fates of `owners` owners, numbered from 0. An edge is (number of a wait, number of the
/// owner who promised to end it); edges are sorted.
pub(crate) fn judge(owners: usize, waits: &[Wait], edges: &[(usize, usize)]) -> Result<Verdict> {
    let mut stuck = Stuck::presumed(owners, waits, edges)?;
    stuck.free_who_may_go_on(waits, edges)?;
    let arcs = stuck.arcs(waits, edges)?;
    let components = Components::of(owners, &arcs)?;
    components.verdict(&arcs)
}

fn filled<T: Clone>(count: usize, with: T) -> Result<Vec<T>> {
    let mut list = Vec::new();
    list.try_reserve_exact(count).map_err(|_| Error::NoMemory)?;
    list.resize(count, with);
    Ok(list)
}

/// What is held against an owner.
#[derive(Clone, Copy, Default)]
struct Charges {
    /// Waits that have to be met, and are hopeless.
    hopeless: u32,
    /// Alternatives that are known, those of them that are hopeless, and how many there are.
    alternatives: u32,
    hopeless_alternatives: u32,
    of: u32,
}

impl Charges {
    fn is_stuck(&self) -> bool {
        let cornered = self.of > 0
            && self.alternatives >= self.of
            && self.hopeless_alternatives == self.alternatives;
        self.hopeless > 0 || cornered
    }
}

struct Stuck {
    owners: Vec<Charges>,
    /// Whether each wait is hopeless.
    waits: Vec<bool>,
}

impl Stuck {
    /// Every wait that somebody promised to end, and nobody outside may end, is hopeless until we
    /// know better.
    fn presumed(owners: usize, waits: &[Wait], edges: &[(usize, usize)]) -> Result<Stuck> {
        let mut stuck = Stuck {
            owners: filled(owners, Charges::default())?,
            waits: filled(waits.len(), false)?,
        };
        for (wait, _) in edges {
            if let (Some(hopeless), Some(wait)) = (stuck.waits.get_mut(*wait), waits.get(*wait)) {
                *hopeless = !wait.open;
            }
        }
        for (wait, hopeless) in waits.iter().zip(&stuck.waits) {
            let Some(charges) = stuck.owners.get_mut(wait.owner) else { continue };
            if wait.of > 1 {
                charges.alternatives += 1;
                charges.hopeless_alternatives += u32::from(*hopeless);
                charges.of = charges.of.max(wait.of.into());
            } else {
                charges.hopeless += u32::from(*hopeless);
            }
        }
        Ok(stuck)
    }

    fn is_stuck(&self, owner: usize) -> bool {
        self.owners.get(owner).is_some_and(Charges::is_stuck)
    }

    /// Who is not stuck may keep his promises, which gives hope to those who wait for them.
    fn free_who_may_go_on(&mut self, waits: &[Wait], edges: &[(usize, usize)]) -> Result<()> {
        let mut promised = filled(edges.len(), (0, 0))?;
        for (promise, (wait, owner)) in promised.iter_mut().zip(edges) {
            *promise = (*owner, *wait);
        }
        promised.sort_unstable();
        let mut free = Vec::new();
        // Each owner gets here once.
        free.try_reserve_exact(self.owners.len()).map_err(|_| Error::NoMemory)?;
        free.extend((0..self.owners.len()).filter(|owner| !self.is_stuck(*owner)));
        while let Some(owner) = free.pop() {
            let first = promised.partition_point(|promise| promise.0 < owner);
            for (_, wait) in promised.iter().skip(first).take_while(|promise| promise.0 == owner) {
                free.extend(self.give_hope(*wait, waits));
            }
        }
        Ok(())
    }

    /// The wait's owner, if that frees him.
    fn give_hope(&mut self, number: usize, waits: &[Wait]) -> Option<usize> {
        let wait = waits.get(number)?;
        if !std::mem::take(self.waits.get_mut(number)?) {
            return None;
        }
        let charges = self.owners.get_mut(wait.owner)?;
        let was_stuck = charges.is_stuck();
        let count =
            if wait.of > 1 { &mut charges.hopeless_alternatives } else { &mut charges.hopeless };
        *count = count.saturating_sub(1);
        (was_stuck && !charges.is_stuck()).then_some(wait.owner)
    }

    /// From whom a stuck owner's hopeless waits lead to whom: sorted.
    fn arcs(&self, waits: &[Wait], edges: &[(usize, usize)]) -> Result<Vec<(usize, usize)>> {
        let mut arcs = Vec::new();
        arcs.try_reserve_exact(edges.len()).map_err(|_| Error::NoMemory)?;
        for (number, promiser) in edges {
            let hopeless = self.waits.get(*number).is_some_and(|hopeless| *hopeless);
            if let Some(wait) =
                waits.get(*number).filter(|wait| hopeless && self.is_stuck(wait.owner))
            {
                arcs.push((wait.owner, *promiser));
            }
        }
        arcs.sort_unstable();
        arcs.dedup();
        Ok(arcs)
    }
}

/// Tarjan's marks on an owner.
#[derive(Clone, Copy)]
struct Mark {
    /// In which order he was found, from 1; 0 before.
    found: usize,
    /// The first found that he leads back to.
    back_to: usize,
    /// The arc to follow next.
    next: usize,
    is_open: bool,
    /// The least owner of his component.
    component: usize,
}

struct Components {
    marks: Vec<Mark>,
}

impl Components {
    fn of(owners: usize, arcs: &[(usize, usize)]) -> Result<Components> {
        let mark = Mark { found: 0, back_to: 0, next: 0, is_open: false, component: usize::MAX };
        let mut components = Components { marks: filled(owners, mark)? };
        // Who is on the way from the root, and who is found and in no component yet.
        let (mut path, mut open) = (Vec::new(), Vec::new());
        path.try_reserve_exact(owners).map_err(|_| Error::NoMemory)?;
        open.try_reserve_exact(owners).map_err(|_| Error::NoMemory)?;
        let mut found = 0;
        for root in 0..owners {
            components.find(root, &mut found, arcs, &mut path, &mut open);
            while let Some(at) = path.last().copied() {
                match components.step(at, arcs) {
                    Some(next) => components.find(next, &mut found, arcs, &mut path, &mut open),
                    None => {
                        path.pop();
                        components.leave(at, path.last().copied(), &mut open);
                    }
                }
            }
        }
        Ok(components)
    }

    /// Goes to an owner, if that is for the first time.
    fn find(
        &mut self,
        owner: usize,
        found: &mut usize,
        arcs: &[(usize, usize)],
        path: &mut Vec<usize>,
        open: &mut Vec<usize>,
    ) {
        if let Some(mark) = self.marks.get_mut(owner).filter(|mark| mark.found == 0) {
            *found += 1;
            let next = arcs.partition_point(|arc| arc.0 < owner);
            *mark =
                Mark { found: *found, back_to: *found, next, is_open: true, component: usize::MAX };
            path.push(owner);
            open.push(owner);
        }
    }

    /// Where the next arc leads.
    fn step(&mut self, at: usize, arcs: &[(usize, usize)]) -> Option<usize> {
        let mark = self.marks.get_mut(at)?;
        let to = arcs.get(mark.next).filter(|arc| arc.0 == at)?.1;
        mark.next += 1;
        let reached =
            self.marks.get(to).filter(|mark| mark.is_open).map_or(usize::MAX, |mark| mark.found);
        let mark = self.marks.get_mut(at)?;
        mark.back_to = mark.back_to.min(reached);
        Some(to)
    }

    /// All arcs of an owner were followed. If he leads back to nobody before him, those who are
    /// open since are a component.
    fn leave(&mut self, at: usize, parent: Option<usize>, open: &mut Vec<usize>) {
        let Some(Mark { found, back_to, .. }) = self.marks.get(at).copied() else { return };
        if let Some(mark) = parent.and_then(|parent| self.marks.get_mut(parent)) {
            mark.back_to = mark.back_to.min(back_to);
        }
        if back_to != found {
            return;
        }
        let first = open.iter().rposition(|owner| *owner == at).unwrap_or(0);
        let least = open.iter().skip(first).min().copied().unwrap_or(at);
        for owner in open.drain(first..) {
            if let Some(mark) = self.marks.get_mut(owner) {
                (mark.is_open, mark.component) = (false, least);
            }
        }
    }

    fn component(&self, owner: usize) -> Option<usize> {
        self.marks.get(owner).map(|mark| mark.component)
    }

    /// A component is a deadlock if an arc leads from it to itself. Everybody else with an arc is
    /// behind one.
    fn verdict(&self, arcs: &[(usize, usize)]) -> Result<Verdict> {
        let mut fates = filled(self.marks.len(), Fate::Free)?;
        let mut circular = filled(self.marks.len(), false)?;
        for (from, to) in arcs {
            if let Some(fate) = fates.get_mut(*from) {
                *fate = Fate::Behind;
            }
            if self.component(*from) == self.component(*to) {
                if let Some(circular) =
                    self.component(*from).and_then(|component| circular.get_mut(component))
                {
                    *circular = true;
                }
            }
        }
        let mut deadlocks = 0;
        let mut numbers = filled(self.marks.len(), None)?;
        for (owner, fate) in fates.iter_mut().enumerate() {
            let component = self.component(owner).unwrap_or(owner);
            if circular.get(component) != Some(&true) {
                continue;
            }
            if let Some(number) = numbers.get_mut(component) {
                let known = *number.get_or_insert(deadlocks);
                deadlocks = deadlocks.max(known + 1);
                *fate = Fate::Deadlocked(known);
            }
        }
        Ok(Verdict { fates, deadlocks })
    }
}

#[cfg(test)]
mod tests {
    use super::Fate::{Behind, Deadlocked, Free};
    use super::*;

    /// (who waits, of how many alternatives, open, who promised).
    type Row<'a> = (usize, u8, bool, &'a [usize]);

    fn fates(owners: usize, rows: &[Row<'_>]) -> Vec<Fate> {
        let waits: Vec<Wait> = rows
            .iter()
            .map(|(owner, of, open, _)| Wait { owner: *owner, of: *of, open: *open })
            .collect();
        let edges: Vec<(usize, usize)> = rows
            .iter()
            .enumerate()
            .flat_map(|(wait, row)| row.3.iter().map(move |owner| (wait, *owner)))
            .collect();
        let verdict =
            judge(owners, &waits, &edges).unwrap_or(Verdict { fates: Vec::new(), deadlocks: 0 });
        let most = verdict
            .fates
            .iter()
            .filter_map(|fate| if let Deadlocked(n) = fate { Some(n + 1) } else { None })
            .max();
        assert_eq!(verdict.deadlocks, most.unwrap_or(0));
        verdict.fates
    }

    /// Waits for what `of` alone promised.
    fn chain(who: usize, of: &[usize]) -> Row<'_> {
        (who, 1, false, of)
    }

    #[test]
    fn two_or_three_who_wait_for_each_other() {
        assert_eq!(fates(2, &[chain(0, &[1]), chain(1, &[0])]), [Deadlocked(0); 2]);
        assert_eq!(fates(3, &[chain(2, &[0]), chain(0, &[1]), chain(1, &[2])]), [Deadlocked(0); 3]);
    }

    #[test]
    fn who_waits_for_what_he_alone_promised() {
        assert_eq!(fates(1, &[chain(0, &[0])]), [Deadlocked(0)]);
        assert_eq!(fates(2, &[chain(0, &[0, 1])]), [Free; 2]);
        assert_eq!(fates(2, &[chain(0, &[0, 1]), chain(1, &[0])]), [Deadlocked(0); 2]);
    }

    #[test]
    fn a_chain_has_an_end() {
        assert_eq!(fates(3, &[chain(0, &[1]), chain(1, &[2])]), [Free; 3]);
        assert_eq!(fates(0, &[]), []);
    }

    #[test]
    fn one_free_promiser_is_enough() {
        assert_eq!(fates(3, &[chain(0, &[1, 2]), chain(1, &[0])]), [Free; 3]);
        assert_eq!(
            fates(3, &[chain(0, &[1, 2]), chain(1, &[0]), chain(2, &[0])]),
            [Deadlocked(0); 3]
        );
    }

    #[test]
    fn somebody_outside_may_end_it() {
        assert_eq!(fates(2, &[(0, 1, true, &[1]), chain(1, &[0])]), [Free; 2]);
    }

    #[test]
    fn nobody_promised_it() {
        assert_eq!(fates(2, &[chain(0, &[]), chain(1, &[0])]), [Free; 2]);
    }

    #[test]
    fn behind_a_deadlock() {
        let rows = [chain(0, &[1]), chain(1, &[2]), chain(2, &[3]), chain(3, &[2]), chain(4, &[5])];
        assert_eq!(fates(6, &rows), [Behind, Behind, Deadlocked(0), Deadlocked(0), Free, Free]);
    }

    #[test]
    fn deadlocks_are_counted_and_may_hang_on_each_other() {
        let two = [chain(0, &[3]), chain(3, &[0]), chain(1, &[2]), chain(2, &[1])];
        assert_eq!(fates(4, &two), [Deadlocked(0), Deadlocked(1), Deadlocked(1), Deadlocked(0)]);
        let linked =
            [chain(0, &[1]), chain(1, &[0]), chain(1, &[2]), chain(2, &[3]), chain(3, &[2])];
        assert_eq!(fates(4, &linked), [Deadlocked(0), Deadlocked(0), Deadlocked(1), Deadlocked(1)]);
    }

    #[test]
    fn every_wait_has_to_be_met() {
        // One of two waits is hopeless, whatever becomes of the other.
        assert_eq!(
            fates(3, &[chain(0, &[2]), chain(0, &[1]), chain(1, &[0])]),
            [Deadlocked(0), Deadlocked(0), Free]
        );
    }

    #[test]
    fn of_alternatives_one_is_enough() {
        let (to_1, to_2): (Row<'_>, Row<'_>) = ((0, 2, false, &[1]), (0, 2, false, &[2]));
        assert_eq!(fates(3, &[to_1, to_2, chain(1, &[0])]), [Free; 3]);
        assert_eq!(fates(3, &[to_1, to_2, chain(1, &[0]), chain(2, &[0])]), [Deadlocked(0); 3]);
        // One that is not known may be the one.
        assert_eq!(fates(3, &[to_1, chain(1, &[0])]), [Free; 3]);
        assert_eq!(
            fates(3, &[to_1, (0, 2, true, &[2]), chain(1, &[0]), chain(2, &[0])]),
            [Free; 3]
        );
    }

    /// The definition, by brute force.
    fn stuck_by_definition(owners: usize, rows: &[Row<'_>]) -> Vec<bool> {
        let mut stuck = vec![true; owners];
        loop {
            let hopeless = |row: &Row<'_>| {
                !row.2 && !row.3.is_empty() && row.3.iter().all(|owner| stuck[*owner])
            };
            let is_stuck = |owner: usize| {
                let mine = || rows.iter().filter(move |row| row.0 == owner);
                let alternatives: Vec<bool> =
                    mine().filter(|row| row.1 > 1).map(hopeless).collect();
                let of = mine().map(|row| row.1).filter(|of| *of > 1).max().unwrap_or(u8::MAX);
                mine().any(|row| row.1 == 1 && hopeless(row))
                    || alternatives.len() >= of.into()
                        && alternatives.iter().all(|hopeless| *hopeless)
            };
            let next: Vec<bool> = (0..owners).map(is_stuck).collect();
            if next == stuck {
                return stuck;
            }
            stuck = next;
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
            let owners = 1 + random(7);
            let promisers: Vec<Vec<usize>> = (0..random(12))
                .map(|_| {
                    let mut list: Vec<usize> = (0..random(4)).map(|_| random(owners)).collect();
                    list.sort_unstable();
                    list.dedup();
                    list
                })
                .collect();
            let rows: Vec<Row<'_>> = promisers
                .iter()
                .map(|list| (random(owners), 1 + random(2) as u8, random(8) == 0, list.as_slice()))
                .collect();
            let expected = stuck_by_definition(owners, &rows);
            let found: Vec<bool> = fates(owners, &rows).iter().map(|fate| *fate != Free).collect();
            assert_eq!(found, expected, "{rows:?}");
        }
    }

    #[test]
    fn a_long_chain_into_a_deadlock_takes_no_stack() {
        let count = 200_000;
        let next: Vec<[usize; 1]> = (0..count)
            .map(|owner| [if owner + 1 == count { count - 2 } else { owner + 1 }])
            .collect();
        let rows: Vec<Row<'_>> =
            next.iter().enumerate().map(|(owner, next)| chain(owner, next)).collect();
        let found = fates(count, &rows);
        assert_eq!(found[..count - 2].iter().filter(|fate| **fate == Behind).count(), count - 2);
        assert_eq!(found[count - 2..], [Deadlocked(0); 2]);
    }
}
