/* SPDX-License-Identifier: MIT */
/*
 * A Wayland client with one surface, on linux-drm-syncobj-v1. The acquire points of its frames come
 * from a UMF, and the release points go to UMFs.
 */
#ifndef KWIN_CLIENT_H
#define KWIN_CLIENT_H

#include "gpu.h"

#include "syncobj.h"
#include "watch.h"

#include <wayland-client.h>

#include "linux-dmabuf-v1.h"
#include "linux-drm-syncobj-v1.h"
#include "presentation-time.h"
#include "xdg-shell.h"

enum outcome { NOT_COMMITTED, COMMITTED, PRESENTED, DISCARDED };

struct frame {
    enum outcome outcome;
    uint64_t presented_ns;
    bool early; /* its acquire point did not exist when it was committed */
};

/* Of one buffer. Each has a timeline of its own, because KWin may release out of order. */
struct release {
    struct wl_buffer *buffer;
    struct umf_syncobj *syncobj;
    struct wp_linux_drm_syncobj_timeline_v1 *timeline;
    struct umf_fence *fence;
    uint64_t uses;
};

static struct {
    struct wl_display *display;
    struct wl_compositor *compositor;
    struct xdg_wm_base *shell;
    struct zwp_linux_dmabuf_v1 *dmabuf;
    struct wp_linux_drm_syncobj_manager_v1 *syncobjs;
    struct wp_presentation *presentation;

    struct wl_surface *surface;
    struct xdg_toplevel *toplevel;
    struct wp_linux_drm_syncobj_surface_v1 *sync;
    bool configured;

    struct umf_loop *loop;
    struct umf_page *page;
    struct umf_device *device;
    struct umf_syncobj *acquire;
    uint32_t acquire_handle; /* another handle of it, for looking at its points */
    struct wp_linux_drm_syncobj_timeline_v1 *acquire_timeline;
    struct release releases[BUFFERS];
} client;

/* By number, from 1. */
static struct frame frames[MAX_FRAMES];

/* How many were presented or discarded, and the last one that was presented. */
static uint64_t ended, last_presented;

static void
on_global(void *data, struct wl_registry *registry, uint32_t name, const char *interface,
          uint32_t version)
{
    const struct {
        const struct wl_interface *interface;
        uint32_t version;
        void *object;
    } wanted[] = {
        { &wl_compositor_interface, 4, &client.compositor },
        { &xdg_wm_base_interface, 1, &client.shell },
        { &zwp_linux_dmabuf_v1_interface, 3, &client.dmabuf },
        { &wp_linux_drm_syncobj_manager_v1_interface, 1, &client.syncobjs },
        { &wp_presentation_interface, 1, &client.presentation },
    };
    (void)data;
    for (size_t i = 0; i < ARRAY_SIZE(wanted); i++) {
        if (strcmp(interface, wanted[i].interface->name) != 0)
            continue;
        CHECK(version >= wanted[i].version);
        *(void **)wanted[i].object =
            wl_registry_bind(registry, name, wanted[i].interface, wanted[i].version);
    }
}

static void
on_global_remove(void *data, struct wl_registry *registry, uint32_t name)
{
    (void)data, (void)registry, (void)name;
}

static const struct wl_registry_listener registry_listener = { on_global, on_global_remove };

static void
on_ping(void *data, struct xdg_wm_base *shell, uint32_t serial)
{
    (void)data;
    xdg_wm_base_pong(shell, serial);
}

static const struct xdg_wm_base_listener shell_listener = { on_ping };

static void
on_configure(void *data, struct xdg_surface *surface, uint32_t serial)
{
    (void)data;
    xdg_surface_ack_configure(surface, serial);
    client.configured = true;
}

static const struct xdg_surface_listener surface_listener = { on_configure };

static void
on_toplevel_configure(void *data, struct xdg_toplevel *toplevel, int32_t width, int32_t height,
                      struct wl_array *states)
{
    (void)data, (void)toplevel, (void)states;
    /* KWin sends no size until the window is on an output. */
    CHECK(width == 0 || buffer_width != WIDTH || (width == WIDTH && height == HEIGHT));
}

static void
on_close(void *data, struct xdg_toplevel *toplevel)
{
    (void)data, (void)toplevel;
    CHECK(!"KWin closes the window");
}

static const struct xdg_toplevel_listener toplevel_listener = { on_toplevel_configure, on_close,
                                                                NULL, NULL };

static void
on_sync_output(void *data, struct wp_presentation_feedback *feedback, struct wl_output *output)
{
    (void)data, (void)feedback, (void)output;
}

static void
on_presented(void *data, struct wp_presentation_feedback *feedback, uint32_t sec_hi,
             uint32_t sec_lo, uint32_t ns, uint32_t refresh, uint32_t seq_hi, uint32_t seq_lo,
             uint32_t flags)
{
    struct frame *frame = data;
    uint64_t number = (uint64_t)(frame - frames);
    (void)refresh, (void)seq_hi, (void)seq_lo, (void)flags;
    frame->outcome = PRESENTED;
    frame->presented_ns = (((uint64_t)sec_hi << 32) + sec_lo) * SECOND + ns;
    CHECK(number > last_presented);
    last_presented = number;
    ended++;
    wp_presentation_feedback_destroy(feedback);
}

static void
on_discarded(void *data, struct wp_presentation_feedback *feedback)
{
    struct frame *frame = data;
    frame->outcome = DISCARDED;
    ended++;
    wp_presentation_feedback_destroy(feedback);
}

static const struct wp_presentation_feedback_listener feedback_listener = {
    on_sync_output, on_presented, on_discarded
};

