// SPDX-License-Identifier: MIT
/* What the benchmark measures, for one Vulkan driver. */
#include "gpu.h"

#include "driver.h"
#include "rows.h"

#define CALLS 2000
#define TRIPS 100
#define SUBMISSIONS 50
#define MANY 64

static struct gpu gpu;
static int cpus[2];
static cpu_set_t all_cpus;

static void
pin(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    CHECK(sched_setaffinity(0, sizeof(set), &set) == 0);
}

static void
unpin(void)
{
    CHECK(sched_setaffinity(0, sizeof(all_cpus), &all_cpus) == 0);
}

/* One call, in one thread. */

static double
host_signal(void)
{
    VkSemaphore semaphore = timeline(&gpu, 0);
    uint64_t start = now_ns();
    for (uint64_t i = 1; i <= CALLS; i++)
        signal_to(&gpu, semaphore, i);
    double took = (double)(now_ns() - start) / CALLS;
    destroy(&gpu, semaphore);
    return took;
}

static double
met_wait(void)
{
    VkSemaphore semaphore = timeline(&gpu, CALLS);
    uint64_t start = now_ns();
    for (uint64_t i = 1; i <= CALLS; i++)
        VK_OK(wait_for(&gpu, semaphore, i, FOREVER));
    double took = (double)(now_ns() - start) / CALLS;
    destroy(&gpu, semaphore);
    return took;
}

static double
counter(void)
{
    VkSemaphore semaphore = timeline(&gpu, CALLS);
    uint64_t start = now_ns();
    for (unsigned i = 0; i < CALLS; i++)
        CHECK(value_of(&gpu, semaphore) == CALLS);
    double took = (double)(now_ns() - start) / CALLS;
    destroy(&gpu, semaphore);
    return took;
}

static double
come_and_go(void)
{
    uint64_t start = now_ns();
    for (unsigned i = 0; i < CALLS; i++)
        destroy(&gpu, timeline(&gpu, 0));
    return (double)(now_ns() - start) / CALLS;
}

/* Round trips between two threads. */

struct echo {
    VkSemaphore in, out;
    VkSemaphore idle[MANY - 1]; /* also in the wait, and never signaled */
    uint32_t idle_count;
    int cpu;
};

static void
await(const struct echo *echo, VkSemaphore semaphore, uint64_t value)
{
    VkSemaphore semaphores[MANY] = { semaphore };
    uint64_t values[MANY] = { value };
    for (uint32_t i = 0; i < echo->idle_count; i++) {
        semaphores[i + 1] = echo->idle[i];
        values[i + 1] = 1;
    }
    VK_OK(wait_many(&gpu, echo->idle_count ? VK_SEMAPHORE_WAIT_ANY_BIT : 0, echo->idle_count + 1,
                    semaphores, values, FOREVER));
}

static void *
answer(void *argument)
{
    const struct echo *echo = argument;
    pin(echo->cpu);
    for (uint64_t i = 1; i <= TRIPS + 1; i++) {
        await(echo, echo->in, i);
        signal_to(&gpu, echo->out, i);
    }
    return NULL;
}

static double
round_trip(int cpu, int other_cpu, uint32_t idle_count)
{
    struct echo echo = { .in = timeline(&gpu, 0),
                         .out = timeline(&gpu, 0),
                         .idle_count = idle_count,
                         .cpu = other_cpu };
    pthread_t thread;
    for (uint32_t i = 0; i < idle_count; i++)
        echo.idle[i] = timeline(&gpu, 0);
    pin(cpu);
    CHECK(pthread_create(&thread, NULL, answer, &echo) == 0);
    signal_to(&gpu, echo.in, 1);
    await(&echo, echo.out, 1); /* the other thread has started */
    uint64_t start = now_ns();
    for (uint64_t i = 2; i <= TRIPS + 1; i++) {
        signal_to(&gpu, echo.in, i);
        await(&echo, echo.out, i);
    }
    double took = (double)(now_ns() - start) / TRIPS;
    CHECK(pthread_join(thread, NULL) == 0);
    unpin();
    destroy(&gpu, echo.in);
    destroy(&gpu, echo.out);
    for (uint32_t i = 0; i < idle_count; i++)
        destroy(&gpu, echo.idle[i]);
    return took;
}

static double
trip_one_core(void)
{
    return round_trip(cpus[0], cpus[0], 0);
}

static double
trip_two_cores(void)
{
    return round_trip(cpus[0], cpus[1], 0);
}

static double
trip_any_one_core(void)
{
    return round_trip(cpus[0], cpus[0], MANY - 1);
}

static double
trip_any_two_cores(void)
{
    return round_trip(cpus[0], cpus[1], MANY - 1);
}

/* Through the queue: submissions that have semaphores and fences but no commands. */

static double
submit_and_wait(void)
{
    VkSemaphore semaphore = timeline(&gpu, 0);
    uint64_t start = now_ns();
    for (uint64_t i = 1; i <= SUBMISSIONS; i++) {
        submit(&gpu, SIGNALS(POINT(semaphore, i)));
        VK_OK(wait_for(&gpu, semaphore, i, FOREVER));
    }
    double took = (double)(now_ns() - start) / SUBMISSIONS;
    VK_OK(vkQueueWaitIdle(gpu.queues[0]));
    destroy(&gpu, semaphore);
    return took;
}

