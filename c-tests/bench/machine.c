// SPDX-License-Identifier: MIT
/* Processors, threads and memory, as the comparisons need them. */
#include "bench.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>

static cpu_set_t all_cpus;

struct cpus
usable_cpus(void)
{
    struct cpus cpus = {0};
    if (CPU_COUNT(&all_cpus) == 0)
        CHECK(sched_getaffinity(0, sizeof(all_cpus), &all_cpus) == 0);
    for (int cpu = 0; cpu < CPU_SETSIZE && cpus.count < 2; cpu++) {
        if (CPU_ISSET(cpu, &all_cpus))
            cpus.cpu[cpus.count++] = cpu;
    }
    CHECK(cpus.count > 0);
    return cpus;
}

void
pin(pid_t task, int cpu)
{
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    CHECK(sched_setaffinity(task, sizeof(one), &one) == 0);
}

void
unpin(void)
{
    usable_cpus();
    CHECK(sched_setaffinity(0, sizeof(all_cpus), &all_cpus) == 0);
}

pid_t
thread_id(void)
{
    return (pid_t)syscall(SYS_gettid);
}

bool
is_asleep(pid_t thread)
{
    char path[64], stat[512];
    snprintf(path, sizeof(path), "/proc/self/task/%d/stat", thread);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0);
    ssize_t length = read(fd, stat, sizeof(stat) - 1);
    close(fd);
    CHECK(length > 0);
    stat[length] = '\0';
    /* The state follows the name, which may hold anything, in parentheses. */
    const char *end = strrchr(stat, ')');
    CHECK(end && strlen(end) > 2);
    return end[2] == 'S';
}

void
sleep_ns(uint64_t ns)
{
    struct timespec t = {.tv_sec = (time_t)(ns / SECOND), .tv_nsec = (long)(ns % SECOND)};
    while (clock_nanosleep(CLOCK_MONOTONIC, 0, &t, &t) == EINTR)
        ;
}

uint64_t
thread_cpu_ns(void)
{
    struct timespec t;
    CHECK(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t) == 0);
    return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

void *
shared_memory(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED);
    return memory;
}

size_t
spare_fds(void)
{
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = limit.rlim_max;
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    size_t used = (size_t)open_fds() + 16;
    return limit.rlim_cur > used ? (size_t)limit.rlim_cur - used : 0;
}

struct umf_page *
new_page(uint32_t fences)
{
    struct umf_page *page;
    OK(umf_page_create(fences, 0, &page));
    return page;
}

struct umf_fence *
new_fence(struct umf_page *page)
{
    struct umf_fence *fence;
    OK(umf_fence_create(page, 0, 0, &fence));
    return fence;
}
