// SPDX-License-Identifier: MIT
/*
 * Canceling watches: the result is definite at any time. After 0 the callback is never called,
 * after -EALREADY it was, and the release is called once in every case.
 */
#include "sleeper.h"
#include "watch.h"

static const uint64_t modes[] = { 0, UMF_LOOP_THREAD };
static uint64_t mode;
static struct umf_loop *loop;
static struct umf_page *page;
static struct umf_fence *fence;
static uint64_t last;

/* Signals the next value, and returns once all its effects have happened. */
static void
signal_next(void)
{
    struct told told;
    OK(umf_fence_signal(fence, ++last));
    umf_watch_unref(watch_value(loop, fence, last, &told));
    until_called(loop, &told, 0);
}

static void
was_canceled(struct umf_watch *watch, struct told *told)
{
    CHECK(told->releases == 1 && told->calls == 0);
    EXPECT(-ECANCELED, umf_watch_result(watch));
    OK(umf_watch_cancel(watch));
    CHECK(told->releases == 1);
    umf_watch_unref(watch);
}

static void
before_it_is_over(void)
{
    struct told told, passed, others[3];
    struct umf_watch *watch = watch_value(loop, fence, last + 1, &told);
    OK(umf_watch_cancel(watch));
    was_canceled(watch, &told);
    signal_next();
    CHECK(told.calls == 0);
    /* Cancels the first, the last and one in the middle, and one whose condition has no order. */
    for (int which = 0; which < 3; which++) {
        struct umf_watch *watches[3];
        for (int i = 0; i < 3; i++)
            watches[i] = watch_value(loop, fence, last + 1 + (uint64_t)i, &others[i]);
        struct umf_condition wait = { fence, last + 1, UMF_OP_EQ, 0, UINT64_MAX };
        struct umf_callback callback = callback_to(&passed);
        OK(umf_loop_watch(loop, &wait, 0, &callback, &watch));
        until_loop_sleeps();
        OK(umf_watch_cancel(watches[which]));
        OK(umf_watch_cancel(watch));
        was_canceled(watch, &passed);
        for (int i = 0; i < 3; i++) {
            signal_next();
            if (i != which) {
                until_called(loop, &others[i], 0);
                umf_watch_unref(watches[i]);
            }
        }
        CHECK(others[which].calls == 0);
        was_canceled(watches[which], &others[which]);
    }
}

static void
after_it_is_over(void)
{
    struct told told;
    struct umf_watch *watch = watch_value(loop, fence, last + 1, &told);
    OK(umf_fence_signal(fence, ++last));
    until_called(loop, &told, 0);
    for (int i = 0; i < 3; i++)
        EXPECT(-EALREADY, umf_watch_cancel(watch));
    CHECK(told.calls == 1 && told.releases == 1);
    umf_watch_unref(watch);
}

/* Signaled, noticed, but not dispatched: nothing was called, so it can be canceled. */
static void
while_it_is_due(void)
{
    struct told told[3];
    struct umf_watch *watches[3];
    struct umf_fence *target;
    int fd = umf_loop_fd(loop), event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    struct umf_condition wait = { fence, last + 1, UMF_OP_GE, 0, 0 };
    OK(umf_fence_create(page, 0, 0, &target));
    struct umf_callback callback = callback_to(&told[1]);
    watches[0] = watch_value(loop, fence, last + 1, &told[0]);
    OK(umf_loop_export_eventfd(loop, &wait, 0, event, &callback, &watches[1]));
    callback = callback_to(&told[2]);
    OK(umf_loop_export_fence(loop, fence, last + 1, target, 1, 0, &callback, &watches[2]));
    OK(umf_fence_signal(fence, ++last));
    struct pollfd entry = { fd, POLLIN, 0 };
    CHECK(poll(&entry, 1, -1) == 1);
    for (int i = 0; i < 3; i++) {
        EXPECT(-ETIME, umf_watch_result(watches[i]));
        OK(umf_watch_cancel(watches[i]));
        CHECK(told[i].releases == 1);
        EXPECT(-ECANCELED, umf_watch_result(watches[i]));
    }
    OK(umf_loop_dispatch(loop, 0));
    CHECK(!is_readable(fd) && !is_readable(event) && umf_fence_value(target) == 0);
    for (int i = 0; i < 3; i++)
        was_canceled(watches[i], &told[i]);
    umf_fence_unref(target);
    close(event);
}

