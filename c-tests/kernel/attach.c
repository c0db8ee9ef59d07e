// SPDX-License-Identifier: MIT
/*
 * Kernel fences that are attached to values of a UMF: exports hand them out at once, pending. What
 * is handed out is the caller's kernel fence and nothing else: it signals with that, and never
 * because of the UMF or of who should signal it.
 *
 * With a number as argument, that many frames: attached, exported and signaled, one after the
 * other.
 */
#include "drm_machine.h"
#include "process.h"
#include "sleeper.h"
#include "syncobj.h"
#include "system_calls.h"
#include "test_fence.h"
#include "vgem.h"
#include "watch.h"

#include <sys/eventfd.h>
#include <sys/resource.h>

static bool has_test_fences;

/* A kernel fence as a driver's submission returns it. */
struct submission {
    int sync_file;
    uint32_t vgem;
};

static struct submission
submit(const struct machine *m)
{
    struct submission s;
    s.sync_file = vgem_sync_file(m->vgem, &s.vgem);
    return s;
}

static void
complete(const struct machine *m, struct submission *s)
{
    vgem_signal(m->vgem, s->vgem);
    EXPECT(1, sync_file_status(s->sync_file));
    close(s->sync_file);
}

static struct submission
attach_new(const struct machine *m, struct umf_fence *fence, uint64_t value)
{
    struct submission s = submit(m);
    OK(umf_fence_attach_sync_file(fence, value, s.sync_file, 0));
    return s;
}

static int
export(struct umf_fence *fence, uint64_t value, uint64_t timeout)
{
    int fd = -7;
    OK(umf_fence_export_sync_file(fence, value, NULL, 0, timeout, &fd));
    CHECK(fcntl(fd, F_GETFD) == FD_CLOEXEC);
    return fd;
}

/* The status of the kernel fence that an export hands out. */
static int
exported(struct umf_fence *fence, uint64_t value)
{
    int fd = export(fence, value, 0), status = sync_file_status(fd);
    close(fd);
    return status;
}

static void
check_export_waits(struct umf_fence *fence, uint64_t value)
{
    int fd = -7;
    int result = umf_fence_export_sync_file(fence, value, NULL, 0, 0, &fd);
    CHECK(result == -ETIME || result == -EOPNOTSUPP); /* no /dev/udmabuf, said before the wait */
    CHECK(fd == -7);
}

static void
check_materialized(int gpu, uint32_t handle, uint64_t point)
{
    OK(syncobj_wait(gpu, handle, point, WAIT_MATERIALIZED, 0));
}

static void
check_pending(int gpu, uint32_t handle, uint64_t point)
{
    check_materialized(gpu, handle, point);
    EXPECT(-ETIME, syncobj_wait(gpu, handle, point, 0, 0));
}

/* Exports of a value and of lower ones return a kernel fence that signals with the submission,
 * whatever the UMF does: its signaler never comes, or comes early. */
static void
exports_hand_out_the_kernel_fence(const struct machine *m, uint64_t flags, bool early)
{
    enum { EXPORTS = 4 };
    struct leftovers before = leftovers(m);
    struct umf_fence *fence;
    OK(umf_fence_create(m->page, 1, flags, &fence));
    struct vgem_buffer buffer = vgem_buffer_create(m->vgem);
    struct submission s = attach_new(m, fence, 5);
    uint32_t binary[2] = { 0 }, timeline[2] = { 0 };
    int files[EXPORTS];
    for (int i = 0; i < EXPORTS; i++)
        files[i] = export(fence, 2 + (uint64_t)i, i % 2 ? FOREVER : 0);
    OK(umf_fence_export_dma_buf(fence, 5, NULL, buffer.dma_buf, UMF_DMA_BUF_WRITE, FOREVER));
    check_export_waits(fence, 6);
    if (m->syncobj) {
        struct umf_loop *l = create_loop(0);
        struct umf_syncobj *syncobj;
        for (int i = 0; i < 2; i++) {
            binary[i] = syncobj_create(m->gpu, 0);
            timeline[i] = syncobj_create(m->gpu, 0);
        }
        OK(umf_fence_export_syncobj(fence, 4, m->device, binary[0], 0, 0, FOREVER));
        OK(umf_fence_export_syncobj(fence, 5, m->device, timeline[0], 7, 0, FOREVER));
        /* A loop without a thread: whatever is done is done by these calls. */
        OK(umf_syncobj_open(m->device, binary[1], 0, &syncobj));
        OK(umf_loop_export_syncobj(l, fence, 5, syncobj, 0, 0, NULL, NULL));
        umf_syncobj_unref(syncobj);
        OK(umf_syncobj_open(m->device, timeline[1], 0, &syncobj));
        OK(umf_loop_export_syncobj(l, fence, 3, syncobj, 7, 0, NULL, NULL));
        OK(umf_loop_export_syncobj(l, fence, 5, syncobj, 8, 0, NULL, NULL));
        EXPECT(-EINVAL, umf_loop_export_syncobj(l, fence, 5, syncobj, 8, 0, NULL, NULL));
        EXPECT(-EINVAL, umf_fence_export_syncobj(fence, 5, m->device, timeline[1], 8, 0, FOREVER));
        umf_syncobj_unref(syncobj);
        umf_loop_unref(l);
    }
    for (int last = 0; last < 2; last++) {
        /* First nothing but the UMF may have changed, then the submission is complete. */
        int status = dma_buf_export(buffer.dma_buf, DMA_BUF_SYNC_READ);
        EXPECT(last, sync_file_status(status));
        close(status);
        for (int i = 0; i < EXPORTS; i++)
            EXPECT(last, sync_file_status(files[i]));
        for (int i = 0; m->syncobj && i < 2; i++)
            for (uint64_t point = 7; point < 8 + (uint64_t)i; point++)
                if (last) {
                    check_signaled(m->gpu, binary[i], 0);
                    check_signaled(m->gpu, timeline[i], point);
                } else {
                    check_pending(m->gpu, binary[i], 0);
                    check_pending(m->gpu, timeline[i], point);
                }
        if (last)
            break;
        if (early) {
            OK(umf_fence_signal(fence, 5));
            for (int i = 0; i < EXPORTS; i++)
                EXPECT(0, sync_file_status(files[i]));
        } else {
            CHECK(umf_fence_value(fence) == 1);
        }
        complete(m, &s);
    }
    CHECK(umf_fence_value(fence) == (early ? 5 : 1));
    for (int i = 0; i < EXPORTS; i++)
        close(files[i]);
    for (int i = 0; m->syncobj && i < 2; i++) {
        syncobj_destroy(m->gpu, binary[i]);
        syncobj_destroy(m->gpu, timeline[i]);
    }
    vgem_buffer_destroy(&buffer);
    umf_fence_unref(fence);
    check_leftovers(m, before);
}

