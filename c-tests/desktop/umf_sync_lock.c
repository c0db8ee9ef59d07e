// SPDX-License-Identifier: MIT
/*
 * umf-sync-v1 and a role that maps its surface with the first commit that is applied, that of
 * ext-session-lock-v1: wlroots aborts if that commit has no size. So a first frame that is dropped
 * has to keep its size.
 */
#include "scene.h"

#include "ext-session-lock-v1-client-protocol.h"

static struct wl_output *output;
static struct ext_session_lock_manager_v1 *manager;

static void
on_lock_global(void *data, struct wl_registry *registry, uint32_t name, const char *interface,
               uint32_t version)
{
    (void)data, (void)version;
    if (strcmp(interface, wl_output_interface.name) == 0)
        output = wl_registry_bind(registry, name, &wl_output_interface, 1);
    if (strcmp(interface, ext_session_lock_manager_v1_interface.name) == 0)
        manager = wl_registry_bind(registry, name, &ext_session_lock_manager_v1_interface, 1);
}

static const struct wl_registry_listener lock_listener = { on_lock_global, on_global_remove };

static void
on_configure(void *data, struct ext_session_lock_surface_v1 *surface, uint32_t serial,
             uint32_t width, uint32_t height)
{
    CHECK(width == SIDE && height == SIDE);
    ext_session_lock_surface_v1_ack_configure(surface, serial);
    *(bool *)data = true;
}

static const struct ext_session_lock_surface_v1_listener surface_listener = { on_configure };

int
main(void)
{
    struct window window;
    open_scene(4);
    struct value acquire = new_value(), later = new_value();
    wl_registry_add_listener(wl_display_get_registry(desktop.display), &lock_listener, NULL);
    roundtrip(&desktop);
    CHECK(output && manager);

    open_surface(&desktop, &window);
    struct ext_session_lock_v1 *lock = ext_session_lock_manager_v1_lock(manager);
    struct ext_session_lock_surface_v1 *lock_surface =
        ext_session_lock_v1_get_lock_surface(lock, window.surface, output);
    bool is_configured = false;
    ext_session_lock_surface_v1_add_listener(lock_surface, &surface_listener, &is_configured);
    while (!is_configured)
        CHECK(wl_display_dispatch(desktop.display) >= 0);

    show_later(&window, acquire);
    OK(umf_fence_set_error(acquire.fence, -EIO));
    until_dropped(&window, 1);
    composite(&other);
    uint32_t *pixels = show_later(&window, later);
    composite(&other);
    complete(pixels, 0x330000, later);
    composite(&other); /* the compositor lives; it draws no lock surface */
    CHECK(window.drop_count == 1);

    umf_fence_unref(acquire.fence);
    umf_fence_unref(later.fence);
    close_scene();
    return 0;
}
