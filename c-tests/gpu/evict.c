// SPDX-License-Identifier: MIT
/*
 * Memory is synchronized apart from work. The kernel takes a queue's memory away in finite time,
 * wherever the queue is: in the middle of a job, or in a wait for a UMF that nobody may ever
 * signal. No kernel fence waits for a UMF. No work is lost or done twice.
 *
 * The first argument is the number of evictions under load. Without one, they end after 4 s.
 */
#include "process.h"
#include "winsys.h"

#define LIMIT_MS 10000
/* What a busy, emulated machine may add to a limit. */
#define SLACK_NS (5 * SECOND)

static struct gpu gpu;
static struct umf_page *page;
static struct gpu_buffer values, video;

static struct gpu_fence
new_gpu_fence(void)
{
    static uint64_t used;
    struct gpu_fence fence;
    gpu_fence_create_in(&gpu, page, &values, used++ * 64, &fence);
    return fence;
}

/* What another device, or the CPU, writes to a fence of this driver. */
static void
write_value(const struct gpu_fence *fence, uint64_t value)
{
    _Atomic uint64_t *at = (void *)((char *)values.map + (fence->address - values.address));
    atomic_store(at, value);
}

static _Atomic uint64_t *
video_word(uint64_t index)
{
    return (_Atomic uint64_t *)video.map + index;
}

/* Only the device writes there, and no interrupt says so. */
static void
signal_video_word(struct gpu_queue *queue, uint64_t index, uint64_t value)
{
    gpu_push(queue, (struct umf_gpu_packet){ .op = UMF_GPU_PACKET_SIGNAL,
                                             .signal = { video.address + index * 8, value, 0 } });
}

static void
in_a_wait_that_nobody_ends(void)
{
    struct gpu_queue queue;
    struct gpu_fence input = new_gpu_fence(), done = new_gpu_fence();
    gpu_queue_create(&gpu, 64, LIMIT_MS, &queue);
    signal_video_word(&queue, 0, 77);
    gpu_wait(&queue, &input, 1);
    signal_video_word(&queue, 0, 78);
    gpu_signal(&queue, &done, 1);
    gpu_submit(&queue);
    until_at(&queue, 1);
    CHECK(*video_word(0) == 77);

    uint64_t began = now_ns();
    OK(gpu_evict(&gpu));
    printf("    evicted in %.1f ms, with the UMF still open\n", (double)(now_ns() - began) / 1e6);
    CHECK(umf_fence_value(input.fence) == 0 && !gpu_query(&queue).running);
    EXPECT(-EALREADY, gpu_evict(&gpu));
    /* The CPU's mapping has followed the memory. */
    CHECK(*video_word(0) == 77);
    atomic_store(video_word(1), 5);
    /* The wait is met, and the queue does not go on before it has its memory. */
    write_value(&input, 1);
    EXPECT(-ETIME, umf_fence_wait(done.fence, 1, in_ns(5 * MS)));
    CHECK(gpu_query(&queue).position == 1 && *video_word(0) == 77);

    OK(gpu_restore(&gpu));
    EXPECT(-EALREADY, gpu_restore(&gpu));
    OK(umf_fence_wait(done.fence, 1, FOREVER));
    CHECK(*video_word(0) == 78 && *video_word(1) == 5);
    umf_fence_unref(input.fence);
    umf_fence_unref(done.fence);
    gpu_queue_destroy(&queue);
}

