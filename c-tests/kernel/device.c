// SPDX-License-Identifier: MIT
/* Devices: what they can do, on every kernel; what they cannot do is refused at once. */
#include "drm_machine.h"
#include "sleeper.h"
#include "syncobj.h"
#include "vgem.h"

#include <sys/eventfd.h>

static uint64_t
caps_of(struct umf_device *device)
{
    struct umf_device_caps caps = { .size = sizeof(caps) };
    OK(umf_device_query_caps(device, &caps));
    CHECK(caps.size == sizeof(caps));
    return caps.flags;
}

static struct umf_device *
open_device(const char *driver, const char *kind)
{
    struct umf_device *device;
    int fd = open_drm(driver, kind);
    CHECK(fd >= 0);
    OK(umf_device_create(fd, 0, &device));
    close(fd);
    return device;
}

static void
caps_tell_what_driver_and_kernel_have(const struct machine *m)
{
    static const char *const kinds[] = { "card", "renderD" };
    uint64_t syncobj = 0;
    if (m->syncobj)
        syncobj = UMF_DEVICE_CAP_SYNCOBJ | UMF_DEVICE_CAP_TIMELINE | UMF_DEVICE_CAP_EVENTFD;
    if (kernel_at_least(6, 8))
        syncobj |= UMF_DEVICE_CAP_DEADLINE;
    for (int i = 0; i < 2; i++) {
        struct umf_device *gpu = open_device("virtio_gpu", kinds[i]);
        struct umf_device *vgem = open_device("vgem", kinds[i]);
        EXPECT((int64_t)syncobj, caps_of(gpu));
        EXPECT(0, caps_of(vgem));
        umf_device_unref(gpu);
        umf_device_unref(vgem);
    }
}

static void
library_caps_tell_of_udmabuf(const struct machine *m)
{
    struct umf_caps caps = { .size = sizeof(caps) };
    OK(umf_query_caps(&caps));
    CHECK(!!(caps.flags & UMF_CAP_UDMABUF) == m->udmabuf);
    CHECK(m->udmabuf == kernel_at_least(6, 12));
}

static void
caps_of_any_size_are_answered(const struct machine *m)
{
    struct {
        struct umf_device_caps caps;
        uint64_t newer;
    } larger = { .caps.size = sizeof(larger), .newer = 1 };
    struct umf_device_caps smaller = { .size = sizeof(smaller) - 1, .flags = 1 };
    OK(umf_device_query_caps(m->device, &larger.caps));
    CHECK(larger.caps.size == sizeof(larger.caps) && larger.newer == 0);
    CHECK(larger.caps.flags == caps_of(m->device));
    EXPECT(-EINVAL, umf_device_query_caps(m->device, &smaller));
    CHECK(smaller.flags == 1);
    EXPECT(-EINVAL, umf_device_query_caps(m->device, NULL));
    EXPECT(-EINVAL, umf_device_query_caps(NULL, &larger.caps));
}

static void
only_drm_devices_are_taken(const struct machine *m)
{
    struct umf_device *const untouched = (struct umf_device *)&untouched, *device = untouched;
    int others[5], sockets[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) == 0);
    others[0] = open("/dev/null", O_RDWR | O_CLOEXEC);
    others[1] = memfd_create("not a device", MFD_CLOEXEC);
    others[2] = eventfd(0, EFD_CLOEXEC);
    others[3] = sockets[0];
    others[4] = sockets[1];
    for (int i = 0; i < 5; i++) {
        CHECK(others[i] >= 0);
        EXPECT(-EINVAL, umf_device_create(others[i], 0, &device));
        close(others[i]);
    }
    EXPECT(-EBADF, umf_device_create(others[0], 0, &device));
    EXPECT(-EBADF, umf_device_create(-1, 0, &device));
    EXPECT(-EINVAL, umf_device_create(m->gpu, 0, NULL));
    EXPECT(-EINVAL, umf_device_create(m->gpu, 1, &device));
    EXPECT(-EINVAL, umf_device_create(m->gpu, UINT64_C(1) << 63, &device));
    CHECK(device == untouched);
}

static void
a_device_leaves_nothing_behind(const struct machine *m)
{
    struct leftovers before = leftovers(m);
    struct umf_device *device;
    OK(umf_device_create(m->gpu, 0, &device));
    CHECK(umf_device_ref(device) == device);
    umf_device_unref(device);
    CHECK(caps_of(device) == caps_of(m->device));
    umf_device_unref(device);
    check_leftovers(m, before);
}

/* Nobody signals the fence: a call that waited would not return. */
static void
syncobj_conversions_need_syncobjs(const struct machine *m, struct umf_device *device)
{
    struct leftovers before = leftovers(m);
    struct umf_fence *fence = new_fence(m, 0);
    for (uint64_t point = 0; point < 2; point++) {
        EXPECT(-EOPNOTSUPP, umf_fence_export_syncobj(fence, 1, device, 1, point, 0, FOREVER));
        EXPECT(-EOPNOTSUPP, umf_fence_import_syncobj(fence, 1, device, 1, point, 0, FOREVER));
        EXPECT(-EOPNOTSUPP, umf_fence_export_syncobj(fence, 0, device, 1, point, 0, 0));
        EXPECT(-EOPNOTSUPP, umf_fence_import_syncobj(fence, 0, device, 1, point, 0, 0));
    }
    CHECK(umf_fence_value(fence) == 0 && error_of(fence) == 0);
    umf_fence_unref(fence);
    check_leftovers(m, before);
}

