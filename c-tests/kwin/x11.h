/* SPDX-License-Identifier: MIT */
/* A client of an X server with one window, which presents pixmaps. */
#ifndef KWIN_X11_H
#define KWIN_X11_H

#include "gpu.h"

#include <poll.h>
#include <xcb/dri3.h>
#include <xcb/present.h>
#include <xcb/xcb.h>

static xcb_connection_t *connection;
static xcb_window_t window;
static xcb_special_event_t *events;

static inline void
checked(xcb_void_cookie_t cookie)
{
    xcb_generic_error_t *error = xcb_request_check(connection, cookie);
    if (error)
        fprintf(stderr, "X11 error %d\n", error->error_code);
    CHECK(!error);
}

static inline void
open_window(uint16_t width, uint16_t height)
{
    connection = xcb_connect(NULL, NULL);
    CHECK(!xcb_connection_has_error(connection));
    xcb_screen_t *screen = xcb_setup_roots_iterator(xcb_get_setup(connection)).data;
    free(xcb_dri3_query_version_reply(connection, xcb_dri3_query_version(connection, 1, 4), NULL));
    free(xcb_present_query_version_reply(connection, xcb_present_query_version(connection, 1, 4),
                                         NULL));
    window = xcb_generate_id(connection);
    const uint32_t without_manager = 1;
    checked(xcb_create_window_checked(connection, XCB_COPY_FROM_PARENT, window, screen->root, 0, 0,
                                      width, height, 0, XCB_WINDOW_CLASS_INPUT_OUTPUT,
                                      screen->root_visual, XCB_CW_OVERRIDE_REDIRECT,
                                      &without_manager));
    checked(xcb_map_window_checked(connection, window));
    const uint32_t id = xcb_generate_id(connection);
    events = xcb_register_for_special_xge(connection, &xcb_present_id, id, NULL);
    CHECK(events);
    checked(xcb_present_select_input_checked(connection, id, window,
                                             XCB_PRESENT_EVENT_MASK_COMPLETE_NOTIFY));
}

static inline xcb_pixmap_t
make_pixmap(const struct buffer *buffer, uint16_t width, uint16_t height)
{
    const xcb_pixmap_t pixmap = xcb_generate_id(connection);
    int fd = buffer->dma_buf; /* xcb closes it */
    checked(xcb_dri3_pixmap_from_buffers_checked(connection, pixmap, window, 1, width, height,
                                                 buffer->pitch, 0, 0, 0, 0, 0, 0, 0, 24, 32,
                                                 DRM_FORMAT_MOD_LINEAR, &fd));
    return pixmap;
}

/* The next report that a pixmap was shown or skipped. */
static inline xcb_present_complete_notify_event_t *
next_event(void)
{
    xcb_present_complete_notify_event_t *event;
    struct pollfd entry = { .fd = xcb_get_file_descriptor(connection), .events = POLLIN };
    while (!(event = (void *)xcb_poll_for_special_event(connection, events))) {
        if (poll(&entry, 1, 20000) != 1) {
            fprintf(stderr, "the X server sends no event\n");
            exit(1);
        }
    }
    CHECK(event->event_type == XCB_PRESENT_COMPLETE_NOTIFY);
    return event;
}

#endif
