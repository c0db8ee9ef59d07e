/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * The ioctls and packets of umf_gpu, a GPU that is emulated in the kernel. Its queues take work
 * straight from programs: a program writes packets into a ring in its own memory, stores the
 * new write position there, and rings a doorbell in a mapped page. No system call submits.
 *
 * Every open file is a client with an address space of its own. Packets name memory by addresses in
 * it. Positions count packets from the creation of the queue and never wrap around.
 *
 * Times are absolute CLOCK_MONOTONIC nanoseconds, in a time namespace those of the host.
 * UINT64_MAX waits forever.
 */
#ifndef UMF_GPU_DRM_H
#define UMF_GPU_DRM_H

#ifdef __KERNEL__
#include <drm/drm.h>
#else
#include <libdrm/drm.h> /* where Debian has it */
#endif

#if defined(__cplusplus)
extern "C" {
#endif

/* --- Memory ----------------------------------------------------------------------------------- */

/* The memory is in the video memory until it is evicted. It cannot be exported. */
#define UMF_GPU_BO_VIDEO (1 << 0)
/* A page of 512 doorbells of 8 bytes each. It cannot be bound. The size must be 4096. */
#define UMF_GPU_BO_DOORBELL (1 << 1)

/*
 * Creates a buffer of zeros. Its mapping refuses futexes, as those of all GPU memory do.
 *
 * EINVAL: a flag or a size that is not in whole pages of 4096 bytes, or 64 MiB and more. ENOSPC:
 * the video memory is full.
 */
struct umf_gpu_bo_create {
	__u64 size;
	__u32 flags;       /* UMF_GPU_BO_* */
	__u32 handle;      /* out; close it with DRM_IOCTL_GEM_CLOSE */
	__u64 mmap_offset; /* out; for mmap() of the DRM device */
};

#define UMF_GPU_MAP 0
#define UMF_GPU_UNMAP 1

/* The first address that is not the client's to map. */
#define UMF_GPU_ADDRESS_END (1ULL << 47)

/*
 * Maps a buffer into the client's address space, or removes the mapping that begins at an address.
 * The buffer may be one that was imported by PRIME, such as a page of libumf (which the kernel
 * turns into a dma-buf with udmabuf).
 *
 * EINVAL: an address that is 0, not in whole pages, or beyond the end. ENOENT: no such handle or
 * mapping. EEXIST: something is mapped there. EBUSY: video memory of another client.
 */
struct umf_gpu_vm_bind {
	__u32 op;     /* UMF_GPU_MAP or _UNMAP */
	__u32 handle; /* for MAP */
	__u64 address;
};

#define UMF_GPU_EVICT 0
#define UMF_GPU_RESTORE 1

/*
 * Evicts the client's video memory, or brings it back.
 *
 * EVICT first stops the client's queues, in the middle of a packet or in a wait. They keep their
 * places. If kernel fences of the client are pending (UMF_GPU_SIGNAL), its queues go on until these
 * have signaled, which takes at most the hang limit. Then the memory moves to the system's. The
 * CPU's mappings follow it. RESTORE moves the memory back, and the queues go on. In between,
 * UMF_GPU_SIGNAL blocks.
 *
 * EALREADY: evicted, or not evicted. ENOSPC: the video memory is full; nothing changed.
 */
struct umf_gpu_evict {
	__u32 op; /* UMF_GPU_EVICT or _RESTORE */
	__u32 pad;
};

/* --- Packets ---------------------------------------------------------------------------------- */

#define UMF_GPU_PACKET_NOP 0
/* Goes on when (the value at address & mask) op (value & mask) holds. A mask of 0 is all bits. */
#define UMF_GPU_PACKET_WAIT 1
/* Writes the value, after the results of all packets before it. */
#define UMF_GPU_PACKET_SIGNAL 2
/* Works for some time. Other queues get slices of that time. */
#define UMF_GPU_PACKET_DELAY 3
/* Copies memory. */
#define UMF_GPU_PACKET_COPY 4
/* Hands the cookie to UMF_GPU_EXEC_WAIT and goes on after UMF_GPU_EXEC_DONE. */
#define UMF_GPU_PACKET_EXEC 5

/* The flags of WAIT: an operator. The value in memory is on the left. */
#define UMF_GPU_OP_EQ 0
#define UMF_GPU_OP_NE 1
#define UMF_GPU_OP_GT 2
#define UMF_GPU_OP_GE 3
#define UMF_GPU_OP_LT 4
#define UMF_GPU_OP_LE 5

/* A flag of SIGNAL: interrupts. */
#define UMF_GPU_SIGNAL_INTERRUPT (1 << 0)
/*
 * A flag of SIGNAL: interrupts if the 8 bytes at the monitored address are not all ones and less
 * than the value. The device reads them after it wrote the value, with a full barrier between.
 */
#define UMF_GPU_SIGNAL_MONITORED (1 << 1)

/* A flag of DELAY: cannot be preempted, like a shader without a place to stop at. */
#define UMF_GPU_DELAY_SOLID (1 << 0)

/* Addresses of values are aligned to 8. A packet that is wrong fails its queue with EFAULT. */
struct umf_gpu_packet {
	__u32 op;
	__u32 flags;
	union {
		struct {
			__u64 address, value, mask;
		} wait;
		struct {
			__u64 address, value, monitored;
		} signal;
		struct {
			__u64 ns;
		} delay;
		struct {
			__u64 to, from, size;
		} copy;
		struct {
			__u64 cookie;
		} exec;
		__u64 words[7];
	};
};

/* --- Queues ----------------------------------------------------------------------------------- */

/*
 * Creates a queue. To submit, store packets in the ring, then the write position (release), then
 * the same number in the doorbell, after a full barrier.
 *
 * EINVAL: ring_packets is not a power of two from 8 to 65536, an address is not aligned to 64 (the
 * ring) or 8, hang_limit_ms is above 10000. EFAULT: an address is not mapped. ENOENT: doorbell is
 * no handle of doorbells. ENOSPC: the device has no queue left.
 */
struct umf_gpu_queue_create {
	__u64 ring_address;
	__u64 read_address;  /* the device writes its position there after each packet */
	__u64 write_address; /* the program's position; both begin at 0 */
	__u32 ring_packets;
	__u32 doorbell;       /* a handle of doorbells */
	__u32 doorbell_index; /* 0 to 511 */
	__u32 hang_limit_ms;  /* 0: 2000 */
	__u32 queue;          /* out */
	__u32 pad;
};

/* Ends the queue. Its kernel fences that are pending fail with ECANCELED. */
#define UMF_GPU_QUEUE_DESTROY 0
/* Resets the queue. Its kernel fences that are pending fail with ETIME, and it runs no more. */
#define UMF_GPU_QUEUE_RESET 1
/* Only reads its state. */
#define UMF_GPU_QUEUE_QUERY 2

/* ENOENT: no such queue. */
struct umf_gpu_queue_op {
	__u32 queue;
	__u32 op;
	/*
	 * Out, for QUERY: 0, or why the queue runs no more. -ETIME: it was reset, because a kernel
	 * fence was pending for the hang limit, because it could not be preempted, or by _RESET.
	 * -EFAULT: a packet or the write position was wrong. Otherwise the answer of the worker.
	 */
	__s32 error;
	__u32 running;  /* out, for QUERY: it is not preempted and has not failed */
	__u64 position; /* out, for QUERY: how many packets are complete */
};

/*
 * Waits until the queue is at an EXEC packet that nobody has taken, and takes it.
 *
 * ENOENT: no such queue. ETIME: the timeout. EIO: the queue failed. ECANCELED: it was destroyed.
 */
struct umf_gpu_exec_wait {
	__u32 queue;
	__u32 pad;
	__u64 timeout_ns;
	__u64 sequence; /* out */
	__u64 cookie;   /* out */
};

/*
 * Answers an EXEC packet. The queue goes on, or fails if the result is a negative errno.
 *
 * ENOENT: no such queue, or no such EXEC is taken. EINVAL: the result is above 0 or below -4095.
 */
struct umf_gpu_exec_done {
	__u32 queue;
	__s32 result;
	__u64 sequence;
};

/* --- Kernel fences ---------------------------------------------------------------------------- */

#define UMF_GPU_MAX_SYNCOBJS 256

/*
 * Puts a kernel fence of everything that was written to the ring so far into syncobjs.
 *
 * The fence is finite: if it is pending for longer than the queue's hang limit, the queue is reset,
 * and the fence fails with ETIME. So call this only for work whose waits are met, or are for kernel
 * fences. For other work, wait until its waits are met.
 *
 * While the memory is evicted, the call blocks. ENOENT: no such queue or syncobj. EIO: the queue
 * failed. EINVAL: the write position is not within the ring.
 */
struct umf_gpu_signal {
	__u32 queue;
	__u32 count;    /* of syncobjs, 1 to UMF_GPU_MAX_SYNCOBJS */
	__u64 handles;  /* of __u32 */
	__u64 points;   /* of __u64; 0 for a binary syncobj. 0: all are binary */
	__u64 position; /* out: the fence signals when the queue has got there */
};

/* Where the device counts, for every queue, what it has done. Only WAIT packets may read it. */
#define UMF_GPU_COUNTS_ADDRESS UMF_GPU_ADDRESS_END

struct umf_gpu_pair {
	__u64 address, value;
};

/*
 * Gets what a queue has to wait for instead of kernel fences: that the value at each address is at
 * least the one of its pair. For fences of other drivers there is no address, and the call waits
 * for them itself. Fences that have signaled are left out. Several of one queue are one pair. When
 * a queue fails or ends, its count rises to all that it owed.
 *
 * ENOENT: no such syncobj. EINVAL: a point has no fence. ENOSPC: there are pair_count pairs, which
 * is more than capacity; nothing was written to pairs.
 */
struct umf_gpu_wait {
	__u64 handles;
	__u64 points;     /* as in UMF_GPU_SIGNAL */
	__u64 pairs;      /* of struct umf_gpu_pair; written */
	__u32 count;      /* of syncobjs, 1 to UMF_GPU_MAX_SYNCOBJS */
	__u32 capacity;   /* of pairs */
	__u32 pair_count; /* out */
	__u32 pad;
};

/* --- Interrupts ------------------------------------------------------------------------------- */

/* Interrupts of other clients too: for values that another process's queue writes. */
#define UMF_GPU_INTERRUPT_ALL (1 << 0)

/*
 * Has the device signal an eventfd at each interrupt, and when a queue fails. Replaces the one
 * that was set before; -1 removes it. EBADF, EINVAL: no eventfd.
 */
struct umf_gpu_interrupt {
	__s32 fd;
	__u32 flags; /* UMF_GPU_INTERRUPT_* */
};

/*
 * Waits until (*pointer & mask) op (value & mask) holds, asleep until interrupts, of any client. A
 * store of the CPU does not wake it.
 *
 * ETIME: the timeout. EIO: the queue failed. ENOENT: no such queue. EFAULT: the pointer. EINVAL:
 * the pointer is not aligned, or there is no such operator.
 */
struct umf_gpu_wait_user_fence {
	__u64 pointer; /* of a __u64 of the calling process, not of the device */
	__u64 value;
	__u64 mask; /* 0: all bits */
	__u64 timeout_ns;
	__u32 op;    /* UMF_GPU_OP_* */
	__u32 queue; /* 0, or the queue that will write the value */
};

/* --- Counters of the device, for tests -------------------------------------------------------- */

struct umf_gpu_info {
	__u64 packets;
	__u64 interrupts;
	__u64 doorbell_wakes; /* of the device, by a doorbell */
	__u64 evictions;
	__u64 bytes_moved;
	__u64 resets; /* of queues that hung, also by UMF_GPU_QUEUE_RESET */
	__u64 faults; /* queues that failed for a bad packet or address */
	__u64 jobs;   /* kernel fences of UMF_GPU_SIGNAL that have signaled */
	/* The longest times since the last call, by any client, of this ioctl. */
	__u64 oldest_job_ns;         /* that a kernel fence was pending */
	__u64 longest_preemption_ns; /* that an eviction waited for queues */
	__u64 video_size, video_used;
	__u64 asleep; /* whether the device waits for a doorbell or a call, without looking */
};

#define UMF_GPU_IOWR(number, type) DRM_IOWR(DRM_COMMAND_BASE + (number), type)
#define DRM_IOCTL_UMF_GPU_INFO UMF_GPU_IOWR(0, struct umf_gpu_info)
#define DRM_IOCTL_UMF_GPU_BO_CREATE UMF_GPU_IOWR(1, struct umf_gpu_bo_create)
#define DRM_IOCTL_UMF_GPU_VM_BIND UMF_GPU_IOWR(2, struct umf_gpu_vm_bind)
#define DRM_IOCTL_UMF_GPU_EVICT UMF_GPU_IOWR(3, struct umf_gpu_evict)
#define DRM_IOCTL_UMF_GPU_QUEUE_CREATE UMF_GPU_IOWR(4, struct umf_gpu_queue_create)
#define DRM_IOCTL_UMF_GPU_QUEUE_OP UMF_GPU_IOWR(5, struct umf_gpu_queue_op)
#define DRM_IOCTL_UMF_GPU_EXEC_WAIT UMF_GPU_IOWR(6, struct umf_gpu_exec_wait)
#define DRM_IOCTL_UMF_GPU_EXEC_DONE UMF_GPU_IOWR(7, struct umf_gpu_exec_done)
#define DRM_IOCTL_UMF_GPU_SIGNAL UMF_GPU_IOWR(8, struct umf_gpu_signal)
#define DRM_IOCTL_UMF_GPU_WAIT UMF_GPU_IOWR(9, struct umf_gpu_wait)
#define DRM_IOCTL_UMF_GPU_INTERRUPT UMF_GPU_IOWR(10, struct umf_gpu_interrupt)
#define DRM_IOCTL_UMF_GPU_WAIT_USER_FENCE UMF_GPU_IOWR(11, struct umf_gpu_wait_user_fence)

#if defined(__cplusplus)
}
#endif

#endif
