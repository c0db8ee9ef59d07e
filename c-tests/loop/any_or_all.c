// SPDX-License-Identifier: MIT
/*
 * Watches for any or all of many fences, of one page or many: one callback, which is told the entry
 * that decided. Failures, precedence, cancellation and the end of the loop, as with other watches.
 * The same in a sandbox that forbids futex_waitv.
 */
#include "process.h"
#include "sandbox.h"
#include "sleeper.h"
#include "watch.h"

#define NO_INDEX UINT32_MAX
/* Never told. */
#define UNTOLD (UINT32_MAX - 1)

static uint64_t mode;
static struct umf_page *page;

/* The calls of a callback that is told an index. */
struct many_told {
    struct told told;
    _Atomic uint32_t index;
};

static void
on_many(void *data, int result, uint32_t index)
{
    struct many_told *many = data;
    atomic_store(&many->index, index);
    on_call(&many->told, result);
}

static struct umf_many_callback
many_callback_to(struct many_told *many)
{
    callback_to(&many->told);
    atomic_store(&many->index, UNTOLD);
    return (struct umf_many_callback){ on_many, on_release, many };
}

static struct umf_condition
at_least(struct umf_fence *fence, uint64_t value)
{
    return (struct umf_condition){ fence, value, UMF_OP_GE, 0, 0 };
}

static struct umf_watch *
watch_many(struct umf_loop *loop, const struct umf_condition *waits, uint32_t count, uint64_t flags,
           struct many_told *many)
{
    struct umf_many_callback callback = many_callback_to(many);
    struct umf_watch *watch;
    KEEPS_ERRNO(0, umf_loop_watch_many(loop, waits, count, flags, &callback, &watch));
    return watch;
}

static void
until_told(struct umf_loop *loop, struct many_told *many, int result, uint32_t index)
{
    until_called(loop, &many->told, result);
    EXPECT(index, many->index);
}

static struct umf_fence *
fence_at(uint64_t value)
{
    struct umf_fence *fence;
    OK(umf_fence_create(page, value, 0, &fence));
    return fence;
}

/* N fences at 0, and an entry for the value 1 of each. */
enum { N = 5 };

static void
open_entries(struct umf_condition waits[N])
{
    for (int i = 0; i < N; i++)
        waits[i] = at_least(fence_at(0), 1);
}

static void
end_entries(struct umf_condition waits[N])
{
    for (int i = 0; i < N; i++)
        umf_fence_unref(waits[i].fence);
}

static void
any_is_over_with_the_first(struct umf_loop *loop)
{
    struct umf_condition waits[N];
    struct many_told many;
    open_entries(waits);
    for (uint64_t value = 1; value <= N; value++) {
        uint32_t index = (uint32_t)value - 1;
        for (int i = 0; i < N; i++)
            waits[i].value = value + 1;
        struct umf_watch *watch = watch_many(loop, waits, N, UMF_WAIT_ANY, &many);
        OK(umf_fence_signal(waits[index].fence, value)); /* not enough */
        settle(loop, page);
        CHECK(many.told.calls == 0);
        EXPECT(-ETIME, umf_watch_result(watch));
        for (int i = 0; i < N; i++)
            CHECK(umf_fence_value(waits[i].fence) <= value);
        OK(umf_fence_signal(waits[index].fence, value + 1));
        until_told(loop, &many, 0, index);
        OK(outcome_of(loop, watch));
        for (int i = 0; i < N; i++)
            if (umf_fence_value(waits[i].fence) < value + 1)
                OK(umf_fence_signal(waits[i].fence, value + 1));
        settle(loop, page);
        EXPECT(1, many.told.calls);
    }
    end_entries(waits);
}

static void
all_is_over_with_the_last(struct umf_loop *loop)
{
    struct umf_condition waits[N];
    struct many_told many;
    open_entries(waits);
    struct umf_watch *watch = watch_many(loop, waits, N, 0, &many);
    for (int i = N - 1; i >= 0; i--) {
        settle(loop, page);
        EXPECT(0, many.told.calls);
        OK(umf_fence_signal(waits[i].fence, 7));
    }
    until_told(loop, &many, 0, NO_INDEX);
    OK(outcome_of(loop, watch));
    end_entries(waits);
}

