// SPDX-License-Identifier: MIT
/*
 * Fences without order, between processes of two processors: each update and each comparison of the
 * one is seen by the other, and rewinds that one makes while the other is stopped.
 */
#include "cross_arch.h"
#include "process.h"
#include "watch.h"

#define BEYOND (UINT64_C(1) << 32)
#define MINUS(n) (UINT64_MAX - (n) + 1)

/* Values and operands that need both halves: carries, borrows, masks, and numbers that differ in
 * the high half alone. */
static const struct change {
    uint64_t before, operand, expected, after;
    uint32_t operation;
} changes[] = {
    { 7, BEYOND + 3, 0, BEYOND + 3, UMF_UPDATE_EXCHANGE },
    { UINT32_MAX, 1, 0, BEYOND, UMF_UPDATE_ADD },
    { BEYOND, 1, 0, UINT32_MAX, UMF_UPDATE_SUBTRACT },
    { 1, 3, 0, MINUS(2), UMF_UPDATE_SUBTRACT },
    { UINT64_MAX, 2, 0, 1, UMF_UPDATE_ADD },
    { BEYOND + 7, 9, 7, BEYOND + 7, UMF_UPDATE_COMPARE_EXCHANGE },
    { BEYOND + 7, 9, BEYOND + 7, 9, UMF_UPDATE_COMPARE_EXCHANGE },
    { UINT64_MAX, BEYOND + 5, 0, BEYOND + 5, UMF_UPDATE_AND },
    { 6, BEYOND + 1, 0, BEYOND + 7, UMF_UPDATE_OR },
    { BEYOND + 7, BEYOND + 1, 0, 6, UMF_UPDATE_XOR },
};

static void
change(struct umf_fence *fence)
{
    for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
        const struct change *c = &changes[i];
        uint64_t previous = 12345;
        OK(umf_fence_signal(fence, c->before));
        agree(i);
        agree(c->before);
        OK(umf_fence_update(fence, c->operation, c->operand, c->expected, &previous));
        CHECK(previous == c->before);
        agree(i);
        agree(c->after);
    }
}

static void
see_changes(struct umf_fence *fence)
{
    for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
        for (int step = 0; step < 2; step++) {
            agree(i);
            agree(umf_fence_value(fence));
        }
    }
}

/* Waits that an update ends, and the value that the waiter records: one at which it may be met. */
static const struct wake {
    uint64_t before, value, recorded, operand, expected;
    uint32_t op, operation;
} wakes[] = {
    { 7, BEYOND, BEYOND, BEYOND, 0, UMF_OP_GE, UMF_UPDATE_EXCHANGE },
    { UINT32_MAX, BEYOND + 4, BEYOND + 4, 5, 0, UMF_OP_EQ, UMF_UPDATE_ADD },
    { BEYOND, 7, 7, 7, BEYOND, UMF_OP_LE, UMF_UPDATE_COMPARE_EXCHANGE },
    { 1, 0, UINT64_MAX, 2, 0, UMF_OP_LT | UMF_OP_SIGNED, UMF_UPDATE_SUBTRACT },
    { MINUS(BEYOND), MINUS(3), MINUS(3), BEYOND - 3, 0, UMF_OP_GE | UMF_OP_SIGNED, UMF_UPDATE_ADD },
    { MINUS(1), 0, 1, 2, 0, UMF_OP_GT | UMF_OP_SIGNED, UMF_UPDATE_ADD },
    { BEYOND, BEYOND, BEYOND + 1, BEYOND, 0, UMF_OP_NE, UMF_UPDATE_XOR },
};

static void
wake(struct umf_fence *fence)
{
    for (size_t i = 0; i < ARRAY_SIZE(wakes); i++) {
        const struct wake *w = &wakes[i];
        OK(umf_fence_signal(fence, w->before));
        agree(i);
        until_recorded(fence, w->recorded);
        OK(umf_fence_update(fence, w->operation, w->operand, w->expected, NULL));
        agree(i);
    }
}

