// SPDX-License-Identifier: MIT
/*
 * Each system call of the library gets each error that docs/errnos.md says the kernel can return.
 * The function that made it returns what the table says, keeps nothing, and works afterwards.
 */
#include "errno_table.h"
#include "inputs.h"
#include "notifier.h"

#define ALL_OF(name, number) { name, number, -1, 0, 0 }

#ifndef SYS_fstat
#define SYS_fstat SYS_newfstatat
#endif
#ifndef SYS_newfstatat
#define SYS_newfstatat SYS_fstat
#endif

#ifdef SYS_poll
#define POLL SYS_poll
#else
#define POLL SYS_ppoll
#endif

static const struct matched_call calls[] = {
    ALL_OF("memfd_create", SYS_memfd_create),
    ALL_OF("ftruncate", SYS_ftruncate),
    ALL_OF("fallocate", SYS_fallocate),
    { "mmap", SYS_mmap, 3, MAP_SHARED | MAP_PRIVATE, MAP_SHARED },
    { "mmap(MAP_PRIVATE)", SYS_mmap, 3, MAP_SHARED | MAP_PRIVATE, MAP_PRIVATE },
    ALL_OF("pread64", SYS_pread64),
    ALL_OF("pwrite64", SYS_pwrite64),
    ALL_OF("munmap", SYS_munmap),
    { "fcntl(F_ADD_SEALS)", SYS_fcntl, 1, UINT32_MAX, F_ADD_SEALS },
    { "fcntl(F_GET_SEALS)", SYS_fcntl, 1, UINT32_MAX, F_GET_SEALS },
    { "fcntl(F_DUPFD_CLOEXEC)", SYS_fcntl, 1, UINT32_MAX, F_DUPFD_CLOEXEC },
    { "fcntl(F_GETFL)", SYS_fcntl, 1, UINT32_MAX, F_GETFL },
    { "fcntl(F_SETFL)", SYS_fcntl, 1, UINT32_MAX, F_SETFL },
    ALL_OF("dup3", SYS_dup3),
    ALL_OF("fstat", SYS_fstat),
    ALL_OF("fstat", SYS_newfstatat),
    ALL_OF("prlimit64", SYS_prlimit64),
    { "futex(FUTEX_WAIT_BITSET)", SYS_futex, 1, UINT32_MAX, 9 },  /* of shared memory */
    { "futex(FUTEX_WAKE_BITSET)", SYS_futex, 1, UINT32_MAX, 10 }, /* so too */
    ALL_OF("futex_waitv", FUTEX_WAITV),
    { "open", OPEN, OPEN_FLAGS, O_DIRECTORY, 0 }, /* the test opens directories itself */
    { "open", SYS_openat, 2, O_DIRECTORY, 0 },
    ALL_OF("epoll_create1", SYS_epoll_create1),
    ALL_OF("epoll_ctl", SYS_epoll_ctl),
    ALL_OF("epoll_pwait", SYS_epoll_pwait),
    ALL_OF("epoll_pwait", 441 /* epoll_pwait2 */),
    ALL_OF("eventfd2", SYS_eventfd2),
    ALL_OF("clone", SYS_clone),
    ALL_OF("clone", 435 /* clone3 */),
    ALL_OF("prctl", SYS_prctl),
    ALL_OF("sched_getscheduler", SYS_sched_getscheduler),
    ALL_OF("sched_getaffinity", SYS_sched_getaffinity),
    ALL_OF("madvise", SYS_madvise),
    { "statx", SYS_statx, 3, UINT32_MAX, 1 /* STATX_TYPE: not a probe for the call */ },
    ALL_OF("writev", SYS_writev),
    ALL_OF("ppoll", SYS_ppoll),
    ALL_OF("ppoll", POLL),
    ALL_OF("preadv2", SYS_preadv2),
    ALL_OF("io_setup", SYS_io_setup),
    ALL_OF("io_submit", SYS_io_submit),
    ALL_OF("waitid", SYS_waitid),
    ALL_OF("getsockopt", SYS_getsockopt),
    { "getsockopt(SO_PEERPIDFD)", SYS_getsockopt, 2, UINT32_MAX, 77 },
    ALL_OF("getpeername", SYS_getpeername),
    ALL_OF("kill", SYS_kill),
    ALL_OF("pidfd_open", SYS_pidfd_open),
    ALL_OF("write", SYS_write),
};

/* A list of words that is not on the stack has more than four. */
#define PAGES 6

/* A pidfd of a process that has exited. */
static int dead;

/* Made before a call fails. */
static struct umf_page *pages[PAGES], *single;
static struct umf_fence *fences[PAGES];
static int interrupt;
/* A folder with the files of traces. */
static char folder[] = "/tmp/errnos.XXXXXX", trace[32], new_trace[32];

static int
create_page(void)
{
    MAKE_AND_UNREF(page, umf_page_create(1, UMF_PAGE_SINGLE_WRITER, &made));
}

static int
import_page(void)
{
    MAKE_AND_UNREF(page, umf_page_import(their_page, 0, &made));
}

