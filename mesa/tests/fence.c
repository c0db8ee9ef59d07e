/* Fences: created, reset, asked for, and waited for, one or any or all. */
#include "gpu.h"

static void
one(const struct gpu *gpu)
{
    VkFence signalled = make_fence(gpu, true, 0), fence = unsignalled(gpu);
    VK_OK(vkGetFenceStatus(gpu->device, signalled));
    VK_OK(wait_fence(gpu, signalled, 0));
    VK(VK_NOT_READY, vkGetFenceStatus(gpu->device, fence));
    VK(VK_TIMEOUT, wait_fence(gpu, fence, 0));
    uint64_t start = now_ns();
    VK(VK_TIMEOUT, wait_fence(gpu, fence, 5 * MS));
    CHECK(now_ns() - start >= 5 * MS);

    VK_OK(vkResetFences(gpu->device, 2, (VkFence[]){ signalled, fence }));
    VK(VK_NOT_READY, vkGetFenceStatus(gpu->device, signalled));
    for (unsigned i = 0; i < 1000; i++) {
        submit(gpu, .fence = fence);
        VK_OK(wait_fence(gpu, fence, FOREVER));
        VK_OK(wait_fence(gpu, fence, 0));
        VK_OK(vkGetFenceStatus(gpu->device, fence));
        VK_OK(vkResetFences(gpu->device, 1, &fence));
        VK(VK_NOT_READY, vkGetFenceStatus(gpu->device, fence));
    }

    /* A submission of nothing: the fence alone. */
    VK_OK(vkQueueSubmit(gpu->queues[0], 0, NULL, fence));
    VK_OK(wait_fence(gpu, fence, FOREVER));
    vkDestroyFence(gpu->device, signalled, NULL);
    vkDestroyFence(gpu->device, fence, NULL);
    vkDestroyFence(gpu->device, VK_NULL_HANDLE, NULL);
}

/* Fences of submissions that the host lets go one after the other. */
static void
many(const struct gpu *gpu)
{
    enum { MANY = 150 };
    VkFence fences[MANY];
    VkSemaphore hold = timeline(gpu, 0);
    for (unsigned i = 0; i < MANY; i++) {
        fences[i] = unsignalled(gpu);
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

/* Several threads sleep on one fence, and all are woken. */
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
    VkFence fence = unsignalled(gpu);
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
