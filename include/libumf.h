/* SPDX-License-Identifier: MIT */
/*
 * libumf: userspace memory fences.
 *
 * A userspace memory fence (UMF) is a number in memory that only grows. A signal writes a larger
 * number and wakes the threads that sleep for it; a wait lasts until the number is at least T.
 * Fences live in pages of shared memory, which processes pass to each other as file descriptors.
 * The library converts them to and from the kernel's fences: sync_file, drm_syncobj, and the
 * implicit fences of a dma-buf. No kernel fence ever waits for a UMF: the library makes one only
 * when the UMF has reached its value, and it is signaled from the start.
 *
 * GETTING STARTED
 *
 * One process signals and another waits. Results are not checked here, to keep it short. Link with
 * -lumf-fence (pkg-config libumf). The header needs C99 or C++11.
 *
 *     // The signaler makes a page and a fence, and sends page_fd and index over a socket.
 *     struct umf_page *page;
 *     struct umf_fence *fence;
 *     int page_fd;
 *     umf_page_create(64, 0, &page);                  // room for 64 fences
 *     umf_fence_create(page, 0, 0, &fence);           // the value begins at 0
 *     umf_page_export(page, 0, &page_fd);             // send as SCM_RIGHTS, then close it
 *     uint32_t index = umf_fence_index(fence);        // send beside page_fd
 *     umf_fence_submit(fence, 1);                     // optional: work for value 1 is on its way
 *     ...                                             // the work
 *     umf_fence_signal(fence, 1);
 *     ...                                             // until the waiter is done, keep the fence:
 *     umf_fence_unref(fence);                         // the end: unmet waits get -ESTALE
 *     umf_page_unref(page);
 *
 *     // The waiter receives page_fd and index.
 *     umf_page_import(page_fd, 0, &page);
 *     umf_fence_open(page, index, 0, &fence);
 *     int result = umf_fence_wait(fence, 1, UINT64_MAX);      // 0: the value is at least 1
 *
 *     // It can also wait and convert: to a sync_file, or to a point of a syncobj.
 *     struct umf_device *device;
 *     int sync_file_fd;
 *     umf_device_create(drm_fd, 0, &device);                  // an open DRM render node
 *     umf_fence_export_sync_file(fence, 1, device, 0, UINT64_MAX, &sync_file_fd);
 *     umf_fence_export_syncobj(fence, 1, device, handle, point, 0, UINT64_MAX);
 *
 * To block no thread, create an event loop, and use umf_loop_watch(), umf_loop_export_syncobj() or
 * umf_queue_submit(). To end waits when the signaler dies, see umf_loop_tie_fence().
 *
 * CONVENTIONS
 *
 * Words.
 *   Met: the condition of a wait holds. For UMF_OP_GE, the fence has reached the value.
 *   Due: the condition of a watch is met or can no longer be met. Its action comes next.
 *   Over: the action of a watch is done or never will be. For a job, see umf_queue_drain().
 *   End: a reference ends with unref, and a fence with its creator's last one: umf_fence_create().
 * Results. A function that can fail returns 0, or a negative errno from the list in its
 *   documentation, or -EPROTO for an event that the library does not expect. It does not change
 *   errno. A call that fails changes nothing and writes no output, unless its documentation says
 *   otherwise.
 * Time. A timeout is an absolute time: nanoseconds on CLOCK_MONOTONIC, as in DRM and unlike in
 *   vkWaitSemaphores(). 0 checks once, and returns -ETIME if the condition is not met. UINT64_MAX
 *   waits forever. To a relative timeout, first add the clock's time; if the sum overflows, pass
 *   UINT64_MAX. POSIX signals do not interrupt a wait. In a time namespace, the clock is the
 *   namespace's.
 * Handles. struct umf_page, umf_fence, umf_notifier, umf_device, umf_loop, umf_watch, umf_syncobj
 *   and umf_queue are opaque and reference counted. The outputs out_page, out_fence, out_notifier,
 *   out_device, out_loop, out_watch, out_syncobj and out_queue each give the caller a reference,
 *   and so does each ref function. The caller ends it with unref. All threads may use a handle,
 *   also at the same time. Watches, ties of fences and jobs hold references to their fences. In
 *   the process that created it, a fence does not end before they are over.
 * File descriptors. One that is passed in stays the caller's. One that is returned is
 *   close-on-exec, and the caller closes it. Those that the library returns or keeps are above 2.
 *   A file that a peer serves itself (FUSE) is refused with -EINVAL, and the peer is not asked.
 *   umf_graph_write() alone writes to any file.
 * Flags. Unknown bits return -EINVAL, so that a program can detect an older library. Reserved
 *   members and unused flags must be 0.
 * Structs. Those that start with size may grow at the end in later versions. Zero the struct, then
 *   set size to its sizeof.
 * Threads. Every function is thread-safe. Those that say so are also async-signal-safe: a signal
 *   handler may call them. Each of these takes at most 2 KiB of stack. The library installs no
 *   signal handler. It starts threads only for a struct umf_loop and a struct umf_notifier: see
 *   umf_loop_create() and umf_notifier_create(). After dlclose() the library stays loaded: a
 *   thread of a loop that ended in its own callback may still have to return.
 * Environment. LIBUMF_SPIN (umf_set_spin()) and LIBUMF_DEBUG (umf_graph_write()) are read once,
 *   when the process creates or imports its first page.
 * Blocking. Functions with a timeout block. umf_loop_unref(), umf_queue_unref(),
 *   umf_watch_cancel(), umf_watch_result() and umf_graph_write() may block. No other function does,
 *   but one that runs your callbacks, jobs or release functions takes as long as these. To wait
 *   without blocking, use umf_loop_watch(), the conversions that take a loop, and
 *   umf_queue_submit().
 * Callbacks. A function that the library calls must return normally. It must not throw a C++
 *   exception, call longjmp() out of itself, or call pthread_exit(): the process may abort or
 *   deadlock. What else it may do stands where its struct is declared. It runs with cancellation
 *   disabled, and under no lock of the library that another call of the program may need.
 * Release functions. Each is called once, after the last use of its data, on any thread. Often it
 *   runs within a call of yours: any unref, umf_watch_cancel(), umf_queue_cancel(),
 *   umf_queue_fail(), umf_queue_submit(), umf_loop_dispatch() or umf_fence_open_in(). During
 *   these, hold no lock that a release function takes. It may
 *   call any function of the library. On a loop's thread it should not block, like a callback.
 * Cancellation. No function is a cancellation point: pthread_cancel() stays pending until the
 *   thread has returned from the library. Threads with asynchronous cancellation must not call it.
 * Fork. A child may use the handles that it inherits, except loops, watches and queues: it can only
 *   end its references to these, and other calls with them return -ESTALE. Their callbacks, jobs
 *   and release functions never run in the child. A fence that the parent created ends with the
 *   parent's references: those of the child neither end it nor keep it. A fence that the child
 *   creates ends with the child's. If several threads ran, only async-signal-safe functions may be
 *   called between fork() and exec(), as POSIX says.
 * Peers. A process that was given a page can signal, fail and garble its fences at any time (but
 *   see UMF_PAGE_SINGLE_WRITER). It can so delay or deceive the processes that wait for them. It
 *   cannot crash or corrupt them, or touch other pages.
 *
 * ERRORS
 *
 * Where a function does not explain an error further, it means:
 *
 *   -EINVAL      an argument is not one that the call accepts; or a value or a point would go
 *                backwards
 *   -ETIME       the condition was not met by the deadline
 *   -EIO         the fence carries an error, which umf_fence_error() returns
 *   -EOWNERDEAD  as -EIO, and the error is -EOWNERDEAD: the signaler died, as
 *                umf_loop_tie_fence() found or a process said with umf_fence_set_error()
 *   -ERANGE      the fence's value is beyond where the condition could be met
 *   -ESTALE      the fence ended: its creator ended its last reference. Or the loop, watch or
 *                queue belongs to another process: the one that this process was forked from.
 *                Each function of loops, watches and queues says which applies
 *   -EALREADY    what is to be canceled has happened
 *   -EDEADLK     umf_watch_cancel() in a release function: see there
 *   -ECANCELED   it was canceled. Only watches and jobs report this. A wait for a fence that
 *                carries -ECANCELED returns -EIO
 *   -ENOSPC      every slot of the page is in use
 *   -ENOENT      the index or the handle names nothing
 *   -EBADF       the file descriptor is not open
 *   -EOPNOTSUPP  the kernel, the device or the machine cannot do it
 *   -EACCES      the kernel or a sandbox refuses it. If a sandbox refuses a system call that every
 *                kernel has, functions that need it return this, or -EOPNOTSUPP, even if they do
 *                not list it
 *   -ENOMEM, -EMFILE, -ENFILE  no memory or file descriptor is left
 */

#ifndef LIBUMF_H
#define LIBUMF_H

/* Generated by cbindgen from src/capi, by ci/checks/header. Do not edit. */

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/* --- Version, capabilities and settings ------------------------------------------------------- */

/**
 * The major version of the library that this header describes. umf_version() returns the loaded
 * one's.
 */
#define UMF_VERSION_MAJOR 0

/** The minor version. See UMF_VERSION_MAJOR. */
#define UMF_VERSION_MINOR 1

/** The patch version. See UMF_VERSION_MAJOR. */
#define UMF_VERSION_PATCH 0

/**
 * Get the version of the loaded library.
 *
 * Return: major << 16 | minor << 8 | patch.
 *
 * Thread-safe and async-signal-safe. Since 0.1.
 */
uint32_t umf_version(void);

/**
 * Bit of umf_caps.flags: one wait can sleep on the fences of up to 128 pages.
 *
 * Read it before you rely on two kinds of waits, which poll at intervals without it, as those on
 * fences with UMF_FENCE_DEVICE do. These are umf_wait() and wait sets on fences of more than one
 * page, and every wait for a fence that only another process may signal (UMF_PAGE_SINGLE_WRITER).
 * It needs Linux 5.16 and no sandbox that forbids futex_waitv.
 *
 * A sandbox may kill a process for futex_waitv. Where a filter of system calls is in force, the
 * library asks for it only in umf_query_caps(), for waits and loops over several pages, for
 * watches and wait sets of a UMF_PAGE_SINGLE_WRITER page of another process, and for watches of an
 * xshmfence. Until one of these has asked, a loop wakes once a second there, and other signals in
 * the page wake its waiters more often. Enter such a sandbox before the first wait, and do not
 * call umf_query_caps() there. Since 0.1.
 */
#define UMF_CAP_WAIT_MANY_PAGES (1ULL << 0)

/**
 * Bit of umf_caps.flags: this process can open /dev/udmabuf.
 *
 * sync_files can then be exported without a DRM device. Since 0.1.
 */
#define UMF_CAP_UDMABUF (1ULL << 1)

/**
 * What the library can do on this machine. umf_query_caps() fills it in. Later versions may add
 * members at the end. Since 0.1.
 */
struct umf_caps {
    /** In: sizeof(struct umf_caps). Out: the number of bytes that the library knows. */
    uint32_t size;
    /** What umf_version() returns. */
    uint32_t version;
    /** UMF_CAP_* bits. */
    uint64_t flags;
    /** UMF_PAGE_MAX_FENCES of the loaded library. */
    uint32_t max_fences;
    /** UMF_WAIT_MAX of the loaded library. */
    uint32_t max_waits;
};

/**
 * Get what the library can do on this machine.
 *
 * @caps: receives the answer. The caller sets caps->size to sizeof(*caps) first. A library older
 *     than the caller's header fills in the members that it knows, and zeroes the rest. Stays the
 *     caller's.
 *
 * Return: 0 on success, or
 *   -EINVAL  @caps is NULL, or caps->size is less than the first version of the struct, or more
 *            than 256
 *
 * Thread-safe. Since 0.1.
 */
int umf_query_caps(struct umf_caps *caps);

/**
 * Limit the CPU time that waits spend spinning before they sleep.
 *
 * It takes tens of microseconds to wake a sleeping core, so a signal that comes sooner is worth
 * spinning for. Each fence learns whether it is. A spin that ends in a sleep all the same is
 * wasted. Wasted spins cost this process at most a share of one core. The call holds for all waits
 * of this process that begin later.
 *
 * @vain_permille: the share for wasted spins, in thousandths of one core, 0 to 1000. 0 disables
 *     spinning. The default is 10, or the value of the environment variable LIBUMF_SPIN when this
 *     process created or imported its first page.
 * @limit_ns: the longest spin in nanoseconds, up to 1,000,000. 0 disables spinning. The default is
 *     50,000.
 * @flags: must be 0.
 *
 * Return: 0 on success, or
 *   -EINVAL  an argument is out of range, or @flags is not 0
 *
 * Thread-safe and async-signal-safe. Since 0.1.
 */
int umf_set_spin(uint32_t vain_permille, uint32_t limit_ns, uint64_t flags);

/* --- Pages ------------------------------------------------------------------------------------ */

/*
 * A page is one shared-memory object: an array of slots, each of which holds at most one fence. It
 * is passed to another process as a file descriptor, with all its fences.
 */

/** The maximum number of fences in one page. Since 0.1. */
#define UMF_PAGE_MAX_FENCES 1048576

/** A page: one shared-memory object that holds fences. Reference counted. Since 0.1. */
struct umf_page;

/**
 * Flag of umf_page_create(): only the creator can signal, fail or create fences in the page.
 *
 * A process that imports the page can wait for its fences, and do no more: no consumer can forge a
 * completion. The page is sealed against writing by others (F_SEAL_FUTURE_WRITE, Linux 5.1). This
 * process, those that it forks, and a device that imported its mapping (umf_page_get_memory()) can
 * still write. Importers cannot register as waiters, so every signal makes two wake-up system
 * calls, whether or not anyone is waiting. The kernel lets a consumer keep these wake-ups from
 * other waiters. So every wait in such a page, of a thread, a loop or a queue, checks its fences
 * once a second: it ends at most a second late. Since 0.1.
 */
#define UMF_PAGE_SINGLE_WRITER (1ULL << 0)

/**
 * Flag of umf_page_import(): look at the page and change nothing in it.
 *
 * For tools: the descriptor may be one that is open for reading alone, such as one of another
 * process's, opened in /proc/PID/fd. umf_page_query_fence() and umf_graph_write() read such a
 * page. It cannot be used: a waiter has to write to the page, so umf_fence_open() returns -EACCES,
 * as other functions do that would write. The same page, imported without this flag, is another
 * object. Since 0.1.
 */
#define UMF_PAGE_READ_ONLY (1ULL << 1)

/**
 * Flag of umf_page_create(): each signal records its time, for umf_fence_timestamp().
 *
 * Set it for fences whose consumers measure frames: a compositor, or a driver that reports when an
 * image was presented. The page takes 128 bytes more for each fence. A signal also reads
 * CLOCK_MONOTONIC and writes the time before the value, in whichever process it happens. In pages
 * without this flag a signal does nothing for it. Since 0.1.
 */
#define UMF_PAGE_TIMESTAMPS (1ULL << 2)

/**
 * Create a page with room for fences.
 *
 * The page is a sealed memfd that can be passed to other processes. It takes 64 bytes for each
 * fence and 4096 bytes more. This call allocates them, so later uses of the page cannot lack
 * memory. The memory is charged to the memory control group of this process. If the group has no
 * room, the kernel kills a process of the group, which may be this one. It returns an error only
 * if it may kill none.
 *
 * A peer that can write to the page can free its memory: it punches a hole. The next access finds
 * 0 there, and takes memory that is charged to the process that makes it. Without memory for it,
 * the kernel kills a process of that control group or of the machine. With vm.overcommit_memory=2
 * the access raises SIGBUS instead. The library can prevent neither. Nobody can punch a hole into
 * a page with UMF_PAGE_SINGLE_WRITER.
 *
 * @fence_count: the number of slots, and so of fences, 1 to UMF_PAGE_MAX_FENCES.
 * @flags: UMF_PAGE_SINGLE_WRITER and UMF_PAGE_TIMESTAMPS, or 0.
 * @out_page: receives a reference, which the caller ends with umf_page_unref(). Written only on
 *     success.
 *
 * Return: 0 on success, or
 *   -EINVAL           @fence_count is out of range, @flags has unknown bits, or @out_page is NULL
 *   -EOPNOTSUPP       UMF_PAGE_SINGLE_WRITER, and the kernel cannot keep others from writing
 *   -ENOMEM           no memory or address space is left, or RLIMIT_FSIZE or RLIMIT_MEMLOCK allows
 *                     no more
 *   -EMFILE, -ENFILE  no file descriptor is left, in the process or in the system
 *
 * Thread-safe. Since 0.1.
 */
int umf_page_create(uint32_t fence_count, uint64_t flags, struct umf_page **out_page);

/**
 * Open a page that another process exported.
 *
 * The descriptor may come from an untrusted process: it is accepted only if its seals fix its
 * size, and the library never trusts the contents of a page. umf_page_import_limited() also bounds
 * what the page may cost. Importing the same page twice gives two references to one object. A page
 * with UMF_PAGE_SINGLE_WRITER is opened for waiting: functions that would write to it return
 * -EACCES.
 *
 * The page may lack memory: its creator has not allocated it, or a peer punched a hole. Then an
 * access by any function takes memory. It is charged to this process, and can end it by SIGKILL
 * or SIGBUS, as umf_page_create() says. In a page with UMF_PAGE_SINGLE_WRITER only its creator can
 * have left holes, before it sealed the page.
 *
 * @fd: a descriptor from umf_page_export(). Stays the caller's, which may close it after the call.
 * @flags: UMF_PAGE_READ_ONLY, or 0.
 * @out_page: receives a reference, which the caller ends with umf_page_unref(). Written only on
 *     success.
 *
 * Return: 0 on success, or
 *   -EINVAL           @flags has unknown bits, or @out_page is NULL; @fd is not a sealed memfd, is
 *                     too small, or is not a page of this layout version
 *   -EBADF            @fd is not open
 *   -EACCES           @fd is not open for reading; or it is not open for writing, although the
 *                     page is not sealed against it and @flags is 0
 *   -ENOMEM           no memory or address space is left
 *   -EMFILE, -ENFILE  no file descriptor is left, in the process or in the system
 *
 * Thread-safe. Since 0.1.
 */
int umf_page_import(int fd, uint64_t flags, struct umf_page **out_page);

/**
 * What a page of another process may cost this one.
 *
 * For umf_page_import_limited(). In a zeroed struct with its size set, nothing is limited. Later
 * versions may add members at the end. Since 0.1.
 */
struct umf_page_limits {
    /** sizeof(struct umf_page_limits). */
    uint32_t size;
    /**
     * The most slots that the page may have. 0 for any number up to UMF_PAGE_MAX_FENCES.
     *
     * The page takes 64 bytes of address space for each slot, or 256 with UMF_PAGE_TIMESTAMPS,
     * which its creator chose. Its memory may be charged to the
     * process that touches it first, since a peer need not have allocated it. A tie of the page
     * takes about a microsecond for each slot when its process dies, and umf_graph_write() and
     * umf_fence_create() may look at all slots.
     */
    uint32_t max_fences;
};

/**
 * Open a page that another process exported, unless it is too large.
 *
 * This does what umf_page_import() does, within limits. A peer that this process does not trust
 * makes a page of a million forged fences in a twentieth of a second.
 *
 * @fd: as in umf_page_import().
 * @flags: as in umf_page_import().
 * @limits: what the page may cost. Copied.
 * @out_page: as in umf_page_import(). Written only on success.
 *
 * Return: 0 on success, or
 *   -EFBIG   the page has more slots than limits->max_fences, also if this process has it open
 *   -EINVAL  @limits is NULL, or limits->size is less than the first version of the struct; or as
 *            umf_page_import()
 *   or any other error of umf_page_import()
 *
 * Thread-safe. Since 0.1.
 */
int umf_page_import_limited(int fd,
                            uint64_t flags,
                            const struct umf_page_limits *limits,
                            struct umf_page **out_page);

/**
 * Create a file descriptor of a page, to be sent to another process.
 *
 * A process that has the descriptor can signal and fail every fence of the page, unless the page
 * was created with UMF_PAGE_SINGLE_WRITER.
 *
 * @page: the page.
 * @flags: must be 0.
 * @out_fd: receives a new descriptor, close-on-exec, which the caller closes. Written only on
 *     success.
 *
 * Return: 0 on success, or
 *   -EINVAL           @page or @out_fd is NULL, or @flags is not 0
 *   -EMFILE, -ENFILE  no file descriptor is left, in the process or in the system
 *
 * Thread-safe. Since 0.1.
 */
int umf_page_export(struct umf_page *page, uint64_t flags, int *out_fd);

/**
 * Flag of umf_page_get_memory(): the caller, or its device, will write to the memory.
 *
 * With it, a mapping that cannot be written is refused. Since 0.1.
 */
#define UMF_PAGE_MEMORY_WRITE (1ULL << 0)

