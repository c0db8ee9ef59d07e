//! Fences that devices write.

use super::args::{borrow_fd, no_flags, non_null, read_sized};
use super::contract::c_contract;
use super::fence::{UMF_FENCE_32BIT, umf_fence};
use super::handles::{borrow, clone_ref, write_handle};
use super::page::umf_page;
use super::returns::{c_return, c_return_preserving_errno};
use crate::error::{Error, Result};
use crate::fence::Fence;
use crate::fence::device_notifier::{Data, InterruptSource};
use crate::fence::external_memory::ExternalMemoryDesc;
use crate::shm::residue::Width;
use crate::sys::{memfd, poll};
use crate::util::refs::Ref;
use std::ffi::{c_int, c_void};
use std::sync::atomic::AtomicPtr;

/// The offset of the fence's value in its page, in bytes: 8 bytes aligned to 64, or for a 32-bit fence 4 bytes aligned to 4,
/// in the machine's byte order. This is what a device has to write to, in one access of that size that is atomic, after what it
/// stands for has become visible, and never a value that is behind. UINT64_MAX for NULL, and where the value is not in the page:
/// umf_fence_create_in().
///
/// To reach it, map the descriptor of umf_page_export() from its start, with MAP_SHARED; fstat() tells its size, which is in
/// whole memory pages. It is ordinary cached memory. A device gets at it by umf_page_export_dma_buf(), or by that mapping, which
/// VK_EXT_external_memory_host, CL_MEM_USE_HOST_PTR and cuMemHostRegister() import; the page's byte n is then byte n there. A
/// device may write the values of its fences and nothing else.
///
/// Thread-safe, async-signal-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_fence_offset(fence: *const umf_fence) -> u64 {
    c_contract!(borrow(fence)).ok().and_then(Fence::offset).unwrap_or(u64::MAX)
}

/// The offset in its page, in bytes, of a value that tells the device which interrupts somebody wants: it has to interrupt
/// when it writes a value beyond the monitored one, and need not for the others. 8 bytes, UINT64_MAX while nobody waits; for
/// a 32-bit fence the low 32 of them count, and go round, unless all 64 are ones. The device has to write the fence's value first, and read the
/// monitored one after, with a full barrier between; whoever hears the interrupt calls umf_fence_notify(). Kept for fences
/// with UMF_FENCE_DEVICE only. UINT64_MAX for NULL.
///
/// Thread-safe, async-signal-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_fence_monitored_offset(fence: *const umf_fence) -> u64 {
    c_contract!(borrow(fence)).map_or(u64::MAX, Fence::monitored_offset)
}

/// Wakes the waiters of a fence whose value a device wrote: the device's interrupt handler, or whoever hears of the
/// interrupt, calls this. Waiters whose value is not reached go back to sleep. It also wakes those that were left asleep by a
/// process that died in the middle of umf_fence_signal(), between the value and the wake-up.
///
/// \param fence  the fence.
///
/// \return 0, or
///         -EINVAL  fence NULL.
///         -ESTALE  the fence ended: see umf_fence_create().
///         -EACCES  the fence is for others to signal: UMF_PAGE_SINGLE_WRITER.
///
/// Thread-safe, async-signal-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_fence_notify(fence: *mut umf_fence) -> c_int {
    c_return(|| c_contract!(borrow(fence)?).notify())
}

