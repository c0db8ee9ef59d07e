// SPDX-License-Identifier: MIT
//! pthread_create, prctl(PR_SET_NAME), Linux 2.6.9, and sched_setscheduler: the threads of the
//! library.
//!
//! Each thread has a name and blocks all signals. std::thread is not used: it allocates memory when
//! it starts a thread, and a failed allocation there aborts the process.

use crate::error::{Error, Result};
use crate::util::callback::without_cancellation;
use crate::util::refs::Ref;
use std::ffi::{CStr, c_void};
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// An object that a thread runs.
pub(crate) trait Run: Send + Sync + 'static {
    /// The thread's name. The kernel keeps 15 bytes of it.
    const NAME: &'static CStr;
    /// Run until the thread's end.
    fn run(&self);
}

/// Identifies a thread of this process while it lives.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct ThreadId(usize);

impl ThreadId {
    /// Return the id of the calling thread.
    pub(crate) fn current() -> ThreadId {
        // SAFETY: the call has no requirements.
        ThreadId(unsafe { libc::pthread_self() } as usize)
    }
}

/// A thread that was started. It must be joined or detached with [`Thread::end`].
pub(crate) struct Thread {
    id: libc::pthread_t,
}

impl Thread {
    /// Start a thread that runs `object` and holds the reference until it ends.
    ///
    /// `NoMemory` also if a limit on the number of threads is reached.
    pub(crate) fn start<T: Run>(object: Ref<T>) -> Result<Thread> {
        let mut id = MaybeUninit::uninit();
        let object = object.into_raw();
        // SAFETY: sigfillset initializes `all`, and pthread_sigmask initializes `before`. The masks
        // and `id` are valid for writing. `main` takes over the reference behind `object`.
        let error = unsafe {
            let mut all = MaybeUninit::uninit();
            let mut before = MaybeUninit::uninit();
            libc::sigfillset(all.as_mut_ptr());
            // A thread inherits the signal mask of its creator.
            libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
            let error = libc::pthread_create(
                id.as_mut_ptr(),
                std::ptr::null(),
                main::<T>,
                object.cast_mut().cast(),
            );
            libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), std::ptr::null_mut());
            error
        };
        if error != 0 {
            // SAFETY: no thread was created, so this is still the only owner of the reference.
            drop(unsafe { Ref::<T>::from_raw(object) });
            return Err(Error::NoMemory);
        }
        // SAFETY: pthread_create succeeded, so it initialized `id`.
        Ok(Thread { id: unsafe { id.assume_init() } })
    }

    /// Check whether this is the calling thread.
    pub(crate) fn is_current(&self) -> bool {
        // Valid: only `end`, which consumes `self`, joins or detaches it.
        ThreadId::current() == ThreadId(self.id as usize)
    }

    /// Join the thread if `wait` is true. Detach it otherwise.
    pub(crate) fn end(self, wait: bool) {
        // SAFETY: `self.id` was neither joined nor detached before: only this function does so,
        // and it consumes `self`.
        unsafe {
            if wait {
                // A cancellation point of glibc. If canceled there, the thread is never joined.
                without_cancellation(|| libc::pthread_join(self.id, std::ptr::null_mut()));
            } else {
                libc::pthread_detach(self.id);
            }
        }
    }
}

/// Schedule the calling thread as the process, and not as the thread that started it.
///
/// A thread inherits the policy and the affinity of its creator, which may be a real-time thread or
/// one of a single core. The policy becomes SCHED_OTHER, and the affinity that of the main thread:
/// it is what taskset gave the process. If the kernel refuses, the thread stays as it is.
fn take_process_scheduling() {
    // Up to 8,192 processors.
    let (mut affinity, mut own) = ([0_u64; 128], [0_u64; 128]);
    // What the kernel reads is the priority alone.
    let ordinary: libc::c_int = 0;
    // SAFETY: the kernel writes to either mask at most its size, and reads at most what it wrote.
    // It reads `ordinary`. (The functions of musl do nothing, hence system calls.)
    unsafe {
        if libc::syscall(libc::SYS_sched_getscheduler, 0) != libc::SCHED_OTHER.into() {
            libc::syscall(libc::SYS_sched_setscheduler, 0, libc::SCHED_OTHER, &raw const ordinary);
        }
        let main = libc::getpid();
        let size = size_of_val(&affinity);
        let known = libc::syscall(libc::SYS_sched_getaffinity, main, size, &raw mut affinity);
        libc::syscall(libc::SYS_sched_getaffinity, 0, size, &raw mut own);
        if known > 0 && affinity != own {
            libc::syscall(libc::SYS_sched_setaffinity, 0, known, &raw const affinity);
        }
    }
}

/// Run the object of a new thread.
extern "C" fn main<T: Run>(object: *mut c_void) -> *mut c_void {
    // SAFETY: `start` passed a reference of this type, and gave up its ownership to this thread.
    let object = unsafe { Ref::<T>::from_raw(object.cast_const().cast()) };
    take_process_scheduling();
    // The new thread names itself: naming another thread takes a descriptor, and /proc.
    let _ = rustix::thread::set_name(T::NAME);
    // A panic is a bug, but must not end the process. That includes a panic while the object is
    // dropped.
    let run = move || without_cancellation(|| object.run());
    let _ = catch_unwind(AssertUnwindSafe(run));
    std::ptr::null_mut()
}
