/* SPDX-License-Identifier: MIT */
/*
 * A GPU: a process that draws buffers of one color, and announces that by a UMF and nothing else.
 * The buffers are dumb buffers of virtio-gpu, which this process and the GPU have mapped.
 */
#ifndef KWIN_GPU_H
#define KWIN_GPU_H

#include "process.h"

#include <libdrm/drm.h>
#include <libdrm/drm_fourcc.h>
#include <libdrm/drm_mode.h>
#include <sys/ioctl.h>

/* The size of KWin's output: see kernel/guest/desktop/session. */
#define WIDTH 640
#define HEIGHT 480

/* Up to four frames in flight, and the one that is shown. */
#define BUFFERS 5

#define MAX_FRAMES 4096

/* A frame that is committed before it is drawn has this color until then. */
#define UNDRAWN 0xff0000u

/* The color of a frame that is drawn. */
static inline uint32_t
color_of(uint64_t frame)
{
    return 0x002000 + 0x13 * (uint32_t)frame; /* never red */
}

struct buffer {
    uint32_t *pixels;
    uint32_t pitch;
    int dma_buf;
};

static int card;
static struct buffer buffers[BUFFERS];

/* The size of the buffers, that of the output unless a test makes them smaller. */
static uint32_t buffer_width = WIDTH, buffer_height = HEIGHT;

/* When the GPU had drawn each frame. Shared with the GPU. */
static _Atomic uint64_t *drawn_ns;

static inline struct buffer
make_buffer(uint32_t width, uint32_t height)
{
    struct drm_mode_create_dumb create = { .width = width, .height = height, .bpp = 32 };
    CHECK(ioctl(card, DRM_IOCTL_MODE_CREATE_DUMB, &create) == 0);
    struct drm_mode_map_dumb map = { .handle = create.handle };
    CHECK(ioctl(card, DRM_IOCTL_MODE_MAP_DUMB, &map) == 0);
    void *pixels = mmap(NULL, create.size, PROT_READ | PROT_WRITE, MAP_SHARED, card,
                        (off_t)map.offset);
    CHECK(pixels != MAP_FAILED);
    struct drm_prime_handle prime = { .handle = create.handle, .flags = DRM_CLOEXEC | DRM_RDWR };
    CHECK(ioctl(card, DRM_IOCTL_PRIME_HANDLE_TO_FD, &prime) == 0);
    return (struct buffer){ pixels, create.pitch, prime.fd };
}

static inline void
open_card(void)
{
    card = open("/dev/dri/card0", O_RDWR | O_CLOEXEC);
    CHECK(card >= 0);
}

/* Before the GPU starts, which inherits the mappings. */
static inline void
make_buffers(void)
{
    open_card();
    for (int i = 0; i < BUFFERS; i++)
        buffers[i] = make_buffer(buffer_width, buffer_height);
    drawn_ns = mmap(NULL, MAX_FRAMES * sizeof(*drawn_ns), PROT_READ | PROT_WRITE,
                    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(drawn_ns != MAP_FAILED);
}

static inline void
fill(const struct buffer *buffer, uint32_t color)
{
    for (uint32_t i = 0; i < buffer->pitch / 4 * buffer_height; i++)
        buffer->pixels[i] = color;
}

/* Work for the GPU. It takes this time from when it was rung, or from the end of the job before. */
struct job {
    uint64_t rung_ns, takes_ns;
    uint64_t frame;
    uint32_t buffer, color;
    int error; /* the fence fails with it instead */
};

static inline void
sleep_until(uint64_t when)
{
    struct timespec t = { .tv_sec = (time_t)(when / SECOND), .tv_nsec = (long)(when % SECOND) };
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
        ;
}

static inline void
run_gpu(int sock)
{
    struct umf_page *page;
    struct umf_fence *fence;
    struct job job;
    uint64_t free_ns = 0;
    OK(umf_page_create(1, 0, &page));
    OK(umf_fence_create(page, 0, 0, &fence));
    send_page(sock, page);
    tell(sock, umf_fence_index(fence));

    while (recv(sock, &job, sizeof(job), 0) == sizeof(job)) {
        free_ns = (job.rung_ns > free_ns ? job.rung_ns : free_ns) + job.takes_ns;
        sleep_until(free_ns);
        if (job.error) {
            OK(umf_fence_set_error(fence, job.error));
            continue;
        }
        fill(&buffers[job.buffer], job.color);
        drawn_ns[job.frame] = now_ns();
        OK(umf_fence_signal(fence, job.frame));
    }
}

struct gpu {
    struct peer peer;
    struct umf_page *page;
    struct umf_fence *fence; /* its value is the number of the last frame that is drawn */
};

/* Call this before the process starts threads. */
static inline struct gpu
start_gpu(void)
{
    return (struct gpu){ .peer = start_peer(run_gpu) };
}

/* Has the fence fail if the GPU dies. */
static inline void
open_gpu(struct gpu *gpu, struct umf_loop *loop)
{
    gpu->page = recv_page(gpu->peer.sock);
    gpu->fence = recv_fence(gpu->peer.sock, gpu->page);
    int pidfd = pidfd_of(gpu->peer.pid);
    OK(umf_loop_tie_page(loop, gpu->page, pidfd, 0, NULL, NULL));
    close(pidfd);
}

static inline void
ring_gpu(const struct gpu *gpu, struct job job)
{
    job.rung_ns = now_ns();
    CHECK(send(gpu->peer.sock, &job, sizeof(job), MSG_NOSIGNAL) == sizeof(job));
}

#endif
