// SPDX-License-Identifier: MIT
/*
 * A process that converts another's signals to kernel fences and back, in all ways that the machine
 * supports.
 */
#include "process.h"
#include "soak.h"

#include "drm_machine.h"
#include "syncobj.h"
#include "vgem.h"

/* how far the signaler is ahead */
#define AHEAD 16

struct converter {
    struct umf_loop *loop;
    struct umf_device *device; /* with syncobjs, or NULL */
    bool sync_files;           /* can be exported */
    int gpu, vgem, dma_buf;    /* or -1 */
    uint32_t binary, timeline;
    struct umf_syncobj *syncobj; /* the timeline */
    /* The converted fence, the one it is converted back to, and the number of released
     * callbacks. */
    struct umf_fence *from, *to, *released;
    uint64_t releases, expected;
};

static void
on_call(void *data, int result)
{
    (void)data;
    OK(result);
}

static void
on_release(void *data)
{
    struct converter *b = data;
    OK(umf_fence_signal(b->released, ++b->releases));
}

static struct umf_callback
expect_call(struct converter *b)
{
    b->expected++;
    return (struct umf_callback){ on_call, on_release, b };
}

static int
signaled(struct converter *b, uint64_t value)
{
    int sync_file;
    OK(umf_fence_export_sync_file(b->from, value, b->device, 0, FOREVER, &sync_file));
    EXPECT(1, sync_file_status(sync_file));
    return sync_file;
}

static void
by_sync_file(struct converter *b, uint64_t value)
{
    int sync_file = signaled(b, value);
    OK(umf_fence_import_sync_file(b->to, value, sync_file, 0, FOREVER));
    close(sync_file);
}

static void
by_sync_file_watched(struct converter *b, uint64_t value)
{
    const struct umf_callback callback = expect_call(b);
    int sync_file = signaled(b, value);
    OK(umf_loop_import_sync_file(b->loop, b->to, value, sync_file, 0, &callback, NULL));
    close(sync_file);
}

/* A kernel fence that is pending until the value is there. */
static void
by_pending_sync_file(struct converter *b, uint64_t value)
{
    const struct umf_callback callback = expect_call(b);
    uint32_t fence;
    int sync_file = vgem_sync_file(b->vgem, &fence);
    OK(umf_loop_import_sync_file(b->loop, b->to, value, sync_file, 0, &callback, NULL));
    close(sync_file);
    OK(umf_fence_wait(b->from, value, FOREVER));
    CHECK(umf_fence_value(b->to) < value);
    vgem_signal(b->vgem, fence);
}

static void
by_binary_syncobj(struct converter *b, uint64_t value)
{
    OK(umf_fence_export_syncobj(b->from, value, b->device, b->binary, 0, 0, FOREVER));
    OK(umf_fence_import_syncobj(b->to, value, b->device, b->binary, 0, 0, FOREVER));
}

static void
by_point(struct converter *b, uint64_t value)
{
    OK(umf_fence_export_syncobj(b->from, value, b->device, b->timeline, value, 0, FOREVER));
    OK(umf_fence_import_syncobj(b->to, value, b->device, b->timeline, value, 0, FOREVER));
}

/* The point is waited for before it exists. */
static void
by_point_watched(struct converter *b, uint64_t value)
{
    const struct umf_callback callback = expect_call(b);
    expect_call(b);
    OK(umf_loop_import_syncobj(b->loop, b->to, value, b->syncobj, value, 0, &callback, NULL));
    OK(umf_loop_export_syncobj(b->loop, b->from, value, b->syncobj, value, 0, &callback, NULL));
}

static void
by_dma_buf(struct converter *b, uint64_t value)
{
    OK(umf_fence_export_dma_buf(b->from, value, b->device, b->dma_buf, UMF_DMA_BUF_WRITE, FOREVER));
    OK(umf_fence_import_dma_buf(b->to, value, b->dma_buf, UMF_DMA_BUF_READ, FOREVER));
}

typedef void conversion(struct converter *b, uint64_t value);

static unsigned
choose(const struct converter *b, conversion **ways)
{
    unsigned n = 0;
    if (b->sync_files) {
        ways[n++] = by_sync_file;
        ways[n++] = by_sync_file_watched;
    }
    if (b->sync_files && b->dma_buf >= 0)
        ways[n++] = by_dma_buf;
    if (b->vgem >= 0)
        ways[n++] = by_pending_sync_file;
    if (b->device) {
        ways[n++] = by_binary_syncobj;
        ways[n++] = by_point;
        ways[n++] = by_point_watched;
    }
    return n;
}

