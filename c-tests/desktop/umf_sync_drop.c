// SPDX-License-Identifier: MIT
/*
 * umf-sync-v1: what becomes of a commit whose fence fails. Its buffer is dropped and released, its
 * client is told, the surface keeps what it shows, and the next frame is shown. The same when the
 * process that should have signaled was killed: exactly its unfinished frames are dropped.
 */
#include "process.h"
#include "scene.h"

static void
is_drop_of(const struct drop *drop, struct value at, int error)
{
    CHECK(drop->page == at.page);
    CHECK(drop->index == umf_fence_index(at.fence));
    CHECK(drop->value == at.value);
    CHECK(drop->error == (uint32_t)error);
}

static void
a_failed_frame_is_dropped(void)
{
    struct window window;
    struct value acquire = new_value(), release = new_value();
    open_window(&desktop, &window);
    show(&window, 0x210000);
    until_shown(&desktop, 0x210000);
    set_release(&window, release);
    show_later(&window, acquire);
    composite(&other);
    CHECK(window.drop_count == 0);
    OK(umf_fence_set_error(acquire.fence, -EIO));
    until_dropped(&window, 1);
    is_drop_of(&window.drops[0], acquire, EIO);
    until_reached(release);
    composite(&other);
    CHECK(is_shown(0x210000));
    show(&window, 0x210001);
    until_shown(&desktop, 0x210001);
    close_window(&window);
    umf_fence_unref(acquire.fence);
    umf_fence_unref(release.fence);
}

/* Each reason has its number, whether the fence failed before the commit or after. */
static void
the_client_is_told_why(void)
{
    struct window window;
    struct value at[6];
    static const int reasons[ARRAY_SIZE(at)] = { EIO, EOWNERDEAD, ESTALE, ENOENT, EINVAL, EIO };
    open_window(&desktop, &window);
    show(&window, 0x220000);
    for (unsigned i = 0; i < ARRAY_SIZE(at); i++)
        at[i] = new_value();
    OK(umf_fence_set_error(at[0].fence, -ENODEV));
    OK(umf_fence_set_error(at[1].fence, -EOWNERDEAD));
    uint32_t index_of_gone = umf_fence_index(at[3].fence);
    umf_fence_unref(at[3].fence);
    umf_fence_unref(at[4].fence);
    OK(umf_fence_create(page, 0, UMF_FENCE_32BIT, &at[4].fence));
    at[4].value = UINT64_C(1) << 32; /* more than it can have */
    for (unsigned i = 0; i < ARRAY_SIZE(at); i++) {
        if (i != 3) {
            show_later(&window, at[i]);
            continue;
        }
        fill(attach(&window), HALF_DRAWN);
        umf_sync_surface_v1_set_acquire(window.sync, shared, index_of_gone, 0, 1);
        wl_surface_commit(window.surface);
    }
    composite(&other);
    umf_fence_unref(at[2].fence); /* it ends */
    OK(umf_fence_set_error(at[5].fence, -ECANCELED));
    until_dropped(&window, ARRAY_SIZE(at));
    bool told[ARRAY_SIZE(at)] = { false };
    for (unsigned i = 0; i < ARRAY_SIZE(at); i++) {
        unsigned which = 0;
        while (told[which] || window.drops[i].error != (uint32_t)reasons[which])
            CHECK(++which < ARRAY_SIZE(at));
        told[which] = true;
    }
    composite(&other);
    CHECK(is_shown(0x220000));
    close_window(&window);
    umf_fence_unref(at[0].fence);
    umf_fence_unref(at[1].fence);
    umf_fence_unref(at[4].fence);
    umf_fence_unref(at[5].fence);
}

/* Of three in flight, the second fails: the first and the third are shown. */
static void
other_frames_are_shown(void)
{
    struct window window;
    struct value at[3];
    uint32_t *pixels[3];
    open_window(&desktop, &window);
    show(&window, 0x230000);
    until_shown(&desktop, 0x230000);
    for (int i = 0; i < 3; i++) {
        at[i] = new_value();
        pixels[i] = show_later(&window, at[i]);
    }
    OK(umf_fence_set_error(at[1].fence, -EIO));
    until_dropped(&window, 1);
    composite(&other);
    CHECK(is_shown(0x230000));
    complete(pixels[0], 0x230001, at[0]);
    until_shown(&desktop, 0x230001);
    composite(&other);
    complete(pixels[2], 0x230003, at[2]);
    until_shown(&desktop, 0x230003);
    CHECK(window.drop_count == 1);
    close_window(&window);
    for (int i = 0; i < 3; i++)
        umf_fence_unref(at[i].fence);
}

