// SPDX-License-Identifier: MIT
/*
 * Queues whose jobs do not run: canceled, failed, or abandoned; and jobs that act on their own
 * queue. Each job is released exactly once.
 */
#include "process.h"
#include "queue.h"
#include "sleeper.h"

#include <limits.h>

static void
ignore(void *data, int result)
{
    (void)data;
    (void)result;
}

/* A blocked queue may run, and is canceled before it does. The next job waits for a fence that
 * has other waits. Nothing of the first wait may be left there. */
static void
what_was_due_when_it_was_canceled_is_armed_once(const struct rig *kind)
{
    struct rig rig = set_up(kind);
    struct umf_fence *f = rig.fence[0], *g = rig.fence[1], *h = rig.fence[2];
    struct work first = { 0 }, second = { 0 };
    struct umf_callback callback = { .call = ignore };
    struct umf_condition before = { .fence = g, .value = 5 };
    if (is_dispatched(&rig)) {
        OK(umf_loop_watch(rig.loop, &before, 0, &callback, NULL));
        OK(submit(rig.queue, &first, f, 1, NULL, 0));
        settle_down(&rig);
        OK(umf_fence_signal(f, 1));
        until_due(&rig);
        OK(umf_queue_cancel(rig.queue));
        CHECK(first.released == 1 && first.ran == 0 && first.result == -ECANCELED);
        OK(submit(rig.queue, &second, g, 9, h, 1));
        settle(&rig);
        CHECK(second.ran == 0);
        OK(umf_fence_signal(g, 9));
        until(&rig, &second.released, 1);
        CHECK(second.ran == 1 && second.result == 0);
        /* Nothing watches g any more, so it ends with this process's reference. */
        umf_fence_unref(g);
        while (umf_fence_create(rig.page, 0, 0, &rig.fence[1]) == -ENOSPC)
            sched_yield();
    }
    tear_down(&rig);
}

/* The first job is blocked, the others are behind it. Afterwards the queue accepts jobs as
 * before. */
static void
cancel_what_is_held_up(const struct rig *kind)
{
    struct rig rig = set_up(kind);
    struct umf_fence *f = rig.fence[0], *g = rig.fence[1];
    struct work works[5] = { 0 }, next = { 0 };
    for (size_t i = 0; i < ARRAY_SIZE(works); i++)
        OK(submit(rig.queue, &works[i], f, i + 1, rig.fence[i + 2], 1));
    settle(&rig);
    OK(umf_queue_cancel(rig.queue));
    for (size_t i = 0; i < ARRAY_SIZE(works); i++) {
        CHECK(works[i].ran == 0 && works[i].released == 1 && works[i].result == -ECANCELED);
        CHECK(error_of(rig.fence[i + 2]) == -ECANCELED);
    }
    OK(umf_queue_drain(rig.queue, 0));
    OK(umf_queue_cancel(rig.queue));
    OK(umf_fence_signal(f, 5));
    settle(&rig);
    OK(submit(rig.queue, &next, f, 6, g, 1));
    settle(&rig);
    CHECK(next.ran == 0);
    OK(umf_fence_signal(f, 6));
    until(&rig, &next.released, 1);
    CHECK(next.ran == 1 && next.result == 0 && umf_fence_value(g) == 1);
    for (size_t i = 0; i < ARRAY_SIZE(works); i++)
        CHECK(works[i].ran == 0 && works[i].released == 1);
    tear_down(&rig);
}

/* A running job is not canceled. */
static void
cancel_behind_what_runs(const struct rig *kind)
{
    struct rig rig = set_up(kind);
    struct work works[4] = { { .in_run = wait_at_the_gate } };
    if (!is_dispatched(&rig) && !rig.queue_flags) {
        gate = false;
        for (size_t i = 0; i < ARRAY_SIZE(works); i++)
            OK(submit(rig.queue, &works[i], NULL, 0, rig.fence[i], 1));
        until(&rig, &works[0].ran, 1);
        OK(umf_queue_cancel(rig.queue));
        for (size_t i = 1; i < ARRAY_SIZE(works); i++)
            CHECK(works[i].released == 1 && works[i].result == -ECANCELED);
        CHECK(works[0].released == 0 && error_of(rig.fence[0]) == 0);
        gate = true;
        until(&rig, &works[0].released, 1);
        CHECK(works[0].result == 0 && umf_fence_value(rig.fence[0]) == 1);
    }
    tear_down(&rig);
}

