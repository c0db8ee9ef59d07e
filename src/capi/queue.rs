//! Queues.

use super::args::{no_flags, non_null, read_sized, slice};
use super::contract::c_contract;
use super::event_loop::umf_loop;
use super::fence::{fence_errno, umf_fence};
use super::handles::{Handle, c_ref, c_unref, clone_ref, write_handle};
use super::returns::c_return_preserving_errno;
use super::wait::{UMF_WAIT_MAX, condition, umf_wait};
use crate::error::{Error, Result};
use crate::queue::{self, Inline, Job, QueueHandle};
use crate::sys::time::Deadline;
use crate::wait::Until;
use std::ffi::{c_int, c_void};

/// Jobs that run in order, each once what it waits for is there. Reference counted.
pub struct umf_queue {
    _opaque: (),
}

impl Handle for umf_queue {
    type Object = QueueHandle;
}

/// In the flags of umf_queue_create(): a job whose turn has come when it is submitted runs in umf_queue_submit(), on the
/// caller's thread. Since 0.1.
pub const UMF_QUEUE_INLINE: u64 = 1 << 0;

/// Creates a queue: what a driver needs for waits before signals, where it would otherwise start a thread that submits.
///
/// Jobs run in the order in which they were submitted, each when all its waits are met. A queue whose first job is held up
/// holds up no other queue, also of the same loop. A job whose waits can never be met (a fence failed) does not run: its
/// signals fail with the same error, and the queue goes on with the next.
///
/// \param event_loop  where the jobs run; the queue keeps a reference. One with UMF_LOOP_THREAD for what a submit thread does.
/// \param flags       UMF_QUEUE_INLINE, or 0.
/// \param out_queue   receives a reference that the caller ends with umf_queue_unref(). Written only on success.
///
/// \return 0, or
///         -EINVAL  event_loop or out_queue NULL, unknown flags.
///         -ENOMEM  no memory, or no thread.
///         -ESTALE  the loop belongs to another process.
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_queue_create(
    event_loop: *mut umf_loop,
    flags: u64,
    out_queue: *mut *mut umf_queue,
) -> c_int {
    c_return_preserving_errno(|| {
        let inline = match flags {
            0 => Inline::No,
            UMF_QUEUE_INLINE => Inline::Yes,
            _ => return Err(Error::Invalid),
        };
        non_null(out_queue)?;
        let event_loop = c_contract!(clone_ref(event_loop)?);
        c_contract!(write_handle(QueueHandle::new(&event_loop, inline)?, out_queue));
        Ok(())
    })
}

/// What umf_job.run returns: the work is done, the queue signals the job's signals. Since 0.1.
pub const UMF_JOB_DONE: c_int = 0;
const _: () = assert!(UMF_JOB_DONE == queue::DONE);

/// What umf_job.run returns: the work goes on, and whoever does it (the driver, or its device) signals them. The next job does not
/// wait for that. Since 0.1.
pub const UMF_JOB_SUBMITTED: c_int = 1;
const _: () = assert!(UMF_JOB_SUBMITTED == queue::SUBMITTED);

/// What a job signals.
#[repr(C)]
pub struct umf_signal {
    /// Stays the caller's; the job keeps a reference.
    pub fence: *mut umf_fence,
    /// The value.
    pub value: u64,
}

/// A job for umf_queue_submit(). Grows at the end.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct umf_job {
    /// sizeof(struct umf_job).
    pub size: u32,
    /// How many waits; up to UMF_WAIT_MAX together with the signals.
    pub wait_count: u32,
    /// How many signals.
    pub signal_count: u32,
    /// 0.
    pub reserved: u32,
    /// What has to be met, all of it, before the job runs. What is met once stays so. Copied; NULL for none.
    pub waits: *const umf_wait,
    /// What the job signals. Copied; NULL for none.
    pub signals: *const umf_signal,
    /// Does the work, or hands it to the device. Called once, on the loop's thread, in umf_loop_dispatch(), or with
    /// UMF_QUEUE_INLINE in umf_queue_submit(); never two of a queue at the same time. Returns UMF_JOB_DONE, UMF_JOB_SUBMITTED, or
    /// a negative errno, with which the device is lost, as by umf_queue_fail(); anything else counts as -EPROTO. It may call any
    /// function of the library; as long as it runs nothing else of its loop happens.
    pub run: Option<extern "C" fn(data: *mut c_void) -> c_int>,
    /// Called exactly once when data is not used any more, with 0 after run (or what one of the signals failed with), or with
    /// why the job did not run or failed: -ECANCELED (umf_queue_cancel(), or the end of the queue), -EIO or -EOWNERDEAD (a fence
    /// that it waited for failed, or the device was lost), -ESTALE or -ERANGE (a wait that cannot be met any more), -ENOMEM.
    /// May be NULL. Not called where umf_queue_submit() fails.
    pub release: Option<extern "C" fn(data: *mut c_void, result: c_int)>,
    /// For both, as it is.
    pub data: *mut c_void,
}

