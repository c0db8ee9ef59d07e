// SPDX-License-Identifier: MIT
//! Queues.
//!
//! A queue runs jobs in order, each when its waits are met. It replaces the submit thread that
//! drivers use for wait-before-signal, without needing a thread.

use super::args::{fence_errno, no_flags, non_null, read_sized, slice};
use super::contract::c_contract;
use super::event_loop::umf_loop;
use super::fence::umf_fence;
use super::handles::{Handle, c_ref, c_unref, clone_ref, write_handle};
use super::returns::c_return_preserving_errno;
use super::wait::{UMF_WAIT_MAX, condition, umf_condition};
use crate::error::{Error, Result};
use crate::queue::{self, Inline, Job, QueueHandle};
use crate::sys::time::Deadline;
use crate::wait::Until;
use std::ffi::{c_int, c_void};

/// A queue: jobs that run in order, each when its waits are met. Reference counted. Since 0.1.
pub struct umf_queue {
    _opaque: (),
}

impl Handle for umf_queue {
    type Object = QueueHandle;
}

/// Flag of umf_queue_create(): run a job within umf_queue_submit() if it can run at once.
///
/// The job then runs on the thread of that call, even if the loop has UMF_LOOP_THREAD. A callback
/// of the loop, or a job of another of its queues, may run on another thread meanwhile. Protect
/// what they share with a lock. The jobs of one queue still run one at a time.
///
/// The call also runs jobs that other threads submit meanwhile. So a job may run on the thread of
/// another submitter, and the call may take long. Since 0.1.
pub const UMF_QUEUE_INLINE: u64 = 1 << 0;

/// Create a queue on an event loop.
///
/// Jobs run in the order of submission, each when all its waits are met. A queue whose first job is
/// blocked blocks no other queue, not even one of the same loop. A job whose waits can no longer be
/// met (a fence failed) does not run: its signals fail with the same error, and the queue goes on
/// with the next job. The next job does not begin before the release of the one before has
/// returned.
///
/// @event_loop: the loop that runs the jobs; the queue keeps a reference to it. With
///     UMF_LOOP_THREAD it replaces a submit thread.
/// @flags: UMF_QUEUE_INLINE, or 0.
/// @out_queue: receives a reference, which the caller ends with umf_queue_unref(). Written only on
///     success.
///
/// Return: 0 on success, or
///   -EINVAL  @event_loop or @out_queue is NULL, or @flags has unknown bits
///   -ENOMEM  no memory or thread is left
///   -ESTALE  the loop belongs to another process
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

/// Result of umf_job.run: the work is done; the queue signals the job's signals. Since 0.1.
pub const UMF_JOB_DONE: c_int = 0;
const _: () = assert!(UMF_JOB_DONE == queue::DONE);

/// Result of umf_job.run: the work goes on.
///
/// The driver or its device signals the job's signals. The next job does not wait for them.
///
/// A fence of umf_fence_create_in() cannot be one of the signals: umf_queue_submit() returns
/// -EACCES. Announce its value with umf_fence_submit() instead, and fail it with
/// umf_fence_set_error() if the device is lost. Since 0.1.
pub const UMF_JOB_SUBMITTED: c_int = 1;
const _: () = assert!(UMF_JOB_SUBMITTED == queue::SUBMITTED);

/// A value that a job signals. Since 0.1.
#[repr(C)]
pub struct umf_signal {
    /// The fence. Stays the caller's. The job keeps a reference, so the fence does not end before
    /// the job is over.
    pub fence: *mut umf_fence,
    /// The value to signal. At most UINT32_MAX for a 32-bit fence. After UMF_JOB_SUBMITTED, the
    /// queue takes a fence with UMF_FENCE_UNORDERED for signaled while its value is at least this.
    pub value: u64,
}

