//! Fences.

use super::args::{no_flags, non_null};
use super::contract::c_contract;
use super::handles::{Handle, borrow, c_ref, c_unref, clone_ref, write_handle};
use super::page::umf_page;
use super::returns::{c_return, c_return_preserving_errno};
use crate::error::{Error, FenceErrno, Result};
use crate::fence::Fence;
use crate::shm::generation::Kind;
use crate::shm::residue::Width;
use std::ffi::c_int;

/// One fence of a page: a value that only grows, or goes round if it has 32 bits. Reference counted.
pub struct umf_fence {
    _opaque: (),
}

impl Handle for umf_fence {
    type Object = Fence;
}

/// In the flags of umf_fence_create(): the value has 32 bits and goes round, as hardware's sequence numbers do. A value is
/// further than another if it is less than 2^31 ahead of it, and all comparisons are meant so. What this process has once
/// seen reached is not held on to, as it is for 64 bits: every wait looks anew. Since 0.1.
pub const UMF_FENCE_32BIT: u64 = 1 << 0;

/// In the flags of umf_fence_create(): a device writes the value, without waking anybody. umf_fence_wait() uses what
/// umf_fence_set_notifier() was given; else, and in umf_wait(), until somebody calls umf_fence_notify(), they look at the value from time to
/// time: after an eighth of the time waited so far, never more than 4 ms. Where its waits of late took about as long, umf_fence_wait()
/// looks more closely when the value is due, and less often before. Since 0.1.
pub const UMF_FENCE_DEVICE: u64 = 1 << 1;

/// In the flags of umf_fence_create(): the fence does not end with its creator's last reference to it, but lives as long as its
/// page, which is as long as anybody has that open or a descriptor of it, and can open the fence again. Its slot is never
/// free again. For pages that are handed over with all that is in them, as the payload of a Vulkan semaphore is. Since 0.1.
pub const UMF_FENCE_LASTING: u64 = 1 << 2;

/// Creates a fence in a free slot of a page. It lives until this process ends its last reference to it (but see
/// UMF_FENCE_LASTING); then its waiters everywhere get -ESTALE, and the slot is free for a new fence, which handles on the old
/// one never see. What was signalled before the end stays so for those who look before the slot is used again: slots take
/// turns, so that is as far away as the page has slots free. A process that dies without umf_fence_unref() ends nothing: its
/// slots stay in use, and its waiters asleep until somebody fails the fences it owed.
///
/// \param page       the page; the fence keeps a reference to it.
/// \param value      the value to start with: every wait for it or less is met.
/// \param flags      UMF_FENCE_* bits, or 0.
/// \param out_fence  receives a reference that the caller ends with umf_fence_unref(). Written only on success.
///
/// \return 0, or
///         -EINVAL  page or out_fence NULL, unknown flags, a value above UINT32_MAX for a 32-bit fence.
///         -ENOSPC  all slots of the page are in use.
///         -EACCES  the page is another process's: UMF_PAGE_SINGLE_WRITER.
///         -EOPNOTSUPP  UMF_FENCE_DEVICE in such a page: its waiters could not tell the device that they wait.
///         -ENOMEM  no memory.
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_fence_create(
    page: *mut umf_page,
    value: u64,
    flags: u64,
    out_fence: *mut *mut umf_fence,
) -> c_int {
    c_return_preserving_errno(|| {
        if flags & !(UMF_FENCE_32BIT | UMF_FENCE_DEVICE | UMF_FENCE_LASTING) != 0 {
            return Err(Error::Invalid);
        }
        let width = if flags & UMF_FENCE_32BIT != 0 { Width::Bits32 } else { Width::Bits64 };
        let kind = Kind { width, device: flags & UMF_FENCE_DEVICE != 0, ..Kind::PLAIN };
        non_null(out_fence)?;
        let page = c_contract!(clone_ref(page)?);
        let lasting = flags & UMF_FENCE_LASTING != 0;
        let create = if lasting { Fence::create_lasting } else { Fence::create };
        c_contract!(write_handle(create(&page, kind, value)?, out_fence));
        Ok(())
    })
}

/// Opens the fence that another process created, by the index that process sent. Opening the same fence twice gives two
/// references to one object.
///
/// \param page       the page, usually imported; the fence keeps a reference to it.
/// \param index      what umf_fence_index() says in the process that created the fence.
/// \param flags      0.
/// \param out_fence  receives a reference that the caller ends with umf_fence_unref(). Written only on success.
///
/// \return 0, or
///         -EINVAL  page or out_fence NULL, flags not 0.
///         -ENOENT  the page has no such index, or no fence lives there now.
///         -EOPNOTSUPP  the value is not in the page: umf_fence_open_in(). Not where the fence is open in this process.
///         -ENOMEM  no memory.
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_fence_open(
    page: *mut umf_page,
    index: u32,
    flags: u64,
    out_fence: *mut *mut umf_fence,
) -> c_int {
    c_return_preserving_errno(|| {
        no_flags(flags)?;
        non_null(out_fence)?;
        let page = c_contract!(clone_ref(page)?);
        c_contract!(write_handle(Fence::open(&page, index)?, out_fence));
        Ok(())
    })
}

/// Another reference to a fence, to be ended with umf_fence_unref(). Returns fence; NULL for NULL.
///
/// Thread-safe, async-signal-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_fence_ref(fence: *mut umf_fence) -> *mut umf_fence {
    c_contract!(c_ref(fence))
}

