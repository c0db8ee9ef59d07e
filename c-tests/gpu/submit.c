// SPDX-License-Identifier: MIT
/*
 * Work that reaches the device without a system call, and values that come back: waits for UMFs in
 * the device's own queues, before they are signaled, of other queues, processes and the CPU.
 */
#include "process.h"
#include "sandbox.h"
#include "winsys.h"

#define JOBS 200

static struct gpu gpu;
static struct umf_page *page;
static struct gpu_page mapped;
static struct gpu_buffer values;

/* A fence in the page, where the kernel can give it to the device. */
static struct gpu_fence
new_gpu_fence(void)
{
    static uint64_t used;
    struct gpu_fence fence;
    if (gpu.maps_pages)
        gpu_fence_create(&gpu, &mapped, &fence);
    else
        gpu_fence_create_in(&gpu, page, &values, used++ * 64, &fence);
    return fence;
}

/* Submits jobs to two queues, each of which waits for the job before it on the other one, and
 * reads the results. */
static void
submission_makes_no_system_call(void)
{
    struct gpu_queue queues[2];
    struct gpu_fence fences[2];
    pid_t pid;
    for (int i = 0; i < 2; i++) {
        gpu_queue_create(&gpu, 1024, 0, &queues[i]);
        fences[i] = new_gpu_fence();
    }
    struct umf_gpu_info before = gpu_info(&gpu);
    IN_CHILD(pid, {
        forbid_system_calls();
        for (uint64_t job = 1; job <= JOBS; job++) {
            /* Both are at most 32 jobs ahead. */
            while (job > 32 && umf_fence_value(fences[1].fence) < job - 32)
                continue;
            for (int i = 0; i < 2; i++) {
                gpu_wait(&queues[i], &fences[!i], job - !i);
                gpu_signal(&queues[i], &fences[i], job);
                gpu_submit(&queues[i]);
            }
        }
        while (umf_fence_value(fences[0].fence) < JOBS || umf_fence_value(fences[1].fence) < JOBS)
            continue;
    });
    join_child(pid);
    struct umf_gpu_info after = gpu_info(&gpu);
    CHECK(after.packets - before.packets == (uint64_t)JOBS * 4);
    printf("    %d jobs, 0 system calls, %llu page faults of doorbells woke the device\n",
           JOBS * 2, after.doorbell_wakes - before.doorbell_wakes);
    for (int i = 0; i < 2; i++) {
        queues[i].next = JOBS * 2; /* what the child pushed */
        OK(umf_fence_wait(fences[i].fence, JOBS, 0));
        umf_fence_unref(fences[i].fence);
        gpu_queue_destroy(&queues[i]);
    }
}

/* A device that has nothing to do looks at nothing. The store to a doorbell wakes it. */
static void
an_idle_device_sleeps_until_a_doorbell(void)
{
    struct gpu_queue queue;
    struct gpu_fence done = new_gpu_fence();
    gpu_queue_create(&gpu, 64, 0, &queue);
    for (uint64_t value = 1; value <= 10; value++) {
        uint64_t give_up = in_ns(20 * SECOND);
        while (!gpu_info(&gpu).asleep)
            CHECK(now_ns() < give_up);
        struct umf_gpu_info before = gpu_info(&gpu);
        gpu_signal(&queue, &done, value);
        gpu_submit(&queue);
        OK(umf_fence_wait(done.fence, value, FOREVER));
        CHECK(gpu_info(&gpu).doorbell_wakes == before.doorbell_wakes + 1);
    }
    umf_fence_unref(done.fence);
    gpu_queue_destroy(&queue);
}

/* Work for a value that the CPU signals later. Nobody waits in the kernel or in a thread: the
 * device does. */
