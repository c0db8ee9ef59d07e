// SPDX-License-Identifier: MIT
/*
 * The main use of libumf, written to be read: a driver whose GPU takes any time that it likes, and
 * a compositor that shows what is complete. Two processes share one page of fences and what they
 * send each other through a socket.
 */
#include "drm_machine.h"
#include "process.h"
#include "sleeper.h"
#include "syncobj.h"
#include "vgem.h"

#include <stdarg.h>
#include <sys/eventfd.h>

#define STEPS 7

/* One of the two processes. */
struct side {
    const char *name;
    int sock;
    pid_t peer;
    int gpu, vgem;
    struct umf_device *device;
    struct umf_page *page;
    struct umf_fence *frames; /* its value is the number of complete frames */
};

static uint64_t start;

/* Prints one line in one write: two processes print. */
static void __attribute__((format(printf, 2, 3)))
say(const struct side *s, const char *format, ...)
{
    char text[256], line[300];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    int length = snprintf(line, sizeof(line), "%9.3f ms  %-10s  %s\n",
                          (double)(now_ns() - start) / 1e6, s->name, text);
    CHECK(write(STDOUT_FILENO, line, (size_t)length) == length);
}

/* The GPU works while the driver's thread waits. It completes its work when the other side waits
 * for it: the driver in a conversion, or the compositor. */
struct work {
    const struct side *driver;
    uint64_t frame;      /* the fence to complete: by signaling it, */
    uint32_t vgem_fence; /* or by a kernel fence that is converted to it */
    bool driver_waits;
    pthread_t thread;
};

static void *
gpu_works(void *argument)
{
    struct work *work = argument;
    const struct side *s = work->driver;
    if (work->driver_waits)
        until_blocked(getpid());
    until_blocked(s->peer);
    CHECK(umf_fence_value(s->frames) < work->frame);
    const char *sleepers = work->driver_waits ? "both sleep" : "the compositor sleeps";
    if (work->vgem_fence) {
        say(s, "%s, frame %" PRIu64 " is not complete; the device is done now: vgem signals",
            sleepers, work->frame);
        vgem_signal(s->vgem, work->vgem_fence);
    } else {
        say(s, "%s; the GPU is done now: signals frame %" PRIu64, sleepers, work->frame);
        OK(umf_fence_signal(s->frames, work->frame));
    }
    return NULL;
}

static void
submit(struct work *work)
{
    OK(umf_fence_submit(work->driver->frames, work->frame));
    CHECK(pthread_create(&work->thread, NULL, gpu_works, work) == 0);
}

static void
finish(struct work *work)
{
    CHECK(pthread_join(work->thread, NULL) == 0);
}

/* 1 */

static void
driver_submits_late(struct side *s)
{
    struct work work = { .driver = s, .frame = 1 };
    until_blocked(s->peer);
    say(s, "the compositor sleeps already; submits frame 1 only now");
    submit(&work);
    finish(&work);
}

static void
compositor_waits_first(struct side *s)
{
    say(s, "waits for frame 1, which nobody has submitted (pending value %" PRIu64 ")",
        umf_fence_pending_value(s->frames));
    OK(umf_fence_wait(s->frames, 1, FOREVER));
    CHECK(umf_fence_value(s->frames) == 1);
    say(s, "woke up: frame 1 is complete");
}

/* 2 */

static void
driver_hands_over_a_point(struct side *s)
{
    struct work work = { .driver = s, .frame = 2, .driver_waits = true };
    uint32_t timeline = syncobj_create(s->gpu, 0);
    int fd = syncobj_to_fd(s->gpu, timeline);
    say(s, "makes a timeline and hands it over; point 5 of it is to be frame 2");
    send_fd(s->sock, fd);
    close(fd);
    submit(&work);
    say(s, "converts frame 2 to point 5, which waits for the frame");
    OK(umf_fence_export_syncobj(s->frames, 2, s->device, timeline, 5, 0, FOREVER));
    say(s, "the point is made, after the frame");
    finish(&work);
    syncobj_destroy(s->gpu, timeline);
}

static void
compositor_waits_for_a_point(struct side *s)
{
    int fd = recv_fd(s->sock);
    uint32_t timeline = syncobj_from_fd(s->gpu, fd);
    close(fd);
    check_not_materialized(s->gpu, timeline, 5);
    say(s, "has the timeline; the kernel has no fence at point 5: wait ETIME, export EINVAL");
    struct pollfd event = { .fd = eventfd(0, EFD_CLOEXEC), .events = POLLIN };
    struct syncobj_eventfd arg = { .handle = timeline,
                                   .flags = DRM_SYNCOBJ_WAIT_FLAGS_WAIT_AVAILABLE,
                                   .point = 5,
                                   .fd = event.fd };
    OK(syncobj_ioctl(s->gpu, SYNCOBJ_EVENTFD, &arg));
    say(s, "keeps frame 1 on screen, and waits for the point in userspace, by an eventfd");
    CHECK(poll(&event, 1, -1) == 1);
    check_signaled(s->gpu, timeline, 5);
    say(s, "point 5 is materialized, and has signaled; frame 2 on screen");
    close(event.fd);
    syncobj_destroy(s->gpu, timeline);
}

