//! The only room that talks to the kernel: one file per interface, nothing but typed calls.
//!
//! System calls go through rustix, which on the architectures Mesa ships on issues them itself and
//! so leaves the caller's `errno` alone.

#[cfg(not(loom))]
pub(crate) mod dma_buf;
#[cfg(not(loom))]
pub(crate) mod drm;
pub(crate) mod env;
#[cfg(not(loom))]
pub(crate) mod epoll;
#[cfg(not(loom))]
pub(crate) mod eventfd;
#[cfg_attr(loom, path = "../model/futex.rs")]
pub(crate) mod futex;
#[cfg(not(loom))]
pub(crate) mod memfd;
#[cfg(not(loom))]
pub(crate) mod peer;
pub(crate) mod poll;
pub(crate) mod process;
mod retry;
#[cfg(not(loom))]
pub(crate) mod sync_file;
#[cfg(not(loom))]
pub(crate) mod thread;
pub(crate) mod time;
#[cfg(not(loom))]
pub(crate) mod udmabuf;
