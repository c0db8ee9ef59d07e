// SPDX-License-Identifier: MIT
/*
 * umf-sync-v1: a commit is held until its acquire value is reached, and then it is composited; a
 * release value is signaled when the buffer is no longer used, however that came about.
 */
#include "scene.h"

static struct value
next(struct value at)
{
    at.value++;
    return at;
}

static bool
is_reached(struct value at)
{
    return umf_fence_value(at.fence) >= at.value;
}

static void
a_commit_is_held_until_its_value_is_reached(void)
{
    struct window window;
    struct value acquire = new_value();
    open_window(&desktop, &window);
    show(&window, 0x110000);
    until_shown(&desktop, 0x110000);

    uint32_t *pixels = show_later(&window, acquire);
    composite(&other);
    CHECK(is_shown(0x110000));
    complete(pixels, 0x110001, acquire);
    until_shown(&desktop, 0x110001);
    CHECK(!is_shown(0x110000));

    close_window(&window);
    umf_fence_unref(acquire.fence);
}

/* The first commit with a buffer maps the window. It does so when it is applied. */
static void
a_window_appears_with_its_first_value(void)
{
    struct window window;
    struct value acquire = new_value();
    open_window(&desktop, &window);
    uint32_t *pixels = show_later(&window, acquire);
    composite(&other);
    complete(pixels, 0x120000, acquire);
    until_shown(&desktop, 0x120000);
    close_window(&window);
    umf_fence_unref(acquire.fence);
}

static void
a_value_that_is_reached_holds_nothing(void)
{
    struct window window;
    struct value acquire = new_value();
    OK(umf_fence_signal(acquire.fence, 5));
    open_window(&desktop, &window);
    set_acquire(&window, acquire);
    show(&window, 0x130000);
    until_shown(&desktop, 0x130000);
    close_window(&window);
    umf_fence_unref(acquire.fence);
}

/* Frames in flight, on one fence: each is shown when it is complete. With none in flight, the
 * client waits and then commits. */
static void
frames_in_flight_are_shown_one_by_one(unsigned in_flight)
{
    enum { FRAMES = 12 };
    const uint32_t color = 0x140000 + 0x100 * in_flight;
    struct window window;
    struct value at = new_value();
    uint32_t *pixels[FRAMES];
    open_window(&desktop, &window);
    show(&window, color);
    until_shown(&desktop, color);
    for (unsigned done = 0, begun = 0; done < FRAMES; done++) {
        at.value = done + 1;
        if (in_flight == 0) {
            fill(attach(&window), color + done + 1);
            OK(umf_fence_signal(at.fence, at.value));
            wl_surface_commit(window.surface);
        }
        for (; in_flight > 0 && begun < FRAMES && begun < done + in_flight; begun++)
            pixels[begun] = show_later(&window, (struct value){ shared, at.fence, begun + 1 });
        if (in_flight > 0) {
            composite(&other);
            CHECK(is_shown(color + done));
            complete(pixels[done], color + done + 1, at);
        }
        until_shown(&desktop, color + done + 1);
    }
    close_window(&window);
    umf_fence_unref(at.fence);
}

/* Content updates are applied in their order: one that is complete waits for those before it. */
static void
commits_are_applied_in_their_order(void)
{
    struct window window;
    struct value first = new_value(), second = new_value();
    open_window(&desktop, &window);
    show(&window, 0x150000);
    until_shown(&desktop, 0x150000);
    uint32_t *one = show_later(&window, first), *two = show_later(&window, second);
    show(&window, 0x150003); /* without a value: it waits for those, too */
    complete(two, 0x150002, second);
    composite(&other);
    CHECK(is_shown(0x150000));
    complete(one, 0x150001, first);
    until_shown(&desktop, 0x150003);
    close_window(&window);
    umf_fence_unref(first.fence);
    umf_fence_unref(second.fence);
}

static void
values_have_64_bits(void)
{
    struct window window;
    struct value acquire = new_value(), release = new_value();
    acquire.value = UINT64_C(0x100000002);
    release.value = UINT64_C(0x500000000);
    OK(umf_fence_signal(acquire.fence, 0xffffffff));
    open_window(&desktop, &window);
    set_release(&window, release);
    uint32_t *pixels = show_later(&window, acquire);
    composite(&other);
    OK(umf_fence_signal(acquire.fence, UINT64_C(0x100000001)));
    composite(&other);
    complete(pixels, 0x160000, acquire);
    until_shown(&desktop, 0x160000);
    show(&window, 0x160001);
    until_reached(release);
    CHECK(umf_fence_value(release.fence) == release.value);
    close_window(&window);
    umf_fence_unref(acquire.fence);
    umf_fence_unref(release.fence);
}

