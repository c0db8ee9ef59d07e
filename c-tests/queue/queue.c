// SPDX-License-Identifier: MIT
/*
 * Queues whose jobs run: in order, each when its waits are met, however they come to be met; and
 * waits for all jobs.
 */
#include "process.h"
#include "queue.h"
#include "sleeper.h"

/* The first queue's jobs wait for signals of the second's, which are submitted later. */
static void
wait_before_signal(const struct rig *kind)
{
    struct rig rig = set_up(kind);
    struct umf_fence *a = rig.fence[0], *b = rig.fence[1];
    struct umf_queue *other;
    struct work works[6] = { 0 }, theirs = { 0 };
    OK(umf_queue_create(rig.loop, rig.queue_flags, &other));
    OK(submit(rig.queue, &works[0], b, 1, a, 1));
    for (uint64_t i = 1; i < ARRAY_SIZE(works); i++)
        OK(submit(rig.queue, &works[i], NULL, 0, a, 1 + i));
    CHECK(umf_fence_pending_value(a) == ARRAY_SIZE(works));
    settle(&rig);
    CHECK(works[0].ran == 0 && umf_fence_value(a) == 0);
    turns = 0;
    OK(submit(other, &theirs, NULL, 0, b, 1));
    for (size_t i = 0; i < ARRAY_SIZE(works); i++) {
        until(&rig, &works[i].released, 1);
        CHECK(works[i].ran == 1 && works[i].result == 0 && works[i].turn == (int)i + 2);
    }
    CHECK(theirs.turn == 1 && theirs.ran == 1);
    OK(umf_fence_wait(a, ARRAY_SIZE(works), 0));
    settle(&rig);
    OK(umf_queue_drain(rig.queue, 0));
    umf_queue_unref(other);
    tear_down(&rig);
}

/* Two queues of a loop are blocked; the third, between them, runs all the same. */
static void
a_blocked_queue_blocks_no_other(const struct rig *kind)
{
    struct rig rig = set_up(kind);
    struct umf_queue *queues[3];
    struct work held[2] = { 0 }, works[50] = { 0 };
    for (int i = 0; i < 3; i++)
        OK(umf_queue_create(rig.loop, rig.queue_flags, &queues[i]));
    OK(submit(queues[0], &held[0], rig.fence[0], 1, NULL, 0));
    OK(submit(queues[2], &held[1], rig.fence[1], 1, NULL, 0));
    for (size_t i = 0; i < ARRAY_SIZE(works); i++) {
        OK(submit(queues[1], &works[i], NULL, 0, rig.fence[2], i + 1));
        until(&rig, &works[i].released, 1);
    }
    CHECK(held[0].ran == 0 && held[1].ran == 0);
    OK(umf_fence_signal(rig.fence[1], 1));
    until(&rig, &held[1].released, 1);
    CHECK(held[0].ran == 0);
    OK(umf_fence_signal(rig.fence[0], 1));
    until(&rig, &held[0].released, 1);
    for (int i = 0; i < 3; i++)
        umf_queue_unref(queues[i]);
    tear_down(&rig);
}

/* A job submits itself again without end, beside one of another queue of the loop. */
static atomic_bool endless;
static struct umf_queue *endless_queue;

static int
run_again(void *data)
{
    struct umf_job *job = data;
    if (endless)
        OK(umf_queue_submit(endless_queue, job, 0));
    return UMF_JOB_DONE;
}

static int
end_it(void *data)
{
    (void)data;
    endless = false;
    return UMF_JOB_DONE;
}

static void
queues_take_turns(const struct rig *kind)
{
    struct rig rig = set_up(kind);
    struct umf_queue *other;
    struct umf_job job = { .size = sizeof(job), .run = run_again, .data = &job };
    struct umf_job end = { .size = sizeof(end), .run = end_it };
    if (rig.queue_flags) {
        /* The submitting thread runs inline jobs, as long as any can run. */
        tear_down(&rig);
        return;
    }
    OK(umf_queue_create(rig.loop, 0, &other));
    endless = true;
    endless_queue = rig.queue;
    OK(umf_queue_submit(rig.queue, &job, 0));
    OK(umf_queue_submit(other, &end, 0));
    while (endless) {
        if (is_dispatched(&rig)) {
            until_due(&rig);
            OK(umf_loop_dispatch(rig.loop, 0));
        } else {
            sched_yield();
        }
    }
    settle(&rig);
    umf_queue_unref(other);
    tear_down(&rig);
}

