// SPDX-License-Identifier: MIT
/*
 * A submission may wait for a value before its signal was submitted. vkQueueSubmit must still
 * return: in this program, the thread that submits is also the thread that signals.
 */
#include "gpu.h"

/* Everything is submitted before the host signals the last value. */
static void
by_host(const struct gpu *gpu, uint32_t submissions)
{
    VkSemaphore in = timeline(gpu, 0), out = timeline(gpu, 0);
    VkFence fence = unsignaled(gpu);
    for (uint64_t i = 1; i < submissions; i++)
        submit(gpu, WAITS(POINT(in, i)), SIGNALS(POINT(out, i)));
    submit(gpu, WAITS(POINT(in, submissions)), SIGNALS(POINT(out, submissions)), .fence = fence);
    CHECK(value_of(gpu, out) == 0);
    VK(VK_NOT_READY, vkGetFenceStatus(gpu->device, fence));
    VK(VK_TIMEOUT, wait_for(gpu, out, 1, MS));
    signal_to(gpu, in, submissions);
    VK_OK(wait_fence(gpu, fence, FOREVER));
    CHECK(value_of(gpu, out) == submissions);
    vkDestroyFence(gpu->device, fence, NULL);
    destroy(gpu, in);
    destroy(gpu, out);
}

static void *
wait_idle(void *argument)
{
    const struct gpu *gpu = argument;
    VK_OK(vkDeviceWaitIdle(gpu->device));
    return NULL;
}

/* vkDeviceWaitIdle waits for a submission that is waiting for the host. */
static void
not_idle(struct gpu *gpu)
{
    VkSemaphore in = timeline(gpu, 0), out = timeline(gpu, 0);
    pthread_t thread;
    submit(gpu, WAITS(POINT(in, 1)), SIGNALS(POINT(out, 1)));
    CHECK(pthread_create(&thread, NULL, wait_idle, gpu) == 0);
    VK(VK_TIMEOUT, wait_for(gpu, out, 1, 20 * MS));
    CHECK(pthread_tryjoin_np(thread, NULL) == EBUSY);
    signal_to(gpu, in, 1);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(value_of(gpu, out) == 1);
    destroy(gpu, in);
    destroy(gpu, out);
}

/* Another queue of the device signals. The signal is submitted after the wait. */
static void
by_other_queue(const struct gpu *gpu)
{
    VkSemaphore ping = timeline(gpu, 0), pong = timeline(gpu, 0);
    for (uint64_t i = 1; i <= 100; i++) {
        submit_to(gpu->queues[0], &(struct work){ WAITS(POINT(ping, i)), SIGNALS(POINT(pong, i)) });
        submit_to(gpu->queues[1],
                  &(struct work){ WAITS(POINT(pong, i - 1)), SIGNALS(POINT(ping, i)) });
    }
    VK_OK(wait_for(gpu, pong, 100, FOREVER));
    VK_OK(vkDeviceWaitIdle(gpu->device));
    destroy(gpu, ping);
    destroy(gpu, pong);
}

int
main(void)
{
    watchdog(60);
    struct gpu gpu = open_gpu();
    by_host(&gpu, 1);
    by_host(&gpu, 2);
    by_host(&gpu, 100);
    not_idle(&gpu);
    if (gpu.queue_count > 1)
        by_other_queue(&gpu);
    close_gpu(&gpu);
    return 0;
}