/* From the callback: the watch itself, and one that is due behind it. And from the release. */
static struct umf_watch *own, *behind;
static struct told own_told, behind_told;
static int in_release;

static void
cancel_both(void)
{
    EXPECT(-EALREADY, umf_watch_cancel(own));
    OK(umf_watch_cancel(behind));
    CHECK(behind_told.releases == 1);
}

static void
call_and_cancel(void *data, int result)
{
    on_call(data, result);
    if (!in_release)
        cancel_both();
}

static void
release_and_cancel(void *data)
{
    if (in_release)
        cancel_both();
    on_release(data);
}

static void
from_its_own_callback(void)
{
    for (in_release = 0; in_release < 2; in_release++) {
        struct umf_condition wait = { fence, last + 1, UMF_OP_GE, 0, 0 };
        struct umf_callback callback = callback_to(&own_told);
        callback.call = call_and_cancel;
        callback.release = release_and_cancel;
        behind = watch_value(loop, fence, last + 2, &behind_told);
        OK(umf_loop_watch(loop, &wait, 0, &callback, &own));
        last += 2;
        OK(umf_fence_signal(fence, last));
        until_called(loop, &own_told, 0);
        was_canceled(behind, &behind_told);
        umf_watch_unref(own);
    }
    /* A release that cancel caused. */
    static struct told told;
    struct umf_condition wait = { fence, last + 1, UMF_OP_GE, 0, 0 };
    struct umf_callback callback = callback_to(&told);
    OK(umf_loop_watch(loop, &wait, 0, &callback, &own));
    OK(umf_watch_cancel(own));
    was_canceled(own, &told);
}

/* Either it was called and cannot be canceled, or it was canceled and is never called. */
static atomic_uint next_round, done_rounds;

static void *
signal_each_round(void *count)
{
    for (unsigned round = 1; round <= *(unsigned *)count; round++) {
        while (atomic_load(&next_round) < round)
            sched_yield();
        for (unsigned spin = round % 256; spin > 0; spin--)
            atomic_load(&next_round);
        OK(umf_fence_signal(fence, last + round));
        atomic_store(&done_rounds, round);
    }
    return NULL;
}

static void
against_its_signal(void)
{
    unsigned count = rounds(4000, 200), canceled = 0;
    static struct told told;
    int fd = umf_loop_fd(loop);
    pthread_t signaler;
    atomic_store(&next_round, 0);
    atomic_store(&done_rounds, 0);
    CHECK(pthread_create(&signaler, NULL, signal_each_round, &count) == 0);
    for (unsigned round = 1; round <= count; round++) {
        struct umf_watch *watch = watch_value(loop, fence, last + round, &told);
        atomic_store(&next_round, round);
        /* Sometimes surely too late; otherwise within the time that waking the loop takes. */
        if (round % 50 == 0)
            UNTIL(loop, told.calls == 1);
        for (uint64_t until = in_ns(round % 64 * 2500); now_ns() < until;)
            ;
        if (fd >= 0 && round % 3)
            OK(umf_loop_dispatch(loop, 0));
        int answer = umf_watch_cancel(watch);
        if (answer == 0) {
            canceled++;
            CHECK(told.calls == 0 && told.releases == 1);
        } else {
            EXPECT(-EALREADY, answer);
            until_called(loop, &told, 0);
        }
        while (atomic_load(&done_rounds) < round)
            sched_yield();
        if (round % 16 == 0) {
            struct told after;
            umf_watch_unref(watch_value(loop, fence, last + round, &after));
            until_called(loop, &after, 0);
        }
        CHECK(told.releases == 1 && told.calls == (answer == 0 ? 0 : 1));
        umf_watch_unref(watch);
    }
    CHECK(pthread_join(signaler, NULL) == 0);
    last += count;
    printf("%u of %u canceled\n", canceled, count);
    CHECK(canceled > 0 && canceled < count);
}

/* Two threads cancel the same watch while a third signals: both get the same result. */
static struct umf_watch *_Atomic shared;
static atomic_int other_answer;

