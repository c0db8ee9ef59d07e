// SPDX-License-Identifier: MIT
/*
 * What the kernel module answers to wrong calls and wrong packets, and that threads that do
 * everything at once harm nothing.
 */
#include "process.h"
#include "winsys.h"

static struct gpu gpu;
static struct gpu_buffer values;

static void
wrong_buffers_and_addresses(void)
{
    static const struct {
        uint64_t size;
        uint32_t flags;
    } sizes[] = {
        { 0, 0 },
        { 1, 0 },
        { GPU_PAGE + 1, 0 },
        { 64 << 20, 0 },
        { UINT64_MAX, 0 },
        { UINT64_MAX - GPU_PAGE + 1, UMF_GPU_BO_VIDEO },
        { GPU_PAGE, 4 },
        { GPU_PAGE, UMF_GPU_BO_VIDEO | UMF_GPU_BO_DOORBELL },
        { 2 * GPU_PAGE, UMF_GPU_BO_DOORBELL },
    };
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        struct umf_gpu_bo_create create = { .size = sizes[i].size, .flags = sizes[i].flags };
        EXPECT(-EINVAL, gpu_call(&gpu, DRM_IOCTL_UMF_GPU_BO_CREATE, &create));
    }
    struct umf_gpu_bo_create create = { .size = 2 * GPU_PAGE };
    OK(gpu_call(&gpu, DRM_IOCTL_UMF_GPU_BO_CREATE, &create));
    EXPECT(-ENOENT, gpu_bind(&gpu, create.handle + 1000, GPU_PAGE));
    EXPECT(-EINVAL, gpu_bind(&gpu, gpu.doorbells, GPU_PAGE));
    EXPECT(-EINVAL, gpu_bind(&gpu, create.handle, 0));
    EXPECT(-EINVAL, gpu_bind(&gpu, create.handle, GPU_PAGE + 8));
    EXPECT(-EINVAL, gpu_bind(&gpu, create.handle, UMF_GPU_ADDRESS_END - GPU_PAGE));
    EXPECT(-EINVAL, gpu_bind(&gpu, create.handle, UINT64_MAX - GPU_PAGE + 1));
    EXPECT(-EEXIST, gpu_bind(&gpu, create.handle, values.address - GPU_PAGE));
    OK(gpu_bind(&gpu, create.handle, UMF_GPU_ADDRESS_END - 2 * GPU_PAGE));
    EXPECT(-ENOENT, gpu_unbind(&gpu, UMF_GPU_ADDRESS_END - GPU_PAGE));
    OK(gpu_unbind(&gpu, UMF_GPU_ADDRESS_END - 2 * GPU_PAGE));
    EXPECT(-ENOENT, gpu_unbind(&gpu, UMF_GPU_ADDRESS_END - 2 * GPU_PAGE));
    struct drm_gem_close close_handle = { .handle = create.handle };
    OK(gpu_call(&gpu, DRM_IOCTL_GEM_CLOSE, &close_handle));

    /* A private mapping would keep pages that were moved. */
    OK(gpu_call(&gpu, DRM_IOCTL_UMF_GPU_BO_CREATE, &create));
    CHECK(mmap(NULL, GPU_PAGE, PROT_READ, MAP_PRIVATE, gpu.fd, (off_t)create.mmap_offset) ==
          MAP_FAILED);
    CHECK(mmap(NULL, 3 * GPU_PAGE, PROT_READ, MAP_SHARED, gpu.fd, (off_t)create.mmap_offset) ==
          MAP_FAILED);
    /* A second page alone is the second page. */
    char *map = mmap(NULL, 2 * GPU_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, gpu.fd,
                     (off_t)create.mmap_offset);
    CHECK(map != MAP_FAILED);
    CHECK(munmap(map, GPU_PAGE) == 0);
    map[GPU_PAGE] = 7;
    CHECK(munmap(map + GPU_PAGE, GPU_PAGE) == 0);
    map = mmap(NULL, 2 * GPU_PAGE, PROT_READ, MAP_SHARED, gpu.fd, (off_t)create.mmap_offset);
    CHECK(map != MAP_FAILED && map[0] == 0 && map[GPU_PAGE] == 7);
    CHECK(munmap(map, 2 * GPU_PAGE) == 0);
    close_handle.handle = create.handle;
    OK(gpu_call(&gpu, DRM_IOCTL_GEM_CLOSE, &close_handle));

    /* Video memory moves, so nobody else may have it. */
    create.flags = UMF_GPU_BO_VIDEO;
    OK(gpu_call(&gpu, DRM_IOCTL_UMF_GPU_BO_CREATE, &create));
    struct drm_prime_handle prime = { .handle = create.handle };
    EXPECT(-EOPNOTSUPP, gpu_call(&gpu, DRM_IOCTL_PRIME_HANDLE_TO_FD, &prime));
    close_handle.handle = create.handle;
    OK(gpu_call(&gpu, DRM_IOCTL_GEM_CLOSE, &close_handle));
}