/* The values are attached in any order. */
static void
an_export_takes_the_lowest_that_covers_it(const struct machine *m)
{
    struct leftovers before = leftovers(m);
    struct umf_fence *fence = new_fence(m, 0);
    struct submission ten = attach_new(m, fence, 10), five = attach_new(m, fence, 5);
    struct submission seven = attach_new(m, fence, 7);
    static const uint64_t values[] = { 1, 5, 6, 7, 8, 10 };
    int files[ARRAY_SIZE(values)];
    for (size_t i = 0; i < ARRAY_SIZE(values); i++)
        files[i] = export(fence, values[i], 0);
    check_export_waits(fence, 11);
    complete(m, &seven);
    for (size_t i = 0; i < ARRAY_SIZE(values); i++)
        EXPECT(values[i] == 6 || values[i] == 7, sync_file_status(files[i]));
    complete(m, &five);
    for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
        EXPECT(values[i] <= 7, sync_file_status(files[i]));
        close(files[i]);
    }
    complete(m, &ten);
    umf_fence_unref(fence);
    check_leftovers(m, before);
}

static void
values_wrap_around(const struct machine *m)
{
    struct leftovers before = leftovers(m);
    struct umf_fence *fence;
    OK(umf_fence_create(m->page, UINT32_MAX - 1, UMF_FENCE_32BIT, &fence));
    struct submission beyond = attach_new(m, fence, 1), last = attach_new(m, fence, UINT32_MAX);
    int files[] = { export(fence, UINT32_MAX, 0), export(fence, 0, 0), export(fence, 1, 0) };
    EXPECT(-EINVAL, umf_fence_attach_sync_file(fence, UINT64_C(1) << 32, last.sync_file, 0));
    complete(m, &last);
    EXPECT(1, sync_file_status(files[0]));
    EXPECT(0, sync_file_status(files[1]));
    EXPECT(0, sync_file_status(files[2]));
    OK(umf_fence_signal(fence, UINT32_MAX));
    EXPECT(0, exported(fence, 0));
    complete(m, &beyond);
    for (size_t i = 0; i < ARRAY_SIZE(files); i++)
        close(files[i]);
    umf_fence_unref(fence);
    check_leftovers(m, before);
}

static void
the_later_attachment_of_a_value_counts(const struct machine *m)
{
    struct leftovers before = leftovers(m);
    struct umf_fence *fence = new_fence(m, 0);
    struct submission first = attach_new(m, fence, 1);
    int of_first = export(fence, 1, 0), fds = open_fds();
    struct submission second = attach_new(m, fence, 1);
    EXPECT(fds + 1, open_fds()); /* the submission's own */
    int of_second = export(fence, 1, 0);
    complete(m, &first);
    EXPECT(1, sync_file_status(of_first));
    EXPECT(0, sync_file_status(of_second));
    complete(m, &second);
    EXPECT(1, sync_file_status(of_second));
    close(of_first);
    close(of_second);
    umf_fence_unref(fence);
    check_leftovers(m, before);
}

/* An attachment ends when the value is reached. The next call closes its descriptor. */
static void
an_attachment_ends_with_its_value(const struct machine *m)
{
    struct leftovers before = leftovers(m);
    struct umf_fence *fence = new_fence(m, 0);
    struct submission one = attach_new(m, fence, 1), two = attach_new(m, fence, 2);
    int fds = open_fds();
    OK(umf_fence_signal(fence, 1));
    if (m->udmabuf)
        EXPECT(1, exported(fence, 1));
    EXPECT(0, exported(fence, 2));
    EXPECT(fds - 1, open_fds());
    /* A device may be faster than the code that attaches: nothing is kept. */
    OK(umf_fence_attach_sync_file(fence, 1, one.sync_file, 0));
    OK(umf_fence_attach_sync_file(fence, 0, one.sync_file, 0));
    EXPECT(fds - 1, open_fds());
    OK(umf_fence_signal(fence, 2));
    OK(umf_fence_attach_sync_file(fence, 1, one.sync_file, 0));
    complete(m, &one);
    complete(m, &two);
    umf_fence_unref(fence);
    check_leftovers(m, before);
}

