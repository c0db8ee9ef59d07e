/* SPDX-License-Identifier: MIT */
/*
 * umf-sync-v1 for compositors that use wlroots 0.18: explicit synchronization by userspace memory
 * fences. Add this file and umf_sync_v1.c to the compositor, and call umf_sync_v1_create() once.
 *
 * Nothing else changes in the compositor. A commit whose acquire value is not reached is held as
 * wlroots holds any cached state, so the compositor sees it when its buffer is ready. A release
 * value is signaled when wlroots releases the buffer.
 */
#ifndef UMF_SYNC_V1_H
#define UMF_SYNC_V1_H

#include <wayland-server-core.h>

/* What a client may use: the limits event tells it. */
enum {
    UMF_SYNC_V1_MAX_FENCES = 4096, /* of a page */
    UMF_SYNC_V1_MAX_PAGES = 64,    /* of a client, at a time */
    UMF_SYNC_V1_MAX_COMMITS = 64,  /* of a surface, held at a time */
};

struct umf_sync_v1;

/* Offers the global. It ends with the display, after all clients. NULL without memory. */
struct umf_sync_v1 *umf_sync_v1_create(struct wl_display *display);

#endif
