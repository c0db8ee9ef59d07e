// SPDX-License-Identifier: MIT
//! Watches.
//!
//! A watch is a wait that blocks no thread. When it is due, the loop performs its action (signal a
//! fence, write an eventfd, and so on) and then calls the callback. If several watches are due, the
//! order of their callbacks is not defined. A watch takes no descriptor and no CPU time while it
//! waits, unless its function says otherwise.

use super::args::{borrow_fd, no_flags, non_null, slice};
use super::contract::c_contract;
use super::event_loop::umf_loop;
use super::fence::umf_fence;
use super::handles::{Handle, borrow, c_ref, c_unref, clone_ref, write_handle};
use super::page::umf_page;
use super::returns::c_return_preserving_errno;
use super::wait::{UMF_WAIT_ANY, UMF_WAIT_MAX, UMF_WAIT_PENDING, condition, umf_condition};
use crate::error::{Error, Result};
use crate::reactor::{Action, Call, Callback, Entry, Quorum, TiedTarget, Watch, WatchBuilder};
use crate::sys::file_kind::FileKind;
use crate::sys::{eventfd, poll};
use crate::util::refs::Ref;
use crate::util::user_data::UserData;
use crate::wait::{Condition, Until};
use rustix::fd::{AsFd, BorrowedFd};
use std::ffi::{c_int, c_void};

/// A watch: a wait that performs an action when it is due. Reference counted. Since 0.1.
pub struct umf_watch {
    _opaque: (),
}

impl Handle for umf_watch {
    type Object = Watch;
}

/// The function that is called when a watch is over. Since 0.1.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct umf_callback {
    /// Called at most once, on the loop's thread or in umf_loop_dispatch(). It may call any
    /// function of the library, and end the last reference to its fence, its watch or its loop.
    /// @result is 0 or a negative errno: what umf_watch_result() returns.
    ///
    /// No other callback and no job of the loop runs meanwhile, except jobs that UMF_QUEUE_INLINE
    /// runs on the thread of a submitter. The function should not block, and in particular not wait
    /// for a fence: the loop cannot go on meanwhile.
    pub call: Option<extern "C" fn(data: *mut c_void, result: c_int)>,
    /// Called exactly once, when @data is no longer used. See "Release functions" above.
    ///
    /// That is after call, or instead of it in umf_watch_cancel() or umf_loop_unref(). May be NULL.
    /// Not called if the function that was given the callback fails.
    pub release: Option<extern "C" fn(data: *mut c_void)>,
    /// Passed to call and release.
    pub data: *mut c_void,
}

/// The function that is called when a watch for many fences is over. Since 0.1.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct umf_many_callback {
    /// Called at most once, as umf_callback.call is. @index is the entry that decided the @result.
    ///
    /// That is the entry that was met, with UMF_WAIT_ANY; or the entry that failed, if @result is
    /// negative. It is UINT32_MAX if all entries were met.
    pub call: Option<extern "C" fn(data: *mut c_void, result: c_int, index: u32)>,
    /// As umf_callback.release.
    pub release: Option<extern "C" fn(data: *mut c_void)>,
    /// Passed to call and release.
    pub data: *mut c_void,
}

/// Call back when a fence meets a condition, or can no longer meet it.
///
/// A signal costs the same however many watches a loop has. Watches take no descriptors, and no CPU
/// time while they wait. Only fences with UMF_FENCE_DEVICE are polled at intervals, as in
/// umf_wait().
///
/// @event_loop: the loop.
/// @wait: the condition, as an entry of umf_wait(). Copied. The watch keeps a reference to the
///     fence until it is over.
/// @flags: UMF_WAIT_PENDING, or 0.
/// @callback: what to call. Copied.
/// @out_watch: receives a reference, which the caller ends with umf_watch_unref(). NULL if the
///     caller does not want it: the watch goes on without. Written only on success.
///
/// Return: 0 on success, also if the wait is over already (the callback tells so, and does not run
/// within this call), or
///   -EINVAL  @event_loop, @wait, @callback or callback->call is NULL, @flags has unknown bits, or
///            umf_wait() would refuse the entry
///   -ENOMEM  no memory or thread is left
///   -ESTALE  the loop belongs to another process. If the fence ends first, the callback gets
///            -ESTALE
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_loop_watch(
    event_loop: *mut umf_loop,
    wait: *const umf_condition,
    flags: u64,
    callback: *const umf_callback,
    out_watch: *mut *mut umf_watch,
) -> c_int {
    c_return_preserving_errno(|| {
        non_null(callback)?;
        let (fence, predicate) = c_contract!(watched_condition(wait, flags)?);
        c_contract!(create_watch(event_loop, callback, out_watch, |builder| {
            builder.watch(&fence, predicate, Action::None)
        }))
    })
}