/* A job cancels or fails its queue, or submits behind itself; its own result counts all the
 * same. */
static void
cancel_here(struct work *work)
{
    struct rig *rig = work->data;
    OK(umf_queue_cancel(rig->queue));
}

static void
fail_here(struct work *work)
{
    struct rig *rig = work->data;
    OK(umf_queue_fail(rig->queue, -ENODEV));
}

static struct work behind[3];

static void
submit_and_cancel(struct work *work)
{
    struct rig *rig = work->data;
    for (size_t i = 0; i < ARRAY_SIZE(behind); i++)
        OK(submit(rig->queue, &behind[i], NULL, 0, rig->fence[1], i + 1));
    CHECK(behind[0].ran == 0);
    cancel_here(work);
    CHECK(behind[0].released == 1 && behind[2].released == 1);
}

static void
cancel_in_a_job(const struct rig *kind)
{
    struct rig rig = set_up(kind);
    struct work work = { .in_run = submit_and_cancel, .data = &rig }, next = { 0 };
    memset(behind, 0, sizeof(behind));
    OK(submit(rig.queue, &work, NULL, 0, rig.fence[0], 1));
    until(&rig, &work.released, 1);
    CHECK(work.result == 0 && umf_fence_value(rig.fence[0]) == 1);
    for (size_t i = 0; i < ARRAY_SIZE(behind); i++)
        CHECK(behind[i].ran == 0 && behind[i].released == 1 && behind[i].result == -ECANCELED);
    CHECK(error_of(rig.fence[1]) == -ECANCELED);
    OK(submit(rig.queue, &next, NULL, 0, rig.fence[2], 1));
    until(&rig, &next.released, 1);
    CHECK(next.result == 0);
    tear_down(&rig);
}

/* Signals that happened stay, the others fail; and the queue accepts no more jobs. */
static void
the_device_is_lost(const struct rig *kind)
{
    struct rig rig = set_up(kind);
    struct umf_fence **f = rig.fence;
    struct work works[5] = { { .answer = UMF_JOB_SUBMITTED }, { .answer = UMF_JOB_SUBMITTED },
                             { 0 }, { 0 }, { 0 } };
    for (size_t i = 0; i < ARRAY_SIZE(works); i++)
        OK(submit(rig.queue, &works[i], i == 3 ? f[7] : NULL, 1, f[i], 1));
    settle(&rig);
    CHECK(works[2].released == 1 && works[3].released == 0);
    OK(umf_fence_signal(f[0], 1));
    OK(umf_queue_fail(rig.queue, -ENODEV));
    CHECK(error_of(f[0]) == 0 && error_of(f[1]) == -ENODEV && error_of(f[2]) == 0);
    for (int i = 3; i < 5; i++) {
        CHECK(works[i].released == 1 && works[i].ran == 0 && works[i].result == -EIO);
        CHECK(error_of(f[i]) == -ENODEV);
    }
    OK(umf_fence_wait(f[0], 1, 0));
    EXPECT(-EIO, umf_fence_wait(f[1], 1, 0));
    OK(umf_fence_wait(f[2], 1, 0));
    OK(umf_queue_drain(rig.queue, 0));
    /* The first error counts. */
    OK(umf_queue_fail(rig.queue, -EOWNERDEAD));
    EXPECT(-EIO, submit(rig.queue, &works[4], NULL, 0, f[6], 1));
    OK(umf_queue_cancel(rig.queue));
    OK(umf_fence_signal(f[7], 1));
    settle(&rig);
    CHECK(works[3].ran == 0 && works[4].ran == 0 && works[4].released == 1);
    CHECK(umf_fence_pending_value(f[6]) == 0 && error_of(f[6]) == 0 && error_of(f[7]) == 0);
    tear_down(&rig);
}

