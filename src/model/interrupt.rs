// SPDX-License-Identifier: MIT
//! Where interrupts arrive under the model checkers: a flag that a model's device raises.

use crate::sys::time::Deadline;
#[cfg(loom)]
use loom::sync::{Arc, Condvar, Mutex};
#[cfg(shuttle)]
use shuttle::sync::{Arc, Condvar, Mutex};

/// What the device of a model raises. It stays raised until somebody takes the interrupt.
#[derive(Default)]
pub(crate) struct InterruptLine {
    state: Mutex<LineState>,
    changed: Condvar,
}

#[derive(Default)]
struct LineState {
    interrupt: bool,
    wake: bool,
    leader_wake: bool,
}

impl InterruptLine {
    pub(crate) fn raise(&self) {
        self.state.lock().unwrap().interrupt = true;
        self.changed.notify_all();
    }
}

pub(crate) struct InterruptSource(pub(crate) Arc<InterruptLine>);

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    Interrupt,
    Woken,
    Nothing,
    Broken,
}

impl InterruptSource {
    pub(super) fn wait(&self, _: Deadline) -> Arrival {
        self.take(|state| &mut state.wake)
    }

    pub(super) fn lead(&self, _: Deadline) -> Arrival {
        self.take(|state| &mut state.leader_wake)
    }

    fn take(&self, wake: impl Fn(&mut LineState) -> &mut bool) -> Arrival {
        let mut state = self.0.state.lock().unwrap();
        loop {
            if std::mem::take(&mut state.interrupt) {
                return Arrival::Interrupt;
            }
            if std::mem::take(wake(&mut state)) {
                return Arrival::Woken;
            }
            state = self.0.changed.wait(state).unwrap();
        }
    }

    pub(super) fn end_sleep(&self) {
        self.set(|state| &mut state.wake);
    }

    pub(super) fn wake_leader(&self) {
        self.set(|state| &mut state.leader_wake);
    }

    fn set(&self, flag: impl Fn(&mut LineState) -> &mut bool) {
        *flag(&mut self.0.state.lock().unwrap()) = true;
        self.0.changed.notify_all();
    }

    pub(super) fn can_end_sleep(&self) -> bool {
        true
    }
}
