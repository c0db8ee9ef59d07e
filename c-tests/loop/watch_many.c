// SPDX-License-Identifier: MIT
/*
 * Very many watches, of many fences, of one fence, of more pages than a thread can wait for: each
 * signal calls only the callbacks that it concerns, at the same cost. The same in a sandbox that
 * forbids futex_waitv, from the start or after the loop was first used.
 */
#include "sandbox.h"
#include "sleeper.h"
#include "watch.h"

static uint64_t mode;

enum { MANY = 100000 };

static unsigned many;
static struct told *told;
static struct umf_fence **fences;

/* The shortest of many times, since other programs delay most of them on a busy machine: of the
 * signaling call, and until the callback. */
struct cost {
    uint64_t signal, round_trip;
};

static struct cost
cost_of(struct umf_loop *loop, struct umf_fence *fence, uint64_t *value)
{
    struct cost cost = { UINT64_MAX, UINT64_MAX };
    static struct told one;
    for (unsigned i = 0; i < rounds(100, 10); i++) {
        umf_watch_unref(watch_value(loop, fence, *value + 1, &one));
        until_loop_sleeps();
        uint64_t began = now_ns();
        OK(umf_fence_signal(fence, ++*value));
        uint64_t signal = now_ns() - began;
        until_called(loop, &one, 0);
        uint64_t round_trip = now_ns() - began;
        cost.signal = signal < cost.signal ? signal : cost.signal;
        cost.round_trip = round_trip < cost.round_trip ? round_trip : cost.round_trip;
    }
    return cost;
}

static void
compare(const char *what, struct cost with, struct cost without)
{
    printf("%s: a signal %" PRIu64 " ns, to the callback %" PRIu64 "; alone %" PRIu64
           " and %" PRIu64 "\n",
           what, with.signal, with.round_trip, without.signal, without.round_trip);
    /* A loop that looks at all watches takes thousands of times as long. */
    CHECK(with.signal < 50 * without.signal && with.round_trip < 50 * without.round_trip);
}

static void
on_many_fences_of_a_page(void)
{
    until_threads(1);
    struct umf_loop *loop = create_loop(mode);
    struct umf_page *page;
    uint64_t value = 0;
    OK(umf_page_create(many + 1, 0, &page));
    for (unsigned i = 0; i <= many; i++)
        OK(umf_fence_create(page, 0, 0, &fences[i]));
    struct cost alone = cost_of(loop, fences[many], &value);
    int fds = open_fds(), tasks = threads();
    for (unsigned i = 0; i < many; i++)
        umf_watch_unref(watch_value(loop, fences[i], 1, &told[i]));
    CHECK(open_fds() == fds);
    until_threads(tasks);
    until_loop_sleeps();
    compare("100,000 fences", cost_of(loop, fences[many], &value), alone);
    /* One signal calls one callback. */
    OK(umf_fence_signal(fences[many / 2], 1));
    until_called(loop, &told[many / 2], 0);
    until_loop_sleeps();
    for (unsigned i = 0; i < many; i++)
        CHECK(told[i].calls == (i == many / 2));
    /* More signals than the event log of a page holds. */
    for (unsigned i = 0; i < many; i += 2)
        OK(umf_fence_signal(fences[i], 5));
    for (unsigned i = 0; i < many; i += 2)
        until_called(loop, &told[i], 0);
    for (unsigned i = 1; i < many; i += 2)
        CHECK(told[i].calls == 0);
    umf_loop_unref(loop);
    for (unsigned i = 0; i < many; i++) {
        CHECK(told[i].releases == 1);
        umf_fence_unref(fences[i]);
    }
    umf_fence_unref(fences[many]);
    umf_page_unref(page);
}

static void
on_one_fence(void)
{
    struct umf_loop *loop = create_loop(mode);
    struct umf_page *page;
    struct umf_fence *fence;
    uint64_t value = 0;
    OK(umf_page_create(1, 0, &page));
    OK(umf_fence_create(page, 0, 0, &fence));
    struct cost alone = cost_of(loop, fence, &value);
    /* In falling order, so that each becomes the first of the list. */
    for (unsigned i = many; i-- > 0;)
        umf_watch_unref(watch_value(loop, fence, 1000 + i, &told[i]));
    compare("100,000 values", cost_of(loop, fence, &value), alone);
    OK(umf_fence_signal(fence, 1000));
    until_called(loop, &told[0], 0);
    until_loop_sleeps();
    CHECK(told[1].calls == 0);
    OK(umf_fence_signal(fence, 1000 + many / 2));
    for (unsigned i = 0; i <= many / 2; i++)
        until_called(loop, &told[i], 0);
    CHECK(told[many / 2 + 1].calls == 0);
    OK(umf_fence_set_error(fence, -EIO));
    for (unsigned i = many / 2 + 1; i < many; i++)
        until_called(loop, &told[i], -EIO);
    umf_loop_unref(loop);
    umf_fence_unref(fence);
    umf_page_unref(page);
}