/* A job's own result fails it and those behind it. */
static void
a_job_loses_the_device(const struct rig *kind)
{
    const struct {
        int answer, error, result;
    } rows[] = {
        { -ENODEV, -ENODEV, -EIO },
        { -EOWNERDEAD, -EOWNERDEAD, -EOWNERDEAD },
        { -4095, -4095, -EIO },
        { -4096, -EPROTO, -EIO },
        { INT_MIN, -EPROTO, -EIO },
        { 2, -EPROTO, -EIO }, /* a later version's word */
    };
    for (size_t r = 0; r < ARRAY_SIZE(rows); r++) {
        struct rig rig = set_up(kind);
        struct work works[4] = { { .answer = UMF_JOB_SUBMITTED }, { .answer = rows[r].answer } };
        for (size_t i = 0; i < ARRAY_SIZE(works); i++)
            OK(submit(rig.queue, &works[i], i == 0 ? rig.fence[7] : NULL, 1, rig.fence[i], 1));
        OK(umf_fence_signal(rig.fence[7], 1));
        for (size_t i = 0; i < ARRAY_SIZE(works); i++)
            until(&rig, &works[i].released, 1);
        settle(&rig);
        for (size_t i = 0; i < ARRAY_SIZE(works); i++) {
            CHECK(works[i].ran == (i < 2) && works[i].released == 1);
            EXPECT(i == 0 ? 0 : rows[r].result, works[i].result);
            EXPECT(rows[r].error, error_of(rig.fence[i]));
        }
        CHECK(error_of(rig.fence[7]) == 0);
        EXPECT(rows[r].result, submit(rig.queue, &works[0], NULL, 0, NULL, 0));
        OK(umf_queue_drain(rig.queue, 0));
        tear_down(&rig);
    }
}

/* The queue fails while a job runs: announced work fails, finished work is done. */
static void
lost_in_a_job(const struct rig *kind)
{
    for (int answer = 0; answer <= UMF_JOB_SUBMITTED; answer++) {
        struct rig rig = set_up(kind);
        struct work work = { .answer = answer, .in_run = fail_here, .data = &rig };
        OK(submit(rig.queue, &work, NULL, 0, rig.fence[0], 1));
        until(&rig, &work.released, 1);
        CHECK(work.ran == 1 && work.result == 0);
        settle(&rig);
        CHECK(error_of(rig.fence[0]) == (answer == UMF_JOB_SUBMITTED ? -ENODEV : 0));
        EXPECT(-EIO, submit(rig.queue, &work, NULL, 0, NULL, 0));
        OK(umf_queue_drain(rig.queue, 0));
        tear_down(&rig);
    }
}

/* A wait that can never be met, found before the job's turn or while the queue is blocked. */
static void
what_is_waited_for_fails(const struct rig *kind)
{
    const struct {
        uint32_t op;
        int error, result, errno_of_signals;
    } rows[] = {
        { UMF_OP_GE, -ENODEV, -EIO, -ENODEV },
        { UMF_OP_GE, -EOWNERDEAD, -EOWNERDEAD, -EOWNERDEAD },
        { UMF_OP_EQ, 0, -ERANGE, -ERANGE },
    };
    for (int before = 0; before < 2; before++) {
        for (size_t r = 0; r < ARRAY_SIZE(rows); r++) {
            struct rig rig = set_up(kind);
            struct umf_fence *f = rig.fence[0];
            struct work failed = { 0 }, next = { 0 };
            struct umf_condition wait = { .fence = f, .value = 2, .op = rows[r].op };
            struct umf_signal signals[2] = { { rig.fence[1], 1 }, { rig.fence[2], 1 } };
            struct umf_job job = { .size = sizeof(job), .wait_count = 1, .waits = &wait,
                                   .signal_count = 2, .signals = signals, .run = run,
                                   .release = release, .data = &failed };
            for (int step = 0; step < 2; step++) {
                if (step == before) {
                    OK(umf_queue_submit(rig.queue, &job, 0));
                    OK(submit(rig.queue, &next, NULL, 0, rig.fence[3], 1));
                    if (!before) {
                        settle(&rig);
                        CHECK(failed.released == 0 && next.ran == 0);
                        /* One of the signals happens meanwhile, and stays. */
                        OK(umf_fence_signal(rig.fence[2], 1));
                    }
                } else if (rows[r].error) {
                    OK(umf_fence_set_error(f, rows[r].error));
                } else {
                    OK(umf_fence_signal(f, 3));
                }
            }
            until(&rig, &next.released, 1);
            CHECK(next.ran == 1 && next.result == 0 && umf_fence_value(rig.fence[3]) == 1);
            CHECK(failed.ran == 0 && failed.released == 1);
            EXPECT(rows[r].result, failed.result);
            EXPECT(rows[r].errno_of_signals, error_of(rig.fence[1]));
            EXPECT(before ? rows[r].errno_of_signals : 0, error_of(rig.fence[2]));
            settle(&rig);
            OK(umf_queue_drain(rig.queue, 0));
            tear_down(&rig);
        }
    }
}

