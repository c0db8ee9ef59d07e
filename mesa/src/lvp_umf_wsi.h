/*
 * Copyright © 2026 The libumf authors
 * SPDX-License-Identifier: MIT
 */

#ifndef LVP_UMF_WSI_H
#define LVP_UMF_WSI_H

#include <stdint.h>

#include "vulkan/vulkan_core.h"

struct lvp_physical_device;

/** Have the window system present by dma-buf and explicit sync, where there is a device for that
 *
 * Sets lvp_physical_device::umf_display_fd, to -1 where there is none.  The window system then
 * presents by copies, as without libumf.
 */
VkResult lvp_umf_init_wsi(struct lvp_physical_device *device);
void lvp_umf_finish_wsi(struct lvp_physical_device *device);

/** Create a buffer of the display device for an image of the window system
 *
 * Returns a dma-buf, or -1.
 */
int lvp_umf_create_dma_buf(const struct lvp_physical_device *device,
                           const VkMemoryAllocateInfo *info);

#endif /* LVP_UMF_WSI_H */
