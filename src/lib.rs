// SPDX-License-Identifier: MIT
//! Userspace memory fences for Linux graphics.
//!
//! A **userspace memory fence** (UMF) is a 64-bit number in memory that only grows. A signal writes
//! a larger number and wakes the waiters; a wait lasts until the number is at least T. This library
//! keeps such fences in pages of shared memory, passes the pages between processes, and converts
//! fences to and from the kernel's fences. No kernel fence ever waits for userspace.
//!
//! C programs use it through `libumf.h`. The Rust items here are internal, and not a stable
//! interface.
//!
//! # Layers
//!
//! A folder is a layer. A file imports from its own folder and from the folders below it, never
//! from one above; `ci/checks/layers` enforces that. From the top down:
//!
//! | layer | subject |
//! |---|---|
//! | `capi` | every `extern "C"` function: check arguments, call one thing, return an int |
//! | `queue` | deferred submission: jobs run in order once their waits are met |
//! | `reactor` | event loops and watches: waits that block no thread of the caller |
//! | `diagnostics` | the wait-for graph; nothing depends on it for correctness |
//! | `convert` | blocking conversion to and from kernel fences, one file a kernel object |
//! | `wait` | blocking waits: for one condition, for any, for all, for a set |
//! | `fence` | a fence as this process has it open |
//! | `shm` | what lies in shared memory: slots and the wake protocol, event count, wait table |
//! | `interrupt` | a device's interrupts: where they arrive, and the thread that listens |
//! | `trace` | what happened when, for Perfetto: LIBUMF_TRACE |
//! | `config` | LIBUMF_SPIN, LIBUMF_DEBUG, umf_set_spin() |
//! | `sys` | the kernel's interfaces: typed calls and nothing else |
//! | `util` | counted references, registries, atomics |
//! | `error` | the closed list of errors |
//!
//! `model` stands beside them, under `cfg(loom)` and `cfg(shuttle)` only: what the two model
//! checkers run, and what replaces the kernel and shared memory there.
//!
//! `unsafe` lives in `capi`, `fence/external_memory.rs`, `shm/page.rs`, `util/refs.rs`,
//! `util/registry.rs`, and in `sys` in `append_file`, `dma_buf`, `drm`, `env`, `memfd`,
//! `peer_process`, `shared_word`, `sync_file`, `thread`, `time` and `udmabuf`. Elsewhere
//! `#![forbid(unsafe_code)]` makes it a compile error. One of the models needs it.
#![cfg_attr(modeled, allow(dead_code, unused_imports))]

// Under a model checker, only what the models run is compiled.
#[cfg(not(modeled))]
mod capi;
mod config;
#[cfg(not(loom))]
mod convert;
#[cfg(not(loom))]
mod diagnostics;
mod error;
mod fence;
mod interrupt;
#[cfg(all(modeled, test))]
mod model;
#[cfg(not(loom))]
mod queue;
mod reactor;
mod shm;
mod sys;
mod trace;
mod util;
mod wait;
