// SPDX-License-Identifier: MIT
/*
 * Each ioctl of a conversion gets each error that docs/errnos.md says the kernel can return. The
 * function that made it returns what the table says, keeps nothing, and works afterwards.
 */
#include "drm_machine.h"
#include "errno_table.h"
#include "syncobj.h"
#include "vgem.h"
#include "watch.h"

/* Without the size of the struct, which differs in programs that were built with newer headers. */
#define IOCTL(request) { #request, SYS_ioctl, 1, 0xffff, (request) & 0xffff }

#ifndef SYS_poll
#define SYS_poll SYS_ppoll
#endif

static struct matched_call calls[] = {
    IOCTL(DRM_IOCTL_SYNCOBJ_TRANSFER), /* the first, see main() */
    IOCTL(DRM_IOCTL_GET_CAP),
    IOCTL(DRM_IOCTL_SYNCOBJ_CREATE),
    IOCTL(DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD),
    IOCTL(DRM_IOCTL_SYNCOBJ_FD_TO_HANDLE),
    IOCTL(DRM_IOCTL_SYNCOBJ_WAIT),
    IOCTL(DRM_IOCTL_SYNCOBJ_TIMELINE_WAIT),
    IOCTL(DRM_IOCTL_SYNCOBJ_RESET),
    IOCTL(DRM_IOCTL_SYNCOBJ_SIGNAL),
    { "DRM_IOCTL_SYNCOBJ_EVENTFD", SYS_ioctl, 1, 0xffff, SYNCOBJ_EVENTFD & 0xffff },
    IOCTL(DRM_IOCTL_SYNCOBJ_QUERY),
    IOCTL(DRM_IOCTL_SYNCOBJ_TIMELINE_SIGNAL),
    IOCTL(SYNC_IOC_FILE_INFO),
    IOCTL(SYNC_IOC_MERGE),
    /* Linux 6.5 */
    { "SYNC_IOC_SET_DEADLINE", SYS_ioctl, 1, 0xffff, SYNC_IOC_MAGIC << 8 | 5 },
    IOCTL(DMA_BUF_IOCTL_EXPORT_SYNC_FILE),
    IOCTL(DMA_BUF_IOCTL_IMPORT_SYNC_FILE),
    IOCTL(UDMABUF_CREATE),
    { "ppoll", SYS_ppoll, -1, 0, 0 },
    { "ppoll", SYS_poll, -1, 0, 0 },
    { "open", OPEN, OPEN_FLAGS, O_DIRECTORY, 0 }, /* the test opens directories itself */
    { "open", SYS_openat, 2, O_DIRECTORY, 0 },
};

static struct machine m;
static uint32_t timeline, binary;
static uint64_t last_point;
static int buffer, pending;

static int
create_device(void)
{
    MAKE_AND_UNREF(device, umf_device_create(m.gpu, 0, &made));
}

static int
create_syncobj(void)
{
    MAKE_AND_UNREF(syncobj, umf_syncobj_create(m.device, 0, &made));
}

static int
export_syncobj(void)
{
    struct umf_syncobj *syncobj;
    OK(umf_syncobj_create(m.device, 0, &syncobj));
    int fd = SENTINEL, result = umf_syncobj_export(syncobj, 0, &fd);
    close_made(fd, result);
    umf_syncobj_unref(syncobj);
    return result;
}

/* The result of a conversion to a fence, whose value is 2 if that is 0, and else as before. */
static int
imported(struct umf_fence *fence, int result)
{
    CHECK(umf_fence_value(fence) == (result == 0 ? 2 : 1));
    EXPECT(0, error_of(fence));
    umf_fence_unref(fence);
    return result;
}

/* Each process has its own, since all share the handles of the device. */
static void
make_timeline(void)
{
    timeline = syncobj_create(m.gpu, 0);
    syncobj_timeline_signal(m.gpu, timeline, 1);
    last_point = 1;
}

/* Nobody adds the point. */
static int
import_point(void)
{
    struct umf_fence *fence = new_fence(&m, 1);
    const uint64_t until = in_ns(5 * MS);
    return imported(fence, umf_fence_import_syncobj(fence, 2, m.device, timeline, 9, 0, until));
}

static int
export_point(void)
{
    struct umf_fence *fence = new_fence(&m, 1);
    int result = umf_fence_export_syncobj(fence, 1, m.device, timeline, last_point + 1, 0, 0);
    last_point += result == 0;
    umf_fence_unref(fence);
    return result;
}

