/*
 * Copyright © 2026 The libumf authors
 * SPDX-License-Identifier: MIT
 */

#ifndef LVP_UMF_H
#define LVP_UMF_H

#include "vulkan/vulkan_core.h"

struct lvp_physical_device;
struct lvp_queue;

/** Initialize lvp_physical_device::umf_sync_type
 *
 * With LVP_UMF_GPU=true in the environment, it also opens the GPU that libumf emulates, as
 * lvp_physical_device::umf_gpu.  The queues are then user queues of that GPU, and the runtime needs
 * no threaded submit.
 */
VkResult lvp_umf_physical_device_init(struct lvp_physical_device *device);
void lvp_umf_physical_device_finish(struct lvp_physical_device *device);

/** Set vk_queue::driver_submit
 *
 * The caller has set lvp_queue::execute, which does the work of a submission.
 */
VkResult lvp_umf_queue_init(struct lvp_queue *queue);

/** Stop the queue.  The caller still has everything that the queue's work uses. */
void lvp_umf_queue_finish(struct lvp_queue *queue);

#endif /* LVP_UMF_H */
