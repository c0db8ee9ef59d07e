// SPDX-License-Identifier: MIT
/*
 * Waits for many fences, for any or for all, on one page and on more pages than one system call can
 * sleep on: the same results everywhere. The same in a sandbox that forbids futex_waitv, with
 * either errno, from the start or after the library was first used.
 */
#include "raw_page.h"
#include "sandbox.h"
#include "sleeper.h"

#include "fail_alloc.h"

/* Fences spread over pages, and a list of entries that cycles through them. */
struct world {
    uint32_t pages, fences, count;
    struct umf_page **page;
    struct umf_fence **fence;
    struct umf_condition *waits;
};

static struct world
create(uint32_t pages, uint32_t fences, uint32_t count)
{
    struct world w = { pages, fences, count, calloc(pages, sizeof(*w.page)),
                       calloc(fences, sizeof(*w.fence)), calloc(count, sizeof(*w.waits)) };
    CHECK(w.page && w.fence && w.waits);
    for (uint32_t i = 0; i < pages; i++)
        OK(umf_page_create((fences + pages - 1) / pages, 0, &w.page[i]));
    for (uint32_t i = 0; i < fences; i++)
        OK(umf_fence_create(w.page[i % pages], 0, 0, &w.fence[i]));
    for (uint32_t i = 0; i < count; i++)
        w.waits[i] = (struct umf_condition){ w.fence[i % fences], 1, UMF_OP_GE, 0, 0 };
    return w;
}

static void
destroy(struct world *w)
{
    for (uint32_t i = 0; i < w->fences; i++)
        umf_fence_unref(w->fence[i]);
    for (uint32_t i = 0; i < w->pages; i++)
        umf_page_unref(w->page[i]);
    free(w->page);
    free(w->fence);
    free(w->waits);
}

static struct sleeper
sleeper_of(const struct world *w, uint64_t flags)
{
    return (struct sleeper){ .waits = w->waits, .count = w->count, .flags = flags };
}

static void
any_ends_with_the_one_that_is_met(uint32_t pages, uint32_t count)
{
    const uint32_t which[] = { 0, count / 2, count - 1 };
    for (int i = 0; i < 3; i++) {
        struct world w = create(pages, count, count);
        struct sleeper sleeper = sleeper_of(&w, UMF_WAIT_ANY);
        uint32_t index = UINT32_MAX;
        EXPECT(-ETIME, umf_wait(w.waits, w.count, UMF_WAIT_ANY, 0, &index));
        CHECK(index == UINT32_MAX);
        fall_asleep(&sleeper);
        OK(umf_fence_signal(w.fence[which[i]], 1));
        EXPECT(0, end_of(&sleeper));
        CHECK(sleeper.index == which[i]);
        /* Later waits get the same result. */
        OK(umf_wait(w.waits, w.count, UMF_WAIT_ANY, 0, &index));
        CHECK(index == which[i]);
        OK(umf_wait(w.waits, w.count, UMF_WAIT_ANY, FOREVER, NULL));
        destroy(&w);
    }
}

static void
all_ends_with_the_last(uint32_t pages, uint32_t count)
{
    const uint32_t which[] = { 0, count / 2, count - 1 };
    for (int i = 0; i < 3; i++) {
        struct world w = create(pages, count, count);
        struct sleeper sleeper = sleeper_of(&w, 0);
        EXPECT(-ETIME, umf_wait(w.waits, w.count, 0, 0, NULL));
        fall_asleep(&sleeper);
        /* In falling order, so that most entries are met long before the wait looks at them. */
        for (uint32_t k = count; k-- > 0;) {
            if (k != which[i])
                OK(umf_fence_signal(w.fence[k], 1));
        }
        CHECK(sleeps_on(&sleeper));
        EXPECT(-ETIME, umf_wait(w.waits, w.count, 0, 0, NULL));
        OK(umf_fence_signal(w.fence[which[i]], UINT64_MAX));
        EXPECT(0, end_of(&sleeper));
        CHECK(sleeper.index == UINT32_MAX); /* written with UMF_WAIT_ANY only */
        OK(umf_wait(w.waits, w.count, 0, 0, NULL));
        destroy(&w);
    }
}

