// SPDX-License-Identifier: MIT
/*
 * Wrong use of queues: every argument that a caller could get wrong, the child of a fork, and
 * errno, which no call changes. A refused call has changed nothing: no fence, no job, and release
 * is not called.
 */
#include "queue.h"
#include "sleeper.h"

#include <limits.h>

static struct rig rig;
static struct work work;

static void
row(int line, const char *call, int64_t expected, int64_t got)
{
    const char *wrong = NULL;
    if (errno != SENTINEL)
        wrong = "changed errno";
    else if (got != expected)
        wrong = "returned something else";
    else if (work.ran || work.released)
        wrong = "used the job";
    else if (umf_fence_pending_value(rig.fence[0]) != 10 ||
             umf_fence_pending_value(rig.fence[1]) != 0)
        wrong = "changed a fence";
    else if (error_of(rig.fence[0]) != 0)
        wrong = "failed a fence";
    check_row(__FILE__, line, call, wrong, expected, got);
}

#define ROW(expected, call) (errno = SENTINEL, row(__LINE__, #call, expected, call))

static void
wrong_arguments(void)
{
    struct umf_queue *const nothing = (void *)(uintptr_t)0x5a5a, *out = nothing;
    struct umf_job job = { .size = sizeof(job), .run = run, .release = release, .data = &work };
    ROW(-EINVAL, umf_queue_create(NULL, 0, &out));
    ROW(-EINVAL, umf_queue_create(rig.loop, 0, NULL));
    ROW(-EINVAL, umf_queue_submit(NULL, &job, 0));
    ROW(-EINVAL, umf_queue_submit(rig.queue, NULL, 0));
    ROW(-EINVAL, umf_queue_drain(NULL, 0));
    ROW(-EINVAL, umf_queue_drain(NULL, FOREVER));
    ROW(-EINVAL, umf_queue_cancel(NULL));
    ROW(-EINVAL, umf_queue_fail(NULL, -EIO));
    ROW(0, umf_queue_ref(NULL) != NULL);
    ROW(0, (umf_queue_unref(NULL), 0));
    for (int bit = 0; bit < 64; bit++) {
        uint64_t flag = UINT64_C(1) << bit;
        if (flag != UMF_QUEUE_INLINE)
            ROW(-EINVAL, umf_queue_create(rig.loop, flag, &out));
        ROW(-EINVAL, umf_queue_create(rig.loop, flag | UMF_QUEUE_INLINE, flag == 1 ? NULL : &out));
        ROW(-EINVAL, umf_queue_submit(rig.queue, &job, flag));
    }
    CHECK(out == nothing);
    const int errors[] = { 0, 1, EIO, INT_MAX, -4096, INT_MIN };
    for (size_t i = 0; i < ARRAY_SIZE(errors); i++)
        ROW(-EINVAL, umf_queue_fail(rig.queue, errors[i]));
}

