// SPDX-License-Identifier: MIT
/*
 * A sync_file of another driver fails, for example because its GPU was reset. For the waiter, this
 * counts as complete: the queue and the host continue, and the waiter's device is not lost.
 */
#include "external.h"
#include "test_fence.h"

static struct gpu gpu;

static void
check_alive(void)
{
    VkSemaphore semaphore = timeline(&gpu, 0);
    submit(&gpu, WAITS(POINT(semaphore, 1)), SIGNALS(POINT(semaphore, 2)));
    signal_to(&gpu, semaphore, 1);
    VK_OK(wait_for(&gpu, semaphore, 2, FOREVER));
    VK_OK(vkQueueWaitIdle(gpu.queues[0]));
    destroy(&gpu, semaphore);
}

/* The kernel fence fails before or after the queue waits for it. */
static void
in_semaphore(bool before)
{
    VkSemaphore semaphore = binary(&gpu), out = timeline(&gpu, 0);
    int sync_file, fence = test_fence(&sync_file);
    if (before)
        CHECK(ioctl(fence, UMF_TEST_FENCE_SIGNAL, EIO) == 0);
    VK_OK(import_semaphore(&gpu, semaphore, SEMAPHORE_SYNC, VK_SEMAPHORE_IMPORT_TEMPORARY_BIT,
                           sync_file));
    submit(&gpu, WAITS(POINT(semaphore, 0)), SIGNALS(POINT(out, 1)));
    if (!before) {
        VK(VK_TIMEOUT, wait_for(&gpu, out, 1, 5 * MS));
        CHECK(ioctl(fence, UMF_TEST_FENCE_SIGNAL, EIO) == 0);
    }
    VK_OK(wait_for(&gpu, out, 1, FOREVER));
    VK_OK(vkQueueWaitIdle(gpu.queues[0]));
    close(fence);
    destroy(&gpu, semaphore);
    destroy(&gpu, out);
    check_alive();
}

/* The kernel fence fails before or after the host waits for it. */
static void
in_fence(bool before)
{
    VkFence own = unsignaled(&gpu);
    int sync_file, fence = test_fence(&sync_file);
    if (before)
        CHECK(ioctl(fence, UMF_TEST_FENCE_SIGNAL, EIO) == 0);
    VK_OK(import_fence(&gpu, own, FENCE_SYNC, VK_FENCE_IMPORT_TEMPORARY_BIT, sync_file));
    if (!before) {
        VK(VK_TIMEOUT, wait_fence(&gpu, own, 5 * MS));
        CHECK(ioctl(fence, UMF_TEST_FENCE_SIGNAL, EIO) == 0);
    }
    VK_OK(wait_fence(&gpu, own, FOREVER));
    VK_OK(vkGetFenceStatus(gpu.device, own));
    close(fence);
    vkDestroyFence(gpu.device, own, NULL);
    check_alive();
}

int
main(void)
{
    watchdog(60);
    if (!load_test_fences())
        SKIP("needs the module of kernel/module: run mesa/test-kernel");
    gpu = open_gpu();
    need_semaphore(&gpu, VK_SEMAPHORE_TYPE_BINARY, SEMAPHORE_SYNC);
    need_fence(&gpu, FENCE_SYNC);
    in_fence(true);
    in_fence(false);
    in_semaphore(true);
    in_semaphore(false);
    close_gpu(&gpu);
    return 0;
}
