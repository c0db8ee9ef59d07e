use super::page::umf_page;
use super::{
    Handle, answer, answer_keeping_errno, borrow, hand_out, lent, no_flags, reference, required,
    share, unreference,
};
use crate::error::{Error, FenceErrno, Result};
use crate::fence::Fence;
use crate::fence::device_notifier::{Data, InterruptSource};
use crate::fence::external_memory::ExternalMemoryDesc;
use crate::shm::generation::Kind;
use crate::shm::residue::Width;
use crate::sys::time::Deadline;
use crate::sys::{memfd, poll};
use crate::util::refs::Ref;
use crate::wait::{self, Condition};
use std::ffi::{c_int, c_void};
use std::sync::atomic::AtomicPtr;

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
    answer_keeping_errno(|| {
        if flags & !(UMF_FENCE_32BIT | UMF_FENCE_DEVICE | UMF_FENCE_LASTING) != 0 {
            return Err(Error::Invalid);
        }
        let width = if flags & UMF_FENCE_32BIT != 0 { Width::Bits32 } else { Width::Bits64 };
        let kind = Kind { width, device: flags & UMF_FENCE_DEVICE != 0, ..Kind::PLAIN };
        required(out_fence)?;
        // SAFETY: the face's contract (mod.rs).
        let page = unsafe { share(page)? };
        let lasting = flags & UMF_FENCE_LASTING != 0;
        let create = if lasting { Fence::create_lasting } else { Fence::create };
        // SAFETY: the face's contract (mod.rs).
        unsafe { hand_out(create(&page, kind, value)?, out_fence) };
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
    answer_keeping_errno(|| {
        no_flags(flags)?;
        required(out_fence)?;
        // SAFETY: the face's contract (mod.rs).
        let page = unsafe { share(page)? };
        // SAFETY: the face's contract (mod.rs).
        unsafe { hand_out(Fence::open(&page, index)?, out_fence) };
        Ok(())
    })
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
    answer_keeping_errno(|| {
        let width = match flags {
            0 => Width::Bits64,
            UMF_FENCE_32BIT => Width::Bits32,
            _ => return Err(Error::Invalid),
        };
        required(out_fence)?;
        // SAFETY: the face's contract (mod.rs).
        let (page, lent) = unsafe { (share(page)?, lend(memory, width)?) };
        // SAFETY: the face's contract (mod.rs).
        unsafe { hand_out(Fence::create_in(&page, width, lent)?, out_fence) };
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
    answer_keeping_errno(|| {
        no_flags(flags)?;
        required(out_fence)?;
        required(memory)?;
        // SAFETY: the face's contract (mod.rs).
        let page = unsafe { share(page)? };
        // SAFETY: the face's contract (mod.rs).
        let fence = Fence::open_in(&page, index, |width| unsafe { lend(memory, width) })?;
        // SAFETY: the face's contract (mod.rs).
        unsafe { hand_out(fence, out_fence) };
        Ok(())
    })
}

/// What C says of a driver's memory.
///
/// # Safety
/// `memory` is NULL or as the face's contract (mod.rs) and `umf_fence_create_in` ask.
unsafe fn lend(memory: *const umf_mapping, width: Width) -> Result<ExternalMemoryDesc> {
    // SAFETY: by this function's contract: at least its size is there, and as much as that says.
    let memory = match unsafe { memory.cast::<u32>().as_ref() } {
        Some(size) if (*size as usize) < size_of::<umf_mapping>() => return Err(Error::Invalid),
        // SAFETY: as above.
        Some(_) => unsafe { &*memory },
        None => return Err(Error::Invalid),
    };
    if memory.reserved != 0 {
        return Err(Error::Invalid);
    }
    // SAFETY: what umf_fence_create_in() asks of its callers.
    unsafe { ExternalMemoryDesc::new(memory.value, width, memory.data, memory.release) }
}

/// Another reference to a fence, to be ended with umf_fence_unref(). Returns fence; NULL for NULL.
///
/// Thread-safe, async-signal-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_fence_ref(fence: *mut umf_fence) -> *mut umf_fence {
    // SAFETY: the face's contract (mod.rs).
    unsafe { reference(fence) }
}

/// Ends a reference to a fence. With the last one of the process that created it, the fence ends, if it is not
/// UMF_FENCE_LASTING: see umf_fence_create(). Nobody may be waiting through this reference. NULL does nothing.
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_fence_unref(fence: *mut umf_fence) {
    // SAFETY: the face's contract (mod.rs).
    unsafe { unreference(fence) }
}

/// Which slot of its page the fence lives in. Send it beside the page's descriptor, for umf_fence_open(). UINT32_MAX for
/// NULL.
///
/// Thread-safe, async-signal-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_fence_index(fence: *const umf_fence) -> u32 {
    // SAFETY: the face's contract (mod.rs).
    unsafe { borrow(fence) }.map_or(u32::MAX, Fence::index)
}

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
    // SAFETY: the face's contract (mod.rs).
    unsafe { borrow(fence) }.ok().and_then(Fence::offset).unwrap_or(u64::MAX)
}