static double
submit_and_fence(void)
{
    VkFence fence = unsignaled(&gpu);
    uint64_t start = now_ns();
    for (unsigned i = 0; i < SUBMISSIONS; i++) {
        submit(&gpu, .fence = fence);
        VK_OK(wait_fence(&gpu, fence, FOREVER));
        VK_OK(vkResetFences(gpu.device, 1, &fence));
    }
    double took = (double)(now_ns() - start) / SUBMISSIONS;
    VK_OK(vkQueueWaitIdle(gpu.queues[0]));
    vkDestroyFence(gpu.device, fence, NULL);
    return took;
}

static double
held_back(void)
{
    VkSemaphore in = timeline(&gpu, 0), out = timeline(&gpu, 0);
    uint64_t start = now_ns();
    for (uint64_t i = 1; i <= SUBMISSIONS; i++) {
        submit(&gpu, WAITS(POINT(in, i)), SIGNALS(POINT(out, i)));
        signal_to(&gpu, in, i);
        VK_OK(wait_for(&gpu, out, i, FOREVER));
    }
    double took = (double)(now_ns() - start) / SUBMISSIONS;
    VK_OK(vkQueueWaitIdle(gpu.queues[0]));
    destroy(&gpu, in);
    destroy(&gpu, out);
    return took;
}

static double
chain(void)
{
    VkSemaphore link = binary(&gpu);
    VkFence fence = unsignaled(&gpu);
    uint64_t start = now_ns();
    submit(&gpu, SIGNALS(POINT(link, 0)));
    for (unsigned i = 0; i < SUBMISSIONS - 2; i++)
        submit(&gpu, WAITS(POINT(link, 0)), SIGNALS(POINT(link, 0)));
    submit(&gpu, WAITS(POINT(link, 0)), .fence = fence);
    VK_OK(wait_fence(&gpu, fence, FOREVER));
    double took = (double)(now_ns() - start) / SUBMISSIONS;
    VK_OK(vkQueueWaitIdle(gpu.queues[0]));
    vkDestroyFence(gpu.device, fence, NULL);
    destroy(&gpu, link);
    return took;
}

/* Processor time of a wait that times out. */

static double
idle(VkSemaphoreWaitFlags flags)
{
    const uint64_t ns = 20 * MS;
    VkSemaphore semaphores[MANY];
    uint64_t values[MANY];
    for (unsigned i = 0; i < MANY; i++) {
        semaphores[i] = timeline(&gpu, 0);
        values[i] = 1;
    }
    uint64_t before = processor_ns();
    VK(VK_TIMEOUT, wait_many(&gpu, flags, MANY, semaphores, values, ns));
    double used = (double)(processor_ns() - before);
    for (unsigned i = 0; i < MANY; i++)
        destroy(&gpu, semaphores[i]);
    return used;
}

static double
idle_all(void)
{
    return idle(0);
}

static double
idle_any(void)
{
    return idle(VK_SEMAPHORE_WAIT_ANY_BIT);
}

const struct row rows[] = {
    { "One call, one thread", "signal", "ns", host_signal },
    { NULL, "wait for what is reached", "ns", met_wait },
    { NULL, "counter value", "ns", counter },
    { NULL, "create and destroy", "ns", come_and_go },
    { "Round trip between two threads", "on one core", "ns", trip_one_core },
    { NULL, "on two cores", "ns", trip_two_cores },
    { NULL, "on one core, waiting for any of 64", "ns", trip_any_one_core },
    { NULL, "on two cores, waiting for any of 64", "ns", trip_any_two_cores },
    { "Through the queue, without commands", "submit, wait for its semaphore", "ns",
      submit_and_wait },
    { NULL, "submit, wait for its fence, reset", "ns", submit_and_fence },
    { NULL, "submit a wait, signal it, wait for the end", "ns", held_back },
    { NULL, "one of 50 in a chain of binary semaphores", "ns", chain },
    { "Processor time of a wait of 20 ms", "for all of 64 idle semaphores", "ns", idle_all },
    { NULL, "for any of 64 idle semaphores", "ns", idle_any },
};
const uint32_t row_count = sizeof(rows) / sizeof(rows[0]);

static void
find_cpus(void)
{
    unsigned found = 0;
    CHECK(sched_getaffinity(0, sizeof(all_cpus), &all_cpus) == 0);
    for (int cpu = 0; cpu < CPU_SETSIZE && found < 2; cpu++) {
        if (CPU_ISSET(cpu, &all_cpus))
            cpus[found++] = cpu;
    }
    if (found == 1)
        cpus[1] = cpus[0];
}

void
serve(int sock)
{
    find_cpus();
    gpu = open_gpu();
    char text[DRIVER_TEXT];
    name_driver(&gpu, text);
    CHECK(send(sock, text, strlen(text) + 1, MSG_NOSIGNAL) > 0);
    held_back(); /* the queue's thread exists from now on, and is not pinned to a CPU */
    uint64_t row;
    while (recv(sock, &row, sizeof(row), 0) == sizeof(row)) {
        CHECK(row < row_count);
        double result = rows[row].sample();
        CHECK(send(sock, &result, sizeof(result), MSG_NOSIGNAL) == sizeof(result));
    }
}
