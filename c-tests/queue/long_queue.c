// SPDX-License-Identifier: MIT
/*
 * What a step of a blocked queue costs does not depend on how many jobs are behind it. What its
 * next jobs will signal is recorded at every step: a deadlock is found in queues of any length.
 */
#include "process.h"
#include "sleeper.h"

#include <poll.h>

#define STEPS 40
#define LONG 10000

static int ran;

static int
count_run(void *data)
{
    (void)data;
    ran++;
    return UMF_JOB_DONE;
}

static int
count_submission(void *data)
{
    (void)data;
    ran++;
    return UMF_JOB_SUBMITTED;
}

struct scene {
    int jobs;
    struct umf_page *page;
    struct umf_fence *step, *signal[LONG + STEPS];
    struct umf_loop *loop;
    struct umf_queue *queue;
};

static struct scene scene;

static void
submit(struct umf_queue *queue, struct umf_fence *wait, uint64_t at, struct umf_fence *signal,
       uint64_t value, int (*run)(void *))
{
    struct umf_condition waits = { .fence = wait, .value = at };
    struct umf_signal signals = { signal, value };
    struct umf_job job = { .size = sizeof(job), .wait_count = 1, .waits = &waits,
                           .signal_count = 1, .signals = &signals, .run = run };
    OK(umf_queue_submit(queue, &job, 0));
}

/* A queue whose job N waits for step N, and signals a fence of its own or the one they share. */
static void
set_up(int jobs, bool distinct, int (*run)(void *))
{
    scene.jobs = jobs;
    ran = 0;
    OK(umf_page_create((uint32_t)(distinct ? jobs : 1) + 1, 0, &scene.page));
    OK(umf_fence_create(scene.page, 0, 0, &scene.step));
    for (int i = 0; i < jobs; i++) {
        if (distinct || i == 0)
            OK(umf_fence_create(scene.page, 0, 0, &scene.signal[i]));
        else
            scene.signal[i] = umf_fence_ref(scene.signal[0]);
    }
    OK(umf_loop_create(0, &scene.loop));
    OK(umf_queue_create(scene.loop, UMF_QUEUE_INLINE, &scene.queue));
    for (int i = 0; i < jobs; i++)
        submit(scene.queue, scene.step, (uint64_t)i + 1, scene.signal[i],
               distinct ? 1 : (uint64_t)i + 1, run);
}

static void
tear_down(void)
{
    umf_queue_unref(scene.queue);
    umf_loop_unref(scene.loop);
    for (int i = 0; i < scene.jobs; i++)
        umf_fence_unref(scene.signal[i]);
    umf_fence_unref(scene.step);
    umf_page_unref(scene.page);
}

static void
take_steps(int count)
{
    struct pollfd fd = { .fd = umf_loop_fd(scene.loop), .events = POLLIN };
    for (int to = ran + count; ran < to;) {
        OK(umf_fence_signal(scene.step, (uint64_t)ran + 1));
        CHECK(poll(&fd, 1, -1) == 1);
        OK(umf_loop_dispatch(scene.loop, 0));
    }
}

static uint32_t
deadlocks(void)
{
    uint32_t found = 12345;
    int fd = memfd_create("graph", MFD_CLOEXEC);
    CHECK(fd >= 0);
    OK(umf_graph_write(fd, 0, &found));
    close(fd);
    return found;
}

/* Another queue will take the next step once the next job has signaled: a deadlock. */
static bool
a_deadlock_with_the_next_job_is_found(bool distinct)
{
    struct umf_queue *other;
    CHECK(deadlocks() == 0);
    OK(umf_queue_create(scene.loop, UMF_QUEUE_INLINE, &other));
    submit(other, scene.signal[ran], distinct ? 1 : (uint64_t)ran + 1, scene.step,
           (uint64_t)ran + 1, count_run);
    uint32_t found = deadlocks();
    CHECK(found <= 1);
    /* Its cancellation fails the step. */
    umf_queue_unref(other);
    return found == 1;
}

/* The CPU time of a step. */
static uint64_t
cost(int jobs, bool distinct, int (*run)(void *))
{
    uint64_t best = UINT64_MAX;
    set_up(jobs, distinct, run);
    for (int i = 0; i < 4; i++) {
        uint64_t start = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
        take_steps(STEPS / 4);
        uint64_t took = (clock_ns(CLOCK_PROCESS_CPUTIME_ID) - start) / (STEPS / 4);
        best = took < best ? took : best;
    }
    CHECK(a_deadlock_with_the_next_job_is_found(distinct));
    tear_down();
    return best;
}

int
main(void)
{
    watchdog(60);
    for (int kind = 0; kind < 4; kind++) {
        bool distinct = kind & 1;
        int (*run)(void *) = kind & 2 ? count_submission : count_run;
        uint64_t few = cost(100, distinct, run), many = cost(LONG, distinct, run);
        printf("%s, %s signals: a step takes %.1f us with 100 jobs, %.1f us with %d\n",
               kind & 2 ? "submitted" : "done", distinct ? "distinct" : "shared", few / 1e3,
               many / 1e3, LONG);
        fflush(stdout);
        CHECK(many < 8 * few + 20000);
    }
    return 0;
}