/**
 * Get where this process has mapped a page.
 *
 * For a device that imports memory by its address: VK_EXT_external_memory_host,
 * CL_MEM_USE_HOST_PTR, cuMemHostRegister(), or a kernel driver's userptr. The value of a fence is
 * at the address plus umf_fence_offset(). docs/devices.md says which drivers accept it.
 *
 * The mapping is shared, cached memory. It stays at this address until the last reference to the
 * page and to each of its fences in this process ended. End the device's import before that. The
 * child of a fork has it at the same address. The mapping belongs to the library: do not unmap,
 * move or protect it. The caller may write what a device may write, the values of its fences, and
 * nothing else.
 *
 * @page: the page.
 * @flags: UMF_PAGE_MEMORY_WRITE, or 0. Without the flag the memory may be read-only; a write to it
 *     then raises SIGSEGV.
 * @out_address: receives the address of byte 0 of the page, a multiple of the size of a memory
 *     page. Written only on success.
 * @out_size: receives the size in bytes, a multiple of the size of a memory page. May be NULL.
 *     Written only on success.
 *
 * Return: 0 on success, or
 *   -EINVAL  @page or @out_address is NULL, or @flags has unknown bits
 *   -EACCES  UMF_PAGE_MEMORY_WRITE, and this process imported the page, which has
 *            UMF_PAGE_SINGLE_WRITER, or imported it with UMF_PAGE_READ_ONLY
 *
 * Thread-safe and async-signal-safe. Since 0.1.
 */
int umf_page_get_memory(struct umf_page *page,
                        uint64_t flags,
                        void **out_address,
                        uint64_t *out_size);

/**
 * Create a dma-buf of a page, so that a GPU can write its fences.
 *
 * A GPU driver imports the dma-buf (PRIME, VK_EXT_external_memory_dma_buf), and the GPU then
 * writes each value at umf_fence_offset(). The dma-buf is the same memory as the page. It is made
 * with /dev/udmabuf (Linux 4.20; many distributions let only root or the user at the seat open
 * it). The memory stays pinned as long as the dma-buf exists, even after the page is closed.
 *
 * A process that has the dma-buf can write to the whole page: pass it only where every fence may
 * be signaled and failed. umf_page_import() does not accept it, and the kernel's futexes refuse
 * its mappings: a process that waits needs the descriptor of umf_page_export(). Some drivers
 * import only memory of their own; the import then fails.
 *
 * @page: the page.
 * @flags: must be 0.
 * @out_fd: receives a new descriptor, close-on-exec, which the caller closes. Written only on
 *     success.
 *
 * Return: 0 on success, or
 *   -EINVAL           @page or @out_fd is NULL, or @flags is not 0
 *   -EACCES           the page has UMF_PAGE_SINGLE_WRITER, or was imported with
 *                     UMF_PAGE_READ_ONLY: the holder of a dma-buf could write to it
 *   -EOPNOTSUPP       there is no /dev/udmabuf, this process may not open it, or the page is
 *                     larger than its size_limit_mb (64 MiB by default in Linux 6.12)
 *   -ENOMEM           no memory is left
 *   -EMFILE, -ENFILE  no file descriptor is left, in the process or in the system
 *
 * Thread-safe. Since 0.1.
 */
int umf_page_export_dma_buf(struct umf_page *page, uint64_t flags, int *out_fd);

/**
 * Fail every fence of a page, because the device that writes them is lost.
 *
 * One call in place of umf_fence_set_error() for each fence that lives in the page now, whichever
 * process created it. All errors are written before the first waiter wakes up, and the waiters of
 * each fence are woken once. So a waiter that finds one fence failed finds the others failed too.
 * As with umf_fence_set_error(), values that are reached stay reached, the first error of a fence
 * stays, and values that a device still writes count.
 *
 * The call does not reach fences that are created later, or by another thread during the call:
 * stop creating first. Give each device a page of its own, and let no peer create fences there. A
 * peer cannot be told from the device's driver.
 *
 * The call reads every slot twice, and makes two wake-up system calls for each fence that lives:
 * about a microsecond each.
 *
 * @page: the page.
 * @error: a negative errno, -4095 to -1, such as -EIO.
 *
 * Return: 0 on success, also if no fence lives in the page, or
 *   -EINVAL  @page is NULL, or @error is out of range
 *   -EACCES  this process imported the page, which has UMF_PAGE_SINGLE_WRITER, or imported it with
 *            UMF_PAGE_READ_ONLY
 *
 * Thread-safe and async-signal-safe. Since 0.1.
 */
int umf_page_set_error(struct umf_page *page, int error);

/**
 * Free the slots whose creators died.
 *
 * A process that dies without umf_fence_unref() leaves its slots in use, also if it is killed
 * within a call that creates or ends a fence. This call ends the fences in such slots: waits for
 * values that they have not reached return -ESTALE. The slots become free for umf_fence_create().
 * Fences with UMF_FENCE_LASTING stay.
 *
 * A slot is freed only if the process that created its fence is known to be dead. There are two
 * ways to know it. A process of this process's pid namespace has exited; if another one has its id
 * now, that has to exit too. Or a process of any pid namespace exited while the fence or the page
 * was tied to it, by a pidfd or with UMF_TIE_PROCESS (umf_loop_tie_fence(), umf_loop_tie_page()),
 * in this process or another one that can write to the page. A tie to a connection does not count:
 * its end does not tell which process died.
 *
 * Each slot names the creator of its fence by process id, pid namespace and start time, as the
 * creator read them in /proc when it created its first fence. If it had no /proc, its slots stay
 * in use. A peer that can write to the page can write another name there. It can so end the fence
 * in that slot, or keep the slot in use, and could do both without this call.
 *
 * The call reads every slot, and asks the kernel about the first 4096 processes that it finds
 * named: call it again as long as it frees slots. It makes two wake-up system calls for each slot
 * that it frees.
 *
 * @page: the page.
 * @flags: must be 0.
 * @out_count: receives the number of slots that were freed. NULL if the caller does not want it.
 *     Written only on success.
 *
 * Return: 0 on success, also if no slot was freed, or
 *   -EINVAL  @page is NULL, or @flags is not 0
 *   -EACCES  this process imported the page, which has UMF_PAGE_SINGLE_WRITER, or imported it with
 *            UMF_PAGE_READ_ONLY
 *   -ENOMEM  no memory is left
 *
 * Thread-safe, also while other processes create, end and reclaim. Since 0.1.
 */
int umf_page_reclaim(struct umf_page *page, uint64_t flags, uint32_t *out_count);

/**
 * Get the flags of a page.
 *
 * @page: the page.
 *
 * Return: UMF_PAGE_SINGLE_WRITER if the page is sealed against writing by all but its creator,
 * UMF_PAGE_TIMESTAMPS if it was created with that flag, and UMF_PAGE_READ_ONLY if it was imported
 * with that flag. 0 for NULL.
 *
 * Thread-safe and async-signal-safe. Since 0.1.
 */
uint64_t umf_page_flags(const struct umf_page *page);

/**
 * Get the number of fences that a page has room for.
 *
 * @page: the page.
 *
 * Return: the number. 0 for NULL.
 *
 * Thread-safe and async-signal-safe. Since 0.1.
 */
uint32_t umf_page_fence_count(const struct umf_page *page);

/**
 * Add a reference to a page.
 *
 * @page: the page, or NULL.
 *
 * Return: @page. The caller ends the new reference with umf_page_unref().
 *
 * Thread-safe and async-signal-safe. Since 0.1.
 */
struct umf_page *umf_page_ref(struct umf_page *page);

/**
 * End a reference to a page.
 *
 * The page is unmapped and closed when its last reference and its last fence are gone: a fence
 * keeps its page.
 *
 * @page: the page. NULL does nothing.
 *
 * Thread-safe. Since 0.1.
 */
void umf_page_unref(struct umf_page *page);

/* --- Fences ----------------------------------------------------------------------------------- */

/*
 * A fence is a value in a slot of a page. umf_fence_signal() raises it; umf_fence_wait() and
 * umf_wait(), in any process that has the page, sleep until it is reached. A second number, the
 * pending value, says how far the submitted work will signal. A fence that fails carries an error,
 * and ends every wait for a value that it has not reached.
 *
 * A process that has a fence open remembers the greatest value that it saw. That value stays
 * reached in this process, whatever a peer writes, and even after the fence ended (but see
 * UMF_FENCE_32BIT and UMF_FENCE_UNORDERED).
 */

/**
 * A fence: a value that only grows, wraps around if it has 32 bits, or takes any value with
 * UMF_FENCE_UNORDERED. Reference counted. Since 0.1.
 */
struct umf_fence;

/**
 * Flag of umf_fence_create(): the value has 32 bits and wraps around.
 *
 * Set it for sequence numbers of hardware that do that. A value is greater than another if it is
 * less than 2^31 ahead of it. All comparisons work that way. This process does not remember the
 * values that it saw reached, as it does for 64 bits: every wait reads the value again. Since 0.1.
 */
#define UMF_FENCE_32BIT (1ULL << 0)

/**
 * Flag of umf_fence_create(): a device writes the value and wakes no waiter.
 *
 * Set it if a GPU or other hardware writes the value at umf_fence_offset(). The process that
 * submits the work to the device calls umf_fence_submit(), since a device does not raise the
 * pending value.
 *
 * With a notifier (umf_notifier_create()), waiters sleep until the device interrupts. Without one,
 * a waiter polls the value at intervals until umf_fence_notify() or umf_page_notify() wakes it.
 * The interval is an eighth of the time waited so far, and at most 4 ms. If recent waits on this
 * fence took a similar time, umf_fence_wait() polls rarely at first and often around the expected
 * time.
 *
 * In a page with UMF_PAGE_SINGLE_WRITER, only the device of the page's creator can write the
 * value. Other processes poll, and cannot have a notifier; a notification by the creator wakes
 * them.
 * Since 0.1.
 */
#define UMF_FENCE_DEVICE (1ULL << 1)

/**
 * Flag of umf_fence_create(): the fence lives as long as its page.
 *
 * Set it for pages that are handed over with all their contents, such as the payload of a Vulkan
 * semaphore. The fence does not end with its creator's last reference. It lives until the last
 * mapping and the last file descriptor of the page are closed. Any process that has one of them
 * can open the fence again. Its slot is not reused. Since 0.1.
 */
#define UMF_FENCE_LASTING (1ULL << 2)

/**
 * Flag of umf_fence_create() and umf_fence_create_in(): the value has no order.
 *
 * Set it for fences that are rewound (D3D12) or count down (HSA). umf_fence_signal() stores any
 * value, and umf_fence_update() changes the value by arithmetic. Waits compare plain numbers, with
 * UMF_OP_SIGNED signed ones. No wait returns -ERANGE. There is no pending value. This process
 * remembers no value that it saw: every wait reads the value again.
 *
 * A store that lowers the value is a rewind. A wait for "at least" or "greater than" a number
 * stays met by a rewind, if the value met it after the wait began. That holds even if the waiter
 * has not run since, in each process, and for watches too. The wait of a job begins when the job
 * is submitted. Any number of rewinds are remembered, unless another wait on the fence begins
 * meanwhile. Then the last two are, until 2^18 more waits on the fence have begun. Beyond that,
 * the wait goes on as if it had not been met. Watches of one event loop do not count as other
 * waits for each other, nor do entries of one wait set. In a page with UMF_PAGE_SINGLE_WRITER, the
 * last two are remembered. From 2^39 on, a rewound value counts rounded down, by less than one
 * part in 2^38. Other operators, UMF_OP_SIGNED and masks compare the value that is there when the
 * waiter looks.
 *
 * Of a fence that a device writes too, rewinds by the device are not remembered, and of those by
 * programs only the last. umf_page_notify() wakes all its waiters, and while one waits, the device
 * interrupts for each value (umf_fence_monitored_offset()). Since 0.1.
 */
#define UMF_FENCE_UNORDERED (1ULL << 4)

/**
 * Create a fence in a free slot of a page.
 *
 * The fence lives until this process ends its last reference (but see UMF_FENCE_LASTING): keep one
 * until every waiter is done. Watches, jobs and wait sets of this process hold references too.
 *
 * When the fence ends, waits in all processes for values that it has not reached return -ESTALE.
 * The slot becomes free for a new fence, which handles to the old fence never see. Waits for
 * values that it has reached succeed until the slot is reused. From then on they return -ESTALE,
 * except in a process that saw the value reached. Slots are reused in turn, so that is as far away
 * as the page has free slots.
 *
 * A device that writes the fence must be done with it before the last reference ends, or it writes
 * to the slot's next fence: see umf_fence_end().
 *
 * A process that exits or dies without umf_fence_unref() ends nothing. Its waiters sleep until a
 * process fails the fences that it should have signaled, as umf_loop_tie_fence() and
 * umf_loop_tie_page() do. Its slots stay in use until umf_page_reclaim().
 *
 * @page: the page. The fence keeps a reference to it.
 * @value: the initial value. A wait for it or for less is met at once.
 * @flags: UMF_FENCE_* bits, or 0.
 * @out_fence: receives a reference, which the caller ends with umf_fence_unref(). Written only on
 *     success.
 *
 * Return: 0 on success, or
 *   -EINVAL  @page or @out_fence is NULL; @flags has unknown bits, or both UMF_FENCE_32BIT and
 *            UMF_FENCE_UNORDERED; or @value is above UINT32_MAX for a 32-bit fence
 *   -ENOSPC  all slots of the page are in use: see umf_page_reclaim()
 *   -EACCES  this process imported the page, which has UMF_PAGE_SINGLE_WRITER, or imported it with
 *            UMF_PAGE_READ_ONLY
 *   -ENOMEM  no memory is left
 *
 * Thread-safe. Since 0.1.
 */
int umf_fence_create(struct umf_page *page,
                     uint64_t value,
                     uint64_t flags,
                     struct umf_fence **out_fence);

/**
 * Open a fence that another process created.
 *
 * Opening the same fence twice gives two references to one object.
 *
 * @page: the page, usually an imported one. The fence keeps a reference to it.
 * @index: what umf_fence_index() returns in the process that created the fence.
 * @flags: must be 0.
 * @out_fence: receives a reference, which the caller ends with umf_fence_unref(). Written only on
 *     success.
 *
 * Return: 0 on success, or
 *   -EINVAL      @page or @out_fence is NULL, or @flags is not 0
 *   -ENOENT      the page has no such index, or no fence lives there now
 *   -EACCES      the page was imported with UMF_PAGE_READ_ONLY
 *   -EOPNOTSUPP  the value is not in the page: use umf_fence_open_in(). Not if the fence is
 *                already open in this process
 *   -ENOMEM      no memory is left
 *
 * Thread-safe. Since 0.1.
 */
int umf_fence_open(struct umf_page *page,
                   uint32_t index,
                   uint64_t flags,
                   struct umf_fence **out_fence);

/**
 * End a fence, and keep its slot.
 *
 * For a fence that a device may still write, such as one of a queue that hangs. Once the last
 * reference is gone, the slot is free for a new fence, and a late write of the device would be a
 * signal of that one. This call ends the fence for its waiters at once, in all processes, as the
 * last reference does: see umf_fence_create(). Its slot stays in use as long as this process has a
 * reference. The caller ends that when the device cannot write any more.
 *
 * If this process dies before, the slot stays in use until umf_page_reclaim(). The kernel closes a
 * dead process's device files before its death can be noticed, which ends the queues that belong
 * to them. After a fork it is the parent's references that count.
 *
 * @fence: the fence.
 *
 * Return: 0 on success, or
 *   -EINVAL  @fence is NULL
 *   -ESTALE  the fence ended before
 *   -EACCES  this process did not create the fence, or the fence has UMF_FENCE_LASTING: its slot
 *            is never used again
 *
 * Thread-safe and async-signal-safe. Since 0.1.
 */
int umf_fence_end(struct umf_fence *fence);

/**
 * Add a reference to a fence.
 *
 * @fence: the fence, or NULL.
 *
 * Return: @fence. The caller ends the new reference with umf_fence_unref().
 *
 * Thread-safe and async-signal-safe. Since 0.1.
 */
struct umf_fence *umf_fence_ref(struct umf_fence *fence);

/**
 * End a reference to a fence.
 *
 * When the process that created the fence ends its last reference, the fence ends, unless it has
 * UMF_FENCE_LASTING: see umf_fence_create(). No thread may still be waiting through this
 * reference.
 *
 * @fence: the fence. NULL does nothing.
 *
 * Thread-safe. Since 0.1.
 */
void umf_fence_unref(struct umf_fence *fence);

/**
 * Get the page of a fence.
 *
 * To share a fence, export its page and send the descriptor with umf_fence_index(). A program that
 * keeps its fences need not keep their pages too.
 *
 * @fence: the fence.
 *
 * Return: the page, without a reference of the caller's: it is valid as long as the fence is. Add
 *     one with umf_page_ref() to keep it longer. NULL for NULL.
 *
 * Thread-safe and async-signal-safe. Since 0.1.
 */
struct umf_page *umf_fence_page(const struct umf_fence *fence);

/**
 * Get the index of a fence's slot in its page.
 *
 * Send it with the page's descriptor to a process that calls umf_fence_open().
 *
 * @fence: the fence.
 *
 * Return: the index. UINT32_MAX for NULL.
 *
 * Thread-safe and async-signal-safe. Since 0.1.
 */
uint32_t umf_fence_index(const struct umf_fence *fence);

/**
 * Raise a fence's value and wake the waiters that it meets.
 *
 * A waiter that sees the value also sees the memory that the caller wrote before this call.
 * Signaling the current value again succeeds and changes nothing. The call makes no system call
 * unless a waiter sleeps for the value (but see UMF_PAGE_SINGLE_WRITER). A fence with
 * UMF_FENCE_UNORDERED takes the value whatever it was before. In a page with UMF_PAGE_TIMESTAMPS
 * the call also records its time.
 *
 * @fence: the fence.
 * @value: the new value. At most UINT32_MAX for a 32-bit fence.
 *
 * Return: 0 on success, or
 *   -EINVAL      @fence is NULL, its value is already beyond @value (but see
 *                UMF_FENCE_UNORDERED), or @value does not fit in 32 bits. Nothing changed
 *   -EIO         the fence carries an error: see umf_fence_set_error(). Nothing changed
 *   -EOWNERDEAD  as -EIO; the error is -EOWNERDEAD. Nothing changed
 *   -ESTALE      the fence ended: see umf_fence_create()
 *   -EACCES      this process may not signal the fence: UMF_PAGE_SINGLE_WRITER,
 *                umf_fence_create_in()
 *
 * Thread-safe and async-signal-safe. Since 0.1.
 */
int umf_fence_signal(struct umf_fence *fence, uint64_t value);

/** Value of @operation of umf_fence_update(): store the operand. Since 0.1. */
#define UMF_UPDATE_EXCHANGE 0

/**
 * Value of @operation of umf_fence_update(): store the operand if the value is @expected.
 *
 * It was stored if the previous value equals @expected. Otherwise nothing changed. Since 0.1.
 */
#define UMF_UPDATE_COMPARE_EXCHANGE 1

/** Value of @operation of umf_fence_update(): add the operand, modulo 2^64. Since 0.1. */
#define UMF_UPDATE_ADD 2

/** Value of @operation of umf_fence_update(): subtract the operand, modulo 2^64. Since 0.1. */
#define UMF_UPDATE_SUBTRACT 3

/** Value of @operation of umf_fence_update(): bitwise and with the operand. Since 0.1. */
#define UMF_UPDATE_AND 4

/** Value of @operation of umf_fence_update(): bitwise or with the operand. Since 0.1. */
#define UMF_UPDATE_OR 5

/** Value of @operation of umf_fence_update(): bitwise exclusive or with the operand. Since 0.1. */
#define UMF_UPDATE_XOR 6

/**
 * Change the value of a fence with UMF_FENCE_UNORDERED atomically.
 *
 * It wakes the waiters that the change may concern, and makes no system call unless one sleeps
 * (but see UMF_PAGE_SINGLE_WRITER). A waiter that sees the new value, or one of a later update,
 * also sees the memory that the caller wrote before this call. The caller sees what was written
 * before the update whose value it replaces. To store a value only, call umf_fence_signal().
 *
 * @fence: the fence.
 * @operation: UMF_UPDATE_*.
 * @operand: what the operation stores, adds, subtracts or combines.
 * @expected: for UMF_UPDATE_COMPARE_EXCHANGE. Other operations ignore it.
 * @out_previous: receives the value before the change. May be NULL. Written only on success.
 *
 * Return: 0 on success, also if UMF_UPDATE_COMPARE_EXCHANGE stored nothing, or
 *   -EINVAL      @fence is NULL or has no UMF_FENCE_UNORDERED, or @operation is unknown
 *   -EIO         the fence carries an error: see umf_fence_set_error(). Nothing changed
 *   -EOWNERDEAD  as -EIO; the error is -EOWNERDEAD. Nothing changed
 *   -ESTALE      the fence ended: see umf_fence_create()
 *   -EACCES      this process may not signal the fence: UMF_PAGE_SINGLE_WRITER,
 *                umf_fence_create_in()
 *
 * Thread-safe and async-signal-safe. Since 0.1.
 */
int umf_fence_update(struct umf_fence *fence,
                     uint32_t operation,
                     uint64_t operand,
                     uint64_t expected,
                     uint64_t *out_previous);

/**
 * Get the current value of a fence.
 *
 * A value that this process saw once, through this call or a wait, stays: nothing that a peer
 * writes makes it smaller here (but see UMF_FENCE_32BIT and UMF_FENCE_UNORDERED). Memory that the
 * signaler wrote before it signaled this value is then visible to the caller.
 *
 * Do not use it to detect the end of a fence: it goes on returning a value. umf_fence_error()
 * returns -ESTALE then.
 *
 * @fence: the fence.
 *
 * Return: the value. 0 for NULL.
 *
 * Thread-safe and async-signal-safe. Since 0.1.
 */
uint64_t umf_fence_value(const struct umf_fence *fence);

