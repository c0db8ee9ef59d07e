// SPDX-License-Identifier: MIT
/* vkQueueSubmit2: several batches in one call, with binary and timeline semaphores and stages. */
#include "gpu.h"

static VkSemaphoreSubmitInfo
at(VkSemaphore semaphore, uint64_t value, VkPipelineStageFlags2 stages)
{
    return (VkSemaphoreSubmitInfo){
        .sType = VK_STRUCTURE_TYPE_SEMAPHORE_SUBMIT_INFO,
        .semaphore = semaphore,
        .value = value,
        .stageMask = stages,
    };
}

static VkSubmitInfo2
batch(const VkSemaphoreSubmitInfo *waits, uint32_t wait_count, const VkSemaphoreSubmitInfo *signals,
      uint32_t signal_count)
{
    return (VkSubmitInfo2){
        .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO_2,
        .waitSemaphoreInfoCount = wait_count,
        .pWaitSemaphoreInfos = waits,
        .signalSemaphoreInfoCount = signal_count,
        .pSignalSemaphoreInfos = signals,
    };
}

/*
 * Four batches in one call. Each waits for the previous one, by a binary semaphore, a timeline or
 * both.
 */
static void
batches(const struct gpu *gpu)
{
    const VkPipelineStageFlags2 all = VK_PIPELINE_STAGE_2_ALL_COMMANDS_BIT;
    const VkPipelineStageFlags2 copy = VK_PIPELINE_STAGE_2_ALL_TRANSFER_BIT;
    VkSemaphore line = timeline(gpu, 0), link = binary(gpu), other = binary(gpu);
    VkFence fence = unsignaled(gpu);
    for (uint64_t last = 0; last < 1000; last += 5) {
        const VkSemaphoreSubmitInfo first[] = { at(link, 0, all), at(line, last + 1, copy) };
        const VkSemaphoreSubmitInfo second[] = { at(line, last + 2, copy), at(other, 0, all) };
        const VkSemaphoreSubmitInfo third[] = { at(line, last + 4, all) };
        const VkSemaphoreSubmitInfo fourth[] = { at(line, last + 5, all) };
        const VkSubmitInfo2 four[] = { batch(NULL, 0, first, 2), batch(first, 2, second, 2),
                                       batch(second, 2, third, 1), batch(third, 1, fourth, 1) };
        VK_OK(vkQueueSubmit2(gpu->queues[0], 4, four, fence));
        VK_OK(wait_for(gpu, line, last + 3, FOREVER));
        VK_OK(wait_for(gpu, line, last + 5, FOREVER));
        VK_OK(wait_fence(gpu, fence, FOREVER));
        VK_OK(vkResetFences(gpu->device, 1, &fence));
    }
    vkDestroyFence(gpu->device, fence, NULL);
    destroy(gpu, line);
    destroy(gpu, link);
    destroy(gpu, other);
}

/* Both batches wait for the host. The first one waits for the value that is signaled last. */
static void
held(const struct gpu *gpu)
{
    const VkPipelineStageFlags2 all = VK_PIPELINE_STAGE_2_ALL_COMMANDS_BIT;
    VkSemaphore host = timeline(gpu, 0), line = timeline(gpu, 0);
    VkFence fence = unsignaled(gpu);
    for (uint64_t round = 1; round <= 200; round++) {
        const VkSemaphoreSubmitInfo second_wait[] = { at(host, 2 * round - 1, all) };
        const VkSemaphoreSubmitInfo first_wait[] = { at(host, 2 * round, all) };
        const VkSemaphoreSubmitInfo first[] = { at(line, 2 * round - 1, all) };
        const VkSemaphoreSubmitInfo second[] = { at(line, 2 * round, all) };
        const VkSubmitInfo2 two[] = { batch(first_wait, 1, first, 1),
                                      batch(second_wait, 1, second, 1) };
        VK_OK(vkQueueSubmit2(gpu->queues[0], 2, two, fence));
        VK(VK_NOT_READY, vkGetFenceStatus(gpu->device, fence));
        signal_to(gpu, host, 2 * round - 1);
        CHECK(value_of(gpu, line) == 2 * round - 2);
        signal_to(gpu, host, 2 * round);
        VK_OK(wait_for(gpu, line, 2 * round, FOREVER));
        VK_OK(wait_fence(gpu, fence, FOREVER));
        VK_OK(vkResetFences(gpu->device, 1, &fence));
    }
    vkDestroyFence(gpu->device, fence, NULL);
    destroy(gpu, host);
    destroy(gpu, line);
}

/* Batches without contents, and calls without batches. */
static void
empty(const struct gpu *gpu)
{
    VkFence fence = unsignaled(gpu);
    const VkSubmitInfo2 nothing[] = { batch(NULL, 0, NULL, 0), batch(NULL, 0, NULL, 0) };
    VK_OK(vkQueueSubmit2(gpu->queues[0], 2, nothing, VK_NULL_HANDLE));
    VK_OK(vkQueueSubmit2(gpu->queues[0], 0, NULL, VK_NULL_HANDLE));
    VK_OK(vkQueueSubmit2(gpu->queues[0], 2, nothing, fence));
    VK_OK(wait_fence(gpu, fence, FOREVER));
    VK_OK(vkResetFences(gpu->device, 1, &fence));
    VK_OK(vkQueueSubmit2(gpu->queues[0], 0, NULL, fence));
    VK_OK(wait_fence(gpu, fence, FOREVER));
    vkDestroyFence(gpu->device, fence, NULL);
}

int
main(void)
{
    watchdog(60);
    struct gpu gpu = open_gpu();
    batches(&gpu);
    held(&gpu);
    empty(&gpu);
    close_gpu(&gpu);
    return 0;
}