/* More jobs than run in one batch. */
static void
many_jobs(const struct rig *kind)
{
    struct rig rig = set_up(kind);
    static struct work works[1000];
    memset(works, 0, sizeof(works));
    OK(submit(rig.queue, &works[0], rig.fence[0], 1, rig.fence[1], 1));
    for (size_t i = 1; i < ARRAY_SIZE(works); i++)
        OK(submit(rig.queue, &works[i], rig.fence[1], i, rig.fence[1], i + 1));
    settle(&rig);
    turns = 0;
    OK(umf_fence_signal(rig.fence[0], 1));
    for (size_t i = 0; i < ARRAY_SIZE(works); i++) {
        until(&rig, &works[i].released, 1);
        CHECK(works[i].ran == 1 && works[i].turn == (int)i + 1);
    }
    settle(&rig);
    OK(umf_queue_drain(rig.queue, 0));
    tear_down(&rig);
}

/* A job with waits on many pages, which are signaled in another order. */
static void
many_waits(const struct rig *kind)
{
    enum { PAGES = 20, FENCES = 5, ALL = PAGES * FENCES };
    struct rig rig = set_up(kind);
    struct umf_fence *fences[ALL];
    struct umf_condition waits[ALL];
    struct umf_signal signals[3] = { { rig.fence[0], 1 },
                                     { rig.fence[1], 2 },
                                     { rig.fence[2], 3 } };
    struct work work = { 0 };
    struct umf_job job = { .size = sizeof(job), .wait_count = ALL, .waits = waits,
                           .signal_count = 3, .signals = signals, .run = run, .release = release,
                           .data = &work };
    for (int i = 0; i < PAGES; i++) {
        struct umf_page *page;
        OK(umf_page_create(FENCES, 0, &page));
        for (int j = 0; j < FENCES; j++)
            OK(umf_fence_create(page, 0, 0, &fences[i + PAGES * j]));
        umf_page_unref(page);
    }
    for (int i = 0; i < ALL; i++)
        waits[i] = (struct umf_condition){ .fence = fences[i], .value = 3 };
    OK(umf_queue_submit(rig.queue, &job, 0));
    memset(waits, 0x5a, sizeof(waits)); /* copied */
    memset(signals, 0x5a, sizeof(signals));
    memset(&job, 0x5a, sizeof(job));
    for (int i = 0; i < ALL; i++) {
        settle(&rig);
        CHECK(work.ran == 0);
        OK(umf_fence_signal(fences[(i * 37) % ALL], 3));
    }
    until(&rig, &work.released, 1);
    CHECK(work.ran == 1 && work.result == 0);
    for (uint64_t i = 0; i < 3; i++)
        CHECK(umf_fence_value(rig.fence[i]) == i + 1);
    /* only the test's reference is left */
    for (int i = 0; i < ALL; i++)
        umf_fence_unref(fences[i]);
    tear_down(&rig);
}

