// SPDX-License-Identifier: MIT
/*
 * Every comparison that a wait can make, on both widths and under a mask: against a table of
 * expected results, and against a sleeping waiter that only the right value may wake.
 */
#include "check.h"

struct row {
    uint64_t flags, fence, value, mask;
    int expected[6]; /* of GE, GT, EQ, NE, LT, LE */
};

#define YES 0
#define NOT -ETIME    /* not now, but possible later */
#define NEVER -ERANGE /* the value has passed it or can never exceed it */
#define BAD -EINVAL

static const struct row rows[] = {
    { 0, 5, 7, 0, { NOT, NOT, NOT, YES, YES, YES } },
    { 0, 7, 7, 0, { YES, NOT, YES, NOT, NEVER, YES } },
    { 0, 9, 7, 0, { YES, YES, NEVER, YES, NEVER, NEVER } },
    { 0, 0, 0, 0, { YES, NOT, YES, NOT, NEVER, YES } },
    { 0, UINT64_MAX, UINT64_MAX, 0, { YES, BAD, YES, NEVER, NEVER, YES } },
    { 0, 1, UINT64_MAX, 0, { NOT, BAD, NOT, YES, YES, YES } },
    { 0, (UINT64_C(1) << 32) + 1, 1, 0, { YES, YES, NEVER, YES, NEVER, NEVER } },
    /* Masked values are plain numbers and never give -ERANGE. */
    { 0, 0x1f5, 0x205, 0xff, { YES, YES, NOT, YES, NOT, NOT } },
    { 0, 0x105, 0x205, 0xff, { YES, NOT, YES, NOT, NOT, YES } },
    { 0, 0x105, 0x2f5, 0xff, { NOT, NOT, NOT, YES, YES, YES } },
    { 0, UINT64_MAX, 0, UINT64_C(1) << 63, { YES, YES, NOT, YES, NOT, NOT } },
    /* 32-bit values wrap: a value is ahead if it is less than 2^31 ahead. */
    { UMF_FENCE_32BIT, 5, 7, 0, { NOT, NOT, NOT, YES, YES, YES } },
    { UMF_FENCE_32BIT, 7, 7, 0, { YES, NOT, YES, NOT, NOT, YES } },
    { UMF_FENCE_32BIT, 1, UINT32_MAX, 0, { YES, YES, NOT, YES, NOT, NOT } },
    { UMF_FENCE_32BIT, UINT32_MAX, 1, 0, { NOT, NOT, NOT, YES, YES, YES } },
    { UMF_FENCE_32BIT, 0, UINT32_MAX, 0, { YES, YES, NOT, YES, NOT, NOT } },
    { UMF_FENCE_32BIT, 0x7fffffff, 0, 0, { YES, YES, NOT, YES, NOT, NOT } },
    { UMF_FENCE_32BIT, 0x80000001, 0, 0, { NOT, NOT, NOT, YES, YES, YES } },
    { UMF_FENCE_32BIT, 3, UINT64_C(1) << 32, 0, { BAD, BAD, BAD, BAD, BAD, BAD } },
    { UMF_FENCE_32BIT, UINT32_MAX, 1, 0xf0, { YES, YES, NOT, YES, NOT, NOT } },
};

static struct umf_page *page;

static struct umf_fence *
new_fence(uint64_t flags, uint64_t value)
{
    struct umf_fence *fence;
    OK(umf_fence_create(page, value, flags, &fence));
    return fence;
}

static void
table(void)
{
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct umf_fence *fence = new_fence(rows[i].flags, rows[i].fence);
        for (uint32_t op = UMF_OP_GE; op <= UMF_OP_LE; op++) {
            struct umf_condition wait = { fence, rows[i].value, op, 0, rows[i].mask };
            uint32_t index = 7;
            int all = umf_wait(&wait, 1, 0, 0, NULL);
            int any = umf_wait(&wait, 1, UMF_WAIT_ANY, 0, &index);
            if (all != rows[i].expected[op] || any != all || (any == 0 && index != 0)) {
                fprintf(stderr, "row %zu, op %u: %d and %d, not %d\n", i, op, all, any,
                        rows[i].expected[op]);
                exit(1);
            }
        }
        umf_fence_unref(fence);
    }
}

struct waiter {
    struct umf_condition wait;
    uint64_t flags;
    int result;
};

static void *
waits(void *data)
{
    struct waiter *waiter = data;
    waiter->result = umf_wait(&waiter->wait, 1, waiter->flags, in_ns(20 * SECOND), NULL);
    return NULL;
}

/* A waiter sleeps while the fence goes step by step to where the condition holds. */
static void
wakes(uint64_t flags, uint64_t from, const uint64_t *steps, int count, uint32_t op, uint64_t value,
      uint64_t mask)
{
    for (int any = 0; any < 2; any++) {
        struct umf_fence *fence = new_fence(flags, from);
        struct waiter waiter = { { fence, value, op, 0, mask }, any ? UMF_WAIT_ANY : 0, 1 };
        pthread_t thread;
        EXPECT(-ETIME, umf_wait(&waiter.wait, 1, 0, 0, NULL));
        CHECK(pthread_create(&thread, NULL, waits, &waiter) == 0);
        for (int i = 0; i < count; i++)
            OK(umf_fence_signal(fence, steps[i]));
        CHECK(pthread_join(thread, NULL) == 0);
        OK(waiter.result);
        umf_fence_unref(fence);
    }
}

#define WAKES(flags, from, op, value, mask, ...)                                                   \
    wakes(flags, from, (const uint64_t[]){ __VA_ARGS__ },                                          \
          sizeof((uint64_t[]){ __VA_ARGS__ }) / sizeof(uint64_t), op, value, mask)

static void
every_operator_wakes(void)
{
    for (int round = 0; round < 200; round++) {
        WAKES(0, 0, UMF_OP_GE, 40, 0, 1, 8, 39, 40);
        WAKES(0, 0, UMF_OP_GT, 40, 0, 40, 41);
        WAKES(0, 0, UMF_OP_EQ, 9, 0, 9);
        WAKES(0, 9, UMF_OP_NE, 9, 0, 9 + (UINT64_C(1) << 32));
        WAKES(0, 0, UMF_OP_EQ, 0x300, 0xff00, 1, 0x2ff, 0x355);
        WAKES(0, 0xff, UMF_OP_LT, 1, 0xff, 0x100);
        WAKES(UMF_FENCE_32BIT, UINT32_MAX - 1, UMF_OP_GE, 3, 0, UINT32_MAX, 0, 3);
        WAKES(UMF_FENCE_32BIT, UINT32_MAX, UMF_OP_NE, UINT32_MAX, 0, 0);
        WAKES(UMF_FENCE_32BIT, 5, UMF_OP_LT, 5, 0, 0x7fffffff, 0x80000006);
    }
}

int
main(void)
{
    OK(umf_page_create(4, 0, &page));
    table();
    every_operator_wakes();
    umf_page_unref(page);
    return 0;
}
