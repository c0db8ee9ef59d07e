// SPDX-License-Identifier: MIT
/*
 * Kernel fences that fail: their error becomes the UMF's, by whichever way it was imported. The
 * drivers of Debian's kernels never fail a fence, so this needs the project's own module
 * (kernel/module).
 */
#include "drm_machine.h"
#include "process.h"
#include "sleeper.h"
#include "syncobj.h"
#include "test_fence.h"
#include "vgem.h"

static const int errors[] = { EPERM,     EIO,       EINVAL,     ENODEV, ETIME,
                              ETIMEDOUT, ECANCELED, EOWNERDEAD, ESTALE, 4095 };
#define ERRORS (ARRAY_SIZE(errors))

/* What a call returns for a fence that failed with an errno. */
static int
answer(int error)
{
    return error == EOWNERDEAD ? -EOWNERDEAD : -EIO;
}

/* The ways to import a kernel fence. */
enum way { SYNC_FILE, BINARY, POINT, DMA_BUF, WAYS };
static const char *const names[] = { "sync_file", "binary syncobj", "timeline point", "dma-buf" };

struct source {
    enum way way;
    int sync_file;
    uint32_t syncobj;
    struct vgem_buffer buffer;
};

static struct source
put_fence_into(enum way way, const struct machine *m, int sync_file)
{
    struct source source = { .way = way, .sync_file = sync_file };
    if (way == BINARY || way == POINT)
        source.syncobj = syncobj_create(m->gpu, 0);
    if (way == BINARY)
        syncobj_import_sync_file(m->gpu, source.syncobj, sync_file);
    if (way == POINT)
        syncobj_submit(m->gpu, source.syncobj, 5, sync_file);
    if (way == DMA_BUF) {
        source.buffer = vgem_buffer_create(m->vgem);
        dma_buf_import(source.buffer.dma_buf, DMA_BUF_SYNC_WRITE, sync_file);
    }
    return source;
}

static int
import(struct source *s, const struct machine *m, struct umf_fence *fence, uint64_t value,
       uint64_t timeout)
{
    switch (s->way) {
    case SYNC_FILE:
        return umf_fence_import_sync_file(fence, value, s->sync_file, 0, timeout);
    case BINARY:
        return umf_fence_import_syncobj(fence, value, m->device, s->syncobj, 0, 0, timeout);
    case POINT:
        return umf_fence_import_syncobj(fence, value, m->device, s->syncobj, 5, 0, timeout);
    default:
        return umf_fence_import_dma_buf(fence, value, s->buffer.dma_buf, UMF_DMA_BUF_READ, timeout);
    }
}

static void
release(struct source *s, const struct machine *m)
{
    if (s->way == BINARY || s->way == POINT)
        syncobj_destroy(m->gpu, s->syncobj);
    if (s->way == DMA_BUF)
        vgem_buffer_destroy(&s->buffer);
    close(s->sync_file);
}

/* The module itself: the kernel reports what it signals. */
static void
the_module_makes_fences_that_fail(void)
{
    int sync_file, fence = test_fence(&sync_file);
    CHECK(!is_ready(sync_file, POLLIN));
    OK(ioctl(fence, UMF_TEST_FENCE_SIGNAL, ENODEV));
    EXPECT(-ENODEV, sync_file_status(sync_file));
    CHECK(is_ready(sync_file, POLLIN));
    CHECK(ioctl(fence, UMF_TEST_FENCE_SIGNAL, 0) < 0 && errno == EALREADY);
    close(sync_file);
    close(fence);
    fence = test_fence(&sync_file);
    close(fence);
    EXPECT(-ECANCELED, sync_file_status(sync_file));
    close(sync_file);
}

static void
success_is_no_error(const struct machine *m, enum way way)
{
    struct umf_fence *fence = new_fence(m, 1);
    int sync_file, kernel_fence = test_fence(&sync_file);
    struct source source = put_fence_into(way, m, sync_file);
    EXPECT(-ETIME, import(&source, m, fence, 2, 0));
    OK(ioctl(kernel_fence, UMF_TEST_FENCE_SIGNAL, 0));
    OK(import(&source, m, fence, 2, 0));
    CHECK(umf_fence_value(fence) == 2 && error_of(fence) == 0);
    release(&source, m);
    close(kernel_fence);
    umf_fence_unref(fence);
}

/* The fence fails during waits: an import waits for it, and another process waits for the
 * imported value. */
static void
a_pending_fence_fails(const struct machine *m, enum way way, int error)
{
    struct umf_fence *fence = new_fence(m, 1);
    int sync_file, kernel_fence = test_fence(&sync_file), fd = -7;
    struct source source = put_fence_into(way, m, sync_file);
    struct leftovers before = leftovers(m);
    pid_t importer, waiter;

    IN_CHILD(importer, EXPECT(answer(error), import(&source, m, fence, 2, FOREVER)));
    IN_CHILD(waiter, {
        EXPECT(answer(error), umf_fence_wait(fence, 2, FOREVER));
        EXPECT(-error, error_of(fence));
    });
    until_blocked(importer);
    until_blocked(waiter);
    CHECK(error_of(fence) == 0);
    OK(ioctl(kernel_fence, UMF_TEST_FENCE_SIGNAL, error));
    join_child(importer);
    join_child(waiter);
    CHECK(umf_fence_value(fence) == 1);
    EXPECT(-error, error_of(fence));
    /* No kernel fence is made from it any more. */
    if (m->syncobj)
        EXPECT(answer(error), umf_fence_export_sync_file(fence, 2, m->device, 0, FOREVER, &fd));
    CHECK(fd == -7);
    check_leftovers(m, before);
    release(&source, m);
    close(kernel_fence);
    umf_fence_unref(fence);
}