static void
operators_and_masks(const struct rig *kind)
{
    struct rig rig = set_up(kind);
    struct umf_fence *f = rig.fence[0], *round;
    OK(umf_fence_create((umf_fence_unref(rig.fence[7]), rig.page), 0xfffffff0, UMF_FENCE_32BIT,
                        &round));
    rig.fence[7] = round;
    struct {
        struct umf_condition wait;
        uint64_t unmet, met;
    } rows[] = {
        { { .fence = f, .value = 2, .op = UMF_OP_GE }, 1, 2 },
        { { .fence = f, .value = 3, .op = UMF_OP_GT }, 3, 4 },
        { { .fence = f, .value = 6, .op = UMF_OP_EQ }, 5, 6 },
        { { .fence = f, .value = 7, .op = UMF_OP_NE }, 7, 8 },
        { { .fence = f, .value = 0x10, .op = UMF_OP_GE, .mask = 0xf0 }, 9, 0x11 },
        { { .fence = f, .value = 0, .op = UMF_OP_EQ, .mask = 0xf }, 0x12, 0x20 },
        { { .fence = f, .value = 0x20, .op = UMF_OP_LT, .mask = 0x3f }, 0x30, 0x40 },
        { { .fence = f, .value = 0, .op = UMF_OP_LE, .mask = 1 }, 0x41, 0x42 },
        { { .fence = round, .value = 3, .op = UMF_OP_GE }, 0xffffffff, 4 },
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct work work = { 0 };
        struct umf_job job = { .size = sizeof(job), .wait_count = 1, .waits = &rows[i].wait,
                               .run = run, .release = release, .data = &work };
        OK(umf_fence_signal(rows[i].wait.fence, rows[i].unmet));
        OK(umf_queue_submit(rig.queue, &job, 0));
        settle(&rig);
        CHECK(work.ran == 0);
        OK(umf_fence_signal(rows[i].wait.fence, rows[i].met));
        until(&rig, &work.released, 1);
        CHECK(work.ran == 1 && work.result == 0);
    }
    tear_down(&rig);
}

/* The first wait is met. While the queue waits for the second, the first's fence goes on. */
static void
what_was_met_stays_so(const struct rig *kind)
{
    struct rig rig = set_up(kind);
    struct umf_fence *f = rig.fence[0], *g = rig.fence[1];
    struct work work = { 0 }, next = { 0 };
    struct umf_condition waits[2] = { { .fence = f, .value = 5, .op = UMF_OP_EQ },
                                      { .fence = g, .value = 1 } };
    struct umf_job job = { .size = sizeof(job), .wait_count = 2, .waits = waits, .run = run,
                           .release = release, .data = &work };
    OK(umf_fence_signal(f, 5));
    OK(umf_queue_submit(rig.queue, &job, 0));
    settle(&rig);
    OK(umf_fence_signal(f, 6));
    OK(umf_fence_set_error(f, -EIO));
    OK(umf_fence_signal(g, 1));
    until(&rig, &work.released, 1);
    CHECK(work.ran == 1 && work.result == 0);

    if (is_dispatched(&rig)) {
        /* Also if it was met while the queue was blocked there, before the loop ran. */
        struct umf_fence *h = rig.fence[2];
        waits[0] = (struct umf_condition){ .fence = h, .value = 5, .op = UMF_OP_EQ };
        job.data = &next;
        OK(umf_queue_submit(rig.queue, &job, 0));
        settle_down(&rig);
        OK(umf_fence_signal(h, 5));
        until_due(&rig);
        OK(umf_fence_signal(h, 6));
        until(&rig, &next.released, 1);
        EXPECT(0, next.result);
        CHECK(next.ran == 1);
    }
    tear_down(&rig);
}

/* A wait that was met for a canceled job does not count for the next. */
static void
what_was_met_is_the_jobs_own(const struct rig *kind)
{
    struct rig rig = set_up(kind);
    struct work first = { 0 }, second = { 0 };
    if (is_dispatched(&rig)) {
        OK(submit(rig.queue, &first, rig.fence[0], 1, NULL, 0));
        settle_down(&rig);
        OK(umf_fence_signal(rig.fence[0], 1));
        until_due(&rig);
        OK(umf_queue_cancel(rig.queue));
        OK(submit(rig.queue, &second, rig.fence[1], 1, NULL, 0));
        settle(&rig);
        CHECK(first.ran == 0 && first.released == 1 && second.ran == 0);
        OK(umf_fence_signal(rig.fence[1], 1));
        until(&rig, &second.released, 1);
        CHECK(second.ran == 1);
    }
    tear_down(&rig);
}

