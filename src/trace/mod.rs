// SPDX-License-Identifier: MIT
//! Traces: what this process's fences, waits, watches and jobs did when, for Perfetto.
//!
//! Each event is one line of JSON, which one write() appends to the file of LIBUMF_TRACE or of
//! umf_trace_start(). So a process that is killed has recorded all that it did, a forked child has
//! no copy of events that were not written yet, and processes may share a file. A buffer for each
//! thread would be faster, and lose the events that led to a crash.
//!
//! Switched off, recording costs calls that sleep a load and a branch. It costs signals and updates
//! nothing: they compare a generation in any case (`SignaledGeneration` in shm/generation.rs). All
//! functions but [`start`] and [`stop`] are async-signal-safe.

#![forbid(unsafe_code)]

mod event;
#[cfg_attr(modeled, path = "../model/trace_output.rs")]
mod output;

use crate::error::Result;
use crate::sys::{process, time};
pub(crate) use event::{Arrow, Point, Subject};
use event::{Line, Phase, Thread};
pub(crate) use output::is_on;
#[cfg(not(modeled))]
pub(crate) use output::{start, start_by_environment, stop};

/// Records the begin of a part of this thread's time, which [`end`] ends.
#[cold]
#[inline(never)]
pub(crate) fn begin(subject: &Subject) {
    record(Phase::Begin, time::now(), subject, Arrow::None, Ok(()));
}

/// Records the end of what began last on this thread.
#[cold]
#[inline(never)]
pub(crate) fn end(result: Result<()>) {
    record(Phase::End, time::now(), &Subject::Nothing(""), Arrow::None, result);
}

/// Records that something happened at this moment.
#[cold]
#[inline(never)]
pub(crate) fn instant(subject: &Subject) {
    record(Phase::Instant, time::now(), subject, Arrow::None, Ok(()));
}

/// Records something that happened at this moment, and that an arrow leads to.
#[cold]
#[inline(never)]
pub(crate) fn reached(subject: &Subject, arrow: u64) {
    record(Phase::Complete(0), time::now(), subject, Arrow::Ends(arrow), Ok(()));
}

/// Records that this thread was woken, if events are recorded.
#[inline]
pub(crate) fn woken() {
    if is_on() {
        instant(&Subject::Nothing("wake-up"));
    }
}

/// Returns the arrow's number for a job of this process.
pub(crate) fn job_arrow(queue: u32, number: u64) -> u64 {
    event::job_arrow(process::id(), queue, number)
}

/// A part of this thread's time, which is recorded when it is over.
pub(crate) struct Span {
    start_ns: u64,
}

impl Span {
    /// Begins, if events are recorded.
    #[inline]
    pub(crate) fn begin() -> Option<Span> {
        is_on().then(|| Span { start_ns: time::now() })
    }

    #[cold]
    #[inline(never)]
    pub(crate) fn end(self, subject: &Subject, arrow: Arrow, result: Result<()>) {
        let duration = time::now().saturating_sub(self.start_ns);
        record(Phase::Complete(duration), self.start_ns, subject, arrow, result);
    }
}

/// A part of this thread's time, from here to the end of a scope.
pub(crate) struct Scope(Option<(Span, Subject)>);

impl Scope {
    #[inline]
    pub(crate) fn new(subject: impl FnOnce() -> Subject) -> Scope {
        Scope(Span::begin().map(|span| (span, subject())))
    }
}

impl Drop for Scope {
    #[inline]
    fn drop(&mut self) {
        if let Some((span, subject)) = self.0.take() {
            span.end(&subject, Arrow::None, Ok(()));
        }
    }
}

fn record(phase: Phase, time_ns: u64, subject: &Subject, arrow: Arrow, result: Result<()>) {
    let thread = Thread { pid: process::id(), tid: process::thread_id() };
    // One line on the stack at a time.
    output::name_process(thread);
    let mut line = Line::new();
    line.event(phase, time_ns, thread, subject, arrow, result);
    output::append(&line);
}
