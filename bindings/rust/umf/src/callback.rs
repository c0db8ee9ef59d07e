// SPDX-License-Identifier: MIT
//! Closures as callbacks of watches.

use crate::error::{Result, check};
use crate::handle::{drop_box, with_box};
use crate::{panics, sys};
use std::ffi::{c_int, c_void};
use std::ptr;

/// What to call when a watch is over: a closure, or `()` for nothing.
///
/// The closure gets `Ok` if the watch's action was performed, or else the error. It runs at most
/// once, on the loop's thread or in [`DispatchLoop::dispatch`](crate::DispatchLoop::dispatch). It
/// is dropped exactly once: after it ran, or without running if the watch is canceled, the loop
/// ends, or the call that it is passed to fails. It may call anything of this crate, and drop the
/// last handle of its fence, watch or loop. It should not block, since the loop cannot go on
/// meanwhile.
///
/// The thread is another one, so what the closure has must be `Send`:
///
/// ```compile_fail,E0277
/// # use umf::{EventLoop, FenceFlags, Page, PageFlags, WaitFlags};
/// # let page = Page::create(1, PageFlags::NONE)?;
/// # let fence = page.create_fence(0, FenceFlags::NONE)?;
/// let shared = std::rc::Rc::new(1);
/// EventLoop::with_thread()?.watch(fence.reaches(1), WaitFlags::NONE, move |_| drop(shared))?;
/// # Ok::<(), umf::Error>(())
/// ```
pub trait Callback: Send + 'static {
    /// Whether there is something to call.
    #[doc(hidden)]
    const IS_SOME: bool = true;

    /// Called with the result of the watch.
    fn call(self, result: Result<()>);
}

impl<F: FnOnce(Result<()>) + Send + 'static> Callback for F {
    fn call(self, result: Result<()>) {
        self(result);
    }
}

impl Callback for () {
    const IS_SOME: bool = false;

    fn call(self, _: Result<()>) {}
}

/// Passes a callback to a function of the library.
pub(crate) fn with_callback<C: Callback>(
    callback: C,
    function: impl FnOnce(*const sys::umf_callback) -> c_int,
) -> c_int {
    if !C::IS_SOME {
        return function(ptr::null());
    }
    with_box(Some(callback), |data| {
        let (call, release) = (call::<C>, drop_box::<Option<C>>);
        function(&sys::umf_callback { call: Some(call), release: Some(release), data })
    })
}

/// Passes the callback of a watch for many fences to a function of the library.
///
/// The callback gets the result and the index of the entry that decided it.
pub(crate) fn with_many_callback<F>(
    callback: F,
    function: impl FnOnce(*const sys::umf_many_callback) -> c_int,
) -> c_int
where
    F: FnOnce(Result<()>, Option<usize>) + Send + 'static,
{
    with_box(Some(callback), |data| {
        let (call, release) = (call_many::<F>, drop_box::<Option<F>>);
        function(&sys::umf_many_callback { call: Some(call), release: Some(release), data })
    })
}

extern "C" fn call<C: Callback>(data: *mut c_void, result: c_int) {
    // SAFETY: `data` is the box of `with_callback`, for a watch that is about to call back.
    if let Some(callback) = unsafe { take::<C>(data) } {
        panics::contain(|| callback.call(check(result)));
    }
}

extern "C" fn call_many<F>(data: *mut c_void, result: c_int, index: u32)
where
    F: FnOnce(Result<()>, Option<usize>),
{
    let index = if index == u32::MAX { None } else { usize::try_from(index).ok() };
    // SAFETY: `data` is the box of `with_many_callback`, for a watch that is about to call back.
    if let Some(callback) = unsafe { take::<F>(data) } {
        panics::contain(|| callback(check(result), index));
    }
}

/// Takes the callback out of its box.
///
/// # Safety
///
/// `data` is a box of `with_box` with an `Option<C>`, in the call of the callback.
unsafe fn take<C>(data: *mut c_void) -> Option<C> {
    // SAFETY: The library calls back at most once, and releases the box only after that has
    // returned. So nothing else refers to the box. C is Send: the thread may be another one.
    unsafe { &mut *data.cast::<Option<C>>() }.take()
}