static void
what_is_met_already_needs_no_signal(struct umf_loop *loop)
{
    struct umf_condition waits[N];
    struct many_told many;
    open_entries(waits);
    OK(umf_fence_signal(waits[3].fence, 1));
    OK(outcome_of(loop, watch_many(loop, waits, N, UMF_WAIT_ANY, &many)));
    until_told(loop, &many, 0, 3);
    for (int i = 0; i < N; i++)
        OK(umf_fence_signal(waits[i].fence, 2));
    OK(outcome_of(loop, watch_many(loop, waits, N, 0, &many)));
    until_told(loop, &many, 0, NO_INDEX);
    OK(outcome_of(loop, watch_many(loop, waits, 1, UMF_WAIT_ANY, &many)));
    until_told(loop, &many, 0, 0);
    OK(outcome_of(loop, watch_many(loop, waits, 1, 0, &many)));
    until_told(loop, &many, 0, NO_INDEX);
    end_entries(waits);
}

static void
a_failure_names_its_entry(struct umf_loop *loop, uint64_t flags, int error, int result)
{
    struct umf_condition waits[N];
    struct many_told many;
    open_entries(waits);
    struct umf_watch *watch = watch_many(loop, waits, N, flags, &many);
    settle(loop, page);
    OK(umf_fence_set_error(waits[2].fence, error));
    until_told(loop, &many, result, 2);
    EXPECT(result, outcome_of(loop, watch));
    EXPECT(error, error_of(waits[many.index].fence));
    /* It failed before the call. */
    EXPECT(result, outcome_of(loop, watch_many(loop, waits, N, flags, &many)));
    until_told(loop, &many, result, 2);
    end_entries(waits);
}

/* Another process makes two fences, and ends one of them. */
static void
make_and_end(int sock)
{
    struct umf_page *theirs;
    struct umf_fence *fences[2];
    OK(umf_page_create(2, 0, &theirs));
    send_page(sock, theirs);
    for (int i = 0; i < 2; i++) {
        OK(umf_fence_create(theirs, 0, 0, &fences[i]));
        tell(sock, umf_fence_index(fences[i]));
    }
    hear(sock);
    umf_fence_unref(fences[1]);
    tell(sock, 1);
    hear(sock);
    umf_fence_unref(fences[0]);
    umf_page_unref(theirs);
}

static void
the_end_of_a_fence_names_its_entry(struct umf_loop *loop, struct peer *peer, uint64_t flags)
{
    struct many_told many;
    struct umf_page *theirs = recv_page(peer->sock);
    struct umf_condition waits[3] = { at_least(fence_at(0), 1) };
    for (int i = 1; i < 3; i++)
        waits[i] = at_least(recv_fence(peer->sock, theirs), 1);
    struct umf_watch *watch = watch_many(loop, waits, 3, flags, &many);
    tell(peer->sock, 1);
    hear(peer->sock);
    until_told(loop, &many, -ESTALE, 2);
    EXPECT(-ESTALE, outcome_of(loop, watch));
    tell(peer->sock, 1);
    end_peer(peer);
    for (int i = 0; i < 3; i++)
        umf_fence_unref(waits[i].fence);
    umf_page_unref(theirs);
}

static void
an_entry_that_cannot_be_met_ends_it(struct umf_loop *loop, uint64_t flags)
{
    struct umf_condition waits[N];
    struct many_told many;
    open_entries(waits);
    waits[4].op = UMF_OP_LT;
    waits[4].value = 0;
    EXPECT(-ERANGE, outcome_of(loop, watch_many(loop, waits, N, flags, &many)));
    until_told(loop, &many, -ERANGE, 4);
    end_entries(waits);
}

static void
what_was_met_stays_met(struct umf_loop *loop)
{
    struct umf_condition waits[N];
    struct many_told many;
    open_entries(waits);
    struct umf_watch *watch = watch_many(loop, waits, N, 0, &many);
    OK(umf_fence_signal(waits[1].fence, 1));
    settle(loop, page);
    OK(umf_fence_set_error(waits[1].fence, -EIO));
    settle(loop, page);
    CHECK(many.told.calls == 0);
    for (int i = 0; i < N; i++)
        if (i != 1)
            OK(umf_fence_signal(waits[i].fence, 1));
    until_told(loop, &many, 0, NO_INDEX);
    OK(outcome_of(loop, watch));
    end_entries(waits);
}