static void *
cancel_too(void *count)
{
    for (unsigned round = 1; round <= *(unsigned *)count; round++) {
        while (atomic_load(&next_round) < round)
            sched_yield();
        atomic_store(&other_answer, umf_watch_cancel(shared));
        atomic_store(&done_rounds, round);
    }
    return NULL;
}

static void
against_each_other(void)
{
    unsigned count = rounds(5000, 100);
    static struct told told;
    pthread_t canceler;
    atomic_store(&next_round, 0);
    atomic_store(&done_rounds, 0);
    CHECK(pthread_create(&canceler, NULL, cancel_too, &count) == 0);
    for (unsigned round = 1; round <= count; round++) {
        shared = watch_value(loop, fence, ++last, &told);
        if (round % 2)
            OK(umf_fence_signal(fence, last));
        atomic_store(&next_round, round);
        if (mode == 0 && round % 4 == 1)
            OK(umf_loop_dispatch(loop, 0));
        int answer = umf_watch_cancel(shared);
        while (atomic_load(&done_rounds) < round)
            sched_yield();
        EXPECT(answer, other_answer);
        until_complete(loop, &told);
        CHECK(told.calls == (answer == 0 ? 0 : 1));
        umf_watch_unref(shared);
    }
    CHECK(pthread_join(canceler, NULL) == 0);
}

/* A second cancellation, while another thread is in the release function that the first one
 * caused: by umf_watch_cancel(), or by the end of the loop. */
static struct told slow_told;
static atomic_bool in_slow_release, may_end;
static _Atomic pid_t second_canceler;

static void
slow_release(void *data)
{
    atomic_store(&in_slow_release, true);
    while (!atomic_load(&may_end))
        sched_yield();
    OK(umf_watch_cancel(shared)); /* its own watch, which does not wait for itself */
    on_release(data);
}

static void *
cancel_shared(void *unused)
{
    (void)unused;
    OK(umf_watch_cancel(shared));
    return NULL;
}

static void *
end_loop(void *ending)
{
    umf_loop_unref(ending);
    return NULL;
}

static void *
cancel_second(void *unused)
{
    (void)unused;
    atomic_store(&second_canceler, gettid());
    OK(umf_watch_cancel(shared));
    CHECK(slow_told.releases == 1);
    return NULL;
}

static void
beside_a_release(struct umf_loop *on, void *(*cancel)(void *))
{
    pthread_t first, second;
    struct umf_condition wait = { fence, last + 1, UMF_OP_GE, 0, 0 };
    struct umf_callback callback = callback_to(&slow_told);
    callback.release = slow_release;
    in_slow_release = may_end = false;
    second_canceler = 0;
    OK(umf_loop_watch(on, &wait, 0, &callback, (struct umf_watch **)&shared));
    CHECK(pthread_create(&first, NULL, cancel, on) == 0);
    while (!atomic_load(&in_slow_release))
        sched_yield();
    EXPECT(-ECANCELED, umf_watch_result(shared));
    CHECK(pthread_create(&second, NULL, cancel_second, NULL) == 0);
    while (atomic_load(&second_canceler) == 0)
        sched_yield();
    until_asleep(getpid(), second_canceler);
    atomic_store(&may_end, true);
    CHECK(pthread_join(first, NULL) == 0 && pthread_join(second, NULL) == 0);
    was_canceled(shared, &slow_told);
}

/* Release functions on several threads, each of which cancels the watch of the next one. */
enum { CIRCLE = 3 };
static struct umf_watch *circle[CIRCLE];
static struct told circle_told[CIRCLE];
static atomic_uint releasing, refused;

static void
release_and_cancel_next(void *data)
{
    struct told *told = data;
    size_t next = (size_t)(told - circle_told + 1) % CIRCLE;
    atomic_fetch_add(&releasing, 1);
    while (atomic_load(&releasing) < CIRCLE)
        sched_yield();
    int answer = ONE_OF(umf_watch_cancel(circle[next]), 0, -EDEADLK);
    if (answer == 0)
        CHECK(circle_told[next].releases == 1);
    else
        atomic_fetch_add(&refused, 1);
    on_release(data);
}

static void *
cancel_one(void *watch)
{
    OK(umf_watch_cancel(watch));
    return NULL;
}