static void
wrong_queues(void)
{
    const struct umf_gpu_queue_create good = { .ring_address = values.address,
                                               .read_address = values.address + 3072,
                                               .write_address = values.address + 3080,
                                               .ring_packets = 8,
                                               .doorbell = gpu.doorbells };
    struct umf_gpu_queue_create wrong[] = { good, good, good, good, good, good, good,
                                            good, good, good, good, good, good };
    static const int answers[] = { -EINVAL, -EINVAL, -EINVAL, -EINVAL, -EINVAL, -EINVAL, -EINVAL,
                                   -EINVAL, -EFAULT, -EFAULT, -EFAULT, -ENOENT, -ENOENT };
    wrong[0].ring_packets = 0;
    wrong[1].ring_packets = 12;
    wrong[2].ring_packets = 131072;
    wrong[3].ring_address += 8;
    wrong[4].read_address += 4;
    wrong[5].write_address += 1;
    wrong[6].doorbell_index = 512;
    wrong[7].hang_limit_ms = 10001;
    wrong[8].ring_packets = 128; /* 8 KiB, of which half is mapped */
    wrong[9].read_address = UINT64_MAX - 7;
    wrong[10].write_address = values.address + GPU_PAGE;
    wrong[11].doorbell = values.handle;
    wrong[12].doorbell = 12345;
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
        EXPECT(answers[i], gpu_call(&gpu, DRM_IOCTL_UMF_GPU_QUEUE_CREATE, &wrong[i]));

    struct umf_gpu_queue_op op = { .queue = 999 };
    for (op.op = UMF_GPU_QUEUE_DESTROY; op.op <= UMF_GPU_QUEUE_QUERY; op.op++)
        EXPECT(-ENOENT, gpu_call(&gpu, DRM_IOCTL_UMF_GPU_QUEUE_OP, &op));
    EXPECT(-EINVAL, gpu_call(&gpu, DRM_IOCTL_UMF_GPU_QUEUE_OP, &op));
    struct umf_gpu_exec_wait wait = { .queue = 999 };
    EXPECT(-ENOENT, gpu_call(&gpu, DRM_IOCTL_UMF_GPU_EXEC_WAIT, &wait));
    struct umf_gpu_exec_done done = { .queue = 999 };
    EXPECT(-ENOENT, gpu_call(&gpu, DRM_IOCTL_UMF_GPU_EXEC_DONE, &done));
    done.result = 1;
    EXPECT(-EINVAL, gpu_call(&gpu, DRM_IOCTL_UMF_GPU_EXEC_DONE, &done));
    done.result = INT32_MIN;
    EXPECT(-EINVAL, gpu_call(&gpu, DRM_IOCTL_UMF_GPU_EXEC_DONE, &done));

    /* As many as there are, and one more. */
    uint32_t first = 0, last = 0, count = 0;
    struct umf_gpu_queue_create one = good;
    while (gpu_call(&gpu, DRM_IOCTL_UMF_GPU_QUEUE_CREATE, &one) == 0) {
        first = first ? first : one.queue;
        last = one.queue;
        count++;
    }
    CHECK(count == 512 && last == first + 511);
    EXPECT(-ENOSPC, gpu_call(&gpu, DRM_IOCTL_UMF_GPU_QUEUE_CREATE, &one));
    for (op = (struct umf_gpu_queue_op){ .queue = first }; op.queue <= last; op.queue++)
        OK(gpu_call(&gpu, DRM_IOCTL_UMF_GPU_QUEUE_OP, &op));
}