/// Call back when any or all of many fences meet their conditions.
///
/// This is umf_wait() without a blocked thread. The callback runs once: when all entries are met,
/// or with UMF_WAIT_ANY when one is, or when an entry can no longer be met. If a fence fails or
/// ends before its entry is met, the callback gets that error and the entry's index, even if others
/// could still be met. With UMF_WAIT_ANY, an entry that is met when the callback is about to run
/// takes precedence over a failure.
///
/// An entry that the loop has seen met stays met, whatever happens to its fence. With an operator
/// other than UMF_OP_GE and UMF_OP_GT, the loop may miss a value that later signals pass.
///
/// A signal costs the same however many entries a watch has. The watch takes some 420 bytes of
/// memory for each entry.
///
/// @event_loop: the loop.
/// @waits: the entries, as in umf_wait(). Copied. A fence may appear more than once. The watch
///     keeps references to the fences until it is over.
/// @count: the number of entries, 1 to UMF_WAIT_MAX.
/// @flags: UMF_WAIT_* bits. 0 waits until all values are signaled.
/// @callback: what to call. Copied.
/// @out_watch: as in umf_loop_watch().
///
/// Return: 0 on success, also if the wait is over already (the callback tells so, and does not run
/// within this call), or
///   -EINVAL  @event_loop, @waits, @callback or callback->call is NULL, @count is out of range,
///            @flags has unknown bits, or umf_wait() would refuse an entry
///   -ENOMEM  no memory or thread is left
///   -ESTALE  the loop belongs to another process. If a fence ends first, the callback gets -ESTALE
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_loop_watch_many(
    event_loop: *mut umf_loop,
    waits: *const umf_condition,
    count: u32,
    flags: u64,
    callback: *const umf_many_callback,
    out_watch: *mut *mut umf_watch,
) -> c_int {
    c_return_preserving_errno(|| {
        let callback = c_contract!(callback.as_ref()).ok_or(Error::Invalid)?;
        let call = Call::ResultAndIndex(callback.call.ok_or(Error::Invalid)?);
        let quorum = if flags & UMF_WAIT_ANY == 0 { Quorum::All } else { Quorum::Any };
        let entries = c_contract!(watched_conditions(waits, count, flags & !UMF_WAIT_ANY)?);
        let event_loop = c_contract!(borrow(event_loop)?).get()?;
        let data = UserData::new(callback.data, callback.release);
        let builder = WatchBuilder::new(event_loop, Some(Callback { call, data }));
        let watch = builder.watch_many(quorum, entries)?;
        c_contract!(write_watch(watch, out_watch));
        Ok(())
    })
}

/// Add 1 to an eventfd when a wait for a fence is over.
///
/// The wait is over when the condition is met or can no longer be met. To find out which, read the
/// fence or call umf_watch_result(). With UMF_LOOP_THREAD this takes no longer than a thread of the
/// caller's that waits and writes.
///
/// @event_loop: the loop.
/// @wait: the condition, as an entry of umf_wait(). Copied. The watch keeps a reference to the
///     fence until it is over.
/// @flags: UMF_WAIT_PENDING, or 0.
/// @eventfd: an eventfd with EFD_NONBLOCK. Stays the caller's, which may close it after the call:
///     the library duplicates it. Another process that has it may clear O_NONBLOCK and fill the
///     counter: the loop does not block. Where a sandbox forbids io_setup() or io_submit(), it may,
///     if that happens at the moment of the write.
/// @callback: what to call after that. Copied. NULL for none.
/// @out_watch: as in umf_loop_watch().
///
/// Return: 0 on success, also if the wait is over already, or
///   -EINVAL  @event_loop, @wait or callback->call is NULL, @flags has unknown bits, or umf_wait()
///            would refuse the entry; @eventfd is not an eventfd, or was created without
///            EFD_NONBLOCK
///   -EBADF   @eventfd is not open
///   -ENOMEM  no memory or thread is left
///   -EMFILE  no file descriptor is left in the process
///   -ESTALE  the loop belongs to another process. If the fence ends first, the eventfd is written,
///            and umf_watch_result() returns -ESTALE
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_loop_export_eventfd(
    event_loop: *mut umf_loop,
    wait: *const umf_condition,
    flags: u64,
    eventfd: c_int,
    callback: *const umf_callback,
    out_watch: *mut *mut umf_watch,
) -> c_int {
    c_return_preserving_errno(|| {
        let (fence, predicate) = c_contract!(watched_condition(wait, flags)?);
        let fd = FileKind::dup(&[FileKind::Anonymous], borrow_fd(eventfd)?)?;
        eventfd::require(fd.as_fd())?;
        poll::require_nonblocking(fd.as_fd())?;
        let action = Action::Eventfd(fd);
        c_contract!(create_watch(event_loop, callback, out_watch, |builder| {
            builder.watch(&fence, predicate, action)
        }))
    })
}

