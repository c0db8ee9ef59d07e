// SPDX-License-Identifier: MIT
//! What a record says, who may take it, and what a peer can do to it.

use super::*;
use crate::error::{Error, Result};
use crate::fence::Fence;
use crate::shm::generation::Kind;
use crate::shm::page::Page;
use crate::shm::participant::ParticipantKind;
use crate::shm::wait_table::{RECORDS, Role};
use crate::sys::process;
use crate::util::refs::Ref;
use std::sync::atomic::{AtomicU32, Ordering};

fn fence() -> Result<(Ref<Page>, Ref<Fence>)> {
    let page = Page::create(2)?;
    let fence = Fence::create(&page, Kind::PLAIN, 0)?;
    Ok((page, fence))
}

/// (participant, role, value) of all records.
fn records(page: &Page) -> Vec<(Participant, Role, u64)> {
    let mut records: Vec<_> = page
        .wait_table()
        .read()
        .map(|record| (record.participant, record.role, record.value))
        .collect();
    records.sort_unstable_by_key(|record| (record.0, record.2));
    records
}

/// Has another participant promise a value of the first fence in every record.
fn forge_all(page: &Page, participant: Participant) -> Result<()> {
    let generation = page.slot(0)?.generation().ok_or(Error::NotFound)?;
    let contents = RecordContents { role: Role::Signal, alternatives: 1, value: 1 << 41 };
    page.wait_table().forge_all(participant, (0, generation), contents);
    Ok(())
}

/// A process id that no process has.
fn dead_pid() -> Result<u32> {
    let mut child = std::process::Command::new("true").spawn().map_err(|_| Error::Unexpected)?;
    child.wait().map_err(|_| Error::Unexpected)?;
    Ok(child.id())
}

/// A participant of another process.
fn participant_of(pid: u32, kind: ParticipantKind) -> Participant {
    Participant::from_shared(process::namespace(), u64::from(pid) << 32 | (kind as u64) << 29 | 1)
}

#[test]
fn a_record_stands_while_its_guard_lives() -> Result<()> {
    let (page, fence) = fence()?;
    let (queue, watch) =
        (Participant::new(ParticipantKind::Queue), Participant::new(ParticipantKind::Watch));
    let mut signal = fence.record_signal(queue, 7);
    let wait = fence.record_wait(watch, 3);
    assert_eq!(records(&page), [(queue, Role::Signal, 7), (watch, Role::Wait, 3)]);
    signal.raise(9);
    signal.raise(8);
    assert_eq!(records(&page), [(queue, Role::Signal, 9), (watch, Role::Wait, 3)]);
    drop(signal);
    assert_eq!(records(&page), [(watch, Role::Wait, 3)]);
    drop(wait);
    assert_eq!(records(&page), []);
    Ok(())
}

#[test]
fn a_record_keeps_its_page_but_not_its_fence() -> Result<()> {
    let (page, fence) = fence()?;
    let guard = fence.record_wait(Participant::this_thread(), 1);
    let again = fence.index();
    drop(fence);
    assert!(Fence::open(&page, again).is_err());
    drop(page);
    drop(guard);
    Ok(())
}

#[test]
fn a_record_that_finds_no_room_is_counted_while_its_guard_lives() -> Result<()> {
    let (page, fence) = fence()?;
    let queue = Participant::new(ParticipantKind::Queue);
    let mut guards: Vec<WaitRecord> =
        (0..RECORDS as u64 + 3).map(|value| fence.record_wait(queue, value + 1)).collect();
    assert_eq!((records(&page).len(), page.wait_table().dropped()), (RECORDS, 3));
    guards.pop();
    assert_eq!((records(&page).len(), page.wait_table().dropped()), (RECORDS, 2));
    guards.remove(0);
    let late = fence.record_wait(queue, 1000);
    assert_eq!((records(&page).len(), page.wait_table().dropped()), (RECORDS, 2));
    assert!(records(&page).contains(&(queue, Role::Wait, 1000)));
    drop((guards, late));
    assert_eq!((records(&page).len(), page.wait_table().dropped()), (0, 0));
    Ok(())
}

#[test]
fn the_records_of_dead_processes_stay_until_a_report_frees_them() -> Result<()> {
    let (page, fence) = fence()?;
    let queue = Participant::new(ParticipantKind::Queue);
    let dead = participant_of(dead_pid()?, ParticipantKind::Queue);
    forge_all(&page, dead)?;
    let mut guard = fence.record_wait(queue, 1);
    assert_eq!((records(&page).len(), page.wait_table().dropped()), (RECORDS, 1));
    page.wait_table().release_dead(Participant::is_dead);
    assert_eq!(records(&page), []);
    guard.retry();
    let _more: Vec<WaitRecord> =
        (2..=RECORDS as u64).map(|value| fence.record_wait(queue, value)).collect();
    assert_eq!(
        records(&page),
        (1..=RECORDS as u64).map(|value| (queue, Role::Wait, value)).collect::<Vec<_>>()
    );
    assert_eq!(page.wait_table().dropped(), 0);
    Ok(())
}