/* A wait for submission ends when the job is submitted, although the job is blocked. */
static void
a_wait_for_a_submission_ends_with_it(const struct rig *kind)
{
    struct rig rig = set_up(kind);
    struct umf_fence *a = rig.fence[0], *b = rig.fence[1];
    struct work work = { 0 };
    struct umf_condition pending = { .fence = b, .value = 7 };
    struct sleeper sleeper = { .waits = &pending, .count = 1, .flags = UMF_WAIT_PENDING };
    fall_asleep(&sleeper);
    OK(submit(rig.queue, &work, a, 1, b, 7));
    OK(end_of(&sleeper));
    CHECK(umf_fence_pending_value(b) == 7 && umf_fence_value(b) == 0);
    OK(umf_fence_signal(a, 1));
    until(&rig, &work.released, 1);
    CHECK(umf_fence_value(b) == 7);
    tear_down(&rig);
}

/* The queue signals before it releases. A fence may be a job's wait and its signal. */
static void
a_job_counts_on_its_own_fence(const struct rig *kind)
{
    struct rig rig = set_up(kind);
    struct umf_fence *f = rig.fence[0];
    static struct work works[100];
    memset(works, 0, sizeof(works));
    for (size_t i = 0; i < ARRAY_SIZE(works); i++)
        OK(submit(rig.queue, &works[i], f, 2 * i + 1, f, 2 * i + 2));
    for (size_t i = 0; i < ARRAY_SIZE(works); i++) {
        OK(umf_fence_signal(f, 2 * i + 1));
        until(&rig, &works[i].released, 1);
        CHECK(umf_fence_value(f) == 2 * i + 2);
    }
    tear_down(&rig);
}

/* A signal that fails is reported to release alone: the other signals happen. */
static void
a_signal_that_goes_back_is_reported(const struct rig *kind)
{
    struct rig rig = set_up(kind);
    struct work work = { 0 };
    struct umf_signal signals[2] = { { rig.fence[0], 1 }, { rig.fence[1], 1 } };
    struct umf_job job = { .size = sizeof(job), .signal_count = 2, .signals = signals, .run = run,
                           .release = release, .data = &work };
    OK(umf_fence_signal(rig.fence[0], 2));
    OK(umf_queue_submit(rig.queue, &job, 0));
    until(&rig, &work.released, 1);
    CHECK(work.ran == 1 && work.result == -EINVAL);
    CHECK(umf_fence_value(rig.fence[0]) == 2 && error_of(rig.fence[0]) == 0);
    CHECK(umf_fence_value(rig.fence[1]) == 1);
    settle(&rig);
    OK(umf_queue_drain(rig.queue, 0));
    tear_down(&rig);
}

/* Across processes: the peer's queue waits for this process's queue and vice versa, in turn. */
#define PASSES 500

static void
pass_back(int sock)
{
    struct rig rig = set_up(&kinds[0]);
    struct umf_page *page = recv_page(sock);
    struct umf_fence *ours = recv_fence(sock, page), *theirs = recv_fence(sock, page);
    static struct work works[PASSES];
    for (uint64_t i = 0; i < PASSES; i++)
        OK(submit(rig.queue, &works[i], ours, i + 1, theirs, i + 1));
    OK(umf_queue_drain(rig.queue, FOREVER));
    for (int i = 0; i < PASSES; i++)
        CHECK(works[i].ran == 1 && works[i].turn == i + 1);
    hear(sock);
    umf_fence_unref(ours);
    umf_fence_unref(theirs);
    umf_page_unref(page);
    tear_down(&rig);
}

static void
queues_of_two_processes(struct peer *peer)
{
    struct rig rig = set_up(&kinds[0]);
    struct umf_fence *ours = rig.fence[0], *theirs = rig.fence[1];
    static struct work works[PASSES];
    send_page(peer->sock, rig.page);
    tell(peer->sock, umf_fence_index(ours));
    tell(peer->sock, umf_fence_index(theirs));
    for (uint64_t i = 0; i < PASSES; i++)
        OK(submit(rig.queue, &works[i], theirs, i, ours, i + 1));
    OK(umf_queue_drain(rig.queue, FOREVER));
    OK(umf_fence_wait(theirs, PASSES, FOREVER));
    for (int i = 0; i < PASSES; i++)
        CHECK(works[i].ran == 1 && works[i].turn == i + 1);
    tell(peer->sock, 1);
    end_peer(peer);
    tear_down(&rig);
}

