// SPDX-License-Identifier: MIT
//! The kernel's futexes as the model checkers see them: what sys/futex.rs does with system calls,
//! on the threads of loom or shuttle.
//!
//! As in the kernel, one lock covers the check of the word before a sleep and the search for
//! sleepers at a wake. There is one queue for all words. Deadlines pass when a model calls
//! [`expire`].

use crate::error::{Error, Result};
use crate::sys::time::Deadline;
use crate::util::atomic::{AtomicU32, Ordering};
#[cfg(loom)]
use loom::{
    lazy_static,
    sync::{Condvar, Mutex, MutexGuard},
};
#[cfg(shuttle)]
use shuttle::{
    lazy_static,
    sync::{Condvar, Mutex, MutexGuard},
};
use std::cell::Cell;
use std::num::NonZeroU32;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sleep {
    Woken(usize),
    Changed,
    Interrupted,
    TimedOut,
}

pub(crate) const WAITV_MAX: usize = 128;
pub(crate) const MUTED_NS: u64 = 1_000_000_000;

#[derive(Clone, Copy)]
pub(crate) struct Word<'a> {
    pub(crate) word: &'a AtomicU32,
    pub(crate) expected: u32,
}

struct Sleeper {
    words: Vec<usize>,
    bits: u32,
    deadline: Deadline,
    ended: Option<Sleep>,
}

#[derive(Default)]
struct Queue {
    sleepers: Vec<Sleeper>,
    expired: bool,
}

lazy_static! {
    static ref QUEUE: Mutex<Queue> = Mutex::new(Queue::default());
    static ref CHANGED: Condvar = Condvar::new();
}

fn queue() -> MutexGuard<'static, Queue> {
    match QUEUE.lock() {
        Ok(queue) => queue,
        Err(_) => unreachable!("a model panicked"),
    }
}

fn address(word: &AtomicU32) -> usize {
    std::ptr::from_ref(word) as usize
}

pub(crate) fn wait(
    word: &AtomicU32,
    expected: u32,
    bits: NonZeroU32,
    deadline: Deadline,
) -> Result<Sleep> {
    sleep(&[Word { word, expected }], bits.get(), deadline)
}

pub(crate) const SHORT_LIST: usize = 2;

pub(crate) struct WaitList(Vec<(*const AtomicU32, u32)>);

impl WaitList {
    pub(crate) fn new() -> WaitList {
        WaitList(Vec::new())
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    pub(crate) fn push(&mut self, word: Word<'_>) -> Result<()> {
        self.0.push((word.word, word.expected));
        Ok(())
    }
}

pub(crate) fn wait_many(list: &WaitList, deadline: Deadline) -> Result<Sleep> {
    // SAFETY: the caller of `block::on` borrows the words until it returns.
    let word = |(word, expected): &(*const AtomicU32, u32)| unsafe {
        Word { word: &**word, expected: *expected }
    };
    sleep(&list.0.iter().map(word).collect::<Vec<_>>(), u32::MAX, deadline)
}

pub(crate) fn sleep_without_memory(_: Deadline) -> Sleep {
    Sleep::Interrupted
}

thread_local! {
    /// Of the thread that runs all of a model's threads.
    static HAS_WAITV: Cell<bool> = const { Cell::new(true) };
}

pub(crate) fn has_waitv() -> bool {
    HAS_WAITV.get()
}

/// Says whether the model that is run next by this thread has futex_waitv.
pub(crate) fn set_has_waitv(has_waitv: bool) {
    HAS_WAITV.set(has_waitv);
}

pub(crate) fn has_harmless_waitv() -> Option<bool> {
    Some(has_waitv())
}

pub(crate) fn lost_waitv(_: Error) -> bool {
    false
}

pub(crate) fn sleep_briefly(_: Deadline) {}

fn sleep(words: &[Word<'_>], bits: u32, deadline: Deadline) -> Result<Sleep> {
    let mut queue = queue();
    if words.iter().any(|word| word.word.load(Ordering::Relaxed) != word.expected) {
        return Ok(Sleep::Changed);
    }
    if queue.expired && deadline != Deadline::NEVER {
        return Ok(Sleep::TimedOut);
    }
    let words = words.iter().map(|word| address(word.word)).collect();
    // Never removed, so that the index stays: a model has a handful of sleeps.
    queue.sleepers.push(Sleeper { words, bits, deadline, ended: None });
    let me = queue.sleepers.len() - 1;
    loop {
        if let Some(ended) = queue.sleepers[me].ended {
            return Ok(ended);
        }
        queue = match CHANGED.wait(queue) {
            Ok(queue) => queue,
            Err(_) => unreachable!("a model panicked"),
        };
    }
}

pub(crate) fn wake(word: &AtomicU32, bits: NonZeroU32) {
    end(|sleeper| {
        let at = sleeper.words.iter().position(|slept_on| *slept_on == address(word));
        at.filter(|_| sleeper.bits & bits.get() != 0).map(Sleep::Woken)
    });
}

/// Makes every deadline pass but `Deadline::NEVER`.
pub(crate) fn expire() {
    queue().expired = true;
    end(|sleeper| (sleeper.deadline != Deadline::NEVER).then_some(Sleep::TimedOut));
}

/// The time: 1 after [`expire`], 0 before.
pub(crate) fn now() -> u64 {
    queue().expired.into()
}

/// Ends the sleeps for which `how` returns an end.
fn end(how: impl Fn(&Sleeper) -> Option<Sleep>) {
    let mut queue = queue();
    for sleeper in queue.sleepers.iter_mut().filter(|sleeper| sleeper.ended.is_none()) {
        sleeper.ended = how(sleeper);
    }
    CHANGED.notify_all();
}
