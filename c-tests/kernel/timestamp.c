// SPDX-License-Identifier: MIT
/*
 * A kernel fence that becomes a UMF passes its time on: what SYNC_IOC_FILE_INFO says, not the time
 * of the import. By each blocking import, and by a loop before and after the fence signaled.
 */
#include "drm_machine.h"
#include "kernel_fence.h"
#include "sleeper.h"
#include "syncobj.h"
#include "vgem.h"

static struct umf_page *page;
static struct umf_fence *fence;
static struct umf_loop *loop;
static uint64_t value;

/* The time at which a sync_file of one fence signaled. */
static uint64_t
signal_time(int sync_file)
{
    struct sync_fence_info inside = { 0 };
    struct sync_file_info info = { .num_fences = 1, .sync_fence_info = (uintptr_t)&inside };
    CHECK(ioctl(sync_file, SYNC_IOC_FILE_INFO, &info) == 0);
    CHECK(info.status == 1 && info.num_fences == 1);
    return inside.timestamp_ns;
}

static uint64_t
time_of(uint64_t signaled)
{
    uint64_t time;
    OK(umf_fence_timestamp(fence, signaled, &time));
    return time;
}

/* Until the clock shows another time. */
static void
let_time_pass(void)
{
    uint64_t start = now_ns();
    while (now_ns() - start < MS)
        ;
}

static int
signaled_sync_file(const struct machine *m)
{
    uint32_t kernel_fence;
    int fd = vgem_sync_file(m->vgem, &kernel_fence);
    vgem_signal(m->vgem, kernel_fence);
    let_time_pass();
    return fd;
}

static void
a_sync_file_passes_its_time_on(const struct machine *m)
{
    int fd = signaled_sync_file(m);
    OK(umf_fence_import_sync_file(fence, ++value, fd, 0, 0));
    CHECK(time_of(value) == signal_time(fd));
    close(fd);
}

static void
a_loop_passes_the_time_of_a_sync_file_on(const struct machine *m)
{
    struct umf_watch *watch;
    int fd = signaled_sync_file(m);
    OK(umf_loop_import_sync_file(loop, fence, ++value, fd, 0, NULL, &watch));
    OK(umf_fence_wait(fence, value, FOREVER));
    CHECK(time_of(value) == signal_time(fd));
    umf_watch_unref(watch);
    close(fd);

    uint32_t kernel_fence;
    fd = vgem_sync_file(m->vgem, &kernel_fence);
    OK(umf_loop_import_sync_file(loop, fence, ++value, fd, 0, NULL, &watch));
    vgem_signal(m->vgem, kernel_fence);
    OK(umf_fence_wait(fence, value, FOREVER));
    CHECK(time_of(value) == signal_time(fd));
    umf_watch_unref(watch);
    close(fd);
}

static void
a_container_passes_its_last_time_on(const struct machine *m)
{
    int first = signaled_sync_file(m), last = signaled_sync_file(m);
    int both = sync_file_merge(first, last);
    CHECK(signal_time(first) < signal_time(last));
    OK(umf_fence_import_sync_file(fence, ++value, both, 0, 0));
    CHECK(time_of(value) == signal_time(last));
    close(first);
    close(last);
    close(both);
}

static void
a_dma_buf_passes_its_time_on(const struct machine *m)
{
    struct vgem_buffer buffer = vgem_buffer_create(m->vgem);
    uint32_t kernel_fence = vgem_attach(&buffer, VGEM_FENCE_WRITE);
    int fd = dma_buf_export(buffer.dma_buf, DMA_BUF_SYNC_READ);
    struct umf_watch *watch;
    OK(umf_loop_import_dma_buf(loop, fence, ++value, buffer.dma_buf, UMF_DMA_BUF_READ, NULL,
                               &watch));
    vgem_signal(m->vgem, kernel_fence);
    OK(umf_fence_wait(fence, value, FOREVER));
    CHECK(time_of(value) == signal_time(fd));
    umf_watch_unref(watch);
    close(fd);
    vgem_buffer_destroy(&buffer);
}

static void
a_syncobj_passes_its_time_on(const struct machine *m)
{
    uint32_t syncobj = syncobj_create(m->gpu, 0);
    int fd = signaled_sync_file(m);
    syncobj_import_sync_file(m->gpu, syncobj, fd);
    OK(umf_fence_import_syncobj(fence, ++value, m->device, syncobj, 0, 0, 0));
    CHECK(time_of(value) == signal_time(fd));
    close(fd);
    syncobj_destroy(m->gpu, syncobj);
}

static void
without_a_kernel_fence_the_time_is_that_of_the_import(void)
{
    uint64_t before = now_ns();
    OK(umf_fence_import_sync_file(fence, ++value, -1, 0, 0));
    CHECK(before <= time_of(value) && time_of(value) <= now_ns());
}

int
main(void)
{
    struct machine m = open_machine();
    watchdog(50);
    OK(umf_page_create(1, UMF_PAGE_TIMESTAMPS, &page));
    OK(umf_fence_create(page, 0, 0, &fence));
    OK(umf_loop_create(UMF_LOOP_THREAD, &loop));
    RUN(a_sync_file_passes_its_time_on, &m);
    RUN(a_loop_passes_the_time_of_a_sync_file_on, &m);
    RUN(a_container_passes_its_last_time_on, &m);
    RUN(a_dma_buf_passes_its_time_on, &m);
    if (m.syncobj)
        RUN(a_syncobj_passes_its_time_on, &m);
    else
        printf("not available: syncobjs\n");
    RUN(without_a_kernel_fence_the_time_is_that_of_the_import);
    umf_loop_unref(loop);
    umf_fence_unref(fence);
    umf_page_unref(page);
    return 0;
}
