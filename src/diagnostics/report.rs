// SPDX-License-Identifier: MIT
//! The wait-for graph as text, and in Graphviz's language.

use super::deadlock::Status;
use super::graph::{FenceNode, Graph, ParticipantNode, Record};
use crate::shm::participant::ParticipantKind;
use crate::shm::wait_table::Role;
use std::fmt::{self, Display, Formatter, Write};

/// Writes a line for each wait: deadlocks first, then waits for a deadlock, then the others.
pub(crate) fn text(graph: &Graph, out: &mut dyn Write) -> fmt::Result {
    let deadlocks = graph.deadlocks.count;
    writeln!(
        out,
        "libumf: {}, {}, {}",
        Count(graph.pages, "page"),
        Count(graph.waits.len(), "wait"),
        Count(deadlocks as usize, "deadlock")
    )?;
    if graph.dropped > 0 {
        writeln!(
            out,
            "not complete: {} dropped, so promises may be missing",
            Records(graph.dropped)
        )?;
    }
    let mut heading = None;
    for number in &graph.worst_first {
        let Some(wait) = graph.waits.get(*number) else { continue };
        let status = graph.status(wait.participant);
        if heading.replace(status) != Some(status) {
            match status {
                Status::Deadlocked(number) => writeln!(out, "deadlock {}:", number + 1)?,
                Status::Behind => writeln!(out, "waiting for a deadlock:")?,
                Status::Unblocked => writeln!(out, "waiting:")?,
            }
        }
        line(graph, *number, wait, out)?;
    }
    Ok(())
}

fn line(graph: &Graph, number: usize, wait: &Record, out: &mut dyn Write) -> fmt::Result {
    let (Some(node), Some(fence)) =
        (graph.participants.get(wait.participant), graph.fences.get(wait.fence))
    else {
        return Ok(());
    };
    let alternative = if wait.alternatives > 1 { "any of several, one " } else { "" };
    let submission = if wait.role == Role::WaitPending { "a submission of " } else { "" };
    write!(
        out,
        "  {node} waits for {alternative}{submission}{fence} >= {} (now {}): ",
        wait.value, fence.value
    )?;
    signalers(graph, number, wait, fence, out)?;
    out.write_str("\n")
}

/// Writes the participants that may end a wait.
fn signalers(
    graph: &Graph,
    number: usize,
    wait: &Record,
    fence: &FenceNode,
    out: &mut dyn Write,
) -> fmt::Result {
    let mut nobody = true;
    for promise in promises(graph, number) {
        let Some(node) = graph.participants.get(promise.participant) else { continue };
        let dead = if node.is_dead { ", which is gone" } else { "" };
        write!(out, "{}{node}{dead}", if nobody { "promised by " } else { "; by " })?;
        nobody = false;
    }
    match (nobody, fence.is_pending(wait.value) && wait.may_end_outside) {
        (true, false) => out.write_str("nobody has submitted a signal for this"),
        (true, true) => out.write_str("submitted"),
        (false, true) => out.write_str("; and submitted by somebody else"),
        (false, false) => Ok(()),
    }
}

/// Returns the promises to end a wait, one for each participant that promised.
pub(super) fn promises(graph: &Graph, wait: usize) -> impl Iterator<Item = &Record> {
    let first = graph.edges.partition_point(|edge| edge.0 < wait);
    let of_wait = graph.edges.iter().skip(first).take_while(move |edge| edge.0 == wait);
    let mut last = None;
    // Sorted by participant.
    of_wait
        .filter_map(|edge| graph.promises.get(edge.1))
        .filter(move |promise| last.replace(promise.participant) != Some(promise.participant))
}

/// Writes the graph for Graphviz. Participants are ellipses, and fences are boxes. An arrow leads
/// from a participant that waits to the fence, and a dashed one on to each that promised to signal
/// it. Deadlocks are red.
pub(crate) fn dot(graph: &Graph, out: &mut dyn Write) -> fmt::Result {
    writeln!(out, "digraph libumf {{")?;
    if graph.dropped > 0 {
        writeln!(out, "    label=\"not complete: {} dropped\";", Records(graph.dropped))?;
    }
    for (number, node) in
        graph.participants.iter().enumerate().filter(|(_, node)| node.is_mentioned)
    {
        let dead = if node.is_dead { ", gone" } else { "" };
        writeln!(out, "    participant{number} [label=\"{node}{dead}\"{}];", color(graph, number))?;
    }
    for (number, fence) in graph.fences.iter().enumerate().filter(|(_, fence)| fence.is_mentioned) {
        let FenceNode { value, pending, .. } = fence;
        writeln!(
            out,
            "    fence{number} [shape=box, label=\"{fence}\\nnow {value}, pending {pending}\"];"
        )?;
    }
    for Record { participant, fence, value, role, alternatives, .. } in &graph.waits {
        let alternative = if *alternatives > 1 { "any: " } else { "" };
        let submission = if *role == Role::WaitPending { "submission of " } else { "" };
        let color = color(graph, *participant);
        writeln!(
            out,
            "    participant{participant} -> fence{fence} \
             [label=\"{alternative}{submission}>= {value}\"{color}];"
        )?;
    }
    for Record { participant, fence, value, .. } in &graph.promises {
        let color = color(graph, *participant);
        writeln!(
            out,
            "    fence{fence} -> participant{participant} \
             [style=dashed, label=\"up to {value}\"{color}];"
        )?;
    }
    writeln!(out, "}}")
}

fn color(graph: &Graph, participant: usize) -> &'static str {
    if matches!(graph.status(participant), Status::Deadlocked(_)) { ", color=red" } else { "" }
}

/// "1 page", "2 pages".
struct Count(usize, &'static str);

impl Display for Count {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}{}", self.0, self.1, if self.0 == 1 { "" } else { "s" })
    }
}

/// "1 record was", "2 records were".
struct Records(u64);

impl Display for Records {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let verb = if self.0 == 1 { "was" } else { "were" };
        write!(f, "{} {verb}", Count(self.0 as usize, "record"))
    }
}

impl Display for FenceNode {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (inode, slot) = self.place();
        write!(f, "fence {inode}:{slot}")?;
        if let Some(name) = &self.name {
            f.write_str(" (")?;
            name.chars().try_for_each(|char| f.write_char(char))?;
            f.write_str(")")?;
        }
        Ok(())
    }
}

impl ParticipantNode {
    /// What it is, in a word.
    pub(super) fn kind(&self) -> &'static str {
        match self.participant.kind() {
            Some(ParticipantKind::Queue) => "queue",
            Some(ParticipantKind::Watch) => "watch",
            Some(ParticipantKind::Thread) => "thread",
            Some(ParticipantKind::Work) => "work",
            None => "unknown",
        }
    }
}

impl Display for ParticipantNode {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let kind = match self.kind() {
            "work" => "work of queue",
            kind => kind,
        };
        write!(f, "{kind} {} of pid {}", self.participant.serial(), self.participant.pid())?;
        if let Some(name) = &self.name {
            f.write_str(" (")?;
            name.chars().try_for_each(|char| f.write_char(char))?;
            f.write_str(")")?;
        }
        Ok(())
    }
}
