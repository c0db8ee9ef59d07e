// SPDX-License-Identifier: MIT
//! One event of a trace, as a line of Chrome's JSON array format.
//!
//! The format: "Trace Event Format", by the authors of chrome://tracing, which Perfetto reads too.
//! A line is put together in place, without `std::fmt`: that takes too much of a signal handler's
//! stack.

use crate::error::{self, Result};

/// A value of a fence, as events name it.
#[derive(Clone, Copy)]
pub(crate) struct Point {
    /// The inode number of the page's memfd.
    pub(crate) page: u64,
    pub(crate) slot: u32,
    /// The number of fences that lived in the slot before.
    pub(crate) generation: u64,
    pub(crate) value: u64,
}

/// What an event is about. The first member begins its name.
#[derive(Clone, Copy)]
pub(crate) enum Subject {
    Nothing(&'static str),
    /// A value of a fence; the second member stands between the two.
    Fence(&'static str, &'static str, Point),
    /// So many fences.
    Fences(&'static str, u64),
    /// A job of a queue, by their numbers.
    Job(&'static str, u64, u32),
}

/// An arrow, which leads from each event that begins it to each that ends it.
#[derive(Clone, Copy)]
pub(crate) enum Arrow {
    None,
    Begins(u64),
    Ends(u64),
}

/// When an event was.
#[derive(Clone, Copy)]
pub(super) enum Phase {
    /// From here to the next [`Phase::End`] of the thread.
    Begin,
    End,
    /// So many nanoseconds from its time on.
    Complete(u64),
    Instant,
}

impl Point {
    /// Returns the arrow's number for the signal of this value.
    pub(crate) fn arrow(&self) -> u64 {
        self.mixed(1)
    }

    /// Returns the arrow's number for the failure of the fence.
    pub(crate) fn failure_arrow(&self) -> u64 {
        Point { value: 0, ..*self }.mixed(2)
    }

    #[inline(never)]
    fn mixed(&self, kind: u64) -> u64 {
        mix([kind, self.page, u64::from(self.slot), self.generation, self.value])
    }
}

/// Returns the arrow's number for a job.
pub(super) fn job_arrow(pid: u32, queue: u32, number: u64) -> u64 {
    mix([3, u64::from(pid), u64::from(queue), number, 0])
}

/// Folds numbers into one that hardly any other numbers fold into: the finalizer of MurmurHash3.
fn mix(numbers: [u64; 5]) -> u64 {
    numbers.into_iter().fold(0, |hash: u64, number| {
        let mut hash = hash.rotate_left(23) ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        hash = (hash ^ hash >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
        hash = (hash ^ hash >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        hash ^ hash >> 33
    })
}

/// The thread that an event is recorded on.
#[derive(Clone, Copy)]
pub(super) struct Thread {
    pub(super) pid: u32,
    pub(super) tid: u32,
}

/// A line. What does not fit is left out, and the line is then not complete.
pub(super) struct Line {
    bytes: [u8; Line::MAX],
    filled: usize,
}

impl Line {
    /// More than the longest event: some 200 bytes of names, and as many of numbers.
    const MAX: usize = 416;

    pub(super) fn new() -> Line {
        Line { bytes: [0; Line::MAX], filled: 0 }
    }

    /// Writes an event. If it returned the line, that would be twice on the stack.
    pub(super) fn event(
        &mut self,
        phase: Phase,
        time_ns: u64,
        thread: Thread,
        subject: &Subject,
        arrow: Arrow,
        result: Result<()>,
    ) {
        self.text("{\"ph\":\"");
        self.text(match phase {
            Phase::Begin => "B",
            Phase::End => "E",
            Phase::Complete(_) => "X",
            Phase::Instant => "i\",\"s\":\"t",
        });
        self.text("\",\"ts\":");
        self.micros(time_ns);
        if let Phase::Complete(duration) = phase {
            self.text(",\"dur\":");
            self.micros(duration);
        }
        self.thread(thread);
        if !matches!(phase, Phase::End) {
            self.text(",\"cat\":\"umf\",\"name\":\"");
            self.name(subject);
            self.text("\"");
        }
        self.arrow(arrow);
        self.arguments(subject, result);
        self.text("},\n");
    }

    /// Writes the name of the process, which has no character that JSON escapes.
    pub(super) fn process_name(&mut self, thread: Thread, name: &str) {
        self.text("{\"ph\":\"M\"");
        self.thread(thread);
        self.text(",\"name\":\"process_name\",\"args\":{\"name\":\"");
        self.text(name);
        self.text("\"}},\n");
    }

    /// Returns the line, unless something was left out.
    pub(super) fn complete(&self) -> Option<&[u8]> {
        self.bytes.get(..self.filled).filter(|line| line.len() < Line::MAX)
    }

    #[inline(never)]
    fn thread(&mut self, thread: Thread) {
        self.text(",\"pid\":");
        self.number(thread.pid.into());
        self.text(",\"tid\":");
        self.number(thread.tid.into());
    }

    #[inline(never)]
    fn name(&mut self, subject: &Subject) {
        match *subject {
            Subject::Nothing(name) => self.text(name),
            Subject::Fence(name, between, point) => {
                self.text(name);
                self.text(" ");
                self.number(point.page);
                self.text(":");
                self.number(point.slot.into());
                self.text(between);
                self.number(point.value);
            }
            Subject::Fences(name, count) => {
                self.text(name);
                self.text(" ");
                self.number(count);
            }
            Subject::Job(name, number, queue) => {
                self.text(name);
                self.text(" ");
                self.number(number);
                self.text(" of queue ");
                self.number(queue.into());
            }
        }
    }

    fn arrow(&mut self, arrow: Arrow) {
        let (number, direction) = match arrow {
            Arrow::None => return,
            Arrow::Begins(number) => (number, "flow_out"),
            Arrow::Ends(number) => (number, "flow_in"),
        };
        self.text(",\"bind_id\":\"0x");
        for digit in (0..16).rev() {
            let digit = (number >> (4 * digit) & 15) as u8;
            self.copy(&[if digit < 10 { b'0' + digit } else { b'a' + digit - 10 }]);
        }
        self.text("\",\"");
        self.text(direction);
        self.text("\":true");
    }

    fn arguments(&mut self, subject: &Subject, result: Result<()>) {
        self.text(",\"args\":{");
        if let Subject::Fence(_, _, point) = subject {
            self.text("\"page\":");
            self.number(point.page);
            self.text(",\"slot\":");
            self.number(point.slot.into());
            self.text(",\"generation\":");
            self.number(point.generation);
            self.text(",\"value\":");
            self.number(point.value);
        }
        if result.is_err() {
            self.text(if matches!(subject, Subject::Fence(..)) { "," } else { "" });
            self.text("\"result\":-");
            self.number(error::code(result).unsigned_abs().into());
        }
        self.text("}");
    }

    /// Writes nanoseconds as microseconds.
    #[inline(never)]
    fn micros(&mut self, ns: u64) {
        self.number(ns / 1000);
        // The digits of 1000 + rest, with a point in place of the first.
        let start = self.filled;
        self.number(1000 + ns % 1000);
        if let Some(first) = self.bytes.get_mut(start) {
            *first = b'.';
        }
    }

    #[inline(never)]
    fn number(&mut self, number: u64) {
        let mut digits = [0; 20];
        let (mut rest, mut count) = (number, 0);
        for digit in digits.iter_mut().rev() {
            (*digit, rest, count) = (b'0' + (rest % 10) as u8, rest / 10, count + 1);
            if rest == 0 {
                break;
            }
        }
        self.copy(digits.get(digits.len() - count..).unwrap_or_default());
    }

    fn text(&mut self, text: &str) {
        self.copy(text.as_bytes());
    }

    /// Not inlined: this is called dozens of times.
    #[inline(never)]
    fn copy(&mut self, bytes: &[u8]) {
        for (free, byte) in self.bytes.iter_mut().skip(self.filled).zip(bytes) {
            *free = *byte;
        }
        self.filled = (self.filled + bytes.len()).min(Line::MAX);
    }
}