/// Signal a second fence when a fence reaches a value.
///
/// The fences may be of different pages. If the first fence fails or ends, the second fails with
/// the same error, or with -ESTALE. The call does not raise the pending value of @target: if
/// waiters use UMF_WAIT_PENDING, call umf_fence_submit() first.
///
/// @event_loop: the loop.
/// @fence: the fence to wait for. The watch keeps a reference to both fences until it is over.
/// @value: the value to wait for.
/// @target: the fence to signal.
/// @target_value: the value to signal. If @target is beyond it by then, the watch ends with
///     -EINVAL.
/// @flags: must be 0.
/// @callback: what to call after that. Copied. NULL for none.
/// @out_watch: as in umf_loop_watch().
///
/// Return: 0 on success, also if the value is reached already, or
///   -EINVAL  @event_loop, @fence, @target or callback->call is NULL, @flags is not 0, or a value
///            does not fit in 32 bits for a 32-bit fence
///   -EACCES  this process may not signal @target: UMF_PAGE_SINGLE_WRITER, umf_fence_create_in()
///   -ENOMEM  no memory or thread is left
///   -ESTALE  the loop belongs to another process. If a fence ends first, the callback gets -ESTALE
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_loop_export_fence(
    event_loop: *mut umf_loop,
    fence: *mut umf_fence,
    value: u64,
    target: *mut umf_fence,
    target_value: u64,
    flags: u64,
    callback: *const umf_callback,
    out_watch: *mut *mut umf_watch,
) -> c_int {
    c_return_preserving_errno(|| {
        no_flags(flags)?;
        let (fence, target) = c_contract!((clone_ref(fence)?, clone_ref(target)?));
        if !target.width().holds(target_value) {
            return Err(Error::Invalid);
        }
        target.check_signalable()?;
        let predicate = Condition::reached(&fence, value)?.predicate();
        let action = Action::signal(target, target_value);
        c_contract!(create_watch(event_loop, callback, out_watch, |builder| {
            builder.watch(&fence, predicate, action)
        }))
    })
}

/// Flag of umf_loop_tie_fence() and umf_loop_tie_page(): tie to the process behind a socket.
///
/// Set it if the connection is the caller's to end, as in a compositor that disconnects clients.
/// The library asks the socket for its process (SO_PEERPIDFD, Linux 6.5) and keeps no duplicate:
/// when the caller closes its end, the peer sees it. The process is the one that connected the
/// socket or made the pair. Only its end counts, not that of the connection. Since 0.1.
pub const UMF_TIE_PROCESS: u64 = 1 << 0;

