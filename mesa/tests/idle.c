/* Who waits uses no processor: for one semaphore, for all or any of 64, for a fence, and where a queue waits. */
#include "gpu.h"

#include <sys/resource.h>

#define MANY 64

/* What the process used of a core, in thousandths, while it waited and had nothing to do. */
static uint64_t
used(const struct rusage *before, const struct rusage *after, uint64_t ns)
{
#define NS(usage) ((uint64_t)(usage)->ru_utime.tv_sec * SECOND + (uint64_t)(usage)->ru_utime.tv_usec * 1000 +     \
                   (uint64_t)(usage)->ru_stime.tv_sec * SECOND + (uint64_t)(usage)->ru_stime.tv_usec * 1000)
    return (NS(after) - NS(before)) * 1000 / ns;
#undef NS
}

static int failures;

#define IDLE(what, wait)                                                                           \
    do {                                                                                           \
        struct rusage before, after;                                                               \
        uint64_t start = now_ns();                                                                 \
        CHECK(getrusage(RUSAGE_SELF, &before) == 0);                                               \
        VK(VK_TIMEOUT, wait);                                                                      \
        CHECK(getrusage(RUSAGE_SELF, &after) == 0);                                                \
        uint64_t permille = used(&before, &after, now_ns() - start);                               \
        printf("  %-40s %3" PRIu64 ".%" PRIu64 " %% of a core\n", what, permille / 10, permille % 10); \
        failures += permille > 10;                                                                \
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
        fences[i] = unsignalled(&gpu);
    }
    IDLE("one semaphore", wait_for(&gpu, semaphores[0], 1, 2 * SECOND));
    IDLE("all of 64 semaphores", wait_many(&gpu, 0, MANY, semaphores, values, 2 * SECOND));
    IDLE("any of 64 semaphores", wait_many(&gpu, VK_SEMAPHORE_WAIT_ANY_BIT, MANY, semaphores, values, 2 * SECOND));
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
        fprintf(stderr, "%d of 6 kinds of waits used more than a hundredth of a core\n", failures);
    return failures != 0;
}
