// SPDX-License-Identifier: MIT
/*
 * A hostile peer receives a semaphore and writes random data to the memory behind the descriptor.
 * It can falsify that semaphore. It cannot harm this process or any other semaphore, and it cannot
 * truncate the memory.
 *
 * On purpose, because the current value is unknown: VUID-VkSemaphoreSignalInfo-value-03258
 */
#include "external.h"

static void
run_vandal(int sock)
{
    until_begin(sock);
    int fd = recv_fd(sock);
    struct stat stat;
    CHECK(fstat(fd, &stat) == 0);
    size_t size = (size_t)stat.st_size;
    volatile uint64_t *words =
        size ? mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;
    CHECK(ftruncate(fd, 0) != 0 || size == 0);
    tell(sock, words != MAP_FAILED);
    if (words == MAP_FAILED)
        _exit(0);
    uint64_t random = 88172645463325252u;
    for (uint64_t i = 0;; i++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        words[random % (size / 8)] = i % 3 ? random * 0x9e3779b97f4a7c15u : 0;
        if (i % 65536 == 0)
            (void)fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)size);
        if (i % 1024 == 0)
            sched_yield();
    }
}

/*
 * Random memory gives a random result. If the memory says that the fence failed, that is an error.
 */
static void
any_answer(VkResult result)
{
    CHECK(result == VK_SUCCESS || result == VK_TIMEOUT || result == VK_ERROR_DEVICE_LOST);
}

int
main(void)
{
    struct peer vandal = start_peer(run_vandal);
    watchdog(60);
    struct gpu gpu = open_gpu();
    need_semaphore(&gpu, VK_SEMAPHORE_TYPE_TIMELINE, SEMAPHORE_OPAQUE);
    VkSemaphore shared = shared_timeline(&gpu, 1), kept = shared_timeline(&gpu, 1),
                own = timeline(&gpu, 1);
    let_begin(&vandal);
    send_semaphore(&gpu, vandal.sock, shared);
    if (!hear(vandal.sock))
        SKIP("the driver's opaque fds cannot be mapped");

    uint64_t end = in_ns(2 * SECOND), value = 1;
    while (now_ns() < end) {
        uint64_t now = 0;
        any_answer(vkGetSemaphoreCounterValue(gpu.device, shared, &now));
        any_answer(wait_for(&gpu, shared, now < UINT64_MAX ? now + 1 : now, MS / 10));
        any_answer(wait_many(&gpu, VK_SEMAPHORE_WAIT_ANY_BIT, 2, (VkSemaphore[]){ shared, kept },
                             (uint64_t[]){ UINT64_MAX, value + 1 }, MS / 10));
        VkSemaphoreSignalInfo signal = {
            .sType = VK_STRUCTURE_TYPE_SEMAPHORE_SIGNAL_INFO,
            .semaphore = shared,
            .value = now + 1,
        };
        if (now < UINT64_MAX)
            (void)vkSignalSemaphore(gpu.device, &signal);

        /* The other semaphores are unaffected, and the device is not lost. */
        CHECK(value_of(&gpu, kept) == value && value_of(&gpu, own) == value);
        value++;
        submit(&gpu, WAITS(POINT(own, value)), SIGNALS(POINT(kept, value)));
        signal_to(&gpu, own, value);
        VK_OK(wait_for(&gpu, kept, value, FOREVER));
    }
    /*
     * A queue that waits for the semaphore continues. The peer may have failed the semaphore or set
     * it to any value.
     */
    submit(&gpu, WAITS(POINT(shared, UINT64_MAX)), SIGNALS(POINT(kept, value + 1)));
    VK_OK(wait_for(&gpu, kept, value + 1, FOREVER));
    CHECK(kill(vandal.pid, SIGKILL) == 0);
    VK_OK(vkQueueWaitIdle(gpu.queues[0]));
    destroy(&gpu, shared);
    destroy(&gpu, kept);
    destroy(&gpu, own);
    close_gpu(&gpu);
    return 0;
}
