// SPDX-License-Identifier: MIT
/*
 * Wait-all ends when the last semaphore has reached its value, and wait-any when the first one
 * has.
 */
#include "gpu.h"

#define MANY 300 /* futex_waitv takes at most 128 */

static VkSemaphore semaphores[MANY];
static uint64_t values[MANY];

static void
all_and_any(const struct gpu *gpu, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        semaphores[i] = timeline(gpu, i);
        values[i] = i + 1;
    }
    VK(VK_TIMEOUT, wait_many(gpu, 0, count, semaphores, values, 0));
    VK(VK_TIMEOUT, wait_many(gpu, VK_SEMAPHORE_WAIT_ANY_BIT, count, semaphores, values, MS));

    /* Any: signal one in the middle of the list. */
    struct waiter any = { .gpu = gpu, .flags = VK_SEMAPHORE_WAIT_ANY_BIT, .count = count,
                          .semaphores = semaphores, .values = values };
    struct waiter all = { .gpu = gpu, .count = count, .semaphores = semaphores, .values = values };
    uint32_t first = count / 2;
    start_waiter(&all);
    start_waiter(&any);
    signal_to(gpu, semaphores[first], values[first]);
    end_waiter(&any);
    VK_OK(wait_many(gpu, VK_SEMAPHORE_WAIT_ANY_BIT, count, semaphores, values, 0));

    /* All: signal the others. The wait ends with the last of them, and not before. */
    for (uint32_t i = count; i-- > 0;) {
        if (i == first)
            continue;
        CHECK(!atomic_load(&all.done));
        VK(VK_TIMEOUT, wait_many(gpu, 0, count, semaphores, values, 0));
        signal_to(gpu, semaphores[i], values[i] + i % 2);
    }
    end_waiter(&all);
    VK_OK(wait_many(gpu, 0, count, semaphores, values, 0));
    for (uint32_t i = 0; i < count; i++)
        destroy(gpu, semaphores[i]);
}

/* A semaphore may be in the list more than once. */
static void
same_twice(const struct gpu *gpu)
{
    VkSemaphore semaphore = timeline(gpu, 0);
    const VkSemaphore twice[] = { semaphore, semaphore, semaphore };
    const uint64_t targets[] = { 9, 3, 5 };
    struct waiter any = { .gpu = gpu, .flags = VK_SEMAPHORE_WAIT_ANY_BIT, .count = 3,
                          .semaphores = twice, .values = targets };
    struct waiter all = { .gpu = gpu, .count = 3, .semaphores = twice, .values = targets };
    start_waiter(&any);
    start_waiter(&all);
    signal_to(gpu, semaphore, 3);
    end_waiter(&any);
    VK(VK_TIMEOUT, wait_many(gpu, 0, 3, twice, targets, 0));
    signal_to(gpu, semaphore, 9);
    end_waiter(&all);
    destroy(gpu, semaphore);
}

int
main(void)
{
    watchdog(60);
    struct gpu gpu = open_gpu();
    static const uint32_t counts[] = { 1, 2, 3, 64, 127, 128, 129, MANY };
    for (unsigned i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
        all_and_any(&gpu, counts[i]);
    same_twice(&gpu);
    close_gpu(&gpu);
    return 0;
}
