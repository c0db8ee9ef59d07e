/* SPDX-License-Identifier: MIT */
/* Kernel fences seen from outside: sync_files, and the fences of a dma-buf. */
#ifndef KERNEL_FENCE_H
#define KERNEL_FENCE_H

#include "check.h"

#include <fcntl.h>
#include <linux/dma-buf.h>
#include <linux/sync_file.h>
#include <linux/udmabuf.h>
#include <poll.h>
#include <stdbool.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>

/* 0 pending, 1 signaled, otherwise the errno that the fence failed with. */
static inline int
sync_file_status(int sync_file)
{
    struct sync_file_info info = { 0 };
    CHECK(ioctl(sync_file, SYNC_IOC_FILE_INFO, &info) == 0);
    return info.status;
}

/* A sync_file that signals when both do. */
static inline int
sync_file_merge(int one, int other)
{
    struct sync_merge_data merge = { .name = "both", .fd2 = other };
    CHECK(ioctl(one, SYNC_IOC_MERGE, &merge) == 0);
    return merge.fence;
}

/* Whether poll() finds a file ready, now. */
static inline bool
is_ready(int fd, short events)
{
    struct pollfd poll_fd = { .fd = fd, .events = events };
    int ready = poll(&poll_fd, 1, 0);
    CHECK(ready >= 0);
    return ready > 0 && (poll_fd.revents & events);
}

/* A sync_file of the fences that the next reader (DMA_BUF_SYNC_READ) or writer
 * (DMA_BUF_SYNC_WRITE) of a dma-buf must wait for. */
static inline int
dma_buf_export(int dma_buf, uint32_t flags)
{
    struct dma_buf_export_sync_file export = { .flags = flags, .fd = -1 };
    CHECK(ioctl(dma_buf, DMA_BUF_IOCTL_EXPORT_SYNC_FILE, &export) == 0);
    return export.fd;
}

/* Adds the fence of a sync_file to a dma-buf, as a reader's or a writer's. */
static inline void
dma_buf_import(int dma_buf, uint32_t flags, int sync_file)
{
    struct dma_buf_import_sync_file import = { .flags = flags, .fd = sync_file };
    CHECK(ioctl(dma_buf, DMA_BUF_IOCTL_IMPORT_SYNC_FILE, &import) == 0);
}

/* A dma-buf over plain memory, of one page. */
static inline int
udmabuf_create(void)
{
    struct udmabuf_create create = { .flags = UDMABUF_FLAGS_CLOEXEC,
                                     .size = sysconf(_SC_PAGESIZE) };
    int device = open("/dev/udmabuf", O_RDWR | O_CLOEXEC);
    int memfd = memfd_create("udmabuf", MFD_CLOEXEC | MFD_ALLOW_SEALING), dma_buf;
    CHECK(device >= 0 && memfd >= 0);
    CHECK(ftruncate(memfd, create.size) == 0 && fcntl(memfd, F_ADD_SEALS, F_SEAL_SHRINK) == 0);
    create.memfd = memfd;
    dma_buf = ioctl(device, UDMABUF_CREATE, &create);
    CHECK(dma_buf >= 0);
    close(memfd);
    close(device);
    return dma_buf;
}

/* How many fences a dma-buf has. A signaled fence stays until another takes its place. */
struct dma_buf_fences {
    int readers, writers;
    int pending; /* of both */
};

/* Only debugfs shows them: no other call shows a signaled fence. */
static inline struct dma_buf_fences
dma_buf_fences(int dma_buf)
{
    static const char path[] = "/sys/kernel/debug/dma_buf/bufinfo";
    struct dma_buf_fences count = { 0 };
    struct stat stat;
    char line[256];
    bool ours = false;
    if (access(path, F_OK))
        CHECK(mount("debugfs", "/sys/kernel/debug", "debugfs", 0, NULL) == 0);
    FILE *file = fopen(path, "re");
    CHECK(file && fstat(dma_buf, &stat) == 0);
    while (fgets(line, sizeof(line), file)) {
        unsigned long inode;
        if (sscanf(line, "%*u %*x %*x %*u %*s %lu", &inode) == 1)
            ours = inode == stat.st_ino;
        if (!ours || !strstr(line, " fence:"))
            continue;
        count.readers += strstr(line, "read fence:") != NULL;
        count.writers += strstr(line, "write fence:") != NULL;
        count.pending += strstr(line, " unsignalled") != NULL;
    }
    fclose(file);
    return count;
}

#endif
