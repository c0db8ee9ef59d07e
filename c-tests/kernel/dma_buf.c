// SPDX-License-Identifier: MIT
/*
 * Conversions between a UMF and the implicit fences of a dma-buf. The buffers are a driver's (vgem)
 * and plain memory (udmabuf).
 */
#include "drm_machine.h"
#include "sleeper.h"
#include "vgem.h"

#include <sys/eventfd.h>

#define READ UMF_DMA_BUF_READ
#define WRITE UMF_DMA_BUF_WRITE
#define BOTH (UMF_DMA_BUF_READ | UMF_DMA_BUF_WRITE)
#define TIMEOUTS 3

/* Deadlines: long past, a moment ago, soon. */
static uint64_t
timeout(int i)
{
    return i == 0 ? 0 : i == 1 ? now_ns() - 1 : in_ns(10 * MS);
}

static void
an_idle_buffer_signals(const struct machine *m, int dma_buf)
{
    struct umf_fence *fence = new_fence(m, 0);
    OK(umf_fence_import_dma_buf(fence, 1, dma_buf, READ, 0));
    CHECK(umf_fence_value(fence) == 1);
    OK(umf_fence_import_dma_buf(fence, 2, dma_buf, WRITE, FOREVER));
    CHECK(umf_fence_value(fence) == 2);
    OK(umf_fence_import_dma_buf(fence, 3, dma_buf, BOTH, 0));
    CHECK(umf_fence_value(fence) == 3);
    umf_fence_unref(fence);
}

static void
readers_wait_for_writers_only(const struct machine *m)
{
    struct vgem_buffer buffer = vgem_buffer_create(m->vgem);
    struct umf_fence *fence = new_fence(m, 0);
    uint32_t reader = vgem_attach(&buffer, 0);
    OK(umf_fence_import_dma_buf(fence, 1, buffer.dma_buf, READ, 0));
    CHECK(umf_fence_value(fence) == 1);
    vgem_signal(m->vgem, reader);
    uint32_t writer = vgem_attach(&buffer, VGEM_FENCE_WRITE);
    EXPECT(-ETIME, umf_fence_import_dma_buf(fence, 2, buffer.dma_buf, READ, in_ns(10 * MS)));
    CHECK(umf_fence_value(fence) == 1);
    vgem_signal(m->vgem, writer);
    OK(umf_fence_import_dma_buf(fence, 2, buffer.dma_buf, READ, 0));
    CHECK(umf_fence_value(fence) == 2);
    vgem_buffer_destroy(&buffer);
    umf_fence_unref(fence);
}

static void
writers_wait_for_all_fences(const struct machine *m, uint64_t flags)
{
    struct umf_fence *fence = new_fence(m, 0);
    uint64_t value = 0;
    for (uint32_t kind = 0; kind <= VGEM_FENCE_WRITE; kind++) {
        struct vgem_buffer buffer = vgem_buffer_create(m->vgem);
        uint32_t kernel_fence = vgem_attach(&buffer, kind);
        value++;
        EXPECT(-ETIME,
               umf_fence_import_dma_buf(fence, value, buffer.dma_buf, flags, in_ns(10 * MS)));
        CHECK(umf_fence_value(fence) == value - 1);
        vgem_signal(m->vgem, kernel_fence);
        OK(umf_fence_import_dma_buf(fence, value, buffer.dma_buf, flags, 0));
        CHECK(umf_fence_value(fence) == value);
        vgem_buffer_destroy(&buffer);
    }
    umf_fence_unref(fence);
}

/* All fences of a buffer: several, also of a driver that has never seen the buffer. */
static void
an_import_waits_for_all_fences(const struct machine *m, int dma_buf)
{
    struct umf_fence *fence = new_fence(m, 0);
    uint32_t kernel_fences[3];
    pid_t importer;

    for (int i = 0; i < 3; i++) {
        int pending = vgem_sync_file(m->vgem, &kernel_fences[i]);
        dma_buf_import(dma_buf, i == 0 ? DMA_BUF_SYNC_WRITE : DMA_BUF_SYNC_READ, pending);
        close(pending);
    }
    IN_CHILD(importer, OK(umf_fence_import_dma_buf(fence, 1, dma_buf, WRITE, FOREVER)));
    for (int i = 0; i < 3; i++) {
        until_blocked(importer);
        EXPECT(-ETIME, umf_fence_import_dma_buf(fence, 1, dma_buf, WRITE, in_ns(5 * MS)));
        CHECK(umf_fence_value(fence) == 0);
        vgem_signal(m->vgem, kernel_fences[i]);
    }
    join_child(importer);
    CHECK(umf_fence_value(fence) == 1);
    umf_fence_unref(fence);
}

