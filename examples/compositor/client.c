// SPDX-License-Identifier: MIT
/*
 * A Wayland client whose frames another process completes. That process stands for the GPU: it
 * draws into the buffers, and all it does for synchronization is to write a UMF.
 *
 *     client [--frames N] [--in-flight N] [--wait-then-commit] [--cpu MS] [--gpu MS]
 *            [--record FILE]
 *
 * Each frame takes the processor for --cpu and the GPU for --gpu. With umf-sync-v1 the client
 * commits when the processor is done. With --wait-then-commit it waits for the GPU first. It prints
 * the rate, and --record writes when each step of each frame was.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <libumf.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>
#include <wayland-client.h>

#include "presentation-time-client-protocol.h"
#include "umf-sync-v1-client-protocol.h"
#include "xdg-shell-client-protocol.h"

enum { WIDTH = 160, HEIGHT = 120, BUFFERS = 9, FRAMES = 10000 };
#define MS 1000000

/* When the steps of a frame were, in ns of CLOCK_MONOTONIC. */
struct frame {
    uint64_t begin, submit, commit, gpu_begin, gpu_end, present;
};

/* What the client and the "GPU" share beside the fences. */
struct shared {
    struct frame frames[FRAMES];
    uint32_t pixels[BUFFERS][WIDTH * HEIGHT];
};

/* The page's fences. A value of the first two is the number of a frame, from 1. */
struct fences {
    struct umf_page *page;
    struct umf_fence *submitted;         /* the client: the GPU may begin */
    struct umf_fence *done;              /* the GPU: the buffer may be read */
    struct umf_fence *released[BUFFERS]; /* the compositor: the buffer may be written */
};

static struct {
    unsigned frames, in_flight;
    bool wait_then_commit;
    uint64_t cpu_ns, gpu_ns;
    const char *record;
} options = { .frames = 200, .in_flight = 3, .cpu_ns = 8 * MS, .gpu_ns = 8 * MS };

static struct fences fences;
static struct shared *shared;
static int shared_fd;

static struct wl_compositor *compositor;
static struct wl_shm *shm;
static struct xdg_wm_base *shell;
static struct wp_presentation *presentation;
static struct umf_sync_manager_v1 *manager;
static bool configured;
static unsigned over;    /* frames that were presented or superseded */
static unsigned dropped; /* frames whose fence failed */

