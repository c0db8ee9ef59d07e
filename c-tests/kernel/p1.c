// SPDX-License-Identifier: MIT
/*
 * No kernel fence waits for a UMF. A kernel fence is made only once the UMF has reached its value,
 * and is created signaled. So if a signaler never gets there, a call that fails leaves nothing in
 * the kernel.
 */
#include "drm_machine.h"
#include "process.h"
#include "raw_page.h"
#include "sleeper.h"
#include "syncobj.h"
#include "vgem.h"

#define POINT 5
#define BEFORE 3 /* a point that the timeline has already */

/* All export calls and their targets. */
enum way {
    SYNC_FILE,
    SYNC_FILE_BY_UDMABUF,
    BINARY,
    TIMELINE,
    READER,
    WRITER,
    WRITER_BY_UDMABUF,
    WAYS
};

struct targets {
    struct machine m;
    uint32_t binary, timeline;
    struct vgem_buffer buffer;
    struct leftovers before;
};

static struct targets
new_targets(void)
{
    struct targets t = { .m = open_machine() };
    t.buffer = vgem_buffer_create(t.m.vgem);
    if (t.m.syncobj) {
        t.binary = syncobj_create(t.m.gpu, 0);
        t.timeline = syncobj_create(t.m.gpu, 0);
        syncobj_timeline_signal(t.m.gpu, t.timeline, BEFORE);
    }
    return t;
}

static int
export_by(struct targets *t, enum way way, struct umf_fence *fence, uint64_t value,
          uint64_t timeout, int *out_fd)
{
    struct umf_device *device = t->m.device;
    switch (way) {
    case SYNC_FILE:
        return umf_fence_export_sync_file(fence, value, device, 0, timeout, out_fd);
    case SYNC_FILE_BY_UDMABUF:
        return umf_fence_export_sync_file(fence, value, NULL, 0, timeout, out_fd);
    case BINARY:
        return umf_fence_export_syncobj(fence, value, device, t->binary, 0, 0, timeout);
    case TIMELINE:
        return umf_fence_export_syncobj(fence, value, device, t->timeline, POINT, 0, timeout);
    case READER:
        return umf_fence_export_dma_buf(fence, value, device, t->buffer.dma_buf, UMF_DMA_BUF_READ,
                                        timeout);
    case WRITER:
        return umf_fence_export_dma_buf(fence, value, device, t->buffer.dma_buf, UMF_DMA_BUF_WRITE,
                                        timeout);
    default:
        return umf_fence_export_dma_buf(fence, value, NULL, t->buffer.dma_buf, UMF_DMA_BUF_WRITE,
                                        timeout);
    }
}

/* Whether this kernel supports an export at all. Where it does not, the result does not depend
 * on the fence. */
static bool
can(const struct targets *t, enum way way)
{
    return way == SYNC_FILE_BY_UDMABUF || way == WRITER_BY_UDMABUF ? t->m.udmabuf : t->m.syncobj;
}

static void
check_no_kernel_fence(struct targets *t)
{
    struct dma_buf_fences fences = dma_buf_fences(t->buffer.dma_buf);
    CHECK(fences.readers == 0 && fences.writers == 0);
    if (t->m.syncobj) {
        check_not_materialized(t->m.gpu, t->binary, 0);
        check_not_materialized(t->m.gpu, t->timeline, POINT);
        CHECK(syncobj_query(t->m.gpu, t->timeline, 0) == BEFORE);
        CHECK(syncobj_query(t->m.gpu, t->timeline, DRM_SYNCOBJ_QUERY_FLAGS_LAST_SUBMITTED) ==
              BEFORE);
    }
}

/* All exports, with deadlines long past, a moment ago, and soon. `answer` 0 stands for any
 * error. */
static void
nothing_comes_of(struct targets *t, struct umf_fence *fence, uint64_t value, int answer)
{
    t->before = leftovers(&t->m);
    for (enum way way = 0; way < WAYS; way++)
        for (int i = 0; i < 3; i++) {
            int fd = -7, expected = can(t, way) ? answer : -EOPNOTSUPP;
            uint64_t deadline = i == 0 ? 0 : i == 1 ? now_ns() - 1 : in_ns(10 * MS);
            int result = export_by(t, way, fence, value, deadline, &fd);
            if (expected)
                EXPECT(expected, result);
            CHECK(result < 0 && fd == -7);
            check_no_kernel_fence(t);
        }
    check_leftovers(&t->m, t->before);
}