static void
wait_before_signal(void)
{
    struct gpu_queue queue;
    struct gpu_fence input, done;
    gpu_queue_create(&gpu, 64, 0, &queue);
    gpu_fence_create(&gpu, &mapped, &done);
    OK(umf_fence_create(page, 0, 0, &input.fence)); /* the CPU's */
    input.address = mapped.address + umf_fence_offset(input.fence);
    for (uint64_t value = 1; value <= 20; value++) {
        gpu_wait(&queue, &input, value);
        gpu_signal(&queue, &done, value);
        gpu_submit(&queue);
        /* It has looked, and stays. */
        until_at(&queue, (value - 1) * 2);
        EXPECT(-ETIME, umf_fence_wait(done.fence, value, in_ns(MS)));
        CHECK(gpu_query(&queue).position == (value - 1) * 2);
        OK(umf_fence_signal(input.fence, value));
        OK(umf_fence_wait(done.fence, value, FOREVER));
    }
    umf_fence_unref(input.fence);
    umf_fence_unref(done.fence);
    gpu_queue_destroy(&queue);
}

/* A process with its own file of the device, whose queue is one step of a ring of two processes. */
static void
other_process(int sock)
{
    struct gpu theirs = gpu_open();
    struct umf_page *shared = recv_page(sock);
    struct gpu_page shared_page;
    struct gpu_fence ping, pong;
    struct gpu_queue queue;
    gpu_map_page(&theirs, shared, &shared_page);
    gpu_fence_open(&theirs, &shared_page, (uint32_t)hear(sock), &ping);
    gpu_fence_open(&theirs, &shared_page, (uint32_t)hear(sock), &pong);
    gpu_queue_create(&theirs, 1024, 0, &queue);
    for (uint64_t value = 1; value <= JOBS; value++) {
        if (value > 32)
            OK(umf_fence_wait(pong.fence, value - 32, FOREVER));
        gpu_wait(&queue, &ping, value);
        gpu_signal(&queue, &pong, value);
        gpu_submit(&queue);
    }
    OK(umf_fence_wait(pong.fence, JOBS, FOREVER));
    gpu_queue_destroy(&queue);
    umf_fence_unref(ping.fence);
    umf_fence_unref(pong.fence);
    gpu_unmap_page(&theirs, &shared_page);
    umf_page_unref(shared);
    gpu_close(&theirs);
}

/* Queues of two processes wait for each other in turn, and each process sleeps for the last value.
 * The kernel knows of none of it. */
static void
queues_of_two_processes(struct peer *peer)
{
    struct gpu_queue queue;
    struct gpu_fence ping, pong;
    gpu_queue_create(&gpu, 1024, 0, &queue);
    gpu_fence_create(&gpu, &mapped, &ping);
    gpu_fence_create(&gpu, &mapped, &pong);
    send_page(peer->sock, page);
    tell(peer->sock, umf_fence_index(ping.fence));
    tell(peer->sock, umf_fence_index(pong.fence));
    for (uint64_t value = 1; value <= JOBS; value++) {
        if (value > 32)
            OK(umf_fence_wait(pong.fence, value - 32, FOREVER));
        gpu_signal(&queue, &ping, value);
        gpu_wait(&queue, &pong, value);
        gpu_submit(&queue);
    }
    OK(umf_fence_wait(pong.fence, JOBS, FOREVER));
    end_peer(peer);
    until_at(&queue, JOBS * 2);
    gpu_queue_destroy(&queue);
    umf_fence_unref(ping.fence);
    umf_fence_unref(pong.fence);
}

