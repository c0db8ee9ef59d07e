// SPDX-License-Identifier: MIT
//! A registry that keeps at most one live object per key.

use crate::error::{Error, Result};
use crate::util::key_map::KeyMap;
#[cfg(not(loom))]
use crate::util::mutex::{Guard, Mutex};
#[cfg(loom)]
use crate::util::optional::{Guard, Mutex};
use crate::util::refs::{Counted, Ref};
use std::hash::{BuildHasherDefault, Hash};
use std::ptr::NonNull;

/// At most one live object for each key, however often it is asked for.
///
/// It holds no references. An object whose last reference goes away leaves the registry, by calling
/// [`Registry::forget`] from its `Drop`.
pub(crate) struct Registry<K, T> {
    objects: Mutex<Objects<K, T>>,
}

type Objects<K, T> = KeyMap<K, NonNull<Counted<T>>>;

// SAFETY: the registry hands out `Ref<T>` to any thread, and follows its pointers only under the
// lock.
unsafe impl<K: Send, T: Send + Sync> Send for Registry<K, T> {}
// SAFETY: as above.
unsafe impl<K: Send, T: Send + Sync> Sync for Registry<K, T> {}

impl<K: Copy + Eq + Hash, T> Registry<K, T> {
    pub(crate) const fn new() -> Registry<K, T> {
        Registry { objects: Mutex::new(KeyMap::with_hasher(BuildHasherDefault::new())) }
    }

    #[cfg(loom)]
    pub(crate) fn modeled() -> Registry<K, T> {
        Registry { objects: Mutex::modeled(KeyMap::with_hasher(BuildHasherDefault::new())) }
    }

    /// The live object of `key` if there is one that `fits`, else the one that `make` makes, which
    /// takes its place.
    pub(crate) fn get_or_make(
        &self,
        key: K,
        fits: impl FnOnce(&T) -> bool,
        make: impl FnOnce() -> Result<T>,
    ) -> Result<Ref<T>> {
        // Declared before the lock is taken, so dropped after it is released: dropping may call
        // `forget`.
        let _unfit;
        let mut objects = self.lock();
        if let Some(object) = objects.get(&key).and_then(|counted| Self::upgrade(*counted)) {
            if fits(&object) {
                return Ok(object);
            }
            _unfit = object;
        }
        // Reserve first: once the object is made nothing may fail, or its drop would need the lock
        // that we hold.
        objects.try_reserve(1).map_err(|_| Error::NoMemory)?;
        let object = Ref::try_new(make)?;
        objects.insert(key, object.allocation());
        Ok(object)
    }

    /// The live object of `key`, if there is one.
    pub(crate) fn get(&self, key: K) -> Option<Ref<T>> {
        self.lock().get(&key).and_then(|counted| Self::upgrade(*counted))
    }

    /// A reference to each live object, in no particular order.
    pub(crate) fn all(&self) -> Result<Vec<Ref<T>>> {
        // Declared before the lock is taken, so dropped after it is released: dropping may call
        // `forget`.
        let mut all = Vec::new();
        let objects = self.lock();
        all.try_reserve_exact(objects.len()).map_err(|_| Error::NoMemory)?;
        all.extend(objects.values().filter_map(|counted| Self::upgrade(*counted)));
        Ok(all)
    }

    /// Called from the drop of `object`, which was registered under `key`.
    pub(crate) fn forget(&self, key: K, object: &T) {
        let mut objects = self.lock();
        // Another may have taken the place since the count fell to zero.
        // SAFETY: entries are live allocations while the lock is held (see `upgrade`).
        let is_it = |counted: &NonNull<Counted<T>>| unsafe { Ref::is_in(*counted, object) };
        if objects.get(&key).is_some_and(is_it) {
            objects.remove(&key);
        }
        if objects.is_empty() {
            // Its memory too: nothing else would free it when the library is unloaded.
            *objects = KeyMap::with_hasher(BuildHasherDefault::new());
        }
    }

    /// Makes a reference, unless the last one is gone already. The lock is held.
    fn upgrade(counted: NonNull<Counted<T>>) -> Option<Ref<T>> {
        // SAFETY: an entry's allocation is live: it is freed only after the object's drop, which
        // waits for our lock in order to `forget` the entry.
        unsafe { Ref::upgrade(counted) }
    }

    fn lock(&self) -> Guard<'_, Objects<K, T>> {
        // Nothing panics while the lock is held; if it did, the map would still be one.
        self.objects.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static REGISTRY: Registry<u32, Entry> = Registry::new();

    #[derive(Debug)]
    struct Entry(u32);

    impl Drop for Entry {
        fn drop(&mut self) {
            REGISTRY.forget(self.0, self);
        }
    }

    #[test]
    fn one_object_per_key_while_it_lives_and_none_afterwards() -> Result<()> {
        let first = REGISTRY.get_or_make(7, |_| true, || Ok(Entry(7)))?;
        let again = REGISTRY.get_or_make(7, |_| true, || Err(Error::Unexpected))?;
        assert!(std::ptr::eq(&*first, &*again));
        drop(first);
        drop(again);
        assert!(REGISTRY.lock().get(&7).is_none());
        Ok(())
    }

    #[test]
    fn an_object_that_no_longer_fits_is_replaced_and_leaves_the_new_one_alone() -> Result<()> {
        let old = REGISTRY.get_or_make(8, |_| true, || Ok(Entry(8)))?;
        let new = REGISTRY.get_or_make(8, |_| false, || Ok(Entry(8)))?;
        drop(old);
        let again = REGISTRY.get_or_make(8, |_| true, || Err(Error::Unexpected))?;
        assert!(std::ptr::eq(&*new, &*again));
        Ok(())
    }

    #[test]
    fn all_are_those_that_live() -> Result<()> {
        static LISTED: Registry<u32, u32> = Registry::new();
        let mut kept = Vec::new();
        for number in 0..5 {
            kept.push(LISTED.get_or_make(number, |_| true, || Ok(number))?);
        }
        let mut all: Vec<u32> = LISTED.all()?.iter().map(|object| **object).collect();
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2, 3, 4]);
        // The drop of these objects does not call `forget`.
        kept.iter().for_each(|object| LISTED.forget(**object, object));
        assert!(LISTED.all()?.is_empty());
        Ok(())
    }

    #[test]
    fn threads_that_open_and_close_the_same_key_never_share_a_dead_object() {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        let entry = REGISTRY.get_or_make(9, |_| true, || Ok(Entry(9)));
                        assert_eq!(entry.map(|entry| entry.0), Ok(9));
                    }
                });
            }
        });
        assert!(REGISTRY.lock().get(&9).is_none());
    }
}
