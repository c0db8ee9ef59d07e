// SPDX-License-Identifier: MIT
//! A queue, a watch or a thread of some process: what can wait for fences and signal them.

#![forbid(unsafe_code)]

use crate::sys::process;
use std::sync::atomic::{AtomicU32, Ordering};

/// One of them, named so that other processes can tell it from the others.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Participant {
    /// The PID namespace that gives the process id its meaning. 0 if unknown.
    namespace: u32,
    /// From the highest: 32 bits process id, 3 bits kind (never 0), 29 bits serial number or thread
    /// id.
    word: u64,
}

/// What a participant is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ParticipantKind {
    Queue = 1,
    Watch = 2,
    Thread = 3,
    /// A job that a queue has started and a driver or a device completes. It waits for nothing.
    Work = 4,
}

const SERIAL_BITS: u32 = 29;
const SERIAL: u64 = (1 << SERIAL_BITS) - 1;

impl Participant {
    /// A new queue or watch of this process.
    pub(crate) fn new(kind: ParticipantKind) -> Participant {
        static SERIALS: AtomicU32 = AtomicU32::new(1);
        Participant::of_this_process(kind, SERIALS.fetch_add(1, Ordering::Relaxed))
    }

    /// The calling thread.
    pub(crate) fn this_thread() -> Participant {
        Participant::of_this_process(ParticipantKind::Thread, process::thread_id())
    }

    fn of_this_process(kind: ParticipantKind, serial: u32) -> Participant {
        let word = u64::from(process::id()) << 32
            | (kind as u64) << SERIAL_BITS
            | u64::from(serial) & SERIAL;
        Participant { namespace: process::namespace(), word }
    }

    /// The work that this queue has started: what it will signal does not depend on what the queue
    /// waits for.
    pub(crate) fn work(self) -> Participant {
        let kind = 7 << SERIAL_BITS;
        let word = self.word & !kind | (ParticipantKind::Work as u64) << SERIAL_BITS;
        Participant { word, ..self }
    }

    /// A participant that was read from shared memory, where a peer may have written anything.
    pub(crate) fn from_shared(namespace: u32, word: u64) -> Participant {
        Participant { namespace, word }
    }

    /// The word that a wait record holds, beside the namespace. Never 0.
    pub(crate) fn to_shared(self) -> u64 {
        self.word
    }

    pub(crate) fn namespace(self) -> u32 {
        self.namespace
    }

    pub(crate) fn pid(self) -> u32 {
        (self.word >> 32) as u32
    }

    /// `None` for a word that no process writes that follows the rules.
    pub(crate) fn kind(self) -> Option<ParticipantKind> {
        match self.word >> SERIAL_BITS & 7 {
            1 => Some(ParticipantKind::Queue),
            2 => Some(ParticipantKind::Watch),
            3 => Some(ParticipantKind::Thread),
            4 => Some(ParticipantKind::Work),
            _ => None,
        }
    }

    /// The number among those of its kind, in its process.
    pub(crate) fn serial(self) -> u32 {
        (self.word & SERIAL) as u32
    }

    /// Whether it is of this process. The child of a fork inherits handles, but not the waits and
    /// signals of its parent.
    pub(crate) fn is_ours(self) -> bool {
        self.pid() == process::id()
    }

    /// Whether its process is known to be dead. A process id of another namespace means nothing
    /// here. This asks the kernel about another process, which a sandbox may punish: only for a
    /// report that somebody asked for.
    pub(crate) fn is_dead(self) -> bool {
        self.kind().is_none()
            || process::is_own_namespace(self.namespace) && process::is_gone(self.pid())
    }
}

#[cfg(all(test, not(modeled)))]
mod tests {
    use super::*;

    #[test]
    fn a_participant_names_its_process_and_itself() {
        let queue = Participant::new(ParticipantKind::Queue);
        assert_eq!((queue.kind(), queue.pid()), (Some(ParticipantKind::Queue), process::id()));
        assert_eq!(
            (queue.work().kind(), queue.work().serial()),
            (Some(ParticipantKind::Work), queue.serial())
        );
        assert_ne!(Participant::new(ParticipantKind::Queue), queue);
        assert_eq!(Participant::this_thread().serial(), process::thread_id());
        assert!(queue.is_ours() && !queue.is_dead());
    }
}
