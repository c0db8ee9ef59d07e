// SPDX-License-Identifier: MIT
//! Counted references whose allocation can fail.
//!
//! This is `std::sync::Arc` without weak references. `Arc` aborts the process when memory runs out,
//! which a library must not do to a game.

use crate::error::{Error, Result};
use std::alloc::{Layout, alloc, dealloc};
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicPtr, Ordering};

#[cfg(loom)]
use super::optional::Count;
#[cfg(not(loom))]
use std::sync::atomic::AtomicU64 as Count;

/// The allocation behind a [`Ref`]. Only this folder can use it. Its name is visible to the crate
/// since the signature of [`Ref::unsize`] has it.
pub(crate) struct Counted<T: ?Sized> {
    /// 64 bits on every platform: no caller can count far enough to wrap it.
    count: Count,
    object: T,
}

/// A counted reference, to a sized object or to a trait object.
pub(crate) struct Ref<T: ?Sized> {
    counted: NonNull<Counted<T>>,
    owns: PhantomData<Counted<T>>,
}

// SAFETY: as for `Arc`: references give out `&T` on any thread, and the last one drops the `T` on
// any thread.
unsafe impl<T: ?Sized + Send + Sync> Send for Ref<T> {}
// SAFETY: as above.
unsafe impl<T: ?Sized + Send + Sync> Sync for Ref<T> {}

impl<T> Ref<T> {
    /// Makes the only reference to a new object, which `make` makes. `make` runs last: if memory is
    /// missing, nothing was made that would have to be dropped.
    pub(crate) fn try_new(make: impl FnOnce() -> Result<T>) -> Result<Ref<T>> {
        let layout = Layout::new::<Counted<T>>();
        // SAFETY: the count makes the layout larger than zero.
        let memory = unsafe { alloc(layout) }.cast::<Counted<T>>();
        let counted = NonNull::new(memory).ok_or(Error::NoMemory)?;
        match make() {
            Ok(object) => {
                // SAFETY: fresh memory of this layout, which no other code knows.
                unsafe { counted.write(Counted { count: Count::new(1), object }) };
                Ok(Ref { counted, owns: PhantomData })
            }
            Err(error) => {
                // SAFETY: allocated above with this layout, and still empty.
                unsafe { dealloc(memory.cast(), layout) };
                Err(error)
            }
        }
    }

    /// The address of the object, for C. The reference stays here.
    pub(crate) fn as_raw(&self) -> *const T {
        // SAFETY: the allocation lives while a reference exists, and `self` is one.
        unsafe { &raw const (*self.counted.as_ptr()).object }
    }

    /// Hands the reference to C. The address is that of the object.
    pub(crate) fn into_raw(self) -> *const T {
        ManuallyDrop::new(self).as_raw()
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

    /// Turns the reference into one to a trait object. Nothing is allocated.
    ///
    /// `unsize` is `|object| object`, which the compiler coerces as it would an `Arc`; only the
    /// standard library may offer that coercion without a call. It can return nothing else: no code
    /// outside this folder can get at another `Counted`.
    pub(crate) fn unsize<U: ?Sized>(
        self,
        unsize: impl FnOnce(NonNull<Counted<T>>) -> NonNull<Counted<U>>,
    ) -> Ref<U> {
        let counted = unsize(self.counted);
        std::mem::forget(self);
        Ref { counted, owns: PhantomData }
    }

    /// Returns the number of references. Exact unless another thread clones or drops one meanwhile.
    pub(crate) fn count(&self) -> u64 {
        self.counted().count.load(Ordering::Acquire)
    }

    /// Whether both refer to the same object.
    pub(crate) fn is(&self, other: &Ref<T>) -> bool {
        self.counted == other.counted
    }

    /// The allocation, for comparison and for [`Ref::upgrade`]. It holds no reference.
    pub(super) fn allocation(&self) -> NonNull<Counted<T>> {
        self.counted
    }

    /// Makes a reference, unless the last one is gone already.
    ///
    /// # Safety
    /// The allocation was not freed: its object's drop has not returned.
    pub(super) unsafe fn upgrade(counted: NonNull<Counted<T>>) -> Option<Ref<T>> {
        // SAFETY: by this function's contract.
        let count = unsafe { &(*counted.as_ptr()).count };
        // Relaxed: the object was published with the address of its allocation.
        count
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
                if count == 0 { None } else { Some(count + 1) }
            })
            .ok()?;
        Some(Ref { counted, owns: PhantomData })
    }

    /// Whether `object` is the object of the allocation.
    ///
    /// # Safety
    /// As for [`Ref::upgrade`].
    pub(super) unsafe fn is_in(counted: NonNull<Counted<T>>, object: &T) -> bool {
        // SAFETY: by this function's contract. The address alone is taken.
        unsafe { std::ptr::eq(&raw const (*counted.as_ptr()).object, object) }
    }
}

impl<T: ?Sized> Ref<T> {
    fn counted(&self) -> &Counted<T> {
        // SAFETY: the allocation lives while a reference exists, and `self` is one.
        unsafe { self.counted.as_ref() }
    }

    /// Drops the object, and frees its memory. Kept out of line: inlined, the ends of whatever an
    /// object holds would be repeated wherever a reference to it ends.
    ///
    /// # Safety
    /// `self` was the last reference: the count is 0.
    #[inline(never)]
    unsafe fn drop_object(&mut self) {
        // Acquire, which pairs with each Release in `drop`: the end of the object comes after what
        // every other thread did with it. A load, which reads from all their releases:
        // ThreadSanitizer does not understand fences.
        self.counted().count.load(Ordering::Acquire);
        let layout = Layout::for_value(self.counted());
        // SAFETY: by this function's contract the object is ours alone. A `Registry` may still look
        // at the count, until the object's own drop has made it forget (see there).
        unsafe { (&raw mut (*self.counted.as_ptr()).object).drop_in_place() };
        #[cfg(loom)]
        if self.counted().count.keeps_memory() {
            return;
        }
        // SAFETY: allocated by `try_new` with this layout; no other code reads the count any more.
        unsafe { dealloc(self.counted.as_ptr().cast(), layout) };
    }
}

