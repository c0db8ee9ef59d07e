// SPDX-License-Identifier: MIT
/*
 * Many processes signal and wait for long: no wake-up between them is lost, however they
 * interleave, and a process that is killed in the middle harms nobody. Waits have no deadline, so
 * the watchdog shows a lost wake-up.
 */
#include "sleeper.h"

static uint64_t random_state = 1;

static uint64_t
random_below(uint64_t n)
{
    return random_word(&random_state) % n;
}

static void
run_on_core(int core)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(core, &set);
    /* Where this is not allowed the scheduler chooses the core, which is also right. */
    (void)sched_setaffinity(0, sizeof(set), &set);
}

static void
run_on_any_core(const cpu_set_t *set)
{
    (void)sched_setaffinity(0, sizeof(*set), set);
}

/* Two processes signal each other in turn. On one core each wake-up is a context switch; on two
 * cores they overlap. */
static void
two_processes_play_ping_pong(unsigned games, bool one_core)
{
    struct umf_page *page;
    struct umf_fence *ping, *pong;
    cpu_set_t all;
    pid_t pid;
    CHECK(sched_getaffinity(0, sizeof(all), &all) == 0);
    OK(umf_page_create(2, 0, &page));
    OK(umf_fence_create(page, 0, 0, &ping));
    OK(umf_fence_create(page, 0, 0, &pong));
    if (one_core)
        run_on_core(sched_getcpu());
    IN_CHILD(pid, {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (unsigned i = 1; i <= games; i++) {
            OK(umf_fence_wait(ping, i, FOREVER));
            OK(umf_fence_signal(pong, i));
        }
    });
    for (unsigned i = 1; i <= games; i++) {
        OK(umf_fence_signal(ping, i));
        OK(umf_fence_wait(pong, i, FOREVER));
    }
    join_child(pid);
    run_on_any_core(&all);
    umf_fence_unref(ping);
    umf_fence_unref(pong);
    umf_page_unref(page);
}

/* Eight processes of three threads each. Process p signals its fence to r and waits for its
 * neighbor's to reach r. The threads of one process race to signal; threads of another wait for
 * the last one. */
enum { PROCESSES = 8, THREADS = 3 };

static struct umf_page *ring_page[2];
static struct umf_fence *ring[PROCESSES];
static unsigned ring_rounds;

struct runner {
    pthread_t thread;
    int process, thread_index;
};

static void *
run_the_ring(void *argument)
{
    const struct runner *self = argument;
    struct umf_fence *mine = ring[self->process];
    struct umf_fence *next = ring[(self->process + 1) % PROCESSES];
    struct umf_fence *beyond = ring[(self->process + 2) % PROCESSES];
    for (unsigned i = 1; i <= ring_rounds; i++) {
        /* Jumps of irregular size, sometimes beyond 32 bits: all residues, none regularly. */
        uint64_t value = i * UINT64_C(7) + ((uint64_t)(i / 1000) << 33);
        int answer = umf_fence_signal(mine, value);
        CHECK(answer == 0 || answer == -EINVAL); /* another thread of this process was faster */
        struct umf_condition list[2] = { { next, value, UMF_OP_GE, 0, 0 },
                                         { beyond, value, UMF_OP_GE, 0, 0 } };
        switch ((i + (unsigned)self->thread_index) % 3) {
        case 0:
            OK(umf_fence_wait(next, value, FOREVER));
            break;
        case 1:
            OK(umf_wait(list, 2, 0, FOREVER, NULL));
            break;
        default:
            OK(umf_wait(list, 2, UMF_WAIT_ANY, FOREVER, NULL));
            break;
        }
    }
    return NULL;
}

