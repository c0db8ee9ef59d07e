// SPDX-License-Identifier: MIT
/*
 * Binary semaphores as opaque fds: the work of one process waits for the work of another. Every
 * signal has one wait. A temporary import lasts for one wait, and a permanent import stays.
 */
#include "external.h"
#include "slow.h"

#define ROUNDS 100

/* Waits for the other process's work and reports its end. Then the roles are exchanged. */
static void
run_peer(int sock)
{
    until_begin(sock);
    watchdog(60);
    struct gpu gpu = open_gpu();
    VkSemaphore semaphore = recv_semaphore(&gpu, sock, VK_SEMAPHORE_TYPE_BINARY);
    VkFence fence = unsignaled(&gpu);
    for (unsigned round = 0; round < ROUNDS; round++) {
        CHECK(hear(sock) == round); /* the signal was submitted */
        submit(&gpu, WAITS(POINT(semaphore, 0)), .fence = fence);
        VK_OK(wait_fence(&gpu, fence, FOREVER));
        VK_OK(vkResetFences(gpu.device, 1, &fence));
        tell(sock, round);
    }
    struct slow slow = make_slow(&gpu, MS / 2);
    for (uint32_t round = 1; round <= ROUNDS; round++) {
        submit(&gpu, SIGNALS(POINT(semaphore, 0)), .commands = slow.commands);
        tell(sock, round);
        CHECK(hear(sock) == round);
        CHECK(slow.numbers->runs == round);
    }
    VK_OK(vkQueueWaitIdle(gpu.queues[0]));
    vkDestroyFence(gpu.device, fence, NULL);
    destroy(&gpu, semaphore);
    destroy_slow(&gpu, &slow);
    close_gpu(&gpu);
}

static void
two_processes(const struct gpu *gpu, const struct peer *peer)
{
    VkSemaphore semaphore = shared_binary(gpu);
    VkFence fence = unsignaled(gpu);
    struct slow slow = make_slow(gpu, MS / 2);
    send_semaphore(gpu, peer->sock, semaphore);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        submit(gpu, SIGNALS(POINT(semaphore, 0)), .commands = slow.commands);
        tell(peer->sock, round);
        CHECK(hear(peer->sock) == round);
        CHECK(slow.numbers->runs == round + 1);
    }
    for (uint64_t round = 1; round <= ROUNDS; round++) {
        CHECK(hear(peer->sock) == round);
        submit(gpu, WAITS(POINT(semaphore, 0)), .fence = fence);
        VK_OK(wait_fence(gpu, fence, FOREVER));
        VK_OK(vkResetFences(gpu->device, 1, &fence));
        tell(peer->sock, round);
    }
    VK_OK(vkQueueWaitIdle(gpu->queues[0]));
    vkDestroyFence(gpu->device, fence, NULL);
    destroy(gpu, semaphore);
    destroy_slow(gpu, &slow);
}

static bool
ends(const struct gpu *gpu, VkFence fence, uint64_t timeout)
{
    VkResult result = wait_fence(gpu, fence, timeout);
    CHECK(result == VK_SUCCESS || result == VK_TIMEOUT);
    return result == VK_SUCCESS;
}

/* A temporary import replaces the semaphore's own payload until a wait has used it. */
static void
temporary(const struct gpu *gpu)
{
    VkSemaphore shared = shared_binary(gpu), semaphore = shared_binary(gpu);
    VkFence fence = unsignaled(gpu);
    for (unsigned round = 0; round < 50; round++) {
        int fd = export_semaphore(gpu, shared, SEMAPHORE_OPAQUE);
        submit(gpu, SIGNALS(POINT(semaphore, 0))); /* its own payload, used below */
        VK_OK(vkQueueWaitIdle(gpu->queues[0]));
        VK_OK(import_semaphore(gpu, semaphore, SEMAPHORE_OPAQUE, VK_SEMAPHORE_IMPORT_TEMPORARY_BIT,
                               fd));
        submit(gpu, SIGNALS(POINT(shared, 0)));
        submit(gpu, WAITS(POINT(semaphore, 0)), .fence = fence); /* the imported payload */
        CHECK(ends(gpu, fence, FOREVER));
        VK_OK(vkResetFences(gpu->device, 1, &fence));
        submit(gpu, WAITS(POINT(semaphore, 0)), .fence = fence); /* its own payload */
        CHECK(ends(gpu, fence, FOREVER));
        VK_OK(vkResetFences(gpu->device, 1, &fence));
    }
    VK_OK(vkQueueWaitIdle(gpu->queues[0]));
    vkDestroyFence(gpu->device, fence, NULL);
    destroy(gpu, shared);
    destroy(gpu, semaphore);
}

/*
 * Two devices in one process: the work of one device starts only after the signal of the other.
 * With a temporary import for each wait, the wait must leave the shared payload unsignaled.
 */
static void
two_devices(const struct gpu *first, VkSemaphoreImportFlags each_time)
{
    struct gpu second = open_second(first);
    VkSemaphore here = shared_binary(first), there = shared_binary(&second);
    VkFence fence = unsignaled(&second);
    struct slow slow = make_slow(first, 5 * MS);
    if (!each_time)
        VK_OK(import_semaphore(&second, there, SEMAPHORE_OPAQUE, 0,
                               export_semaphore(first, here, SEMAPHORE_OPAQUE)));
    for (uint32_t round = 1; round <= 20; round++) {
        if (each_time)
            VK_OK(import_semaphore(&second, there, SEMAPHORE_OPAQUE, each_time,
                                   export_semaphore(first, here, SEMAPHORE_OPAQUE)));
        submit(first, SIGNALS(POINT(here, 0)), .commands = slow.commands);
        submit(&second, WAITS(POINT(there, 0)), .fence = fence);
        CHECK(ends(&second, fence, FOREVER));
        CHECK(slow.numbers->runs == round);
        VK_OK(vkResetFences(second.device, 1, &fence));
    }
    VK_OK(vkQueueWaitIdle(first->queues[0]));
    vkDestroyFence(second.device, fence, NULL);
    destroy(first, here);
    destroy(&second, there);
    destroy_slow(first, &slow);
    close_second(&second);
}

int
main(void)
{
    struct peer peer = start_peer(run_peer);
    watchdog(60);
    struct gpu gpu = open_gpu();
    need_semaphore(&gpu, VK_SEMAPHORE_TYPE_BINARY, SEMAPHORE_OPAQUE);
    let_begin(&peer);
    two_processes(&gpu, &peer);
    end_peer(&peer);
    temporary(&gpu);
    int fds = open_fds();
    temporary(&gpu);
    two_devices(&gpu, 0);
    two_devices(&gpu, VK_SEMAPHORE_IMPORT_TEMPORARY_BIT);
    CHECK(open_fds() <= fds);
    close_gpu(&gpu);
    return 0;
}