#[test]
fn a_report_frees_nothing_while_there_is_room() -> Result<()> {
    let (page, fence) = fence()?;
    let dead = participant_of(dead_pid()?, ParticipantKind::Queue);
    forge_all(&page, dead)?;
    page.wait_table().release_dead(|participant| participant != dead);
    assert_eq!(records(&page).len(), RECORDS);
    page.wait_table().release_dead(Participant::is_dead);
    let guard = fence.record_wait(Participant::this_thread(), 1);
    page.wait_table().release_dead(|_| true);
    assert_eq!(records(&page).len(), 1);
    drop(guard);
    Ok(())
}

#[test]
fn a_record_that_says_nothing_makes_room() -> Result<()> {
    let parent = std::os::unix::process::parent_id();
    let here = participant_of(parent, ParticipantKind::Queue);
    // A process id of another namespace, which cannot be judged.
    let elsewhere = Participant::from_shared(process::namespace() ^ 1, here.to_shared());
    for other in [here, elsewhere] {
        let (page, fence) = fence()?;
        let about = (0, page.slot(0)?.generation().ok_or(Error::NotFound)?);
        let fill = |role, value| {
            let contents = RecordContents { role, alternatives: 1, value };
            page.wait_table().forge_all(other, about, contents);
        };
        let finds_room = || {
            let guard = fence.record_wait(Participant::this_thread(), 1000);
            !guard.is_dropped()
        };
        fence.signal(5)?;
        fence.submit(7)?;
        for (role, value, has_room) in [
            (Role::Wait, 5, true),
            (Role::Wait, 6, false),
            (Role::Signal, 5, true),
            (Role::Signal, 6, false),
            (Role::WaitPending, 7, true),
            (Role::WaitPending, 8, false),
        ] {
            fill(role, value);
            assert_eq!(finds_room(), has_room, "{role:?} {value}");
        }
        // A fence that failed.
        fill(Role::Wait, 6);
        let other_fence = Fence::create(&page, Kind::PLAIN, 0)?;
        let finds_room = || !other_fence.record_wait(Participant::this_thread(), 1).is_dropped();
        assert!(!finds_room());
        fence.set_error(Error::Canceled.errno())?;
        assert!(finds_room());
        // A fence that ended.
        let again = Fence::create(&page, Kind::PLAIN, 0);
        assert!(again.is_err());
        drop(fence);
        fill(Role::Wait, 6);
        assert!(finds_room());
    }
    Ok(())
}

#[test]
fn a_promise_that_was_taken_over_is_written_again_when_it_is_raised() -> Result<()> {
    let (page, fence) = fence()?;
    let other = Fence::create(&page, Kind::PLAIN, 0)?;
    let queue = Participant::new(ParticipantKind::Queue);
    let mut promise = fence.record_signal(queue, 1);
    fence.signal(1)?;
    let mut waits: Vec<WaitRecord> =
        (1..=RECORDS as u64).map(|value| other.record_wait(queue, value)).collect();
    assert!(records(&page).iter().all(|record| record.1 == Role::Wait));
    assert_eq!((records(&page).len(), page.wait_table().dropped()), (RECORDS, 0));
    promise.raise(2);
    assert_eq!((records(&page).len(), page.wait_table().dropped()), (RECORDS, 1));
    waits.pop();
    promise.retry();
    assert!(records(&page).contains(&(queue, Role::Signal, 2)));
    drop((promise, waits));
    assert_eq!((records(&page), page.wait_table().dropped()), (vec![], 0));
    Ok(())
}

#[test]
fn the_records_of_living_and_of_unknown_processes_stay() -> Result<()> {
    let parent = std::os::unix::process::parent_id();
    let dead = participant_of(dead_pid()?, ParticipantKind::Queue).to_shared();
    let stranger = Participant::from_shared(process::namespace() ^ 1, dead);
    let unknown = Participant::from_shared(0, dead);
    for other in [participant_of(parent, ParticipantKind::Queue), stranger, unknown] {
        let (page, fence) = fence()?;
        forge_all(&page, other)?;
        let guard = fence.record_wait(Participant::this_thread(), 1);
        assert_eq!((records(&page).len(), page.wait_table().dropped()), (RECORDS, 1));
        page.wait_table().release_dead(Participant::is_dead);
        drop(guard);
        assert!(records(&page).iter().all(|record| record.0 == other));
    }
    Ok(())
}

