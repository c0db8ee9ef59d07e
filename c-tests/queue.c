/* Queues: deferred submission, as a driver's submit thread does it. */
#include "check.h"

#include <sched.h>
#include <stdatomic.h>

struct work {
    atomic_int ran, released;
    int answer, result;
};

static int
run(void *data)
{
    struct work *work = data;
    work->ran++;
    return work->answer;
}

static void
release(void *data, int result)
{
    struct work *work = data;
    work->result = result;
    work->released++;
}

static void
until(atomic_int *word, int value)
{
    while (atomic_load(word) < value)
        sched_yield();
}

int
main(void)
{
    struct umf_page *page;
    struct umf_fence *a, *b;
    struct umf_loop *loop;
    struct umf_queue *one, *two;
    OK(umf_page_create(10, 0, &page));
    OK(umf_fence_create(page, 0, 0, &a));
    OK(umf_fence_create(page, 0, 0, &b));
    OK(umf_loop_create(UMF_LOOP_THREAD, &loop));
    for (int i = 0; i < 2; i++) {
        uint64_t flags = i ? UMF_QUEUE_INLINE : 0;
        uint64_t base = 10 * (uint64_t)i;
        OK(umf_queue_create(loop, flags, &one));
        OK(umf_queue_create(loop, flags, &two));
        /* Wait before signal, across queues: the first queue's job waits for what the second's signals. */
        struct work w1 = {0}, w2 = {0}, w3 = {.answer = UMF_JOB_SUBMITTED};
        struct umf_wait wait_b = {.fence = b, .value = base + 1};
        struct umf_signal signal_a = {a, base + 1}, signal_b = {b, base + 1}, signal_a2 = {a, base + 2};
        struct umf_job job1 = {.size = sizeof(job1), .wait_count = 1, .waits = &wait_b, .signal_count = 1,
                               .signals = &signal_a, .run = run, .release = release, .data = &w1};
        struct umf_job job2 = {.size = sizeof(job2), .signal_count = 1, .signals = &signal_b, .run = run,
                               .release = release, .data = &w2};
        struct umf_job job3 = {.size = sizeof(job3), .signal_count = 1, .signals = &signal_a2, .run = run,
                               .release = release, .data = &w3};
        OK(umf_queue_submit(one, &job1, 0));
        OK(umf_queue_submit(one, &job3, 0));
        CHECK(umf_fence_pending_value(a) == base + 2);
        CHECK(w1.ran == 0);
        OK(umf_queue_submit(two, &job2, 0));
        OK(umf_fence_wait(a, base + 1, FOREVER));
        until(&w3.released, 1);
        CHECK(w1.ran == 1 && w1.released == 1 && w1.result == 0);
        EXPECT(-ETIME, umf_queue_drain(one, in_ns(10 * MS)));
        OK(umf_queue_drain(two, FOREVER));
        OK(umf_fence_signal(a, base + 2));
        OK(umf_queue_drain(one, FOREVER));
        /* Cancelled with the queue. */
        wait_b.value = base + 9;
        struct work w4 = {0};
        struct umf_fence *c;
        OK(umf_fence_create(page, 0, 0, &c));
        struct umf_signal signal_c = {c, 1};
        job1.data = &w4;
        job1.signals = &signal_c;
        OK(umf_queue_submit(one, &job1, 0));
        umf_queue_unref(one);
        CHECK(w4.released == 1 && w4.ran == 0 && w4.result == -ECANCELED);
        int error;
        OK(umf_fence_error(c, &error));
        CHECK(error == -ECANCELED);
        umf_fence_unref(c);
        umf_queue_unref(two);
    }
    umf_loop_unref(loop);
    umf_fence_unref(a);
    umf_fence_unref(b);
    umf_page_unref(page);
    return 0;
}
