/*
 * Copyright © 2026 The libumf authors
 * SPDX-License-Identifier: MIT
 */

#include "lvp_umf.h"

#include "util/u_debug.h"

#include "lvp_private.h"
#include "lvp_umf_gpu.h"
#include "lvp_umf_queue.h"

/* Do the work of a submission without its waits and signals
 *
 * The caller has completed the waits, and sends the signals afterwards.  The work is done when this
 * returns, because lvp_execute_cmds() waits for the rasterizer.
 */
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

/* Wait, do the work, and signal
 *
 * This runs on the submit thread that the runtime creates for the queue.  lavapipe's device is this
 * thread, so the waits and signals of the thread are those of the device.
 */
static VkResult
submit_on_cpu(struct vk_queue *vk_queue, struct vk_queue_submit *submit)
{
   struct lvp_queue *queue = container_of(vk_queue, struct lvp_queue, vk);
   struct vk_device *device = &queue->device->vk;
   struct vk_umf_signals *signals;

   VkResult result = vk_umf_waits_wait(device, submit->wait_count, submit->waits);
   if (result == VK_SUCCESS) {
      vk_umf_waits_complete(submit->wait_count, submit->waits);
      result = vk_umf_signals_create(device, submit->signal_count, submit->signals, &signals);
   }
   if (result != VK_SUCCESS) {
      vk_umf_queue_fail(vk_queue, submit);
      return result;
   }

   result = execute(queue, submit);
   if (result != VK_SUCCESS)
      vk_umf_queue_fail(vk_queue, submit);

   /* After a failure, the fences have failed already, and this only frees the list. */
   vk_umf_signals_complete(signals);
   return result;
}

static void
announce(struct vk_queue *queue, struct vk_queue_submit *submit)
{
   vk_umf_signals_announce(submit->signal_count, submit->signals);
}

VkResult
lvp_umf_queue_init(struct lvp_queue *queue)
{
   struct lvp_umf_gpu *gpu = queue->device->physical_device->umf_gpu;
   if (gpu)
      return lvp_umf_queue_create(queue, gpu);

   queue->vk.driver_submit = submit_on_cpu;
   queue->vk.driver_announce = announce;
   return VK_SUCCESS;
}

void
lvp_umf_queue_finish(struct lvp_queue *queue)
{
   lvp_umf_queue_destroy(queue->umf);
   queue->umf = NULL;
}

static void
finish_complete(struct vk_device *device)
{
   lvp_umf_queue_finish_complete(container_of(device, struct lvp_device, vk)->queue.umf);
}

static int
get_kernel_fence(struct vk_device *device, struct umf_fence *fence, uint64_t value)
{
   struct lvp_umf_queue *queue = container_of(device, struct lvp_device, vk)->queue.umf;
   return lvp_umf_queue_get_kernel_fence(queue, fence, value);
}

VkResult
lvp_umf_physical_device_init(struct lvp_physical_device *device)
{
   device->umf_gpu = NULL;
   if (!debug_get_bool_option("LVP_UMF_GPU", false))
      return vk_umf_sync_type_init(&device->umf_sync_type, -1, NULL);

   int ret = lvp_umf_gpu_open(&device->umf_gpu);
   if (ret < 0)
      return vk_errorf(device, VK_ERROR_INITIALIZATION_FAILED,
                       "LVP_UMF_GPU: the GPU cannot be opened: %d", ret);
   device->umf_gpu->mapper.finish_complete = finish_complete;
   device->umf_gpu->mapper.get_kernel_fence = get_kernel_fence;

   VkResult result = vk_umf_sync_type_init(&device->umf_sync_type, device->umf_gpu->fd,
                                           &device->umf_gpu->mapper);
   if (result != VK_SUCCESS)
      lvp_umf_gpu_close(device->umf_gpu);
   return result;
}

void
lvp_umf_physical_device_finish(struct lvp_physical_device *device)
{
   vk_umf_sync_type_finish(&device->umf_sync_type);
   lvp_umf_gpu_close(device->umf_gpu);
}
