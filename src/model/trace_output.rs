// SPDX-License-Identifier: MIT
//! No traces: events would only enlarge the state space of the model checker.

use super::event::{Line, Thread};

pub(crate) fn is_on() -> bool {
    false
}

pub(super) fn name_process(thread: Thread) {
    let mut line = Line::new();
    line.process_name(thread, "");
    append(&line);
}

pub(super) fn append(line: &Line) {
    let _ = line.complete();
}
