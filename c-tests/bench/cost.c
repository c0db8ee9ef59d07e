// SPDX-License-Identifier: MIT
/*
 * What fences cost besides time: memory, descriptors, allocations, and CPU time while waiters
 * sleep.
 */
#include "bench.h"

#include "fail_alloc.h"

#include <link.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#ifdef HAVE_XSHMFENCE
#include <X11/xshmfence.h>
#endif

#define THOUSAND 1000

long
allocations_so_far(void)
{
    return allocations;
}

static size_t
heap_in_use(void)
{
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

/* A thousand fences, as many as a process might have. */
static void
count_memory_and_files(void)
{
    static struct umf_fence *fences[THOUSAND];
    int page_fd;
    struct stat stat;

    size_t heap = heap_in_use();
    int files = open_fds();
    struct umf_page *page = new_page(THOUSAND);
    for (unsigned i = 0; i < THOUSAND; i++)
        fences[i] = new_fence(page);
    heap = heap_in_use() - heap;
    OK(umf_page_export(page, 0, &page_fd));
    files = open_fds() - files;
    CHECK(fstat(page_fd, &stat) == 0);

    spare_fds();
    static int events[THOUSAND];
    int event_files = open_fds();
    for (unsigned i = 0; i < THOUSAND; i++) {
        events[i] = eventfd(0, EFD_CLOEXEC);
        CHECK(events[i] >= 0);
    }
    event_files = open_fds() - event_files;
    for (unsigned i = 0; i < THOUSAND; i++)
        close(events[i]);

#ifdef HAVE_XSHMFENCE
    int fd = xshmfence_alloc_shm();
    CHECK(fd >= 0);
    struct xshmfence *xshmfence = xshmfence_map_shm(fd);
    CHECK(xshmfence);
    /* The file is 4 bytes long; memory comes in pages. */
    report_count("shared memory of a fence", "bytes", (double)stat.st_size / THOUSAND,
                 "xshmfence: a page each", (double)sysconf(_SC_PAGESIZE));
    xshmfence_unmap_shm(xshmfence);
    close(fd);
#else
    report_count("shared memory of a fence", "bytes", (double)stat.st_size / THOUSAND, "", 0);
#endif
    report_count("heap of a fence's handle", "bytes", (double)heap / THOUSAND, "", 0);
    report_count("descriptors of 1000 shared fences", "", files, "eventfd", event_files);
#ifdef HAVE_XSHMFENCE
    report_count("descriptors of 1000 shared fences", "", files,
                 "xshmfence: one each", THOUSAND);
#endif

    close(page_fd);
    for (unsigned i = 0; i < THOUSAND; i++)
        umf_fence_unref(fences[i]);
    umf_page_unref(page);
}

static void
count_allocations(void)
{
    static struct umf_condition waits[THOUSAND];
    long before = allocations;
    struct umf_page *page = new_page(THOUSAND);
    for (unsigned i = 0; i < THOUSAND; i++)
        waits[i] = (struct umf_condition){.fence = new_fence(page), .value = UINT64_MAX};
    /* Zero allocations mean nothing unless the counter works. */
    CHECK(allocations - before >= THOUSAND);

    struct umf_fence *fence = waits[0].fence;
    before = allocations;
    for (unsigned i = 0; i < THOUSAND; i++)
        OK(umf_fence_signal(fence, i));
    long by_signals = allocations - before;

    before = allocations;
    for (unsigned i = 0; i < THOUSAND; i++) {
        OK(umf_fence_wait(fence, 1, FOREVER));
        EXPECT(-ETIME, umf_fence_wait(fence, UINT64_MAX, 1));
    }
    long by_waits = allocations - before;

    long by_lists[2];
    for (int i = 0; i < 2; i++) {
        uint32_t count = i == 0 ? 128 : THOUSAND, index;
        before = allocations;
        EXPECT(-ETIME, umf_wait(waits, count, 0, 1, NULL));
        EXPECT(-ETIME, umf_wait(waits, count, UMF_WAIT_ANY, in_ns(MS), &index));
        by_lists[i] = allocations - before;
    }

    report_count("heap allocations: 1000 signals", "", (double)by_signals, "", 0);
    report_count("heap allocations: 2000 waits for one fence", "", (double)by_waits, "", 0);
    report_count("heap allocations: waits for 128, any and all", "", (double)by_lists[0], "", 0);
    report_count("heap allocations: waits for 1000, any and all", "", (double)by_lists[1], "", 0);
    for (unsigned i = 0; i < THOUSAND; i++)
        umf_fence_unref(waits[i].fence);
    umf_page_unref(page);
}

struct found {
    const char *name;
    size_t size;
};

static int
see_size(struct dl_phdr_info *info, size_t size, void *argument)
{
    struct found *found = argument;
    (void)size;
    if (strstr(info->dlpi_name, found->name)) {
        for (int i = 0; i < info->dlpi_phnum; i++) {
            const ElfW(Phdr) *part = &info->dlpi_phdr[i];
            if (part->p_type == PT_LOAD && part->p_offset + part->p_filesz > found->size)
                found->size = part->p_offset + part->p_filesz;
        }
    }
    return 0;
}

/* The size of a library's file without symbols and debugging information: what stripping leaves,
 * to within 1 KiB. */
static size_t
stripped_size(const char *library)
{
    struct found found = {.name = library};
    dl_iterate_phdr(see_size, &found);
    return found.size;
}

static void
count_library(void)
{
    size_t ours = stripped_size("libumf-fence.so");
    CHECK(ours > 0);
#ifdef HAVE_XSHMFENCE
    report_count("library, stripped", "KiB", (double)ours / 1024, "libxshmfence",
                 (double)stripped_size("libxshmfence.so") / 1024);
#else
    report_count("library, stripped", "KiB", (double)ours / 1024, "", 0);
#endif
}

/* Ways to wait for something that never happens. */
static uint64_t idle_ns, idle_end;
static struct umf_fence *idle_fences[64];
static int idle_event;

static void
idle_umf(void)
{
    EXPECT(-ETIME, umf_fence_wait(idle_fences[0], 1, idle_end));
}

static void
idle_umf_any(void)
{
    struct umf_condition waits[64];
    for (unsigned i = 0; i < 64; i++)
        waits[i] = (struct umf_condition){.fence = idle_fences[i], .value = 1};
    EXPECT(-ETIME, umf_wait(waits, 64, UMF_WAIT_ANY, idle_end, NULL));
}

static void
idle_poll(void)
{
    struct pollfd entry = {.fd = idle_event, .events = POLLIN};
    struct timespec timeout = {.tv_sec = (time_t)(idle_ns / SECOND),
                               .tv_nsec = (long)(idle_ns % SECOND)};
    CHECK(ppoll(&entry, 1, &timeout, NULL) == 0);
}

/* Drivers that poll a fence in memory sleep like this to spare a core. Mesa's venus begins at
 * 160 us. */
static void
idle_look(void)
{
    while (umf_fence_value(idle_fences[0]) == 0 && now_ns() < idle_end)
        sleep_ns(160000);
}

static struct idler {
    void (*wait)(void);
    double cpu_ns;
} idlers[4][5];

static void *
idler_main(void *argument)
{
    struct idler *self = argument;
    uint64_t before = thread_cpu_ns();
    self->wait();
    self->cpu_ns = (double)(thread_cpu_ns() - before);
    return NULL;
}

/* All contenders wait at the same time, so that the benchmark waits once. */
static void
measure_idling(void)
{
    static void (*const ways[4])(void) = {idle_umf, idle_umf_any, idle_poll, idle_look};
    pthread_t threads[4][5];
    struct umf_page *page = new_page(64);
    for (unsigned i = 0; i < 64; i++)
        idle_fences[i] = new_fence(page);
    umf_page_unref(page);
    idle_event = eventfd(0, EFD_CLOEXEC);
    CHECK(idle_event >= 0);

    idle_ns = quick ? SECOND : 3 * SECOND;
    idle_end = in_ns(idle_ns);
    for (int way = 0; way < 4; way++) {
        for (int i = 0; i < 5; i++) {
            idlers[way][i].wait = ways[way];
            CHECK(pthread_create(&threads[way][i], NULL, idler_main, &idlers[way][i]) == 0);
        }
    }
    double samples[4 * 5];
    for (int way = 0; way < 4; way++) {
        for (int i = 0; i < 5; i++) {
            CHECK(pthread_join(threads[way][i], NULL) == 0);
            samples[way * 5 + i] = idlers[way][i].cpu_ns;
        }
    }
    const struct contender list[] = {
        {.name = "libumf, one fence"},
        {.name = "libumf, any of 64"},
        {.name = "poll of an eventfd"},
        {.name = "a look every 160 us"},
    };
    report(quick ? "CPU time of waiting for 1 s" : "CPU time of waiting for 3 s", "ns", 5, list, 4,
           samples);

    close(idle_event);
    for (unsigned i = 0; i < 64; i++)
        umf_fence_unref(idle_fences[i]);
}

void
bench_costs(void)
{
    section("What fences cost beside time");
    count_memory_and_files();
    count_allocations();
    count_library();
    measure_idling();
}