/* The queues of other clients go on. */
static void
in_the_middle_of_a_job(void)
{
    struct gpu other = gpu_open();
    struct gpu_queue queue, bystander;
    struct gpu_buffer buffer;
    struct gpu_fence done = new_gpu_fence(), theirs;
    gpu_queue_create(&gpu, 64, LIMIT_MS, &queue);
    gpu_queue_create(&other, 64, LIMIT_MS, &bystander);
    gpu_buffer_create(&other, GPU_PAGE, 0, &buffer);
    gpu_fence_create_in(&other, page, &buffer, 0, &theirs);
    gpu_push(&queue, (struct umf_gpu_packet){ .op = UMF_GPU_PACKET_NOP });
    gpu_delay(&queue, 500 * MS, 0);
    gpu_signal(&queue, &done, 1);
    gpu_submit(&queue);
    until_at(&queue, 1);
    OK(gpu_evict(&gpu));
    CHECK(gpu_query(&queue).position == 1 && umf_fence_value(done.fence) == 0);
    for (uint64_t value = 1; value <= 10; value++) {
        gpu_signal(&bystander, &theirs, value);
        gpu_submit(&bystander);
        OK(umf_fence_wait(theirs.fence, value, FOREVER));
    }
    CHECK(gpu_query(&queue).position == 1 && gpu_query(&bystander).running);
    OK(gpu_restore(&gpu));
    OK(umf_fence_wait(done.fence, 1, FOREVER));
    umf_fence_unref(done.fence);
    umf_fence_unref(theirs.fence);
    gpu_queue_destroy(&queue);
    gpu_queue_destroy(&bystander);
    gpu_buffer_destroy(&other, &buffer);
    gpu_close(&other);
}

/* A stopped queue could not signal the kernel fences that it owes, and bringing its memory back
 * might wait for them. So they come first, and the eviction waits for them; they are finite. */
static void
kernel_fences_come_before_the_eviction(void)
{
    struct gpu_queue queue;
    uint32_t timeline = syncobj_create(gpu.fd, 0);
    pid_t evictor, signaler;
    gpu_queue_create(&gpu, 64, 10000, &queue);
    gpu_exec(&queue, 0);
    gpu_submit(&queue);
    int sync_file = gpu_sync_file(&queue);
    IN_CHILD(evictor, OK(gpu_evict(&gpu)));
    until_blocked(evictor);
    /* No further fence is added while an eviction waits. */
    IN_CHILD(signaler, OK(gpu_kernel_fence(&queue, timeline, 1)));
    until_blocked(signaler);
    CHECK(gpu_query(&queue).running && sync_file_status(sync_file) == 0);
    gpu_answer(&queue);
    join_child(evictor);
    EXPECT(1, sync_file_status(sync_file));
    CHECK(!gpu_query(&queue).running);
    until_blocked(signaler);
    OK(gpu_restore(&gpu));
    join_child(signaler);
    OK(syncobj_wait(gpu.fd, timeline, 1, 0, INT64_MAX));
    close(sync_file);
    syncobj_destroy(gpu.fd, timeline);
    gpu_queue_destroy(&queue);
}

/* The call ends, and the queues stop once they can. Nobody has the memory then, so they go on. */
static void
an_eviction_that_is_interrupted(void)
{
    struct gpu_queue queue;
    struct umf_gpu_evict evict = { .op = UMF_GPU_EVICT };
    uint32_t timeline = syncobj_create(gpu.fd, 0);
    struct sigaction old = let_signals_interrupt();
    pid_t evictor;
    gpu_queue_create(&gpu, 64, LIMIT_MS, &queue);
    gpu_exec(&queue, 0);
    gpu_submit(&queue);
    OK(gpu_kernel_fence(&queue, timeline, 1));
    IN_CHILD(evictor, {
        CHECK(ioctl(gpu.fd, DRM_IOCTL_UMF_GPU_EVICT, &evict) == -1 && errno == EINTR);
    });
    until_blocked(evictor);
    CHECK(kill(evictor, SIGUSR1) == 0);
    join_child(evictor);
    EXPECT(-ETIME, syncobj_wait(gpu.fd, timeline, 1, 0, 0));
    gpu_answer(&queue);
    OK(syncobj_wait(gpu.fd, timeline, 1, 0, INT64_MAX));
    OK(gpu_kernel_fence(&queue, timeline, 2)); /* once the queue goes on */
    OK(syncobj_wait(gpu.fd, timeline, 2, 0, INT64_MAX));
    EXPECT(-EALREADY, gpu_restore(&gpu));
    let_signals_be(&old);
    syncobj_destroy(gpu.fd, timeline);
    gpu_queue_destroy(&queue);
}