/* The loop has seen a failure, and is not dispatched before another entry is met. */
static void
a_met_entry_takes_precedence_over_a_failure(struct umf_loop *loop)
{
    struct umf_condition waits[N];
    struct many_told many;
    open_entries(waits);
    if (!loop_has_thread(loop)) {
        struct umf_watch *watch = watch_many(loop, waits, N, UMF_WAIT_ANY, &many);
        settle(loop, page);
        OK(umf_fence_set_error(waits[1].fence, -ENODEV));
        until_due(loop);
        OK(umf_fence_signal(waits[4].fence, 1));
        until_told(loop, &many, 0, 4);
        OK(outcome_of(loop, watch));
    } else {
        OK(umf_fence_set_error(waits[1].fence, -ENODEV));
        OK(umf_fence_signal(waits[4].fence, 1));
    }
    /* Both before the call. */
    OK(outcome_of(loop, watch_many(loop, waits, N, UMF_WAIT_ANY, &many)));
    until_told(loop, &many, 0, 4);
    /* A wait for all has no such rule. */
    EXPECT(-EIO, outcome_of(loop, watch_many(loop, waits, N, 0, &many)));
    until_told(loop, &many, -EIO, 1);
    end_entries(waits);
}

static void
entries_may_be_of_any_kind(struct umf_loop *loop)
{
    struct umf_fence *narrow, *twice = fence_at(0), *submitted = fence_at(0);
    struct many_told many;
    OK(umf_fence_create(page, 0, UMF_FENCE_32BIT, &narrow));
    /* One fence, waited for in several ways. */
    struct umf_condition waits[] = {
        { narrow, 0xf0, UMF_OP_EQ, 0, 0xf0 },
        { twice, 3, UMF_OP_GT, 0, 0 },
        { twice, 0, UMF_OP_NE, 0, 0 },
        { twice, 2, UMF_OP_GE, 0, 0 },
    };
    struct umf_watch *watch = watch_many(loop, waits, 4, 0, &many);
    OK(umf_fence_signal(twice, 2));
    OK(umf_fence_signal(narrow, 0x1ff));
    settle(loop, page);
    CHECK(many.told.calls == 0);
    OK(umf_fence_signal(twice, 4));
    until_told(loop, &many, 0, NO_INDEX);
    OK(outcome_of(loop, watch));
    /* The pending value. */
    struct umf_condition pending[2] = { at_least(twice, 9), at_least(submitted, 5) };
    watch = watch_many(loop, pending, 2, UMF_WAIT_ANY | UMF_WAIT_PENDING, &many);
    OK(umf_fence_submit(submitted, 5));
    until_told(loop, &many, 0, 1);
    OK(outcome_of(loop, watch));
    umf_fence_unref(narrow);
    umf_fence_unref(twice);
    umf_fence_unref(submitted);
}

static void
it_is_canceled_as_other_watches(struct umf_loop *loop, uint64_t flags)
{
    struct umf_condition waits[N];
    struct many_told many;
    open_entries(waits);
    struct umf_watch *watch = watch_many(loop, waits, N, flags, &many);
    OK(umf_watch_cancel(watch));
    CHECK(many.told.releases == 1);
    OK(umf_watch_cancel(watch));
    EXPECT(-ECANCELED, outcome_of(loop, watch));
    if (!loop_has_thread(loop)) {
        /* It is due. */
        watch = watch_many(loop, waits, N, flags, &many);
        for (int i = 0; i < N; i++)
            OK(umf_fence_signal(waits[i].fence, 1));
        until_due(loop);
        OK(umf_watch_cancel(watch));
        EXPECT(-ECANCELED, outcome_of(loop, watch));
    }
    for (int i = 0; i < N; i++)
        OK(umf_fence_signal(waits[i].fence, 2));
    settle(loop, page);
    CHECK(many.told.calls == 0 && many.told.releases == 1);
    watch = watch_many(loop, waits, N, flags, &many);
    until_told(loop, &many, 0, flags ? 0 : NO_INDEX);
    EXPECT(-EALREADY, umf_watch_cancel(watch));
    umf_watch_unref(watch);
    end_entries(waits);
}

