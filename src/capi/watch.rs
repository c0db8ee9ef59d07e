//! Watches.

use super::args::{borrow_fd, no_flags, non_null};
use super::contract::c_contract;
use super::event_loop::umf_loop;
use super::fence::umf_fence;
use super::handles::{Handle, borrow, c_ref, c_unref, clone_ref, write_handle};
use super::page::umf_page;
use super::returns::c_return_preserving_errno;
use super::wait::{UMF_WAIT_PENDING, condition, umf_wait};
use crate::error::{Error, Result};
use crate::fence::Fence;
use crate::fence::device_notifier::Data;
use crate::reactor::{Callback, Effect, Order, Owed, Watch};
use crate::sys::{eventfd, memfd, poll};
use crate::util::refs::Ref;
use crate::wait::{Condition, Predicate, Until};
use std::ffi::{c_int, c_void};
use std::sync::atomic::AtomicPtr;

/// A wait that does something when it is over, instead of holding up a thread. Reference counted.
pub struct umf_watch {
    _opaque: (),
}

impl Handle for umf_watch {
    type Object = Watch;
}

/// Who is called when a watch is over.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct umf_callback {
    /// Called at most once, on the loop's thread or in umf_loop_dispatch(). It may call any function of the library: also end the
    /// last reference to its fence, its watch or its loop. While it runs nothing else of the loop happens, so it should not block,
    /// in particular not wait for a fence. result is 0, or a negative errno: what umf_watch_result() returns.
    pub call: Option<extern "C" fn(data: *mut c_void, result: c_int)>,
    /// Called exactly once when data is not used any more: after call, or instead of it in umf_watch_cancel() or
    /// umf_loop_unref(). May be NULL. Not called where the function that was given the callback fails.
    pub release: Option<extern "C" fn(data: *mut c_void)>,
    /// For both, as it is.
    pub data: *mut c_void,
}

/// Watches a fence, and calls back when the wait for it is over: it is met, or can never be.
///
/// However many watches a loop has, a signal costs the same; they take no descriptors, and no CPU time while they wait. Only
/// fences with UMF_FENCE_DEVICE are looked at from time to time, as umf_wait() does.
///
/// \param event_loop  the loop.
/// \param wait        what is waited for, as an entry of umf_wait(). The watch keeps a reference to the fence until it is over.
/// \param flags       UMF_WAIT_PENDING, or 0.
/// \param callback    who is called. Copied.
/// \param out_watch   receives a reference that the caller ends with umf_watch_unref(). Written only on success. NULL if nobody
///                    wants it: the watch goes on without.
///
/// \return 0, also if the wait is over already (the callback says so, and is not called in here); or
///         -EINVAL  event_loop, wait, callback or callback->call NULL, unknown flags; the entry is not one that umf_wait() takes.
///         -ENOMEM  no memory, or no thread.
///         -ESTALE  the loop belongs to another process.
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_loop_watch(
    event_loop: *mut umf_loop,
    wait: *const umf_wait,
    flags: u64,
    callback: *const umf_callback,
    out_watch: *mut *mut umf_watch,
) -> c_int {
    c_return_preserving_errno(|| {
        non_null(callback)?;
        let (fence, predicate) = c_contract!(watched_condition(wait, flags)?);
        c_contract!(create_watch(event_loop, callback, out_watch, |builder| {
            builder.watch(&fence, predicate, Effect::Nothing)
        }))
    })
}