static void
wrong_fences_and_waits(void)
{
    struct gpu_queue queue;
    uint32_t syncobj = syncobj_create(gpu.fd, 0);
    uint64_t point = 0;
    gpu_queue_create(&gpu, 64, 0, &queue);
    const struct umf_gpu_signal good = { .queue = queue.id,
                                         .count = 1,
                                         .handles = (uintptr_t)&syncobj,
                                         .points = (uintptr_t)&point };
    struct umf_gpu_signal signal = good;
    signal.queue = 999;
    EXPECT(-ENOENT, gpu_call(&gpu, DRM_IOCTL_UMF_GPU_SIGNAL, &signal));
    signal = good, signal.count = 0;
    EXPECT(-EINVAL, gpu_call(&gpu, DRM_IOCTL_UMF_GPU_SIGNAL, &signal));
    signal = good, signal.count = UMF_GPU_MAX_SYNCOBJS + 1;
    EXPECT(-EINVAL, gpu_call(&gpu, DRM_IOCTL_UMF_GPU_SIGNAL, &signal));
    signal = good, signal.handles = 8;
    EXPECT(-EFAULT, gpu_call(&gpu, DRM_IOCTL_UMF_GPU_SIGNAL, &signal));
    signal = good, signal.points = 8;
    EXPECT(-EFAULT, gpu_call(&gpu, DRM_IOCTL_UMF_GPU_SIGNAL, &signal));
    uint32_t no_syncobj = 12345;
    signal = good, signal.handles = (uintptr_t)&no_syncobj;
    EXPECT(-ENOENT, gpu_call(&gpu, DRM_IOCTL_UMF_GPU_SIGNAL, &signal));
    /* More than the ring holds, without a doorbell that says so. */
    atomic_store(queue.write, 65);
    EXPECT(-EINVAL, gpu_kernel_fence(&queue, syncobj, 0));
    atomic_store(queue.write, 0);
    EXPECT(-EINVAL, syncobj_transfer(gpu.fd, syncobj, 0, syncobj, 0)); /* no fence came of it */

    struct umf_gpu_pair pair;
    const struct umf_gpu_wait good_wait = { .handles = (uintptr_t)&syncobj,
                                            .pairs = (uintptr_t)&pair,
                                            .count = 1,
                                            .capacity = 1 };
    struct umf_gpu_wait wait = good_wait;
    EXPECT(-EINVAL, gpu_call(&gpu, DRM_IOCTL_UMF_GPU_WAIT, &wait)); /* has no fence */
    wait.count = 0;
    EXPECT(-EINVAL, gpu_call(&gpu, DRM_IOCTL_UMF_GPU_WAIT, &wait));
    wait = good_wait, wait.pad = 1;
    EXPECT(-EINVAL, gpu_call(&gpu, DRM_IOCTL_UMF_GPU_WAIT, &wait));
    wait = good_wait, wait.handles = (uintptr_t)&no_syncobj;
    EXPECT(-ENOENT, gpu_call(&gpu, DRM_IOCTL_UMF_GPU_WAIT, &wait));
    gpu_exec(&queue, 0);
    gpu_submit(&queue);
    OK(gpu_kernel_fence(&queue, syncobj, 0));
    wait = good_wait, wait.pairs = 8;
    EXPECT(-EFAULT, gpu_call(&gpu, DRM_IOCTL_UMF_GPU_WAIT, &wait));

    struct umf_gpu_wait_user_fence user = { .pointer = 4 };
    EXPECT(-EINVAL, gpu_call(&gpu, DRM_IOCTL_UMF_GPU_WAIT_USER_FENCE, &user));
    user = (struct umf_gpu_wait_user_fence){ .pointer = 8 };
    EXPECT(-EFAULT, gpu_call(&gpu, DRM_IOCTL_UMF_GPU_WAIT_USER_FENCE, &user));
    user = (struct umf_gpu_wait_user_fence){ .pointer = (uintptr_t)values.map, .op = 6 };
    EXPECT(-EINVAL, gpu_call(&gpu, DRM_IOCTL_UMF_GPU_WAIT_USER_FENCE, &user));
    user = (struct umf_gpu_wait_user_fence){ .pointer = (uintptr_t)values.map, .queue = 999 };
    EXPECT(-ENOENT, gpu_call(&gpu, DRM_IOCTL_UMF_GPU_WAIT_USER_FENCE, &user));

    struct umf_gpu_interrupt interrupt = { .fd = -2 };
    EXPECT(-EINVAL, gpu_call(&gpu, DRM_IOCTL_UMF_GPU_INTERRUPT, &interrupt));
    interrupt.fd = 999;
    EXPECT(-EBADF, gpu_call(&gpu, DRM_IOCTL_UMF_GPU_INTERRUPT, &interrupt));
    interrupt.fd = gpu.fd;
    EXPECT(-EINVAL, gpu_call(&gpu, DRM_IOCTL_UMF_GPU_INTERRUPT, &interrupt));
    struct umf_gpu_evict evict = { .op = 2 };
    EXPECT(-EINVAL, gpu_call(&gpu, DRM_IOCTL_UMF_GPU_EVICT, &evict));
    EXPECT(-EALREADY, gpu_restore(&gpu));
    syncobj_destroy(gpu.fd, syncobj);
    gpu_queue_destroy(&queue);
}

