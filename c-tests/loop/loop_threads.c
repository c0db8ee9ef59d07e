// SPDX-License-Identifier: MIT
/*
 * The threads of a loop: when they exist, their names and signal masks, what they cost while
 * nothing happens, and loops that cannot start a thread or whose process forks.
 */
#include "sandbox.h"
#include "sleeper.h"
#include "watch.h"

#include <sys/resource.h>

static const uint64_t modes[] = { 0, UMF_LOOP_THREAD };
static uint64_t mode;
static struct umf_page *page;
static struct umf_fence *fence;
static uint64_t last;

static uint64_t
blocked_by(pid_t tid)
{
    char path[64], line[256];
    unsigned long long set = 0;
    snprintf(path, sizeof(path), "/proc/self/task/%d/status", (int)tid);
    FILE *status = fopen(path, "re");
    CHECK(status);
    while (fgets(line, sizeof(line), status)) {
        if (sscanf(line, "SigBlk: %llx", &set) == 1)
            break;
    }
    fclose(status);
    return set;
}

static void
they_come_with_the_first_watch_and_go_with_the_loop(void)
{
    struct told told;
    pid_t tids[4];
    sigset_t before, after;
    memset(&before, 0, sizeof(before));
    memset(&after, 0, sizeof(after));
    CHECK(sigprocmask(SIG_SETMASK, NULL, &before) == 0);
    until_threads(1);
    struct umf_loop *loop = create_loop(mode);
    CHECK(threads() == 1);
    struct umf_watch *watch = watch_value(loop, fence, last + 1, &told);
    CHECK(threads() == 2);
    until_loop_sleeps();
    CHECK(loop_threads(tids, 4) == 1);
    /* All but SIGKILL, SIGSTOP, and the two that the C library keeps. (Valgrind and the emulator
     * keep masks to themselves.) */
    for (int i = 1; i <= 64; i++) {
        bool can_be = i != SIGKILL && i != SIGSTOP && i != 32 && i != 33 && !RUNNING_ON_VALGRIND &&
                      !is_emulated();
        CHECK(!can_be || blocked_by(tids[0]) >> (i - 1) & 1);
    }
    CHECK(sigprocmask(SIG_SETMASK, NULL, &after) == 0);
    CHECK(memcmp(&before, &after, sizeof(before)) == 0);
    OK(umf_watch_cancel(watch));
    umf_watch_unref(watch);
    umf_loop_unref(loop);
    until_threads(1);
}

static uint64_t
cpu_ns(void)
{
    struct rusage usage;
    CHECK(getrusage(RUSAGE_SELF, &usage) == 0);
    return ((uint64_t)usage.ru_utime.tv_sec + (uint64_t)usage.ru_stime.tv_sec) * SECOND +
           ((uint64_t)usage.ru_utime.tv_usec + (uint64_t)usage.ru_stime.tv_usec) * 1000;
}

static void
they_take_no_time_while_nothing_happens(void)
{
    enum { WATCHES = 1000 };
    static struct told told[WATCHES];
    struct umf_loop *loop = create_loop(mode);
    for (unsigned i = 0; i < WATCHES; i++)
        umf_watch_unref(watch_value(loop, fence, last + 1 + i, &told[i]));
    until_loop_sleeps();
    uint64_t before = cpu_ns();
    CHECK(poll(NULL, 0, 300) == 0);
    CHECK(cpu_ns() - before < 30 * MS);
    umf_loop_unref(loop);
    CHECK(told[0].releases == 1 && told[WATCHES - 1].releases == 1);
}

/* Where no thread can start, calls that need one return an error, and nothing else is affected. */
static void
where_no_thread_can_be_started(void)
{
    struct told told, other;
    struct umf_condition wait = { fence, last + 1, UMF_OP_GE, 0, 0 };
    struct umf_callback callback = callback_to(&told);
    struct umf_watch *watch = NULL;
    int event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), fds = open_fds();
    struct umf_loop *loop = create_loop(mode);
    for (int i = 0; i < 3; i++) {
        EXPECT(-ENOMEM, umf_loop_watch(loop, &wait, 0, &callback, &watch));
        EXPECT(-ENOMEM, umf_loop_export_eventfd(loop, &wait, 0, event, &callback, &watch));
        EXPECT(-ENOMEM,
               umf_loop_export_fence(loop, fence, last + 1, fence, last + 2, 0, &callback, &watch));
        if (mode == UMF_LOOP_THREAD)
            EXPECT(-ENOMEM, umf_loop_import_sync_file(loop, fence, last, -1, 0, &callback, &watch));
    }
    CHECK(!watch && told.calls == 0 && told.releases == 0 && threads() == 1);
    if (mode == 0) {
        /* Calls that need no thread. */
        callback = callback_to(&other);
        OK(umf_loop_import_sync_file(loop, fence, last, -1, 0, &callback, NULL));
        until_called(loop, &other, 0);
    }
    umf_loop_unref(loop);
    CHECK(told.releases == 0 && open_fds() == fds);
    close(event);
}

