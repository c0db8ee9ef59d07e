// SPDX-License-Identifier: MIT
//! Fences that a device writes.
//!
//! A device can write the value of a fence in the page, at umf_fence_offset(), or in memory that
//! its driver mapped, with umf_fence_create_in(). Its write wakes no waiter: the driver calls
//! umf_page_notify() or umf_fence_notify() after an interrupt, or gives the waits of its process a
//! notifier (umf_notifier_create()). Without either, waits poll (UMF_FENCE_DEVICE).

use super::args::{no_flags, non_null, read_sized};
use super::contract::c_contract;
use super::fence::{UMF_FENCE_32BIT, UMF_FENCE_UNORDERED, umf_fence};
use super::handles::{borrow, clone_ref, write_handle};
use super::page::umf_page;
use super::returns::{c_return, c_return_preserving_errno};
use crate::error::{Error, Result};
use crate::fence::Fence;
use crate::fence::external_memory::ExternalMemoryDesc;
use crate::shm::generation::Kind;
use crate::shm::residue::Width;
use std::ffi::{c_int, c_void};

/// Get the offset of a fence's value in its page.
///
/// The value is 8 bytes aligned to 64, or for a 32-bit fence 4 bytes aligned to 4, in the byte
/// order of the machine. A device writes it with one atomic access of that size, after the results
/// of its work have become visible. It never writes a smaller value. It may write the values of its
/// fences and nothing else.
///
/// A CPU reaches the value at umf_page_get_memory() plus the offset. It is ordinary cached memory.
/// A device reaches it through umf_page_export_dma_buf(), or through that mapping, if its driver
/// imports the memory of a file by its address. The kernel's i915 and xe do. amdgpu and radeon
/// accept anonymous memory only; amdgpu refuses the mapping with -EPERM. nouveau, msm, panthor and
/// asahi have no such call. docs/devices.md has the list. A device that cannot import the page
/// writes into a buffer of its own: umf_fence_create_in(). Byte n of the page is byte n in the
/// mapping and in the dma-buf.
///
/// @fence: the fence.
///
/// Return: the offset in bytes. UINT64_MAX for NULL, and if the value is not in the page
/// (umf_fence_create_in()).
///
/// Thread-safe and async-signal-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_fence_offset(fence: *const umf_fence) -> u64 {
    c_contract!(borrow(fence)).ok().and_then(Fence::offset).unwrap_or(u64::MAX)
}

/// Get the offset of the value that tells a device when to interrupt.
///
/// The device has to interrupt when it writes a value beyond the monitored one, and need not
/// interrupt otherwise. The monitored value is 8 bytes, UINT64_MAX while no waiter sleeps. For a
/// 32-bit fence its low 32 bits count, and wrap around, unless all 64 bits are ones. The device
/// first writes the fence's value, then reads the monitored value, with a full barrier between. The
/// handler of the interrupt calls umf_fence_notify(). Only fences with UMF_FENCE_DEVICE have their
/// monitored value kept up to date. Of a fence with UMF_FENCE_UNORDERED it is 0 while a waiter
/// sleeps: the device interrupts for each value then, also for 0.
///
/// @fence: the fence.
///
/// Return: the offset in the page, in bytes. UINT64_MAX for NULL, and in a page with
/// UMF_PAGE_SINGLE_WRITER: other processes cannot tell the device there that they wait, so it has
/// to interrupt for each value.
///
/// Thread-safe and async-signal-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_fence_monitored_offset(fence: *const umf_fence) -> u64 {
    c_contract!(borrow(fence)).ok().and_then(Fence::monitored_offset).unwrap_or(u64::MAX)
}

/// Wake the waiters of a fence whose value a device wrote.
///
/// The code that handles the device's interrupt calls this, or umf_page_notify(), which looks for
/// the fences that were written. Waiters whose value is not reached go back to sleep. The call also
/// wakes waiters that a process left asleep when it died within umf_fence_signal(), after it wrote
/// the value and before it woke them.
///
/// @fence: the fence.
///
/// Return: 0 on success, or
///   -EINVAL  @fence is NULL
///   -ESTALE  the fence ended: see umf_fence_create()
///   -EACCES  this process may not wake the waiters: UMF_PAGE_SINGLE_WRITER
///
/// Thread-safe and async-signal-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_fence_notify(fence: *mut umf_fence) -> c_int {
    c_return(|| c_contract!(borrow(fence)?).notify())
}