/**
 * Raise a fence's pending value: work was submitted that will signal it.
 *
 * This wakes waiters with UMF_WAIT_PENDING. It is an announcement only: the library does not
 * enforce that the value is signaled. A value below the pending value changes nothing.
 *
 * @fence: the fence.
 * @value: the value that will be signaled. At most UINT32_MAX for a 32-bit fence.
 *
 * Return: 0 on success, or
 *   -EINVAL      @fence is NULL or has UMF_FENCE_UNORDERED, or @value does not fit in 32 bits
 *   -EIO         the fence carries an error: see umf_fence_set_error(). Nothing changed
 *   -EOWNERDEAD  as -EIO; the error is -EOWNERDEAD. Nothing changed
 *   -ESTALE      the fence ended: see umf_fence_create()
 *   -EACCES      this process may not signal the fence: UMF_PAGE_SINGLE_WRITER
 *
 * Thread-safe and async-signal-safe. Since 0.1.
 */
int umf_fence_submit(struct umf_fence *fence, uint64_t value);

/**
 * Get the pending value of a fence.
 *
 * @fence: the fence.
 *
 * Return: the greatest value that is reached or that umf_fence_submit() announced. The value of a
 *     fence with UMF_FENCE_UNORDERED. 0 for NULL.
 *
 * Thread-safe and async-signal-safe. Since 0.1.
 */
uint64_t umf_fence_pending_value(const struct umf_fence *fence);

/**
 * Get the time at which a value was signaled.
 *
 * For frame statistics: when the work of a frame was done, as sync_file reports it for a kernel
 * fence (SYNC_IOC_FILE_INFO). The page must have UMF_PAGE_TIMESTAMPS. The times of the last seven
 * values are known, or of fewer if several signalers raced for one. Only values that were signaled
 * have one: a signal that passes a value gives it no time. A consumer asks when its wait or watch
 * is over, or some frames later.
 *
 * The time is when the signaler called umf_fence_signal(), or when its job or watch signaled. The
 * value was not reached before. An import passes on when the kernel fence signaled. If several
 * signalers race for one value, the time is the latest of theirs. It is never that of another
 * value. A process that sees the value reached finds its time, unless the value is old.
 *
 * The clock is CLOCK_MONOTONIC of the signaler's time namespace, and for kernel fences that of the
 * host. These are one clock, unless a process runs in a container with a clock of its own
 * (time_namespaces(7)): then its times cannot be compared with others. A time that is in the
 * future by the caller's clock is not returned. A process that can write to the page can write any
 * other time.
 *
 * @fence: the fence.
 * @value: the value that was signaled. At most UINT32_MAX for a 32-bit fence.
 * @out_ns: receives the time in nanoseconds. Written only on success.
 *
 * Return: 0 on success, or
 *   -EINVAL  @fence or @out_ns is NULL, or @value does not fit in 32 bits
 *   -ENOENT  no time is known: the value is not reached, or was passed by a signal of a greater
 *            value; seven values were signaled after it; a device signaled it; the page has no
 *            UMF_PAGE_TIMESTAMPS; or the fence has UMF_FENCE_UNORDERED, whose values recur
 *   -ESTALE  the fence ended, and its slot was used again: see umf_fence_create()
 *
 * Thread-safe and async-signal-safe. Since 0.1.
 */
int umf_fence_timestamp(const struct umf_fence *fence, uint64_t value, uint64_t *out_ns);

/**
 * Fail a fence: end every wait for a value that it has not reached.
 *
 * Such waits, in all processes, return -EIO, or -EOWNERDEAD if that is the error;
 * umf_fence_error() returns the error. umf_fence_signal() no longer raises the value; values that
 * a device still writes count. Waits for values that are reached still succeed, and so do waits
 * with UMF_WAIT_PENDING for values that were submitted before. The first error stays. A second
 * call keeps it and wakes all waiters once more.
 *
 * @fence: the fence.
 * @error: a negative errno, -4095 to -1, as in the kernel's dma_fence_set_error().
 *
 * Return: 0 on success, or
 *   -EINVAL  @fence is NULL, or @error is out of range
 *   -ESTALE  the fence ended: see umf_fence_create()
 *   -EACCES  this process may not fail the fence: UMF_PAGE_SINGLE_WRITER
 *
 * Thread-safe and async-signal-safe. Since 0.1.
 */
int umf_fence_set_error(struct umf_fence *fence, int error);

/**
 * Get the error that a fence carries.
 *
 * @fence: the fence.
 * @out_error: receives 0 for none, else a negative errno: that of umf_fence_set_error(), or that
 *     of a kernel fence that was imported. Written only on success.
 *
 * Return: 0 on success, or
 *   -EINVAL  @fence or @out_error is NULL
 *   -ESTALE  the fence ended: see umf_fence_create()
 *
 * Thread-safe and async-signal-safe. Since 0.1.
 */
int umf_fence_error(const struct umf_fence *fence, int *out_error);

/* --- Fences that a device writes -------------------------------------------------------------- */

/*
 * A device can write the value of a fence in the page, at umf_fence_offset(), or in memory that
 * its driver mapped, with umf_fence_create_in(). Its write wakes no waiter: the driver calls
 * umf_page_notify() or umf_fence_notify() after an interrupt, or gives the waits of its process a
 * notifier (umf_notifier_create()). Without either, waits poll (UMF_FENCE_DEVICE).
 */

/**
 * Get the offset of a fence's value in its page.
 *
 * The value is 8 bytes aligned to 64, or for a 32-bit fence 4 bytes aligned to 4, in the byte
 * order of the machine. A device writes it with one atomic access of that size, after the results
 * of its work have become visible. It never writes a smaller value. It may write the values of its
 * fences and nothing else.
 *
 * A CPU reaches the value at umf_page_get_memory() plus the offset. It is ordinary cached memory.
 * A device reaches it through umf_page_export_dma_buf(), or through that mapping, if its driver
 * imports the memory of a file by its address. The kernel's i915 and xe do. amdgpu and radeon
 * accept anonymous memory only; amdgpu refuses the mapping with -EPERM. nouveau, msm, panthor and
 * asahi have no such call. docs/devices.md has the list. A device that cannot import the page
 * writes into a buffer of its own: umf_fence_create_in(). Byte n of the page is byte n in the
 * mapping and in the dma-buf.
 *
 * @fence: the fence.
 *
 * Return: the offset in bytes. UINT64_MAX for NULL, and if the value is not in the page
 * (umf_fence_create_in()).
 *
 * Thread-safe and async-signal-safe. Since 0.1.
 */
uint64_t umf_fence_offset(const struct umf_fence *fence);

/**
 * Get the offset of the value that tells a device when to interrupt.
 *
 * The device has to interrupt when it writes a value beyond the monitored one, and need not
 * interrupt otherwise. The monitored value is 8 bytes, UINT64_MAX while no waiter sleeps. For a
 * 32-bit fence its low 32 bits count, and wrap around, unless all 64 bits are ones. The device
 * first writes the fence's value, then reads the monitored value, with a full barrier between. The
 * handler of the interrupt calls umf_fence_notify(). Only fences with UMF_FENCE_DEVICE have their
 * monitored value kept up to date. Of a fence with UMF_FENCE_UNORDERED it is 0 while a waiter
 * sleeps: the device interrupts for each value then, also for 0.
 *
 * @fence: the fence.
 *
 * Return: the offset in the page, in bytes. UINT64_MAX for NULL, and in a page with
 * UMF_PAGE_SINGLE_WRITER: other processes cannot tell the device there that they wait, so it has
 * to interrupt for each value.
 *
 * Thread-safe and async-signal-safe. Since 0.1.
 */
uint64_t umf_fence_monitored_offset(const struct umf_fence *fence);

/**
 * Wake the waiters of a fence whose value a device wrote.
 *
 * The code that handles the device's interrupt calls this, or umf_page_notify(), which looks for
 * the fences that were written. Waiters whose value is not reached go back to sleep. The call also
 * wakes waiters that a process left asleep when it died within umf_fence_signal(), after it wrote
 * the value and before it woke them.
 *
 * @fence: the fence.
 *
 * Return: 0 on success, or
 *   -EINVAL  @fence is NULL
 *   -ESTALE  the fence ended: see umf_fence_create()
 *   -EACCES  this process may not wake the waiters: UMF_PAGE_SINGLE_WRITER
 *
 * Thread-safe and async-signal-safe. Since 0.1.
 */
int umf_fence_notify(struct umf_fence *fence);

/**
 * Where this process mapped a fence's value in memory of a driver.
 *
 * For umf_fence_create_in() and umf_fence_open_in(). Later versions may add members at the end.
 * Since 0.1.
 */
struct umf_mapping {
    /** sizeof(struct umf_mapping). */
    uint32_t size;
    /** Must be 0. */
    uint32_t reserved;
    /**
     * The address of the value. It only has to be readable.
     *
     * The value is 8 bytes aligned to 8, or for a 32-bit fence 4 bytes aligned to 4.
     */
    const void *value;
    /** Passed to release. */
    void *data;
    /**
     * Called once, on any thread, when the library will not read the value again. See "Release
     * functions" above.
     *
     * That is after this process ended its last reference to the fence. The function may unmap and
     * free the memory. The child of a fork has a reference, a mapping and a call of its own. May
     * be NULL. Not called if the function that was given the struct fails.
     */
    void (*release)(void *data);
};

/**
 * Flag of umf_fence_create_in() and umf_fence_open_in(): a value of all ones means that the device
 * is lost.
 *
 * Memory of a device that was removed or reset may read as all ones. Without this flag UINT64_MAX
 * is a value, which the process remembers as reached for ever. With it, such a read counts as no
 * value: no wait ends by it, and umf_fence_value() returns what was seen before. The driver then
 * fails the fence with umf_fence_set_error(), which ends the waits. The device never writes
 * UINT64_MAX to such a fence. Each process gives the flag for its own mapping. Only for 64-bit
 * fences: a 32-bit value wraps, so all ones is one of its values. Since 0.1.
 */
#define UMF_FENCE_ONES_LOST (1ULL << 3)

/**
 * Create a fence whose value is in memory of a driver.
 *
 * The memory is, for example, the mapping of a buffer object, host-visible Vulkan memory, or
 * pinned memory of CUDA. The fence is like one that umf_fence_create() makes with
 * UMF_FENCE_DEVICE, with these differences:
 *
 * - Only the device writes the value. The library reads the memory and never writes it, so the
 *   mapping may be write-combined, uncached or read-only. umf_fence_signal(), and imports and
 *   watches that would signal the fence, return -EACCES. A CPU may write the value as a device
 *   does, with one store, and then call umf_fence_notify().
 * - Waiters sleep on words in the slot, since the kernel's futexes refuse such memory. They still
 *   need the page.
 * - Another process that opens the fence has to map the memory too, and call umf_fence_open_in().
 *   The page does not tell where the memory is.
 * - After the fence ended, the contents of the memory count for no process.
 *
 * The memory must be coherent: a load finds what the device wrote in finite time, without any call
 * (in Vulkan: VK_MEMORY_PROPERTY_HOST_COHERENT_BIT). Do not use memory that has to be invalidated
 * or synchronized before a read: the library cannot detect it, and its waits would not end. The
 * memory must stay readable until release is called, even when the device is lost; in that case,
 * fail the fence with umf_fence_set_error(), and see UMF_FENCE_ONES_LOST. The device writes the
 * value with one atomic access of its size, after the results of its work have become visible. It
 * never writes a smaller value, unless the fence has UMF_FENCE_UNORDERED.
 *
 * @page: the page in which the fence takes a slot. The fence keeps a reference to it.
 * @memory: where the value is; its current contents are the initial value. The struct stays the
 *     caller's.
 * @flags: UMF_FENCE_32BIT, UMF_FENCE_UNORDERED, UMF_FENCE_ONES_LOST, or 0.
 * @out_fence: receives a reference, which the caller ends with umf_fence_unref(). Written only on
 *     success.
 *
 * Return: 0 on success, or
 *   -EINVAL  @page, @memory, memory->value or @out_fence is NULL; memory->size is less than the
 *            first version of the struct; memory->reserved is not 0; memory->value is not aligned;
 *            @flags has unknown bits, or more than one; or the device is lost already
 *   -ENOSPC  all slots of the page are in use
 *   -EACCES  this process imported the page, which has UMF_PAGE_SINGLE_WRITER, or imported it with
 *            UMF_PAGE_READ_ONLY
 *   -ENOMEM  no memory is left
 *
 * Thread-safe. Since 0.1.
 */
int umf_fence_create_in(struct umf_page *page,
                        const struct umf_mapping *memory,
                        uint64_t flags,
                        struct umf_fence **out_fence);

/**
 * Open a fence whose value is in memory of a driver.
 *
 * Another process created the fence with umf_fence_create_in(), and this process has mapped the
 * same memory. Opening the same fence twice gives two references to one object, which keeps the
 * memory that it was first opened with. A mapping that is given later is released before the call
 * returns.
 *
 * @page: the page, usually an imported one. The fence keeps a reference to it.
 * @index: what umf_fence_index() returns in the process that created the fence.
 * @memory: where the value is. The struct stays the caller's.
 * @flags: UMF_FENCE_ONES_LOST, or 0.
 * @out_fence: receives a reference, which the caller ends with umf_fence_unref(). Written only on
 *     success.
 *
 * Return: 0 on success, or
 *   -EINVAL  @page, @memory, memory->value or @out_fence is NULL; memory->size is less than the
 *            first version of the struct; memory->reserved is not 0; memory->value is not aligned
 *            for the fence's width; @flags has unknown bits, or does not fit a 32-bit fence; the
 *            fence's value is in the page; or the device is lost already
 *   -EACCES  the page was imported with UMF_PAGE_READ_ONLY
 *   -ENOENT  the page has no such index, or no fence lives there now
 *   -ENOMEM  no memory is left
 *
 * Thread-safe. Since 0.1.
 */
int umf_fence_open_in(struct umf_page *page,
                      uint32_t index,
                      const struct umf_mapping *memory,
                      uint64_t flags,
                      struct umf_fence **out_fence);

/* --- Notifiers: how the waits of a process hear a device's interrupts ------------------------- */

/*
 * A notifier is one place where interrupts arrive, for any number of fences: those of a page, or
 * those that the driver names. All waits, watches, conversions and queues of the process that wait
 * for these fences then sleep instead of polling. A driver whose own interrupt handler calls
 * umf_page_notify() needs no notifier.
 */

/** Where a device's interrupts arrive, for any number of fences. Reference counted. Since 0.1. */
struct umf_notifier;

/**
 * Where a device's interrupts arrive.
 *
 * For umf_notifier_create(). Exactly one of fd and wait is given. Later versions may add members
 * at the end. Since 0.1.
 */
struct umf_interrupt {
    /** sizeof(struct umf_interrupt). */
    uint32_t size;
    /**
     * A descriptor that becomes readable after the device's interrupt. Set -1 if wait is given: a
     * zeroed struct names descriptor 0, the standard input. The library reads it and discards the
     * data. It must not block (O_NONBLOCK): otherwise another reader could hold up the library. It
     * is an eventfd, a socket, a pipe, a character device or the like, not a file of a file
     * system. Use one descriptor for each process: what one process reads, the others do not hear.
     */
    int fd;
    /**
     * Sleeps until the device interrupted, at most until @abs_timeout_ns.
     *
     * It returns at once if the device interrupted since the last call. Return any value: it is
     * ignored. The notifier's thread calls it, and only while somebody waits. The monitored value
     * of a fence (umf_fence_monitored_offset()) is below the values that are waited for.
     * @abs_timeout_ns is at most a second ahead, on this process's CLOCK_MONOTONIC; in a time
     * namespace, the ioctls of DRM count on the host's. It must not end the notifier. NULL for
     * none.
     */
    int (*wait)(void *data, uint64_t abs_timeout_ns);
    /** Passed to wait and release. */
    void *data;
    /**
     * Called once, on any thread, when wait will not be called again. See "Release functions"
     * above.
     *
     * That is after the last reference to the notifier ended and the last call of wait returned.
     * May be NULL. Not called for fd, nor if umf_notifier_create() fails.
     */
    void (*release)(void *data);
};

/**
 * Create a notifier from a place where interrupts arrive.
 *
 * The notifier has a thread. While a wait, a watch or a queue of this process waits for a fence of
 * the notifier, the thread sleeps at @interrupt. After an interrupt, it reads the fences that it
 * was set for, and wakes the waiters whose value a device has written, in all processes. While
 * nobody waits, the thread sleeps whatever the device does.
 *
 * What a misbehaving device costs:
 *
 * - It writes and does not interrupt: the thread reads the fences every 20 seconds too, while
 *   somebody waits. Each value that it finds so makes that time shorter, down to 4 milliseconds.
 * - It interrupts and does not write, or @interrupt is always readable: the thread takes at most a
 *   twentieth of a core for it, and notices values some milliseconds late.
 * - It hangs up, or the other end of the descriptor is closed: the thread reads the fences every 4
 *   milliseconds while somebody waits. The driver should fail the fences (umf_fence_set_error()).
 * - It writes a smaller value: that counts as not written. What was seen as reached stays reached.
 *
 * In other processes the notifier does nothing, but what this process wakes: each process creates
 * one of its own, or its waits poll (UMF_FENCE_DEVICE). So does the child of a fork.
 *
 * @interrupt: where interrupts arrive. The struct stays the caller's; interrupt->fd is duplicated;
 *     interrupt->data has to stay valid until interrupt->release is called.
 * @flags: must be 0.
 * @out_notifier: receives a reference, which the caller ends with umf_notifier_unref(). Written
 *     only on success.
 *
 * Return: 0 on success, or
 *   -EINVAL           @interrupt or @out_notifier is NULL; interrupt->size is less than the first
 *                     version of the struct; both or neither of fd and wait are given; fd can
 *                     block, or is of a file in a file system; @flags is not 0
 *   -EBADF            interrupt->fd is not open
 *   -ENOMEM           no memory is left, or no thread
 *   -EMFILE, -ENFILE  no file descriptor is left, in the process or in the system
 *
 * Thread-safe. Since 0.1.
 */
int umf_notifier_create(const struct umf_interrupt *interrupt,
                        uint64_t flags,
                        struct umf_notifier **out_notifier);

/**
 * Add a reference to a notifier.
 *
 * @notifier: the notifier, or NULL.
 *
 * Return: @notifier. The caller ends the new reference with umf_notifier_unref().
 *
 * Thread-safe and async-signal-safe. Since 0.1.
 */
struct umf_notifier *umf_notifier_ref(struct umf_notifier *notifier);

/**
 * End a reference to a notifier.
 *
 * The fences and pages that it was set for hold references too. With the last one its thread ends
 * and the library's descriptors are closed.
 *
 * @notifier: the notifier. NULL does nothing.
 *
 * Thread-safe. Since 0.1.
 */
void umf_notifier_unref(struct umf_notifier *notifier);

/**
 * Set the notifier of a fence that a device writes.
 *
 * Waits, watches and jobs of this process that begin after the call hear it. A fence keeps its
 * notifier until this process ends its last reference to the fence. To set the same one again
 * changes nothing. The child of a fork may set a notifier of its own.
 *
 * @fence: a fence with UMF_FENCE_DEVICE. It holds a reference to @notifier.
 * @notifier: the notifier.
 *
 * Return: 0 on success, or
 *   -EINVAL    @fence or @notifier is NULL, or @fence has no UMF_FENCE_DEVICE
 *   -EALREADY  the fence has another notifier
 *   -EACCES    this process imported the page, which has UMF_PAGE_SINGLE_WRITER
 *   -ESTALE    @notifier belongs to the process that this one was forked from
 *   -ENOMEM    no memory is left
 *
 * Thread-safe. Since 0.1.
 */
int umf_fence_set_notifier(struct umf_fence *fence, struct umf_notifier *notifier);

/**
 * Set the notifier of all fences of a page that a device writes.
 *
 * As umf_fence_set_notifier() for each fence with UMF_FENCE_DEVICE that this process has open and
 * that has no notifier, and for each that it creates or opens later. If there is no memory for
 * one of these fences, waits for that fence poll.
 *
 * @page: the page. It holds a reference to @notifier.
 * @notifier: the notifier.
 *
 * Return: 0 on success, or
 *   -EINVAL    @page or @notifier is NULL
 *   -EALREADY  the page has another notifier
 *   -EACCES    this process imported the page, which has UMF_PAGE_SINGLE_WRITER, or imported it
 *              with UMF_PAGE_READ_ONLY
 *   -ESTALE    @notifier belongs to the process that this one was forked from
 *   -ENOMEM    no memory is left
 *
 * Thread-safe. Since 0.1.
 */
int umf_page_set_notifier(struct umf_page *page, struct umf_notifier *notifier);

/**
 * Wake the waiters of a page's fences that a device wrote.
 *
 * The code that handles the device's interrupt calls this, once for all fences of the page. It
 * reads each fence with UMF_FENCE_DEVICE, and wakes the waiters for the values that were written
 * since the last call in any process, of this function or of a notifier. Waiters of other fences
 * sleep on. A value of umf_fence_create_in() is not read: all waiters of such a fence are woken.
 * The call takes time in proportion to the size of the page.
 *
 * @page: the page.
 *
 * Return: 0 on success, or
 *   -EINVAL  @page is NULL
 *   -EACCES  this process imported the page, which has UMF_PAGE_SINGLE_WRITER, or imported it with
 *            UMF_PAGE_READ_ONLY
 *
 * Thread-safe and async-signal-safe. Since 0.1.
 */
int umf_page_notify(struct umf_page *page);

/* --- Waiting ---------------------------------------------------------------------------------- */

/*
 * A wait blocks the calling thread. To be called back instead, see umf_loop_watch(); to run work
 * after a wait, see umf_queue_submit().
 */