/// Submits a job. The pending values of what it signals rise at once (umf_fence_submit()), so that who waits with
/// UMF_WAIT_PENDING goes on.
///
/// \param queue  the queue.
/// \param job    the job. Copied.
/// \param flags  0.
///
/// \return 0, or
///         -EINVAL      queue or job NULL, job->size less than the first version of the struct, job->run NULL, reserved or flags not 0;
///                      a count without its array, or more than UMF_WAIT_MAX together; an entry that umf_wait() does not take, or a
///                      signal that its fence cannot have.
///         -EIO, -EOWNERDEAD  the device was lost, or the fence of a signal carries an error.
///         -ESTALE      the fence of a signal ended; or the queue belongs to another process.
///         -EACCES      the fence of a signal is for others to signal: UMF_PAGE_SINGLE_WRITER, umf_fence_create_in().
///         -ENOMEM      no memory.
///
/// Thread-safe. Takes one block of memory. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_queue_submit(
    queue: *mut umf_queue,
    job: *const umf_job,
    flags: u64,
) -> c_int {
    c_return_preserving_errno(|| {
        no_flags(flags)?;
        // A reference of the library's own: a job that runs in here may end the caller's.
        let (queue, job) = c_contract!((clone_ref(queue)?, read_sized(job)?));
        queue.get()?.submit(c_contract!(read_job(job)?))
    })
}

/// Reads the job that the caller describes.
///
/// # Safety
/// The C contract (contract.rs).
unsafe fn read_job(job: &umf_job) -> Result<Job> {
    let run = job.run.ok_or(Error::Invalid)?;
    // Neither can wrap: they are 32 bits wide.
    let count = u64::from(job.wait_count) + u64::from(job.signal_count);
    if job.reserved != 0 || count > UMF_WAIT_MAX.into() {
        return Err(Error::Invalid);
    }
    // SAFETY: by this function's contract.
    let (waits, signals) =
        unsafe { (slice(job.waits, job.wait_count)?, slice(job.signals, job.signal_count)?) };
    let mut job_read = Job::new(count as usize, run, job.release, job.data)?;
    for wait in waits {
        // SAFETY: by this function's contract.
        unsafe {
            job_read.wait(clone_ref(wait.fence)?, condition(wait, Until::Signaled)?.predicate())
        };
    }
    for signal in signals {
        // SAFETY: by this function's contract.
        job_read.signal(unsafe { clone_ref(signal.fence)? }, signal.value)?;
    }
    Ok(job_read)
}

/// Waits until every job that was submitted by now has run and its signals are signalled, or it is certain that this will
/// not be: jobs that failed or were cancelled are not waited for. This, like umf_queue_submit(), lets go of the fences of jobs
/// that have signalled; an idle queue keeps those of its last.
///
/// \param queue           the queue.
/// \param abs_timeout_ns  when to give up: nanoseconds on CLOCK_MONOTONIC. 0 polls, UINT64_MAX is never.
///
/// \return 0, or
///         -EINVAL  queue NULL; or it would wait for what cannot happen meanwhile: called in a callback or job of the loop, or
///                  with a loop that the caller dispatches (there it only polls).
///         -ETIME   not by then.
///         -ESTALE  the queue belongs to another process.
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_queue_drain(queue: *mut umf_queue, abs_timeout_ns: u64) -> c_int {
    c_return_preserving_errno(|| {
        c_contract!(clone_ref(queue)?).get()?.drain(Deadline::at(abs_timeout_ns))
    })
}

/// Cancels every job that has not begun to run: it never will, its signals fail with ECANCELED, and its release is called, in
/// here. The queue goes on to take jobs.
///
/// \return 0, or
///         -EINVAL  queue NULL.
///         -ESTALE  the queue belongs to another process.
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_queue_cancel(queue: *mut umf_queue) -> c_int {
    c_return_preserving_errno(|| {
        c_contract!(clone_ref(queue)?).get()?.cancel();
        Ok(())
    })
}

/// The device is lost: every job that has not begun to run never will, and its release is called, in here. Its signals, and
/// those of jobs that ran and returned UMF_JOB_SUBMITTED that are not signalled yet, fail with the error. The queue takes no
/// jobs any more.
///
/// \param queue  the queue.
/// \param error  a negative errno, -4095 to -1, as in umf_fence_set_error(). The first counts.
///
/// \return 0, or
///         -EINVAL  queue NULL, error out of range.
///         -ESTALE  the queue belongs to another process.
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_queue_fail(queue: *mut umf_queue, error: c_int) -> c_int {
    c_return_preserving_errno(|| {
        let errno = fence_errno(error)?;
        c_contract!(clone_ref(queue)?).get()?.fail(errno);
        Ok(())
    })
}

/// Another reference to a queue, to be ended with umf_queue_unref(). Returns queue; NULL for NULL.
///
/// Thread-safe, async-signal-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_queue_ref(queue: *mut umf_queue) -> *mut umf_queue {
    c_contract!(c_ref(queue))
}

/// Ends a reference to a queue. With the last, what has not run is cancelled, as by umf_queue_cancel(). A job that is running
/// at this moment on another thread is not waited for: its release tells; but if the queue had the loop's last reference, that ends
/// too, and waits as umf_loop_unref() does. NULL does nothing.
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_queue_unref(queue: *mut umf_queue) {
    c_contract!(c_unref(queue))
}