/* Fences that another process creates and ends. */
static void
make_and_end(int sock)
{
    struct umf_page *page;
    struct umf_fence *fences[2 * ARRAY_SIZE(kinds)];
    OK(umf_page_create(ARRAY_SIZE(fences), 0, &page));
    send_page(sock, page);
    for (size_t i = 0; i < ARRAY_SIZE(fences); i++) {
        OK(umf_fence_create(page, 0, 0, &fences[i]));
        tell(sock, umf_fence_index(fences[i]));
    }
    for (size_t i = 0; i < ARRAY_SIZE(fences); i++) {
        hear(sock);
        umf_fence_unref(fences[i]);
        tell(sock, i);
    }
    umf_page_unref(page);
}

static void
fences_end(struct peer *peer)
{
    struct umf_page *page = recv_page(peer->sock);
    struct umf_fence *fences[2 * ARRAY_SIZE(kinds)];
    for (size_t i = 0; i < ARRAY_SIZE(fences); i++)
        fences[i] = recv_fence(peer->sock, page);
    for (size_t k = 0; k < ARRAY_SIZE(kinds); k++) {
        struct rig rig = set_up(&kinds[k]);
        struct work held = { 0 }, next = { 0 }, refused = { 0 };
        /* The ended fence is waited for. */
        OK(submit(rig.queue, &held, fences[2 * k], 1, rig.fence[0], 1));
        OK(submit(rig.queue, &next, NULL, 0, rig.fence[1], 1));
        settle(&rig);
        tell(peer->sock, 1);
        hear(peer->sock);
        until(&rig, &next.released, 1);
        CHECK(held.ran == 0 && held.released == 1 && held.result == -ESTALE);
        CHECK(error_of(rig.fence[0]) == -ESTALE && umf_fence_value(rig.fence[1]) == 1);
        /* The ended fence would be signaled: the other fence's pending value stays. */
        tell(peer->sock, 1);
        hear(peer->sock);
        struct umf_signal signals[2] = { { rig.fence[2], 5 }, { fences[2 * k + 1], 1 } };
        struct umf_job job = { .size = sizeof(job), .signal_count = 2, .signals = signals,
                               .run = run, .release = release, .data = &refused };
        EXPECT(-ESTALE, umf_queue_submit(rig.queue, &job, 0));
        CHECK(umf_fence_pending_value(rig.fence[2]) == 0);
        settle(&rig);
        CHECK(refused.ran == 0 && refused.released == 0);
        tear_down(&rig);
    }
    end_peer(peer);
    for (size_t i = 0; i < ARRAY_SIZE(fences); i++)
        umf_fence_unref(fences[i]);
    umf_page_unref(page);
}

