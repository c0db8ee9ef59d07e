// SPDX-License-Identifier: MIT
/*
 * Linked into the compositor in place of two functions of wlroots, for tests of what the example
 * does not have:
 *
 * - linux-drm-syncobj-v1, which takes a DRM device. A surface with an unusual transform counts as
 *   one that uses it.
 * - ext-session-lock-v1. A lock surface maps with the first commit that is applied.
 */
#include <stdlib.h>
#include <wlr/types/wlr_compositor.h>
#include <wlr/types/wlr_linux_drm_syncobj_v1.h>
#include <wlr/types/wlr_session_lock_v1.h>
#include <wlr/types/wlr_viewporter.h>

struct wlr_linux_drm_syncobj_surface_v1_state *
__wrap_wlr_linux_drm_syncobj_v1_get_surface_state(struct wlr_surface *surface);
struct wlr_viewporter *__wrap_wlr_viewporter_create(struct wl_display *display);
struct wlr_viewporter *__real_wlr_viewporter_create(struct wl_display *display);

struct wlr_linux_drm_syncobj_surface_v1_state *
__wrap_wlr_linux_drm_syncobj_v1_get_surface_state(struct wlr_surface *surface)
{
    static struct wlr_linux_drm_syncobj_surface_v1_state state;
    return surface->pending.transform == WL_OUTPUT_TRANSFORM_FLIPPED_270 ? &state : NULL;
}

static struct wl_listener new_lock, new_surface, manager_end, lock_end;

static void
listen(struct wl_signal *signal, struct wl_listener *listener, wl_notify_func_t notify)
{
    listener->notify = notify;
    wl_signal_add(signal, listener);
}

static void
handle_new_surface(struct wl_listener *listener, void *data)
{
    struct wlr_session_lock_surface_v1 *surface = data;
    (void)listener;
    wlr_session_lock_surface_v1_configure(surface, 16, 16);
}

static void
handle_lock_end(struct wl_listener *listener, void *data)
{
    (void)listener, (void)data;
    wl_list_remove(&new_surface.link);
    wl_list_remove(&lock_end.link);
}

static void
handle_new_lock(struct wl_listener *listener, void *data)
{
    struct wlr_session_lock_v1 *lock = data;
    (void)listener;
    listen(&lock->events.new_surface, &new_surface, handle_new_surface);
    listen(&lock->events.destroy, &lock_end, handle_lock_end);
    wlr_session_lock_v1_send_locked(lock);
}

static void
handle_manager_end(struct wl_listener *listener, void *data)
{
    (void)listener, (void)data;
    wl_list_remove(&new_lock.link);
    wl_list_remove(&manager_end.link);
}

struct wlr_viewporter *
__wrap_wlr_viewporter_create(struct wl_display *display)
{
    struct wlr_session_lock_manager_v1 *manager = wlr_session_lock_manager_v1_create(display);
    if (!manager)
        abort();
    listen(&manager->events.new_lock, &new_lock, handle_new_lock);
    listen(&manager->events.destroy, &manager_end, handle_manager_end);
    return __real_wlr_viewporter_create(display);
}
