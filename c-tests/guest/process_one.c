// SPDX-License-Identifier: MIT
/*
 * Process 1 of a pid namespace, as in a container, forks into a new pid namespace. The child is
 * process 1 too, and still another process: its handles are those of any forked child.
 */
#include "sleeper.h"

static struct umf_page *page;
static struct umf_fence *fence;

static int
run_nothing(void *data)
{
    (void)data;
    return UMF_JOB_DONE;
}

static void
be_process_one_of_another_namespace(struct umf_loop *loop, struct umf_queue *queue)
{
    struct umf_job job = { .size = sizeof(job), .run = run_nothing };
    watchdog(20);
    EXPECT(1, getpid());
    EXPECT(-ESTALE, umf_queue_submit(queue, &job, 0));
    EXPECT(-ESTALE, umf_queue_drain(queue, 0));
    /* Hangs if it waits for threads of the parent. */
    umf_queue_unref(queue);
    umf_loop_unref(loop);
    /* Does not end the parent's fence. */
    umf_fence_unref(fence);
    /* What the child makes is its own. */
    struct umf_fence *own;
    OK(umf_fence_create(page, 0, 0, &own));
    OK(umf_loop_create(UMF_LOOP_THREAD, &loop));
    OK(umf_queue_create(loop, UMF_QUEUE_INLINE, &queue));
    OK(umf_queue_submit(queue, &job, 0));
    OK(umf_queue_drain(queue, 0));
    umf_queue_unref(queue);
    umf_loop_unref(loop);
    umf_fence_unref(own);
}

static void
be_process_one(void)
{
    pid_t child;
    struct umf_loop *loop;
    struct umf_queue *queue;
    EXPECT(1, getpid());
    OK(umf_page_create(4, 0, &page));
    OK(umf_fence_create(page, 0, 0, &fence));
    OK(umf_loop_create(UMF_LOOP_THREAD, &loop));
    OK(umf_queue_create(loop, 0, &queue));
    CHECK(unshare(CLONE_NEWPID) == 0);
    IN_CHILD(child, be_process_one_of_another_namespace(loop, queue));
    join_child(child);
    OK(umf_fence_signal(fence, 1));
    umf_queue_unref(queue);
    umf_loop_unref(loop);
    umf_fence_unref(fence);
    umf_page_unref(page);
}

int
main(void)
{
    pid_t child;
    watchdog(40);
    if (RUNNING_ON_VALGRIND) {
        printf("valgrind reports what the children leave behind as leaks\n");
        return SKIPPED;
    }
    if (unshare(CLONE_NEWPID) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWPID) != 0) {
        printf("not available: new pid namespaces\n");
        return SKIPPED;
    }
    IN_CHILD(child, be_process_one());
    join_child(child);
    return 0;
}
