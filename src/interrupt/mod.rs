// SPDX-License-Identifier: MIT
//! A device's interrupts in this process: where they arrive, and which fences they may concern.
//!
//! | file | subject |
//! |---|---|
//! | `source` | where interrupts arrive: a descriptor, or a blocking function of the driver |
//! | `rest` | how much time interrupts that wake nobody may take |
//! | `notifier` | the thread that sleeps there while somebody waits, and then wakes the waiters |

#![forbid(unsafe_code)]

mod notifier;
mod rest;
#[cfg_attr(modeled, path = "../model/interrupt.rs")]
mod source;

pub(crate) use notifier::{DeviceValue, Led, Notifier, OwnedListening, SignalWord};
#[cfg(modeled)]
pub(crate) use source::InterruptLine;
pub(crate) use source::InterruptSource;
