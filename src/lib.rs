//! Userspace memory fences for Linux graphics.
//!
//! A **userspace memory fence** (UMF) is a 64-bit number in memory that only grows. Signalling
//! writes a larger number and wakes whoever sleeps for it; waiting means "until the number is at
//! least T". This library keeps such fences in pages of shared memory, passes them between
//! processes, and converts them to and from the kernel's fences, without ever letting a kernel
//! fence wait for userspace.
//!
//! It is used from C, through `libumf.h`. The Rust items here are its inside: not a stable
//! interface.
//!
//! # Rooms
//!
//! Calls go one way: capi → events → convert → wait, fence → slot, page → sys.
//!
//! | room | what it is about |
//! |---|---|
//! | `error` | the closed list of errors |
//! | `sys` | the only room that talks to the kernel |
//! | `sync`, `rc` | atomics; counted references |
//! | `memory` | a value in memory that a driver mapped |
//! | `slot` | the 64 bytes of a fence, and why no wake-up is lost |
//! | `spin` | when it pays to wait awake, and the promise it keeps |
//! | `notifier` | sleeping for what a device writes |
//! | `orphans` | sleeping for what only a process writes that may die |
//! | `owner`, `ledger` | who waits for what, and who promised it |
//! | `debug` | whether plain waits tell that too |
//! | `page`, `fence` | shared memory; a handle on a fence |
//! | `wait` | one, any, all |
//! | `events` | the wait-for graph |
//! | `convert` | sync_file, drm_syncobj, dma-buf |
//! | `events` | loops, watches, what goes on by itself |
//! | `capi` | every `extern "C"` function |
//!
//! `unsafe` lives in sys, rc, memory, page and capi only.
#![cfg_attr(loom, allow(dead_code))]

// Under loom, what the model checker runs is there and the rest is not: `model` says what it
// checks.
#[cfg(not(loom))]
mod capi;
mod config;
#[cfg(not(loom))]
mod convert;
#[cfg(not(loom))]
mod diagnostics;
mod error;
mod fence;
#[cfg(all(loom, test))]
mod model;
#[cfg(not(loom))]
mod queue;
#[cfg(not(loom))]
mod reactor;
mod shm;
mod sys;
mod util;
mod wait;
