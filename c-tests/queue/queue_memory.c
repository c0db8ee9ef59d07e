// SPDX-License-Identifier: MIT
/*
 * Queues and memory: whichever allocation fails, the call returns an error and changes nothing. A
 * queue of stable size takes one block for each job, and none to run it.
 */
#include "queue.h"
#include "sleeper.h"

#include "fail_alloc.h"

static void
create_without_memory(const struct rig *kind)
{
    for (int times = 0; times < 70; times++) {
        struct rig rig;
        long may_succeed = 0;
        OK(umf_loop_create(kind->loop_flags, &rig.loop));
        rig.queue = NULL;
        for (;; may_succeed++) {
            size_t before = allocated();
            allocations_left = may_succeed;
            errno = SENTINEL;
            int answer = umf_queue_create(rig.loop, kind->queue_flags, &rig.queue);
            int after = errno;
            allocations_left = LONG_MAX;
            CHECK(after == SENTINEL);
            if (answer == 0)
                break;
            EXPECT(-ENOMEM, answer);
            CHECK(!rig.queue);
            /* The loop reserves room for due watches, and its thread may be at work by now. */
            if (may_succeed > 2 && !(kind->loop_flags & UMF_LOOP_THREAD))
                CHECK(allocated() <= before + 64);
            CHECK(may_succeed < 100);
        }
        CHECK(may_succeed >= 3);
        umf_queue_unref(rig.queue);
        umf_loop_unref(rig.loop);
    }
}

/* Jobs with and without waits, each submitted with one more allocation that succeeds. */
static void
submit_without_memory(const struct rig *kind)
{
    unsigned refused = 0, given_up = 0;
    for (int times = 0; times < 70; times++) {
        int fds = open_fds();
        struct rig rig = set_up(kind);
        struct work ahead = { 0 }, before[70] = { 0 };
        struct umf_fence *f = rig.fence[0];
        /* Behind a blocked job, on a queue that has run some, or on a new one. */
        bool behind = times % 3 == 0;
        if (times % 3 != 2)
            for (int i = 0; i < times; i++)
                OK(submit(rig.queue, &before[i], NULL, 0, NULL, 0));
        settle(&rig);
        if (behind)
            OK(submit(rig.queue, &ahead, rig.fence[6], 1, NULL, 0));
        settle(&rig);
        for (long may_succeed = 0;; may_succeed++) {
            struct work work = { 0 };
            struct umf_condition wait = { .fence = f, .value = times % 2 ? 0 : 1 };
            struct umf_fence *target = rig.fence[1 + may_succeed % 5];
            uint64_t pending = umf_fence_pending_value(target);
            struct umf_signal signals[2] = { { target, pending + 1 }, { rig.fence[7], 0 } };
            struct umf_job job = { .size = sizeof(job), .wait_count = 1, .waits = &wait,
                                   .signal_count = 2, .signals = signals, .run = run,
                                   .release = release, .data = &work };
            allocations_left = may_succeed;
            errno = SENTINEL;
            int answer = umf_queue_submit(rig.queue, &job, 0), after = errno;
            allocations_left = LONG_MAX;
            CHECK(after == SENTINEL && may_succeed < 100);
            if (answer == 0) {
                /* Inline, the caller's thread finds no memory to wait with. */
                if (work.released && work.result == -ENOMEM) {
                    CHECK(work.ran == 0 && work.released == 1 && !behind);
                    CHECK(error_of(target) == -ENOMEM);
                    given_up++;
                    umf_fence_unref(target);
                    OK(umf_fence_create(rig.page, 0, 0, &rig.fence[1 + may_succeed % 5]));
                    continue;
                }
                CHECK(umf_fence_pending_value(target) == pending + 1);
                OK(umf_fence_signal(rig.fence[6], 1));
                OK(umf_fence_signal(f, 1));
                until(&rig, &work.released, 1);
                CHECK(work.ran == 1 && work.result == 0);
                break;
            }
            EXPECT(-ENOMEM, answer);
            refused++;
            CHECK(umf_fence_pending_value(target) == pending && error_of(target) == 0);
            settle(&rig);
            CHECK(work.ran == 0 && work.released == 0);
        }
        tear_down(&rig);
        /* No fence is kept: otherwise its page would be. */
        CHECK(open_fds() == fds);
    }
    CHECK(refused >= 70);
    CHECK((given_up > 0) == (kind->queue_flags == UMF_QUEUE_INLINE));
}