/// How waits of this process hear that a device wrote a fence's value: see umf_fence_set_notifier(). Grows at the end.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct umf_notifier {
    /// sizeof(struct umf_notifier).
    pub size: u32,
    /// A descriptor that becomes readable after the device interrupted; what it says is read and thrown away. It must not
    /// block (O_NONBLOCK), or another reader could keep a wait beyond its deadline. -1 for none: a zeroed struct names
    /// descriptor 0.
    pub fd: c_int,
    /// Sleeps until the device interrupted, because it wrote value or for any other reason, and at most until the deadline; what
    /// it returns does not matter. Called on the thread of a wait (so in a signal handler, if one waits there), of one wait at a
    /// time, and only while somebody waits. It must not wait for this fence, end it, or give it a notifier. NULL for none.
    /// Exactly one of fd and wait is given.
    pub wait: Option<extern "C" fn(data: *mut c_void, value: u64, abs_timeout_ns: u64) -> c_int>,
    /// For wait, as it is.
    pub data: *mut c_void,
    /// Called once, with data, when wait will not be called any more: after it was replaced or the fence's last reference of
    /// this process ended, on whatever thread. May be NULL. Not called for fd, nor where umf_fence_set_notifier() fails.
    pub release: Option<extern "C" fn(data: *mut c_void)>,
}

/// Gives a fence with UMF_FENCE_DEVICE a way to hear its device, in this process. One waiter at a time sleeps there, and wakes
/// the others, in all processes, when it returns; signals and errors of programs it hears after 50 ms at the latest. A driver
/// whose interrupt handler calls umf_fence_notify() needs none of this.
///
/// \param fence     the fence.
/// \param notifier  what to use from now on: fd is duplicated, data has to stay valid until release is called. The struct
///                  stays the caller's. NULL takes back what was given.
///
/// \return 0, or
///         -EINVAL  fence NULL, or without UMF_FENCE_DEVICE; notifier->size less than the first version of the struct; both or
///                  neither of fd and wait; an fd that blocks.
///         -EBADF   fd is not open.
///         -ENOMEM  no memory.
///         -EMFILE, -ENFILE  no file descriptor left, in the process or in the machine.
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_fence_set_notifier(
    fence: *mut umf_fence,
    notifier: *const umf_notifier,
) -> c_int {
    c_return_preserving_errno(|| {
        let fence = c_contract!(borrow(fence)?);
        if !fence.is_device() {
            return Err(Error::Invalid);
        }
        let source = if notifier.is_null() {
            None
        } else {
            Some(source(c_contract!(read_sized(notifier)?))?)
        };
        fence.notifier.set(source);
        Ok(())
    })
}

/// Makes a notifier of what the caller gave.
fn source(given: &umf_notifier) -> Result<Ref<InterruptSource>> {
    match (given.wait, given.fd) {
        (Some(wait), -1) => Ref::try_new(|| {
            Ok(InterruptSource::Callback(
                wait,
                Data { data: AtomicPtr::new(given.data), release: given.release },
            ))
        }),
        (None, fd) if fd != -1 => {
            let fd = borrow_fd(fd)?;
            poll::require_nonblocking(fd)?;
            Ref::try_new(|| Ok(InterruptSource::Fd(memfd::dup(fd)?)))
        }
        _ => Err(Error::Invalid),
    }
}

/// Memory of a driver's that a fence's value is in: see umf_fence_create_in(). Grows at the end.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct umf_mapping {
    /// sizeof(struct umf_mapping).
    pub size: u32,
    /// 0.
    pub reserved: u32,
    /// Where this process has mapped the value: 8 bytes aligned to 8, or for a 32-bit fence 4 bytes aligned to 4. To be read is
    /// enough.
    pub value: *const c_void,
    /// For release, as it is.
    pub data: *mut c_void,
    /// Called once, with data, when the library will not read there any more: after the fence's last reference of this process
    /// ended, on whatever thread. It may unmap and free. The child of a fork has a reference, a mapping and a call of its own. May be
    /// NULL. Not called where the call fails that was given this.
    pub release: Option<extern "C" fn(data: *mut c_void)>,
}

