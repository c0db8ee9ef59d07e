// SPDX-License-Identifier: MIT
/*
 * Watches of fences: their results, what they do when they complete, and in which order, for both
 * kinds of loop.
 */
#include "process.h"
#include "sleeper.h"
#include "watch.h"

static const uint64_t modes[] = { 0, UMF_LOOP_THREAD };
static uint64_t mode;
static struct umf_loop *loop;
static struct umf_page *page;

static struct umf_fence *
create_fence(uint64_t value, uint64_t flags)
{
    struct umf_fence *fence;
    OK(umf_fence_create(page, value, flags, &fence));
    return fence;
}

/* A watch whose wait is met or can never be met: the callback and the handle give the same
 * result. */
static void
comes_to(int result, struct umf_watch *watch, struct told *told)
{
    until_called(loop, told, result);
    EXPECT(result, umf_watch_result(watch));
    EXPECT(-EALREADY, umf_watch_cancel(watch));
    EXPECT(result, umf_watch_result(watch));
    umf_watch_unref(watch);
}

static void
a_value_that_is_reached(void)
{
    struct umf_fence *fence = create_fence(0, 0);
    struct told told;
    for (uint64_t value = 1; value <= 200; value++) {
        struct umf_watch *watch = watch_value(loop, fence, value, &told);
        EXPECT(-ETIME, umf_watch_result(watch));
        CHECK(told.calls == 0 && told.releases == 0);
        if (mode == 0)
            CHECK(!is_readable(umf_loop_fd(loop)));
        if (value % 8 == 0)
            until_loop_sleeps();
        OK(umf_fence_signal(fence, value));
        comes_to(0, watch, &told);
        if (mode == 0) {
            /* No callback was missed and nothing is left. */
            OK(umf_loop_dispatch(loop, 0));
            CHECK(told.calls == 1);
        }
    }
    /* A jump of the value, and a watch that is met already. */
    struct umf_watch *watch = watch_value(loop, fence, UINT64_C(1) << 40, &told);
    until_loop_sleeps();
    OK(umf_fence_signal(fence, UINT64_MAX));
    comes_to(0, watch, &told);
    comes_to(0, watch_value(loop, fence, 7, &told), &told);
    umf_fence_unref(fence);
}

static void
failures(void)
{
    static const struct {
        int error, result;
    } kinds[] = { { -ENODEV, -EIO }, { -EIO, -EIO }, { -EOWNERDEAD, -EOWNERDEAD }, { -ETIME, -EIO },
                  { -ECANCELED, -EIO } };
    struct told told, reached;
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        struct umf_fence *fence = create_fence(5, 0);
        struct umf_watch *watch = watch_value(loop, fence, 6, &told);
        until_loop_sleeps();
        OK(umf_fence_set_error(fence, kinds[i].error));
        comes_to(kinds[i].result, watch, &told);
        /* A fence that has failed; values that were reached before stay reached. */
        comes_to(kinds[i].result, watch_value(loop, fence, 6, &told), &told);
        comes_to(0, watch_value(loop, fence, 5, &reached), &reached);
        umf_fence_unref(fence);
    }
}

