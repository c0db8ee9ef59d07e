/* SPDX-License-Identifier: MIT */
/*
 * What the tests of queues share: jobs that count what happens to them, and loops of every kind,
 * which keep running while a test waits.
 */
#ifndef QUEUE_H
#define QUEUE_H

#include "sleeper.h"

#include <poll.h>

/* A job and its counters. */
struct work {
    atomic_int ran, released;
    int answer, result;
    /* Its place in the order in which all jobs ran, from 1. */
    int turn;
    /* Called in run, and in release. */
    void (*in_run)(struct work *work);
    void (*in_release)(struct work *work);
    void *data;
};

static atomic_int turns;

static inline int
run(void *data)
{
    struct work *work = data;
    work->turn = ++turns;
    CHECK(work->released == 0);
    if (work->in_run)
        work->in_run(work);
    int answer = work->answer;
    work->ran++;
    return answer;
}

static inline void
release(void *data, int result)
{
    struct work *work = data;
    work->result = result;
    if (work->in_release)
        work->in_release(work);
    work->released++;
}

/* Submits a job with at most one wait and one signal; returns what umf_queue_submit() does. */
static inline int
submit(struct umf_queue *queue, struct work *work, struct umf_fence *wait, uint64_t wait_value,
       struct umf_fence *signal, uint64_t signal_value)
{
    struct umf_condition waits = { .fence = wait, .value = wait_value };
    struct umf_signal signals = { signal, signal_value };
    struct umf_job job = { .size = sizeof(job), .wait_count = wait != NULL, .waits = &waits,
                           .signal_count = signal != NULL, .signals = &signals, .run = run,
                           .release = release, .data = work };
    return umf_queue_submit(queue, &job, 0);
}

/* Blocks a running job until it is opened. */
static atomic_bool gate;

static inline void
wait_at_the_gate(struct work *work)
{
    work->ran++;
    while (!gate)
        sched_yield();
    work->ran--;
}

/* A loop, its queue, and fences. */
struct rig {
    const char *name;
    uint64_t loop_flags, queue_flags;
    struct umf_loop *loop;
    struct umf_queue *queue;
    struct umf_page *page;
    struct umf_fence *fence[8];
};

static const struct rig kinds[] = {
    { .name = "thread", .loop_flags = UMF_LOOP_THREAD },
    { .name = "caller" },
    { .name = "thread, inline", .loop_flags = UMF_LOOP_THREAD, .queue_flags = UMF_QUEUE_INLINE },
    { .name = "caller, inline", .queue_flags = UMF_QUEUE_INLINE },
};

/* Creates all objects of a kind. */
static inline struct rig
set_up(const struct rig *kind)
{
    struct rig rig = *kind;
    OK(umf_loop_create(rig.loop_flags, &rig.loop));
    OK(umf_queue_create(rig.loop, rig.queue_flags, &rig.queue));
    OK(umf_page_create(ARRAY_SIZE(rig.fence), 0, &rig.page));
    for (size_t i = 0; i < ARRAY_SIZE(rig.fence); i++)
        OK(umf_fence_create(rig.page, 0, 0, &rig.fence[i]));
    turns = 0;
    return rig;
}

static inline void
tear_down(struct rig *rig)
{
    umf_queue_unref(rig->queue);
    umf_loop_unref(rig->loop);
    for (size_t i = 0; i < ARRAY_SIZE(rig->fence); i++)
        umf_fence_unref(rig->fence[i]);
    umf_page_unref(rig->page);
}

static inline bool
is_dispatched(const struct rig *rig)
{
    return !(rig->loop_flags & UMF_LOOP_THREAD);
}

/* Returns once the loop has something to dispatch. */
static inline void
until_due(const struct rig *rig)
{
    struct pollfd fd = { .fd = umf_loop_fd(rig->loop), .events = POLLIN };
    while (poll(&fd, 1, -1) != 1)
        CHECK(errno == EINTR);
}

/* Returns once a count has reached a value, and runs the loop until then. */
static inline void
until(const struct rig *rig, atomic_int *count, int value)
{
    while (atomic_load(count) < value) {
        if (is_dispatched(rig)) {
            until_due(rig);
            OK(umf_loop_dispatch(rig->loop, 0));
        } else {
            sched_yield();
        }
    }
    CHECK(atomic_load(count) == value);
}

/* Returns once the loop's threads sleep. A thread that is awake may yet find that nothing is
 * due. */
static inline void
until_threads_sleep(void)
{
    struct dirent *task;
    DIR *tasks = opendir("/proc/self/task");
    CHECK(tasks);
    while ((task = readdir(tasks))) {
        pid_t thread = (pid_t)atoi(task->d_name);
        if (thread > 0 && thread != gettid())
            until_asleep(getpid(), thread);
    }
    closedir(tasks);
}

/* Returns once the loop has done all that was due. */
static inline void
settle(const struct rig *rig)
{
    struct umf_queue *other;
    struct work markers[2] = { 0 };
    OK(umf_queue_create(rig->loop, 0, &other));
    for (int i = 0; i < 2; i++) {
        OK(submit(other, &markers[i], NULL, 0, NULL, 0));
        until(rig, &markers[i].released, 1);
    }
    umf_queue_unref(other);
}

/* The same, and returns once nothing becomes due by itself. For loops whose threads do nothing
 * else. */
static inline void
settle_down(const struct rig *rig)
{
    settle(rig);
    if (is_dispatched(rig)) {
        struct pollfd fd = { .fd = umf_loop_fd(rig->loop), .events = POLLIN };
        until_threads_sleep();
        while (poll(&fd, 1, 0) == 1) {
            OK(umf_loop_dispatch(rig->loop, 0));
            until_threads_sleep();
        }
    }
}

#endif
