// SPDX-License-Identifier: MIT
/*
 * umf-sync-v1 with random, valid requests: buffers of several sizes with viewports, scales and
 * transforms, subsurfaces that are synchronized or not, commits without a buffer, objects that are
 * destroyed and made again, fences that are signaled, failed or forgotten in any order. Whatever
 * happens, no buffer whose fence was not reached is on the screen, every buffer is released, and
 * the compositor lives.
 *
 *     umf_sync_random [STEPS [SEED]]
 */
#include "scene.h"

enum { WINDOWS = 3, SURFACES = 6, SLOTS = 24, LARGEST = 64, PIXELS = LARGEST * LARGEST };

/* A buffer with the fence that completes it and the fence that releases it. */
struct slot {
    struct wl_buffer *buffer;
    uint32_t *pixels;
    int side;
    struct value acquire, release;
    bool in_use, decided; /* committed; its fence was signaled or failed */
};

struct actor {
    struct window window;
    struct wp_viewport *viewport;
    struct slot slots[SLOTS];
    unsigned held; /* commits since all fences were decided */
    bool exists;
};

static struct actor actors[SURFACES];
static uint64_t seed = 1;

static unsigned
below(unsigned limit)
{
    return (unsigned)((random_word(&seed) >> 16) % limit);
}

static void
make_slots(struct actor *actor)
{
    size_t size = sizeof(uint32_t) * PIXELS * SLOTS;
    int fd = memfd_create("slots", MFD_CLOEXEC);
    CHECK(fd >= 0 && ftruncate(fd, (off_t)size) == 0);
    uint32_t *pixels = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(pixels != MAP_FAILED);
    struct wl_shm_pool *pool = wl_shm_create_pool(desktop.shm, fd, (int32_t)size);
    for (unsigned i = 0; i < SLOTS; i++) {
        struct slot *slot = &actor->slots[i];
        slot->side = 8 << i % 4;
        slot->pixels = pixels + (size_t)i * PIXELS;
        slot->buffer =
            wl_shm_pool_create_buffer(pool, (int32_t)(i * PIXELS * sizeof(uint32_t)), slot->side,
                                      slot->side, slot->side * 4, WL_SHM_FORMAT_XRGB8888);
        OK(umf_fence_create(page, 0, 0, &slot->acquire.fence));
        OK(umf_fence_create(page, 0, 0, &slot->release.fence));
    }
    wl_shm_pool_destroy(pool);
    close(fd);
}

static void
open_actor(struct actor *actor)
{
    unsigned number = (unsigned)(actor - actors);
    if (number < WINDOWS)
        open_window(&desktop, &actor->window);
    else if (actors[number - WINDOWS].exists)
        open_subsurface(&actors[number - WINDOWS].window, &actor->window, 4 * SIDE);
    else
        return;
    actor->viewport = wp_viewporter_get_viewport(desktop.viewporter, actor->window.surface);
    actor->exists = true;
    actor->held = 0;
}

/* A parent takes its subsurface with it. */
static void
close_actor(struct actor *actor)
{
    if (!actor->exists)
        return;
    if (actor < actors + WINDOWS)
        close_actor(actor + WINDOWS);
    wp_viewport_destroy(actor->viewport);
    close_window(&actor->window);
    actor->exists = false;
}

static bool
is_released(struct slot *slot)
{
    return umf_fence_value(slot->release.fence) >= slot->release.value;
}

/* The fence of a buffer that is in use is signaled or fails. */
static void
decide(struct slot *slot, bool succeeds)
{
    if (!slot->in_use || slot->decided)
        return;
    slot->decided = true;
    if (succeeds) {
        for (int i = 0; i < slot->side * slot->side; i++)
            slot->pixels[i] = 0x00aa00;
        OK(umf_fence_signal(slot->acquire.fence, slot->acquire.value));
        return;
    }
    /* A fence that failed stays so: the next commit gets another, maybe at the same index. */
    roundtrip(&desktop);
    OK(umf_fence_set_error(slot->acquire.fence, -EIO));
    umf_fence_unref(slot->acquire.fence);
    OK(umf_fence_create(page, slot->acquire.value, 0, &slot->acquire.fence));
}

