// SPDX-License-Identifier: MIT
/* Many threads sleep on one fence, each for its own value. Each signal concerns one of them. */
#include "bench.h"
#include "futex.h"

#include <pthread.h>
#include <semaphore.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#define MOST 1000

/* How the waiters wait. The value is 0 before each sample. */
struct crowd {
    void (*reset)(void);
    void (*wait)(uint32_t value);
    void (*signal)(uint32_t value);
    unsigned size;
    bool counted;
};

static struct umf_page *page;
static struct umf_fence *fence;
static _Atomic uint32_t *word;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static uint32_t monitored;

static void
umf_reset(void)
{
    umf_fence_unref(fence);
    fence = new_fence(page);
}

static void
umf_wait_one(uint32_t value)
{
    OK(umf_fence_wait(fence, value, FOREVER));
}

static void
umf_signal(uint32_t value)
{
    OK(umf_fence_signal(fence, value));
}

static void
futex_reset(void)
{
    atomic_store(word, 0);
}

static void
futex_wait_one(uint32_t value)
{
    futex_wait_for(word, value);
}

static void
futex_broadcast(uint32_t value)
{
    futex_signal(word, value, INT32_MAX);
}

static void
pthread_reset(void)
{
    monitored = 0;
}

static void
pthread_wait_one(uint32_t value)
{
    CHECK(pthread_mutex_lock(&mutex) == 0);
    while (monitored < value)
        CHECK(pthread_cond_wait(&cond, &mutex) == 0);
    CHECK(pthread_mutex_unlock(&mutex) == 0);
}

static void
pthread_broadcast(uint32_t value)
{
    CHECK(pthread_mutex_lock(&mutex) == 0);
    monitored = value;
    CHECK(pthread_mutex_unlock(&mutex) == 0);
    CHECK(pthread_cond_broadcast(&cond) == 0);
}

static struct waiter {
    const struct crowd *crowd;
    uint32_t value;
    _Atomic pid_t thread;
    long wakeups;
} waiters[MOST];
static _Atomic unsigned returned;
static uint64_t last_returned_at;
static sem_t all_returned;

static long
switches(int who)
{
    struct rusage usage;
    CHECK(getrusage(who, &usage) == 0);
    return usage.ru_nvcsw;
}

static void *
waiter_main(void *argument)
{
    struct waiter *self = argument;
    /* Counts wake-ups: each ends a sleep, which is a voluntary context switch. */
    long before = switches(RUSAGE_THREAD);
    atomic_store(&self->thread, thread_id());
    self->crowd->wait(self->value);
    self->wakeups = switches(RUSAGE_THREAD) - before;
    if (atomic_fetch_add(&returned, 1) + 1 == self->crowd->size) {
        last_returned_at = now_ns();
        CHECK(sem_post(&all_returned) == 0);
    }
    return NULL;
}

/* Waits until `count` waiters have returned and all others sleep again. A signal may have woken
 * more than it concerns. */
static void
settle(unsigned count)
{
    long before, now = switches(RUSAGE_SELF);
    do {
        before = now;
        sleep_ns(20000);
        now = switches(RUSAGE_SELF);
        /* this thread's own switch */
    } while (now - before > 1 || atomic_load(&returned) < count);
}

/* Lets all waiters fall asleep, then wakes all. The cost is the time at full speed, or wake-ups
 * per waiter with pauses between signals. */
static double
sample(void *state)
{
    const struct crowd *crowd = state;
    static pthread_t threads[MOST];
    pthread_attr_t small;
    CHECK(pthread_attr_init(&small) == 0 && pthread_attr_setstacksize(&small, 64 * 1024) == 0);

    crowd->reset();
    atomic_store(&returned, 0);
    for (unsigned i = 0; i < crowd->size; i++) {
        waiters[i] = (struct waiter){.crowd = crowd, .value = i + 1};
        CHECK(pthread_create(&threads[i], &small, waiter_main, &waiters[i]) == 0);
    }
    for (unsigned i = 0; i < crowd->size; i++) {
        while (!atomic_load(&waiters[i].thread) || !is_asleep(atomic_load(&waiters[i].thread)))
            sleep_ns(20000);
    }
    settle(0);

    uint64_t begin = now_ns();
    for (unsigned i = 0; i < crowd->size; i++) {
        crowd->signal(i + 1);
        if (crowd->counted)
            settle(i + 1);
    }
    while (sem_wait(&all_returned) != 0)
        CHECK(errno == EINTR);
    double taken = (double)(last_returned_at - begin);

    long wakeups = 0;
    for (unsigned i = 0; i < crowd->size; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
        wakeups += waiters[i].wakeups;
    }
    pthread_attr_destroy(&small);
    return crowd->counted ? (double)wakeups / crowd->size : taken;
}

static void
compare_crowds(const char *row, unsigned size, bool counted)
{
    struct crowd crowds[] = {
        {umf_reset, umf_wait_one, umf_signal, size, counted},
        {futex_reset, futex_wait_one, futex_broadcast, size, counted},
        {pthread_reset, pthread_wait_one, pthread_broadcast, size, counted},
    };
    struct contender list[] = {
        {"libumf", sample, &crowds[0], NULL},
        {"futex, broadcast", sample, &crowds[1], NULL},
        {"pthread_cond_broadcast", sample, &crowds[2], NULL},
    };
    struct rounds rounds = {size < 100 ? 5 : size < MOST ? 3 : quick ? 1 : 3, 101};
    if (quick && size == MOST && counted)
        list[2].absent = "left out by --quick";
    compare(row, counted ? "wake-ups per waiter" : "ns", rounds, list, 3);
}

void
bench_crowds(void)
{
    static const struct {
        unsigned size;
        const char *counted, *timed;
    } rows[] = {
        {1, "1 sleeper, one signal at a time", "1 sleeper, woken"},
        {8, "8 sleepers, one signal at a time", "8 sleepers, at full speed"},
        {32, "32 sleepers, one signal at a time", "32 sleepers, at full speed"},
        {100, "100 sleepers, one signal at a time", "100 sleepers, at full speed"},
        {1000, "1000 sleepers, one signal at a time", "1000 sleepers, at full speed"},
    };
    section("Asleep on one fence, for distinct values");
    /* Timers must not be rounded up. */
    prctl(PR_SET_TIMERSLACK, 1);
    CHECK(sem_init(&all_returned, 0, 0) == 0);
    page = new_page(1);
    fence = new_fence(page);
    word = shared_memory(sizeof(*word));
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
        compare_crowds(rows[i].counted, rows[i].size, true);
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
        compare_crowds(rows[i].timed, rows[i].size, false);
    umf_fence_unref(fence);
    umf_page_unref(page);
}
