// SPDX-License-Identifier: MIT
//! System calls, ioctls and the few libc calls: one file for each kernel interface.
//!
//! The files hold typed calls and no policy. Outside of this folder, only diagnostics/fd_writer.rs
//! and checks of process and thread ids call the kernel.
//!
//! System calls go through rustix. On the architectures that Mesa ships on, rustix issues them
//! itself and so leaves the caller's `errno` alone.

mod aio;
#[cfg(not(modeled))]
pub(crate) mod append_file;
pub(crate) mod descriptor;
#[cfg(not(loom))]
pub(crate) mod dma_buf;
#[cfg(not(loom))]
pub(crate) mod drm;
pub(crate) mod env;
#[cfg(not(loom))]
#[cfg_attr(shuttle, path = "../model/epoll.rs")]
pub(crate) mod epoll;
#[cfg_attr(shuttle, path = "../model/eventfd.rs")]
pub(crate) mod eventfd;
#[cfg(not(loom))]
pub(crate) mod file_kind;
#[cfg_attr(modeled, path = "../model/futex.rs")]
pub(crate) mod futex;
pub(crate) mod list;
#[cfg(not(loom))]
pub(crate) mod memfd;
#[cfg(not(loom))]
pub(crate) mod peer;
#[cfg(not(loom))]
pub(crate) mod peer_process;
pub(crate) mod poll;
pub(crate) mod process;
mod retry;
#[cfg(not(loom))]
mod seccomp;
#[cfg(not(loom))]
#[cfg_attr(shuttle, path = "../model/shared_word.rs")]
pub(crate) mod shared_word;
#[cfg(not(loom))]
pub(crate) mod sync_file;
#[cfg_attr(modeled, path = "../model/thread.rs")]
pub(crate) mod thread;
pub(crate) mod time;
#[cfg(not(loom))]
pub(crate) mod udmabuf;
