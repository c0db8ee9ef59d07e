// SPDX-License-Identifier: MIT
/*
 * Kernel fences that become UMFs without a blocked thread: sync_files, dma-bufs, and points of a
 * syncobj, which may not exist yet. With "sandbox", the kernel seems not to know SYNCOBJ_EVENTFD,
 * as before Linux 6.6.
 */
#include "drm_machine.h"
#include "process.h"
#include "sleeper.h"
#include "syncobj.h"
#include "test_fence.h"
#include "vgem.h"
#include "watch.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <sys/resource.h>

static bool has_test_fences;

static struct umf_watch *
import_point(struct umf_loop *l, struct umf_fence *fence, uint64_t value,
             struct umf_syncobj *syncobj, uint64_t point)
{
    struct umf_watch *watch;
    OK(umf_loop_import_syncobj(l, fence, value, syncobj, point, 0, NULL, &watch));
    return watch;
}

static struct umf_watch *
import_sync_file(struct umf_loop *l, struct umf_fence *fence, uint64_t value, int sync_file)
{
    struct umf_watch *watch;
    OK(umf_loop_import_sync_file(l, fence, value, sync_file, 0, NULL, &watch));
    return watch;
}

static struct umf_syncobj *
open_syncobj(const struct machine *m, uint32_t handle)
{
    struct umf_syncobj *syncobj;
    OK(umf_syncobj_open(m->device, handle, 0, &syncobj));
    return syncobj;
}

/* Puts a fence at a point; 0 is a binary syncobj's. */
static void
submit(const struct machine *m, uint32_t handle, uint64_t point, int sync_file)
{
    if (point)
        syncobj_submit(m->gpu, handle, point, sync_file);
    else
        syncobj_import_sync_file(m->gpu, handle, sync_file);
}

static void
cancel(struct umf_watch *watch)
{
    OK(umf_watch_cancel(watch));
    EXPECT(-ECANCELED, umf_watch_result(watch));
    umf_watch_unref(watch);
}

/* sync_files */

static void
a_sync_file_signals(const struct machine *m, struct umf_loop *l)
{
    struct leftovers before = leftovers(m);
    struct umf_fence *fence = new_fence(m, 1);
    struct told told = { 0 };
    struct umf_callback callback = callback_to(&told);
    struct umf_watch *watch;
    uint32_t kernel_fence;
    int pending = vgem_sync_file(m->vgem, &kernel_fence);
    OK(umf_loop_import_sync_file(l, fence, 2, pending, 0, &callback, &watch));
    close(pending); /* the library has its own descriptor */
    settle(l, m->page);
    EXPECT(-ETIME, umf_watch_result(watch));
    CHECK(umf_fence_value(fence) == 1 && told.calls == 0);
    vgem_signal(m->vgem, kernel_fence);
    OK(outcome_of(l, watch));
    settle(l, m->page);
    CHECK(umf_fence_value(fence) == 2);
    CHECK(told.calls == 1 && told.result == 0 && told.releases == 1);
    umf_fence_unref(fence);
    check_leftovers(m, before);
}

static void
a_sync_file_has_signaled(const struct machine *m, struct umf_loop *l)
{
    struct leftovers before = leftovers(m);
    struct umf_fence *fence = new_fence(m, 0);
    uint32_t kernel_fence;
    int sync_file = vgem_sync_file(m->vgem, &kernel_fence);
    vgem_signal(m->vgem, kernel_fence);
    struct umf_watch *watch = import_sync_file(l, fence, 1, sync_file);
    close(sync_file);
    if (!loop_has_thread(l))
        CHECK(umf_fence_value(fence) == 0); /* a loop without a thread acts only in dispatch */
    OK(outcome_of(l, watch));
    OK(outcome_of(l, import_sync_file(l, fence, 2, -1)));
    CHECK(umf_fence_value(fence) == 2);
    umf_fence_unref(fence);
    check_leftovers(m, before);
}