/* Work that continues after run: the next job does not wait for it, drain does. */
static void
submitted_work(const struct rig *kind)
{
    struct rig rig = set_up(kind);
    struct umf_fence *a = rig.fence[0], *b = rig.fence[1];
    struct work first = { .answer = UMF_JOB_SUBMITTED }, second = { 0 };
    OK(submit(rig.queue, &first, NULL, 0, a, 1));
    OK(submit(rig.queue, &second, NULL, 0, b, 1));
    until(&rig, &second.released, 1);
    CHECK(first.released == 1 && first.result == 0 && umf_fence_value(a) == 0);
    EXPECT(-ETIME, umf_queue_drain(rig.queue, 0));
    if (is_dispatched(&rig)) {
        EXPECT(-EINVAL, umf_queue_drain(rig.queue, FOREVER));
        EXPECT(-EINVAL, umf_queue_drain(rig.queue, in_ns(SECOND)));
    } else {
        uint64_t deadline = in_ns(5 * MS);
        EXPECT(-ETIME, umf_queue_drain(rig.queue, deadline));
        CHECK(now_ns() >= deadline);
    }
    OK(umf_fence_signal(a, 1));
    OK(umf_queue_drain(rig.queue, is_dispatched(&rig) ? 0 : FOREVER));
    tear_down(&rig);
}

/* A thread that drains. */
struct drainer {
    struct umf_queue *queue;
    int result;
    atomic_bool done;
    _Atomic pid_t tid;
    pthread_t thread;
};

static void *
drain(void *argument)
{
    struct drainer *d = argument;
    d->tid = gettid();
    d->result = umf_queue_drain(d->queue, FOREVER);
    d->done = true;
    return NULL;
}

/* To be called when nothing happens to the queue: the thread then sleeps in drain, not on a
 * lock. */
static void
start_drainer(struct drainer *d, struct umf_queue *queue)
{
    *d = (struct drainer){ .queue = queue };
    CHECK(pthread_create(&d->thread, NULL, drain, d) == 0);
    while (!d->tid)
        sched_yield();
    until_asleep(getpid(), d->tid);
}

static void
end_drainer(struct drainer *d)
{
    CHECK(pthread_join(d->thread, NULL) == 0);
    OK(d->result);
}

/* Drain waits for jobs that were submitted before it. */
static void
drain_sleeps_for_what_came_before(const struct rig *kind)
{
    struct rig rig = set_up(kind);
    struct umf_fence *a = rig.fence[0], *b = rig.fence[1], *c = rig.fence[2];
    struct work works[4] = { { .answer = UMF_JOB_SUBMITTED },
                             { 0 },
                             { .answer = UMF_JOB_SUBMITTED } };
    struct work last = { .answer = UMF_JOB_SUBMITTED };
    struct drainer drainers[2];
    if (!is_dispatched(&rig)) {
        OK(submit(rig.queue, &works[0], NULL, 0, a, 1));
        OK(submit(rig.queue, &works[1], b, 1, b, 2));
        settle(&rig);
        for (int i = 0; i < 2; i++)
            start_drainer(&drainers[i], rig.queue);
        OK(submit(rig.queue, &works[2], NULL, 0, c, 1));
        OK(submit(rig.queue, &works[3], c, 1, NULL, 0));
        OK(umf_fence_signal(b, 1));
        until(&rig, &works[2].released, 1);
        settle(&rig);
        CHECK(!drainers[0].done && !drainers[1].done);
        OK(umf_fence_signal(a, 1));
        for (int i = 0; i < 2; i++)
            end_drainer(&drainers[i]);
        CHECK(umf_fence_value(c) == 0 && works[3].ran == 0);
        OK(umf_fence_signal(c, 1));
        OK(umf_queue_drain(rig.queue, FOREVER));
        /* The submitted jobs fail or are canceled: drain returns then too. */
        works[3].released = 0;
        OK(submit(rig.queue, &works[3], c, 2, NULL, 0));
        settle(&rig);
        start_drainer(&drainers[0], rig.queue);
        OK(umf_queue_cancel(rig.queue));
        end_drainer(&drainers[0]);
        OK(submit(rig.queue, &last, NULL, 0, a, 2));
        until(&rig, &last.released, 1);
        settle(&rig);
        start_drainer(&drainers[0], rig.queue);
        start_drainer(&drainers[1], rig.queue);
        OK(umf_queue_fail(rig.queue, -ENODEV));
        for (int i = 0; i < 2; i++)
            end_drainer(&drainers[i]);
        CHECK(error_of(a) == -ENODEV);
    }
    tear_down(&rig);
}

