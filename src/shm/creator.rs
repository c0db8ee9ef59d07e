// SPDX-License-Identifier: MIT
//! The process that created a fence, as the slot names it.
//!
//! A slot names a process before that process changes anything else there, and until it changes
//! nothing more (slot.rs, C1 and E3). So a process that is killed leaves its name in its slots.
//!
//! The name is one word, so that it is written at once. It holds what the kernel tells about the
//! process: its id, the pid namespace that gives the id its meaning, and when it started.
//!
//! # Which processes are known to be dead
//!
//! - One of this pid namespace, if the kernel does not list its id any more, or if a pidfd of that
//!   id is readable. Another process that has the id now hides the death. The start time is not
//!   asked: a time namespace changes what /proc shows of it, and the process may live.
//! - One of any namespace that was tied by a pidfd. The tie reads the name while the process lives.
//!   When it dies, the tie changes the name in its slots to [`Creator::ABANDONED`], for every
//!   process. Here the start time tells it from a later process with the same id.
//!
//! A peer may write any name. So it can have a slot reclaimed, or keep it in use. It can do both by
//! writing to the state of the slot as well.

#![forbid(unsafe_code)]

use crate::sys::process::{self, Identity};
use crate::util::process_bound::fork_generation;
use std::sync::atomic::{AtomicU64, Ordering};

/// The name of a process. From the highest: 14 bits start time, 28 bits pid namespace, 22 bits
/// process id (never 0).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Creator(u64);

const PID_BITS: u32 = 22;
const NAMESPACE_BITS: u32 = 28;
const PID: u64 = (1 << PID_BITS) - 1;
const NAMESPACE: u64 = (1 << NAMESPACE_BITS) - 1;

impl Creator {
    /// A process that died. No process has the id 0.
    pub(super) const ABANDONED: Creator = Creator(1 << PID_BITS);

    /// No process ends the fence. It lives as long as its page.
    pub(super) const PAGE: Creator = Creator(2 << PID_BITS);

    /// This process.
    pub(crate) fn this_process() -> Creator {
        /// The name, and the process that it was made for: the child of a fork is another one.
        static KNOWN: AtomicU64 = AtomicU64::new(0);
        static KNOWN_FOR: AtomicU64 = AtomicU64::new(0);
        let process = match fork_generation() {
            0 => 1 << 63 | u64::from(process::id()),
            generation => generation,
        };
        // Acquire, and Release in `ask`: the name that is read next is of this process. All of its
        // threads store the same.
        if KNOWN_FOR.load(Ordering::Acquire) == process {
            return Creator(KNOWN.load(Ordering::Relaxed));
        }
        ask(process, &KNOWN, &KNOWN_FOR)
    }

    pub(crate) fn of(identity: Identity) -> Creator {
        let namespace = u64::from(identity.namespace) & NAMESPACE;
        let start = identity.start_time << (PID_BITS + NAMESPACE_BITS);
        Creator(start | namespace << PID_BITS | u64::from(identity.pid) & PID)
    }

    /// The id of the process and its pid namespace, if the creator is a process.
    #[cfg(not(loom))]
    pub(crate) fn process(self) -> Option<(u32, u32)> {
        let pid = self.0 & PID;
        (pid != 0).then_some((pid as u32, (self.0 >> PID_BITS & NAMESPACE) as u32))
    }

    /// Whether no process ends the fence.
    #[cfg(not(loom))]
    pub(crate) fn is_page(self) -> bool {
        self == Creator::PAGE
    }

    /// The process that a slot names, if any. A peer may have written anything.
    pub(super) fn from_shared(word: u64) -> Option<Creator> {
        (word != 0).then_some(Creator(word))
    }

    /// Never 0.
    pub(super) fn to_shared(self) -> u64 {
        self.0
    }

    /// Whether the process is known to be dead. This may ask the kernel about another process,
    /// which a sandbox may punish.
    #[cfg(not(loom))]
    pub(crate) fn is_dead(self) -> bool {
        let (pid, namespace) = (self.0 & PID, self.0 >> PID_BITS & NAMESPACE);
        if pid == 0 {
            return self == Creator::ABANDONED;
        }
        let own_namespace = u64::from(process::namespace()) & NAMESPACE;
        let is_of_own_namespace = namespace != 0 && namespace == own_namespace;
        is_of_own_namespace && self != Creator::this_process() && process::has_exited(pid as u32)
    }

    #[cfg(loom)]
    pub(crate) fn of_model(pid: u32) -> Creator {
        Creator(pid.into())
    }
}

#[cold]
fn ask(process: u64, known: &AtomicU64, known_for: &AtomicU64) -> Creator {
    let (identity, is_final) = process::identity();
    let creator = Creator::of(identity);
    if is_final {
        known.store(creator.0, Ordering::Relaxed);
        known_for.store(process, Ordering::Release);
    }
    creator
}
