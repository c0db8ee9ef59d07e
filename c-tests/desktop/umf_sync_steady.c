// SPDX-License-Identifier: MIT
/*
 * umf-sync-v1 for many frames, of which each tenth fails: the compositor has as many descriptors
 * and threads at the end as at the beginning, and its memory does not grow with the frames.
 *
 *     umf_sync_steady [FRAMES]
 */
#include "scene.h"

enum { BUFFERS_USED = 4 };

static struct window window;
static struct value done[BUFFERS_USED], released[BUFFERS_USED];

/* The compositor started this process. */
static int
compositor_entries(const char *folder)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/%s", getppid(), folder);
    return entries(path);
}

static long
compositor_kib(void)
{
    char path[64], line[256];
    long kib = -1;
    snprintf(path, sizeof(path), "/proc/%d/status", getppid());
    FILE *status = fopen(path, "re");
    CHECK(status);
    while (fgets(line, sizeof(line), status))
        sscanf(line, "RssAnon: %ld", &kib);
    fclose(status);
    CHECK(kib > 0);
    return kib;
}

/* A frame whose buffer is free: it is committed, and completed or failed then. */
static void
one_frame(unsigned number)
{
    unsigned buffer = number % BUFFERS_USED;
    struct value *acquire = &done[buffer], *release = &released[buffer];
    CHECK(wl_display_flush(desktop.display) >= 0);
    OK(umf_fence_wait(release->fence, release->value, in_ns(20 * SECOND)));
    acquire->value++;
    release->value++;
    window.next = buffer;
    set_release(&window, *release);
    uint32_t *pixels = show_later(&window, *acquire);
    roundtrip(&desktop);
    if (number % 10 != 9) {
        complete(pixels, 0x340000, *acquire);
        return;
    }
    OK(umf_fence_set_error(acquire->fence, -EIO));
    window.drop_count = 0;
    until_dropped(&window, 1);
    umf_fence_unref(acquire->fence);
    OK(umf_fence_create(page, acquire->value, 0, &acquire->fence));
}

int
main(int argc, char **argv)
{
    unsigned frames = argc > 1 ? (unsigned)atoi(argv[1]) : 3000, number = 0;
    open_scene(64);
    open_window(&desktop, &window);
    for (unsigned i = 0; i < BUFFERS_USED; i++) {
        done[i].page = released[i].page = shared;
        OK(umf_fence_create(page, 0, 0, &done[i].fence));
        OK(umf_fence_create(page, 0, 0, &released[i].fence));
    }
    while (number < 1000)
        one_frame(number++);
    int fds = compositor_entries("fd"), threads = compositor_entries("task");
    long kib = compositor_kib();
    while (number < 1000 + frames)
        one_frame(number++);
    CHECK(compositor_entries("fd") == fds);
    CHECK(compositor_entries("task") == threads);
    long grown = compositor_kib() - kib;
    printf("%u frames: %d descriptors, %d threads, %ld KiB more memory\n", frames, fds, threads,
           grown);
    CHECK(grown < 64); /* 20 bytes a frame */
    close_scene();
    return 0;
}
