// SPDX-License-Identifier: MIT
/*
 * Concurrent calls on queues: many threads submit, cancel, fail and release at once, and fences are
 * signaled just when their watches are withdrawn. Every accepted job is released exactly once; no
 * two of a queue run at once; none is lost or stuck.
 */
#include "queue.h"
#include "sleeper.h"

#define SUBMITTERS 2
#define JOBS 24

struct race {
    struct rig rig;
    struct umf_queue *queue;
    pthread_barrier_t start;
    atomic_int running;
    bool loses;
    /* by submitter: the last that ran */
    atomic_int last[SUBMITTERS];
    struct racer {
        struct race *race;
        pthread_t thread;
        int number, submitted;
        unsigned seed;
        struct job {
            struct racer *by;
            int number, answer;
            bool accepted;
            atomic_int ran, released;
            int result;
        } jobs[JOBS];
    } racers[SUBMITTERS];
};

static int
run_alone(void *data)
{
    struct job *job = data;
    struct race *race = job->by->race;
    CHECK(atomic_fetch_add(&race->running, 1) == 0);
    CHECK(job->released == 0 && atomic_fetch_add(&job->ran, 1) == 0);
    /* They run in the order of submission. */
    CHECK(atomic_exchange(&race->last[job->by->number], job->number) < job->number);
    if (job->number % 5 == 0)
        sched_yield();
    CHECK(atomic_fetch_sub(&race->running, 1) == 1);
    return job->answer;
}

static void
count_release(void *data, int result)
{
    struct job *job = data;
    job->result = result;
    CHECK(atomic_fetch_add(&job->released, 1) == 0);
}

static void *
submit_all(void *argument)
{
    struct racer *racer = argument;
    struct race *race = racer->race;
    struct umf_queue *queue = race->queue;
    pthread_barrier_wait(&race->start);
    for (int i = 0; i < JOBS; i++) {
        struct job *job = &racer->jobs[i];
        struct umf_condition wait = { .fence = race->rig.fence[rand_r(&racer->seed) % 4],
                                      .value = 1 + (uint64_t)rand_r(&racer->seed) % 8 };
        struct umf_job described = { .size = sizeof(described), .wait_count = i % 3 != 0,
                                     .waits = &wait, .run = run_alone, .release = count_release,
                                     .data = job };
        job->by = racer;
        job->number = i + 1;
        int answer = umf_queue_submit(queue, &described, 0);
        job->accepted = answer == 0;
        CHECK(answer == 0 || (race->loses && answer == -EIO));
    }
    umf_queue_unref(queue);
    return NULL;
}

static void *
signal_all(void *argument)
{
    struct race *race = argument;
    pthread_barrier_wait(&race->start);
    for (uint64_t value = 1; value <= 8; value++) {
        for (int i = 0; i < 4; i++)
            OK(umf_fence_signal(race->rig.fence[i], value));
        if (value % 3 == 0)
            sched_yield();
    }
    return NULL;
}

static void *
disturb(void *argument)
{
    struct race *race = argument;
    pthread_barrier_wait(&race->start);
    for (int i = 0; i < 6; i++) {
        OK(umf_queue_cancel(race->queue));
        EXPECT(-EINVAL, umf_queue_fail(race->queue, 0));
        sched_yield();
    }
    if (race->loses)
        OK(umf_queue_fail(race->queue, -ENODEV));
    umf_queue_unref(race->queue);
    return NULL;
}

