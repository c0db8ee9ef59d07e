// SPDX-License-Identifier: MIT
//! umf-info shows userspace memory fences of this machine's processes: their pages, the fences
//! with their values, and which process blocks which. It changes nothing, unless it is told to have
//! waits recorded.
//!
//! It opens the pages from /proc/PID/fd, and reads them through the installed library.

mod cli;
mod dot;
mod follow;
mod graph;
mod json;
mod machine;
mod names;
mod processes;
mod text;

use graph::Graph;
use machine::Machine;
use processes::{Access, View};
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;
use std::time::Duration;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        // The reader has what it wanted.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "umf-info: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> io::Result<()> {
    let given = cli::command().get_matches();
    let pids: Vec<u32> = given.get_many("pid").into_iter().flatten().copied().collect();
    let is_json = given.get_flag("json");
    let mut out = String::new();
    if given.get_flag("follow") {
        let interval = given.get_one::<u32>("interval").copied().unwrap_or(1);
        let interval = Duration::from_secs(interval.into());
        return follow::run(&pids, interval, given.get_one("count").copied());
    }
    if given.get_flag("machine") {
        let machine = Machine::query()?;
        if is_json {
            out = format!("{:#}\n", machine.json());
        } else {
            machine.text(&mut out);
        }
        return io::stdout().write_all(out.as_bytes());
    }
    let (view, graph) = if given.get_flag("record-waits") {
        let view = View::open(&pids, Access::Write)?;
        let graph = view.while_recording(Graph::read)?;
        (view, graph)
    } else {
        (View::open(&pids, Access::Read)?, Graph::read()?)
    };
    if is_json {
        out = format!("{:#}\n", json::report(&Machine::query()?, &view, &graph));
    } else if given.get_flag("dot") {
        dot::report(&view, &graph, &mut out);
    } else {
        if pids.is_empty() {
            Machine::query()?.text(&mut out);
        }
        text::report(&view, &graph, &mut out);
    }
    io::stdout().write_all(out.as_bytes())
}
