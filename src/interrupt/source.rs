// SPDX-License-Identifier: MIT
//! Where a device's interrupts arrive: a readable descriptor, or a blocking function of the driver.

use crate::error::Result;
use crate::sys::poll::{self, Readiness};
use crate::sys::time::Deadline;
use crate::sys::{eventfd, time};
use crate::util::callback;
use crate::util::user_data::UserData;
use rustix::fd::{AsFd, OwnedFd};
use std::ffi::{c_int, c_void};

/// A driver's blocking wait. It returns after an interrupt, at the deadline, or at any other time.
pub(crate) type Callback = extern "C" fn(data: *mut c_void, abs_timeout_ns: u64) -> c_int;

/// Where interrupts arrive, and how to end a sleep there.
pub(crate) enum InterruptSource {
    Callback(Callback, UserData),
    Fd {
        /// Readable after an interrupt.
        interrupt: OwnedFd,
        /// Eventfds of the library's, for `end_sleep` and `wake_leader`.
        wake: OwnedFd,
        leader_wake: OwnedFd,
    },
}

/// Why a sleep ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    /// The device interrupted, or the driver's function returned, which may be for any reason.
    Interrupt,
    /// `end_sleep` or `wake_leader` was called.
    Woken,
    /// The deadline passed.
    Nothing,
    /// No interrupt will arrive any more.
    Broken,
}

/// The longest call of a driver's function. Nothing ends it earlier.
const CALLBACK_NS: u64 = 1_000_000_000;

impl InterruptSource {
    pub(crate) fn fd(interrupt: OwnedFd) -> Result<InterruptSource> {
        let (wake, leader_wake) = (eventfd::create()?, eventfd::create()?);
        Ok(InterruptSource::Fd { interrupt, wake, leader_wake })
    }

    /// Sleeps until an interrupt arrives.
    pub(super) fn wait(&self, deadline: Deadline) -> Arrival {
        match self {
            InterruptSource::Callback(wait, data) => {
                let deadline = deadline.within(CALLBACK_NS);
                let before = time::now();
                callback::call(|| wait(data.get(), deadline.ns()));
                if time::now() >= deadline.ns() && before < deadline.ns() {
                    Arrival::Nothing
                } else {
                    Arrival::Interrupt
                }
            }
            InterruptSource::Fd { interrupt, wake, .. } => wait_for(interrupt, wake, deadline),
        }
    }

    /// The same for the leader.
    pub(super) fn lead(&self, deadline: Deadline) -> Arrival {
        match self {
            InterruptSource::Callback(..) => Arrival::Nothing,
            InterruptSource::Fd { interrupt, leader_wake, .. } => {
                wait_for(interrupt, leader_wake, deadline)
            }
        }
    }

    /// Ends the leader's sleep, or the next one.
    pub(super) fn wake_leader(&self) {
        if let InterruptSource::Fd { leader_wake, .. } = self {
            eventfd::add(leader_wake.as_fd());
        }
    }

    /// Ends the sleep, or the next one. A call of a driver's function goes on until its deadline.
    pub(super) fn end_sleep(&self) {
        if let InterruptSource::Fd { wake, .. } = self {
            eventfd::add(wake.as_fd());
        }
    }

    /// Whether a sleep ends soon after `end_sleep`.
    pub(super) fn can_end_sleep(&self) -> bool {
        matches!(self, InterruptSource::Fd { .. })
    }
}

fn wait_for(interrupt: &OwnedFd, wake: &OwnedFd, deadline: Deadline) -> Arrival {
    match poll::readable(interrupt.as_fd(), wake.as_fd(), deadline) {
        Ok(Readiness::Read) => Arrival::Interrupt,
        Ok(Readiness::Woken) => {
            eventfd::clear(wake.as_fd());
            Arrival::Woken
        }
        Ok(Readiness::TimedOut) => Arrival::Nothing,
        Ok(Readiness::Dead) | Err(_) => Arrival::Broken,
    }
}
