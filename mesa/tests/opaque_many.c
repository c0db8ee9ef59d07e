/*
 * A process has hundreds of semaphores that it shares. When it cannot have more, because it may have no more descriptors,
 * it is told so; all that it has goes on to work, and there is room again when some are gone.
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
    VkSemaphoreCreateInfo info = { .sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO, .pNext = &kind };
    return vkCreateSemaphore(gpu->device, &info, NULL, semaphore);
}

/* Makes one and imports it into another. False, with nothing made, where there is no room. */
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
            CHECK(close(fd) == 0); /* it was not taken */
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
    limit.rlim_cur = 2048; /* room for a look */
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    printf("  %u shared semaphores, each imported: %d descriptors and %d mappings in all\n", count, open_fds() - fds,
           mappings() - maps);
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
    CHECK(open_fds() <= fds + 16); /* what a driver keeps for the next ones */

    CHECK(make_pair(&gpu, 0));
    destroy(&gpu, own[0]);
    destroy(&gpu, imported[0]);
    close_gpu(&gpu);
    return 0;
}
