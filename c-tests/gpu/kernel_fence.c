// SPDX-License-Identifier: MIT
/*
 * The device's own kernel fences. They are finite, so they may be handed out before the work is
 * done: as sync_files and as points of timelines. Kernel fences of others become what a queue waits
 * for. A queue that hangs is reset, and its fences fail.
 */
#include "process.h"
#include "vgem.h"
#include "winsys.h"

#define LIMIT_MS 300
/* What a busy, emulated machine may add to the limit. */
#define SLACK_NS (5 * SECOND)

static struct gpu gpu;
static struct umf_page *page;
static struct gpu_buffer values;

static struct gpu_fence
new_gpu_fence(void)
{
    static uint64_t used;
    struct gpu_fence fence;
    gpu_fence_create_in(&gpu, page, &values, used++ * 64, &fence);
    return fence;
}

static _Atomic uint64_t *
value_of(const struct gpu_fence *fence)
{
    return (_Atomic uint64_t *)(void *)((char *)values.map + (fence->address - values.address));
}

/* Waits for a sync_file, and returns how it ended. */
static int
end_of_sync_file(int sync_file)
{
    struct pollfd entry = { .fd = sync_file, .events = POLLIN };
    CHECK(poll(&entry, 1, 20000) == 1);
    return sync_file_status(sync_file);
}

static void
a_sync_file_comes_before_the_work_is_done(void)
{
    struct gpu_queue queue;
    struct gpu_fence done = new_gpu_fence();
    uint32_t timeline = syncobj_create(gpu.fd, 0);
    gpu_queue_create(&gpu, 64, 0, &queue);
    gpu_exec(&queue, 0);
    gpu_signal(&queue, &done, 1);
    gpu_submit(&queue);
    int sync_file = gpu_sync_file(&queue);
    OK(gpu_kernel_fence(&queue, timeline, 5));
    EXPECT(0, sync_file_status(sync_file));
    CHECK(syncobj_query(gpu.fd, timeline, DRM_SYNCOBJ_QUERY_FLAGS_LAST_SUBMITTED) == 5);
    CHECK(syncobj_query(gpu.fd, timeline, 0) == 0);
    EXPECT(-ETIME, syncobj_wait(gpu.fd, timeline, 5, 0, 0));

    gpu_answer(&queue);
    EXPECT(1, end_of_sync_file(sync_file));
    OK(syncobj_wait(gpu.fd, timeline, 5, 0, INT64_MAX));
    /* The fence came after the value. */
    CHECK(umf_fence_value(done.fence) == 1);

    /* A fence of work that is done has signaled, or does so at once. */
    OK(gpu_kernel_fence(&queue, timeline, 6));
    OK(syncobj_wait(gpu.fd, timeline, 6, 0, INT64_MAX));
    close(sync_file);
    syncobj_destroy(gpu.fd, timeline);
    umf_fence_unref(done.fence);
    gpu_queue_destroy(&queue);
}

/* P1 in a driver: work that waits for a UMF gets no kernel fence, and all other work gets one. */
static void
exports_are_early_unless_the_work_waits_for_a_umf(void)
{
    struct gpu_queue queue;
    struct gpu_fence input = new_gpu_fence(), done = new_gpu_fence();
    struct umf_loop *event_loop;
    struct umf_syncobj *points;
    uint32_t timeline = syncobj_create(gpu.fd, 0);
    pid_t exporter;
    OK(umf_loop_create(UMF_LOOP_THREAD, &event_loop));
    OK(umf_syncobj_open(gpu.device, timeline, 0, &points));
    gpu_queue_create(&gpu, 64, LIMIT_MS, &queue);
    gpu_wait(&queue, &input, 1);
    gpu_exec(&queue, 0);
    gpu_signal(&queue, &done, 1);
    gpu_submit(&queue);
    OK(umf_loop_export_syncobj(event_loop, done.fence, 1, points, 1, 0, NULL, NULL));
    check_not_materialized(gpu.fd, timeline, 1);
    IN_CHILD(exporter, close(gpu_export_sync_file(&queue, &done, 1)));
    until_blocked(exporter);
    check_not_materialized(gpu.fd, timeline, 1);
    CHECK(gpu_query(&queue).error == 0);

    atomic_store(value_of(&input), 1); /* another device's write */
    /* The same work has become finite. */
    int sync_file = gpu_export_sync_file(&queue, &done, 1);
    EXPECT(0, sync_file_status(sync_file));
    check_not_materialized(gpu.fd, timeline, 1);
    gpu_answer(&queue);
    EXPECT(1, end_of_sync_file(sync_file));
    join_child(exporter);
    OK(syncobj_wait(gpu.fd, timeline, 1, WAIT_FOR_SUBMIT, INT64_MAX));
    OK(umf_fence_wait(done.fence, 1, 0));
    umf_syncobj_unref(points);
    umf_loop_unref(event_loop);
    close(sync_file);
    syncobj_destroy(gpu.fd, timeline);
    umf_fence_unref(input.fence);
    umf_fence_unref(done.fence);
    gpu_queue_destroy(&queue);
}

