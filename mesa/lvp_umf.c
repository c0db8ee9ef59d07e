/*
 * Copyright © 2026 The libumf authors
 * SPDX-License-Identifier: MIT
 */

#include "lvp_umf.h"

#include "lp_fence.h"
#include "lp_fence_callback.h"
#include "lvp_private.h"

static void
complete_signals(void *data)
{
   vk_umf_signals_complete(data);
}

/* Does the work of a submission, which need not wait for anything any more and leaves the signals to the caller. */
static VkResult
execute(struct lvp_queue *queue, struct vk_queue_submit *submit)
{
   const uint32_t wait_count = submit->wait_count;
   const uint32_t signal_count = submit->signal_count;

   submit->wait_count = 0;
   submit->signal_count = 0;
   VkResult result = queue->execute(&queue->vk, submit);
   submit->wait_count = wait_count;
   submit->signal_count = signal_count;
   return result;
}

static bool
takes_time(const struct lvp_queue *queue, const struct vk_queue_submit *submit)
{
   struct lp_fence *fence = (struct lp_fence *)queue->last_fence;
   return submit->command_buffer_count > 0 || vk_queue_submit_has_bind(submit) ||
          (fence && !lp_fence_signalled(fence));
}

/* On the queue's own thread, which the runtime gives to whoever asks: a wait is a wait of this thread.  The rasterizer's threads
 * signal, when they are done; they are lavapipe's device.
 */
VkResult
lvp_umf_queue_submit(struct vk_queue *vk_queue, struct vk_queue_submit *submit)
{
   struct lvp_queue *queue = container_of(vk_queue, struct lvp_queue, vk);
   struct vk_device *device = &queue->device->vk;
   struct vk_umf_signals *signals;

   VkResult result = vk_sync_wait_many(device, submit->wait_count, submit->waits,
                                       VK_SYNC_WAIT_COMPLETE, UINT64_MAX);
   if (result == VK_SUCCESS) {
      vk_umf_waits_complete(submit->wait_count, submit->waits);
      result = vk_umf_signals_create(device, submit->signal_count, submit->signals, &signals);
   }
   if (result != VK_SUCCESS) {
      vk_umf_queue_fail(vk_queue, submit);
      return result;
   }

   if (takes_time(queue, submit))
      vk_umf_signals_announce(signals);
   result = execute(queue, submit);
   if (result != VK_SUCCESS)
      vk_umf_queue_fail(vk_queue, submit);

   struct lp_fence *fence = (struct lp_fence *)queue->last_fence;
   if (fence == NULL || !lp_fence_add_callback(fence, complete_signals, signals))
      vk_umf_signals_complete(signals);
   return result;
}