static void
a_buffer_is_released_when_it_is_replaced(void)
{
    struct window window;
    struct value acquire = new_value(), release = new_value();
    open_window(&desktop, &window);
    set_release(&window, release);
    show(&window, 0x170000);
    until_shown(&desktop, 0x170000);
    uint32_t *pixels = show_later(&window, acquire);
    composite(&other);
    CHECK(!is_reached(release)); /* the next one is held */
    complete(pixels, 0x170001, acquire);
    until_shown(&desktop, 0x170001);
    until_reached(release);
    close_window(&window);
    umf_fence_unref(acquire.fence);
    umf_fence_unref(release.fence);
}

static void
a_buffer_is_released_when_none_is_attached(void)
{
    struct window window;
    struct value release = new_value();
    open_window(&desktop, &window);
    set_release(&window, release);
    show(&window, 0x1f0000);
    until_shown(&desktop, 0x1f0000);
    CHECK(!is_reached(release));
    wl_surface_attach(window.surface, NULL, 0, 0);
    wl_surface_commit(window.surface);
    until_reached(release);
    close_window(&window);
    umf_fence_unref(release.fence);
}

static void
a_superseded_buffer_is_released(void)
{
    struct window window;
    struct value acquire = new_value(), released[2] = { new_value(), new_value() };
    open_window(&desktop, &window);
    show(&window, 0x180000);
    for (int i = 0; i < 2; i++) {
        set_release(&window, released[i]);
        show_later(&window, acquire);
    }
    composite(&other);
    CHECK(is_shown(0x180000));
    CHECK(!is_reached(released[0]));
    fill(window.pixels + (size_t)2 * SIDE * SIDE, 0x180002);
    OK(umf_fence_signal(acquire.fence, acquire.value)); /* both at once */
    until_shown(&desktop, 0x180002);
    until_reached(released[0]);
    CHECK(!is_reached(released[1]));
    close_window(&window);
    until_reached(released[1]);
    umf_fence_unref(acquire.fence);
    umf_fence_unref(released[0].fence);
    umf_fence_unref(released[1].fence);
}

/* One buffer in two commits: both values are signaled when the compositor uses it no more. */
static void
a_buffer_that_is_used_twice_is_released_once_for_each(void)
{
    struct window window;
    struct value first = new_value(), second = new_value();
    open_window(&desktop, &window);
    set_release(&window, first);
    show(&window, 0x190000);
    window.next = 0;
    set_release(&window, second);
    show(&window, 0x190000);
    composite(&other);
    CHECK(is_shown(0x190000));
    CHECK(!is_reached(first) && !is_reached(second));
    show(&window, 0x190001);
    until_reached(first);
    until_reached(second);
    close_window(&window);
    umf_fence_unref(first.fence);
    umf_fence_unref(second.fence);
}

/* Of a surface that goes away, all buffers are released: the one that is shown, and those held. */
static void
a_surface_that_ends_releases_its_buffers(void)
{
    struct window window;
    struct value acquire = new_value(), released[3];
    open_window(&desktop, &window);
    for (int i = 0; i < 3; i++) {
        released[i] = new_value();
        set_release(&window, released[i]);
        if (i == 0) {
            show(&window, 0x1a0000);
            until_shown(&desktop, 0x1a0000);
        } else {
            show_later(&window, acquire);
        }
    }
    composite(&other);
    for (int i = 0; i < 3; i++)
        CHECK(!is_reached(released[i]));
    close_window(&window);
    for (int i = 0; i < 3; i++) {
        until_reached(released[i]);
        umf_fence_unref(released[i].fence);
    }
    composite(&other);
    umf_fence_unref(acquire.fence);
}

static void
a_client_that_ends_releases_its_buffers(void)
{
    struct desktop own;
    struct window window;
    struct value acquire = new_value(), release = new_value();
    connect_desktop(&own);
    struct umf_sync_page_v1 *its_page = share_page(&own, page);
    acquire.page = release.page = its_page;
    open_window(&own, &window);
    set_release(&window, release);
    show_later(&window, acquire);
    roundtrip(&own);
    CHECK(!is_reached(release));
    disconnect_desktop(&own);
    until_reached(release);
    OK(umf_fence_signal(acquire.fence, acquire.value)); /* nobody waits any more */
    composite(&other);
    umf_fence_unref(acquire.fence);
    umf_fence_unref(release.fence);
}