/**
 * Wait until a fence reaches a value.
 *
 * Returns 0 once the fence's value is at least @value. Memory that the signaler wrote before it
 * signaled is then visible to the caller. Later calls in this process see the value as reached,
 * whatever a peer does (but see UMF_FENCE_32BIT and UMF_FENCE_UNORDERED). Waiting may start before
 * work for the value is submitted. The thread sleeps; it uses no CPU unless a device writes the
 * fence without an interrupt (UMF_FENCE_DEVICE). umf_wait() waits for many fences.
 *
 * A process that can write to the page can also wake the thread for nothing, as often as it likes.
 * That takes at most a twentieth of a core, for all threads of this process together. A wait that
 * is disturbed more than four times may then end late: by about 0.2 ms for each disturbed thread.
 *
 * @fence: the fence. The caller keeps its reference until the call returns.
 * @value: the value to wait for. At most UINT32_MAX for a 32-bit fence.
 * @abs_timeout_ns: absolute CLOCK_MONOTONIC time in nanoseconds. 0 checks once; UINT64_MAX waits
 *     forever.
 *
 * Return: 0 on success, or
 *   -ETIME       the deadline passed first, or the one check did not find the value reached
 *   -EIO         the fence failed before it reached @value; umf_fence_error() has the cause
 *   -EOWNERDEAD  as -EIO; the error is -EOWNERDEAD: the signaler died
 *   -ESTALE      the fence ended before it reached @value: see umf_fence_create()
 *   -EINVAL      @fence is NULL, or @value does not fit in 32 bits
 *
 * POSIX signals do not interrupt the wait. Thread-safe and async-signal-safe, unless the fence has
 * a notifier whose wait function is not. Since 0.1.
 */
int umf_fence_wait(struct umf_fence *fence, uint64_t value, uint64_t abs_timeout_ns);

/** The maximum number of entries of one umf_wait(). Since 0.1. */
#define UMF_WAIT_MAX 1048576

/** Flag of umf_wait(): wait until one of the entries is met, not all of them. Since 0.1. */
#define UMF_WAIT_ANY (1ULL << 0)

/**
 * Flag of umf_wait(), wait sets, umf_loop_watch() and umf_loop_export_eventfd(): wait for the
 * pending value.
 *
 * The wait ends when work was submitted that will signal the value (umf_fence_submit()), before it
 * is signaled. Since 0.1.
 */
#define UMF_WAIT_PENDING (1ULL << 1)

/** Value of umf_condition.op: the fence's value is at least the entry's. Since 0.1. */
#define UMF_OP_GE 0

/** Value of umf_condition.op: the fence's value is greater than the entry's. Since 0.1. */
#define UMF_OP_GT 1

/**
 * Value of umf_condition.op: the fence's value equals the entry's.
 *
 * The wait may miss a value that later signals pass. Since 0.1.
 */
#define UMF_OP_EQ 2

/** Value of umf_condition.op: the fence's value differs from the entry's. Since 0.1. */
#define UMF_OP_NE 3

/** Value of umf_condition.op: the fence's value is less than the entry's. Since 0.1. */
#define UMF_OP_LT 4

/** Value of umf_condition.op: the fence's value is at most the entry's. Since 0.1. */
#define UMF_OP_LE 5

/**
 * Bit of umf_condition.op, beside one of the values above: compare signed numbers.
 *
 * Only for fences with UMF_FENCE_UNORDERED, and without a mask. Since 0.1.
 */
#define UMF_OP_SIGNED 256

/** A condition on one fence, for umf_wait(), wait sets, watches and jobs. Since 0.1. */
struct umf_condition {
    /** The fence. The caller keeps its reference until the call returns. */
    struct umf_fence *fence;
    /** The value that the fence's value is compared with. At most UINT32_MAX for a 32-bit fence. */
    uint64_t value;
    /** UMF_OP_GE to UMF_OP_LE, and UMF_OP_SIGNED or not. The fence's value is on the left. */
    uint32_t op;
    /** Must be 0. */
    uint32_t reserved;
    /**
     * 0 for all bits, or the bits to compare.
     *
     * With a mask, the condition is (fence's value & mask) op (value & mask), as plain numbers.
     */
    uint64_t mask;
};

/**
 * Wait for many fences, of any pages.
 *
 * Waits until all entries are met, or with UMF_WAIT_ANY until one is. Memory that a signaler wrote
 * before it signaled the value of an entry that is met is then visible to the caller.
 *
 * An entry that is met stays met, whatever happens to its fence during the wait. If a fence fails
 * or ends before its entry is met, the wait returns that error, even if others could still be met.
 * With UMF_WAIT_ANY, an entry that is already met takes precedence over a failure. Use
 * umf_fence_error() to find the fence that failed, and remove its entry before the next call: it
 * would end that wait too.
 *
 * A wait for all checks the entries in order. For UMF_OP_GE and UMF_OP_GT the order makes no
 * difference. An entry with another operator is met if it holds when the wait reaches it.
 * See UMF_FENCE_UNORDERED for the rewinds that a wait does not remember.
 *
 * The thread sleeps and uses no CPU, except as UMF_CAP_WAIT_MANY_PAGES and UMF_FENCE_DEVICE say.
 *
 * A process that can write to a page may disturb the waits there: see umf_fence_wait(). A wait
 * with more than 32 entries, or with device-written ones among them, is then late for the fences
 * of that page by up to 25 times what a check of its entries takes. Other pages are not affected.
 *
 * @waits: the entries. A fence may appear more than once. The array stays the caller's.
 * @count: the number of entries, 1 to UMF_WAIT_MAX. Unlike in Vulkan, 0 is an error.
 * @flags: UMF_WAIT_* bits. 0 waits until all values are signaled.
 * @abs_timeout_ns: absolute CLOCK_MONOTONIC time in nanoseconds. 0 checks once; UINT64_MAX waits
 *     forever.
 * @out_index: with UMF_WAIT_ANY, receives the index of an entry that is met. May be NULL. Not
 *     written on failure: it does not name a fence that failed. Not written without UMF_WAIT_ANY.
 *
 * Return: 0 on success, or
 *   -EINVAL      @waits is NULL, @count is out of range, or @flags has unknown bits; an entry's
 *                fence is NULL, its op is unknown, its reserved is not 0, or its value is above
 *                UINT32_MAX for a 32-bit fence; with UMF_WAIT_PENDING, an op is not UMF_OP_GE or
 *                UMF_OP_GT, a mask is not 0, or a fence has UMF_FENCE_UNORDERED; UMF_OP_SIGNED for
 *                another fence, or with a mask
 *   -ETIME       the deadline passed first, or the one check did not find the entries met
 *   -ERANGE      the value of a 64-bit fence is beyond where its entry, which has no mask, could
 *                still be met
 *   -EIO         a fence failed before its entry was met: see umf_fence_error()
 *   -EOWNERDEAD  as -EIO; the error is -EOWNERDEAD: the signaler died
 *   -ESTALE      a fence ended before its entry was met: see umf_fence_create()
 *
 * POSIX signals do not interrupt the wait. Thread-safe; async-signal-safe for up to 128 entries.
 * A wait that blocks may map some KiB of memory with mmap(), which it unmaps before it returns:
 * for more than three entries, or several notifiers. If that fails, it polls. With more than eight
 * entries, of which one has UMF_FENCE_UNORDERED, it does the same; if that fails, its last entries
 * miss rewinds. With more than 128 entries, it also allocates memory, and is slower if there is
 * none. Since 0.1.
 */
int umf_wait(const struct umf_condition *waits,
             uint32_t count,
             uint64_t flags,
             uint64_t abs_timeout_ns,
             uint32_t *out_index);

/* --- Wait sets -------------------------------------------------------------------------------- */

/*
 * A wait set is for a thread that waits for any of the same fences again and again, as epoll is
 * for descriptors. umf_wait() reads its whole list in each call. A set is told once, and a wait
 * then costs what has changed. To be called back instead, or to wait in an event loop beside
 * descriptors, see umf_loop_watch().
 */

/**
 * A wait set: conditions on fences, which threads wait for again and again. Reference counted.
 * Since 0.1.
 */
struct umf_wait_set;

/** An entry that umf_wait_set_wait() reports. Since 0.1. */
struct umf_wait_set_result {
    /** The entry, as umf_wait_set_add() named it. */
    uint64_t id;
    /** What the caller gave umf_wait_set_add() for the entry. */
    uint64_t user_data;
    /**
     * 0 if the condition is met. Else why it never will be:
     *
     *   -EIO         the fence failed: see umf_fence_error()
     *   -EOWNERDEAD  the fence failed because its signaler died
     *   -ESTALE      the fence ended: see umf_fence_create()
     *   -ERANGE      the value of a 64-bit fence is beyond where the condition, which has no mask,
     *                could still be met
     */
    int result;
    /** 0. */
    uint32_t reserved;
};

/**
 * Create a wait set without entries.
 *
 * A set takes no file descriptor and has no thread. It belongs to its process. In the child of a
 * fork, calls with it return -ESTALE, and the child can only end its references.
 *
 * @flags: must be 0.
 * @out_set: receives a reference, which the caller ends with umf_wait_set_unref(). Written only on
 *     success.
 *
 * Return: 0 on success, or
 *   -EINVAL  @flags is not 0, or @out_set is NULL
 *   -ENOMEM  no memory is left
 *
 * Thread-safe. Since 0.1.
 */
int umf_wait_set_create(uint64_t flags, struct umf_wait_set **out_set);

/**
 * Add a reference to a wait set.
 *
 * @set: the set, or NULL.
 *
 * Return: @set. The caller ends the new reference with umf_wait_set_unref().
 *
 * Thread-safe and async-signal-safe. Since 0.1.
 */
struct umf_wait_set *umf_wait_set_ref(struct umf_wait_set *set);

/**
 * End a reference to a wait set.
 *
 * With the last reference the set ends its references to the fences of its entries, and with them
 * the fences that nobody else refers to. A thread that waits keeps the set until it returns, and
 * is not woken: to end its wait, add a fence for that purpose, and signal it.
 *
 * @set: the set. NULL does nothing.
 *
 * Thread-safe. Since 0.1.
 */
void umf_wait_set_unref(struct umf_wait_set *set);

/**
 * Add a condition to a wait set.
 *
 * A set may have several entries for one fence. A thread that waits notices the new entry. An
 * entry that is not met is registered as a waiter, also while no thread waits: the next signal
 * near its value costs the signaler a system call.
 *
 * @set: the set.
 * @wait: the condition, as an entry of umf_wait(). Copied. The set keeps a reference to the fence
 *     until the entry is removed, so the fence does not end with the last reference of its
 *     creator.
 * @flags: UMF_WAIT_PENDING, or 0.
 * @user_data: any number. Each report of the entry has it.
 * @out_id: receives the entry's id. It is never 0, and names no other entry later. Written only on
 *     success.
 *
 * Return: 0 on success, also if the condition is met already or never will be (a wait reports
 * that), or
 *   -EINVAL  @set, @wait or @out_id is NULL, @flags has unknown bits, or umf_wait() would refuse
 *            the entry
 *   -ENOMEM  no memory is left
 *   -ESTALE  the set belongs to another process
 *
 * Thread-safe. Since 0.1.
 */
int umf_wait_set_add(struct umf_wait_set *set,
                     const struct umf_condition *wait,
                     uint64_t flags,
                     uint64_t user_data,
                     uint64_t *out_id);

/**
 * Give an entry of a wait set another condition.
 *
 * This is how a thread goes on to a fence's next value. It takes no memory, and is faster than to
 * remove the entry and to add another. A thread that waits notices the new condition.
 *
 * @set: the set.
 * @id: the entry.
 * @wait: the condition. Copied. It has the same fence as before.
 * @flags: UMF_WAIT_PENDING, or 0.
 *
 * Return: 0 on success, or
 *   -EINVAL  @set or @wait is NULL, @flags has unknown bits, umf_wait() would refuse the entry, or
 *            the condition is on another fence
 *   -ENOENT  the set has no such entry, or it was removed
 *   -ESTALE  the set belongs to another process
 *
 * Thread-safe. Since 0.1.
 */
int umf_wait_set_modify(struct umf_wait_set *set,
                        uint64_t id,
                        const struct umf_condition *wait,
                        uint64_t flags);

/**
 * Remove an entry from a wait set.
 *
 * No call of umf_wait_set_wait() that begins later reports it. One that is about to return on
 * another thread may.
 *
 * @set: the set.
 * @id: the entry.
 *
 * Return: 0 on success, or
 *   -EINVAL  @set is NULL
 *   -ENOENT  the set has no such entry, or it was removed
 *   -ESTALE  the set belongs to another process
 *
 * Thread-safe. Since 0.1.
 */
int umf_wait_set_remove(struct umf_wait_set *set, uint64_t id);

/**
 * Wait until entries of a wait set are met, or can no longer be.
 *
 * Reports the entries that are ready. It is level-triggered, as epoll is: each wait reports an
 * entry again, as long as its condition is met, or after its fence failed or ended, until the
 * entry is modified or removed. If more entries are ready than @results has room for, the next
 * waits report the others first. Memory that a signaler wrote before it signaled the value of an
 * entry that is reported as met is then visible to the caller.
 *
 * An entry of a fence with UMF_FENCE_UNORDERED is also reported, once, if its condition was met
 * since the entry was last added, modified or reported, and is not any more: see
 * UMF_FENCE_UNORDERED. So a caller that rewinds a fence after a report modifies the entry, to wait
 * for the next time alone.
 *
 * A wait costs what has changed since the last one, however many entries the set has. There are
 * three exceptions. If more than 256 events of a page came meanwhile, all entries for that page
 * are checked once. Entries of fences with UMF_FENCE_DEVICE that had no notifier when they were
 * added are checked at intervals, as in umf_wait(). With an entry of a fence with
 * UMF_FENCE_UNORDERED that is added, modified, or reported for a value that is gone, the others of
 * that fence are checked.
 *
 * Several threads may wait for one set, and add, modify and remove entries meanwhile. Each of
 * those that sleep when an entry becomes ready may report it. A wait for a set without entries
 * lasts until another thread adds one.
 *
 * The thread sleeps and uses no CPU, except as UMF_CAP_WAIT_MANY_PAGES and UMF_FENCE_DEVICE say.
 * It can sleep for entries of up to 126 pages, and polls for a set of more. Where a sandbox may
 * kill for futex_waitv, a thread that waits for a set of one page wakes once a second. A process
 * that can write to a page may disturb the waits there: see umf_wait().
 *
 * @set: the set. The caller keeps its reference until the call returns.
 * @results: receives the entries.
 * @count: the number of elements in @results, at least 1.
 * @abs_timeout_ns: absolute CLOCK_MONOTONIC time in nanoseconds. 0 checks once; UINT64_MAX waits
 *     forever.
 * @out_count: receives how many entries are reported, at least 1. Written only on success.
 *
 * Return: 0 on success, or
 *   -EINVAL  @set, @results or @out_count is NULL, or @count is 0
 *   -ETIME   the deadline passed first, or the one check found no entry ready
 *   -ENOMEM  no memory is left for the list of the set's pages, which have changed
 *   -ESTALE  the set belongs to another process
 *
 * POSIX signals do not interrupt the wait. It is no cancellation point. Thread-safe. Since 0.1.
 */
int umf_wait_set_wait(struct umf_wait_set *set,
                      struct umf_wait_set_result *results,
                      uint32_t count,
                      uint64_t abs_timeout_ns,
                      uint32_t *out_count);

/* --- DRM devices ------------------------------------------------------------------------------ */

/*
 * A device is an open DRM device file, which the conversions to and from drm_syncobj need.
 */

/** A DRM device file, for conversions to and from kernel fences. Reference counted. Since 0.1. */
struct umf_device;

/**
 * Make a device from the descriptor of a DRM device.
 *
 * The descriptor is one of a render node or a card node; the caller need not be DRM master. A
 * device without syncobjs is accepted too: umf_device_query_caps() tells what it can do.
 *
 * @drm_fd: the DRM device. Stays the caller's, which may close it after the call: the library
 *     duplicates it. syncobj handles given with this device are those of this open file.
 * @flags: must be 0.
 * @out_device: receives a reference, which the caller ends with umf_device_unref(). Written only
 *     on success.
 *
 * Return: 0 on success, or
 *   -EINVAL           @drm_fd is not a DRM device, @flags is not 0, or @out_device is NULL
 *   -EBADF            @drm_fd is not open
 *   -EACCES           the kernel or a sandbox refuses the calls
 *   -ENODEV           the device is gone: unplugged, unbound from its driver, or disabled
 *   -ENOMEM           no memory is left
 *   -EMFILE, -ENFILE  no file descriptor is left, in the process or in the system
 *
 * Thread-safe. Since 0.1.
 */
int umf_device_create(int drm_fd, uint64_t flags, struct umf_device **out_device);

/** Bit of umf_device_caps.flags: the device has binary syncobjs. Since 0.1. */
#define UMF_DEVICE_CAP_SYNCOBJ (1ULL << 0)

/** Bit of umf_device_caps.flags: the device has timeline syncobjs. Since 0.1. */
#define UMF_DEVICE_CAP_TIMELINE (1ULL << 1)

/** Bit of umf_device_caps.flags: a syncobj point can signal an eventfd (Linux 6.6). Since 0.1. */
#define UMF_DEVICE_CAP_EVENTFD (1ULL << 2)

/**
 * Bit of umf_device_caps.flags: a syncobj wait can carry a deadline hint (Linux 6.8).
 *
 * umf_fence_import_syncobj() passes its deadline on. Since 0.1.
 */
#define UMF_DEVICE_CAP_DEADLINE (1ULL << 3)

/**
 * What a device and its kernel can do. umf_device_query_caps() fills it in. Later versions may add
 * members at the end. Since 0.1.
 */
struct umf_device_caps {
    /** In: sizeof(struct umf_device_caps). Out: the number of bytes that the library knows. */
    uint32_t size;
    /** 0. */
    uint32_t reserved;
    /** UMF_DEVICE_CAP_* bits. */
    uint64_t flags;
};

/**
 * Get what a device and its kernel can do.
 *
 * @device: the device.
 * @caps: receives the answer. The caller sets caps->size to sizeof(*caps) first. A library older
 *     than the caller's header fills in the members that it knows, and zeroes the rest. Stays the
 *     caller's.
 *
 * Return: 0 on success, or
 *   -EINVAL  @device or @caps is NULL, or caps->size is less than the first version of the struct,
 *            or more than 256
 *
 * Thread-safe. Since 0.1.
 */
int umf_device_query_caps(const struct umf_device *device, struct umf_device_caps *caps);

/**
 * Add a reference to a device.
 *
 * @device: the device, or NULL.
 *
 * Return: @device. The caller ends the new reference with umf_device_unref().
 *
 * Thread-safe and async-signal-safe. Since 0.1.
 */
struct umf_device *umf_device_ref(struct umf_device *device);

/**
 * End a reference to a device.
 *
 * The library's descriptor is closed with the last reference.
 *
 * @device: the device. NULL does nothing.
 *
 * Thread-safe. Since 0.1.
 */
void umf_device_unref(struct umf_device *device);

/* --- Conversions that wait -------------------------------------------------------------------- */

/*
 * These block until the source is signaled. A kernel fence that they make is signaled from the
 * start. An export of a value with an attached kernel fence passes that on and does not block: see
 * umf_fence_attach_sync_file(). An import that waits tells the kernel fence's driver its deadline,
 * which may raise the device's clocks (SYNC_IOC_SET_DEADLINE, Linux 6.5). Imports do not raise the
 * pending value: if waiters use UMF_WAIT_PENDING, call umf_fence_submit() first. The conversions
 * of an event loop (umf_loop_export_syncobj() and what follows it) do not block.
 */

/**
 * Wait until a fence reaches a value, then make a sync_file.
 *
 * The sync_file has already signaled when the caller gets it. If a kernel fence is attached to
 * @value (umf_fence_attach_sync_file()), the call returns a descriptor of that at once; it may be
 * pending. A call that fails makes none. When the sync_file signaled (SYNC_IOC_FILE_INFO) says
 * when the fence reached @value only if the call had to wait for that.
 *
 * @fence: the fence.
 * @value: the value to wait for. At most UINT32_MAX for a 32-bit fence.
 * @device: a device with syncobjs. NULL, or a device without them, needs UMF_CAP_UDMABUF.
 * @flags: must be 0.
 * @abs_timeout_ns: absolute CLOCK_MONOTONIC time in nanoseconds. 0 checks once; UINT64_MAX waits
 *     forever.
 * @out_fd: receives a new descriptor, close-on-exec, which the caller closes. Written only on
 *     success.
 *
 * Return: 0 on success, or
 *   -EINVAL           @fence or @out_fd is NULL, @value does not fit in 32 bits, or @flags is not
 *                     0
 *   -EOPNOTSUPP       there is neither a device with syncobjs nor /dev/udmabuf; returned before
 *                     the wait
 *   -ETIME            the deadline passed first
 *   -EIO              the fence failed before it reached @value; umf_fence_error() has the cause
 *   -EOWNERDEAD       as -EIO; the error is -EOWNERDEAD: the signaler died
 *   -ESTALE           the fence ended before it reached @value: see umf_fence_create()
 *   -ENODEV           the device is gone: unplugged, unbound from its driver, or disabled. Not if
 *                     the fence had reached @value before
 *   -ENOMEM           no memory is left
 *   -EMFILE, -ENFILE  no file descriptor is left, in the process or in the system
 *
 * POSIX signals do not interrupt the wait. Thread-safe. Since 0.1.
 */
int umf_fence_export_sync_file(struct umf_fence *fence,
                               uint64_t value,
                               struct umf_device *device,
                               uint64_t flags,
                               uint64_t abs_timeout_ns,
                               int *out_fd);

