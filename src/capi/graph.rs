// SPDX-License-Identifier: MIT
//! Diagnostics.

use super::args::{borrow_fd, no_flags, write_sized};
use super::contract::c_contract;
use super::fence::{UMF_FENCE_32BIT, UMF_FENCE_DEVICE, UMF_FENCE_LASTING, UMF_FENCE_UNORDERED};
use super::handles::clone_ref;
use super::page::umf_page;
use super::returns::{c_return, c_return_preserving_errno};
use crate::diagnostics::{self, FenceInfo, Format, LogHandler};
use crate::error::{Error, Result};
use crate::shm::residue::Width;
use crate::util::refs::Ref;
use crate::util::user_data::UserData;
use std::ffi::{c_char, c_int, c_void};

/// Flag of umf_graph_write(): write for Graphviz (dot -Tsvg), not text. Since 0.1.
pub const UMF_GRAPH_DOT: u64 = 1 << 0;

/// Flag of umf_graph_write(): write JSON, for programs.
///
/// The object has these members: the numbers pages, dropped (records that are missing) and
/// deadlocks, and the lists participants, fences, waits and promises. A participant has kind
/// ("queue", "watch", "thread" or "work"), number, pid, pid_namespace, name (null if unknown), gone
/// (whether its process is dead), deadlock (the number of its deadlock from 1, or null) and behind
/// (whether it waits for a deadlock). A fence has page (an inode number), index, value, pending and
/// name (null if it has none: umf_fence_set_name()). A wait has participant, fence, value,
/// submission (whether it waits for a submission), any_of (the number of alternatives, 1 if the
/// wait is required), may_end_otherwise (whether a signaler without a record may end it) and
/// promised_by (participants that will). A promise has participant, fence and value. Participants
/// and fences are named by their places in the lists, from 0. Later versions may add members. Since
/// 0.1.
pub const UMF_GRAPH_JSON: u64 = 1 << 1;

/// Write which participants wait for which fences, and the deadlocks among them.
///
/// The report names each participant that waits, the value and fence that it waits for, and the
/// participants that will signal them. A circle of such waits is a deadlock. It covers all
/// processes that have wait records in a page that this process has open.
///
/// Queues have wait records while they are blocked, and watches that will signal a fence have one
/// until they are over. LIBUMF_DEBUG=1 or more in the environment adds records of umf_fence_wait(),
/// of umf_wait() and of the other watches of fences. A queue that closes a circle then also writes
/// this report to stderr, or to the handler of umf_set_log_handler(). A process reads the variable
/// when it creates or imports its first page. umf_page_record_waits() adds records of blocking
/// waits to one page, in processes that run. A page with UMF_PAGE_SINGLE_WRITER has only records of
/// its creator.
///
/// Records are missing if memory or the page's table is full; the report counts those. A record
/// whose fence has ended, has failed or has reached the value makes room for another one. So do all
/// records of a process that died, once the page or the fence is tied to it (umf_loop_tie_page()).
/// If a table is full, this call also frees the records of processes that died in this pid
/// namespace; the report still shows them. It is the only call that asks the kernel about other
/// processes by their process ids, except that LIBUMF_DEBUG has queues do so. Without a tie,
/// nothing tells that a process of another pid namespace died: its records stay until their fences
/// move on, and count as waits.
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
/// @flags: UMF_GRAPH_DOT or UMF_GRAPH_JSON, or 0.
/// @out_deadlocks: receives the number of deadlocks. May be NULL. Written only on success.
///
/// Return: 0 on success, or
///   -EINVAL  @flags has unknown bits or more than one, or @fd cannot be written to
///   -EBADF   @fd is not open, or is not open for writing
///   -EACCES  the file is sealed against writing
///   -ENOMEM  no memory is left, or no room where @fd leads; then a part was written
///   -EIO     a write failed: the reader of @fd is gone, or its file is broken; then a part was
///            written
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
        UMF_GRAPH_JSON => Ok(Format::Json),
        _ => Err(Error::Invalid),
    }
}

