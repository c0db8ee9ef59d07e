// SPDX-License-Identifier: MIT
//! The process that an object belongs to.

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};
use rustix::process::getpid;
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

/// Remembers the process that made an object. The child of a fork has a copy of the object, but
/// neither its threads nor a right to its kernel handles.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProcessBound(u64);

/// Marks a process id, which stands for a generation that does not tell.
const PID: u64 = 1 << 63;

impl ProcessBound {
    /// Binds an object to this process. Async-signal-safe.
    pub(crate) fn new() -> ProcessBound {
        match fork_generation() {
            // This costs a system call.
            0 => ProcessBound(PID | getpid().as_raw_nonzero().get() as u64),
            generation => ProcessBound(generation),
        }
    }

    /// Whether this process made the object, and not a parent that it was forked from.
    pub(crate) fn is_ours(&self) -> bool {
        *self == ProcessBound::new()
    }
}

/// Returns a number that no process has which this one was forked from. Async-signal-safe.
///
/// A process id does not tell: process 1 of a pid namespace may fork into a new one, where the
/// child is process 1 too. Before Linux 4.14, or if no memory can be mapped, this is 0, and the
/// process id has to do.
pub(crate) fn fork_generation() -> u64 {
    // A fork copies this, so it is at least what any ancestor has.
    static LAST: AtomicU64 = AtomicU64::new(0);
    let Some(word) = wiped_word() else { return 0 };
    let current = word.load(Ordering::Relaxed);
    if current != 0 {
        return current;
    }
    let next = LAST.fetch_add(1, Ordering::Relaxed) + 1;
    // Another thread may be first.
    word.compare_exchange(0, next, Ordering::Relaxed, Ordering::Relaxed)
        .map_or_else(|current| current, |_| next)
}

/// Returns a word that is 0 in the child of a fork (MADV_WIPEONFORK), mapped at the first call.
fn wiped_word() -> Option<&'static AtomicU64> {
    /// Null before the first call. Then the word, or `NONE` for good: objects are bound by then.
    static WORD: AtomicPtr<AtomicU64> = AtomicPtr::new(null_mut());
    static NONE: AtomicU64 = AtomicU64::new(0);
    let none = (&raw const NONE).cast_mut();
    let mut word = WORD.load(Ordering::Acquire);
    if word.is_null() {
        let mapping = map_wiped();
        let new = mapping.map_or(none, NonNull::as_ptr);
        word = match WORD.compare_exchange(null_mut(), new, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => new,
            Err(first) => {
                if let Some(mapping) = mapping {
                    // SAFETY: mapped above, and no other code knows it.
                    let _ = unsafe { munmap(mapping.as_ptr().cast(), size_of::<AtomicU64>()) };
                }
                first
            }
        };
    }
    // SAFETY: `NONE`, or a mapping that is never unmapped and starts with a word.
    if word == none { None } else { unsafe { word.as_ref() } }
}

#[cold]
fn map_wiped() -> Option<NonNull<AtomicU64>> {
    let size = size_of::<AtomicU64>();
    // SAFETY: a new mapping, at an address of the kernel's choice.
    let mapping = unsafe {
        mmap_anonymous(null_mut(), size, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)
    };
    let mapping = mapping.ok()?;
    // SAFETY: the mapping above, which no other code uses yet.
    if unsafe { madvise(mapping, size, Advice::LinuxWipeOnFork) }.is_err() {
        // SAFETY: as above.
        let _ = unsafe { munmap(mapping, size) };
        return None;
    }
    NonNull::new(mapping.cast())
}
