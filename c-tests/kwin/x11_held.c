// SPDX-License-Identifier: MIT
/*
 * Xwayland holds a pixmap that a client presents with PresentPixmapSynced before its acquire point
 * exists, until the GPU has written its UMF. Then KWin shows it.
 */
#include "x11.h"

#include "gpu.h"
#include "screenshot.h"
#include "syncobj.h"

#define FRAMES 10

static struct gpu gpu;
static struct umf_loop *loop;
static struct umf_device *device;

/* A syncobj that this process and the X server have. */
struct timeline {
    struct umf_syncobj *syncobj;
    xcb_dri3_syncobj_t id;
    uint32_t handle; /* another handle of it, for looking at its points */
};

static struct timeline
make_timeline(void)
{
    struct timeline timeline = { .id = xcb_generate_id(connection) };
    int fd;
    OK(umf_syncobj_create(device, 0, &timeline.syncobj));
    OK(umf_syncobj_export(timeline.syncobj, 0, &fd));
    timeline.handle = syncobj_from_fd(card, fd);
    checked(xcb_dri3_import_syncobj_checked(connection, timeline.id, window, fd));
    return timeline;
}

static void
until_screen_is(uint32_t color)
{
    for (uint64_t give_up = in_ns(20 * SECOND); screen_color() != color;)
        CHECK(now_ns() < give_up);
}

/*
 * Shows a pixmap that is drawn. Until KWin knows the window, Xwayland copies what is presented, and
 * does not wait for an acquire point that does not exist.
 */
static void
show_first(xcb_pixmap_t pixmap, const struct buffer *buffer, uint32_t color)
{
    uint8_t mode;
    fill(buffer, color);
    do {
        xcb_present_pixmap(connection, window, pixmap, 0, XCB_NONE, XCB_NONE, 0, 0, XCB_NONE,
                           XCB_NONE, XCB_NONE, XCB_PRESENT_OPTION_NONE, 0, 0, 0, 0, NULL);
        CHECK(xcb_flush(connection) > 0);
        xcb_present_complete_notify_event_t *event = next_event();
        mode = event->mode;
        free(event);
    } while (mode != XCB_PRESENT_COMPLETE_MODE_FLIP);
    until_screen_is(color);
}

static void
wait_for_flip(uint64_t frame)
{
    xcb_present_complete_notify_event_t *event;
    while ((event = next_event())->serial != frame)
        free(event);
    CHECK(event->mode == XCB_PRESENT_COMPLETE_MODE_FLIP);
    free(event);
}

static void
show_early(const struct timeline *acquire, const struct timeline *release, xcb_pixmap_t pixmap,
           uint32_t buffer, uint64_t frame)
{
    const uint32_t shown = color_of(frame - 1);
    struct umf_watch *watch;
    fill(&buffers[buffer], UNDRAWN);
    OK(umf_loop_export_syncobj(loop, gpu.fence, frame, acquire->syncobj, frame, 0, NULL, &watch));
    xcb_present_pixmap_synced(connection, window, pixmap, (uint32_t)frame, XCB_NONE, XCB_NONE, 0,
                              0, XCB_NONE, acquire->id, release->id, frame, frame,
                              XCB_PRESENT_OPTION_NONE, 0, 0, 0, 0, NULL);
    CHECK(xcb_flush(connection) > 0);

    /* The server has handed the pixmap to KWin, which paints for a screenshot. */
    free(xcb_get_input_focus_reply(connection, xcb_get_input_focus(connection), NULL));
    EXPECT(shown, screen_color());
    EXPECT(-ETIME, umf_watch_result(watch));
    check_not_materialized(card, acquire->handle, frame);

    ring_gpu(&gpu, (struct job){ .frame = frame, .buffer = buffer, .color = color_of(frame) });
    until_screen_is(color_of(frame));
    OK(umf_watch_result(watch));
    umf_watch_unref(watch);
    /* A second after the flip, Xwayland reports that it is complete, also if KWin holds it. */
    wait_for_flip(frame);
}

int
main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    make_buffers();
    gpu = start_gpu();
    OK(umf_loop_create(UMF_LOOP_THREAD, &loop));
    OK(umf_device_create(card, 0, &device));
    open_gpu(&gpu, loop);
    open_window(WIDTH, HEIGHT);

    const struct timeline acquire = make_timeline();
    struct timeline releases[2];
    xcb_pixmap_t pixmaps[2];
    for (uint32_t i = 0; i < 2; i++) {
        releases[i] = make_timeline();
        pixmaps[i] = make_pixmap(&buffers[i], WIDTH, HEIGHT);
    }
    show_first(pixmaps[0], &buffers[0], color_of(0));
    for (uint64_t frame = 1; frame <= FRAMES; frame++) {
        const uint32_t buffer = frame % 2;
        if (frame > 2)
            OK(syncobj_wait(card, releases[buffer].handle, frame - 2, WAIT_FOR_SUBMIT, INT64_MAX));
        show_early(&acquire, &releases[buffer], pixmaps[buffer], buffer, frame);
    }
    printf("%d pixmaps held until their UMF was reached, and shown then\n", FRAMES);
    return 0;
}