static void
there_is_a_limit(const struct machine *m)
{
    enum { MANY = UMF_FENCE_MAX_ATTACHMENTS };
    struct leftovers before = leftovers(m);
    struct umf_fence *fence = new_fence(m, 0);
    struct submission s = submit(m);
    for (uint64_t value = MANY; value > 0; value--)
        OK(umf_fence_attach_sync_file(fence, value, s.sync_file, 0));
    int fds = open_fds();
    EXPECT(before.fds + 1 + MANY, fds);
    EXPECT(-ENOSPC, umf_fence_attach_sync_file(fence, MANY + 1, s.sync_file, 0));
    EXPECT(fds, open_fds());
    check_export_waits(fence, MANY + 1);
    EXPECT(0, exported(fence, MANY));
    OK(umf_fence_attach_sync_file(fence, 7, s.sync_file, 0)); /* in place of another */
    OK(umf_fence_signal(fence, 2));
    OK(umf_fence_attach_sync_file(fence, MANY + 1, s.sync_file, 0));
    OK(umf_fence_attach_sync_file(fence, MANY + 2, s.sync_file, 0));
    EXPECT(-ENOSPC, umf_fence_attach_sync_file(fence, MANY + 3, s.sync_file, 0));
    EXPECT(fds, open_fds());
    complete(m, &s);
    umf_fence_unref(fence);
    check_leftovers(m, before);
}

/* The kernel fence fails: exports hand it out as it is, and the UMF goes on. */
static void
a_kernel_fence_that_fails(const struct machine *m)
{
    struct leftovers before = leftovers(m);
    struct umf_fence *fence = new_fence(m, 0);
    int sync_file, kernel_fence = test_fence(&sync_file), error = 1;
    OK(umf_fence_attach_sync_file(fence, 3, sync_file, 0));
    int earlier = export(fence, 3, FOREVER);
    OK(ioctl(kernel_fence, UMF_TEST_FENCE_SIGNAL, ENODEV));
    EXPECT(-ENODEV, sync_file_status(earlier));
    EXPECT(-ENODEV, exported(fence, 3));
    EXPECT(-ENODEV, exported(fence, 1));
    OK(umf_fence_error(fence, &error));
    EXPECT(0, error);
    OK(umf_fence_attach_sync_file(fence, 4, sync_file, 0));
    EXPECT(-ENODEV, exported(fence, 4));
    OK(umf_fence_signal(fence, 4));
    close(earlier);
    close(sync_file);
    close(kernel_fence);
    umf_fence_unref(fence);
    check_leftovers(m, before);
}

/* The UMF fails first: exports fail as without an attachment, which ends. What was handed out
 * stays. */
static void
a_fence_that_fails(const struct machine *m)
{
    static const int errors[][2] = { { -ECANCELED, -EIO }, { -EOWNERDEAD, -EOWNERDEAD } };
    for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
        struct leftovers before = leftovers(m);
        struct umf_fence *fence = new_fence(m, 2);
        struct submission s = attach_new(m, fence, 5);
        int earlier = export(fence, 5, FOREVER), fd = -7, fds = open_fds();
        OK(umf_fence_set_error(fence, errors[i][0]));
        int result = umf_fence_export_sync_file(fence, 5, m->device, 0, FOREVER, &fd);
        CHECK(fd == -7 && result == (m->syncobj ? errors[i][1] : -EOPNOTSUPP));
        EXPECT(fds - 1, open_fds());
        EXPECT(errors[i][1], umf_fence_attach_sync_file(fence, 6, s.sync_file, 0));
        OK(umf_fence_attach_sync_file(fence, 2, s.sync_file, 0)); /* reached before */
        EXPECT(fds - 1, open_fds());
        EXPECT(0, sync_file_status(earlier));
        complete(m, &s);
        EXPECT(1, sync_file_status(earlier));
        close(earlier);
        umf_fence_unref(fence);
        check_leftovers(m, before);
    }
}

/* Another process has the fence, attaches, and sees it end. */
static struct machine *of_parent;

static void
attach_until_the_end(int sock)
{
    struct machine m = *of_parent;
    struct umf_page *page = recv_page(sock);
    struct umf_fence *fence = recv_fence(sock, page);
    struct submission s = attach_new(&m, fence, 1);
    int fd = -7;
    EXPECT(0, exported(fence, 1));
    tell(sock, 0);
    hear(sock);
    int result = umf_fence_export_sync_file(fence, 1, m.device, 0, FOREVER, &fd);
    CHECK(fd == -7 && result == (m.syncobj ? -ESTALE : -EOPNOTSUPP));
    EXPECT(-ESTALE, umf_fence_attach_sync_file(fence, 1, s.sync_file, 0));
    complete(&m, &s);
    umf_fence_unref(fence);
    umf_page_unref(page);
}

