// SPDX-License-Identifier: MIT
/*
 * The export of a sync_file waits only for the exported work. It does not wait for later
 * submissions, whether they run or wait for the host, and it does not wait for another device.
 */
#include "external.h"
#include "slow.h"

/* Submits a signal and then later work, and exports the signal. */
static int
export_done(const struct gpu *gpu, VkSemaphore semaphore, struct slow *later, VkSemaphore hold,
            uint64_t value, VkFence fence)
{
    submit(gpu, SIGNALS(POINT(semaphore, 0)));
    submit(gpu, .waits = LIST(POINT(hold, value)), .wait_count = hold != VK_NULL_HANDLE,
           .commands = later ? later->commands : VK_NULL_HANDLE, .fence = fence);
    return export_semaphore(gpu, semaphore, SEMAPHORE_SYNC);
}

static void
drop(int fd)
{
    if (fd >= 0)
        close(fd);
}

/* A later submission waits for a value that the host signals only after the export. */
static void
held_back(const struct gpu *gpu)
{
    VkSemaphore semaphore = make_semaphore(gpu, VK_SEMAPHORE_TYPE_BINARY, 0, SEMAPHORE_SYNC),
                hold = timeline(gpu, 0);
    VkFence fence = unsignaled(gpu);
    for (uint64_t round = 1; round <= 20; round++) {
        drop(export_done(gpu, semaphore, NULL, hold, round, fence));
        VK(VK_NOT_READY, vkGetFenceStatus(gpu->device, fence));
        signal_to(gpu, hold, round);
        VK_OK(wait_fence(gpu, fence, FOREVER));
        VK_OK(vkResetFences(gpu->device, 1, &fence));
    }
    VK_OK(vkQueueWaitIdle(gpu->queues[0]));
    vkDestroyFence(gpu->device, fence, NULL);
    destroy(gpu, semaphore);
    destroy(gpu, hold);
}

/* The same with a fence. */
static void
held_back_fence(const struct gpu *gpu)
{
    VkFence exported = make_fence(gpu, false, FENCE_SYNC), fence = unsignaled(gpu);
    VkSemaphore hold = timeline(gpu, 0);
    submit(gpu, .fence = exported);
    submit(gpu, WAITS(POINT(hold, 1)), .fence = fence);
    drop(export_fence(gpu, exported, FENCE_SYNC));
    VK(VK_NOT_READY, vkGetFenceStatus(gpu->device, fence));
    signal_to(gpu, hold, 1);
    VK_OK(wait_fence(gpu, fence, FOREVER));
    VK_OK(vkQueueWaitIdle(gpu->queues[0]));
    vkDestroyFence(gpu->device, fence, NULL);
    vkDestroyFence(gpu->device, exported, NULL);
    destroy(gpu, hold);
}

/* A later submission, or another device, is busy for two seconds. */
static void
at_work(const struct gpu *gpu, const struct gpu *other)
{
    VkSemaphore semaphore = make_semaphore(gpu, VK_SEMAPHORE_TYPE_BINARY, 0, SEMAPHORE_SYNC),
                hold = timeline(other, 0);
    VkFence fence = unsignaled(other);
    struct slow slow = make_slow(other, 2 * SECOND);
    submit(gpu, SIGNALS(POINT(semaphore, 0)));
    submit(other, WAITS(POINT(hold, 1)), .commands = slow.commands, .fence = fence);
    signal_to(other, hold, 1);
    uint64_t start = now_ns();
    drop(export_semaphore(gpu, semaphore, SEMAPHORE_SYNC));
    uint64_t took = now_ns() - start;
    if (vkGetFenceStatus(other->device, fence) == VK_SUCCESS) {
        fprintf(stderr, "the export took %" PRIu64 " ms and waited for unrelated work\n",
                took / MS);
        exit(1);
    }
    VK_OK(wait_fence(other, fence, FOREVER));
    VK_OK(vkQueueWaitIdle(gpu->queues[0]));
    VK_OK(vkQueueWaitIdle(other->queues[0]));
    vkDestroyFence(other->device, fence, NULL);
    destroy(gpu, semaphore);
    destroy(other, hold);
    destroy_slow(other, &slow);
}

int
main(void)
{
    watchdog(60);
    struct gpu gpu = open_gpu();
    need_semaphore(&gpu, VK_SEMAPHORE_TYPE_BINARY, SEMAPHORE_SYNC);
    need_fence(&gpu, FENCE_SYNC);
    held_back(&gpu);
    held_back_fence(&gpu);
    at_work(&gpu, &gpu);
    struct gpu second = open_second(&gpu);
    at_work(&gpu, &second);
    close_second(&second);
    close_gpu(&gpu);
    return 0;
}