/* 3 */

static void
driver_completes_a_frame(struct side *s)
{
    struct work work = { .driver = s, .frame = 3 };
    submit(&work);
    finish(&work);
    int fd = recv_fd(s->sock);
    EXPECT(1, sync_file_status(fd));
    say(s, "was sent it: signaled here too");
    close(fd);
}

static void
compositor_makes_a_sync_file(struct side *s)
{
    int fd, fds = open_fds();
    say(s, "converts frame 3 to a sync_file: none is made yet, so it waits");
    OK(umf_fence_export_sync_file(s->frames, 3, s->device, 0, FOREVER, &fd));
    EXPECT(1, sync_file_status(fd));
    CHECK(open_fds() == fds + 1);
    say(s, "has a sync_file: SYNC_IOC_FILE_INFO says status 1, signaled, from the first moment");
    send_fd(s->sock, fd);
    close(fd);
}

/* 4 */

static void
driver_imports_a_sync_file(struct side *s)
{
    struct work work = { .driver = s, .frame = 4, .driver_waits = true };
    int fd = vgem_sync_file(s->vgem, &work.vgem_fence);
    say(s, "has a sync_file of vgem for frame 4: status %d, pending; converts it",
        sync_file_status(fd));
    submit(&work);
    OK(umf_fence_import_sync_file(s->frames, 4, fd, 0, FOREVER));
    finish(&work);
    CHECK(sync_file_status(fd) == 1);
    close(fd);
}

static void
compositor_waits_for_a_kernel_fence(struct side *s)
{
    say(s, "waits for frame 4, and need not know what completes it");
    OK(umf_fence_wait(s->frames, 4, FOREVER));
    say(s, "woke up: frame 4 is complete");
}

/* 5 */

static void
driver_draws_into_a_buffer(struct side *s)
{
    struct vgem_buffer buffer = vgem_buffer_create(s->vgem);
    struct work work = { .driver = s,
                         .frame = 5,
                         .vgem_fence = vgem_attach(&buffer, VGEM_FENCE_WRITE) };
    say(s, "hands over a dma-buf that vgem still writes to: an implicit fence, pending");
    send_fd(s->sock, buffer.dma_buf);
    submit(&work);
    finish(&work);
    CHECK(hear(s->sock) == 5);
    struct dma_buf_fences fences = dma_buf_fences(buffer.dma_buf);
    CHECK(fences.readers == 1 && fences.pending == 0);
    OK(umf_fence_import_dma_buf(s->frames, 6, buffer.dma_buf, UMF_DMA_BUF_WRITE, 0));
    say(s, "finds the reader's fence in the buffer, signaled: may draw frame 6 into it");
    vgem_buffer_destroy(&buffer);
}

static void
compositor_reads_a_buffer(struct side *s)
{
    int dma_buf = recv_fd(s->sock);
    EXPECT(-ETIME, umf_fence_import_dma_buf(s->frames, 5, dma_buf, UMF_DMA_BUF_READ, 0));
    say(s, "has the buffer, not to be read yet; converts its implicit fence to frame 5");
    OK(umf_fence_import_dma_buf(s->frames, 5, dma_buf, UMF_DMA_BUF_READ, FOREVER));
    CHECK(umf_fence_value(s->frames) == 5);
    say(s, "the writer is done, frame 5 is complete; reads it");
    OK(umf_fence_export_dma_buf(s->frames, 5, s->device, dma_buf, UMF_DMA_BUF_READ, 0));
    say(s, "and back: adds frame 5 to the buffer as a reader's fence, which has signaled");
    CHECK(is_ready(dma_buf, POLLIN) && is_ready(dma_buf, POLLOUT));
    close(dma_buf);
    tell(s->sock, 5);
}

/* 6 */

static void
driver_does_not_come(struct side *s)
{
    OK(umf_fence_submit(s->frames, 7));
    say(s, "submits frame 7, and hangs");
    tell(s->sock, 7);
    CHECK(hear(s->sock) == 7);
}

static void
compositor_gives_up(struct side *s)
{
    struct vgem_buffer buffer = vgem_buffer_create(s->vgem);
    uint32_t timeline = syncobj_create(s->gpu, 0);
    struct machine machine = { .gpu = s->gpu, .syncobj = true };
    int fd = -1;
    CHECK(hear(s->sock) == 7);
    struct leftovers before = leftovers(&machine);
    say(s, "converts frame 7 to all there is, 10 ms each: %d files open, next handle %u",
        before.fds, before.next_handle);
    EXPECT(-ETIME, umf_fence_export_sync_file(s->frames, 7, s->device, 0, in_ns(10 * MS), &fd));
    CHECK(fd == -1);
    say(s, "sync_file: ETIME, none made");
    EXPECT(-ETIME,
           umf_fence_export_syncobj(s->frames, 7, s->device, timeline, 1, 0, in_ns(10 * MS)));
    check_not_materialized(s->gpu, timeline, 1);
    say(s, "timeline point: ETIME, not materialized");
    EXPECT(-ETIME, umf_fence_export_dma_buf(s->frames, 7, s->device, buffer.dma_buf,
                                            UMF_DMA_BUF_WRITE, in_ns(10 * MS)));
    struct dma_buf_fences fences = dma_buf_fences(buffer.dma_buf);
    CHECK(fences.readers + fences.writers == 0);
    say(s, "dma-buf: ETIME, no fence in it");
    struct leftovers after = leftovers(&machine);
    check_leftovers(&machine, before);
    say(s, "%d files open, next handle %u: nothing is left behind", after.fds, after.next_handle);
    vgem_buffer_destroy(&buffer);
    syncobj_destroy(s->gpu, timeline);
    tell(s->sock, 7);
}

