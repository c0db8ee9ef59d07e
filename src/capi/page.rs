// SPDX-License-Identifier: MIT
//! Pages.
//!
//! A page is one shared-memory object: an array of slots, each of which holds at most one fence. It
//! is passed to another process as a file descriptor, with all its fences.

use super::args::{borrow_fd, fence_errno, no_flags, non_null, read_sized};
use super::contract::c_contract;
use super::handles::{Handle, borrow, c_ref, c_unref, write_handle};
use super::returns::{c_return, c_return_preserving_errno};
use crate::error::{Error, Result};
use crate::shm::layout::MAX_FENCES;
use crate::shm::page::Page;
use crate::sys::memfd::Writers;
use crate::util::refs::Ref;
use rustix::fd::{BorrowedFd, IntoRawFd};
use std::ffi::{c_int, c_void};

/// The maximum number of fences in one page. Since 0.1.
pub const UMF_PAGE_MAX_FENCES: u32 = 1048576;
const _: () = assert!(UMF_PAGE_MAX_FENCES == MAX_FENCES);

/// A page: one shared-memory object that holds fences. Reference counted. Since 0.1.
pub struct umf_page {
    _opaque: (),
}

impl Handle for umf_page {
    type Object = Page;
}

/// Flag of umf_page_create(): only the creator can signal, fail or create fences in the page.
///
/// A process that imports the page can wait for its fences, and do no more: no consumer can forge a
/// completion. The page is sealed against writing by others (F_SEAL_FUTURE_WRITE, Linux 5.1). This
/// process, those that it forks, and a device that imported its mapping (umf_page_get_memory()) can
/// still write. Importers cannot register as waiters, so every signal makes two wake-up system
/// calls, whether or not anyone is waiting. The kernel lets a consumer keep these wake-ups from
/// other waiters. So every wait in such a page, of a thread, a loop or a queue, checks its fences
/// once a second: it ends at most a second late. Since 0.1.
pub const UMF_PAGE_SINGLE_WRITER: u64 = 1 << 0;

/// Flag of umf_page_import(): look at the page and change nothing in it.
///
/// For tools: the descriptor may be one that is open for reading alone, such as one of another
/// process's, opened in /proc/PID/fd. umf_page_query_fence() and umf_graph_write() read such a
/// page. It cannot be used: a waiter has to write to the page, so umf_fence_open() returns -EACCES,
/// as other functions do that would write. The same page, imported without this flag, is another
/// object. Since 0.1.
pub const UMF_PAGE_READ_ONLY: u64 = 1 << 1;

/// Flag of umf_page_create(): each signal records its time, for umf_fence_timestamp().
///
/// Set it for fences whose consumers measure frames: a compositor, or a driver that reports when an
/// image was presented. The page takes 128 bytes more for each fence. A signal also reads
/// CLOCK_MONOTONIC and writes the time before the value, in whichever process it happens. In pages
/// without this flag a signal does nothing for it. Since 0.1.
pub const UMF_PAGE_TIMESTAMPS: u64 = 1 << 2;

