//! What a queue that is held up tells whoever asks why nothing goes on: what it waits for, and what
//! it will signal then.
//!
//! A queue that is not held up has nothing to tell: what it signals is pending, and on its way.

use super::queue::Items;
use crate::fence::Fence;
use crate::shm::participant::{Owner, OwnerKind};
use crate::shm::wait_table::Note;
use crate::wait::Demand;

/// Its notes, while it is held up.
pub(crate) struct Claims {
    owner: Owner,
    wait: Option<Note>,
    promises: Vec<Promise>,
}

/// How far a fence will be signalled: one note for all jobs.
struct Promise {
    owner: Owner,
    fence: usize,
    note: Note,
}

impl Claims {
    pub(crate) fn new() -> Claims {
        Claims { owner: Owner::new(OwnerKind::Queue), wait: None, promises: Vec::new() }
    }

    /// Whose notes they are.
    pub(crate) fn owner(&self) -> Owner {
        self.owner
    }

    /// It is held up by this.
    pub(crate) fn wait(&mut self, fence: &Fence, demand: Demand) {
        self.wait = Some(demand.of(fence).note(self.owner));
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
    fn add(&mut self, owner: Owner, items: &Items) {
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
                    note: fence.note_promise(owner, value),
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