static int
wait_pairs(uint32_t syncobj, uint64_t point, struct umf_gpu_pair *pairs, uint32_t capacity,
           uint32_t *count)
{
    struct umf_gpu_wait wait = { .handles = (uintptr_t)&syncobj,
                                 .points = (uintptr_t)&point,
                                 .pairs = (uintptr_t)pairs,
                                 .count = 1,
                                 .capacity = capacity };
    int result = gpu_call(&gpu, DRM_IOCTL_UMF_GPU_WAIT, &wait);
    *count = wait.pair_count;
    return result;
}

/* A timeline of two queues' fences: a third queue waits for both, and no thread does. */
static void
a_kernel_fence_becomes_an_address_and_a_value(void)
{
    struct gpu_queue queues[3];
    struct gpu_fence done = new_gpu_fence();
    struct umf_gpu_pair pairs[2];
    uint32_t timeline = syncobj_create(gpu.fd, 0), count;
    for (int i = 0; i < 3; i++)
        gpu_queue_create(&gpu, 64, 0, &queues[i]);
    for (int i = 0; i < 2; i++) {
        gpu_exec(&queues[i], 0);
        gpu_submit(&queues[i]);
        OK(gpu_kernel_fence(&queues[i], timeline, (uint64_t)i + 1));
    }
    EXPECT(-EINVAL, wait_pairs(timeline, 3, pairs, 2, &count)); /* no fence there */
    EXPECT(-ENOSPC, wait_pairs(timeline, 2, pairs, 1, &count));
    CHECK(count == 2);
    OK(wait_pairs(timeline, 2, pairs, 2, &count));
    CHECK(count == 2 && pairs[0].address != pairs[1].address);
    for (int i = 0; i < 2; i++)
        gpu_push(&queues[2],
                 (struct umf_gpu_packet){ .op = UMF_GPU_PACKET_WAIT,
                                          .flags = UMF_GPU_OP_GE,
                                          .wait = { pairs[i].address, pairs[i].value, 0 } });
    gpu_signal(&queues[2], &done, 1);
    gpu_submit(&queues[2]);
    for (int i = 0; i < 2; i++) {
        EXPECT(-ETIME, umf_fence_wait(done.fence, 1, in_ns(MS)));
        gpu_answer(&queues[i]);
    }
    OK(umf_fence_wait(done.fence, 1, FOREVER));
    OK(syncobj_wait(gpu.fd, timeline, 2, 0, INT64_MAX));
    OK(wait_pairs(timeline, 2, pairs, 2, &count));
    CHECK(count == 0); /* all have signaled */
    syncobj_destroy(gpu.fd, timeline);
    umf_fence_unref(done.fence);
    for (int i = 0; i < 3; i++)
        gpu_queue_destroy(&queues[i]);
}

/* For a fence of another driver, the call itself waits. */
static void
a_kernel_fence_of_another_driver(void)
{
    int vgem = open_drm("vgem", "card");
    CHECK(vgem >= 0);
    uint32_t syncobj = syncobj_create(gpu.fd, 0), fence, count;
    int sync_file = vgem_sync_file(vgem, &fence);
    pid_t waiter;
    syncobj_import_sync_file(gpu.fd, syncobj, sync_file);
    IN_CHILD(waiter, {
        struct umf_gpu_pair pair;
        OK(wait_pairs(syncobj, 0, &pair, 1, &count));
        CHECK(count == 0);
    });
    until_blocked(waiter);
    vgem_signal(vgem, fence);
    join_child(waiter);
    syncobj_destroy(gpu.fd, syncobj);
    close(sync_file);
    close(vgem);
}