static void
attachments_are_of_one_process_and_end_with_the_fence(const struct machine *m)
{
    struct machine copy = *m;
    struct leftovers before = leftovers(m);
    of_parent = &copy;
    struct peer peer = start_peer(attach_until_the_end);
    struct umf_fence *fence = new_fence(m, 0);
    send_page(peer.sock, m->page);
    tell(peer.sock, umf_fence_index(fence));
    hear(peer.sock);
    check_export_waits(fence, 1);
    umf_fence_unref(fence);
    tell(peer.sock, 0);
    end_peer(&peer);
    check_leftovers(m, before);
}

/* In the child of a fork, exports wait and nothing can be attached. The parent's stay. */
static void
the_child_of_a_fork_has_none(const struct machine *m)
{
    struct leftovers before = leftovers(m);
    struct umf_fence *fence = new_fence(m, 0);
    struct submission s = attach_new(m, fence, 1);
    pid_t child;
    IN_CHILD(child, {
        check_export_waits(fence, 1);
        EXPECT(-ESTALE, umf_fence_attach_sync_file(fence, 2, s.sync_file, 0));
        struct umf_fence *own = new_fence(m, 0);
        OK(umf_fence_attach_sync_file(own, 2, s.sync_file, 0));
        EXPECT(0, exported(own, 1));
        umf_fence_unref(own);
        umf_fence_unref(fence);
    });
    join_child(child);
    EXPECT(0, exported(fence, 1));
    complete(m, &s);
    umf_fence_unref(fence);
    check_leftovers(m, before);
}

static void
bad_input_is_refused(const struct machine *m)
{
    struct umf_fence *fence = new_fence(m, 0), *narrow, *unordered;
    struct submission s = submit(m);
    struct vgem_buffer buffer = vgem_buffer_create(m->vgem);
    const int others[] = { eventfd(0, EFD_CLOEXEC), open("/dev/null", O_RDWR | O_CLOEXEC),
                           memfd_create("other", MFD_CLOEXEC), buffer.dma_buf, m->vgem };
    OK(umf_fence_create(m->page, 0, UMF_FENCE_32BIT, &narrow));
    OK(umf_fence_create(m->page, 0, UMF_FENCE_UNORDERED, &unordered));
    struct leftovers before = leftovers(m);
    EXPECT(-EINVAL, umf_fence_attach_sync_file(NULL, 1, s.sync_file, 0));
    EXPECT(-EINVAL, umf_fence_attach_sync_file(fence, 1, s.sync_file, 1));
    EXPECT(-EINVAL, umf_fence_attach_sync_file(fence, 1, s.sync_file, UINT64_C(1) << 63));
    EXPECT(-EINVAL, umf_fence_attach_sync_file(narrow, UINT64_C(1) << 32, s.sync_file, 0));
    EXPECT(-EINVAL, umf_fence_attach_sync_file(narrow, UINT64_MAX, s.sync_file, 0));
    EXPECT(-EINVAL, umf_fence_attach_sync_file(unordered, 1, s.sync_file, 0));
    EXPECT(-EBADF, umf_fence_attach_sync_file(fence, 1, -1, 0));
    EXPECT(-EBADF, umf_fence_attach_sync_file(fence, 1, INT_MIN, 0));
    EXPECT(-EBADF, umf_fence_attach_sync_file(fence, 1, 1 << 20, 0));
    for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
        EXPECT(-EINVAL, umf_fence_attach_sync_file(fence, 1, others[i], 0));
        EXPECT(-EINVAL, umf_fence_attach_sync_file(fence, 0, others[i], 0));
    }
    check_export_waits(fence, 1);
    check_export_waits(narrow, 1);
    check_leftovers(m, before);
    for (size_t i = 0; i < 3; i++)
        close(others[i]);
    vgem_buffer_destroy(&buffer);
    complete(m, &s);
    umf_fence_unref(fence);
    umf_fence_unref(narrow);
    umf_fence_unref(unordered);
}

static void
no_descriptor_is_left(const struct machine *m)
{
    struct umf_fence *fence = new_fence(m, 0);
    struct submission s = submit(m);
    struct rlimit limit, none;
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    none = limit;
    none.rlim_cur = 0;
    CHECK(setrlimit(RLIMIT_NOFILE, &none) == 0);
    EXPECT(-EMFILE, umf_fence_attach_sync_file(fence, 1, s.sync_file, 0));
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    check_export_waits(fence, 1);
    OK(umf_fence_attach_sync_file(fence, 1, s.sync_file, 0));
    CHECK(setrlimit(RLIMIT_NOFILE, &none) == 0);
    int fd = -7;
    EXPECT(-EMFILE, umf_fence_export_sync_file(fence, 1, NULL, 0, 0, &fd));
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    EXPECT(0, exported(fence, 1));
    complete(m, &s);
    umf_fence_unref(fence);
}

/* Syncobjs */