/// Create a page with room for fences.
///
/// The page is a sealed memfd that can be passed to other processes. It takes 64 bytes for each
/// fence and 4096 bytes more. This call allocates them, so later uses of the page cannot lack
/// memory. The memory is charged to the memory control group of this process. If the group has no
/// room, the kernel kills a process of the group, which may be this one. It returns an error only
/// if it may kill none.
///
/// A peer that can write to the page can free its memory: it punches a hole. The next access finds
/// 0 there, and takes memory that is charged to the process that makes it. Without memory for it,
/// the kernel kills a process of that control group or of the machine. With vm.overcommit_memory=2
/// the access raises SIGBUS instead. The library can prevent neither. Nobody can punch a hole into
/// a page with UMF_PAGE_SINGLE_WRITER.
///
/// @fence_count: the number of slots, and so of fences, 1 to UMF_PAGE_MAX_FENCES.
/// @flags: UMF_PAGE_SINGLE_WRITER and UMF_PAGE_TIMESTAMPS, or 0.
/// @out_page: receives a reference, which the caller ends with umf_page_unref(). Written only on
///     success.
///
/// Return: 0 on success, or
///   -EINVAL           @fence_count is out of range, @flags has unknown bits, or @out_page is NULL
///   -EOPNOTSUPP       UMF_PAGE_SINGLE_WRITER, and the kernel cannot keep others from writing
///   -ENOMEM           no memory or address space is left, or RLIMIT_FSIZE or RLIMIT_MEMLOCK allows
///                     no more
///   -EMFILE, -ENFILE  no file descriptor is left, in the process or in the system
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_page_create(
    fence_count: u32,
    flags: u64,
    out_page: *mut *mut umf_page,
) -> c_int {
    c_return_preserving_errno(|| {
        no_flags(flags & !(UMF_PAGE_SINGLE_WRITER | UMF_PAGE_TIMESTAMPS))?;
        let is_sealed = flags & UMF_PAGE_SINGLE_WRITER != 0;
        let writers = if is_sealed { Writers::CreatorOnly } else { Writers::Anyone };
        let has_timestamps = flags & UMF_PAGE_TIMESTAMPS != 0;
        non_null(out_page)?;
        let page = Page::create_for(fence_count, writers, has_timestamps)?;
        c_contract!(write_handle(page, out_page));
        Ok(())
    })
}

/// Open a page that another process exported.
///
/// The descriptor may come from an untrusted process: it is accepted only if its seals fix its
/// size, and the library never trusts the contents of a page. umf_page_import_limited() also bounds
/// what the page may cost. Importing the same page twice gives two references to one object. A page
/// with UMF_PAGE_SINGLE_WRITER is opened for waiting: functions that would write to it return
/// -EACCES.
///
/// The page may lack memory: its creator has not allocated it, or a peer punched a hole. Then an
/// access by any function takes memory. It is charged to this process, and can end it by SIGKILL
/// or SIGBUS, as umf_page_create() says. In a page with UMF_PAGE_SINGLE_WRITER only its creator can
/// have left holes, before it sealed the page.
///
/// @fd: a descriptor from umf_page_export(). Stays the caller's, which may close it after the call.
/// @flags: UMF_PAGE_READ_ONLY, or 0.
/// @out_page: receives a reference, which the caller ends with umf_page_unref(). Written only on
///     success.
///
/// Return: 0 on success, or
///   -EINVAL           @flags has unknown bits, or @out_page is NULL; @fd is not a sealed memfd, is
///                     too small, or is not a page of this layout version
///   -EBADF            @fd is not open
///   -EACCES           @fd is not open for reading; or it is not open for writing, although the
///                     page is not sealed against it and @flags is 0
///   -ENOMEM           no memory or address space is left
///   -EMFILE, -ENFILE  no file descriptor is left, in the process or in the system
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_page_import(
    fd: c_int,
    flags: u64,
    out_page: *mut *mut umf_page,
) -> c_int {
    c_return_preserving_errno(|| {
        let import = import_for(flags)?;
        non_null(out_page)?;
        c_contract!(write_handle(import(borrow_fd(fd)?, MAX_FENCES)?, out_page));
        Ok(())
    })
}

/// A way to import a page of a most number of fences.
type Import = fn(BorrowedFd<'_>, u32) -> Result<Ref<Page>>;

/// Reads the flags of umf_page_import().
fn import_for(flags: u64) -> Result<Import> {
    match flags {
        0 => Ok(Page::import),
        UMF_PAGE_READ_ONLY => Ok(Page::inspect),
        _ => Err(Error::Invalid),
    }
}

/// What a page of another process may cost this one.
///
/// For umf_page_import_limited(). In a zeroed struct with its size set, nothing is limited. Later
/// versions may add members at the end. Since 0.1.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct umf_page_limits {
    /// sizeof(struct umf_page_limits).
    pub size: u32,
    /// The most slots that the page may have. 0 for any number up to UMF_PAGE_MAX_FENCES.
    ///
    /// The page takes 64 bytes of address space for each slot, or 256 with UMF_PAGE_TIMESTAMPS,
    /// which its creator chose. Its memory may be charged to the
    /// process that touches it first, since a peer need not have allocated it. A tie of the page
    /// takes about a microsecond for each slot when its process dies, and umf_graph_write() and
    /// umf_fence_create() may look at all slots.
    pub max_fences: u32,
}

