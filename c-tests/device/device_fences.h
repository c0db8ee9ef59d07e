/* SPDX-License-Identifier: MIT */
/* What the tests of device stacks share: a page, a fence that the device writes, and a fence that
 * the CPU signals. */
#ifndef DEVICE_FENCES_H
#define DEVICE_FENCES_H

#include "sleeper.h"

/* Ends the test unless a call of the driver succeeds. */
#define DRIVER_CALL(success, call)                                                                 \
    do {                                                                                           \
        int result_ = (int)(call);                                                                 \
        if (result_ != (success)) {                                                                \
            fprintf(stderr, "%s:%d: %s returned %d\n", __FILE__, __LINE__, #call, result_);        \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

static struct umf_page *page;
static struct umf_fence *progress, *go;
/* The page as the library has mapped it, which the device imports. */
static void *page_memory;
static uint64_t page_memory_size;

static inline void
create_device_fences(void)
{
    OK(umf_page_create(8, 0, &page));
    OK(umf_fence_create(page, 0, UMF_FENCE_DEVICE, &progress));
    OK(umf_fence_create(page, 0, 0, &go));
    OK(umf_page_get_memory(page, UMF_PAGE_MEMORY_WRITE, &page_memory, &page_memory_size));
}

static inline void
destroy_device_fences(void)
{
    umf_fence_unref(progress);
    umf_fence_unref(go);
    umf_page_unref(page);
}

/*
 * Waits for each value after first that a running job of the device signals, up to steps of them.
 * What the device wrote before it signaled a value must be visible with it. Returns how many waits
 * that took.
 */
static inline uint64_t
follow_progress(uint64_t first, uint32_t steps, const volatile uint64_t *result)
{
    uint64_t seen = first, waits = 0, started = now_ns(), used = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    while (seen < first + steps) {
        OK(umf_fence_wait(progress, seen + 1, FOREVER));
        uint64_t now = umf_fence_value(progress);
        CHECK(now > seen && now <= first + steps && *result >= now);
        seen = now;
        waits++;
    }
    used = clock_ns(CLOCK_THREAD_CPUTIME_ID) - used;
    printf("%u values in %.1f ms, followed in %" PRIu64 " waits with %.1f ms of CPU time\n", steps,
           (double)(now_ns() - started) / 1e6, waits, (double)used / 1e6);
    return waits;
}

#endif