static void
a_syncobj_is_attached(const struct machine *m, uint64_t point)
{
    struct leftovers before = leftovers(m);
    struct umf_fence *fence = new_fence(m, 0);
    uint32_t handle = syncobj_create(m->gpu, 0);
    struct submission s = submit(m);
    EXPECT(-ETIME, umf_fence_attach_syncobj(fence, 1, m->device, handle, point, 0));
    check_export_waits(fence, 1);
    if (point)
        syncobj_submit(m->gpu, handle, point, s.sync_file);
    else
        syncobj_import_sync_file(m->gpu, handle, s.sync_file);
    EXPECT(-EINVAL, umf_fence_attach_syncobj(NULL, 1, m->device, handle, point, 0));
    EXPECT(-EINVAL, umf_fence_attach_syncobj(fence, 1, NULL, handle, point, 0));
    EXPECT(-EINVAL, umf_fence_attach_syncobj(fence, 1, m->device, handle, point, 1));
    EXPECT(-ENOENT, umf_fence_attach_syncobj(fence, 1, m->device, handle + 100, point, 0));
    EXPECT(-ENOENT, umf_fence_attach_syncobj(fence, 1, m->device, 0, point, 0));
    if (point)
        EXPECT(-ETIME, umf_fence_attach_syncobj(fence, 1, m->device, handle, point + 1, 0));
    check_export_waits(fence, 1);
    OK(umf_fence_attach_syncobj(fence, 1, m->device, handle, point, 0));
    syncobj_destroy(m->gpu, handle); /* the fence itself is attached */
    int fd = export(fence, 1, 0);
    EXPECT(0, sync_file_status(fd));
    complete(m, &s);
    EXPECT(1, sync_file_status(fd));
    close(fd);
    umf_fence_unref(fence);
    check_leftovers(m, before);
}

/* A point of a timeline that waits for a UMF is no kernel fence. */
static void
a_point_that_waits_for_a_fence_is_refused(const struct machine *m)
{
    struct leftovers before = leftovers(m);
    struct umf_loop *l = create_loop(0);
    struct umf_fence *fence = new_fence(m, 0), *other = new_fence(m, 0);
    struct umf_syncobj *syncobj;
    uint32_t handle = syncobj_create(m->gpu, 0);
    OK(umf_syncobj_open(m->device, handle, 0, &syncobj));
    OK(umf_loop_export_syncobj(l, other, 1, syncobj, 3, 0, NULL, NULL));
    EXPECT(-ETIME, umf_fence_attach_syncobj(fence, 1, m->device, handle, 3, 0));
    check_export_waits(fence, 1);
    umf_syncobj_unref(syncobj);
    umf_loop_unref(l);
    syncobj_destroy(m->gpu, handle);
    umf_fence_unref(fence);
    umf_fence_unref(other);
    check_leftovers(m, before);
}

/* Exports by a loop */

/* What is requested before it is attached follows, in the order of the points. */
static void
exports_that_wait_follow(const struct machine *m, struct umf_loop *l)
{
    struct leftovers before = leftovers(m);
    struct umf_fence *fence = new_fence(m, 0), *first = new_fence(m, 0);
    uint32_t handle = syncobj_create(m->gpu, 0), single = syncobj_create(m->gpu, 0);
    struct umf_syncobj *timeline, *binary;
    struct told told[3] = { 0 };
    struct umf_callback callbacks[3];
    for (int i = 0; i < 3; i++)
        callbacks[i] = callback_to(&told[i]);
    OK(umf_syncobj_open(m->device, handle, 0, &timeline));
    OK(umf_syncobj_open(m->device, single, 0, &binary));
    OK(umf_loop_export_syncobj(l, first, 1, timeline, 1, 0, NULL, NULL));
    OK(umf_loop_export_syncobj(l, fence, 5, timeline, 2, 0, &callbacks[0], NULL));
    OK(umf_loop_export_syncobj(l, fence, 4, binary, 0, 0, &callbacks[1], NULL));
    OK(umf_loop_export_syncobj(l, fence, 6, timeline, 4, 0, &callbacks[2], NULL));
    struct submission s = attach_new(m, fence, 5);
    until_called(l, &told[1], 0);
    check_pending(m->gpu, single, 0);
    /* Point 1 comes first, and the loop adds it once its fence is reached. */
    OK(umf_loop_export_syncobj(l, fence, 5, timeline, 3, 0, NULL, NULL));
    settle(l, m->page);
    CHECK(told[0].calls == 0);
    check_not_materialized(m->gpu, handle, 1);
    OK(umf_fence_signal(first, 1));
    until_called(l, &told[0], 0);
    settle(l, m->page);
    check_signaled(m->gpu, handle, 1);
    check_pending(m->gpu, handle, 2);
    check_pending(m->gpu, handle, 3);
    check_not_materialized(m->gpu, handle, 4);
    CHECK(told[2].calls == 0 && umf_fence_value(fence) == 0);
    complete(m, &s);
    check_signaled(m->gpu, handle, 3);
    check_signaled(m->gpu, single, 0);
    OK(umf_fence_signal(fence, 6));
    until_called(l, &told[2], 0);
    check_signaled(m->gpu, handle, 4);
    umf_syncobj_unref(timeline);
    umf_syncobj_unref(binary);
    syncobj_destroy(m->gpu, handle);
    syncobj_destroy(m->gpu, single);
    settle(l, m->page);
    umf_fence_unref(fence);
    umf_fence_unref(first);
    check_leftovers(m, before);
}

