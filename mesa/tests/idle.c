// SPDX-License-Identifier: MIT
/*
 * A wait uses no processor time: for one semaphore, for all or any of 64 semaphores or fences, and
 * in a queue.
 */
#include "gpu.h"

#define MANY 64

static int failures;

/* Repeats a wait that used more: a busy machine takes the processor from an emulated one, whose
 * clocks go on. */
#define TRIES 3

#define IDLE(what, wait) \
    do { \
        uint64_t permille = UINT64_MAX; \
        for (int try = 0; try < TRIES && permille > 10; try++) { \
            uint64_t start = now_ns(), before = processor_ns(); \
            VK(VK_TIMEOUT, wait); \
            uint64_t used = processor_ns() - before; \
            permille = used * 1000 / (now_ns() - start); \
        } \
        printf("  %-40s %3" PRIu64 ".%" PRIu64 " %% of a core\n", what, permille / 10, \
               permille % 10); \
        failures += permille > 10; \
    } while (0)

int
main(void)
{
    VkSemaphore semaphores[MANY];
    uint64_t values[MANY];
    VkFence fences[MANY];
    watchdog(60);
    struct gpu gpu = open_gpu();
    for (unsigned i = 0; i < MANY; i++) {
        semaphores[i] = timeline(&gpu, 0);
        values[i] = 1;
        fences[i] = unsignaled(&gpu);
    }
    IDLE("one semaphore", wait_for(&gpu, semaphores[0], 1, 2 * SECOND));
    IDLE("all of 64 semaphores", wait_many(&gpu, 0, MANY, semaphores, values, 2 * SECOND));
    IDLE("any of 64 semaphores",
         wait_many(&gpu, VK_SEMAPHORE_WAIT_ANY_BIT, MANY, semaphores, values, 2 * SECOND));
    IDLE("all of 64 fences", vkWaitForFences(gpu.device, MANY, fences, VK_TRUE, 2 * SECOND));
    IDLE("any of 64 fences", vkWaitForFences(gpu.device, MANY, fences, VK_FALSE, 2 * SECOND));
    submit(&gpu, WAITS(POINT(semaphores[0], 1)), .fence = fences[0]);
    IDLE("a queue that waits for a semaphore", wait_fence(&gpu, fences[0], 2 * SECOND));
    signal_to(&gpu, semaphores[0], 1);
    VK_OK(wait_fence(&gpu, fences[0], FOREVER));
    for (unsigned i = 0; i < MANY; i++) {
        destroy(&gpu, semaphores[i]);
        vkDestroyFence(gpu.device, fences[i], NULL);
    }
    close_gpu(&gpu);
    if (failures)
        fprintf(stderr, "%d of 6 kinds of waits used more than 1 %% of a core\n", failures);
    return failures != 0;
}
