//! Waiting without holding up a thread: loops, watches, conversions that go on by themselves.
//!
//! A *watch* is a wait that does something when it is over. It belongs to a *loop*, which hears of
//! fences by an *ear* (a thread asleep on futexes: there is no other way to hear one) and of kernel
//! fences by an *eye* (an epoll instance). What either finds to be over is *due*, and all that is
//! due happens in one place, one after another: on the library's thread, or where the caller
//! dispatches. So nothing a watch does is ever concurrent with another of its loop.

#![forbid(unsafe_code)]

// From the ground up: a file imports only from those before it.
pub(crate) mod watch;
mod fence_watches;
mod fence_poller;
mod point_waiter;
mod timeline;
mod fd_poller;
pub(crate) mod event_loop;
mod register;

pub(crate) use event_loop::{LoopHandle, Mode};
pub(crate) use register::Order;
pub(crate) use timeline::Timeline;
pub(crate) use watch::{Callback, Effect, Owed, Watch};

use std::ffi::CStr;

/// The name of each thread of a loop.
const THREAD_NAME: &CStr = c"umf-loop";