/// Open a page that another process exported, unless it is too large.
///
/// This does what umf_page_import() does, within limits. A peer that this process does not trust
/// makes a page of a million forged fences in a twentieth of a second.
///
/// @fd: as in umf_page_import().
/// @flags: as in umf_page_import().
/// @limits: what the page may cost. Copied.
/// @out_page: as in umf_page_import(). Written only on success.
///
/// Return: 0 on success, or
///   -EFBIG   the page has more slots than limits->max_fences, also if this process has it open
///   -EINVAL  @limits is NULL, or limits->size is less than the first version of the struct; or as
///            umf_page_import()
///   or any other error of umf_page_import()
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_page_import_limited(
    fd: c_int,
    flags: u64,
    limits: *const umf_page_limits,
    out_page: *mut *mut umf_page,
) -> c_int {
    c_return_preserving_errno(|| {
        let import = import_for(flags)?;
        non_null(out_page)?;
        let max_fences = match c_contract!(read_sized(limits)?).max_fences {
            0 => MAX_FENCES,
            most => most,
        };
        c_contract!(write_handle(import(borrow_fd(fd)?, max_fences)?, out_page));
        Ok(())
    })
}

/// Create a file descriptor of a page, to be sent to another process.
///
/// A process that has the descriptor can signal and fail every fence of the page, unless the page
/// was created with UMF_PAGE_SINGLE_WRITER.
///
/// @page: the page.
/// @flags: must be 0.
/// @out_fd: receives a new descriptor, close-on-exec, which the caller closes. Written only on
///     success.
///
/// Return: 0 on success, or
///   -EINVAL           @page or @out_fd is NULL, or @flags is not 0
///   -EMFILE, -ENFILE  no file descriptor is left, in the process or in the system
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_page_export(
    page: *mut umf_page,
    flags: u64,
    out_fd: *mut c_int,
) -> c_int {
    c_return_preserving_errno(|| {
        no_flags(flags)?;
        non_null(out_fd)?;
        let fd = c_contract!(borrow(page)?).export()?;
        c_contract!(out_fd.write(fd.into_raw_fd()));
        Ok(())
    })
}

/// Flag of umf_page_get_memory(): the caller, or its device, will write to the memory.
///
/// With it, a mapping that cannot be written is refused. Since 0.1.
pub const UMF_PAGE_MEMORY_WRITE: u64 = 1 << 0;

/// Get where this process has mapped a page.
///
/// For a device that imports memory by its address: VK_EXT_external_memory_host,
/// CL_MEM_USE_HOST_PTR, cuMemHostRegister(), or a kernel driver's userptr. The value of a fence is
/// at the address plus umf_fence_offset(). docs/devices.md says which drivers accept it.
///
/// The mapping is shared, cached memory. It stays at this address until the last reference to the
/// page and to each of its fences in this process ended. End the device's import before that. The
/// child of a fork has it at the same address. The mapping belongs to the library: do not unmap,
/// move or protect it. The caller may write what a device may write, the values of its fences, and
/// nothing else.
///
/// @page: the page.
/// @flags: UMF_PAGE_MEMORY_WRITE, or 0. Without the flag the memory may be read-only; a write to it
///     then raises SIGSEGV.
/// @out_address: receives the address of byte 0 of the page, a multiple of the size of a memory
///     page. Written only on success.
/// @out_size: receives the size in bytes, a multiple of the size of a memory page. May be NULL.
///     Written only on success.
///
/// Return: 0 on success, or
///   -EINVAL  @page or @out_address is NULL, or @flags has unknown bits
///   -EACCES  UMF_PAGE_MEMORY_WRITE, and this process imported the page, which has
///            UMF_PAGE_SINGLE_WRITER, or imported it with UMF_PAGE_READ_ONLY
///
/// Thread-safe and async-signal-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_page_get_memory(
    page: *mut umf_page,
    flags: u64,
    out_address: *mut *mut c_void,
    out_size: *mut u64,
) -> c_int {
    c_return(|| {
        no_flags(flags & !UMF_PAGE_MEMORY_WRITE)?;
        non_null(out_address)?;
        let page = c_contract!(borrow(page)?);
        if flags & UMF_PAGE_MEMORY_WRITE != 0 && !page.is_writable() {
            return Err(Error::Denied);
        }
        let (address, size) = page.memory();
        c_contract!(out_address.write(address.as_ptr().cast()));
        if !out_size.is_null() {
            c_contract!(out_size.write(size));
        }
        Ok(())
    })
}

