// SPDX-License-Identifier: MIT
#include "winsys.h"

#include "kernel_module.h"

#include <sys/eventfd.h>

int
gpu_call(const struct gpu *gpu, unsigned long request, void *arg)
{
    return syncobj_ioctl(gpu->fd, request, arg);
}

/* The device and its memory. */

struct gpu
gpu_open(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0); /* in order with the output of the checks */
    if (!load_module("umf_gpu")) {
        printf("needs umf_gpu.ko for this kernel, which kernel/module/build makes\n");
        exit(SKIPPED);
    }
    struct gpu gpu = {
        .fd = open_drm("umf_gpu", "renderD"),
        .interrupt = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
        .maps_pages = access("/dev/udmabuf", R_OK | W_OK) == 0,
        .next_address = 16 * GPU_PAGE,
    };
    CHECK(gpu.fd >= 0 && gpu.interrupt >= 0);
    struct umf_gpu_interrupt interrupt = { .fd = gpu.interrupt, .flags = UMF_GPU_INTERRUPT_ALL };
    OK(gpu_call(&gpu, DRM_IOCTL_UMF_GPU_INTERRUPT, &interrupt));
    OK(umf_device_create(gpu.fd, 0, &gpu.device));
    gpu.notifier = notifier_of(gpu.interrupt);

    struct umf_gpu_bo_create create = { .size = GPU_PAGE, .flags = UMF_GPU_BO_DOORBELL };
    OK(gpu_call(&gpu, DRM_IOCTL_UMF_GPU_BO_CREATE, &create));
    gpu.doorbells = create.handle;
    gpu.doorbell_page = mmap(NULL, GPU_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, gpu.fd,
                             (off_t)create.mmap_offset);
    CHECK(gpu.doorbell_page != MAP_FAILED);
    return gpu;
}

static void
close_handle(const struct gpu *gpu, uint32_t handle)
{
    struct drm_gem_close close = { .handle = handle };
    OK(gpu_call(gpu, DRM_IOCTL_GEM_CLOSE, &close));
}

void
gpu_close(struct gpu *gpu)
{
    CHECK(munmap((void *)gpu->doorbell_page, GPU_PAGE) == 0);
    umf_notifier_unref(gpu->notifier);
    umf_device_unref(gpu->device);
    close(gpu->interrupt);
    close(gpu->fd);
}

struct umf_gpu_info
gpu_info(const struct gpu *gpu)
{
    struct umf_gpu_info info = { 0 };
    OK(gpu_call(gpu, DRM_IOCTL_UMF_GPU_INFO, &info));
    return info;
}

int
gpu_bind(const struct gpu *gpu, uint32_t handle, uint64_t address)
{
    struct umf_gpu_vm_bind bind = { .op = UMF_GPU_MAP, .handle = handle, .address = address };
    return gpu_call(gpu, DRM_IOCTL_UMF_GPU_VM_BIND, &bind);
}

int
gpu_unbind(const struct gpu *gpu, uint64_t address)
{
    struct umf_gpu_vm_bind bind = { .op = UMF_GPU_UNMAP, .address = address };
    return gpu_call(gpu, DRM_IOCTL_UMF_GPU_VM_BIND, &bind);
}

static uint64_t
take_addresses(struct gpu *gpu, uint64_t size)
{
    uint64_t address = gpu->next_address;
    gpu->next_address += (size + GPU_PAGE - 1) / GPU_PAGE * GPU_PAGE + GPU_PAGE; /* and a gap */
    return address;
}

void
gpu_buffer_create(struct gpu *gpu, uint64_t size, uint32_t flags, struct gpu_buffer *buffer)
{
    struct umf_gpu_bo_create create = { .size = size, .flags = flags };
    OK(gpu_call(gpu, DRM_IOCTL_UMF_GPU_BO_CREATE, &create));
    *buffer = (struct gpu_buffer){ .handle = create.handle, .size = size };
    buffer->address = take_addresses(gpu, size);
    OK(gpu_bind(gpu, buffer->handle, buffer->address));
    buffer->map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, gpu->fd,
                       (off_t)create.mmap_offset);
    CHECK(buffer->map != MAP_FAILED);
}

void
gpu_buffer_destroy(struct gpu *gpu, struct gpu_buffer *buffer)
{
    CHECK(munmap(buffer->map, buffer->size) == 0);
    OK(gpu_unbind(gpu, buffer->address));
    close_handle(gpu, buffer->handle);
}

void
gpu_map_page(struct gpu *gpu, struct umf_page *page, struct gpu_page *mapped)
{
    int dma_buf;
    OK(umf_page_export_dma_buf(page, 0, &dma_buf));
    struct drm_prime_handle import = { .fd = dma_buf };
    OK(gpu_call(gpu, DRM_IOCTL_PRIME_FD_TO_HANDLE, &import));
    off_t size = lseek(dma_buf, 0, SEEK_END);
    CHECK(size > 0);
    close(dma_buf);
    mapped->page = page;
    mapped->handle = import.handle;
    mapped->address = take_addresses(gpu, (uint64_t)size);
    OK(gpu_bind(gpu, mapped->handle, mapped->address));
}

