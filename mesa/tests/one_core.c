// SPDX-License-Identifier: MIT
/*
 * Several threads create, use and destroy timeline semaphores, all on one core. A thread that is
 * woken up may then run before the signaling thread continues. A driver that uses a semaphore after
 * it has signaled it therefore uses freed memory.
 */
#include "gpu.h"

#define THREADS 3
#define INPUTS 24
#define SECONDS 10

static uint64_t end_time;
static atomic_uint rounds_done;

/*
 * One submission signals all inputs, and the next one waits for all. The inputs are destroyed as
 * soon as the second submission's signal is seen.
 */
static void
crowd(const struct gpu *gpu, uint64_t value)
{
    struct point inputs[INPUTS];
    VkSemaphore start = timeline(gpu, 0), end = timeline(gpu, 0);
    for (unsigned i = 0; i < INPUTS; i++)
        inputs[i] = POINT(timeline(gpu, 0), value + i);
    submit(gpu, WAITS(POINT(start, value)), .signals = inputs, .signal_count = INPUTS);
    submit(gpu, .waits = inputs, .wait_count = INPUTS, SIGNALS(POINT(end, value)));
    signal_to(gpu, start, value);
    VK_OK(wait_for(gpu, end, value, FOREVER));
    destroy(gpu, start);
    destroy(gpu, end);
    for (unsigned i = 0; i < INPUTS; i++)
        destroy(gpu, inputs[i].semaphore);
}

/* Each submission waits for the previous one. */
static void
chain(const struct gpu *gpu)
{
    VkSemaphore links[INPUTS];
    for (unsigned i = 0; i < INPUTS; i++)
        links[i] = timeline(gpu, 0);
    for (unsigned i = 0; i + 1 < INPUTS; i++)
        submit(gpu, WAITS(POINT(links[i], 1)), SIGNALS(POINT(links[i + 1], 1)));
    signal_to(gpu, links[0], 1);
    VK_OK(wait_for(gpu, links[INPUTS - 1], 1, FOREVER));
    for (unsigned i = 0; i < INPUTS; i++)
        destroy(gpu, links[i]);
}

/* Each thread has its own device and queue. */
static void *
run(void *argument)
{
    struct gpu gpu = open_second(argument);
    for (uint64_t round = 1; now_ns() < end_time; round++) {
        crowd(&gpu, round);
        chain(&gpu);
        atomic_fetch_add(&rounds_done, 1);
    }
    close_second(&gpu);
    return NULL;
}

int
main(void)
{
    cpu_set_t set;
    pthread_t threads[THREADS];
    CPU_ZERO(&set);
    CPU_SET(sched_getcpu(), &set);
    /* All threads that start later inherit this. */
    CHECK(sched_setaffinity(0, sizeof(set), &set) == 0);
    watchdog(60);
    struct gpu gpu = open_gpu();
    end_time = in_ns(SECONDS * SECOND);
    for (unsigned i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, run, &gpu) == 0);
    for (unsigned i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    printf("  %u rounds\n", atomic_load(&rounds_done));
    close_gpu(&gpu);
    return 0;
}
