// SPDX-License-Identifier: MIT
/*
 * A semaphore may be destroyed as soon as the submissions that use it have completed. A wait for
 * the last value proves that. The driver's threads must not use the semaphore afterwards. Creation
 * and destruction leak no memory and no file descriptors.
 */
#include "gpu.h"

/* Destroys the semaphores right after the wait. */
static void
right_after_wait(const struct gpu *gpu)
{
    for (unsigned i = 0; i < 3000; i++) {
        VkSemaphore in = timeline(gpu, 0), out = timeline(gpu, 0);
        submit(gpu, WAITS(POINT(in, 1)), SIGNALS(POINT(out, 1)));
        signal_to(gpu, in, 1);
        VK_OK(wait_for(gpu, out, 1, FOREVER));
        destroy(gpu, in);
        destroy(gpu, out);
    }
}

/* Creates and destroys so many semaphores that a leak shows as additional mappings. */
static void
come_and_go(const struct gpu *gpu)
{
    enum { MANY = 5000 };
    static VkSemaphore all[MANY];
    for (unsigned i = 0; i < MANY; i++)
        all[i] = timeline(gpu, i);
    for (unsigned i = 0; i < MANY; i++)
        CHECK(value_of(gpu, all[i]) == i);
    for (unsigned i = 0; i < MANY; i++)
        destroy(gpu, all[i * 7 % MANY]);
}

int
main(void)
{
    watchdog(120);
    struct gpu gpu = open_gpu();
    destroy(&gpu, VK_NULL_HANDLE);
    right_after_wait(&gpu);
    come_and_go(&gpu);
    int fds = open_fds(), maps = mappings();
    for (unsigned i = 0; i < 10; i++)
        come_and_go(&gpu);
    CHECK(open_fds() <= fds);
    CHECK(mappings() <= maps + 10); /* malloc creates some */
    close_gpu(&gpu);

    /* The same for devices. */
    fds = 0;
    for (unsigned i = 0; i < 5; i++) {
        struct gpu again = open_gpu();
        VkSemaphore semaphore = timeline(&again, 1);
        submit(&again, WAITS(POINT(semaphore, 1)), SIGNALS(POINT(semaphore, 2)));
        VK_OK(wait_for(&again, semaphore, 2, FOREVER));
        destroy(&again, semaphore);
        close_gpu(&again);
        CHECK(fds == 0 || open_fds() == fds);
        fds = open_fds();
    }
    return 0;
}