static void
a_failed_fence_is_not_signaled(const struct rig *kind)
{
    const struct {
        int error, answer;
    } rows[] = { { -ENODEV, -EIO }, { -EOWNERDEAD, -EOWNERDEAD } };
    for (size_t r = 0; r < ARRAY_SIZE(rows); r++) {
        struct rig rig = set_up(kind);
        struct work work = { 0 };
        struct umf_signal signals[3] = { { rig.fence[0], 5 },
                                         { rig.fence[1], 1 },
                                         { rig.fence[2], 5 } };
        struct umf_job job = { .size = sizeof(job), .signal_count = 3, .signals = signals,
                               .run = run, .release = release, .data = &work };
        OK(umf_fence_set_error(rig.fence[1], rows[r].error));
        EXPECT(rows[r].answer, umf_queue_submit(rig.queue, &job, 0));
        CHECK(umf_fence_pending_value(rig.fence[0]) == 0);
        CHECK(umf_fence_pending_value(rig.fence[2]) == 0);
        settle(&rig);
        CHECK(work.ran == 0 && work.released == 0);
        CHECK(error_of(rig.fence[0]) == 0 && umf_fence_value(rig.fence[0]) == 0);
        OK(umf_queue_drain(rig.queue, 0));
        /* It fails while the job is in flight: the other signals happen. */
        signals[1].fence = rig.fence[3];
        struct umf_condition wait = { .fence = rig.fence[4], .value = 1 };
        job.wait_count = 1;
        job.waits = &wait;
        OK(umf_queue_submit(rig.queue, &job, 0));
        OK(umf_fence_set_error(rig.fence[3], rows[r].error));
        OK(umf_fence_signal(rig.fence[4], 1));
        until(&rig, &work.released, 1);
        CHECK(work.ran == 1 && work.result == rows[r].answer);
        CHECK(umf_fence_value(rig.fence[0]) == 5 && umf_fence_value(rig.fence[2]) == 5);
        tear_down(&rig);
    }
}

/* The last reference is released while jobs are blocked: they are canceled in that call. */
static void
unref_with_jobs(const struct rig *kind)
{
    struct rig rig = set_up(kind);
    struct work works[3] = { 0 }, flying = { .answer = UMF_JOB_SUBMITTED };
    struct umf_queue *queue, *again;
    OK(umf_queue_create(rig.loop, rig.queue_flags, &queue));
    OK(submit(queue, &flying, NULL, 0, rig.fence[5], 1));
    for (size_t i = 0; i < ARRAY_SIZE(works); i++)
        OK(submit(queue, &works[i], rig.fence[6], 1, rig.fence[i], 1));
    until(&rig, &flying.released, 1);
    settle(&rig);
    again = umf_queue_ref(queue);
    CHECK(again == queue);
    umf_queue_unref(queue);
    CHECK(works[0].released == 0);
    umf_queue_unref(again);
    for (size_t i = 0; i < ARRAY_SIZE(works); i++) {
        CHECK(works[i].released == 1 && works[i].ran == 0 && works[i].result == -ECANCELED);
        CHECK(error_of(rig.fence[i]) == -ECANCELED);
    }
    /* Jobs in flight belong to their driver. */
    CHECK(error_of(rig.fence[5]) == 0);
    OK(umf_fence_signal(rig.fence[5], 1));
    OK(umf_fence_signal(rig.fence[6], 1));
    settle(&rig);
    CHECK(works[0].ran == 0);
    tear_down(&rig);
}

static void
unref_here(struct work *work)
{
    umf_queue_unref(work->data);
}

static void
unref_in_a_job(const struct rig *kind)
{
    for (int in_release = 0; in_release < 2; in_release++) {
        struct rig rig = set_up(kind);
        struct work works[3] = { 0 };
        struct umf_queue *queue;
        OK(umf_queue_create(rig.loop, rig.queue_flags, &queue));
        works[0].data = queue;
        *(in_release ? &works[0].in_release : &works[0].in_run) = unref_here;
        OK(submit(queue, &works[0], rig.fence[7], 1, rig.fence[0], 1));
        for (size_t i = 1; i < ARRAY_SIZE(works); i++)
            OK(submit(queue, &works[i], NULL, 0, rig.fence[i], 1));
        OK(umf_fence_signal(rig.fence[7], 1));
        until(&rig, &works[0].released, 1);
        CHECK(works[0].ran == 1 && works[0].result == 0 && umf_fence_value(rig.fence[0]) == 1);
        for (size_t i = 1; i < ARRAY_SIZE(works); i++) {
            CHECK(works[i].released == 1 && works[i].ran == 0 && works[i].result == -ECANCELED);
            CHECK(error_of(rig.fence[i]) == -ECANCELED);
        }
        tear_down(&rig);
    }
}