/// Fail a fence with -EOWNERDEAD when its signaler dies.
///
/// Every wait, watch, queue and conversion, in every process, that waits for a value that the fence
/// has not reached then ends. A signaler that is killed after it wrote a value and before it woke
/// the waiters leaves them asleep; this wakes them.
///
/// Any end of the process counts, also exit(0). Cancel the watch before a planned exit.
///
/// If this process imported the page, and the page has UMF_PAGE_SINGLE_WRITER, this process cannot
/// write the error there. The fence then fails for this process only, as long as this process has
/// it open. Each process that waits on such a page must tie it itself.
///
/// A socket reports the end (EPOLLRDHUP or EPOLLHUP) when the last descriptor of the other end is
/// closed. A peer that lives on can close it, and another process can keep it open. The socket also
/// reports the end after shutdown(SHUT_WR) by the peer, or shutdown(SHUT_RD) by this process. The
/// library reads nothing from the socket, and the caller may go on using it.
///
/// Without UMF_TIE_PROCESS, the library holds a duplicate of @peer_fd until the watch is over. If
/// the caller closes its own end of a socket, the connection stays open, and the peer does not see
/// it end. Cancel the watch first, or call shutdown(SHUT_RDWR).
///
/// If the fence is tied to the process that created it, by a pidfd or with UMF_TIE_PROCESS,
/// umf_page_reclaim() can free its slot once the fence has failed.
///
/// The callback gets 0 once the fence has failed. If the fence had ended, it gets -ESTALE, or 0 if
/// this process cannot write to the page.
///
/// @event_loop: the loop. It fails the fence as soon as the kernel reports the end, but without
///     UMF_LOOP_THREAD only in umf_loop_dispatch().
/// @fence: a fence that the process has to signal. The watch keeps a reference to it until it is
///     over. Cancel the watch to untie the fence.
/// @peer_fd: a pidfd (pidfd_open(), SO_PEERPIDFD), or a connected SOCK_STREAM or SOCK_SEQPACKET
///     socket whose other end the process has. Other sockets are refused: they report no end, or
///     report one at once. Stays the caller's, which may close it after the call: the library
///     duplicates it.
/// @flags: UMF_TIE_PROCESS, or 0.
/// @callback: what to call after that. Copied. NULL for none.
/// @out_watch: as in umf_loop_watch().
///
/// Return: 0 on success, also if the process is already dead, or
///   -EINVAL      @event_loop, @fence or callback->call is NULL, @flags has unknown bits, or
///                @peer_fd is neither a pidfd nor a connected SOCK_STREAM or SOCK_SEQPACKET socket;
///                with UMF_TIE_PROCESS, it is not such a Unix socket
///   -EBADF       @peer_fd is not open
///   -EOPNOTSUPP  UMF_TIE_PROCESS before Linux 6.5
///   -ENOMEM      no memory or thread is left
///   -EMFILE      no file descriptor is left in the process
///   -ESTALE      the loop belongs to another process. If the fence ended, the call succeeds: see
///                above
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_loop_tie_fence(
    event_loop: *mut umf_loop,
    fence: *mut umf_fence,
    peer_fd: c_int,
    flags: u64,
    callback: *const umf_callback,
    out_watch: *mut *mut umf_watch,
) -> c_int {
    c_return_preserving_errno(|| {
        let tied = Tied::new(flags, peer_fd)?;
        let fence = c_contract!(clone_ref(fence)?);
        c_contract!(create_watch(event_loop, callback, out_watch, |builder| {
            tied.watch(builder, TiedTarget::Fence(fence))
        }))
    })
}

