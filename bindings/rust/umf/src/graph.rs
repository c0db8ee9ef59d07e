// SPDX-License-Identifier: MIT
//! The wait-for graph of all participants.

use crate::error::{Result, check};
use crate::sys;
use std::os::fd::{AsFd, AsRawFd};

/// How [`write_graph`] writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GraphFormat {
    /// Lines for people.
    Text,
    /// A graph for Graphviz.
    Dot,
    /// JSON, for programs.
    Json,
}

/// Writes which participants wait for which fences, and returns the number of deadlocks among
/// them.
#[doc(alias = "umf_graph_write")]
pub fn write_graph(fd: impl AsFd, format: GraphFormat) -> Result<u32> {
    let flags = match format {
        GraphFormat::Text => 0,
        GraphFormat::Dot => sys::UMF_GRAPH_DOT,
        GraphFormat::Json => sys::UMF_GRAPH_JSON,
    };
    let mut deadlocks = 0;
    let fd = fd.as_fd().as_raw_fd();
    // SAFETY: The descriptor is open during the call, and `deadlocks` is valid for writing.
    check(unsafe { sys::umf_graph_write(fd, flags, &raw mut deadlocks) })?;
    Ok(deadlocks)
}
