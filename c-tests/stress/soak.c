// SPDX-License-Identifier: MIT
/*
 * Everything at once, for a long time: processes that signal and wait in all ways, loops and
 * queues, conversions where the machine supports any, and signalers that are killed and started
 * again. Every signal and every wake-up is counted.
 *
 * Checks that nothing is lost. Once everything has been done once, nothing grows: memory,
 * descriptors, threads, mappings, syncobj handles; and the kernel's memory, on a machine that runs
 * nothing else.
 *
 *     soak [SECONDS [ROUNDS]]     for at least so long and so many rounds; the default is for a
 * test suite
 *
 * A round is a signal of a process and another's wait for it. The last line sums up.
 */
#include "drm_machine.h"
#include "soak.h"

/* A process that made no progress for so long never will: it lost a wake-up. */
#define STUCK (60 * SECOND)

/* Allowed growth: pages that the allocator or the kernel keeps. A block that leaks with each
 * watch, job or signal exceeds it within seconds. */
#define MOST_HEAP (64 * 1024) /* bytes */
#define MOST_MEMORY 1024      /* KiB */
#define MOST_KERNEL 4096      /* KiB, of the whole machine */

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define IS_SANITIZED 1
#else
#define IS_SANITIZED 0
#endif

static struct pair *pairs;
static unsigned pair_count;

static const char *
name_of(unsigned i, char *text, size_t size)
{
    snprintf(text, size, "%s, %s", pairs[i / 2].name, i % 2 ? "the second" : "the first");
    return text;
}

static struct process *
process_of(unsigned i)
{
    return &pairs[i / 2].process[i % 2];
}

static uint64_t
total(enum count what)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < 2 * pair_count; i++)
        sum += atomic_load(&process_of(i)->count[what]);
    return sum;
}

/* Unreclaimable kernel memory of the machine: KiB, or -1. */
static int64_t
kernel_memory(void)
{
    char line[128];
    long long kib = -1;
    FILE *meminfo = fopen("/proc/meminfo", "re");
    while (meminfo && kib < 0 && fgets(line, sizeof(line), meminfo))
        sscanf(line, "SUnreclaim: %lld", &kib);
    if (meminfo)
        fclose(meminfo);
    return kib;
}

static void
start(pid_t *pids)
{
    for (unsigned i = 0; i < pair_count; i++) {
        int ends[2];
        CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0);
        for (int side = 0; side < 2; side++)
            IN_CHILD(pids[2 * i + side], {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                close(ends[!side]);
                pairs[i].run[side](&pairs[i], &pairs[i].process[side], ends[side]);
            });
        close(ends[0]);
        close(ends[1]);
    }
}

/* Supervises the processes until all have reached a state, or until a time. */
static bool
watch_over(const pid_t *pids, atomic_bool *(*reached)(struct process *process), uint64_t until)
{
    static uint64_t rounds_of[32], since[32];
    for (;;) {
        unsigned count = 0;
        for (unsigned i = 0; i < 2 * pair_count; i++) {
            char name[64];
            int status;
            uint64_t rounds = atomic_load(&process_of(i)->count[ROUNDS]), now = now_ns();
            bool done = atomic_load(&process_of(i)->has_after);
            if (waitpid(pids[i], &status, WNOHANG) != 0) {
                fprintf(stderr, "%s: ended with %d, after %" PRIu64 " rounds\n",
                        name_of(i, name, sizeof(name)), status, rounds);
                return false;
            }
            if (rounds != rounds_of[i] || done || since[i] == 0) {
                rounds_of[i] = rounds;
                since[i] = now;
            }
            if (now - since[i] > STUCK * (is_emulated() ? 6 : 1)) {
                fprintf(stderr, "%s: made no progress, after %" PRIu64 " rounds\n",
                        name_of(i, name, sizeof(name)), rounds);
                return false;
            }
            count += reached && atomic_load(reached(process_of(i)));
        }
        if (reached ? count == 2 * pair_count : now_ns() >= until)
            return true;
        nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
    }
}

static atomic_bool *
has_before(struct process *process)
{
    return &process->has_before;
}

static atomic_bool *
has_after(struct process *process)
{
    return &process->has_after;
}

static bool
is_within(const char *who, const char *what, int64_t before, int64_t after, int64_t most)
{
    if (after - before <= most)
        return true;
    fprintf(stderr, "%s: %s grew from %" PRId64 " to %" PRId64 "\n", who, what, before, after);
    return false;
}

/* The largest growth of any process. */
struct growth {
    int64_t memory, heap;
};