static void
what_is_no_sync_file_is_refused(const struct machine *m, struct umf_loop *l)
{
    struct umf_fence *fence = new_fence(m, 3), *failed = new_fence(m, 0);
    struct told told = { 0 };
    struct umf_callback callback = callback_to(&told);
    struct vgem_buffer buffer = vgem_buffer_create(m->vgem);
    int fds[] = { eventfd(0, EFD_CLOEXEC), open("/dev/null", O_RDWR | O_CLOEXEC), buffer.dma_buf };
    struct leftovers before = leftovers(m);
    for (int i = 0; i < 3; i++)
        EXPECT(-EINVAL,
               umf_loop_import_sync_file(l, fence, 4, fds[i], 0, &callback, NULL));
    EXPECT(-EBADF, umf_loop_import_sync_file(l, fence, 4, -2, 0, &callback, NULL));
    EXPECT(-EBADF, umf_loop_import_sync_file(l, fence, 4, 1000, 0, &callback, NULL));
    EXPECT(-EINVAL, umf_loop_import_sync_file(l, fence, 4, -1, 1, &callback, NULL));
    EXPECT(-EINVAL, umf_loop_import_sync_file(l, fence, 2, -1, 0, &callback, NULL));
    EXPECT(-EINVAL, umf_loop_import_sync_file(l, NULL, 4, -1, 0, &callback, NULL));
    EXPECT(-EINVAL, umf_loop_import_sync_file(NULL, fence, 4, -1, 0, &callback, NULL));
    EXPECT(-EINVAL, umf_loop_import_dma_buf(l, fence, 4, fds[0], UMF_DMA_BUF_READ, &callback,
                                            NULL));
    EXPECT(-EBADF,
           umf_loop_import_dma_buf(l, fence, 4, 1000, UMF_DMA_BUF_READ, &callback, NULL));
    EXPECT(-EINVAL, umf_loop_import_dma_buf(l, fence, 4, buffer.dma_buf, 0, &callback, NULL));
    OK(umf_fence_set_error(failed, -ENODEV));
    EXPECT(-EIO, umf_loop_import_sync_file(l, failed, 4, -1, 0, &callback, NULL));
    check_leftovers(m, before);
    CHECK(umf_fence_value(fence) == 3 && error_of(fence) == 0);
    CHECK(told.calls == 0 && told.releases == 0);
    close(fds[0]);
    close(fds[1]);
    vgem_buffer_destroy(&buffer);
    umf_fence_unref(fence);
    umf_fence_unref(failed);
}

static void
a_pending_sync_file_is_canceled(const struct machine *m, struct umf_loop *l)
{
    struct leftovers before = leftovers(m);
    struct umf_fence *fence = new_fence(m, 0);
    uint32_t kernel_fence;
    int pending = vgem_sync_file(m->vgem, &kernel_fence);
    /* The same file may be imported any number of times. */
    struct umf_watch *watches[3];
    for (int i = 0; i < 3; i++)
        watches[i] = import_sync_file(l, fence, i + 1, pending);
    const int fds = open_fds();
    cancel(watches[0]);
    cancel(watches[2]);
    EXPECT(fds - 2, open_fds());
    vgem_signal(m->vgem, kernel_fence);
    OK(outcome_of(l, watches[1]));
    settle(l, m->page);
    CHECK(umf_fence_value(fence) == 2);
    close(pending);
    umf_fence_unref(fence);
    check_leftovers(m, before);
}

/* dma-bufs */

static void
the_fences_of_a_buffer_signal(const struct machine *m, struct umf_loop *l)
{
    struct leftovers before = leftovers(m);
    struct umf_fence *fence = new_fence(m, 0);
    struct vgem_buffer buffer = vgem_buffer_create(m->vgem);
    uint32_t reader, writer;
    int sync_files[2] = { vgem_sync_file(m->vgem, &reader), vgem_sync_file(m->vgem, &writer) };
    dma_buf_import(buffer.dma_buf, DMA_BUF_SYNC_READ, sync_files[0]);
    dma_buf_import(buffer.dma_buf, DMA_BUF_SYNC_WRITE, sync_files[1]);
    close(sync_files[0]);
    close(sync_files[1]);
    struct umf_watch *reads, *writes;
    OK(umf_loop_import_dma_buf(l, fence, 1, buffer.dma_buf, UMF_DMA_BUF_READ, NULL, &reads));
    OK(umf_loop_import_dma_buf(l, fence, 2, buffer.dma_buf, UMF_DMA_BUF_WRITE, NULL, &writes));
    vgem_buffer_destroy(&buffer); /* the fences at the time of the call count */
    settle(l, m->page);
    EXPECT(-ETIME, umf_watch_result(reads));
    vgem_signal(m->vgem, writer);
    OK(outcome_of(l, reads));
    settle(l, m->page);
    CHECK(umf_fence_value(fence) == 1);
    EXPECT(-ETIME, umf_watch_result(writes));
    vgem_signal(m->vgem, reader);
    OK(outcome_of(l, writes));
    CHECK(umf_fence_value(fence) == 2);
    settle(l, m->page);
    umf_fence_unref(fence);
    check_leftovers(m, before);
}

/* Errors, by all ways */

enum way { SYNC_FILE, BINARY, POINT, LATE_BINARY, LATE_POINT, DMA_BUF, WAYS };