/// The fence's value. A value that this process once saw, by this call or by a wait, stays: nothing a peer writes makes
/// it smaller here. What the signaller did before it signalled this value is visible afterwards. 0 for NULL.
///
/// Thread-safe, async-signal-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_fence_value(fence: *const umf_fence) -> u64 {
    // SAFETY: the face's contract (mod.rs).
    unsafe { borrow(fence) }.map_or(0, Fence::value)
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
    // Without `answer`: nothing in here can panic, allocate or touch errno, and it is the hot path.
    // SAFETY: the face's contract (mod.rs).
    match unsafe { borrow(fence) }.and_then(|fence| fence.signal(value)) {
        Ok(()) => 0,
        Err(error) => error.code(),
    }
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
    // SAFETY: the face's contract (mod.rs).
    answer(|| unsafe { borrow(fence)? }.notify())
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
    // SAFETY: the face's contract (mod.rs).
    unsafe { borrow(fence) }.map_or(u64::MAX, Fence::monitored_offset)
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
    answer_keeping_errno(|| {
        // SAFETY: the face's contract (mod.rs).
        let fence = unsafe { borrow(fence)? };
        if !fence.is_device() {
            return Err(Error::Invalid);
        }
        // SAFETY: the face's contract (mod.rs): at least its size is there, and as much as that says.
        let source = match unsafe { notifier.cast::<u32>().as_ref() } {
            None => None,
            Some(size) if (*size as usize) < size_of::<umf_notifier>() => {
                return Err(Error::Invalid);
            }
            // SAFETY: as above.
            Some(_) => Some(source(unsafe { &*notifier })?),
        };
        fence.notifier.set(source);
        Ok(())
    })
}

fn source(given: &umf_notifier) -> Result<Ref<InterruptSource>> {
    match (given.wait, given.fd) {
        (Some(wait), -1) => Ref::try_new(|| {
            Ok(InterruptSource::Callback(
                wait,
                Data { data: AtomicPtr::new(given.data), release: given.release },
            ))
        }),
        (None, fd) if fd != -1 => {
            let fd = lent(fd)?;
            poll::require_nonblocking(fd)?;
            Ref::try_new(|| Ok(InterruptSource::Fd(memfd::dup(fd)?)))
        }
        _ => Err(Error::Invalid),
    }
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
    // SAFETY: the face's contract (mod.rs).
    answer(|| unsafe { borrow(fence)? }.submit(value))
}

/// The highest value that is reached or that umf_fence_submit() announced. 0 for NULL.
///
/// Thread-safe, async-signal-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_fence_pending_value(fence: *const umf_fence) -> u64 {
    // SAFETY: the face's contract (mod.rs).
    unsafe { borrow(fence) }.map_or(0, Fence::pending_value)
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
    answer(|| {
        // SAFETY: the face's contract (mod.rs).
        unsafe { borrow(fence)? }.set_error(errno(error)?)
    })
}

/// The error that C gives a fence: negative, as in the kernel.
pub(super) fn errno(error: c_int) -> Result<FenceErrno> {
    let errno = if error < 0 { FenceErrno::new(error.unsigned_abs()) } else { None };
    errno.ok_or(Error::Invalid)
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
    answer(|| {
        required(out_error)?;
        // SAFETY: the face's contract (mod.rs).
        let error = unsafe { borrow(fence)? }.error()?;
        // SAFETY: the face's contract (mod.rs).
        unsafe { out_error.write(error.map_or(0, |errno| -(errno.get() as c_int))) };
        Ok(())
    })
}

/// Waits until the fence's value is at least value. umf_wait() waits for many.
///
/// \param fence           the fence.
/// \param value           the value to be reached.
/// \param abs_timeout_ns  when to give up: nanoseconds on CLOCK_MONOTONIC. 0 polls, UINT64_MAX is never. A signal handler
///                        that runs meanwhile does not end the wait.
///
/// \return 0: reached; it stays so for this process, and what the signaller did before is visible. Or
///         -EINVAL      fence NULL, or value above UINT32_MAX for a 32-bit fence.
///         -ETIME       not reached by then; a poll that is not met too.
///         -EIO         the fence carries an error and has not reached value: see umf_fence_error().
///         -EOWNERDEAD  the same, the error being EOWNERDEAD.
///         -ESTALE      the fence ended before it reached value: see umf_fence_create().
///
/// Thread-safe; async-signal-safe, unless the fence has a notifier that is not. Uses no CPU while it sleeps, but for what
/// UMF_FENCE_DEVICE says. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_fence_wait(
    fence: *mut umf_fence,
    value: u64,
    abs_timeout_ns: u64,
) -> c_int {
    // The hot path first, without `answer`: nothing in there can panic.
    // SAFETY: the face's contract (mod.rs).
    if unsafe { borrow(fence) }.is_ok_and(|fence| fence.is_reached_inline(value)) {
        return 0;
    }
    answer_keeping_errno(|| {
        // SAFETY: the face's contract (mod.rs).
        let fence = unsafe { borrow(fence)? };
        wait::one(Condition::reached(fence, value)?, Deadline::at(abs_timeout_ns))
    })
}
