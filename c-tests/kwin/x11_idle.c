// SPDX-License-Identifier: MIT
/*
 * The idle fences of a real X server. A client of Xwayland presents pixmaps, and the server
 * triggers an xshmfence when it no longer uses a pixmap. One event loop with one thread imports all
 * of these fences into UMFs.
 */
#include "x11.h"

#include <X11/xshmfence.h>

#define SIZE 64
#define PIXMAPS 100
#define ROUNDS 20

struct pixmap {
    xcb_pixmap_t id;
    xcb_sync_fence_t idle_id;
    int idle_fd;
    struct xshmfence *idle;
    struct umf_fence *fence; /* its value is the number of the last use that is over */
    uint64_t uses;
};

static struct pixmap pixmaps[PIXMAPS];
static struct umf_loop *loop;
static struct umf_page *page;
static uint32_t last_serial;
static uint8_t last_mode;
static unsigned flips, copies, skips;

static void
make_fenced_pixmap(struct pixmap *pixmap)
{
    const struct buffer buffer = make_buffer(SIZE, SIZE);
    pixmap->id = make_pixmap(&buffer, SIZE, SIZE);
    pixmap->idle_fd = xshmfence_alloc_shm();
    CHECK(pixmap->idle_fd >= 0 && (pixmap->idle = xshmfence_map_shm(pixmap->idle_fd)));
    pixmap->idle_id = xcb_generate_id(connection);
    checked(xcb_dri3_fence_from_fd_checked(connection, pixmap->id, pixmap->idle_id, 0,
                                           fcntl(pixmap->idle_fd, F_DUPFD_CLOEXEC, 3)));
    OK(umf_fence_create(page, 0, 0, &pixmap->fence));
}

/*
 * Waits until the server has shown what was presented with this serial, and nothing was presented
 * after that. Of those before, the server may report a skip late, or not at all.
 */
static void
wait_for_complete(uint32_t serial)
{
    while (last_serial < serial) {
        xcb_present_complete_notify_event_t *event = next_event();
        if (event->serial > last_serial) {
            last_serial = event->serial;
            last_mode = event->mode;
        }
        flips += event->mode == XCB_PRESENT_COMPLETE_MODE_FLIP;
        copies += event->mode == XCB_PRESENT_COMPLETE_MODE_COPY;
        skips += event->mode == XCB_PRESENT_COMPLETE_MODE_SKIP;
        free(event);
    }
}

static void
present(struct pixmap *pixmap, uint32_t serial)
{
    xshmfence_reset(pixmap->idle);
    OK(umf_loop_import_xshmfence(loop, pixmap->fence, ++pixmap->uses, pixmap->idle_fd, 0, NULL,
                                 NULL));
    CHECK(umf_fence_value(pixmap->fence) == pixmap->uses - 1);
    xcb_present_pixmap(connection, window, pixmap->id, serial, XCB_NONE, XCB_NONE, 0, 0, XCB_NONE,
                       XCB_NONE, pixmap->idle_id, XCB_PRESENT_OPTION_NONE, 0, 0, 0, 0, NULL);
    CHECK(xcb_flush(connection) > 0);
}

static void
wait_for_idle(const struct pixmap *pixmap)
{
    OK(umf_fence_wait(pixmap->fence, pixmap->uses, in_ns(100 * SECOND)));
    /* The UMF tells nothing that the server did not. */
    CHECK(pixmap->uses == 0 || xshmfence_query(pixmap->idle));
}

/* The last one that was presented. The server uses it until the next, unless it made a copy. */
static void
check_shown(const struct pixmap *pixmap)
{
    if (last_mode == XCB_PRESENT_COMPLETE_MODE_FLIP)
        CHECK(umf_fence_value(pixmap->fence) == pixmap->uses - 1);
    else
        wait_for_idle(pixmap);
}

int
main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    OK(umf_loop_create(UMF_LOOP_THREAD, &loop));
    OK(umf_page_create(PIXMAPS, 0, &page));
    open_card();
    open_window(SIZE, SIZE);
    for (int i = 0; i < PIXMAPS; i++)
        make_fenced_pixmap(&pixmaps[i]);

    uint32_t serial = 0;
    int fds = 0, tasks = 0;
    for (int round = 0; round < ROUNDS; round++) {
        /* All but the one that is shown: the server drops those that it has no time to show. */
        for (int i = 1; i < PIXMAPS; i++)
            present(&pixmaps[i], ++serial);
        wait_for_complete(serial);
        check_shown(&pixmaps[PIXMAPS - 1]);
        for (int i = 0; i < PIXMAPS - 1; i++)
            wait_for_idle(&pixmaps[i]);

        present(&pixmaps[0], ++serial);
        wait_for_complete(serial);
        check_shown(&pixmaps[0]);
        wait_for_idle(&pixmaps[PIXMAPS - 1]);
        if (round == 0) {
            fds = open_fds();
            tasks = entries("/proc/self/task");
        }
    }
    EXPECT(fds, open_fds());
    EXPECT(tasks, entries("/proc/self/task"));
    printf("%" PRIu32 " idle fences on one thread of %d: %u flips, %u copies, %u skipped\n", serial,
           tasks, flips, copies, skips);
    return 0;
}
