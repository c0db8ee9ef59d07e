// SPDX-License-Identifier: MIT
//! Event loops, and the watches that they run.

use crate::callback::{Callback, with_callback, with_many_callback};
use crate::error::{Result, check};
use crate::handle::handle;
use crate::wait::raw_list;
use crate::{Access, Condition, Fence, Page, Syncobj, WaitFlags, Watch, panics, sys};
use std::ffi::c_int;
use std::ops::Deref;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

handle! {
    /// An event loop: it runs watches and jobs, one at a time.
    ///
    /// The library runs the loop that [`EventLoop::with_thread`] creates. The caller runs a
    /// [`DispatchLoop`].
    ///
    /// Dropping the last handle ends the loop and cancels its watches. Outside a callback of the
    /// loop, the drop first waits for the callback that runs.
    #[doc(alias = "umf_loop")]
    EventLoop: umf_loop, umf_loop_ref, umf_loop_unref
}

/// What counts as the end of a signaler behind a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tie {
    /// The descriptor is a pidfd, or a connected socket: the process ends, or the other end of the
    /// socket is closed.
    ///
    /// The library keeps a duplicate until the watch is over. Until then, closing this process's
    /// end of the socket does not disconnect the peer.
    Connection,
    /// The descriptor is a Unix socket: the process that connected it ends (Linux 6.5).
    ///
    /// The library keeps no duplicate. A compositor that disconnects clients needs this.
    Process,
}

impl Tie {
    fn bits(self) -> u64 {
        match self {
            Tie::Connection => 0,
            Tie::Process => sys::UMF_TIE_PROCESS,
        }
    }
}

/// A function that converts between a fence and what a descriptor refers to.
type FdConversion = unsafe extern "C" fn(
    event_loop: *mut sys::umf_loop,
    fence: *mut sys::umf_fence,
    value: u64,
    fd: c_int,
    flags: u64,
    callback: *const sys::umf_callback,
    watch: *mut *mut sys::umf_watch,
) -> c_int;

/// A function that converts between a fence and a point of a syncobj.
type SyncobjConversion = unsafe extern "C" fn(
    event_loop: *mut sys::umf_loop,
    fence: *mut sys::umf_fence,
    value: u64,
    syncobj: *mut sys::umf_syncobj,
    point: u64,
    flags: u64,
    callback: *const sys::umf_callback,
    watch: *mut *mut sys::umf_watch,
) -> c_int;

fn create(flags: u64) -> Result<EventLoop> {
    // SAFETY: `out` is valid for writing.
    EventLoop::created(|out| unsafe { sys::umf_loop_create(flags, out) })
}

impl EventLoop {
    /// Creates a loop that the library runs, on a thread of its own.
    #[doc(alias = "umf_loop_create")]
    pub fn with_thread() -> Result<EventLoop> {
        create(sys::UMF_LOOP_THREAD)
    }

    /// Calls back when a fence meets a condition, or can no longer meet it.
    ///
    /// The callback does not run within this call.
    #[doc(alias = "umf_loop_watch")]
    pub fn watch(
        &self,
        condition: Condition<'_>,
        flags: WaitFlags,
        callback: impl FnOnce(Result<()>) + Send + 'static,
    ) -> Result<Watch> {
        // SAFETY: The loop and the condition are valid; `callback` and `out` as `add` says.
        self.add(callback, |callback, out| unsafe {
            sys::umf_loop_watch(self.as_raw(), condition.as_raw(), flags.bits(), callback, out)
        })
    }