static struct converter
open_converter(void)
{
    struct converter b = { .gpu = open_drm("virtio_gpu", "renderD"),
                           .vgem = open_drm("vgem", "card"),
                           .dma_buf = -1 };
    struct umf_device_caps device = { .size = sizeof(device) };
    struct umf_caps caps = { .size = sizeof(caps) };
    OK(umf_query_caps(&caps));
    if (b.gpu >= 0) {
        OK(umf_device_create(b.gpu, 0, &b.device));
        OK(umf_device_query_caps(b.device, &device));
        if (!(device.flags & UMF_DEVICE_CAP_TIMELINE)) {
            umf_device_unref(b.device);
            b.device = NULL;
        }
    }
    b.sync_files = b.device || (caps.flags & UMF_CAP_UDMABUF);
    if (caps.flags & UMF_CAP_UDMABUF)
        b.dma_buf = udmabuf_create();
    return b;
}

static void
close_converter(struct converter *b)
{
    umf_device_unref(b->device);
    for (int i = 0; i < 3; i++) {
        int fd = i == 0 ? b->gpu : i == 1 ? b->vgem : b->dma_buf;
        if (fd >= 0)
            close(fd);
    }
}

bool
can_convert(void)
{
    conversion *ways[8];
    /* In a child: the caller must not use the library. */
    pid_t pid;
    int status;
    IN_CHILD(pid, {
        struct converter b = open_converter();
        _exit(choose(&b, ways) > 0);
    });
    CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
    return WEXITSTATUS(status) == 1;
}

void
convert(struct pair *pair, struct process *process, int sock)
{
    struct converter b = open_converter();
    conversion *ways[8];
    unsigned n = choose(&b, ways);
    struct umf_page *own, *others = recv_page(sock);
    b.from = recv_fence(sock, others);
    OK(umf_page_create(2, 0, &own));
    OK(umf_fence_create(own, 0, 0, &b.to));
    OK(umf_fence_create(own, 0, 0, &b.released));
    send_page(sock, own);
    tell(sock, umf_fence_index(b.to));
    OK(umf_loop_create(UMF_LOOP_THREAD, &b.loop));
    if (b.device) {
        b.binary = syncobj_create(b.gpu, 0);
        b.timeline = syncobj_create(b.gpu, 0);
        OK(umf_syncobj_open(b.device, b.timeline, 0, &b.syncobj));
        syncobjs_of = b.gpu;
    }
    uint64_t value = 0;
    while (value < 8 * n || !is_last(process)) {
        value++;
        ways[value % n](&b, value);
        OK(umf_fence_wait(b.to, value, FOREVER));
        OK(umf_fence_wait(b.released, b.expected, FOREVER));
        CHECK(umf_fence_value(b.to) == value && umf_fence_value(b.from) >= value);
        count(process, CONVERTED, 2);
        count(process, ROUNDS, 1);
        if (value >= 8 * n && value % n == 0)
            at_rest(process);
    }
    atomic_store(&pair->last, value);
    OK(umf_fence_signal(b.to, UINT64_MAX));
    until_leave(process);
    umf_syncobj_unref(b.syncobj);
    umf_loop_unref(b.loop);
    umf_fence_unref(b.from);
    umf_fence_unref(b.to);
    umf_fence_unref(b.released);
    umf_page_unref(own);
    umf_page_unref(others);
    close_converter(&b);
}

/* Signals the converted fence, partly far ahead. */
void
signal_ahead(struct pair *pair, struct process *process, int sock)
{
    struct umf_page *own, *others;
    struct umf_fence *mine, *theirs;
    (void)pair;
    OK(umf_page_create(1, 0, &own));
    OK(umf_fence_create(own, 0, 0, &mine));
    send_page(sock, own);
    tell(sock, umf_fence_index(mine));
    others = recv_page(sock);
    theirs = recv_fence(sock, others);
    for (uint64_t value = 1; umf_fence_value(theirs) != UINT64_MAX; value++) {
        OK(umf_fence_signal(mine, value));
        count(process, ROUNDS, 1);
        if (value > AHEAD)
            OK(umf_fence_wait(theirs, value - value % AHEAD - AHEAD + 1, FOREVER));
        at_rest(process);
    }
    until_leave(process);
    umf_fence_unref(mine);
    umf_fence_unref(theirs);
    umf_page_unref(own);
    umf_page_unref(others);
}