/* More pages than one thread can wait for. */
static void
on_many_pages(bool has_waitv)
{
    enum { PAGES = 300 };
    static struct umf_page *pages[PAGES];
    until_threads(1);
    struct umf_loop *loop = create_loop(mode);
    int before = threads();
    for (unsigned i = 0; i < PAGES; i++) {
        OK(umf_page_create(1, 0, &pages[i]));
        OK(umf_fence_create(pages[i], 0, 0, &fences[i]));
        umf_watch_unref(watch_value(loop, fences[i], 1, &told[i]));
    }
    int pollers = threads() - before;
    CHECK(has_waitv ? pollers == 3 : pollers >= 1);
    until_loop_sleeps();
    for (unsigned i = 0; i < PAGES; i++) {
        OK(umf_fence_signal(fences[i * 7 % PAGES], 1));
        if (i % 10 == 0)
            until_called(loop, &told[i * 7 % PAGES], 0);
    }
    for (unsigned i = 0; i < PAGES; i++)
        until_called(loop, &told[i], 0);
    /* The same threads serve the next watches. */
    for (unsigned i = 0; i < PAGES; i++)
        umf_watch_unref(watch_value(loop, fences[i], 2, &told[i]));
    CHECK(threads() == before + pollers);
    until_loop_sleeps();
    for (unsigned i = PAGES; i-- > 0;)
        OK(umf_fence_signal(fences[i], 2));
    for (unsigned i = 0; i < PAGES; i++)
        until_called(loop, &told[i], 0);
    umf_loop_unref(loop);
    until_threads(1);
    for (unsigned i = 0; i < PAGES; i++) {
        umf_fence_unref(fences[i]);
        umf_page_unref(pages[i]);
    }
}

/* A thread sleeps for one page that nobody watches any more. It must notice a new page, and the
 * end of the loop. */
static void
from_page_to_page(void)
{
    struct umf_loop *loop = create_loop(mode);
    struct umf_page *pages[2];
    for (int i = 0; i < 2; i++) {
        OK(umf_page_create(1, 0, &pages[i]));
        OK(umf_fence_create(pages[i], 0, 0, &fences[i]));
    }
    for (uint64_t value = 1; value <= rounds(50, 10); value++) {
        unsigned at = value % 2;
        struct umf_watch *watch = watch_value(loop, fences[at], value, &told[0]);
        until_loop_sleeps();
        OK(umf_watch_cancel(watch));
        umf_watch_unref(watch);
        umf_watch_unref(watch_value(loop, fences[!at], value, &told[1]));
        until_loop_sleeps();
        OK(umf_fence_signal(fences[!at], value));
        until_called(loop, &told[1], 0);
    }
    struct umf_watch *watch = watch_value(loop, fences[0], 100, &told[0]);
    until_loop_sleeps();
    OK(umf_watch_cancel(watch));
    umf_watch_unref(watch);
    umf_loop_unref(loop);
    for (int i = 0; i < 2; i++) {
        umf_fence_unref(fences[i]);
        umf_page_unref(pages[i]);
    }
}

static void
everything(bool has_waitv)
{
    for (mode = 0; mode <= UMF_LOOP_THREAD; mode++) {
        from_page_to_page();
        on_many_pages(has_waitv);
        on_many_fences_of_a_page();
        on_one_fence();
    }
}

static void
in_a_sandbox(uint32_t error)
{
    pid_t pid;
    IN_CHILD(pid, (watchdog(50), forbid_futex_waitv(error), everything(false)));
    if (!join_child_unless_skipped(pid))
        exit(SKIPPED);
}

/* The loop waits for several pages when the sandbox closes: around the caller, which notices at
 * its next call, and around threads that start later. */
static void
in_a_late_sandbox(uint32_t error)
{
    enum { PAGES = 20 };
    struct umf_page *pages[PAGES];
    pid_t pid;
    IN_CHILD(pid, {
        watchdog(50);
        for (mode = 0; mode <= UMF_LOOP_THREAD; mode++) {
            struct umf_loop *loop = create_loop(mode);
            for (unsigned i = 0; i < PAGES; i++) {
                OK(umf_page_create(2, 0, &pages[i]));
                OK(umf_fence_create(pages[i], 0, 0, &fences[i]));
                umf_watch_unref(watch_value(loop, fences[i], 2, &told[i]));
            }
            until_loop_sleeps();
            if (mode == 0)
                forbid_futex_waitv(error);
            /* A wait of the caller notices the sandbox. */
            struct umf_condition list[2] = { { fences[0], 1, UMF_OP_GE, 0, 0 },
                                             { fences[1], 1, UMF_OP_GE, 0, 0 } };
            EXPECT(-ETIME, umf_wait(list, 2, 0, in_ns(MS), NULL));
            for (unsigned i = 0; i < PAGES; i += 2)
                OK(umf_fence_signal(fences[i], 2));
            for (unsigned i = 0; i < PAGES; i += 2)
                until_called(loop, &told[i], 0);
            for (unsigned i = 1; i < PAGES; i += 2) {
                umf_watch_unref(watch_value(loop, fences[i], 1, &told[PAGES + i]));
                OK(umf_fence_signal(fences[i], 2));
                until_called(loop, &told[PAGES + i], 0);
                until_called(loop, &told[i], 0);
            }
            umf_loop_unref(loop);
            for (unsigned i = 0; i < PAGES; i++) {
                umf_fence_unref(fences[i]);
                umf_page_unref(pages[i]);
            }
        }
        everything(false);
    });
    if (!join_child_unless_skipped(pid))
        exit(SKIPPED);
}

int
main(int argc, char **argv)
{
    struct umf_caps caps = { .size = sizeof(caps) };
    watchdog(55);
    many = rounds(MANY, 300);
    told = calloc(many + 1, sizeof(*told));
    fences = calloc(many + 1, sizeof(struct umf_fence *));
    CHECK(told && fences);
    if (argc == 2 && RUNNING_ON_VALGRIND)
        return SKIPPED;
    if (argc == 2 && strcmp(argv[1], "sandbox") == 0) {
        in_a_sandbox(ENOSYS);
        in_a_sandbox(EPERM);
    } else if (argc == 2 && strcmp(argv[1], "late-sandbox") == 0) {
        in_a_late_sandbox(ENOSYS);
        in_a_late_sandbox(EPERM);
    } else {
        OK(umf_query_caps(&caps));
        everything(caps.flags & UMF_CAP_WAIT_MANY_PAGES);
    }
    free(told);
    free(fences);
    return 0;
}
