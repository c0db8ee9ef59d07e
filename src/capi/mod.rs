// SPDX-License-Identifier: MIT
//! Every `extern "C"` function: check arguments, call one thing, turn the result into an int.
//!
//! The documentation comments of the public items become `include/libumf.h` and are written for
//! its readers. The header has the order of the files below, and of the items in each; the `//!`
//! lines at the top of a file become the heading of its section.

#![allow(non_camel_case_types)] // these are the names that C sees
#![allow(dead_code)] // Rust 1.85 does not count what only `const _` uses

mod args;
mod contract;
mod handles;
mod layout;
mod returns;

// In the order of the header.
mod library;
mod page;
mod fence;
mod external;
mod notifier;
mod wait;
mod wait_set;
mod device;
mod convert;
mod attach;
mod event_loop;
mod watch;
mod syncobj;
mod xshmfence;
mod queue;
mod graph;
mod trace;
mod names;
