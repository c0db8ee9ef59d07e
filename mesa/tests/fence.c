// SPDX-License-Identifier: MIT
/* Fences: creation, reset, status, and waits for one, any and all. */
#include "gpu.h"

static void
one(const struct gpu *gpu)
{
    VkFence signaled = make_fence(gpu, true, 0), fence = unsignaled(gpu);
    VK_OK(vkGetFenceStatus(gpu->device, signaled));
    VK_OK(wait_fence(gpu, signaled, 0));
    VK(VK_NOT_READY, vkGetFenceStatus(gpu->device, fence));
    VK(VK_TIMEOUT, wait_fence(gpu, fence, 0));
    uint64_t start = now_ns();
    VK(VK_TIMEOUT, wait_fence(gpu, fence, 5 * MS));
    CHECK(now_ns() - start >= 5 * MS);

    VK_OK(vkResetFences(gpu->device, 2, (VkFence[]){ signaled, fence }));
    VK(VK_NOT_READY, vkGetFenceStatus(gpu->device, signaled));
    for (unsigned i = 0; i < 1000; i++) {
        submit(gpu, .fence = fence);
        VK_OK(wait_fence(gpu, fence, FOREVER));
        VK_OK(wait_fence(gpu, fence, 0));
        VK_OK(vkGetFenceStatus(gpu->device, fence));
        VK_OK(vkResetFences(gpu->device, 1, &fence));
        VK(VK_NOT_READY, vkGetFenceStatus(gpu->device, fence));
    }

    /* A submission without batches still signals its fence. */
    VK_OK(vkQueueSubmit(gpu->queues[0], 0, NULL, fence));
    VK_OK(wait_fence(gpu, fence, FOREVER));
    vkDestroyFence(gpu->device, signaled, NULL);
    vkDestroyFence(gpu->device, fence, NULL);
    vkDestroyFence(gpu->device, VK_NULL_HANDLE, NULL);
}

/* The host releases the submissions one after the other. Each one's fence is signaled in turn. */
static void
many(const struct gpu *gpu)
{
    enum { MANY = 150 };
    VkFence fences[MANY];
    VkSemaphore hold = timeline(gpu, 0);
    for (unsigned i = 0; i < MANY; i++) {
        fences[i] = unsignaled(gpu);
        submit(gpu, WAITS(POINT(hold, i + 1)), .fence = fences[i]);
    }
    VK(VK_TIMEOUT, vkWaitForFences(gpu->device, MANY, fences, VK_FALSE, MS));
    VK(VK_TIMEOUT, vkWaitForFences(gpu->device, MANY, fences, VK_TRUE, 0));
    for (unsigned i = 0; i < MANY; i++) {
        VK(VK_TIMEOUT, vkWaitForFences(gpu->device, MANY - i, fences + i, VK_FALSE, 0));
        signal_to(gpu, hold, i + 1);
        VK_OK(vkWaitForFences(gpu->device, MANY - i, fences + i, VK_FALSE, FOREVER));
        VK_OK(wait_fence(gpu, fences[i], FOREVER));
        if (i + 1 < MANY) {
            VK(VK_NOT_READY, vkGetFenceStatus(gpu->device, fences[i + 1]));
            VK(VK_TIMEOUT, vkWaitForFences(gpu->device, MANY, fences, VK_TRUE, 0));
        }
    }
    VK_OK(vkWaitForFences(gpu->device, MANY, fences, VK_TRUE, 0));
    VK_OK(vkResetFences(gpu->device, MANY, fences));
    for (unsigned i = 0; i < MANY; i++) {
        VK(VK_NOT_READY, vkGetFenceStatus(gpu->device, fences[i]));
        vkDestroyFence(gpu->device, fences[i], NULL);
    }
    VK_OK(vkQueueWaitIdle(gpu->queues[0]));
    destroy(gpu, hold);
}

/* Several threads sleep on one fence, and all wake up. */
struct sleeper_on_fence {
    const struct gpu *gpu;
    VkFence fence;
    _Atomic pid_t tid;
    pthread_t thread;
};

static void *
sleep_on_fence(void *argument)
{
    struct sleeper_on_fence *s = argument;
    atomic_store(&s->tid, gettid());
    VK_OK(wait_fence(s->gpu, s->fence, FOREVER));
    return NULL;
}

static void
wakes_all(const struct gpu *gpu)
{
    enum { SLEEPERS = 5 };
    struct sleeper_on_fence sleepers[SLEEPERS];
    VkFence fence = unsignaled(gpu);
    VkSemaphore hold = timeline(gpu, 0);
    submit(gpu, WAITS(POINT(hold, 1)), .fence = fence);
    for (unsigned i = 0; i < SLEEPERS; i++) {
        sleepers[i] = (struct sleeper_on_fence){ .gpu = gpu, .fence = fence };
        CHECK(pthread_create(&sleepers[i].thread, NULL, sleep_on_fence, &sleepers[i]) == 0);
    }
    for (unsigned i = 0; i < SLEEPERS; i++) {
        while (atomic_load(&sleepers[i].tid) == 0)
            sched_yield();
        until_asleep(getpid(), sleepers[i].tid);
    }
    signal_to(gpu, hold, 1);
    for (unsigned i = 0; i < SLEEPERS; i++)
        CHECK(pthread_join(sleepers[i].thread, NULL) == 0);
    VK_OK(vkQueueWaitIdle(gpu->queues[0]));
    vkDestroyFence(gpu->device, fence, NULL);
    destroy(gpu, hold);
}

int
main(void)
{
    watchdog(60);
    struct gpu gpu = open_gpu();
    one(&gpu);
    many(&gpu);
    wakes_all(&gpu);
    close_gpu(&gpu);
    return 0;
}