static void
be_woken(struct umf_fence *fence)
{
    for (size_t i = 0; i < ARRAY_SIZE(wakes); i++) {
        struct umf_condition wait = { fence, wakes[i].value, wakes[i].op, 0, 0 };
        agree(i);
        EXPECT(-ETIME, umf_wait(&wait, 1, 0, 0, NULL));
        OK(umf_wait(&wait, 1, 0, FOREVER, NULL));
        agree(i);
    }
}

/* How the stopped process waits. */
enum way { ONE, ANY, WATCH, WAYS };

/* A value and the greatest one that a wait which the value met waits for: from 2^39 on, they are
 * rounded down. */
static const struct peak {
    uint64_t value, met;
} peaks[] = {
    { 5, 5 },
    { BEYOND + 3, BEYOND + 3 },
    { (BEYOND << 7) + 1, BEYOND << 7 },
    { UINT64_MAX, UINT64_MAX << 25 },
};

static void
tell_result(int result)
{
    tell(sock, (uint64_t)-result);
}

static void
stop_the_other(void)
{
    int status;
    CHECK(kill(other_pid, SIGSTOP) == 0);
    CHECK(waitpid(other_pid, &status, WUNTRACED) == other_pid && WIFSTOPPED(status));
}

/* The other process sees nothing of the value itself. */
static void
rewind_unseen(struct umf_fence *fence)
{
    for (size_t i = 0; i < ARRAY_SIZE(peaks); i++) {
        for (enum way way = ONE; way < WAYS; way++) {
            if (way == WATCH)
                CHECK(hear(sock) == WATCH);
            else
                until_recorded(fence, peaks[i].met);
            stop_the_other();
            OK(umf_fence_update(fence, UMF_UPDATE_ADD, peaks[i].value, 0, NULL));
            OK(umf_fence_update(fence, UMF_UPDATE_SUBTRACT, peaks[i].value, 0, NULL));
            CHECK(kill(other_pid, SIGCONT) == 0);
            EXPECT(0, hear(sock));
            agree(way);
        }
    }
}

static void
be_rewound(struct umf_fence *fence)
{
    struct umf_loop *loop = create_loop(UMF_LOOP_THREAD);
    struct told told;
    for (size_t i = 0; i < ARRAY_SIZE(peaks); i++) {
        /* The value does not meet the second one. */
        struct umf_condition waits[] = { { fence, peaks[i].met, UMF_OP_GE, 0, 0 },
                                         { fence, peaks[i].met, UMF_OP_GT, 0, 0 } };
        uint32_t index = 9;
        tell_result(umf_fence_wait(fence, peaks[i].met, FOREVER));
        agree(ONE);
        tell_result(umf_wait(waits, 2, UMF_WAIT_ANY, FOREVER, &index));
        CHECK(index == 0 && umf_fence_value(fence) == 0);
        agree(ANY);
        umf_watch_unref(watch_value(loop, fence, peaks[i].met, &told));
        tell(sock, WATCH);
        until_called(loop, &told, 0);
        tell_result(0);
        agree(WATCH);
    }
    umf_loop_unref(loop);
}

void
play_unordered(bool first)
{
    for (int turn = 0; turn < 2; turn++) {
        if (first == (turn == 0)) {
            struct umf_fence *fence = hand_over(page, 0, UMF_FENCE_UNORDERED);
            change(fence);
            wake(fence);
            umf_fence_unref(fence);
        } else {
            struct umf_fence *fence = recv_fence(sock, page);
            see_changes(fence);
            be_woken(fence);
            umf_fence_unref(fence);
        }
    }
    /* Only the parent can stop the other process, and learn when it has stopped. */
    if (first) {
        struct umf_fence *fence = hand_over(page, 0, UMF_FENCE_UNORDERED);
        rewind_unseen(fence);
        umf_fence_unref(fence);
    } else {
        struct umf_fence *fence = recv_fence(sock, page);
        be_rewound(fence);
        umf_fence_unref(fence);
    }
}
