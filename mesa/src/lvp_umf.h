/*
 * Copyright © 2026 The libumf authors
 * SPDX-License-Identifier: MIT
 */

#ifndef LVP_UMF_H
#define LVP_UMF_H

#include "vulkan/vulkan_core.h"

struct vk_queue;
struct vk_queue_submit;

/** Submit work to a queue whose syncs are vk_umf_syncs
 *
 * This is lavapipe's vk_queue::driver_submit.  lvp_queue::execute does the work.
 */
VkResult lvp_umf_queue_submit(struct vk_queue *queue, struct vk_queue_submit *submit);

#endif /* LVP_UMF_H */