/* The kernel fence of the first point. */
static int
attach_point(void)
{
    struct umf_fence *fence = new_fence(&m, 1);
    int result = umf_fence_attach_syncobj(fence, 2, m.device, timeline, 1, 0);
    umf_fence_unref(fence);
    return result;
}

/* The point of a syncobj that has no timeline. */
static int
signal_syncobj(void)
{
    struct umf_syncobj *syncobj;
    OK(umf_syncobj_create(m.device, 0, &syncobj));
    int result = umf_syncobj_signal(syncobj, 0, 0);
    umf_syncobj_unref(syncobj);
    return result;
}

/* A loop waits for a point. It is added once no call fails any more, unless the wait failed. */
static int
watch_point_of(struct umf_device *device)
{
    struct umf_loop *loop = create_loop(UMF_LOOP_THREAD);
    struct umf_syncobj *syncobj;
    struct umf_fence *fence = new_fence(&m, 1);
    struct told told;
    struct umf_callback callback = callback_to(&told);
    const uint64_t point = last_point + 1;
    OK(umf_syncobj_open(device, timeline, 0, &syncobj));
    int result = umf_loop_import_syncobj(loop, fence, 2, syncobj, point, 0, &callback, NULL);
    if (result == 0) {
        while (atomic_load(&told.releases) == 0) {
            if (atomic_load(&answers_left) == 0 && last_point < point)
                syncobj_timeline_signal(m.gpu, timeline, ++last_point);
            turn_loop(loop);
        }
        result = told.result;
    }
    CHECK(umf_fence_value(fence) == (result == 0 ? 2 : 1));
    umf_fence_unref(fence);
    umf_syncobj_unref(syncobj);
    umf_loop_unref(loop);
    until_threads(2); /* this one, and the one that answers */
    return result;
}

static int
watch_point(void)
{
    return watch_point_of(m.device);
}

/* A device as before Linux 6.6: a thread waits for the point. */
static int
watch_point_by_thread(void)
{
    struct umf_device *device;
    OK(umf_device_create(m.gpu, 0, &device));
    int result = watch_point_of(device);
    umf_device_unref(device);
    return result;
}

static int
lacks_eventfd(const struct seccomp_data *data)
{
    (void)data;
    return EINVAL;
}

static void
hide_eventfd(void)
{
    static const struct matched_call call = { NULL, SYS_ioctl, 1, 0xffff,
                                              SYNCOBJ_EVENTFD & 0xffff };
    make_timeline();
    other_call = &call;
    answer_other = lacks_eventfd;
}

/* A device that has no timelines. Nobody signals the syncobj. */
static int
import_binary(void)
{
    struct umf_device *device;
    struct umf_fence *fence = new_fence(&m, 1);
    OK(umf_device_create(m.gpu, 0, &device));
    int result = umf_fence_import_syncobj(fence, 2, device, binary, 0, 0, in_ns(5 * MS));
    umf_device_unref(device);
    CHECK(umf_fence_value(fence) == 1);
    umf_fence_unref(fence);
    return result;
}

/* The thread that answers is one of this process. The capability's value is 0 before the call. */
static int
lacks_timelines(const struct seccomp_data *data)
{
    const struct drm_get_cap *ask = (const void *)(uintptr_t)data->args[2];
    return ask->capability == DRM_CAP_SYNCOBJ_TIMELINE ? 0 : PASS;
}

static void
hide_timelines(void)
{
    static const struct matched_call call = IOCTL(DRM_IOCTL_GET_CAP);
    binary = syncobj_create(m.gpu, 0);
    other_call = &call;
    answer_other = lacks_timelines;
}

/* It signals by itself after 10 s. */
static void
make_pending_sync_file(void)
{
    uint32_t unused;
    pending = vgem_sync_file(m.vgem, &unused);
}

static void
make_pending_sync_file_and_timeline(void)
{
    make_pending_sync_file();
    make_timeline();
}

/* The kernel fence of a value that is not reached is passed on. */
static int
submit_point(void)
{
    struct umf_fence *fence = new_fence(&m, 1);
    OK(umf_fence_attach_sync_file(fence, 2, pending, 0));
    int result = umf_fence_export_syncobj(fence, 2, m.device, timeline, last_point + 1, 0, 0);
    last_point += result == 0;
    umf_fence_unref(fence);
    return result;
}

