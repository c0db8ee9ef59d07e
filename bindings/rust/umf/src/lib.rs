// SPDX-License-Identifier: MIT
//! Userspace memory fences for Linux: the safe interface to libumf.
//!
//! A userspace memory fence is a number in shared memory that only grows. A signal writes a larger
//! number and wakes the threads that sleep for it. A wait lasts until the number is at least the
//! value that it waits for. Fences live in a [`Page`], which processes pass to each other as a file
//! descriptor. They convert to and from `sync_file`, `drm_syncobj` and the implicit fences of a
//! dma-buf, and never make a kernel fence wait for userspace.
//!
//! ```
//! use std::time::Duration;
//! use umf::{FenceFlags, Page, PageFlags};
//!
//! let page = Page::create(64, PageFlags::NONE)?; // shared memory for 64 fences
//! let frame = page.create_fence(0, FenceFlags::NONE)?; // one of them, with the value 0
//! std::thread::scope(|scope| {
//!     scope.spawn(|| frame.signal(7));
//!     frame.wait(7, Duration::from_secs(5))
//! })?;
//! # Ok::<(), umf::Error>(())
//! ```
//!
//! The crate links the installed shared object, which pkg-config finds. So a process has one
//! libumf, also if a driver that it loads has fences.
//!
//! # What is as in C, and what is not
//!
//! Each function has the name of a C function as an alias in the documentation's search, and does
//! what the manual says of that (`man umf_fence_wait`). In Rust:
//!
//! - **References.** A handle ([`Page`], [`Fence`], [`Notifier`], [`Device`], [`EventLoop`],
//!   [`Watch`], [`Syncobj`], [`Queue`]) is one reference. `clone` adds one, and the end of the
//!   handle ends it. When the process that created a fence ends its last handle, the fence ends in
//!   every process.
//! - **Errors.** [`Error`] is an enum of what the library returns, with its errno.
//! - **Time.** A wait takes a [`Deadline`], made from a `Duration` from now or an `Instant`.
//! - **Descriptors.** What is passed in is borrowed, and what comes back is an `OwnedFd`.
//! - **Callbacks** are closures. Each runs at most once and is dropped exactly once, on any
//!   thread.
//! - **Panics** do not cross the library. A panic in a callback ends in the callback, or goes on in
//!   [`DispatchLoop::dispatch`] if that ran it. One in a job fails the queue: see [`Job`]. One in
//!   another function that the library calls ends there, after the panic hook printed it.
//! - **Threads.** All handles are `Send` and `Sync`, as the C library is thread-safe.
//! - **Fork.** Do not use a loop, watch or queue in the child of a fork: calls return
//!   [`Error::Stale`] there.
//!
//! Drop no handle while you hold a lock that a callback or its captured values take. The end of a
//! loop waits for the callback that runs.

mod attach;
mod callback;
mod convert;
mod deadline;
mod device;
mod error;
mod event_loop;
mod external;
mod fence;
mod flags;
mod graph;
mod handle;
mod library;
mod log;
mod notifier;
mod page;
mod panics;
mod queue;
mod syncobj;
mod trace;
mod wait;
mod wait_set;
mod watch;

pub use callback::Callback;
pub use convert::Access;
pub use deadline::Deadline;
pub use device::{Device, DeviceCaps};
pub use error::{Error, Result};
pub use event_loop::{DispatchLoop, EventLoop, Tie};
pub use fence::{Fence, Update};
pub use flags::{CapFlags, DeviceCapFlags, FenceFlags, PageFlags, QueueFlags, WaitFlags};
pub use graph::{GraphFormat, write_graph};
pub use library::{Caps, caps, set_spin, version};
pub use log::{reset_log_handler, set_log_handler};
pub use notifier::Notifier;
pub use page::{FenceInfo, Page};
pub use queue::{Job, Progress, Queue, Signal};
pub use syncobj::Syncobj;
pub use trace::{start_trace, stop_trace};
pub use wait::{Condition, Op, wait_all, wait_any};
pub use wait_set::{EntryId, Ready, WaitSet};
pub use watch::Watch;

/// The declarations of the C library, for code that shares handles with C.
pub use libumf_sys as sys;
