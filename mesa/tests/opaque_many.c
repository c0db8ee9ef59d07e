// SPDX-License-Identifier: MIT
/*
 * A process shares hundreds of semaphores, until it runs out of file descriptors. Creation then
 * fails with an error, and every existing semaphore still works. After some are destroyed, creation
 * succeeds again.
 */
#include "external.h"

#include <sys/resource.h>

#define ENOUGH 400
#define MOST 3000

static VkSemaphore own[MOST], imported[MOST];

static VkResult
try_to_make(const struct gpu *gpu, VkSemaphore *semaphore)
{
    VkExportSemaphoreCreateInfo export = {
        .sType = VK_STRUCTURE_TYPE_EXPORT_SEMAPHORE_CREATE_INFO,
        .handleTypes = SEMAPHORE_OPAQUE,
    };
    VkSemaphoreTypeCreateInfo kind = {
        .sType = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO,
        .pNext = &export,
        .semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE,
    };
    VkSemaphoreCreateInfo info = { .sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO,
                                   .pNext = &kind };
    return vkCreateSemaphore(gpu->device, &info, NULL, semaphore);
}

/* Creates a semaphore and imports it into another. Returns false, without either, on failure. */
static bool
make_pair(const struct gpu *gpu, unsigned i)
{
    VkResult result = try_to_make(gpu, &own[i]);
    if (result == VK_SUCCESS) {
        VkSemaphoreGetFdInfoKHR info = {
            .sType = VK_STRUCTURE_TYPE_SEMAPHORE_GET_FD_INFO_KHR,
            .semaphore = own[i],
            .handleType = SEMAPHORE_OPAQUE,
        };
        int fd = -1;
        imported[i] = VK_NULL_HANDLE;
        result = gpu->get_semaphore_fd(gpu->device, &info, &fd);
        if (result == VK_SUCCESS)
            result = try_to_make(gpu, &imported[i]);
        if (result == VK_SUCCESS)
            result = import_semaphore(gpu, imported[i], SEMAPHORE_OPAQUE, 0, fd);
        if (result == VK_SUCCESS)
            return true;
        if (fd >= 0)
            CHECK(close(fd) == 0); /* a failed import does not close it */
        destroy(gpu, own[i]);
        destroy(gpu, imported[i]);
    }
    CHECK(result == VK_ERROR_TOO_MANY_OBJECTS || result == VK_ERROR_OUT_OF_HOST_MEMORY);
    return false;
}

static unsigned
make_most(const struct gpu *gpu)
{
    unsigned count = 0;
    while (count < MOST && make_pair(gpu, count))
        count++;
    return count;
}

int
main(void)
{
    struct rlimit limit;
    watchdog(120);
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = 1024;
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    struct gpu gpu = open_gpu();
    need_semaphore(&gpu, VK_SEMAPHORE_TYPE_TIMELINE, SEMAPHORE_OPAQUE);
    int fds = open_fds(), maps = mappings();

    unsigned count = make_most(&gpu);
    CHECK(count >= ENOUGH);
    limit.rlim_cur = 2048; /* open_fds() needs a descriptor */
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    printf("  %u shared semaphores, each imported: %d descriptors and %d mappings in all\n", count,
           open_fds() - fds, mappings() - maps);
    limit.rlim_cur = 1024;
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    for (unsigned i = 0; i < count; i++) {
        signal_to(&gpu, own[i], i + 1);
        VK_OK(wait_for(&gpu, imported[i], i + 1, FOREVER));
    }
    for (unsigned i = 0; i < count; i++) {
        destroy(&gpu, own[i]);
        destroy(&gpu, imported[i]);
    }
    CHECK(open_fds() <= fds + 16); /* a driver may keep some for reuse */

    CHECK(make_pair(&gpu, 0));
    destroy(&gpu, own[0]);
    destroy(&gpu, imported[0]);
    close_gpu(&gpu);
    return 0;
}