static void
a_kernel_fence_fails(const struct machine *m, struct umf_loop *l, enum way way, int error,
                     bool before)
{
    struct leftovers clean = leftovers(m);
    struct umf_fence *fence = new_fence(m, 1);
    struct umf_watch *watch;
    int sync_file, kernel_fence = test_fence(&sync_file);
    const bool late = way == LATE_BINARY || way == LATE_POINT;
    const uint64_t point = way == POINT || way == LATE_POINT ? 5 : 0;
    uint32_t handle = 0;
    struct vgem_buffer buffer = { 0 };
    if (way == DMA_BUF) {
        buffer = vgem_buffer_create(m->vgem);
        dma_buf_import(buffer.dma_buf, DMA_BUF_SYNC_WRITE, sync_file);
    } else if (way != SYNC_FILE) {
        handle = syncobj_create(m->gpu, 0);
        if (!late)
            submit(m, handle, point, sync_file);
    }
    /* Submitted first: the kernel replaces a fence that failed earlier by one without an error. */
    if (before && !late)
        OK(ioctl(kernel_fence, UMF_TEST_FENCE_SIGNAL, error));
    if (way == SYNC_FILE) {
        watch = import_sync_file(l, fence, 2, sync_file);
    } else if (way == DMA_BUF) {
        OK(umf_loop_import_dma_buf(l, fence, 2, buffer.dma_buf, UMF_DMA_BUF_READ, NULL, &watch));
    } else {
        struct umf_syncobj *syncobj = open_syncobj(m, handle);
        watch = import_point(l, fence, 2, syncobj, point);
        umf_syncobj_unref(syncobj);
        if (late) {
            settle(l, m->page);
            submit(m, handle, point, sync_file);
            if (before)
                OK(ioctl(kernel_fence, UMF_TEST_FENCE_SIGNAL, error));
        }
    }
    close(sync_file);
    if (!before) {
        settle(l, m->page);
        EXPECT(-ETIME, umf_watch_result(watch));
        OK(ioctl(kernel_fence, UMF_TEST_FENCE_SIGNAL, error));
    }
    EXPECT(error == EOWNERDEAD ? -EOWNERDEAD : -EIO, outcome_of(l, watch));
    EXPECT(-error, error_of(fence));
    CHECK(umf_fence_value(fence) == 1);
    settle(l, m->page);
    if (handle)
        syncobj_destroy(m->gpu, handle);
    if (way == DMA_BUF)
        vgem_buffer_destroy(&buffer);
    close(kernel_fence);
    umf_fence_unref(fence);
    check_leftovers(m, clean);
}

static void
kernel_fences_fail(const struct machine *m, struct umf_loop *l)
{
    static const int errors[] = { EPERM, EINVAL, ETIME, ECANCELED, EOWNERDEAD, 4095 };
    for (enum way way = 0; way < WAYS; way++)
        for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
            if (!m->syncobj && way != SYNC_FILE && way != DMA_BUF)
                continue;
            a_kernel_fence_fails(m, l, way, errors[i], false);
            if (way != DMA_BUF) /* a buffer's fences that signaled no longer exist */
                a_kernel_fence_fails(m, l, way, errors[i], true);
        }
}

/* The UMF changes meanwhile: it fails, or its creator, another process, ends it. */

static void
create_and_end(int sock)
{
    struct umf_page *page;
    struct umf_fence *fence;
    OK(umf_page_create(1, 0, &page));
    OK(umf_fence_create(page, 0, 0, &fence));
    send_page(sock, page);
    tell(sock, umf_fence_index(fence));
    hear(sock);
    umf_fence_unref(fence);
    tell(sock, 0);
    hear(sock);
}

static void
the_fence_fails_or_ends_meanwhile(const struct machine *m, struct umf_loop *l)
{
    struct leftovers before = leftovers(m);
    for (int ends = 0; ends < 2; ends++) {
        struct peer peer = start_peer(create_and_end);
        struct umf_page *page = recv_page(peer.sock);
        struct umf_fence *fence = recv_fence(peer.sock, page);
        uint32_t kernel_fence;
        int pending = vgem_sync_file(m->vgem, &kernel_fence);
        struct umf_watch *watch = import_sync_file(l, fence, 1, pending);
        if (ends) {
            tell(peer.sock, 0);
            hear(peer.sock);
        } else {
            OK(umf_fence_set_error(fence, -ENODEV));
        }
        settle(l, m->page);
        vgem_signal(m->vgem, kernel_fence);
        EXPECT(ends ? -ESTALE : -EIO, outcome_of(l, watch));
        settle(l, m->page);
        if (!ends) {
            tell(peer.sock, 0);
            hear(peer.sock);
        }
        tell(peer.sock, 0);
        end_peer(&peer);
        close(pending);
        umf_fence_unref(fence);
        umf_page_unref(page);
    }
    check_leftovers(m, before);
}

static void
the_fence_is_beyond_it_meanwhile(const struct machine *m, struct umf_loop *l)
{
    struct umf_fence *fence = new_fence(m, 0);
    uint32_t kernel_fence;
    int pending = vgem_sync_file(m->vgem, &kernel_fence);
    struct umf_watch *watch = import_sync_file(l, fence, 1, pending);
    OK(umf_fence_signal(fence, 5));
    vgem_signal(m->vgem, kernel_fence);
    EXPECT(-EINVAL, outcome_of(l, watch));
    CHECK(umf_fence_value(fence) == 5 && error_of(fence) == 0);
    settle(l, m->page);
    close(pending);
    umf_fence_unref(fence);
}

/* Points */