/* What was committed stays as it is, what was only set is forgotten. */
static void
objects_can_be_destroyed_while_a_commit_is_held(void)
{
    struct window window;
    struct value acquire = new_value(), release = new_value(), forgotten = new_value();
    struct umf_sync_page_v1 *second = share_page(&desktop, page);
    acquire.page = release.page = forgotten.page = second;
    open_window(&desktop, &window);
    set_release(&window, release);
    uint32_t *pixels = show_later(&window, acquire);
    set_acquire(&window, next(acquire));
    set_release(&window, forgotten);
    umf_sync_surface_v1_destroy(window.sync);
    umf_sync_page_v1_destroy(second);
    composite(&other);
    complete(pixels, 0x1c0000, acquire);
    until_shown(&desktop, 0x1c0000);
    window.sync = umf_sync_manager_v1_get_surface(desktop.manager, window.surface);
    show(&window, 0x1c0001);
    until_reached(release);
    show(&window, 0x1c0002);
    until_shown(&desktop, 0x1c0002);
    CHECK(!is_reached(forgotten));
    close_window(&window);
    umf_fence_unref(acquire.fence);
    umf_fence_unref(release.fence);
    umf_fence_unref(forgotten.fence);
}

/* A synchronized subsurface is shown with its parent, and after its own value. */
static void
a_subsurface_is_held_for_its_parent_and_its_value(void)
{
    struct window parent, child;
    struct value acquire = new_value();
    open_window(&desktop, &parent);
    open_subsurface(&parent, &child, 4 * SIDE);
    show(&parent, 0x1d0000);
    until_shown(&desktop, 0x1d0000);

    uint32_t *pixels = show_later(&child, acquire);
    complete(pixels, 0x1d0001, acquire);
    composite(&other);
    CHECK(!is_shown(0x1d0001)); /* the parent has not committed */
    show(&parent, 0x1d0002);
    until_shown(&desktop, 0x1d0001);

    pixels = show_later(&child, next(acquire));
    show(&parent, 0x1d0003);
    composite(&other);
    CHECK(is_shown(0x1d0001)); /* the parent has, and the value is not reached */
    complete(pixels, 0x1d0004, next(acquire));
    until_shown(&desktop, 0x1d0004);

    close_window(&child);
    close_window(&parent);
    umf_fence_unref(acquire.fence);
}

/* A consumer that cannot write to the page waits there all the same. */
static void
a_page_may_be_sealed_against_the_compositor(void)
{
    struct umf_page *sealed;
    struct window window;
    struct value acquire = { .value = 1 };
    OK(umf_page_create(4, UMF_PAGE_SINGLE_WRITER, &sealed));
    OK(umf_fence_create(sealed, 0, 0, &acquire.fence));
    acquire.page = share_page(&desktop, sealed);
    open_window(&desktop, &window);
    uint32_t *pixels = show_later(&window, acquire);
    composite(&other);
    complete(pixels, 0x1e0000, acquire);
    until_shown(&desktop, 0x1e0000);
    close_window(&window);
    umf_sync_page_v1_destroy(acquire.page);
    umf_fence_unref(acquire.fence);
    umf_page_unref(sealed);
}

int
main(void)
{
    open_scene(64);

    a_commit_is_held_until_its_value_is_reached();
    a_window_appears_with_its_first_value();
    a_value_that_is_reached_holds_nothing();
    for (unsigned in_flight = 0; in_flight <= 3; in_flight++)
        frames_in_flight_are_shown_one_by_one(in_flight);
    commits_are_applied_in_their_order();
    values_have_64_bits();
    a_buffer_is_released_when_it_is_replaced();
    a_buffer_is_released_when_none_is_attached();
    a_superseded_buffer_is_released();
    a_buffer_that_is_used_twice_is_released_once_for_each();
    a_surface_that_ends_releases_its_buffers();
    a_client_that_ends_releases_its_buffers();
    objects_can_be_destroyed_while_a_commit_is_held();
    a_subsurface_is_held_for_its_parent_and_its_value();
    a_page_may_be_sealed_against_the_compositor();

    close_scene();
    return 0;
}
