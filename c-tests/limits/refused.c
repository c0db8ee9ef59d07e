// SPDX-License-Identifier: MIT
/*
 * A kernel or a sandbox refuses system calls, one at a time. Each function that needs the call
 * returns an error, the same each time, and all others work. A temporary failure is not taken for a
 * permanent one.
 */
#include "inputs.h"
#include "sandbox.h"
#include "sleeper.h"

#include <linux/memfd.h>

#define ANY_ARGUMENT (-1)
#define CLONE3 435
#ifdef SYS_open
#define OPEN SYS_open
#else
#define OPEN SYS_openat
#endif

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

/* The refused calls: those with this number, and with these bits in one argument. */
struct refusal {
    long call;
    int argument;
    uint32_t mask, value; /* (argument & mask) == value */
    uint32_t error;
};

#define ALL_OF(number, code) { number, ANY_ARGUMENT, 0, 0, code }
#define ONLY_IF(number, argument, mask, value, code) { number, argument, mask, value, code }

/* From here on, for this thread and the threads that it starts. */
static void
refuse(const struct refusal *r)
{
    uint32_t argument = r->argument == ANY_ARGUMENT
                            ? offsetof(struct seccomp_data, nr)
                            : offsetof(struct seccomp_data, args) + (uint32_t)r->argument * 8;
    struct sock_filter steps[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)r->call, 0, 4),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, argument),
        BPF_STMT(BPF_ALU | BPF_AND | BPF_K, r->mask),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, r->value, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | r->error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    install_filter(steps, ARRAY_SIZE(steps));
}

/* Results of the functions that could need the call. 0 unless named. */
struct answers {
    int create, create_single_writer, import, export;
    int loop, watch, eventfd, tie_process, tie_socket, queue, notifier, graph;
    bool waits_for_many_pages_in_slices;
};

#define NOTHING_ELSE_CHANGES { 0 }

