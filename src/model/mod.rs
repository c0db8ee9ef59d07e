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

/// With LIBUMF_FAIL_FAST the first failure ends the program, and the model's name is printed: of a
/// mutant, one is enough.
///
/// A model that fails panics with a text. The checkers end the threads that a run has left by a
/// panic with something else, and take the hook away meanwhile: but there is one hook for all
/// models, and others run at the same time.
fn end_at_the_first_failure() {
    use std::io::Write;
    if std::env::var_os("LIBUMF_FAIL_FAST").is_some() {
        std::panic::set_hook(Box::new(|panic| {
            if panic.payload().is::<String>() || panic.payload().is::<&str>() {
                // The test harness catches what `eprintln` writes.
                let name = std::thread::current().name().unwrap_or_default().to_owned();
                let _ = writeln!(std::io::stderr(), "{name}");
                std::process::exit(101);
            }
        }));
    }
}
