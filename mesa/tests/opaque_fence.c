// SPDX-License-Identifier: MIT
/*
 * Fences as opaque fds: the importer shares the state, so both processes see signals and resets. A
 * reset ends a temporary import, and then resets the fence's own state.
 */
#include "external.h"

enum { READY = 1, SIGNALED, RESET, AGAIN, TEMPORARY };

static void
run_peer(int sock)
{
    until_begin(sock);
    watchdog(60);
    struct gpu gpu = open_gpu();
    VkFence fence = make_fence(&gpu, true, FENCE_OPAQUE);
    VK_OK(import_fence(&gpu, fence, FENCE_OPAQUE, 0, recv_fd(sock)));
    VK(VK_NOT_READY, vkGetFenceStatus(gpu.device, fence)); /* the imported state, not its own */
    for (unsigned round = 0; round < 200; round++) {
        tell(sock, READY);
        VK_OK(wait_fence(&gpu, fence, FOREVER));
        VK_OK(vkGetFenceStatus(gpu.device, fence));
        CHECK(hear(sock) == SIGNALED);
        VK_OK(vkResetFences(gpu.device, 1, &fence));
        VK(VK_NOT_READY, vkGetFenceStatus(gpu.device, fence));
        tell(sock, RESET);
        CHECK(hear(sock) == AGAIN);
        submit(&gpu, .fence = fence);
        VK_OK(wait_fence(&gpu, fence, FOREVER));
        tell(sock, SIGNALED);
        CHECK(hear(sock) == RESET);
        VK(VK_NOT_READY, vkGetFenceStatus(gpu.device, fence));
    }

    /*
     * The temporary import hides the fence's own signaled state until the reset, which resets it.
     */
    VkFence own = make_fence(&gpu, true, FENCE_OPAQUE);
    VK_OK(import_fence(&gpu, own, FENCE_OPAQUE, VK_FENCE_IMPORT_TEMPORARY_BIT, recv_fd(sock)));
    VK(VK_NOT_READY, vkGetFenceStatus(gpu.device, own));
    tell(sock, TEMPORARY);
    VK_OK(wait_fence(&gpu, own, FOREVER));
    VK_OK(vkResetFences(gpu.device, 1, &own));
    VK(VK_NOT_READY, vkGetFenceStatus(gpu.device, own));
    tell(sock, RESET);
    submit(&gpu, .fence = own);
    VK_OK(wait_fence(&gpu, own, FOREVER));
    vkDestroyFence(gpu.device, fence, NULL);
    vkDestroyFence(gpu.device, own, NULL);
    close_gpu(&gpu);
}

static void
send_fence(const struct gpu *gpu, int sock, VkFence fence)
{
    int fd = export_fence(gpu, fence, FENCE_OPAQUE);
    send_fd(sock, fd);
    close(fd);
}

int
main(void)
{
    struct peer peer = start_peer(run_peer);
    watchdog(60);
    struct gpu gpu = open_gpu();
    need_fence(&gpu, FENCE_OPAQUE);
    let_begin(&peer);
    int fds = open_fds();
    VkFence fence = make_fence(&gpu, false, FENCE_OPAQUE), other = unsignaled(&gpu);
    send_fence(&gpu, peer.sock, fence);
    for (unsigned round = 0; round < 200; round++) {
        CHECK(hear(peer.sock) == READY);
        submit(&gpu, .fence = fence);
        VK_OK(wait_fence(&gpu, fence, FOREVER));
        tell(peer.sock, SIGNALED);
        CHECK(hear(peer.sock) == RESET);
        VK(VK_NOT_READY, vkGetFenceStatus(gpu.device, fence));
        VK(VK_TIMEOUT, wait_fence(&gpu, fence, 0));
        tell(peer.sock, AGAIN);
        VK_OK(vkWaitForFences(gpu.device, 2, (VkFence[]){ other, fence }, VK_FALSE, FOREVER));
        VK(VK_TIMEOUT, vkWaitForFences(gpu.device, 2, (VkFence[]){ other, fence }, VK_TRUE, 0));
        CHECK(hear(peer.sock) == SIGNALED); /* the peer has seen it too */
        VK_OK(vkResetFences(gpu.device, 1, &fence));
        tell(peer.sock, RESET);
    }

    send_fence(&gpu, peer.sock, fence);
    CHECK(hear(peer.sock) == TEMPORARY);
    submit(&gpu, .fence = fence);
    CHECK(hear(peer.sock) == RESET);
    VK_OK(wait_fence(&gpu, fence, 0)); /* the peer's reset did not reset this state */
    end_peer(&peer);

    /* A fence that was created signaled is signaled after its export and import. */
    VkFence signaled = make_fence(&gpu, true, FENCE_OPAQUE),
            same = make_fence(&gpu, false, FENCE_OPAQUE);
    VK_OK(import_fence(&gpu, same, FENCE_OPAQUE, 0, export_fence(&gpu, signaled, FENCE_OPAQUE)));
    VK_OK(vkGetFenceStatus(gpu.device, same));
    VK_OK(vkResetFences(gpu.device, 1, &same));
    VK(VK_NOT_READY, vkGetFenceStatus(gpu.device, signaled));

    VK_OK(vkQueueWaitIdle(gpu.queues[0]));
    vkDestroyFence(gpu.device, fence, NULL);
    vkDestroyFence(gpu.device, other, NULL);
    vkDestroyFence(gpu.device, signaled, NULL);
    vkDestroyFence(gpu.device, same, NULL);
    CHECK(open_fds() <= fds);
    close_gpu(&gpu);
    return 0;
}