/// Ends a reference to a fence. With the last one of the process that created it, the fence ends, if it is not
/// UMF_FENCE_LASTING: see umf_fence_create(). Nobody may be waiting through this reference. NULL does nothing.
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_fence_unref(fence: *mut umf_fence) {
    c_contract!(c_unref(fence))
}

/// Which slot of its page the fence lives in. Send it beside the page's descriptor, for umf_fence_open(). UINT32_MAX for
/// NULL.
///
/// Thread-safe, async-signal-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_fence_index(fence: *const umf_fence) -> u32 {
    c_contract!(borrow(fence)).map_or(u32::MAX, Fence::index)
}

/// Signals: moves the value forward, and wakes who waited for it or for less. The value it has already is accepted and
/// changes nothing.
///
/// \param fence  the fence.
/// \param value  the new value.
///
/// \return 0, or
///         -EINVAL      fence NULL, the fence is beyond value, or value above UINT32_MAX for a 32-bit fence. Nothing changed.
///         -EIO         the fence carries an error: see umf_fence_set_error(). Nothing changed.
///         -EOWNERDEAD  the same, the error being EOWNERDEAD.
///         -ESTALE      the fence ended: see umf_fence_create().
///         -EACCES  the fence is for others to signal: UMF_PAGE_SINGLE_WRITER, umf_fence_create_in().
///
/// Thread-safe, async-signal-safe. No system call unless somebody sleeps for it. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_fence_signal(fence: *mut umf_fence, value: u64) -> c_int {
    // Without `c_return`: nothing in here can panic, allocate or touch errno, and it is the hot path.
    match c_contract!(borrow(fence)).and_then(|fence| fence.signal(value)) {
        Ok(()) => 0,
        Err(error) => error.code(),
    }
}

/// The fence's value. A value that this process once saw, by this call or by a wait, stays: nothing a peer writes makes
/// it smaller here. What the signaller did before it signalled this value is visible afterwards. 0 for NULL.
///
/// Thread-safe, async-signal-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_fence_value(fence: *const umf_fence) -> u64 {
    c_contract!(borrow(fence)).map_or(0, Fence::value)
}

/// Says that work was submitted which will signal value, and wakes who waits for that with UMF_WAIT_PENDING. A promise
/// only: nobody enforces it. A smaller value than the pending one changes nothing.
///
/// \param fence  the fence.
/// \param value  the value that will be signalled.
///
/// \return 0, or
///         -EINVAL      fence NULL, or value above UINT32_MAX for a 32-bit fence.
///         -EIO         the fence carries an error: see umf_fence_set_error(). Nothing changed.
///         -EOWNERDEAD  the same, the error being EOWNERDEAD.
///         -ESTALE      the fence ended: see umf_fence_create().
///         -EACCES  the fence is for others to signal: UMF_PAGE_SINGLE_WRITER.
///
/// Thread-safe, async-signal-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_fence_submit(fence: *mut umf_fence, value: u64) -> c_int {
    c_return(|| c_contract!(borrow(fence)?).submit(value))
}

/// The highest value that is reached or that umf_fence_submit() announced. 0 for NULL.
///
/// Thread-safe, async-signal-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_fence_pending_value(fence: *const umf_fence) -> u64 {
    c_contract!(borrow(fence)).map_or(0, Fence::pending_value)
}

/// Fails a fence: umf_fence_signal() moves it no further; what a device still writes counts. Every wait, in every process, for
/// a value it has not reached ends with -EIO (or -EOWNERDEAD, if that is the error), and umf_fence_error() tells the error.
/// Waits for values it has reached are met as before, and with UMF_WAIT_PENDING those that were submitted before. The first
/// error stays; another wakes everybody once more.
///
/// \param fence  the fence.
/// \param error  a negative errno, -4095 to -1, as in the kernel's dma_fence_set_error().
///
/// \return 0, or
///         -EINVAL  fence NULL, or error out of range.
///         -ESTALE  the fence ended: see umf_fence_create().
///         -EACCES  the fence is for others to signal: UMF_PAGE_SINGLE_WRITER.
///
/// Thread-safe, async-signal-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_fence_set_error(fence: *mut umf_fence, error: c_int) -> c_int {
    c_return(|| c_contract!(borrow(fence)?).set_error(fence_errno(error)?))
}

/// The error that a fence carries.
///
/// \param fence      the fence.
/// \param out_error  receives 0 for none, else the negative errno given to umf_fence_set_error() or brought by the kernel
///                   fence that was imported. Written only on success.
///
/// \return 0, or
///         -EINVAL  fence or out_error NULL.
///         -ESTALE  the fence ended: see umf_fence_create().
///
/// Thread-safe, async-signal-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_fence_error(fence: *const umf_fence, out_error: *mut c_int) -> c_int {
    c_return(|| {
        non_null(out_error)?;
        let error = c_contract!(borrow(fence)?).error()?;
        c_contract!(out_error.write(error.map_or(0, |errno| -(errno.get() as c_int))));
        Ok(())
    })
}

/// The error that C gives a fence: negative, as in the kernel.
pub(super) fn fence_errno(error: c_int) -> Result<FenceErrno> {
    let errno = if error < 0 { FenceErrno::new(error.unsigned_abs()) } else { None };
    errno.ok_or(Error::Invalid)
}