/* First nobody has submitted, then a pending fence is there, then it signals. */
static void
a_point_is_submitted_and_signals(const struct machine *m, struct umf_loop *l, uint64_t point)
{
    struct leftovers before = leftovers(m);
    struct umf_fence *fence = new_fence(m, 0);
    uint32_t kernel_fence, handle = syncobj_create(m->gpu, 0);
    struct umf_syncobj *syncobj = open_syncobj(m, handle);
    struct umf_watch *watch = import_point(l, fence, 3, syncobj, point);
    umf_syncobj_unref(syncobj);
    settle(l, m->page);
    EXPECT(-ETIME, umf_watch_result(watch));
    int pending = vgem_sync_file(m->vgem, &kernel_fence);
    submit(m, handle, point, pending);
    settle(l, m->page);
    EXPECT(-ETIME, umf_watch_result(watch));
    CHECK(umf_fence_value(fence) == 0 && sync_file_status(pending) == 0);
    vgem_signal(m->vgem, kernel_fence);
    OK(outcome_of(l, watch));
    CHECK(umf_fence_value(fence) == 3);
    settle(l, m->page);
    close(pending);
    syncobj_destroy(m->gpu, handle);
    umf_fence_unref(fence);
    check_leftovers(m, before);
}

/* The fence is imported when it is there: what happens to the syncobj afterwards does not
 * matter. */
static void
a_binary_syncobj_is_used_again(const struct machine *m, struct umf_loop *l)
{
    uint32_t kernel_fences[3], handle = syncobj_create(m->gpu, 0);
    struct umf_syncobj *syncobj = open_syncobj(m, handle);
    struct umf_fence *fence = new_fence(m, 0);
    for (uint64_t i = 0; i < 3; i++) {
        struct drm_syncobj_array reset = { .handles = (uintptr_t)&handle, .count_handles = 1 };
        struct umf_watch *watch = import_point(l, fence, i + 1, syncobj, 0);
        settle(l, m->page);
        int pending = vgem_sync_file(m->vgem, &kernel_fences[i]);
        syncobj_import_sync_file(m->gpu, handle, pending);
        close(pending);
        /* The loop may or may not have seen the one in between; it sees the next. */
        OK(syncobj_ioctl(m->gpu, DRM_IOCTL_SYNCOBJ_RESET, &reset));
        EXPECT(-ETIME, umf_watch_result(watch));
        settle(l, m->page);
        EXPECT(-ETIME, umf_watch_result(watch));
        syncobj_signal(m->gpu, handle);
        settle(l, m->page);
        vgem_signal(m->vgem, kernel_fences[i]);
        OK(outcome_of(l, watch));
        CHECK(umf_fence_value(fence) == i + 1);
        OK(syncobj_ioctl(m->gpu, DRM_IOCTL_SYNCOBJ_RESET, &reset));
    }
    umf_syncobj_unref(syncobj);
    syncobj_destroy(m->gpu, handle);
    umf_fence_unref(fence);
}

static void
a_point_has_signaled(const struct machine *m, struct umf_loop *l)
{
    uint32_t timeline = syncobj_create(m->gpu, 0);
    uint32_t binary = syncobj_create(m->gpu, DRM_SYNCOBJ_CREATE_SIGNALED);
    struct umf_syncobj *t = open_syncobj(m, timeline), *b = open_syncobj(m, binary);
    struct umf_fence *fence = new_fence(m, 0);
    struct leftovers before = leftovers(m);
    syncobj_timeline_signal(m->gpu, timeline, 5);
    OK(outcome_of(l, import_point(l, fence, 1, b, 0)));
    OK(outcome_of(l, import_point(l, fence, 2, t, 5)));
    OK(outcome_of(l, import_point(l, fence, 3, t, 2)));
    CHECK(umf_fence_value(fence) == 3);
    EXPECT(-EINVAL, umf_loop_import_syncobj(l, fence, 2, t, 9, 0, NULL, NULL));
    check_leftovers(m, before);
    umf_syncobj_unref(t);
    umf_syncobj_unref(b);
    syncobj_destroy(m->gpu, timeline);
    syncobj_destroy(m->gpu, binary);
    umf_fence_unref(fence);
}

/* Many points of one timeline, on two loops, requested in any order, each for its own fence.
 * They take one descriptor, and one more for each pending one. */
#define MANY 300