/// Create a dma-buf of a page, so that a GPU can write its fences.
///
/// A GPU driver imports the dma-buf (PRIME, VK_EXT_external_memory_dma_buf), and the GPU then
/// writes each value at umf_fence_offset(). The dma-buf is the same memory as the page. It is made
/// with /dev/udmabuf (Linux 4.20; many distributions let only root or the user at the seat open
/// it). The memory stays pinned as long as the dma-buf exists, even after the page is closed.
///
/// A process that has the dma-buf can write to the whole page: pass it only where every fence may
/// be signaled and failed. umf_page_import() does not accept it, and the kernel's futexes refuse
/// its mappings: a process that waits needs the descriptor of umf_page_export(). Some drivers
/// import only memory of their own; the import then fails.
///
/// @page: the page.
/// @flags: must be 0.
/// @out_fd: receives a new descriptor, close-on-exec, which the caller closes. Written only on
///     success.
///
/// Return: 0 on success, or
///   -EINVAL           @page or @out_fd is NULL, or @flags is not 0
///   -EACCES           the page has UMF_PAGE_SINGLE_WRITER, or was imported with
///                     UMF_PAGE_READ_ONLY: the holder of a dma-buf could write to it
///   -EOPNOTSUPP       there is no /dev/udmabuf, this process may not open it, or the page is
///                     larger than its size_limit_mb (64 MiB by default in Linux 6.12)
///   -ENOMEM           no memory is left
///   -EMFILE, -ENFILE  no file descriptor is left, in the process or in the system
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_page_export_dma_buf(
    page: *mut umf_page,
    flags: u64,
    out_fd: *mut c_int,
) -> c_int {
    c_return_preserving_errno(|| {
        no_flags(flags)?;
        non_null(out_fd)?;
        let fd = c_contract!(borrow(page)?).export_dma_buf()?;
        c_contract!(out_fd.write(fd.into_raw_fd()));
        Ok(())
    })
}

/// Fail every fence of a page, because the device that writes them is lost.
///
/// One call in place of umf_fence_set_error() for each fence that lives in the page now, whichever
/// process created it. All errors are written before the first waiter wakes up, and the waiters of
/// each fence are woken once. So a waiter that finds one fence failed finds the others failed too.
/// As with umf_fence_set_error(), values that are reached stay reached, the first error of a fence
/// stays, and values that a device still writes count.
///
/// The call does not reach fences that are created later, or by another thread during the call:
/// stop creating first. Give each device a page of its own, and let no peer create fences there. A
/// peer cannot be told from the device's driver.
///
/// The call reads every slot twice, and makes two wake-up system calls for each fence that lives:
/// about a microsecond each.
///
/// @page: the page.
/// @error: a negative errno, -4095 to -1, such as -EIO.
///
/// Return: 0 on success, also if no fence lives in the page, or
///   -EINVAL  @page is NULL, or @error is out of range
///   -EACCES  this process imported the page, which has UMF_PAGE_SINGLE_WRITER, or imported it with
///            UMF_PAGE_READ_ONLY
///
/// Thread-safe and async-signal-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_page_set_error(page: *mut umf_page, error: c_int) -> c_int {
    c_return(|| {
        let error = fence_errno(error)?;
        c_contract!(borrow(page)?).set_error(error)
    })
}

