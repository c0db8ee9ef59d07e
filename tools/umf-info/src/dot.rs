// SPDX-License-Identifier: MIT
//! The wait-for graph, for Graphviz.

use crate::graph::{Blocker, Graph};
use crate::processes::View;
use crate::text::{in_brackets, participant};
use std::fmt::Write;

/// Writes the graph. Participants are ellipses, processes that created a fence are ellipses with
/// two lines, fences are boxes. An arrow leads from a participant that waits to the fence, and a
/// dashed one on to what blocks it. Deadlocks are red.
pub fn report(view: &View, graph: &Graph, out: &mut String) {
    out.push_str("digraph umf {\n");
    let mut mentioned = vec![false; graph.participants.len()];
    let mut edges = String::new();
    for wait in &graph.waits {
        let (from, fence) = (wait.participant, wait.fence);
        let color = color(graph, from);
        mention(&mut mentioned, from);
        let _ = writeln!(
            edges,
            "    participant{from} -> fence{fence} [label=\">= {}\"{color}];",
            wait.value
        );
        match graph.blocker(view, wait) {
            Blocker::Promised(by) => {
                for at in by {
                    mention(&mut mentioned, at);
                    let _ = writeln!(
                        edges,
                        "    fence{fence} -> participant{at} [style=dashed, label=\"will \
                         signal\"{color}];"
                    );
                }
            }
            Blocker::Creator(pid, namespace) => {
                let _ = writeln!(
                    edges,
                    "    creator{namespace}_{pid} [peripheries=2, label=\"{}\"];\n    fence{fence} \
                     -> creator{namespace}_{pid} [style=dashed, label=\"created by\"];",
                    view.describe(pid, namespace)
                );
            }
            Blocker::Unknown => {}
        }
    }
    for at in (0..graph.participants.len()).filter(|at| mentioned.get(*at) == Some(&true)) {
        let (label, color) = (participant(view, graph, at), color(graph, at));
        let _ = writeln!(out, "    participant{at} [label=\"{label}\"{color}];");
    }
    for (number, fence) in graph.fences.iter().enumerate() {
        if graph.waits.iter().any(|wait| wait.fence == number) {
            let _ = writeln!(
                out,
                "    fence{number} [shape=box, label=\"fence {}:{}{}\\nnow {}, pending {}\"];",
                fence.page,
                fence.index,
                in_brackets(&fence.name),
                fence.value,
                fence.pending
            );
        }
    }
    out.push_str(&edges);
    out.push_str("}\n");
}

fn mention(mentioned: &mut [bool], at: usize) {
    if let Some(mentioned) = mentioned.get_mut(at) {
        *mentioned = true;
    }
}

fn color(graph: &Graph, at: usize) -> &'static str {
    let is_red = graph.participants.get(at).is_some_and(|node| node.deadlock.is_some());
    if is_red { ", color=red" } else { "" }
}
