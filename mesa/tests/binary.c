/*
 * Binary semaphores order submissions, one signal and one wait at a time, again and again. By Vulkan's rule a wait is
 * submitted after its signal, and after all that the signal depends on.
 */
#include "slow.h"

/* Each submission works, and waits for the semaphore that the one before it signalled. */
static void
chain(const struct gpu *gpu)
{
    enum { LENGTH = 100 };
    VkSemaphore links[LENGTH], end = timeline(gpu, 0);
    struct slow slow = make_slow(gpu, MS / 2);
    for (unsigned i = 0; i < LENGTH; i++) {
        links[i] = binary(gpu);
        const struct point last = POINT(i > 0 ? links[i - 1] : VK_NULL_HANDLE, 0);
        submit(gpu, .waits = &last, .wait_count = i > 0, SIGNALS(POINT(links[i], 0), POINT(end, i + 1)),
               .commands = slow.commands);
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

/* A wait takes the signal away, so that the next signal is a new one: the wait behind it may not be met by the old one. */
static void
reuse(const struct gpu *gpu)
{
    VkSemaphore semaphore = binary(gpu), hold = timeline(gpu, 0), end = timeline(gpu, 0);
    struct slow slow = make_slow(gpu, MS / 10);
    for (uint32_t round = 1; round <= 500; round++) {
        submit(gpu, SIGNALS(POINT(semaphore, 0)));
        submit(gpu, WAITS(POINT(semaphore, 0)));
        submit(gpu, WAITS(POINT(hold, round)), SIGNALS(POINT(semaphore, 0)), .commands = slow.commands);
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

/* Some hundred submissions in flight that pass one semaphore on. */
static void
in_flight(const struct gpu *gpu)
{
    VkSemaphore semaphore = binary(gpu);
    VkFence fence = unsignalled(gpu);
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
    in_flight(&gpu); /* before a timeline semaphore was seen, and after it: a driver may go another way then */
    chain(&gpu);
    reuse(&gpu);
    in_flight(&gpu);
    close_gpu(&gpu);
    return 0;
}
