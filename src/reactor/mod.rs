// SPDX-License-Identifier: MIT
//! A reactor, as in mio or libuv: waits that block no thread.
//!
//! A *watch* is a wait with an action. It belongs to an *event loop*, which has two kinds of
//! poller. A *fence poller* is a thread in futex_waitv, since only a sleeping thread can be woken
//! by a fence. The *fd poller* is an epoll instance for kernel fences. Watches whose wait has ended
//! are *due*. The loop runs them one at a time (the turn), on a thread of one of its pollers or
//! where the caller dispatches. So two actions or callbacks of a loop never run at the same time.
//!
//! | file | subject |
//! |---|---|
//! | `release_waits` | which threads wait for a release function of another thread |
//! | `watch` | the state machine of one watch, and the traits by which it calls upward |
//! | `fence_watches` | the watches of one fence |
//! | `watch_table` | the watched fences of a page, and a check of all of them in parts |
//! | `fence_poller` | the thread in futex_waitv |
//! | `point_waiter` | a thread that waits for timeline points, before Linux 6.6 |
//! | `point_order` | the order in which points are added to a timeline |
//! | `timeline` | a syncobj: its order of points, and waits for submitted points |
//! | `attach` | kernel fences that stand for values of a fence |
//! | `fd_poller` | epoll |
//! | `xshmfence_poller` | another thread in futex_waitv, for X11's fences |
//! | `event_loop` | the due list, and the pollers |
//! | `watch_many` | a watch for any or all of many conditions |
//! | `watch_builder` | one function for each kind of watch |

#![forbid(unsafe_code)]

// In the order of imports: a file imports only from files above it in this list.
// loom runs the first five, shuttle all.
mod release_waits;
mod watch;
mod fence_watches;
mod watch_table;
mod fence_poller;
#[cfg(not(loom))]
mod point_waiter;
#[cfg(not(loom))]
mod point_order;
#[cfg(not(loom))]
mod timeline;
#[cfg(not(loom))]
mod attach;
#[cfg(not(loom))]
mod fd_poller;
#[cfg(not(loom))]
mod xshmfence_poller;
#[cfg(not(loom))]
mod event_loop;
#[cfg(not(loom))]
mod watch_many;
#[cfg(not(loom))]
mod watch_builder;

#[cfg(not(loom))]
pub(crate) use attach::{attach_sync_file, attach_syncobj};
#[cfg(not(loom))]
pub(crate) use event_loop::{EventLoop, LoopHandle, Mode};
#[cfg(loom)]
pub(crate) use fence_poller::FencePoller;
#[cfg(not(loom))]
pub(crate) use timeline::Timeline;
pub(crate) use watch::{Action, Call, Callback, Failure, Resume, TiedTarget, Watch};
#[cfg(loom)]
pub(crate) use watch::{Scheduler, Token};
#[cfg(not(loom))]
pub(crate) use watch_builder::WatchBuilder;
#[cfg(not(loom))]
pub(crate) use watch_many::{Entry, Quorum};

use std::ffi::CStr;

/// The name of each thread of a loop.
const THREAD_NAME: &CStr = c"umf-loop";
