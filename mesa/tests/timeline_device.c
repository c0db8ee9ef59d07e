// SPDX-License-Identifier: MIT
/*
 * The queue waits for timeline semaphores and signals them: in chains, many at once, and with
 * values that are reached before or after the submission.
 */
#include "gpu.h"

/* Each submission waits for the host, which waits for the previous submission. */
static void
chain(const struct gpu *gpu)
{
    enum { LENGTH = 200 };
    VkSemaphore semaphore = timeline(gpu, 0);
    for (uint64_t i = 1; i <= LENGTH; i++)
        submit(gpu, WAITS(POINT(semaphore, 2 * i - 1)), SIGNALS(POINT(semaphore, 2 * i)));
    for (uint64_t i = 1; i <= LENGTH; i++) {
        VK(VK_TIMEOUT, wait_for(gpu, semaphore, 2 * i - 1, 0));
        signal_to(gpu, semaphore, 2 * i - 1);
        VK_OK(wait_for(gpu, semaphore, 2 * i, FOREVER));
        CHECK(value_of(gpu, semaphore) == 2 * i);
    }
    VK_OK(vkQueueWaitIdle(gpu->queues[0]));
    destroy(gpu, semaphore);
}

/* One submission waits for many semaphores and signals many. */
static void
crowd(const struct gpu *gpu)
{
    struct point waits[MAX_POINTS], signals[MAX_POINTS];
    for (uint32_t i = 0; i < MAX_POINTS; i++) {
        waits[i] = POINT(timeline(gpu, i), i + 5);
        signals[i] = POINT(timeline(gpu, 0), i + 1);
    }
    VkFence fence = unsignaled(gpu);
    submit(gpu, .waits = waits, .wait_count = MAX_POINTS, .signals = signals,
           .signal_count = MAX_POINTS, .fence = fence);
    for (uint32_t i = 0; i < MAX_POINTS; i++) {
        VK(VK_NOT_READY, vkGetFenceStatus(gpu->device, fence));
        CHECK(value_of(gpu, signals[i].semaphore) == 0);
        signal_to(gpu, waits[i].semaphore, waits[i].value + i % 3);
    }
    for (uint32_t i = 0; i < MAX_POINTS; i++)
        VK_OK(wait_for(gpu, signals[i].semaphore, signals[i].value, FOREVER));
    VK_OK(wait_fence(gpu, fence, FOREVER));
    for (uint32_t i = 0; i < MAX_POINTS; i++) {
        CHECK(value_of(gpu, signals[i].semaphore) == signals[i].value);
        destroy(gpu, waits[i].semaphore);
        destroy(gpu, signals[i].semaphore);
    }
    vkDestroyFence(gpu->device, fence, NULL);
}

/* Waits for values up to the semaphore's current value. */
static void
met_before(const struct gpu *gpu)
{
    VkSemaphore in = timeline(gpu, 10), out = timeline(gpu, 0);
    for (uint64_t i = 0; i <= 10; i++) {
        submit(gpu, WAITS(POINT(in, i)), SIGNALS(POINT(out, i + 1)));
        VK_OK(wait_for(gpu, out, i + 1, FOREVER));
    }
    VK_OK(vkQueueWaitIdle(gpu->queues[0]));
    destroy(gpu, in);
    destroy(gpu, out);
}

/* The host sleeps until the queue signals. */
static void
wakes_host(const struct gpu *gpu)
{
    VkSemaphore in = timeline(gpu, 0), out = timeline(gpu, 0);
    for (uint64_t i = 1; i <= 50; i++) {
        struct waiter waiter = { .gpu = gpu, .count = 1, .semaphores = &out, .values = &i };
        submit(gpu, WAITS(POINT(in, i)), SIGNALS(POINT(out, i)));
        start_waiter(&waiter);
        signal_to(gpu, in, i);
        end_waiter(&waiter);
    }
    VK_OK(vkQueueWaitIdle(gpu->queues[0]));
    destroy(gpu, in);
    destroy(gpu, out);
}

int
main(void)
{
    watchdog(60);
    struct gpu gpu = open_gpu();
    chain(&gpu);
    crowd(&gpu);
    met_before(&gpu);
    wakes_host(&gpu);
    close_gpu(&gpu);
    return 0;
}