/// UMF to eventfd: watches a fence, and adds 1 to an eventfd when the wait for it is over, also if it can never be met: look at
/// the fence, or at umf_watch_result(). With UMF_LOOP_THREAD that takes no longer than a thread of the caller's that waits and
/// writes.
///
/// \param event_loop  the loop.
/// \param wait        what is waited for, as an entry of umf_wait(). The watch keeps a reference to the fence until it is over.
/// \param flags       UMF_WAIT_PENDING, or 0.
/// \param eventfd     an eventfd that does not block (EFD_NONBLOCK): one that does could be filled up by whoever else has it, and
///                    then hold up the loop. Stays the caller's, who may close it: the library duplicates it.
/// \param callback    who is called after that. Copied. NULL for nobody.
/// \param out_watch   as umf_loop_watch().
///
/// \return 0, also if the wait is over already; or
///         -EINVAL  event_loop or wait NULL, callback->call NULL, unknown flags, the entry is not one that umf_wait() takes, eventfd
///                  is none or blocks.
///         -EBADF   eventfd is not open.
///         -ENOMEM  no memory, or no thread.
///         -EMFILE  no file descriptor left in the process.
///         -ESTALE  the loop belongs to another process.
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_loop_export_eventfd(
    event_loop: *mut umf_loop,
    wait: *const umf_wait,
    flags: u64,
    eventfd: c_int,
    callback: *const umf_callback,
    out_watch: *mut *mut umf_watch,
) -> c_int {
    c_return_preserving_errno(|| {
        let (fence, predicate) = c_contract!(watched_condition(wait, flags)?);
        let fd = borrow_fd(eventfd)?;
        eventfd::require(fd)?;
        poll::require_nonblocking(fd)?;
        let effect = Effect::Eventfd(memfd::dup(fd)?);
        c_contract!(create_watch(event_loop, callback, out_watch, |builder| {
            builder.watch(&fence, predicate, effect)
        }))
    })
}

/// UMF to UMF: when a fence reaches a value, signals another, of any page. If the first fails or ends, the other fails with the
/// same error, or ESTALE.
///
/// \param event_loop    the loop.
/// \param fence         the fence. The watch keeps a reference to both until it is over.
/// \param value         the value to be reached.
/// \param target        the fence that is signalled.
/// \param target_value  the value it is signalled with. If it is beyond that by then, the watch ends with -EINVAL.
/// \param flags         0.
/// \param callback      who is called after that. Copied. NULL for nobody.
/// \param out_watch     as umf_loop_watch().
///
/// \return 0, also if the value is reached already; or
///         -EINVAL  event_loop, fence or target NULL, callback->call NULL, flags not 0, a value that its fence cannot have (32
///                  bits).
///         -EACCES  target is for others to signal: UMF_PAGE_SINGLE_WRITER, umf_fence_create_in().
///         -ENOMEM  no memory, or no thread.
///         -ESTALE  the loop belongs to another process.
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
        let effect = Effect::Signal { fence: target, value: target_value };
        c_contract!(create_watch(event_loop, callback, out_watch, |builder| {
            builder.watch(&fence, predicate, effect)
        }))
    })
}

/// Ties a fence to the life of a process: when that is gone, the fence fails with EOWNERDEAD, and so every wait, watch, queue
/// and conversion, in every process, that waits for a value it has not reached. A signaller that was killed between writing
/// a value and waking its waiters leaves them asleep, too; this wakes them.
///
/// A page with UMF_PAGE_SINGLE_WRITER that this process was given cannot be told of it. Then the fence fails for this process
/// alone, and as long as this process has it open: whoever waits there ties it for himself.
///
/// \param event_loop  the loop. With UMF_LOOP_THREAD it takes no longer than the kernel takes to tell.
/// \param fence       a fence that the process owes. The watch keeps a reference to it until it is over; cancel it to untie them.
/// \param peer_fd     a pidfd, which tells of the end of its process; or a socket to it, which tells when nobody has the other
///                    end any more: also if that was closed, and not as long as another process has it. Stays the caller's,
///                    who may close it: the library duplicates it until the watch is over.
/// \param flags       0.
/// \param callback    who is called after that. Copied. NULL for nobody.
/// \param out_watch   as umf_loop_watch().
///
/// \return 0, also if the process is gone already; or
///         -EINVAL  event_loop or fence NULL, callback->call NULL, flags not 0, peer_fd is neither pidfd nor socket.
///         -EBADF   peer_fd is not open.
///         -ENOMEM  no memory, or no thread.
///         -EMFILE  no file descriptor left in the process.
///         -ESTALE  the loop belongs to another process.
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
        no_flags(flags)?;
        let fence = c_contract!(clone_ref(fence)?);
        let peer = borrow_fd(peer_fd)?;
        c_contract!(create_watch(event_loop, callback, out_watch, |builder| {
            builder.tie(Owed::Fence(fence), peer)
        }))
    })
}