/* What a driver does when the device says that a queue failed. */
static void
lose_queue(struct gpu_queue *queue, const struct gpu_fence *fence, int expected)
{
    struct umf_gpu_queue_op state = gpu_query(queue);
    EXPECT(expected, state.error);
    CHECK(!state.running);
    OK(umf_fence_set_error(fence->fence, state.error));
}

/* The queue waits for a value that never comes, and owes a kernel fence. */
static void
a_queue_that_hangs_is_reset_and_its_fences_fail(void)
{
    struct gpu_queue queue;
    struct gpu_fence never = new_gpu_fence(), done = new_gpu_fence();
    uint32_t timeline = syncobj_create(gpu.fd, 0);
    struct sleeper sleeper = { .fence = done.fence, .value = 1 };
    gpu_queue_create(&gpu, 64, LIMIT_MS, &queue);
    start_sleeper(&sleeper);
    gpu_wait(&queue, &never, 1);
    gpu_signal(&queue, &done, 1);
    gpu_submit(&queue);
    uint64_t began = now_ns();
    int first = gpu_sync_file(&queue);
    OK(gpu_kernel_fence(&queue, timeline, 1));
    EXPECT(-ETIME, end_of_sync_file(first));
    uint64_t took = now_ns() - began;
    printf("    failed after %.0f ms\n", (double)took / 1e6);
    CHECK(took >= LIMIT_MS * MS && took < LIMIT_MS * MS + SLACK_NS);
    OK(syncobj_wait(gpu.fd, timeline, 1, 0, INT64_MAX)); /* it fails with the first */

    lose_queue(&queue, &done, -ETIME);
    EXPECT(-EIO, end_of(&sleeper));
    EXPECT(-ETIME, error_of(done.fence));
    EXPECT(-EIO, gpu_kernel_fence(&queue, timeline, 2));
    /* It stays lost, whatever is written. */
    atomic_store(value_of(&never), 1);
    gpu_submit(&queue);
    EXPECT(-EIO, umf_fence_wait(done.fence, 1, in_ns(5 * MS)));
    CHECK(gpu_query(&queue).position == 0 && *value_of(&done) == 0);
    close(first);
    gpu_queue_destroy(&queue);

    /* A new queue in its place works. */
    struct gpu_fence again = new_gpu_fence();
    gpu_queue_create(&gpu, 64, LIMIT_MS, &queue);
    gpu_signal(&queue, &again, 1);
    gpu_submit(&queue);
    int second = gpu_sync_file(&queue);
    EXPECT(1, end_of_sync_file(second));
    OK(umf_fence_wait(again.fence, 1, FOREVER));
    close(second);
    syncobj_destroy(gpu.fd, timeline);
    gpu_queue_destroy(&queue);
    umf_fence_unref(never.fence);
    umf_fence_unref(done.fence);
    umf_fence_unref(again.fence);
}

/* The queue owes no kernel fence, so it may wait for as long as it likes. */
static void
a_queue_that_owes_no_fence_has_no_limit(void)
{
    struct gpu_queue queue;
    struct gpu_fence later = new_gpu_fence(), done = new_gpu_fence();
    gpu_queue_create(&gpu, 64, 20, &queue);
    gpu_wait(&queue, &later, 1);
    gpu_signal(&queue, &done, 1);
    gpu_submit(&queue);
    EXPECT(-ETIME, umf_fence_wait(done.fence, 1, in_ns(200 * MS)));
    CHECK(gpu_query(&queue).error == 0);
    atomic_store(value_of(&later), 1); /* another device's write */
    OK(umf_fence_wait(done.fence, 1, FOREVER));
    umf_fence_unref(later.fence);
    umf_fence_unref(done.fence);
    gpu_queue_destroy(&queue);
}