static const struct {
    const char *what;
    struct refusal refusals[2];
    struct answers expected;
} rows[] = {
    /* Kernels. */
    { "MFD_NOEXEC_SEAL, before Linux 6.3",
      { ONLY_IF(SYS_memfd_create, 1, MFD_NOEXEC_SEAL, MFD_NOEXEC_SEAL, EINVAL) },
      NOTHING_ELSE_CHANGES },
    { "F_SEAL_FUTURE_WRITE, before 5.1",
      { ONLY_IF(SYS_fcntl, 2, F_SEAL_FUTURE_WRITE | F_SEAL_SHRINK,
                F_SEAL_FUTURE_WRITE | F_SEAL_SHRINK, EINVAL) },
      { .create_single_writer = -EOPNOTSUPP } },
    { "futex_waitv, before 5.16",
      { ALL_OF(FUTEX_WAITV, ENOSYS) },
      { .waits_for_many_pages_in_slices = true } },
    { "waitid for a pidfd, before 5.4",
      { ONLY_IF(SYS_waitid, 0, UINT32_MAX, 3 /* P_PIDFD */, EINVAL) },
      { .tie_process = -EINVAL } },
    { "PR_GET_AUXV, before 6.4",
      { ONLY_IF(SYS_prctl, 0, UINT32_MAX, PR_GET_AUXV_NUMBER, EINVAL) },
      NOTHING_ELSE_CHANGES },
    { "clone3, before 5.3", { ALL_OF(CLONE3, ENOSYS) }, NOTHING_ELSE_CHANGES },
    /* Sandboxes. */
    { "futex_waitv", { ALL_OF(FUTEX_WAITV, EPERM) }, { .waits_for_many_pages_in_slices = true } },
    { "futex_waitv, as if its arguments were wrong",
      { ALL_OF(FUTEX_WAITV, EINVAL) },
      { .waits_for_many_pages_in_slices = true } },
    { "memfd_create",
      { ALL_OF(SYS_memfd_create, EPERM) },
      { .create = -EACCES, .create_single_writer = -EACCES } },
    { "memfd_create, as if there were none",
      { ALL_OF(SYS_memfd_create, ENOSYS) },
      { .create = -EOPNOTSUPP, .create_single_writer = -EOPNOTSUPP } },
    { "fallocate",
      { ALL_OF(SYS_fallocate, EPERM) },
      { .create = -EACCES, .create_single_writer = -EACCES } },
    { "fstatfs", { ALL_OF(SYS_fstatfs, EPERM) }, NOTHING_ELSE_CHANGES },
    { "statx", { ALL_OF(SYS_statx, EPERM) }, NOTHING_ELSE_CHANGES },
    { "statx, as if there were none", { ALL_OF(SYS_statx, ENOSYS) }, NOTHING_ELSE_CHANGES },
    { "getrlimit", { ALL_OF(SYS_prlimit64, EPERM) }, NOTHING_ELSE_CHANGES },
    { "getsockopt", { ALL_OF(SYS_getsockopt, EPERM) }, { .tie_socket = -EACCES } },
    { "getpeername", { ALL_OF(SYS_getpeername, EPERM) }, { .tie_socket = -EACCES } },
    { "eventfd", { ALL_OF(SYS_eventfd2, EPERM) }, { .loop = -EACCES, .notifier = -EACCES } },
    { "epoll", { ALL_OF(SYS_epoll_create1, EPERM) }, { .loop = -EACCES } },
    { "epoll, as if there were none",
      { ALL_OF(SYS_epoll_create1, ENOSYS) },
      { .loop = -EOPNOTSUPP } },
    { "waitid", { ALL_OF(SYS_waitid, EPERM) }, { .tie_process = -EACCES } },
    { "waitid, as if there were none",
      { ALL_OF(SYS_waitid, ENOSYS) },
      { .tie_process = -EOPNOTSUPP } },
    { "threads",
      { ALL_OF(SYS_clone, EPERM), ALL_OF(CLONE3, EPERM) },
      { .watch = -ENOMEM,
        .eventfd = -ENOMEM,
        .tie_process = -ENOMEM,
        .tie_socket = -ENOMEM,
        .queue = -ENOMEM,
        .notifier = -ENOMEM } },
    { "prctl", { ALL_OF(SYS_prctl, EPERM) }, NOTHING_ELSE_CHANGES },
    { "open", { ALL_OF(SYS_openat, EPERM), ALL_OF(OPEN, EPERM) }, NOTHING_ELSE_CHANGES },
    { "kill", { ALL_OF(SYS_kill, EPERM) }, NOTHING_ELSE_CHANGES },
    { "pidfd_open", { ALL_OF(SYS_pidfd_open, EPERM) }, NOTHING_ELSE_CHANGES },
    { "pidfd_open, as if there were none",
      { ALL_OF(SYS_pidfd_open, ENOSYS) },
      NOTHING_ELSE_CHANGES },
    { "writev", { ALL_OF(SYS_writev, EPERM) }, NOTHING_ELSE_CHANGES },
    /* Descriptors of the whole system have run out. */
    { "memfd_create, in a full machine",
      { ALL_OF(SYS_memfd_create, ENFILE) },
      { .create = -ENFILE, .create_single_writer = -ENFILE } },
    { "eventfd, in a full machine",
      { ALL_OF(SYS_eventfd2, ENFILE) },
      { .loop = -ENFILE, .notifier = -ENFILE } },
    { "epoll, in a full machine", { ALL_OF(SYS_epoll_create1, ENFILE) }, { .loop = -ENFILE } },
    /* The kernel has no memory. */
    { "memfd_create, without memory",
      { ALL_OF(SYS_memfd_create, ENOMEM) },
      { .create = -ENOMEM, .create_single_writer = -ENOMEM } },
    { "fallocate, without room",
      { ALL_OF(SYS_fallocate, ENOSPC) },
      { .create = -ENOMEM, .create_single_writer = -ENOMEM } },
    { "epoll_ctl, without memory", { ALL_OF(SYS_epoll_ctl, ENOMEM) }, { .loop = -ENOMEM } },
    { "epoll_ctl, beyond max_user_watches",
      { ALL_OF(SYS_epoll_ctl, ENOSPC) },
      { .loop = -ENOMEM } },
    { "futex_waitv, without memory",
      { ONLY_IF(FUTEX_WAITV, 1, 0xff, 2, ENOMEM) },
      NOTHING_ELSE_CHANGES },
};

/* Two of each that exist before anything is refused. */
static struct umf_page *pages[2];
static struct umf_fence *fences[2];

/* Signals once the process's first thread sleeps, in whatever call. */
static void *
signal_sleeper(void *unused)
{
    char state = 0;
    (void)unused;
    while (state != 'S') {
        FILE *stat = fopen("/proc/self/stat", "re");
        CHECK(stat && fscanf(stat, "%*d (%*[^)]) %c", &state) == 1);
        fclose(stat);
    }
    OK(umf_fence_signal(fences[1], umf_fence_value(fences[1]) + 1));
    return NULL;
}

