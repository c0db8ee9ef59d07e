// SPDX-License-Identifier: MIT
/*
 * A driver may merge the batches of one vkQueueSubmit call. The wait of the second batch must still
 * wait for the signal that was submitted before it. If it waited for the signal that is submitted
 * after it, the queue could hang.
 */
#include "slow.h"

static VkSubmitInfo
batch(const VkSemaphore *wait, const VkCommandBuffer *commands)
{
    static const VkPipelineStageFlags all = VK_PIPELINE_STAGE_ALL_COMMANDS_BIT;
    return (VkSubmitInfo){
        .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
        .waitSemaphoreCount = wait != NULL,
        .pWaitSemaphores = wait,
        .pWaitDstStageMask = &all,
        .commandBufferCount = 1,
        .pCommandBuffers = commands,
    };
}

static void
merged(const struct gpu *gpu)
{
    VkSemaphore semaphore = binary(gpu);
    VkFence fence = unsignaled(gpu);
    struct slow slow = make_slow(gpu, 2 * MS);
    for (uint32_t round = 1; round <= 20; round++) {
        const VkSubmitInfo two[] = { batch(NULL, &slow.commands),
                                     batch(&semaphore, &slow.commands) };
        submit(gpu, SIGNALS(POINT(semaphore, 0)), .commands = slow.commands);
        VK_OK(vkQueueSubmit(gpu->queues[0], 2, two, VK_NULL_HANDLE));
        submit(gpu, SIGNALS(POINT(semaphore, 0)));
        submit(gpu, WAITS(POINT(semaphore, 0)), .fence = fence);
        VK_OK(wait_fence(gpu, fence, FOREVER));
        VK_OK(vkResetFences(gpu->device, 1, &fence));
        CHECK(slow.numbers->runs == 3 * round);
    }
    VK_OK(vkQueueWaitIdle(gpu->queues[0]));
    vkDestroyFence(gpu->device, fence, NULL);
    destroy(gpu, semaphore);
    destroy_slow(gpu, &slow);
}

/* After a queue has waited for the host once, a driver may submit in another mode. */
static void
wait_for_host(const struct gpu *gpu)
{
    VkSemaphore semaphore = timeline(gpu, 0);
    submit(gpu, WAITS(POINT(semaphore, 1)), SIGNALS(POINT(semaphore, 2)));
    signal_to(gpu, semaphore, 1);
    VK_OK(wait_for(gpu, semaphore, 2, FOREVER));
    VK_OK(vkQueueWaitIdle(gpu->queues[0]));
    destroy(gpu, semaphore);
}

int
main(void)
{
    watchdog(60);
    struct gpu gpu = open_gpu();
    merged(&gpu);
    wait_for_host(&gpu);
    merged(&gpu);
    close_gpu(&gpu);
    return 0;
}
