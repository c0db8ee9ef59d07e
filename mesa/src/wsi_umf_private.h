/*
 * Copyright © 2026 The libumf authors
 * SPDX-License-Identifier: MIT
 */

#ifndef WSI_UMF_PRIVATE_H
#define WSI_UMF_PRIVATE_H

#include <xf86drm.h>

#include "wsi_common_private.h"

struct umf_device;
struct vk_umf_sync_type;

struct wsi_umf {
   struct vk_umf_sync_type *type;

   /** The device that the syncobjs are made on */
   struct umf_device *device;
   drmDevicePtr drm_device;

   /** For swapchains of a device that presents by copies in general: the same, without sw */
   struct wsi_device dma_buf_device;
};

#endif /* WSI_UMF_PRIVATE_H */
