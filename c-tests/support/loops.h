/*
 * Loops of both kinds, driven alike: with a thread of the library's, or dispatched by the test
 * whenever the descriptor says so.
 */
#ifndef LOOPS_H
#define LOOPS_H

#include "others.h"

#include <poll.h>

struct loop {
    struct umf_loop *umf;
    bool has_thread;
};

static inline struct loop
new_loop(bool has_thread)
{
    struct loop l = { .has_thread = has_thread };
    OK(umf_loop_create(has_thread ? UMF_LOOP_THREAD : 0, &l.umf));
    return l;
}

/* Sleeps until the loop has something to do, and has it done. A thread does it by itself, and whoever
 * looks whether it has looks again. */
static inline void
run_loop(struct loop *l)
{
    if (l->has_thread) {
        nanosleep(&(struct timespec){ .tv_nsec = 20000 }, NULL);
        return;
    }
    struct pollfd readable = { .fd = umf_loop_fd(l->umf), .events = POLLIN };
    CHECK(poll(&readable, 1, -1) == 1);
    OK(umf_loop_dispatch(l->umf, 0));
}

/* What a watch comes to, once it has. Ends the reference. */
static inline int
outcome_of(struct loop *l, struct umf_watch *watch)
{
    int result;
    while ((result = umf_watch_result(watch)) == -ETIME)
        run_loop(l);
    umf_watch_unref(watch);
    return result;
}

/* Returns when the loop has done all that was due before. */
static inline void
settle(struct loop *l, struct umf_page *page)
{
    struct umf_fence *fence;
    struct umf_watch *watch;
    OK(umf_fence_create(page, 0, 0, &fence));
    /* One comes round where fences are heard, the other where files are. */
    for (uint64_t i = 1; i <= 3; i++) {
        OK(umf_loop_export_fence(l->umf, fence, i, fence, i, 0, NULL, &watch));
        OK(umf_fence_signal(fence, i));
        OK(outcome_of(l, watch));
        OK(umf_loop_import_sync_file(l->umf, fence, i, -1, 0, NULL, &watch));
        OK(outcome_of(l, watch));
    }
    umf_fence_unref(fence);
}

/* Who is told of a watch. */
struct told {
    atomic_int calls, released, result;
};

static inline void
on_call(void *data, int result)
{
    struct told *told = data;
    atomic_store(&told->result, result);
    atomic_fetch_add(&told->calls, 1);
}

static inline void
on_release(void *data)
{
    struct told *told = data;
    atomic_fetch_add(&told->released, 1);
}

static inline struct umf_callback
tell_to(struct told *told)
{
    return (struct umf_callback){ .call = on_call, .release = on_release, .data = told };
}

#endif
