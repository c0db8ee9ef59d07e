//! The wait-for graph as text, and for Graphviz.

use super::deadlock::Fate;
use super::graph::{Entry, Graph, Subject, Who};
use crate::shm::participant::ParticipantKind;
use crate::shm::wait_table::Role;
use std::fmt::{self, Display, Formatter, Write};

/// Who waits for what, and who promised it: deadlocks first, then those behind them, then the
/// others.
pub(crate) fn text(graph: &Graph, out: &mut impl Write) -> fmt::Result {
    let deadlocks = graph.verdict.deadlocks;
    writeln!(
        out,
        "libumf: {}, {}, {}",
        Count(graph.pages, "page"),
        Count(graph.waits.len(), "wait"),
        Count(deadlocks as usize, "deadlock")
    )?;
    if graph.lost > 0 {
        writeln!(
            out,
            "not complete: {} found no room, so promises may be missing",
            Count(graph.lost as usize, "note")
        )?;
    }
    let mut said = None;
    for number in &graph.worst_first {
        let Some(wait) = graph.waits.get(*number) else { continue };
        let fate = graph.fate(wait.who);
        if said.replace(fate) != Some(fate) {
            match fate {
                Fate::Deadlocked(number) => writeln!(out, "deadlock {}:", number + 1)?,
                Fate::Behind => writeln!(out, "waiting for a deadlock:")?,
                Fate::Free => writeln!(out, "waiting:")?,
            }
        }
        line(graph, *number, wait, out)?;
    }
    Ok(())
}

fn line(graph: &Graph, number: usize, wait: &Entry, out: &mut impl Write) -> fmt::Result {
    let (Some(who), Some(subject)) = (graph.owners.get(wait.who), graph.subjects.get(wait.subject))
    else {
        return Ok(());
    };
    let alternative = if wait.of > 1 { "any of several, one " } else { "" };
    let submission = if wait.role == Role::WaitPending { "a submission of " } else { "" };
    write!(
        out,
        "  {who} waits for {alternative}{submission}{subject} >= {} (now {}): ",
        wait.value, subject.value
    )?;
    hopes(graph, number, wait, subject, out)?;
    out.write_str("\n")
}

/// Who may end a wait.
fn hopes(
    graph: &Graph,
    number: usize,
    wait: &Entry,
    subject: &Subject,
    out: &mut impl Write,
) -> fmt::Result {
    let mut nobody = true;
    for promise in promisers(graph, number) {
        let Some(who) = graph.owners.get(promise.who) else { continue };
        let gone = if who.is_gone { ", which is gone" } else { "" };
        write!(out, "{}{who}{gone}", if nobody { "promised by " } else { "; by " })?;
        nobody = false;
    }
    match (nobody, subject.is_pending(wait.value) && wait.is_open) {
        (true, false) => out.write_str("nobody has submitted a signal for this"),
        (true, true) => out.write_str("submitted"),
        (false, true) => out.write_str("; and submitted by somebody else"),
        (false, false) => Ok(()),
    }
}

/// The promises to end a wait, one for each who promised.
fn promisers(graph: &Graph, wait: usize) -> impl Iterator<Item = &Entry> {
    let first = graph.edges.partition_point(|edge| edge.0 < wait);
    let its = graph.edges.iter().skip(first).take_while(move |edge| edge.0 == wait);
    let mut last = None;
    // Sorted by who promised.
    its.filter_map(|edge| graph.promises.get(edge.1))
        .filter(move |promise| last.replace(promise.who) != Some(promise.who))
}

/// Owners are ellipses and fences boxes; an arrow leads from who waits to the fence, and from
/// there, dashed, to who promised to signal it. Deadlocks are red.
pub(crate) fn dot(graph: &Graph, out: &mut impl Write) -> fmt::Result {
    writeln!(out, "digraph libumf {{")?;
    if graph.lost > 0 {
        writeln!(
            out,
            "    label=\"not complete: {} found no room\";",
            Count(graph.lost as usize, "note")
        )?;
    }
    for (number, who) in graph.owners.iter().enumerate().filter(|(_, who)| who.is_mentioned) {
        let gone = if who.is_gone { ", gone" } else { "" };
        writeln!(out, "    owner{number} [label=\"{who}{gone}\"{}];", colour(graph, number))?;
    }
    for (number, subject) in
        graph.subjects.iter().enumerate().filter(|(_, subject)| subject.is_mentioned)
    {
        let Subject { value, pending, .. } = subject;
        writeln!(
            out,
            "    fence{number} [shape=box, label=\"{subject}\\nnow {value}, pending {pending}\"];"
        )?;
    }
    for Entry { who, subject, value, role, of, .. } in &graph.waits {
        let alternative = if *of > 1 { "any: " } else { "" };
        let submission = if *role == Role::WaitPending { "submission of " } else { "" };
        let colour = colour(graph, *who);
        writeln!(
            out,
            "    owner{who} -> fence{subject} [label=\"{alternative}{submission}>= {value}\"{colour}];"
        )?;
    }
    for Entry { who, subject, value, .. } in &graph.promises {
        let colour = colour(graph, *who);
        writeln!(
            out,
            "    fence{subject} -> owner{who} [style=dashed, label=\"up to {value}\"{colour}];"
        )?;
    }
    writeln!(out, "}}")
}

fn colour(graph: &Graph, who: usize) -> &'static str {
    if matches!(graph.fate(who), Fate::Deadlocked(_)) { ", color=red" } else { "" }
}

/// "1 page", "2 pages".
struct Count(usize, &'static str);

impl Display for Count {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}{}", self.0, self.1, if self.0 == 1 { "" } else { "s" })
    }
}

impl Display for Subject {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (inode, slot) = self.name();
        write!(f, "fence {inode}:{slot}")
    }
}

impl Display for Who {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let kind = match self.owner.kind() {
            Some(ParticipantKind::Queue) => "queue",
            Some(ParticipantKind::Watch) => "watch",
            Some(ParticipantKind::Thread) => "thread",
            Some(ParticipantKind::Work) => "work of queue",
            None => "unknown",
        };
        write!(f, "{kind} {} of pid {}", self.owner.serial(), self.owner.pid())?;
        if let Some(name) = &self.name {
            f.write_str(" (")?;
            name.chars().try_for_each(|char| f.write_char(char))?;
            f.write_str(")")?;
        }
        Ok(())
    }
}
