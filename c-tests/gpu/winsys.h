/* SPDX-License-Identifier: MIT */
/*
 * A driver's winsys for the emulated GPU (kernel/module/uapi/umf_gpu_drm.h): what Mesa would have
 * between a Vulkan driver and the kernel. Work is submitted by a store to a doorbell, without a
 * system call.
 *
 * A fence is a UMF whose value the device writes. The value is in one of two places:
 *
 * - in the page of libumf, if the device can import it (gpu_map_page()): other processes, the CPU
 *   and other devices then signal and wait for the same value;
 * - in a buffer of the driver, otherwise: only the device writes it, and each process maps the
 *   buffer.
 */
#ifndef WINSYS_H
#define WINSYS_H

#include "drm_machine.h"
#include "kernel_fence.h"
#include "notifier.h"
#include "sleeper.h"
#include "syncobj.h"

#include "../../kernel/module/uapi/umf_gpu_drm.h"

#define GPU_PAGE UINT64_C(4096)

/* The device, and this process's address space in it. */
struct gpu {
    int fd;
    int interrupt; /* an eventfd */
    bool maps_pages;
    struct umf_device *device;     /* for conversions */
    struct umf_notifier *notifier; /* of the interrupt */
    uint64_t next_address;         /* addresses are not used again */
    uint32_t doorbells;            /* a buffer of them */
    _Atomic uint64_t *doorbell_page;
    uint32_t doorbells_used;
};

/* A buffer, mapped here and in the device. */
struct gpu_buffer {
    uint32_t handle;
    uint64_t size, address;
    void *map;
};

/* A page of fences that the device can read and write. */
struct gpu_page {
    struct umf_page *page; /* the caller's */
    uint32_t handle;
    uint64_t address;
};

/* A UMF that the device signals and waits for. */
struct gpu_fence {
    struct umf_fence *fence;
    uint64_t address;
    uint64_t monitored; /* 0: the device cannot read it, and interrupts each time */
};

struct gpu_queue {
    struct gpu *gpu;
    uint32_t id;
    struct gpu_buffer ring, positions;
    struct umf_gpu_packet *packets;
    uint32_t packet_count;
    _Atomic uint64_t *read, *write, *doorbell;
    uint64_t next; /* the position of the next packet; written to *write by gpu_submit() */
    struct gpu_waited {
        struct umf_fence *fence; /* the caller's */
        uint64_t value;
    } waits[64]; /* that the queue may still be at */
    unsigned wait_count;
};

/* Loads the module. Skips the whole test where there is none for this kernel. */
struct gpu gpu_open(void);
void gpu_close(struct gpu *gpu);
int gpu_call(const struct gpu *gpu, unsigned long request, void *arg);
struct umf_gpu_info gpu_info(const struct gpu *gpu);

void gpu_buffer_create(struct gpu *gpu, uint64_t size, uint32_t flags, struct gpu_buffer *buffer);
void gpu_buffer_destroy(struct gpu *gpu, struct gpu_buffer *buffer);
int gpu_bind(const struct gpu *gpu, uint32_t handle, uint64_t address);
int gpu_unbind(const struct gpu *gpu, uint64_t address);
/* Only where gpu->maps_pages. */
void gpu_map_page(struct gpu *gpu, struct umf_page *page, struct gpu_page *mapped);
void gpu_unmap_page(struct gpu *gpu, struct gpu_page *mapped);

/* A fence in a page, or with its value in a buffer. Its waits sleep for the interrupt. */
void gpu_fence_create(const struct gpu *gpu, const struct gpu_page *page, struct gpu_fence *fence);
void gpu_fence_create_in(const struct gpu *gpu, struct umf_page *page,
                         const struct gpu_buffer *buffer, uint64_t offset, struct gpu_fence *fence);
/* A fence of another process, in a page that both have mapped. */
void gpu_fence_open(const struct gpu *gpu, const struct gpu_page *page, uint32_t index,
                    struct gpu_fence *fence);

void gpu_queue_create(struct gpu *gpu, uint32_t packets, uint32_t hang_limit_ms,
                      struct gpu_queue *queue);
void gpu_queue_destroy(struct gpu_queue *queue);
struct umf_gpu_queue_op gpu_query(const struct gpu_queue *queue);

/* Packets. The device sees them at gpu_submit(). No system call. */
void gpu_push(struct gpu_queue *queue, struct umf_gpu_packet packet);
void gpu_wait(struct gpu_queue *queue, const struct gpu_fence *fence, uint64_t value);
void gpu_delay(struct gpu_queue *queue, uint64_t ns, uint32_t flags);
void gpu_copy(struct gpu_queue *queue, uint64_t to, uint64_t from, uint64_t size);
void gpu_exec(struct gpu_queue *queue, uint64_t cookie);
/* Signals, and announces the value: waits for pending values end. */
void gpu_signal(struct gpu_queue *queue, const struct gpu_fence *fence, uint64_t value);
void gpu_submit(struct gpu_queue *queue);

/* Does the next EXEC of a queue, as a worker: waits for it, and answers. */
void gpu_answer(const struct gpu_queue *queue);

/* The device's kernel fence of all that is submitted, into a syncobj or a point of it. */
int gpu_kernel_fence(const struct gpu_queue *queue, uint32_t syncobj, uint64_t point);
/* The same as a sync_file, which the caller closes. */
int gpu_sync_file(const struct gpu_queue *queue);

/*
 * A value that was submitted to the queue, as a sync_file for the outside. The caller closes it.
 *
 * If all UMFs are signaled that the queue waits for, what is left is finite, and the result is the
 * device's kernel fence, pending. Otherwise no kernel fence may stand for the work, and the call
 * waits until the value is reached.
 *
 * There is no such function for points of a timeline. Points come from gpu_kernel_fence() alone,
 * or from umf_loop_export_syncobj() alone: nothing would keep the two in order.
 */
int gpu_export_sync_file(struct gpu_queue *queue, const struct gpu_fence *fence, uint64_t value);
int gpu_evict(const struct gpu *gpu);
int gpu_restore(const struct gpu *gpu);

/* Returns once the queue has completed as many packets, or has failed. */
void until_at(const struct gpu_queue *queue, uint64_t position);

#endif
