// SPDX-License-Identifier: MIT
//! Queues: jobs that run in order, each when its waits are met.

use crate::error::{Error, Result, check};
use crate::handle::{handle, size_of, with_box};
use crate::wait::raw_list;
use crate::{Condition, Deadline, EventLoop, Fence, QueueFlags, panics, sys};
use std::ffi::{c_int, c_void};
use std::marker::PhantomData;

handle! {
    /// A queue: jobs that run in order, each when its waits are met.
    ///
    /// It replaces the submit thread that drivers use for wait-before-signal. With its last handle,
    /// jobs that have not begun to run are canceled.
    #[doc(alias = "umf_queue")]
    Queue: umf_queue, umf_queue_ref, umf_queue_unref
}

/// How far the work is when [`Job::run`] has returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Progress {
    /// The work is done. The queue signals the job's signals.
    Done,
    /// The work goes on. The driver or its device signals the job's signals.
    Submitted,
}

/// A job of a queue. A closure is one, which is dropped at the end.
///
/// The library never runs two jobs of a queue at the same time. A job that panics counts as one
/// that returned [`Error::Failed`]: the queue fails, and with [`DispatchLoop::dispatch`] the panic
/// goes on there.
///
/// [`DispatchLoop::dispatch`]: crate::DispatchLoop::dispatch
pub trait Job: Send + 'static {
    /// Does the work, or submits it to the device. Called once, on the loop's thread, in
    /// [`DispatchLoop::dispatch`](crate::DispatchLoop::dispatch) or in [`Queue::submit`].
    ///
    /// An error means that the device is lost, as by [`Queue::fail`].
    fn run(&mut self) -> Result<Progress>;

    /// Called once, on any thread, when the job is over, also if it did not run.
    ///
    /// After [`Progress::Done`] the signals are signaled first. After [`Progress::Submitted`] it is
    /// called at once: do not take it for completion.
    fn release(self, result: Result<()>)
    where
        Self: Sized,
    {
        let _ = result;
    }
}

impl<F: FnMut() -> Result<Progress> + Send + 'static> Job for F {
    fn run(&mut self) -> Result<Progress> {
        self()
    }
}

/// A value that a job signals: see [`Fence::signals`].
#[doc(alias = "umf_signal")]
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub struct Signal<'fence>(sys::umf_signal, PhantomData<&'fence Fence>);

// SAFETY: A signal is a shared reference to a fence, and a number. Fence is Sync.
unsafe impl Send for Signal<'_> {}
// SAFETY: As for `Send`. A signal does not change through a shared reference.
unsafe impl Sync for Signal<'_> {}

impl<'fence> Signal<'fence> {
    /// Returns the signal of a value.
    pub fn new(fence: &'fence Fence, value: u64) -> Signal<'fence> {
        Signal(sys::umf_signal { fence: fence.as_raw(), value }, PhantomData)
    }
}

impl Queue {
    /// Creates a queue on an event loop. The queue keeps the loop.
    #[doc(alias = "umf_queue_create")]
    pub fn create(event_loop: &EventLoop, flags: QueueFlags) -> Result<Queue> {
        // SAFETY: The loop is valid, and `out` is valid for writing.
        Queue::created(|out| unsafe {
            sys::umf_queue_create(event_loop.as_raw(), flags.bits(), out)
        })
    }

    /// Submits a job, which runs once all `waits` are met and then signals `signals`.
    ///
    /// The pending values of the signals rise at once. If the call fails, the job is dropped and
    /// its [`Job::release`] is not called.
    ///
    /// With [`QueueFlags::INLINE`] the call may run this job and others.
    #[doc(alias = "umf_queue_submit")]
    pub fn submit<J: Job>(
        &self,
        waits: &[Condition<'_>],
        signals: &[Signal<'_>],
        job: J,
    ) -> Result<()> {
        let (waits, wait_count) = raw_list(waits)?;
        let (signals, signal_count) = raw_list(signals)?;
        check(with_box(job, |data| {
            let raw = sys::umf_job {
                size: size_of::<sys::umf_job>(),
                wait_count,
                signal_count,
                reserved: 0,
                waits,
                signals,
                run: Some(run::<J>),
                release: Some(release::<J>),
                data,
            };
            // SAFETY: The queue is valid. `raw` and its arrays are valid during the call, which
            // copies them. A Signal has the layout of a umf_signal.
            unsafe { sys::umf_queue_submit(self.as_raw(), &raw const raw, 0) }
        }))
    }

    /// Waits until the jobs that were submitted before are over.
    #[doc(alias = "umf_queue_drain")]
    pub fn drain(&self, deadline: impl Into<Deadline>) -> Result<()> {
        // SAFETY: The queue is valid.
        check(unsafe { sys::umf_queue_drain(self.as_raw(), deadline.into().nanoseconds()) })
    }

    /// Cancels every job that has not begun to run. Their signals fail with [`Error::Canceled`].
    #[doc(alias = "umf_queue_cancel")]
    pub fn cancel(&self) -> Result<()> {
        // SAFETY: The queue is valid.
        check(unsafe { sys::umf_queue_cancel(self.as_raw()) })
    }

    /// Reports that the device is lost: fails all jobs, and those that are submitted later.
    #[doc(alias = "umf_queue_fail")]
    pub fn fail(&self, error: Error) -> Result<()> {
        // SAFETY: The queue is valid.
        check(unsafe { sys::umf_queue_fail(self.as_raw(), error.errno().wrapping_neg()) })
    }
}

extern "C" fn run<J: Job>(data: *mut c_void) -> c_int {
    // SAFETY: `data` is the box of `submit`. The library calls this once, and release only after it
    // has returned, so nothing else refers to the box. J is Send: the thread may be another one.
    let job = unsafe { &mut *data.cast::<J>() };
    match panics::contain(|| job.run()) {
        Some(Ok(Progress::Done)) => sys::UMF_JOB_DONE as c_int,
        Some(Ok(Progress::Submitted)) => sys::UMF_JOB_SUBMITTED as c_int,
        Some(Err(error)) if error.errno() > 0 => -error.errno(),
        Some(Err(_)) => -libc::EPROTO,
        None => -libc::EIO,
    }
}

extern "C" fn release<J: Job>(data: *mut c_void, result: c_int) {
    // SAFETY: `data` is the box of `submit`. The library calls this once, and does not use the data
    // afterwards.
    let job = unsafe { Box::from_raw(data.cast::<J>()) };
    panics::contain(|| job.release(check(result)));
}