/// Where messages of the library go: see umf_set_log_handler(). Since 0.1.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct umf_log_handler {
    /// Is called with each message: text of one or more lines, the last of which ends with a
    /// newline. It is valid during the call.
    ///
    /// May run on any thread of the process that submits jobs or runs an event loop, and on several
    /// at a time. It may call every function of the library. No lock of the library is held.
    pub call: Option<extern "C" fn(data: *mut c_void, message: *const c_char)>,
    /// Is called once when no call will use the data any more, on the thread that sets another
    /// handler or that ends the last call. NULL calls nothing.
    pub release: Option<extern "C" fn(data: *mut c_void)>,
    /// Is passed to both.
    pub data: *mut c_void,
}

/// Set a function that receives the messages of the library, in place of stderr.
///
/// There is one message so far, and it is written only in a process that runs with LIBUMF_DEBUG=1:
/// a queue that closes a deadlock writes the report of umf_graph_write(). The variable decides
/// whether there are messages, and this call where they go. A message for which memory is missing
/// is left out.
///
/// @handler: what to call. It is copied. NULL restores stderr.
/// @flags: must be 0.
///
/// Return: 0 on success, or
///   -EINVAL  handler->call is NULL, or @flags is not 0
///   -ENOMEM  no memory is left
///
/// After an error the handler is as before, and the data stays the caller's. The call does not wait
/// for the old handler, which may be running: its release function tells when it is over. The child
/// of a fork has no queues, and so no messages.
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_set_log_handler(handler: *const umf_log_handler, flags: u64) -> c_int {
    c_return_preserving_errno(|| {
        no_flags(flags)?;
        let handler = match c_contract!(handler.as_ref()) {
            None => None,
            Some(handler) => {
                let call = handler.call.ok_or(Error::Invalid)?;
                let data = || UserData::new(handler.data, handler.release);
                Some(Ref::try_new(|| Ok(LogHandler { call, data: data() }))?)
            }
        };
        diagnostics::set_handler(handler);
        Ok(())
    })
}

/// Have blocking waits on the fences of a page leave wait records, in all processes.
///
/// For tools that look at processes which run without LIBUMF_DEBUG: umf_graph_write() then shows
/// umf_fence_wait() and umf_wait() too. Waits that sleep are woken once, leave their records and
/// sleep on, so the report is complete as soon as they have run. Watches that exist are not
/// recorded. A wait keeps its record until it ends. A record costs a wait that blocks up to a few
/// microseconds.
///
/// The page remembers it until a process turns it off. Every process that can write to a page can
/// turn it on or off.
///
/// @page: the page.
/// @on: 1 to turn it on, 0 to turn it off.
/// @flags: must be 0.
///
/// Return: 0 on success, or
///   -EINVAL  @page is NULL, @on is neither 0 nor 1, or @flags is not 0
///   -EACCES  the process cannot write to the page: UMF_PAGE_SINGLE_WRITER, UMF_PAGE_READ_ONLY
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_page_record_waits(
    page: *mut umf_page,
    on: c_int,
    flags: u64,
) -> c_int {
    c_return(|| {
        no_flags(flags)?;
        let is_wanted = match on {
            0 => false,
            1 => true,
            _ => return Err(Error::Invalid),
        };
        c_contract!(clone_ref(page)?).record_waits(is_wanted)
    })
}

/// Bit of umf_fence_info.flags: a driver keeps the value in its own memory (umf_fence_create_in()).
///
/// umf_fence_info.value is then the initial value, unless this process has the fence open. Since
/// 0.1.
pub const UMF_FENCE_INFO_EXTERNAL: u64 = 1 << 32;

/// Bit of umf_fence_info.flags: a waiter is registered.
///
/// A waiter that timed out may leave the bit behind until the next signal. Waiters of a page with
/// UMF_PAGE_SINGLE_WRITER do not register. Since 0.1.
pub const UMF_FENCE_INFO_WAITERS: u64 = 1 << 33;