/* Whatever is refused, existing fences can be waited for and signaled. */
static void
what_is_there_goes_on(bool has_threads)
{
    uint64_t next = umf_fence_value(fences[0]) + 1;
    OK(umf_fence_signal(fences[0], next));
    OK(umf_fence_wait(fences[0], next, FOREVER));
    EXPECT(-ETIME, umf_fence_wait(fences[0], next + 1, in_ns(MS)));
    const uint64_t beyond = umf_fence_value(fences[1]) + 1;
    struct umf_condition any[2] = { { fences[0], next + 1, UMF_OP_GE, 0, 0 },
                                    { fences[1], beyond, UMF_OP_GE, 0, 0 } };
    EXPECT(-ETIME, umf_wait(any, 2, UMF_WAIT_ANY, in_ns(MS), NULL));
    EXPECT(-ETIME, umf_wait(any, 2, 0, in_ns(MS), NULL));
    if (has_threads) {
        pthread_t thread;
        uint32_t index = 9;
        CHECK(pthread_create(&thread, NULL, signal_sleeper, NULL) == 0);
        OK(umf_wait(any, 2, UMF_WAIT_ANY, FOREVER, &index));
        CHECK(index == 1);
        CHECK(pthread_join(thread, NULL) == 0);
    }
}

/* A call that needs a thread fails, unless the caller dispatches the loop. (That is so for
 * fences; everything else uses epoll.) */
static int
of_loop(int expected, uint64_t flags)
{
    return expected == -ENOMEM && !(flags & UMF_LOOP_THREAD) ? 0 : expected;
}

static void
with_a_loop(const struct answers *expected, uint64_t flags)
{
    struct umf_loop *loop = NULL;
    struct umf_watch *watch = NULL;
    struct umf_queue *queue = NULL;
    struct told told, more;
    EXPECT(expected->loop, umf_loop_create(flags, &loop));
    if (!loop)
        return;
    uint64_t next = umf_fence_value(fences[0]) + 1;
    struct umf_condition wait = { fences[0], next, UMF_OP_GE, 0, 0 };
    struct umf_callback callback = callback_to(&told);
    EXPECT(expected->watch, umf_loop_watch(loop, &wait, 0, &callback, &watch));
    EXPECT(expected->eventfd, umf_loop_export_eventfd(loop, &wait, 0, event, NULL, NULL));
    callback = callback_to(&more);
    EXPECT(of_loop(expected->tie_process, flags),
           umf_loop_tie_fence(loop, fences[1], pidfd, 0, &callback, NULL));
    EXPECT(of_loop(expected->tie_socket, flags),
           umf_loop_tie_page(loop, pages[1], ends[0], 0, &callback, NULL));
    if (watch) {
        OK(umf_fence_signal(fences[0], next));
        until_called(loop, &told, 0);
        OK(umf_watch_result(watch));
        umf_watch_unref(watch);
    }
    EXPECT(of_loop(expected->queue, flags), umf_queue_create(loop, 0, &queue));
    umf_queue_unref(queue);
    umf_loop_unref(loop);
}

static void
look(const struct answers *expected)
{
    struct umf_page *more = NULL, *again = NULL;
    struct umf_caps caps = { .size = sizeof(caps) };
    int fd = -1, fds = open_fds(), tasks = threads();
    bool has_threads = expected->watch == 0;
    const struct umf_interrupt interrupt = { .size = sizeof(interrupt), .fd = event };
    EXPECT(expected->create, umf_page_create(1, 0, &more));
    umf_page_unref(more);
    more = NULL;
    EXPECT(expected->create_single_writer, umf_page_create(1, UMF_PAGE_SINGLE_WRITER, &more));
    umf_page_unref(more);
    EXPECT(expected->import, umf_page_import(their_page, 0, &again));
    if (again) {
        uint32_t reclaimed = 1;
        OK(umf_page_reclaim(again, 0, &reclaimed));
        CHECK(reclaimed == 0); /* its creator lives */
    }
    umf_page_unref(again);
    EXPECT(expected->export, umf_page_export(pages[0], 0, &fd));
    close(fd);
    struct umf_fence *device;
    OK(umf_fence_create(pages[0], 0, UMF_FENCE_DEVICE, &device));
    struct umf_notifier *notifier = NULL;
    EXPECT(expected->notifier, umf_notifier_create(&interrupt, 0, &notifier));
    if (notifier)
        OK(umf_fence_set_notifier(device, notifier));
    umf_notifier_unref(notifier);
    umf_fence_unref(device);
    EXPECT(expected->graph, umf_graph_write(null, 0, NULL));
    what_is_there_goes_on(has_threads);
    for (uint64_t flags = 0; flags <= UMF_LOOP_THREAD; flags++)
        with_a_loop(expected, flags);
    what_is_there_goes_on(has_threads);
    OK(umf_query_caps(&caps));
    CHECK(!(caps.flags & UMF_CAP_WAIT_MANY_PAGES) == expected->waits_for_many_pages_in_slices);
    CHECK(open_fds() == fds);
    until_threads(tasks);
}