static void
a_hundred_thousand_entries(uint32_t pages)
{
    enum { ENTRIES = 100000, FENCES = 999 };
    struct world w = create(pages, FENCES, ENTRIES);
    w.waits[ENTRIES - 1].value = 2;
    struct sleeper all = sleeper_of(&w, 0), any;
    fall_asleep(&all);
    w.waits[ENTRIES - 1].value = 2;
    for (uint32_t i = FENCES; i-- > 0;)
        OK(umf_fence_signal(w.fence[i], 1));
    CHECK(sleeps_on(&all));
    OK(umf_fence_signal(w.waits[ENTRIES - 1].fence, 2));
    EXPECT(0, end_of(&all));

    for (uint32_t i = 0; i < ENTRIES; i++)
        w.waits[i].value = 10;
    w.waits[ENTRIES - 1].value = 3;
    any = sleeper_of(&w, UMF_WAIT_ANY);
    fall_asleep(&any);
    OK(umf_fence_signal(w.waits[ENTRIES - 1].fence, 3));
    EXPECT(0, end_of(&any));
    CHECK(any.index == ENTRIES - 1);
    destroy(&w);
}

/* The failed fence is neither the one that the wait has reached nor the next. */
static void
a_failure_ends_the_wait_wherever_it_is(uint32_t pages, uint32_t count)
{
    const struct {
        uint64_t flags;
        int error, answer;
    } kinds[] = {
        { 0, -ENODEV, -EIO },
        { 0, -EOWNERDEAD, -EOWNERDEAD },
        { UMF_WAIT_ANY, -ENODEV, -EIO },
        { UMF_WAIT_PENDING, -ENODEV, -EIO },
        { UMF_WAIT_ANY | UMF_WAIT_PENDING, -EOWNERDEAD, -EOWNERDEAD },
    };
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        /* Twice, because the page of the second has counted a failure before. */
        struct world w = create(pages, count, count);
        for (int again = 0; again < 2; again++) {
            struct sleeper sleeper = sleeper_of(&w, kinds[i].flags);
            fall_asleep(&sleeper);
            OK(umf_fence_set_error(w.fence[count - 1 - again], kinds[i].error));
            EXPECT(kinds[i].answer, end_of(&sleeper));
            CHECK(sleeper.index == UINT32_MAX);
            w.count = count - 1;
        }
        destroy(&w);
    }
}

static void
what_is_met_counts_before_what_failed(uint32_t pages)
{
    struct world w = create(pages, 3, 2);
    uint32_t index = 7;
    OK(umf_fence_set_error(w.fence[0], -ENODEV));
    EXPECT(-EIO, umf_wait(w.waits, 2, UMF_WAIT_ANY, FOREVER, &index));
    CHECK(index == 7);
    OK(umf_fence_signal(w.fence[1], 1));
    OK(umf_wait(w.waits, 2, UMF_WAIT_ANY, FOREVER, &index));
    CHECK(index == 1);
    EXPECT(-EIO, umf_wait(w.waits, 2, 0, FOREVER, NULL));

    /* Reached and then failed: met, for any and for all, also in the middle of a wait. */
    OK(umf_fence_set_error(w.fence[1], -ENODEV));
    w.waits[0] = (struct umf_condition){ w.fence[2], 1, UMF_OP_GE, 0, 0 };
    OK(umf_wait(w.waits, 2, UMF_WAIT_ANY, FOREVER, NULL));
    struct sleeper sleeper = sleeper_of(&w, 0);
    fall_asleep(&sleeper);
    OK(umf_fence_signal(w.fence[2], 1));
    EXPECT(0, end_of(&sleeper));
    destroy(&w);

    w = create(pages, 3, 3);
    struct sleeper all = sleeper_of(&w, 0);
    fall_asleep(&all);
    OK(umf_fence_signal(w.fence[0], 1));
    OK(umf_fence_set_error(w.fence[0], -ENODEV));
    CHECK(sleeps_on(&all));
    OK(umf_fence_signal(w.fence[2], 1));
    OK(umf_fence_set_error(w.fence[2], -ENODEV));
    CHECK(sleeps_on(&all));
    OK(umf_fence_signal(w.fence[1], 1));
    EXPECT(0, end_of(&all));
    destroy(&w);
}

