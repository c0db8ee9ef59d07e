// SPDX-License-Identifier: MIT
/*
 * A process that is killed in the middle of a signal leaves the right time of its value or none,
 * and the next signals leave theirs. The signaler is killed before each instruction of the call in
 * turn.
 */
#include "single_step.h"

static struct umf_page *page;
static struct umf_fence *fence;

static int do_signal(void) { return -umf_fence_signal(fence, 1); }

static void
create(void)
{
    OK(umf_page_create(1, UMF_PAGE_TIMESTAMPS, &page));
    OK(umf_fence_create(page, 0, 0, &fence));
}

static void
destroy(void)
{
    umf_fence_unref(fence);
    umf_page_unref(page);
}

/* The time of a value is between these, or there is none. */
static void
check_time(uint64_t value, uint64_t after, uint64_t before)
{
    uint64_t time;
    if (umf_fence_value(fence) < value) {
        EXPECT(-ENOENT, umf_fence_timestamp(fence, value, &time));
    } else {
        OK(umf_fence_timestamp(fence, value, &time));
        CHECK(after <= time && time <= before);
    }
}

static void
killed_at(uintptr_t pc)
{
    create();
    uint64_t start = now_ns();
    end_child(start_stopped_at(do_signal, pc));
    uint64_t killed = now_ns();
    uint64_t value = umf_fence_value(fence);
    check_time(1, start, killed);
    /* The survivor does what the signaler should have done, and goes on. */
    OK(umf_fence_signal(fence, 1));
    check_time(1, value ? start : killed, value ? killed : now_ns());
    uint64_t next = now_ns();
    for (uint64_t i = 2; i < 10; i++) {
        OK(umf_fence_signal(fence, i));
        check_time(i, next, now_ns());
    }
    destroy();
}

int
main(void)
{
    struct points points;
    watchdog(50);
    if (!prepare_to_step())
        return SKIPPED;
    create();
    CHECK(do_signal() == 0);
    if (!can_be_stopped(do_signal))
        return SKIPPED;
    destroy();
    create();
    find_points(&points, do_signal);
    destroy();
    CHECK(points.count > 50);
    for (unsigned n = 0; n < points.count; n++)
        killed_at(points.at[n]);
    return 0;
}