static void
refused(size_t i)
{
    watchdog(20);
    /* Where open is refused, the test cannot read /proc either. */
    bool blind = rows[i].refusals[0].call == SYS_openat;
    for (size_t r = 0; r < 2; r++)
        if (rows[i].refusals[r].call)
            refuse(&rows[i].refusals[r]);
    if (!blind) {
        look(&rows[i].expected);
        return;
    }
    struct umf_page *more;
    struct umf_loop *loop;
    struct umf_caps caps = { .size = sizeof(caps) };
    OK(umf_page_create(1, 0, &more));
    umf_page_unref(more);
    OK(umf_query_caps(&caps));
    OK(umf_graph_write(null, 0, NULL));
    OK(umf_loop_create(0, &loop));
    umf_loop_unref(loop);
}

/* The kernel has no memory for the sleeps of one thread and of the loop that this thread made.
 * They poll instead, and all others are unaffected, then and later. */
static struct umf_loop *starved_loop;
static struct told starved_told;
static int starved_call;
static atomic_int steps;

/* Created anew: children share what they inherit. */
static void
make_two_of_each(void)
{
    for (int i = 0; i < 2; i++) {
        OK(umf_page_create(4, 0, &pages[i]));
        OK(umf_fence_create(pages[i], 0, 0, &fences[i]));
    }
}

static void *
starve(void *unused)
{
    static const struct refusal no_memory[] = {
        ONLY_IF(FUTEX_WAITV, 1, 0xff, 2, ENOMEM),
        ONLY_IF(SYS_futex, 1, UINT32_MAX,
                9 /* FUTEX_WAIT_BITSET, shared: only the library uses it */, ENOMEM),
    };
    uint32_t index = 9;
    (void)unused;
    refuse(&no_memory[starved_call]);
    starved_loop = create_loop(UMF_LOOP_THREAD);
    umf_watch_unref(watch_value(starved_loop, fences[0], 2, &starved_told));
    struct umf_condition any[2] = { { fences[0], 100, UMF_OP_GE, 0, 0 },
                                    { fences[1], 2, UMF_OP_GE, 0, 0 } };
    atomic_store(&steps, 1);
    EXPECT(-ETIME, umf_wait(any, 2, UMF_WAIT_ANY, in_ns(5 * MS), &index));
    EXPECT(-ETIME, umf_fence_wait(fences[1], 2, in_ns(5 * MS)));
    atomic_store(&steps, 2);
    OK(umf_wait(any, 2, UMF_WAIT_ANY, FOREVER, &index));
    CHECK(index == 1);
    OK(umf_fence_wait(fences[1], 3, FOREVER));
    return NULL;
}

static void
what_fails_for_now_is_not_given_up(void)
{
    pthread_t thread;
    struct umf_caps before = { .size = sizeof(before) }, after = before;
    struct told told;
    watchdog(20);
    make_two_of_each();
    OK(umf_query_caps(&before));
    OK(umf_fence_signal(fences[0], 1));
    OK(umf_fence_signal(fences[1], 1));
    CHECK(pthread_create(&thread, NULL, starve, NULL) == 0);
    while (atomic_load(&steps) < 2)
        sched_yield();
    OK(umf_fence_signal(fences[1], 2));
    OK(umf_fence_signal(fences[0], 2));
    until_called(starved_loop, &starved_told, 0);
    OK(umf_fence_signal(fences[1], 3));
    CHECK(pthread_join(thread, NULL) == 0);
    umf_loop_unref(starved_loop);
    OK(umf_query_caps(&after));
    CHECK(after.flags == before.flags);

    /* A loop without refusals waits for two pages with one thread. */
    if (after.flags & UMF_CAP_WAIT_MANY_PAGES) {
        struct umf_loop *loop = create_loop(UMF_LOOP_THREAD);
        umf_watch_unref(watch_value(loop, fences[0], 3, &told));
        umf_watch_unref(watch_value(loop, fences[1], 4, &starved_told));
        until_loop_sleeps();
        CHECK(loop_threads(NULL, 0) == 1);
        OK(umf_fence_signal(fences[0], 3));
        until_called(loop, &told, 0);
        umf_loop_unref(loop);
    }
}

int
main(void)
{
    pid_t pid;
    watchdog(50);
    if (cannot_be_refused_calls())
        return SKIPPED;
    if (!open_inputs())
        return SKIPPED;
    make_two_of_each();
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        int status;
        IN_CHILD(pid, refused(i));
        CHECK(waitpid(pid, &status, 0) == pid);
        if (WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED)
            return SKIPPED; /* the child has said why */
        if (status != 0) {
            fprintf(stderr, "refused: %s\n", rows[i].what);
            return 1;
        }
    }
    for (starved_call = 0; starved_call < 2; starved_call++) {
        IN_CHILD(pid, what_fails_for_now_is_not_given_up());
        join_child(pid);
    }
    printf("%zu refusals\n", ARRAY_SIZE(rows));
    end_page_owner();
    return 0;
}