static void
the_same_fence_may_come_again(uint32_t pages)
{
    struct world w = create(pages, 2, 5);
    struct sleeper any, all = sleeper_of(&w, 0);
    w.waits[4].value = 2;
    fall_asleep(&all);
    OK(umf_fence_signal(w.fence[0], 1));
    OK(umf_fence_signal(w.fence[1], 1));
    CHECK(sleeps_on(&all));
    OK(umf_fence_signal(w.fence[0], 2));
    EXPECT(0, end_of(&all));
    for (int i = 0; i < 5; i++)
        w.waits[i].value = 10 - (uint64_t)i;
    any = sleeper_of(&w, UMF_WAIT_ANY);
    fall_asleep(&any);
    OK(umf_fence_signal(w.fence[1], 7));
    EXPECT(0, end_of(&any));
    CHECK(any.index == 3);
    destroy(&w);
}

static void
pending_waits_end_with_a_submission(uint32_t pages)
{
    struct world w = create(pages, 3, 3);
    for (int kind = 0; kind < 2; kind++) {
        uint64_t flags = UMF_WAIT_PENDING | (kind ? UMF_WAIT_ANY : 0);
        for (int i = 0; i < 3; i++)
            w.waits[i].value = kind ? UINT64_C(1) << 40 : 10;
        EXPECT(-ETIME, umf_wait(w.waits, 3, flags, 0, NULL));
        struct sleeper sleeper = sleeper_of(&w, flags);
        fall_asleep(&sleeper);
        if (kind == 0) {
            OK(umf_fence_submit(w.fence[2], 10));
            OK(umf_fence_submit(w.fence[0], 9));
            OK(umf_fence_signal(w.fence[1], 10)); /* a reached value needs no submission */
            CHECK(sleeps_on(&sleeper));
            OK(umf_fence_submit(w.fence[0], 10 + (UINT64_C(3) << 32)));
        } else {
            w.waits[0].value = UINT64_MAX;
            OK(umf_fence_submit(w.fence[1], UINT64_C(1) << 40));
        }
        EXPECT(0, end_of(&sleeper));
    }
    /* A pending value is not a signal. */
    EXPECT(-ETIME, umf_wait(w.waits + 1, 1, 0, 0, NULL));
    OK(umf_wait(w.waits + 1, 1, UMF_WAIT_PENDING, 0, NULL));
    destroy(&w);
}

static void
deadlines_are_not_early(uint32_t pages, uint32_t count)
{
    struct world w = create(pages, count, count);
    const uint64_t kinds[] = { 0, UMF_WAIT_ANY, UMF_WAIT_PENDING };
    OK(umf_fence_signal(w.fence[0], 1));
    for (int i = 0; i < 3; i++) {
        uint64_t deadline = in_ns(25 * MS);
        /* The first entry is met, which is not enough for all, and which the wait for any does
         * not have. */
        bool any = kinds[i] & UMF_WAIT_ANY;
        EXPECT(-ETIME, umf_wait(w.waits + any, count - any, kinds[i], deadline, NULL));
        CHECK(now_ns() >= deadline);
    }
    destroy(&w);
}

static void
neither_signals_nor_waits_allocate(uint32_t pages, uint32_t count)
{
    struct world w = create(pages, count, count);
    CHECK(allocations > 0 || RUNNING_ON_VALGRIND);
    int fds = open_fds();
    long before = allocations;
    allocations_left = 0;
    EXPECT(-ETIME, umf_wait(w.waits, count, 0, in_ns(MS), NULL));
    /* More than 128 entries use memory, and work without. */
    EXPECT(-ETIME, umf_wait(w.waits, count, UMF_WAIT_ANY, in_ns(MS), NULL));
    CHECK(count > 128 || allocations == before);
    before = allocations;
    EXPECT(-ETIME, umf_fence_wait(w.fence[0], 1, in_ns(MS)));
    for (uint32_t i = 0; i < count; i++) {
        OK(umf_fence_submit(w.fence[i], 1));
        OK(umf_fence_signal(w.fence[i], 1));
        OK(umf_fence_notify(w.fence[i]));
    }
    OK(umf_wait(w.waits, count, UMF_WAIT_ANY | UMF_WAIT_PENDING, FOREVER, NULL));
    OK(umf_wait(w.waits, count, 0, FOREVER, NULL));
    OK(umf_fence_wait(w.fence[0], 1, FOREVER));
    OK(umf_fence_set_error(w.fence[0], -EIO));
    allocations_left = LONG_MAX;
    CHECK(allocations == before);
    CHECK(open_fds() == fds);
    destroy(&w);
}