/* The queue owes a kernel fence and waits for a UMF: its driver should not have asked for the
 * fence. The eviction takes the hang limit and no longer, and the queue is lost. */
static void
a_queue_that_should_not_owe_a_fence_is_reset(void)
{
    struct gpu_queue queue;
    struct gpu_fence input = new_gpu_fence();
    gpu_queue_create(&gpu, 64, 200, &queue);
    gpu_wait(&queue, &input, 1);
    gpu_submit(&queue);
    int sync_file = gpu_sync_file(&queue);
    uint64_t began = now_ns();
    OK(gpu_evict(&gpu));
    CHECK(now_ns() - began < 200 * MS + SLACK_NS);
    EXPECT(-ETIME, sync_file_status(sync_file));
    EXPECT(-ETIME, gpu_query(&queue).error);
    OK(gpu_restore(&gpu));
    CHECK(!gpu_query(&queue).running);
    close(sync_file);
    umf_fence_unref(input.fence);
    gpu_queue_destroy(&queue);
}

/* Work that cannot be stopped: it ends by itself, or the queue is reset. */
static void
a_job_that_cannot_be_preempted(void)
{
    struct gpu_queue queue;
    struct gpu_fence done = new_gpu_fence();
    gpu_queue_create(&gpu, 64, LIMIT_MS, &queue);
    gpu_push(&queue, (struct umf_gpu_packet){ .op = UMF_GPU_PACKET_NOP });
    gpu_delay(&queue, 20 * MS, UMF_GPU_DELAY_SOLID);
    gpu_signal(&queue, &done, 1);
    gpu_submit(&queue);
    until_at(&queue, 1);
    OK(gpu_evict(&gpu));
    OK(gpu_restore(&gpu));
    OK(umf_fence_wait(done.fence, 1, FOREVER));

    struct umf_gpu_info before = gpu_info(&gpu);
    gpu_push(&queue, (struct umf_gpu_packet){ .op = UMF_GPU_PACKET_NOP });
    gpu_delay(&queue, 3600 * SECOND, UMF_GPU_DELAY_SOLID);
    gpu_submit(&queue);
    until_at(&queue, 4);
    uint64_t began = now_ns();
    /* It has to be within the work: a queue stops before it. */
    while (gpu_query(&queue).error == 0 && now_ns() - began < 20 * SECOND) {
        OK(gpu_evict(&gpu));
        OK(gpu_restore(&gpu));
    }
    EXPECT(-ETIME, gpu_query(&queue).error);
    struct umf_gpu_info after = gpu_info(&gpu);
    CHECK(after.resets == before.resets + 1);
    CHECK(after.longest_preemption_ns < 500 * MS + SLACK_NS);
    umf_fence_unref(done.fence);
    gpu_queue_destroy(&queue);
}

/*
 * The talk's circle: the program needs memory before it can signal what a job waits for, and the
 * job has the memory. Nothing waits for the job, so there is no circle.
 */
static void
memory_that_is_needed_to_signal_what_a_job_waits_for(void)
{
    struct gpu_queue queue;
    struct gpu_fence input = new_gpu_fence(), done = new_gpu_fence();
    struct gpu_buffer all;
    struct umf_gpu_info info = gpu_info(&gpu);
    struct umf_gpu_bo_create more = { .size = 16 << 20, .flags = UMF_GPU_BO_VIDEO };
    gpu_queue_create(&gpu, 64, LIMIT_MS, &queue);
    gpu_buffer_create(&gpu, 60 << 20, UMF_GPU_BO_VIDEO, &all);
    gpu_wait(&queue, &input, 1);
    gpu_copy(&queue, all.address, video.address, 8);
    gpu_signal(&queue, &done, 1);
    gpu_submit(&queue);
    EXPECT(-ENOSPC, gpu_call(&gpu, DRM_IOCTL_UMF_GPU_BO_CREATE, &more));
    struct gpu other = gpu_open();
    EXPECT(-ENOSPC, gpu_call(&other, DRM_IOCTL_UMF_GPU_BO_CREATE, &more));

    OK(gpu_evict(&gpu));
    OK(gpu_call(&other, DRM_IOCTL_UMF_GPU_BO_CREATE, &more));
    EXPECT(-ENOSPC, gpu_restore(&gpu)); /* it is still in use */
    CHECK(!gpu_query(&queue).running);
    write_value(&input, 1);
    gpu_close(&other);
    OK(gpu_restore(&gpu));
    OK(umf_fence_wait(done.fence, 1, FOREVER));
    gpu_queue_destroy(&queue);
    gpu_buffer_destroy(&gpu, &all);
    CHECK(gpu_info(&gpu).video_used == info.video_used);
    umf_fence_unref(input.fence);
    umf_fence_unref(done.fence);
}

