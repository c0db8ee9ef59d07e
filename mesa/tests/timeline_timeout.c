// SPDX-License-Identifier: MIT
/*
 * A wait that is not satisfied returns VK_TIMEOUT, not early and not much too late, without
 * effects.
 */
#include "gpu.h"

static void
ends_in_time(const struct gpu *gpu, VkSemaphoreWaitFlags flags, uint64_t timeout)
{
    VkSemaphore semaphores[3];
    const uint64_t values[3] = { 4, 5, UINT64_C(1) << 40 };
    for (unsigned i = 0; i < 3; i++)
        semaphores[i] = timeline(gpu, 3);
    for (uint32_t count = 1; count <= 3; count++) {
        uint64_t start = now_ns();
        VK(VK_TIMEOUT, wait_many(gpu, flags, count, semaphores, values, timeout));
        uint64_t took = now_ns() - start;
        CHECK(took >= timeout);
        CHECK(took < timeout + 5 * SECOND); /* the machine may be busy */
    }
    for (unsigned i = 0; i < 3; i++) {
        CHECK(value_of(gpu, semaphores[i]) == 3);
        destroy(gpu, semaphores[i]);
    }
}

int
main(void)
{
    static const uint64_t timeouts[] = { 0, 1, 1000, MS / 10, MS, 30 * MS };
    watchdog(60);
    struct gpu gpu = open_gpu();
    for (unsigned i = 0; i < sizeof(timeouts) / sizeof(timeouts[0]); i++) {
        ends_in_time(&gpu, 0, timeouts[i]);
        ends_in_time(&gpu, VK_SEMAPHORE_WAIT_ANY_BIT, timeouts[i]);
    }

    /* Timeouts for which the absolute time overflows are long, and have not expired. */
    static const uint64_t longest[] = { UINT64_MAX, UINT64_MAX - 1, INT64_MAX,
                                        (uint64_t)INT64_MAX + 1 };
    for (unsigned i = 0; i < sizeof(longest) / sizeof(longest[0]); i++) {
        VkSemaphore semaphore = timeline(&gpu, 0);
        const uint64_t one = 1;
        struct waiter waiter = { .gpu = &gpu, .count = 1, .semaphores = &semaphore, .values = &one,
                                 .timeout = longest[i] };
        start_waiter(&waiter);
        signal_to(&gpu, semaphore, 1);
        end_waiter(&waiter);
        destroy(&gpu, semaphore);
    }
    close_gpu(&gpu);
    return 0;
}
