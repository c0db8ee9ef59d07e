// SPDX-License-Identifier: MIT
/*
 * An import as the wrong kind is refused: a timeline as a binary semaphore or fence, and a binary
 * semaphore or fence as a timeline.
 *
 * On purpose: VUID-VkImportSemaphoreFdInfoKHR-handleType-03264
 */
#include "external.h"

/* Checks that the import was refused and that the descriptor is still open. */
static void
refused(VkResult result, int fd, const char *what)
{
    if (result != VK_ERROR_INVALID_EXTERNAL_HANDLE) {
        fprintf(stderr, "%s: %s (%d)\n", what, result_name(result), result);
        exit(1);
    }
    CHECK(fcntl(fd, F_GETFD) >= 0);
}

int
main(void)
{
    watchdog(60);
    struct gpu gpu = open_gpu();
    need_semaphore(&gpu, VK_SEMAPHORE_TYPE_TIMELINE, SEMAPHORE_OPAQUE);
    need_semaphore(&gpu, VK_SEMAPHORE_TYPE_BINARY, SEMAPHORE_OPAQUE);
    need_fence(&gpu, FENCE_OPAQUE);
    int fds = open_fds();
    VkSemaphore line = shared_timeline(&gpu, 3), link = shared_binary(&gpu);
    VkFence fence = make_fence(&gpu, false, FENCE_OPAQUE);
    int line_fd = export_semaphore(&gpu, line, SEMAPHORE_OPAQUE);
    int link_fd = export_semaphore(&gpu, link, SEMAPHORE_OPAQUE);
    int fence_fd = export_fence(&gpu, fence, FENCE_OPAQUE);

    VkSemaphore to_line = shared_timeline(&gpu, 1), to_link = shared_binary(&gpu);
    VkFence to_fence = make_fence(&gpu, false, FENCE_OPAQUE);
    refused(import_semaphore(&gpu, to_line, SEMAPHORE_OPAQUE, 0, link_fd), link_fd,
            "a binary semaphore as timeline");
    refused(import_semaphore(&gpu, to_line, SEMAPHORE_OPAQUE, 0, fence_fd), fence_fd,
            "a fence as timeline");
    refused(import_semaphore(&gpu, to_link, SEMAPHORE_OPAQUE, 0, line_fd), line_fd,
            "a timeline as binary semaphore");
    refused(import_fence(&gpu, to_fence, FENCE_OPAQUE, 0, line_fd), line_fd, "a timeline as fence");
    CHECK(value_of(&gpu, to_line) == 1);
    VK(VK_NOT_READY, vkGetFenceStatus(gpu.device, to_fence));

    /* Imported as the right kind, each descriptor is accepted. */
    VK_OK(import_semaphore(&gpu, to_line, SEMAPHORE_OPAQUE, 0, line_fd));
    VK_OK(import_semaphore(&gpu, to_link, SEMAPHORE_OPAQUE, 0, link_fd));
    VK_OK(import_fence(&gpu, to_fence, FENCE_OPAQUE, 0, fence_fd));
    CHECK(value_of(&gpu, to_line) == 3);
    destroy(&gpu, line);
    destroy(&gpu, link);
    destroy(&gpu, to_line);
    destroy(&gpu, to_link);
    vkDestroyFence(gpu.device, fence, NULL);
    vkDestroyFence(gpu.device, to_fence, NULL);
    CHECK(open_fds() <= fds);
    close_gpu(&gpu);
    return 0;
}