/* As above. Only a kernel without udmabuf has no way to make a signaled sync_file. */
static void
fd_exports_need_syncobjs_or_udmabuf(const struct machine *m, struct umf_device *device)
{
    struct umf_fence *fence = new_fence(m, 0);
    struct leftovers before;
    int fd = -7, buffer;

    if (m->udmabuf) {
        buffer = udmabuf_create();
        before = leftovers(m);
        OK(umf_fence_export_sync_file(fence, 0, device, 0, FOREVER, &fd));
        EXPECT(1, sync_file_status(fd));
        close(fd);
        OK(umf_fence_export_dma_buf(fence, 0, device, buffer, UMF_DMA_BUF_WRITE, FOREVER));
    } else {
        struct drm_mode_create_dumb dumb = { .width = 64, .height = 64, .bpp = 32 };
        CHECK(ioctl(m->vgem, DRM_IOCTL_MODE_CREATE_DUMB, &dumb) == 0);
        struct drm_prime_handle prime = { .handle = dumb.handle, .flags = DRM_CLOEXEC };
        CHECK(ioctl(m->vgem, DRM_IOCTL_PRIME_HANDLE_TO_FD, &prime) == 0);
        buffer = prime.fd;
        before = leftovers(m);
        for (uint64_t value = 0; value < 2; value++) {
            EXPECT(-EOPNOTSUPP, umf_fence_export_sync_file(fence, value, device, 0, FOREVER, &fd));
            EXPECT(-EOPNOTSUPP, umf_fence_export_dma_buf(fence, value, device, buffer,
                                                         UMF_DMA_BUF_WRITE, FOREVER));
        }
        CHECK(fd == -7);
        CHECK(dma_buf_fences(buffer).readers + dma_buf_fences(buffer).writers == 0);
    }
    check_leftovers(m, before);
    close(buffer);
    umf_fence_unref(fence);
}

/* A card node works, and so does a render node, and the caller may have closed its descriptor. */
static void
every_node_converts(const struct machine *m)
{
    static const char *const kinds[] = { "card", "renderD" };
    struct umf_fence *fence = new_fence(m, 1);
    int fd;
    for (int i = 0; i < 2; i++) {
        struct umf_device *device = open_device("virtio_gpu", kinds[i]);
        OK(umf_fence_export_sync_file(fence, 1, device, 0, 0, &fd));
        EXPECT(1, sync_file_status(fd));
        close(fd);
        umf_device_unref(device);
    }
    umf_fence_unref(fence);
}

/* After fork() both processes use one open file, so both have the same syncobj handles. If the
 * child's unref destroyed the one that the library keeps, the parent's next syncobj would get
 * its number and the wrong fence would be exported. */
static void
a_child_may_end_its_device(const struct machine *m)
{
    struct umf_fence *fence = new_fence(m, 1);
    struct umf_device *device;
    uint32_t kernel_fence;
    int fd, pending = vgem_sync_file(m->vgem, &kernel_fence);
    pid_t child;

    OK(umf_device_create(m->gpu, 0, &device));
    IN_CHILD(child, umf_device_unref(device));
    join_child(child);
    uint32_t syncobj = syncobj_create(m->gpu, 0);
    syncobj_import_sync_file(m->gpu, syncobj, pending);
    OK(umf_fence_export_sync_file(fence, 1, device, 0, 0, &fd));
    EXPECT(1, sync_file_status(fd));

    vgem_signal(m->vgem, kernel_fence);
    close(pending);
    close(fd);
    syncobj_destroy(m->gpu, syncobj);
    umf_device_unref(device);
    umf_fence_unref(fence);
}

int
main(void)
{
    struct machine m = open_machine();
    struct umf_device *vgem;
    OK(umf_device_create(m.vgem, 0, &vgem));
    watchdog(30);

    RUN(caps_tell_what_driver_and_kernel_have, &m);
    RUN(library_caps_tell_of_udmabuf, &m);
    RUN(caps_of_any_size_are_answered, &m);
    RUN(only_drm_devices_are_taken, &m);
    RUN(a_device_leaves_nothing_behind, &m);
    RUN(syncobj_conversions_need_syncobjs, &m, vgem);
    RUN(fd_exports_need_syncobjs_or_udmabuf, &m, vgem);
    RUN(fd_exports_need_syncobjs_or_udmabuf, &m, NULL);
    if (m.syncobj) {
        RUN(every_node_converts, &m);
        RUN(a_child_may_end_its_device, &m);
    } else {
        RUN(syncobj_conversions_need_syncobjs, &m, m.device);
        RUN(fd_exports_need_syncobjs_or_udmabuf, &m, m.device);
    }
    umf_device_unref(vgem);
    return 0;
}