/// Creates a fence whose value is in memory of a driver's: a buffer object's mapping, host-visible Vulkan memory, pinned memory of
/// CUDA's. As a fence of umf_fence_create() with UMF_FENCE_DEVICE, but that
///
/// - only the device writes the value. The library reads it and writes nothing there, so the mapping may be write-combined,
///   uncached or read-only; umf_fence_signal(), and imports and watches that would signal, return -EACCES. A CPU may write
///   there as a device does, with one store, and then call umf_fence_notify();
/// - waits wake by words in the slot, as the kernel's futexes refuse such memory: the page is still what one waits with;
/// - whoever else opens the fence has to have the memory too: umf_fence_open_in(). The page tells nobody where it is;
/// - after the fence has ended, what is in the memory counts for nobody.
///
/// The memory has to be coherent: what the device wrote, a load finds in finite time, without any call (in Vulkan
/// VK_MEMORY_PROPERTY_HOST_COHERENT_BIT). Memory that has to be invalidated or synchronised before it is read cannot be used, and
/// the library cannot know that: its waits would not end. It has to stay readable until release is called, also when the
/// device is lost; for that, fail the fence with umf_fence_set_error(). The device writes the value in one access of its size, that is
/// atomic, after what it stands for has become visible; and never one that is behind.
///
/// \param page       the page whose slot the fence takes; it keeps a reference to it.
/// \param memory     where the value is; what is there now is what the fence begins with. The struct stays the caller's.
/// \param flags      UMF_FENCE_32BIT, or 0.
/// \param out_fence  receives a reference that the caller ends with umf_fence_unref(). Written only on success.
///
/// \return 0, or
///         -EINVAL  page, memory, memory->value or out_fence NULL; memory->size less than the first version of the struct;
///                  memory->reserved not 0; memory->value not aligned; unknown flags.
///         -ENOSPC  all slots of the page are in use.
///         -EACCES  the page is another process's: UMF_PAGE_SINGLE_WRITER.
///         -EOPNOTSUPP  the page is made with UMF_PAGE_SINGLE_WRITER: as for UMF_FENCE_DEVICE.
///         -ENOMEM  no memory.
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
        let width = match flags {
            0 => Width::Bits64,
            UMF_FENCE_32BIT => Width::Bits32,
            _ => return Err(Error::Invalid),
        };
        non_null(out_fence)?;
        let (page, memory) = c_contract!((clone_ref(page)?, external_memory(memory, width)?));
        c_contract!(write_handle(Fence::create_in(&page, width, memory)?, out_fence));
        Ok(())
    })
}

/// Opens a fence that another process created with umf_fence_create_in(), where this one has mapped the same memory. Opening the
/// same fence twice gives two references to one object, which stays with the memory that it was opened in first; what is brought
/// along later is released before the call returns.
///
/// \param page       the page, usually imported; the fence keeps a reference to it.
/// \param index      what umf_fence_index() says in the process that created the fence.
/// \param memory     where the value is. The struct stays the caller's.
/// \param flags      0.
/// \param out_fence  receives a reference that the caller ends with umf_fence_unref(). Written only on success.
///
/// \return 0, or
///         -EINVAL  page, memory, memory->value or out_fence NULL; memory->size less than the first version of the struct;
///                  memory->reserved not 0; memory->value not aligned for the fence's width; flags not 0; the fence's value is in
///                  the page.
///         -ENOENT  the page has no such index, or no fence lives there now.
///         -ENOMEM  no memory.
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
        no_flags(flags)?;
        non_null(out_fence)?;
        non_null(memory)?;
        let page = c_contract!(clone_ref(page)?);
        let fence =
            Fence::open_in(&page, index, |width| c_contract!(external_memory(memory, width)))?;
        c_contract!(write_handle(fence, out_fence));
        Ok(())
    })
}

/// Checks what the caller says about a driver's memory.
///
/// # Safety
/// `memory` is NULL or as the C contract (contract.rs) and `umf_fence_create_in` ask.
unsafe fn external_memory(memory: *const umf_mapping, width: Width) -> Result<ExternalMemoryDesc> {
    // SAFETY: by this function's contract.
    let memory = unsafe { read_sized(memory)? };
    if memory.reserved != 0 {
        return Err(Error::Invalid);
    }
    // SAFETY: what umf_fence_create_in() asks of its callers.
    unsafe { ExternalMemoryDesc::new(memory.value, width, memory.data, memory.release) }
}