/* The point is added by the call. What can be canceled is the callback. */
static void
a_watch_of_an_early_point(const struct machine *m, struct umf_loop *l)
{
    struct leftovers before = leftovers(m);
    struct umf_fence *fence = new_fence(m, 0);
    uint32_t handle = syncobj_create(m->gpu, 0);
    struct umf_syncobj *timeline;
    struct umf_watch *watch;
    struct told told = { 0 };
    struct umf_callback callback = callback_to(&told);
    struct submission s = attach_new(m, fence, 5);
    OK(umf_syncobj_open(m->device, handle, 0, &timeline));
    OK(umf_loop_export_syncobj(l, fence, 1, timeline, 1, 0, NULL, &watch));
    OK(umf_watch_result(watch));
    EXPECT(-EALREADY, umf_watch_cancel(watch));
    umf_watch_unref(watch);
    OK(umf_loop_export_syncobj(l, fence, 2, timeline, 2, 0, &callback, &watch));
    check_pending(m->gpu, handle, 2);
    until_called(l, &told, 0);
    OK(outcome_of(l, watch));
    if (!loop_has_thread(l)) {
        callback = callback_to(&told);
        OK(umf_loop_export_syncobj(l, fence, 3, timeline, 3, 0, &callback, &watch));
        OK(umf_watch_cancel(watch));
        EXPECT(-ECANCELED, umf_watch_result(watch));
        umf_watch_unref(watch);
        CHECK(told.calls == 0 && told.releases == 1);
        check_pending(m->gpu, handle, 3);
    }
    complete(m, &s);
    umf_syncobj_unref(timeline);
    syncobj_destroy(m->gpu, handle);
    settle(l, m->page);
    umf_fence_unref(fence);
    check_leftovers(m, before);
}

/* Imports by a loop attach what they import, until they are over. */
static void
imports_attach(const struct machine *m, struct umf_loop *l)
{
    struct leftovers before = leftovers(m);
    struct umf_fence *fence = new_fence(m, 0);
    struct umf_watch *watch;
    struct submission s = submit(m);
    OK(umf_loop_import_sync_file(l, fence, 3, s.sync_file, 0, NULL, &watch));
    EXPECT(0, exported(fence, 3));
    check_export_waits(fence, 4);
    OK(umf_watch_cancel(watch));
    umf_watch_unref(watch);
    check_export_waits(fence, 3);
    OK(umf_loop_import_sync_file(l, fence, 3, s.sync_file, 0, NULL, &watch));
    int fd = export(fence, 2, 0), fds = open_fds();
    complete(m, &s);
    OK(outcome_of(l, watch));
    CHECK(umf_fence_value(fence) == 3);
    settle(l, m->page);
    EXPECT(fds - 2, open_fds()); /* the submission's, and the library's one */
    EXPECT(1, sync_file_status(fd));
    close(fd);
    umf_fence_unref(fence);
    check_leftovers(m, before);
}

/* A point that is submitted later, while an export waits for the fence that it will signal. */
static void
imports_of_points_attach(const struct machine *m, struct umf_loop *l)
{
    struct leftovers before = leftovers(m);
    struct umf_fence *fence = new_fence(m, 0);
    uint32_t from = syncobj_create(m->gpu, 0), to = syncobj_create(m->gpu, 0);
    struct umf_syncobj *source, *target;
    struct umf_watch *watch;
    struct told told = { 0 };
    struct umf_callback callback = callback_to(&told);
    struct submission s = submit(m);
    OK(umf_syncobj_open(m->device, from, 0, &source));
    OK(umf_syncobj_open(m->device, to, 0, &target));
    OK(umf_loop_export_syncobj(l, fence, 2, target, 8, 0, &callback, NULL));
    OK(umf_loop_import_syncobj(l, fence, 2, source, 9, 0, NULL, &watch));
    settle(l, m->page);
    check_export_waits(fence, 2);
    check_not_materialized(m->gpu, to, 8);
    syncobj_submit(m->gpu, from, 9, s.sync_file);
    until_called(l, &told, 0);
    check_pending(m->gpu, to, 8);
    EXPECT(0, exported(fence, 2));
    CHECK(umf_fence_value(fence) == 0);
    complete(m, &s);
    check_signaled(m->gpu, to, 8);
    OK(outcome_of(l, watch));
    CHECK(umf_fence_value(fence) == 2);
    settle(l, m->page);
    umf_syncobj_unref(source);
    umf_syncobj_unref(target);
    syncobj_destroy(m->gpu, from);
    syncobj_destroy(m->gpu, to);
    umf_fence_unref(fence);
    check_leftovers(m, before);
}

/* Threads attach, export and signal at once; and each export hands out a fence that is there. */
struct crowd {
    const struct machine *m;
    struct umf_fence *fence;
    int sync_file;
    atomic_bool stop;
    atomic_uint exports;
};

static void *
export_all_the_time(void *data)
{
    struct crowd *c = data;
    while (!c->stop) {
        int fd = -7;
        uint64_t value = umf_fence_value(c->fence) + 1;
        int result = umf_fence_export_sync_file(c->fence, value, NULL, 0, 0, &fd);
        CHECK(result == 0 || result == -ETIME || result == -EOPNOTSUPP);
        if (result == 0) {
            CHECK(sync_file_status(fd) >= 0);
            close(fd);
            c->exports++;
        }
    }
    return NULL;
}

static void *
attach_all_the_time(void *data)
{
    struct crowd *c = data;
    while (!c->stop) {
        uint64_t value = umf_fence_value(c->fence) + 1;
        OK(umf_fence_attach_sync_file(c->fence, value, c->sync_file, 0));
    }
    return NULL;
}