/* Canceling jobs behind one that runs does not make drain return before that one has run. */
static void
drain_waits_for_the_job_that_runs(const struct rig *kind)
{
    struct rig rig = set_up(kind);
    struct work works[3] = { { .in_run = wait_at_the_gate } };
    struct drainer drainer;
    if (!is_dispatched(&rig) && !rig.queue_flags) {
        gate = false;
        OK(submit(rig.queue, &works[0], NULL, 0, rig.fence[0], 1));
        until(&rig, &works[0].ran, 1);
        start_drainer(&drainer, rig.queue);
        OK(submit(rig.queue, &works[1], NULL, 0, NULL, 0));
        OK(submit(rig.queue, &works[2], NULL, 0, NULL, 0));
        OK(umf_queue_cancel(rig.queue));
        CHECK(works[1].released == 1 && works[2].released == 1);
        /* drain was woken and sleeps again */
        while (!drainer.done && !is_asleep(getpid(), drainer.tid))
            sched_yield();
        CHECK(!drainer.done);
        EXPECT(-ETIME, umf_queue_drain(rig.queue, 0));
        gate = true;
        end_drainer(&drainer);
        CHECK(umf_fence_value(rig.fence[0]) == 1);
    }
    tear_down(&rig);
}

/* In a job or a callback of its loop, a drain would wait for itself. */
static int drain_answers[3];

static void
drain_here(struct work *work)
{
    struct rig *rig = work->data;
    drain_answers[0] = umf_queue_drain(rig->queue, FOREVER);
    drain_answers[1] = umf_queue_drain(rig->queue, 0);
    drain_answers[2] = umf_queue_drain(rig->queue, in_ns(SECOND));
}

static void
drain_in_call(void *data, int result)
{
    struct work *work = data;
    OK(result);
    drain_here(work);
    work->ran++;
}

static void
drain_in_a_callback(const struct rig *kind)
{
    struct rig rig = set_up(kind);
    struct work job = { .in_run = drain_here, .data = &rig };
    struct work releasing = { .in_release = drain_here, .data = &rig };
    struct work watch = { .data = &rig }, held = { 0 };
    struct umf_callback callback = { .call = drain_in_call, .data = &watch };
    struct umf_condition met = { .fence = rig.fence[0], .value = 0 };
    struct work *jobs[2] = { &job, &releasing };
    for (int i = 0; i < 2; i++) {
        memset(drain_answers, 0, sizeof(drain_answers));
        OK(submit(rig.queue, jobs[i], NULL, 0, NULL, 0));
        until(&rig, &jobs[i]->released, 1);
        CHECK(drain_answers[0] == -EINVAL && drain_answers[1] == -ETIME);
        CHECK(drain_answers[2] == -EINVAL);
    }
    /* A drain with nothing to wait for returns at once. */
    OK(umf_loop_watch(rig.loop, &met, 0, &callback, NULL));
    until(&rig, &watch.ran, 1);
    CHECK(drain_answers[0] == 0 && drain_answers[1] == 0 && drain_answers[2] == 0);
    OK(submit(rig.queue, &held, rig.fence[1], 1, NULL, 0));
    OK(umf_loop_watch(rig.loop, &met, 0, &callback, NULL));
    until(&rig, &watch.ran, 2);
    CHECK(drain_answers[0] == -EINVAL && drain_answers[1] == -ETIME);
    CHECK(drain_answers[2] == -EINVAL);
    tear_down(&rig);
}

/* The signal comes while drain is about to sleep. */
static _Atomic uint64_t round_now, round_over;