/* "That a dma-buf has now": a fence that is added later does not delay an import that waits. */
static void
an_import_waits_for_the_fences_there_were(const struct machine *m)
{
    struct vgem_buffer buffer = vgem_buffer_create(m->vgem);
    struct umf_fence *fence = new_fence(m, 0);
    uint32_t early = vgem_attach(&buffer, 0), late;
    pid_t importer;
    IN_CHILD(importer, OK(umf_fence_import_dma_buf(fence, 1, buffer.dma_buf, WRITE, FOREVER)));
    until_blocked(importer);
    late = vgem_attach(&buffer, 0);
    CHECK(umf_fence_value(fence) == 0);
    vgem_signal(m->vgem, early);
    join_child(importer);
    CHECK(umf_fence_value(fence) == 1);
    EXPECT(-ETIME, umf_fence_import_dma_buf(fence, 2, buffer.dma_buf, WRITE, 0));
    vgem_signal(m->vgem, late);
    vgem_buffer_destroy(&buffer);
    umf_fence_unref(fence);
}

static void
an_import_that_times_out_leaves_nothing(const struct machine *m)
{
    struct vgem_buffer buffer = vgem_buffer_create(m->vgem);
    struct umf_fence *fence = new_fence(m, 1);
    uint32_t writer = vgem_attach(&buffer, VGEM_FENCE_WRITE);
    struct leftovers before = leftovers(m);
    for (int i = 0; i < TIMEOUTS; i++) {
        uint64_t deadline = timeout(i);
        EXPECT(-ETIME, umf_fence_import_dma_buf(fence, 2, buffer.dma_buf, READ, deadline));
        CHECK(now_ns() >= deadline);
    }
    CHECK(umf_fence_value(fence) == 1 && umf_fence_pending_value(fence) == 1);
    CHECK(error_of(fence) == 0);
    CHECK(dma_buf_fences(buffer.dma_buf).writers == 1 &&
          dma_buf_fences(buffer.dma_buf).pending == 1);
    check_leftovers(m, before);
    vgem_signal(m->vgem, writer);
    vgem_buffer_destroy(&buffer);
    umf_fence_unref(fence);
}

/* Only debugfs shows the fence that an export adds: it has signaled, so nobody waits for it. */
static void
an_export_adds_a_signaled_fence(const struct machine *m, struct umf_device *device)
{
    static const uint64_t flags[] = { READ, WRITE, BOTH };
    struct umf_fence *fence = new_fence(m, 5);
    for (int i = 0; i < 3; i++) {
        int dma_buf = udmabuf_create();
        CHECK(dma_buf_fences(dma_buf).readers + dma_buf_fences(dma_buf).writers == 0);
        struct leftovers before = leftovers(m);
        OK(umf_fence_export_dma_buf(fence, 5, device, dma_buf, flags[i], i == 1 ? FOREVER : 0));
        struct dma_buf_fences added = dma_buf_fences(dma_buf);
        CHECK(added.readers == (flags[i] == READ) && added.writers == (flags[i] != READ));
        CHECK(added.pending == 0);
        CHECK(is_ready(dma_buf, POLLIN) && is_ready(dma_buf, POLLOUT));
        check_leftovers(m, before);
        close(dma_buf);
    }
    umf_fence_unref(fence);
}

static void
an_export_waits_for_another_process(const struct machine *m, struct umf_device *device, int dma_buf)
{
    struct umf_fence *fence = new_fence(m, 0);
    struct dma_buf_fences before = dma_buf_fences(dma_buf), after;
    pid_t exporter;
    IN_CHILD(exporter, OK(umf_fence_export_dma_buf(fence, 2, device, dma_buf, WRITE, FOREVER)));
    until_blocked(exporter);
    after = dma_buf_fences(dma_buf);
    CHECK(memcmp(&before, &after, sizeof(before)) == 0);
    CHECK(is_ready(dma_buf, POLLIN) && is_ready(dma_buf, POLLOUT));
    OK(umf_fence_signal(fence, 1));
    until_blocked(exporter);
    after = dma_buf_fences(dma_buf);
    CHECK(memcmp(&before, &after, sizeof(before)) == 0);
    OK(umf_fence_signal(fence, 2));
    join_child(exporter);
    CHECK(dma_buf_fences(dma_buf).writers == 1 && dma_buf_fences(dma_buf).pending == 0);
    CHECK(is_ready(dma_buf, POLLIN) && is_ready(dma_buf, POLLOUT));
    umf_fence_unref(fence);
}

