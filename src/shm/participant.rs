//! Who waits for fences and promises to signal them: a queue, a watch or a thread of some process.

use crate::sys::process;
use std::sync::atomic::{AtomicU32, Ordering};

/// Who waits or promises.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Owner {
    /// The namespace that the process id is of: the same number is another process elsewhere. 0 if
    /// unknown.
    namespace: u32,
    /// From the highest: 32 bits process id, 3 bits kind (never 0), 29 bits serial number or thread
    /// id.
    word: u64,
}

/// What kind of thing an owner is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum OwnerKind {
    Queue = 1,
    Watch = 2,
    Thread = 3,
    /// What a queue has started and a driver or a device finishes: it waits for nothing.
    Work = 4,
}

const SERIAL_BITS: u32 = 29;
const SERIAL: u64 = (1 << SERIAL_BITS) - 1;

impl Owner {
    /// A new queue or watch of this process.
    pub(crate) fn new(kind: OwnerKind) -> Owner {
        static SERIALS: AtomicU32 = AtomicU32::new(1);
        Owner::of_this_process(kind, SERIALS.fetch_add(1, Ordering::Relaxed))
    }

    /// The calling thread.
    pub(crate) fn this_thread() -> Owner {
        Owner::of_this_process(OwnerKind::Thread, process::thread_id())
    }

    fn of_this_process(kind: OwnerKind, serial: u32) -> Owner {
        let word = u64::from(process::id()) << 32
            | (kind as u64) << SERIAL_BITS
            | u64::from(serial) & SERIAL;
        Owner { namespace: process::namespace(), word }
    }

    /// What this queue has started: its promises do not depend on what the queue waits for.
    pub(crate) fn work(self) -> Owner {
        let kind = 7 << SERIAL_BITS;
        Owner { word: self.word & !kind | (OwnerKind::Work as u64) << SERIAL_BITS, ..self }
    }

    /// As a ledger tells of somebody, who may be anybody.
    pub(crate) fn from_shared(namespace: u32, word: u64) -> Owner {
        Owner { namespace, word }
    }

    /// As it is written into a ledger, beside the namespace. Never 0.
    pub(crate) fn to_shared(self) -> u64 {
        self.word
    }

    pub(crate) fn namespace(self) -> u32 {
        self.namespace
    }

    pub(crate) fn pid(self) -> u32 {
        (self.word >> 32) as u32
    }

    /// `None` for what no process wrote that keeps to the rules.
    pub(crate) fn kind(self) -> Option<OwnerKind> {
        match self.word >> SERIAL_BITS & 7 {
            1 => Some(OwnerKind::Queue),
            2 => Some(OwnerKind::Watch),
            3 => Some(OwnerKind::Thread),
            4 => Some(OwnerKind::Work),
            _ => None,
        }
    }

    /// Which of its kind, in its process.
    pub(crate) fn serial(self) -> u32 {
        (self.word & SERIAL) as u32
    }

    /// The child of a fork inherits handles, but not what its parent waits for and owes.
    pub(crate) fn is_ours(self) -> bool {
        self.pid() == process::id()
    }

    /// Whether its process is known to be gone. A process id of another namespace tells nothing
    /// here.
    pub(crate) fn is_gone(self) -> bool {
        self.kind().is_none()
            || process::is_own_namespace(self.namespace) && process::is_gone(self.pid())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn an_owner_says_who_it_is() {
        let queue = Owner::new(OwnerKind::Queue);
        assert_eq!((queue.kind(), queue.pid()), (Some(OwnerKind::Queue), process::id()));
        assert_eq!(
            (queue.work().kind(), queue.work().serial()),
            (Some(OwnerKind::Work), queue.serial())
        );
        assert_ne!(Owner::new(OwnerKind::Queue), queue);
        assert_eq!(Owner::this_thread().serial(), process::thread_id());
        assert!(queue.is_ours() && !queue.is_gone());
    }
}
