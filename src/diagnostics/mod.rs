// SPDX-License-Identifier: MIT
//! The wait-for graph of all pages, for a person to read.
//!
//! Participants that wait, or will signal, write that into the wait tables of the pages. This
//! folder only reads them. No wait and no signal depends on what it finds.

#![forbid(unsafe_code)]

mod deadlock;
mod fd_writer;
mod fence_info;
mod graph;
mod json;
mod log;
mod report;

use crate::config;
use crate::error::Result;
use crate::shm::page::Page;
use crate::shm::participant::Participant;
use fd_writer::FdWriter;
pub(crate) use fence_info::FenceInfo;
use graph::Graph;
pub(crate) use log::{LogHandler, set_handler};
use rustix::fd::BorrowedFd;
use std::sync::atomic::{AtomicU64, Ordering};

/// How the graph is written down.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Text,
    /// For Graphviz.
    Dot,
    Json,
}

/// Writes the graph to a descriptor, and returns the number of deadlocks.
pub(crate) fn write(fd: BorrowedFd<'_>, format: Format) -> Result<u32> {
    let graph = Graph::collect()?;
    let mut out = FdWriter::new(fd);
    release_dead();
    // `out` keeps the error.
    let _ = match format {
        Format::Text => report::text(&graph, &mut out),
        Format::Dot => report::dot(&graph, &mut out),
        Format::Json => json::write(&graph, &mut out),
    };
    out.finish()?;
    Ok(graph.deadlocks.count)
}

/// Frees the records of processes that are dead, on pages where no other record is free. The report
/// that was collected before still names them.
fn release_dead() {
    // Without memory they stay for the next report.
    let Ok(pages) = Page::all() else { return };
    for page in pages.iter().filter(|page| page.is_writable()) {
        page.wait_table().release_dead(Participant::is_dead);
    }
}

/// Writes the graph as a message if `participant` has just closed a deadlock, and LIBUMF_DEBUG is
/// set.
///
/// To be called, with no lock held, after the participant recorded a wait, or a promise while it
/// waits. The participant that closes a deadlock reports it, once.
pub(crate) fn report_new_deadlock(participant: Participant) {
    static REPORTED: AtomicU64 = AtomicU64::new(0);
    if !config::is_debug() {
        return;
    }
    // Without memory there is no report; the program goes on.
    let Ok(graph) = Graph::collect() else { return };
    let Some(deadlock) = graph.deadlock_id(participant) else { return };
    if REPORTED.swap(deadlock, Ordering::Relaxed) != deadlock {
        log::write(|out| report::text(&graph, out));
    }
}
