// SPDX-License-Identifier: MIT
//! The report for people.

use crate::graph::{Blocker, Graph, Wait};
use crate::names;
use crate::processes::{self, View, reason};
use std::fmt::Write;
use umf::{FenceFlags, FenceInfo, Page, PageFlags};

/// The most fences of a page that are listed. JSON has all.
const MOST_FENCES: usize = 100;

pub fn report(view: &View, graph: &Graph, out: &mut String) {
    if view.pages.is_empty() {
        out.push_str("no process that you may inspect has a page open\n");
    }
    for (inode, open) in &view.pages {
        let users: Vec<String> = open.processes.iter().map(|pid| view.label(*pid)).collect();
        let users = users.join(", ");
        match &open.page {
            Ok(page) => {
                let is_single_writer = page.flags().contains(PageFlags::SINGLE_WRITER);
                let single_writer = if is_single_writer { ", single writer" } else { "" };
                let slots = page.fence_count();
                let name = in_brackets(&names::of_page(page));
                let _ = writeln!(
                    out,
                    "page {inode}{name}: {slots} slots{single_writer}, open in {users}"
                );
                fences(view, page, out);
            }
            Err(error) => {
                let _ = writeln!(out, "page {inode}: {}, open in {users}", reason(error));
            }
        }
    }
    waits(view, graph, out);
}

fn fences(view: &View, page: &Page, out: &mut String) {
    let mut rows =
        vec![["fence", "value", "pending", "error", "flags", "creator"].map(String::from)];
    let mut left_out = 0;
    for (index, info) in processes::fences(page) {
        if rows.len() > MOST_FENCES {
            left_out += 1;
            continue;
        }
        rows.push([
            format!("{index}{}", in_brackets(&names::of_fence(page, index))),
            info.value.to_string(),
            pending(&info),
            names::of_error(info.error),
            match names::of_flags(info.flags.bits(), names::FENCE_FLAGS).join(",") {
                names if names.is_empty() => "-".into(),
                names => names,
            },
            creator(view, &info),
        ]);
    }
    if rows.len() > 1 {
        table(&rows, out);
    }
    if left_out > 0 {
        let _ = writeln!(out, "  and {left_out} more; --json lists all");
    }
}

/// Returns " (NAME)", or nothing if there is no name.
pub fn in_brackets(name: &str) -> String {
    if name.is_empty() { String::new() } else { format!(" ({name})") }
}

fn pending(info: &FenceInfo) -> String {
    if info.pending == info.value { "-".into() } else { info.pending.to_string() }
}

pub fn creator(view: &View, info: &FenceInfo) -> String {
    match info.creator_pid {
        0 if info.flags.contains(FenceFlags::LASTING) => "-".into(),
        0 => "dead".into(),
        pid => view.describe(pid, info.creator_pid_namespace),
    }
}

/// Writes columns that are as wide as they need to be.
pub fn table<const COLUMNS: usize>(rows: &[[String; COLUMNS]], out: &mut String) {
    let mut widths = [0; COLUMNS];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.len().max(*width);
        }
    }
    for row in rows {
        let mut line = String::from(" ");
        for (width, cell) in widths.iter().zip(row) {
            let _ = write!(line, " {cell:<width$}");
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
}

fn waits(view: &View, graph: &Graph, out: &mut String) {
    if graph.dropped > 0 {
        let _ = writeln!(out, "not complete: the wait tables had no room for {}", graph.dropped);
    }
    let mut heading = String::new();
    for wait in &graph.waits {
        let Some(waiter) = graph.participants.get(wait.participant) else { continue };
        let now = match (waiter.deadlock, waiter.is_behind) {
            (Some(deadlock), _) => format!("deadlock {deadlock}:\n"),
            (None, true) => "waiting for a deadlock:\n".into(),
            (None, false) => "waiting:\n".into(),
        };
        if heading != now {
            out.push_str(&now);
            heading = now;
        }
        line(view, graph, wait, out);
    }
}

fn line(view: &View, graph: &Graph, wait: &Wait, out: &mut String) {
    let Some(fence) = graph.fences.get(wait.fence) else { return };
    let alternative = if wait.any_of > 1 { "any of several, one " } else { "" };
    let submission = if wait.is_for_submission { "a submission of " } else { "" };
    let _ = writeln!(
        out,
        "  {} waits for {alternative}{submission}fence {}:{}{} >= {} (now {})",
        participant(view, graph, wait.participant),
        fence.page,
        fence.index,
        in_brackets(&fence.name),
        wait.value,
        fence.value
    );
    let not = if wait.is_submitted() { "" } else { "not " };
    let _ = match graph.blocker(view, wait) {
        Blocker::Promised(by) => {
            let by: Vec<String> = by.iter().map(|at| participant(view, graph, *at)).collect();
            writeln!(out, "    blocked by {}, which will signal it", by.join(" and "))
        }
        Blocker::Creator(pid, namespace) => writeln!(
            out,
            "    blocked by {}, which created the fence; the value is {not}submitted",
            view.describe(pid, namespace)
        ),
        Blocker::Unknown => {
            writeln!(out, "    blocked by an unknown process; the value is {not}submitted")
        }
    };
}

/// Returns "8 (gl), queue 1".
pub fn participant(view: &View, graph: &Graph, at: usize) -> String {
    let Some(node) = graph.participants.get(at) else { return "nobody".into() };
    let kind = if node.kind == "work" { "work of queue" } else { &node.kind };
    let gone = if node.is_gone { ", which is gone" } else { "" };
    format!("{}{gone}, {kind} {}", view.describe(node.pid, node.namespace), node.number)
}