/// Where this process mapped a fence's value in memory of a driver.
///
/// For umf_fence_create_in() and umf_fence_open_in(). Later versions may add members at the end.
/// Since 0.1.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct umf_mapping {
    /// sizeof(struct umf_mapping).
    pub size: u32,
    /// Must be 0.
    pub reserved: u32,
    /// The address of the value. It only has to be readable.
    ///
    /// The value is 8 bytes aligned to 8, or for a 32-bit fence 4 bytes aligned to 4.
    pub value: *const c_void,
    /// Passed to release.
    pub data: *mut c_void,
    /// Called once, on any thread, when the library will not read the value again. See "Release
    /// functions" above.
    ///
    /// That is after this process ended its last reference to the fence. The function may unmap and
    /// free the memory. The child of a fork has a reference, a mapping and a call of its own. May
    /// be NULL. Not called if the function that was given the struct fails.
    pub release: Option<extern "C" fn(data: *mut c_void)>,
}

/// Flag of umf_fence_create_in() and umf_fence_open_in(): a value of all ones means that the device
/// is lost.
///
/// Memory of a device that was removed or reset may read as all ones. Without this flag UINT64_MAX
/// is a value, which the process remembers as reached for ever. With it, such a read counts as no
/// value: no wait ends by it, and umf_fence_value() returns what was seen before. The driver then
/// fails the fence with umf_fence_set_error(), which ends the waits. The device never writes
/// UINT64_MAX to such a fence. Each process gives the flag for its own mapping. Only for 64-bit
/// fences: a 32-bit value wraps, so all ones is one of its values. Since 0.1.
pub const UMF_FENCE_ONES_LOST: u64 = 1 << 3;

/// Create a fence whose value is in memory of a driver.
///
/// The memory is, for example, the mapping of a buffer object, host-visible Vulkan memory, or
/// pinned memory of CUDA. The fence is like one that umf_fence_create() makes with
/// UMF_FENCE_DEVICE, with these differences:
///
/// - Only the device writes the value. The library reads the memory and never writes it, so the
///   mapping may be write-combined, uncached or read-only. umf_fence_signal(), and imports and
///   watches that would signal the fence, return -EACCES. A CPU may write the value as a device
///   does, with one store, and then call umf_fence_notify().
/// - Waiters sleep on words in the slot, since the kernel's futexes refuse such memory. They still
///   need the page.
/// - Another process that opens the fence has to map the memory too, and call umf_fence_open_in().
///   The page does not tell where the memory is.
/// - After the fence ended, the contents of the memory count for no process.
///
/// The memory must be coherent: a load finds what the device wrote in finite time, without any call
/// (in Vulkan: VK_MEMORY_PROPERTY_HOST_COHERENT_BIT). Do not use memory that has to be invalidated
/// or synchronized before a read: the library cannot detect it, and its waits would not end. The
/// memory must stay readable until release is called, even when the device is lost; in that case,
/// fail the fence with umf_fence_set_error(), and see UMF_FENCE_ONES_LOST. The device writes the
/// value with one atomic access of its size, after the results of its work have become visible. It
/// never writes a smaller value, unless the fence has UMF_FENCE_UNORDERED.
///
/// @page: the page in which the fence takes a slot. The fence keeps a reference to it.
/// @memory: where the value is; its current contents are the initial value. The struct stays the
///     caller's.
/// @flags: UMF_FENCE_32BIT, UMF_FENCE_UNORDERED, UMF_FENCE_ONES_LOST, or 0.
/// @out_fence: receives a reference, which the caller ends with umf_fence_unref(). Written only on
///     success.
///
/// Return: 0 on success, or
///   -EINVAL  @page, @memory, memory->value or @out_fence is NULL; memory->size is less than the
///            first version of the struct; memory->reserved is not 0; memory->value is not aligned;
///            @flags has unknown bits, or more than one; or the device is lost already
///   -ENOSPC  all slots of the page are in use
///   -EACCES  this process imported the page, which has UMF_PAGE_SINGLE_WRITER, or imported it with
///            UMF_PAGE_READ_ONLY
///   -ENOMEM  no memory is left
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_fence_create_in(
    page: *mut umf_page,
    memory: *const umf_mapping,
    flags: u64,
    out_fence: *mut *mut umf_fence,
) -> c_int {
    c_return_preserving_errno(|| {
        let kind = match flags {
            0 | UMF_FENCE_ONES_LOST => Kind::PLAIN,
            UMF_FENCE_32BIT => Kind { width: Width::Bits32, ..Kind::PLAIN },
            UMF_FENCE_UNORDERED => Kind { unordered: true, ..Kind::PLAIN },
            _ => return Err(Error::Invalid),
        };
        non_null(out_fence)?;
        let (page, memory) =
            c_contract!((clone_ref(page)?, external_memory(memory, kind.width, flags)?));
        c_contract!(write_handle(Fence::create_in(&page, kind, memory)?, out_fence));
        Ok(())
    })
}

