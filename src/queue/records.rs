//! What a queue that is held up tells whoever asks why nothing goes on: what it waits for, and what
//! it will signal then.
//!
//! A queue that is not held up has nothing to tell: what it signals is pending, and on its way.

use super::job::Items;
use crate::fence::Fence;
use crate::fence::WaitRecord;
use crate::shm::participant::{Participant, ParticipantKind};
use crate::wait::Predicate;

/// Its notes, while it is held up.
pub(crate) struct Claims {
    owner: Participant,
    wait: Option<WaitRecord>,
    promises: Vec<Promise>,
}

/// How far a fence will be signalled: one note for all jobs.
struct Promise {
    owner: Participant,
    fence: usize,
    note: WaitRecord,
}

impl Claims {
    pub(crate) fn new() -> Claims {
        Claims { owner: Participant::new(ParticipantKind::Queue), wait: None, promises: Vec::new() }
    }

    /// Whose notes they are.
    pub(crate) fn owner(&self) -> Participant {
        self.owner
    }

    /// It is held up by this.
    pub(crate) fn wait(&mut self, fence: &Fence, demand: Predicate) {
        self.wait = Some(demand.of(fence).record(self.owner));
    }

    /// It will signal this, once it goes on.
    pub(crate) fn promise(&mut self, items: &Items) {
        self.add(self.owner, items);
    }

    /// It has started what will signal this, however long it is held up.
    pub(crate) fn started(&mut self, items: &Items) {
        self.add(self.owner.work(), items);
    }

    /// Where there is no memory there is no note.
    fn add(&mut self, owner: Participant, items: &Items) {
        for (fence, value) in items.signals() {
            let address = std::ptr::from_ref(fence) as usize;
            let known =
                self.promises.iter().find(|known| known.owner == owner && known.fence == address);
            if let Some(known) = known {
                known.note.raise(value);
            } else if self.promises.try_reserve(1).is_ok() {
                self.promises.push(Promise {
                    owner,
                    fence: address,
                    note: fence.record_signal(owner, value),
                });
            }
        }
    }

    /// It goes on.
    pub(crate) fn clear(&mut self) {
        self.wait = None;
        self.promises.clear();
    }
}