/* A process that dies while it evicts, with a queue that cannot end. */
static void
die_while_evicting(int sock)
{
    hear(sock); /* the tests before count what is in use */
    struct gpu theirs = gpu_open();
    struct gpu_buffer buffer;
    struct gpu_queue queue;
    gpu_buffer_create(&theirs, 1 << 20, UMF_GPU_BO_VIDEO, &buffer);
    gpu_queue_create(&theirs, 64, 10000, &queue);
    gpu_exec(&queue, 0);
    gpu_submit(&queue);
    send_fd(sock, gpu_sync_file(&queue));
    gpu_evict(&theirs);
}

static void
a_process_that_is_killed_while_it_evicts(struct peer *peer)
{
    tell(peer->sock, 0);
    int sync_file = recv_fd(peer->sock);
    struct pollfd entry = { .fd = sync_file, .events = POLLIN };
    until_blocked(peer->pid);
    EXPECT(0, sync_file_status(sync_file));
    CHECK(kill(peer->pid, SIGKILL) == 0 && waitpid(peer->pid, NULL, 0) == peer->pid);
    CHECK(poll(&entry, 1, 20000) == 1);
    EXPECT(-ECANCELED, sync_file_status(sync_file));
    close(sync_file);
    close(peer->sock);
}

/* Load: jobs on two queues that wait for each other, with kernel fences for some, while another
 * thread evicts. */

#define WORDS 512 /* of the video memory: jobs copy a value from each to the next */
#define COUNTERS 1024

struct load {
    struct gpu_queue queues[2];
    struct gpu_fence done[2];
    unsigned limit; /* of evictions; 0: none but the time */
    unsigned evictions;
    atomic_bool over;
};

static void *
evict_often(void *data)
{
    struct load *load = data;
    uint64_t end = in_ns(4 * SECOND);
    while (load->limit ? load->evictions < load->limit : now_ns() < end) {
        OK(gpu_evict(&gpu));
        OK(gpu_restore(&gpu));
        load->evictions++;
    }
    load->over = true;
    return NULL;
}

/* Reads the memory all the time, wherever it is: counters only grow. */
static void *
read_often(void *data)
{
    struct load *load = data;
    uint64_t seen[2] = { 0, 0 };
    while (!load->over) {
        for (int i = 0; i < 2; i++) {
            uint64_t now = *video_word(COUNTERS + (uint64_t)i * 8);
            CHECK(now >= seen[i]);
            seen[i] = now;
        }
    }
    return NULL;
}

