// SPDX-License-Identifier: MIT
/*
 * vkQueueSubmit does not block where it waits for a binary semaphore whose signal is behind other
 * work. vkQueuePresentKHR makes such a submission for every frame. Vulkan does not forbid that the
 * call blocks.
 */
#include "slow.h"

/* Returns whether the call that waits had returned before the work in front of it was done. */
static bool
returns_early(const struct gpu *gpu, const struct slow *slow, VkSemaphore semaphore)
{
    VkFence done = unsignaled(gpu);
    submit(gpu, .commands = slow->commands, .fence = done);
    submit(gpu, SIGNALS(POINT(semaphore, 0)));
    submit(gpu, WAITS(POINT(semaphore, 0)));
    const bool early = vkGetFenceStatus(gpu->device, done) == VK_NOT_READY;
    VK_OK(vkQueueWaitIdle(gpu->queues[0]));
    vkDestroyFence(gpu->device, done, NULL);
    return early;
}

int
main(void)
{
    watchdog(60);
    struct gpu gpu = open_gpu();
    VkSemaphore semaphore = binary(&gpu);
    struct slow slow = make_slow(&gpu, 100 * MS);
    unsigned early = 0;
    /* A busy machine may stop this thread until the work is done, but not every time. */
    for (unsigned round = 0; round < 50 && early < 3; round++)
        early += returns_early(&gpu, &slow, semaphore);
    CHECK(early == 3);
    destroy_slow(&gpu, &slow);
    destroy(&gpu, semaphore);
    close_gpu(&gpu);
    return 0;
}