static void
many_points(const struct machine *m, struct umf_loop *l, struct umf_loop *other, int step)
{
    struct leftovers before = leftovers(m);
    struct umf_page *page;
    uint32_t handle = syncobj_create(m->gpu, 0);
    struct umf_syncobj *syncobj = open_syncobj(m, handle);
    struct umf_fence *fences[MANY];
    struct umf_watch *watches[MANY];
    OK(umf_page_create(MANY, 0, &page));
    const int fds = open_fds();
    for (int i = 0, n = 0; i < MANY; i++, n = (n + MANY + step) % MANY) {
        OK(umf_fence_create(page, 0, 0, &fences[n]));
        watches[n] = import_point(n % 2 ? other : l, fences[n], 1, syncobj, n + 1);
    }
    settle(l, m->page);
    settle(other, m->page);
    CHECK(open_fds() <= fds + 1);
    for (int i = 0; i < MANY; i++)
        EXPECT(-ETIME, umf_watch_result(watches[i]));

    /* One at a time, then some at once, then the rest. */
    int done = 0;
    for (; done < 4; done++) {
        uint32_t kernel_fence;
        int pending = vgem_sync_file(m->vgem, &kernel_fence);
        syncobj_submit(m->gpu, handle, done + 1, pending);
        close(pending);
        settle(l, m->page);
        settle(other, m->page);
        CHECK(open_fds() <= fds + 3); /* the fence, and two while an eventfd is replaced */
        EXPECT(-ETIME, umf_watch_result(watches[done]));
        vgem_signal(m->vgem, kernel_fence);
        OK(outcome_of(done % 2 ? other : l, watches[done]));
        EXPECT(-ETIME, umf_watch_result(watches[done + 1]));
    }
    syncobj_timeline_signal(m->gpu, handle, 10);
    for (; done < 10; done++)
        OK(outcome_of(done % 2 ? other : l, watches[done]));
    settle(l, m->page);
    settle(other, m->page);
    EXPECT(-ETIME, umf_watch_result(watches[10]));
    syncobj_timeline_signal(m->gpu, handle, MANY);
    for (; done < MANY; done++)
        OK(outcome_of(done % 2 ? other : l, watches[done]));
    for (int i = 0; i < MANY; i++) {
        CHECK(umf_fence_value(fences[i]) == 1);
        umf_fence_unref(fences[i]);
    }
    umf_syncobj_unref(syncobj);
    syncobj_destroy(m->gpu, handle);
    umf_page_unref(page);
    settle(l, m->page);
    check_leftovers(m, before);
}

static void
an_unsubmitted_point_is_canceled(const struct machine *m, struct umf_loop *l)
{
    struct leftovers before = leftovers(m);
    const int threads_before = threads();
    struct umf_fence *fence = new_fence(m, 0);
    struct told told = { 0 };
    struct umf_callback callback = callback_to(&told);
    uint32_t handle = syncobj_create(m->gpu, 0);
    struct umf_syncobj *syncobj = open_syncobj(m, handle);
    struct umf_watch *watch;
    OK(umf_loop_import_syncobj(l, fence, 1, syncobj, 3, 0, &callback, &watch));
    settle(l, m->page);
    cancel(watch);
    CHECK(told.calls == 0 && told.releases == 1);
    /* A lower point, the same, a higher one: each is noticed. */
    struct umf_watch *high = import_point(l, fence, 4, syncobj, 4);
    struct umf_watch *same = import_point(l, fence, 3, syncobj, 3);
    struct umf_watch *low = import_point(l, fence, 2, syncobj, 2);
    cancel(import_point(l, fence, 1, syncobj, 1));
    syncobj_timeline_signal(m->gpu, handle, 2);
    OK(outcome_of(l, low));
    syncobj_timeline_signal(m->gpu, handle, 3);
    OK(outcome_of(l, same));
    settle(l, m->page);
    EXPECT(-ETIME, umf_watch_result(high));
    syncobj_timeline_signal(m->gpu, handle, 4);
    OK(outcome_of(l, high));
    /* One is left when its syncobj is destroyed. */
    watch = import_point(l, fence, 5, syncobj, 9);
    umf_syncobj_unref(syncobj);
    syncobj_destroy(m->gpu, handle);
    settle(l, m->page);
    cancel(watch);
    umf_fence_unref(fence);
    check_leftovers(m, before);
    while (threads() > threads_before) /* the kernel lists a thread for a moment after it ended */
        sched_yield();
}

/* A point is submitted. One loop has noticed it when the other asks for an earlier point. */
static void
a_loop_asks_before_it_looks(const struct machine *m)
{
    struct umf_loop *l = create_loop(0), *other = create_loop(0);
    struct umf_fence *fence = new_fence(m, 0);
    uint32_t handle = syncobj_create(m->gpu, 0);
    struct umf_syncobj *syncobj = open_syncobj(m, handle);
    struct umf_watch *late = import_point(other, fence, 1, syncobj, 5);
    struct umf_watch *never = import_point(l, fence, 2, syncobj, 7);
    syncobj_timeline_signal(m->gpu, handle, 5);
    until_due(l);
    OK(umf_loop_dispatch(l, 0));
    EXPECT(-ETIME, umf_watch_result(never));
    cancel(import_point(other, fence, 3, syncobj, 8));
    OK(outcome_of(other, late));
    CHECK(umf_fence_value(fence) == 1);
    cancel(never);
    umf_syncobj_unref(syncobj);
    syncobj_destroy(m->gpu, handle);
    umf_loop_unref(l);
    umf_loop_unref(other);
    umf_fence_unref(fence);
}

static uint64_t
cpu_time(void)
{
    struct timespec t;
    CHECK(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t) == 0);
    return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

static void
waiting_takes_no_time(const struct machine *m, struct umf_loop *l)
{
    struct umf_fence *fence = new_fence(m, 0);
    uint32_t handle = syncobj_create(m->gpu, 0);
    struct umf_syncobj *syncobj = open_syncobj(m, handle);
    struct umf_watch *watches[2];
    watches[0] = import_point(l, fence, 1, syncobj, 9);
    watches[1] = import_point(l, fence, 1, syncobj, 4);
    settle(l, m->page);
    const uint64_t before = cpu_time();
    nanosleep(&(struct timespec){ .tv_nsec = 300 * (long)MS }, NULL);
    CHECK(cpu_time() - before < 100 * MS);
    cancel(watches[0]);
    cancel(watches[1]);
    umf_syncobj_unref(syncobj);
    syncobj_destroy(m->gpu, handle);
    umf_fence_unref(fence);
}

