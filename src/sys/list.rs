// SPDX-License-Identifier: MIT
//! mmap of anonymous memory: a list without malloc and with little stack.
//!
//! For waits, which may run in a signal handler: malloc is not allowed there, and a signal stack
//! may have 8 KiB.

use crate::error::{Error, Result};
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};
use std::mem::MaybeUninit;
use std::ptr::NonNull;

/// A list of at most `MAX` items. The first `SHORT` of them need no memory; a longer list lies in
/// memory that is mapped for it, and unmapped when it is dropped. Async-signal-safe.
pub(crate) struct List<T: Copy, const SHORT: usize, const MAX: usize> {
    /// The items, unless there is a mapping.
    short: [MaybeUninit<T>; SHORT],
    /// Memory for `MAX` items.
    mapping: Option<NonNull<T>>,
    len: usize,
}

// SAFETY: the list owns the mapping and its items, as a Vec does.
unsafe impl<T: Copy + Send, const SHORT: usize, const MAX: usize> Send for List<T, SHORT, MAX> {}

impl<T: Copy, const SHORT: usize, const MAX: usize> List<T, SHORT, MAX> {
    const MAPPED_BYTES: usize = MAX * size_of::<T>();

    pub(crate) fn new() -> List<T, SHORT, MAX> {
        List { short: [const { MaybeUninit::uninit() }; SHORT], mapping: None, len: 0 }
    }

    /// Append an item. `NoMemory` if the list is full or no memory can be mapped.
    pub(crate) fn push(&mut self, item: T) -> Result<()> {
        if self.mapping.is_none() && self.len == SHORT {
            self.map()?;
        }
        match self.mapping {
            None => {
                let free = self.short.get_mut(self.len).ok_or(Error::NoMemory)?;
                free.write(item);
            }
            Some(_) if self.len == MAX => return Err(Error::NoMemory),
            // SAFETY: the mapping has room for MAX items, and `len` is smaller.
            Some(items) => unsafe { items.add(self.len).write(item) },
        }
        self.len += 1;
        Ok(())
    }

    /// Move the items to a mapping.
    #[cold]
    fn map(&mut self) -> Result<()> {
        // SAFETY: a new mapping, at an address of the kernel's choice.
        let mapping = unsafe {
            mmap_anonymous(
                std::ptr::null_mut(),
                Self::MAPPED_BYTES,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )
        };
        let mapping = NonNull::new(mapping?.cast::<T>()).ok_or(Error::Unexpected)?;
        // SAFETY: `len` items are initialized, and at most SHORT. The mapping has room for MAX, and
        // memory pages are aligned for any T.
        unsafe { mapping.as_ptr().copy_from_nonoverlapping(self.short.as_ptr().cast(), self.len) };
        self.mapping = Some(mapping);
        Ok(())
    }

    /// Remove all items, and keep the memory.
    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }

    pub(crate) fn as_slice(&self) -> &[T] {
        let items =
            self.mapping.map_or(self.short.as_ptr().cast(), |items| items.as_ptr().cast_const());
        // SAFETY: `push` has initialized `len` items there.
        unsafe { std::slice::from_raw_parts(items, self.len) }
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [T] {
        let items = self.mapping.map_or(self.short.as_mut_ptr().cast(), NonNull::as_ptr);
        // SAFETY: as above, and the list is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(items, self.len) }
    }
}

impl<T: Copy, const SHORT: usize, const MAX: usize> Drop for List<T, SHORT, MAX> {
    fn drop(&mut self) {
        if let Some(mapping) = self.mapping {
            // SAFETY: `map` made the mapping with this length, and nothing borrows from it now.
            let _ = unsafe { munmap(mapping.as_ptr().cast(), Self::MAPPED_BYTES) };
        }
    }
}

#[cfg(all(test, not(modeled)))]
mod tests {
    use super::*;

    #[test]
    fn a_list_keeps_its_items_when_it_gets_long_and_takes_no_more_than_its_maximum() {
        let mut list = List::<u64, 4, 128>::new();
        for round in 0..2 {
            for item in 0..128 {
                assert_eq!(list.as_slice().len() as u64, item);
                assert_eq!(list.push(item + round), Ok(()));
            }
            assert_eq!(list.push(0), Err(Error::NoMemory));
            assert!(list.as_slice().iter().copied().eq(round..128 + round));
            list.as_mut_slice().iter_mut().for_each(|item| *item += 1);
            assert!(list.as_slice().iter().copied().eq(round + 1..129 + round));
            list.clear();
        }
    }
}
