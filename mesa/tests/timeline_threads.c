// SPDX-License-Identifier: MIT
/* Threads can submit, signal and wait at the same time. */
#include "gpu.h"

#define THREADS 8
#define ROUNDS 300

struct line {
    struct gpu *gpu;
    unsigned number;
    VkSemaphore own, next;
    pthread_t thread;
};

/* Vulkan requires that only one thread at a time uses a queue. */
static pthread_mutex_t queue_locks[MAX_QUEUES] = {
    PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER,
    PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER,
};

/*
 * Each thread signals its own semaphore, and submits work that waits for it and signals a new one.
 * Then it waits for the new semaphore and for that of the next thread.
 */
static void *
run_line(void *argument)
{
    struct line *line = argument;
    struct gpu *gpu = line->gpu;
    for (uint64_t round = 1; round <= ROUNDS; round++) {
        uint32_t queue = (line->number + (uint32_t)round) % gpu->queue_count;
        VkSemaphore through = timeline(gpu, 0);
        signal_to(gpu, line->own, round);
        CHECK(pthread_mutex_lock(&queue_locks[queue]) == 0);
        submit_to(gpu->queues[queue],
                  &(struct work){ WAITS(POINT(line->own, round)), SIGNALS(POINT(through, round)) });
        CHECK(pthread_mutex_unlock(&queue_locks[queue]) == 0);
        VK_OK(wait_many(gpu, VK_SEMAPHORE_WAIT_ANY_BIT, 2, (VkSemaphore[]){ through, line->next },
                        (uint64_t[]){ round, round }, FOREVER));
        VK_OK(wait_many(gpu, 0, 2, (VkSemaphore[]){ through, line->next },
                        (uint64_t[]){ round, round }, FOREVER));
        CHECK(value_of(gpu, through) == round);
        destroy(gpu, through);
    }
    return NULL;
}

int
main(void)
{
    struct line lines[THREADS];
    watchdog(120);
    struct gpu gpu = open_gpu();
    for (unsigned i = 0; i < THREADS; i++)
        lines[i] = (struct line){ .gpu = &gpu, .number = i, .own = timeline(&gpu, 0) };
    for (unsigned i = 0; i < THREADS; i++)
        lines[i].next = lines[(i + 1) % THREADS].own;
    for (unsigned i = 0; i < THREADS; i++)
        CHECK(pthread_create(&lines[i].thread, NULL, run_line, &lines[i]) == 0);
    for (unsigned i = 0; i < THREADS; i++)
        CHECK(pthread_join(lines[i].thread, NULL) == 0);
    VK_OK(vkDeviceWaitIdle(gpu.device));
    for (unsigned i = 0; i < THREADS; i++) {
        CHECK(value_of(&gpu, lines[i].own) == ROUNDS);
        destroy(&gpu, lines[i].own);
    }
    close_gpu(&gpu);
    return 0;
}