/* Nobody waits for the job: its release tells. */
static void
unref_while_a_job_runs(const struct rig *kind)
{
    struct rig rig = set_up(kind);
    struct work works[2] = { { .in_run = wait_at_the_gate } };
    struct umf_queue *queue;
    if (!is_dispatched(&rig) && !rig.queue_flags) {
        gate = false;
        OK(umf_queue_create(rig.loop, 0, &queue));
        for (size_t i = 0; i < ARRAY_SIZE(works); i++)
            OK(submit(queue, &works[i], NULL, 0, rig.fence[i], 1));
        until(&rig, &works[0].ran, 1);
        umf_queue_unref(queue);
        CHECK(works[0].released == 0 && works[1].released == 1);
        CHECK(works[1].result == -ECANCELED);
        gate = true;
        until(&rig, &works[0].released, 1);
        CHECK(works[0].result == 0 && umf_fence_value(rig.fence[0]) == 1);
    }
    tear_down(&rig);
}

/* A job releases the last references to its queue and its loop: both end once the job returns. */
static void
unref_all(struct work *work)
{
    struct rig *rig = work->data;
    umf_queue_unref(rig->queue);
    umf_loop_unref(rig->loop);
}

static void
a_job_ends_its_loop(const struct rig *kind)
{
    struct rig rig = set_up(kind);
    struct work work = { .in_run = unref_all, .data = &rig }, next = { 0 };
    OK(submit(rig.queue, &work, rig.fence[0], 1, rig.fence[1], 1));
    OK(submit(rig.queue, &next, NULL, 0, rig.fence[2], 1));
    settle_down(&rig);
    OK(umf_fence_signal(rig.fence[0], 1));
    if (is_dispatched(&rig)) {
        until_due(&rig);
        OK(umf_loop_dispatch(rig.loop, 0));
    } else {
        while (!work.released)
            sched_yield();
    }
    CHECK(work.released == 1 && work.ran == 1 && work.result == 0);
    CHECK(umf_fence_value(rig.fence[1]) == 1);
    CHECK(next.released == 1 && next.ran == 0 && error_of(rig.fence[2]) == -ECANCELED);
    while (threads() > 1)
        sched_yield();
    for (size_t i = 0; i < ARRAY_SIZE(rig.fence); i++)
        umf_fence_unref(rig.fence[i]);
    umf_page_unref(rig.page);
}

/* The queue keeps its loop. */
static void
the_loop_stays_for_its_queue(const struct rig *kind)
{
    struct rig rig = set_up(kind);
    struct work work = { 0 };
    if (!is_dispatched(&rig)) {
        umf_loop_unref(rig.loop);
        OK(submit(rig.queue, &work, rig.fence[0], 1, NULL, 0));
        OK(umf_fence_signal(rig.fence[0], 1));
        OK(umf_queue_drain(rig.queue, FOREVER));
        CHECK(work.ran == 1);
        CHECK(umf_loop_ref(rig.loop) == rig.loop);
    }
    tear_down(&rig);
}

/* Jobs submit to their own queue, where the new ones run afterwards, and to another. */
static struct work children[2][20];
static struct umf_queue *another;

static void
submit_more(struct work *work)
{
    struct rig *rig = work->data;
    size_t i = (size_t)(work - children[0]);
    if (i + 1 < ARRAY_SIZE(children[0])) {
        OK(submit(rig->queue, work + 1, NULL, 0, rig->fence[0], i + 2));
        CHECK(work[1].ran == 0);
    }
    OK(submit(another, &children[1][i], NULL, 0, rig->fence[1], i + 1));
}

