//! Pages.

use super::args::{borrow_fd, no_flags, non_null};
use super::contract::c_contract;
use super::handles::{Handle, borrow, c_ref, c_unref, write_handle};
use super::returns::c_return_preserving_errno;
use crate::error::Error;
use crate::shm::layout::MAX_FENCES;
use crate::shm::page::Page;
use crate::sys::memfd::Writers;
use rustix::fd::IntoRawFd;
use std::ffi::c_int;

/// The most fences of one page. Since 0.1.
pub const UMF_PAGE_MAX_FENCES: u32 = 1048576;
const _: () = assert!(UMF_PAGE_MAX_FENCES == MAX_FENCES);

/// One shared-memory object that holds fences. Reference counted.
pub struct umf_page {
    _opaque: (),
}

impl Handle for umf_page {
    type Object = Page;
}

/// In the flags of umf_page_create(): whoever is given the page can wait for its fences, and not signal, fail or create any: no
/// consumer can forge a completion. The page is sealed against writing by others (F_SEAL_FUTURE_WRITE, Linux 5.1); this process,
/// and those it forks, go on writing. Their waiters cannot leave word, so each signal has to wake without knowing whether anybody
/// sleeps: two system calls. Since 0.1.
pub const UMF_PAGE_SINGLE_WRITER: u64 = 1 << 0;

/// Creates a page with room for fences, in memory that other processes can be given (a sealed memfd): 64 bytes a
/// fence and 4096 beside them, allocated here and now.
///
/// \param fence_count  how many fences, 1 to UMF_PAGE_MAX_FENCES.
/// \param flags        UMF_PAGE_SINGLE_WRITER, or 0.
/// \param out_page     receives a reference that the caller ends with umf_page_unref(). Written only on success.
///
/// \return 0, or
///         -EINVAL  fence_count out of range, unknown flags, out_page NULL.
///         -EOPNOTSUPP  the kernel cannot keep others from writing.
///         -ENOMEM  no memory or address space.
///         -EMFILE, -ENFILE  no file descriptor left, in the process or in the machine.
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_page_create(
    fence_count: u32,
    flags: u64,
    out_page: *mut *mut umf_page,
) -> c_int {
    c_return_preserving_errno(|| {
        let writers = match flags {
            0 => Writers::Anyone,
            UMF_PAGE_SINGLE_WRITER => Writers::CreatorOnly,
            _ => return Err(Error::Invalid),
        };
        non_null(out_page)?;
        c_contract!(write_handle(Page::create_for(fence_count, writers)?, out_page));
        Ok(())
    })
}

/// Opens the page behind a file descriptor that another process exported. The descriptor may come from anybody: it is
/// taken only if its seals fix its size, and nothing in the page is ever trusted. Importing the same page twice gives two
/// references to one object. One that is sealed against writing (UMF_PAGE_SINGLE_WRITER) is opened for waiting: what would write
/// to it returns -EACCES.
///
/// \param fd        stays the caller's, who may close it afterwards.
/// \param flags     0.
/// \param out_page  receives a reference that the caller ends with umf_page_unref(). Written only on success.
///
/// \return 0, or
///         -EINVAL  flags not 0, out_page NULL; fd is no sealed memfd, too small, or no page of this layout version.
///         -EBADF   fd is not open.
///         -EACCES  fd is not open for reading, or not for writing although the page is not sealed against it.
///         -ENOMEM  no memory or address space.
///         -EMFILE, -ENFILE  no file descriptor left, in the process or in the machine.
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_page_import(
    fd: c_int,
    flags: u64,
    out_page: *mut *mut umf_page,
) -> c_int {
    c_return_preserving_errno(|| {
        no_flags(flags)?;
        non_null(out_page)?;
        c_contract!(write_handle(Page::import(borrow_fd(fd)?)?, out_page));
        Ok(())
    })
}

/// Gives out a file descriptor of the page, with all its fences, to be sent to another process. Whoever has it can signal
/// and fail every fence of the page, unless it was created with UMF_PAGE_SINGLE_WRITER.
///
/// \param page    the page.
/// \param flags   0.
/// \param out_fd  receives a new descriptor, close-on-exec, that the caller closes. Written only on success.
///
/// \return 0, or
///         -EINVAL  page or out_fd NULL, flags not 0.
///         -EMFILE, -ENFILE  no file descriptor left, in the process or in the machine.
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

/// Gives out the page as a dma-buf, which a GPU's driver can import (PRIME, VK_EXT_external_memory_dma_buf) so that the GPU writes
/// fences at umf_fence_offset(). It is the same memory, made of /dev/udmabuf (Linux 4.20; many distributions let only root or
/// the user at the seat open it), and pinned as long as the dma-buf exists, also beyond the page. Whoever has it can write to the
/// whole page: only to be given to who may signal and fail every fence. It is no page to umf_page_import(), and the kernel's
/// futexes refuse its mappings, so a process that waits needs the descriptor of umf_page_export(). Some drivers import no memory
/// that is not theirs; they say so at the import.
///
/// \param page    the page.
/// \param flags   0.
/// \param out_fd  receives a new descriptor, close-on-exec, that the caller closes. Written only on success.
///
/// \return 0, or
///         -EINVAL  page or out_fd NULL, flags not 0.
///         -EACCES  the page was made with UMF_PAGE_SINGLE_WRITER: nobody gets a dma-buf of it, as its holder could write.
///         -EOPNOTSUPP  there is no /dev/udmabuf, this process may not open it, or the page is larger than its size_limit_mb
///                  (64 MiB by default in Linux 6.12).
///         -ENOMEM  no memory.
///         -EMFILE, -ENFILE  no file descriptor left, in the process or in the machine.
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

/// UMF_PAGE_SINGLE_WRITER if the page is sealed against writing by others than who created it, else 0. 0 for NULL.
///
/// Thread-safe, async-signal-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_page_flags(page: *const umf_page) -> u64 {
    let writers = c_contract!(borrow(page)).map_or(Writers::Anyone, Page::writers);
    if writers == Writers::CreatorOnly { UMF_PAGE_SINGLE_WRITER } else { 0 }
}

/// How many fences the page has room for. 0 for NULL.
///
/// Thread-safe, async-signal-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_page_fence_count(page: *const umf_page) -> u32 {
    c_contract!(borrow(page)).map_or(0, Page::fence_count)
}

/// Another reference to a page, to be ended with umf_page_unref(). Returns page; NULL for NULL.
///
/// Thread-safe, async-signal-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_page_ref(page: *mut umf_page) -> *mut umf_page {
    c_contract!(c_ref(page))
}

/// Ends a reference to a page. The page is unmapped and closed with the last, and with the last of its fences: a fence
/// keeps its page. NULL does nothing.
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_page_unref(page: *mut umf_page) {
    c_contract!(c_unref(page))
}