/**
 * Wait until a sync_file signals, then signal a value.
 *
 * If the kernel fence of the sync_file fails, the fence fails with its error, and the call returns
 * -EIO; umf_fence_error() has the error.
 *
 * @fence: the fence to signal.
 * @value: the value to signal. At most UINT32_MAX for a 32-bit fence.
 * @sync_file_fd: the sync_file. Stays the caller's. -1 stands for one that has signaled, as in
 *     Vulkan.
 * @flags: must be 0.
 * @abs_timeout_ns: absolute CLOCK_MONOTONIC time in nanoseconds. 0 checks once; UINT64_MAX waits
 *     forever.
 *
 * Return: 0 on success, or
 *   -EINVAL      @fence is NULL, its value is already beyond @value, or @value does not fit in 32
 *                bits; @sync_file_fd is not a sync_file; @flags is not 0
 *   -EBADF       @sync_file_fd is not open, or is below -1
 *   -ETIME       the deadline passed first. Nothing changed
 *   -EIO         the sync_file failed, or the fence carried an error before
 *   -EOWNERDEAD  as -EIO; the error is -EOWNERDEAD
 *   -ESTALE      the fence ended: see umf_fence_create()
 *   -EACCES      this process may not signal the fence: UMF_PAGE_SINGLE_WRITER,
 *                umf_fence_create_in()
 *   -ENOMEM      no memory is left
 *   -EMFILE      no file descriptor is left in the process
 *
 * POSIX signals do not interrupt the wait. Thread-safe. Since 0.1.
 */
int umf_fence_import_sync_file(struct umf_fence *fence,
                               uint64_t value,
                               int sync_file_fd,
                               uint64_t flags,
                               uint64_t abs_timeout_ns);

/**
 * Wait until a fence reaches a value, then signal a syncobj.
 *
 * The syncobj is a point of a timeline, or a binary one. Before the wait ends, no kernel fence
 * exists at the point: a consumer that supports wait-before-signal may be given the syncobj at any
 * time. If a kernel fence is attached to @value (umf_fence_attach_sync_file()), the call puts that
 * into the syncobj at once. A call that fails leaves the syncobj as it was.
 *
 * @fence: the fence.
 * @value: the value to wait for. At most UINT32_MAX for a 32-bit fence.
 * @device: the device that @handle belongs to.
 * @handle: the syncobj. Stays the caller's.
 * @point: the point to signal, beyond all points that were submitted to this timeline before. 0
 *     for a binary syncobj, whose fence is replaced. Never pass 0 for a timeline: that erases all
 *     its points.
 * @flags: must be 0.
 * @abs_timeout_ns: absolute CLOCK_MONOTONIC time in nanoseconds. 0 checks once; UINT64_MAX waits
 *     forever.
 *
 * Return: 0 on success, or
 *   -EINVAL      @fence or @device is NULL, @value does not fit in 32 bits, or @flags is not 0;
 *                @point is not beyond the last one (the kernel would accept it and never signal)
 *   -ENOENT      @handle names no syncobj
 *   -EOPNOTSUPP  the device has no syncobjs; or @point is not 0, and it has no timelines
 *   -ETIME       the deadline passed first
 *   -EIO         the fence failed before it reached @value; umf_fence_error() has the cause
 *   -EOWNERDEAD  as -EIO; the error is -EOWNERDEAD: the signaler died
 *   -ESTALE      the fence ended before it reached @value: see umf_fence_create()
 *   -ENODEV      the device is gone: unplugged, unbound from its driver, or disabled
 *   -ENOMEM      no memory is left
 *
 * POSIX signals do not interrupt the wait. Thread-safe, but see umf_loop_export_syncobj() for
 * threads that add points to one timeline at the same time. Since 0.1.
 */
int umf_fence_export_syncobj(struct umf_fence *fence,
                             uint64_t value,
                             struct umf_device *device,
                             uint32_t handle,
                             uint64_t point,
                             uint64_t flags,
                             uint64_t abs_timeout_ns);

/**
 * Wait until a syncobj point signals, then signal a value.
 *
 * The wait begins before a fence is submitted for the point, if necessary. If the point's fence
 * fails, the fence fails with its error, and the call returns -EIO; umf_fence_error() has the
 * error. A failure from before the call is known only for the last point of a timeline: of other
 * points the kernel keeps only that they signaled.
 *
 * @fence: the fence to signal.
 * @value: the value to signal. At most UINT32_MAX for a 32-bit fence.
 * @device: the device that @handle belongs to.
 * @handle: the syncobj. Stays the caller's.
 * @point: the point to wait for. 0 for a binary syncobj.
 * @flags: must be 0.
 * @abs_timeout_ns: absolute CLOCK_MONOTONIC time in nanoseconds. 0 checks once; UINT64_MAX waits
 *     forever.
 *
 * Return: 0 on success, or
 *   -EINVAL           @fence or @device is NULL, or @flags is not 0; the fence's value is already
 *                     beyond @value, or @value does not fit in 32 bits; a binary syncobj was reset
 *                     during the wait
 *   -ENOENT           @handle names no syncobj
 *   -EOPNOTSUPP       the device has no syncobjs; or @point is not 0, and it has no timelines
 *   -ETIME            the deadline passed before the point was submitted or before it signaled.
 *                     Nothing changed
 *   -EIO              the fence of the point failed, or @fence carried an error before
 *   -EOWNERDEAD       as -EIO; the error is -EOWNERDEAD
 *   -ESTALE           @fence ended: see umf_fence_create()
 *   -EACCES           this process may not signal @fence: UMF_PAGE_SINGLE_WRITER,
 *                     umf_fence_create_in()
 *   -ENODEV           the device is gone: unplugged, unbound from its driver, or disabled
 *   -ENOMEM           no memory is left
 *   -EMFILE, -ENFILE  no file descriptor is left, in the process or in the system
 *
 * POSIX signals do not interrupt the wait. Thread-safe. Since 0.1.
 */
int umf_fence_import_syncobj(struct umf_fence *fence,
                             uint64_t value,
                             struct umf_device *device,
                             uint32_t handle,
                             uint64_t point,
                             uint64_t flags,
                             uint64_t abs_timeout_ns);

/**
 * Flag of the dma-buf conversions: readers of the buffer.
 *
 * An export adds a reader's fence. An import waits for what a reader has to wait for: the writers.
 * Since 0.1.
 */
#define UMF_DMA_BUF_READ (1ULL << 0)

/**
 * Flag of the dma-buf conversions: writers of the buffer.
 *
 * An export adds a writer's fence. An import waits for what a writer has to wait for: readers and
 * writers. Since 0.1.
 */
#define UMF_DMA_BUF_WRITE (1ULL << 1)

/**
 * Wait until a fence reaches a value, then add a signaled fence to a dma-buf.
 *
 * The call adds it to the implicit fences of the buffer. If a kernel fence is attached to @value
 * (umf_fence_attach_sync_file()), the call adds that at once. A call that fails adds none. Needs
 * Linux 6.0.
 *
 * @fence: the fence.
 * @value: the value to wait for. At most UINT32_MAX for a 32-bit fence.
 * @device: a device with syncobjs. NULL, or a device without them, needs UMF_CAP_UDMABUF.
 * @dma_buf_fd: the buffer. Stays the caller's.
 * @flags: UMF_DMA_BUF_READ or UMF_DMA_BUF_WRITE: whose fence it is. Both together are a writer's.
 * @abs_timeout_ns: absolute CLOCK_MONOTONIC time in nanoseconds. 0 checks once; UINT64_MAX waits
 *     forever.
 *
 * Return: 0 on success, or
 *   -EINVAL           @fence is NULL, @value does not fit in 32 bits, @flags has unknown bits or
 *                     none, or @dma_buf_fd is not a dma-buf
 *   -EBADF            @dma_buf_fd is not open
 *   -EOPNOTSUPP       the kernel cannot do it, or there is neither a device with syncobjs nor
 *                     /dev/udmabuf; returned before the wait
 *   -ETIME            the deadline passed first
 *   -EIO              the fence failed before it reached @value; umf_fence_error() has the cause
 *   -EOWNERDEAD       as -EIO; the error is -EOWNERDEAD: the signaler died
 *   -ESTALE           the fence ended before it reached @value: see umf_fence_create()
 *   -ENODEV           the device is gone: unplugged, unbound from its driver, or disabled
 *   -ENOMEM           no memory is left
 *   -EMFILE, -ENFILE  no file descriptor is left, in the process or in the system
 *
 * POSIX signals do not interrupt the wait. Thread-safe. Since 0.1.
 */
int umf_fence_export_dma_buf(struct umf_fence *fence,
                             uint64_t value,
                             struct umf_device *device,
                             int dma_buf_fd,
                             uint64_t flags,
                             uint64_t abs_timeout_ns);

/**
 * Wait for the implicit fences of a dma-buf, then signal a value.
 *
 * The call waits for the fences that the buffer has now and that are pending. If one of them
 * fails, the fence fails with its error, and the call returns -EIO; umf_fence_error() has the
 * error. Needs Linux 6.0.
 *
 * @fence: the fence to signal.
 * @value: the value to signal. At most UINT32_MAX for a 32-bit fence.
 * @dma_buf_fd: the buffer. Stays the caller's.
 * @flags: UMF_DMA_BUF_READ waits for what a reader has to wait for; UMF_DMA_BUF_WRITE, or both,
 *     for what a writer has to wait for.
 * @abs_timeout_ns: absolute CLOCK_MONOTONIC time in nanoseconds. 0 checks once; UINT64_MAX waits
 *     forever.
 *
 * Return: 0 on success, or
 *   -EINVAL           @fence is NULL, its value is already beyond @value, or @value does not fit
 *                     in 32 bits; @flags has unknown bits or none; @dma_buf_fd is not a dma-buf
 *   -EBADF            @dma_buf_fd is not open
 *   -EOPNOTSUPP       the kernel cannot do it
 *   -ETIME            the deadline passed first. Nothing changed
 *   -EIO              a fence of the buffer failed, or @fence carried an error before
 *   -EOWNERDEAD       as -EIO; the error is -EOWNERDEAD
 *   -ESTALE           @fence ended: see umf_fence_create()
 *   -EACCES           this process may not signal @fence: UMF_PAGE_SINGLE_WRITER,
 *                     umf_fence_create_in()
 *   -ENOMEM           no memory is left
 *   -EMFILE, -ENFILE  no file descriptor is left, in the process or in the system
 *
 * POSIX signals do not interrupt the wait. Thread-safe. Since 0.1.
 */
int umf_fence_import_dma_buf(struct umf_fence *fence,
                             uint64_t value,
                             int dma_buf_fd,
                             uint64_t flags,
                             uint64_t abs_timeout_ns);

/* --- Kernel fences of the device's own -------------------------------------------------------- */

/*
 * A driver's submission may return a kernel fence for the work that will signal a value: an
 * out-fence, or a syncobj that it was put into. If the driver attaches that fence to the value,
 * exports of the value do not wait for it. They hand out the kernel fence, which may be pending.
 * It waits for the device alone, and never for a userspace fence. These functions do not block.
 */

/**
 * How many values of a fence can have a kernel fence attached at a time.
 *
 * Values that the fence has reached do not count. Since 0.1.
 */
#define UMF_FENCE_MAX_ATTACHMENTS 256

/**
 * Attach the kernel fence of a sync_file to a value of a fence.
 *
 * The caller states: once the kernel fence has signaled, the work that signals @value is done.
 * Only the code that submitted the work can know that. From then on, exports in this process that
 * ask for @value, or for a lower value that the fence has not reached, do not wait:
 *
 *   - umf_fence_export_sync_file() returns a descriptor of this kernel fence
 *   - umf_fence_export_syncobj() and umf_loop_export_syncobj() put it into the syncobj
 *   - umf_fence_export_dma_buf() adds it to the dma-buf
 *
 * Each takes the kernel fence of the lowest attached value that is not below the one it asks for.
 * An export by a loop that waits already follows: its loop adds the point soon, in order. A
 * blocking export that waits already goes on waiting for the value.
 *
 * An attachment ends when the fence reaches its value, fails or ends, and with the last handle in
 * this process. A later attachment to the same value replaces it. What was handed out stays. While
 * it lasts it takes one descriptor. A signal does not close that: the next call that attaches to
 * the fence or exports it does.
 *
 * The fence itself does not change. If the kernel fence signals, the fence does not reach the
 * value by that. If it fails, the fence does not fail by that, and exports hand out the failed
 * kernel fence; call umf_fence_set_error() if the work will not be done.
 * umf_loop_import_sync_file() attaches the sync_file and does both.
 *
 * Other processes know nothing of it. Nor does the child of a fork, where the exports wait.
 *
 * @fence: the fence. This process need not be able to signal it.
 * @value: the value. At most UINT32_MAX for a 32-bit fence. Nothing is kept if the fence has
 *     reached it: the device may be faster than the caller.
 * @sync_file_fd: the sync_file, pending or not. Stays the caller's, which may close it after the
 *     call: the library duplicates it. -1 is refused: signal the fence if the work is done.
 * @flags: must be 0.
 *
 * Return: 0 on success, or
 *   -EINVAL      @fence is NULL or has UMF_FENCE_UNORDERED, @flags is not 0, @value does not fit
 *                in 32 bits, or @sync_file_fd is not a sync_file
 *   -EBADF       @sync_file_fd is not open, or is negative
 *   -ENOSPC      UMF_FENCE_MAX_ATTACHMENTS values of the fence have a kernel fence
 *   -EIO         the fence failed before it reached @value; umf_fence_error() has the cause
 *   -EOWNERDEAD  as -EIO; the error is -EOWNERDEAD: the signaler died
 *   -ESTALE      the fence ended before it reached @value: see umf_fence_create(); or this process
 *                is the child of a fork, and the handle its parent's
 *   -ENOMEM      no memory is left
 *   -EMFILE      no file descriptor is left in the process
 *
 * Thread-safe. Since 0.1.
 */
int umf_fence_attach_sync_file(struct umf_fence *fence,
                               uint64_t value,
                               int sync_file_fd,
                               uint64_t flags);

/**
 * Tell the device by when a value is needed.
 *
 * The driver of the kernel fence that exports of @value would pass on may raise the device's
 * clocks (SYNC_IOC_SET_DEADLINE, Linux 6.5). A compositor calls this with the time at which it
 * composes the next frame, for a fence that follows a client's sync_file or point
 * (umf_loop_import_sync_file(), umf_loop_import_syncobj()). It is a hint: no wait begins or ends.
 * Of several times the kernel keeps the earliest.
 *
 * The deadlines of umf_fence_wait() and umf_wait() are not told: often they only say when to give
 * up. Blocking imports tell theirs.
 *
 * @fence: the fence.
 * @value: the value that is needed. At most UINT32_MAX for a 32-bit fence.
 * @abs_deadline_ns: absolute CLOCK_MONOTONIC time in nanoseconds. In a time namespace the kernel
 *     takes it for the host's time.
 * @flags: must be 0.
 *
 * Return: 0 on success, also if the fence has reached @value, or
 *   -EINVAL      @fence is NULL, @flags is not 0, or @value does not fit in 32 bits
 *   -ENOENT      no kernel fence is attached to @value, or to a greater one, in this process
 *   -EOPNOTSUPP  the kernel is older than 6.5
 *   -EIO         the fence failed before it reached @value; umf_fence_error() has the cause
 *   -EOWNERDEAD  as -EIO; the error is -EOWNERDEAD: the signaler died
 *   -ESTALE      the fence ended before it reached @value: see umf_fence_create()
 *
 * Thread-safe. Since 0.1.
 */
int umf_fence_set_deadline(struct umf_fence *fence,
                           uint64_t value,
                           uint64_t abs_deadline_ns,
                           uint64_t flags);

/**
 * Attach the kernel fence of a syncobj to a value of a fence.
 *
 * As umf_fence_attach_sync_file(), for drivers whose submission puts its kernel fence into a
 * syncobj. The syncobj must have a fence at @point. A point that nobody has submitted is refused:
 * it is no kernel fence, and may never become one. umf_loop_import_syncobj() waits for it, and
 * then attaches its fence.
 *
 * The attachment is of the fence that is there now. If the syncobj is reset, or its fence
 * replaced, that changes nothing.
 *
 * @fence: the fence. This process need not be able to signal it.
 * @value: the value, as in umf_fence_attach_sync_file().
 * @device: the device that @handle belongs to.
 * @handle: the syncobj. Stays the caller's.
 * @point: the point. 0 for a binary syncobj.
 * @flags: must be 0.
 *
 * Return: 0 on success, or
 *   -EINVAL           @fence or @device is NULL, @flags is not 0, @value does not fit in 32 bits,
 *                     or the fence has UMF_FENCE_UNORDERED
 *   -ETIME            no fence was submitted for @point yet
 *   -ENOENT           @handle names no syncobj
 *   -EOPNOTSUPP       the device has no syncobjs; or @point is not 0, and it has no timelines
 *   -ENOSPC           UMF_FENCE_MAX_ATTACHMENTS values of the fence have a kernel fence
 *   -EIO              the fence failed before it reached @value; umf_fence_error() has the cause
 *   -EOWNERDEAD       as -EIO; the error is -EOWNERDEAD: the signaler died
 *   -ESTALE           the fence ended before it reached @value: see umf_fence_create(); or this
 *                     process is the child of a fork, and the handle its parent's
 *   -ENODEV           the device is gone: unplugged, unbound from its driver, or disabled
 *   -ENOMEM           no memory is left
 *   -EMFILE, -ENFILE  no file descriptor is left, in the process or in the system
 *
 * Thread-safe. Since 0.1.
 */
int umf_fence_attach_syncobj(struct umf_fence *fence,
                             uint64_t value,
                             struct umf_device *device,
                             uint32_t handle,
                             uint64_t point,
                             uint64_t flags);

/* --- Event loops ------------------------------------------------------------------------------ */

/*
 * An event loop runs what is due: callbacks of watches, conversions, and jobs of queues. It runs
 * one at a time. Only a queue with UMF_QUEUE_INLINE runs jobs beside it.
 */

/**
 * An event loop: it runs watches and jobs, one at a time (but see UMF_QUEUE_INLINE). Reference
 * counted. Since 0.1.
 */
struct umf_loop;

/**
 * Flag of umf_loop_create(): the library runs the loop on a thread of its own.
 *
 * Without it, the caller runs the loop with umf_loop_dispatch(). Since 0.1.
 */
#define UMF_LOOP_THREAD (1ULL << 0)

/**
 * Create an event loop.
 *
 * A loop with UMF_LOOP_THREAD has threads of its own. They start with its first watch and end with
 * the loop; they are named "umf-loop" and block all POSIX signals. They have the policy
 * SCHED_OTHER and the CPU affinity of the process's main thread, whichever thread starts them.
 * Everything that is due runs there, one at a time (but see UMF_QUEUE_INLINE).
 *
 * Without UMF_LOOP_THREAD, everything runs in umf_loop_dispatch(), which the caller calls whenever
 * umf_loop_fd() is readable: so the loop becomes part of the caller's own. The library still
 * starts a thread with the first watch of a fence, since only a thread can sleep on fences. All it
 * does is make the descriptor readable.
 *
 * A loop belongs to its process. In the child of a fork, calls with it return -ESTALE, and the
 * child can only end its references.
 *
 * @flags: UMF_LOOP_THREAD, or 0.
 * @out_loop: receives a reference, which the caller ends with umf_loop_unref(). Written only on
 *     success.
 *
 * Return: 0 on success, or
 *   -EINVAL           @flags has unknown bits, or @out_loop is NULL
 *   -ENOMEM           no memory is left
 *   -EMFILE, -ENFILE  no file descriptor is left, in the process or in the system; a loop needs
 *                     two
 *
 * Thread-safe. Since 0.1.
 */
int umf_loop_create(uint64_t flags, struct umf_loop **out_loop);

/**
 * Add a reference to an event loop.
 *
 * @event_loop: the loop, or NULL.
 *
 * Return: @event_loop. The caller ends the new reference with umf_loop_unref().
 *
 * Thread-safe and async-signal-safe. Since 0.1.
 */
struct umf_loop *umf_loop_ref(struct umf_loop *event_loop);

/**
 * End a reference to an event loop.
 *
 * With the last reference the loop ends: watches that are not over are canceled, and their release
 * functions are called. The loop's threads are gone when the call returns. The call therefore
 * waits for a callback or a release function that runs on such a thread: hold no lock that these
 * take. Called from one of these, it does not wait for that thread, which ends when the function
 * returns.
 *
 * The library cannot notice two deadlocks: a callback or release function that waits for a thread
 * which is in this call for the same loop; and functions on the threads of two loops, each of
 * which ends the other loop.
 *
 * @event_loop: the loop. NULL does nothing.
 *
 * Thread-safe. Since 0.1.
 */
void umf_loop_unref(struct umf_loop *event_loop);

/**
 * Get the descriptor that is readable (POLLIN) while umf_loop_dispatch() has work.
 *
 * It stays the loop's, and is valid as long as the loop. The caller must not read or close it. It
 * may be readable although nothing is due, for example after a due watch was canceled.
 *
 * @event_loop: a loop without UMF_LOOP_THREAD.
 *
 * Return: the descriptor on success, or
 *   -EINVAL  @event_loop is NULL, or has UMF_LOOP_THREAD
 *   -ESTALE  the loop belongs to another process
 *
 * Thread-safe and async-signal-safe. Since 0.1.
 */
int umf_loop_fd(const struct umf_loop *event_loop);

