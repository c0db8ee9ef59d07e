// SPDX-License-Identifier: MIT
/*
 * A GPU that goes away while this process has it open. Every conversion that needs it returns
 * -ENODEV, a conversion under way ends with it, with SYNCOBJ_EVENTFD and without, and no thread is
 * left.
 */
#include "drm_machine.h"
#include "sandbox.h"
#include "sleeper.h"
#include "syncobj.h"
#include "vgem.h"
#include "watch.h"

/* From here on every ioctl of a DRM device fails in all threads, as after its driver was
 * unbound. One that waits goes on waiting. (Unbinding virtio-gpu leaves a warning in the kernel
 * log of 6.12.) */
static void
lose_the_device(void)
{
    struct sock_filter steps[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 4),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
        BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0xff00),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, DRM_IOCTL_BASE << 8, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENODEV),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = { ARRAY_SIZE(steps), steps };
    CHECK(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &filter) == 0);
}

/* SYNCOBJ_EVENTFD fails as before Linux 6.6, so a thread waits for the point. */
static void
forbid_syncobj_eventfd(void)
{
    struct sock_filter steps[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)SYNCOBJ_EVENTFD, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    install_filter(steps, ARRAY_SIZE(steps));
}

/* Waits in a loop of its own for a point that was not submitted. */
struct wait {
    struct umf_loop *loop;
    struct umf_syncobj *syncobj;
    struct umf_fence *target;
    struct told told;
};

static void
begin_wait(struct wait *wait, struct machine *m, uint64_t mode)
{
    struct umf_callback callback = callback_to(&wait->told);
    wait->target = new_fence(m, 0);
    wait->loop = create_loop(mode);
    OK(umf_syncobj_open(m->device, syncobj_create(m->gpu, 0), 0, &wait->syncobj));
    OK(umf_loop_import_syncobj(wait->loop, wait->target, 1, wait->syncobj, 3, 0, &callback, NULL));
}

static void
ends_with_the_device(struct wait *wait)
{
    /* Nothing makes the descriptor of a loop without a thread readable. */
    while (!loop_has_thread(wait->loop) && wait->told.releases == 0)
        OK(umf_loop_dispatch(wait->loop, 0));
    until_called(wait->loop, &wait->told, -ENODEV);
    CHECK(error_of(wait->target) == -ENODEV);
    umf_syncobj_unref(wait->syncobj);
    umf_loop_unref(wait->loop);
    umf_fence_unref(wait->target);
}

int
main(void)
{
    struct machine m = open_machine();
    struct wait announced[2];
    struct umf_loop *loop;
    struct umf_syncobj *syncobj, *more;
    struct umf_device *device;
    struct umf_watch *watch;
    struct told told;
    struct umf_callback callback = callback_to(&told);
    int fd;
    watchdog(50);
    if (!m.syncobj) {
        printf("not available: syncobjs\n");
        return SKIPPED;
    }
    begin_wait(&announced[0], &m, UMF_LOOP_THREAD);
    begin_wait(&announced[1], &m, 0);
    forbid_syncobj_eventfd();
    umf_device_unref(m.device);
    OK(umf_device_create(m.gpu, 0, &m.device));
    struct umf_fence *fence = new_fence(&m, 1), *target = new_fence(&m, 0);
    struct umf_fence *other = new_fence(&m, 0); /* which the watch does not fail meanwhile */
    uint32_t handle = syncobj_create(m.gpu, 0);
    OK(umf_loop_create(UMF_LOOP_THREAD, &loop));
    OK(umf_syncobj_open(m.device, handle, 0, &syncobj));
    OK(umf_loop_import_syncobj(loop, target, 1, syncobj, 3, 0, &callback, &watch));
    uint32_t number;
    int pending = vgem_sync_file(m.vgem, &number);
    OK(umf_fence_attach_sync_file(fence, 5, pending, 0));

    lose_the_device();

    EXPECT(-ENODEV, umf_device_create(m.gpu, 0, &device));
    EXPECT(-ENODEV, umf_syncobj_open(m.device, handle, 0, &more));
    EXPECT(-ENODEV, umf_syncobj_create(m.device, 0, &more));
    EXPECT(-ENODEV, umf_syncobj_export(syncobj, 0, &fd));
    EXPECT(-ENODEV, umf_syncobj_signal(syncobj, 9, 0));
    EXPECT(-ENODEV, umf_syncobj_signal(syncobj, 0, 0));
    /* The value is reached: a signaled sync_file needs nothing of the device. */
    OK(umf_fence_export_sync_file(fence, 1, m.device, 0, 0, &fd));
    EXPECT(1, sync_file_status(fd));
    close(fd);
    EXPECT(-ENODEV, umf_fence_export_syncobj(fence, 1, m.device, handle, 0, 0, 0));
    EXPECT(-ENODEV, umf_fence_export_syncobj(fence, 1, m.device, handle, 9, 0, 0));
    EXPECT(-ENODEV, umf_fence_import_syncobj(other, 1, m.device, handle, 3, 0, FOREVER));
    EXPECT(-ENODEV, umf_loop_export_syncobj(loop, fence, 1, syncobj, 9, 0, NULL, NULL));
    EXPECT(-ENODEV, umf_fence_attach_syncobj(fence, 2, m.device, handle, 0, 0));
    /* A kernel fence of another device is still there; the lost device's syncobjs are not. */
    EXPECT(-ENODEV, umf_fence_export_syncobj(fence, 5, m.device, handle, 0, 0, FOREVER));
    EXPECT(-ENODEV, umf_fence_export_syncobj(fence, 5, m.device, handle, 9, 0, FOREVER));
    EXPECT(-ENODEV, umf_loop_export_syncobj(loop, fence, 5, syncobj, 9, 0, NULL, NULL));
    OK(umf_fence_export_sync_file(fence, 5, m.device, 0, FOREVER, &fd));
    close(fd);
    close(pending);
    until_called(loop, &told, -ENODEV);
    EXPECT(-ENODEV, umf_watch_result(watch));
    CHECK(error_of(target) == -ENODEV);
    umf_watch_unref(watch);
    ends_with_the_device(&announced[0]);
    ends_with_the_device(&announced[1]);
    umf_syncobj_unref(syncobj);
    umf_loop_unref(loop);
    until_threads(1);
    umf_fence_unref(target);
    umf_fence_unref(other);
    umf_fence_unref(fence);
    umf_device_unref(m.device);
    umf_page_unref(m.page);
    return 0;
}