static bool
nothing_grew(struct growth *most)
{
    bool good = true;
    for (unsigned i = 0; i < 2 * pair_count; i++) {
        char who[64];
        const struct figures *b = &process_of(i)->before, *a = &process_of(i)->after;
        name_of(i, who, sizeof(who));
        if (!is_emulated() && !IS_SANITIZED) { /* an emulator remembers translated code, a sanitizer
                                                  what it has seen */
            good &= is_within(who, "memory (KiB)", b->memory, a->memory, MOST_MEMORY);
            good &= is_within(who, "mappings", b->mappings, a->mappings, 2); /* the allocator's */
        }
        good &= is_within(who, "heap (bytes)", b->heap, a->heap, MOST_HEAP);
        good &= is_within(who, "descriptors", b->files, a->files, 0);
        good &= is_within(who, "threads", b->threads, a->threads, 0);
        good &= is_within(who, "syncobj handles", b->handle, a->handle, 0);
        if (a->memory - b->memory > most->memory)
            most->memory = a->memory - b->memory;
        if (a->heap - b->heap > most->heap)
            most->heap = a->heap - b->heap;
    }
    return good;
}

static bool
nothing_lost(void)
{
    bool good =
        total(ARMED) * 2 == total(RELEASED) && total(ARMED) == total(CALLED) + total(CANCELED);
    for (unsigned i = 0; i < pair_count; i++) {
        const struct process *p = pairs[i].process;
        good &=
            p[0].count[SIGNALS] == p[1].count[WAKES] && p[1].count[SIGNALS] == p[0].count[WAKES];
    }
    if (!good)
        fprintf(stderr, "what was signaled and what was woken differ in number\n");
    return good;
}

int
main(int argc, char **argv)
{
    static const struct pair kinds[] = {
        { .name = "a pair", .run = { ping, pong } },
        { .name = "a pair with pages of one writer",
          .run = { ping, pong },
          .page_flags = UMF_PAGE_SINGLE_WRITER },
        { .name = "a watcher", .run = { signal_many, watch_many } },
        { .name = "a killer", .run = { kill_signalers, start_signalers } },
        { .name = "a converter", .run = { signal_ahead, convert } },
    };
    if (RUNNING_ON_VALGRIND) {
        printf("valgrind knows no pidfd_open\n");
        return SKIPPED;
    }
    const uint64_t seconds = argc > 1 ? strtoull(argv[1], NULL, 10) : 3,
                   least = argc > 2 ? strtoull(argv[2], NULL, 10) : 0;
    const bool converts = can_convert(), is_ours = converts && open_drm("vgem", "card") >= 0;
    pid_t pids[32];
    struct growth growth = { 0 };
    pair_count = ARRAY_SIZE(kinds) - !converts;
    size_t size = sizeof(*orders) + sizeof(kinds);
    pairs = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(pairs != MAP_FAILED);
    memcpy(pairs, kinds, sizeof(kinds));
    orders = (struct orders *)(pairs + ARRAY_SIZE(kinds));
    for (unsigned i = 0; i < pair_count; i++)
        pairs[i].last = UINT64_MAX;
    if (!converts)
        printf("not available: conversions (no device with syncobjs, no udmabuf)\n");

    uint64_t began = now_ns();
    start(pids);
    CHECK(watch_over(pids, NULL, began + seconds * SECOND / 4));
    atomic_store(&orders->warm, true);
    CHECK(watch_over(pids, has_before, 0));
    int64_t kernel_before = kernel_memory();
    CHECK(watch_over(pids, NULL, began + seconds * SECOND));
    while (total(ROUNDS) < least)
        CHECK(watch_over(pids, NULL, in_ns(SECOND / 10)));
    atomic_store(&orders->stop, true);
    CHECK(watch_over(pids, has_after, 0));
    int64_t kernel_after = kernel_memory();
    uint64_t took = now_ns() - began;
    atomic_store(&orders->leave, true);
    for (unsigned i = 0; i < 2 * pair_count; i++)
        join_child(pids[i]);

    bool good = nothing_lost();
    good &= nothing_grew(&growth);
    if (is_ours)
        good &= is_within("the machine", "the kernel's memory (KiB)", kernel_before, kernel_after,
                          MOST_KERNEL);
    printf("%" PRIu64 " s, %u processes: %" PRIu64 " signals, %" PRIu64 " wakes, %" PRIu64
           " sleeps; %" PRIu64 " watches: %" PRIu64 " called, %" PRIu64 " canceled; %" PRIu64
           " eventfds raised, %" PRIu64 " jobs, %" PRIu64 " conversions; %" PRIu64
           " killed, %" PRIu64 " told; most growth: %" PRId64 " KiB resident, %" PRId64
           " bytes of heap; the machine's kernel: "
           "%" PRId64 " KiB%s\n",
           took / SECOND, 2 * pair_count, total(SIGNALS), total(WAKES), total(SLEEPS), total(ARMED),
           total(CALLED), total(CANCELED), total(EVENTS), total(JOBS), total(CONVERTED),
           total(KILLS), total(TOLD), growth.memory, growth.heap, kernel_after - kernel_before,
           good ? "; nothing lost, nothing grew" : "");
    return good ? 0 : 1;
}
