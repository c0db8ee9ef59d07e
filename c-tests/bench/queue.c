// SPDX-License-Identifier: MIT
/*
 * Queues: the cost of submitting a job that can run at once, and the delay until a job that had to
 * wait begins. The peer is the submit thread that a driver would have written.
 */
#include "bench.h"

#include <pthread.h>

/* Jobs in one sample. */
#define TIMES 200
#define WAITS_MAX 4

static struct umf_fence *fences[WAITS_MAX], *target, *blocker;
static uint64_t value;

/* When a job began, and on which thread. */
static _Atomic uint64_t began_at;
static _Atomic pid_t ran_on;

static int
record_begin(void *data)
{
    (void)data;
    ran_on = thread_id();
    began_at = now_ns();
    return UMF_JOB_DONE;
}

static int
nothing(void *data)
{
    (void)data;
    return UMF_JOB_DONE;
}

/* Submitted, run and signaled in one call */

static struct umf_queue *inline_queue;

static struct umf_job
met_job(struct umf_condition *waits, uint32_t count, struct umf_signal *signal)
{
    for (uint32_t i = 0; i < count; i++)
        waits[i] = (struct umf_condition){.fence = fences[i], .value = 1};
    *signal = (struct umf_signal){target, 0};
    return (struct umf_job){.size = sizeof(struct umf_job),
                            .wait_count = count,
                            .signal_count = 1,
                            .waits = waits,
                            .signals = signal,
                            .run = nothing};
}

static double
run_inline(void *state)
{
    struct umf_condition waits[WAITS_MAX];
    struct umf_signal signal;
    struct umf_job job = met_job(waits, *(uint32_t *)state, &signal);
    uint64_t start = now_ns();
    for (int i = 0; i < TIMES; i++) {
        signal.value = ++value;
        OK(umf_queue_submit(inline_queue, &job, 0));
    }
    return (double)(now_ns() - start) / TIMES;
}

/* The same without a queue, for a driver that knows that nothing has to wait. */
static double
run_by_hand(void *state)
{
    struct umf_condition waits[WAITS_MAX];
    struct umf_signal signal;
    struct umf_job job = met_job(waits, *(uint32_t *)state, &signal);
    uint64_t start = now_ns();
    for (int i = 0; i < TIMES; i++) {
        signal.value = ++value;
        if (job.wait_count > 0)
            OK(umf_wait(waits, job.wait_count, 0, 0, NULL));
        OK(umf_fence_submit(target, signal.value));
        OK(job.run(NULL));
        OK(umf_fence_signal(target, signal.value));
    }
    return (double)(now_ns() - start) / TIMES;
}

/* A submit thread, as drivers have it */

struct order {
    struct order *next;
    struct umf_fence *wait;
    uint64_t value;
};

static struct {
    pthread_t pthread;
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    struct order *first, **last;
    bool ended;
} submitter = {.mutex = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};

static void *
submitter_main(void *argument)
{
    (void)argument;
    CHECK(pthread_mutex_lock(&submitter.mutex) == 0);
    for (;;) {
        while (!submitter.first && !submitter.ended)
            CHECK(pthread_cond_wait(&submitter.cond, &submitter.mutex) == 0);
        struct order *order = submitter.first;
        if (!order)
            break;
        submitter.first = order->next;
        if (!submitter.first)
            submitter.last = &submitter.first;
        CHECK(pthread_mutex_unlock(&submitter.mutex) == 0);
        if (order->wait)
            OK(umf_fence_wait(order->wait, order->value, FOREVER));
        record_begin(NULL);
        free(order);
        CHECK(pthread_mutex_lock(&submitter.mutex) == 0);
    }
    CHECK(pthread_mutex_unlock(&submitter.mutex) == 0);
    return NULL;
}

static void
submit_by_hand(struct umf_fence *wait, uint64_t wait_value)
{
    struct order *order = malloc(sizeof(*order));
    CHECK(order);
    *order = (struct order){.wait = wait, .value = wait_value};
    CHECK(pthread_mutex_lock(&submitter.mutex) == 0);
    *submitter.last = order;
    submitter.last = &order->next;
    CHECK(pthread_cond_signal(&submitter.cond) == 0);
    CHECK(pthread_mutex_unlock(&submitter.mutex) == 0);
}

/* Until a job begins */

static struct umf_queue *thread_queue;
static int worker_cpu;

struct way {
    void (*submit)(struct umf_fence *wait, uint64_t wait_value);
    bool blocked;
    pid_t worker;
};