/* A process thread that can start no thread, beside one that can. */
static struct umf_loop *shared_loop;

static void *
fail_to_watch(void *unused)
{
    struct told told;
    struct umf_condition wait = { fence, last + 1, UMF_OP_GE, 0, 0 };
    struct umf_callback callback = callback_to(&told);
    (void)unused;
    forbid_threads();
    EXPECT(-ENOMEM, umf_loop_watch(shared_loop, &wait, 0, &callback, NULL));
    CHECK(told.releases == 0);
    return NULL;
}

static void
a_thread_that_did_not_start_is_not_relied_on(void)
{
    pthread_t other;
    struct told told;
    shared_loop = create_loop(mode);
    CHECK(pthread_create(&other, NULL, fail_to_watch, NULL) == 0);
    CHECK(pthread_join(other, NULL) == 0);
    struct umf_callback callback = callback_to(&told);
    OK(umf_loop_import_sync_file(shared_loop, fence, last, -1, 0, &callback, NULL));
    until_called(shared_loop, &told, 0);
    umf_watch_unref(watch_value(shared_loop, fence, last, &told));
    until_called(shared_loop, &told, 0);
    umf_loop_unref(shared_loop);
}

/* A thread gets its name even if no descriptor is left. */
static void
without_descriptors(void)
{
    struct told told;
    struct rlimit limit;
    struct umf_loop *loop = create_loop(mode), *none = NULL;
    struct umf_watch *watch = NULL;
    struct umf_condition wait = { fence, last + 1, UMF_OP_GE, 0, 0 };
    int event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), spare[64], count = 0;
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = 40;
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    while ((spare[count] = dup(STDIN_FILENO)) >= 0)
        count++;
    CHECK(errno == EMFILE && count > 4);
    EXPECT(-EMFILE, umf_loop_create(mode, &none));
    struct umf_callback callback = callback_to(&told);
    EXPECT(-EMFILE, umf_loop_export_eventfd(loop, &wait, 0, event, &callback, &watch));
    CHECK(told.releases == 0 && !watch);
    close(spare[--count]);
    EXPECT(-EMFILE, umf_loop_create(mode, &none));
    CHECK(!none);
    CHECK((spare[count] = dup(STDIN_FILENO)) >= 0 && ++count);
    CHECK(dup(STDIN_FILENO) < 0);
    watch = watch_value(loop, fence, last + 1, &told);
    umf_watch_unref(watch);
    struct told signaled;
    callback = callback_to(&signaled);
    OK(umf_loop_import_sync_file(loop, fence, last, -1, 0, &callback, NULL));
    until_called(loop, &signaled, 0);
    while (count > 0)
        close(spare[--count]);
    while (loop_threads(NULL, 0) < threads() - 1)
        sched_yield();
    OK(umf_fence_signal(fence, ++last));
    until_called(loop, &told, 0);
    umf_loop_unref(loop);
    close(event);
}