/// A fence at one time, as its page shows it. umf_page_query_fence() fills it in. A peer that can
/// write to the page can have written any of it. Later versions may add members at the end. Since
/// 0.1.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct umf_fence_info {
    /// In: sizeof(struct umf_fence_info). Out: the number of bytes that the library knows.
    pub size: u32,
    /// What umf_fence_error() tells: 0, or a negative errno.
    pub error: i32,
    /// UMF_FENCE_32BIT, UMF_FENCE_DEVICE, UMF_FENCE_LASTING, UMF_FENCE_UNORDERED and
    /// UMF_FENCE_INFO_* bits.
    pub flags: u64,
    /// The value.
    pub value: u64,
    /// The greatest value that is reached or that umf_fence_submit() announced. The value of a
    /// fence with UMF_FENCE_UNORDERED.
    pub pending: u64,
    /// The number of fences that lived in the slot before.
    pub generation: u64,
    /// The process that created the fence, by its id in its own pid namespace. 0 if the fence has
    /// UMF_FENCE_LASTING, or if its creator is known to be dead.
    pub creator_pid: u32,
    /// The low 28 bits of the inode number of that pid namespace. 0 if it is unknown.
    pub creator_pid_namespace: u32,
    /// The number of times that waiters of the slot were woken, which wraps around. Those that wait
    /// for many fences are not counted.
    pub wake_ups: u32,
    /// 0.
    pub reserved: u32,
}

/// Get what a page shows of a fence, without opening the fence.
///
/// For tools that look at pages of other processes: see UMF_PAGE_READ_ONLY. The call changes
/// nothing in the page.
///
/// @page: the page.
/// @index: the index of a slot: see umf_fence_index(). The slots of a page are numbered from 0.
/// @flags: must be 0.
/// @info: receives the answer. The caller sets info->size to sizeof(*info) first. A library older
///     than the caller's header fills in the members that it knows, and zeroes the rest. Stays the
///     caller's.
///
/// Return: 0 on success, or
///   -EINVAL  @page or @info is NULL, @flags is not 0, or info->size is less than the first version
///            of the struct, or more than 256
///   -ENOENT  the page has no such index, or no fence lives there now
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_page_query_fence(
    page: *mut umf_page,
    index: u32,
    flags: u64,
    info: *mut umf_fence_info,
) -> c_int {
    c_return(|| {
        no_flags(flags)?;
        let page = c_contract!(clone_ref(page)?);
        let known = public(&FenceInfo::read(&page, index)?);
        // SAFETY: the C contract (contract.rs). umf_fence_info starts with its size and has no
        // padding.
        unsafe { write_sized(info, &known) }
    })
}

fn public(info: &FenceInfo) -> umf_fence_info {
    let generation = info.generation;
    let bits = [
        (generation.width() == Width::Bits32, UMF_FENCE_32BIT),
        (generation.is_device(), UMF_FENCE_DEVICE),
        (generation.is_unordered(), UMF_FENCE_UNORDERED),
        (info.is_lasting, UMF_FENCE_LASTING),
        (generation.has_external_value(), UMF_FENCE_INFO_EXTERNAL),
        (info.has_waiters, UMF_FENCE_INFO_WAITERS),
    ];
    let flags = bits.iter().filter(|(is_set, _)| *is_set).fold(0, |flags, (_, bit)| flags | bit);
    let (creator_pid, creator_pid_namespace) = info.creator.unwrap_or((0, 0));
    umf_fence_info {
        size: size_of::<umf_fence_info>() as u32,
        error: info.error.map_or(0, |errno| -(errno.get() as c_int)),
        flags,
        value: info.value,
        pending: info.pending,
        generation: generation.count(),
        creator_pid,
        creator_pid_namespace,
        wake_ups: info.wake_ups,
        reserved: 0,
    }
}