static void
every_operator(void)
{
    static const struct {
        uint64_t flags, start;
        uint32_t op;
        uint64_t value, mask, first, then;
        int at_start, after_first, after_then; /* results, 1 for none yet */
    } rows[] = {
        { 0, 5, UMF_OP_GE, 7, 0, 6, 7, 1, 1, 0 },
        { 0, 5, UMF_OP_GE, 5, 0, 6, 7, 0, 0, 0 },
        { 0, 5, UMF_OP_GT, 6, 0, 6, 7, 1, 1, 0 },
        { 0, 5, UMF_OP_EQ, 7, 0, 6, 7, 1, 1, 0 },
        { 0, 5, UMF_OP_EQ, 6, 0, 7, 8, 1, -ERANGE, -ERANGE },
        { 0, 5, UMF_OP_EQ, 4, 0, 7, 8, -ERANGE, -ERANGE, -ERANGE },
        { 0, 5, UMF_OP_NE, 5, 0, 6, 7, 1, 0, 0 },
        { 0, 5, UMF_OP_NE, 9, 0, 6, 7, 0, 0, 0 },
        { 0, UINT64_MAX - 1, UMF_OP_NE, UINT64_MAX, 0, UINT64_MAX, UINT64_MAX, 0, 0, 0 },
        { 0, UINT64_MAX, UMF_OP_NE, UINT64_MAX, 0, UINT64_MAX, UINT64_MAX, -ERANGE, -ERANGE,
          -ERANGE },
        { 0, 5, UMF_OP_LT, 6, 0, 6, 7, 0, 0, 0 },
        { 0, 5, UMF_OP_LT, 5, 0, 6, 7, -ERANGE, -ERANGE, -ERANGE },
        { 0, 5, UMF_OP_LE, 5, 0, 6, 7, 0, 0, 0 },
        { 0, 5, UMF_OP_LE, 4, 0, 6, 7, -ERANGE, -ERANGE, -ERANGE },
        { 0, 5, UMF_OP_LE, UINT64_MAX, 0, 6, 7, 0, 0, 0 },
        { 0, 5, UMF_OP_EQ, 8, 0xf, 7, 24, 1, 1, 0 },
        { 0, 5, UMF_OP_LT, 1, 0x7, 7, 8, 1, 1, 0 },
        { 0, 5, UMF_OP_NE, 5, 0x7, 13, 14, 1, 1, 0 },
        { 0, 5, UMF_OP_GT, 0, UINT64_C(1) << 40, 6, UINT64_C(1) << 40, 1, 1, 0 },
        { UMF_FENCE_32BIT, UINT32_MAX, UMF_OP_GE, 1, 0, 0, 1, 1, 1, 0 },
        { UMF_FENCE_32BIT, UINT32_MAX, UMF_OP_GT, 0, 0, 0, 1, 1, 1, 0 },
        { UMF_FENCE_32BIT, UINT32_MAX, UMF_OP_GT, UINT32_MAX, 0, 0, 1, 1, 0, 0 },
        { UMF_FENCE_32BIT, UINT32_MAX, UMF_OP_NE, UINT32_MAX, 0, 0, 1, 1, 0, 0 },
        { UMF_FENCE_32BIT, 5, UMF_OP_EQ, 7, 0, 6, 7, 1, 1, 0 },
        { UMF_FENCE_32BIT, 5, UMF_OP_LT, 5, 0, 0x7fffffff, 0x80000006, 1, 1, 0 },
        { UMF_FENCE_32BIT, UINT32_MAX, UMF_OP_LE, 3, 0xff, 2, 3, 1, 0, 0 },
    };
    for (size_t i = 0; i < 2 * ARRAY_SIZE(rows); i++) {
        __typeof__(rows[0]) *row = &rows[i / 2];
        struct umf_fence *fence = create_fence(row->start, row->flags);
        struct umf_condition wait = { fence, row->value, row->op, 0, row->mask };
        struct told told, other;
        struct umf_callback callback = callback_to(&told);
        struct umf_watch *watch, *waiting = NULL;
        /* Also if another watch of the fence is due before it. */
        if (i % 2) {
            struct umf_callback before = callback_to(&other);
            struct umf_condition at_first = { fence, row->first, UMF_OP_GE, 0, 0 };
            OK(umf_loop_watch(loop, &at_first, 0, &before, &waiting));
        }
        OK(umf_loop_watch(loop, &wait, 0, &callback, &watch));
        if (row->at_start != 1) {
            until_called(loop, &told, row->at_start);
        } else {
            until_loop_sleeps();
            EXPECT(-ETIME, umf_watch_result(watch));
        }
        OK(umf_fence_signal(fence, row->first));
        if (row->after_first != 1) {
            until_called(loop, &told, row->after_first);
        } else {
            until_loop_sleeps();
            EXPECT(-ETIME, umf_watch_result(watch));
        }
        OK(umf_fence_signal(fence, row->then));
        comes_to(row->after_then, watch, &told);
        if (waiting)
            comes_to(0, waiting, &other);
        umf_fence_unref(fence);
    }
}

