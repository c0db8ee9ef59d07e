// SPDX-License-Identifier: MIT
/*
 * Watches of fences that a device writes: noticed within a share of the time already waited, at
 * once with umf_fence_notify(), whatever else the loop handles, and without polling fences that
 * wake their waiters.
 */
#include "raw_page.h"
#include "sleeper.h"
#include "watch.h"

#include <sys/resource.h>

static const uint64_t modes[] = { 0, UMF_LOOP_THREAD };
static uint64_t mode;
static struct umf_loop *loop;
static struct umf_page *page;
static struct umf_fence *fence;
static struct raw raw;

static void
start(uint32_t fences)
{
    loop = create_loop(mode);
    OK(umf_page_create(fences, 0, &page));
    OK(umf_fence_create(page, 0, UMF_FENCE_DEVICE, &fence));
    raw = map_raw(page);
}

static void
finish(void)
{
    umf_loop_unref(loop);
    unmap_raw(&raw);
    umf_fence_unref(fence);
    umf_page_unref(page);
}

static void
polling_notices_it(void)
{
    struct told told;
    start(1);
    for (uint64_t value = 1; value <= 100; value++) {
        struct umf_watch *watch = watch_value(loop, fence, value, &told);
        if (value % 10 == 0)
            until_loop_sleeps();
        write_raw(&raw, fence, value);
        until_called(loop, &told, 0);
        EXPECT(0, umf_watch_result(watch));
        umf_watch_unref(watch);
    }
    finish();
}

/* A long wait polls rarely. umf_fence_notify() does not wait for the next poll. */
static void
notify_is_at_once(void)
{
    struct told told;
    uint64_t least = UINT64_MAX;
    start(1);
    umf_watch_unref(watch_value(loop, fence, UINT64_MAX, &told));
    CHECK(poll(NULL, 0, 100) == 0);
    for (uint64_t value = 1; value <= 30; value++) {
        struct told one;
        umf_watch_unref(watch_value(loop, fence, value, &one));
        until_loop_sleeps();
        uint64_t began = now_ns();
        write_raw(&raw, fence, value);
        OK(umf_fence_notify(fence));
        until_called(loop, &one, 0);
        least = now_ns() - began < least ? now_ns() - began : least;
    }
    printf("notified, to the callback: %" PRIu64 " ns\n", least);
    CHECK(least < 4 * MS * rounds(1, 50));
    finish();
}

/* Other fences are signaled all the time, more often than the loop polls, on this page or on
 * another. */
static atomic_bool signaling;

static void *
signal_all_the_time(void *argument)
{
    struct umf_fence *signaled = argument;
    for (uint64_t value = umf_fence_value(signaled) + 1; signaling; value++) {
        OK(umf_fence_signal(signaled, value));
        OK(umf_fence_notify(signaled));
        sched_yield();
    }
    return NULL;
}

static void
other_signals_do_not_starve_it(bool same_page)
{
    struct told told, never;
    struct umf_page *other;
    struct umf_fence *signaled;
    pthread_t signaler;
    start(2);
    OK(umf_page_create(1, 0, &other));
    OK(umf_fence_create(same_page ? page : other, 0, 0, &signaled));
    umf_watch_unref(watch_value(loop, signaled, UINT64_MAX, &never));
    umf_watch_unref(watch_value(loop, fence, 1, &told));
    until_loop_sleeps();
    atomic_store(&signaling, true);
    CHECK(pthread_create(&signaler, NULL, signal_all_the_time, signaled) == 0);
    CHECK(poll(NULL, 0, 20) == 0);
    uint64_t began = now_ns();
    write_raw(&raw, fence, 1);
    /* The signals go on until the value is noticed. A poll interval is 4 ms at most. */
    until_called(loop, &told, 0);
    uint64_t took = now_ns() - began;
    printf("amid signaling: %" PRIu64 " ns\n", took);
    CHECK(took < 100 * MS * rounds(1, 50));
    atomic_store(&signaling, false);
    CHECK(pthread_join(signaler, NULL) == 0);
    umf_fence_unref(signaled);
    umf_page_unref(other);
    finish();
}

/* Polling looks only at fences that devices write. */
static void
other_fences_are_not_polled(void)
{
    enum { OTHERS = 100000 };
    static struct umf_fence *others[OTHERS];
    static struct told told[OTHERS];
    struct told one;
    struct rusage before, after;
    unsigned count = rounds(OTHERS, 100);
    start(OTHERS + 1);
    for (unsigned i = 0; i < count; i++) {
        OK(umf_fence_create(page, 0, 0, &others[i]));
        umf_watch_unref(watch_value(loop, others[i], 1, &told[i]));
    }
    umf_watch_unref(watch_value(loop, fence, 1, &one));
    CHECK(poll(NULL, 0, 100) == 0);
    CHECK(getrusage(RUSAGE_SELF, &before) == 0);
    CHECK(poll(NULL, 0, 400) == 0);
    CHECK(getrusage(RUSAGE_SELF, &after) == 0);
    uint64_t us = (uint64_t)(after.ru_utime.tv_sec - before.ru_utime.tv_sec) * 1000000 +
                  (uint64_t)(after.ru_utime.tv_usec - before.ru_utime.tv_usec);
    printf("beside 100,000 others: %" PRIu64 " us of CPU time in 400 ms\n", us);
    CHECK(us < 40000 || RUNNING_ON_VALGRIND);
    write_raw(&raw, fence, 1);
    until_called(loop, &one, 0);
    umf_loop_unref(loop);
    loop = NULL;
    for (unsigned i = 0; i < count; i++)
        umf_fence_unref(others[i]);
    finish();
}

int
main(void)
{
    watchdog(50);
    for (size_t m = 0; m < ARRAY_SIZE(modes); m++) {
        mode = modes[m];
        polling_notices_it();
        notify_is_at_once();
        other_signals_do_not_starve_it(true);
        other_signals_do_not_starve_it(false);
        other_fences_are_not_polled();
    }
    return 0;
}