static void
wrong_jobs(void)
{
    struct umf_condition waits[3];
    struct umf_signal signals[3];
    const struct umf_condition good_wait = { .fence = rig.fence[0], .value = 10 };
    const struct umf_signal good_signal = { rig.fence[1], 1 };
    const struct umf_job good = { .size = sizeof(good), .wait_count = 3, .waits = waits,
                                  .signal_count = 3, .signals = signals, .run = run,
                                  .release = release, .data = &work };
    struct umf_fence *narrow = rig.fence[7];
    for (int i = 0; i < 3; i++) {
        waits[i] = good_wait;
        signals[i] = good_signal;
    }
#define WITH(...)                                                                                  \
    do {                                                                                           \
        struct umf_job job = good;                                                                 \
        __VA_ARGS__;                                                                               \
        ROW(-EINVAL, umf_queue_submit(rig.queue, &job, 0));                                        \
    } while (0)
    WITH(job.size = 0);
    WITH(job.size = 4);
    WITH(job.size = sizeof(job) - 1);
    WITH(job.run = NULL);
    WITH(job.reserved = 1);
    WITH(job.reserved = UINT32_C(1) << 31);
    WITH(job.waits = NULL);
    WITH(job.signals = NULL);
    WITH(job.wait_count = UMF_WAIT_MAX + 1);
    WITH(job.signal_count = UMF_WAIT_MAX + 1);
    WITH(job.wait_count = UMF_WAIT_MAX - 2);
    WITH(job.wait_count = UINT32_MAX);
    WITH(job.signal_count = UINT32_MAX);
    WITH(job.wait_count = job.signal_count = UINT32_MAX);
    WITH(job.wait_count = job.signal_count = UINT32_C(1) << 31);

    const struct umf_condition wrong_waits[] = {
        { NULL, 10, UMF_OP_GE, 0, 0 },
        { rig.fence[0], 10, UMF_OP_LE + 1, 0, 0 },
        { rig.fence[0], 10, UINT32_MAX, 0, 0 },
        { rig.fence[0], 10, UMF_OP_GE, 1, 0 },
        { rig.fence[0], UINT64_MAX, UMF_OP_GT, 0, 0 },
        { narrow, UINT64_C(1) << 32, UMF_OP_GE, 0, 0 },
    };
    const struct umf_signal wrong_signals[] = { { NULL, 1 }, { narrow, UINT64_C(1) << 32 } };
    for (int at = 0; at < 3; at++) {
        for (size_t i = 0; i < ARRAY_SIZE(wrong_waits); i++) {
            waits[at] = wrong_waits[i];
            ROW(-EINVAL, umf_queue_submit(rig.queue, &good, 0));
            waits[at] = good_wait;
        }
        for (size_t i = 0; i < ARRAY_SIZE(wrong_signals); i++) {
            signals[at] = wrong_signals[i];
            ROW(-EINVAL, umf_queue_submit(rig.queue, &good, 0));
            signals[at] = good_signal;
        }
    }
}

/* Right arguments that look wrong. */
static void
right_jobs(void)
{
    struct {
        struct umf_job job;
        unsigned char more[64];
    } newer = { .job = { .size = sizeof(newer), .run = run, .release = release, .data = &work } };
    struct umf_job bare = { .size = sizeof(bare), .run = run, .data = &work };
    memset(newer.more, 0x5a, sizeof(newer.more));
    errno = SENTINEL;
    OK(umf_queue_submit(rig.queue, &newer.job, 0));
    OK(umf_queue_drain(rig.queue, is_dispatched(&rig) ? 0 : FOREVER));
    CHECK(errno == SENTINEL && work.ran == 1 && work.released == 1);
    work.released = 0;
    OK(umf_queue_submit(rig.queue, &bare, 0)); /* no release */
    OK(umf_queue_drain(rig.queue, is_dispatched(&rig) ? 0 : FOREVER));
    CHECK(errno == SENTINEL && work.ran == 2 && work.released == 0);
}

static int
spoil(void *data)
{
    errno = ENXIO;
    return *(int *)data;
}

static void
spoil_too(void *data, int result)
{
    (void)data;
    errno = ENXIO + (result != 0);
}

/* Also where a job that the call runs does change it. */
static void
errno_is_kept(const struct rig *kind)
{
    struct rig mine = set_up(kind);
    struct umf_queue *queue;
    int done = UMF_JOB_DONE, submitted = UMF_JOB_SUBMITTED, lost = -ENODEV;
    struct umf_condition wait = { .fence = mine.fence[0], .value = 1 };
    struct umf_signal signal = { mine.fence[1], 1 };
    struct umf_job job = { .size = sizeof(job), .waits = &wait, .signal_count = 1,
                           .signals = &signal, .run = spoil, .release = spoil_too, .data = &done };
    KEEPS_ERRNO(0, umf_queue_create(mine.loop, mine.queue_flags, &queue));
    KEEPS_ERRNO(0, umf_queue_ref(queue) != queue);
    KEEPS_ERRNO(0, (umf_queue_unref(queue), 0));
    KEEPS_ERRNO(0, umf_queue_submit(queue, &job, 0));
    job.data = &submitted;
    signal.value = 2;
    KEEPS_ERRNO(0, umf_queue_submit(queue, &job, 0));
    settle(&mine);
    KEEPS_ERRNO(-ETIME, umf_queue_drain(queue, 0));
    if (!is_dispatched(&mine))
        KEEPS_ERRNO(-ETIME, umf_queue_drain(queue, in_ns(MS)));
    OK(umf_fence_signal(mine.fence[1], 2));
    KEEPS_ERRNO(0, umf_queue_drain(queue, 0));
    job.wait_count = 1;
    signal.fence = mine.fence[2];
    KEEPS_ERRNO(0, umf_queue_submit(queue, &job, 0));
    settle(&mine);
    KEEPS_ERRNO(0, umf_queue_cancel(queue));
    KEEPS_ERRNO(-EIO, umf_queue_submit(queue, &job, 0));
    signal.fence = mine.fence[3];
    KEEPS_ERRNO(0, umf_queue_submit(queue, &job, 0));
    KEEPS_ERRNO(0, umf_queue_fail(queue, -ENODEV));
    KEEPS_ERRNO(-EIO, umf_queue_submit(queue, &job, 0));
    KEEPS_ERRNO(0, (umf_queue_unref(queue), 0));
    KEEPS_ERRNO(0, umf_queue_create(mine.loop, mine.queue_flags, &queue));
    job =
        (struct umf_job){ .size = sizeof(job), .run = spoil, .release = spoil_too, .data = &lost };
    KEEPS_ERRNO(0, umf_queue_submit(queue, &job, 0));
    settle(&mine);
    KEEPS_ERRNO(-EIO, umf_queue_submit(queue, &job, 0));
    KEEPS_ERRNO(0, (umf_queue_unref(queue), 0));
    tear_down(&mine);
}