/* Dispatches events until the condition holds. The harness ends a test where it never does. */
#define UNTIL_EVENT(condition)                                                                     \
    do {                                                                                           \
        while (!(condition))                                                                       \
            CHECK(wl_display_dispatch(client.display) >= 0);                                       \
    } while (0)

static inline struct wp_linux_drm_syncobj_timeline_v1 *
make_timeline(struct umf_syncobj **syncobj)
{
    int fd;
    OK(umf_syncobj_create(client.device, 0, syncobj));
    OK(umf_syncobj_export(*syncobj, 0, &fd));
    struct wp_linux_drm_syncobj_timeline_v1 *timeline =
        wp_linux_drm_syncobj_manager_v1_import_timeline(client.syncobjs, fd);
    close(fd);
    return timeline;
}

static inline void
make_release(struct release *release, const struct buffer *buffer)
{
    struct zwp_linux_buffer_params_v1 *params =
        zwp_linux_dmabuf_v1_create_params(client.dmabuf);
    zwp_linux_buffer_params_v1_add(params, buffer->dma_buf, 0, 0, buffer->pitch,
                                   DRM_FORMAT_MOD_LINEAR >> 32, DRM_FORMAT_MOD_LINEAR);
    release->buffer = zwp_linux_buffer_params_v1_create_immed(params, (int32_t)buffer_width,
                                                              (int32_t)buffer_height,
                                                              DRM_FORMAT_XRGB8888, 0);
    zwp_linux_buffer_params_v1_destroy(params);
    release->timeline = make_timeline(&release->syncobj);
    OK(umf_fence_create(client.page, 0, 0, &release->fence));
}

static inline void
connect_client(void)
{
    OK(umf_loop_create(UMF_LOOP_THREAD, &client.loop));
    OK(umf_page_create(BUFFERS, 0, &client.page));
    OK(umf_device_create(card, 0, &client.device));

    client.display = wl_display_connect(NULL);
    CHECK(client.display);
    struct wl_registry *registry = wl_display_get_registry(client.display);
    wl_registry_add_listener(registry, &registry_listener, NULL);
    CHECK(wl_display_roundtrip(client.display) >= 0);
    CHECK(client.compositor && client.shell && client.dmabuf && client.syncobjs &&
          client.presentation);
    xdg_wm_base_add_listener(client.shell, &shell_listener, NULL);

    client.acquire_timeline = make_timeline(&client.acquire);
    int fd;
    OK(umf_syncobj_export(client.acquire, 0, &fd));
    client.acquire_handle = syncobj_from_fd(card, fd);
    close(fd);
    for (int i = 0; i < BUFFERS; i++)
        make_release(&client.releases[i], &buffers[i]);

    client.surface = wl_compositor_create_surface(client.compositor);
    client.sync = wp_linux_drm_syncobj_manager_v1_get_surface(client.syncobjs, client.surface);
    struct xdg_surface *shell_surface =
        xdg_wm_base_get_xdg_surface(client.shell, client.surface);
    xdg_surface_add_listener(shell_surface, &surface_listener, NULL);
    client.toplevel = xdg_surface_get_toplevel(shell_surface);
    xdg_toplevel_add_listener(client.toplevel, &toplevel_listener, NULL);
    if (buffer_width == WIDTH)
        xdg_toplevel_set_fullscreen(client.toplevel, NULL);
    wl_surface_commit(client.surface);
    UNTIL_EVENT(client.configured);
}

/* The buffer of a frame. */
static inline uint32_t
buffer_of(uint64_t frame)
{
    return frame % BUFFERS;
}

/* Waits until KWin is done with a buffer's last use. */
static inline void
wait_for_release(uint32_t buffer)
{
    const struct release *release = &client.releases[buffer];
    OK(umf_fence_wait(release->fence, release->uses, in_ns(100 * SECOND)));
}

/* Commits a frame. Its acquire point has the frame's number. */
static inline void
commit(uint64_t number, uint32_t buffer)
{
    struct release *release = &client.releases[buffer];
    struct frame *frame = &frames[number];
    const uint64_t use = ++release->uses;
    CHECK(number < MAX_FRAMES && frame->outcome == NOT_COMMITTED);

    frame->early = syncobj_query(card, client.acquire_handle, 0) < number;
    frame->outcome = COMMITTED;
    wl_surface_attach(client.surface, release->buffer, 0, 0);
    wl_surface_damage_buffer(client.surface, 0, 0, INT32_MAX, INT32_MAX);
    wp_linux_drm_syncobj_surface_v1_set_acquire_point(client.sync, client.acquire_timeline,
                                                      (uint32_t)(number >> 32), (uint32_t)number);
    wp_linux_drm_syncobj_surface_v1_set_release_point(client.sync, release->timeline,
                                                      (uint32_t)(use >> 32), (uint32_t)use);
    struct wp_presentation_feedback *feedback =
        wp_presentation_feedback(client.presentation, client.surface);
    wp_presentation_feedback_add_listener(feedback, &feedback_listener, frame);
    wl_surface_commit(client.surface);
    CHECK(wl_display_flush(client.display) >= 0);
    OK(umf_loop_import_syncobj(client.loop, release->fence, use, release->syncobj, use, 0, NULL,
                               NULL));
}

/* Commits a frame of the GPU that is not drawn, with an acquire point that does not exist yet. */
static inline struct umf_watch *
commit_early(const struct gpu *gpu, uint64_t number, uint32_t buffer)
{
    struct umf_watch *watch;
    fill(&buffers[buffer], UNDRAWN);
    OK(umf_loop_export_syncobj(client.loop, gpu->fence, number, client.acquire, number, 0, NULL,
                               &watch));
    commit(number, buffer);
    return watch;
}

#endif