/* A fence that fails frees the queues that wait for its count, as the device's own recovery. */
static void
queues_do_not_wait_for_one_that_was_reset(void)
{
    struct gpu_queue hangs, waits;
    struct gpu_fence never = new_gpu_fence(), done = new_gpu_fence();
    struct umf_gpu_pair pair;
    uint32_t syncobj = syncobj_create(gpu.fd, 0), count;
    gpu_queue_create(&gpu, 64, 10000, &hangs);
    gpu_queue_create(&gpu, 64, 0, &waits);
    gpu_wait(&hangs, &never, 1);
    gpu_submit(&hangs);
    OK(gpu_kernel_fence(&hangs, syncobj, 0));
    OK(wait_pairs(syncobj, 0, &pair, 1, &count));
    CHECK(count == 1);
    gpu_push(&waits, (struct umf_gpu_packet){ .op = UMF_GPU_PACKET_WAIT,
                                              .flags = UMF_GPU_OP_GE,
                                              .wait = { pair.address, pair.value, 0 } });
    gpu_signal(&waits, &done, 1);
    gpu_submit(&waits);
    EXPECT(-ETIME, umf_fence_wait(done.fence, 1, in_ns(MS)));
    struct umf_gpu_queue_op reset = { .queue = hangs.id, .op = UMF_GPU_QUEUE_RESET };
    OK(gpu_call(&gpu, DRM_IOCTL_UMF_GPU_QUEUE_OP, &reset));
    OK(umf_fence_wait(done.fence, 1, FOREVER));
    syncobj_destroy(gpu.fd, syncobj);
    umf_fence_unref(never.fence);
    umf_fence_unref(done.fence);
    gpu_queue_destroy(&hangs);
    gpu_queue_destroy(&waits);
}

/* A process whose queues hang, and which is killed. */
static void
die_with_a_queue(int sock)
{
    struct gpu theirs = gpu_open();
    struct umf_page *shared = recv_page(sock);
    struct gpu_buffer buffer;
    struct gpu_fence never, done;
    struct gpu_queue queue;
    gpu_buffer_create(&theirs, GPU_PAGE, 0, &buffer);
    gpu_fence_create_in(&theirs, shared, &buffer, 0, &never);
    gpu_fence_create_in(&theirs, shared, &buffer, 64, &done);
    gpu_queue_create(&theirs, 64, 10000, &queue);
    gpu_wait(&queue, &never, 1);
    gpu_signal(&queue, &done, 1);
    gpu_submit(&queue);
    struct drm_prime_handle prime = { .handle = buffer.handle, .flags = DRM_CLOEXEC | DRM_RDWR };
    OK(gpu_call(&theirs, DRM_IOCTL_PRIME_HANDLE_TO_FD, &prime));
    send_fd(sock, prime.fd);
    tell(sock, umf_fence_index(done.fence));
    send_fd(sock, gpu_sync_file(&queue));
    hear(sock);
}

/* Its queues go. The kernel fence fails, and the UMF, which is tied to the process, too. */
static void
a_killed_process_fails_its_fences(struct peer *peer)
{
    send_page(peer->sock, page);
    struct umf_loop *event_loop;
    struct umf_fence *theirs;
    int dma_buf = recv_fd(peer->sock);
    const char *map = mmap(NULL, GPU_PAGE, PROT_READ, MAP_SHARED, dma_buf, 0);
    CHECK(map != MAP_FAILED);
    const struct umf_mapping mapping = { .size = sizeof(mapping), .value = map + 64 };
    OK(umf_fence_open_in(page, (uint32_t)hear(peer->sock), &mapping, 0, &theirs));
    int sync_file = recv_fd(peer->sock);
    int pidfd = pidfd_of(peer->pid);
    OK(umf_loop_create(UMF_LOOP_THREAD, &event_loop));
    OK(umf_loop_tie_fence(event_loop, theirs, pidfd, 0, NULL, NULL));
    struct sleeper sleeper = { .fence = theirs, .value = 1 };
    start_sleeper(&sleeper);
    EXPECT(0, sync_file_status(sync_file));
    CHECK(kill(peer->pid, SIGKILL) == 0 && waitpid(peer->pid, NULL, 0) == peer->pid);
    EXPECT(-ECANCELED, end_of_sync_file(sync_file));
    EXPECT(-EOWNERDEAD, end_of(&sleeper));
    umf_loop_unref(event_loop);
    umf_fence_unref(theirs);
    CHECK(munmap((void *)(uintptr_t)map, GPU_PAGE) == 0);
    close(pidfd);
    close(dma_buf);
    close(sync_file);
    close(peer->sock);
}

