// SPDX-License-Identifier: MIT
//! No traces: events would only enlarge the state space of the model checker.

use super::event::{Line, Thread};

pub(crate) fn is_on() -> bool {
    false
}

pub(super) fn name_process(thread: Thread) {
    append(&Line::process_name(thread, ""));
}

pub(super) fn append(line: &Line) {
    let _ = line.complete();
}