/* What the running thread allocates, from one job to the next. */
static long at_last_run, in_running;

static void
count_allocations(struct work *work)
{
    (void)work;
    if (at_last_run >= 0 && allocations > at_last_run)
        in_running += allocations - at_last_run;
    at_last_run = allocations;
}

static void
one_block_for_each_job(const struct rig *kind)
{
    for (int answer = UMF_JOB_DONE; answer <= UMF_JOB_SUBMITTED; answer++) {
        struct rig rig = set_up(kind);
        struct umf_condition waits[4];
        for (int i = 0; i < 4; i++)
            waits[i] = (struct umf_condition){ .fence = rig.fence[i], .value = 0 };
        for (uint64_t i = 0; i < 300; i++) {
            struct work work = { .in_run = count_allocations, .answer = answer };
            struct umf_signal signals[2] = { { rig.fence[4], i }, { rig.fence[5], i } };
            struct umf_job job = { .size = sizeof(job), .wait_count = i % 3 * 2, .waits = waits,
                                   .signal_count = i % 2 * 2, .signals = signals, .run = run,
                                   .release = release, .data = &work };
            long before = allocations;
            OK(umf_queue_submit(rig.queue, &job, 0));
            long blocks = allocations - before;
            until(&rig, &work.released, 1);
            if (answer == UMF_JOB_SUBMITTED && job.signal_count > 0) {
                OK(umf_fence_signal(rig.fence[4], i));
                OK(umf_fence_signal(rig.fence[5], i));
            }
            settle(&rig);
            if (i >= 100)
                CHECK(blocks <= (job.wait_count + job.signal_count > 0));
        }
        tear_down(&rig);
    }
}

/* The same with many jobs in the queue, run by the loop's thread, and with work that continues
 * afterwards. */
static void
none_to_run_it(void)
{
    struct rig rig = set_up(&kinds[0]);
    static struct work works[500];
    for (uint64_t round = 1; round <= 3; round++) {
        memset(works, 0, sizeof(works));
        at_last_run = -1;
        in_running = 0;
        OK(submit(rig.queue, &works[0], rig.fence[0], round, NULL, 0));
        settle(&rig);
        for (size_t i = 1; i < ARRAY_SIZE(works); i++) {
            works[i].in_run = count_allocations;
            works[i].answer = i % 3 ? UMF_JOB_SUBMITTED : UMF_JOB_DONE;
            long before = allocations;
            OK(submit(rig.queue, &works[i], rig.fence[1], 0, rig.fence[2 + i % 3], round));
            if (round > 1)
                CHECK(allocations - before <= 1);
        }
        OK(umf_fence_signal(rig.fence[0], round));
        until(&rig, &works[ARRAY_SIZE(works) - 1].released, 1);
        CHECK(in_running == 0);
        OK(umf_fence_signal(rig.fence[3], round));
        OK(umf_fence_signal(rig.fence[4], round));
        OK(umf_queue_drain(rig.queue, FOREVER));
        settle(&rig);
    }
    tear_down(&rig);
}

int
main(void)
{
    watchdog(50);
    if (RUNNING_ON_VALGRIND) {
        printf("valgrind has a malloc of its own\n");
        return SKIPPED;
    }
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        create_without_memory(&kinds[i]);
        submit_without_memory(&kinds[i]);
        one_block_for_each_job(&kinds[i]);
    }
    none_to_run_it();
    return 0;
}
