/* SPDX-License-Identifier: MIT */
/* Semaphores and fences as file descriptors: what the driver supports, and short helpers. */
#ifndef EXTERNAL_H
#define EXTERNAL_H

#include "gpu.h"

#define SEMAPHORE_OPAQUE VK_EXTERNAL_SEMAPHORE_HANDLE_TYPE_OPAQUE_FD_BIT
#define SEMAPHORE_SYNC VK_EXTERNAL_SEMAPHORE_HANDLE_TYPE_SYNC_FD_BIT
#define FENCE_OPAQUE VK_EXTERNAL_FENCE_HANDLE_TYPE_OPAQUE_FD_BIT
#define FENCE_SYNC VK_EXTERNAL_FENCE_HANDLE_TYPE_SYNC_FD_BIT

static inline VkExternalSemaphoreProperties
semaphore_properties(const struct gpu *gpu, VkSemaphoreType type,
                     VkExternalSemaphoreHandleTypeFlagBits handle)
{
    VkSemaphoreTypeCreateInfo kind = {
        .sType = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO,
        .semaphoreType = type,
    };
    VkPhysicalDeviceExternalSemaphoreInfo info = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_EXTERNAL_SEMAPHORE_INFO,
        .pNext = &kind,
        .handleType = handle,
    };
    VkExternalSemaphoreProperties properties = {
        .sType = VK_STRUCTURE_TYPE_EXTERNAL_SEMAPHORE_PROPERTIES
    };
    vkGetPhysicalDeviceExternalSemaphoreProperties(gpu->physical, &info, &properties);
    return properties;
}

static inline VkExternalFenceProperties
fence_properties(const struct gpu *gpu, VkExternalFenceHandleTypeFlagBits handle)
{
    VkPhysicalDeviceExternalFenceInfo info = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_EXTERNAL_FENCE_INFO,
        .handleType = handle,
    };
    VkExternalFenceProperties properties = { .sType = VK_STRUCTURE_TYPE_EXTERNAL_FENCE_PROPERTIES };
    vkGetPhysicalDeviceExternalFenceProperties(gpu->physical, &info, &properties);
    return properties;
}

static inline bool
can_share_semaphore(const struct gpu *gpu, VkSemaphoreType type,
                    VkExternalSemaphoreHandleTypeFlagBits handle)
{
    const VkExternalSemaphoreFeatureFlags both =
        VK_EXTERNAL_SEMAPHORE_FEATURE_EXPORTABLE_BIT | VK_EXTERNAL_SEMAPHORE_FEATURE_IMPORTABLE_BIT;
    return gpu->semaphore_fds
           && (semaphore_properties(gpu, type, handle).externalSemaphoreFeatures & both) == both;
}

static inline bool
can_share_fence(const struct gpu *gpu, VkExternalFenceHandleTypeFlagBits handle)
{
    const VkExternalFenceFeatureFlags both =
        VK_EXTERNAL_FENCE_FEATURE_EXPORTABLE_BIT | VK_EXTERNAL_FENCE_FEATURE_IMPORTABLE_BIT;
    return gpu->fence_fds && (fence_properties(gpu, handle).externalFenceFeatures & both) == both;
}

static inline void
need_semaphore(const struct gpu *gpu, VkSemaphoreType type,
               VkExternalSemaphoreHandleTypeFlagBits handle)
{
    if (!can_share_semaphore(gpu, type, handle))
        SKIP("the driver has no %s semaphores as %s",
             type == VK_SEMAPHORE_TYPE_TIMELINE ? "timeline" : "binary",
             handle == SEMAPHORE_OPAQUE ? "opaque fd" : "sync fd");
}

static inline void
need_fence(const struct gpu *gpu, VkExternalFenceHandleTypeFlagBits handle)
{
    if (!can_share_fence(gpu, handle))
        SKIP("the driver has no fences as %s", handle == FENCE_OPAQUE ? "opaque fd" : "sync fd");
}

static inline VkSemaphore
shared_timeline(const struct gpu *gpu, uint64_t value)
{
    return make_semaphore(gpu, VK_SEMAPHORE_TYPE_TIMELINE, value, SEMAPHORE_OPAQUE);
}