/* An export removes no fence: pending fences must still be waited for. */
static void
an_export_keeps_the_fences_of_others(const struct machine *m, struct umf_device *device)
{
    struct vgem_buffer buffer = vgem_buffer_create(m->vgem);
    struct umf_fence *fence = new_fence(m, 1);
    uint32_t writer = vgem_attach(&buffer, VGEM_FENCE_WRITE);
    for (int i = 0; i < 2; i++) {
        OK(umf_fence_export_dma_buf(fence, 1, device, buffer.dma_buf, i ? WRITE : READ, FOREVER));
        CHECK(!is_ready(buffer.dma_buf, POLLIN) && !is_ready(buffer.dma_buf, POLLOUT));
        CHECK(dma_buf_fences(buffer.dma_buf).pending == 1);
        EXPECT(-ETIME, umf_fence_import_dma_buf(fence, 2, buffer.dma_buf, READ, 0));
    }
    vgem_signal(m->vgem, writer);
    CHECK(is_ready(buffer.dma_buf, POLLIN) && is_ready(buffer.dma_buf, POLLOUT));
    OK(umf_fence_import_dma_buf(fence, 2, buffer.dma_buf, BOTH, 0));
    vgem_buffer_destroy(&buffer);
    umf_fence_unref(fence);
}

static void
a_failed_export_adds_nothing(const struct machine *m, struct umf_device *device, int dma_buf)
{
    struct umf_fence *fence = new_fence(m, 1);
    struct leftovers before = leftovers(m);
    struct dma_buf_fences fences = dma_buf_fences(dma_buf), after;
    pid_t driver;
    for (int i = 0; i < TIMEOUTS; i++) {
        uint64_t deadline = timeout(i);
        EXPECT(-ETIME, umf_fence_export_dma_buf(fence, 2, device, dma_buf, i == 1 ? READ : WRITE,
                                                deadline));
        CHECK(now_ns() >= deadline);
    }
    IN_CHILD(driver, {
        until_blocked(getppid());
        OK(umf_fence_set_error(fence, -ENODEV));
    });
    EXPECT(-EIO, umf_fence_export_dma_buf(fence, 2, device, dma_buf, WRITE, FOREVER));
    join_child(driver);
    after = dma_buf_fences(dma_buf);
    CHECK(memcmp(&fences, &after, sizeof(fences)) == 0);
    check_leftovers(m, before);
    umf_fence_unref(fence);
}

/* Nobody signals the fence: wrong arguments are refused at once. */
static void
bad_exports_are_refused(const struct machine *m, struct umf_device *device, int dma_buf)
{
    struct umf_fence *fence = new_fence(m, 0);
    uint32_t kernel_fence;
    int closed = dup(dma_buf);
    const int others[] = { memfd_create("no dma-buf", MFD_CLOEXEC), eventfd(1, EFD_CLOEXEC),
                           dup(m->gpu), vgem_sync_file(m->vgem, &kernel_fence) };
    struct dma_buf_fences fences = dma_buf_fences(dma_buf), after;
    close(closed);
    for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
        EXPECT(-EINVAL, umf_fence_export_dma_buf(fence, 1, device, others[i], WRITE, FOREVER));
        close(others[i]);
    }
    EXPECT(-EBADF, umf_fence_export_dma_buf(fence, 1, device, closed, WRITE, FOREVER));
    EXPECT(-EBADF, umf_fence_export_dma_buf(fence, 1, device, -1, WRITE, FOREVER));
    EXPECT(-EINVAL, umf_fence_export_dma_buf(NULL, 0, device, dma_buf, WRITE, 0));
    EXPECT(-EINVAL, umf_fence_export_dma_buf(fence, 0, device, dma_buf, 0, 0));
    EXPECT(-EINVAL, umf_fence_export_dma_buf(fence, 0, device, dma_buf, BOTH + 1, 0));
    EXPECT(-EINVAL,
           umf_fence_export_dma_buf(fence, 0, device, dma_buf, WRITE | UINT64_C(1) << 63, 0));
    after = dma_buf_fences(dma_buf);
    CHECK(memcmp(&fences, &after, sizeof(fences)) == 0);
    vgem_signal(m->vgem, kernel_fence);
    umf_fence_unref(fence);
}