/* More checks than there are entries end in one check of all. A peer wrote the events but the last,
 * which wakes the thread. */
static void
one_fence_with_many_events_hides_no_other(void)
{
    struct world w = create(1, 2, 60);
    struct sleeper sleeper = sleeper_of(&w, UMF_WAIT_ANY);
    struct raw raw = map_raw(w.page[0]);
    uint32_t *events = (uint32_t *)(void *)(raw.bytes + EVENT_COUNT);
    uint64_t *log = (uint64_t *)(void *)(raw.bytes + EVENT_LOG);
    fall_asleep(&sleeper);
    for (int i = 0; i < 10; i++) {
        uint32_t event = __atomic_load_n(events, __ATOMIC_RELAXED);
        log[event % EVENT_LOG_LENGTH] = (uint64_t)(event + 1) << 32 | umf_fence_index(w.fence[0]);
        __atomic_fetch_add(events, 1, __ATOMIC_RELEASE);
    }
    OK(umf_fence_signal(w.fence[1], 1));
    OK(end_of(&sleeper));
    CHECK(sleeper.index % 2 == 1);
    unmap_raw(&raw);
    destroy(&w);
}

static void
everything(void)
{
    const uint32_t sizes[][2] = { /* pages, entries */
        { 1, 1 }, { 1, 2 }, { 1, 128 }, { 1, 129 }, { 1, 1000 },
        { 2, 2 }, { 2, 129 }, { 128, 128 }, { 128, 1000 }, { 129, 129 }, { 200, 1000 },
    };
    /* Comes first: the library must detect what it needs without allocating. */
    neither_signals_nor_waits_allocate(3, 3);
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        any_ends_with_the_one_that_is_met(sizes[i][0], sizes[i][1]);
        all_ends_with_the_last(sizes[i][0], sizes[i][1]);
        if (sizes[i][1] > 1) {
            a_failure_ends_the_wait_wherever_it_is(sizes[i][0], sizes[i][1] + 1);
            deadlines_are_not_early(sizes[i][0], sizes[i][1]);
        }
        neither_signals_nor_waits_allocate(sizes[i][0], sizes[i][1]);
    }
    for (uint32_t pages = 1; pages <= 3; pages++) {
        what_is_met_counts_before_what_failed(pages);
        the_same_fence_may_come_again(pages);
        pending_waits_end_with_a_submission(pages);
    }
    one_fence_with_many_events_hides_no_other();
    a_hundred_thousand_entries(1);
    a_hundred_thousand_entries(200);
}

static void
nothing(void)
{
}

/* Returns what the test returns: 0, or SKIPPED. */
static int
in_a_sandbox(uint32_t error, void (*first)(void))
{
    pid_t pid;
    int status;
    IN_CHILD(pid, {
        watchdog(50);
        first();
        forbid_futex_waitv(error);
        if (first == nothing) {
            struct umf_caps caps = { .size = sizeof(caps) };
            OK(umf_query_caps(&caps));
            CHECK(!(caps.flags & UMF_CAP_WAIT_MANY_PAGES));
        }
        everything();
    });
    CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == SKIPPED);
    return WEXITSTATUS(status);
}

int
main(int argc, char **argv)
{
    watchdog(50);
    if (argc == 2 && strcmp(argv[1], "sandbox") == 0) {
        if (RUNNING_ON_VALGRIND)
            return SKIPPED;
        return in_a_sandbox(ENOSYS, nothing) || in_a_sandbox(EPERM, nothing) ? SKIPPED : 0;
    } else if (argc == 2 && strcmp(argv[1], "late-sandbox") == 0) {
        if (RUNNING_ON_VALGRIND)
            return SKIPPED;
        return in_a_sandbox(ENOSYS, everything) || in_a_sandbox(EPERM, everything) ? SKIPPED : 0;
    } else {
        everything();
    }
    return 0;
}
