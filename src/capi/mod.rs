//! Every `extern "C"` function: check arguments, call one thing, turn the result into an int.
//!
//! The documentation comments of the public items become `include/libumf.h` and are written for
//! its readers. The header has the order of the files below, and of the items in each; the `//!`
//! lines at the top of a file become the heading of its section.
//!
//! # The C contract
//!
//! What the header asks of its callers, and every SAFETY note of this folder relies on: a pointer
//! is NULL or points to what its type says; a handle came from this library, and the caller holds
//! a reference to it during the call; an array has as many elements as its count says; an output
//! is valid for writing. Everything else about the arguments is checked.

#![allow(non_camel_case_types)] // these are the names that C sees

mod args;
mod handles;
mod returns;

// In the order of the header.
mod library;
mod page;
mod fence;
mod external;
mod wait;
mod device;
mod convert;
mod event_loop;
mod watch;
mod syncobj;
mod queue;
mod graph;
