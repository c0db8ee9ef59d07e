/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * A GPU that is emulated in the kernel. ../uapi/umf_gpu_drm.h says what it does for programs.
 *
 * The device is one kernel thread, the firmware (firmware.c). It is the only one that runs packets,
 * stops and fails queues, and signals kernel fences. Everything else is the driver: it asks the
 * firmware by a flag and a kick.
 *
 * WHAT WAITS FOR WHAT
 *
 * There are two kinds of dma_fence, and both are finite:
 *
 * - A job's fence (fence.c) signals when its queue has got to a position. A queue may sit in a WAIT
 *   for a value that nobody will write, so each fence has a time limit: the queue is then reset.
 * - An eviction fence (eviction.c) is in the reservation object of each buffer in video memory. Who
 *   wants to move a buffer waits for it, and the firmware then stops the queues. It waits for the
 *   jobs' fences that are pending at that time, and for nothing else: never for a UMF.
 *
 * Nothing that the firmware does to signal these allocates memory, touches user memory, or takes a
 * lock under which anybody does so or waits for a fence. Memory reclaim may wait for any dma_fence;
 * so this is what keeps it from waiting for itself.
 *
 * LOCKS, outermost first
 *
 * - umf_gpu_client.vm_lock: calls that change the address space or move its memory. Its holder may
 *   allocate, and may wait for the eviction fence. The firmware and the fences never need it.
 * - mmap_lock of a process, in the fault handler.
 * - umf_gpu_bo.lock: where the buffer is. Its holder may allocate. Never taken by the firmware.
 * - umf_gpu_device.lock: all that the firmware looks at. Under it nobody allocates memory, waits
 *   for a fence, or touches user memory.
 *
 * Innermost are the kernel's own spinlocks of fences and wait queues: the firmware signals eviction
 * fences under umf_gpu_device.lock. enable_signaling(), which runs under a fence's lock, takes that
 * of a wait queue alone. A reservation object's lock is taken under vm_lock, and nothing but memory
 * for a fence's slot is waited for under it. Under umf_gpu_device.doorbell_lock none of ours is
 * taken.
 */
#ifndef UMF_GPU_H
#define UMF_GPU_H

#include <drm/drm_device.h>
#include <drm/drm_file.h>
#include <drm/drm_gem.h>
#include <linux/atomic.h>
#include <linux/bitmap.h>
#include <linux/completion.h>
#include <linux/dma-fence.h>
#include <linux/eventfd.h>
#include <linux/interval_tree.h>
#include <linux/kref.h>
#include <linux/ktime.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/version.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#include "../uapi/umf_gpu_drm.h"

#define COUNTS (PAGE_SIZE / sizeof(u64)) /* and so queues */

/* How long a queue may take to stop in the middle of a packet. */
#define PREEMPTION_LIMIT_MS 500

struct umf_gpu_device {
	struct drm_device drm;
	struct workqueue_struct *limits; /* hang limits: on it depends that fences are finite */

	struct task_struct *firmware;
	wait_queue_head_t wake; /* the firmware sleeps here */
	atomic_t kicked;

	struct mutex lock;
	struct list_head clients;
	struct list_head queues; /* in turn */
	u64 *counts; /* what each queue has done; only grows, also from queue to queue */
	DECLARE_BITMAP(counts_used, COUNTS);
	u64 video_used;
	struct umf_gpu_info info;

	wait_queue_head_t interrupted; /* UMF_GPU_WAIT_USER_FENCE sleeps here */

	struct mutex doorbell_lock;
	struct list_head doorbells; /* all buffers of doorbells */
	struct work_struct arm;
	atomic64_t doorbell_faults;
	u64 armed_at; /* the number of faults at which no doorbell was mapped */
};

static inline struct umf_gpu_device *to_device(struct drm_device *drm)
{
	return container_of(drm, struct umf_gpu_device, drm);
}

/* A buffer. */
struct umf_gpu_bo {
	struct drm_gem_object base;
	u32 flags;
	u64 client; /* the number of the client that may bind video memory */

	struct mutex lock;
	struct page **pages; /* in the system's memory, pinned; NULL if imported */
	void *system;        /* their mapping */
	void *video;         /* NULL while evicted */

	void *device_view; /* what the firmware uses. NULL while evicted. By umf_gpu_device.lock */

	struct sg_table *imported;
	struct list_head doorbell_link;
};

static inline struct umf_gpu_bo *to_bo(struct drm_gem_object *object)
{
	return container_of(object, struct umf_gpu_bo, base);
}

/* Which part of an address space is what. Changed with vm_lock and umf_gpu_device.lock both. */
struct umf_gpu_mapping {
	struct interval_tree_node node;
	struct umf_gpu_bo *bo; /* a reference */
};

/* The fence of a client's memory. */
struct umf_gpu_eviction {
	struct dma_fence base; /* first, because dropping its last reference frees the struct */
	spinlock_t lock;
	struct umf_gpu_device *device; /* lives as long as the module, which is not unloaded */
	bool wanted;
	ktime_t wanted_at;
};

/* An open file. */
struct umf_gpu_client {
	struct umf_gpu_device *device;
	u64 number;
	struct list_head link;