static void
a_signaler_that_never_comes(struct targets *t)
{
    static const uint64_t values[][2] = {
        { 0, 1 },
        { 0, UINT64_MAX },
        { UINT64_MAX - 1, UINT64_MAX },
        { UINT64_C(1) << 32, (UINT64_C(1) << 32) + 1 },
        { 1, (UINT64_C(1) << 32) + 1 },
    };
    for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
        struct umf_fence *fence = new_fence(&t->m, values[i][0]);
        /* A pending value is not a signal. */
        OK(umf_fence_submit(fence, values[i][1]));
        nothing_comes_of(t, fence, values[i][1], -ETIME);
        umf_fence_unref(fence);
    }
}

static void
a_signaler_that_comes_too_slowly(struct targets *t)
{
    const uint64_t target = UINT64_C(1) << 40;
    struct umf_fence *fence = new_fence(&t->m, 0);
    pid_t driver;
    IN_CHILD(driver, {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (uint64_t value = 1; value < target; value++)
            OK(umf_fence_signal(fence, value));
    });
    OK(umf_fence_wait(fence, 1, FOREVER));
    nothing_comes_of(t, fence, target, -ETIME);
    CHECK(kill(driver, SIGKILL) == 0);
    CHECK(waitpid(driver, NULL, 0) == driver);
    umf_fence_unref(fence);
}

static void
a_signaler_that_fails(struct targets *t)
{
    struct umf_fence *fence = new_fence(&t->m, 1);
    OK(umf_fence_set_error(fence, -ENODEV));
    nothing_comes_of(t, fence, 2, -EIO);
    umf_fence_unref(fence);
    fence = new_fence(&t->m, 1);
    OK(umf_fence_set_error(fence, -EOWNERDEAD));
    nothing_comes_of(t, fence, 2, -EOWNERDEAD);
    umf_fence_unref(fence);
}

/* Another process creates the page and the fence, sends them, and dies. */
static void
create_and_die(int sock)
{
    struct umf_page *page;
    struct umf_fence *fence;
    OK(umf_page_create(1, 0, &page));
    OK(umf_fence_create(page, 1, 0, &fence));
    OK(umf_fence_submit(fence, 2));
    send_page(sock, page);
    tell(sock, umf_fence_index(fence));
    hear(sock);
    raise(SIGKILL);
}

static void
a_signaler_that_is_dead(struct targets *t)
{
    struct peer peer = start_peer(create_and_die);
    struct umf_page *page = recv_page(peer.sock);
    struct umf_fence *fence = recv_fence(peer.sock, page);
    nothing_comes_of(t, fence, 2, -ETIME);
    tell(peer.sock, 0);
    CHECK(waitpid(peer.pid, NULL, 0) == peer.pid);
    nothing_comes_of(t, fence, 2, -ETIME);
    close(peer.sock);
    umf_fence_unref(fence);
    umf_page_unref(page);
}

/* A peer writes to every byte beside the value, all the time. Calls may return any error, but
 * they fail. */
static void
a_signaler_that_overwrites_the_page(struct targets *t)
{
    struct umf_fence *fence = new_fence(&t->m, 1);
    struct raw raw = map_raw(t->m.page);
    uint64_t slot = umf_fence_offset(fence);
    char saved[64];
    pid_t writer;
    memcpy(saved, raw.bytes + slot, sizeof(saved));
    IN_CHILD(writer, {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (uint64_t seed = 1;; seed++)
            for (uint64_t i = 8; i < 64; i++) {
                raw.bytes[slot + i] = (char)(random_word(&seed) >> 56);
            }
    });
    for (int i = 0; i < 10; i++)
        nothing_comes_of(t, fence, 2, 0);
    CHECK(kill(writer, SIGKILL) == 0);
    CHECK(waitpid(writer, NULL, 0) == writer);
    /* Restores the slot: the other fences of the page are unaffected. */
    memcpy(raw.bytes + slot, saved, sizeof(saved));
    unmap_raw(&raw);
    umf_fence_unref(fence);
}

