// SPDX-License-Identifier: MIT
//! The report for programs.

use crate::graph::{Blocker, Graph, Wait};
use crate::machine::Machine;
use crate::names;
use crate::processes::{View, fences};
use serde_json::{Value, json};
use umf::PageFlags;

pub fn report(machine: &Machine, view: &View, graph: &Graph) -> Value {
    let processes = view
        .processes
        .iter()
        .map(|(pid, process)| json!({ "pid": pid, "name": process.name, "pages": process.pages }));
    json!({
        "machine": machine.json(),
        "processes": processes.collect::<Vec<_>>(),
        "pages": pages(view),
        "blocked": graph.waits.iter().map(|wait| blocked(view, graph, wait)).collect::<Vec<_>>(),
        "graph": graph.json,
    })
}

fn pages(view: &View) -> Vec<Value> {
    let page = |(inode, open): (&u64, &crate::processes::OpenPage)| match &open.page {
        Ok(page) => json!({
            "inode": inode,
            "name": named(names::of_page(page)),
            "slots": page.fence_count(),
            "single_writer": page.flags().contains(PageFlags::SINGLE_WRITER),
            "processes": open.processes,
            "fences": fences(page).map(|(index, info)| json!({
                "index": index,
                "name": named(names::of_fence(page, index)),
                "value": info.value,
                "pending": info.pending,
                "error": info.error,
                "flags": names::of_flags(info.flags.bits(), names::FENCE_FLAGS),
                "creator": process(view, info.creator_pid, info.creator_pid_namespace),
                "generation": info.generation,
                "wake_ups": info.wake_ups,
            })).collect::<Vec<_>>(),
        }),
        Err(error) => {
            json!({ "inode": inode, "processes": open.processes, "error": error.to_string() })
        }
    };
    view.pages.iter().map(page).collect()
}

/// A name, or null if there is none.
fn named(name: String) -> Value {
    if name.is_empty() { Value::Null } else { json!(name) }
}

/// A process that a page names: null if it names none, or one that is not to be seen from here.
fn process(view: &View, own_pid: u32, namespace: u32) -> Value {
    match own_pid {
        0 => Value::Null,
        own_pid => json!(view.find(own_pid, namespace)),
    }
}

fn blocked(view: &View, graph: &Graph, wait: &Wait) -> Value {
    let pid = |at: usize| {
        graph
            .participants
            .get(at)
            .map_or(Value::Null, |node| process(view, node.pid, node.namespace))
    };
    let (by, why) = match graph.blocker(view, wait) {
        Blocker::Promised(by) => (by.into_iter().map(pid).collect(), "will signal"),
        Blocker::Creator(own_pid, namespace) => {
            (vec![process(view, own_pid, namespace)], "created the fence")
        }
        Blocker::Unknown => (Vec::new(), "unknown"),
    };
    let fence = graph.fences.get(wait.fence);
    json!({
        "pid": pid(wait.participant),
        "by": by,
        "why": why,
        "deadlock": graph.participants.get(wait.participant).and_then(|node| node.deadlock),
        "page": fence.map(|fence| fence.page),
        "fence": fence.map(|fence| fence.index),
        "value": wait.value,
        "now": fence.map(|fence| fence.value),
    })
}
