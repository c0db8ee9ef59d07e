/* SPDX-License-Identifier: MIT */
/*
 * Loops and watches: callbacks that record their calls, and ways to let a loop of either kind work
 * while a test waits.
 */
#ifndef WATCH_H
#define WATCH_H

#include "sleeper.h"

#include <poll.h>
#include <sys/eventfd.h>

#define NOT_CALLED 1

/* The calls of a callback. */
struct told {
    atomic_int calls, releases;
    _Atomic int result;
    /* its place in the order of all calls */
    atomic_uint turn;
};

static atomic_uint turns;
/* How many callbacks run now. No two may run at once. */
static atomic_int running;

static inline void
on_call(void *data, int result)
{
    struct told *told = data;
    CHECK(atomic_fetch_add(&running, 1) == 0);
    atomic_store(&told->result, result);
    unsigned turn = atomic_fetch_add(&turns, 1) + 1;
    atomic_store(&told->turn, turn);
    atomic_fetch_add(&told->calls, 1);
    /* Not each time: on a busy machine every yield costs the thread its turn on the processor. */
    if (turn % 16 == 0)
        sched_yield();
    CHECK(atomic_load(&told->releases) == 0);
    atomic_fetch_sub(&running, 1);
}

static inline void
on_release(void *data)
{
    struct told *told = data;
    atomic_fetch_add(&told->releases, 1);
}

static inline struct umf_callback
callback_to(struct told *told)
{
    atomic_store(&told->calls, 0);
    atomic_store(&told->releases, 0);
    atomic_store(&told->result, NOT_CALLED);
    atomic_store(&told->turn, 0);
    return (struct umf_callback){ on_call, on_release, told };
}

static inline struct umf_loop *
create_loop(uint64_t flags)
{
    struct umf_loop *loop;
    OK(umf_loop_create(flags, &loop));
    return loop;
}

static inline bool
is_readable(int fd)
{
    struct pollfd entry = { fd, POLLIN, 0 };
    int ready = poll(&entry, 1, 0);
    CHECK(ready >= 0);
    return ready == 1;
}

/* Returns once the loop's descriptor says that something is due. */
static inline void
until_due(struct umf_loop *loop)
{
    struct pollfd entry = { umf_loop_fd(loop), POLLIN, 0 };
    CHECK(poll(&entry, 1, -1) == 1);
}

static inline bool
loop_has_thread(struct umf_loop *loop)
{
    return umf_loop_fd(loop) < 0;
}

/* Gives the loop a chance to do what is due. */
static inline void
turn_loop(struct umf_loop *loop)
{
    int fd = umf_loop_fd(loop);
    if (fd >= 0) {
        struct pollfd entry = { fd, POLLIN, 0 };
        /* Only if the descriptor says so: that is part of the test. */
        if (poll(&entry, 1, 1) == 1)
            OK(umf_loop_dispatch(loop, 0));
    } else {
        EXPECT(-EINVAL, fd); /* it has a thread */
        nanosleep(&(struct timespec){ .tv_nsec = 20000 }, NULL);
    }
}

/* Turns the loop until the condition holds. The watchdog ends a test where it never does. */
#define UNTIL(loop, condition)                                                                     \
    do {                                                                                           \
        while (!(condition))                                                                       \
            turn_loop(loop);                                                                       \
    } while (0)

static inline void
until_complete(struct umf_loop *loop, struct told *told)
{
    UNTIL(loop, atomic_load(&told->releases) > 0);
    CHECK(told->releases == 1);
}

/* Turns the loop until the callback was called once, with this result, and released. */
static inline void
until_called(struct umf_loop *loop, struct told *told, int result)
{
    until_complete(loop, told);
    EXPECT(1, told->calls);
    EXPECT(result, told->result);
}

static inline struct umf_watch *
watch_value(struct umf_loop *loop, struct umf_fence *fence, uint64_t value, struct told *told)
{
    struct umf_condition wait = { fence, value, UMF_OP_GE, 0, 0 };
    struct umf_callback callback = callback_to(told);
    struct umf_watch *watch;
    OK(umf_loop_watch(loop, &wait, 0, &callback, &watch));
    return watch;
}

/* The result of a watch, once it has one. Releases the reference. */
static inline int
outcome_of(struct umf_loop *loop, struct umf_watch *watch)
{
    int result;
    while ((result = umf_watch_result(watch)) == -ETIME)
        turn_loop(loop);
    umf_watch_unref(watch);
    return result;
}

/* Returns when the loop has done all that was due before. */
static inline void
settle(struct umf_loop *loop, struct umf_page *page)
{
    struct umf_fence *fence;
    struct umf_watch *watch;
    OK(umf_fence_create(page, 0, 0, &fence));
    /* The first kind of watch passes through the fence poller, the second through the fd poller. */
    for (uint64_t i = 1; i <= 3; i++) {
        OK(umf_loop_export_fence(loop, fence, i, fence, i, 0, NULL, &watch));
        OK(umf_fence_signal(fence, i));
        OK(outcome_of(loop, watch));
        OK(umf_loop_import_sync_file(loop, fence, i, -1, 0, NULL, &watch));
        OK(outcome_of(loop, watch));
    }
    umf_fence_unref(fence);
}

/* The threads of this process with a loop's name, up to count of them in tids. Returns their
 * number. */
static inline int
loop_threads(pid_t *tids, int count)
{
    int found = 0;
    struct dirent *entry;
    DIR *dir = opendir("/proc/self/task");
    CHECK(dir);
    while ((entry = readdir(dir))) {
        char path[300], name[32] = "";
        snprintf(path, sizeof(path), "/proc/self/task/%s/comm", entry->d_name);
        FILE *comm = fopen(path, "re");
        if (!comm)
            continue;
        if (fgets(name, sizeof(name), comm) && strcmp(name, "umf-loop\n") == 0) {
            if (found < count)
                tids[found] = (pid_t)atoi(entry->d_name);
            found++;
        }
        fclose(comm);
    }
    closedir(dir);
    return found;
}

/* Returns once there are so many threads. The kernel lists a joined thread for a moment longer, an
 * emulator more so. */
static inline void
until_threads(int count)
{
    uint64_t give_up = in_ns(20 * SECOND);
    while (threads() != count)
        CHECK(now_ns() < give_up);
}

/*
 * Returns once each thread of the process's only loop sleeps: whatever the loop must notice next
 * has to wake it. Lists the threads anew each time, since a thread of the loop before may still be
 * listed as it exits.
 */
static inline void
until_loop_sleeps(void)
{
    pid_t tids[512];
    uint64_t give_up = in_ns(20 * SECOND);
    for (;;) {
        int count = loop_threads(tids, 512), asleep = 0;
        CHECK(count <= 512);
        while (asleep < count && is_asleep(getpid(), tids[asleep]))
            asleep++;
        if (count > 0 && asleep == count)
            return;
        CHECK(now_ns() < give_up);
        nanosleep(&(struct timespec){ .tv_nsec = 20000 }, NULL);
    }
}

#endif