impl<T: ?Sized> Clone for Ref<T> {
    fn clone(&self) -> Ref<T> {
        // Relaxed: the caller holds a reference already, so there is nothing to acquire.
        self.counted().count.fetch_add(1, Ordering::Relaxed);
        Ref { counted: self.counted, owns: PhantomData }
    }
}

impl<T: ?Sized> Deref for Ref<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.counted().object
    }
}

impl<T: ?Sized> Drop for Ref<T> {
    fn drop(&mut self) {
        // Release: what this thread did with the object comes before its end.
        if self.counted().count.fetch_sub(1, Ordering::Release) == 1 {
            // SAFETY: that was the last reference.
            unsafe { self.drop_object() };
        }
    }
}

/// A place for a reference that is set once and then read without a lock, also in signal handlers.
pub(crate) struct OnceRef<T> {
    /// What `Ref::into_raw` returned, or null.
    object: AtomicPtr<T>,
    owns: PhantomData<Ref<T>>,
}

impl<T> OnceRef<T> {
    pub(crate) const fn new() -> OnceRef<T> {
        OnceRef { object: AtomicPtr::new(std::ptr::null_mut()), owns: PhantomData }
    }

    pub(crate) fn get(&self) -> Option<&T> {
        // SAFETY: null, or from `into_raw` of a reference that lives as long as `self`: `set` leaks
        // what it replaces. Acquire, which pairs with Release in `set`.
        unsafe { self.object.load(Ordering::Acquire).as_ref() }
    }

    /// Whether the place holds this reference.
    pub(crate) fn holds(&self, reference: &Ref<T>) -> bool {
        self.get().is_some_and(|object| std::ptr::eq(object, &**reference))
    }

    /// Returns another reference to the object.
    pub(crate) fn clone_ref(&self) -> Option<Ref<T>> {
        let object = std::ptr::from_ref(self.get()?);
        // SAFETY: the place owns a reference, which `ManuallyDrop` leaves to it.
        let held = std::mem::ManuallyDrop::new(unsafe { Ref::from_raw(object) });
        Some((*held).clone())
    }

    /// Sets the reference. If there is one already, returns `new`, unless `may_replace` the one
    /// that is there, which is leaked: other threads may use it.
    pub(crate) fn set(
        &self,
        new: Ref<T>,
        may_replace: impl Fn(&T) -> bool,
    ) -> std::result::Result<(), Ref<T>> {
        let current = self.object.load(Ordering::Acquire);
        // SAFETY: as for `get`.
        if unsafe { current.as_ref() }.is_some_and(|current| !may_replace(current)) {
            return Err(new);
        }
        let raw = new.into_raw();
        let (success, failure) = (Ordering::AcqRel, Ordering::Acquire);
        match self.object.compare_exchange(current, raw.cast_mut(), success, failure) {
            Ok(_) => Ok(()),
            // SAFETY: from `into_raw` above, and the place has not taken it.
            Err(_) => Err(unsafe { Ref::from_raw(raw) }),
        }
    }
}

impl<T> Drop for OnceRef<T> {
    fn drop(&mut self) {
        let object = *self.object.get_mut();
        if !object.is_null() {
            // SAFETY: from `into_raw`; the place owns that reference, and nobody reads it any more.
            drop(unsafe { Ref::from_raw(object.cast_const()) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;

    #[test]
    fn a_reference_is_set_once_and_dropped_with_its_place() -> Result<()> {
        let (first, second) = (Ref::try_new(|| Ok(1))?, Ref::try_new(|| Ok(2))?);
        let place = OnceRef::new();
        assert!(place.get().is_none() && place.clone_ref().is_none());
        assert!(place.set(first.clone(), |_| false).is_ok());
        assert!(place.set(second.clone(), |_| false).is_err());
        assert_eq!(place.get(), Some(&1));
        assert_eq!((place.clone_ref().map(|clone| *clone), first.count()), (Some(1), 2));
        assert!(place.set(second.clone(), |current| *current == 1).is_ok());
        assert_eq!((place.get(), second.count()), (Some(&2), 2));
        drop(place);
        // What was replaced is leaked.
        assert_eq!((first.count(), second.count()), (2, 1));
        // SAFETY: the leaked reference, which nobody else has.
        drop(unsafe { Ref::from_raw(std::ptr::from_ref(&*first)) });
        assert_eq!(first.count(), 1);
        Ok(())
    }

    trait Describe: Send + Sync {
        fn describe(&self) -> u64;
    }

    struct Counter(&'static AtomicU64);

    impl Describe for Counter {
        fn describe(&self) -> u64 {
            self.0.load(Ordering::Relaxed)
        }
    }

    impl Drop for Counter {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_reference_to_a_trait_object_counts_with_the_others_and_the_last_drops_it() -> Result<()> {
        static DROPPED: AtomicU64 = AtomicU64::new(0);
        let sized = Ref::try_new(|| Ok(Counter(&DROPPED)))?;
        let described = sized.clone().unsize::<dyn Describe>(|object| object);
        let again = described.clone();
        assert_eq!(sized.count(), 3);
        assert!(std::ptr::addr_eq(&raw const *sized, &raw const *described));
        drop((sized, described));
        assert_eq!(again.describe(), 0);
        drop(again);
        assert_eq!(DROPPED.load(Ordering::Relaxed), 1);
        Ok(())
    }
}