static void
a_loop_ends_before_its_points_are_submitted(const struct machine *m, bool has_thread)
{
    struct leftovers before = leftovers(m);
    struct umf_loop *ends = create_loop(has_thread ? UMF_LOOP_THREAD : 0),
                    *stays = create_loop(has_thread ? UMF_LOOP_THREAD : 0);
    struct umf_fence *fence = new_fence(m, 0);
    struct told told = { 0 };
    struct umf_callback callback = callback_to(&told);
    uint32_t kernel_fence, handle = syncobj_create(m->gpu, 0);
    struct umf_syncobj *syncobj = open_syncobj(m, handle);
    int pending = vgem_sync_file(m->vgem, &kernel_fence);
    struct umf_watch *watch = import_point(stays, fence, 2, syncobj, 6);
    OK(umf_loop_import_syncobj(ends, fence, 1, syncobj, 5, 0, &callback, NULL));
    OK(umf_loop_import_sync_file(ends, fence, 1, pending, 0, &callback, NULL));
    umf_syncobj_unref(syncobj);
    umf_loop_unref(ends);
    CHECK(told.calls == 0 && told.releases == 2);
    syncobj_timeline_signal(m->gpu, handle, 5);
    syncobj_timeline_signal(m->gpu, handle, 6);
    OK(outcome_of(stays, watch));
    vgem_signal(m->vgem, kernel_fence);
    close(pending);
    umf_loop_unref(stays);
    syncobj_destroy(m->gpu, handle);
    umf_fence_unref(fence);
    check_leftovers(m, before);
}

/* The child of a fork has the same open file of the device, and none of the threads. */
static void
the_child_of_a_fork_leaves_all_alone(const struct machine *m, struct umf_loop *l)
{
    struct umf_fence *fence = new_fence(m, 0);
    uint32_t handle = syncobj_create(m->gpu, 0);
    struct umf_syncobj *syncobj = open_syncobj(m, handle);
    struct umf_watch *past = import_point(l, fence, 1, syncobj, 1), *watch;
    syncobj_timeline_signal(m->gpu, handle, 1);
    OK(outcome_of(l, past));
    settle(l, m->page);
    struct leftovers before = leftovers(m);
    pid_t child;
    IN_CHILD(child, umf_syncobj_unref(syncobj)); /* the last reference */
    join_child(child);
    watch = import_point(l, fence, 2, syncobj, 2);
    IN_CHILD(child, {
        EXPECT(-ESTALE, umf_loop_import_syncobj(l, fence, 3, syncobj, 2, 0, NULL, NULL));
        EXPECT(-ESTALE, umf_watch_cancel(watch));
        umf_watch_unref(watch);
        umf_syncobj_unref(syncobj);
        umf_loop_unref(l);
    });
    join_child(child);
    settle(l, m->page);
    EXPECT(-ETIME, umf_watch_result(watch));
    syncobj_timeline_signal(m->gpu, handle, 2);
    OK(outcome_of(l, watch));
    settle(l, m->page);
    check_leftovers(m, before);
    umf_syncobj_unref(syncobj);
    syncobj_destroy(m->gpu, handle);
    umf_fence_unref(fence);
}

/* Kernel memory that cannot be reclaimed, in KiB. */
static long
kernel_memory(void)
{
    char line[128];
    long kib = -1;
    FILE *file = fopen("/proc/meminfo", "re");
    CHECK(file);
    while (fgets(line, sizeof(line), file))
        if (sscanf(line, "SUnreclaim: %ld kB", &kib) == 1)
            break;
    fclose(file);
    CHECK(kib >= 0);
    return kib;
}

/* The kernel cannot cancel SYNCOBJ_EVENTFD. So a point that is requested and canceled over and
 * over must not register each time. `busy`: another loop waits for the timeline too. */
#define AGAIN 8000
#define MAY_GROW_KIB 200 /* a registration is 64 bytes or more, which makes 500 KiB */
/* The kernel frees with a delay, and all of its unreclaimable memory is counted. */
#define IS_FREED_WITHIN (10 * SECOND)