static inline VkSemaphore
shared_binary(const struct gpu *gpu)
{
    return make_semaphore(gpu, VK_SEMAPHORE_TYPE_BINARY, 0, SEMAPHORE_OPAQUE);
}

/* Checks an exported descriptor. A sync_file may also be -1, which means that it has signaled. */
static inline int
check_exported(int fd, bool is_sync_file)
{
    CHECK(fd >= (is_sync_file ? -1 : 0));
    CHECK(fd < 0 || fcntl(fd, F_GETFD) == FD_CLOEXEC);
    return fd;
}

static inline int
export_semaphore(const struct gpu *gpu, VkSemaphore semaphore,
                 VkExternalSemaphoreHandleTypeFlagBits handle)
{
    VkSemaphoreGetFdInfoKHR info = {
        .sType = VK_STRUCTURE_TYPE_SEMAPHORE_GET_FD_INFO_KHR,
        .semaphore = semaphore,
        .handleType = handle,
    };
    int fd = -2;
    VK_OK(gpu->get_semaphore_fd(gpu->device, &info, &fd));
    return check_exported(fd, handle == SEMAPHORE_SYNC);
}

/* If the import succeeds, the driver owns the descriptor. */
static inline VkResult
import_semaphore(const struct gpu *gpu, VkSemaphore semaphore,
                 VkExternalSemaphoreHandleTypeFlagBits handle, VkSemaphoreImportFlags flags, int fd)
{
    VkImportSemaphoreFdInfoKHR info = {
        .sType = VK_STRUCTURE_TYPE_IMPORT_SEMAPHORE_FD_INFO_KHR,
        .semaphore = semaphore,
        .flags = flags,
        .handleType = handle,
        .fd = fd,
    };
    return gpu->import_semaphore_fd(gpu->device, &info);
}

static inline int
export_fence(const struct gpu *gpu, VkFence fence, VkExternalFenceHandleTypeFlagBits handle)
{
    VkFenceGetFdInfoKHR info = {
        .sType = VK_STRUCTURE_TYPE_FENCE_GET_FD_INFO_KHR,
        .fence = fence,
        .handleType = handle,
    };
    int fd = -2;
    VK_OK(gpu->get_fence_fd(gpu->device, &info, &fd));
    return check_exported(fd, handle == FENCE_SYNC);
}

static inline VkResult
import_fence(const struct gpu *gpu, VkFence fence, VkExternalFenceHandleTypeFlagBits handle,
             VkFenceImportFlags flags, int fd)
{
    VkImportFenceFdInfoKHR info = {
        .sType = VK_STRUCTURE_TYPE_IMPORT_FENCE_FD_INFO_KHR,
        .fence = fence,
        .flags = flags,
        .handleType = handle,
        .fd = fd,
    };
    return gpu->import_fence_fd(gpu->device, &info);
}

/* Receives a descriptor and returns a semaphore that imported it. */
static inline VkSemaphore
recv_semaphore(const struct gpu *gpu, int sock, VkSemaphoreType type)
{
    VkSemaphore semaphore = make_semaphore(gpu, type, 0, SEMAPHORE_OPAQUE);
    VK_OK(import_semaphore(gpu, semaphore, SEMAPHORE_OPAQUE, 0, recv_fd(sock)));
    return semaphore;
}

static inline void
send_semaphore(const struct gpu *gpu, int sock, VkSemaphore semaphore)
{
    int fd = export_semaphore(gpu, semaphore, SEMAPHORE_OPAQUE);
    send_fd(sock, fd);
    close(fd);
}

/*
 * A peer is forked before this process loads the driver. It opens its own device when this function
 * tells it to. If the test is skipped instead, the peer ends when the socket closes.
 */
static inline void
let_begin(const struct peer *peer)
{
    tell(peer->sock, 1);
}

static inline void
until_begin(int sock)
{
    uint64_t word;
    if (recv(sock, &word, sizeof(word), 0) != sizeof(word))
        _exit(0);
}

#endif