/// Free the slots whose creators died.
///
/// A process that dies without umf_fence_unref() leaves its slots in use, also if it is killed
/// within a call that creates or ends a fence. This call ends the fences in such slots: waits for
/// values that they have not reached return -ESTALE. The slots become free for umf_fence_create().
/// Fences with UMF_FENCE_LASTING stay.
///
/// A slot is freed only if the process that created its fence is known to be dead. There are two
/// ways to know it. A process of this process's pid namespace has exited; if another one has its id
/// now, that has to exit too. Or a process of any pid namespace exited while the fence or the page
/// was tied to it, by a pidfd or with UMF_TIE_PROCESS (umf_loop_tie_fence(), umf_loop_tie_page()),
/// in this process or another one that can write to the page. A tie to a connection does not count:
/// its end does not tell which process died.
///
/// Each slot names the creator of its fence by process id, pid namespace and start time, as the
/// creator read them in /proc when it created its first fence. If it had no /proc, its slots stay
/// in use. A peer that can write to the page can write another name there. It can so end the fence
/// in that slot, or keep the slot in use, and could do both without this call.
///
/// The call reads every slot, and asks the kernel about the first 4096 processes that it finds
/// named: call it again as long as it frees slots. It makes two wake-up system calls for each slot
/// that it frees.
///
/// @page: the page.
/// @flags: must be 0.
/// @out_count: receives the number of slots that were freed. NULL if the caller does not want it.
///     Written only on success.
///
/// Return: 0 on success, also if no slot was freed, or
///   -EINVAL  @page is NULL, or @flags is not 0
///   -EACCES  this process imported the page, which has UMF_PAGE_SINGLE_WRITER, or imported it with
///            UMF_PAGE_READ_ONLY
///   -ENOMEM  no memory is left
///
/// Thread-safe, also while other processes create, end and reclaim. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_page_reclaim(
    page: *mut umf_page,
    flags: u64,
    out_count: *mut u32,
) -> c_int {
    c_return_preserving_errno(|| {
        no_flags(flags)?;
        let count = c_contract!(borrow(page)?).reclaim()?;
        if !out_count.is_null() {
            c_contract!(out_count.write(count));
        }
        Ok(())
    })
}

/// Get the flags of a page.
///
/// @page: the page.
///
/// Return: UMF_PAGE_SINGLE_WRITER if the page is sealed against writing by all but its creator,
/// UMF_PAGE_TIMESTAMPS if it was created with that flag, and UMF_PAGE_READ_ONLY if it was imported
/// with that flag. 0 for NULL.
///
/// Thread-safe and async-signal-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_page_flags(page: *const umf_page) -> u64 {
    let Ok(page) = c_contract!(borrow(page)) else { return 0 };
    let is_sealed = page.writers() == Writers::CreatorOnly;
    (if is_sealed { UMF_PAGE_SINGLE_WRITER } else { 0 })
        | (if page.is_inspected() { UMF_PAGE_READ_ONLY } else { 0 })
        | (if page.has_timestamps() { UMF_PAGE_TIMESTAMPS } else { 0 })
}

/// Get the number of fences that a page has room for.
///
/// @page: the page.
///
/// Return: the number. 0 for NULL.
///
/// Thread-safe and async-signal-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_page_fence_count(page: *const umf_page) -> u32 {
    c_contract!(borrow(page)).map_or(0, Page::fence_count)
}

/// Add a reference to a page.
///
/// @page: the page, or NULL.
///
/// Return: @page. The caller ends the new reference with umf_page_unref().
///
/// Thread-safe and async-signal-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_page_ref(page: *mut umf_page) -> *mut umf_page {
    c_contract!(c_ref(page))
}

/// End a reference to a page.
///
/// The page is unmapped and closed when its last reference and its last fence are gone: a fence
/// keeps its page.
///
/// @page: the page. NULL does nothing.
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_page_unref(page: *mut umf_page) {
    c_contract!(c_unref(page))
}
