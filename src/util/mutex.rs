// SPDX-License-Identifier: MIT
//! The mutex of the library. Debug builds count how many of them a thread holds.
//!
//! No function of the caller's may run while its thread holds one: that function may call the
//! library, or take a lock of its own that another thread holds while it calls the library. Debug
//! builds abort when that happens (see callback.rs). Release builds count nothing.

#![forbid(unsafe_code)]

#[cfg(shuttle)]
use shuttle::sync::MutexGuard;
use std::ops::{Deref, DerefMut};
#[cfg(not(shuttle))]
use std::sync::MutexGuard;
use std::sync::{PoisonError, TryLockError};

/// The system's mutex, or that of shuttle, the model checker. It is not counted.
#[cfg(shuttle)]
pub(crate) use shuttle::sync::Mutex as Uncounted;
#[cfg(not(shuttle))]
pub(crate) use std::sync::Mutex as Uncounted;

/// A mutex without poisoning: nothing of the library panics while it holds a lock.
pub(crate) struct Mutex<T>(Uncounted<T>);

/// The lock, held until this is dropped.
pub(crate) struct Guard<'a, T> {
    guard: MutexGuard<'a, T>,
    _held: Held,
}

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Mutex<T> {
        Mutex(Uncounted::new(value))
    }

    pub(crate) fn lock(&self) -> Guard<'_, T> {
        let guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Guard { guard, _held: Held::new() }
    }

    /// Takes the lock, unless a thread holds it.
    pub(crate) fn try_lock(&self) -> Option<Guard<'_, T>> {
        let guard = match self.0.try_lock() {
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        Some(Guard { guard, _held: Held::new() })
    }
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

/// Whether the calling thread holds a lock of the library. Release builds do not know: false.
pub(crate) fn is_any_held() -> bool {
    held::count() != 0
}

/// Counts a lock as held while it lives.
struct Held;

impl Held {
    fn new() -> Held {
        held::change(1);
        Held
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        held::change(-1);
    }
}

#[cfg(any(debug_assertions, shuttle))]
mod held {
    #[cfg(shuttle)]
    use shuttle::thread_local;
    use std::cell::Cell;

    thread_local! {
        static COUNT: Cell<i32> = const { Cell::new(0) };
    }

    pub(super) fn change(by: i32) {
        COUNT.with(|count| count.set(count.get() + by));
    }

    pub(super) fn count() -> i32 {
        COUNT.with(Cell::get)
    }
}

#[cfg(not(any(debug_assertions, shuttle)))]
mod held {
    pub(super) fn change(_by: i32) {}

    pub(super) fn count() -> i32 {
        0
    }
}

/// The mutexes of what the model checker runs: the above, or those of loom.
pub(crate) mod modeled {
    #[cfg(not(loom))]
    pub(crate) use super::{Guard, Mutex};
    #[cfg(loom)]
    pub(crate) use loom::sync::MutexGuard as Guard;

    #[cfg(loom)]
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    #[cfg(loom)]
    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Mutex<T> {
            Mutex(loom::sync::Mutex::new(value))
        }

        pub(crate) fn try_lock(&self) -> Option<Guard<'_, T>> {
            self.0.try_lock().ok()
        }

        pub(crate) fn lock(&self) -> Guard<'_, T> {
            self.0.lock().unwrap_or_else(super::PoisonError::into_inner)
        }
    }
}

#[cfg(all(test, not(modeled)))]
mod tests {
    use super::*;

    #[test]
    fn debug_builds_count_the_locks_that_a_thread_holds() {
        let (first, second) = (Mutex::new(1), Mutex::new(2));
        assert!(!is_any_held());
        let guard = first.lock();
        assert_eq!(is_any_held(), cfg!(debug_assertions));
        assert!(first.try_lock().is_none());
        let other = second.try_lock();
        drop(guard);
        assert_eq!(is_any_held(), cfg!(debug_assertions));
        std::thread::scope(|scope| scope.spawn(|| assert!(!is_any_held())).join().is_ok());
        drop(other);
        assert!(!is_any_held());
    }
}
