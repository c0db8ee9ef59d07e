// SPDX-License-Identifier: MIT
/* vkGetSemaphoreCounterValue never decreases, and is never below a value that was waited for. */
#include "gpu.h"

#define LAST 5000

struct shared {
    const struct gpu *gpu;
    VkSemaphore semaphore;
};

static void *
read_on(void *argument)
{
    const struct shared *s = argument;
    for (uint64_t before = 0, now = 0; now < LAST; before = now) {
        now = value_of(s->gpu, s->semaphore);
        CHECK(now >= before && now <= LAST);
        sched_yield();
    }
    return NULL;
}

static void *
wait_and_read(void *argument)
{
    const struct shared *s = argument;
    for (uint64_t value = 1; value <= LAST; value++) {
        VK_OK(wait_for(s->gpu, s->semaphore, value, FOREVER));
        uint64_t now = value_of(s->gpu, s->semaphore);
        CHECK(now >= value && now <= LAST);
        VK_OK(wait_for(s->gpu, s->semaphore, now, 0));
    }
    return NULL;
}

int
main(void)
{
    pthread_t readers[2], waiters[2];
    watchdog(120);
    struct gpu gpu = open_gpu();
    struct shared shared = { &gpu, timeline(&gpu, 0) };
    for (unsigned i = 0; i < 2; i++) {
        CHECK(pthread_create(&readers[i], NULL, read_on, &shared) == 0);
        CHECK(pthread_create(&waiters[i], NULL, wait_and_read, &shared) == 0);
    }
    /* The host and the queue signal in turn. */
    for (uint64_t value = 2; value <= LAST; value += 2) {
        submit(&gpu, WAITS(POINT(shared.semaphore, value - 1)),
               SIGNALS(POINT(shared.semaphore, value)));
        signal_to(&gpu, shared.semaphore, value - 1);
        VK_OK(wait_for(&gpu, shared.semaphore, value, FOREVER));
    }
    for (unsigned i = 0; i < 2; i++) {
        CHECK(pthread_join(readers[i], NULL) == 0);
        CHECK(pthread_join(waiters[i], NULL) == 0);
    }
    VK_OK(vkQueueWaitIdle(gpu.queues[0]));
    destroy(&gpu, shared.semaphore);
    close_gpu(&gpu);
    return 0;
}
