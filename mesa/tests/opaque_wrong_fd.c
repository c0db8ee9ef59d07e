// SPDX-License-Identifier: MIT
/*
 * An import of a descriptor that is not a semaphore or fence of this driver fails with
 * VK_ERROR_INVALID_EXTERNAL_HANDLE. The descriptor stays open and belongs to the caller. The
 * payload that the import would have replaced is unchanged.
 *
 * On purpose: VUID-VkImportSemaphoreFdInfoKHR-handleType-03264
 */
#include "external.h"

#include <limits.h>
#include <sys/eventfd.h>

#define MOST 32

/* The descriptors, with a description of each. */
static struct {
    int fd;
    const char *what;
} wrong[MOST];
static unsigned wrong_count;

static void
add(int fd, const char *what)
{
    CHECK(fd >= 0 && wrong_count < MOST);
    wrong[wrong_count].fd = fd;
    wrong[wrong_count++].what = what;
}

static int
memory_of(size_t size, unsigned char byte, int seals)
{
    unsigned char *bytes = malloc(size);
    int fd = (int)syscall(SYS_memfd_create, "wrong", 3 /* CLOEXEC | ALLOW_SEALING */);
    CHECK(bytes && fd >= 0);
    for (size_t i = 0; i < size; i++)
        bytes[i] = byte ? byte : (unsigned char)rand();
    CHECK(write(fd, bytes, size) == (ssize_t)size);
    free(bytes);
    CHECK(seals == 0 || fcntl(fd, F_ADD_SEALS, seals) == 0);
    return fd;
}

/*
 * Collects descriptors that are clearly no semaphores, and memory with the size and seals of the
 * driver's own semaphores.
 */
static void
gather(const struct gpu *gpu)
{
    int ends[2], like = -1;
    struct stat stat = { .st_size = 4096 };
    int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
    if (can_share_semaphore(gpu, VK_SEMAPHORE_TYPE_TIMELINE, SEMAPHORE_OPAQUE)) {
        VkSemaphore semaphore = shared_timeline(gpu, 0);
        like = export_semaphore(gpu, semaphore, SEMAPHORE_OPAQUE);
        CHECK(fstat(like, &stat) == 0);
        if (fcntl(like, F_GET_SEALS) >= 0)
            seals = fcntl(like, F_GET_SEALS);
        close(like);
        destroy(gpu, semaphore);
    }
    size_t size = stat.st_size > 0 ? (size_t)stat.st_size : 4096;
    add(open("/dev/null", O_RDWR | O_CLOEXEC), "/dev/null");
    add(open("/dev/zero", O_RDWR | O_CLOEXEC), "/dev/zero");
    add(open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC), "a directory");
    add(open("/proc/self/exe", O_RDONLY | O_CLOEXEC), "a file");
    add(open("/proc/self/exe", O_PATH | O_CLOEXEC), "a path");
    CHECK(pipe2(ends, O_CLOEXEC) == 0);
    add(ends[0], "the read end of a pipe");
    add(ends[1], "the write end of a pipe");
    add(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), "a socket");
    add(eventfd(1, EFD_CLOEXEC), "an eventfd");
    add((int)syscall(SYS_memfd_create, "wrong", 3), "empty memory");
    add(memory_of(size, 0, 0), "memory of the right size, not sealed");
    add(memory_of(size, 0, seals), "sealed memory of the right size, random");
    add(memory_of(size, 0xff, seals), "sealed memory of the right size, all ones");
    add(memory_of(size - 1, 0, seals), "sealed memory, a byte short");
    add(memory_of(size + 4096, 0, seals), "sealed memory, a page too long");
    add(memory_of(1, 1, seals), "sealed memory of a byte");
    int zeros = (int)syscall(SYS_memfd_create, "wrong", 3);
    CHECK(zeros >= 0 && ftruncate(zeros, (off_t)size) == 0
          && fcntl(zeros, F_ADD_SEALS, seals) == 0);
    add(zeros, "sealed memory of the right size, all zeros");
}

/* Checks that the descriptor is still open, and still the same file. */
static void
still_ours(int fd, const struct stat *before, const char *what)
{
    struct stat after;
    if (fstat(fd, &after) != 0 || after.st_ino != before->st_ino
        || after.st_dev != before->st_dev) {
        fprintf(stderr, "%s was closed\n", what);
        exit(1);
    }
}