static void
a_submission(void)
{
    struct umf_fence *fence = create_fence(0, 0),
                     *around = create_fence(UINT32_MAX, UMF_FENCE_32BIT);
    struct told told, signaled;
    struct umf_condition wait = { fence, 10, UMF_OP_GE, 0, 0 };
    struct umf_callback callback = callback_to(&told);
    struct umf_watch *watch;
    OK(umf_loop_watch(loop, &wait, UMF_WAIT_PENDING, &callback, &watch));
    struct umf_watch *other = watch_value(loop, fence, 10, &signaled);
    until_loop_sleeps();
    OK(umf_fence_submit(fence, 9));
    until_loop_sleeps();
    EXPECT(-ETIME, umf_watch_result(watch));
    OK(umf_fence_submit(fence, 11));
    comes_to(0, watch, &told);
    EXPECT(-ETIME, umf_watch_result(other));
    callback = callback_to(&told);
    OK(umf_loop_watch(loop, &wait, UMF_WAIT_PENDING, &callback, &watch));
    comes_to(0, watch, &told);
    OK(umf_fence_signal(fence, 10));
    comes_to(0, other, &signaled);

    wait = (struct umf_condition){ around, 2, UMF_OP_GT, 0, 0 };
    callback = callback_to(&told);
    OK(umf_loop_watch(loop, &wait, UMF_WAIT_PENDING, &callback, &watch));
    until_loop_sleeps();
    OK(umf_fence_submit(around, 3));
    comes_to(0, watch, &told);
    umf_fence_unref(around);
    umf_fence_unref(fence);
}

enum { CROWD = 3000 };

/* Watches of values in random order; the signals rise. */
static void
values_that_rise_call_back_in_their_order(void)
{
    static struct told told[CROWD];
    struct umf_fence *fence = create_fence(0, 0);
    unsigned before = turns;
    for (uint64_t i = 0; i < CROWD; i++)
        umf_watch_unref(watch_value(loop, fence, i * 7 % CROWD + 1, &told[i * 7 % CROWD]));
    /* One value at a time, then in two jumps. */
    for (uint64_t value = 1; value <= CROWD / 3; value++)
        OK(umf_fence_signal(fence, value));
    until_called(loop, &told[CROWD / 3 - 1], 0);
    CHECK(told[CROWD / 3].calls == 0);
    until_loop_sleeps();
    OK(umf_fence_signal(fence, CROWD / 2));
    until_called(loop, &told[CROWD / 2 - 1], 0);
    CHECK(told[CROWD / 2].calls == 0);
    OK(umf_fence_signal(fence, CROWD + 5));
    for (unsigned i = 0; i < CROWD; i++) {
        until_called(loop, &told[i], 0);
        CHECK(told[i].turn == before + i + 1);
    }
    umf_fence_unref(fence);
}

/* More pages than one thread can poll, and several signalers: no two callbacks run at once
 * (on_call checks it), and none is lost. */
static struct umf_fence *busy[4];

static void *
signal_on(void *argument)
{
    struct umf_fence *fence = argument;
    for (uint64_t value = 1; value <= rounds(2000, 50); value++)
        OK(umf_fence_signal(fence, value));
    return NULL;
}

