// SPDX-License-Identifier: MIT
/*
 * A wait for a kernel fence tells the driver its deadline, which may raise the device's clocks.
 * Only the project's own module has fences that remember it (kernel/module).
 */
#include "drm_machine.h"
#include "sleeper.h"
#include "syncobj.h"
#include "test_fence.h"
#include "vgem.h"

/* Linux 6.5. */
struct deadline {
    uint64_t deadline_ns, pad;
};
#define SET_DEADLINE _IOW('>', 5, struct deadline)

/* The earliest deadline that anybody has asked for. */
static uint64_t
deadline_of(int kernel_fence)
{
    uint64_t deadline = 7;
    OK(ioctl(kernel_fence, UMF_TEST_FENCE_DEADLINE, &deadline));
    return deadline;
}

/* The ways to wait for a kernel fence. */
enum way { SYNC_FILE, BINARY, POINT, DMA_BUF, WAYS };
static const char *const names[] = { "sync_file", "binary syncobj", "timeline point", "dma-buf" };

static int
import(const struct machine *m, enum way way, struct umf_fence *fence, int sync_file,
       uint64_t timeout)
{
    struct vgem_buffer buffer;
    uint32_t handle = 0;
    int result;
    if (way == BINARY || way == POINT)
        handle = syncobj_create(m->gpu, 0);
    switch (way) {
    case SYNC_FILE:
        return umf_fence_import_sync_file(fence, 1, sync_file, 0, timeout);
    case BINARY:
        syncobj_import_sync_file(m->gpu, handle, sync_file);
        result = umf_fence_import_syncobj(fence, 1, m->device, handle, 0, 0, timeout);
        break;
    case POINT:
        syncobj_submit(m->gpu, handle, 5, sync_file);
        result = umf_fence_import_syncobj(fence, 1, m->device, handle, 5, 0, timeout);
        break;
    default:
        buffer = vgem_buffer_create(m->vgem);
        dma_buf_import(buffer.dma_buf, DMA_BUF_SYNC_WRITE, sync_file);
        result = umf_fence_import_dma_buf(fence, 1, buffer.dma_buf, UMF_DMA_BUF_READ, timeout);
        vgem_buffer_destroy(&buffer);
        return result;
    }
    syncobj_destroy(m->gpu, handle);
    return result;
}

static void
the_module_remembers_deadlines(void)
{
    int sync_file, kernel_fence = test_fence(&sync_file);
    struct deadline later = { .deadline_ns = 2000 }, earlier = { .deadline_ns = 1000 };
    EXPECT(0, deadline_of(kernel_fence));
    CHECK(ioctl(sync_file, SET_DEADLINE, &later) == 0);
    EXPECT(2000, deadline_of(kernel_fence));
    CHECK(ioctl(sync_file, SET_DEADLINE, &earlier) == 0);
    CHECK(ioctl(sync_file, SET_DEADLINE, &later) == 0);
    EXPECT(1000, deadline_of(kernel_fence));
    close(sync_file);
    close(kernel_fence);
}

static void
a_wait_tells_its_deadline(const struct machine *m, enum way way)
{
    struct leftovers before = leftovers(m);
    struct umf_fence *fence = new_fence(m, 0);
    int sync_file, kernel_fence = test_fence(&sync_file);
    printf("    %s\n", names[way]);
    /* One that only looks waits for nothing. */
    EXPECT(-ETIME, import(m, way, fence, sync_file, 0));
    EXPECT(0, deadline_of(kernel_fence));
    uint64_t deadline = in_ns(20 * MS);
    EXPECT(-ETIME, import(m, way, fence, sync_file, deadline));
    CHECK(deadline_of(kernel_fence) == deadline);
    close(sync_file);
    close(kernel_fence);
    umf_fence_unref(fence);
    check_leftovers(m, before);
}