static void
a_signaler_that_takes_the_memory_away(struct targets *t)
{
    struct umf_page *page;
    struct umf_fence *fence;
    OK(umf_page_create(1, 0, &page));
    OK(umf_fence_create(page, 1, 0, &fence));
    struct raw raw = map_raw(page);
    CHECK(fallocate(raw.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)raw.length) == 0);
    nothing_comes_of(t, fence, 2, 0);
    unmap_raw(&raw);
    umf_fence_unref(fence);
    umf_page_unref(page);
}

/* The exporting process dies in the wait. The syncobjs and the buffer also belong to this
 * process, and stay unchanged. */
static void
an_exporter_that_is_killed(struct targets *t)
{
    struct umf_fence *fence = new_fence(&t->m, 1);
    t->before = leftovers(&t->m);
    for (enum way way = 0; way < WAYS; way++) {
        pid_t exporter;
        int status, fd;
        if (!can(t, way))
            continue;
        IN_CHILD(exporter, OK(export_by(t, way, fence, 2, FOREVER, &fd)));
        until_blocked(exporter);
        CHECK(kill(exporter, SIGKILL) == 0);
        CHECK(waitpid(exporter, &status, 0) == exporter && WIFSIGNALED(status));
        check_no_kernel_fence(t);
    }
    check_leftovers(&t->m, t->before);
    umf_fence_unref(fence);
}

/* The signal comes at about the deadline. Either everything happened, or nothing. */
static void
a_signaler_that_comes_at_the_deadline(struct targets *t)
{
    int made = 0, refused = 0;
    uint64_t lead = 200000; /* adapted: about as long as the export takes to start */
    for (int round = 0; round < 100; round++) {
        struct umf_fence *fence = new_fence(&t->m, 0);
        uint32_t timeline = syncobj_create(t->m.gpu, 0), ours = t->timeline;
        uint64_t deadline = in_ns(2 * MS);
        pid_t driver;
        IN_CHILD(driver, {
            while (now_ns() + lead < deadline)
                continue;
            OK(umf_fence_signal(fence, 1));
        });
        t->timeline = timeline;
        int result = export_by(t, TIMELINE, fence, 1, deadline, NULL);
        t->timeline = ours;
        if (result == 0) {
            CHECK(umf_fence_value(fence) == 1);
            check_signaled(t->m.gpu, timeline, POINT);
            lead -= lead / 8;
            made++;
        } else {
            EXPECT(-ETIME, result);
            check_not_materialized(t->m.gpu, timeline, POINT);
            lead += lead / 8 + 1000;
            refused++;
        }
        join_child(driver);
        syncobj_destroy(t->m.gpu, timeline);
        umf_fence_unref(fence);
    }
    printf("    %d made, %d refused\n", made, refused);
}

/* Last, since these calls succeed and change the targets: shows that each export works. */
static void
a_signaler_that_comes(struct targets *t)
{
    struct umf_fence *fence = new_fence(&t->m, 2);
    for (enum way way = 0; way < WAYS; way++) {
        int fd = -7;
        EXPECT(can(t, way) ? 0 : -EOPNOTSUPP, export_by(t, way, fence, 2, 0, &fd));
        if (fd >= 0) {
            EXPECT(1, sync_file_status(fd));
            close(fd);
        }
    }
    if (t->m.syncobj) {
        check_signaled(t->m.gpu, t->binary, 0);
        check_signaled(t->m.gpu, t->timeline, POINT);
    }
    struct dma_buf_fences fences = dma_buf_fences(t->buffer.dma_buf);
    CHECK((fences.readers + fences.writers > 0) == (can(t, WRITER) || can(t, WRITER_BY_UDMABUF)));
    CHECK(fences.pending == 0);
    umf_fence_unref(fence);
}

int
main(void)
{
    struct targets t = new_targets();
    watchdog(110);

    RUN(a_signaler_that_never_comes, &t);
    RUN(a_signaler_that_comes_too_slowly, &t);
    RUN(a_signaler_that_fails, &t);
    RUN(a_signaler_that_is_dead, &t);
    RUN(a_signaler_that_overwrites_the_page, &t);
    RUN(a_signaler_that_takes_the_memory_away, &t);
    RUN(an_exporter_that_is_killed, &t);
    if (t.m.syncobj)
        RUN(a_signaler_that_comes_at_the_deadline, &t);
    RUN(a_signaler_that_comes, &t);
    return 0;
}