static void
refused(VkResult result, const char *what, const char *as)
{
    if (result != VK_ERROR_INVALID_EXTERNAL_HANDLE) {
        fprintf(stderr, "%s imported as %s: %s (%d)\n", what, as, result_name(result), result);
        exit(1);
    }
}

static void
as_timeline(const struct gpu *gpu)
{
    VkSemaphore semaphore = shared_timeline(gpu, 7);
    for (unsigned i = 0; i < wrong_count; i++) {
        struct stat before;
        CHECK(fstat(wrong[i].fd, &before) == 0);
        refused(import_semaphore(gpu, semaphore, SEMAPHORE_OPAQUE, 0, wrong[i].fd), wrong[i].what,
                "timeline semaphore");
        still_ours(wrong[i].fd, &before, wrong[i].what);
        CHECK(value_of(gpu, semaphore) == 7 + i);
        signal_to(gpu, semaphore, 8 + i);
        VK_OK(wait_for(gpu, semaphore, 8 + i, 0));
    }
    destroy(gpu, semaphore);
}

static void
as_binary(const struct gpu *gpu)
{
    VkSemaphore semaphore = shared_binary(gpu);
    VkFence fence = unsignaled(gpu);
    for (unsigned i = 0; i < wrong_count; i++) {
        struct stat before;
        CHECK(fstat(wrong[i].fd, &before) == 0);
        submit(gpu, SIGNALS(POINT(semaphore, 0)));
        VK_OK(vkQueueWaitIdle(gpu->queues[0]));
        refused(import_semaphore(gpu, semaphore, SEMAPHORE_OPAQUE, 0, wrong[i].fd), wrong[i].what,
                "binary semaphore");
        refused(import_semaphore(gpu, semaphore, SEMAPHORE_OPAQUE,
                                 VK_SEMAPHORE_IMPORT_TEMPORARY_BIT, wrong[i].fd),
                wrong[i].what, "temporary binary semaphore");
        still_ours(wrong[i].fd, &before, wrong[i].what);
        submit(gpu, WAITS(POINT(semaphore, 0)), .fence = fence);
        VK_OK(wait_fence(gpu, fence, FOREVER));
        VK_OK(vkResetFences(gpu->device, 1, &fence));
    }
    VK_OK(vkQueueWaitIdle(gpu->queues[0]));
    vkDestroyFence(gpu->device, fence, NULL);
    destroy(gpu, semaphore);
}

static void
as_fence(const struct gpu *gpu)
{
    VkFence fence = make_fence(gpu, true, FENCE_OPAQUE);
    for (unsigned i = 0; i < wrong_count; i++) {
        struct stat before;
        CHECK(fstat(wrong[i].fd, &before) == 0);
        refused(import_fence(gpu, fence, FENCE_OPAQUE, 0, wrong[i].fd), wrong[i].what, "fence");
        refused(import_fence(gpu, fence, FENCE_OPAQUE, VK_FENCE_IMPORT_TEMPORARY_BIT, wrong[i].fd),
                wrong[i].what, "temporary fence");
        still_ours(wrong[i].fd, &before, wrong[i].what);
        VK_OK(vkGetFenceStatus(gpu->device, fence));
    }
    vkDestroyFence(gpu->device, fence, NULL);
}

/* Imports numbers that are not open descriptors. */
static void
closed(const struct gpu *gpu)
{
    VkSemaphore semaphore = shared_timeline(gpu, 0);
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0 && close(fd) == 0);
    refused(import_semaphore(gpu, semaphore, SEMAPHORE_OPAQUE, 0, fd), "a closed descriptor",
            "timeline semaphore");
    refused(import_semaphore(gpu, semaphore, SEMAPHORE_OPAQUE, 0, INT_MAX), "an unused number",
            "timeline semaphore");
    destroy(gpu, semaphore);
}

int
main(void)
{
    watchdog(60);
    struct gpu gpu = open_gpu();
    need_semaphore(&gpu, VK_SEMAPHORE_TYPE_TIMELINE, SEMAPHORE_OPAQUE);
    need_semaphore(&gpu, VK_SEMAPHORE_TYPE_BINARY, SEMAPHORE_OPAQUE);
    need_fence(&gpu, FENCE_OPAQUE);
    gather(&gpu);
    int fds = open_fds(), maps = mappings();
    for (unsigned i = 0; i < 20; i++) {
        as_timeline(&gpu);
        as_binary(&gpu);
        as_fence(&gpu);
        closed(&gpu);
    }
    CHECK(open_fds() <= fds);
    CHECK(mappings() <= maps + 10);
    close_gpu(&gpu);
    return 0;
}
