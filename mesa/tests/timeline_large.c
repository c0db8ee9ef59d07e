// SPDX-License-Identifier: MIT
/*
 * Values have 64 bits everywhere: near the end, across the middle, and in the largest jumps
 * allowed.
 */
#include "gpu.h"

/* Host and queue wait for the target. A signal then moves the value past it in one step. */
static void
jump(const struct gpu *gpu, uint64_t from, uint64_t target, uint64_t to)
{
    if (to - from > gpu->max_difference)
        return;
    VkSemaphore semaphore = timeline(gpu, from), out = timeline(gpu, from);
    VkSemaphore idle = timeline(gpu, from);
    const VkSemaphore either[] = { idle, semaphore };
    const uint64_t targets[] = { target, target };
    struct waiter any = { .gpu = gpu,
                          .flags = VK_SEMAPHORE_WAIT_ANY_BIT,
                          .count = 2,
                          .semaphores = either,
                          .values = targets };
    struct waiter host = { .gpu = gpu, .count = 1, .semaphores = &semaphore, .values = &target };
    struct waiter device = { .gpu = gpu, .count = 1, .semaphores = &out, .values = &target };
    VK(VK_TIMEOUT, wait_for(gpu, semaphore, target, 0));
    submit(gpu, WAITS(POINT(semaphore, target)), SIGNALS(POINT(out, to)));
    start_waiter(&host);
    start_waiter(&device);
    start_waiter(&any);
    signal_to(gpu, semaphore, to);
    end_waiter(&host);
    end_waiter(&device);
    end_waiter(&any);
    VK(VK_TIMEOUT, wait_many(gpu, 0, 2, either, targets, 0));
    CHECK(value_of(gpu, semaphore) == to);
    CHECK(value_of(gpu, out) == to);
    VK_OK(vkQueueWaitIdle(gpu->queues[0]));
    destroy(gpu, semaphore);
    destroy(gpu, out);
    destroy(gpu, idle);
}

int
main(void)
{
    const uint64_t half = UINT64_C(1) << 32;
    watchdog(60);
    struct gpu gpu = open_gpu();
    CHECK(gpu.max_difference >= INT32_MAX); /* the minimum that Vulkan requires */

    jump(&gpu, 0, 1, gpu.max_difference);
    jump(&gpu, 0, gpu.max_difference, gpu.max_difference);
    jump(&gpu, 1, 2, UINT64_MAX);
    jump(&gpu, 0, UINT64_MAX, UINT64_MAX);
    jump(&gpu, UINT64_MAX - gpu.max_difference, UINT64_MAX - 1, UINT64_MAX - 1);
    jump(&gpu, UINT64_MAX - 1, UINT64_MAX, UINT64_MAX);
    jump(&gpu, INT64_MAX, (uint64_t)INT64_MAX + 1, (uint64_t)INT64_MAX + 1);
    jump(&gpu, INT64_MAX, (uint64_t)INT64_MAX + 1, UINT64_MAX);
    /* Values whose lower 32 bits are misleading. */
    jump(&gpu, 0, half, half);
    jump(&gpu, 7, half + 7, half + 7);
    jump(&gpu, half - 1, half, half);
    jump(&gpu, 7, 8, 7 + 5 * half);
    /* Every single bit as the target. */
    for (unsigned bit = 0; bit < 64; bit++)
        jump(&gpu, 0, UINT64_C(1) << bit, UINT64_C(1) << bit);
    close_gpu(&gpu);
    return 0;
}