/// A job for umf_queue_submit(). Later versions may add members at the end. Since 0.1.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct umf_job {
    /// sizeof(struct umf_job).
    pub size: u32,
    /// The number of waits. At most UMF_WAIT_MAX together with the signals.
    pub wait_count: u32,
    /// The number of signals.
    pub signal_count: u32,
    /// Must be 0.
    pub reserved: u32,
    /// The conditions that must all be met before the job runs. One that was met stays met. Copied,
    /// and the job keeps references to the fences. May be NULL if wait_count is 0.
    pub waits: *const umf_condition,
    /// What the job signals. Copied. May be NULL if signal_count is 0.
    pub signals: *const umf_signal,
    /// Does the work, or submits it to the device. Called once, on the loop's thread, in
    /// umf_loop_dispatch(), or with UMF_QUEUE_INLINE in umf_queue_submit(); never for two jobs of a
    /// queue at the same time. Returns UMF_JOB_DONE, UMF_JOB_SUBMITTED, or a negative errno: the
    /// device is then lost, as by umf_queue_fail(). Any other result counts as -EPROTO. It may call
    /// any function of the library.
    ///
    /// No callback and no other job of its loop runs meanwhile, except with UMF_QUEUE_INLINE. This
    /// job, or a job of another queue, may then run on the thread of a submitter, beside the loop.
    pub run: Option<extern "C" fn(data: *mut c_void) -> c_int>,
    /// Called exactly once, when @data is no longer used. See "Release functions" above.
    ///
    /// After UMF_JOB_DONE, the job's signals are signaled first. The result is 0, or the error of
    /// the first signal that failed: -EINVAL if its fence had passed the value, -EIO, -EOWNERDEAD
    /// or -ESTALE.
    ///
    /// After UMF_JOB_SUBMITTED, it is called as soon as run has returned, with 0. The device may
    /// still be working: do not take it for completion.
    ///
    /// If the job did not run or failed, its signals fail first, and the result tells why:
    ///
    ///   -ECANCELED         umf_queue_cancel(), or the queue ended
    ///   -EIO               a fence that the job waited for failed, run returned an error, or the
    ///                      device was lost. umf_fence_error() of a fence that the job signals has
    ///                      the cause
    ///   -EOWNERDEAD        as -EIO; the cause is -EOWNERDEAD
    ///   -ESTALE, -ERANGE   a wait can no longer be met
    ///   -ENOMEM            no memory is left
    ///
    /// May be NULL. Not called if umf_queue_submit() fails.
    pub release: Option<extern "C" fn(data: *mut c_void, result: c_int)>,
    /// Passed to run and release.
    pub data: *mut c_void,
}

/// Submit a job to a queue.
///
/// The pending values of its signals rise at once, as with umf_fence_submit(), so waiters with
/// UMF_WAIT_PENDING go on. The call allocates one block of memory.
///
/// A value that its fence has passed is not refused. It is found after run returned UMF_JOB_DONE,
/// and release gets -EINVAL.
///
/// With UMF_QUEUE_INLINE, the call may run this job and others, and their release functions: hold
/// no lock that these take.
///
///     struct umf_condition wait = { .fence = acquire, .value = 5, .op = UMF_OP_GE };
///     struct umf_signal signal = { .fence = release, .value = 9 };
///     struct umf_job job = { .size = sizeof(job), .wait_count = 1, .signal_count = 1,
///                            .waits = &wait, .signals = &signal, .run = run, .data = data };
///     umf_queue_submit(queue, &job, 0);
///
/// @queue: the queue.
/// @job: the job. Copied.
/// @flags: must be 0.
///
/// Return: 0 on success, or
///   -EINVAL            @queue or @job is NULL, job->size is less than the first version of the
///                      struct, job->run is NULL, or job->reserved or @flags is not 0; a count
///                      without its array, or counts above UMF_WAIT_MAX together; an entry that
///                      umf_wait() would refuse; a signal whose fence is NULL, or whose value does
///                      not fit in 32 bits for a 32-bit fence
///   -EIO, -EOWNERDEAD  the device was lost, or the fence of a signal carries an error
///   -ESTALE            the fence of a signal ended; or the queue belongs to another process. If
///                      the fence of a wait ended, release gets -ESTALE
///   -EACCES            this process may not signal the fence of a signal: UMF_PAGE_SINGLE_WRITER,
///                      umf_fence_create_in(), even if run returns UMF_JOB_SUBMITTED
///   -ENOMEM            no memory is left
///
/// Thread-safe. Since 0.1.
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
    // The sum cannot wrap: both counts have 32 bits.
    let count = u64::from(job.wait_count) + u64::from(job.signal_count);
    if job.reserved != 0 || count > UMF_WAIT_MAX.into() {
        return Err(Error::Invalid);
    }
    // SAFETY: by this function's contract.
    let (waits, signals) =
        unsafe { (slice(job.waits, job.wait_count)?, slice(job.signals, job.signal_count)?) };
    let mut copy = Job::new(count as usize, run, job.release, job.data)?;
    for wait in waits {
        // SAFETY: by this function's contract.
        unsafe { copy.wait(clone_ref(wait.fence)?, condition(wait, Until::Signaled)?.predicate()) };
    }
    for signal in signals {
        // SAFETY: by this function's contract.
        copy.signal(unsafe { clone_ref(signal.fence)? }, signal.value)?;
    }
    Ok(copy)
}