/* The handle of a watch is not needed, and the watch keeps the fences until it is over. */
static void
it_keeps_the_fences(struct umf_loop *loop, bool cancel)
{
    struct umf_page *small;
    struct umf_condition waits[2];
    struct many_told many;
    OK(umf_page_create(2, 0, &small));
    for (int i = 0; i < 2; i++) {
        struct umf_fence *fence;
        OK(umf_fence_create(small, 0, 0, &fence));
        waits[i] = at_least(fence, 1);
    }
    struct umf_watch *watch = watch_many(loop, waits, 2, UMF_WAIT_ANY, &many);
    umf_fence_unref(waits[1].fence);
    struct umf_fence *more = NULL;
    EXPECT(-ENOSPC, umf_fence_create(small, 0, 0, &more));
    if (cancel)
        OK(umf_watch_cancel(watch));
    else
        OK(umf_fence_signal(waits[0].fence, 1));
    umf_fence_unref(waits[0].fence);
    until_complete(loop, &many.told);
    umf_watch_unref(watch);
    /* Both slots are free again. */
    for (int i = 0; i < 2; i++) {
        UNTIL(loop, umf_fence_create(small, 0, 0, &more) == 0);
        waits[i].fence = more;
    }
    umf_fence_unref(waits[0].fence);
    umf_fence_unref(waits[1].fence);
    umf_page_unref(small);
}

static void
the_end_of_the_loop_cancels_it(void)
{
    struct umf_loop *loop = create_loop(mode);
    struct umf_condition waits[N];
    struct many_told many[3];
    struct umf_watch *watches[3];
    open_entries(waits);
    OK(umf_fence_signal(waits[0].fence, 1));
    watches[0] = watch_many(loop, waits + 1, N - 1, UMF_WAIT_ANY, &many[0]);
    watches[1] = watch_many(loop, waits, N, 0, &many[1]); /* one entry is met */
    settle(loop, page);
    watches[2] = watch_many(loop, waits, N, UMF_WAIT_ANY, &many[2]); /* due, or over */
    umf_loop_unref(loop);
    for (int i = 0; i < 3; i++) {
        EXPECT(1, many[i].told.releases);
        EXPECT(i == 2 && many[i].told.calls ? 0 : -ECANCELED, umf_watch_result(watches[i]));
        CHECK(i == 2 || many[i].told.calls == 0);
        umf_watch_unref(watches[i]);
    }
    end_entries(waits);
}

/* A callback ends the last reference to its loop, while the other entries are registered. */
static struct umf_loop *ends;

static void
end_loop(void *data, int result, uint32_t index)
{
    (void)index;
    OK(result);
    umf_loop_unref(ends);
    ends = NULL;
    (void)data;
}

static void
its_callback_may_end_the_loop(void)
{
    struct umf_condition waits[N];
    struct told told;
    callback_to(&told);
    struct umf_many_callback callback = { end_loop, on_release, &told };
    open_entries(waits);
    ends = create_loop(mode);
    struct umf_loop *loop = ends;
    bool has_thread = loop_has_thread(loop);
    OK(umf_loop_watch_many(ends, waits, N, UMF_WAIT_ANY, &callback, NULL));
    OK(umf_fence_signal(waits[N - 1].fence, 1));
    if (!has_thread) {
        until_due(umf_loop_ref(loop));
        while (told.releases == 0)
            OK(umf_loop_dispatch(loop, 0));
        umf_loop_unref(loop);
    }
    while (told.releases == 0)
        sched_yield();
    end_entries(waits);
}