static void
jobs_submit_jobs(const struct rig *kind)
{
    struct rig rig = set_up(kind);
    OK(umf_queue_create(rig.loop, rig.queue_flags, &another));
    memset(children, 0, sizeof(children));
    for (size_t i = 0; i < ARRAY_SIZE(children[0]); i++)
        children[0][i] = (struct work){ .in_run = submit_more, .data = &rig };
    OK(submit(rig.queue, &children[0][0], NULL, 0, rig.fence[0], 1));
    for (size_t i = 0; i < ARRAY_SIZE(children[0]); i++) {
        until(&rig, &children[0][i].released, 1);
        until(&rig, &children[1][i].released, 1);
        CHECK(children[0][i].ran == 1 && children[1][i].ran == 1);
        CHECK(i == 0 || children[0][i].turn > children[0][i - 1].turn);
        CHECK(i == 0 || children[1][i].turn > children[1][i - 1].turn);
    }
    CHECK(umf_fence_value(rig.fence[0]) == ARRAY_SIZE(children[0]));
    CHECK(umf_fence_value(rig.fence[1]) == ARRAY_SIZE(children[0]));
    umf_queue_unref(another);
    tear_down(&rig);
}

/* A job's signal holds the last reference to a fence. The driver's memory is released when the
 * queue lets go of it, and that may use the queue. */
static atomic_int given_back;

static int
sleep_not(void *data, uint64_t abs_timeout_ns)
{
    (void)data;
    (void)abs_timeout_ns;
    return 0;
}

static void
give_back(void *data)
{
    struct rig *rig = data;
    int answer = umf_queue_drain(rig->queue, 0);
    CHECK(answer == 0 || answer == -ETIME);
    OK(umf_queue_cancel(rig->queue));
    given_back++;
}

static void
the_last_reference_to_a_fence(const struct rig *kind)
{
    for (int lost = 0; lost < 3; lost++) {
        struct rig rig = set_up(kind);
        struct umf_page *page;
        struct umf_fence *device;
        struct umf_interrupt interrupt = { .size = sizeof(interrupt), .fd = -1, .wait = sleep_not,
                                           .release = give_back, .data = &rig };
        struct umf_notifier *notifier;
        struct work work = { .answer = UMF_JOB_SUBMITTED, .data = &rig }, next = { 0 };
        if (lost == 1)
            work.in_run = fail_here;
        given_back = 0;
        OK(umf_page_create(1, 0, &page));
        OK(umf_fence_create(page, 0, UMF_FENCE_DEVICE, &device));
        OK(umf_notifier_create(&interrupt, 0, &notifier));
        OK(umf_fence_set_notifier(device, notifier));
        umf_notifier_unref(notifier);
        OK(submit(rig.queue, &work, rig.fence[0], 1, device, 1));
        if (lost == 1)
            umf_fence_unref(device);
        OK(umf_fence_signal(rig.fence[0], 1));
        until(&rig, &work.released, 1);
        settle(&rig);
        if (lost == 0) {
            OK(umf_fence_signal(device, 1));
            umf_fence_unref(device);
            CHECK(given_back == 0);
            OK(submit(rig.queue, &next, NULL, 0, NULL, 0));
        } else if (lost == 2) {
            umf_fence_unref(device);
            OK(umf_queue_fail(rig.queue, -EIO));
        }
        CHECK(given_back == 1);
        settle(&rig);
        umf_page_unref(page);
        tear_down(&rig);
    }
}

int
main(void)
{
    watchdog(50);
    struct peer peer = start_peer(make_and_end);
    fences_end(&peer);
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        what_was_due_when_it_was_canceled_is_armed_once(&kinds[i]);
        cancel_what_is_held_up(&kinds[i]);
        cancel_behind_what_runs(&kinds[i]);
        cancel_in_a_job(&kinds[i]);
        the_device_is_lost(&kinds[i]);
        lost_in_a_job(&kinds[i]);
        what_is_waited_for_fails(&kinds[i]);
        a_failed_fence_is_not_signaled(&kinds[i]);
        unref_with_jobs(&kinds[i]);
        unref_in_a_job(&kinds[i]);
        unref_while_a_job_runs(&kinds[i]);
        a_job_ends_its_loop(&kinds[i]);
        the_loop_stays_for_its_queue(&kinds[i]);
        jobs_submit_jobs(&kinds[i]);
        the_last_reference_to_a_fence(&kinds[i]);
        a_job_loses_the_device(&kinds[i]);
    }
    return 0;
}