static void
a_fence_has_failed(const struct machine *m, enum way way, int error)
{
    struct umf_fence *fence = new_fence(m, 1);
    int sync_file, kernel_fence = test_fence(&sync_file);
    struct source source = put_fence_into(way, m, sync_file);
    struct leftovers before = leftovers(m);
    OK(ioctl(kernel_fence, UMF_TEST_FENCE_SIGNAL, error));
    if (way == DMA_BUF) {
        /* The kernel takes a buffer for idle once its fences signaled, whatever their error. */
        OK(import(&source, m, fence, 2, 0));
        CHECK(umf_fence_value(fence) == 2 && error_of(fence) == 0);
    } else {
        EXPECT(answer(error), import(&source, m, fence, 2, 0));
        CHECK(umf_fence_value(fence) == 1);
        EXPECT(-error, error_of(fence));
    }
    check_leftovers(m, before);
    release(&source, m);
    close(kernel_fence);
    umf_fence_unref(fence);
}

/* One of several fences fails, first or last: the others do not hide the error. */
static void
one_of_several_fails(const struct machine *m, enum way way, bool first)
{
    struct umf_fence *fence = new_fence(m, 1);
    int sync_files[2], kernel_fences[2];
    for (int i = 0; i < 2; i++)
        kernel_fences[i] = test_fence(&sync_files[i]);
    struct source source = put_fence_into(way, m, sync_file_merge(sync_files[0], sync_files[1]));
    pid_t importer;

    IN_CHILD(importer, EXPECT(-EIO, import(&source, m, fence, 2, FOREVER)));
    until_blocked(importer);
    OK(ioctl(kernel_fences[0], UMF_TEST_FENCE_SIGNAL, first ? ENODEV : 0));
    until_blocked(importer);
    CHECK(umf_fence_value(fence) == 1 && error_of(fence) == 0);
    OK(ioctl(kernel_fences[1], UMF_TEST_FENCE_SIGNAL, first ? 0 : ENODEV));
    join_child(importer);
    CHECK(umf_fence_value(fence) == 1);
    EXPECT(-ENODEV, error_of(fence));
    release(&source, m);
    for (int i = 0; i < 2; i++) {
        close(sync_files[i]);
        close(kernel_fences[i]);
    }
    umf_fence_unref(fence);
}

/* The process that owns the device dies, and its driver cancels the pending fences. */
static void
the_process_of_the_fence_dies(const struct machine *m, enum way way)
{
    struct umf_fence *fence = new_fence(m, 0);
    int sockets[2];
    pid_t owner;
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) == 0);
    IN_CHILD(owner, {
        int sync_file, kernel_fence = test_fence(&sync_file);
        send_fd(sockets[1], sync_file);
        until_blocked(getppid());
        raise(SIGKILL);
        close(kernel_fence);
    });
    struct source source = put_fence_into(way, m, recv_fd(sockets[0]));
    EXPECT(-EIO, import(&source, m, fence, 1, FOREVER));
    EXPECT(-ECANCELED, error_of(fence));
    CHECK(waitpid(owner, NULL, 0) == owner);
    release(&source, m);
    close(sockets[0]);
    close(sockets[1]);
    umf_fence_unref(fence);
}

/* The error of a point arrives, whatever else is on the timeline. */
static void
a_point_below_others_fails(const struct machine *m)
{
    struct umf_fence *fence = new_fence(m, 0);
    uint32_t syncobj = syncobj_create(m->gpu, 0);
    int sync_files[2], kernel_fences[2];
    pid_t importer;
    for (int i = 0; i < 2; i++) {
        kernel_fences[i] = test_fence(&sync_files[i]);
        syncobj_submit(m->gpu, syncobj, 1 + i, sync_files[i]);
        close(sync_files[i]);
    }
    IN_CHILD(importer,
             EXPECT(-EIO, umf_fence_import_syncobj(fence, 1, m->device, syncobj, 1, 0, FOREVER)));
    until_blocked(importer);
    OK(ioctl(kernel_fences[0], UMF_TEST_FENCE_SIGNAL, ENODEV));
    join_child(importer);
    EXPECT(-ENODEV, error_of(fence));
    /* A later import does not learn of the error: the kernel forgets signaled points below the
     * last. */
    struct umf_fence *late = new_fence(m, 0);
    OK(umf_fence_import_syncobj(late, 1, m->device, syncobj, 1, 0, 0));
    for (int i = 0; i < 2; i++)
        close(kernel_fences[i]);
    syncobj_destroy(m->gpu, syncobj);
    umf_fence_unref(fence);
    umf_fence_unref(late);
}

int
main(void)
{
    struct machine m = open_machine();
    if (!load_test_fences()) {
        printf("needs umf_test_fence.ko for this kernel, which kernel/module/build makes\n");
        return SKIPPED;
    }
    watchdog(50);

    RUN(the_module_makes_fences_that_fail);
    for (enum way way = 0; way < WAYS; way++) {
        if (!m.syncobj && (way == BINARY || way == POINT))
            continue; /* kernel_syncobj checks what older kernels return */
        printf("  %s:\n", names[way]);
        RUN(success_is_no_error, &m, way);
        RUN(one_of_several_fails, &m, way, true);
        RUN(one_of_several_fails, &m, way, false);
        RUN(the_process_of_the_fence_dies, &m, way);
        for (size_t i = 0; i < ERRORS; i++) {
            a_pending_fence_fails(&m, way, errors[i]);
            a_fence_has_failed(&m, way, errors[i]);
        }
    }
    if (m.syncobj)
        RUN(a_point_below_others_fails, &m);
    return 0;
}
