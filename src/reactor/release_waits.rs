// SPDX-License-Identifier: MIT
//! Threads that wait in umf_watch_cancel() for a release function that another thread runs.
//!
//! A release function may cancel other watches. If two threads are in the release functions of two
//! watches, and each cancels the watch of the other, both would wait for ever; the same for more
//! threads in a circle. A thread waits for one release at a time, and one thread runs a release. So
//! the waits form chains, and a thread that is about to wait follows the chain: if that leads back
//! to the thread, it does not wait.
//!
//! A wait is entered under the lock of its watch, while the watch is being released. It is removed
//! after the release has returned, before the waiter is woken. So no wait in the table is over.

#![forbid(unsafe_code)]

use crate::error::{Error, Result};
use crate::sys::thread::ThreadId;
use crate::util::mutex::Mutex;

/// No allocation can fail here. If more threads wait at the same time, some poll for a place.
const MAX_WAITS: usize = 32;

#[derive(Clone, Copy)]
struct ReleaseWait {
    waiter: ThreadId,
    /// The address of the watch.
    watch: usize,
    /// The thread that releases it.
    releaser: ThreadId,
}

static WAITS: Mutex<[Option<ReleaseWait>; MAX_WAITS]> = Mutex::new([None; MAX_WAITS]);

/// Enters that the calling thread waits until `releaser` has released the watch. Returns false if
/// there is no place. `Deadlock` if the releaser waits for the calling thread.
pub(super) fn enter(watch: usize, releaser: ThreadId) -> Result<bool> {
    let waiter = ThreadId::current();
    let mut waits = WAITS.lock();
    let releaser_of = |thread: ThreadId| {
        waits.iter().flatten().find(|wait| wait.waiter == thread).map(|wait| wait.releaser)
    };
    let mut last = releaser;
    // A chain has at most as many waits as the table.
    for _ in 0..MAX_WAITS {
        let Some(next) = releaser_of(last) else { break };
        if next == waiter {
            return Err(Error::Deadlock);
        }
        last = next;
    }
    // The thread may be back from a sleep that ended early.
    if waits.iter().flatten().any(|wait| wait.waiter == waiter) {
        return Ok(true);
    }
    let free = waits.iter_mut().find(|wait| wait.is_none());
    Ok(free.map(|place| *place = Some(ReleaseWait { waiter, watch, releaser })).is_some())
}

/// Removes the waits for a watch, which is released.
pub(super) fn leave(watch: usize) {
    for wait in WAITS.lock().iter_mut() {
        wait.take_if(|wait| wait.watch == watch);
    }
}