/* What the dropped frame damaged is drawn with the next one, which need not name it. */
static void
the_next_frame_is_drawn_as_a_whole(void)
{
    struct window window;
    struct value acquire = new_value();
    open_window(&desktop, &window);
    show(&window, 0x2d0000);
    until_shown(&desktop, 0x2d0000);
    show_later(&window, acquire);
    OK(umf_fence_set_error(acquire.fence, -EIO));
    until_dropped(&window, 1);
    unsigned buffer = window.next++;
    fill(window.pixels + (size_t)buffer * SIDE * SIDE, 0x2d0001);
    wl_surface_attach(window.surface, window.buffers[buffer], 0, 0);
    wl_surface_damage_buffer(window.surface, 0, 0, 1, 1);
    wl_surface_commit(window.surface);
    composite(&other);
    CHECK(is_shown(0x2d0001));
    close_window(&window);
    umf_fence_unref(acquire.fence);
}

static void
on_frame(void *data, struct wl_callback *callback, uint32_t time)
{
    (void)time;
    ++*(unsigned *)data;
    wl_callback_destroy(callback);
}

static const struct wl_callback_listener frame_listener = { on_frame };

/* What else is in a dropped commit, and commits behind it without a buffer. */
static void
the_rest_of_a_dropped_commit_comes_with_the_next_frame(void)
{
    struct window window;
    struct value acquire = new_value();
    unsigned called = 0;
    open_window(&desktop, &window);
    show(&window, 0x240000);
    until_shown(&desktop, 0x240000);
    wl_callback_add_listener(wl_surface_frame(window.surface), &frame_listener, &called);
    show_later(&window, acquire);
    wl_callback_add_listener(wl_surface_frame(window.surface), &frame_listener, &called);
    wl_surface_commit(window.surface);
    OK(umf_fence_set_error(acquire.fence, -EIO));
    until_dropped(&window, 1);
    composite(&other);
    CHECK(called == 0 && is_shown(0x240000));
    show(&window, 0x240001);
    until_shown(&desktop, 0x240001);
    while (called < 2)
        CHECK(wl_display_dispatch(desktop.display) >= 0);
    close_window(&window);
    umf_fence_unref(acquire.fence);
}

static void
attach_large(struct window *window, struct wl_buffer *buffer)
{
    wl_surface_attach(window->surface, buffer, 0, 0);
    wl_surface_damage_buffer(window->surface, 0, 0, 4 * SIDE, 4 * SIDE);
}

/* A buffer of another size, and a source rectangle in it. What is drawn must fit the buffer that is
 * still shown: wlroots aborts otherwise. The rectangle is in force for the next large buffer,
 * whether that is committed before the first fails or after. */
static void
a_dropped_frame_leaves_the_size(uint32_t color, bool next_is_in_flight)
{
    struct window window, large = { .desktop = &desktop };
    struct value acquire = new_value(), later = new_value();
    open_window(&desktop, &window);
    struct wp_viewport *viewport = wp_viewporter_get_viewport(desktop.viewporter, window.surface);
    show(&window, color);
    until_shown(&desktop, color);

    make_buffers(&large, 4 * SIDE, 4 * SIDE);
    for (unsigned i = 0; i < 16 * SIDE * SIDE; i++)
        large.pixels[16 * SIDE * SIDE + i] = i % (4 * SIDE) < SIDE ? HALF_DRAWN : color + 1;
    attach_large(&window, large.buffers[0]);
    wp_viewport_set_source(viewport, wl_fixed_from_int(2 * SIDE), 0, wl_fixed_from_int(2 * SIDE),
                           wl_fixed_from_int(SIDE));
    wp_viewport_set_destination(viewport, SIDE, SIDE);
    set_acquire(&window, acquire);
    wl_surface_commit(window.surface);
    wl_surface_commit(window.surface); /* and one without a buffer */
    if (next_is_in_flight) {
        set_acquire(&window, later);
        attach_large(&window, large.buffers[1]);
        wl_surface_commit(window.surface);
    }
    OK(umf_fence_set_error(acquire.fence, -EIO));
    until_dropped(&window, 1);
    composite(&other);
    CHECK(is_shown(color));
    if (next_is_in_flight) {
        OK(umf_fence_signal(later.fence, later.value));
    } else {
        attach_large(&window, large.buffers[1]);
        wl_surface_commit(window.surface);
    }
    until_shown(&desktop, color + 1);
    composite(&other);
    wp_viewport_destroy(viewport);
    close_window(&window);
    for (unsigned i = 0; i < BUFFERS; i++)
        wl_buffer_destroy(large.buffers[i]);
    umf_fence_unref(acquire.fence);
    umf_fence_unref(later.fence);
}