/* xe's wait: six operators, a mask, and sleep until an interrupt. */
static void
a_wait_for_one_value_in_memory(void)
{
    static const struct {
        uint32_t op;
        uint64_t value;
        bool met;
    } cases[] = {
        { UMF_GPU_OP_EQ, 5, true },  { UMF_GPU_OP_EQ, 6, false }, { UMF_GPU_OP_NE, 6, true },
        { UMF_GPU_OP_NE, 5, false }, { UMF_GPU_OP_GT, 4, true },  { UMF_GPU_OP_GT, 5, false },
        { UMF_GPU_OP_GE, 5, true },  { UMF_GPU_OP_GE, 6, false }, { UMF_GPU_OP_LT, 6, true },
        { UMF_GPU_OP_LT, 5, false }, { UMF_GPU_OP_LE, 5, true },  { UMF_GPU_OP_LE, 4, false },
    };
    struct gpu_fence fence = new_gpu_fence(), gate = new_gpu_fence();
    struct gpu_queue queue;
    struct umf_gpu_wait_user_fence wait = { .pointer = (uintptr_t)value_of(&fence) };
    atomic_store(value_of(&fence), UINT64_C(0xff00000005));
    wait.mask = 0xffffffff;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        wait.op = cases[i].op;
        wait.value = cases[i].value;
        EXPECT(cases[i].met ? 0 : -ETIME, gpu_call(&gpu, DRM_IOCTL_UMF_GPU_WAIT_USER_FENCE, &wait));
    }
    gpu_queue_create(&gpu, 64, 0, &queue);
    gpu_wait(&queue, &gate, 1);
    gpu_signal(&queue, &fence, UINT64_C(0xff00000006));
    gpu_submit(&queue);
    pid_t waiter;
    wait.op = UMF_GPU_OP_GE;
    wait.value = 6;
    wait.queue = queue.id;
    wait.timeout_ns = in_ns(20 * MS);
    EXPECT(-ETIME, gpu_call(&gpu, DRM_IOCTL_UMF_GPU_WAIT_USER_FENCE, &wait));
    CHECK(now_ns() >= wait.timeout_ns);
    wait.timeout_ns = FOREVER;
    IN_CHILD(waiter, OK(gpu_call(&gpu, DRM_IOCTL_UMF_GPU_WAIT_USER_FENCE, &wait)));
    until_blocked(waiter);
    atomic_store(value_of(&gate), 1);
    join_child(waiter);

    /* A wait for a queue that fails ends. */
    wait.value = 7;
    IN_CHILD(waiter, EXPECT(-EIO, gpu_call(&gpu, DRM_IOCTL_UMF_GPU_WAIT_USER_FENCE, &wait)));
    until_blocked(waiter);
    struct umf_gpu_queue_op reset = { .queue = queue.id, .op = UMF_GPU_QUEUE_RESET };
    OK(gpu_call(&gpu, DRM_IOCTL_UMF_GPU_QUEUE_OP, &reset));
    join_child(waiter);
    gpu_queue_destroy(&queue);
    umf_fence_unref(fence.fence);
    umf_fence_unref(gate.fence);
}

int
main(void)
{
    watchdog(50);
    struct peer peer = start_peer(die_with_a_queue);
    gpu = gpu_open();
    OK(umf_page_create(64, 0, &page));
    gpu_buffer_create(&gpu, GPU_PAGE, 0, &values);
    int fds = open_fds();
    RUN(a_sync_file_comes_before_the_work_is_done);
    RUN(exports_are_early_unless_the_work_waits_for_a_umf);
    RUN(a_kernel_fence_becomes_an_address_and_a_value);
    RUN(a_kernel_fence_of_another_driver);
    RUN(a_queue_that_hangs_is_reset_and_its_fences_fail);
    RUN(a_queue_that_owes_no_fence_has_no_limit);
    RUN(queues_do_not_wait_for_one_that_was_reset);
    RUN(a_wait_for_one_value_in_memory);
    RUN(a_killed_process_fails_its_fences, &peer);
    CHECK(open_fds() == fds - 1); /* the peer's socket */
    return 0;
}
