/*
 * Copyright © 2026 The libumf authors
 * SPDX-License-Identifier: MIT
 */

#ifndef WSI_UMF_H
#define WSI_UMF_H

#include <stdbool.h>

#include "vulkan/vulkan_core.h"

struct vk_umf_sync_type;
struct wl_display;
struct wsi_device;
struct wsi_image;
struct wsi_swapchain;

/** Have the window system of a device present frames by explicit sync, with points made from UMFs
 *
 * Call this after wsi_device_init().  The window system otherwise exports the driver's timeline
 * semaphores as OPAQUE_FD and takes them for syncobjs.  With this, each image has two syncobjs of
 * its own, and a semaphore that is not shareable.  A frame is handed over with an acquire point
 * that does not exist yet, and libumf signals that point when the frame's fence is reached.
 *
 * drm_fd is a device that has timeline syncobjs, and stays the caller's.  vk_device::drm_fd must be
 * the same open file.
 *
 * A device for which wsi_device::sw is set presents by copies in general.  With this, it presents
 * dma-bufs to a Wayland compositor that has linux-drm-syncobj-v1, and to an X server that has DRI3
 * 1.4 and Present 1.4, if they use the device of drm_fd.
 */
VkResult wsi_umf_init(struct wsi_device *wsi, struct vk_umf_sync_type *type, int drm_fd);
void wsi_umf_finish(struct wsi_device *wsi);

/* For the window system */

/** Check whether a Wayland compositor takes dma-bufs and acquire points of our device */
bool wsi_umf_can_present_wayland(const struct wsi_device *wsi, struct wl_display *display);

/** Get the device for a swapchain of an X server that has syncobjs
 *
 * dri3_fd is the X server's device, or -1.  The result is wsi, or a copy for which wsi_device::sw
 * is not set, if the server uses our device.
 */
struct wsi_device *wsi_umf_get_x11_device(struct wsi_device *wsi, int dri3_fd);

VkResult wsi_umf_create_image_explicit_sync(const struct wsi_swapchain *chain,
                                            struct wsi_image *image);
void wsi_umf_destroy_image_explicit_sync(struct wsi_image *image);

/** Have the acquire point of an image signaled when the submission that was just made is done
 *
 * This returns at once.
 */
VkResult wsi_umf_export_acquire_point(const struct wsi_swapchain *chain, struct wsi_image *image);

/** Wait until the acquire point of an image exists
 *
 * A compositor that drops a frame may release its image earlier.
 */
VkResult wsi_umf_wait_for_acquire_point(const struct wsi_swapchain *chain,
                                        const struct wsi_image *image);

#endif /* WSI_UMF_H */