/**
 * Run what is due now, without waiting for more.
 *
 * What becomes due meanwhile makes umf_loop_fd() readable again.
 *
 * Let one thread poll the descriptor and dispatch. Any thread may call this. But while one
 * dispatches, the calls of others return -EALREADY at once, and the descriptor may stay readable.
 *
 * @event_loop: a loop without UMF_LOOP_THREAD.
 * @flags: must be 0.
 *
 * Return: 0 on success, also if nothing was due, or
 *   -EINVAL    @event_loop is NULL or has UMF_LOOP_THREAD, or @flags is not 0
 *   -EALREADY  the loop is being dispatched now: by another thread, or by the caller of the
 *              callback that made this call. Nothing was done
 *   -ESTALE    the loop belongs to another process
 *
 * Thread-safe. Since 0.1.
 */
int umf_loop_dispatch(struct umf_loop *event_loop, uint64_t flags);

/* --- Watches ---------------------------------------------------------------------------------- */

/*
 * A watch is a wait that blocks no thread. When it is due, the loop performs its action (signal a
 * fence, write an eventfd, and so on) and then calls the callback. If several watches are due, the
 * order of their callbacks is not defined. A watch takes no descriptor and no CPU time while it
 * waits, unless its function says otherwise.
 */

/** A watch: a wait that performs an action when it is due. Reference counted. Since 0.1. */
struct umf_watch;

/** The function that is called when a watch is over. Since 0.1. */
struct umf_callback {
    /**
     * Called at most once, on the loop's thread or in umf_loop_dispatch(). It may call any
     * function of the library, and end the last reference to its fence, its watch or its loop.
     * @result is 0 or a negative errno: what umf_watch_result() returns.
     *
     * No other callback and no job of the loop runs meanwhile, except jobs that UMF_QUEUE_INLINE
     * runs on the thread of a submitter. The function should not block, and in particular not wait
     * for a fence: the loop cannot go on meanwhile.
     */
    void (*call)(void *data, int result);
    /**
     * Called exactly once, when @data is no longer used. See "Release functions" above.
     *
     * That is after call, or instead of it in umf_watch_cancel() or umf_loop_unref(). May be NULL.
     * Not called if the function that was given the callback fails.
     */
    void (*release)(void *data);
    /** Passed to call and release. */
    void *data;
};

/** The function that is called when a watch for many fences is over. Since 0.1. */
struct umf_many_callback {
    /**
     * Called at most once, as umf_callback.call is. @index is the entry that decided the @result.
     *
     * That is the entry that was met, with UMF_WAIT_ANY; or the entry that failed, if @result is
     * negative. It is UINT32_MAX if all entries were met.
     */
    void (*call)(void *data, int result, uint32_t index);
    /** As umf_callback.release. */
    void (*release)(void *data);
    /** Passed to call and release. */
    void *data;
};

/**
 * Call back when a fence meets a condition, or can no longer meet it.
 *
 * A signal costs the same however many watches a loop has. Watches take no descriptors, and no CPU
 * time while they wait. Only fences with UMF_FENCE_DEVICE are polled at intervals, as in
 * umf_wait().
 *
 * @event_loop: the loop.
 * @wait: the condition, as an entry of umf_wait(). Copied. The watch keeps a reference to the
 *     fence until it is over.
 * @flags: UMF_WAIT_PENDING, or 0.
 * @callback: what to call. Copied.
 * @out_watch: receives a reference, which the caller ends with umf_watch_unref(). NULL if the
 *     caller does not want it: the watch goes on without. Written only on success.
 *
 * Return: 0 on success, also if the wait is over already (the callback tells so, and does not run
 * within this call), or
 *   -EINVAL  @event_loop, @wait, @callback or callback->call is NULL, @flags has unknown bits, or
 *            umf_wait() would refuse the entry
 *   -ENOMEM  no memory or thread is left
 *   -ESTALE  the loop belongs to another process. If the fence ends first, the callback gets
 *            -ESTALE
 *
 * Thread-safe. Since 0.1.
 */
int umf_loop_watch(struct umf_loop *event_loop,
                   const struct umf_condition *wait,
                   uint64_t flags,
                   const struct umf_callback *callback,
                   struct umf_watch **out_watch);

/**
 * Call back when any or all of many fences meet their conditions.
 *
 * This is umf_wait() without a blocked thread. The callback runs once: when all entries are met,
 * or with UMF_WAIT_ANY when one is, or when an entry can no longer be met. If a fence fails or
 * ends before its entry is met, the callback gets that error and the entry's index, even if others
 * could still be met. With UMF_WAIT_ANY, an entry that is met when the callback is about to run
 * takes precedence over a failure.
 *
 * An entry that the loop has seen met stays met, whatever happens to its fence. With an operator
 * other than UMF_OP_GE and UMF_OP_GT, the loop may miss a value that later signals pass.
 *
 * A signal costs the same however many entries a watch has. The watch takes some 420 bytes of
 * memory for each entry.
 *
 * @event_loop: the loop.
 * @waits: the entries, as in umf_wait(). Copied. A fence may appear more than once. The watch
 *     keeps references to the fences until it is over.
 * @count: the number of entries, 1 to UMF_WAIT_MAX.
 * @flags: UMF_WAIT_* bits. 0 waits until all values are signaled.
 * @callback: what to call. Copied.
 * @out_watch: as in umf_loop_watch().
 *
 * Return: 0 on success, also if the wait is over already (the callback tells so, and does not run
 * within this call), or
 *   -EINVAL  @event_loop, @waits, @callback or callback->call is NULL, @count is out of range,
 *            @flags has unknown bits, or umf_wait() would refuse an entry
 *   -ENOMEM  no memory or thread is left
 *   -ESTALE  the loop belongs to another process. If a fence ends first, the callback gets -ESTALE
 *
 * Thread-safe. Since 0.1.
 */
int umf_loop_watch_many(struct umf_loop *event_loop,
                        const struct umf_condition *waits,
                        uint32_t count,
                        uint64_t flags,
                        const struct umf_many_callback *callback,
                        struct umf_watch **out_watch);

/**
 * Add 1 to an eventfd when a wait for a fence is over.
 *
 * The wait is over when the condition is met or can no longer be met. To find out which, read the
 * fence or call umf_watch_result(). With UMF_LOOP_THREAD this takes no longer than a thread of the
 * caller's that waits and writes.
 *
 * @event_loop: the loop.
 * @wait: the condition, as an entry of umf_wait(). Copied. The watch keeps a reference to the
 *     fence until it is over.
 * @flags: UMF_WAIT_PENDING, or 0.
 * @eventfd: an eventfd with EFD_NONBLOCK. Stays the caller's, which may close it after the call:
 *     the library duplicates it. Another process that has it may clear O_NONBLOCK and fill the
 *     counter: the loop does not block. Where a sandbox forbids io_setup() or io_submit(), it may,
 *     if that happens at the moment of the write.
 * @callback: what to call after that. Copied. NULL for none.
 * @out_watch: as in umf_loop_watch().
 *
 * Return: 0 on success, also if the wait is over already, or
 *   -EINVAL  @event_loop, @wait or callback->call is NULL, @flags has unknown bits, or umf_wait()
 *            would refuse the entry; @eventfd is not an eventfd, or was created without
 *            EFD_NONBLOCK
 *   -EBADF   @eventfd is not open
 *   -ENOMEM  no memory or thread is left
 *   -EMFILE  no file descriptor is left in the process
 *   -ESTALE  the loop belongs to another process. If the fence ends first, the eventfd is written,
 *            and umf_watch_result() returns -ESTALE
 *
 * Thread-safe. Since 0.1.
 */
int umf_loop_export_eventfd(struct umf_loop *event_loop,
                            const struct umf_condition *wait,
                            uint64_t flags,
                            int eventfd,
                            const struct umf_callback *callback,
                            struct umf_watch **out_watch);

/**
 * Signal a second fence when a fence reaches a value.
 *
 * The fences may be of different pages. If the first fence fails or ends, the second fails with
 * the same error, or with -ESTALE. The call does not raise the pending value of @target: if
 * waiters use UMF_WAIT_PENDING, call umf_fence_submit() first.
 *
 * @event_loop: the loop.
 * @fence: the fence to wait for. The watch keeps a reference to both fences until it is over.
 * @value: the value to wait for.
 * @target: the fence to signal.
 * @target_value: the value to signal. If @target is beyond it by then, the watch ends with
 *     -EINVAL.
 * @flags: must be 0.
 * @callback: what to call after that. Copied. NULL for none.
 * @out_watch: as in umf_loop_watch().
 *
 * Return: 0 on success, also if the value is reached already, or
 *   -EINVAL  @event_loop, @fence, @target or callback->call is NULL, @flags is not 0, or a value
 *            does not fit in 32 bits for a 32-bit fence
 *   -EACCES  this process may not signal @target: UMF_PAGE_SINGLE_WRITER, umf_fence_create_in()
 *   -ENOMEM  no memory or thread is left
 *   -ESTALE  the loop belongs to another process. If a fence ends first, the callback gets -ESTALE
 *
 * Thread-safe. Since 0.1.
 */
int umf_loop_export_fence(struct umf_loop *event_loop,
                          struct umf_fence *fence,
                          uint64_t value,
                          struct umf_fence *target,
                          uint64_t target_value,
                          uint64_t flags,
                          const struct umf_callback *callback,
                          struct umf_watch **out_watch);

/**
 * Flag of umf_loop_tie_fence() and umf_loop_tie_page(): tie to the process behind a socket.
 *
 * Set it if the connection is the caller's to end, as in a compositor that disconnects clients.
 * The library asks the socket for its process (SO_PEERPIDFD, Linux 6.5) and keeps no duplicate:
 * when the caller closes its end, the peer sees it. The process is the one that connected the
 * socket or made the pair. Only its end counts, not that of the connection. Since 0.1.
 */
#define UMF_TIE_PROCESS (1ULL << 0)

/**
 * Fail a fence with -EOWNERDEAD when its signaler dies.
 *
 * Every wait, watch, queue and conversion, in every process, that waits for a value that the fence
 * has not reached then ends. A signaler that is killed after it wrote a value and before it woke
 * the waiters leaves them asleep; this wakes them.
 *
 * Any end of the process counts, also exit(0). Cancel the watch before a planned exit.
 *
 * If this process imported the page, and the page has UMF_PAGE_SINGLE_WRITER, this process cannot
 * write the error there. The fence then fails for this process only, as long as this process has
 * it open. Each process that waits on such a page must tie it itself.
 *
 * A socket reports the end (EPOLLRDHUP or EPOLLHUP) when the last descriptor of the other end is
 * closed. A peer that lives on can close it, and another process can keep it open. The socket also
 * reports the end after shutdown(SHUT_WR) by the peer, or shutdown(SHUT_RD) by this process. The
 * library reads nothing from the socket, and the caller may go on using it.
 *
 * Without UMF_TIE_PROCESS, the library holds a duplicate of @peer_fd until the watch is over. If
 * the caller closes its own end of a socket, the connection stays open, and the peer does not see
 * it end. Cancel the watch first, or call shutdown(SHUT_RDWR).
 *
 * If the fence is tied to the process that created it, by a pidfd or with UMF_TIE_PROCESS,
 * umf_page_reclaim() can free its slot once the fence has failed.
 *
 * The callback gets 0 once the fence has failed. If the fence had ended, it gets -ESTALE, or 0 if
 * this process cannot write to the page.
 *
 * @event_loop: the loop. It fails the fence as soon as the kernel reports the end, but without
 *     UMF_LOOP_THREAD only in umf_loop_dispatch().
 * @fence: a fence that the process has to signal. The watch keeps a reference to it until it is
 *     over. Cancel the watch to untie the fence.
 * @peer_fd: a pidfd (pidfd_open(), SO_PEERPIDFD), or a connected SOCK_STREAM or SOCK_SEQPACKET
 *     socket whose other end the process has. Other sockets are refused: they report no end, or
 *     report one at once. Stays the caller's, which may close it after the call: the library
 *     duplicates it.
 * @flags: UMF_TIE_PROCESS, or 0.
 * @callback: what to call after that. Copied. NULL for none.
 * @out_watch: as in umf_loop_watch().
 *
 * Return: 0 on success, also if the process is already dead, or
 *   -EINVAL      @event_loop, @fence or callback->call is NULL, @flags has unknown bits, or
 *                @peer_fd is neither a pidfd nor a connected SOCK_STREAM or SOCK_SEQPACKET socket;
 *                with UMF_TIE_PROCESS, it is not such a Unix socket
 *   -EBADF       @peer_fd is not open
 *   -EOPNOTSUPP  UMF_TIE_PROCESS before Linux 6.5
 *   -ENOMEM      no memory or thread is left
 *   -EMFILE      no file descriptor is left in the process
 *   -ESTALE      the loop belongs to another process. If the fence ended, the call succeeds: see
 *                above
 *
 * Thread-safe. Since 0.1.
 */
int umf_loop_tie_fence(struct umf_loop *event_loop,
                       struct umf_fence *fence,
                       int peer_fd,
                       uint64_t flags,
                       const struct umf_callback *callback,
                       struct umf_watch **out_watch);

/**
 * Fail all fences of a page with -EOWNERDEAD when their signaler dies.
 *
 * This does for every fence that lives in the page at that time what umf_loop_tie_fence() does for
 * one; read there what counts as the end. The callback gets 0.
 *
 * If the page is tied by a pidfd or with UMF_TIE_PROCESS, umf_page_reclaim() can then free the
 * slots of all fences that the process created in the page.
 *
 * If this process imported the page, and the page has UMF_PAGE_SINGLE_WRITER, all its fences fail
 * for this process only. They do as long as this process has the page open.
 *
 * A page with many fences is failed in parts, of 1024 slots for all ties of the loop together. In
 * between, the loop runs what else is due. So umf_loop_dispatch() returns soon, and has to be
 * called again for the next part. Once the first part is done, umf_watch_cancel() returns
 * -EALREADY, and the end of the loop does the rest at once, without the callback.
 *
 * Tie a page only to the process that created it, not to one that passed it on. Importing a page
 * that is open already gives the same object, which may be this process's own page.
 *
 * As with umf_loop_tie_fence(), the library holds a duplicate of @peer_fd until the watch is over:
 * closing the caller's end of a socket does not disconnect the peer. Set UMF_TIE_PROCESS, or
 * cancel the watch first.
 *
 * @event_loop: the loop, as in umf_loop_tie_fence().
 * @page: the page. The watch keeps a reference to it, but not to its fences, until it is over.
 * @peer_fd: a pidfd or a connected socket, as in umf_loop_tie_fence().
 * @flags: UMF_TIE_PROCESS, or 0.
 * @callback: what to call after that. Copied. NULL for none.
 * @out_watch: as in umf_loop_watch().
 *
 * Return: 0 on success, also if the process is already dead, or
 *   -EINVAL      @event_loop, @page or callback->call is NULL, @flags has unknown bits, or
 *                @peer_fd is neither a pidfd nor a connected SOCK_STREAM or SOCK_SEQPACKET socket;
 *                with UMF_TIE_PROCESS, it is not such a Unix socket
 *   -EBADF       @peer_fd is not open
 *   -EACCES      the page was imported with UMF_PAGE_READ_ONLY
 *   -EOPNOTSUPP  UMF_TIE_PROCESS before Linux 6.5
 *   -ENOMEM      no memory or thread is left
 *   -EMFILE      no file descriptor is left in the process
 *   -ESTALE      the loop belongs to another process. Never because a fence ended
 *
 * Thread-safe. Since 0.1.
 */
int umf_loop_tie_page(struct umf_loop *event_loop,
                      struct umf_page *page,
                      int peer_fd,
                      uint64_t flags,
                      const struct umf_callback *callback,
                      struct umf_watch **out_watch);

/**
 * Add a reference to a watch.
 *
 * @watch: the watch, or NULL.
 *
 * Return: @watch. The caller ends the new reference with umf_watch_unref().
 *
 * Thread-safe and async-signal-safe. Since 0.1.
 */
struct umf_watch *umf_watch_ref(struct umf_watch *watch);

/**
 * End a reference to a watch.
 *
 * This does not cancel the watch: it goes on without a reference.
 *
 * @watch: the watch. NULL does nothing.
 *
 * Thread-safe. Since 0.1.
 */
void umf_watch_unref(struct umf_watch *watch);

/**
 * Cancel a watch whose action has not begun.
 *
 * The result is definite. After 0, neither the action nor the callback has happened or ever will,
 * and the callback's release has returned. This call has called it, unless the watch was canceled
 * before: hold no lock that it takes. If another thread is in the release, the call waits until it
 * returns. Called from the release itself, it does not wait. A watch that is due can still be
 * canceled. After -EALREADY, the action has begun, and the callback has run, is running, or is
 * about to run; its release tells when that is over.
 *
 * Two release functions may cancel each other's watch on two threads. To wait would then be a
 * deadlock, so one of the two calls returns -EDEADLK instead: its watch is canceled, and the
 * release has been called and returns later. The same holds for more threads in a circle.
 *
 * @watch: the watch. The reference stays the caller's.
 *
 * Return: 0 on success, or
 *   -EINVAL    @watch is NULL
 *   -EALREADY  the watch is over, or its action has begun
 *   -EDEADLK   within a release function: the watch is canceled, and its release waits for the
 *              calling thread
 *   -ESTALE    its loop belongs to another process. Never because a fence ended
 *
 * Thread-safe. Since 0.1.
 */
int umf_watch_cancel(struct umf_watch *watch);

/**
 * Get how a watch ended.
 *
 * A caller that has seen what the watch did (the eventfd was written, the fence or the point
 * signaled) gets the result. While the action runs on another thread, the call waits for it.
 *
 * @watch: the watch.
 *
 * Return: 0 if its action was performed, or
 *   -EINVAL      @watch is NULL; or a value or point would have gone backwards
 *   -ETIME       the watch is not over
 *   -ECANCELED   the watch was canceled, or its loop ended
 *   -EIO         the fence or kernel fence that it waited for failed: see umf_fence_error()
 *   -EOWNERDEAD  as -EIO; the error is -EOWNERDEAD
 *   -ERANGE      the value is beyond where the condition could still be met
 *   -ESTALE      the fence ended: see umf_fence_create(); or the loop belongs to another process
 *
 * Any other error is one of the conversion, as its blocking counterpart returns it.
 *
 * Thread-safe. Since 0.1.
 */
int umf_watch_result(const struct umf_watch *watch);

/* --- Conversions that do not block ------------------------------------------------------------ */

/*
 * These return at once; an event loop performs them when their source is signaled. Each makes a
 * watch, which umf_watch_cancel() cancels. Imports do not raise the pending value: if waiters use
 * UMF_WAIT_PENDING, call umf_fence_submit() first.
 */

/**
 * A reference to a drm_syncobj, for conversions that do not block. Reference counted. Since 0.1.
 */
struct umf_syncobj;

/**
 * Make a syncobj.
 *
 * It has no fence and no points yet. Like every syncobj it serves as a binary one or as a
 * timeline. umf_syncobj_export() gives it to another process, and umf_loop_export_syncobj() adds
 * points.
 *
 * @device: the device to make it on. The syncobj keeps a reference to it.
 * @flags: must be 0.
 * @out_syncobj: receives a reference, which the caller ends with umf_syncobj_unref(). Written only
 *     on success.
 *
 * Return: 0 on success, or
 *   -EINVAL      @device or @out_syncobj is NULL, or @flags is not 0
 *   -EOPNOTSUPP  the device has no syncobjs
 *   -ENODEV      the device is gone: unplugged, unbound from its driver, or disabled
 *   -ENOMEM      no memory is left
 *
 * Thread-safe. Since 0.1.
 */
int umf_syncobj_create(struct umf_device *device, uint64_t flags, struct umf_syncobj **out_syncobj);

/**
 * Take a reference to a syncobj, binary or timeline.
 *
 * The library gets a handle of its own: the caller may destroy its handle after the call. Opening
 * the same @device and @handle twice gives two objects, whose exports are ordered with each other
 * (umf_loop_export_syncobj()). Other handles of the same timeline are not.
 *
 * A caller that destroys @handle should first cancel the exports that are not over. The kernel
 * gives the number to another syncobj. If that is opened while the timelines' last points agree,
 * the points of one may wait for those of the other.
 *
 * @device: the device that @handle belongs to. The syncobj keeps a reference to it.
 * @handle: the syncobj. Stays the caller's.
 * @flags: must be 0.
 * @out_syncobj: receives a reference, which the caller ends with umf_syncobj_unref(). Written only
 *     on success.
 *
 * Return: 0 on success, or
 *   -EINVAL           @device or @out_syncobj is NULL, or @flags is not 0
 *   -ENOENT           @handle names no syncobj
 *   -EOPNOTSUPP       the device has no syncobjs
 *   -ENODEV           the device is gone: unplugged, unbound from its driver, or disabled
 *   -ENOMEM           no memory is left
 *   -EMFILE, -ENFILE  no file descriptor is left, in the process or in the system; the call needs
 *                     one only while it runs
 *
 * Thread-safe. Since 0.1.
 */
int umf_syncobj_open(struct umf_device *device,
                     uint32_t handle,
                     uint64_t flags,
                     struct umf_syncobj **out_syncobj);