/// Open a fence whose value is in memory of a driver.
///
/// Another process created the fence with umf_fence_create_in(), and this process has mapped the
/// same memory. Opening the same fence twice gives two references to one object, which keeps the
/// memory that it was first opened with. A mapping that is given later is released before the call
/// returns.
///
/// @page: the page, usually an imported one. The fence keeps a reference to it.
/// @index: what umf_fence_index() returns in the process that created the fence.
/// @memory: where the value is. The struct stays the caller's.
/// @flags: UMF_FENCE_ONES_LOST, or 0.
/// @out_fence: receives a reference, which the caller ends with umf_fence_unref(). Written only on
///     success.
///
/// Return: 0 on success, or
///   -EINVAL  @page, @memory, memory->value or @out_fence is NULL; memory->size is less than the
///            first version of the struct; memory->reserved is not 0; memory->value is not aligned
///            for the fence's width; @flags has unknown bits, or does not fit a 32-bit fence; the
///            fence's value is in the page; or the device is lost already
///   -EACCES  the page was imported with UMF_PAGE_READ_ONLY
///   -ENOENT  the page has no such index, or no fence lives there now
///   -ENOMEM  no memory is left
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_fence_open_in(
    page: *mut umf_page,
    index: u32,
    memory: *const umf_mapping,
    flags: u64,
    out_fence: *mut *mut umf_fence,
) -> c_int {
    c_return_preserving_errno(|| {
        no_flags(flags & !UMF_FENCE_ONES_LOST)?;
        non_null(out_fence)?;
        non_null(memory)?;
        let page = c_contract!(clone_ref(page)?);
        page.check_usable()?;
        let fence = Fence::open_in(&page, index, |width| {
            c_contract!(external_memory(memory, width, flags))
        })?;
        c_contract!(write_handle(fence, out_fence));
        Ok(())
    })
}

/// Checks what the caller says about a driver's memory.
///
/// # Safety
/// `memory` is NULL or as the C contract (contract.rs) and `umf_fence_create_in` ask.
unsafe fn external_memory(
    memory: *const umf_mapping,
    width: Width,
    flags: u64,
) -> Result<ExternalMemoryDesc> {
    // SAFETY: by this function's contract.
    let memory = unsafe { read_sized(memory)? };
    let ones_are_lost = flags & UMF_FENCE_ONES_LOST != 0;
    if memory.reserved != 0 || ones_are_lost && width == Width::Bits32 {
        return Err(Error::Invalid);
    }
    // SAFETY: what umf_fence_create_in() asks of its callers.
    let desc =
        unsafe { ExternalMemoryDesc::new(memory.value, width, memory.data, memory.release)? };
    Ok(if ones_are_lost { desc.with_ones_lost() } else { desc })
}
