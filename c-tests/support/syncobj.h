/* SPDX-License-Identifier: MIT */
/* The kernel's syncobj calls. Each returns 0, what its name says, or a negative errno. */
#ifndef SYNCOBJ_H
#define SYNCOBJ_H

#include "kernel_fence.h"

#include <libdrm/drm.h>

/* Newer than Debian 12's libdrm: Linux 6.6. */
struct syncobj_eventfd {
    uint32_t handle, flags;
    uint64_t point;
    int32_t fd;
    uint32_t pad;
};
#define SYNCOBJ_EVENTFD DRM_IOWR(0xCF, struct syncobj_eventfd)

/* Waits until the point has a fence, not for its signal. Point 0 is a binary syncobj's. */
#define WAIT_MATERIALIZED                                                                          \
    (DRM_SYNCOBJ_WAIT_FLAGS_WAIT_FOR_SUBMIT | DRM_SYNCOBJ_WAIT_FLAGS_WAIT_AVAILABLE)
/* Waits until the point has a fence, and then for its signal. */
#define WAIT_FOR_SUBMIT DRM_SYNCOBJ_WAIT_FLAGS_WAIT_FOR_SUBMIT

static inline int
syncobj_ioctl(int fd, unsigned long request, void *arg)
{
    int result;
    do
        result = ioctl(fd, request, arg);
    while (result < 0 && errno == EINTR);
    return result < 0 ? -errno : 0;
}

static inline uint32_t
syncobj_create(int fd, uint32_t flags)
{
    struct drm_syncobj_create create = { .flags = flags };
    OK(syncobj_ioctl(fd, DRM_IOCTL_SYNCOBJ_CREATE, &create));
    return create.handle;
}

static inline void
syncobj_destroy(int fd, uint32_t handle)
{
    struct drm_syncobj_destroy destroy = { .handle = handle };
    OK(syncobj_ioctl(fd, DRM_IOCTL_SYNCOBJ_DESTROY, &destroy));
}

/* The syncobj as a file descriptor, for another process. */
static inline int
syncobj_to_fd(int fd, uint32_t handle)
{
    struct drm_syncobj_handle arg = { .handle = handle, .fd = -1 };
    OK(syncobj_ioctl(fd, DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD, &arg));
    return arg.fd;
}

static inline uint32_t
syncobj_from_fd(int fd, int syncobj)
{
    struct drm_syncobj_handle arg = { .fd = syncobj };
    OK(syncobj_ioctl(fd, DRM_IOCTL_SYNCOBJ_FD_TO_HANDLE, &arg));
    return arg.handle;
}

/* A sync_file of the fence that a binary syncobj holds. */
static inline int
syncobj_export_sync_file(int fd, uint32_t handle)
{
    struct drm_syncobj_handle arg = { .handle = handle,
                                      .flags = DRM_SYNCOBJ_HANDLE_TO_FD_FLAGS_EXPORT_SYNC_FILE,
                                      .fd = -1 };
    int result = syncobj_ioctl(fd, DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD, &arg);
    return result < 0 ? result : arg.fd;
}

static inline void
syncobj_import_sync_file(int fd, uint32_t handle, int sync_file)
{
    struct drm_syncobj_handle arg = { .handle = handle,
                                      .flags = DRM_SYNCOBJ_FD_TO_HANDLE_FLAGS_IMPORT_SYNC_FILE,
                                      .fd = sync_file };
    OK(syncobj_ioctl(fd, DRM_IOCTL_SYNCOBJ_FD_TO_HANDLE, &arg));
}

/* Copies the fence of one point to another; 0 is a binary syncobj's. -EINVAL if there is none. */
static inline int
syncobj_transfer(int fd, uint32_t from, uint64_t from_point, uint32_t to, uint64_t to_point)
{
    struct drm_syncobj_transfer arg = {
        .src_handle = from, .src_point = from_point, .dst_handle = to, .dst_point = to_point
    };
    return syncobj_ioctl(fd, DRM_IOCTL_SYNCOBJ_TRANSFER, &arg);
}