static void fail(const char *what)
{
    fprintf(stderr, "client: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void check(int result, const char *what)
{
    if (result < 0) {
        errno = -result;
        fail(what);
    }
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* --- The GPU --------------------------------------------------------------------------------- */

static void fill(unsigned buffer, uint32_t color)
{
    for (unsigned i = 0; i < WIDTH * HEIGHT; i++)
        shared->pixels[buffer][i] = color;
}

/* Takes frames in their order. It begins when the frame is submitted and the one before it done,
 * by the clock: that this process is woken late delays a frame, but not those behind it. */
static void run_gpu(unsigned buffers)
{
    uint64_t free_at = 0;
    for (unsigned n = 1; n <= options.frames; n++) {
        struct frame *frame = &shared->frames[n - 1];
        check(umf_fence_wait(fences.submitted, n, UINT64_MAX), "wait for a submission");
        frame->gpu_begin = frame->submit > free_at ? frame->submit : free_at;
        free_at = frame->gpu_begin + options.gpu_ns;
        struct timespec end = { (time_t)(free_at / 1000000000), (long)(free_at % 1000000000) };
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &end, NULL);
        fill(n % buffers, 0xff000000 | n * 0x030507);
        frame->gpu_end = now_ns();
        check(umf_fence_signal(fences.done, n), "signal");
    }
    _exit(0);
}

static pid_t start_gpu(unsigned buffers)
{
    check(umf_page_create(2 + BUFFERS, 0, &fences.page), "create a page");
    check(umf_fence_create(fences.page, 0, 0, &fences.submitted), "create a fence");
    check(umf_fence_create(fences.page, 0, 0, &fences.done), "create a fence");
    for (unsigned i = 0; i < BUFFERS; i++)
        check(umf_fence_create(fences.page, 0, 0, &fences.released[i]), "create a fence");
    shared_fd = memfd_create("client", MFD_CLOEXEC);
    if (shared_fd < 0 || ftruncate(shared_fd, sizeof(*shared)) < 0)
        fail("create shared memory");
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED, shared_fd, 0);
    if (shared == MAP_FAILED)
        fail("map shared memory");
    pid_t gpu = fork();
    if (gpu < 0)
        fail("start the GPU's process");
    if (gpu == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        run_gpu(buffers);
    }
    return gpu;
}

/* --- Wayland --------------------------------------------------------------------------------- */

static void on_global(void *data, struct wl_registry *registry, uint32_t name,
                      const char *interface, uint32_t version)
{
    if (strcmp(interface, wl_compositor_interface.name) == 0)
        compositor = wl_registry_bind(registry, name, &wl_compositor_interface, 4);
    else if (strcmp(interface, wl_shm_interface.name) == 0)
        shm = wl_registry_bind(registry, name, &wl_shm_interface, 1);
    else if (strcmp(interface, xdg_wm_base_interface.name) == 0)
        shell = wl_registry_bind(registry, name, &xdg_wm_base_interface, 1);
    else if (strcmp(interface, wp_presentation_interface.name) == 0)
        presentation = wl_registry_bind(registry, name, &wp_presentation_interface, 1);
    else if (strcmp(interface, umf_sync_manager_v1_interface.name) == 0)
        manager = wl_registry_bind(registry, name, &umf_sync_manager_v1_interface, 1);
}

static void on_global_remove(void *data, struct wl_registry *registry, uint32_t name)
{
}

static const struct wl_registry_listener registry_listener = { on_global, on_global_remove };

static void on_ping(void *data, struct xdg_wm_base *base, uint32_t serial)
{
    xdg_wm_base_pong(base, serial);
}

static const struct xdg_wm_base_listener shell_listener = { on_ping };

static void on_configure(void *data, struct xdg_surface *surface, uint32_t serial)
{
    xdg_surface_ack_configure(surface, serial);
    configured = true;
}

static const struct xdg_surface_listener xdg_surface_listener = { on_configure };

static void on_toplevel_configure(void *data, struct xdg_toplevel *toplevel, int32_t width,
                                  int32_t height, struct wl_array *states)
{
}

static void on_close(void *data, struct xdg_toplevel *toplevel)
{
    exit(0);
}

static const struct xdg_toplevel_listener toplevel_listener = {
    .configure = on_toplevel_configure, .close = on_close,
};

static void on_presented(void *data, struct wp_presentation_feedback *feedback, uint32_t sec_hi,
                         uint32_t sec_lo, uint32_t ns, uint32_t refresh, uint32_t seq_hi,
                         uint32_t seq_lo, uint32_t flags)
{
    struct frame *frame = data;
    frame->present = ((uint64_t)sec_hi << 32 | sec_lo) * 1000000000 + ns;
    over++;
    wp_presentation_feedback_destroy(feedback);
}

static void on_discarded(void *data, struct wp_presentation_feedback *feedback)
{
    over++;
    wp_presentation_feedback_destroy(feedback);
}

static void on_sync_output(void *data, struct wp_presentation_feedback *feedback,
                           struct wl_output *output)
{
}

static const struct wp_presentation_feedback_listener feedback_listener = {
    .sync_output = on_sync_output, .presented = on_presented, .discarded = on_discarded,
};

/* The GPU's process died, or failed the frame. */
static void on_dropped(void *data, struct umf_sync_surface_v1 *surface,
                       struct umf_sync_page_v1 *page, uint32_t index, uint32_t value_hi,
                       uint32_t value_lo, uint32_t error)
{
    fprintf(stderr, "client: frame %u was dropped: %s\n", value_lo, strerror((int)error));
    dropped++;
}

static const struct umf_sync_surface_v1_listener sync_listener = { on_dropped };

static void on_limits(void *data, struct umf_sync_manager_v1 *umf_sync_manager,
                      uint32_t max_fences, uint32_t max_pages, uint32_t max_commits)
{
}

static const struct umf_sync_manager_v1_listener manager_listener = { on_limits };

static void dispatch(struct wl_display *display)
{
    if (wl_display_dispatch(display) < 0)
        fail("the compositor ended the connection");
}

/* --- Frames ---------------------------------------------------------------------------------- */

struct window {
    struct wl_display *display;
    struct wl_surface *surface;
    struct umf_sync_page_v1 *page;
    struct umf_sync_surface_v1 *sync;
    struct wl_buffer *buffers[BUFFERS];
    uint64_t uses[BUFFERS]; /* how often each was committed: the value of its release */
    unsigned buffer_count;
};

static void open_window(struct window *window, pid_t gpu)
{
    int page_fd, pidfd = pidfd_open(gpu, 0);
    window->display = wl_display_connect(NULL);
    if (!window->display)
        fail("connect to a Wayland compositor");
    wl_registry_add_listener(wl_display_get_registry(window->display), &registry_listener, NULL);
    wl_display_roundtrip(window->display);
    if (!compositor || !shm || !shell || !presentation || !manager) {
        fprintf(stderr, "client: the compositor lacks umf-sync-v1 or presentation-time\n");
        exit(1);
    }
    xdg_wm_base_add_listener(shell, &shell_listener, NULL);
    umf_sync_manager_v1_add_listener(manager, &manager_listener, NULL);

    window->surface = wl_compositor_create_surface(compositor);
    window->sync = umf_sync_manager_v1_get_surface(manager, window->surface);
    umf_sync_surface_v1_add_listener(window->sync, &sync_listener, NULL);
    check(umf_page_export(fences.page, 0, &page_fd), "export the page");
    window->page = umf_sync_manager_v1_import_page(manager, page_fd);
    umf_sync_page_v1_set_signaler(window->page, pidfd);
    close(page_fd);
    close(pidfd);

    struct xdg_surface *xdg_surface = xdg_wm_base_get_xdg_surface(shell, window->surface);
    xdg_surface_add_listener(xdg_surface, &xdg_surface_listener, NULL);
    struct xdg_toplevel *toplevel = xdg_surface_get_toplevel(xdg_surface);
    xdg_toplevel_add_listener(toplevel, &toplevel_listener, NULL);
    wl_surface_commit(window->surface);

    struct wl_shm_pool *pool = wl_shm_create_pool(shm, shared_fd, sizeof(*shared));
    for (unsigned i = 0; i < window->buffer_count; i++)
        window->buffers[i] = wl_shm_pool_create_buffer(
            pool, (int32_t)((char *)shared->pixels[i] - (char *)shared), WIDTH, HEIGHT, WIDTH * 4,
            WL_SHM_FORMAT_XRGB8888);
    wl_shm_pool_destroy(pool);
    while (!configured)
        dispatch(window->display);
}

/* The processor's share: it works for that long, and leaves what nobody may see. */
static void draw(unsigned buffer)
{
    uint64_t until = now_ns() + options.cpu_ns;
    fill(buffer, 0xffff00ff);
    while (now_ns() < until)
        ;
}

static void set_acquire(struct window *window, uint64_t value)
{
    umf_sync_surface_v1_set_acquire(window->sync, window->page, umf_fence_index(fences.done),
                                    (uint32_t)(value >> 32), (uint32_t)value);
}

static void set_release(struct window *window, unsigned buffer)
{
    uint64_t value = ++window->uses[buffer];
    umf_sync_surface_v1_set_release(window->sync, window->page,
                                    umf_fence_index(fences.released[buffer]),
                                    (uint32_t)(value >> 32), (uint32_t)value);
}

static void show_frame(struct window *window, unsigned n)
{
    struct frame *frame = &shared->frames[n - 1];
    unsigned buffer = n % window->buffer_count;
    check(umf_fence_wait(fences.released[buffer], window->uses[buffer], UINT64_MAX),
          "wait for a buffer");
    frame->begin = now_ns();
    draw(buffer);
    frame->submit = now_ns();
    check(umf_fence_signal(fences.submitted, n), "submit");

    if (options.wait_then_commit)
        check(umf_fence_wait(fences.done, n, now_ns() + 5000 * (uint64_t)MS), "wait for the GPU");
    else
        set_acquire(window, n);
    set_release(window, buffer);
    wl_surface_attach(window->surface, window->buffers[buffer], 0, 0);
    wl_surface_damage_buffer(window->surface, 0, 0, WIDTH, HEIGHT);
    wp_presentation_feedback_add_listener(
        wp_presentation_feedback(presentation, window->surface), &feedback_listener, frame);
    wl_surface_commit(window->surface);
    frame->commit = now_ns();
    wl_display_flush(window->display);
}

/* --- Results --------------------------------------------------------------------------------- */

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* The median of the times from one step to another, of the frames that were presented, in ms. */
static double median(size_t from, size_t to)
{
    static uint64_t times[FRAMES];
    unsigned count = 0;
    for (unsigned i = 0; i < options.frames; i++) {
        const char *frame = (const char *)&shared->frames[i];
        if (shared->frames[i].present)
            times[count++] = *(const uint64_t *)(frame + to) - *(const uint64_t *)(frame + from);
    }
    qsort(times, count, sizeof(times[0]), by_size);
    return count ? (double)times[count / 2] / MS : 0;
}

static void record(void)
{
    FILE *file = fopen(options.record, "we");
    if (!file)
        fail(options.record);
    fprintf(file, "begin\tsubmit\tcommit\tgpu_begin\tgpu_end\tpresent\n");
    for (unsigned i = 0; i < options.frames; i++) {
        const struct frame *f = &shared->frames[i];
        fprintf(file, "%lu\t%lu\t%lu\t%lu\t%lu\t%lu\n", f->begin, f->submit, f->commit,
                f->gpu_begin, f->gpu_end, f->present);
    }
    fclose(file);
}

static void report(void)
{
    unsigned presented = 0;
    uint64_t last = 0;
    for (unsigned i = 0; i < options.frames; i++) {
        presented += shared->frames[i].present > 0;
        if (shared->frames[i].present > last)
            last = shared->frames[i].present;
    }
    double seconds = (double)(last - shared->frames[0].begin) / 1e9;
    printf("%s, %u in flight: %.1f frames/s; %u of %u presented; GPU done to present %.2f ms, "
           "begin to present %.2f ms\n",
           options.wait_then_commit ? "wait-then-commit" : "umf-sync-v1", options.in_flight,
           presented / seconds, presented, options.frames,
           median(offsetof(struct frame, gpu_end), offsetof(struct frame, present)),
           median(offsetof(struct frame, begin), offsetof(struct frame, present)));
    if (options.record)
        record();
}

static bool parse(int argc, char **argv)
{
    static const struct option names[] = {
        { "frames", required_argument, NULL, 'f' },
        { "in-flight", required_argument, NULL, 'i' },
        { "wait-then-commit", no_argument, NULL, 'w' },
        { "cpu", required_argument, NULL, 'c' },
        { "gpu", required_argument, NULL, 'g' },
        { "record", required_argument, NULL, 'r' },
        { NULL, 0, NULL, 0 },
    };
    for (int name; (name = getopt_long(argc, argv, "", names, NULL)) != -1;) {
        switch (name) {
        case 'f': options.frames = (unsigned)atoi(optarg); break;
        case 'i': options.in_flight = (unsigned)atoi(optarg); break;
        case 'w': options.wait_then_commit = true; break;
        case 'c': options.cpu_ns = (uint64_t)(atof(optarg) * MS); break;
        case 'g': options.gpu_ns = (uint64_t)(atof(optarg) * MS); break;
        case 'r': options.record = optarg; break;
        default: return false;
        }
    }
    return optind == argc && options.frames >= 1 && options.frames <= FRAMES &&
           options.in_flight >= 1 && options.in_flight < BUFFERS;
}

int main(int argc, char **argv)
{
    if (!parse(argc, argv)) {
        fprintf(stderr, "usage: client [--frames 1..%d] [--in-flight 1..%d] [--wait-then-commit] "
                        "[--cpu MS] [--gpu MS] [--record FILE]\n", FRAMES, BUFFERS - 1);
        return 2;
    }
    struct window window = { .buffer_count = options.in_flight + 1 };
    open_window(&window, start_gpu(window.buffer_count));
    for (unsigned n = 1; n <= options.frames && dropped == 0; n++) {
        while (n - 1 - over >= options.in_flight && dropped == 0)
            dispatch(window.display);
        show_frame(&window, n);
    }
    while (over < options.frames && dropped == 0)
        dispatch(window.display);
    if (dropped == 0) /* a driver would start the GPU's process anew, and draw the next frame */
        report();
    wl_display_disconnect(window.display);
    return dropped > 0;
}