static void
submit_to_queue(struct umf_fence *wait, uint64_t wait_value)
{
    struct umf_condition waits = {.fence = wait, .value = wait_value};
    struct umf_job job = {.size = sizeof(job),
                          .wait_count = wait != NULL,
                          .waits = &waits,
                          .run = record_begin};
    OK(umf_queue_submit(thread_queue, &job, 0));
}

static uint64_t
until_begun(void)
{
    while (began_at == 0)
        sleep_ns(20000);
    return began_at;
}

static double
sample_begin(void *state)
{
    struct way *way = state;
    began_at = 0;
    if (!way->worker) {
        /* the thread that will run the job */
        way->submit(way->blocked ? blocker : NULL, ++value);
        OK(umf_fence_signal(blocker, value));
        until_begun();
        began_at = 0;
        way->worker = ran_on;
        pin(way->worker, worker_cpu);
    }
    uint64_t start;
    value++;
    if (way->blocked)
        way->submit(blocker, value);
    do {
        sleep_ns(20000);
    } while (!is_asleep(way->worker));
    start = now_ns();
    if (way->blocked)
        OK(umf_fence_signal(blocker, value));
    else
        way->submit(NULL, 0);
    double taken = (double)(until_begun() - start);
    do {
        sleep_ns(20000);
    } while (!is_asleep(way->worker));
    return taken;
}

static void
compare_begins(const char *row, bool blocked)
{
    struct way ours = {.submit = submit_to_queue, .blocked = blocked};
    struct way theirs = {.submit = submit_by_hand, .blocked = blocked};
    const struct contender list[] = {
        {"libumf", sample_begin, &ours, NULL},
        {blocked ? "a thread in umf_fence_wait" : "a thread, mutex and condition variable",
         sample_begin, &theirs, NULL},
    };
    compare(row, "ns", ROUNDS, list, 2);
}

static void
count_allocations(void)
{
    struct umf_condition waits[WAITS_MAX];
    struct umf_signal signal;
    struct umf_job job = met_job(waits, WAITS_MAX, &signal);
    long before = allocations_so_far();
    for (int i = 0; i < TIMES; i++) {
        signal.value = ++value;
        OK(umf_queue_submit(inline_queue, &job, 0));
    }
    report_count("allocations for a job with 4 waits", "",
                 (double)(allocations_so_far() - before) / TIMES,
                 "a thread's list of its own, at least", 1);
}

void
bench_queues(void)
{
    struct umf_page *page = new_page(WAITS_MAX + 2);
    struct umf_loop *loop;
    struct cpus cpus = usable_cpus();
    uint32_t counts[] = {0, 1, 4};
    static const char *const rows[] = {"submit, run, signal: no waits",
                                       "submit, run, signal: 1 wait that is met",
                                       "submit, run, signal: 4 waits that are met"};
    for (int i = 0; i < WAITS_MAX; i++) {
        fences[i] = new_fence(page);
        OK(umf_fence_signal(fences[i], 1));
    }
    target = new_fence(page);
    blocker = new_fence(page);
    umf_page_unref(page);
    value = 0;
    OK(umf_loop_create(UMF_LOOP_THREAD, &loop));
    OK(umf_queue_create(loop, UMF_QUEUE_INLINE, &inline_queue));
    OK(umf_queue_create(loop, 0, &thread_queue));
    submitter.last = &submitter.first;
    CHECK(pthread_create(&submitter.pthread, NULL, submitter_main, NULL) == 0);
    worker_cpu = cpus.cpu[cpus.count - 1];
    pin(0, cpus.cpu[0]);

    section("Queues: jobs that run at once, and later");
    for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
        const struct contender list[] = {
            {"libumf", run_inline, &counts[i], NULL},
            {"the same calls without a queue", run_by_hand, &counts[i], NULL},
        };
        compare(rows[i], "ns", ROUNDS, list, 2);
    }
    compare_begins("submitted, until it begins", false);
    compare_begins("held up: signaled, until it begins", true);
    count_allocations();

    CHECK(pthread_mutex_lock(&submitter.mutex) == 0);
    submitter.ended = true;
    CHECK(pthread_cond_signal(&submitter.cond) == 0);
    CHECK(pthread_mutex_unlock(&submitter.mutex) == 0);
    CHECK(pthread_join(submitter.pthread, NULL) == 0);
    unpin();
    umf_queue_unref(inline_queue);
    umf_queue_unref(thread_queue);
    umf_loop_unref(loop);
    for (int i = 0; i < WAITS_MAX; i++)
        umf_fence_unref(fences[i]);
    umf_fence_unref(target);
    umf_fence_unref(blocker);
}
