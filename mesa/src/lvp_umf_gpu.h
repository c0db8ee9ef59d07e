/*
 * Copyright © 2026 The libumf authors
 * SPDX-License-Identifier: MIT
 */

#ifndef LVP_UMF_GPU_H
#define LVP_UMF_GPU_H

#include <stdatomic.h>

#include "umf_gpu_drm.h"
#include "vk_umf_sync.h"

/** The GPU with user queues that kernel/module/gpu of libumf emulates, and an address space in it
 *
 * This is the part of a driver that makes the system calls.  All functions return 0 or a negative
 * errno.
 */
struct lvp_umf_gpu {
   int fd;

   /** An eventfd that the device's interrupts make readable */
   int interrupt;

   /** Maps pages of fences, so that packets can name them */
   struct vk_umf_mapper mapper;

   /** The next free address.  No address is used twice. */
   _Atomic uint64_t next_address;

   /** A page of doorbells.  Each ring uses one. */
   uint32_t doorbells;
   _Atomic uint64_t *doorbell_page;
   _Atomic uint32_t next_doorbell;
};

/** Open the GPU.  -ENODEV: this machine has none, or cannot map pages of fences into it. */
int lvp_umf_gpu_open(struct lvp_umf_gpu **gpu_out);

/** Close the GPU.  The caller must have finished all rings and the sync type. */
void lvp_umf_gpu_close(struct lvp_umf_gpu *gpu);

/** Memory that the CPU and the device can access */
struct lvp_umf_buffer {
   uint32_t handle;
   uint64_t size;
   uint64_t address;
   void *map;
};

#define LVP_UMF_RING_PACKETS 16384u

/** A user queue
 *
 * Positions count packets from the creation of the ring.  They never wrap around.
 */
struct lvp_umf_ring {
   struct lvp_umf_gpu *gpu;

   /** The device's number of the queue.  lvp_umf_ring_restart() changes it. */
   uint32_t id;

   struct lvp_umf_buffer packets;
   struct lvp_umf_buffer positions;
   _Atomic uint64_t *read;
   _Atomic uint64_t *write;
   _Atomic uint64_t *doorbell;

   /** The position at which the device's queue began: 0, or that of the last restart */
   uint64_t start;

   /** The position of the next packet that is pushed */
   uint64_t next;
};

int lvp_umf_ring_init(struct lvp_umf_gpu *gpu, struct lvp_umf_ring *ring);

/** End the device's queue, whatever it is at.  No other thread may use the ring.  The device gives
 * the number of an ended queue to the next one.
 */
void lvp_umf_ring_finish(struct lvp_umf_ring *ring);

/** Get the position of the first packet that the device has not completed.  No system call. */
uint64_t lvp_umf_ring_done(const struct lvp_umf_ring *ring);

/** Push a packet.  The ring must have room: next is less than done + LVP_UMF_RING_PACKETS. */
void lvp_umf_ring_push(struct lvp_umf_ring *ring, struct umf_gpu_packet packet);

/** Make the packets that were pushed visible to the device.  No system call. */
void lvp_umf_ring_submit(struct lvp_umf_ring *ring);

/** Remove a packet that the device has not completed
 *
 * The device may have read the packet already, so this counts after the next restart only.
 */
void lvp_umf_ring_skip(struct lvp_umf_ring *ring, uint64_t position);

/** Reset the device's queue.  Its worker gets -EIO. */
int lvp_umf_ring_reset(struct lvp_umf_ring *ring);

/** Get why the device's queue stopped, and the position of the packet at which it did. */
int lvp_umf_ring_query(const struct lvp_umf_ring *ring, int *error_out, uint64_t *position_out);

/** Replace the device's queue by a new one that begins at a position */
int lvp_umf_ring_restart(struct lvp_umf_ring *ring, uint64_t position);

/** Get a kernel fence of everything that was submitted, as a sync_file
 *
 * If the device does not get there within its hang limit, it resets the queue.  So every wait in
 * the ring must have ended.  Returns a file descriptor or a negative errno.
 */
int lvp_umf_ring_get_kernel_fence(const struct lvp_umf_ring *ring);

/** Wait until the device is at an EXEC packet.  -EIO: the queue was reset, or has failed. */
int lvp_umf_ring_wait_exec(const struct lvp_umf_ring *ring,
                           uint64_t *cookie_out,
                           uint64_t *sequence_out);

/** Let the device continue behind an EXEC packet, or fail its queue with a negative errno. */
int lvp_umf_ring_end_exec(const struct lvp_umf_ring *ring, uint64_t sequence, int result);

#endif /* LVP_UMF_GPU_H */
