// SPDX-License-Identifier: MIT
/*
 * The system calls of conversions whose value or kernel fence is there already, and what they may
 * not save: a sync_file is a file of its own, and a file of a peer is asked nothing.
 */
#include "drm_machine.h"
#include "process.h"
#include "sleeper.h"
#include "syncobj.h"
#include "system_calls.h"
#include "vgem.h"

#include <sys/epoll.h>

enum way { TO_SYNC_FILE, TO_BINARY, TO_POINT, TO_DMA_BUF, FROM_SYNC_FILE, FROM_BINARY, FROM_POINT };

static void
count_calls(const struct machine *m, enum way way, const char *name, unsigned ioctls,
            unsigned calls)
{
    pid_t child = start_traced();
    if (child == 0) {
        struct machine own = *m;
        OK(umf_page_create(1, 0, &own.page));
        struct umf_fence *fence = new_fence(&own, 1);
        struct vgem_buffer buffer = vgem_buffer_create(m->vgem);
        uint32_t binary = syncobj_create(m->gpu, DRM_SYNCOBJ_CREATE_SIGNALED);
        uint32_t timeline = syncobj_create(m->gpu, 0);
        int fd = syncobj_export_sync_file(m->gpu, binary), result;
        syncobj_timeline_signal(m->gpu, timeline, 5);
        /* What this process asks once. */
        OK(umf_fence_import_sync_file(fence, 1, fd, 0, FOREVER));
        begin_trace();
        switch (way) {
        case TO_SYNC_FILE:
            result = umf_fence_export_sync_file(fence, 1, m->device, 0, FOREVER, &fd);
            break;
        case TO_BINARY:
            result = umf_fence_export_syncobj(fence, 1, m->device, binary, 0, 0, FOREVER);
            break;
        case TO_POINT:
            result = umf_fence_export_syncobj(fence, 1, m->device, timeline, 6, 0, FOREVER);
            break;
        case TO_DMA_BUF:
            result = umf_fence_export_dma_buf(fence, 1, m->device, buffer.dma_buf,
                                              UMF_DMA_BUF_WRITE, FOREVER);
            break;
        case FROM_SYNC_FILE:
            result = umf_fence_import_sync_file(fence, 2, fd, 0, FOREVER);
            break;
        case FROM_BINARY:
            result = umf_fence_import_syncobj(fence, 2, m->device, binary, 0, 0, FOREVER);
            break;
        default:
            result = umf_fence_import_syncobj(fence, 2, m->device, timeline, 5, 0, FOREVER);
        }
        end_trace();
        _exit(result != 0);
    }
    expect_calls(child, name, ioctls, calls);
}

static void
a_conversion_makes_few_calls(const struct machine *m)
{
    count_calls(m, TO_SYNC_FILE, "to a sync_file", 1, 1); /* SYNC_IOC_MERGE */
    count_calls(m, TO_BINARY, "to a binary syncobj", 1, 1);
    /* QUERY: the kernel accepts a point that goes backwards, and hangs. */
    count_calls(m, TO_POINT, "to a timeline's point", 2, 2);
    /* statx: the file is no peer's */
    count_calls(m, TO_DMA_BUF, "to a dma-buf", 1, 2);
    count_calls(m, FROM_SYNC_FILE, "from a sync_file", 1, 2);
    /* HANDLE_TO_FD, FILE_INFO, close */
    count_calls(m, FROM_BINARY, "from a binary syncobj", 2, 3);
    /* CREATE, TRANSFER, HANDLE_TO_FD, DESTROY, FILE_INFO, close. Since Linux 6.16 HANDLE_TO_FD
     * takes a point. */
    if (kernel_at_least(6, 16))
        count_calls(m, FROM_POINT, "from a timeline's point", 2, 3);
    else
        count_calls(m, FROM_POINT, "from a timeline's point", 5, 6);
}

/* A consumer may close a descriptor that an epoll set polls. The kernel removes it from the set
 * with the last descriptor of the open file, so no other descriptor of that file may exist. */
static void
a_sync_file_that_is_closed_leaves_its_epoll_set(const struct machine *m)
{
    struct umf_fence *fence = new_fence(m, 1);
    int set = epoll_create1(EPOLL_CLOEXEC), last = -1;
    struct epoll_event event = { .events = EPOLLIN };
    CHECK(set >= 0);
    for (int i = 0; i < 3; i++) {
        int fd;
        OK(umf_fence_export_sync_file(fence, 1, m->device, 0, FOREVER, &fd));
        CHECK(last < 0 || fd == last); /* the number is free again */
        CHECK(epoll_ctl(set, EPOLL_CTL_ADD, fd, &event) == 0);
        CHECK(epoll_wait(set, &event, 1, 0) == 1);
        close(fd);
        CHECK(epoll_wait(set, &event, 1, 0) == 0);
        last = fd;
    }
    close(set);
    umf_fence_unref(fence);
}

/* Nor do flags of an open file reach from one consumer to another. */
static void
sync_files_share_no_flags(const struct machine *m)
{
    struct umf_fence *fence = new_fence(m, 1);
    int fds[2];
    for (int i = 0; i < 2; i++)
        OK(umf_fence_export_sync_file(fence, 1, m->device, 0, FOREVER, &fds[i]));
    int before = fcntl(fds[1], F_GETFL);
    CHECK(fcntl(fds[0], F_SETFL, O_NONBLOCK) == 0);
    EXPECT(before, fcntl(fds[1], F_GETFL));
    close(fds[0]);
    close(fds[1]);
    umf_fence_unref(fence);
}

/* The child of a fork has a handle of its parent's device. What either converts is signaled. */
static void
the_child_of_a_fork_exports_signaled_sync_files(const struct machine *m)
{
    pid_t child;
    IN_CHILD(child, {
        struct umf_fence *fence = new_fence(m, 1);
        int fd;
        OK(umf_fence_export_sync_file(fence, 1, m->device, 0, FOREVER, &fd));
        EXPECT(1, sync_file_status(fd));
        umf_device_unref(m->device);
        umf_fence_unref(fence);
    });
    join_child(child);
    struct umf_fence *fence = new_fence(m, 1);
    int fd;
    OK(umf_fence_export_sync_file(fence, 1, m->device, 0, FOREVER, &fd));
    EXPECT(1, sync_file_status(fd));
    close(fd);
    umf_fence_unref(fence);
}

int
main(void)
{
    struct machine m = open_machine();
    watchdog(50);
    if (!m.syncobj) {
        printf("needs syncobjs: Linux 6.6 with virtio-gpu\n");
        return SKIPPED;
    }
    RUN(a_conversion_makes_few_calls, &m);
    RUN(a_sync_file_that_is_closed_leaves_its_epoll_set, &m);
    RUN(sync_files_share_no_flags, &m);
    RUN(the_child_of_a_fork_exports_signaled_sync_files, &m);
    return 0;
}