static int
set_deadline(void)
{
    struct umf_fence *fence = new_fence(&m, 1);
    OK(umf_fence_attach_sync_file(fence, 2, pending, 0));
    int result = umf_fence_set_deadline(fence, 2, in_ns(SECOND), 0);
    umf_fence_unref(fence);
    return result;
}

static int
export_sync_file(void)
{
    int fd = SENTINEL;
    struct umf_fence *fence = new_fence(&m, 1);
    int result = umf_fence_export_sync_file(fence, 1, m.device, 0, 0, &fd);
    close_made(fd, result);
    umf_fence_unref(fence);
    return result;
}

static int
open_syncobj(void)
{
    MAKE_AND_UNREF(syncobj, umf_syncobj_open(m.device, timeline, 0, &made));
}

static int
import_pending(void)
{
    struct umf_fence *fence = new_fence(&m, 1);
    return imported(fence, umf_fence_import_sync_file(fence, 2, pending, 0, in_ns(5 * MS)));
}

static int
import_dma_buf(void)
{
    struct umf_fence *fence = new_fence(&m, 1);
    return imported(fence, umf_fence_import_dma_buf(fence, 2, buffer, UMF_DMA_BUF_WRITE, FOREVER));
}

static int
export_dma_buf(void)
{
    struct umf_fence *fence = new_fence(&m, 1);
    int result = umf_fence_export_dma_buf(fence, 1, m.device, buffer, UMF_DMA_BUF_WRITE, 0);
    umf_fence_unref(fence);
    return result;
}

static int
export_page(void)
{
    int fd = SENTINEL, result = umf_page_export_dma_buf(m.page, 0, &fd);
    close_made(fd, result);
    return result;
}

static const struct maker makers[] = {
    { "umf_device_create", create_device, 0, NULL },
    { "umf_syncobj_create", create_syncobj, 0, NULL },
    { "umf_syncobj_export", export_syncobj, 0, NULL },
    { "umf_syncobj_open", open_syncobj, 0, NULL },
    { "umf_fence_import_syncobj", import_point, -ETIME, make_timeline },
    { "umf_fence_export_syncobj", export_point, 0, make_timeline },
    { "umf_fence_attach_syncobj", attach_point, 0, make_timeline },
    { "umf_fence_attach_sync_file", submit_point, 0, make_pending_sync_file_and_timeline },
    { "umf_fence_export_sync_file", export_sync_file, 0, NULL },
    { "umf_fence_set_deadline", set_deadline, 0, make_pending_sync_file },
    { "umf_syncobj_signal", signal_syncobj, 0, NULL },
    { "umf_loop_import_syncobj", watch_point, 0, make_timeline },
    { "before Linux 6.6", watch_point_by_thread, 0, hide_eventfd },
    { "without timelines", import_binary, -ETIME, hide_timelines },
    { "umf_fence_import_sync_file", import_pending, -ETIME, make_pending_sync_file },
    { "umf_fence_import_dma_buf", import_dma_buf, 0, NULL },
    { "umf_fence_export_dma_buf", export_dma_buf, 0, NULL },
    { "umf_page_export_dma_buf", export_page, 0, NULL },
};

/* Whether the kernel exports the fence of a point (Linux 6.16): it has the flag, and then finds
 * that there is no handle 0. */
static bool
exports_points(void)
{
    struct {
        struct drm_syncobj_handle handle;
        uint64_t point;
    } ask = { { .flags = DRM_SYNCOBJ_HANDLE_TO_FD_FLAGS_EXPORT_SYNC_FILE | 2, .fd = -1 }, 1 };
    CHECK(ioctl(m.gpu, _IOWR('d', 0xc1, ask), &ask) == -1);
    return errno == ENOENT;
}

int
main(void)
{
    watchdog(50);
    m = open_machine();
    if (!m.syncobj || !m.udmabuf) {
        printf("this kernel lacks it all\n");
        return SKIPPED;
    }
    if (exports_points())
        calls[0].number = NEVER_MADE;
    make_timeline();
    buffer = udmabuf_create();
    CHECK(DEVICE_ROWS);
    return !check_rows(DEVICE_ROWS, errnos_md + sizeof(errnos_md), calls, ARRAY_SIZE(calls), makers,
                       ARRAY_SIZE(makers));
}