static void
everybody_at_once(const struct rig *kind, unsigned count)
{
    static struct race race;
    for (unsigned round = 0; round < count; round++) {
        pthread_t signaler, disturber;
        bool disturbed = round % 4 != 0;
        memset(&race, 0, sizeof(race));
        race.rig = set_up(kind);
        race.queue = race.rig.queue;
        race.loses = round % 4 == 2;
        CHECK(pthread_barrier_init(&race.start, NULL, SUBMITTERS + 2 + disturbed) == 0);
        for (int i = 0; i < SUBMITTERS; i++) {
            struct racer *racer = &race.racers[i];
            racer->race = &race;
            racer->number = i;
            racer->seed = round * 7 + (unsigned)i;
            umf_queue_ref(race.queue);
            CHECK(pthread_create(&racer->thread, NULL, submit_all, racer) == 0);
        }
        CHECK(pthread_create(&signaler, NULL, signal_all, &race) == 0);
        if (disturbed) {
            umf_queue_ref(race.queue);
            CHECK(pthread_create(&disturber, NULL, disturb, &race) == 0);
        }
        /* This thread's reference is released as well, in half of the rounds in the middle. */
        bool early = round % 8 > 3;
        pthread_barrier_wait(&race.start);
        if (early)
            umf_queue_unref(race.queue);
        for (int i = 0; i < SUBMITTERS; i++)
            CHECK(pthread_join(race.racers[i].thread, NULL) == 0);
        CHECK(pthread_join(signaler, NULL) == 0);
        if (disturbed)
            CHECK(pthread_join(disturber, NULL) == 0);
        if (!early) {
            OK(umf_queue_drain(race.queue, FOREVER));
            umf_queue_unref(race.queue);
        }
        for (int i = 0; i < SUBMITTERS; i++) {
            for (int j = 0; j < JOBS; j++) {
                struct job *job = &race.racers[i].jobs[j];
                if (job->accepted)
                    until(&race.rig, &job->released, 1);
                CHECK(job->released == job->accepted && job->ran <= job->accepted);
                if (job->accepted)
                    CHECK((job->result == 0) == (job->ran == 1));
                if (!disturbed && !early)
                    CHECK(job->ran == 1);
            }
        }
        pthread_barrier_destroy(&race.start);
        umf_loop_unref(race.rig.loop);
        for (size_t i = 0; i < ARRAY_SIZE(race.rig.fence); i++)
            umf_fence_unref(race.rig.fence[i]);
        umf_page_unref(race.rig.page);
    }
}

/* A job is canceled just when its fence is signaled. The next job, at another fence or the same,
 * is unaffected. */
static struct umf_fence *meets[2];
static _Atomic uint64_t to_signal, signaled;

static void *
signal_in_time(void *argument)
{
    (void)argument;
    for (uint64_t i = 1;; i++) {
        while (to_signal < i)
            sched_yield();
        if (to_signal == UINT64_MAX)
            return NULL;
        for (volatile uint64_t delay = i * 13 % 400; delay > 0; delay--)
            ;
        OK(umf_fence_signal(meets[0], i));
        signaled = i;
    }
}

static void
withdrawn_when_it_is_signaled(const struct rig *kind)
{
    struct rig rig = set_up(kind);
    pthread_t signaler;
    meets[0] = rig.fence[0];
    meets[1] = rig.fence[1];
    to_signal = signaled = 0;
    CHECK(pthread_create(&signaler, NULL, signal_in_time, NULL) == 0);
    for (uint64_t i = 1; i <= rounds(10000, 100); i++) {
        struct work works[4] = { 0 };
        OK(submit(rig.queue, &works[0], meets[0], i, NULL, 0));
        OK(submit(rig.queue, &works[1], NULL, 0, NULL, 0));
        if (i % 2)
            settle(&rig);
        to_signal = i;
        while (i % 3 == 0 && signaled < i)
            sched_yield();
        for (volatile uint64_t delay = i * 7919 % 60000; delay > 0; delay--)
            ;
        OK(umf_queue_cancel(rig.queue));
        OK(submit(rig.queue, &works[2], meets[1], i, NULL, 0));
        OK(submit(rig.queue, &works[3], meets[0], i, NULL, 0));
        while (signaled < i)
            sched_yield();
        CHECK(works[2].ran == 0);
        OK(umf_fence_signal(meets[1], i));
        for (int j = 0; j < 4; j++) {
            until(&rig, &works[j].released, 1);
            CHECK((works[j].result == 0) == (works[j].ran == 1));
            CHECK(works[j].result == 0 || (j < 2 && works[j].result == -ECANCELED));
        }
    }
    to_signal = UINT64_MAX;
    CHECK(pthread_join(signaler, NULL) == 0);
    tear_down(&rig);
}

int
main(void)
{
    watchdog(50);
    everybody_at_once(&kinds[0], rounds(1500, 8));
    everybody_at_once(&kinds[2], rounds(1500, 8));
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
        withdrawn_when_it_is_signaled(&kinds[i]);
    return 0;
}