void
gpu_unmap_page(struct gpu *gpu, struct gpu_page *mapped)
{
    OK(gpu_unbind(gpu, mapped->address));
    close_handle(gpu, mapped->handle);
}

/* Fences. */

static void
use_interrupt(const struct gpu *gpu, struct umf_fence *fence)
{
    OK(umf_fence_set_notifier(fence, gpu->notifier));
}

static void
find_in_page(const struct gpu *gpu, const struct gpu_page *page, struct gpu_fence *fence)
{
    fence->address = page->address + umf_fence_offset(fence->fence);
    fence->monitored = page->address + umf_fence_monitored_offset(fence->fence);
    use_interrupt(gpu, fence->fence);
}

void
gpu_fence_create(const struct gpu *gpu, const struct gpu_page *page, struct gpu_fence *fence)
{
    OK(umf_fence_create(page->page, 0, UMF_FENCE_DEVICE, &fence->fence));
    find_in_page(gpu, page, fence);
}

void
gpu_fence_open(const struct gpu *gpu, const struct gpu_page *page, uint32_t index,
               struct gpu_fence *fence)
{
    OK(umf_fence_open(page->page, index, 0, &fence->fence));
    find_in_page(gpu, page, fence);
}

void
gpu_fence_create_in(const struct gpu *gpu, struct umf_page *page, const struct gpu_buffer *buffer,
                    uint64_t offset, struct gpu_fence *fence)
{
    const struct umf_mapping mapping = { .size = sizeof(mapping),
                                         .value = (const char *)buffer->map + offset };
    OK(umf_fence_create_in(page, &mapping, 0, &fence->fence));
    fence->address = buffer->address + offset;
    fence->monitored = 0;
    use_interrupt(gpu, fence->fence);
}

/* Queues. */

void
gpu_queue_create(struct gpu *gpu, uint32_t packets, uint32_t hang_limit_ms, struct gpu_queue *queue)
{
    *queue = (struct gpu_queue){ .gpu = gpu, .packet_count = packets };
    const uint64_t size = packets * sizeof(struct umf_gpu_packet);
    gpu_buffer_create(gpu, (size + GPU_PAGE - 1) / GPU_PAGE * GPU_PAGE, 0, &queue->ring);
    gpu_buffer_create(gpu, GPU_PAGE, 0, &queue->positions);
    queue->packets = queue->ring.map;
    queue->read = queue->positions.map;
    queue->write = queue->read + 8; /* of another cache line */

    struct umf_gpu_queue_create create = {
        .ring_address = queue->ring.address,
        .read_address = queue->positions.address,
        .write_address = queue->positions.address + 64,
        .ring_packets = packets,
        .doorbell = gpu->doorbells,
        .doorbell_index = gpu->doorbells_used++,
        .hang_limit_ms = hang_limit_ms,
    };
    OK(gpu_call(gpu, DRM_IOCTL_UMF_GPU_QUEUE_CREATE, &create));
    queue->id = create.queue;
    queue->doorbell = gpu->doorbell_page + create.doorbell_index;
}

static int
queue_op(const struct gpu_queue *queue, uint32_t op, struct umf_gpu_queue_op *answer)
{
    *answer = (struct umf_gpu_queue_op){ .queue = queue->id, .op = op };
    return gpu_call(queue->gpu, DRM_IOCTL_UMF_GPU_QUEUE_OP, answer);
}

void
gpu_queue_destroy(struct gpu_queue *queue)
{
    struct umf_gpu_queue_op answer;
    OK(queue_op(queue, UMF_GPU_QUEUE_DESTROY, &answer));
    gpu_buffer_destroy(queue->gpu, &queue->ring);
    gpu_buffer_destroy(queue->gpu, &queue->positions);
}

struct umf_gpu_queue_op
gpu_query(const struct gpu_queue *queue)
{
    struct umf_gpu_queue_op answer;
    OK(queue_op(queue, UMF_GPU_QUEUE_QUERY, &answer));
    return answer;
}

void
gpu_push(struct gpu_queue *queue, struct umf_gpu_packet packet)
{
    /* A driver would wait for room; the tests' rings are large enough. */
    CHECK(queue->next - atomic_load_explicit(queue->read, memory_order_acquire) <
          queue->packet_count);
    queue->packets[queue->next++ % queue->packet_count] = packet;
}

void
gpu_submit(struct gpu_queue *queue)
{
    atomic_store(queue->write, queue->next);
    atomic_store(queue->doorbell, queue->next);
}

