// SPDX-License-Identifier: MIT
/*
 * Waits for one fence: every jump of the value wakes exactly the waiters that it concerns,
 * deadlines are kept, signals to the process do not interrupt a wait, and the waiter sleeps.
 */
#include "sleeper.h"

static struct umf_page *page;

static struct umf_fence *
fence_at(uint64_t value)
{
    struct umf_fence *fence;
    OK(umf_fence_create(page, value, 0, &fence));
    return fence;
}

static void
deadlines_are_not_early(void)
{
    struct umf_fence *fence = fence_at(0);
    EXPECT(-ETIME, umf_fence_wait(fence, 1, 0));
    EXPECT(-ETIME, umf_fence_wait(fence, 1, 1));
    EXPECT(-ETIME, umf_fence_wait(fence, 1, now_ns() - SECOND));
    EXPECT(-ETIME, umf_fence_wait(fence, 1, now_ns()));
    const uint64_t lengths[] = { 1, 1000, MS, 20 * MS, 70 * MS };
    for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
        uint64_t deadline = in_ns(lengths[i]);
        EXPECT(-ETIME, umf_fence_wait(fence, 1, deadline));
        uint64_t now = now_ns();
        /* Late by what the machine is busy with, but not by a wrong unit of time. */
        CHECK(now >= deadline && now < deadline + 10 * SECOND);
    }
    /* A reached value needs no time. */
    OK(umf_fence_wait(fence, 0, 0));
    OK(umf_fence_wait(fence, 0, 1));
    umf_fence_unref(fence);
}

static void *
wait_almost_forever(void *fence)
{
    OK(umf_fence_wait(fence, 1, UINT64_MAX - 1));
    return NULL;
}

static void
a_deadline_in_584_years_is_one(void)
{
    struct umf_fence *fence = fence_at(0);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, wait_almost_forever, fence) == 0);
    nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL); /* any interleaving is right */
    OK(umf_fence_signal(fence, 1));
    CHECK(pthread_join(thread, NULL) == 0);
    umf_fence_unref(fence);
}

static void
woken_by(uint64_t start, uint64_t waited_for, uint64_t signaled)
{
    struct umf_fence *fence = fence_at(start);
    struct sleeper sleeper = { .fence = fence, .value = waited_for };
    fall_asleep(&sleeper);
    OK(umf_fence_signal(fence, signaled));
    EXPECT(0, end_of(&sleeper));
    umf_fence_unref(fence);
}

static void
no_jump_is_missed(void)
{
    const uint64_t g = UINT64_C(1) << 32, max = UINT64_MAX;
    const uint64_t jumps[][3] = {
        { 0, 1, 1 },
        { 0, 1, 32 },
        { 0, 1, g },
        { 0, 1, 7 * g },
        { 0, g, g },
        { 0, g, 2 * g },
        { 5, 5 + g, 5 + g },
        { 5, 6, 5 + 3 * g },
        { g - 1, g, g },
        { 0, 1, max },
        { 0, max, max },
        { 1, 2, UINT64_C(1) << 63 },
        { INT64_MAX, UINT64_C(1) << 63, UINT64_C(1) << 63 },
        { max - 40, max - 39, max - 39 },
        { max - 40, max - 39, max },
        { max - 40, max, max },
        { max - 40, max - 8, max - 8 },
        { max - 31, max, max },
        { max - 1, max, max },
    };
    for (size_t i = 0; i < ARRAY_SIZE(jumps); i++)
        woken_by(jumps[i][0], jumps[i][1], jumps[i][2]);
}

/* From every residue, by every kind of step: waits for the first value passed, the last, and one
 * between. */
static void
no_step_is_missed(void)
{
    const uint64_t steps[] = { 1, 2, 17, 31, 32, 33 };
    for (uint64_t start = 1000; start < 1032; start += rounds(1, 11)) {
        for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
            woken_by(start, start + 1, start + steps[i]);
            woken_by(start, start + 1 + steps[i] / 2, start + 1 + steps[i]);
            woken_by(start, start + steps[i], start + steps[i]);
        }
    }
}

/* Each waiter falls asleep for its own value: the first one, and every step after it. */
static void
fall_asleep_in_steps(struct sleeper *sleepers, int count, struct umf_fence *fence, uint64_t first,
                     uint64_t step)
{
    memset(sleepers, 0, (size_t)count * sizeof(*sleepers));
    for (int i = 0; i < count; i++) {
        sleepers[i].fence = fence;
        sleepers[i].value = first + step * (uint64_t)i;
        fall_asleep(&sleepers[i]);
    }
}

static void
one_value_wakes_only_its_waiter(void)
{
    enum { THREADS = 64 };
    struct umf_fence *fence = fence_at(100);
    struct sleeper sleepers[THREADS];
    fall_asleep_in_steps(sleepers, THREADS, fence, 101, 1);
    for (int i = 0; i < THREADS; i++) {
        OK(umf_fence_signal(fence, 101 + i));
        EXPECT(0, end_of(&sleepers[i]));
        for (int k = i + 1; k < THREADS; k++)
            CHECK(!atomic_load(&sleepers[k].done));
    }
    umf_fence_unref(fence);
}

static void
one_jump_wakes_all_it_passes(void)
{
    enum { THREADS = 64 };
    struct umf_fence *fence = fence_at(100);
    struct sleeper sleepers[THREADS];
    fall_asleep_in_steps(sleepers, THREADS, fence, 101, 1);
    OK(umf_fence_signal(fence, 100 + THREADS / 2));
    for (int i = 0; i < THREADS / 2; i++)
        EXPECT(0, end_of(&sleepers[i]));
    for (int i = THREADS / 2; i < THREADS; i++)
        CHECK(sleeps_on(&sleepers[i]));
    OK(umf_fence_signal(fence, UINT64_MAX));
    for (int i = THREADS / 2; i < THREADS; i++)
        EXPECT(0, end_of(&sleepers[i]));
    umf_fence_unref(fence);
}

