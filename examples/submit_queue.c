// SPDX-License-Identifier: MIT
/*
 * A driver's submit queue. Each job waits for the frame of another queue and runs without a thread
 * that blocks. The work may be submitted before anyone has submitted what it waits for.
 */
#include <errno.h>
#include <libumf.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

struct work {
    int frame;
};

static atomic_int releases;             /* on the loop's thread, and in umf_queue_unref() */

/* Submits the commands to the hardware. Here they are done at once. */
static int run(void *data)
{
    const struct work *work = data;
    printf("frame %d runs\n", work->frame);
    return UMF_JOB_DONE;                /* the queue signals the fence of the job */
}

/* Called once, whether the job ran or not. */
static void release(void *data, int result)
{
    struct work *work = data;
    if (result != 0)
        printf("frame %d did not run: %s\n", work->frame,
               result == -ECANCELED ? "canceled" : "failed");
    releases++;
    free(work);
}

static int submit(struct umf_queue *queue, struct umf_fence *acquired, struct umf_fence *done,
                  int frame)
{
    struct work *work = malloc(sizeof(*work));
    if (!work)
        return -ENOMEM;
    *work = (struct work){ frame };
    struct umf_condition wait = { .fence = acquired, .value = (uint64_t)frame, .op = UMF_OP_GE };
    struct umf_signal signal = { .fence = done, .value = (uint64_t)frame };
    struct umf_job job = { .size = sizeof(job), .wait_count = 1, .signal_count = 1, .waits = &wait,
                           .signals = &signal, .run = run, .release = release, .data = work };
    int result = umf_queue_submit(queue, &job, 0);
    if (result != 0)
        free(work);                     /* a call that fails calls no release */
    return result;
}

int main(void)
{
    struct umf_page *page;
    struct umf_fence *acquired, *done;
    struct umf_loop *loop;
    struct umf_queue *queue;
    if (umf_page_create(64, 0, &page) || umf_fence_create(page, 0, 0, &acquired) ||
        umf_fence_create(page, 0, 0, &done) || umf_loop_create(UMF_LOOP_THREAD, &loop) ||
        umf_queue_create(loop, 0, &queue))
        return 1;
    for (int frame = 1; frame <= 3; frame++) {
        if (submit(queue, acquired, done, frame))
            return 1;
    }
    if (umf_fence_signal(acquired, 2) || umf_fence_wait(done, 2, UINT64_MAX))
        return 1;
    umf_queue_unref(queue);             /* cancels frame 3, whose wait is not met */
    umf_loop_unref(loop);               /* from here on nothing runs */
    umf_fence_unref(done);
    umf_fence_unref(acquired);
    umf_page_unref(page);
    return releases != 3;
}