/* The child of a fork has none of the loop's threads: every call says so and ends nothing. */
static void
in_the_child(const struct rig *kind)
{
    struct rig mine = set_up(kind);
    struct work held = { 0 }, running = { .answer = UMF_JOB_SUBMITTED };
    pid_t child;
    OK(submit(mine.queue, &running, NULL, 0, mine.fence[2], 1));
    OK(submit(mine.queue, &held, mine.fence[0], 1, mine.fence[1], 1));
    until(&mine, &running.released, 1);
    settle(&mine);
    IN_CHILD(child, {
        struct umf_queue *queue;
        errno = SENTINEL;
        EXPECT(-ESTALE, umf_queue_create(mine.loop, 0, &queue));
        EXPECT(-ESTALE, submit(mine.queue, &held, NULL, 0, mine.fence[3], 1));
        EXPECT(-ESTALE, umf_queue_drain(mine.queue, 0));
        EXPECT(-ESTALE, umf_queue_drain(mine.queue, FOREVER));
        EXPECT(-ESTALE, umf_queue_cancel(mine.queue));
        EXPECT(-ESTALE, umf_queue_fail(mine.queue, -EIO));
        CHECK(umf_fence_pending_value(mine.fence[3]) == 0);
        CHECK(umf_queue_ref(mine.queue) == mine.queue);
        /* Resources of the lost threads stay, which valgrind would report as leaks. */
        for (int i = 0; i < 2 && !RUNNING_ON_VALGRIND; i++)
            umf_queue_unref(mine.queue);
        if (!RUNNING_ON_VALGRIND)
            umf_loop_unref(mine.loop);
        CHECK(held.released == 0 && held.ran == 0 && errno == SENTINEL);
    });
    join_child(child);
    CHECK(error_of(mine.fence[1]) == 0 && error_of(mine.fence[2]) == 0);
    OK(umf_fence_signal(mine.fence[0], 1));
    until(&mine, &held.released, 1);
    CHECK(held.ran == 1 && umf_fence_value(mine.fence[1]) == 1);
    tear_down(&mine);
}

int
main(void)
{
    watchdog(30);
    int fds = open_fds();
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        memset(&work, 0, sizeof(work));
        rig = set_up(&kinds[i]);
        umf_fence_unref(rig.fence[7]);
        OK(umf_fence_create(rig.page, 0, UMF_FENCE_32BIT, &rig.fence[7]));
        OK(umf_fence_signal(rig.fence[0], 10));
        wrong_arguments();
        wrong_jobs();
        settle(&rig);
        CHECK(work.ran == 0 && work.released == 0);
        if (!is_dispatched(&rig) || rig.queue_flags)
            right_jobs();
        tear_down(&rig);
        errno_is_kept(&kinds[i]);
        in_the_child(&kinds[i]);
    }
    CHECK(open_fds() == fds);
    return 0;
}
