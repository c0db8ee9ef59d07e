// SPDX-License-Identifier: MIT
//! A count and a mutex that are loom's only where a model asks for it. References and the registry
//! of open fences are in every model, and would make most of them too large.

use crate::util::mutex;
use loom::cell::UnsafeCell;
use std::cell::Cell;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

thread_local! {
    /// Of the thread that runs all of a model's threads.
    static COUNTS_ARE_MODELED: Cell<bool> = const { Cell::new(false) };
}

/// Makes the references that this thread's models make from now on loom's.
pub(crate) fn model_references() {
    COUNTS_ARE_MODELED.set(true);
}

/// The count of references to an object.
pub(crate) enum Count {
    System(AtomicU64),
    Modeled(ModeledCount),
}

/// Its memory is never freed. So an access after that is an access to this object, which fails.
pub(crate) struct ModeledCount {
    count: loom::sync::atomic::AtomicU64,
    /// Written when the memory would be freed, read with every access to the count.
    memory: UnsafeCell<()>,
    is_freed: AtomicBool,
}

impl ModeledCount {
    fn get(&self) -> &loom::sync::atomic::AtomicU64 {
        assert!(!self.is_freed.load(Ordering::Relaxed), "a reference count is used after its end");
        self.memory.with(|_| &self.count)
    }
}

impl Count {
    pub(crate) fn new(count: u64) -> Count {
        if !COUNTS_ARE_MODELED.get() {
            return Count::System(AtomicU64::new(count));
        }
        let count = loom::sync::atomic::AtomicU64::new(count);
        let (memory, is_freed) = (UnsafeCell::new(()), AtomicBool::new(false));
        Count::Modeled(ModeledCount { count, memory, is_freed })
    }

    pub(crate) fn load(&self, order: Ordering) -> u64 {
        match self {
            Count::System(count) => count.load(order),
            Count::Modeled(count) => count.get().load(order),
        }
    }

    pub(crate) fn fetch_add(&self, more: u64, order: Ordering) -> u64 {
        match self {
            Count::System(count) => count.fetch_add(more, order),
            Count::Modeled(count) => count.get().fetch_add(more, order),
        }
    }

    pub(crate) fn fetch_sub(&self, less: u64, order: Ordering) -> u64 {
        match self {
            Count::System(count) => count.fetch_sub(less, order),
            Count::Modeled(count) => count.get().fetch_sub(less, order),
        }
    }

    pub(crate) fn fetch_update(
        &self,
        set: Ordering,
        fetch: Ordering,
        change: impl FnMut(u64) -> Option<u64>,
    ) -> Result<u64, u64> {
        match self {
            Count::System(count) => count.fetch_update(set, fetch, change),
            Count::Modeled(count) => count.get().fetch_update(set, fetch, change),
        }
    }

    /// Whether the memory of the object stays. If so, it counts as freed from now on.
    pub(crate) fn keeps_memory(&self) -> bool {
        match self {
            Count::System(_) => false,
            Count::Modeled(count) => {
                count.memory.with_mut(|_| count.is_freed.store(true, Ordering::Relaxed));
                true
            }
        }
    }
}

/// The mutex of a registry.
pub(crate) enum Mutex<T> {
    System(mutex::Mutex<T>),
    Modeled(loom::sync::Mutex<T>),
}

pub(crate) enum Guard<'a, T> {
    System(mutex::Guard<'a, T>),
    Modeled(loom::sync::MutexGuard<'a, T>),
}

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Mutex<T> {
        Mutex::System(mutex::Mutex::new(value))
    }

    pub(crate) fn modeled(value: T) -> Mutex<T> {
        Mutex::Modeled(loom::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> Guard<'_, T> {
        match self {
            Mutex::System(mutex) => Guard::System(mutex.lock()),
            Mutex::Modeled(mutex) => match mutex.lock() {
                Ok(guard) => Guard::Modeled(guard),
                Err(_) => unreachable!("a model panicked"),
            },
        }
    }
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        match self {
            Guard::System(guard) => guard,
            Guard::Modeled(guard) => guard,
        }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        match self {
            Guard::System(guard) => guard,
            Guard::Modeled(guard) => guard,
        }
    }
}