/* What depends on the buffer's size is set with each buffer, so that it is valid. */
static void
set_geometry(struct actor *actor, int side)
{
    struct wl_surface *surface = actor->window.surface;
    int scale = 1 + (int)below(2), size = side / scale;
    wl_surface_set_buffer_scale(surface, scale);
    wl_surface_set_buffer_transform(surface, (int32_t)below(8));
    wl_fixed_t none = wl_fixed_from_int(-1);
    if (below(2)) {
        int x = (int)below((unsigned)size), y = (int)below((unsigned)size);
        wp_viewport_set_source(actor->viewport, wl_fixed_from_int(x), wl_fixed_from_int(y),
                               wl_fixed_from_int(size - x), wl_fixed_from_int(size - y));
    } else {
        wp_viewport_set_source(actor->viewport, none, none, none, none);
    }
    if (below(2))
        wp_viewport_set_destination(actor->viewport, 1 + (int)below(SIDE), 1 + (int)below(SIDE));
    else
        wp_viewport_set_destination(actor->viewport, -1, -1);
}

static void
commit_buffer(struct actor *actor)
{
    struct slot *slot = &actor->slots[below(SLOTS)];
    if (slot->in_use && !(slot->decided && is_released(slot)))
        return;
    slot->in_use = true;
    slot->decided = false;
    slot->acquire.page = slot->release.page = shared;
    slot->acquire.value++;
    slot->release.value++;
    for (int i = 0; i < slot->side * slot->side; i++)
        slot->pixels[i] = HALF_DRAWN;
    wl_surface_attach(actor->window.surface, slot->buffer, 0, 0);
    wl_surface_damage_buffer(actor->window.surface, 0, 0, (int)below(LARGEST), (int)below(LARGEST));
    set_geometry(actor, slot->side);
    set_acquire(&actor->window, slot->acquire);
    set_release(&actor->window, slot->release);
    wl_surface_commit(actor->window.surface);
    if (below(3) == 0)
        decide(slot, true);
}

static void
act(struct actor *actor)
{
    struct window *window = &actor->window;
    if (!actor->exists) {
        open_actor(actor);
        return;
    }
    unsigned what = below(64);
    if (what < 24 && actor->held < desktop.max_commits) {
        actor->held++;
        commit_buffer(actor);
    } else if (what < 30 && actor->held < desktop.max_commits) {
        actor->held++;
        wl_surface_commit(window->surface);
    } else if (what < 42) {
        decide(&actor->slots[below(SLOTS)], true);
    } else if (what < 52) {
        decide(&actor->slots[below(SLOTS)], false);
    } else if (what < 53) {
        umf_sync_surface_v1_destroy(window->sync);
        window->sync = umf_sync_manager_v1_get_surface(desktop.manager, window->surface);
        umf_sync_surface_v1_add_listener(window->sync, &sync_listener, window);
    } else if (what < 54) {
        umf_sync_page_v1_destroy(shared);
        shared = share_page(&desktop, page);
    } else if (what < 58 && window->subsurface) {
        wl_subsurface_set_sync(window->subsurface);
    } else if (what < 62 && window->subsurface) {
        wl_subsurface_set_desync(window->subsurface);
    } else if (below(16) == 0) {
        close_actor(actor);
    }
    window->drop_count = 0;
    if (actor->held >= desktop.max_commits) /* no frame comes that would take them over */
        close_actor(actor);
}

/* Decides all fences, and shows one buffer more in each window, which ends what was dropped. */
static void
settle(void)
{
    for (unsigned i = 0; i < SURFACES; i++) {
        for (unsigned k = 0; k < SLOTS; k++)
            decide(&actors[i].slots[k], below(4) > 0);
        actors[i].window.drop_count = 0;
    }
    composite(&other);
}

int
main(int argc, char **argv)
{
    unsigned steps = argc > 1 ? (unsigned)atoi(argv[1]) : 3000;
    if (argc > 2)
        seed = strtoull(argv[2], NULL, 0);
    open_scene(2 * SURFACES * SLOTS + 16);
    for (unsigned i = 0; i < SURFACES; i++)
        make_slots(&actors[i]);

    for (unsigned step = 0; step < steps; step++) {
        act(&actors[below(SURFACES)]);
        if (step % 16 == 0)
            composite(&other);
        if (step % 256 == 0)
            settle();
    }
    for (unsigned i = 0; i < SURFACES; i++)
        close_actor(&actors[i]);
    roundtrip(&desktop);
    for (unsigned i = 0; i < SURFACES; i++) {
        for (unsigned k = 0; k < SLOTS; k++) {
            struct slot *slot = &actors[i].slots[k];
            OK(umf_fence_wait(slot->release.fence, slot->release.value, in_ns(20 * SECOND)));
            umf_fence_unref(slot->acquire.fence);
            umf_fence_unref(slot->release.fence);
        }
    }
    composite(&other);
    close_scene();
    return 0;
}
