// SPDX-License-Identifier: MIT
//! The wait-for graph as JSON, for programs. `umf_graph_write()` documents the members.

use super::deadlock::Status;
use super::graph::{FenceNode, Graph, ParticipantNode, Record};
use super::report::promises;
use crate::shm::wait_table::Role;
use std::fmt::{self, Write};

/// Writes one object. Participants and fences are referred to by their indices.
pub(crate) fn write(graph: &Graph, out: &mut impl Write) -> fmt::Result {
    let Graph { pages, dropped, deadlocks, .. } = graph;
    write!(
        out,
        "{{\"pages\": {pages}, \"dropped\": {dropped}, \"deadlocks\": {}",
        deadlocks.count
    )?;
    list(out, "participants", graph.participants.iter().enumerate(), participant(graph))?;
    list(out, "fences", graph.fences.iter(), fence)?;
    list(out, "waits", graph.waits.iter().enumerate(), wait(graph))?;
    list(out, "promises", graph.promises.iter(), promise)?;
    out.write_str("\n}\n")
}

fn list<W: Write, T>(
    out: &mut W,
    name: &str,
    items: impl Iterator<Item = T>,
    mut write_item: impl FnMut(&mut W, T) -> fmt::Result,
) -> fmt::Result {
    write!(out, ",\n \"{name}\": [")?;
    for (number, item) in items.enumerate() {
        out.write_str(if number == 0 { "\n  " } else { ",\n  " })?;
        write_item(out, item)?;
    }
    out.write_str("]")
}

fn participant<W: Write>(
    graph: &Graph,
) -> impl FnMut(&mut W, (usize, &ParticipantNode)) -> fmt::Result {
    |out, (number, node)| {
        let of = node.participant;
        write!(
            out,
            "{{\"kind\": \"{}\", \"number\": {}, \"pid\": {}, \"pid_namespace\": {}, \"name\": ",
            node.kind(),
            of.serial(),
            of.pid(),
            of.namespace()
        )?;
        quoted(out, node.name.as_ref().map(|name| name.chars()))?;
        write!(out, ", \"gone\": {}, \"deadlock\": ", node.is_dead)?;
        match graph.status(number) {
            Status::Deadlocked(deadlock) => write!(out, "{}, \"behind\": false}}", deadlock + 1),
            Status::Behind => out.write_str("null, \"behind\": true}"),
            Status::Unblocked => out.write_str("null, \"behind\": false}"),
        }
    }
}

/// Writes a name, or null. No character that JSON escapes is among those of a name.
fn quoted(out: &mut impl Write, name: Option<impl Iterator<Item = char>>) -> fmt::Result {
    let Some(mut name) = name else { return out.write_str("null") };
    out.write_char('"')?;
    name.try_for_each(|char| out.write_char(char))?;
    out.write_char('"')
}

fn fence(out: &mut impl Write, fence: &FenceNode) -> fmt::Result {
    let ((page, index), FenceNode { value, pending, .. }) = (fence.place(), fence);
    write!(
        out,
        "{{\"page\": {page}, \"index\": {index}, \"value\": {value}, \"pending\": {pending}, \
         \"name\": "
    )?;
    quoted(out, fence.name.as_ref().map(|name| name.chars()))?;
    out.write_char('}')
}

fn wait<W: Write>(graph: &Graph) -> impl FnMut(&mut W, (usize, &Record)) -> fmt::Result {
    |out, (number, wait)| {
        let Record { participant, fence, value, alternatives, may_end_outside, .. } = wait;
        let is_for_submission = wait.role == Role::WaitPending;
        write!(
            out,
            "{{\"participant\": {participant}, \"fence\": {fence}, \"value\": {value}, \
             \"submission\": {is_for_submission}, \"any_of\": {alternatives}, \
             \"may_end_otherwise\": {may_end_outside}, \"promised_by\": ["
        )?;
        let mut separator = "";
        for promise in promises(graph, number) {
            write!(out, "{separator}{}", promise.participant)?;
            separator = ", ";
        }
        out.write_str("]}")
    }
}

fn promise(out: &mut impl Write, promise: &Record) -> fmt::Result {
    let Record { participant, fence, value, .. } = promise;
    write!(out, "{{\"participant\": {participant}, \"fence\": {fence}, \"value\": {value}}}")
}
