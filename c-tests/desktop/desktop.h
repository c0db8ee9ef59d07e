/* SPDX-License-Identifier: MIT */
/*
 * A test as a Wayland client of examples/compositor: windows of one color, whose buffers are read
 * when a UMF is reached, and the screen, to look at. run starts the compositor and the test in it.
 *
 * That a commit is held is checked without a look at the time. Another window shows a new frame, so
 * the compositor has composited after it got the commit, and the held one is not on the screen.
 */
#ifndef DESKTOP_H
#define DESKTOP_H

#include "check.h"

#include <poll.h>
#include <wayland-client.h>

#include "../../examples/compositor/mirror.h"
#include "umf-sync-v1-client-protocol.h"
#include "viewporter-client-protocol.h"
#include "xdg-shell-client-protocol.h"

#define SIDE 16 /* of a window: run has the compositor make cells of this size */
#define BUFFERS 80

/* A connection. */
struct desktop {
    struct wl_display *display;
    struct wl_registry *registry;
    struct wl_compositor *compositor;
    struct wl_subcompositor *subcompositor;
    struct wl_shm *shm;
    struct xdg_wm_base *shell;
    struct wp_viewporter *viewporter;
    struct umf_sync_manager_v1 *manager;
    uint32_t max_fences, max_pages, max_commits;
};

/* What a dropped event told. */
struct drop {
    struct umf_sync_page_v1 *page;
    uint32_t index, error;
    uint64_t value;
};

/* A window, or a subsurface of one. */
struct window {
    struct desktop *desktop;
    struct wl_surface *surface;
    struct wl_subsurface *subsurface; /* NULL: a window */
    struct xdg_surface *xdg_surface;
    struct xdg_toplevel *toplevel;
    struct umf_sync_surface_v1 *sync;
    bool configured;
    unsigned frames_done; /* frame callbacks */
    unsigned drop_count;
    struct drop drops[BUFFERS];

    uint32_t *pixels; /* of all buffers */
    struct wl_buffer *buffers[BUFFERS];
    unsigned next; /* buffer to be committed */
};

/* A fence as both sides name it. */
struct value {
    struct umf_sync_page_v1 *page;
    struct umf_fence *fence;
    uint64_t value;
};

/* --- The connection -------------------------------------------------------------------------- */

static inline void
on_limits(void *data, struct umf_sync_manager_v1 *manager, uint32_t max_fences, uint32_t max_pages,
          uint32_t max_commits)
{
    struct desktop *desktop = data;
    (void)manager;
    desktop->max_fences = max_fences;
    desktop->max_pages = max_pages;
    desktop->max_commits = max_commits;
}

static const struct umf_sync_manager_v1_listener manager_listener = { on_limits };