/// Ties all fences of a page to the life of a process, as umf_loop_tie_fence() does one: those that live when it is gone; and of
/// a page with UMF_PAGE_SINGLE_WRITER that this process was given, all, as long as this process has the page. Only for the process
/// that made the page, and not for one that passed it on: importing a page that is open already gives the same one, maybe this
/// process's own.
///
/// \param event_loop  the loop.
/// \param page        the page. The watch keeps a reference to it until it is over.
/// \param peer_fd     a pidfd or a socket, as for umf_loop_tie_fence().
/// \param flags       0.
/// \param callback    who is called after that. Copied. NULL for nobody.
/// \param out_watch   as umf_loop_watch().
///
/// \return as umf_loop_tie_fence().
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
        no_flags(flags)?;
        let page = c_contract!(clone_ref(page)?);
        let peer = borrow_fd(peer_fd)?;
        c_contract!(create_watch(event_loop, callback, out_watch, |builder| {
            builder.tie(Owed::Page(page), peer)
        }))
    })
}

/// Another reference to a watch, to be ended with umf_watch_unref(). Returns watch; NULL for NULL.
///
/// Thread-safe, async-signal-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_watch_ref(watch: *mut umf_watch) -> *mut umf_watch {
    c_contract!(c_ref(watch))
}

/// Ends a reference to a watch. It does not cancel it: a watch goes on without. NULL does nothing.
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_watch_unref(watch: *mut umf_watch) {
    c_contract!(c_unref(watch))
}

/// Cancels a watch, which is possible until its loop begins to do what it is for. The answer is definite: after 0, which a watch
/// that was cancelled before returns too, neither its effect nor its callback has happened, and neither ever will; the
/// callback's data has been released. After -EALREADY the effect has happened, and the callback was called, is running at this
/// moment, or is about to be called: its release says when that is over.
///
/// \param watch  the watch. The reference stays the caller's.
///
/// \return 0, or
///         -EINVAL    watch NULL.
///         -EALREADY  it is over, or about to be.
///         -ESTALE    its loop belongs to another process.
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_watch_cancel(watch: *mut umf_watch) -> c_int {
    c_return_preserving_errno(|| {
        // A reference of the library's own: the callback's release may end the caller's.
        c_contract!(clone_ref(watch)?).cancel_for_caller()
    })
}

/// What a watch came to.
///
/// \param watch  the watch.
///
/// \return 0 if it did what it is for; or
///         -EINVAL      watch NULL; or a value or point would have gone back.
///         -ETIME       it is not over.
///         -ECANCELED   it was cancelled, or its loop ended.
///         -EIO         the fence, or the kernel fence, that was waited for failed: see umf_fence_error().
///         -EOWNERDEAD  the same, the error being EOWNERDEAD.
///         -ERANGE      the value is beyond where the condition could be met.
///         -ESTALE      the fence ended: see umf_fence_create(); or the loop belongs to another process.
///         Other errors are those of the conversion, as its blocking counterpart returns them.
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
unsafe fn watched_condition(wait: *const umf_wait, flags: u64) -> Result<(Ref<Fence>, Predicate)> {
    let until = match flags {
        0 => Until::Signaled,
        UMF_WAIT_PENDING => Until::Submitted,
        _ => return Err(Error::Invalid),
    };
    // SAFETY: by this function's contract.
    let wait = unsafe { wait.as_ref() }.ok_or(Error::Invalid)?;
    // SAFETY: as above.
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
    make: impl FnOnce(Order<'_>) -> Result<Ref<Watch>>,
) -> Result<()> {
    // SAFETY: by this function's contract.
    let (event_loop, callback) = unsafe { (borrow(event_loop)?.get()?, callback.as_ref()) };
    let call = callback.map(|callback| callback.call.ok_or(Error::Invalid)).transpose()?;
    let callback = callback.zip(call).map(|(callback, call)| {
        let data = Data { data: AtomicPtr::new(callback.data), release: callback.release };
        Callback { call, data }
    });
    let watch = make(Order::new(event_loop, callback))?;
    if !out_watch.is_null() {
        // SAFETY: by this function's contract.
        unsafe { write_handle(watch, out_watch) };
    }
    Ok(())
}
