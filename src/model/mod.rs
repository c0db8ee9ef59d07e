// SPDX-License-Identifier: MIT
//! What the model checkers run, and what they put in the place of the kernel and of shared memory.
//!
//! loom explores every interleaving, and every value that the memory model lets a load return: of
//! the wake protocol, and of what few threads do with it. shuttle chooses interleavings at random:
//! of event loops and queues, which have too many. All models run the library's code as it is.

#[cfg(loom)]
#[allow(clippy::unwrap_used)]
mod notifier;
#[cfg(loom)]
#[allow(clippy::unwrap_used)]
mod poller;
#[cfg(loom)]
#[allow(clippy::unwrap_used)]
mod protocol;
#[cfg(loom)]
#[allow(clippy::unwrap_used)]
mod reader;
#[cfg(loom)]
#[allow(clippy::unwrap_used)]
mod reclaim;
#[cfg(loom)]
#[allow(clippy::unwrap_used)]
mod registry;
#[cfg(loom)]
#[allow(clippy::unwrap_used)]
mod timestamps;
#[cfg(loom)]
#[allow(clippy::unwrap_used)]
mod unordered;
#[cfg(loom)]
#[allow(clippy::unwrap_used)]
mod wait_set;

#[cfg(shuttle)]
#[allow(clippy::unwrap_used)]
mod event_loop;
#[cfg(shuttle)]
#[allow(clippy::unwrap_used)]
mod queue;
#[cfg(shuttle)]
#[allow(clippy::unwrap_used)]
mod random;