/* Each fails its queue, and nothing else. */
static void
wrong_packets(void)
{
    const uint64_t a = values.address, end = a + GPU_PAGE, counts = UMF_GPU_COUNTS_ADDRESS;
    const struct umf_gpu_packet packets[] = {
        { .op = 6 },
        { .op = UINT32_MAX },
        { .op = UMF_GPU_PACKET_WAIT, .flags = 6, .wait = { a, 0, 0 } },
        { .op = UMF_GPU_PACKET_WAIT, .wait = { 0, 0, 0 } },
        { .op = UMF_GPU_PACKET_WAIT, .wait = { end, 0, 0 } },
        { .op = UMF_GPU_PACKET_WAIT, .wait = { a + 4, 0, 0 } },
        { .op = UMF_GPU_PACKET_WAIT, .wait = { counts + GPU_PAGE, 0, 0 } },
        { .op = UMF_GPU_PACKET_WAIT, .wait = { UINT64_MAX - 7, 0, 0 } },
        { .op = UMF_GPU_PACKET_SIGNAL, .flags = 4, .signal = { a, 1, 0 } },
        { .op = UMF_GPU_PACKET_SIGNAL, .signal = { end, 1, 0 } },
        { .op = UMF_GPU_PACKET_SIGNAL, .signal = { counts, 1, 0 } }, /* may only be read */
        { .op = UMF_GPU_PACKET_SIGNAL, .flags = UMF_GPU_SIGNAL_MONITORED, .signal = { a, 1, end } },
        { .op = UMF_GPU_PACKET_SIGNAL, .flags = UMF_GPU_SIGNAL_MONITORED,
          .signal = { a, 1, a + 4 } },
        { .op = UMF_GPU_PACKET_DELAY, .flags = 2 },
        { .op = UMF_GPU_PACKET_COPY, .flags = 1, .copy = { a, a, 8 } },
        { .op = UMF_GPU_PACKET_COPY, .copy = { a, a, GPU_PAGE + 1 } },
        { .op = UMF_GPU_PACKET_COPY, .copy = { a, end - 4, 8 } },
        { .op = UMF_GPU_PACKET_COPY, .copy = { end - 4, a, 8 } },
        { .op = UMF_GPU_PACKET_COPY, .copy = { a, counts, 8 } },
        { .op = UMF_GPU_PACKET_COPY, .copy = { a, a, UINT64_MAX } },
        { .op = UMF_GPU_PACKET_COPY, .copy = { UINT64_MAX, a, 8 } },
        { .op = UMF_GPU_PACKET_EXEC, .flags = 1 },
    };
    struct umf_gpu_info before = gpu_info(&gpu);
    for (size_t i = 0; i < ARRAY_SIZE(packets); i++) {
        struct gpu_queue queue;
        uint32_t syncobj = syncobj_create(gpu.fd, 0);
        gpu_queue_create(&gpu, 64, 10000, &queue);
        gpu_push(&queue, (struct umf_gpu_packet){ .op = UMF_GPU_PACKET_NOP });
        gpu_push(&queue, packets[i]);
        OK(gpu_kernel_fence(&queue, syncobj, 0)); /* of nothing: not submitted yet */
        gpu_submit(&queue);
        until_at(&queue, 2);
        struct umf_gpu_queue_op state = gpu_query(&queue);
        if (state.error != -EFAULT) {
            fprintf(stderr, "packet %zu\n", i);
            EXPECT(-EFAULT, state.error);
        }
        EXPECT(1, (int64_t)state.position);
        syncobj_destroy(gpu.fd, syncobj);
        gpu_queue_destroy(&queue);
    }
    CHECK(gpu_info(&gpu).faults == before.faults + ARRAY_SIZE(packets));

    /* A write position beyond the ring, and a ring that goes away. */
    struct gpu_queue queue;
    gpu_queue_create(&gpu, 64, 0, &queue);
    queue.next = 65;
    gpu_submit(&queue);
    until_at(&queue, 1);
    EXPECT(-EFAULT, gpu_query(&queue).error);
    gpu_queue_destroy(&queue);
    gpu_queue_create(&gpu, 64, 0, &queue);
    OK(gpu_unbind(&gpu, queue.ring.address));
    gpu_submit(&queue);
    queue.next = 1;
    gpu_submit(&queue);
    until_at(&queue, 1);
    EXPECT(-EFAULT, gpu_query(&queue).error);
    OK(gpu_bind(&gpu, queue.ring.handle, queue.ring.address));
    gpu_queue_destroy(&queue);
}

