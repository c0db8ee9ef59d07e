// SPDX-License-Identifier: MIT
/*
 * What vkQueueSubmit costs the thread that calls it, for work that waits for a value that is not
 * signaled yet: system calls and time. In QEMU: mesa/test-kernel ... -- submit
 */
#include "gpu.h"
#include "system_calls.h"

#define SUBMISSIONS 100
#define ROUNDS 20

/* Submits, and signals the value that all wait for. Returns the time of the submissions. */
static uint64_t
submit_round(const struct gpu *gpu, VkSemaphore input, VkSemaphore done, uint64_t round, bool count)
{
    const uint64_t first = round * SUBMISSIONS + 1, last = (round + 1) * SUBMISSIONS;
    submit(gpu, .signal_count = 0); /* the driver forgets the last round */
    if (count)
        begin_trace();
    uint64_t start = now_ns();
    for (uint64_t value = first; value <= last; value++)
        submit(gpu, WAITS(POINT(input, last)), SIGNALS(POINT(done, value)));
    uint64_t took = now_ns() - start;
    if (count)
        end_trace();
    signal_to(gpu, input, last);
    VK_OK(wait_for(gpu, done, last, FOREVER));
    return took;
}

int
main(void)
{
    pid_t child = start_traced();
    if (child == 0) {
        struct gpu gpu = open_gpu();
        VkSemaphore input = timeline(&gpu, 0), done = timeline(&gpu, 0);
        uint64_t fastest = UINT64_MAX;
        for (uint64_t round = 0; round < ROUNDS; round++) {
            uint64_t took = submit_round(&gpu, input, done, round, false);
            fastest = took < fastest ? took : fastest;
        }
        submit_round(&gpu, input, done, ROUNDS, true);
        printf("  %.2f us a submission, the fastest of %d rounds\n",
               (double)fastest / SUBMISSIONS / 1000, ROUNDS);
        fflush(stdout);
        destroy(&gpu, input);
        destroy(&gpu, done);
        close_gpu(&gpu);
        _exit(0);
    }
    struct system_calls calls = trace(child);
    printf("  %u system calls for %d submissions\n", calls.all, SUBMISSIONS);
    return 0;
}
