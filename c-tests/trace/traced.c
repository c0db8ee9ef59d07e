// SPDX-License-Identifier: MIT
/*
 * Processes that do what a trace records: for a test that runs this with LIBUMF_TRACE, and for the
 * picture in docs/traces.md.
 *
 * Prints the ids of the three processes, and the inode number of their page.
 */
#include "process.h"
#include "sleeper.h"
#include "watch.h"

enum { FRAMES = 4 };
enum { DONE, SHOWN, LOST, JOBS, KERNEL, FENCES };

static struct umf_page *page;
static struct umf_fence *fences[FENCES];
static struct peer peer;

static void
compositor(int sock)
{
    CHECK(prctl(PR_SET_NAME, "compositor") == 0);
    page = recv_page(sock);
    for (int i = 0; i < FENCES; i++)
        OK(umf_fence_open(page, (uint32_t)i, 0, &fences[i]));
    for (uint64_t frame = 1; frame <= FRAMES; frame++) {
        OK(umf_fence_wait(fences[DONE], frame, FOREVER));
        OK(umf_fence_signal(fences[SHOWN], frame));
    }
    EXPECT(-EIO, umf_fence_wait(fences[LOST], 1, FOREVER));
    struct umf_condition both[] = { { .fence = fences[DONE], .value = FRAMES + 1 },
                                    { .fence = fences[SHOWN], .value = FRAMES + 1 } };
    uint32_t index;
    OK(umf_wait(both, 2, UMF_WAIT_ANY, FOREVER, &index));
    EXPECT(1, index);
    OK(umf_wait(both, 2, 0, FOREVER, NULL));
    EXPECT(-ETIME, umf_fence_wait(fences[KERNEL], 100, in_ns(MS)));
}

static void
until_compositor_sleeps(void)
{
    while (!is_asleep(peer.pid, peer.pid))
        sched_yield();
}

static int
run_job(void *data)
{
    (void)data;
    return UMF_JOB_DONE;
}

/* A job that waits for its fence, one that follows, and a watch. */
static void
run_jobs(void)
{
    struct umf_loop *loop = create_loop(UMF_LOOP_THREAD);
    struct umf_queue *queue;
    struct told told = { 0 };
    struct umf_condition wait = { .fence = fences[JOBS], .value = 1 };
    struct umf_signal signal = { .fence = fences[JOBS], .value = 3 };
    struct umf_job job = { .size = sizeof(job), .wait_count = 1, .waits = &wait,
                           .run = run_job };
    OK(umf_queue_create(loop, 0, &queue));
    OK(umf_queue_submit(queue, &job, 0));
    job = (struct umf_job){ .size = sizeof(job), .signal_count = 1, .signals = &signal,
                            .run = run_job };
    OK(umf_queue_submit(queue, &job, 0));
    struct umf_callback callback = callback_to(&told);
    wait.value = 2;
    OK(umf_loop_watch(loop, &wait, 0, &callback, NULL));
    OK(umf_fence_signal(fences[JOBS], 1));
    OK(umf_queue_drain(queue, FOREVER));
    until_called(loop, &told, 0);
    umf_queue_unref(queue);
    umf_loop_unref(loop);
}

int
main(void)
{
    pid_t child;
    watchdog(50);
    peer = start_peer(compositor);
    CHECK(prctl(PR_SET_NAME, "driver") == 0);
    OK(umf_page_create(FENCES, 0, &page));
    for (int i = 0; i < FENCES; i++)
        OK(umf_fence_create(page, 0, 0, &fences[i]));
    send_page(peer.sock, page);
    for (uint64_t frame = 1; frame <= FRAMES; frame++) {
        until_compositor_sleeps();
        OK(umf_fence_signal(fences[DONE], frame));
        OK(umf_fence_wait(fences[SHOWN], frame, FOREVER));
    }
    until_compositor_sleeps();
    OK(umf_fence_set_error(fences[LOST], -ENODATA));
    until_compositor_sleeps();
    IN_CHILD(child, { OK(umf_fence_signal(fences[SHOWN], FRAMES + 1)); });
    join_child(child);
    until_compositor_sleeps();
    OK(umf_fence_signal(fences[DONE], FRAMES + 1));
    run_jobs();
    OK(umf_fence_import_sync_file(fences[KERNEL], 1, -1, 0, FOREVER));
    end_peer(&peer);

    struct stat status;
    int fd;
    OK(umf_page_export(page, 0, &fd));
    CHECK(fstat(fd, &status) == 0);
    printf("%d %d %d %lu\n", (int)getpid(), (int)peer.pid, (int)child,
           (unsigned long)status.st_ino);
    return 0;
}