/* The worker's answer is the queue's error. */
static void
a_worker_that_fails(void)
{
    struct gpu_queue queue;
    uint32_t syncobj = syncobj_create(gpu.fd, 0);
    gpu_queue_create(&gpu, 64, 10000, &queue);
    gpu_exec(&queue, 9);
    gpu_submit(&queue);
    int sync_file = gpu_sync_file(&queue);
    struct umf_gpu_exec_wait wait = { .queue = queue.id, .timeout_ns = FOREVER };
    OK(gpu_call(&gpu, DRM_IOCTL_UMF_GPU_EXEC_WAIT, &wait));
    CHECK(wait.cookie == 9);
    struct umf_gpu_exec_wait second = { .queue = queue.id, .timeout_ns = in_ns(MS) };
    EXPECT(-ETIME, gpu_call(&gpu, DRM_IOCTL_UMF_GPU_EXEC_WAIT, &second)); /* it is taken */
    struct umf_gpu_exec_done done = { .queue = queue.id, .sequence = wait.sequence + 1 };
    EXPECT(-ENOENT, gpu_call(&gpu, DRM_IOCTL_UMF_GPU_EXEC_DONE, &done));
    done.sequence = wait.sequence;
    done.result = -ENOMEM;
    OK(gpu_call(&gpu, DRM_IOCTL_UMF_GPU_EXEC_DONE, &done));
    struct pollfd entry = { .fd = sync_file, .events = POLLIN };
    CHECK(poll(&entry, 1, 20000) == 1);
    EXPECT(-ENOMEM, sync_file_status(sync_file));
    EXPECT(-ENOMEM, gpu_query(&queue).error);
    EXPECT(-EIO, gpu_call(&gpu, DRM_IOCTL_UMF_GPU_EXEC_WAIT, &second));
    close(sync_file);
    syncobj_destroy(gpu.fd, syncobj);
    gpu_queue_destroy(&queue);
}

/* Threads of two processes do everything to one client, and the ring is full of noise. */
static _Atomic bool over;

