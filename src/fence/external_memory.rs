//! A fence's value in memory that a driver mapped: a buffer object, host-visible Vulkan memory,
//! pinned memory of CUDA's.
//!
//! The value alone is there. What wakes waiters stays in the slot, on our own page: the kernel
//! refuses shared futexes on mappings of devices' memory (EFAULT). And it is only ever read. An
//! atomic exchange needs memory that is cached and coherent on both sides of the bus; on
//! write-combined memory it locks the whole bus, on arm64's device memory it faults. So the device
//! is the one writer, and nothing is asked of the mapping but that it can be read.

use crate::error::{Error, Result};
use crate::shm::slot::Width;
use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// What a driver says of the memory, before anything was made of it. The address is that of the
/// value.
#[derive(Clone, Copy)]
pub(crate) struct Lent {
    address: NonNull<c_void>,
    data: *mut c_void,
    release: Option<extern "C" fn(data: *mut c_void)>,
}

impl Lent {
    /// `Invalid` where no value of this width can be.
    ///
    /// # Safety
    /// At `address` are 8 bytes, or 4 for a 32-bit fence, that can be read until `release` is
    /// called with `data`; always, if no `Memory` is made of it. They change only by what is
    /// outside of this program's memory model, or by atomic stores of their size.
    pub(crate) unsafe fn new(
        address: *const c_void,
        width: Width,
        data: *mut c_void,
        release: Option<extern "C" fn(data: *mut c_void)>,
    ) -> Result<Lent> {
        let size = match width {
            Width::Bits64 => size_of::<u64>(),
            Width::Bits32 => size_of::<u32>(),
        };
        let address = NonNull::new(address.cast_mut()).ok_or(Error::Invalid)?;
        if address.addr().get() % size == 0 {
            Ok(Lent { address, data, release })
        } else {
            Err(Error::Invalid)
        }
    }

    /// The value, which has the width that `new` was told.
    ///
    /// What the writer did before is visible after: also where loads from such memory overtake each
    /// other, as x86's do from write-combined memory, for which an acquiring load is a plain one.
    /// Hence the barrier.
    pub(crate) fn load(&self, width: Width) -> u64 {
        let address = self.address.as_ptr();
        let value = match width {
            // SAFETY: `new`'s contract, for the width that it checked; who made a `Memory` of this
            // calls while that lives. AtomicU64 is aligned to 8 on every architecture, and so is
            // the address.
            Width::Bits64 => unsafe { AtomicU64::from_ptr(address.cast()).load(Ordering::Acquire) },
            // SAFETY: as above.
            Width::Bits32 => unsafe {
                AtomicU32::from_ptr(address.cast()).load(Ordering::Acquire).into()
            },
        };
        fence(Ordering::SeqCst);
        value
    }
}

/// The same, held on to. Given back when dropped.
pub(crate) struct Memory(Lent);

// SAFETY: an address and what a driver wants to be told with it. Any thread may read there
// (`Lent::new`), and the last reference may end on any thread, as the driver was told.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    pub(crate) fn new(lent: Lent) -> Memory {
        Memory(lent)
    }

    /// See [`Lent::load`].
    pub(crate) fn load(&self, width: Width) -> u64 {
        self.0.load(width)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if let Some(release) = self.0.release {
            release(self.0.data);
        }
    }
}