static int
export_page(void)
{
    int fd = SENTINEL, result = umf_page_export(pages[0], 0, &fd);
    close_made(fd, result);
    return result;
}

static int
reclaim(void)
{
    struct umf_page *page;
    uint32_t count = SENTINEL;
    OK(umf_page_import(their_page, 0, &page));
    int result = umf_page_reclaim(page, 0, &count);
    CHECK(count == (result == 0 ? 0 : SENTINEL)); /* its creator lives */
    umf_page_unref(page);
    return result;
}

static int
name_page(void)
{
    return umf_page_set_name(pages[0], "a name");
}

/* Where only the creator can write, the name needs memory by another call. */
static int
name_fence(void)
{
    struct umf_fence *fence;
    OK(umf_fence_create(single, 0, 0, &fence));
    int result = umf_fence_set_name(fence, "a name");
    umf_fence_unref(fence);
    return result;
}

/* Returns the name, or none. */
static int
query_name(void)
{
    char name[UMF_NAME_SIZE] = "not written";
    int result = umf_page_query_name(pages[0], UMF_NAME_OF_PAGE, 0, name);
    CHECK(!name[0] || !strcmp(name, "a name"));
    return result;
}

static int
wait_for_one(void)
{
    return umf_fence_wait(fences[0], umf_fence_value(fences[0]) + 1, in_ns(5 * MS));
}

static int
wait_for_many_pages(void)
{
    struct umf_condition any[PAGES];
    for (int i = 0; i < PAGES; i++)
        any[i] = (struct umf_condition){ .fence = fences[i],
                                         .value = umf_fence_value(fences[i]) + 1 };
    return umf_wait(any, PAGES, UMF_WAIT_ANY, in_ns(5 * MS), NULL);
}

static int
notify(void)
{
    return umf_fence_notify(fences[0]);
}

static int
create_loop_alone(void)
{
    MAKE_AND_UNREF(loop, umf_loop_create(0, &made));
}

static int
create_notifier(void)
{
    const struct umf_interrupt interrupt = { .size = sizeof(interrupt), .fd = event };
    MAKE_AND_UNREF(notifier, umf_notifier_create(&interrupt, 0, &made));
}

/* An interrupt has come, and the value has not. */
static int
wait_for_interrupt(void)
{
    const uint64_t one = 1;
    struct umf_fence *device;
    CHECK(write(interrupt, &one, sizeof(one)) == sizeof(one));
    OK(umf_fence_create(pages[1], 0, UMF_FENCE_DEVICE, &device));
    notify_by(device, interrupt);
    int result = umf_fence_wait(device, 1, in_ns(5 * MS));
    umf_fence_unref(device);
    until_threads(2); /* this one, and the one that answers */
    return result;
}

/* An eventfd of this process alone. */
static void
make_interrupt(void)
{
    interrupt = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    CHECK(interrupt >= 0);
}

/* The result of a call of a loop; if that is 0, its end is awaited. */
static int
watch(void)
{
    struct umf_loop *loop = create_loop(UMF_LOOP_THREAD);
    struct told told;
    struct umf_callback callback = callback_to(&told);
    uint64_t next = umf_fence_value(fences[0]) + 1;
    struct umf_condition wait = { .fence = fences[0], .value = next };
    int result = umf_loop_watch(loop, &wait, 0, &callback, NULL);
    OK(umf_fence_signal(fences[0], next));
    if (result == 0)
        until_called(loop, &told, 0);
    CHECK(told.releases == (result == 0));
    umf_loop_unref(loop);
    until_threads(2); /* this one, and the one that answers */
    return result;
}

static int
add_to_eventfd(void)
{
    struct umf_loop *loop = create_loop(UMF_LOOP_THREAD);
    uint64_t next = umf_fence_value(fences[0]) + 1, count;
    struct umf_condition wait = { .fence = fences[0], .value = next };
    int result = umf_loop_export_eventfd(loop, &wait, 0, event, NULL, NULL);
    OK(umf_fence_signal(fences[0], next));
    if (result == 0) {
        struct pollfd added = { .fd = event, .events = POLLIN };
        CHECK(poll(&added, 1, -1) == 1);
        CHECK(read(event, &count, sizeof(count)) == sizeof(count) && count == 1);
    }
    umf_loop_unref(loop);
    until_threads(2);
    return result;
}

/* A tie to a process that exits. */
static int
tie_fence(void)
{
    struct umf_loop *loop = create_loop(UMF_LOOP_THREAD);
    struct umf_fence *fence;
    struct told told;
    struct umf_callback callback = callback_to(&told);
    OK(umf_fence_create(pages[0], 0, 0, &fence));
    int result = umf_loop_tie_fence(loop, fence, dead, 0, &callback, NULL);
    if (result == 0) {
        until_called(loop, &told, 0);
        EXPECT(-EOWNERDEAD, error_of(fence));
    } else {
        EXPECT(0, error_of(fence));
    }
    umf_loop_unref(loop);
    until_threads(2);
    umf_fence_unref(fence);
    return result;
}

