/*
 * Copyright © 2026 The libumf authors
 * SPDX-License-Identifier: MIT
 */

#ifndef LVP_UMF_QUEUE_H
#define LVP_UMF_QUEUE_H

#include <stdint.h>

#include "vulkan/vulkan_core.h"

struct lvp_queue;
struct umf_fence;
struct lvp_umf_gpu;

/** A vk_queue behind a user queue of a GPU
 *
 * The submitting thread writes WAIT, EXEC and SIGNAL packets.  The GPU waits and signals.  At EXEC,
 * a thread of this queue, the worker, does the work of the submission with lvp_queue::execute.
 */
struct lvp_umf_queue;

/** Create the user queue and the worker, and set vk_queue::driver_submit */
VkResult lvp_umf_queue_create(struct lvp_queue *lvp, struct lvp_umf_gpu *gpu);

/** Forget the submissions that the device has completed */
void lvp_umf_queue_finish_complete(struct lvp_umf_queue *queue);

/** Get a kernel fence for the submission that signals a fence up to a value
 *
 * Returns a sync_file, or a negative errno: no such submission is in the ring, or something in the
 * ring waits for a fence that has not signaled.
 */
int lvp_umf_queue_get_kernel_fence(struct lvp_umf_queue *queue,
                                   const struct umf_fence *fence,
                                   uint64_t value);

/** Stop the user queue, and fail what it has not signaled */
void lvp_umf_queue_destroy(struct lvp_umf_queue *queue);

#endif /* LVP_UMF_QUEUE_H */
