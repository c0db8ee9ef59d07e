// SPDX-License-Identifier: MIT
/*
 * Binary semaphores order submissions. Every signal has one wait, and a semaphore is used again and
 * again. As Vulkan requires, each wait is submitted after its signal, and after everything that the
 * signal depends on.
 */
#include "slow.h"

/* Each submission waits for the semaphore of the previous one, does work, and signals the next. */
static void
chain(const struct gpu *gpu)
{
    enum { LENGTH = 100 };
    VkSemaphore links[LENGTH], end = timeline(gpu, 0);
    struct slow slow = make_slow(gpu, MS / 2);
    for (unsigned i = 0; i < LENGTH; i++) {
        links[i] = binary(gpu);
        const struct point last = POINT(i > 0 ? links[i - 1] : VK_NULL_HANDLE, 0);
        submit(gpu, .waits = &last, .wait_count = i > 0,
               SIGNALS(POINT(links[i], 0), POINT(end, i + 1)), .commands = slow.commands);
    }
    submit(gpu, WAITS(POINT(links[LENGTH - 1], 0)), SIGNALS(POINT(end, LENGTH + 1)));
    for (uint64_t i = 1; i <= LENGTH; i++) {
        VK_OK(wait_for(gpu, end, i, FOREVER));
        CHECK(slow.numbers->runs >= i);
    }
    VK_OK(wait_for(gpu, end, LENGTH + 1, FOREVER));
    VK_OK(vkQueueWaitIdle(gpu->queues[0]));
    CHECK(slow.numbers->runs == LENGTH);
    for (unsigned i = 0; i < LENGTH; i++)
        destroy(gpu, links[i]);
    destroy(gpu, end);
    destroy_slow(gpu, &slow);
}

/* A wait consumes its signal. The next wait must not be satisfied by the old signal. */
static void
reuse(const struct gpu *gpu)
{
    VkSemaphore semaphore = binary(gpu), hold = timeline(gpu, 0), end = timeline(gpu, 0);
    struct slow slow = make_slow(gpu, MS / 10);
    for (uint32_t round = 1; round <= 500; round++) {
        submit(gpu, SIGNALS(POINT(semaphore, 0)));
        submit(gpu, WAITS(POINT(semaphore, 0)));
        submit(gpu, WAITS(POINT(hold, round)), SIGNALS(POINT(semaphore, 0)),
               .commands = slow.commands);
        signal_to(gpu, hold, round);
        submit(gpu, WAITS(POINT(semaphore, 0)), SIGNALS(POINT(end, round)));
        VK_OK(wait_for(gpu, end, round, FOREVER));
        CHECK(slow.numbers->runs == round);
    }
    VK_OK(vkQueueWaitIdle(gpu->queues[0]));
    destroy(gpu, semaphore);
    destroy(gpu, hold);
    destroy(gpu, end);
    destroy_slow(gpu, &slow);
}

/* Hundreds of pending submissions use one semaphore in turn. */
static void
in_flight(const struct gpu *gpu)
{
    VkSemaphore semaphore = binary(gpu);
    VkFence fence = unsignaled(gpu);
    for (unsigned round = 0; round < 20; round++) {
        submit(gpu, SIGNALS(POINT(semaphore, 0)));
        for (unsigned i = 0; i < 300; i++)
            submit(gpu, WAITS(POINT(semaphore, 0)), SIGNALS(POINT(semaphore, 0)));
        submit(gpu, WAITS(POINT(semaphore, 0)), .fence = fence);
        VK_OK(wait_fence(gpu, fence, FOREVER));
        VK_OK(vkResetFences(gpu->device, 1, &fence));
    }
    vkDestroyFence(gpu->device, fence, NULL);
    destroy(gpu, semaphore);
}

int
main(void)
{
    watchdog(60);
    struct gpu gpu = open_gpu();
    /*
     * Once before the first timeline semaphore exists, and once after: a driver may switch modes.
     */
    in_flight(&gpu);
    chain(&gpu);
    reuse(&gpu);
    in_flight(&gpu);
    close_gpu(&gpu);
    return 0;
}