    /// Calls back when all conditions are met, or one can no longer be met.
    ///
    /// The callback gets the index of the condition that failed, and none if all are met.
    #[doc(alias = "umf_loop_watch_many")]
    pub fn watch_all(
        &self,
        conditions: &[Condition<'_>],
        flags: WaitFlags,
        callback: impl FnOnce(Result<()>, Option<usize>) + Send + 'static,
    ) -> Result<Watch> {
        self.watch_many(conditions, flags.bits(), callback)
    }

    /// Calls back when one of the conditions is met, or one can no longer be met.
    ///
    /// The callback gets the index of that condition.
    #[doc(alias = "umf_loop_watch_many")]
    pub fn watch_any(
        &self,
        conditions: &[Condition<'_>],
        flags: WaitFlags,
        callback: impl FnOnce(Result<()>, Option<usize>) + Send + 'static,
    ) -> Result<Watch> {
        self.watch_many(conditions, flags.bits() | sys::UMF_WAIT_ANY, callback)
    }

    fn watch_many(
        &self,
        conditions: &[Condition<'_>],
        flags: u64,
        callback: impl FnOnce(Result<()>, Option<usize>) + Send + 'static,
    ) -> Result<Watch> {
        let (first, count) = raw_list(conditions)?;
        // SAFETY: The loop, the list and the callback are valid during the call, and `out` is valid
        // for writing.
        let watch = |callback, out| unsafe {
            sys::umf_loop_watch_many(self.as_raw(), first, count, flags, callback, out)
        };
        Watch::created(|out| with_many_callback(callback, |callback| watch(callback, out)))
    }

    /// Adds 1 to an eventfd when a wait for a fence is over.
    ///
    /// The eventfd must be nonblocking.
    #[doc(alias = "umf_loop_export_eventfd")]
    pub fn export_eventfd(
        &self,
        condition: Condition<'_>,
        flags: WaitFlags,
        eventfd: impl AsFd,
        callback: impl Callback,
    ) -> Result<Watch> {
        let (flags, eventfd) = (flags.bits(), eventfd.as_fd());
        let fd = eventfd.as_raw_fd();
        // SAFETY: The loop and the condition are valid, the descriptor is open during the call;
        // `callback` and `out` as `add` says.
        self.add(callback, |callback, out| unsafe {
            let condition = condition.as_raw();
            sys::umf_loop_export_eventfd(self.as_raw(), condition, flags, fd, callback, out)
        })
    }

    /// Signals `target` when a fence reaches a value.
    ///
    /// If the fence fails or ends, the target fails with the same error.
    #[doc(alias = "umf_loop_export_fence")]
    pub fn export_fence(
        &self,
        fence: &Fence,
        value: u64,
        target: &Fence,
        target_value: u64,
        callback: impl Callback,
    ) -> Result<Watch> {
        let (event_loop, fence, target) = (self.as_raw(), fence.as_raw(), target.as_raw());
        // SAFETY: The loop and the fences are valid; `callback` and `out` as `add` says.
        self.add(callback, |callback, out| unsafe {
            sys::umf_loop_export_fence(
                event_loop,
                fence,
                value,
                target,
                target_value,
                0,
                callback,
                out,
            )
        })
    }

    /// Fails a fence with [`Error::OwnerDied`](crate::Error::OwnerDied) when its signaler dies.
    ///
    /// Any end of the process counts, also a planned one. Cancel the watch to untie the fence.
    #[doc(alias = "umf_loop_tie_fence")]
    pub fn tie_fence(
        &self,
        fence: &Fence,
        peer: impl AsFd,
        tie: Tie,
        callback: impl Callback,
    ) -> Result<Watch> {
        let (fence, peer) = (fence.as_raw(), peer.as_fd());
        let (fd, flags) = (peer.as_raw_fd(), tie.bits());
        // SAFETY: The loop and the fence are valid, the descriptor is open during the call;
        // `callback` and `out` as `add` says.
        self.add(callback, |callback, out| unsafe {
            sys::umf_loop_tie_fence(self.as_raw(), fence, fd, flags, callback, out)
        })
    }

    /// Fails all fences of a page with [`Error::OwnerDied`](crate::Error::OwnerDied) when their
    /// signaler dies.
    #[doc(alias = "umf_loop_tie_page")]
    pub fn tie_page(
        &self,
        page: &Page,
        peer: impl AsFd,
        tie: Tie,
        callback: impl Callback,
    ) -> Result<Watch> {
        let (page, peer) = (page.as_raw(), peer.as_fd());
        let (fd, flags) = (peer.as_raw_fd(), tie.bits());
        // SAFETY: The loop and the page are valid, the descriptor is open during the call;
        // `callback` and `out` as `add` says.
        self.add(callback, |callback, out| unsafe {
            sys::umf_loop_tie_page(self.as_raw(), page, fd, flags, callback, out)
        })
    }

    /// Signals a point of a syncobj when a fence reaches a value.
    ///
    /// The points of one syncobj are signaled in order. The point is 0 for a binary syncobj, and
    /// never 0 for a timeline.
    #[doc(alias = "umf_loop_export_syncobj")]
    pub fn export_syncobj(
        &self,
        fence: &Fence,
        value: u64,
        syncobj: &Syncobj,
        point: u64,
        callback: impl Callback,
    ) -> Result<Watch> {
        self.convert_syncobj(sys::umf_loop_export_syncobj, fence, value, syncobj, point, callback)
    }

    /// Signals a value when a sync_file signals.
    ///
    /// If the sync_file fails, the fence fails with its error.
    #[doc(alias = "umf_loop_import_sync_file")]
    pub fn import_sync_file(
        &self,
        fence: &Fence,
        value: u64,
        sync_file: impl AsFd,
        callback: impl Callback,
    ) -> Result<Watch> {
        self.convert_fd(sys::umf_loop_import_sync_file, fence, value, sync_file, 0, callback)
    }

    /// Signals a value when a point of a syncobj signals.
    #[doc(alias = "umf_loop_import_syncobj")]
    pub fn import_syncobj(
        &self,
        fence: &Fence,
        value: u64,
        syncobj: &Syncobj,
        point: u64,
        callback: impl Callback,
    ) -> Result<Watch> {
        self.convert_syncobj(sys::umf_loop_import_syncobj, fence, value, syncobj, point, callback)
    }

    /// Signals a value when the implicit fences of a dma-buf have signaled.
    #[doc(alias = "umf_loop_import_dma_buf")]
    pub fn import_dma_buf(
        &self,
        fence: &Fence,
        value: u64,
        dma_buf: impl AsFd,
        access: Access,
        callback: impl Callback,
    ) -> Result<Watch> {
        let flags = access.bits();
        self.convert_fd(sys::umf_loop_import_dma_buf, fence, value, dma_buf, flags, callback)
    }

    /// Signals a value when an xshmfence of X11 is triggered.
    ///
    /// Reset the xshmfence before the call, and not before the watch is over.
    #[doc(alias = "umf_loop_import_xshmfence")]
    pub fn import_xshmfence(
        &self,
        fence: &Fence,
        value: u64,
        xshmfence: impl AsFd,
        callback: impl Callback,
    ) -> Result<Watch> {
        self.convert_fd(sys::umf_loop_import_xshmfence, fence, value, xshmfence, 0, callback)
    }

    /// Triggers an xshmfence of X11 when a fence reaches a value. It is not triggered if the fence
    /// fails.
    #[doc(alias = "umf_loop_export_xshmfence")]
    pub fn export_xshmfence(
        &self,
        fence: &Fence,
        value: u64,
        xshmfence: impl AsFd,
        callback: impl Callback,
    ) -> Result<Watch> {
        self.convert_fd(sys::umf_loop_export_xshmfence, fence, value, xshmfence, 0, callback)
    }

    /// Makes the watch of a conversion to or from what a descriptor refers to.
    fn convert_fd(
        &self,
        convert: FdConversion,
        fence: &Fence,
        value: u64,
        fd: impl AsFd,
        flags: u64,
        callback: impl Callback,
    ) -> Result<Watch> {
        let (fence, fd) = (fence.as_raw(), fd.as_fd());
        // SAFETY: The loop and the fence are valid, the descriptor is open during the call;
        // `callback` and `out` as `add` says.
        self.add(callback, |callback, out| unsafe {
            convert(self.as_raw(), fence, value, fd.as_raw_fd(), flags, callback, out)
        })
    }

    /// Makes the watch of a conversion to or from a point of a syncobj.
    fn convert_syncobj(
        &self,
        convert: SyncobjConversion,
        fence: &Fence,
        value: u64,
        syncobj: &Syncobj,
        point: u64,
        callback: impl Callback,
    ) -> Result<Watch> {
        let (fence, syncobj) = (fence.as_raw(), syncobj.as_raw());
        // SAFETY: The loop, the fence and the syncobj are valid; `callback` and `out` as `add`
        // says.
        self.add(callback, |callback, out| unsafe {
            convert(self.as_raw(), fence, value, syncobj, point, 0, callback, out)
        })
    }

    /// Makes a watch. `make` gets a callback that is valid during the call, and where to write the
    /// watch.
    fn add<C: Callback>(
        &self,
        callback: C,
        make: impl FnOnce(*const sys::umf_callback, *mut *mut sys::umf_watch) -> c_int,
    ) -> Result<Watch> {
        Watch::created(|out| with_callback(callback, |callback| make(callback, out)))
    }
}

/// An event loop that the caller runs, as a part of the caller's own.
///
/// Poll its descriptor for reading, and call [`DispatchLoop::dispatch`] when it is readable. What
/// an [`EventLoop`] can do, it can too.
#[derive(Clone, Debug)]
pub struct DispatchLoop {
    event_loop: EventLoop,
    fd: RawFd,
}

impl DispatchLoop {
    /// Creates a loop that the caller runs.
    #[doc(alias = "umf_loop_create")]
    #[doc(alias = "umf_loop_fd")]
    pub fn create() -> Result<DispatchLoop> {
        let event_loop = create(0)?;
        // SAFETY: The loop is valid.
        let fd = unsafe { sys::umf_loop_fd(event_loop.as_raw()) };
        check(fd)?;
        Ok(DispatchLoop { event_loop, fd })
    }

    /// Runs what is due now, without waiting for more.
    ///
    /// While one thread dispatches, the calls of others return
    /// [`Error::Already`](crate::Error::Already) at once.
    ///
    /// # Panics
    ///
    /// If a callback or job that it runs panics. The rest of what is due has run then.
    #[doc(alias = "umf_loop_dispatch")]
    pub fn dispatch(&self) -> Result<()> {
        // SAFETY: The loop is valid.
        check(panics::resume_after(|| unsafe { sys::umf_loop_dispatch(self.as_raw(), 0) }))
    }
}

impl Deref for DispatchLoop {
    type Target = EventLoop;

    fn deref(&self) -> &EventLoop {
        &self.event_loop
    }
}

impl AsFd for DispatchLoop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: The library keeps the descriptor open as long as the loop, and this handle keeps
        // the loop.
        unsafe { BorrowedFd::borrow_raw(self.fd) }
    }
}