/// Fail all fences of a page with -EOWNERDEAD when their signaler dies.
///
/// This does for every fence that lives in the page at that time what umf_loop_tie_fence() does for
/// one; read there what counts as the end. The callback gets 0.
///
/// If the page is tied by a pidfd or with UMF_TIE_PROCESS, umf_page_reclaim() can then free the
/// slots of all fences that the process created in the page.
///
/// If this process imported the page, and the page has UMF_PAGE_SINGLE_WRITER, all its fences fail
/// for this process only. They do as long as this process has the page open.
///
/// A page with many fences is failed in parts, of 1024 slots for all ties of the loop together. In
/// between, the loop runs what else is due. So umf_loop_dispatch() returns soon, and has to be
/// called again for the next part. Once the first part is done, umf_watch_cancel() returns
/// -EALREADY, and the end of the loop does the rest at once, without the callback.
///
/// Tie a page only to the process that created it, not to one that passed it on. Importing a page
/// that is open already gives the same object, which may be this process's own page.
///
/// As with umf_loop_tie_fence(), the library holds a duplicate of @peer_fd until the watch is over:
/// closing the caller's end of a socket does not disconnect the peer. Set UMF_TIE_PROCESS, or
/// cancel the watch first.
///
/// @event_loop: the loop, as in umf_loop_tie_fence().
/// @page: the page. The watch keeps a reference to it, but not to its fences, until it is over.
/// @peer_fd: a pidfd or a connected socket, as in umf_loop_tie_fence().
/// @flags: UMF_TIE_PROCESS, or 0.
/// @callback: what to call after that. Copied. NULL for none.
/// @out_watch: as in umf_loop_watch().
///
/// Return: 0 on success, also if the process is already dead, or
///   -EINVAL      @event_loop, @page or callback->call is NULL, @flags has unknown bits, or
///                @peer_fd is neither a pidfd nor a connected SOCK_STREAM or SOCK_SEQPACKET socket;
///                with UMF_TIE_PROCESS, it is not such a Unix socket
///   -EBADF       @peer_fd is not open
///   -EACCES      the page was imported with UMF_PAGE_READ_ONLY
///   -EOPNOTSUPP  UMF_TIE_PROCESS before Linux 6.5
///   -ENOMEM      no memory or thread is left
///   -EMFILE      no file descriptor is left in the process
///   -ESTALE      the loop belongs to another process. Never because a fence ended
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_loop_tie_page(
    event_loop: *mut umf_loop,
    page: *mut umf_page,
    peer_fd: c_int,
    flags: u64,
    callback: *const umf_callback,
    out_watch: *mut *mut umf_watch,
) -> c_int {
    c_return_preserving_errno(|| {
        let tied = Tied::new(flags, peer_fd)?;
        let page = c_contract!(clone_ref(page)?);
        page.check_usable()?;
        c_contract!(create_watch(event_loop, callback, out_watch, |builder| {
            tied.watch(builder, TiedTarget::Page { page, next: 0 })
        }))
    })
}

/// Add a reference to a watch.
///
/// @watch: the watch, or NULL.
///
/// Return: @watch. The caller ends the new reference with umf_watch_unref().
///
/// Thread-safe and async-signal-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_watch_ref(watch: *mut umf_watch) -> *mut umf_watch {
    c_contract!(c_ref(watch))
}

/// End a reference to a watch.
///
/// This does not cancel the watch: it goes on without a reference.
///
/// @watch: the watch. NULL does nothing.
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_watch_unref(watch: *mut umf_watch) {
    c_contract!(c_unref(watch))
}

/// Cancel a watch whose action has not begun.
///
/// The result is definite. After 0, neither the action nor the callback has happened or ever will,
/// and the callback's release has returned. This call has called it, unless the watch was canceled
/// before: hold no lock that it takes. If another thread is in the release, the call waits until it
/// returns. Called from the release itself, it does not wait. A watch that is due can still be
/// canceled. After -EALREADY, the action has begun, and the callback has run, is running, or is
/// about to run; its release tells when that is over.
///
/// Two release functions may cancel each other's watch on two threads. To wait would then be a
/// deadlock, so one of the two calls returns -EDEADLK instead: its watch is canceled, and the
/// release has been called and returns later. The same holds for more threads in a circle.
///
/// @watch: the watch. The reference stays the caller's.
///
/// Return: 0 on success, or
///   -EINVAL    @watch is NULL
///   -EALREADY  the watch is over, or its action has begun
///   -EDEADLK   within a release function: the watch is canceled, and its release waits for the
///              calling thread
///   -ESTALE    its loop belongs to another process. Never because a fence ended
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_watch_cancel(watch: *mut umf_watch) -> c_int {
    c_return_preserving_errno(|| {
        // A reference of the library's own: the callback's release may end the caller's.
        c_contract!(clone_ref(watch)?).cancel_for_caller()
    })
}

/// Get how a watch ended.
///
/// A caller that has seen what the watch did (the eventfd was written, the fence or the point
/// signaled) gets the result. While the action runs on another thread, the call waits for it.
///
/// @watch: the watch.
///
/// Return: 0 if its action was performed, or
///   -EINVAL      @watch is NULL; or a value or point would have gone backwards
///   -ETIME       the watch is not over
///   -ECANCELED   the watch was canceled, or its loop ended
///   -EIO         the fence or kernel fence that it waited for failed: see umf_fence_error()
///   -EOWNERDEAD  as -EIO; the error is -EOWNERDEAD
///   -ERANGE      the value is beyond where the condition could still be met
///   -ESTALE      the fence ended: see umf_fence_create(); or the loop belongs to another process
///
/// Any other error is one of the conversion, as its blocking counterpart returns it.
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_watch_result(watch: *const umf_watch) -> c_int {
    c_return_preserving_errno(|| c_contract!(borrow(watch)?).result())
}