/* A tie to a socket, which lives on. */
static int
tie_page(void)
{
    struct umf_loop *loop = create_loop(UMF_LOOP_THREAD);
    int result = umf_loop_tie_page(loop, pages[1], ends[0], 0, NULL, NULL);
    umf_loop_unref(loop);
    until_threads(2);
    return result;
}

/* A tie to the process at the other end, which lives on. */
static int
tie_process(void)
{
    struct umf_loop *loop = create_loop(UMF_LOOP_THREAD);
    struct umf_fence *fence;
    OK(umf_fence_create(pages[0], 0, 0, &fence));
    int result = umf_loop_tie_fence(loop, fence, ends[0], UMF_TIE_PROCESS, NULL, NULL);
    umf_loop_unref(loop);
    until_threads(2);
    umf_fence_unref(fence);
    return result;
}

/* The end of another process's fence, which has come. */
static int
import_xshmfence(void)
{
    const uint32_t triggered = 1;
    int xshmfence = memfd_create("xshmfence", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    CHECK(write(xshmfence, &triggered, sizeof(triggered)) == sizeof(triggered));
    struct umf_loop *loop = create_loop(UMF_LOOP_THREAD);
    struct told told;
    struct umf_callback callback = callback_to(&told);
    uint64_t next = umf_fence_value(fences[0]) + 1;
    int result = umf_loop_import_xshmfence(loop, fences[0], next, xshmfence, 0, &callback, NULL);
    if (result == 0)
        until_called(loop, &told, 0);
    CHECK(umf_fence_value(fences[0]) == next - (result != 0));
    umf_loop_unref(loop);
    close(xshmfence);
    atomic_store(&answers_left, 0); /* to count the threads takes fstat too */
    until_threads(2);
    return result;
}

/* A trace in a new file, in place of the one in another. */
static int
start_trace(void)
{
    int result = umf_trace_start(new_trace, 0);
    unlink(new_trace);
    return result;
}

static void
start_first_trace(void)
{
    OK(umf_trace_start(trace, 0));
}

/* Writes an event, or records no more. */
static int
record_signal(void)
{
    OK(umf_trace_start(trace, 0));
    return umf_fence_signal(fences[0], umf_fence_value(fences[0]) + 1);
}

static int
write_graph(void)
{
    return umf_graph_write(null, 0, NULL);
}

static const struct maker makers[] = {
    { "umf_page_create", create_page, 0, NULL },
    { "umf_page_import", import_page, 0, NULL },
    { "umf_page_export", export_page, 0, NULL },
    { "umf_page_reclaim", reclaim, 0, NULL },
    { "umf_page_set_name", name_page, 0, NULL },
    { "umf_fence_set_name", name_fence, 0, NULL },
    { "umf_page_query_name", query_name, 0, NULL },
    { "umf_fence_wait", wait_for_one, -ETIME, NULL },
    { "umf_wait", wait_for_many_pages, -ETIME, NULL },
    { "umf_fence_set_notifier", wait_for_interrupt, -ETIME, make_interrupt },
    { "umf_loop_import_xshmfence", import_xshmfence, 0, NULL },
    { "umf_trace_start", start_trace, 0, start_first_trace },
    { "umf_fence_signal", record_signal, 0, start_first_trace },
    { "umf_fence_notify", notify, 0, NULL },
    { "umf_loop_create", create_loop_alone, 0, NULL },
    { "umf_notifier_create", create_notifier, 0, NULL },
    { "umf_loop_watch", watch, 0, NULL },
    { "umf_loop_export_eventfd", add_to_eventfd, 0, NULL },
    { "umf_loop_tie_fence", tie_fence, 0, NULL },
    { "umf_loop_tie_page", tie_page, 0, NULL },
    { "UMF_TIE_PROCESS", tie_process, 0, NULL },
    { "umf_graph_write", write_graph, 0, NULL },
};

int
main(void)
{
    pid_t pid;
    siginfo_t info;
    watchdog(50);
    if (cannot_be_refused_calls() || !open_inputs())
        return SKIPPED;
    IN_CHILD(pid, (void)0);
    dead = (int)syscall(SYS_pidfd_open, pid, 0);
    CHECK(dead >= 0 && waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT) == 0);
    for (int i = 0; i < PAGES; i++) {
        OK(umf_page_create(4, 0, &pages[i]));
        OK(umf_fence_create(pages[i], 0, 0, &fences[i]));
    }
    OK(umf_page_create(4, UMF_PAGE_SINGLE_WRITER, &single));
    OK(umf_page_set_name(pages[0], "a name"));
    CHECK(mkdtemp(folder));
    snprintf(trace, sizeof(trace), "%s/trace", folder);
    snprintf(new_trace, sizeof(new_trace), "%s/new", folder);
    CHECK(DEVICE_ROWS);
    bool held = check_rows(errnos_md, DEVICE_ROWS, calls, ARRAY_SIZE(calls), makers,
                           ARRAY_SIZE(makers));
    CHECK(waitpid(pid, NULL, 0) == pid);
    unlink(trace);
    rmdir(folder);
    end_page_owner();
    return held ? 0 : 1;
}
