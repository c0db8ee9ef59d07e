/*
 * Copyright © 2026 The libumf authors
 * SPDX-License-Identifier: MIT
 */

#include "wsi_umf.h"

#include <string.h>
#include <unistd.h>
#include <wayland-client.h>
#include <xf86drm.h>

#include "linux-dmabuf-unstable-v1-client-protocol.h"
#include "linux-drm-syncobj-v1-client-protocol.h"

#include "wsi_umf_private.h"

/* What a compositor offers */
struct offer {
   bool has_syncobj;
   struct zwp_linux_dmabuf_v1 *dmabuf;
   bool has_main_device;
   dev_t main_device;
};

static void
handle_global(void *data, struct wl_registry *registry, uint32_t name, const char *interface,
              uint32_t version)
{
   const uint32_t feedback_version = ZWP_LINUX_DMABUF_V1_GET_DEFAULT_FEEDBACK_SINCE_VERSION;
   struct offer *offer = data;

   if (strcmp(interface, wp_linux_drm_syncobj_manager_v1_interface.name) == 0)
      offer->has_syncobj = true;
   else if (strcmp(interface, zwp_linux_dmabuf_v1_interface.name) == 0 &&
            version >= feedback_version && offer->dmabuf == NULL)
      offer->dmabuf = wl_registry_bind(registry, name, &zwp_linux_dmabuf_v1_interface,
                                       feedback_version);
}

static void
handle_global_remove(void *data, struct wl_registry *registry, uint32_t name)
{
}

static const struct wl_registry_listener registry_listener = {
   handle_global,
   handle_global_remove,
};

static void
handle_done(void *data, struct zwp_linux_dmabuf_feedback_v1 *feedback)
{
}

static void
handle_format_table(void *data, struct zwp_linux_dmabuf_feedback_v1 *feedback, int32_t fd,
                    uint32_t size)
{
   close(fd);
}

static void
handle_main_device(void *data, struct zwp_linux_dmabuf_feedback_v1 *feedback,
                   struct wl_array *device)
{
   struct offer *offer = data;
   if (device->size == sizeof(offer->main_device)) {
      memcpy(&offer->main_device, device->data, sizeof(offer->main_device));
      offer->has_main_device = true;
   }
}

static void
handle_tranche_done(void *data, struct zwp_linux_dmabuf_feedback_v1 *feedback)
{
}

static void
handle_tranche_target_device(void *data, struct zwp_linux_dmabuf_feedback_v1 *feedback,
                             struct wl_array *device)
{
}

static void
handle_tranche_formats(void *data, struct zwp_linux_dmabuf_feedback_v1 *feedback,
                       struct wl_array *indices)
{
}

static void
handle_tranche_flags(void *data, struct zwp_linux_dmabuf_feedback_v1 *feedback, uint32_t flags)
{
}

static const struct zwp_linux_dmabuf_feedback_v1_listener feedback_listener = {
   .done = handle_done,
   .format_table = handle_format_table,
   .main_device = handle_main_device,
   .tranche_done = handle_tranche_done,
   .tranche_target_device = handle_tranche_target_device,
   .tranche_formats = handle_tranche_formats,
   .tranche_flags = handle_tranche_flags,
};

static bool
is_our_device(const struct wsi_umf *umf, dev_t id)
{
   drmDevicePtr device;
   if (drmGetDeviceFromDevId(id, 0, &device) != 0)
      return false;
   const bool equal = drmDevicesEqual(device, umf->drm_device);
   drmFreeDevice(&device);
   return equal;
}

bool
wsi_umf_can_present_wayland(const struct wsi_device *wsi, struct wl_display *display)
{
   struct offer offer = { 0 };

   if (wsi->umf == NULL || (WSI_DEBUG & WSI_DEBUG_SW))
      return false;

   struct wl_event_queue *queue = wl_display_create_queue(display);
   struct wl_display *wrapper = wl_proxy_create_wrapper(display);
   if (queue == NULL || wrapper == NULL)
      goto out;
   wl_proxy_set_queue((struct wl_proxy *)wrapper, queue);

   struct wl_registry *registry = wl_display_get_registry(wrapper);
   wl_registry_add_listener(registry, &registry_listener, &offer);
   wl_display_roundtrip_queue(display, queue);
   if (offer.dmabuf && offer.has_syncobj) {
      struct zwp_linux_dmabuf_feedback_v1 *feedback =
         zwp_linux_dmabuf_v1_get_default_feedback(offer.dmabuf);
      zwp_linux_dmabuf_feedback_v1_add_listener(feedback, &feedback_listener, &offer);
      wl_display_roundtrip_queue(display, queue);
      zwp_linux_dmabuf_feedback_v1_destroy(feedback);
   }
   if (offer.dmabuf)
      zwp_linux_dmabuf_v1_destroy(offer.dmabuf);
   wl_registry_destroy(registry);

out:
   if (wrapper)
      wl_proxy_wrapper_destroy(wrapper);
   if (queue)
      wl_event_queue_destroy(queue);
   return offer.has_main_device && is_our_device(wsi->umf, offer.main_device);
}
