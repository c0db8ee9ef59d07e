// SPDX-License-Identifier: MIT
/*
 * A signal wakes the waiters of its fence, and of others only a few times: threads that wait for a
 * fence of their own and a common one, and processes whose loops watch another fence of the page.
 */
#include "process.h"
#include "sleeper.h"
#include "watch.h"

#include <sys/resource.h>

#define THREADS 300
#define PROCESSES 20
#define SIGNALS 500

/* How often the threads of this process have gone to sleep. */
static long
sleeps(void)
{
    struct rusage usage;
    CHECK(getrusage(RUSAGE_SELF, &usage) == 0);
    return usage.ru_nvcsw;
}

/* Each thread sleeps for {its own fence, the common one}. Each signal of an own fence ends one
 * wait. For all of both, the common one is met meanwhile. */
static void
threads_with_a_common_fence(uint64_t flags)
{
    static struct sleeper sleepers[THREADS];
    static struct umf_condition waits[THREADS][2];
    struct umf_page *page;
    struct umf_fence *common, *own[THREADS];
    unsigned count = rounds(THREADS, 30);
    OK(umf_page_create(THREADS + 1, 0, &page));
    OK(umf_fence_create(page, 0, 0, &common));
    for (unsigned i = 0; i < count; i++) {
        OK(umf_fence_create(page, 0, 0, &own[i]));
        waits[i][0] = (struct umf_condition){ .fence = own[i], .value = 1 };
        waits[i][1] = (struct umf_condition){ .fence = common, .value = 1 };
        sleepers[i] = (struct sleeper){ .waits = waits[i], .count = 2, .flags = flags };
        fall_asleep(&sleepers[i]);
    }
    if (flags != UMF_WAIT_ANY)
        OK(umf_fence_signal(common, 1));
    long before = sleeps();
    for (unsigned i = 0; i < count; i++) {
        OK(umf_fence_signal(own[i], 1));
        /* A thread that was woken for nothing sleeps again. */
        for (unsigned j = i + 1; j < count; j++)
            CHECK(sleeps_on(&sleepers[j]));
        while (!atomic_load(&sleepers[i].done))
            sched_yield();
    }
    long woken = sleeps() - before + count; /* those that end do not go to sleep again */
    for (unsigned i = 0; i < count; i++)
        OK(end_of(&sleepers[i]));
    printf("%u threads, %s: %ld wake-ups for %u signals\n", count,
           flags == UMF_WAIT_ANY ? "any" : "all", woken, count);
    CHECK(woken <= 3 * (long)count);
    for (unsigned i = 0; i < count; i++)
        umf_fence_unref(own[i]);
    umf_fence_unref(common);
    umf_page_unref(page);
}

static void
not_due(void *data, int result)
{
    (void)data;
    EXPECT(-ECANCELED, result);
}

static void
idle(int sock)
{
    struct umf_page *page = recv_page(sock);
    struct umf_fence *fence = recv_fence(sock, page);
    struct umf_loop *loop;
    struct umf_watch *watch;
    struct umf_callback callback = { .call = not_due };
    struct umf_condition wait = { .fence = fence, .value = 1 };
    OK(umf_loop_create(UMF_LOOP_THREAD, &loop));
    OK(umf_loop_watch(loop, &wait, 0, &callback, &watch));
    tell(sock, 0);
    hear(sock);
    long before = sleeps();
    tell(sock, 0);
    hear(sock);
    tell(sock, (uint64_t)(sleeps() - before));
    EXPECT(0, umf_watch_cancel(watch));
    umf_watch_unref(watch);
    umf_loop_unref(loop);
    umf_fence_unref(fence);
    umf_page_unref(page);
}

