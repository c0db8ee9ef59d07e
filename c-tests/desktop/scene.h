/* SPDX-License-Identifier: MIT */
/*
 * What most tests begin with: a connection, a page of its own that the compositor has imported, and
 * a window that shows frames of its own meanwhile.
 */
#ifndef SCENE_H
#define SCENE_H

#include "desktop.h"

static struct desktop desktop;
static struct window other;
static struct umf_page *page;
static struct umf_sync_page_v1 *shared;

static inline void
open_scene(uint32_t fences)
{
    connect_desktop(&desktop);
    OK(umf_page_create(fences, 0, &page));
    shared = share_page(&desktop, page);
    open_window(&desktop, &other);
}

static inline void
close_scene(void)
{
    disconnect_desktop(&desktop);
    umf_page_unref(page);
}

static inline struct value
new_value(void)
{
    struct value at = { .page = shared, .value = 1 };
    OK(umf_fence_create(page, 0, 0, &at.fence));
    return at;
}

static inline void
until_reached(struct value at)
{
    CHECK(wl_display_flush(desktop.display) >= 0);
    OK(umf_fence_wait(at.fence, at.value, in_ns(20 * SECOND)));
}

#endif