static void *
make_noise(void *data)
{
    uint64_t seed = (uintptr_t)data;
    struct gpu mine = gpu; /* the same client, addresses of its own */
    mine.next_address = (1 + seed) << 32;
    mine.doorbells_used = (uint32_t)seed * 100;
    for (int round = 0; round < 30; round++) {
        struct gpu_queue queue;
        struct gpu_buffer buffer;
        uint32_t syncobj = syncobj_create(gpu.fd, 0);
        gpu_buffer_create(&mine, GPU_PAGE, round % 2 ? UMF_GPU_BO_VIDEO : 0, &buffer);
        gpu_queue_create(&mine, 64, 1 + (uint32_t)round % 20, &queue);
        mine.doorbells_used--;
        for (int i = 0; i < 20; i++) {
            uint64_t word = random_word(&seed);
            struct umf_gpu_packet packet = { .op = (uint32_t)(word >> 60) % 6,
                                             .flags = (uint32_t)(word >> 50) % 3 };
            for (int w = 0; w < 3; w++)
                packet.words[w] = random_word(&seed) >> 40 ? buffer.address + w * 64
                                                           : random_word(&seed);
            if (packet.op == UMF_GPU_PACKET_DELAY)
                packet.delay.ns = (word >> 20) % MS;
            if (packet.op == UMF_GPU_PACKET_COPY)
                packet.copy.size = (word >> 20) % GPU_PAGE;
            gpu_push(&queue, packet);
        }
        gpu_submit(&queue);
        int result = gpu_kernel_fence(&queue, syncobj, 0);
        CHECK(result == 0 || result == -EIO);
        struct umf_gpu_exec_wait wait = { .queue = queue.id, .timeout_ns = in_ns(MS) };
        if (gpu_call(&gpu, DRM_IOCTL_UMF_GPU_EXEC_WAIT, &wait) == 0) {
            struct umf_gpu_exec_done done = { .queue = queue.id, .sequence = wait.sequence };
            result = gpu_call(&gpu, DRM_IOCTL_UMF_GPU_EXEC_DONE, &done);
            CHECK(result == 0 || result == -ENOENT);
        }
        if (round % 3 == 0) /* under the queue's feet */
            OK(gpu_unbind(&mine, buffer.address));
        gpu_queue_destroy(&queue);
        if (round % 3 == 0)
            OK(gpu_bind(&mine, buffer.handle, buffer.address));
        gpu_buffer_destroy(&mine, &buffer);
        if (result == 0)
            ONE_OF(syncobj_wait(gpu.fd, syncobj, 0, 0, INT64_MAX), 0, -EINVAL);
        syncobj_destroy(gpu.fd, syncobj);
    }
    return NULL;
}

static void *
evict_all_the_time(void *data)
{
    while (!over) {
        OK(gpu_evict(&gpu));
        OK(gpu_restore(&gpu));
    }
    return data;
}

static void
everything_at_once(void)
{
    pthread_t threads[3], evictor;
    uint64_t used = gpu_info(&gpu).video_used;
    CHECK(pthread_create(&evictor, NULL, evict_all_the_time, NULL) == 0);
    for (uintptr_t i = 0; i < ARRAY_SIZE(threads); i++)
        CHECK(pthread_create(&threads[i], NULL, make_noise, (void *)(i + 1)) == 0);
    for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    over = true;
    CHECK(pthread_join(evictor, NULL) == 0);
    CHECK(gpu_info(&gpu).video_used == used);
}

/* Processes that die at any moment of this. */
static void
everything_at_once_and_killed(void)
{
    uint64_t used = gpu_info(&gpu).video_used, seed = 1;
    for (int i = 0; i < 10; i++) {
        pid_t pid;
        IN_CHILD(pid, {
            gpu = gpu_open();
            over = false;
            pthread_t evictor;
            CHECK(pthread_create(&evictor, NULL, evict_all_the_time, NULL) == 0);
            make_noise((void *)1);
            pause();
        });
        nanosleep(&(struct timespec){ .tv_nsec = (long)(random_word(&seed) % (30 * MS)) }, NULL);
        CHECK(kill(pid, SIGKILL) == 0 && waitpid(pid, NULL, 0) == pid);
    }
    CHECK(gpu_info(&gpu).video_used == used);
}

int
main(void)
{
    watchdog(50);
    gpu = gpu_open();
    gpu_buffer_create(&gpu, GPU_PAGE, 0, &values);
    RUN(wrong_buffers_and_addresses);
    RUN(wrong_queues);
    RUN(wrong_fences_and_waits);
    RUN(wrong_packets);
    RUN(a_worker_that_fails);
    RUN(everything_at_once);
    RUN(everything_at_once_and_killed);
    return 0;
}