/* Nobody's fence is signaled. One thread waits for it, so that each signal wakes. */
static void
idle_processes(void)
{
    struct peer peers[PROCESSES];
    unsigned signals = rounds(SIGNALS, 100);
    for (int i = 0; i < PROCESSES; i++)
        peers[i] = start_peer(idle);
    struct umf_page *page;
    struct umf_fence *busy, *never, *own[PROCESSES];
    OK(umf_page_create(PROCESSES + 2, 0, &page));
    OK(umf_fence_create(page, 0, 0, &busy));
    OK(umf_fence_create(page, 0, 0, &never));
    for (int i = 0; i < PROCESSES; i++) {
        OK(umf_fence_create(page, 0, 0, &own[i]));
        send_page(peers[i].sock, page);
        tell(peers[i].sock, umf_fence_index(own[i]));
        hear(peers[i].sock);
    }
    for (int i = 0; i < PROCESSES; i++) {
        tell(peers[i].sock, 0);
        hear(peers[i].sock);
    }
    struct umf_condition waits[2] = { { .fence = busy }, { .fence = never, .value = 1 } };
    for (uint64_t value = 1; value <= signals; value++) {
        waits[0].value = value;
        struct sleeper sleeper = { .waits = waits, .count = 2, .flags = UMF_WAIT_ANY };
        fall_asleep(&sleeper);
        OK(umf_fence_signal(busy, value));
        OK(end_of(&sleeper));
    }
    uint64_t woken = 0;
    for (int i = 0; i < PROCESSES; i++) {
        tell(peers[i].sock, 0);
        woken += hear(peers[i].sock);
    }
    printf("%d idle processes: %" PRIu64 " wake-ups for %u signals\n", PROCESSES, woken, signals);
    CHECK(woken <= 2 * signals);
    for (int i = 0; i < PROCESSES; i++) {
        end_peer(&peers[i]);
        umf_fence_unref(own[i]);
    }
    umf_fence_unref(never);
    umf_fence_unref(busy);
    umf_page_unref(page);
}

/* Creates a fence in a slot whose index is this modulo 32: its events wake with that bit. */
static struct umf_fence *
fence_with_bit(struct umf_page *page, uint32_t bit)
{
    for (;;) {
        struct umf_fence *fence;
        OK(umf_fence_create(page, 0, 0, &fence));
        if (umf_fence_index(fence) % 32 == bit)
            return fence;
        umf_fence_unref(fence);
    }
}

/* A list too long for the words of its slots sleeps on the page, but only with the bits of its
 * slots. */
static void
a_long_list(void)
{
    enum { LONG = 40 };
    struct umf_condition list[LONG], waits[2];
    unsigned signals = rounds(100, 50);
    struct umf_page *page;
    OK(umf_page_create(LONG * 64, 0, &page));
    for (int i = 0; i < LONG; i++)
        list[i] = (struct umf_condition){ .fence = fence_with_bit(page, 7), .value = 1 };
    struct umf_fence *busy = fence_with_bit(page, 8), *never = fence_with_bit(page, 8);
    struct sleeper long_list = { .waits = list, .count = LONG, .flags = UMF_WAIT_ANY };
    fall_asleep(&long_list);
    long before = sleeps_of(long_list.tid);
    waits[0] = (struct umf_condition){ .fence = busy };
    waits[1] = (struct umf_condition){ .fence = never, .value = 1 };
    for (uint64_t value = 1; value <= signals; value++) {
        waits[0].value = value;
        struct sleeper sleeper = { .waits = waits, .count = 2, .flags = UMF_WAIT_ANY };
        fall_asleep(&sleeper);
        OK(umf_fence_signal(busy, value));
        OK(end_of(&sleeper));
    }
    long woken = sleeps_of(long_list.tid) - before;
    printf("a list of %d: %ld wake-ups for %u signals of another bit\n", LONG, woken, signals);
    CHECK(woken <= (long)signals / 20);
    OK(umf_fence_signal(list[LONG - 1].fence, 1));
    OK(end_of(&long_list));
    for (int i = 0; i < LONG; i++)
        umf_fence_unref(list[i].fence);
    umf_fence_unref(busy);
    umf_fence_unref(never);
    umf_page_unref(page);
}

int
main(void)
{
    watchdog(50);
    struct umf_caps caps = { .size = sizeof(caps) };
    OK(umf_query_caps(&caps));
    if (!(caps.flags & UMF_CAP_WAIT_MANY_PAGES)) {
        printf("not available: futex_waitv, which valgrind and QEMU's user emulation lack\n");
        return SKIPPED;
    }
    idle_processes();
    a_long_list();
    threads_with_a_common_fence(UMF_WAIT_ANY);
    threads_with_a_common_fence(0);
    return 0;
}
