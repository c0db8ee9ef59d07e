// SPDX-License-Identifier: MIT
/*
 * umf-sync-v1 beside linux-drm-syncobj-v1: a surface has one of them. wrapped.c has the
 * compositor believe that a surface uses the other one.
 */
#include "desktop.h"

static void
use_other_synchronization(struct window *window)
{
    wl_surface_set_buffer_transform(window->surface, WL_OUTPUT_TRANSFORM_FLIPPED_270);
}

static void
a_surface_that_has_the_other_gets_no_object(void)
{
    struct desktop desktop;
    struct window window;
    connect_desktop(&desktop);
    open_window(&desktop, &window);
    umf_sync_surface_v1_destroy(window.sync);
    use_other_synchronization(&window);
    umf_sync_manager_v1_get_surface(desktop.manager, window.surface);
    CHECK(protocol_error(&desktop, &umf_sync_manager_v1_interface) ==
          UMF_SYNC_MANAGER_V1_ERROR_CONFLICT);
    disconnect_desktop(&desktop);
}

static void
a_surface_that_gets_the_other_cannot_commit(void)
{
    struct desktop desktop;
    struct window window;
    connect_desktop(&desktop);
    open_window(&desktop, &window);
    show(&window, 0x310000);
    until_shown(&desktop, 0x310000);
    use_other_synchronization(&window);
    show(&window, 0x310001);
    CHECK(protocol_error(&desktop, &umf_sync_surface_v1_interface) ==
          UMF_SYNC_SURFACE_V1_ERROR_CONFLICT);
    disconnect_desktop(&desktop);
}

/* The object is gone, and the other one alone is in use. */
static void
a_surface_whose_object_was_destroyed_may_have_the_other(void)
{
    struct desktop desktop;
    struct window window;
    connect_desktop(&desktop);
    open_window(&desktop, &window);
    umf_sync_surface_v1_destroy(window.sync);
    use_other_synchronization(&window);
    show(&window, 0x320000);
    until_shown(&desktop, 0x320000);
    disconnect_desktop(&desktop);
}

int
main(void)
{
    a_surface_that_has_the_other_gets_no_object();
    a_surface_that_gets_the_other_cannot_commit();
    a_surface_whose_object_was_destroyed_may_have_the_other();
    return 0;
}