/* Forgets the waits that are met. */
static bool
is_finite(struct gpu_queue *queue)
{
    unsigned left = 0;
    for (unsigned i = 0; i < queue->wait_count; i++)
        if (umf_fence_value(queue->waits[i].fence) < queue->waits[i].value)
            queue->waits[left++] = queue->waits[i];
    queue->wait_count = left;
    return left == 0;
}

void
gpu_wait(struct gpu_queue *queue, const struct gpu_fence *fence, uint64_t value)
{
    is_finite(queue);
    CHECK(queue->wait_count < ARRAY_SIZE(queue->waits));
    queue->waits[queue->wait_count++] = (struct gpu_waited){ fence->fence, value };
    gpu_push(queue, (struct umf_gpu_packet){ .op = UMF_GPU_PACKET_WAIT,
                                             .flags = UMF_GPU_OP_GE,
                                             .wait = { fence->address, value, 0 } });
}

void
gpu_delay(struct gpu_queue *queue, uint64_t ns, uint32_t flags)
{
    gpu_push(queue, (struct umf_gpu_packet){ .op = UMF_GPU_PACKET_DELAY,
                                             .flags = flags,
                                             .delay = { ns } });
}

void
gpu_copy(struct gpu_queue *queue, uint64_t to, uint64_t from, uint64_t size)
{
    gpu_push(queue,
             (struct umf_gpu_packet){ .op = UMF_GPU_PACKET_COPY, .copy = { to, from, size } });
}

void
gpu_exec(struct gpu_queue *queue, uint64_t cookie)
{
    gpu_push(queue, (struct umf_gpu_packet){ .op = UMF_GPU_PACKET_EXEC, .exec = { cookie } });
}

void
gpu_answer(const struct gpu_queue *queue)
{
    struct umf_gpu_exec_wait wait = { .queue = queue->id, .timeout_ns = FOREVER };
    OK(gpu_call(queue->gpu, DRM_IOCTL_UMF_GPU_EXEC_WAIT, &wait));
    struct umf_gpu_exec_done done = { .queue = queue->id, .sequence = wait.sequence };
    OK(gpu_call(queue->gpu, DRM_IOCTL_UMF_GPU_EXEC_DONE, &done));
}

void
gpu_signal(struct gpu_queue *queue, const struct gpu_fence *fence, uint64_t value)
{
    OK(umf_fence_submit(fence->fence, value));
    gpu_push(queue,
             (struct umf_gpu_packet){
                 .op = UMF_GPU_PACKET_SIGNAL,
                 .flags = fence->monitored ? UMF_GPU_SIGNAL_MONITORED : UMF_GPU_SIGNAL_INTERRUPT,
                 .signal = { fence->address, value, fence->monitored } });
}

/* Kernel fences and memory. */

int
gpu_kernel_fence(const struct gpu_queue *queue, uint32_t syncobj, uint64_t point)
{
    struct umf_gpu_signal signal = { .queue = queue->id,
                                     .count = 1,
                                     .handles = (uintptr_t)&syncobj,
                                     .points = (uintptr_t)&point };
    return gpu_call(queue->gpu, DRM_IOCTL_UMF_GPU_SIGNAL, &signal);
}

int
gpu_sync_file(const struct gpu_queue *queue)
{
    uint32_t syncobj = syncobj_create(queue->gpu->fd, 0);
    OK(gpu_kernel_fence(queue, syncobj, 0));
    int sync_file = syncobj_export_sync_file(queue->gpu->fd, syncobj);
    CHECK(sync_file >= 0);
    syncobj_destroy(queue->gpu->fd, syncobj);
    return sync_file;
}

int
gpu_export_sync_file(struct gpu_queue *queue, const struct gpu_fence *fence, uint64_t value)
{
    int sync_file;
    if (is_finite(queue))
        return gpu_sync_file(queue);
    OK(umf_fence_export_sync_file(fence->fence, value, queue->gpu->device, 0, FOREVER,
                                  &sync_file));
    return sync_file;
}

int
gpu_evict(const struct gpu *gpu)
{
    struct umf_gpu_evict evict = { .op = UMF_GPU_EVICT };
    return gpu_call(gpu, DRM_IOCTL_UMF_GPU_EVICT, &evict);
}

int
gpu_restore(const struct gpu *gpu)
{
    struct umf_gpu_evict evict = { .op = UMF_GPU_RESTORE };
    return gpu_call(gpu, DRM_IOCTL_UMF_GPU_EVICT, &evict);
}

void
until_at(const struct gpu_queue *queue, uint64_t position)
{
    uint64_t give_up = in_ns(20 * SECOND);
    for (;;) {
        struct umf_gpu_queue_op state = gpu_query(queue);
        if (state.position >= position || state.error)
            return;
        CHECK(now_ns() < give_up);
        sched_yield();
    }
}