static void
bad_arguments_are_refused(struct umf_loop *loop)
{
    struct umf_condition waits[N];
    struct many_told many;
    struct umf_many_callback callback = many_callback_to(&many), no_call = { .data = &many };
    struct umf_watch *watch = NULL;
    open_entries(waits);
    EXPECT(-EINVAL, umf_loop_watch_many(NULL, waits, N, 0, &callback, &watch));
    EXPECT(-EINVAL, umf_loop_watch_many(loop, NULL, N, 0, &callback, &watch));
    EXPECT(-EINVAL, umf_loop_watch_many(loop, waits, 0, 0, &callback, &watch));
    EXPECT(-EINVAL, umf_loop_watch_many(loop, waits, UMF_WAIT_MAX + 1, 0, &callback, &watch));
    EXPECT(-EINVAL, umf_loop_watch_many(loop, waits, N, 4, &callback, &watch));
    EXPECT(-EINVAL, umf_loop_watch_many(loop, waits, N, 0, NULL, &watch));
    EXPECT(-EINVAL, umf_loop_watch_many(loop, waits, N, 0, &no_call, &watch));
    /* One wrong entry refuses the list, although another is met. */
    OK(umf_fence_signal(waits[0].fence, 1));
    for (int wrong = 0; wrong < 3; wrong++) {
        struct umf_condition good = waits[3];
        waits[3].fence = wrong == 0 ? NULL : good.fence;
        waits[3].op = wrong == 1 ? UMF_OP_LE + 1 : good.op;
        waits[3].reserved = wrong == 2;
        EXPECT(-EINVAL, umf_loop_watch_many(loop, waits, N, UMF_WAIT_ANY, &callback, &watch));
        waits[3] = good;
    }
    waits[3].op = UMF_OP_EQ;
    EXPECT(-EINVAL, umf_loop_watch_many(loop, waits, N, UMF_WAIT_PENDING, &callback, &watch));
    pid_t child;
    waits[3].op = UMF_OP_GE;
    IN_CHILD(child,
             EXPECT(-ESTALE, umf_loop_watch_many(loop, waits, N, 0, &callback, &watch)));
    join_child(child);
    settle(loop, page);
    CHECK(!watch && many.told.calls == 0 && many.told.releases == 0);
    end_entries(waits);
}

/* Entries of more pages than one thread can wait for. */
static void
of_many_pages(struct umf_loop *loop)
{
    static struct umf_page *pages[300];
    static struct umf_condition waits[300];
    const unsigned count = rounds(300, 20);
    struct many_told any, all;
    for (unsigned i = 0; i < count; i++) {
        struct umf_fence *fence;
        OK(umf_page_create(1, 0, &pages[i]));
        OK(umf_fence_create(pages[i], 0, 0, &fence));
        waits[i] = at_least(fence, 1);
    }
    struct umf_watch *watch = watch_many(loop, waits, count, 0, &all);
    OK(umf_fence_signal(waits[count - 1].fence, 1));
    OK(outcome_of(loop, watch_many(loop, waits, count, UMF_WAIT_ANY, &any)));
    until_told(loop, &any, 0, count - 1);
    for (unsigned i = 0; i < count; i++) {
        CHECK(all.told.calls == 0);
        OK(umf_fence_signal(waits[i * 7 % count].fence, 2));
    }
    until_told(loop, &all, 0, NO_INDEX);
    OK(outcome_of(loop, watch));
    for (unsigned i = 0; i < count; i++) {
        umf_fence_unref(waits[i].fence);
        umf_page_unref(pages[i]);
    }
}

static void
of_very_many_fences(struct umf_loop *loop)
{
    const unsigned many = rounds(50000, 500);
    struct umf_condition *waits = calloc(many, sizeof(*waits));
    struct umf_page *large;
    struct many_told any, all;
    CHECK(waits);
    OK(umf_page_create(many, 0, &large));
    for (unsigned i = 0; i < many; i++) {
        struct umf_fence *fence;
        OK(umf_fence_create(large, 0, 0, &fence));
        waits[i] = at_least(fence, 1);
    }
    umf_watch_unref(watch_many(loop, waits, many, 0, &all));
    umf_watch_unref(watch_many(loop, waits, many, UMF_WAIT_ANY, &any));
    OK(umf_fence_signal(waits[many / 2].fence, 1));
    until_told(loop, &any, 0, many / 2);
    for (unsigned i = 0; i < many; i++)
        OK(umf_fence_signal(waits[i].fence, 2));
    until_told(loop, &all, 0, NO_INDEX);
    for (unsigned i = 0; i < many; i++)
        umf_fence_unref(waits[i].fence);
    umf_page_unref(large);
    free(waits);
}

