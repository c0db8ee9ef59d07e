//! Whether the user wants to see what hangs: LIBUMF_DEBUG in the environment, 1 or more.
//!
//! Then waits that are about to sleep leave a note of that in the page (`ledger`), and a queue that
//! closes a circle of those who wait for each other has the wait-for graph printed
//! (`diagnostics::graph`). Without it, only queues and watches leave notes.

use crate::sys::env;
use std::sync::atomic::{AtomicBool, Ordering};

static ON: AtomicBool = AtomicBool::new(false);
static CONFIGURED: AtomicBool = AtomicBool::new(false);

/// Asks the environment, once. Called where a page is made, since waits may happen in signal
/// handlers, where the environment must not be read.
pub(crate) fn configure() {
    if !CONFIGURED.swap(true, Ordering::Relaxed) {
        ON.store(env::number(c"LIBUMF_DEBUG").is_some_and(|level| level > 0), Ordering::Relaxed);
    }
}

/// For slow paths: a satisfied wait and a signal do not ask.
pub(crate) fn is_on() -> bool {
    // The model checker has enough to do with the waits themselves.
    !cfg!(loom) && ON.load(Ordering::Relaxed)
}
