/* SPDX-License-Identifier: MIT */
/*
 * Pending kernel fences that a test controls without a GPU: the vgem driver attaches them to its
 * buffers, and signals them when asked. An unsignaled one signals by itself after 10 s, as no
 * kernel fence may be pending forever.
 */
#ifndef VGEM_H
#define VGEM_H

#include "kernel_fence.h"

#include <libdrm/drm.h>

/* No package installs the kernel's vgem_drm.h. */
struct drm_vgem_fence_attach {
    uint32_t handle, flags, out_fence, pad;
};
struct drm_vgem_fence_signal {
    uint32_t fence, flags;
};
#define VGEM_FENCE_WRITE 1
#define DRM_IOCTL_VGEM_FENCE_ATTACH DRM_IOWR(DRM_COMMAND_BASE + 1, struct drm_vgem_fence_attach)
#define DRM_IOCTL_VGEM_FENCE_SIGNAL DRM_IOW(DRM_COMMAND_BASE + 2, struct drm_vgem_fence_signal)

struct vgem_buffer {
    int card; /* the caller's */
    uint32_t handle;
    int dma_buf;
};

static inline struct vgem_buffer
vgem_buffer_create(int card)
{
    struct drm_mode_create_dumb dumb = { .width = 64, .height = 64, .bpp = 32 };
    CHECK(ioctl(card, DRM_IOCTL_MODE_CREATE_DUMB, &dumb) == 0);
    struct drm_prime_handle prime = { .handle = dumb.handle, .flags = DRM_CLOEXEC | DRM_RDWR };
    CHECK(ioctl(card, DRM_IOCTL_PRIME_HANDLE_TO_FD, &prime) == 0);
    return (struct vgem_buffer){ .card = card, .handle = dumb.handle, .dma_buf = prime.fd };
}

static inline void
vgem_buffer_destroy(struct vgem_buffer *buffer)
{
    struct drm_mode_destroy_dumb dumb = { .handle = buffer->handle };
    close(buffer->dma_buf);
    CHECK(ioctl(buffer->card, DRM_IOCTL_MODE_DESTROY_DUMB, &dumb) == 0);
}

/* Adds a pending fence to the buffer, a reader's (0) or a writer's (VGEM_FENCE_WRITE). Returns
 * its number. */
static inline uint32_t
vgem_attach(struct vgem_buffer *buffer, uint32_t flags)
{
    struct drm_vgem_fence_attach attach = { .handle = buffer->handle, .flags = flags };
    CHECK(ioctl(buffer->card, DRM_IOCTL_VGEM_FENCE_ATTACH, &attach) == 0);
    return attach.out_fence;
}

static inline void
vgem_signal(int card, uint32_t fence)
{
    struct drm_vgem_fence_signal signal = { .fence = fence };
    /* ETIMEDOUT: its 10 s were over, and the checks meanwhile prove nothing */
    CHECK(ioctl(card, DRM_IOCTL_VGEM_FENCE_SIGNAL, &signal) == 0);
}

/* A pending fence as a sync_file, which the caller closes; `fence` is for vgem_signal(). */
static inline int
vgem_sync_file(int card, uint32_t *fence)
{
    struct vgem_buffer buffer = vgem_buffer_create(card);
    *fence = vgem_attach(&buffer, VGEM_FENCE_WRITE);
    int sync_file = dma_buf_export(buffer.dma_buf, DMA_BUF_SYNC_READ);
    CHECK(sync_file_status(sync_file) == 0);
    vgem_buffer_destroy(&buffer);
    return sync_file;
}

#endif
