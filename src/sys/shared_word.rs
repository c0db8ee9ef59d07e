// SPDX-License-Identifier: MIT
//! A futex word at the start of a memfd that another program made.

use super::descriptor::dup;
use super::memfd::{self, Access, Mapping};
use crate::error::Result;
use rustix::fd::{AsFd, BorrowedFd};
use std::sync::atomic::AtomicU32;

/// A mapped futex word, which every process that has the file can write.
pub(crate) struct SharedWord(Mapping);

impl SharedWord {
    /// Seal the file's size and map the word.
    ///
    /// `Invalid` if the file is no memfd or too short. `Denied` if its size cannot be sealed, or if
    /// it cannot be written: a peer could truncate it, which causes SIGBUS at the next access.
    pub(crate) fn map(fd: BorrowedFd<'_>) -> Result<SharedWord> {
        const LEN: usize = size_of::<AtomicU32>();
        // Only a memfd has seals, so no file system is asked. The duplicate is checked again:
        // another thread may have given the number to another file.
        memfd::check_seals(fd)?;
        let file = dup(fd)?;
        memfd::seal_size(file.as_fd(), LEN as u64)?;
        memfd::allocate(file.as_fd(), 0, LEN as u64)?;
        Ok(SharedWord(Mapping::new(file.as_fd(), LEN, Access::ReadWrite)?))
    }

    /// Return the word.
    pub(crate) fn get(&self) -> &AtomicU32 {
        // SAFETY: the mapping starts at a memory page and has the length of the word, whose memory
        // exists: the file is at least as long, and its size is sealed. Other processes may write
        // it at any time; every bit pattern is valid. The mapping lives as long as `self`.
        unsafe { self.0.start().cast::<AtomicU32>().as_ref() }
    }
}