/**
 * Get a file descriptor of a syncobj, for another process.
 *
 * The receiver makes a handle of it (DRM_IOCTL_SYNCOBJ_FD_TO_HANDLE), on this or on another
 * device. Wayland's linux-drm-syncobj-v1 and X11's DRI3 1.4 take such descriptors. The receiver
 * can wait for points, and add some: see umf_loop_export_syncobj().
 *
 * @syncobj: the syncobj, as umf_syncobj_create() or umf_syncobj_open() returned it.
 * @flags: must be 0.
 * @out_fd: receives the descriptor, close-on-exec, which the caller closes. Written only on
 *     success.
 *
 * Return: 0 on success, or
 *   -EINVAL           @syncobj or @out_fd is NULL, or @flags is not 0
 *   -ESTALE           the syncobj belongs to another process
 *   -ENODEV           the device is gone: unplugged, unbound from its driver, or disabled
 *   -ENOMEM           no memory is left
 *   -EMFILE, -ENFILE  no file descriptor is left, in the process or in the system
 *
 * Thread-safe. Since 0.1.
 */
int umf_syncobj_export(struct umf_syncobj *syncobj, uint64_t flags, int *out_fd);

/**
 * Signal a point of a syncobj, to give up the points before it.
 *
 * Use it after a point was lost: its fence failed, so umf_loop_export_syncobj() ended with an
 * error and nobody will signal the point. The kernel reports a point as signaled when a later one
 * is. So this call, with a later point, ends every wait for the lost points. A Wayland compositor
 * goes on. Commit a new frame first. KWin then discards the frames of the lost points. If it
 * repaints at that moment, it shows the last of them until the next repaint. Without a new frame,
 * it shows that frame, which is not complete, until the client commits one.
 *
 * The point keeps the order of the exports. It is signaled once the exports of lower points, on
 * whichever loops, are over: signaled, failed or canceled. If there are none, that is within the
 * call. If there are, they go on, and none of them fails because of this call. Exports of higher
 * points wait for this point. An export that fails does not fail those behind this point.
 *
 * An attached kernel fence at a lower point (umf_fence_attach_sync_file()) may still be pending.
 * That export is over. The kernel then ends the waits for this point after that fence.
 *
 * If the kernel refuses the point later, nothing reports that: the device is gone, others added a
 * higher point, or no memory is left. The next point that is signaled has the same effect.
 *
 * @syncobj: the syncobj.
 * @point: the point to signal, beyond all points that were submitted before. 0 for a binary
 *     syncobj, whose fence is replaced at once by one that has signaled. Never pass 0 for a
 *     timeline: that erases all its points.
 * @flags: must be 0.
 *
 * Return: 0 on success, also if the point is signaled later, or
 *   -EINVAL      @syncobj is NULL, or @flags is not 0; @point is not beyond the last one, or was
 *                requested before
 *   -EOPNOTSUPP  @point is not 0, and the device has no timelines
 *   -ESTALE      the syncobj belongs to another process
 *   -ENODEV      the device is gone: unplugged, unbound from its driver, or disabled
 *   -ENOMEM      no memory is left
 *
 * Thread-safe; for other ways to add points, see umf_loop_export_syncobj(). Since 0.1.
 */
int umf_syncobj_signal(struct umf_syncobj *syncobj, uint64_t point, uint64_t flags);

/**
 * Add a reference to a syncobj.
 *
 * @syncobj: the syncobj, or NULL.
 *
 * Return: @syncobj. The caller ends the new reference with umf_syncobj_unref().
 *
 * Thread-safe and async-signal-safe. Since 0.1.
 */
struct umf_syncobj *umf_syncobj_ref(struct umf_syncobj *syncobj);

/**
 * End a reference to a syncobj.
 *
 * Watches that convert to it or from it go on.
 *
 * @syncobj: the syncobj. NULL does nothing.
 *
 * Thread-safe. Since 0.1.
 */
void umf_syncobj_unref(struct umf_syncobj *syncobj);

/**
 * Signal a syncobj when a fence reaches a value.
 *
 * The syncobj is a point of a timeline, or a binary one. Until then no kernel fence exists at the
 * point, and none waits. A consumer that supports wait-before-signal may be given the point at
 * once: a Wayland compositor through linux-drm-syncobj-v1, an X server through DRI3 1.4.
 *
 * The points of one umf_syncobj are signaled in order, whatever the order in which the fences are
 * reached, and on whichever loops: a point waits for those before it. So are the points of all
 * umf_syncobjs that this process opened by the same umf_device and handle. If a point cannot be
 * signaled (its fence failed), the later points that were requested by then end with the same
 * error: a timeline cannot tell waiters of the lost point from waiters of a later one. Points that
 * are requested afterwards start afresh. umf_syncobj_signal() ends the waits for lost points.
 *
 * If a kernel fence is attached to @value (umf_fence_attach_sync_file()), and no point before this
 * one waits, the call itself puts it at the point. If it is attached later, the loop does so. The
 * callback then says that the point has a fence, which may be pending. Canceling a watch whose
 * point was added by the call cancels its callback only.
 *
 * All threads may export to these at the same time: a point that comes after a higher one was
 * signaled gets -EINVAL. Other ways to add points are ordered neither with this nor with each
 * other: another handle or umf_device, umf_fence_export_syncobj(), a driver, another process. If
 * two points are added at the same moment and the lower one comes second, the kernel accepts it,
 * and neither signals. The callers must order these calls themselves.
 *
 * @event_loop: the loop.
 * @fence: the fence. The watch keeps references to it and to @syncobj until it is over.
 * @value: the value to wait for. At most UINT32_MAX for a 32-bit fence.
 * @syncobj: the syncobj to signal.
 * @point: the point to signal, beyond all points that were submitted to this timeline before. 0
 *     for a binary syncobj, whose fence is replaced. Never pass 0 for a timeline: that erases all
 *     its points.
 * @flags: must be 0.
 * @callback: what to call after that. Copied. NULL for none.
 * @out_watch: as in umf_loop_watch().
 *
 * Return: 0 on success, also if the value is reached already, or
 *   -EINVAL      @event_loop, @fence, @syncobj or callback->call is NULL, @flags is not 0, or
 *                @value does not fit in 32 bits; @point is not beyond the last one (the kernel
 *                would accept it and never signal), or was requested before
 *   -EOPNOTSUPP  @point is not 0, and the device has no timelines
 *   -ENODEV      the device is gone: unplugged, unbound from its driver, or disabled
 *   -ENOMEM      no memory or thread is left
 *   -ESTALE      the loop belongs to another process. If the fence ends first, the callback gets
 *                -ESTALE
 *
 * Thread-safe; for other ways to add points at the same time, see above. Since 0.1.
 */
int umf_loop_export_syncobj(struct umf_loop *event_loop,
                            struct umf_fence *fence,
                            uint64_t value,
                            struct umf_syncobj *syncobj,
                            uint64_t point,
                            uint64_t flags,
                            const struct umf_callback *callback,
                            struct umf_watch **out_watch);

/**
 * Signal a value when a sync_file signals.
 *
 * If the kernel fence of the sync_file fails, the fence fails with its error. If the library can
 * no longer wait for the sync_file, the fence fails with that error.
 *
 * Until then the kernel fence is attached to @value, as by umf_fence_attach_sync_file(), unless
 * the fence has as many as it can. Exports of the value do not wait.
 *
 * @event_loop: the loop.
 * @fence: the fence to signal. The watch keeps a reference to it until it is over.
 * @value: the value to signal. At most UINT32_MAX for a 32-bit fence.
 * @sync_file_fd: the sync_file. Stays the caller's, which may close it after the call: the library
 *     duplicates it until the watch is over. -1 stands for one that has signaled, as in Vulkan.
 * @flags: must be 0.
 * @callback: what to call after that. Copied. NULL for none.
 * @out_watch: as in umf_loop_watch().
 *
 * Return: 0 on success, also if the sync_file has signaled already, or
 *   -EINVAL            @event_loop, @fence or callback->call is NULL, or @flags is not 0; the
 *                      fence's value is already beyond @value, or @value does not fit in 32 bits;
 *                      @sync_file_fd is not a sync_file
 *   -EBADF             @sync_file_fd is not open, or is below -1
 *   -EIO, -EOWNERDEAD  the fence carries an error
 *   -ESTALE            the fence ended: see umf_fence_create(); or the loop belongs to another
 *                      process
 *   -EACCES            this process may not signal the fence: UMF_PAGE_SINGLE_WRITER,
 *                      umf_fence_create_in()
 *   -ENOMEM            no memory or thread is left
 *   -EMFILE            no file descriptor is left in the process
 *
 * Thread-safe. Since 0.1.
 */
int umf_loop_import_sync_file(struct umf_loop *event_loop,
                              struct umf_fence *fence,
                              uint64_t value,
                              int sync_file_fd,
                              uint64_t flags,
                              const struct umf_callback *callback,
                              struct umf_watch **out_watch);

/**
 * Signal a value when a syncobj point signals.
 *
 * The wait begins before a fence is submitted for the point, if necessary. If the point's fence
 * fails, the fence fails with its error. If the library can no longer wait for the point, the
 * fence fails with that error. For fences that failed before the call, see
 * umf_fence_import_syncobj(). Once submitted, the point's fence is attached to @value, as in
 * umf_loop_import_sync_file().
 *
 * If the device is lost before a fence is submitted, the watch ends with -ENODEV about a second
 * later. The kernel announces no such loss, so the loop asks the device once a second meanwhile.
 * Without UMF_LOOP_THREAD it asks in umf_loop_dispatch(), and its descriptor does not become
 * readable for that.
 *
 * @event_loop: the loop.
 * @fence: the fence to signal. The watch keeps references to it and to @syncobj until it is over.
 * @value: the value to signal. At most UINT32_MAX for a 32-bit fence.
 * @syncobj: the syncobj. While it waits for a point that was not submitted, it takes a descriptor;
 *     and if its device has no UMF_DEVICE_CAP_EVENTFD (before Linux 6.6), a sleeping thread, which
 *     ends with it. Each point whose fence was submitted and is pending takes one more descriptor.
 * @point: the point to wait for. 0 for a binary syncobj.
 * @flags: must be 0.
 * @callback: what to call after that. Copied. NULL for none.
 * @out_watch: as in umf_loop_watch().
 *
 * Return: 0 on success, also if the point has signaled already, or
 *   -EINVAL            @event_loop, @fence, @syncobj or callback->call is NULL, or @flags is not
 *                      0; the fence's value is already beyond @value, or @value does not fit in 32
 *                      bits
 *   -EOPNOTSUPP        the device has no timelines
 *   -EIO, -EOWNERDEAD  the fence carries an error
 *   -ESTALE            the fence ended: see umf_fence_create(); or the loop belongs to another
 *                      process
 *   -EACCES            this process may not signal the fence: UMF_PAGE_SINGLE_WRITER,
 *                      umf_fence_create_in()
 *   -ENODEV            the device is gone: unplugged, unbound from its driver, or disabled
 *   -ENOMEM            no memory or thread is left
 *   -EMFILE, -ENFILE   no file descriptor is left, in the process or in the system
 *
 * Thread-safe. Since 0.1.
 */
int umf_loop_import_syncobj(struct umf_loop *event_loop,
                            struct umf_fence *fence,
                            uint64_t value,
                            struct umf_syncobj *syncobj,
                            uint64_t point,
                            uint64_t flags,
                            const struct umf_callback *callback,
                            struct umf_watch **out_watch);

/**
 * Signal a value when the implicit fences of a dma-buf have signaled.
 *
 * These are the fences that the buffer has at the time of the call. If one of them fails, the
 * fence fails with its error. Until then they are attached to @value, as in
 * umf_loop_import_sync_file(). Needs Linux 6.0.
 *
 * @event_loop: the loop.
 * @fence: the fence to signal. The watch keeps a reference to it until it is over.
 * @value: the value to signal. At most UINT32_MAX for a 32-bit fence.
 * @dma_buf_fd: the buffer. Stays the caller's. The watch takes a descriptor while the fences are
 *     pending.
 * @flags: UMF_DMA_BUF_READ waits for what a reader has to wait for; UMF_DMA_BUF_WRITE, or both,
 *     for what a writer has to wait for.
 * @callback: what to call after that. Copied. NULL for none.
 * @out_watch: as in umf_loop_watch().
 *
 * Return: 0 on success, also if all of them have signaled, or
 *   -EINVAL            @event_loop, @fence or callback->call is NULL; @flags has unknown bits or
 *                      none; the fence's value is already beyond @value, or @value does not fit in
 *                      32 bits; @dma_buf_fd is not a dma-buf
 *   -EBADF             @dma_buf_fd is not open
 *   -EOPNOTSUPP        the kernel cannot do it
 *   -EIO, -EOWNERDEAD  the fence carries an error
 *   -ESTALE            the fence ended: see umf_fence_create(); or the loop belongs to another
 *                      process
 *   -EACCES            this process may not signal the fence: UMF_PAGE_SINGLE_WRITER,
 *                      umf_fence_create_in()
 *   -ENOMEM            no memory or thread is left
 *   -EMFILE, -ENFILE   no file descriptor is left, in the process or in the system
 *
 * Thread-safe. Since 0.1.
 */
int umf_loop_import_dma_buf(struct umf_loop *event_loop,
                            struct umf_fence *fence,
                            uint64_t value,
                            int dma_buf_fd,
                            uint64_t flags,
                            const struct umf_callback *callback,
                            struct umf_watch **out_watch);

/* --- X11's fences ----------------------------------------------------------------------------- */

/*
 * An xshmfence is the fence that X11 clients and the X server share (DRI3FenceFromFD, Present):
 * one futex word in a file. It is triggered or not, and carries no error. These functions need no
 * X11 library. They take a file as libxshmfence's xshmfence_alloc_shm() makes it: a memfd of at
 * least 4 bytes. Its size is sealed before the word is mapped (F_SEAL_SHRINK, F_SEAL_GROW), since
 * a process that truncated the file would end this one with SIGBUS. A file that cannot be sealed
 * is refused, such as one of /dev/shm, which libxshmfence makes on kernels without memfds.
 */

/**
 * Signal a value when an xshmfence is triggered.
 *
 * One thread serves 127 xshmfences, and a watch takes no descriptor. Reset the xshmfence before
 * the call, and not before the watch is over: a trigger that is reset before the loop sees it is
 * lost, as it is for xshmfence_await().
 *
 * Another process that has the xshmfence can trigger it, or never do so, and can delay it by
 * wake-ups that tell nothing. It cannot take more than a twentieth of a core by them. Tie the
 * fence to the process that should trigger it (umf_loop_tie_fence()) if that may die.
 *
 * @event_loop: the loop.
 * @fence: the fence to signal. The watch keeps a reference to it until it is over.
 * @value: the value to signal. At most UINT32_MAX for a 32-bit fence.
 * @xshmfence_fd: the xshmfence. Stays the caller's, which may close it after the call: the library
 *     maps the file until the watch is over.
 * @flags: must be 0.
 * @callback: what to call after that. Copied. NULL for none.
 * @out_watch: as in umf_loop_watch().
 *
 * Return: 0 on success, also if the xshmfence is triggered already, or
 *   -EINVAL            @event_loop, @fence or callback->call is NULL, or @flags is not 0; the
 *                      fence's value is already beyond @value, or @value does not fit in 32 bits;
 *                      @xshmfence_fd is not a memfd of at least 4 bytes, or is one of huge pages
 *   -EBADF             @xshmfence_fd is not open
 *   -EIO, -EOWNERDEAD  the fence carries an error
 *   -ESTALE            the fence ended: see umf_fence_create(); or the loop belongs to another
 *                      process
 *   -EACCES            the size of the file cannot be sealed, or the file cannot be written; or
 *                      this process may not signal the fence: UMF_PAGE_SINGLE_WRITER,
 *                      umf_fence_create_in()
 *   -ENOMEM            no memory or thread is left
 *   -EMFILE            no file descriptor is left in the process; the call needs one only while it
 *                      runs
 *
 * Thread-safe. Since 0.1.
 */
int umf_loop_import_xshmfence(struct umf_loop *event_loop,
                              struct umf_fence *fence,
                              uint64_t value,
                              int xshmfence_fd,
                              uint64_t flags,
                              const struct umf_callback *callback,
                              struct umf_watch **out_watch);

/**
 * Trigger an xshmfence when a fence reaches a value.
 *
 * If the fence fails or ends, the xshmfence is not triggered: it carries no error, and a trigger
 * would tell that the work is done. The callback gets the error. To give the xshmfence up, export
 * a fence that is reached to it.
 *
 * @event_loop: the loop.
 * @fence: the fence to wait for. The watch keeps a reference to it until it is over.
 * @value: the value to wait for. At most UINT32_MAX for a 32-bit fence.
 * @xshmfence_fd: the xshmfence, as in umf_loop_import_xshmfence().
 * @flags: must be 0.
 * @callback: what to call after that. Copied. NULL for none.
 * @out_watch: as in umf_loop_watch().
 *
 * Return: 0 on success, also if the value is reached already, or
 *   -EINVAL  @event_loop, @fence or callback->call is NULL, @flags is not 0, or @value does not
 * fit
 *            in 32 bits; @xshmfence_fd is not a memfd of at least 4 bytes, or is one of huge pages
 *   -EBADF   @xshmfence_fd is not open
 *   -EACCES  the size of the file cannot be sealed, or the file cannot be written
 *   -ENOMEM  no memory or thread is left
 *   -EMFILE  no file descriptor is left in the process; the call needs one only while it runs
 *   -ESTALE  the loop belongs to another process. If the fence ends first, the callback gets
 *            -ESTALE
 *
 * Thread-safe. Since 0.1.
 */
int umf_loop_export_xshmfence(struct umf_loop *event_loop,
                              struct umf_fence *fence,
                              uint64_t value,
                              int xshmfence_fd,
                              uint64_t flags,
                              const struct umf_callback *callback,
                              struct umf_watch **out_watch);

/* --- Queues ----------------------------------------------------------------------------------- */

/*
 * A queue runs jobs in order, each when its waits are met. It replaces the submit thread that
 * drivers use for wait-before-signal, without needing a thread.
 */

/** A queue: jobs that run in order, each when its waits are met. Reference counted. Since 0.1. */
struct umf_queue;

/**
 * Flag of umf_queue_create(): run a job within umf_queue_submit() if it can run at once.
 *
 * The job then runs on the thread of that call, even if the loop has UMF_LOOP_THREAD. A callback
 * of the loop, or a job of another of its queues, may run on another thread meanwhile. Protect
 * what they share with a lock. The jobs of one queue still run one at a time.
 *
 * The call also runs jobs that other threads submit meanwhile. So a job may run on the thread of
 * another submitter, and the call may take long. Since 0.1.
 */
#define UMF_QUEUE_INLINE (1ULL << 0)

/**
 * Create a queue on an event loop.
 *
 * Jobs run in the order of submission, each when all its waits are met. A queue whose first job is
 * blocked blocks no other queue, not even one of the same loop. A job whose waits can no longer be
 * met (a fence failed) does not run: its signals fail with the same error, and the queue goes on
 * with the next job. The next job does not begin before the release of the one before has
 * returned.
 *
 * @event_loop: the loop that runs the jobs; the queue keeps a reference to it. With
 *     UMF_LOOP_THREAD it replaces a submit thread.
 * @flags: UMF_QUEUE_INLINE, or 0.
 * @out_queue: receives a reference, which the caller ends with umf_queue_unref(). Written only on
 *     success.
 *
 * Return: 0 on success, or
 *   -EINVAL  @event_loop or @out_queue is NULL, or @flags has unknown bits
 *   -ENOMEM  no memory or thread is left
 *   -ESTALE  the loop belongs to another process
 *
 * Thread-safe. Since 0.1.
 */
int umf_queue_create(struct umf_loop *event_loop, uint64_t flags, struct umf_queue **out_queue);

/** Result of umf_job.run: the work is done; the queue signals the job's signals. Since 0.1. */
#define UMF_JOB_DONE 0

/**
 * Result of umf_job.run: the work goes on.
 *
 * The driver or its device signals the job's signals. The next job does not wait for them.
 *
 * A fence of umf_fence_create_in() cannot be one of the signals: umf_queue_submit() returns
 * -EACCES. Announce its value with umf_fence_submit() instead, and fail it with
 * umf_fence_set_error() if the device is lost. Since 0.1.
 */
#define UMF_JOB_SUBMITTED 1

/** A value that a job signals. Since 0.1. */
struct umf_signal {
    /**
     * The fence. Stays the caller's. The job keeps a reference, so the fence does not end before
     * the job is over.
     */
    struct umf_fence *fence;
    /**
     * The value to signal. At most UINT32_MAX for a 32-bit fence. After UMF_JOB_SUBMITTED, the
     * queue takes a fence with UMF_FENCE_UNORDERED for signaled while its value is at least this.
     */
    uint64_t value;
};