/* 7 */

static void
driver_loses_its_device(struct side *s)
{
    until_blocked(s->peer);
    say(s, "the compositor sleeps; the GPU hung and was reset: fails the fence with ENODEV");
    OK(umf_fence_set_error(s->frames, -ENODEV));
}

static void
compositor_sees_the_error(struct side *s)
{
    int fd = -1;
    say(s, "waits for frame 7 again, for ever");
    EXPECT(-EIO, umf_fence_wait(s->frames, 7, FOREVER));
    EXPECT(-ENODEV, error_of(s->frames));
    say(s, "woke up: EIO, the fence carries ENODEV; frame 6, as before, is complete");
    OK(umf_fence_wait(s->frames, 6, 0));
    EXPECT(-EIO, umf_fence_export_sync_file(s->frames, 7, s->device, 0, FOREVER, &fd));
    say(s, "no kernel fence comes of frame 7 any more: EIO, at once");
}

static const struct {
    const char *title;
    void (*driver)(struct side *s);
    void (*compositor)(struct side *s);
} steps[STEPS] = {
    { "wait before signal, across processes", driver_submits_late, compositor_waits_first },
    { "UMF to a timeline point, handed over before it exists", driver_hands_over_a_point,
      compositor_waits_for_a_point },
    { "UMF to a sync_file, which is created signaled", driver_completes_a_frame,
      compositor_makes_a_sync_file },
    { "a pending sync_file to a UMF", driver_imports_a_sync_file,
      compositor_waits_for_a_kernel_fence },
    { "a dma-buf's implicit fence to a UMF, and back", driver_draws_into_a_buffer,
      compositor_reads_a_buffer },
    { "a timeout leaves nothing behind", driver_does_not_come, compositor_gives_up },
    { "an error reaches the peer asleep", driver_loses_its_device, compositor_sees_the_error },
};

static void
open_devices(struct side *s)
{
    s->gpu = open_drm("virtio_gpu", "renderD");
    s->vgem = open_drm("vgem", "card");
    CHECK(s->gpu >= 0 && s->vgem >= 0);
    OK(umf_device_create(s->gpu, 0, &s->device));
    watchdog(40);
}

static void
compositor(int sock)
{
    struct side s = { .name = "compositor", .sock = sock, .peer = getppid() };
    open_devices(&s);
    s.page = recv_page(sock);
    s.frames = recv_fence(sock, s.page);
    say(&s, "has opened the fence of the page that it was sent");
    for (int i = 0; i < STEPS; i++) {
        CHECK(hear(sock) == (uint64_t)i);
        steps[i].compositor(&s);
        tell(sock, (uint64_t)i);
    }
}

int
main(void)
{
    struct utsname name;
    int gpu = open_drm("virtio_gpu", "renderD"), vgem = open_drm("vgem", "card"), done = 0;
    if (gpu < 0 || vgem < 0 || !kernel_at_least(6, 6)) {
        printf("needs a virtio-gpu with syncobjs (Linux 6.6) and a vgem device: see kernel/run\n");
        return SKIPPED;
    }
    close(gpu);
    close(vgem);
    CHECK(uname(&name) == 0);
    printf("Linux %s, libumf %u.%u.%u\n", name.release, umf_version() >> 16,
           umf_version() >> 8 & 0xff, umf_version() & 0xff);
    fflush(stdout);

    start = now_ns();
    struct peer peer = start_peer(compositor);
    struct side s = { .name = "driver", .sock = peer.sock, .peer = peer.pid };
    open_devices(&s);
    OK(umf_page_create(16, 0, &s.page));
    OK(umf_fence_create(s.page, 0, 0, &s.frames));
    say(&s, "has created a page and a fence, and sends the page's descriptor");
    send_page(s.sock, s.page);
    tell(s.sock, umf_fence_index(s.frames));

    for (int i = 0; i < STEPS; i++) {
        printf("%d. %s\n", i + 1, steps[i].title);
        fflush(stdout);
        tell(s.sock, (uint64_t)i);
        steps[i].driver(&s);
        CHECK(hear(s.sock) == (uint64_t)i);
        done++;
    }
    end_peer(&peer);
    umf_fence_unref(s.frames);
    umf_page_unref(s.page);
    umf_device_unref(s.device);
    printf("main job: %d of %d steps done\n", done, STEPS);
    return done == STEPS ? 0 : 1;
}
