//! Counted references whose allocation can fail, and a registry that keeps one object per key.
//!
//! `std::sync::Arc` aborts the process when memory runs out, which a library inside somebody's game
//! must not.

use crate::error::{Error, Result};
use std::alloc::{Layout, alloc, dealloc};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, DefaultHasher, Hash};
use std::marker::PhantomData;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The allocation behind a [`Ref`].
struct Counted<T> {
    /// 64 bits on every platform: no caller can count far enough to wrap it.
    count: AtomicU64,
    object: T,
}

/// A counted reference: `Arc` without weak references, and fallible to make.
pub(crate) struct Ref<T> {
    counted: NonNull<Counted<T>>,
    owns: PhantomData<Counted<T>>,
}

// SAFETY: as for `Arc`: references give out `&T` on any thread, and the last one drops the `T` on
// any thread.
unsafe impl<T: Send + Sync> Send for Ref<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for Ref<T> {}

impl<T> Ref<T> {
    /// The only reference to a new allocation of what `make` makes. `make` runs last: if memory is
    /// missing, nothing was made that would have to be dropped.
    pub(crate) fn try_new(make: impl FnOnce() -> Result<T>) -> Result<Ref<T>> {
        let layout = Layout::new::<Counted<T>>();
        // SAFETY: the count makes the layout larger than zero.
        let memory = unsafe { alloc(layout) }.cast::<Counted<T>>();
        let counted = NonNull::new(memory).ok_or(Error::NoMemory)?;
        match make() {
            Ok(object) => {
                // SAFETY: fresh memory of this layout, which nobody else knows.
                unsafe { counted.write(Counted { count: AtomicU64::new(1), object }) };
                Ok(Ref { counted, owns: PhantomData })
            }
            Err(error) => {
                // SAFETY: allocated above with this layout, and still empty.
                unsafe { dealloc(memory.cast(), layout) };
                Err(error)
            }
        }
    }

    /// Hands the reference to C. The address is that of the object.
    pub(crate) fn into_raw(self) -> *const T {
        let counted = self.counted.as_ptr();
        std::mem::forget(self);
        // SAFETY: the allocation lives on: the reference was forgotten, not dropped.
        unsafe { &raw const (*counted).object }
    }

    /// Takes a reference back from C.
    ///
    /// # Safety
    /// `object` came from `into_raw`, and this reference was not taken back before.
    pub(crate) unsafe fn from_raw(object: *const T) -> Ref<T> {
        // SAFETY: `into_raw` gave the address of the field `object` of a live `Counted`.
        let counted = unsafe { object.byte_sub(std::mem::offset_of!(Counted<T>, object)) };
        // SAFETY: an address inside an allocation is not null.
        let counted = unsafe { NonNull::new_unchecked(counted.cast_mut().cast()) };
        Ref { counted, owns: PhantomData }
    }

    /// How many references there are. Exact as far as nobody can clone or drop one meanwhile.
    pub(crate) fn count(&self) -> u64 {
        self.counted().count.load(Ordering::Acquire)
    }

    /// Whether both refer to the same object.
    pub(crate) fn is(&self, other: &Ref<T>) -> bool {
        self.counted == other.counted
    }

    fn counted(&self) -> &Counted<T> {
        // SAFETY: the allocation lives while a reference exists, and `self` is one.
        unsafe { self.counted.as_ref() }
    }
}

impl<T> Clone for Ref<T> {
    fn clone(&self) -> Ref<T> {
        // Relaxed: who clones holds a reference already, so nothing is learnt here.
        self.counted().count.fetch_add(1, Ordering::Relaxed);
        Ref { counted: self.counted, owns: PhantomData }
    }
}

impl<T> Deref for Ref<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.counted().object
    }
}

impl<T> Drop for Ref<T> {
    fn drop(&mut self) {
        // Release: what this thread did with the object comes before its end ...
        if self.counted().count.fetch_sub(1, Ordering::Release) != 1 {
            return;
        }
        // ... and Acquire: the end comes after what every other thread did with it. A load, which
        // reads from all their releases: ThreadSanitizer knows no fences.
        self.counted().count.load(Ordering::Acquire);
        // SAFETY: that was the last reference, so the object is ours alone. A `Registry` may still
        // look at the count, until the object's own drop has made it forget (see there).
        unsafe { (&raw mut (*self.counted.as_ptr()).object).drop_in_place() };
        // SAFETY: allocated by `try_new` with this layout; nobody looks at the count any more.
        unsafe { dealloc(self.counted.as_ptr().cast(), Layout::new::<Counted<T>>()) };
    }
}

/// At most one live object for each key, however often it is asked for. It holds no references: an
/// object whose last one goes away leaves the registry, by calling [`Registry::forget`] from its
/// `Drop`.
pub(crate) struct Registry<K, T> {
    objects: Mutex<Objects<K, T>>,
}

/// No random keys: hashing must not need a system call, and no key here is of a peer's free choice.
type Objects<K, T> = HashMap<K, NonNull<Counted<T>>, BuildHasherDefault<DefaultHasher>>;

// SAFETY: the registry hands out `Ref<T>` to any thread, and follows its pointers only under the
// lock.
unsafe impl<K: Send, T: Send + Sync> Send for Registry<K, T> {}
// SAFETY: as above.
unsafe impl<K: Send, T: Send + Sync> Sync for Registry<K, T> {}

impl<K: Copy + Eq + Hash, T> Registry<K, T> {
    pub(crate) const fn new() -> Registry<K, T> {
        Registry { objects: Mutex::new(HashMap::with_hasher(BuildHasherDefault::new())) }
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
        // Room first: once the object is made nothing may fail, or its drop would need the lock
        // that we hold.
        objects.try_reserve(1).map_err(|_| Error::NoMemory)?;
        let object = Ref::try_new(make)?;
        objects.insert(key, object.counted);
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
        // Another may have taken the place since the count fell to zero. SAFETY: only the address
        // is compared; entries are live allocations while the lock is held (see `upgrade`).
        let is_it = |counted: &NonNull<Counted<T>>| unsafe {
            std::ptr::eq(&raw const (*counted.as_ptr()).object, object)
        };
        if objects.get(&key).is_some_and(is_it) {
            objects.remove(&key);
        }
        if objects.is_empty() {
            // Its memory too: nothing else would free it when the library is unloaded.
            *objects = HashMap::with_hasher(BuildHasherDefault::new());
        }
    }

    /// A reference, unless the last one is gone already. To be called with the lock held.
    fn upgrade(counted: NonNull<Counted<T>>) -> Option<Ref<T>> {
        // SAFETY: an entry's allocation is live: it is freed only after the object's drop, which
        // waits for our lock in order to `forget` the entry.
        let count = unsafe { &(*counted.as_ptr()).count };
        // Acquire pairs with the lock only; the object was complete before it was inserted.
        count
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
                if count == 0 { None } else { Some(count + 1) }
            })
            .ok()?;
        Some(Ref { counted, owns: PhantomData })
    }

    fn lock(&self) -> MutexGuard<'_, Objects<K, T>> {
        // Nothing panics while the lock is held; if it did, the map would still be one.
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
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
    fn an_object_that_no_longer_fits_is_replaced_and_its_end_leaves_the_new_one_alone() -> Result<()>
    {
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
        // These do not know how to leave.
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
