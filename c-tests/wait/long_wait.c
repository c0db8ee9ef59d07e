// SPDX-License-Identifier: MIT
/*
 * A compute job that signals when it is done, whenever that is. Waits have no hidden deadline and
 * use no CPU meanwhile. The test counts how often each wait woke up, which a busy machine does not
 * change.
 *
 *     long_wait [SECONDS]     how long the job takes
 */
#include "notifier.h"
#include "raw_page.h"
#include "sleeper.h"
#include "watch.h"

#include <sys/resource.h>

enum { PLAIN, MANY, NOTIFIED, NOT_NOTIFIED, WAYS };
static const char *const names[WAYS] = { "umf_fence_wait()", "umf_wait(), any of 100",
                                         "device with a notifier", "device without" };

static struct umf_page *page;
static struct umf_fence *fences[100], *devices[2];
static struct raw raw;
static int interrupt;
static pthread_barrier_t asleep;

struct cost {
    long sleeps;
    double cpu_ms, wall_s;
    pthread_t thread;
    int way;
};

static void *
waits(void *data)
{
    struct cost *cost = data;
    struct umf_condition list[100];
    struct rusage before, after;
    uint32_t index = 0;
    for (uint32_t i = 0; i < 100; i++)
        list[i] = (struct umf_condition){ .fence = fences[i], .value = 1 };
    CHECK(getrusage(RUSAGE_THREAD, &before) == 0);
    uint64_t used = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    uint64_t began = now_ns();
    pthread_barrier_wait(&asleep);
    switch (cost->way) {
    case PLAIN: OK(umf_fence_wait(fences[0], 1, FOREVER)); break;
    case MANY:
        OK(umf_wait(list, 100, UMF_WAIT_ANY, FOREVER, &index));
        CHECK(index == 0);
        break;
    case NOTIFIED: OK(umf_fence_wait(devices[0], 1, FOREVER)); break;
    case NOT_NOTIFIED: OK(umf_fence_wait(devices[1], 1, FOREVER)); break;
    }
    CHECK(getrusage(RUSAGE_THREAD, &after) == 0);
    cost->wall_s = (double)(now_ns() - began) / 1e9;
    cost->cpu_ms = (double)(clock_ns(CLOCK_THREAD_CPUTIME_ID) - used) / 1e6;
    cost->sleeps = after.ru_nvcsw - before.ru_nvcsw;
    return NULL;
}

/* Computes at low priority, and then signals in each way. */
static void
job(double seconds)
{
    volatile uint64_t x = 1;
    CHECK(nice(19) >= -20);
    uint64_t end = in_ns((uint64_t)(seconds * 1e9));
    while (now_ns() < end)
        for (int i = 0; i < 100000; i++)
            x = x * UINT64_C(6364136223846793005) + 1;
    write_raw(&raw, devices[0], 1);
    CHECK(write(interrupt, &(uint64_t){ 1 }, 8) == 8);
    write_raw(&raw, devices[1], 1);
    OK(umf_fence_signal(fences[0], 1));
}

int
main(int argc, char **argv)
{
    const double seconds = argc > 1 ? atof(argv[1]) : 2;
    struct cost costs[WAYS];
    struct told told;
    pid_t pid;
    watchdog((unsigned)seconds + 40);
    OK(umf_page_create(102, 0, &page));
    for (int i = 0; i < 100; i++)
        OK(umf_fence_create(page, 0, 0, &fences[i]));
    for (int i = 0; i < 2; i++)
        OK(umf_fence_create(page, 0, UMF_FENCE_DEVICE, &devices[i]));
    interrupt = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    CHECK(interrupt >= 0);
    notify_by(devices[0], interrupt);
    raw = map_raw(page);
    /* Forks before there are threads. The job starts at about the time of the first wait. */
    IN_CHILD(pid, {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        job(seconds);
    });
    struct umf_loop *loop = create_loop(UMF_LOOP_THREAD);
    struct umf_watch *watch = watch_value(loop, fences[0], 1, &told);
    CHECK(pthread_barrier_init(&asleep, NULL, WAYS) == 0);
    for (int way = 0; way < WAYS; way++) {
        costs[way].way = way;
        CHECK(pthread_create(&costs[way].thread, NULL, waits, &costs[way]) == 0);
    }
    for (int way = 0; way < WAYS; way++)
        CHECK(pthread_join(costs[way].thread, NULL) == 0);
    until_called(loop, &told, 0);
    join_child(pid);

    for (int way = 0; way < WAYS; way++) {
        const struct cost *cost = &costs[way];
        printf("%-24s %6.1f s, slept %ld times, %7.3f ms of CPU time: %.4f%% of a core\n",
               names[way], cost->wall_s, cost->sleeps, cost->cpu_ms,
               cost->cpu_ms / cost->wall_s / 10);
        /* A wait sleeps once, and maybe at the barrier. It polls a device's word 20 or 250 times
         * a second. */
        double most = way == NOTIFIED       ? 60 + cost->wall_s * 25
                      : way == NOT_NOTIFIED ? 200 + cost->wall_s * 300
                                            : 10;
        if (!is_emulated())
            CHECK((double)cost->sleeps <= most);
    }
    if (is_emulated())
        printf("not checked: how often a thread slept, since it also sleeps for the emulator's "
               "locks\n");
    umf_watch_unref(watch);
    umf_loop_unref(loop);
    for (int i = 0; i < 100; i++)
        umf_fence_unref(fences[i]);
    for (int i = 0; i < 2; i++)
        umf_fence_unref(devices[i]);
    umf_page_unref(page);
    unmap_raw(&raw);
    close(interrupt);
    return 0;
}
