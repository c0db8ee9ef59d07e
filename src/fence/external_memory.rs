// SPDX-License-Identifier: MIT
//! A fence's value in memory that a driver mapped: a buffer object, host-visible Vulkan memory,
//! pinned CUDA memory.
//!
//! Only the value is there. The words that wake waiters stay in the slot, on a page of libumf: the
//! kernel refuses shared futexes on mappings of device memory (EFAULT). The value is only ever
//! read. An atomic exchange needs memory that is cached and coherent on both sides of the bus. On
//! write-combined memory it locks the whole bus; on arm64's device memory it faults. So the device
//! is the only writer, and the mapping need only be readable.

use crate::error::{Error, Result};
use crate::shm::residue::Width;
use crate::util::refs::Ref;
use crate::util::user_data::UserData;
use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// The memory as the driver describes it, not owned yet. The address is that of the value.
#[derive(Clone, Copy)]
pub(crate) struct ExternalMemoryDesc {
    address: NonNull<c_void>,
    data: *mut c_void,
    release: Option<extern "C" fn(data: *mut c_void)>,
    /// Whether a value of all ones means that the device is lost.
    ones_are_lost: bool,
}

impl ExternalMemoryDesc {
    /// `Invalid` for an address where no value of this width can be.
    ///
    /// # Safety
    /// At `address` are 8 bytes, or 4 for a 32-bit fence, that stay readable until `release` is
    /// called with `data`; for ever, if no `ExternalMemory` is made of it. They change only by what
    /// is outside of this program's memory model, or by atomic stores of their size.
    pub(crate) unsafe fn new(
        address: *const c_void,
        width: Width,
        data: *mut c_void,
        release: Option<extern "C" fn(data: *mut c_void)>,
    ) -> Result<ExternalMemoryDesc> {
        let size = match width {
            Width::Bits64 => size_of::<u64>(),
            Width::Bits32 => size_of::<u32>(),
        };
        let address = NonNull::new(address.cast_mut()).ok_or(Error::Invalid)?;
        if address.addr().get() % size == 0 {
            Ok(ExternalMemoryDesc { address, data, release, ones_are_lost: false })
        } else {
            Err(Error::Invalid)
        }
    }

    /// The same memory, where a value of all ones means that the device is lost.
    pub(crate) fn with_ones_lost(self) -> ExternalMemoryDesc {
        ExternalMemoryDesc { ones_are_lost: true, ..self }
    }

    /// The value, of the width that `new` was given. `None` if the device is lost: a bus without a
    /// device reads all ones.
    ///
    /// What the writer wrote before is visible after. Loads from write-combined memory may overtake
    /// each other on x86, where an acquire load is a plain load: hence the barrier.
    pub(crate) fn load(&self, width: Width) -> Option<u64> {
        let address = self.address.as_ptr();
        let value = match width {
            // SAFETY: the contract of `new`, for the width that it checked; an `ExternalMemory` is
            // only loaded while it lives. AtomicU64 is aligned to 8 on every architecture, and so
            // is the address.
            Width::Bits64 => unsafe { AtomicU64::from_ptr(address.cast()).load(Ordering::Acquire) },
            // SAFETY: as above.
            Width::Bits32 => unsafe {
                AtomicU32::from_ptr(address.cast()).load(Ordering::Acquire).into()
            },
        };
        fence(Ordering::SeqCst);
        (value != u64::MAX || !self.ones_are_lost).then_some(value)
    }
}

/// The memory, owned: released when dropped.
pub(crate) struct ExternalMemory {
    desc: ExternalMemoryDesc,
    _data: UserData,
}

// SAFETY: an address, and a pointer that only the driver's release function uses. Any thread may
// read at the address (`ExternalMemoryDesc::new`), and the last reference may end on any thread, as
// the driver was told.
unsafe impl Send for ExternalMemory {}
// SAFETY: as above.
unsafe impl Sync for ExternalMemory {}

impl ExternalMemory {
    /// The memory, if there is any to own. If that fails, it stays the caller's.
    pub(super) fn of(desc: Option<ExternalMemoryDesc>) -> Result<Option<Ref<ExternalMemory>>> {
        desc.map(|desc| Ref::try_new(|| Ok(ExternalMemory::new(desc)))).transpose()
    }

    pub(crate) fn new(desc: ExternalMemoryDesc) -> ExternalMemory {
        ExternalMemory { desc, _data: UserData::new(desc.data, desc.release) }
    }

    /// See [`ExternalMemoryDesc::load`].
    pub(crate) fn load(&self, width: Width) -> Option<u64> {
        self.desc.load(width)
    }
}
