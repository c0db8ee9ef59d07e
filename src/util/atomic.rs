// SPDX-License-Identifier: MIT
//! The atomics of the wake protocol: the system's, or those of a model checker, loom or shuttle.

#![forbid(unsafe_code)]

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
#[cfg(shuttle)]
pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
#[cfg(not(modeled))]
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};

/// Orders a SeqCst RMW before a SeqCst load after it. C11 says that it is ordered anyway, so this
/// costs nothing. loom treats SeqCst accesses as AcqRel and knows only SeqCst fences: there, a
/// fence stands for that order.
#[inline(always)]
pub(crate) fn rmw_before_load() {
    #[cfg(loom)]
    fence(Ordering::SeqCst);
}