static void
callbacks_take_turns(void)
{
    enum { MOST = 2000 };
    static struct told told[4][MOST];
    struct umf_page *pages[4], *between[130];
    struct umf_fence *idle[130];
    struct told never[130];
    pthread_t signalers[4];
    unsigned count = rounds(MOST, 50);
    struct umf_loop *before = loop;
    loop = create_loop(mode);
    for (int i = 0; i < 4; i++) {
        for (int k = 0; i == 2 && k < 130; k++) {
            OK(umf_page_create(1, 0, &between[k]));
            OK(umf_fence_create(between[k], 0, 0, &idle[k]));
            umf_watch_unref(watch_value(loop, idle[k], 1, &never[k]));
        }
        OK(umf_page_create(1, 0, &pages[i]));
        OK(umf_fence_create(pages[i], 0, 0, &busy[i]));
        for (unsigned k = 0; k < count / 2; k++)
            umf_watch_unref(watch_value(loop, busy[i], k + 1, &told[i][k]));
    }
    for (int i = 0; i < 4; i++)
        CHECK(pthread_create(&signalers[i], NULL, signal_on, busy[i]) == 0);
    for (int i = 0; i < 4; i++) {
        for (unsigned k = count / 2; k < count; k++)
            umf_watch_unref(watch_value(loop, busy[i], k + 1, &told[i][k]));
    }
    for (int i = 0; i < 4; i++) {
        CHECK(pthread_join(signalers[i], NULL) == 0);
        for (unsigned k = 0; k < count; k++)
            until_called(loop, &told[i][k], 0);
        umf_fence_unref(busy[i]);
        umf_page_unref(pages[i]);
    }
    umf_loop_unref(loop);
    loop = before;
    for (int k = 0; k < 130; k++) {
        CHECK(never[k].calls == 0 && never[k].releases == 1);
        umf_fence_unref(idle[k]);
        umf_page_unref(between[k]);
    }
}

static uint64_t
count_of(int fd)
{
    uint64_t count = 0;
    CHECK(read(fd, &count, sizeof(count)) == sizeof(count) || errno == EAGAIN);
    return count;
}

static void
an_eventfd_is_told(void)
{
    struct umf_fence *fence = create_fence(0, 0);
    struct umf_condition wait = { fence, 1, UMF_OP_GE, 0, 0 };
    struct told told;
    struct umf_callback callback = callback_to(&told);
    struct umf_watch *watch;
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), closed;
    CHECK(fd >= 0);
    OK(umf_loop_export_eventfd(loop, &wait, 0, fd, &callback, &watch));
    until_loop_sleeps();
    CHECK(!is_readable(fd));
    OK(umf_fence_signal(fence, 1));
    comes_to(0, watch, &told);
    CHECK(count_of(fd) == 1);

    /* One eventfd write for each watch, whatever its result: met, met already, pending, passed,
     * failed, failed already. */
    const uint32_t ops[] = { UMF_OP_GE, UMF_OP_LT, UMF_OP_EQ, UMF_OP_GE };
    const uint64_t values[] = { 1, 0, 2, 4 };
    struct umf_watch *watches[7];
    for (int i = 0; i < 4; i++) {
        wait = (struct umf_condition){ fence, values[i], ops[i], 0, 0 };
        OK(umf_loop_export_eventfd(loop, &wait, 0, fd, NULL, &watches[i]));
    }
    OK(umf_loop_export_eventfd(loop, &wait, UMF_WAIT_PENDING, fd, NULL, &watches[4]));
    OK(umf_fence_submit(fence, 4));
    OK(umf_fence_signal(fence, 3));
    UNTIL(loop, umf_watch_result(watches[2]) != -ETIME);
    OK(umf_fence_set_error(fence, -EPIPE));
    OK(umf_loop_export_eventfd(loop, &wait, 0, fd, NULL, &watches[5]));
    const int results[] = { 0, -ERANGE, -ERANGE, -EIO, 0, -EIO };
    for (int i = 0; i < 6; i++) {
        UNTIL(loop, umf_watch_result(watches[i]) != -ETIME);
        EXPECT(results[i], umf_watch_result(watches[i]));
        umf_watch_unref(watches[i]);
    }
    CHECK(count_of(fd) == 6);
    umf_fence_unref(fence);

    /* The caller may close its descriptor at once. A full eventfd blocks nobody. A canceled
     * watch writes nothing. */
    fence = create_fence(0, 0);
    closed = dup(fd);
    wait = (struct umf_condition){ fence, 1, UMF_OP_GE, 0, 0 };
    OK(umf_loop_export_eventfd(loop, &wait, 0, closed, NULL, NULL));
    close(closed);
    OK(umf_fence_signal(fence, 1));
    UNTIL(loop, is_readable(fd));
    CHECK(count_of(fd) == 1);
    CHECK(write(fd, &(uint64_t){ UINT64_MAX - 1 }, 8) == 8);
    callback = callback_to(&told);
    OK(umf_loop_export_eventfd(loop, &wait, 0, fd, &callback, &watch));
    comes_to(0, watch, &told);
    CHECK(count_of(fd) == UINT64_MAX - 1);
    wait.value = 2;
    OK(umf_loop_export_eventfd(loop, &wait, 0, fd, NULL, &watch));
    OK(umf_watch_cancel(watch));
    umf_watch_unref(watch);
    OK(umf_fence_signal(fence, 2));
    comes_to(0, watch_value(loop, fence, 2, &told), &told);
    CHECK(!is_readable(fd));
    umf_fence_unref(fence);
    close(fd);
}

