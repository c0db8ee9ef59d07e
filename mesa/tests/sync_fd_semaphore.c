// SPDX-License-Identifier: MIT
/*
 * A binary semaphore as a sync_file. The sync_file signals when the work is done. The export
 * unsignals the semaphore. Any other semaphore can import the sync_file for one wait. -1 means a
 * sync_file that has signaled.
 */
#include "external.h"
#include "slow.h"

#include <poll.h>

/* Returns whether a sync_file has signaled. */
static bool
is_signaled(int fd)
{
    struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
    if (fd < 0)
        return true;
    CHECK(poll(&poll_fd, 1, 0) >= 0);
    CHECK(!(poll_fd.revents & POLLNVAL));
    return poll_fd.revents & POLLIN;
}

int
main(void)
{
    watchdog(60);
    struct gpu gpu = open_gpu();
    need_semaphore(&gpu, VK_SEMAPHORE_TYPE_BINARY, SEMAPHORE_SYNC);
    VkSemaphore from = make_semaphore(&gpu, VK_SEMAPHORE_TYPE_BINARY, 0, SEMAPHORE_SYNC),
                to = binary(&gpu);
    VkFence fence = unsignaled(&gpu);
    struct slow slow = make_slow(&gpu, 2 * MS);
    int fds = 0; /* after the first round, which may start a watcher of sync_files */
    int pending = 0, none = 0;
    for (uint32_t round = 1; round <= 100; round++) {
        submit(&gpu, SIGNALS(POINT(from, 0)), .commands = slow.commands);
        int fd = export_semaphore(&gpu, from, SEMAPHORE_SYNC);
        CHECK(!is_signaled(fd) || slow.numbers->runs == round);
        pending += !is_signaled(fd);
        none += fd < 0;
        VK_OK(import_semaphore(&gpu, to, SEMAPHORE_SYNC, VK_SEMAPHORE_IMPORT_TEMPORARY_BIT, fd));
        submit(&gpu, WAITS(POINT(to, 0)), .fence = fence);
        VK_OK(wait_fence(&gpu, fence, FOREVER));
        VK_OK(vkResetFences(gpu.device, 1, &fence));
        CHECK(slow.numbers->runs == round);
        if (round == 1)
            fds = open_fds();
    }

    printf("  of 100 exports, %d were -1 and %d were pending\n", none, pending);

    /* After the export, the semaphore is unsignaled and can be signaled and waited for again. */
    submit(&gpu, SIGNALS(POINT(from, 0)));
    int fd = export_semaphore(&gpu, from, SEMAPHORE_SYNC);
    if (fd >= 0)
        close(fd);
    submit(&gpu, SIGNALS(POINT(from, 0)), .commands = slow.commands);
    submit(&gpu, WAITS(POINT(from, 0)), .fence = fence);
    VK_OK(wait_fence(&gpu, fence, FOREVER));
    VK_OK(vkResetFences(gpu.device, 1, &fence));
    CHECK(slow.numbers->runs == 101);

    for (unsigned round = 0; round < 10; round++) {
        VK_OK(import_semaphore(&gpu, to, SEMAPHORE_SYNC, VK_SEMAPHORE_IMPORT_TEMPORARY_BIT, -1));
        submit(&gpu, WAITS(POINT(to, 0)), .fence = fence);
        VK_OK(wait_fence(&gpu, fence, FOREVER));
        VK_OK(vkResetFences(gpu.device, 1, &fence));
    }
    VK_OK(vkQueueWaitIdle(gpu.queues[0]));
    CHECK(open_fds() <= fds);
    vkDestroyFence(gpu.device, fence, NULL);
    destroy(&gpu, from);
    destroy(&gpu, to);
    destroy_slow(&gpu, &slow);
    close_gpu(&gpu);
    return 0;
}