static void
threads_attach_and_export_at_once(const struct machine *m)
{
    struct leftovers before = leftovers(m);
    struct submission s = submit(m);
    struct crowd c = { .m = m, .fence = new_fence(m, 0), .sync_file = s.sync_file };
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        CHECK(pthread_create(&threads[i], NULL, i % 2 ? export_all_the_time : attach_all_the_time,
                             &c) == 0);
    for (uint64_t value = 1; value < 2000 || !c.exports; value++) {
        OK(umf_fence_signal(c.fence, value));
        sched_yield();
    }
    c.stop = true;
    for (int i = 0; i < 4; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    complete(m, &s);
    umf_fence_unref(c.fence);
    check_leftovers(m, before);
}

/* One thread cancels an export while another attaches what it could follow: the watch does
 * everything or nothing. */
struct duel {
    _Atomic(struct umf_fence *) fence;
    int sync_file;
    atomic_bool stop;
};

static void *
attach_when_told(void *data)
{
    struct duel *d = data;
    while (!d->stop) {
        struct umf_fence *fence = d->fence;
        if (!fence)
            continue;
        OK(umf_fence_attach_sync_file(fence, 1, d->sync_file, 0));
        d->fence = NULL;
    }
    return NULL;
}

static void
exports_are_canceled_while_another_thread_attaches(const struct machine *m, struct umf_loop *l)
{
    enum { ROUNDS = 300 };
    struct leftovers before = leftovers(m);
    struct submission s = submit(m);
    struct duel d = { .sync_file = s.sync_file };
    uint32_t handle = syncobj_create(m->gpu, 0);
    struct umf_syncobj *timeline;
    pthread_t thread;
    unsigned canceled = 0;
    OK(umf_syncobj_open(m->device, handle, 0, &timeline));
    CHECK(pthread_create(&thread, NULL, attach_when_told, &d) == 0);
    for (uint64_t point = 1; point <= ROUNDS; point++) {
        struct umf_fence *fence = new_fence(m, 0);
        struct umf_watch *watch;
        OK(umf_loop_export_syncobj(l, fence, 1, timeline, point, 0, NULL, &watch));
        d.fence = fence;
        /* Against the attachment, or against the loop that follows it. */
        while (point % 2 && d.fence)
            sched_yield();
        for (uint64_t i = 0; i < point % 16; i++)
            sched_yield();
        int result = umf_watch_cancel(watch);
        CHECK(result == 0 || result == -EALREADY);
        EXPECT(result ? 0 : -ECANCELED, outcome_of(l, watch));
        if (result)
            check_materialized(m->gpu, handle, point);
        else
            check_not_materialized(m->gpu, handle, point);
        canceled += result == 0;
        while (d.fence)
            sched_yield();
        umf_fence_unref(fence);
    }
    d.stop = true;
    CHECK(pthread_join(thread, NULL) == 0);
    printf("    %u of %u canceled\n", canceled, ROUNDS);
    umf_syncobj_unref(timeline);
    syncobj_destroy(m->gpu, handle);
    close(s.sync_file);
    settle(l, m->page);
    check_leftovers(m, before);
}

/* No wait: the calls that an export makes are those it ends in. */
enum way { SYNC_FILE, BINARY, POINT, LOOP, DMA_BUF };

static void
count_calls(const struct machine *m, enum way way, const char *name, unsigned ioctls,
            unsigned calls)
{
    pid_t child = start_traced();
    if (child == 0) {
        struct machine own = *m;
        OK(umf_page_create(1, 0, &own.page));
        struct umf_fence *fence = new_fence(&own, 0);
        struct vgem_buffer buffer = vgem_buffer_create(m->vgem);
        struct umf_loop *l = create_loop(UMF_LOOP_THREAD);
        struct umf_syncobj *syncobj = NULL;
        uint32_t handle = m->syncobj ? syncobj_create(m->gpu, 0) : 0;
        int fd = -1, result;
        if (m->syncobj)
            OK(umf_syncobj_open(m->device, handle, 0, &syncobj));
        attach_new(&own, fence, 1);
        begin_trace();
        switch (way) {
        case SYNC_FILE:
            result = umf_fence_export_sync_file(fence, 1, NULL, 0, FOREVER, &fd);
            break;
        case BINARY:
            result = umf_fence_export_syncobj(fence, 1, m->device, handle, 0, 0, FOREVER);
            break;
        case POINT:
            result = umf_fence_export_syncobj(fence, 1, m->device, handle, 1, 0, FOREVER);
            break;
        case LOOP:
            result = umf_loop_export_syncobj(l, fence, 1, syncobj, 1, 0, NULL, NULL);
            break;
        default:
            result = umf_fence_export_dma_buf(fence, 1, NULL, buffer.dma_buf, UMF_DMA_BUF_WRITE,
                                              FOREVER);
        }
        end_trace();
        _exit(result != 0);
    }
    expect_calls(child, name, ioctls, calls);
}

static void
an_export_makes_only_the_calls_that_it_ends_in(const struct machine *m)
{
    count_calls(m, SYNC_FILE, "sync_file", 0, 1); /* fcntl */
    count_calls(m, DMA_BUF, "dma-buf", 1, 2); /* statx: the file is no peer's */
    if (m->syncobj) {
        count_calls(m, BINARY, "binary syncobj", 1, 1);
        /* QUERY, CREATE, FD_TO_HANDLE, TRANSFER, DESTROY */
        count_calls(m, POINT, "timeline point", 5, 5);
        count_calls(m, LOOP, "timeline point by a loop", 5, 5);
    }
}

/* Frames without end: descriptors and memory stay as they are. */
static long
resident_kib(void)
{
    long kib = -1;
    char line[128];
    FILE *file = fopen("/proc/self/status", "re");
    CHECK(file);
    while (fgets(line, sizeof(line), file))
        if (sscanf(line, "VmRSS: %ld kB", &kib) == 1)
            break;
    fclose(file);
    CHECK(kib > 0);
    return kib;
}

static void
frames_without_end(const struct machine *m, uint64_t frames)
{
    struct leftovers before = leftovers(m);
    struct umf_fence *fence = new_fence(m, 0);
    struct umf_loop *l = create_loop(UMF_LOOP_THREAD);
    uint32_t handle = m->syncobj ? syncobj_create(m->gpu, 0) : 0;
    struct umf_syncobj *timeline = NULL;
    int sync_file = -1, fds = 0;
    struct submission s = { 0 };
    long kib = 0;
    if (m->syncobj)
        OK(umf_syncobj_open(m->device, handle, 0, &timeline));
    for (uint64_t frame = 1; frame <= frames; frame++) {
        if (frame % 128 == 1) { /* a kernel fence of vgem signals by itself after 10 s */
            if (frame > 1)
                complete(m, &s);
            s = submit(m);
        }
        OK(umf_fence_attach_sync_file(fence, frame, s.sync_file, 0));
        OK(umf_fence_export_sync_file(fence, frame, NULL, 0, FOREVER, &sync_file));
        if (m->syncobj)
            OK(umf_loop_export_syncobj(l, fence, frame, timeline, frame, 0, NULL, NULL));
        close(sync_file);
        /* Two frames are in flight. */
        OK(umf_fence_signal(fence, frame - 1));
        if (frame == frames / 4) {
            fds = open_fds();
            kib = resident_kib();
        }
    }
    long grown = resident_kib() - kib;
    printf("    %" PRIu64 " frames: VmRSS %+ld KiB\n", frames, grown);
    EXPECT(fds, open_fds());
    CHECK(grown < 256);
    if (m->syncobj) {
        CHECK(syncobj_query(m->gpu, handle, DRM_SYNCOBJ_QUERY_FLAGS_LAST_SUBMITTED) == frames);
        umf_syncobj_unref(timeline);
        syncobj_destroy(m->gpu, handle);
    }
    complete(m, &s);
    umf_loop_unref(l);
    umf_fence_unref(fence);
    check_leftovers(m, before);
}

int
main(int argc, char **argv)
{
    struct machine m = open_machine();
    watchdog(argc > 1 ? 3600 : 110);
    if (argc > 1) {
        RUN(frames_without_end, &m, strtoull(argv[1], NULL, 10));
        return 0;
    }
    has_test_fences = load_test_fences();
    umf_page_unref(m.page);
    OK(umf_page_create(512, 0, &m.page));
    for (int early = 0; early < 2; early++) {
        RUN(exports_hand_out_the_kernel_fence, &m, 0, early);
        RUN(exports_hand_out_the_kernel_fence, &m, UMF_FENCE_DEVICE, early);
        RUN(exports_hand_out_the_kernel_fence, &m, UMF_FENCE_32BIT, early);
    }
    RUN(an_export_takes_the_lowest_that_covers_it, &m);
    RUN(values_wrap_around, &m);
    RUN(the_later_attachment_of_a_value_counts, &m);
    RUN(an_attachment_ends_with_its_value, &m);
    RUN(there_is_a_limit, &m);
    if (has_test_fences)
        RUN(a_kernel_fence_that_fails, &m);
    else
        printf("  (no umf_test_fence.ko for this kernel: no kernel fence fails)\n");
    RUN(a_fence_that_fails, &m);
    RUN(attachments_are_of_one_process_and_end_with_the_fence, &m);
    RUN(the_child_of_a_fork_has_none, &m);
    RUN(bad_input_is_refused, &m);
    RUN(no_descriptor_is_left, &m);
    RUN(threads_attach_and_export_at_once, &m);
    RUN(an_export_makes_only_the_calls_that_it_ends_in, &m);
    RUN(frames_without_end, &m, 10000);
    for (int has_thread = 0; has_thread < 2; has_thread++) {
        struct umf_loop *l = create_loop(has_thread ? UMF_LOOP_THREAD : 0);
        RUN(imports_attach, &m, l);
        if (m.syncobj) {
            RUN(exports_that_wait_follow, &m, l);
            RUN(a_watch_of_an_early_point, &m, l);
            RUN(imports_of_points_attach, &m, l);
            RUN(exports_are_canceled_while_another_thread_attaches, &m, l);
        }
        umf_loop_unref(l);
    }
    if (m.syncobj) {
        RUN(a_syncobj_is_attached, &m, 0);
        RUN(a_syncobj_is_attached, &m, 3);
        RUN(a_point_that_waits_for_a_fence_is_refused, &m);
    }
    return 0;
}