/* Values that are 32 apart share a waiter bit. */
static void
a_waiter_for_32_more_sleeps_until_its_own_value(void)
{
    struct umf_fence *fence = fence_at(0);
    struct sleeper sleepers[4];
    fall_asleep_in_steps(sleepers, 4, fence, 7, 32);
    for (int i = 0; i < 4; i++) {
        OK(umf_fence_signal(fence, 7 + 32 * i));
        EXPECT(0, end_of(&sleepers[i]));
        for (int k = i + 1; k < 4; k++)
            CHECK(sleeps_on(&sleepers[k]));
    }
    umf_fence_unref(fence);
}

static atomic_int ticks;

static void
tick(int signal)
{
    (void)signal;
    atomic_fetch_add(&ticks, 1);
}

/* A thousand signals a second to this thread. */
static timer_t
start_ticks(void)
{
    struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR1 };
    struct itimerspec every_ms = { { 0, MS }, { 0, MS } };
    /* No SA_RESTART: system calls end with EINTR. */
    struct sigaction action = { .sa_handler = tick };
    timer_t timer;
    event._sigev_un._tid = gettid();
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
    CHECK(timer_settime(timer, 0, &every_ms, NULL) == 0);
    return timer;
}

static void *
wait_through_signals(void *fence)
{
    timer_t timer = start_ticks();
    struct umf_condition both[2] = { { fence, 1, UMF_OP_GE, 0, 0 }, { fence, 2, UMF_OP_GE, 0, 0 } };
    OK(umf_fence_wait(fence, 1, FOREVER));
    OK(umf_wait(both, 2, 0, FOREVER, NULL));
    CHECK(timer_delete(timer) == 0);
    return NULL;
}

static void
signal_handlers_do_not_end_a_wait(void)
{
    struct umf_fence *fence = fence_at(0);
    struct umf_condition entry = { fence, 1, UMF_OP_GE, 0, 0 };
    timer_t timer = start_ticks();
    for (int kind = 0; kind < 3; kind++) {
        uint64_t deadline = in_ns(60 * MS);
        atomic_store(&ticks, 0);
        uint64_t flags = kind == 1 ? 0 : UMF_WAIT_ANY;
        EXPECT(-ETIME, kind == 0 ? umf_fence_wait(fence, 1, deadline)
                                 : umf_wait(&entry, 1, flags, deadline, NULL));
        CHECK(now_ns() >= deadline && atomic_load(&ticks) > 0);
    }
    CHECK(timer_delete(timer) == 0);

    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, wait_through_signals, fence) == 0);
    for (uint64_t value = 1; value <= 2; value++) {
        int heard = atomic_load(&ticks);
        while (atomic_load(&ticks) < heard + 20)
            sched_yield();
        OK(umf_fence_signal(fence, value));
    }
    CHECK(pthread_join(thread, NULL) == 0);
    umf_fence_unref(fence);
}

static void
a_process_that_was_stopped_waits_on(void)
{
    struct umf_fence *fence = fence_at(0);
    int status;
    pid_t pid;
    IN_CHILD(pid, {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        OK(umf_fence_wait(fence, 1, FOREVER));
        OK(umf_fence_wait(fence, 2, FOREVER));
    });
    for (uint64_t value = 1; value <= 2; value++) {
        until_asleep(pid, pid);
        CHECK(kill(pid, SIGSTOP) == 0);
        CHECK(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status));
        /* The first fence is signaled after the process continued, the second while it was
         * stopped. */
        if (value == 2)
            OK(umf_fence_signal(fence, value));
        CHECK(kill(pid, SIGCONT) == 0);
        if (value == 1) {
            until_asleep(pid, pid);
            OK(umf_fence_signal(fence, value));
        }
    }
    join_child(pid);
    umf_fence_unref(fence);
}

static uint64_t
cpu_ns(void)
{
    struct timespec t;
    CHECK(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t) == 0);
    return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

static void
a_waiter_uses_no_cpu(void)
{
    struct umf_fence *fence = fence_at(0);
    struct umf_condition entry = { fence, 1, UMF_OP_GE, 0, 0 };
    for (int kind = 0; kind < 3; kind++) {
        uint64_t before = cpu_ns(), deadline = in_ns(300 * MS);
        uint64_t flags = kind == 1 ? 0 : UMF_WAIT_ANY;
        EXPECT(-ETIME, kind == 0 ? umf_fence_wait(fence, 1, deadline)
                                 : umf_wait(&entry, 1, flags, deadline, NULL));
        CHECK(cpu_ns() - before < 5 * MS);
    }
    umf_fence_unref(fence);
}

int
main(void)
{
    watchdog(40);
    OK(umf_page_create(4, 0, &page));
    deadlines_are_not_early();
    a_deadline_in_584_years_is_one();
    no_jump_is_missed();
    no_step_is_missed();
    one_value_wakes_only_its_waiter();
    one_jump_wakes_all_it_passes();
    a_waiter_for_32_more_sleeps_until_its_own_value();
    signal_handlers_do_not_end_a_wait();
    a_process_that_was_stopped_waits_on();
    if (!RUNNING_ON_VALGRIND)
        a_waiter_uses_no_cpu();
    umf_page_unref(page);
    return 0;
}
