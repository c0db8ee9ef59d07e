// SPDX-License-Identifier: MIT
/*
 * A fence that a device writes, without a notifier: how late a wait sees the value, and what it
 * costs. The device is a thread that writes the value through a mapping of its own after each job.
 */
#include "bench.h"

#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>

/* The waits before them teach the library how long the jobs take. */
#define LESSONS 16

static struct umf_fence *fence;
static _Atomic uint64_t *word; /* the fence's value, as the device sees it */
static _Atomic uint64_t job_end_ns, written_ns;
static _Atomic bool over;
static uint64_t value, job_ns, random_state, cpu_ns, wall_ns;

static void *
device_main(void *argument)
{
    uint64_t last = 0;
    (void)argument;
    while (!over) {
        uint64_t end = job_end_ns;
        if (end == last) {
            sleep_ns(20000);
            continue;
        }
        const struct timespec until = {.tv_sec = (time_t)(end / SECOND),
                                       .tv_nsec = (long)(end % SECOND)};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
        last = end;
        written_ns = now_ns();
        atomic_fetch_add(word, 1);
    }
    return NULL;
}

static void
wait_umf(void)
{
    OK(umf_fence_wait(fence, value, FOREVER));
}

static void
wait_by_naps(void)
{
    while (umf_fence_value(fence) < value)
        sleep_ns(20000);
}

/* Has the device run a job that varies by 3%. Returns how late its value is seen. */
static double
run_job(void *state)
{
    void (*wait)(void) = *(void (**)(void))state;
    random_state = random_state * 6364136223846793005 + 1442695040888963407;
    uint64_t begin = now_ns(), cpu = thread_cpu_ns();
    uint64_t varied = job_ns * (970 + (random_state >> 33) % 61) / 1000;
    value++;
    job_end_ns = begin + varied;
    wait();
    uint64_t seen = now_ns();
    cpu_ns += thread_cpu_ns() - cpu;
    wall_ns += seen - begin;
    return (double)(seen - written_ns);
}

static void
compare_jobs(const char *late, const char *cost, unsigned rounds)
{
    void (*ways[2])(void) = {wait_umf, wait_by_naps};
    static double samples[2 * 400];
    double share[2];
    const struct contender list[] = {{"libumf", NULL, NULL, NULL},
                                     {"a look every 20 us", NULL, NULL, NULL}};
    /* One after the other, not in turn: the library learns from the times of its own waits. */
    for (int way = 0; way < 2; way++) {
        for (unsigned lesson = 0; lesson < LESSONS; lesson++)
            run_job(&ways[way]);
        cpu_ns = wall_ns = 0;
        for (unsigned round = 0; round < rounds; round++)
            samples[(unsigned)way * rounds + round] = run_job(&ways[way]);
        share[way] = 100 * (double)cpu_ns / (double)wall_ns;
    }
    report(late, "ns", rounds, list, 2, samples);
    report_count(cost, "% of a core", share[0], "a look every 20 us", share[1]);
}

void
bench_devices(void)
{
    section("A device writes the value, no notifier");
    struct umf_page *page = new_page(1);
    struct stat stat;
    pthread_t device;
    int fd;
    OK(umf_fence_create(page, 0, UMF_FENCE_DEVICE, &fence));
    OK(umf_page_export(page, 0, &fd));
    CHECK(fstat(fd, &stat) == 0);
    char *bytes = mmap(NULL, (size_t)stat.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(bytes != MAP_FAILED);
    close(fd);
    word = (_Atomic uint64_t *)(void *)(bytes + umf_fence_offset(fence));
    CHECK(pthread_create(&device, NULL, device_main, NULL) == 0);
    job_ns = MS;
    compare_jobs("jobs of 1 ms +- 3%, seen late", "jobs of 1 ms +- 3%: CPU time", quick ? 50 : 400);
    job_ns = 16 * MS;
    compare_jobs("jobs of 16 ms +- 3%, seen late", "jobs of 16 ms +- 3%: CPU time",
                 quick ? 20 : 200);
    over = true;
    CHECK(pthread_join(device, NULL) == 0);
    CHECK(munmap(bytes, (size_t)stat.st_size) == 0);
    umf_fence_unref(fence);
    umf_page_unref(page);
}