#[test]
fn a_record_that_no_process_can_have_written_is_taken() -> Result<()> {
    let (page, fence) = fence()?;
    page.wait_table().garble_all(u64::from(process::id()) << 32 | 7 << 29, u64::MAX);
    assert_eq!(records(&page), []);
    let guard = fence.record_wait(Participant::this_thread(), 1);
    assert_eq!(records(&page), [(Participant::this_thread(), Role::Wait, 1)]);
    drop(guard);
    Ok(())
}

#[test]
fn the_child_of_a_fork_does_not_touch_the_records_of_its_parent() -> Result<()> {
    let (page, fence) = fence()?;
    let queue = Participant::new(ParticipantKind::Queue);
    let parents = Participant::from_shared(queue.namespace(), queue.to_shared() ^ 1 << 32);
    // A record of the parent that the child inherited, as if the fork had changed our process id.
    let mut inherited = fence.record_signal(queue, 5);
    inherited.participant = parents;
    inherited.raise(6);
    drop(inherited);
    assert_eq!(records(&page), [(queue, Role::Signal, 5)]);
    // In the parent's name the child writes none, nor is one counted as dropped.
    let guard = fence.record_wait(parents, 1);
    assert_eq!((records(&page).len(), page.wait_table().dropped()), (1, 0));
    drop(guard);
    assert_eq!((records(&page).len(), page.wait_table().dropped()), (1, 0));
    Ok(())
}

#[test]
fn a_record_that_a_peer_took_is_not_released() -> Result<()> {
    let (page, fence) = fence()?;
    let mut guard = fence.record_signal(Participant::new(ParticipantKind::Queue), 5);
    let other = participant_of(1, ParticipantKind::Queue);
    forge_all(&page, other)?;
    guard.raise(1 << 40);
    drop(guard);
    assert_eq!(records(&page).len(), RECORDS);
    assert!(records(&page).iter().all(|record| record.0 == other && record.2 != 1 << 40));
    Ok(())
}

#[test]
fn a_record_is_not_valid_before_it_is_written() -> Result<()> {
    let (page, fence) = fence()?;
    let queue = Participant::new(ParticipantKind::Queue);
    drop(fence.record_wait(queue, 1));
    assert!(page.wait_table().take_and_die(queue));
    assert_eq!(records(&page), []);
    forge_all(&page, participant_of(dead_pid()?, ParticipantKind::Queue))?;
    assert!(page.wait_table().take_and_die(queue));
    assert_eq!(records(&page).len(), RECORDS - 1);
    assert!(records(&page).iter().all(|record| record.0 != queue));
    Ok(())
}

#[test]
fn a_record_that_changes_while_it_is_read_is_not_returned() -> Result<()> {
    let (page, fence) = fence()?;
    let queue = Participant::new(ParticipantKind::Queue);
    let mut guard = Some(fence.record_wait(queue, 1));
    let index =
        page.wait_table().read().map(|record| record.record).next().ok_or(Error::NotFound)?;
    assert_eq!(page.wait_table().read_while(index, || {}).map(|record| record.value), Some(1));
    // The same participant waits for the same fence again.
    let again = || {
        drop(guard.take());
        guard = Some(fence.record_wait(queue, 2));
    };
    assert_eq!(page.wait_table().read_while(index, again), None);
    assert_eq!(page.wait_table().read_while(index, || guard = None), None);
    assert_eq!(page.wait_table().read_while(index, || {}), None);
    Ok(())
}

#[test]
fn a_snapshot_is_of_one_use() -> Result<()> {
    let (page, fence) = fence()?;
    let other = Fence::create(&page, Kind::PLAIN, 0)?;
    let writing = AtomicU32::new(1);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let queue = Participant::new(ParticipantKind::Queue);
            for round in 0..200_000 {
                // The value tells which fence and role belong to it.
                drop(if round % 2 == 0 {
                    fence.record_wait(queue, round)
                } else {
                    other.record_signal(queue, round)
                });
            }
            writing.store(0, Ordering::Relaxed);
        });
        while writing.load(Ordering::Relaxed) == 1 {
            for record in page.wait_table().read() {
                assert_eq!(record.slot == other.index(), record.value % 2 == 1);
                assert_eq!(record.role == Role::Signal, record.value % 2 == 1);
            }
        }
    });
    assert_eq!(records(&page), []);
    Ok(())
}
