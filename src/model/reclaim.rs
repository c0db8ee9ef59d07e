// SPDX-License-Identifier: MIT
//! Slots whose creator was killed, under the model checker: it does some steps of a claim or of an
//! end and no more. Then other processes reclaim and claim the slot, at the same time.

use super::protocol::{check, check_bounded, fence, this_process, waits};
use crate::error::{Error, Result};
use crate::fence::Fence;
use crate::shm::creator::Creator;
use crate::shm::event_count::EventSink;
use crate::shm::generation::{Generation, Kind};
use crate::shm::page::Page;
use crate::shm::slot::Slot;
use crate::util::refs::Ref;
use loom::thread;

fn sink(page: &Page) -> EventSink<'_> {
    EventSink { events: page.events(), slot: 0 }
}

fn slot(page: &Page) -> &Slot {
    page.slot(0).unwrap()
}

/// Another process reclaims the slot of this one, which is dead. Returns whether it was the first.
fn reclaims(page: &Ref<Page>, process: u32) -> thread::JoinHandle<bool> {
    let page = page.clone();
    thread::spawn(move || {
        slot(&page).reclaim(this_process(), sink(&page), Creator::of_model(process))
    })
}

/// Another process creates a fence, if the slot is free.
fn claims(page: &Ref<Page>, process: u32) -> thread::JoinHandle<Option<Generation>> {
    let page = page.clone();
    thread::spawn(move || claim(&page, process))
}

fn claim(page: &Page, process: u32) -> Option<Generation> {
    let generation = slot(page).claim(Kind::PLAIN, 9, Creator::of_model(process))?;
    assert!(slot(page).publish(generation));
    Some(generation)
}

/// What the creator has done of the end of its fence when it is killed.
#[derive(Clone, Copy)]
enum Killed {
    Before,
    AfterEnd,
    AfterWake,
}

fn end_and_die(page: &Page, fence: &Fence, killed: Killed) {
    match killed {
        Killed::Before => {}
        Killed::AfterEnd => assert!(slot(page).end(fence.generation())),
        Killed::AfterWake => {
            assert!(slot(page).end(fence.generation()));
            slot(page).wake_ended(sink(page));
        }
    }
}

#[test]
fn a_reclaim_ends_the_waits_of_a_fence_wherever_its_creator_was_killed() {
    for killed in [Killed::Before, Killed::AfterEnd, Killed::AfterWake] {
        check(move || {
            let (page, fence) = fence(0);
            let waiter = waits(&fence, 1);
            end_and_die(&page, &fence, killed);
            assert!(reclaims(&page, 2).join().unwrap());
            assert_eq!(waiter.join().unwrap(), Err(Error::Stale));
            assert!(claim(&page, 3).is_some());
        });
    }
}

#[test]
fn a_tie_ends_the_waits_of_a_fence_wherever_its_creator_was_killed() {
    for (killed, error) in [
        (Killed::Before, Error::OwnerDead),
        (Killed::AfterEnd, Error::Stale),
        (Killed::AfterWake, Error::Stale),
    ] {
        check(move || {
            let (page, fence) = fence(0);
            let waiter = waits(&fence, 1);
            end_and_die(&page, &fence, killed);
            let failed: Result<()> = fence.fail_owner_died(Some(this_process()));
            assert_eq!(failed.is_ok(), error == Error::OwnerDead);
            assert_eq!(waiter.join().unwrap(), Err(error));
            // The slot says that its creator is dead, and not which process it was.
            let creator = slot(&page).creator().unwrap();
            assert_ne!(creator, this_process());
            assert!(slot(&page).reclaim(creator, sink(&page), Creator::of_model(2)));
        });
    }
}

#[test]
fn of_two_processes_that_reclaim_a_slot_one_frees_it_and_the_next_fence_lives() {
    for killed in [Killed::Before, Killed::AfterEnd] {
        check_bounded(2, move || {
            let (page, fence) = fence(0);
            end_and_die(&page, &fence, killed);
            let (one, other) = (reclaims(&page, 2), reclaims(&page, 3));
            let next = claims(&page, 4).join().unwrap();
            assert!(one.join().unwrap() != other.join().unwrap());
            let next = next.or_else(|| claim(&page, 4)).unwrap();
            assert_eq!(slot(&page).generation(), Some(next));
            assert_eq!(slot(&page).creator(), Some(Creator::of_model(4)));
            assert_eq!(fence.error(), Err(Error::Stale));
        });
    }
}

#[test]
fn a_reclaimer_that_was_killed_is_reclaimed_in_turn() {
    check(|| {
        let (page, fence) = fence(0);
        let waiter = waits(&fence, 1);
        // The first step of a reclaim.
        slot(&page).hand_over(this_process(), Creator::of_model(2));
        assert!(!reclaims(&page, 3).join().unwrap());
        assert!(slot(&page).reclaim(Creator::of_model(2), sink(&page), Creator::of_model(3)));
        assert_eq!(waiter.join().unwrap(), Err(Error::Stale));
        assert!(claim(&page, 4).is_some());
    });
}

#[test]
fn a_claim_that_was_killed_half_way_shows_old_handles_nothing() {
    for step in 0..3 {
        check(move || {
            let (page, fence) = fence(5);
            let ended = fence.generation();
            slot(&page).retire(ended, sink(&page), this_process(), 0);
            let waiter = waits(&fence, 500);
            assert!(slot(&page).take(this_process()));
            if step > 0 {
                let next = Generation::next(ended.ended(), Kind::PLAIN).unwrap();
                assert!(slot(&page).begin(ended.ended(), next, 1000));
                assert!(step < 2 || slot(&page).publish(next));
            }
            let reclaims = reclaims(&page, 2);
            let next = claims(&page, 3).join().unwrap();
            assert!(reclaims.join().unwrap());
            assert!(next.or_else(|| claim(&page, 3)).is_some());
            assert_eq!(waiter.join().unwrap(), Err(Error::Stale));
            assert_eq!(fence.value(), 5);
        });
    }
}

#[test]
fn of_two_processes_that_claim_a_slot_one_gets_it() {
    check(|| {
        let page = Page::create(1).unwrap();
        let (one, other) = (claims(&page, 2), claims(&page, 3));
        let (one, other) = (one.join().unwrap(), other.join().unwrap());
        assert!(one.is_some() != other.is_some());
        assert_eq!(slot(&page).generation(), one.or(other));
    });
}

#[test]
fn a_slot_is_claimed_while_its_fence_ends_and_the_next_fence_lives() {
    check(|| {
        let (page, fence) = fence(0);
        let ends = {
            let (page, fence) = (page.clone(), fence.clone());
            thread::spawn(move || {
                slot(&page).retire(fence.generation(), sink(&page), this_process(), 0)
            })
        };
        let next = claims(&page, 2).join().unwrap();
        ends.join().unwrap();
        let next = next.or_else(|| claim(&page, 2)).unwrap();
        assert_eq!(slot(&page).generation(), Some(next));
        assert_eq!(slot(&page).creator(), Some(Creator::of_model(2)));
    });
}