/* A child has the handles but not the threads behind them. */
static void
a_process_that_forks(void)
{
    /* Static, so that valgrind finds what a child leaves to its end. */
    static struct umf_loop *loop;
    static struct umf_watch *watch, *over;
    struct told due, told, more;
    struct umf_fence *target;
    pid_t pid;
    loop = create_loop(mode);
    OK(umf_fence_create(page, 0, 0, &target));
    watch = watch_value(loop, fence, last + 1, &told);
    over = watch_value(loop, fence, last, &due);
    int fd = umf_loop_fd(loop);
    if (mode == UMF_LOOP_THREAD)
        until_called(loop, &due, 0);
    else
        CHECK(poll(&(struct pollfd){ fd, POLLIN, 0 }, 1, -1) == 1);
    until_loop_sleeps();
    for (int way = 0; way < 3; way++) {
        IN_CHILD(pid, {
            watchdog(20);
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            struct umf_condition wait = { fence, last + 1, UMF_OP_GE, 0, 0 };
            struct umf_callback callback = callback_to(&more);
            struct umf_watch *none = NULL;
            int event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
            CHECK(threads() == 1);
            EXPECT(-ESTALE, umf_loop_watch(loop, &wait, 0, &callback, &none));
            EXPECT(-ESTALE, umf_loop_export_eventfd(loop, &wait, 0, event, &callback, &none));
            EXPECT(-ESTALE,
                   umf_loop_export_fence(loop, fence, last, target, 9, 0, &callback, &none));
            EXPECT(-ESTALE, umf_loop_import_sync_file(loop, fence, last, -1, 0, &callback, &none));
            EXPECT(-ESTALE, umf_loop_fd(loop));
            EXPECT(-ESTALE, umf_loop_dispatch(loop, 0));
            EXPECT(-ESTALE, umf_watch_result(watch));
            EXPECT(-ESTALE, umf_watch_cancel(watch));
            EXPECT(-ESTALE, umf_watch_cancel(over));
            CHECK(!none && more.releases == 0 && threads() == 1);
            if (way == 1) {
                umf_loop_unref(loop);
                umf_watch_unref(umf_watch_ref(watch));
                umf_watch_unref(watch);
                umf_watch_unref(over);
            } else if (way == 2) {
                umf_watch_unref(over);
                umf_watch_unref(watch);
                umf_loop_unref(umf_loop_ref(loop));
                umf_loop_unref(loop);
                umf_fence_unref(fence);
                umf_fence_unref(target);
                umf_page_unref(page);
            }
            /* Nothing is called or released, whatever the child ends. A loop of its own works. */
            CHECK(told.calls == 0 && told.releases == 0);
            struct umf_page *own_page;
            struct umf_fence *own_fence;
            OK(umf_page_create(1, 0, &own_page));
            OK(umf_fence_create(own_page, 0, 0, &own_fence));
            struct umf_loop *own_loop = create_loop(mode);
            umf_watch_unref(watch_value(own_loop, own_fence, 1, &more));
            OK(umf_fence_signal(own_fence, 1));
            until_called(own_loop, &more, 0);
            umf_loop_unref(own_loop);
            umf_fence_unref(own_fence);
            umf_page_unref(own_page);
            until_threads(1);
        });
        join_child(pid);
    }
    /* The parent's loop works on. */
    EXPECT(-ETIME, umf_watch_result(watch));
    OK(umf_fence_signal(fence, ++last));
    until_called(loop, &told, 0);
    until_called(loop, &due, 0);
    umf_watch_unref(watch);
    umf_watch_unref(over);
    umf_fence_unref(target);
    umf_loop_unref(loop);
}

/* The policy and the processors of the loop's thread, if the thread that adds the first watch has
 * others than the process. */
static struct umf_loop *started_by_another;

static void *
add_from_a_special_thread(void *told)
{
    struct sched_param high = { .sched_priority = 1 }, none = { .sched_priority = 0 };
    cpu_set_t one;
    CHECK(sched_getaffinity(0, sizeof(one), &one) == 0);
    for (int cpu = 0; CPU_COUNT(&one) > 1; cpu++)
        CPU_CLR(cpu, &one);
    CHECK(sched_setaffinity(0, sizeof(one), &one) == 0);
    /* Real time takes a privilege. */
    if (sched_setscheduler(0, SCHED_FIFO, &high) != 0)
        CHECK(sched_setscheduler(0, SCHED_BATCH, &none) == 0);
    umf_watch_unref(watch_value(started_by_another, fence, last + 1, told));
    return NULL;
}

static void
they_are_scheduled_as_the_process(void)
{
    struct told told;
    pthread_t special;
    pid_t tids[4];
    cpu_set_t process, loop;
    started_by_another = create_loop(mode);
    CHECK(pthread_create(&special, NULL, add_from_a_special_thread, &told) == 0);
    CHECK(pthread_join(special, NULL) == 0);
    until_threads(2);
    until_loop_sleeps();
    CHECK(loop_threads(tids, 4) == 1);
    EXPECT(SCHED_OTHER, sched_getscheduler(tids[0]));
    CHECK(sched_getaffinity(0, sizeof(process), &process) == 0);
    CHECK(sched_getaffinity(tids[0], sizeof(loop), &loop) == 0);
    CHECK(CPU_EQUAL(&process, &loop));
    umf_loop_unref(started_by_another);
}

int
main(void)
{
    pid_t pid;
    watchdog(50);
    OK(umf_page_create(4, 0, &page));
    OK(umf_fence_create(page, 0, 0, &fence));
    int fds = open_fds();
    for (size_t m = 0; m < ARRAY_SIZE(modes); m++) {
        mode = modes[m];
        last = umf_fence_value(fence); /* the children have signaled it too */
        they_come_with_the_first_watch_and_go_with_the_loop();
        they_take_no_time_while_nothing_happens();
        if (!is_emulated())
            they_are_scheduled_as_the_process();
        a_process_that_forks();
        if (!RUNNING_ON_VALGRIND) {
            IN_CHILD(pid, (watchdog(20), forbid_threads(), where_no_thread_can_be_started()));
            join_child_unless_skipped(pid);
            IN_CHILD(pid, (watchdog(20), a_thread_that_did_not_start_is_not_relied_on()));
            join_child_unless_skipped(pid);
            IN_CHILD(pid, (watchdog(20), without_descriptors()));
            join_child(pid);
        }
    }
    CHECK(open_fds() == fds);
    until_threads(1);
    umf_fence_unref(fence);
    umf_page_unref(page);
    return 0;
}