/* As before, and the next frame waits for the parent: the dropped one may be applied before it. */
static void
a_dropped_frame_of_a_subsurface_leaves_the_size(void)
{
    struct window parent, child, large = { .desktop = &desktop };
    struct value acquire = new_value(), later = new_value();
    open_window(&desktop, &parent);
    open_subsurface(&parent, &child, 4 * SIDE);
    wl_subsurface_set_desync(child.subsurface);
    show(&child, 0x260000);
    show(&parent, 0x260001);
    until_shown(&desktop, 0x260000);

    make_buffers(&large, 4 * SIDE, 4 * SIDE);
    attach_large(&child, large.buffers[0]);
    set_acquire(&child, acquire);
    wl_surface_commit(child.surface);
    OK(umf_fence_set_error(acquire.fence, -EIO));
    until_dropped(&child, 1);
    wl_subsurface_set_sync(child.subsurface);
    uint32_t *pixels = show_later(&child, later);
    composite(&other);
    complete(pixels, 0x260002, later);
    composite(&other); /* the parent has not committed */
    CHECK(is_shown(0x260000));
    show(&parent, 0x260003);
    until_shown(&desktop, 0x260002);

    close_window(&child);
    close_window(&parent);
    for (unsigned i = 0; i < BUFFERS; i++)
        wl_buffer_destroy(large.buffers[i]);
    umf_fence_unref(acquire.fence);
    umf_fence_unref(later.fence);
}

static void
a_window_whose_first_frame_is_dropped_appears_with_the_second(void)
{
    struct window window;
    struct value acquire = new_value(), later = new_value();
    open_window(&desktop, &window);
    show_later(&window, acquire);
    OK(umf_fence_set_error(acquire.fence, -EIO));
    until_dropped(&window, 1);
    composite(&other);
    uint32_t *pixels = show_later(&window, later);
    composite(&other);
    complete(pixels, 0x270000, later);
    until_shown(&desktop, 0x270000);
    close_window(&window);
    umf_fence_unref(acquire.fence);
    umf_fence_unref(later.fence);
}

/* NULL, behind a dropped frame, unmaps the window. */
static void
a_window_can_be_unmapped_after_a_dropped_frame(void)
{
    struct window window;
    struct value acquire = new_value();
    open_window(&desktop, &window);
    show(&window, 0x280000);
    until_shown(&desktop, 0x280000);
    show_later(&window, acquire);
    OK(umf_fence_set_error(acquire.fence, -EIO));
    until_dropped(&window, 1);
    wl_surface_attach(window.surface, NULL, 0, 0);
    wl_surface_commit(window.surface);
    composite(&other);
    CHECK(!is_shown(0x280000));
    close_window(&window);
    umf_fence_unref(acquire.fence);
}

static void
many_dropped_frames_end_with_the_surface(void)
{
    struct window window;
    struct value acquire = new_value(), release = new_value();
    open_window(&desktop, &window);
    OK(umf_fence_set_error(acquire.fence, -EIO));
    for (uint32_t i = 0; i < desktop.max_commits; i++) {
        set_release(&window, release);
        show_later(&window, acquire);
        until_dropped(&window, i + 1);
        until_reached(release);
        release.value++;
    }
    close_window(&window);
    composite(&other);
    umf_fence_unref(acquire.fence);
    umf_fence_unref(release.fence);
}

/* --- The process that should have signaled was killed ---------------------------------------- */

enum { IN_FLIGHT = 3 };

static uint64_t flags_of_page;

/* A "GPU": it makes the page, and signals a value when told. */
static void
gpu(int sock)
{
    struct umf_page *its_page;
    struct umf_fence *done;
    OK(umf_page_create(4, flags_of_page, &its_page));
    OK(umf_fence_create(its_page, 0, 0, &done));
    send_page(sock, its_page);
    tell(sock, umf_fence_index(done));
    for (;;) {
        OK(umf_fence_signal(done, hear(sock)));
        tell(sock, 0);
    }
}