static inline void
on_global(void *data, struct wl_registry *registry, uint32_t name, const char *interface,
          uint32_t version)
{
    struct desktop *desktop = data;
    (void)version;
#define BIND(member, type, bound)                                                                  \
    if (strcmp(interface, type##_interface.name) == 0)                                             \
        desktop->member = wl_registry_bind(registry, name, &type##_interface, bound);
    BIND(compositor, wl_compositor, 4)
    BIND(subcompositor, wl_subcompositor, 1)
    BIND(shm, wl_shm, 1)
    BIND(shell, xdg_wm_base, 1)
    BIND(viewporter, wp_viewporter, 1)
    BIND(manager, umf_sync_manager_v1, 1)
#undef BIND
}

static inline void
on_global_remove(void *data, struct wl_registry *registry, uint32_t name)
{
    (void)data, (void)registry, (void)name;
}

static const struct wl_registry_listener registry_listener = { on_global, on_global_remove };

/* The compositor has done all that was requested. */
static inline void
roundtrip(struct desktop *desktop)
{
    CHECK(wl_display_roundtrip(desktop->display) >= 0);
}

static inline void
connect_desktop(struct desktop *desktop)
{
    memset(desktop, 0, sizeof(*desktop));
    desktop->display = wl_display_connect(NULL);
    CHECK(desktop->display);
    desktop->registry = wl_display_get_registry(desktop->display);
    wl_registry_add_listener(desktop->registry, &registry_listener, desktop);
    roundtrip(desktop);
    CHECK(desktop->compositor && desktop->subcompositor && desktop->shm && desktop->shell);
    CHECK(desktop->viewporter && desktop->manager);
    umf_sync_manager_v1_add_listener(desktop->manager, &manager_listener, desktop);
    roundtrip(desktop);
    CHECK(desktop->max_fences && desktop->max_pages && desktop->max_commits);
}

/* As a client that dies: nothing is destroyed before. */
static inline void
disconnect_desktop(struct desktop *desktop)
{
    wl_display_disconnect(desktop->display);
}

/* The protocol error that the connection ended with. */
static inline uint32_t
protocol_error(struct desktop *desktop, const struct wl_interface *of)
{
    const struct wl_interface *interface = NULL;
    uint32_t id, code;
    CHECK(wl_display_roundtrip(desktop->display) < 0);
    CHECK(wl_display_get_error(desktop->display) == EPROTO);
    code = wl_display_get_protocol_error(desktop->display, &interface, &id);
    CHECK(interface == of);
    return code;
}

static inline struct umf_sync_page_v1 *
share_page(struct desktop *desktop, struct umf_page *page)
{
    int fd;
    struct umf_sync_page_v1 *shared;
    OK(umf_page_export(page, 0, &fd));
    shared = umf_sync_manager_v1_import_page(desktop->manager, fd);
    close(fd);
    return shared;
}

/* --- The screen ------------------------------------------------------------------------------ */

static inline const struct mirror *
screen(void)
{
    static const struct mirror *mirror;
    struct stat status;
    if (mirror)
        return mirror;
    int fd = open(getenv("UMF_TEST_MIRROR"), O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0 && fstat(fd, &status) == 0);
    void *mapping = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_SHARED, fd, 0);
    CHECK(mapping != MAP_FAILED);
    close(fd);
    mirror = mapping;
    return mirror;
}

/* How many pixels of the last composited frame have a color. */
static inline unsigned
pixels_of(uint32_t color)
{
    const struct mirror *mirror = screen();
    unsigned count;
    uint32_t before;
    do {
        while ((before = atomic_load(&mirror->sequence)) & 1)
            sched_yield();
        count = 0;
        for (size_t i = 0; i < (size_t)mirror->width * mirror->height; i++)
            count += (mirror->pixels[i] & 0xffffff) == color;
    } while (atomic_load(&mirror->sequence) != before);
    return count;
}

/* Whether a window of that color is on the screen, as a whole. */
static inline bool
is_shown(uint32_t color)
{
    unsigned count = pixels_of(color);
    CHECK(count == 0 || count == SIDE * SIDE);
    return count > 0;
}

/* Gets events until the compositor shows a color. */
static inline void
until_shown(struct desktop *desktop, uint32_t color)
{
    uint64_t deadline = in_ns(20 * SECOND);
    while (!is_shown(color)) {
        if (now_ns() > deadline) {
            fprintf(stderr, "%06x is not shown\n", color);
            exit(1);
        }
        roundtrip(desktop);
    }
}

/* --- Windows --------------------------------------------------------------------------------- */

static inline void
on_xdg_configure(void *data, struct xdg_surface *xdg_surface, uint32_t serial)
{
    struct window *window = data;
    xdg_surface_ack_configure(xdg_surface, serial);
    window->configured = true;
}

static const struct xdg_surface_listener xdg_surface_listener = { on_xdg_configure };

static inline void
on_dropped(void *data, struct umf_sync_surface_v1 *sync, struct umf_sync_page_v1 *page,
           uint32_t index, uint32_t value_hi, uint32_t value_lo, uint32_t error)
{
    struct window *window = data;
    (void)sync;
    CHECK(window->drop_count < BUFFERS);
    window->drops[window->drop_count++] = (struct drop){
        page, index, error, (uint64_t)value_hi << 32 | value_lo,
    };
}

static const struct umf_sync_surface_v1_listener sync_listener = { on_dropped };

/* The buffers' pixels are shared, so that another process can draw. */
static inline void
make_buffers(struct window *window, int width, int height)
{
    size_t one = (size_t)width * (size_t)height * 4;
    int fd = memfd_create("buffers", MFD_CLOEXEC);
    CHECK(fd >= 0 && ftruncate(fd, (off_t)(one * BUFFERS)) == 0);
    window->pixels = mmap(NULL, one * BUFFERS, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(window->pixels != MAP_FAILED);
    struct wl_shm_pool *pool =
        wl_shm_create_pool(window->desktop->shm, fd, (int32_t)(one * BUFFERS));
    for (unsigned i = 0; i < BUFFERS; i++)
        window->buffers[i] = wl_shm_pool_create_buffer(pool, (int32_t)(one * i), width, height,
                                                       width * 4, WL_SHM_FORMAT_XRGB8888);
    wl_shm_pool_destroy(pool);
    close(fd);
}

static inline void
open_surface(struct desktop *desktop, struct window *window)
{
    memset(window, 0, sizeof(*window));
    window->desktop = desktop;
    window->surface = wl_compositor_create_surface(desktop->compositor);
    window->sync = umf_sync_manager_v1_get_surface(desktop->manager, window->surface);
    umf_sync_surface_v1_add_listener(window->sync, &sync_listener, window);
    make_buffers(window, SIDE, SIDE);
}

static inline void
open_window(struct desktop *desktop, struct window *window)
{
    open_surface(desktop, window);
    window->xdg_surface = xdg_wm_base_get_xdg_surface(desktop->shell, window->surface);
    xdg_surface_add_listener(window->xdg_surface, &xdg_surface_listener, window);
    window->toplevel = xdg_surface_get_toplevel(window->xdg_surface);
    wl_surface_commit(window->surface);
    while (!window->configured)
        CHECK(wl_display_dispatch(desktop->display) >= 0);
}

static inline void
open_subsurface(struct window *parent, struct window *window, int x)
{
    open_surface(parent->desktop, window);
    window->subsurface = wl_subcompositor_get_subsurface(parent->desktop->subcompositor,
                                                         window->surface, parent->surface);
    wl_subsurface_set_position(window->subsurface, x, 0);
}

static inline void
close_window(struct window *window)
{
    if (window->toplevel) {
        xdg_toplevel_destroy(window->toplevel);
        xdg_surface_destroy(window->xdg_surface);
    }
    if (window->subsurface)
        wl_subsurface_destroy(window->subsurface);
    umf_sync_surface_v1_destroy(window->sync);
    wl_surface_destroy(window->surface);
    for (unsigned i = 0; i < BUFFERS; i++)
        wl_buffer_destroy(window->buffers[i]);
    munmap(window->pixels, (size_t)SIDE * SIDE * 4 * BUFFERS);
}

static inline void
fill(uint32_t *pixels, uint32_t color)
{
    for (unsigned i = 0; i < SIDE * SIDE; i++)
        pixels[i] = color;
}

static inline void
set_acquire(struct window *window, struct value at)
{
    umf_sync_surface_v1_set_acquire(window->sync, at.page, umf_fence_index(at.fence),
                                    (uint32_t)(at.value >> 32), (uint32_t)at.value);
}

static inline void
set_release(struct window *window, struct value at)
{
    umf_sync_surface_v1_set_release(window->sync, at.page, umf_fence_index(at.fence),
                                    (uint32_t)(at.value >> 32), (uint32_t)at.value);
}

/* Attaches the next buffer. Returns its pixels. */
static inline uint32_t *
attach(struct window *window)
{
    unsigned buffer = window->next++ % BUFFERS;
    wl_surface_attach(window->surface, window->buffers[buffer], 0, 0);
    wl_surface_damage_buffer(window->surface, 0, 0, INT32_MAX, INT32_MAX);
    return window->pixels + (size_t)buffer * SIDE * SIDE;
}

/* Commits a frame of one color that is ready. */
static inline void
show(struct window *window, uint32_t color)
{
    fill(attach(window), color);
    wl_surface_commit(window->surface);
}

/* The color of what nobody may see: that of a buffer whose UMF is not reached. */
#define HALF_DRAWN 0xff00ff

/* Commits a frame that is not drawn yet, and returns where to draw it. */
static inline uint32_t *
show_later(struct window *window, struct value acquire)
{
    uint32_t *pixels = attach(window);
    fill(pixels, HALF_DRAWN);
    set_acquire(window, acquire);
    wl_surface_commit(window->surface);
    return pixels;
}

/* Draws a frame that was committed, and says so. */
static inline void
complete(uint32_t *pixels, uint32_t color, struct value acquire)
{
    fill(pixels, color);
    OK(umf_fence_signal(acquire.fence, acquire.value));
}

/* The color of the last new frame. Processes whose windows are open together have colors of their
 * own. */
static uint32_t composited = 0x000100;

/* Has another window show a new frame: what was committed before and is not on the screen then, the
 * compositor holds. */
static inline void
show_new_frame(struct window *other)
{
    composited++;
    roundtrip(other->desktop);
    show(other, composited);
    until_shown(other->desktop, composited);
}

/* The same, where no client shows what is not complete. */
static inline void
composite(struct window *other)
{
    show_new_frame(other);
    CHECK(pixels_of(HALF_DRAWN) == 0);
}

/* Waits until the client was told of so many dropped commits. */
static inline void
until_dropped(struct window *window, unsigned count)
{
    uint64_t deadline = in_ns(20 * SECOND);
    while (window->drop_count < count) {
        CHECK(now_ns() < deadline);
        roundtrip(window->desktop);
    }
    CHECK(window->drop_count == count);
}

#endif
