// SPDX-License-Identifier: MIT
/*
 * A process that shares a timeline semaphore is killed while it uses it. The other processes
 * continue: nothing hangs, nothing fails, and the semaphore still works between them.
 */
#include "external.h"

#define VICTIMS 24

/* Signals and waits as fast as possible, on the host and in the queue, until it is killed. */
static void
run_victim(int sock)
{
    until_begin(sock);
    struct gpu gpu = open_gpu();
    VkSemaphore ours = recv_semaphore(&gpu, sock, VK_SEMAPHORE_TYPE_TIMELINE);
    VkSemaphore theirs = recv_semaphore(&gpu, sock, VK_SEMAPHORE_TYPE_TIMELINE);
    tell(sock, 1);
    for (uint64_t value = value_of(&gpu, ours) + 1;; value += 2) {
        VK_OK(wait_for(&gpu, theirs, value, FOREVER));
        signal_to(&gpu, ours, value);
        submit(&gpu, WAITS(POINT(theirs, value + 1)), SIGNALS(POINT(ours, value + 1)));
        VK_OK(wait_for(&gpu, ours, value + 1, FOREVER));
    }
}

/* Shares the same semaphores, and is still alive at the end. */
static void
run_survivor(int sock)
{
    until_begin(sock);
    watchdog(120);
    struct gpu gpu = open_gpu();
    VkSemaphore ours = recv_semaphore(&gpu, sock, VK_SEMAPHORE_TYPE_TIMELINE);
    VkSemaphore theirs = recv_semaphore(&gpu, sock, VK_SEMAPHORE_TYPE_TIMELINE);
    tell(sock, 1);
    uint64_t value = hear(sock);
    VK_OK(wait_for(&gpu, theirs, value, FOREVER));
    signal_to(&gpu, ours, value);
    destroy(&gpu, ours);
    destroy(&gpu, theirs);
    close_gpu(&gpu);
}

/*
 * Exchanges signals with the victim for some time, and then kills it at a random point. A wait for
 * the victim's next value then times out.
 */
static uint64_t
play_and_kill(const struct gpu *gpu, struct peer *victim, VkSemaphore own, VkSemaphore victims,
              unsigned microseconds)
{
    uint64_t value = value_of(gpu, victims), end = in_ns(microseconds * UINT64_C(1000));
    do {
        value++;
        if (value_of(gpu, own) < value)
            signal_to(gpu, own, value);
        VK_OK(wait_for(gpu, victims, value, FOREVER));
    } while (now_ns() < end);
    signal_to(gpu, own, value + 1); /* the victim is running when it is killed */
    CHECK(kill(victim->pid, SIGKILL) == 0);
    int status;
    CHECK(waitpid(victim->pid, &status, 0) == victim->pid);
    CHECK(WIFSIGNALED(status));
    close(victim->sock);
    VK(VK_TIMEOUT, wait_for(gpu, victims, value + 2, MS));
    return value + 2;
}

int
main(void)
{
    struct peer victims[VICTIMS], survivor = start_peer(run_survivor);
    for (unsigned i = 0; i < VICTIMS; i++)
        victims[i] = start_peer(run_victim);
    watchdog(120);
    struct gpu gpu = open_gpu();
    need_semaphore(&gpu, VK_SEMAPHORE_TYPE_TIMELINE, SEMAPHORE_OPAQUE);
    VkSemaphore own = shared_timeline(&gpu, 0), shared = shared_timeline(&gpu, 0);
    let_begin(&survivor);
    send_semaphore(&gpu, survivor.sock, shared);
    send_semaphore(&gpu, survivor.sock, own);
    CHECK(hear(survivor.sock) == 1);

    uint64_t last = 0;
    for (unsigned i = 0; i < VICTIMS; i++) {
        let_begin(&victims[i]);
        send_semaphore(&gpu, victims[i].sock, shared);
        send_semaphore(&gpu, victims[i].sock, own);
        CHECK(hear(victims[i].sock) == 1);
        last = play_and_kill(&gpu, &victims[i], own, shared, i * 211 % 2000);
        /* Another process may signal what the victim did not. */
        signal_to(&gpu, shared, last);
        if (value_of(&gpu, own) < last)
            signal_to(&gpu, own, last);
        VK_OK(wait_for(&gpu, shared, last, 0));
    }

    submit(&gpu, WAITS(POINT(shared, last + 1)), SIGNALS(POINT(own, last + 2)));
    signal_to(&gpu, own, last + 1);
    tell(survivor.sock, last + 1);
    VK_OK(wait_for(&gpu, own, last + 2, FOREVER));
    end_peer(&survivor);
    VK_OK(vkQueueWaitIdle(gpu.queues[0]));
    destroy(&gpu, own);
    destroy(&gpu, shared);
    close_gpu(&gpu);
    return 0;
}
