// SPDX-License-Identifier: MIT
//! A futex word of another program, which no model maps.

#![forbid(unsafe_code)]

use crate::error::{Error, Result};
use crate::util::atomic::AtomicU32;
use rustix::fd::BorrowedFd;

pub(crate) struct SharedWord(AtomicU32);

impl SharedWord {
    pub(crate) fn map(_: BorrowedFd<'_>) -> Result<SharedWord> {
        Err(Error::NotSupported)
    }

    pub(crate) fn get(&self) -> &AtomicU32 {
        &self.0
    }
}
