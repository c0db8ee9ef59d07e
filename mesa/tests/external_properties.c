// SPDX-License-Identifier: MIT
/* The driver can export and import what it reports, and its reports are consistent. */
#include "external.h"

static void
semaphore(const struct gpu *gpu, VkSemaphoreType type, VkExternalSemaphoreHandleTypeFlagBits handle)
{
    VkExternalSemaphoreProperties says = semaphore_properties(gpu, type, handle);
    bool exports = says.externalSemaphoreFeatures & VK_EXTERNAL_SEMAPHORE_FEATURE_EXPORTABLE_BIT;
    bool imports = says.externalSemaphoreFeatures & VK_EXTERNAL_SEMAPHORE_FEATURE_IMPORTABLE_BIT;
    printf("  %s semaphore as %s: %s%s%s\n",
           type == VK_SEMAPHORE_TYPE_TIMELINE ? "timeline" : "binary",
           handle == SEMAPHORE_OPAQUE ? "opaque fd" : "sync fd", exports ? "export " : "",
           imports ? "import" : "", exports || imports ? "" : "no");
    if (!exports && !imports) {
        CHECK(says.exportFromImportedHandleTypes == 0 && says.compatibleHandleTypes == 0);
        return;
    }
    CHECK(gpu->semaphore_fds);
    CHECK(says.compatibleHandleTypes & handle);
    /* Vulkan has no SYNC_FD for timelines. */
    CHECK(type != VK_SEMAPHORE_TYPE_TIMELINE || handle != SEMAPHORE_SYNC);
    if (!exports)
        return;
    VkSemaphore from = make_semaphore(gpu, type, 0, handle),
                to = make_semaphore(gpu, type, 0, handle);
    if (type == VK_SEMAPHORE_TYPE_BINARY)
        submit(gpu, SIGNALS(POINT(from, 0)));
    else
        signal_to(gpu, from, 5);
    int fd = export_semaphore(gpu, from, handle);
    VkSemaphoreImportFlags flags = handle == SEMAPHORE_SYNC ? VK_SEMAPHORE_IMPORT_TEMPORARY_BIT : 0;
    if (imports) {
        VK_OK(import_semaphore(gpu, to, handle, flags, fd));
        if (type == VK_SEMAPHORE_TYPE_BINARY)
            submit(gpu, WAITS(POINT(to, 0)));
        else
            VK_OK(wait_for(gpu, to, 5, FOREVER));
        if (says.exportFromImportedHandleTypes & handle && type == VK_SEMAPHORE_TYPE_TIMELINE)
            close(export_semaphore(gpu, to, handle));
    } else {
        close(fd);
    }
    VK_OK(vkQueueWaitIdle(gpu->queues[0]));
    destroy(gpu, from);
    destroy(gpu, to);
}

static void
fence(const struct gpu *gpu, VkExternalFenceHandleTypeFlagBits handle)
{
    VkExternalFenceProperties says = fence_properties(gpu, handle);
    bool exports = says.externalFenceFeatures & VK_EXTERNAL_FENCE_FEATURE_EXPORTABLE_BIT;
    bool imports = says.externalFenceFeatures & VK_EXTERNAL_FENCE_FEATURE_IMPORTABLE_BIT;
    printf("  fence as %s: %s%s%s\n", handle == FENCE_OPAQUE ? "opaque fd" : "sync fd",
           exports ? "export " : "", imports ? "import" : "", exports || imports ? "" : "no");
    if (!exports && !imports) {
        CHECK(says.exportFromImportedHandleTypes == 0 && says.compatibleHandleTypes == 0);
        return;
    }
    CHECK(gpu->fence_fds);
    CHECK(says.compatibleHandleTypes & handle);
    if (!exports)
        return;
    VkFence from = make_fence(gpu, false, handle), to = make_fence(gpu, false, handle);
    submit(gpu, .fence = from);
    int fd = export_fence(gpu, from, handle);
    VkFenceImportFlags flags = handle == FENCE_SYNC ? VK_FENCE_IMPORT_TEMPORARY_BIT : 0;
    if (imports) {
        VK_OK(import_fence(gpu, to, handle, flags, fd));
        VK_OK(wait_fence(gpu, to, FOREVER));
    } else {
        close(fd);
    }
    VK_OK(vkQueueWaitIdle(gpu->queues[0]));
    vkDestroyFence(gpu->device, from, NULL);
    vkDestroyFence(gpu->device, to, NULL);
}