static void
canceled_points_take_no_kernel_memory(const struct machine *m, struct umf_loop *l,
                                      struct umf_loop *other, bool rises, bool busy)
{
    struct umf_fence *fence = new_fence(m, 0);
    uint32_t handle = syncobj_create(m->gpu, 0);
    struct umf_syncobj *syncobj = open_syncobj(m, handle);
    struct umf_watch *waits = NULL;
    /* The timeline has earlier points. */
    struct umf_watch *past = import_point(l, fence, 0, syncobj, 1);
    settle(l, m->page);
    if (busy)
        waits = import_point(other, fence, 1, syncobj, UINT64_MAX);
    syncobj_timeline_signal(m->gpu, handle, 1);
    OK(outcome_of(l, past));
    long before = 0;
    for (uint64_t i = 0; i < AGAIN + AGAIN / 10; i++) {
        if (i == AGAIN / 10)
            before = kernel_memory();
        struct umf_watch *watch = import_point(l, fence, 1, syncobj, rises ? 2 + i : 7);
        if (!loop_has_thread(l))
            OK(umf_loop_dispatch(l, 0));
        else if (i % 16 == 0)
            settle(l, m->page);
        cancel(watch);
    }
    long more;
    for (uint64_t end = in_ns(IS_FREED_WITHIN);
         (more = kernel_memory() - before) >= MAY_GROW_KIB && now_ns() < end;)
        turn_loop(l);
    printf("    SUnreclaim: %ld KiB more after %d of them\n", more, AGAIN);
    CHECK(more < MAY_GROW_KIB);
    if (waits)
        cancel(waits);
    umf_syncobj_unref(syncobj);
    syncobj_destroy(m->gpu, handle);
    umf_fence_unref(fence);
}

/* No descriptor is left when the library needs one. */
static int
use_up_fds(void)
{
    struct rlimit limit;
    int next = open("/dev/null", O_RDONLY | O_CLOEXEC);
    CHECK(next >= 0 && getrlimit(RLIMIT_NOFILE, &limit) == 0);
    close(next);
    int before = (int)limit.rlim_cur;
    limit.rlim_cur = (rlim_t)next; /* the lowest free one */
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    CHECK(open("/dev/null", O_RDONLY | O_CLOEXEC) == -1 && errno == EMFILE);
    return before;
}

static void
allow_fds(int count)
{
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = (rlim_t)count;
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

static void
no_descriptor_is_left(const struct machine *m, struct umf_loop *l)
{
    struct umf_fence *fences[4];
    for (int i = 0; i < 4; i++)
        fences[i] = new_fence(m, 0);
    uint32_t kernel_fence, handle = syncobj_create(m->gpu, 0), binary = syncobj_create(m->gpu, 0);
    uint32_t fresh = syncobj_create(m->gpu, 0);
    struct umf_syncobj *syncobj = open_syncobj(m, handle), *unheard = open_syncobj(m, fresh);
    int pending = vgem_sync_file(m->vgem, &kernel_fence);
    syncobj_import_sync_file(m->gpu, binary, pending);
    struct umf_watch *first = import_point(l, fences[0], 1, syncobj, 5), *refused = NULL;
    struct umf_watch *second = import_point(l, fences[1], 1, syncobj, 6);
    settle(l, m->page);
    int fds = use_up_fds();
    /* The call returns an error and leaves the fence alone. */
    EXPECT(-EMFILE, umf_loop_import_sync_file(l, fences[2], 1, pending, 0, NULL, &refused));
    EXPECT(-EMFILE, umf_loop_import_syncobj(l, fences[2], 1, unheard, 5, 0, NULL, &refused));
    OK(syncobj_transfer(m->gpu, binary, 0, handle, 5));
    EXPECT(-EMFILE, umf_loop_import_syncobj(l, fences[2], 1, syncobj, 5, 0, NULL, &refused));
    CHECK(!refused && error_of(fences[2]) == 0);
    /* A watch that was accepted fails, as there is no other way to report it. */
    EXPECT(-EMFILE, outcome_of(l, first));
    EXPECT(-EMFILE, error_of(fences[0]));
    /* Other watches are unaffected. */
    struct umf_watch *third = import_point(l, fences[3], 1, syncobj, 7);
    EXPECT(-ETIME, umf_watch_result(second));
    CHECK(error_of(fences[1]) == 0);
    allow_fds(fds);
    vgem_signal(m->vgem, kernel_fence);
    OK(outcome_of(l, import_point(l, fences[2], 1, syncobj, 5)));
    syncobj_timeline_signal(m->gpu, handle, 6);
    OK(outcome_of(l, second));
    syncobj_timeline_signal(m->gpu, handle, 7);
    OK(outcome_of(l, third));
    close(pending);
    umf_syncobj_unref(syncobj);
    umf_syncobj_unref(unheard);
    syncobj_destroy(m->gpu, handle);
    syncobj_destroy(m->gpu, binary);
    syncobj_destroy(m->gpu, fresh);
    for (int i = 0; i < 4; i++)
        umf_fence_unref(fences[i]);
}

/* A submitter that waits for nobody, while others request and cancel points. */
static void *
submit_points(void *argument)
{
    const struct machine *m = ((void **)argument)[0];
    uint32_t handle = *(uint32_t *)((void **)argument)[1];
    for (uint64_t point = 1; point <= 2000; point++)
        syncobj_timeline_signal(m->gpu, handle, point);
    return NULL;
}

static void
points_are_submitted_while_they_are_asked_for(const struct machine *m, struct umf_loop *l,
                                              struct umf_loop *other)
{
    uint32_t handle = syncobj_create(m->gpu, 0);
    struct umf_syncobj *syncobj = open_syncobj(m, handle);
    struct umf_fence *fences[2] = { new_fence(m, 0), new_fence(m, 0) };
    struct umf_watch *last[2];
    void *argument[] = { (void *)(uintptr_t)m, &handle };
    pthread_t submitter;
    CHECK(pthread_create(&submitter, NULL, submit_points, argument) == 0);
    for (uint64_t point = 1; point <= 2000; point += 20)
        for (int i = 0; i < 2; i++) {
            struct umf_loop *on = i ? other : l;
            struct umf_watch *watch = import_point(on, fences[i], point, syncobj, point);
            struct umf_watch *gone = import_point(on, fences[i], point, syncobj, point + 10);
            if (umf_watch_cancel(gone) != 0)
                CHECK(umf_watch_result(gone) != -ECANCELED);
            umf_watch_unref(gone);
            if (point % 200 == 1)
                OK(outcome_of(on, watch));
            else
                umf_watch_unref(watch);
        }
    for (int i = 0; i < 2; i++)
        last[i] = import_point(i ? other : l, fences[i], 3000, syncobj, 2000);
    CHECK(pthread_join(submitter, NULL) == 0);
    for (int i = 0; i < 2; i++) {
        OK(outcome_of(i ? other : l, last[i]));
        CHECK(umf_fence_value(fences[i]) == 3000);
        umf_fence_unref(fences[i]);
        settle(i ? other : l, m->page);
    }
    umf_syncobj_unref(syncobj);
    syncobj_destroy(m->gpu, handle);
}

static void
forbid_syncobj_eventfd(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 4),
        /* The low half of the request, on little-endian machines, without the size of the
         * struct. */
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
        BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0xffff),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYNCOBJ_EVENTFD & 0xffff, 0, 1),
        /* What drm_ioctl() returns for an unknown call. */
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { .len = ARRAY_SIZE(filter), .filter = filter };
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