static void
a_fence_signals_another(void)
{
    struct umf_page *other;
    struct umf_fence *a = create_fence(0, 0), *b, *c = create_fence(UINT32_MAX, UMF_FENCE_32BIT);
    struct told told;
    struct umf_callback callback = callback_to(&told);
    struct umf_watch *watch;
    int error;
    OK(umf_page_create(3, 0, &other));
    OK(umf_fence_create(other, 0, 0, &b));
    OK(umf_loop_export_fence(loop, a, 1, b, 100, 0, NULL, NULL));
    OK(umf_loop_export_fence(loop, b, 50, c, 3, 0, &callback, &watch));
    until_loop_sleeps();
    OK(umf_fence_signal(a, 1));
    comes_to(0, watch, &told);
    CHECK(umf_fence_value(b) == 100 && umf_fence_value(c) == 3);

    /* The same value again is allowed, a smaller one is not; a fence may drive itself. */
    callback = callback_to(&told);
    OK(umf_loop_export_fence(loop, a, 1, b, 100, 0, &callback, &watch));
    comes_to(0, watch, &told);
    callback = callback_to(&told);
    OK(umf_loop_export_fence(loop, a, 1, b, 99, 0, &callback, &watch));
    comes_to(-EINVAL, watch, &told);
    CHECK(umf_fence_value(b) == 100);
    callback = callback_to(&told);
    OK(umf_loop_export_fence(loop, a, 2, a, 10, 0, NULL, NULL));
    OK(umf_loop_export_fence(loop, a, 10, a, 20, 0, &callback, &watch));
    OK(umf_fence_signal(a, 2));
    comes_to(0, watch, &told);
    CHECK(umf_fence_value(a) == 20);

    /* Canceled: the other watch stays. */
    OK(umf_loop_export_fence(loop, a, 21, b, 200, 0, NULL, &watch));
    OK(umf_watch_cancel(watch));
    umf_watch_unref(watch);
    OK(umf_fence_signal(a, 21));
    comes_to(0, watch_value(loop, a, 21, &told), &told);
    CHECK(umf_fence_value(b) == 100);

    /* The error is copied as it is. */
    OK(umf_loop_export_fence(loop, a, 30, b, 200, 0, NULL, NULL));
    callback = callback_to(&told);
    OK(umf_loop_export_fence(loop, b, 200, c, 9, 0, &callback, &watch));
    until_loop_sleeps();
    OK(umf_fence_set_error(a, -EXDEV));
    comes_to(-EIO, watch, &told);
    OK(umf_fence_error(c, &error));
    EXPECT(-EXDEV, error);
    OK(umf_fence_error(b, &error));
    EXPECT(-EXDEV, error);
    /* The target has failed. */
    struct umf_fence *d = create_fence(9, 0);
    callback = callback_to(&told);
    OK(umf_loop_export_fence(loop, d, 9, b, 300, 0, &callback, &watch));
    comes_to(-EIO, watch, &told);
    umf_fence_unref(a);
    umf_fence_unref(b);
    umf_fence_unref(c);
    umf_fence_unref(d);
    umf_page_unref(other);
}

