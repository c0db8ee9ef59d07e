// SPDX-License-Identifier: MIT
//! A table of the fences that is shown again and again, with rates.

use crate::graph::Graph;
use crate::names;
use crate::processes::{Access, View, fences};
use crate::text::{creator, in_brackets, table};
use std::collections::HashMap;
use std::fmt::Write;
use std::io::{self, IsTerminal, Write as _};
use std::thread::sleep;
use std::time::{Duration, Instant};
use umf::FenceInfo;

/// The most fences of a table. Those that change come first.
const MOST_ROWS: usize = 40;

/// A fence: page, index and generation.
type Key = (u64, u32, u64);

/// Shows `count` tables, or goes on until stdout is closed.
pub fn run(pids: &[u32], interval: Duration, count: Option<u32>) -> io::Result<()> {
    let (mut before, mut at) = (HashMap::new(), Instant::now());
    let clear = if io::stdout().is_terminal() { "\x1b[H\x1b[2J" } else { "" };
    let mut shown = 0;
    loop {
        let view = View::open(pids, Access::Read)?;
        let graph = Graph::read()?;
        let seconds = at.elapsed().as_secs_f64();
        at = Instant::now();
        let now = read(&view);
        let mut text = String::from(clear);
        show(&view, &graph, &now, &before, seconds, &mut text);
        io::stdout().write_all(text.as_bytes())?;
        io::stdout().flush()?;
        before = now;
        shown += 1;
        if count == Some(shown) {
            return Ok(());
        }
        sleep(interval);
    }
}

fn read(view: &View) -> HashMap<Key, FenceInfo> {
    let mut all = HashMap::new();
    for (inode, open) in &view.pages {
        let Ok(page) = &open.page else { continue };
        all.extend(fences(page).map(|(index, info)| ((*inode, index, info.generation), info)));
    }
    all
}

fn name(view: &View, page: u64, index: u32) -> String {
    let page = view.pages.get(&page).and_then(|open| open.page.as_ref().ok());
    page.map(|page| names::of_fence(page, index)).unwrap_or_default()
}

fn show(
    view: &View,
    graph: &Graph,
    now: &HashMap<Key, FenceInfo>,
    before: &HashMap<Key, FenceInfo>,
    seconds: f64,
    out: &mut String,
) {
    let _ = writeln!(
        out,
        "{} processes, {} pages, {} fences, {} waits, {} deadlocks",
        view.processes.len(),
        view.pages.len(),
        now.len(),
        graph.waits.len(),
        graph.deadlocks
    );
    let mut fences: Vec<(&Key, &FenceInfo, u64, u64)> = now
        .iter()
        .map(|(key, info)| {
            let last = before.get(key).unwrap_or(info);
            let values = info.value.saturating_sub(last.value);
            (key, info, values, info.wake_ups.wrapping_sub(last.wake_ups).into())
        })
        .collect();
    fences
        .sort_by_key(|(key, _, values, wake_ups)| (std::cmp::Reverse((*values, *wake_ups)), **key));
    let rate = |count: u64| format!("{:.0}", count as f64 / seconds);
    let heading = ["fence", "value", "pending", "values/s", "wake-ups/s", "error", "creator"];
    let mut rows = vec![heading.map(String::from)];
    for ((page, index, _), info, values, wake_ups) in fences.into_iter().take(MOST_ROWS) {
        rows.push([
            format!("{page}:{index}{}", in_brackets(&name(view, *page, *index))),
            info.value.to_string(),
            info.pending.to_string(),
            rate(values),
            rate(wake_ups),
            names::of_error(info.error),
            creator(view, info),
        ]);
    }
    table(&rows, out);
}