	struct mutex vm_lock;
	struct rb_root_cached mappings;
	unsigned int mapping_count;
	bool evicted; /* by UMF_GPU_EVICT, which RESTORE undoes */
	struct delayed_work restore;
	u64 context, next_eviction;

	struct umf_gpu_eviction *eviction; /* by umf_gpu_device.lock, as all below */
	u64 restores;
	wait_queue_head_t restored;
	bool closing;
	unsigned int running; /* queues */
	unsigned int owed;    /* kernel fences of its jobs that are pending */
	struct eventfd_ctx *interrupt;
	bool interrupt_by_all;

	struct xarray queues; /* each is a reference */
};

enum exec_state { EXEC_NONE, EXEC_OFFERED, EXEC_TAKEN, EXEC_ANSWERED };

/* All of a queue that changes is by umf_gpu_device.lock. */
struct umf_gpu_queue {
	struct kref ref;
	struct umf_gpu_client *client; /* outlives the queue */
	struct list_head link;
	u32 id;

	u64 ring, read_at, write_at;
	u32 ring_packets;
	struct umf_gpu_bo *doorbell_bo; /* a reference */
	u64 *doorbell;
	unsigned int count; /* its place in umf_gpu_device.counts */
	u64 count_base;     /* and what stood there when the queue began */

	/* What the firmware keeps. */
	u64 position;
	u64 rung;   /* the doorbell, when it was last looked at */
	bool look;  /* whether there may be packets */
	bool running;
	bool fetched; /* the packet is the one at the position */
	struct umf_gpu_packet packet;
	u64 progress; /* within it: nanoseconds or bytes that are done */
	ktime_t stop_wanted_at; /* 0: not */

	/* What the driver asks for. */
	bool ending;
	int reset; /* an errno, negative */
	struct completion gone;

	int error; /* why it runs no more */
	struct list_head pending; /* fences of jobs, by position */
	u64 owed;                 /* the position of the last one */
	u64 context, next_job;
	ktime_t hang_limit;
	struct delayed_work hang;

	enum exec_state exec;
	u64 exec_sequence;
	int exec_result;
	wait_queue_head_t exec_wait;
};

/* A kernel fence of a job. */
struct umf_gpu_job {
	struct dma_fence base; /* first, as above */
	spinlock_t lock;
	struct list_head link; /* a reference, while it is on a queue's list */
	struct umf_gpu_device *device;
	u64 position;
	u64 count_address, count_value; /* for a queue that waits for it */
	ktime_t created;
};

/* firmware.c */
int umf_gpu_firmware_start(struct umf_gpu_device *device);
void umf_gpu_kick(struct umf_gpu_device *device);
void umf_gpu_arm_doorbells(struct work_struct *work);

/* packets.c */
bool umf_gpu_compare(u32 op, u64 left, u64 right, u64 mask);

/* memory.c */
int umf_gpu_bo_create_ioctl(struct drm_device *drm, void *data, struct drm_file *file);
struct drm_gem_object *umf_gpu_import(struct drm_device *drm, struct dma_buf_attachment *attachment,
				      struct sg_table *table);
int umf_gpu_bo_move_in(struct umf_gpu_bo *bo);
void umf_gpu_bo_move_out(struct umf_gpu_bo *bo);

/* vm.c */
int umf_gpu_vm_bind_ioctl(struct drm_device *drm, void *data, struct drm_file *file);
void *umf_gpu_translate(struct umf_gpu_client *client, u64 address, u64 size);
void umf_gpu_unmap_all(struct umf_gpu_client *client);

/* queue.c */
int umf_gpu_queue_create_ioctl(struct drm_device *drm, void *data, struct drm_file *file);
int umf_gpu_queue_op_ioctl(struct drm_device *drm, void *data, struct drm_file *file);
int umf_gpu_exec_wait_ioctl(struct drm_device *drm, void *data, struct drm_file *file);
int umf_gpu_exec_done_ioctl(struct drm_device *drm, void *data, struct drm_file *file);
struct umf_gpu_queue *umf_gpu_queue_get(struct umf_gpu_client *client, u32 id);
void umf_gpu_queue_put(struct umf_gpu_queue *queue);
void umf_gpu_end_all_queues(struct umf_gpu_client *client);

/* fence.c */
int umf_gpu_signal_ioctl(struct drm_device *drm, void *data, struct drm_file *file);
int umf_gpu_wait_ioctl(struct drm_device *drm, void *data, struct drm_file *file);
void umf_gpu_check_hang(struct work_struct *work);

/* eviction.c */
int umf_gpu_evict_ioctl(struct drm_device *drm, void *data, struct drm_file *file);
struct umf_gpu_eviction *umf_gpu_eviction_create(struct umf_gpu_client *client);
int umf_gpu_eviction_add(struct umf_gpu_eviction *eviction, struct umf_gpu_bo *bo);
void umf_gpu_restore(struct work_struct *work);

/* interrupt.c */
int umf_gpu_interrupt_ioctl(struct drm_device *drm, void *data, struct drm_file *file);
int umf_gpu_wait_user_fence_ioctl(struct drm_device *drm, void *data, struct drm_file *file);
void umf_gpu_interrupt(struct umf_gpu_client *client);
ktime_t umf_gpu_time_left(u64 timeout_ns);

#endif
