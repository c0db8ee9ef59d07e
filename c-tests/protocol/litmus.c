// SPDX-License-Identifier: MIT
/*
 * The wake protocol on real cores: one process falls asleep just when another signals, over and
 * over. The delay sweeps over the few hundred nanoseconds between the waiter's last check and its
 * sleep. A lost wake-up is a round that never ends: waits have no deadline, and the watchdog ends
 * the test. It needs two cores to find anything.
 *
 *     litmus [ROUNDS]     of each way to wait; the default is for a test suite, millions are for
 * evidence
 */
#include "sleeper.h"

#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>

/* The meeting point: each process says which round it has reached. */
struct start {
    _Alignas(64) _Atomic uint64_t waiter;
    _Alignas(64) _Atomic uint64_t signaler;
};

static void
meet(_Atomic uint64_t *mine, const _Atomic uint64_t *other, uint64_t round)
{
    atomic_store(mine, round);
    for (unsigned spins = 1; atomic_load(other) < round; spins++) {
        if (spins % 1000 == 0)
            sched_yield();
    }
}

static struct umf_fence *fence, *idle, *elsewhere;

static int
one(uint64_t i)
{
    return umf_fence_wait(fence, i, FOREVER);
}

static int
any(uint64_t i)
{
    const struct umf_condition list[2] = { { .fence = idle, .value = 1 },
                                           { .fence = fence, .value = i } };
    uint32_t index = 2;
    int result = umf_wait(list, 2, UMF_WAIT_ANY, FOREVER, &index);
    CHECK(index == 1);
    return result;
}

static int
any_of_two_pages(uint64_t i)
{
    const struct umf_condition list[2] = { { .fence = elsewhere, .value = 1 },
                                           { .fence = fence, .value = i } };
    return umf_wait(list, 2, UMF_WAIT_ANY, FOREVER, NULL);
}

static int
all(uint64_t i)
{
    const struct umf_condition list[2] = { { .fence = fence, .value = i },
                                           { .fence = fence, .value = i } };
    return umf_wait(list, 2, 0, FOREVER, NULL);
}

static int
differs(uint64_t i)
{
    const struct umf_condition list[1] = { { .fence = fence, .value = i - 1, .op = UMF_OP_NE } };
    return umf_wait(list, 1, UMF_WAIT_ANY, FOREVER, NULL);
}

static void
race(const char *what, int (*wait)(uint64_t), uint64_t rounds)
{
    struct umf_page *page, *other;
    uint64_t random = 1;
    pid_t pid;
    struct start *start =
        mmap(NULL, sizeof(*start), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(start != MAP_FAILED);
    OK(umf_page_create(2, 0, &page));
    OK(umf_page_create(1, 0, &other));
    OK(umf_fence_create(page, 0, 0, &fence));
    OK(umf_fence_create(page, 0, 0, &idle));
    OK(umf_fence_create(other, 0, 0, &elsewhere));
    IN_CHILD(pid, {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (uint64_t i = 1; i <= rounds; i++) {
            meet(&start->waiter, &start->signaler, i);
            OK(wait(i));
        }
    });
    uint64_t began = now_ns();
    for (uint64_t i = 1; i <= rounds; i++) {
        meet(&start->signaler, &start->waiter, i);
        /* Now and then long enough for the waiter to sleep deeply; that costs a hundred times as
         * much. */
        for (uint64_t spins = random_word(&random) % (i % 32 == 0 ? 10000 : 1000); spins > 0;
             spins--)
            __asm__ volatile("");
        OK(umf_fence_signal(fence, i));
    }
    struct rusage before, after;
    CHECK(getrusage(RUSAGE_CHILDREN, &before) == 0);
    join_child(pid);
    CHECK(getrusage(RUSAGE_CHILDREN, &after) == 0);
    printf("%-16s %" PRIu64 " rounds in %.1f s, asleep in %ld of them, none lost\n", what, rounds,
           (double)(now_ns() - began) / 1e9, after.ru_nvcsw - before.ru_nvcsw);
    CHECK(munmap(start, sizeof(*start)) == 0);
    umf_fence_unref(fence);
    umf_fence_unref(idle);
    umf_fence_unref(elsewhere);
    umf_page_unref(page);
    umf_page_unref(other);
}

int
main(int argc, char **argv)
{
    uint64_t count = argc > 1 ? strtoull(argv[1], NULL, 0) : rounds(300000, 100);
    watchdog(argc > 1 ? (unsigned)(60 + count / 1000) : 50);
    /* Without spinning, the waiter is at the edge of sleep, where it has to be. */
    OK(umf_set_spin(0, 0, 0));
    race("one", one, count);
    race("any", any, count);
    race("any, two pages", any_of_two_pages, count);
    race("all", all, count);
    race("!=", differs, count);
    return 0;
}