/// Reads what a watch waits for.
///
/// # Safety
/// The C contract (contract.rs).
pub(super) unsafe fn watched_condition(wait: *const umf_condition, flags: u64) -> Result<Entry> {
    // SAFETY: by this function's contract.
    unsafe { entry(wait.as_ref().ok_or(Error::Invalid)?, until(flags)?) }
}

/// Reads what a watch for many fences waits for.
///
/// # Safety
/// The C contract (contract.rs).
pub(super) unsafe fn watched_conditions(
    waits: *const umf_condition,
    count: u32,
    flags: u64,
) -> Result<Vec<Entry>> {
    if count == 0 || count > UMF_WAIT_MAX {
        return Err(Error::Invalid);
    }
    let until = until(flags)?;
    // SAFETY: by this function's contract.
    let waits = unsafe { slice(waits, count)? };
    let mut entries = Vec::new();
    entries.try_reserve_exact(waits.len()).map_err(|_| Error::NoMemory)?;
    for wait in waits {
        // SAFETY: as above.
        entries.push(unsafe { entry(wait, until)? });
    }
    Ok(entries)
}

/// Reads the flags of a watch's condition.
fn until(flags: u64) -> Result<Until> {
    match flags {
        0 => Ok(Until::Signaled),
        UMF_WAIT_PENDING => Ok(Until::Submitted),
        _ => Err(Error::Invalid),
    }
}

/// Reads one condition.
///
/// # Safety
/// The C contract (contract.rs) for the entry's fence.
unsafe fn entry(wait: &umf_condition, until: Until) -> Result<Entry> {
    // SAFETY: by this function's contract.
    unsafe { Ok((clone_ref(wait.fence)?, condition(wait, until)?.predicate())) }
}

/// Has `make` register a watch, and writes its handle to `out_watch` unless that is NULL.
///
/// # Safety
/// The C contract (contract.rs).
pub(super) unsafe fn create_watch(
    event_loop: *mut umf_loop,
    callback: *const umf_callback,
    out_watch: *mut *mut umf_watch,
    make: impl FnOnce(WatchBuilder<'_>) -> Result<Ref<Watch>>,
) -> Result<()> {
    // SAFETY: by this function's contract.
    let (event_loop, callback) = unsafe { (borrow(event_loop)?.get()?, callback.as_ref()) };
    let call = callback.map(|callback| callback.call.ok_or(Error::Invalid)).transpose()?;
    let callback = callback.zip(call).map(|(callback, call)| {
        let data = UserData::new(callback.data, callback.release);
        Callback { call: Call::Result(call), data }
    });
    let watch = make(WatchBuilder::new(event_loop, callback))?;
    // SAFETY: by this function's contract.
    unsafe { write_watch(watch, out_watch) };
    Ok(())
}

/// Writes a watch's handle to `out_watch` unless that is NULL.
///
/// # Safety
/// The C contract (contract.rs).
unsafe fn write_watch(watch: Ref<Watch>, out_watch: *mut *mut umf_watch) {
    if !out_watch.is_null() {
        // SAFETY: by this function's contract.
        unsafe { write_handle(watch, out_watch) };
    }
}

/// What fences are tied to.
enum Tied<'a> {
    Descriptor(BorrowedFd<'a>),
    ProcessBehind(BorrowedFd<'a>),
}

impl Tied<'_> {
    fn new<'a>(flags: u64, peer: c_int) -> Result<Tied<'a>> {
        match flags {
            0 => borrow_fd(peer).map(Tied::Descriptor),
            UMF_TIE_PROCESS => borrow_fd(peer).map(Tied::ProcessBehind),
            _ => Err(Error::Invalid),
        }
    }

    fn watch(self, builder: WatchBuilder<'_>, target: TiedTarget) -> Result<Ref<Watch>> {
        match self {
            Tied::Descriptor(peer) => builder.watch_peer(target, peer),
            Tied::ProcessBehind(socket) => builder.watch_peer_process(target, socket),
        }
    }
}
