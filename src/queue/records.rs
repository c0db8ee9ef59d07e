// SPDX-License-Identifier: MIT
//! The records that a blocked queue keeps in the wait tables: its wait, and what it will signal.
//!
//! A queue that never blocks has none: its signals are pending. Once it blocks, each job is
//! recorded once, and stays recorded until it has run or signaled: what a step costs does not
//! depend on the number of jobs. Two bounds leave the table to others, and keep a step short. At
//! most [`MAX_WRITTEN`] fences have a record; the others are counted as dropped. When the queue
//! blocks again, records that became free go to its first jobs.

use super::job::Dependencies;
use crate::fence::Fence;
use crate::fence::WaitRecord;
use crate::shm::participant::{Participant, ParticipantKind};
use crate::util::key_map::KeyMap;
use crate::wait::Predicate;

/// The most fences that have a record, of the jobs that have not run, and of those in flight.
const MAX_WRITTEN: usize = 8;

/// How many of the first jobs are searched for fences that want a record.
const LOOK_AHEAD: usize = 64;

/// The records of a queue.
pub(crate) struct QueueRecords {
    participant: Participant,
    wait: Option<WaitRecord>,
    /// Of jobs that have not run.
    pub(super) jobs: SignalRecords,
    /// Of jobs in flight, whose signals do not depend on the wait.
    pub(super) in_flight: SignalRecords,
}

/// What some jobs will signal: one record for each fence.
pub(crate) struct SignalRecords {
    participant: Participant,
    /// By the address of the fence, which the jobs keep.
    by_fence: KeyMap<usize, SignalRecord>,
    /// How many of these are not dropped.
    written: usize,
    /// The highest number of a job that was recorded.
    recorded: u64,
}

struct SignalRecord {
    /// How many jobs will signal the fence.
    jobs: u64,
    /// Of the highest value.
    record: WaitRecord,
}

impl QueueRecords {
    pub(crate) fn new() -> QueueRecords {
        let participant = Participant::new(ParticipantKind::Queue);
        QueueRecords {
            participant,
            wait: None,
            jobs: SignalRecords::new(participant),
            in_flight: SignalRecords::new(participant.work()),
        }
    }

    /// Returns the participant that the records are of.
    pub(crate) fn participant(&self) -> Participant {
        self.participant
    }

    /// Records the wait that blocks the queue.
    pub(crate) fn record_wait(&mut self, fence: &Fence, predicate: Predicate) {
        self.wait = Some(predicate.of(fence).record(self.participant));
    }

    /// Removes the record of the wait: the queue is not blocked any more.
    pub(crate) fn clear_wait(&mut self) {
        self.wait = None;
    }
}

impl SignalRecords {
    fn new(participant: Participant) -> SignalRecords {
        SignalRecords { participant, by_fence: KeyMap::default(), written: 0, recorded: 0 }
    }

    /// Returns the highest number of a job that was recorded.
    pub(super) fn recorded(&self) -> u64 {
        self.recorded
    }

    /// Records the signals of a job. Jobs come in the order of their numbers. Without memory there
    /// is no record.
    pub(super) fn add(&mut self, number: u64, dependencies: &Dependencies) {
        self.recorded = number;
        for (fence, value) in dependencies.signals() {
            let key = key(fence);
            if let Some(known) = self.by_fence.get_mut(&key) {
                known.jobs += 1;
                let was_dropped = known.record.is_dropped();
                known.record.raise(value);
                // A record that was taken over may find no room.
                if !was_dropped && known.record.is_dropped() {
                    self.written -= 1;
                }
            } else if self.by_fence.try_reserve(1).is_ok() {
                let record = if self.written < MAX_WRITTEN {
                    fence.record_signal(self.participant, value)
                } else {
                    fence.record_signal_dropped(self.participant, value)
                };
                self.written += usize::from(!record.is_dropped());
                self.by_fence.insert(key, SignalRecord { jobs: 1, record });
            }
        }
    }

    /// Removes the signals of a job, if it was recorded.
    pub(super) fn remove(&mut self, number: u64, dependencies: &Dependencies) {
        if number > self.recorded {
            return;
        }
        for (fence, _) in dependencies.signals() {
            let key = key(fence);
            let Some(known) = self.by_fence.get_mut(&key) else { continue };
            known.jobs -= 1;
            if known.jobs == 0 {
                self.written -= usize::from(!known.record.is_dropped());
                self.by_fence.remove(&key);
            }
        }
    }

    /// Gives records that became free to the first jobs.
    pub(super) fn refill<'a>(&mut self, jobs: impl Iterator<Item = &'a Dependencies>) {
        if self.written == self.by_fence.len() {
            return;
        }
        for (fence, _) in jobs.take(LOOK_AHEAD).flat_map(Dependencies::signals) {
            if self.written >= MAX_WRITTEN {
                return;
            }
            if let Some(known) = self.by_fence.get_mut(&key(fence)) {
                if known.record.is_dropped() {
                    known.record.retry();
                    self.written += usize::from(!known.record.is_dropped());
                }
            }
        }
    }

    /// Removes all: the jobs are gone.
    pub(super) fn clear(&mut self) {
        self.by_fence = KeyMap::default();
        self.written = 0;
    }
}

fn key(fence: &Fence) -> usize {
    std::ptr::from_ref(fence) as usize
}
