//! Threads of the library: all signals blocked, named, and started without an allocation that could
//! abort (which is why this is not std's).

use crate::error::{Error, Result};
use crate::util::refs::Ref;
use std::ffi::{CStr, c_void};
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What a thread does.
pub(crate) trait Run: Send + Sync + 'static {
    /// What it is called. At most 15 bytes show in /proc.
    const NAME: &'static CStr;
    /// Its whole life.
    fn run(&self);
}

/// A thread that was started and is to be ended with one of its functions.
pub(crate) struct Thread {
    id: libc::pthread_t,
}

impl Thread {
    /// Starts a thread that runs `object`, which it keeps for as long. `NoMemory` also where the
    /// number of threads is limited.
    pub(crate) fn start<T: Run>(object: Ref<T>) -> Result<Thread> {
        let mut id = MaybeUninit::uninit();
        let object = object.into_raw();
        // SAFETY: sigset_t is plain data, which sigfillset fills; the masks and `id` are valid for
        // writing. `main` gets the reference that was just turned into an address.
        let error = unsafe {
            let mut all = MaybeUninit::uninit();
            let mut before = MaybeUninit::uninit();
            libc::sigfillset(all.as_mut_ptr());
            // A thread inherits its mask from the one that makes it.
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
            // SAFETY: no thread took the reference.
            drop(unsafe { Ref::<T>::from_raw(object) });
            return Err(Error::NoMemory);
        }
        // SAFETY: pthread_create succeeded, so it wrote the id.
        Ok(Thread { id: unsafe { id.assume_init() } })
    }

    /// Whether this is the thread that asks.
    pub(crate) fn is_current(&self) -> bool {
        // SAFETY: both name threads: this one, and one that was not ended.
        unsafe { libc::pthread_equal(libc::pthread_self(), self.id) != 0 }
    }

    /// Waits for its end, or lets it end by itself.
    pub(crate) fn end(self, wait: bool) {
        // SAFETY: `id` names a thread that was neither joined nor detached before, since both need
        // `self`.
        unsafe {
            if wait {
                libc::pthread_join(self.id, std::ptr::null_mut());
            } else {
                libc::pthread_detach(self.id);
            }
        }
    }
}

extern "C" fn main<T: Run>(object: *mut c_void) -> *mut c_void {
    // SAFETY: `start` passed on a reference of this type, for this thread alone.
    let object = unsafe { Ref::<T>::from_raw(object.cast_const().cast()) };
    // By itself: to name another takes a descriptor, and /proc.
    let _ = rustix::thread::set_name(T::NAME);
    // A panic would be a bug; it must not take the process along. Nor must one in the end of what
    // the thread kept.
    let _ = catch_unwind(AssertUnwindSafe(move || object.run()));
    std::ptr::null_mut()
}