static void
many_threads_of_many_processes_wait_for_each_other(unsigned count)
{
    pid_t pids[PROCESSES];
    ring_rounds = count;
    OK(umf_page_create(PROCESSES, 0, &ring_page[0]));
    OK(umf_page_create(PROCESSES, 0, &ring_page[1]));
    for (int i = 0; i < PROCESSES; i++)
        OK(umf_fence_create(ring_page[i % 2], 0, 0, &ring[i]));
    for (int p = 0; p < PROCESSES; p++) {
        IN_CHILD(pids[p], {
            struct runner runners[THREADS];
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            for (int t = 0; t < THREADS; t++) {
                runners[t].process = p;
                runners[t].thread_index = t;
                CHECK(pthread_create(&runners[t].thread, NULL, run_the_ring, &runners[t]) == 0);
            }
            for (int t = 0; t < THREADS; t++)
                CHECK(pthread_join(runners[t].thread, NULL) == 0);
        });
    }
    for (int p = 0; p < PROCESSES; p++)
        join_child(pids[p]);
    for (int i = 0; i < PROCESSES; i++)
        umf_fence_unref(ring[i]);
    umf_page_unref(ring_page[0]);
    umf_page_unref(ring_page[1]);
}

/* Never ends by itself: it waits, and signals what only it waits for, until it is killed.
 * (killed.c tests what happens to waiters of a killed signaler.) */
static void
be_killed(struct umf_fence *fence, struct umf_fence *other)
{
    for (uint64_t i = 1;; i++) {
        uint64_t next = umf_fence_value(fence) + 1 + i % 40;
        struct umf_condition list[2] = { { fence, next, UMF_OP_GE, 0, 0 },
                                         { other, UINT64_MAX, UMF_OP_GE, 0, 0 } };
        umf_fence_wait(fence, next, in_ns(50000));
        umf_wait(list, 2, i % 2 ? UMF_WAIT_ANY : 0, in_ns(50000), NULL);
        umf_fence_signal(other, i);
        if (i % 5 == 0)
            umf_fence_wait(fence, UINT64_MAX, FOREVER);
    }
}

static void
a_waiter_that_is_killed_harms_nobody(unsigned kills)
{
    struct umf_page *page;
    struct umf_fence *fence, *heard, *other;
    pid_t listener, victim;
    int status;
    OK(umf_page_create(3, 0, &page));
    OK(umf_fence_create(page, 0, 0, &fence));
    OK(umf_fence_create(page, 0, 0, &heard));
    OK(umf_fence_create(page, 0, 0, &other));
    IN_CHILD(listener, {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (uint64_t i = 1; i <= kills; i++) {
            struct umf_condition entry = { fence, i, UMF_OP_GE, 0, 0 };
            if (i % 2)
                OK(umf_fence_wait(fence, i, FOREVER));
            else
                OK(umf_wait(&entry, 1, 0, FOREVER, NULL));
            OK(umf_fence_signal(heard, i));
        }
    });
    for (uint64_t i = 1; i <= kills; i++) {
        IN_CHILD(victim, be_killed(fence, other));
        uint64_t until = in_ns(random_below(300000));
        while (now_ns() < until)
            sched_yield();
        if (i % 2)
            OK(umf_fence_signal(fence, i));
        CHECK(kill(victim, SIGKILL) == 0);
        if (i % 2 == 0)
            OK(umf_fence_signal(fence, i));
        OK(umf_fence_wait(heard, i, FOREVER));
        CHECK(waitpid(victim, &status, 0) == victim && WIFSIGNALED(status));
    }
    join_child(listener);
    CHECK(umf_fence_value(fence) == kills);
    umf_fence_unref(fence);
    umf_fence_unref(heard);
    umf_fence_unref(other);
    umf_page_unref(page);
}

int
main(void)
{
    watchdog(50);
    two_processes_play_ping_pong(rounds(70000, 1000), true);
    two_processes_play_ping_pong(rounds(30000, 1000), false);
    many_threads_of_many_processes_wait_for_each_other(rounds(4000, 100));
    a_waiter_that_is_killed_harms_nobody(rounds(1000, 20));
    return 0;
}