/* Three frames in flight, one of them complete, when the GPU's process is killed. */
static void
unfinished_frames_are_dropped(uint32_t color, bool compositor_is_told)
{
    struct peer process = start_peer(gpu);
    struct umf_page *its_page = recv_page(process.sock);
    struct value at = { .fence = recv_fence(process.sock, its_page), .value = 1 };
    struct value release = new_value();
    struct window window;
    uint32_t *pixels[IN_FLIGHT];
    struct umf_loop *loop;
    int pidfd = pidfd_of(process.pid);

    at.page = share_page(&desktop, its_page);
    OK(umf_loop_create(UMF_LOOP_THREAD, &loop));
    if (compositor_is_told)
        umf_sync_page_v1_set_signaler(at.page, pidfd);
    else /* the client writes the error into the page */
        OK(umf_loop_tie_page(loop, its_page, pidfd, 0, NULL, NULL));
    close(pidfd);

    open_window(&desktop, &window);
    show(&window, color);
    until_shown(&desktop, color);
    for (int i = 0; i < IN_FLIGHT; i++) {
        set_release(&window, release);
        release.value++;
        pixels[i] = show_later(&window, at);
        at.value++;
    }
    composite(&other);
    fill(pixels[0], color + 1);
    tell(process.sock, 1);
    hear(process.sock);
    kill_peer(&process);

    until_dropped(&window, IN_FLIGHT - 1);
    for (int i = 0; i < IN_FLIGHT - 1; i++) {
        at.value = 2 + (uint64_t)i;
        is_drop_of(&window.drops[i], at, EOWNERDEAD);
    }
    release.value = IN_FLIGHT;
    until_reached(release);
    until_shown(&desktop, color + 1); /* what was complete is shown */
    composite(&other);
    CHECK(is_shown(color + 1));

    if (compositor_is_told) { /* it is known to be dead: nothing is waited for any more */
        at.value = 7;
        show_later(&window, at);
        until_dropped(&window, IN_FLIGHT);
        is_drop_of(&window.drops[IN_FLIGHT - 1], at, EOWNERDEAD);
    }
    show(&window, color + 2); /* recovered, on the same surface */
    until_shown(&desktop, color + 2);
    close_window(&window);
    umf_sync_page_v1_destroy(at.page);
    umf_loop_unref(loop);
    umf_fence_unref(at.fence);
    umf_fence_unref(release.fence);
    umf_page_unref(its_page);
}

static void
unfinished_frames_of_a_killed_process_are_dropped(void)
{
    flags_of_page = 0;
    unfinished_frames_are_dropped(0x290000, true);
    unfinished_frames_are_dropped(0x2a0000, false);
    flags_of_page = UMF_PAGE_SINGLE_WRITER; /* nobody but the dead process could fail its fences */
    unfinished_frames_are_dropped(0x2b0000, true);
}

/* A client that has the page too, and names a dead signaler, fails its own frames alone. */
static void
a_client_cannot_fail_the_frames_of_another(void)
{
    flags_of_page = UMF_PAGE_SINGLE_WRITER;
    struct peer process = start_peer(gpu);
    struct umf_page *its_page = recv_page(process.sock);
    struct value at = { .fence = recv_fence(process.sock, its_page), .value = 1 };
    struct desktop hostile;
    struct window window, its_window;
    pid_t dead;

    at.page = share_page(&desktop, its_page);
    open_window(&desktop, &window);
    uint32_t *pixels = show_later(&window, at);
    composite(&other);

    IN_CHILD(dead, pause());
    int pidfd = pidfd_of(dead);
    kill_child(dead);
    connect_desktop(&hostile);
    struct value same = at;
    same.page = share_page(&hostile, its_page);
    umf_sync_page_v1_set_signaler(same.page, pidfd);
    close(pidfd);
    open_window(&hostile, &its_window);
    show_later(&its_window, same);
    until_dropped(&its_window, 1);
    is_drop_of(&its_window.drops[0], same, EOWNERDEAD);

    composite(&other);
    CHECK(window.drop_count == 0);
    fill(pixels, 0x2c0000);
    tell(process.sock, 1);
    hear(process.sock);
    until_shown(&desktop, 0x2c0000);
    CHECK(window.drop_count == 0);
    close_window(&window);
    disconnect_desktop(&hostile);
    umf_sync_page_v1_destroy(at.page);
    kill_peer(&process);
    umf_fence_unref(at.fence);
    umf_page_unref(its_page);
}

int
main(void)
{
    open_scene(64);

    a_failed_frame_is_dropped();
    the_client_is_told_why();
    other_frames_are_shown();
    the_next_frame_is_drawn_as_a_whole();
    the_rest_of_a_dropped_commit_comes_with_the_next_frame();
    a_dropped_frame_leaves_the_size(0x250000, false);
    a_dropped_frame_leaves_the_size(0x250100, true);
    a_dropped_frame_of_a_subsurface_leaves_the_size();
    a_window_whose_first_frame_is_dropped_appears_with_the_second();
    a_window_can_be_unmapped_after_a_dropped_frame();
    many_dropped_frames_end_with_the_surface();
    unfinished_frames_of_a_killed_process_are_dropped();
    a_client_cannot_fail_the_frames_of_another();

    close_scene();
    return 0;
}
