// SPDX-License-Identifier: MIT
/* Timeline semaphores on the host: initial values, signals, waits, and wake-ups. */
#include "gpu.h"

int
main(void)
{
    watchdog(60);
    struct gpu gpu = open_gpu();

    static const uint64_t initial[] = { 0, 1, 1000, UINT64_C(1) << 32, UINT64_MAX - 1, UINT64_MAX };
    for (unsigned i = 0; i < sizeof(initial) / sizeof(initial[0]); i++) {
        VkSemaphore semaphore = timeline(&gpu, initial[i]);
        CHECK(value_of(&gpu, semaphore) == initial[i]);
        VK_OK(wait_for(&gpu, semaphore, initial[i], 0));
        VK_OK(wait_for(&gpu, semaphore, 0, 0));
        destroy(&gpu, semaphore);
    }

    /* Signaled before the wait: a wait for this value or a lower one returns at once. */
    VkSemaphore semaphore = timeline(&gpu, 3);
    signal_to(&gpu, semaphore, 7);
    CHECK(value_of(&gpu, semaphore) == 7);
    for (uint64_t value = 0; value <= 7; value++)
        VK_OK(wait_for(&gpu, semaphore, value, FOREVER));
    VK(VK_TIMEOUT, wait_for(&gpu, semaphore, 8, 0));

    /* Signaled after the wait: only the awaited value or a higher one ends the wait. */
    for (uint64_t value = 10; value < 200; value += 10) {
        uint64_t target = value;
        struct waiter waiter = {
            .gpu = &gpu, .count = 1, .semaphores = &semaphore, .values = &target
        };
        start_waiter(&waiter);
        signal_to(&gpu, semaphore, value - 1);
        let_sleep(&waiter);
        signal_to(&gpu, semaphore, value % 20 ? value : value + 5);
        end_waiter(&waiter);
        CHECK(value_of(&gpu, semaphore) >= value);
    }
    destroy(&gpu, semaphore);
    close_gpu(&gpu);
    return 0;
}
