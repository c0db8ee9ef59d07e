/*
 * Copyright © 2026 The libumf authors
 * SPDX-License-Identifier: MIT
 */

#include "lvp_umf_wsi.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
#include <xf86drm.h>
#include <xf86drmMode.h>

#include "util/macros.h"
#include "vk_util.h"
#include "wsi_common.h"
#include "wsi_umf.h"

#include "lvp_private.h"

#define MAX_CARDS 16

static bool
has(int fd, uint64_t capability)
{
   uint64_t value = 0;
   return drmGetCap(fd, capability, &value) == 0 && value != 0;
}

/* Check whether lavapipe can render to dumb buffers of a device
 *
 * If the device prefers a shadow buffer, reading from a dumb buffer is slow.
 */
static bool
is_suitable(int fd)
{
   uint64_t prime = 0;

   return has(fd, DRM_CAP_DUMB_BUFFER) && !has(fd, DRM_CAP_DUMB_PREFER_SHADOW) &&
          has(fd, DRM_CAP_SYNCOBJ_TIMELINE) && drmGetCap(fd, DRM_CAP_PRIME, &prime) == 0 &&
          (prime & DRM_PRIME_CAP_EXPORT);
}

/* Open the card node of a device: a render node has no dumb buffers. */
static int
open_display_device(void)
{
   for (unsigned i = 0; i < MAX_CARDS; i++) {
      char path[32];
      snprintf(path, sizeof(path), "/dev/dri/card%u", i);
      int fd = open(path, O_RDWR | O_CLOEXEC);
      if (fd < 0)
         continue;
      /* The first to open a card becomes its master.  The compositor must be that. */
      if (drmIsMaster(fd))
         drmDropMaster(fd);
      if (is_suitable(fd))
         return fd;
      close(fd);
   }
   return -1;
}

VkResult
lvp_umf_init_wsi(struct lvp_physical_device *device)
{
   device->umf_display_fd = -1;
   if (device->umf_gpu || !device->vk.supported_extensions.EXT_image_drm_format_modifier)
      return VK_SUCCESS;

   int fd = open_display_device();
   if (fd < 0)
      return VK_SUCCESS;
   VkResult result = wsi_umf_init(&device->wsi_device, &device->umf_sync_type, fd);
   if (result != VK_SUCCESS) {
      close(fd);
      return result == VK_ERROR_OUT_OF_HOST_MEMORY ? result : VK_SUCCESS;
   }
   device->umf_display_fd = fd;
   device->wsi_device.supports_modifiers = true;
   return VK_SUCCESS;
}

void
lvp_umf_finish_wsi(struct lvp_physical_device *device)
{
   wsi_umf_finish(&device->wsi_device);
   if (device->umf_display_fd >= 0)
      close(device->umf_display_fd);
}

int
lvp_umf_create_dma_buf(const struct lvp_physical_device *device, const VkMemoryAllocateInfo *info)
{
   const uint32_t pitch = 4096;
   const uint64_t height = DIV_ROUND_UP(info->allocationSize, pitch);
   uint32_t handle, actual_pitch;
   uint64_t size;
   int dma_buf;

   if (device->umf_display_fd < 0 ||
       !vk_find_struct_const(info->pNext, WSI_MEMORY_ALLOCATE_INFO_MESA) || height > UINT32_MAX)
      return -1;

   int ret = drmModeCreateDumbBuffer(device->umf_display_fd, pitch / 4, height, 32, 0, &handle,
                                     &actual_pitch, &size);
   if (ret != 0)
      return -1;
   ret = drmPrimeHandleToFD(device->umf_display_fd, handle, DRM_CLOEXEC | DRM_RDWR, &dma_buf);
   drmModeDestroyDumbBuffer(device->umf_display_fd, handle);
   return ret == 0 ? dma_buf : -1;
}
