//! Who waits for whom: the wait-for graph of all pages, for a person to read.

mod deadlock;
mod fd_writer;
pub(crate) mod graph;
mod report;