/* Entries are signaled and fail while the watch is made, and while it is canceled. */
struct race {
    struct umf_condition waits[N];
    pthread_barrier_t start;
    unsigned rounds;
};

static void *
signal_entries(void *data)
{
    struct race *race = data;
    uint64_t random = 1;
    for (uint64_t value = 1; value <= race->rounds; value++) {
        pthread_barrier_wait(&race->start);
        for (int i = 0; i < N; i++)
            OK(umf_fence_signal(race->waits[i].fence, value));
        if (random_word(&random) % 2)
            sched_yield();
        pthread_barrier_wait(&race->start);
    }
    return NULL;
}

static void
signals_and_cancellation_race(struct umf_loop *loop, uint64_t flags)
{
    static struct race race;
    unsigned canceled = 0;
    pthread_t signaler;
    race.rounds = rounds(500, 50);
    open_entries(race.waits);
    CHECK(pthread_barrier_init(&race.start, NULL, 2) == 0);
    CHECK(pthread_create(&signaler, NULL, signal_entries, &race) == 0);
    for (uint64_t value = 1; value <= race.rounds; value++) {
        struct many_told many;
        for (int i = 0; i < N; i++)
            race.waits[i].value = value;
        pthread_barrier_wait(&race.start);
        struct umf_watch *watch = watch_many(loop, race.waits, N, flags, &many);
        int result = value % 3 ? -EALREADY : umf_watch_cancel(watch);
        CHECK(result == 0 || result == -EALREADY);
        canceled += result == 0;
        until_complete(loop, &many.told);
        CHECK(many.told.calls == (result != 0));
        if (result != 0)
            CHECK(many.told.result == 0 && (flags ? many.index < N : many.index == NO_INDEX));
        umf_watch_unref(watch);
        pthread_barrier_wait(&race.start);
    }
    CHECK(pthread_join(signaler, NULL) == 0);
    pthread_barrier_destroy(&race.start);
    printf("  %u of %u canceled\n", canceled, race.rounds);
    end_entries(race.waits);
}

static void
everything(void)
{
    OK(umf_page_create(200, 0, &page));
    for (mode = 0; mode <= UMF_LOOP_THREAD; mode++) {
        struct peer peers[2] = { start_peer(make_and_end), start_peer(make_and_end) };
        static struct umf_loop *loop; /* where valgrind finds it in forked children */
        loop = create_loop(mode);
        any_is_over_with_the_first(loop);
        all_is_over_with_the_last(loop);
        what_is_met_already_needs_no_signal(loop);
        what_was_met_stays_met(loop);
        a_met_entry_takes_precedence_over_a_failure(loop);
        entries_may_be_of_any_kind(loop);
        bad_arguments_are_refused(loop);
        for (uint64_t flags = 0; flags <= UMF_WAIT_ANY; flags += UMF_WAIT_ANY) {
            a_failure_names_its_entry(loop, flags, -ENODEV, -EIO);
            a_failure_names_its_entry(loop, flags, -EOWNERDEAD, -EOWNERDEAD);
            the_end_of_a_fence_names_its_entry(loop, &peers[flags != 0], flags);
            an_entry_that_cannot_be_met_ends_it(loop, flags);
            it_is_canceled_as_other_watches(loop, flags);
            signals_and_cancellation_race(loop, flags);
        }
        it_keeps_the_fences(loop, false);
        it_keeps_the_fences(loop, true);
        of_many_pages(loop);
        of_very_many_fences(loop);
        umf_loop_unref(loop);
        the_end_of_the_loop_cancels_it();
        its_callback_may_end_the_loop();
    }
    umf_page_unref(page);
}

int
main(int argc, char **argv)
{
    watchdog(55);
    if (argc == 2 && strcmp(argv[1], "sandbox") == 0) {
        if (cannot_be_refused_calls())
            return SKIPPED;
        forbid_futex_waitv(ENOSYS);
    }
    everything();
    return 0;
}