/*
 * If the driver reports that a SYNC_FD import can be exported as OPAQUE_FD, that works. The
 * semaphore was created for both.
 */
static void
imported_and_exported(const struct gpu *gpu)
{
    VkExternalSemaphoreProperties says =
        semaphore_properties(gpu, VK_SEMAPHORE_TYPE_BINARY, SEMAPHORE_SYNC);
    if (!can_share_semaphore(gpu, VK_SEMAPHORE_TYPE_BINARY, SEMAPHORE_SYNC)
        || !(says.exportFromImportedHandleTypes & SEMAPHORE_OPAQUE))
        return;
    VkSemaphore semaphore =
        make_semaphore(gpu, VK_SEMAPHORE_TYPE_BINARY, 0, SEMAPHORE_OPAQUE | SEMAPHORE_SYNC);
    VkSemaphore other = shared_binary(gpu);
    VkFence fence = unsignaled(gpu);
    VK_OK(import_semaphore(gpu, semaphore, SEMAPHORE_SYNC, VK_SEMAPHORE_IMPORT_TEMPORARY_BIT, -1));
    int fd = export_semaphore(gpu, semaphore, SEMAPHORE_OPAQUE);
    VK_OK(import_semaphore(gpu, other, SEMAPHORE_OPAQUE, 0, fd));
    submit(gpu, WAITS(POINT(other, 0)), .fence = fence);
    VK_OK(wait_fence(gpu, fence, FOREVER));
    VK_OK(vkQueueWaitIdle(gpu->queues[0]));
    vkDestroyFence(gpu->device, fence, NULL);
    destroy(gpu, semaphore);
    destroy(gpu, other);
}

/* The driver does not claim handle types of other operating systems. */
static void
foreign(const struct gpu *gpu)
{
    static const VkExternalSemaphoreHandleTypeFlagBits semaphores[] = {
        VK_EXTERNAL_SEMAPHORE_HANDLE_TYPE_OPAQUE_WIN32_BIT,
        VK_EXTERNAL_SEMAPHORE_HANDLE_TYPE_OPAQUE_WIN32_KMT_BIT,
        VK_EXTERNAL_SEMAPHORE_HANDLE_TYPE_D3D12_FENCE_BIT,
    };
    static const VkExternalFenceHandleTypeFlagBits fences[] = {
        VK_EXTERNAL_FENCE_HANDLE_TYPE_OPAQUE_WIN32_BIT,
        VK_EXTERNAL_FENCE_HANDLE_TYPE_OPAQUE_WIN32_KMT_BIT,
    };
    for (unsigned i = 0; i < 3; i++) {
        CHECK(!semaphore_properties(gpu, VK_SEMAPHORE_TYPE_BINARY, semaphores[i])
                   .externalSemaphoreFeatures);
        CHECK(!semaphore_properties(gpu, VK_SEMAPHORE_TYPE_TIMELINE, semaphores[i])
                   .externalSemaphoreFeatures);
    }
    for (unsigned i = 0; i < 2; i++)
        CHECK(!fence_properties(gpu, fences[i]).externalFenceFeatures);
}

int
main(void)
{
    watchdog(60);
    struct gpu gpu = open_gpu();
    semaphore(&gpu, VK_SEMAPHORE_TYPE_TIMELINE, SEMAPHORE_OPAQUE);
    semaphore(&gpu, VK_SEMAPHORE_TYPE_TIMELINE, SEMAPHORE_SYNC);
    semaphore(&gpu, VK_SEMAPHORE_TYPE_BINARY, SEMAPHORE_OPAQUE);
    semaphore(&gpu, VK_SEMAPHORE_TYPE_BINARY, SEMAPHORE_SYNC);
    fence(&gpu, FENCE_OPAQUE);
    fence(&gpu, FENCE_SYNC);
    imported_and_exported(&gpu);
    foreign(&gpu);
    close_gpu(&gpu);
    return 0;
}