static void
handles_on_a_watch(void)
{
    struct umf_fence *fence = create_fence(0, 0);
    struct umf_condition wait = { fence, 1, UMF_OP_GE, 0, 0 };
    struct told told[2];
    struct umf_callback first = callback_to(&told[0]);
    /* Nobody keeps the second and the first watch, and they still work. The fence's handle is
     * not needed either. */
    OK(umf_loop_watch(loop, &wait, 0, &first, NULL));
    struct umf_watch *watch = watch_value(loop, fence, 2, &told[1]);
    CHECK(umf_watch_ref(watch) == watch);
    umf_watch_unref(watch);
    umf_watch_unref(watch);
    uint32_t index = umf_fence_index(fence);
    umf_fence_unref(fence);
    OK(umf_fence_open(page, index, 0, &fence));
    OK(umf_fence_signal(fence, 2));
    umf_fence_unref(fence);
    until_called(loop, &told[0], 0);
    until_called(loop, &told[1], 0);
    /* A watch outlives its loop. */
    fence = create_fence(0, 0);
    struct umf_loop *short_lived = create_loop(mode);
    watch = watch_value(short_lived, fence, 1, &told[0]);
    struct umf_watch *over = watch_value(short_lived, fence, 0, &told[1]);
    until_complete(short_lived, &told[1]);
    umf_loop_unref(short_lived);
    CHECK(told[0].calls == 0 && told[0].releases == 1);
    EXPECT(-ECANCELED, umf_watch_result(watch));
    OK(umf_watch_cancel(watch));
    EXPECT(0, umf_watch_result(over));
    EXPECT(-EALREADY, umf_watch_cancel(over));
    umf_watch_unref(watch);
    umf_watch_unref(over);
    OK(umf_fence_signal(fence, 1));
    CHECK(told[0].calls == 0);
    umf_fence_unref(fence);
}

/* A completed watch keeps nothing: the slot of a fence that has no other handle is free again. */
static void
nothing_is_kept_longer_than_needed(void)
{
    struct umf_page *small;
    struct umf_fence *fence, *more;
    struct umf_watch *watch;
    struct told told;
    const int fds = open_fds();
    OK(umf_page_create(1, 0, &small));
    for (int round = 0; round < 50; round++) {
        OK(umf_fence_create(small, 0, 0, &fence));
        watch = watch_value(loop, fence, 1, &told);
        EXPECT(-ENOSPC, umf_fence_create(small, 0, 0, &more));
        umf_fence_unref(fence);
        EXPECT(-ENOSPC, umf_fence_create(small, 0, 0, &more));
        if (round % 2) {
            OK(umf_watch_cancel(watch));
        } else {
            OK(umf_fence_open(small, 0, 0, &fence));
            OK(umf_fence_signal(fence, 1));
            umf_fence_unref(fence);
            until_called(loop, &told, 0);
            until_loop_sleeps();
        }
        OK(umf_fence_create(small, 0, 0, &more));
        umf_fence_unref(more);
        umf_watch_unref(watch);
    }
    umf_page_unref(small);
    UNTIL(loop, open_fds() == fds);
    /* And the page is unmapped with its last watch, while the loop waits for another page. */
    struct umf_fence *other = create_fence(0, 0);
    struct told waiting;
    struct umf_watch *keeps = watch_value(loop, other, 1, &waiting);
    for (int cancel = 0; cancel < 2; cancel++) {
        OK(umf_page_create(1, 0, &small));
        OK(umf_fence_create(small, 0, 0, &fence));
        watch = watch_value(loop, fence, 1, &told);
        until_loop_sleeps();
        if (cancel) {
            OK(umf_watch_cancel(watch));
        } else {
            OK(umf_fence_signal(fence, 1));
            until_called(loop, &told, 0);
        }
        umf_watch_unref(watch);
        umf_fence_unref(fence);
        umf_page_unref(small);
        UNTIL(loop, open_fds() == fds);
    }
    OK(umf_watch_cancel(keeps));
    umf_watch_unref(keeps);
    umf_fence_unref(other);
}

/* Another process owns the fences: it signals some, fails one, and ends one. */
enum { THEIRS = 6 };

