// SPDX-License-Identifier: MIT
/*
 * A fence as a sync_file. The sync_file signals when the work is done, and the export resets the
 * fence. An import lasts until the fence is reset. -1 means a sync_file that has signaled.
 */
#include "external.h"
#include "slow.h"

int
main(void)
{
    watchdog(60);
    struct gpu gpu = open_gpu();
    need_fence(&gpu, FENCE_SYNC);
    VkFence from = make_fence(&gpu, false, FENCE_SYNC), to = unsignaled(&gpu);
    struct slow slow = make_slow(&gpu, 2 * MS);
    int fds = 0; /* after the first round, which may start a watcher of sync_files */
    for (uint32_t round = 1; round <= 100; round++) {
        submit(&gpu, .commands = slow.commands, .fence = from);
        int fd = export_fence(&gpu, from, FENCE_SYNC);
        VK(VK_NOT_READY, vkGetFenceStatus(gpu.device, from));
        VK_OK(import_fence(&gpu, to, FENCE_SYNC, VK_FENCE_IMPORT_TEMPORARY_BIT, fd));
        VK_OK(wait_fence(&gpu, to, FOREVER));
        VK_OK(vkGetFenceStatus(gpu.device, to));
        CHECK(slow.numbers->runs == round);
        VK_OK(vkResetFences(gpu.device, 1, &to));
        VK(VK_NOT_READY, vkGetFenceStatus(gpu.device, to));
        if (round == 1)
            fds = open_fds();
    }

    /* Both fences have their own state again. */
    submit(&gpu, .fence = from);
    submit(&gpu, .fence = to);
    VK_OK(vkWaitForFences(gpu.device, 2, (VkFence[]){ from, to }, VK_TRUE, FOREVER));
    VK_OK(vkResetFences(gpu.device, 2, (VkFence[]){ from, to }));

    VK_OK(import_fence(&gpu, to, FENCE_SYNC, VK_FENCE_IMPORT_TEMPORARY_BIT, -1));
    VK_OK(vkGetFenceStatus(gpu.device, to));
    VK_OK(wait_fence(&gpu, to, 0));
    VK_OK(vkResetFences(gpu.device, 1, &to));
    VK(VK_NOT_READY, vkGetFenceStatus(gpu.device, to));

    VK_OK(vkQueueWaitIdle(gpu.queues[0]));
    CHECK(open_fds() <= fds);
    vkDestroyFence(gpu.device, from, NULL);
    vkDestroyFence(gpu.device, to, NULL);
    destroy_slow(&gpu, &slow);
    close_gpu(&gpu);
    return 0;
}