static void
a_wait_without_a_deadline_asks_for_none(const struct machine *m, enum way way)
{
    struct umf_fence *fence = new_fence(m, 0);
    int sync_file, kernel_fence = test_fence(&sync_file);
    pid_t device;
    IN_CHILD(device, {
        until_blocked(getppid());
        OK(ioctl(kernel_fence, UMF_TEST_FENCE_SIGNAL, 0));
    });
    OK(import(m, way, fence, sync_file, FOREVER));
    EXPECT(0, deadline_of(kernel_fence));
    join_child(device);
    close(sync_file);
    close(kernel_fence);
    umf_fence_unref(fence);
}

/* A fence passes it on to the kernel fence that stands for the value, and to no other. */
static void
a_fence_tells_when_a_value_is_needed(const struct machine *m)
{
    struct leftovers before = leftovers(m);
    struct umf_fence *fence = new_fence(m, 0);
    int sync_files[2], kernel_fences[2];
    for (int i = 0; i < 2; i++) {
        kernel_fences[i] = test_fence(&sync_files[i]);
        OK(umf_fence_attach_sync_file(fence, i ? 5 : 2, sync_files[i], 0));
    }
    OK(umf_fence_set_deadline(fence, 3, 3000, 0));
    EXPECT(0, deadline_of(kernel_fences[0]));
    EXPECT(3000, deadline_of(kernel_fences[1]));
    OK(umf_fence_set_deadline(fence, 1, 4000, 0));
    OK(umf_fence_set_deadline(fence, 5, 4000, 0));
    EXPECT(4000, deadline_of(kernel_fences[0]));
    EXPECT(3000, deadline_of(kernel_fences[1]));
    EXPECT(-ENOENT, umf_fence_set_deadline(fence, 6, 1, 0));
    /* A value that is reached needs nothing. A fence that failed says so. */
    OK(umf_fence_signal(fence, 2));
    OK(umf_fence_set_deadline(fence, 2, 1, 0));
    EXPECT(4000, deadline_of(kernel_fences[0]));
    OK(umf_fence_set_error(fence, -ENODEV));
    EXPECT(-EIO, umf_fence_set_deadline(fence, 3, 1, 0));
    EXPECT(3000, deadline_of(kernel_fences[1]));
    for (int i = 0; i < 2; i++) {
        close(sync_files[i]);
        close(kernel_fences[i]);
    }
    umf_fence_unref(fence);
    check_leftovers(m, before);
}

/* As a compositor: the loop's import attaches the client's kernel fence. */
static void
an_import_by_a_loop_can_be_given_a_deadline(void)
{
    struct umf_page *page;
    struct umf_fence *fence;
    struct umf_loop *loop;
    struct umf_watch *watch;
    int sync_file, kernel_fence = test_fence(&sync_file);
    OK(umf_page_create(1, 0, &page));
    OK(umf_fence_create(page, 0, 0, &fence));
    OK(umf_loop_create(UMF_LOOP_THREAD, &loop));
    OK(umf_loop_import_sync_file(loop, fence, 1, sync_file, 0, NULL, &watch));
    OK(umf_fence_set_deadline(fence, 1, 5000, 0));
    EXPECT(5000, deadline_of(kernel_fence));
    OK(ioctl(kernel_fence, UMF_TEST_FENCE_SIGNAL, 0));
    OK(umf_fence_wait(fence, 1, FOREVER));
    umf_watch_unref(watch);
    umf_loop_unref(loop);
    umf_fence_unref(fence);
    umf_page_unref(page);
    close(sync_file);
    close(kernel_fence);
}

int
main(void)
{
    struct machine m = open_machine();
    watchdog(50);
    if (!kernel_at_least(6, 5)) {
        printf("needs SYNC_IOC_SET_DEADLINE, Linux 6.5\n");
        return SKIPPED;
    }
    if (!load_test_fences()) {
        printf("needs umf_test_fence.ko for this kernel, which kernel/module/build makes\n");
        return SKIPPED;
    }
    RUN(the_module_remembers_deadlines);
    RUN(a_fence_tells_when_a_value_is_needed, &m);
    RUN(an_import_by_a_loop_can_be_given_a_deadline);
    for (enum way way = 0; way < WAYS; way++) {
        RUN(a_wait_tells_its_deadline, &m, way);
        RUN(a_wait_without_a_deadline_asks_for_none, &m, way);
    }
    return 0;
}
