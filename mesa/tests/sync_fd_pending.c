// SPDX-License-Identifier: MIT
/*
 * A sync_file of another driver is pending. A semaphore or fence that imported it is signaled when
 * the other driver's work is done, and not before. An export of work that depends on it always
 * gives a sync_file that has signaled.
 */
#include "external.h"
#include "drm_machine.h"
#include "vgem.h"

static struct gpu gpu;
static int card;

/* The queue waits for the sync_file. */
static void
in_semaphore(void)
{
    VkSemaphore semaphore = binary(&gpu), out = timeline(&gpu, 0);
    for (uint64_t round = 1; round <= 20; round++) {
        uint32_t number;
        int fd = vgem_sync_file(card, &number);
        VK_OK(import_semaphore(&gpu, semaphore, SEMAPHORE_SYNC, VK_SEMAPHORE_IMPORT_TEMPORARY_BIT,
                               fd));
        submit(&gpu, WAITS(POINT(semaphore, 0)), SIGNALS(POINT(out, round)));
        VK(VK_TIMEOUT, wait_for(&gpu, out, round, 5 * MS));
        vgem_signal(card, number);
        VK_OK(wait_for(&gpu, out, round, FOREVER));
    }
    VK_OK(vkQueueWaitIdle(gpu.queues[0]));
    destroy(&gpu, semaphore);
    destroy(&gpu, out);
}

static void *
signal_after(void *argument)
{
    nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL);
    vgem_signal(card, *(uint32_t *)argument);
    return NULL;
}

/* The host waits for the sync_file, also together with another fence. */
static void
in_fence(void)
{
    VkFence fence = unsignaled(&gpu), other = unsignaled(&gpu);
    for (unsigned round = 0; round < 20; round++) {
        pthread_t thread;
        uint32_t number;
        int fd = vgem_sync_file(card, &number);
        VK_OK(import_fence(&gpu, fence, FENCE_SYNC, VK_FENCE_IMPORT_TEMPORARY_BIT, fd));
        VK(VK_NOT_READY, vkGetFenceStatus(gpu.device, fence));
        VK(VK_TIMEOUT, wait_fence(&gpu, fence, MS));
        CHECK(pthread_create(&thread, NULL, signal_after, &number) == 0);
        if (round % 2)
            VK_OK(wait_fence(&gpu, fence, FOREVER));
        else
            VK_OK(vkWaitForFences(gpu.device, 2, (VkFence[]){ other, fence }, VK_FALSE, FOREVER));
        VK_OK(vkGetFenceStatus(gpu.device, fence));
        CHECK(pthread_join(thread, NULL) == 0);
        VK_OK(vkResetFences(gpu.device, 1, &fence));
        VK(VK_NOT_READY, vkGetFenceStatus(gpu.device, fence));
    }
    vkDestroyFence(gpu.device, fence, NULL);
    vkDestroyFence(gpu.device, other, NULL);
}

/* An export while the work is blocked returns a sync_file that has signaled. */
static void
exported_late(void)
{
    VkSemaphore in = binary(&gpu),
                out = make_semaphore(&gpu, VK_SEMAPHORE_TYPE_BINARY, 0, SEMAPHORE_SYNC);
    pthread_t thread;
    uint32_t number;
    VK_OK(import_semaphore(&gpu, in, SEMAPHORE_SYNC, VK_SEMAPHORE_IMPORT_TEMPORARY_BIT,
                           vgem_sync_file(card, &number)));
    submit(&gpu, WAITS(POINT(in, 0)), SIGNALS(POINT(out, 0)));
    CHECK(pthread_create(&thread, NULL, signal_after, &number) == 0);
    int fd = export_semaphore(&gpu, out, SEMAPHORE_SYNC);
    if (fd >= 0) {
        CHECK(sync_file_status(fd) == 1);
        close(fd);
    }
    CHECK(pthread_join(thread, NULL) == 0);
    VK_OK(vkQueueWaitIdle(gpu.queues[0]));
    destroy(&gpu, in);
    destroy(&gpu, out);
}

/* The sync_files are imported, and nothing waits for them. */
static void
unused(void)
{
    VkSemaphore semaphore = binary(&gpu);
    VkFence fence = unsignaled(&gpu);
    uint32_t number, other;
    VK_OK(import_semaphore(&gpu, semaphore, SEMAPHORE_SYNC, VK_SEMAPHORE_IMPORT_TEMPORARY_BIT,
                           vgem_sync_file(card, &number)));
    VK_OK(import_fence(&gpu, fence, FENCE_SYNC, VK_FENCE_IMPORT_TEMPORARY_BIT,
                       vgem_sync_file(card, &other)));
    destroy(&gpu, semaphore);
    vkDestroyFence(gpu.device, fence, NULL);
    vgem_signal(card, number);
    vgem_signal(card, other);
}

int
main(void)
{
    watchdog(60);
    card = open_drm("vgem", "card");
    if (card < 0)
        SKIP("needs a vgem device: run mesa/test-kernel");
    gpu = open_gpu();
    need_semaphore(&gpu, VK_SEMAPHORE_TYPE_BINARY, SEMAPHORE_SYNC);
    need_fence(&gpu, FENCE_SYNC);
    int fds = 0;
    for (unsigned i = 0; i < 3; i++) {
        unused();
        in_semaphore();
        in_fence();
        exported_late();
        CHECK(i == 0 || open_fds() <= fds);
        fds = open_fds();
    }
    close_gpu(&gpu);
    return 0;
}