static void
in_a_circle_of_releases(void)
{
    pthread_t threads[CIRCLE];
    releasing = refused = 0;
    for (int i = 0; i < CIRCLE; i++) {
        struct umf_condition wait = { fence, last + 1, UMF_OP_GE, 0, 0 };
        struct umf_callback callback = callback_to(&circle_told[i]);
        callback.release = release_and_cancel_next;
        OK(umf_loop_watch(loop, &wait, 0, &callback, &circle[i]));
    }
    for (int i = 0; i < CIRCLE; i++)
        CHECK(pthread_create(&threads[i], NULL, cancel_one, circle[i]) == 0);
    for (int i = 0; i < CIRCLE; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(refused == 1);
    for (int i = 0; i < CIRCLE; i++)
        was_canceled(circle[i], &circle_told[i]);
}

/* So many canceled in turn, beside a few that stay: the memory of canceled watches is used
 * again. */
static void
thousands(void)
{
    enum { STAY = 100, LIVE = 400, CANCELED = 20000 };
    static struct told stays[STAY], told[LIVE];
    struct umf_watch *watches[LIVE] = { NULL };
    size_t before = 0;
    for (unsigned i = 0; i < STAY; i++)
        umf_watch_unref(watch_value(loop, fence, last + 1 + i, &stays[i]));
    unsigned count = rounds(CANCELED, 4000);
    for (unsigned i = 0; i < count; i++) {
        unsigned at = i * 7 % LIVE;
        if (watches[at]) {
            OK(umf_watch_cancel(watches[at]));
            was_canceled(watches[at], &told[at]);
        }
        /* Below, between, and above those that stay; every fifth has a condition without an
         * order. */
        struct umf_condition wait = { fence, last + 1 + i % (STAY * 2), UMF_OP_GE, 0,
                                      i % 5 ? 0 : UINT64_MAX };
        struct umf_callback callback = callback_to(&told[at]);
        OK(umf_loop_watch(loop, &wait, 0, &callback, &watches[at]));
        if (i == 8 * LIVE)
            before = allocated();
    }
    if (!RUNNING_ON_VALGRIND)
        CHECK(allocated() <= before + before / 4);
    for (unsigned at = 0; at < LIVE; at++) {
        OK(umf_watch_cancel(watches[at]));
        was_canceled(watches[at], &told[at]);
    }
    for (unsigned i = 0; i < STAY; i++) {
        CHECK(stays[i].calls == 0);
        signal_next();
        until_called(loop, &stays[i], 0);
    }
}

/* Watches that completed and were canceled before dispatch do not keep memory either. */
static void
a_burst_leaves_no_memory(void)
{
    enum { BURST = 20000 };
    static struct told told[BURST];
    struct umf_loop *short_lived = create_loop(mode);
    size_t before = allocated();
    for (unsigned i = 0; i < BURST; i++)
        umf_watch_unref(watch_value(short_lived, fence, last + 1, &told[i]));
    OK(umf_fence_signal(fence, ++last));
    for (unsigned i = 0; i < BURST; i++)
        until_called(short_lived, &told[i], 0);
    until_loop_sleeps();
    if (!RUNNING_ON_VALGRIND)
        CHECK(allocated() <= before + 100000);
    umf_loop_unref(short_lived);
}

int
main(void)
{
    watchdog(50);
    mallopt(M_ARENA_MAX, 1); /* includes what the loop's thread frees */
    OK(umf_page_create(4, 0, &page));
    OK(umf_fence_create(page, 0, 0, &fence));
    for (size_t m = 0; m < ARRAY_SIZE(modes); m++) {
        mode = modes[m];
        loop = create_loop(mode);
        before_it_is_over();
        after_it_is_over();
        if (mode == 0)
            while_it_is_due();
        from_its_own_callback();
        against_its_signal();
        against_each_other();
        beside_a_release(loop, cancel_shared);
        beside_a_release(create_loop(mode), end_loop);
        for (unsigned round = 0; round < rounds(50, 5); round++)
            in_a_circle_of_releases();
        thousands();
        umf_loop_unref(loop);
        a_burst_leaves_no_memory();
    }
    EXPECT(-EINVAL, umf_watch_cancel(NULL));
    umf_fence_unref(fence);
    umf_page_unref(page);
    return 0;
}
