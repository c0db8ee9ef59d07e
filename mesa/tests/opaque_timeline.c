// SPDX-License-Identifier: MIT
/*
 * Two processes share timeline semaphores as opaque fds. Either process may have created the
 * semaphore. Both see one value, and both signal it and wait for it, on the host and in queues.
 */
#include "external.h"

#define ROUNDS 1000

/* Each side waits for the other side's semaphore and signals its own. One side signals first. */
static void
host_rounds(const struct gpu *gpu, VkSemaphore own, VkSemaphore others, uint64_t from, bool begins)
{
    for (uint64_t value = from + 1; value <= from + ROUNDS; value++) {
        if (begins)
            signal_to(gpu, own, value);
        VK_OK(wait_for(gpu, others, value, FOREVER));
        CHECK(value_of(gpu, others) >= value);
        if (!begins)
            signal_to(gpu, own, value);
    }
}

/*
 * The same in the queues. Everything is submitted at once, so each wait is submitted before the
 * other process signals.
 */
static void
device_rounds(const struct gpu *gpu, VkSemaphore own, VkSemaphore others, uint64_t from,
              bool begins)
{
    for (uint64_t value = from + 1; value <= from + 200; value++)
        submit(gpu, WAITS(POINT(others, begins ? value - 1 : value)), SIGNALS(POINT(own, value)));
    VK_OK(wait_many(gpu, 0, 2, (VkSemaphore[]){ own, others },
                    (uint64_t[]){ from + 200, from + 200 }, FOREVER));
    VK_OK(vkQueueWaitIdle(gpu->queues[0]));
}

/* A high value: as far as the driver allows, but at least 1000 below UINT64_MAX. */
static uint64_t
high(const struct gpu *gpu)
{
    uint64_t most = UINT64_MAX - 1000;
    return gpu->max_difference < most - 2000 ? 2000 + gpu->max_difference : most;
}

/* What both sides do, each with its own semaphore and the other side's. */
static void
play(const struct gpu *gpu, VkSemaphore own, VkSemaphore others, bool begins)
{
    host_rounds(gpu, own, others, 5, begins);
    device_rounds(gpu, own, others, 5 + ROUNDS, begins);
    signal_to(gpu, own, 2000);
    VK_OK(wait_for(gpu, others, 2000, FOREVER));
    signal_to(gpu, own, high(gpu));
    VK_OK(wait_for(gpu, others, high(gpu), FOREVER));
    device_rounds(gpu, own, others, high(gpu), begins);
    CHECK(value_of(gpu, own) == high(gpu) + 200);
}

static void
run_peer(int sock)
{
    until_begin(sock);
    watchdog(60);
    struct gpu gpu = open_gpu();
    VkSemaphore theirs = recv_semaphore(&gpu, sock, VK_SEMAPHORE_TYPE_TIMELINE);
    CHECK(value_of(&gpu, theirs) == 5); /* the value at the time of the export */
    VkSemaphore own = shared_timeline(&gpu, 5);
    send_semaphore(&gpu, sock, own);
    play(&gpu, own, theirs, false);

    /* Export the imported semaphore to its creator. Both descriptors are the same semaphore. */
    send_semaphore(&gpu, sock, theirs);
    CHECK(hear(sock) == 1);
    CHECK(value_of(&gpu, theirs) == high(&gpu) + 201);
    destroy(&gpu, own);
    destroy(&gpu, theirs);
    close_gpu(&gpu);
}

int
main(void)
{
    struct peer peer = start_peer(run_peer);
    watchdog(60);
    struct gpu gpu = open_gpu();
    need_semaphore(&gpu, VK_SEMAPHORE_TYPE_TIMELINE, SEMAPHORE_OPAQUE);
    int fds = open_fds();
    let_begin(&peer);
    VkSemaphore own = shared_timeline(&gpu, 2);
    signal_to(&gpu, own, 5);
    send_semaphore(&gpu, peer.sock, own);
    VkSemaphore theirs = recv_semaphore(&gpu, peer.sock, VK_SEMAPHORE_TYPE_TIMELINE);
    play(&gpu, own, theirs, true);

    VkSemaphore again = recv_semaphore(&gpu, peer.sock, VK_SEMAPHORE_TYPE_TIMELINE);
    CHECK(value_of(&gpu, again) == value_of(&gpu, own));
    destroy(&gpu, own);
    uint64_t last = high(&gpu) + 201;
    struct waiter waiter = { .gpu = &gpu, .count = 1, .semaphores = &again, .values = &last };
    start_waiter(&waiter);
    signal_to(&gpu, again, last);
    end_waiter(&waiter);
    tell(peer.sock, 1);
    end_peer(&peer);

    /* The process that created the semaphore has ended, and the value is still there. */
    CHECK(value_of(&gpu, theirs) == high(&gpu) + 200);
    signal_to(&gpu, theirs, last);
    VK_OK(wait_for(&gpu, theirs, last, 0));
    destroy(&gpu, theirs);
    destroy(&gpu, again);
    CHECK(open_fds() <= fds);
    close_gpu(&gpu);
    return 0;
}
