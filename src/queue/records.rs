//! The records that a blocked queue keeps in the wait tables: its wait, and what it will signal.
//!
//! A queue that is not blocked needs none: its signals are pending.

use super::job::Dependencies;
use crate::fence::Fence;
use crate::fence::WaitRecord;
use crate::shm::participant::{Participant, ParticipantKind};
use crate::wait::Predicate;

/// The records of a queue, while it is blocked.
pub(crate) struct QueueRecords {
    participant: Participant,
    wait: Option<WaitRecord>,
    signals: Vec<SignalRecord>,
}

/// The highest value that a fence will be signaled to: one record for all jobs.
struct SignalRecord {
    participant: Participant,
    fence: usize,
    record: WaitRecord,
}

impl QueueRecords {
    pub(crate) fn new() -> QueueRecords {
        let participant = Participant::new(ParticipantKind::Queue);
        QueueRecords { participant, wait: None, signals: Vec::new() }
    }

    /// Returns the participant that the records are of.
    pub(crate) fn participant(&self) -> Participant {
        self.participant
    }

    /// Records the wait that blocks the queue.
    pub(crate) fn record_wait(&mut self, fence: &Fence, predicate: Predicate) {
        self.wait = Some(predicate.of(fence).record(self.participant));
    }

    /// Records the signals of a job that has not run.
    pub(crate) fn record_signals(&mut self, dependencies: &Dependencies) {
        self.add(self.participant, dependencies);
    }

    /// Records the signals of a job in flight, which do not depend on the wait.
    pub(crate) fn record_in_flight(&mut self, dependencies: &Dependencies) {
        self.add(self.participant.work(), dependencies);
    }

    /// Adds a record for each fence, or raises the one that it has. Without memory there is none.
    fn add(&mut self, participant: Participant, dependencies: &Dependencies) {
        for (fence, value) in dependencies.signals() {
            let address = std::ptr::from_ref(fence) as usize;
            let known = self
                .signals
                .iter()
                .find(|known| known.participant == participant && known.fence == address);
            if let Some(known) = known {
                known.record.raise(value);
            } else if self.signals.try_reserve(1).is_ok() {
                self.signals.push(SignalRecord {
                    participant,
                    fence: address,
                    record: fence.record_signal(participant, value),
                });
            }
        }
    }

    /// Removes all records: the queue is not blocked any more.
    pub(crate) fn clear(&mut self) {
        self.wait = None;
        self.signals.clear();
    }
}