static void *
signal_rounds(void *argument)
{
    struct umf_fence *fence = argument;
    for (uint64_t i = 1;; i++) {
        while (round_now < i)
            sched_yield();
        if (round_now == UINT64_MAX)
            return NULL;
        for (volatile uint64_t delay = i % 61 * 3; delay > 0; delay--)
            ;
        OK(umf_fence_signal(fence, i));
        round_over = i;
    }
}

static void
drain_races_with_the_signal(void)
{
    struct rig rig = set_up(&kinds[2]);
    struct umf_fence *f = rig.fence[0];
    struct work work = { .answer = UMF_JOB_SUBMITTED };
    pthread_t signaler;
    round_now = round_over = 0;
    CHECK(pthread_create(&signaler, NULL, signal_rounds, f) == 0);
    for (uint64_t i = 1; i <= rounds(100000, 300); i++) {
        work.released = 0;
        OK(submit(rig.queue, &work, NULL, 0, f, i));
        round_now = i;
        OK(umf_queue_drain(rig.queue, FOREVER));
        CHECK(umf_fence_value(f) == i);
        while (round_over < i)
            sched_yield();
    }
    round_now = UINT64_MAX;
    CHECK(pthread_join(signaler, NULL) == 0);
    tear_down(&rig);
}

/* Other threads keep submitting: drain returns all the same. */
static atomic_bool enough;
static atomic_int others;

static int
nothing(void *data)
{
    (void)data;
    return UMF_JOB_DONE;
}

static void
count_release(void *data, int result)
{
    OK(result);
    ++*(atomic_int *)data;
}

static void *
submit_on_and_on(void *argument)
{
    struct rig *rig = argument;
    atomic_int released = 0;
    int submitted = 0;
    struct umf_job job = { .size = sizeof(job), .run = nothing, .release = count_release,
                           .data = &released };
    while (!enough) {
        OK(umf_queue_submit(rig->queue, &job, 0));
        submitted++;
        others++;
        while (submitted - released > 100 && !enough)
            sched_yield();
    }
    while (released < submitted)
        sched_yield();
    return NULL;
}

static void
drain_while_others_submit(const struct rig *kind)
{
    struct rig rig = set_up(kind);
    pthread_t threads[2];
    struct work work = { 0 };
    if (!is_dispatched(&rig)) {
        enough = false;
        others = 0;
        for (int i = 0; i < 2; i++)
            CHECK(pthread_create(&threads[i], NULL, submit_on_and_on, &rig) == 0);
        while (others < 100)
            sched_yield();
        for (unsigned i = 1; i <= rounds(200, 10); i++) {
            work.released = 0;
            OK(submit(rig.queue, &work, NULL, 0, rig.fence[0], i));
            OK(umf_queue_drain(rig.queue, FOREVER));
            CHECK(umf_fence_value(rig.fence[0]) == i);
            until(&rig, &work.released, 1);
        }
        enough = true;
        for (int i = 0; i < 2; i++)
            CHECK(pthread_join(threads[i], NULL) == 0);
    }
    tear_down(&rig);
}

int
main(void)
{
    watchdog(50);
    struct peer peer = start_peer(pass_back);
    queues_of_two_processes(&peer);
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        wait_before_signal(&kinds[i]);
        a_blocked_queue_blocks_no_other(&kinds[i]);
        queues_take_turns(&kinds[i]);
        many_jobs(&kinds[i]);
        many_waits(&kinds[i]);
        operators_and_masks(&kinds[i]);
        what_was_met_stays_so(&kinds[i]);
        what_was_met_is_the_jobs_own(&kinds[i]);
        a_wait_for_a_submission_ends_with_it(&kinds[i]);
        a_job_counts_on_its_own_fence(&kinds[i]);
        a_signal_that_goes_back_is_reported(&kinds[i]);
        submitted_work(&kinds[i]);
        drain_sleeps_for_what_came_before(&kinds[i]);
        drain_waits_for_the_job_that_runs(&kinds[i]);
        drain_in_a_callback(&kinds[i]);
        drain_while_others_submit(&kinds[i]);
    }
    drain_races_with_the_signal();
    return 0;
}