/** A job for umf_queue_submit(). Later versions may add members at the end. Since 0.1. */
struct umf_job {
    /** sizeof(struct umf_job). */
    uint32_t size;
    /** The number of waits. At most UMF_WAIT_MAX together with the signals. */
    uint32_t wait_count;
    /** The number of signals. */
    uint32_t signal_count;
    /** Must be 0. */
    uint32_t reserved;
    /**
     * The conditions that must all be met before the job runs. One that was met stays met. Copied,
     * and the job keeps references to the fences. May be NULL if wait_count is 0.
     */
    const struct umf_condition *waits;
    /** What the job signals. Copied. May be NULL if signal_count is 0. */
    const struct umf_signal *signals;
    /**
     * Does the work, or submits it to the device. Called once, on the loop's thread, in
     * umf_loop_dispatch(), or with UMF_QUEUE_INLINE in umf_queue_submit(); never for two jobs of a
     * queue at the same time. Returns UMF_JOB_DONE, UMF_JOB_SUBMITTED, or a negative errno: the
     * device is then lost, as by umf_queue_fail(). Any other result counts as -EPROTO. It may call
     * any function of the library.
     *
     * No callback and no other job of its loop runs meanwhile, except with UMF_QUEUE_INLINE. This
     * job, or a job of another queue, may then run on the thread of a submitter, beside the loop.
     */
    int (*run)(void *data);
    /**
     * Called exactly once, when @data is no longer used. See "Release functions" above.
     *
     * After UMF_JOB_DONE, the job's signals are signaled first. The result is 0, or the error of
     * the first signal that failed: -EINVAL if its fence had passed the value, -EIO, -EOWNERDEAD
     * or -ESTALE.
     *
     * After UMF_JOB_SUBMITTED, it is called as soon as run has returned, with 0. The device may
     * still be working: do not take it for completion.
     *
     * If the job did not run or failed, its signals fail first, and the result tells why:
     *
     *   -ECANCELED         umf_queue_cancel(), or the queue ended
     *   -EIO               a fence that the job waited for failed, run returned an error, or the
     *                      device was lost. umf_fence_error() of a fence that the job signals has
     *                      the cause
     *   -EOWNERDEAD        as -EIO; the cause is -EOWNERDEAD
     *   -ESTALE, -ERANGE   a wait can no longer be met
     *   -ENOMEM            no memory is left
     *
     * May be NULL. Not called if umf_queue_submit() fails.
     */
    void (*release)(void *data, int result);
    /** Passed to run and release. */
    void *data;
};

/**
 * Submit a job to a queue.
 *
 * The pending values of its signals rise at once, as with umf_fence_submit(), so waiters with
 * UMF_WAIT_PENDING go on. The call allocates one block of memory.
 *
 * A value that its fence has passed is not refused. It is found after run returned UMF_JOB_DONE,
 * and release gets -EINVAL.
 *
 * With UMF_QUEUE_INLINE, the call may run this job and others, and their release functions: hold
 * no lock that these take.
 *
 *     struct umf_condition wait = { .fence = acquire, .value = 5, .op = UMF_OP_GE };
 *     struct umf_signal signal = { .fence = release, .value = 9 };
 *     struct umf_job job = { .size = sizeof(job), .wait_count = 1, .signal_count = 1,
 *                            .waits = &wait, .signals = &signal, .run = run, .data = data };
 *     umf_queue_submit(queue, &job, 0);
 *
 * @queue: the queue.
 * @job: the job. Copied.
 * @flags: must be 0.
 *
 * Return: 0 on success, or
 *   -EINVAL            @queue or @job is NULL, job->size is less than the first version of the
 *                      struct, job->run is NULL, or job->reserved or @flags is not 0; a count
 *                      without its array, or counts above UMF_WAIT_MAX together; an entry that
 *                      umf_wait() would refuse; a signal whose fence is NULL, or whose value does
 *                      not fit in 32 bits for a 32-bit fence
 *   -EIO, -EOWNERDEAD  the device was lost, or the fence of a signal carries an error
 *   -ESTALE            the fence of a signal ended; or the queue belongs to another process. If
 *                      the fence of a wait ended, release gets -ESTALE
 *   -EACCES            this process may not signal the fence of a signal: UMF_PAGE_SINGLE_WRITER,
 *                      umf_fence_create_in(), even if run returns UMF_JOB_SUBMITTED
 *   -ENOMEM            no memory is left
 *
 * Thread-safe. Since 0.1.
 */
int umf_queue_submit(struct umf_queue *queue, const struct umf_job *job, uint64_t flags);

/**
 * Wait until the jobs that were submitted before are over.
 *
 * A job is over when it has run and its signals are signaled, or when that can no longer happen.
 * The call does not wait for jobs that failed or were canceled. When it returns 0, the release of
 * each job that ran has returned. If another thread cancels or fails jobs meanwhile, their release
 * may still be running.
 *
 * Pass 0 if the loop has no UMF_LOOP_THREAD, or in a callback or job of the loop. A later deadline
 * returns -EINVAL there while jobs are unfinished.
 *
 * After UMF_JOB_SUBMITTED, the queue keeps its references to the job's fences. It drops them in a
 * later call of this function or of umf_queue_submit(), once the signals are signaled or failed.
 *
 * @queue: the queue.
 * @abs_timeout_ns: absolute CLOCK_MONOTONIC time in nanoseconds. 0 checks once; UINT64_MAX waits
 *     forever.
 *
 * Return: 0 on success, or
 *   -EINVAL  @queue is NULL; or jobs are unfinished, and the call cannot wait for them: see above
 *   -ETIME   the deadline passed first
 *   -ESTALE  the queue belongs to another process. Never because a fence ended
 *
 * POSIX signals do not interrupt the wait. Thread-safe. Since 0.1.
 */
int umf_queue_drain(struct umf_queue *queue, uint64_t abs_timeout_ns);

/**
 * Cancel every job that has not begun to run.
 *
 * These jobs never run. Their signals fail with -ECANCELED, so waits for those values return -EIO.
 * Their release is then called within this call. The queue accepts new jobs afterwards.
 *
 * @queue: the queue.
 *
 * Return: 0 on success, or
 *   -EINVAL  @queue is NULL
 *   -ESTALE  the queue belongs to another process
 *
 * Thread-safe. Since 0.1.
 */
int umf_queue_cancel(struct umf_queue *queue);

/**
 * Report that the device is lost: fail all jobs of a queue.
 *
 * Jobs that have not begun to run never will. Their signals fail with the error, and their release
 * is then called within this call. Signals that are not signaled yet of jobs that returned
 * UMF_JOB_SUBMITTED fail too. The queue accepts no more jobs. The first error stays.
 *
 * @queue: the queue.
 * @error: a negative errno, -4095 to -1, as in umf_fence_set_error().
 *
 * Return: 0 on success, or
 *   -EINVAL  @queue is NULL, or @error is out of range
 *   -ESTALE  the queue belongs to another process
 *
 * Thread-safe. Since 0.1.
 */
int umf_queue_fail(struct umf_queue *queue, int error);

/**
 * Add a reference to a queue.
 *
 * @queue: the queue, or NULL.
 *
 * Return: @queue. The caller ends the new reference with umf_queue_unref().
 *
 * Thread-safe and async-signal-safe. Since 0.1.
 */
struct umf_queue *umf_queue_ref(struct umf_queue *queue);

/**
 * End a reference to a queue.
 *
 * With the last reference, jobs that have not begun to run are canceled, as by umf_queue_cancel().
 * The call does not wait for a job that is running on another thread; that job's release tells
 * when its run has returned. But if the queue had the loop's last reference, the loop ends too,
 * and the call waits as umf_loop_unref() does.
 *
 * @queue: the queue. NULL does nothing.
 *
 * Thread-safe. Since 0.1.
 */
void umf_queue_unref(struct umf_queue *queue);

/* --- Diagnostics ------------------------------------------------------------------------------ */

/** Flag of umf_graph_write(): write for Graphviz (dot -Tsvg), not text. Since 0.1. */
#define UMF_GRAPH_DOT (1ULL << 0)

/**
 * Flag of umf_graph_write(): write JSON, for programs.
 *
 * The object has these members: the numbers pages, dropped (records that are missing) and
 * deadlocks, and the lists participants, fences, waits and promises. A participant has kind
 * ("queue", "watch", "thread" or "work"), number, pid, pid_namespace, name (null if unknown), gone
 * (whether its process is dead), deadlock (the number of its deadlock from 1, or null) and behind
 * (whether it waits for a deadlock). A fence has page (an inode number), index, value, pending and
 * name (null if it has none: umf_fence_set_name()). A wait has participant, fence, value,
 * submission (whether it waits for a submission), any_of (the number of alternatives, 1 if the
 * wait is required), may_end_otherwise (whether a signaler without a record may end it) and
 * promised_by (participants that will). A promise has participant, fence and value. Participants
 * and fences are named by their places in the lists, from 0. Later versions may add members. Since
 * 0.1.
 */
#define UMF_GRAPH_JSON (1ULL << 1)

/**
 * Write which participants wait for which fences, and the deadlocks among them.
 *
 * The report names each participant that waits, the value and fence that it waits for, and the
 * participants that will signal them. A circle of such waits is a deadlock. It covers all
 * processes that have wait records in a page that this process has open.
 *
 * Queues have wait records while they are blocked, and watches that will signal a fence have one
 * until they are over. LIBUMF_DEBUG=1 or more in the environment adds records of umf_fence_wait(),
 * of umf_wait() and of the other watches of fences. A queue that closes a circle then also writes
 * this report to stderr, or to the handler of umf_set_log_handler(). A process reads the variable
 * when it creates or imports its first page. umf_page_record_waits() adds records of blocking
 * waits to one page, in processes that run. A page with UMF_PAGE_SINGLE_WRITER has only records of
 * its creator.
 *
 * Records are missing if memory or the page's table is full; the report counts those. A record
 * whose fence has ended, has failed or has reached the value makes room for another one. So do all
 * records of a process that died, once the page or the fence is tied to it (umf_loop_tie_page()).
 * If a table is full, this call also frees the records of processes that died in this pid
 * namespace; the report still shows them. It is the only call that asks the kernel about other
 * processes by their process ids, except that LIBUMF_DEBUG has queues do so. Without a tie,
 * nothing tells that a process of another pid namespace died: its records stay until their fences
 * move on, and count as waits.
 *
 *     libumf: 1 page, 3 waits, 1 deadlock
 *     deadlock 1:
 *       queue 1 of pid 8 (gl) waits for fence 17:3 >= 5 (now 4): promised by queue 2 of pid 6 (wm)
 *       queue 2 of pid 6 (wm) waits for fence 17:8 >= 1 (now 0): promised by queue 1 of pid 8 (gl)
 *     waiting:
 *       thread 9 of pid 8 (gl) waits for fence 17:6 >= 2 (now 0): submitted
 *
 * A fence is named by the inode number of its page's memfd and its index. "submitted" means that
 * umf_fence_submit() announced a value for which no participant has a record. A participant that
 * waits for a value that is not submitted yet is in no deadlock. The text is for people, and may
 * change.
 *
 * @fd: where to write. Stays the caller's. If it is nonblocking, the call waits until it accepts
 *     everything. If a pipe or socket has no reader any more, the kernel raises SIGPIPE as for
 *     write(); beyond RLIMIT_FSIZE it raises SIGXFSZ.
 * @flags: UMF_GRAPH_DOT or UMF_GRAPH_JSON, or 0.
 * @out_deadlocks: receives the number of deadlocks. May be NULL. Written only on success.
 *
 * Return: 0 on success, or
 *   -EINVAL  @flags has unknown bits or more than one, or @fd cannot be written to
 *   -EBADF   @fd is not open, or is not open for writing
 *   -EACCES  the file is sealed against writing
 *   -ENOMEM  no memory is left, or no room where @fd leads; then a part was written
 *   -EIO     a write failed: the reader of @fd is gone, or its file is broken; then a part was
 *            written
 *
 * Thread-safe. Since 0.1.
 */
int umf_graph_write(int fd, uint64_t flags, uint32_t *out_deadlocks);

/** Where messages of the library go: see umf_set_log_handler(). Since 0.1. */
struct umf_log_handler {
    /**
     * Is called with each message: text of one or more lines, the last of which ends with a
     * newline. It is valid during the call.
     *
     * May run on any thread of the process that submits jobs or runs an event loop, and on several
     * at a time. It may call every function of the library. No lock of the library is held.
     */
    void (*call)(void *data, const char *message);
    /**
     * Is called once when no call will use the data any more, on the thread that sets another
     * handler or that ends the last call. NULL calls nothing.
     */
    void (*release)(void *data);
    /** Is passed to both. */
    void *data;
};

/**
 * Set a function that receives the messages of the library, in place of stderr.
 *
 * There is one message so far, and it is written only in a process that runs with LIBUMF_DEBUG=1:
 * a queue that closes a deadlock writes the report of umf_graph_write(). The variable decides
 * whether there are messages, and this call where they go. A message for which memory is missing
 * is left out.
 *
 * @handler: what to call. It is copied. NULL restores stderr.
 * @flags: must be 0.
 *
 * Return: 0 on success, or
 *   -EINVAL  handler->call is NULL, or @flags is not 0
 *   -ENOMEM  no memory is left
 *
 * After an error the handler is as before, and the data stays the caller's. The call does not wait
 * for the old handler, which may be running: its release function tells when it is over. The child
 * of a fork has no queues, and so no messages.
 *
 * Thread-safe. Since 0.1.
 */
int umf_set_log_handler(const struct umf_log_handler *handler, uint64_t flags);

/**
 * Have blocking waits on the fences of a page leave wait records, in all processes.
 *
 * For tools that look at processes which run without LIBUMF_DEBUG: umf_graph_write() then shows
 * umf_fence_wait() and umf_wait() too. Waits that sleep are woken once, leave their records and
 * sleep on, so the report is complete as soon as they have run. Watches that exist are not
 * recorded. A wait keeps its record until it ends. A record costs a wait that blocks up to a few
 * microseconds.
 *
 * The page remembers it until a process turns it off. Every process that can write to a page can
 * turn it on or off.
 *
 * @page: the page.
 * @on: 1 to turn it on, 0 to turn it off.
 * @flags: must be 0.
 *
 * Return: 0 on success, or
 *   -EINVAL  @page is NULL, @on is neither 0 nor 1, or @flags is not 0
 *   -EACCES  the process cannot write to the page: UMF_PAGE_SINGLE_WRITER, UMF_PAGE_READ_ONLY
 *
 * Thread-safe. Since 0.1.
 */
int umf_page_record_waits(struct umf_page *page, int on, uint64_t flags);

/**
 * Bit of umf_fence_info.flags: a driver keeps the value in its own memory (umf_fence_create_in()).
 *
 * umf_fence_info.value is then the initial value, unless this process has the fence open. Since
 * 0.1.
 */
#define UMF_FENCE_INFO_EXTERNAL (1ULL << 32)

/**
 * Bit of umf_fence_info.flags: a waiter is registered.
 *
 * A waiter that timed out may leave the bit behind until the next signal. Waiters of a page with
 * UMF_PAGE_SINGLE_WRITER do not register. Since 0.1.
 */
#define UMF_FENCE_INFO_WAITERS (1ULL << 33)

/**
 * A fence at one time, as its page shows it. umf_page_query_fence() fills it in. A peer that can
 * write to the page can have written any of it. Later versions may add members at the end. Since
 * 0.1.
 */
struct umf_fence_info {
    /** In: sizeof(struct umf_fence_info). Out: the number of bytes that the library knows. */
    uint32_t size;
    /** What umf_fence_error() tells: 0, or a negative errno. */
    int32_t error;
    /**
     * UMF_FENCE_32BIT, UMF_FENCE_DEVICE, UMF_FENCE_LASTING, UMF_FENCE_UNORDERED and
     * UMF_FENCE_INFO_* bits.
     */
    uint64_t flags;
    /** The value. */
    uint64_t value;
    /**
     * The greatest value that is reached or that umf_fence_submit() announced. The value of a
     * fence with UMF_FENCE_UNORDERED.
     */
    uint64_t pending;
    /** The number of fences that lived in the slot before. */
    uint64_t generation;
    /**
     * The process that created the fence, by its id in its own pid namespace. 0 if the fence has
     * UMF_FENCE_LASTING, or if its creator is known to be dead.
     */
    uint32_t creator_pid;
    /** The low 28 bits of the inode number of that pid namespace. 0 if it is unknown. */
    uint32_t creator_pid_namespace;
    /**
     * The number of times that waiters of the slot were woken, which wraps around. Those that wait
     * for many fences are not counted.
     */
    uint32_t wake_ups;
    /** 0. */
    uint32_t reserved;
};

/**
 * Get what a page shows of a fence, without opening the fence.
 *
 * For tools that look at pages of other processes: see UMF_PAGE_READ_ONLY. The call changes
 * nothing in the page.
 *
 * @page: the page.
 * @index: the index of a slot: see umf_fence_index(). The slots of a page are numbered from 0.
 * @flags: must be 0.
 * @info: receives the answer. The caller sets info->size to sizeof(*info) first. A library older
 *     than the caller's header fills in the members that it knows, and zeroes the rest. Stays the
 *     caller's.
 *
 * Return: 0 on success, or
 *   -EINVAL  @page or @info is NULL, @flags is not 0, or info->size is less than the first version
 *            of the struct, or more than 256
 *   -ENOENT  the page has no such index, or no fence lives there now
 *
 * Thread-safe. Since 0.1.
 */
int umf_page_query_fence(struct umf_page *page,
                         uint32_t index,
                         uint64_t flags,
                         struct umf_fence_info *info);

/* --- Traces ----------------------------------------------------------------------------------- */

/*
 * A trace shows when this process signaled, waited, was woken, ran watches and jobs, and converted
 * fences. It opens in Perfetto (ui.perfetto.dev) and chrome://tracing. Arrows lead from each
 * signal to the waits that it ended, also in other processes. docs/traces.md has a picture.
 */

/**
 * Record what this process does into a file.
 *
 * As the environment variable LIBUMF_TRACE does from the first page on that the process creates or
 * imports. Each event is a line of JSON, which one write() appends. So the file is complete if the
 * process is killed, a forked child goes on in it, and several processes may share a file: their
 * ids tell them apart. Events are appended to a trace that exists; remove it first for a new one.
 *
 * What is recorded: signals, updates and failures of fences, waits that do not end at once,
 * wake-ups, watches, jobs, and conversions. An event takes about two microseconds. Not recorded
 * are a wait that is met at once, a check with a deadline of 0, a value that is read or submitted,
 * what a device or another program does, and fences that fail because their page is tied to a
 * process.
 *
 * If an event cannot be written as a whole, recording stops in this process, and nothing else
 * changes: the file system is full, the program has closed the descriptor, or a limit on the size
 * of files (RLIMIT_FSIZE) was set. A second call goes on in the other file.
 *
 * @path: the file. It is created, or begins as a trace does. "%p" stands for the process id. A
 *     file system that may block, blocks the calls that are recorded.
 * @flags: must be 0.
 *
 * Return: 0 on success, or
 *   -EINVAL           @path is NULL, or is not a regular file, or one that begins otherwise;
 *                     @flags is not 0
 *   -ENOENT           a folder in @path does not exist, or is none
 *   -EACCES           the process may not read and write the file, or the file system is read-only
 *   -ENOMEM           no memory is left, no room on the file system, or a limit on the size of
 *                     files is set
 *   -EMFILE, -ENFILE  no file descriptor is left, in the process or in the system
 *   -EIO              the file cannot be opened or read for another reason
 *
 * Thread-safe. Since 0.1.
 */
int umf_trace_start(const char *path, uint64_t flags);

/**
 * Record no more events.
 *
 * Does nothing if none are recorded. Threads that are recording an event may still write it. The
 * library keeps the descriptor of the file, also for the next umf_trace_start().
 *
 * Thread-safe. Since 0.1.
 */
void umf_trace_stop(void);

/* --- Names of pages and fences, for people ---------------------------------------------------- */

/*
 * umf_graph_write(), the report of LIBUMF_DEBUG and the tool umf-info show them. Nothing else
 * depends on a name. It is in the page, so every process that has the page sees it.
 */

/** The size of a name in bytes, with the NUL at its end. Since 0.1. */
#define UMF_NAME_SIZE 56

/** The index that stands for the page itself in umf_page_query_name(). Since 0.1. */
#define UMF_NAME_OF_PAGE 4294967295

/**
 * Name a page.
 *
 * The first name in a page takes a memory page of memory.
 *
 * @page: the page.
 * @name: the name, which ends with a NUL. The first 55 bytes count. An empty name, or NULL, is no
 *     name. Copied.
 *
 * Return: 0 on success, or
 *   -EINVAL      @page is NULL
 *   -EACCES      this process imported the page, which has UMF_PAGE_SINGLE_WRITER, or imported it
 *                with UMF_PAGE_READ_ONLY
 *   -EOPNOTSUPP  the page has no room for names: another program made it
 *   -ENOMEM      no memory is left, or RLIMIT_FSIZE allows no more
 *
 * Thread-safe. Since 0.1.
 */
int umf_page_set_name(struct umf_page *page, const char *name);

/**
 * Name a fence.
 *
 * The name ends with the fence: the slot's next fence has none.
 *
 * @fence: the fence.
 * @name: the name, as in umf_page_set_name(). Copied.
 *
 * Return: 0 on success, or
 *   -EINVAL      @fence is NULL
 *   -ESTALE      the fence ended: see umf_fence_create()
 *   -EACCES      this process imported the page, which has UMF_PAGE_SINGLE_WRITER
 *   -EOPNOTSUPP  the page has no room for names: another program made it
 *   -ENOMEM      no memory is left, or RLIMIT_FSIZE allows no more
 *
 * Thread-safe. Since 0.1.
 */
int umf_fence_set_name(struct umf_fence *fence, const char *name);

/**
 * Get the name of a page or of one of its fences.
 *
 * A peer that can write to the page can have written any name. So the characters that could affect
 * a terminal or a parser, and all that are not ASCII, are replaced by a question mark.
 *
 * @page: the page.
 * @index: the index of the fence's slot, or UMF_NAME_OF_PAGE.
 * @flags: must be 0.
 * @out_name: receives the name and a NUL, UMF_NAME_SIZE bytes at most; an empty string if there is
 *     no name. Written only on success.
 *
 * Return: 0 on success, or
 *   -EINVAL  @page or @out_name is NULL, or @flags is not 0
 *   -ENOENT  the page has no such index, or no fence lives there now
 *
 * Thread-safe. Since 0.1.
 */
int umf_page_query_name(struct umf_page *page, uint32_t index, uint64_t flags, char *out_name);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* LIBUMF_H */