static void
bad_imports_are_refused(const struct machine *m)
{
    struct vgem_buffer buffer = vgem_buffer_create(m->vgem);
    struct umf_fence *fence = new_fence(m, 3);
    uint32_t kernel_fence, writer = vgem_attach(&buffer, VGEM_FENCE_WRITE);
    int closed = dup(buffer.dma_buf);
    const int others[] = { memfd_create("no dma-buf", MFD_CLOEXEC), eventfd(1, EFD_CLOEXEC),
                           dup(m->gpu), vgem_sync_file(m->vgem, &kernel_fence) };
    close(closed);
    for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
        EXPECT(-EINVAL, umf_fence_import_dma_buf(fence, 4, others[i], WRITE, FOREVER));
        close(others[i]);
    }
    EXPECT(-EBADF, umf_fence_import_dma_buf(fence, 4, closed, WRITE, FOREVER));
    EXPECT(-EBADF, umf_fence_import_dma_buf(fence, 4, -1, WRITE, FOREVER));
    EXPECT(-EINVAL, umf_fence_import_dma_buf(NULL, 4, buffer.dma_buf, WRITE, 0));
    EXPECT(-EINVAL, umf_fence_import_dma_buf(fence, 4, buffer.dma_buf, 0, 0));
    EXPECT(-EINVAL, umf_fence_import_dma_buf(fence, 4, buffer.dma_buf, BOTH + 1, 0));
    EXPECT(-EINVAL,
           umf_fence_import_dma_buf(fence, 4, buffer.dma_buf, WRITE | UINT64_C(1) << 63, 0));
    /* A value that the fence has passed is refused at once. */
    EXPECT(-EINVAL, umf_fence_import_dma_buf(fence, 2, buffer.dma_buf, WRITE, FOREVER));
    CHECK(umf_fence_value(fence) == 3 && error_of(fence) == 0);
    vgem_signal(m->vgem, kernel_fence);
    vgem_signal(m->vgem, writer);
    vgem_buffer_destroy(&buffer);
    umf_fence_unref(fence);
}

/* Without syncobjs and udmabuf an export is refused at once: nobody signals the fence. */
static void
without_a_way_nothing_is_exported(const struct machine *m)
{
    struct vgem_buffer buffer = vgem_buffer_create(m->vgem);
    struct umf_fence *fence = new_fence(m, 0);
    EXPECT(-EOPNOTSUPP,
           umf_fence_export_dma_buf(fence, 1, m->device, buffer.dma_buf, WRITE, FOREVER));
    EXPECT(-EOPNOTSUPP, umf_fence_export_dma_buf(fence, 0, NULL, buffer.dma_buf, READ, 0));
    CHECK(dma_buf_fences(buffer.dma_buf).readers + dma_buf_fences(buffer.dma_buf).writers == 0);
    vgem_buffer_destroy(&buffer);
    umf_fence_unref(fence);
}

static void
all_exports(const struct machine *m, struct umf_device *device)
{
    struct vgem_buffer buffer = vgem_buffer_create(m->vgem);
    int udmabuf = udmabuf_create();
    RUN(bad_exports_are_refused, m, device, buffer.dma_buf);
    RUN(a_failed_export_adds_nothing, m, device, buffer.dma_buf);
    RUN(a_failed_export_adds_nothing, m, device, udmabuf);
    RUN(an_export_adds_a_signaled_fence, m, device);
    RUN(an_export_waits_for_another_process, m, device, buffer.dma_buf);
    RUN(an_export_waits_for_another_process, m, device, udmabuf);
    RUN(an_export_keeps_the_fences_of_others, m, device);
    close(udmabuf);
    vgem_buffer_destroy(&buffer);
}

int
main(void)
{
    struct machine m = open_machine();
    struct vgem_buffer buffer = vgem_buffer_create(m.vgem);
    watchdog(50);

    RUN(an_idle_buffer_signals, &m, buffer.dma_buf);
    RUN(readers_wait_for_writers_only, &m);
    RUN(writers_wait_for_all_fences, &m, WRITE);
    RUN(writers_wait_for_all_fences, &m, BOTH);
    RUN(an_import_waits_for_all_fences, &m, buffer.dma_buf);
    RUN(an_import_waits_for_the_fences_there_were, &m);
    RUN(an_import_that_times_out_leaves_nothing, &m);
    RUN(bad_imports_are_refused, &m);
    vgem_buffer_destroy(&buffer);

    if (!m.udmabuf) {
        RUN(without_a_way_nothing_is_exported, &m);
        return 0;
    }
    int udmabuf = udmabuf_create();
    RUN(an_idle_buffer_signals, &m, udmabuf);
    RUN(an_import_waits_for_all_fences, &m, udmabuf);
    close(udmabuf);
    RUN(all_exports, &m, m.device);
    RUN(all_exports, &m, NULL);
    return 0;
}