static void
evictions_under_load(unsigned limit)
{
    struct load load = { .limit = limit };
    pthread_t evictor, reader;
    uint32_t timeline = syncobj_create(gpu.fd, 0);
    uint64_t job = 0, points = 0;
    atomic_store(video_word(0), 0xabcdef);
    for (int i = 0; i < 2; i++) {
        gpu_queue_create(&gpu, 256, LIMIT_MS, &load.queues[i]);
        load.done[i] = new_gpu_fence();
    }
    struct umf_gpu_info before = gpu_info(&gpu);
    uint64_t began = now_ns();
    CHECK(pthread_create(&evictor, NULL, evict_often, &load) == 0);
    CHECK(pthread_create(&reader, NULL, read_often, &load) == 0);
    while (!load.over || job < WORDS) {
        job++;
        for (int i = 0; i < 2; i++) {
            struct gpu_queue *queue = &load.queues[i];
            gpu_wait(queue, &load.done[!i], job - !i);
            if (i == 0 && job < WORDS)
                gpu_copy(queue, video.address + job * 8, video.address + (job - 1) * 8, 8);
            gpu_delay(queue, job % 5 * 20000, 0);
            signal_video_word(queue, COUNTERS + (uint64_t)i * 8, job);
            gpu_signal(queue, &load.done[i], job);
            gpu_submit(queue);
        }
        /* All waits are for work that is submitted and ends, so the fence is legal. */
        if (job % 4 == 0)
            OK(gpu_kernel_fence(&load.queues[1], timeline, ++points));
        if (job > 16)
            OK(umf_fence_wait(load.done[1].fence, job - 16, FOREVER));
    }
    CHECK(pthread_join(evictor, NULL) == 0 && pthread_join(reader, NULL) == 0);
    for (int i = 0; i < 2; i++) {
        OK(umf_fence_wait(load.done[i].fence, job, FOREVER));
        CHECK(*video_word(COUNTERS + (uint64_t)i * 8) == job);
        CHECK(gpu_query(&load.queues[i]).error == 0);
    }
    OK(syncobj_wait(gpu.fd, timeline, points, 0, INT64_MAX));
    for (uint64_t i = 0; i < WORDS; i++)
        CHECK(*video_word(i) == 0xabcdef);

    struct umf_gpu_info after = gpu_info(&gpu);
    CHECK(after.evictions - before.evictions == load.evictions && load.evictions >= 10);
    CHECK(after.faults == before.faults && after.resets == before.resets);
    /* P1: no kernel fence was ever pending for longer than the limit. */
    CHECK(after.oldest_job_ns < LIMIT_MS * MS + SLACK_NS);
    CHECK(after.longest_preemption_ns < LIMIT_MS * MS + SLACK_NS);
    printf("    %u evictions of %" PRIu64 " KiB in %.1f s, %" PRIu64 " jobs, %llu kernel fences\n",
           load.evictions, video.size / 1024, (double)(now_ns() - began) / 1e9, job * 2,
           after.jobs - before.jobs);
    printf("    the oldest kernel fence was %.1f ms old; the longest preemption took %.1f ms\n",
           (double)after.oldest_job_ns / 1e6, (double)after.longest_preemption_ns / 1e6);
    syncobj_destroy(gpu.fd, timeline);
    for (int i = 0; i < 2; i++) {
        umf_fence_unref(load.done[i].fence);
        gpu_queue_destroy(&load.queues[i]);
    }
}

int
main(int argc, char **argv)
{
    const unsigned limit = argc > 1 ? (unsigned)atoi(argv[1]) : 0;
    if (!limit)
        watchdog(50);
    struct peer peer = start_peer(die_while_evicting);
    gpu = gpu_open();
    OK(umf_page_create(64, 0, &page));
    gpu_buffer_create(&gpu, GPU_PAGE, 0, &values);
    gpu_buffer_create(&gpu, 4 * GPU_PAGE, UMF_GPU_BO_VIDEO, &video);
    int fds = open_fds();
    RUN(in_a_wait_that_nobody_ends);
    RUN(in_the_middle_of_a_job);
    RUN(kernel_fences_come_before_the_eviction);
    RUN(an_eviction_that_is_interrupted);
    RUN(a_queue_that_should_not_owe_a_fence_is_reset);
    RUN(a_job_that_cannot_be_preempted);
    RUN(memory_that_is_needed_to_signal_what_a_job_waits_for);
    RUN(a_process_that_is_killed_while_it_evicts, &peer);
    RUN(evictions_under_load, limit);
    CHECK(open_fds() == fds - 1); /* the peer's socket */
    return 0;
}