/* The device reads the monitored value, so it interrupts for values that somebody sleeps for. */
static void
interrupts_where_somebody_waits(void)
{
    struct gpu_queue queue;
    struct gpu_fence input, done;
    gpu_queue_create(&gpu, 1024, 0, &queue);
    gpu_fence_create(&gpu, &mapped, &done);
    struct umf_gpu_info before = gpu_info(&gpu);
    for (uint64_t value = 1; value <= 100; value++)
        gpu_signal(&queue, &done, value);
    gpu_submit(&queue);
    until_at(&queue, 100);
    CHECK(gpu_info(&gpu).interrupts == before.interrupts);

    OK(umf_fence_create(page, 0, 0, &input.fence));
    input.address = mapped.address + umf_fence_offset(input.fence);
    for (uint64_t round = 1; round <= 10; round++) {
        const uint64_t last = 100 + round * 20;
        pid_t waiter;
        gpu_wait(&queue, &input, round);
        for (uint64_t value = last - 19; value <= last; value++)
            gpu_signal(&queue, &done, value);
        gpu_submit(&queue);
        IN_CHILD(waiter, OK(umf_fence_wait(done.fence, last, FOREVER)));
        until_blocked(waiter);
        OK(umf_fence_signal(input.fence, round));
        join_child(waiter);
    }
    struct umf_gpu_info after = gpu_info(&gpu);
    /* The waiter sleeps for the last value of a round. It wakes 20 times a second, and misses the
     * interrupt if the device is done just then. */
    CHECK(after.interrupts > before.interrupts && after.interrupts <= before.interrupts + 10);
    printf("    %llu interrupts for 300 values, 10 of which were waited for\n",
           after.interrupts - before.interrupts);
    umf_fence_unref(input.fence);
    umf_fence_unref(done.fence);
    gpu_queue_destroy(&queue);
}

/* What EXEC hands to a worker, as a software rasterizer's. */
struct worker {
    struct gpu_queue *queue;
    uint64_t cookies[JOBS];
    int ended_with;
};

static void *
work(void *data)
{
    struct worker *worker = data;
    for (size_t i = 0;; i++) {
        struct umf_gpu_exec_wait wait = { .queue = worker->queue->id, .timeout_ns = FOREVER };
        worker->ended_with = gpu_call(&gpu, DRM_IOCTL_UMF_GPU_EXEC_WAIT, &wait);
        if (worker->ended_with)
            return NULL;
        CHECK(i < JOBS);
        worker->cookies[i] = wait.cookie;
        struct umf_gpu_exec_done answer = { .queue = worker->queue->id,
                                            .sequence = wait.sequence };
        OK(gpu_call(&gpu, DRM_IOCTL_UMF_GPU_EXEC_DONE, &answer));
        EXPECT(-ENOENT, gpu_call(&gpu, DRM_IOCTL_UMF_GPU_EXEC_DONE, &answer));
    }
}

static void
workers_get_each_packet_once_and_in_order(void)
{
    struct gpu_queue queue;
    struct worker worker = { .queue = &queue };
    struct gpu_fence done = new_gpu_fence();
    pthread_t thread;
    gpu_queue_create(&gpu, 1024, 0, &queue);
    CHECK(pthread_create(&thread, NULL, work, &worker) == 0);
    for (uint64_t i = 0; i < JOBS; i++) {
        gpu_exec(&queue, i * 3);
        gpu_signal(&queue, &done, i + 1);
        gpu_submit(&queue);
    }
    OK(umf_fence_wait(done.fence, JOBS, FOREVER));
    for (uint64_t i = 0; i < JOBS; i++)
        CHECK(worker.cookies[i] == i * 3);
    gpu_queue_destroy(&queue);
    CHECK(pthread_join(thread, NULL) == 0);
    /* Asleep in the call, or before it. */
    ONE_OF(worker.ended_with, -ECANCELED, -ENOENT);
    umf_fence_unref(done.fence);
}

int
main(void)
{
    watchdog(50);
    struct peer peer = { 0 };
    bool pages = access("/dev/udmabuf", R_OK | W_OK) == 0;
    if (pages)
        peer = start_peer(other_process);
    gpu = gpu_open();
    CHECK(gpu.maps_pages == pages);
    OK(umf_page_create(64, 0, &page));
    if (pages)
        gpu_map_page(&gpu, page, &mapped);
    gpu_buffer_create(&gpu, GPU_PAGE, 0, &values);
    int fds = open_fds();
    RUN(submission_makes_no_system_call);
    RUN(an_idle_device_sleeps_until_a_doorbell);
    RUN(workers_get_each_packet_once_and_in_order);
    if (pages) {
        RUN(wait_before_signal);
        RUN(interrupts_where_somebody_waits);
        RUN(queues_of_two_processes, &peer);
    } else {
        printf("  this kernel has no udmabuf: the device cannot map a page of libumf\n");
    }
    CHECK(open_fds() == fds - pages); /* the peer's socket */
    return 0;
}
