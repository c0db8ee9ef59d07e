//! Diagnostics.

use super::args::borrow_fd;
use super::contract::c_contract;
use super::returns::c_return_preserving_errno;
use crate::diagnostics::graph::{self, Format};
use crate::error::{Error, Result};
use std::ffi::c_int;

/// In the flags of umf_graph_write(): for Graphviz (dot -Tsvg), not as text. Since 0.1.
pub const UMF_GRAPH_DOT: u64 = 1 << 0;

/// Writes down who waits for which value of which fence, who promised to signal it, and which of them wait for each other in a
/// circle, in all processes that left a note of it in a page that this process has open.
///
/// Queues and watches always leave notes; umf_fence_wait() and umf_wait() do where LIBUMF_DEBUG, in the environment, is 1 when
/// their process creates or imports its first page. Then a queue that closes a circle also has this written to stderr.
///
///     libumf: 1 page, 3 waits, 1 deadlock
///     deadlock 1:
///       queue 1 of pid 812 (game) waits for fence 17:3 >= 5 (now 4): promised by queue 2 of pid 640 (compositor)
///       queue 2 of pid 640 (compositor) waits for fence 17:8 >= 1 (now 0): promised by queue 1 of pid 812 (game)
///     waiting:
///       thread 813 of pid 812 (game) waits for fence 17:6 >= 2 (now 0): nobody has submitted a signal for this
///
/// A fence is named after the inode number of its page's memfd, and its index. "submitted" is what umf_fence_submit() announced
/// and nobody left a note of. Who waits for what nobody has submitted yet is in no deadlock. The text is for people, and
/// changes.
///
/// \param fd             where to write to. Stays the caller's. If it does not block (O_NONBLOCK), the call waits until it takes
///                       everything; where nobody reads a pipe or a socket any more, there is a SIGPIPE as from write().
/// \param flags          0 or UMF_GRAPH_DOT.
/// \param out_deadlocks  receives how many deadlocks were found. May be NULL. Written only on success.
///
/// \return 0, or
///         -EINVAL  unknown flags, or fd cannot be written to.
///         -EBADF   fd is not open, or not for writing.
///         -EACCES  the file is sealed against writing.
///         -ENOMEM  no memory, or no room left where fd leads. In the second case a part was written, as may be with -EPROTO.
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_graph_write(fd: c_int, flags: u64, out_deadlocks: *mut u32) -> c_int {
    c_return_preserving_errno(|| {
        let deadlocks = graph::write(borrow_fd(fd)?, format(flags)?)?;
        if !out_deadlocks.is_null() {
            c_contract!(out_deadlocks.write(deadlocks));
        }
        Ok(())
    })
}

fn format(flags: u64) -> Result<Format> {
    match flags {
        0 => Ok(Format::Text),
        UMF_GRAPH_DOT => Ok(Format::Dot),
        _ => Err(Error::Invalid),
    }
}