/* Puts the fence of a sync_file at a timeline's point. */
static inline void
syncobj_submit(int fd, uint32_t handle, uint64_t point, int sync_file)
{
    uint32_t binary = syncobj_create(fd, 0);
    syncobj_import_sync_file(fd, binary, sync_file);
    OK(syncobj_transfer(fd, binary, 0, handle, point));
    syncobj_destroy(fd, binary);
}

static inline void
syncobj_signal(int fd, uint32_t handle)
{
    struct drm_syncobj_array arg = { .handles = (uintptr_t)&handle, .count_handles = 1 };
    OK(syncobj_ioctl(fd, DRM_IOCTL_SYNCOBJ_SIGNAL, &arg));
}

static inline void
syncobj_timeline_signal(int fd, uint32_t handle, uint64_t point)
{
    struct drm_syncobj_timeline_array arg = { .handles = (uintptr_t)&handle,
                                              .points = (uintptr_t)&point,
                                              .count_handles = 1 };
    OK(syncobj_ioctl(fd, DRM_IOCTL_SYNCOBJ_TIMELINE_SIGNAL, &arg));
}

/* The highest signaled point, or with LAST_SUBMITTED the highest point with a fence. */
static inline uint64_t
syncobj_query(int fd, uint32_t handle, uint32_t flags)
{
    uint64_t point = UINT64_MAX;
    struct drm_syncobj_timeline_array arg = { .handles = (uintptr_t)&handle,
                                              .points = (uintptr_t)&point,
                                              .count_handles = 1,
                                              .flags = flags };
    OK(syncobj_ioctl(fd, DRM_IOCTL_SYNCOBJ_QUERY, &arg));
    return point;
}

/* -EINVAL where the point has no fence, unless the flags wait for one. */
static inline int
syncobj_wait(int fd, uint32_t handle, uint64_t point, uint32_t flags, int64_t abs_timeout_ns)
{
    struct drm_syncobj_timeline_wait arg = { .handles = (uintptr_t)&handle,
                                             .points = (uintptr_t)&point,
                                             .timeout_nsec = abs_timeout_ns,
                                             .count_handles = 1,
                                             .flags = flags };
    return syncobj_ioctl(fd, DRM_IOCTL_SYNCOBJ_TIMELINE_WAIT, &arg);
}

/* Checks that the kernel has no fence at a point (0 is a binary syncobj's), which must hold
 * until the UMF is reached. */
static inline void
check_not_materialized(int fd, uint32_t handle, uint64_t point)
{
    uint32_t binary = syncobj_create(fd, 0);
    EXPECT(-ETIME, syncobj_wait(fd, handle, point, WAIT_MATERIALIZED, 0));
    EXPECT(-EINVAL, syncobj_wait(fd, handle, point, 0, 0));
    EXPECT(-EINVAL, syncobj_transfer(fd, handle, point, binary, 0));
    syncobj_destroy(fd, binary);
    if (point == 0)
        EXPECT(-EINVAL, syncobj_export_sync_file(fd, handle));
    else
        CHECK(syncobj_query(fd, handle, DRM_SYNCOBJ_QUERY_FLAGS_LAST_SUBMITTED) < point);
}

/* Checks that a point has a signaled fence; 0 is a binary syncobj's. */
static inline void
check_signaled(int fd, uint32_t handle, uint64_t point)
{
    uint32_t binary = syncobj_create(fd, 0);
    OK(syncobj_wait(fd, handle, point, 0, 0));
    OK(syncobj_transfer(fd, handle, point, binary, 0));
    int sync_file = syncobj_export_sync_file(fd, binary);
    EXPECT(1, sync_file_status(sync_file));
    close(sync_file);
    syncobj_destroy(fd, binary);
}

#endif
