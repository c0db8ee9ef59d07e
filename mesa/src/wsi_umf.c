/*
 * Copyright © 2026 The libumf authors
 * SPDX-License-Identifier: MIT
 */

#include "wsi_umf.h"

#include <errno.h>
#include <stdlib.h>

#include "util/os_time.h"

#include "vk_device.h"
#include "vk_log.h"
#include "vk_semaphore.h"
#include "vk_umf_sync.h"

#include "wsi_umf_private.h"

VkResult
wsi_umf_init(struct wsi_device *wsi, struct vk_umf_sync_type *type, int drm_fd)
{
   struct wsi_umf *umf = calloc(1, sizeof(*umf));
   if (umf == NULL)
      return VK_ERROR_OUT_OF_HOST_MEMORY;

   umf->type = type;
   if (umf_device_create(drm_fd, 0, &umf->device) < 0 ||
       drmGetDevice2(drm_fd, 0, &umf->drm_device) != 0) {
      umf_device_unref(umf->device);
      free(umf);
      return VK_ERROR_INITIALIZATION_FAILED;
   }
   wsi->umf = umf;
   return VK_SUCCESS;
}

void
wsi_umf_finish(struct wsi_device *wsi)
{
   if (wsi->umf == NULL)
      return;
   drmFreeDevice(&wsi->umf->drm_device);
   umf_device_unref(wsi->umf->device);
   free(wsi->umf);
   wsi->umf = NULL;
}

/* wsi_umf_get_x11_device() has compared the devices. */
static bool
is_always_ours(VkPhysicalDevice pdevice, int fd)
{
   return true;
}

static VkResult
to_result(struct vk_device *device, int ret)
{
   switch (ret) {
   case 0:
      return VK_SUCCESS;
   case -EMFILE:
   case -ENFILE:
   case -ENOMEM:
      return vk_error(device, VK_ERROR_OUT_OF_HOST_MEMORY);
   default:
      return vk_device_set_lost(device, "libumf returned %d", ret);
   }
}

/* Create a syncobj: its descriptor for the compositor, and a handle for the window system. */
static int
create_timeline(const struct wsi_umf *umf,
                int drm_fd,
                struct wsi_image_explicit_sync_timeline *timeline,
                struct umf_syncobj **syncobj_out)
{
   int ret = umf_syncobj_create(umf->device, 0, syncobj_out);
   if (ret == 0)
      ret = umf_syncobj_export(*syncobj_out, 0, &timeline->fd);
   if (ret == 0 && drmSyncobjFDToHandle(drm_fd, timeline->fd, &timeline->handle) != 0)
      ret = -errno;
   return ret;
}

struct wsi_device *
wsi_umf_get_x11_device(struct wsi_device *wsi, int dri3_fd)
{
   drmDevicePtr device;

   if (!wsi->sw || (WSI_DEBUG & WSI_DEBUG_SW) || dri3_fd < 0 ||
       drmGetDevice2(dri3_fd, 0, &device) != 0)
      return wsi;
   const bool equal = drmDevicesEqual(device, wsi->umf->drm_device);
   drmFreeDevice(&device);
   if (!equal)
      return wsi;

   /* Not in wsi_umf_init(), after which the driver may change its wsi_device. */
   struct wsi_device *copy = &wsi->umf->dma_buf_device;
   simple_mtx_lock(&wsi->umf->type->lock);
   if (copy->umf == NULL) {
      *copy = *wsi;
      copy->sw = false;
      copy->can_present_on_device = is_always_ours;
   }
   simple_mtx_unlock(&wsi->umf->type->lock);
   return copy;
}

VkResult
wsi_umf_create_image_explicit_sync(const struct wsi_swapchain *chain, struct wsi_image *image)
{
   VK_FROM_HANDLE(vk_device, device, chain->device);
   const struct wsi_umf *umf = chain->wsi->umf;
   struct umf_syncobj *release = NULL;

   /* Its value is the last frame that is done.  It comes first, because the window system destroys
    * the rest only if it exists.
    */
   const VkSemaphoreTypeCreateInfo type_info = {
      .sType = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO,
      .semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE,
   };
   const VkSemaphoreCreateInfo info = {
      .sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO,
      .pNext = &type_info,
   };
   VkResult result = chain->wsi->CreateSemaphore(chain->device, &info, &chain->alloc,
                                                 &image->explicit_sync[WSI_ES_ACQUIRE].semaphore);
   if (result != VK_SUCCESS)
      return result;

   int ret = create_timeline(umf, device->drm_fd, &image->explicit_sync[WSI_ES_ACQUIRE],
                             &image->umf_acquire);
   if (ret == 0)
      ret = create_timeline(umf, device->drm_fd, &image->explicit_sync[WSI_ES_RELEASE], &release);
   umf_syncobj_unref(release);
   return to_result(device, ret);
}

void
wsi_umf_destroy_image_explicit_sync(struct wsi_image *image)
{
   /* An export that is not over keeps a reference. */
   umf_syncobj_unref(image->umf_acquire);
   image->umf_acquire = NULL;
}

VkResult
wsi_umf_export_acquire_point(const struct wsi_swapchain *chain, struct wsi_image *image)
{
   VK_FROM_HANDLE(vk_device, device, chain->device);
   VK_FROM_HANDLE(vk_semaphore, semaphore, image->explicit_sync[WSI_ES_ACQUIRE].semaphore);
   const uint64_t point = image->explicit_sync[WSI_ES_ACQUIRE].timeline;
   const struct vk_sync_wait wait = {
      .sync = vk_semaphore_get_active_sync(semaphore),
      .wait_value = point,
   };
   const struct umf_condition condition = vk_umf_sync_get_wait(&wait);
   struct umf_loop *loop;

   int ret = vk_umf_sync_type_get_loop(chain->wsi->umf->type, &loop);
   if (ret == 0)
      ret = umf_loop_export_syncobj(loop, condition.fence, condition.value, image->umf_acquire,
                                    point, 0, NULL, NULL);
   return to_result(device, ret);
}

VkResult
wsi_umf_wait_for_acquire_point(const struct wsi_swapchain *chain, const struct wsi_image *image)
{
   VK_FROM_HANDLE(vk_device, device, chain->device);
   uint32_t handle = image->explicit_sync[WSI_ES_ACQUIRE].handle;
   uint64_t point = image->explicit_sync[WSI_ES_ACQUIRE].timeline;
   int ret;

   /* The point of a lost frame never exists. */
   do {
      ret = drmSyncobjTimelineWait(device->drm_fd, &handle, &point, 1,
                                   os_time_get_nano() + 100 * 1000 * 1000,
                                   DRM_SYNCOBJ_WAIT_FLAGS_WAIT_FOR_SUBMIT |
                                   DRM_SYNCOBJ_WAIT_FLAGS_WAIT_AVAILABLE, NULL);
      if (vk_device_is_lost(device))
         return VK_ERROR_DEVICE_LOST;
   } while (ret == -ETIME);
   return to_result(device, ret);
}
