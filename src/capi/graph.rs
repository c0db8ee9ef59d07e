//! Diagnostics.

use super::args::borrow_fd;
use super::contract::c_contract;
use super::returns::c_return_preserving_errno;
use crate::diagnostics::{self, Format};
use crate::error::{Error, Result};
use std::ffi::c_int;

/// Flag of umf_graph_write(): write for Graphviz (dot -Tsvg), not text. Since 0.1.
pub const UMF_GRAPH_DOT: u64 = 1 << 0;

/// Write which participants wait for which fences, and the deadlocks among them.
///
/// The report names each participant that waits, the value and fence that it waits for, and the
/// participants that will signal them. A circle of such waits is a deadlock. It covers all
/// processes that have wait records in a page that this process has open.
///
/// Queues have wait records while they are blocked, and watches that will signal a fence have one
/// until they are over. LIBUMF_DEBUG=1 or more in the environment adds records of umf_fence_wait(),
/// of umf_wait() and of the other watches of fences. A queue that closes a circle then also writes
/// this report to stderr. A process reads the variable when it creates or imports its first page. A
/// page with UMF_PAGE_SINGLE_WRITER has only records of its creator.
///
/// Records are missing if memory or the page's table is full; the report counts those. A record
/// whose fence has ended, has failed or has reached the value makes room for another one. So do all
/// records of a process that died, once the page or the fence is tied to it (umf_loop_tie_page()).
/// If a table is full, this call also frees the records of processes that died in this pid
/// namespace; the report still shows them. It is the only call that asks the kernel about other
/// processes by their process ids, except that LIBUMF_DEBUG has queues do so.
///
///     libumf: 1 page, 3 waits, 1 deadlock
///     deadlock 1:
///       queue 1 of pid 8 (gl) waits for fence 17:3 >= 5 (now 4): promised by queue 2 of pid 6 (wm)
///       queue 2 of pid 6 (wm) waits for fence 17:8 >= 1 (now 0): promised by queue 1 of pid 8 (gl)
///     waiting:
///       thread 9 of pid 8 (gl) waits for fence 17:6 >= 2 (now 0): submitted
///
/// A fence is named by the inode number of its page's memfd and its index. "submitted" means that
/// umf_fence_submit() announced a value for which no participant has a record. A participant that
/// waits for a value that is not submitted yet is in no deadlock. The text is for people, and may
/// change.
///
/// @fd: where to write. Stays the caller's. If it is nonblocking, the call waits until it accepts
///     everything. If a pipe or socket has no reader any more, the kernel raises SIGPIPE as for
///     write(); beyond RLIMIT_FSIZE it raises SIGXFSZ.
/// @flags: UMF_GRAPH_DOT, or 0.
/// @out_deadlocks: receives the number of deadlocks. May be NULL. Written only on success.
///
/// Return: 0 on success, or
///   -EINVAL  @flags has unknown bits, or @fd cannot be written to
///   -EBADF   @fd is not open, or is not open for writing
///   -EACCES  the file is sealed against writing
///   -ENOMEM  no memory is left, or no room where @fd leads; then a part was written, as may happen
///            with -EPROTO
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_graph_write(fd: c_int, flags: u64, out_deadlocks: *mut u32) -> c_int {
    c_return_preserving_errno(|| {
        let deadlocks = diagnostics::write(borrow_fd(fd)?, format(flags)?)?;
        if !out_deadlocks.is_null() {
            c_contract!(out_deadlocks.write(deadlocks));
        }
        Ok(())
    })
}

/// Reads the flags of umf_graph_write().
fn format(flags: u64) -> Result<Format> {
    match flags {
        0 => Ok(Format::Text),
        UMF_GRAPH_DOT => Ok(Format::Dot),
        _ => Err(Error::Invalid),
    }
}