/// Wait until the jobs that were submitted before are over.
///
/// A job is over when it has run and its signals are signaled, or when that can no longer happen.
/// The call does not wait for jobs that failed or were canceled. When it returns 0, the release of
/// each job that ran has returned. If another thread cancels or fails jobs meanwhile, their release
/// may still be running.
///
/// Pass 0 if the loop has no UMF_LOOP_THREAD, or in a callback or job of the loop. A later deadline
/// returns -EINVAL there while jobs are unfinished.
///
/// After UMF_JOB_SUBMITTED, the queue keeps its references to the job's fences. It drops them in a
/// later call of this function or of umf_queue_submit(), once the signals are signaled or failed.
///
/// @queue: the queue.
/// @abs_timeout_ns: absolute CLOCK_MONOTONIC time in nanoseconds. 0 checks once; UINT64_MAX waits
///     forever.
///
/// Return: 0 on success, or
///   -EINVAL  @queue is NULL; or jobs are unfinished, and the call cannot wait for them: see above
///   -ETIME   the deadline passed first
///   -ESTALE  the queue belongs to another process. Never because a fence ended
///
/// POSIX signals do not interrupt the wait. Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_queue_drain(queue: *mut umf_queue, abs_timeout_ns: u64) -> c_int {
    c_return_preserving_errno(|| {
        c_contract!(clone_ref(queue)?).get()?.drain(Deadline::at(abs_timeout_ns))
    })
}

/// Cancel every job that has not begun to run.
///
/// These jobs never run. Their signals fail with -ECANCELED, so waits for those values return -EIO.
/// Their release is then called within this call. The queue accepts new jobs afterwards.
///
/// @queue: the queue.
///
/// Return: 0 on success, or
///   -EINVAL  @queue is NULL
///   -ESTALE  the queue belongs to another process
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_queue_cancel(queue: *mut umf_queue) -> c_int {
    c_return_preserving_errno(|| {
        c_contract!(clone_ref(queue)?).get()?.cancel();
        Ok(())
    })
}

/// Report that the device is lost: fail all jobs of a queue.
///
/// Jobs that have not begun to run never will. Their signals fail with the error, and their release
/// is then called within this call. Signals that are not signaled yet of jobs that returned
/// UMF_JOB_SUBMITTED fail too. The queue accepts no more jobs. The first error stays.
///
/// @queue: the queue.
/// @error: a negative errno, -4095 to -1, as in umf_fence_set_error().
///
/// Return: 0 on success, or
///   -EINVAL  @queue is NULL, or @error is out of range
///   -ESTALE  the queue belongs to another process
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

/// Add a reference to a queue.
///
/// @queue: the queue, or NULL.
///
/// Return: @queue. The caller ends the new reference with umf_queue_unref().
///
/// Thread-safe and async-signal-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_queue_ref(queue: *mut umf_queue) -> *mut umf_queue {
    c_contract!(c_ref(queue))
}

/// End a reference to a queue.
///
/// With the last reference, jobs that have not begun to run are canceled, as by umf_queue_cancel().
/// The call does not wait for a job that is running on another thread; that job's release tells
/// when its run has returned. But if the queue had the loop's last reference, the loop ends too,
/// and the call waits as umf_loop_unref() does.
///
/// @queue: the queue. NULL does nothing.
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_queue_unref(queue: *mut umf_queue) {
    c_contract!(c_unref(queue))
}