static void
own_fences(int sock)
{
    struct umf_page *mine;
    struct umf_fence *fences[THEIRS];
    for (size_t round = 0; round < 2; round++) {
        OK(umf_page_create(THEIRS, 0, &mine));
        send_page(sock, mine);
        for (int i = 0; i < THEIRS; i++) {
            OK(umf_fence_create(mine, 0, 0, &fences[i]));
            tell(sock, umf_fence_index(fences[i]));
        }
        hear(sock);
        OK(umf_fence_signal(fences[0], 1));
        OK(umf_fence_set_error(fences[1], -ENOLINK));
        umf_fence_unref(fences[2]);
        OK(umf_fence_signal(fences[3], 7));
        umf_fence_unref(fences[3]); /* the last value counts */
        OK(umf_fence_wait(fences[4], 5, FOREVER));
        EXPECT(-EIO, umf_fence_wait(fences[5], 5, FOREVER));
        for (int i = 0; i < THEIRS; i++) {
            if (i != 2 && i != 3)
                umf_fence_unref(fences[i]);
        }
        umf_page_unref(mine);
    }
}

static void
fences_of_another_process(struct peer *peer)
{
    struct umf_page *theirs = recv_page(peer->sock);
    struct umf_fence *fences[THEIRS], *mine = create_fence(0, 0);
    struct umf_watch *watches[4];
    struct told told[4], exported;
    int error;
    for (int i = 0; i < THEIRS; i++)
        fences[i] = recv_fence(peer->sock, theirs);
    watches[0] = watch_value(loop, fences[0], 1, &told[0]);
    watches[1] = watch_value(loop, fences[1], 1, &told[1]);
    watches[2] = watch_value(loop, fences[2], 1, &told[2]);
    watches[3] = watch_value(loop, fences[3], 7, &told[3]);
    /* Values go from the peer's fence to this process's and back. */
    OK(umf_loop_export_fence(loop, fences[0], 1, mine, 3, 0, NULL, NULL));
    OK(umf_loop_export_fence(loop, mine, 3, fences[4], 5, 0, NULL, NULL));
    struct umf_fence *stale = create_fence(0, 0);
    struct umf_callback callback = callback_to(&exported);
    OK(umf_loop_export_fence(loop, fences[2], 1, stale, 3, 0, &callback, NULL));
    OK(umf_loop_export_fence(loop, fences[1], 1, fences[5], 5, 0, NULL, NULL));
    until_loop_sleeps();
    tell(peer->sock, 1);
    comes_to(0, watches[0], &told[0]);
    comes_to(-EIO, watches[1], &told[1]);
    comes_to(-ESTALE, watches[2], &told[2]);
    comes_to(0, watches[3], &told[3]);
    until_called(loop, &exported, -ESTALE);
    OK(umf_fence_error(stale, &error));
    EXPECT(-ESTALE, error);
    UNTIL(loop, umf_fence_value(fences[4]) == 5 || umf_fence_error(fences[4], &error) != 0);
    do {
        if (umf_fence_error(fences[5], &error) != 0)
            break; /* the peer has seen it and ended its fence */
    } while (error == 0 && (turn_loop(loop), true));
    umf_fence_unref(stale);
    umf_fence_unref(mine);
    for (int i = 0; i < THEIRS; i++)
        umf_fence_unref(fences[i]);
    umf_page_unref(theirs);
}

int
main(void)
{
    watchdog(50);
    struct peer peer = start_peer(own_fences);
    int fds = open_fds();
    for (size_t m = 0; m < ARRAY_SIZE(modes); m++) {
        mode = modes[m];
        loop = create_loop(mode);
        OK(umf_page_create(100, 0, &page));
        a_value_that_is_reached();
        failures();
        every_operator();
        a_submission();
        values_that_rise_call_back_in_their_order();
        callbacks_take_turns();
        an_eventfd_is_told();
        a_fence_signals_another();
        nothing_is_kept_longer_than_needed();
        fences_of_another_process(&peer);
        umf_loop_unref(loop);
        loop = create_loop(mode);
        handles_on_a_watch();
        umf_page_unref(page);
        umf_loop_unref(loop);
        CHECK(open_fds() == fds);
        until_threads(1);
    }
    umf_watch_unref(NULL);
    umf_loop_unref(NULL);
    CHECK(!umf_watch_ref(NULL) && !umf_loop_ref(NULL));
    end_peer(&peer);
    return 0;
}