int
main(int argc, char **argv)
{
    const bool sandbox = argc > 1 && strcmp(argv[1], "sandbox") == 0;
    has_test_fences = load_test_fences(); /* before anything is forbidden */
    if (sandbox)
        forbid_syncobj_eventfd();
    struct machine m = open_machine();
    watchdog(110);
    if (!m.syncobj)
        printf("  (this kernel has no syncobjs: sync_files and dma-bufs alone)\n");
    else if (sandbox) {
        struct umf_device_caps caps = { .size = sizeof(caps) };
        OK(umf_device_query_caps(m.device, &caps));
        CHECK(!(caps.flags & UMF_DEVICE_CAP_EVENTFD));
    }
    if (!has_test_fences)
        printf("  (no umf_test_fence.ko for this kernel: no fence fails)\n");

    struct leftovers before = leftovers(&m);
    if (m.syncobj)
        RUN(a_loop_asks_before_it_looks, &m);
    for (int has_thread = 0; has_thread < 2; has_thread++) {
        struct umf_loop *l = create_loop(has_thread ? UMF_LOOP_THREAD : 0),
                        *other = create_loop(has_thread ? UMF_LOOP_THREAD : 0),
                        *mixed = create_loop(has_thread ? 0 : UMF_LOOP_THREAD);
        printf(has_thread ? "  with a thread:\n" : "  dispatched:\n");
        settle(l, m.page);
        settle(other, m.page);
        settle(mixed, m.page);
        RUN(a_sync_file_signals, &m, l);
        RUN(a_sync_file_has_signaled, &m, l);
        RUN(what_is_no_sync_file_is_refused, &m, l);
        RUN(a_pending_sync_file_is_canceled, &m, l);
        RUN(the_fences_of_a_buffer_signal, &m, l);
        if (has_test_fences)
            RUN(kernel_fences_fail, &m, l);
        RUN(the_fence_fails_or_ends_meanwhile, &m, l);
        RUN(the_fence_is_beyond_it_meanwhile, &m, l);
        if (m.syncobj) {
            RUN(a_point_is_submitted_and_signals, &m, l, 0);
            RUN(a_point_is_submitted_and_signals, &m, l, 5);
            RUN(a_binary_syncobj_is_used_again, &m, l);
            RUN(a_point_has_signaled, &m, l);
            RUN(many_points, &m, l, l, 1);
            RUN(many_points, &m, l, other, -1);
            RUN(many_points, &m, l, mixed, 7);
            RUN(an_unsubmitted_point_is_canceled, &m, l);
            RUN(waiting_takes_no_time, &m, l);
            RUN(a_loop_ends_before_its_points_are_submitted, &m, has_thread);
            RUN(points_are_submitted_while_they_are_asked_for, &m, l, other);
            RUN(the_child_of_a_fork_leaves_all_alone, &m, l);
            RUN(no_descriptor_is_left, &m, l);
            for (int i = 0; i < 4; i++)
                RUN(canceled_points_take_no_kernel_memory, &m, l, other, i % 2, i / 2);
        }
        umf_loop_unref(l);
        umf_loop_unref(other);
        umf_loop_unref(mixed);
    }
    check_leftovers(&m, before);
    return 0;
}
