//! What the model checker runs, and what it puts in the place of the kernel and of shared memory.

#[allow(clippy::unwrap_used)]
mod poller;
#[allow(clippy::unwrap_used)]
mod protocol;
#[allow(clippy::unwrap_used)]
mod reclaim;
