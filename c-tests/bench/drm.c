// SPDX-License-Identifier: MIT
/*
 * libumf beside the kernel's timeline (drm_syncobj), and conversions beside the ioctl that they end
 * in.
 */
#include "bench.h"

#ifndef HAVE_DRM
void
bench_drm(void)
{
    section("Against timeline syncobjs");
    report_absent("all", "not built: no libdrm headers");
}
#else

#include "delivery.h"
#include "link.h"
#include "syncobj.h"

#include <drm.h>
#include <drm_mode.h>
#include <fcntl.h>
#include <linux/dma-buf.h>
#include <linux/sync_file.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/ioctl.h>

/* System calls in one sample. */
#define TIMES 200
#define TIMELINE_FLAGS DRM_SYNCOBJ_WAIT_FLAGS_WAIT_FOR_SUBMIT

static int drm = -1;
static struct umf_device *device;
static struct umf_fence *fence;
static uint64_t value, point;
static uint32_t timeline, exported, signaled;
static uint64_t exported_point;
static int sync_file = -1, buffer = -1;

static int
call(unsigned long request, void *argument)
{
    int result;
    do {
        result = ioctl(drm, request, argument);
    } while (result != 0 && (errno == EINTR || errno == EAGAIN));
    return result == 0 ? 0 : -errno;
}

static uint32_t
new_syncobj(uint32_t flags)
{
    struct drm_syncobj_create create = {.flags = flags};
    OK(call(DRM_IOCTL_SYNCOBJ_CREATE, &create));
    return create.handle;
}

static int
timeline_signal(uint32_t handle, uint64_t at)
{
    struct drm_syncobj_timeline_array array = {
        .handles = (uintptr_t)&handle, .points = (uintptr_t)&at, .count_handles = 1};
    return call(DRM_IOCTL_SYNCOBJ_TIMELINE_SIGNAL, &array);
}

static int
timeline_query(uint32_t handle)
{
    uint64_t at = 0;
    struct drm_syncobj_timeline_array array = {
        .handles = (uintptr_t)&handle, .points = (uintptr_t)&at, .count_handles = 1};
    return call(DRM_IOCTL_SYNCOBJ_QUERY, &array);
}

static int
timeline_wait(uint32_t handle, uint64_t at)
{
    struct drm_syncobj_timeline_wait wait = {.handles = (uintptr_t)&handle,
                                             .points = (uintptr_t)&at,
                                             .timeout_nsec = INT64_MAX,
                                             .count_handles = 1,
                                             .flags = TIMELINE_FLAGS};
    return call(DRM_IOCTL_SYNCOBJ_TIMELINE_WAIT, &wait);
}

static int
to_fd(uint32_t handle, uint32_t flags)
{
    struct drm_syncobj_handle argument = {.handle = handle, .flags = flags, .fd = -1};
    OK(call(DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD, &argument));
    return argument.fd;
}

static bool
has_timelines(int fd)
{
    struct drm_get_cap cap = {.capability = DRM_CAP_SYNCOBJ_TIMELINE};
    return ioctl(fd, DRM_IOCTL_GET_CAP, &cap) == 0 && cap.value;
}

/* Opens the first device that has them. */
static bool
open_device(void)
{
    for (int node = 128; node < 136; node++) {
        char path[32];
        snprintf(path, sizeof(path), "/dev/dri/renderD%d", node);
        drm = open(path, O_RDWR | O_CLOEXEC);
        if (drm >= 0 && has_timelines(drm))
            return true;
        if (drm >= 0)
            close(drm);
    }
    return false;
}

/* A dma-buf to convert to and from, of any device that can make one. */
static int
new_buffer(void)
{
    for (int i = 0; i < 4; i++) {
        char path[32];
        snprintf(path, sizeof(path), "/dev/dri/card%d", i);
        int card = open(path, O_RDWR | O_CLOEXEC);
        struct drm_mode_create_dumb dumb = {.width = 64, .height = 64, .bpp = 32};
        struct drm_prime_handle prime = {.flags = DRM_CLOEXEC};
        if (card < 0)
            continue;
        if (ioctl(card, DRM_IOCTL_MODE_CREATE_DUMB, &dumb) == 0) {
            prime.handle = dumb.handle;
            if (ioctl(card, DRM_IOCTL_PRIME_HANDLE_TO_FD, &prime) == 0) {
                close(card);
                return prime.fd;
            }
        }
        close(card);
    }
    return -1;
}

#define TIMED(statement)                            \
    do {                                            \
        (void)state;                                \
        uint64_t start_ = now_ns();                 \
        for (unsigned i_ = 0; i_ < TIMES; i_++)     \
            statement;                              \
        return (double)(now_ns() - start_) / TIMES; \
    } while (0)

static double
signal_umf(void *state)
{
    TIMED(OK(umf_fence_signal(fence, ++value)));
}

static double
signal_timeline(void *state)
{
    TIMED(OK(timeline_signal(timeline, ++point)));
}

static double
value_umf(void *state)
{
    TIMED(CHECK(umf_fence_value(fence) > 0));
}

static double
query_timeline(void *state)
{
    TIMED(OK(timeline_query(timeline)));
}

static double
wait_umf(void *state)
{
    TIMED(OK(umf_fence_wait(fence, 1, FOREVER)));
}

static double
wait_timeline(void *state)
{
    TIMED(OK(timeline_wait(timeline, point)));
}

static void
export_one_sync_file(void)
{
    int fd;
    OK(umf_fence_export_sync_file(fence, 1, device, 0, FOREVER, &fd));
    close(fd);
}

static double
export_sync_file(void *state)
{
    TIMED(export_one_sync_file());
}

static double
ioctl_export_sync_file(void *state)
{
    TIMED(close(to_fd(signaled, DRM_SYNCOBJ_HANDLE_TO_FD_FLAGS_EXPORT_SYNC_FILE)));
}

static double
import_sync_file(void *state)
{
    TIMED(OK(umf_fence_import_sync_file(fence, ++value, sync_file, 0, FOREVER)));
}

static double
poll_sync_file(void *state)
{
    struct pollfd entry = {.fd = sync_file, .events = POLLIN};
    TIMED(CHECK(poll(&entry, 1, -1) == 1));
}

static void
ask_one_sync_file(void)
{
    struct sync_file_info info = {0};
    CHECK(ioctl(sync_file, SYNC_IOC_FILE_INFO, &info) == 0 && info.status == 1);
}

static double
ask_sync_file(void *state)
{
    TIMED(ask_one_sync_file());
}

static double
export_syncobj(void *state)
{
    TIMED(OK(umf_fence_export_syncobj(fence, 1, device, exported, ++exported_point, 0, FOREVER)));
}

static double
import_syncobj(void *state)
{
    TIMED(OK(umf_fence_import_syncobj(fence, ++value, device, timeline, point, 0, FOREVER)));
}

static double
export_dma_buf(void *state)
{
    TIMED(OK(umf_fence_export_dma_buf(fence, 1, device, buffer, UMF_DMA_BUF_WRITE, FOREVER)));
}

static double
ioctl_import_sync_file(void *state)
{
    struct dma_buf_import_sync_file argument = {.flags = DMA_BUF_SYNC_WRITE, .fd = sync_file};
    TIMED(CHECK(ioctl(buffer, DMA_BUF_IOCTL_IMPORT_SYNC_FILE, &argument) == 0));
}

static double
import_dma_buf(void *state)
{
    TIMED(OK(umf_fence_import_dma_buf(fence, ++value, buffer, UMF_DMA_BUF_WRITE, FOREVER)));
}

static void
ioctl_export_one(void)
{
    struct dma_buf_export_sync_file argument = {.flags = DMA_BUF_SYNC_WRITE, .fd = -1};
    CHECK(ioctl(buffer, DMA_BUF_IOCTL_EXPORT_SYNC_FILE, &argument) == 0);
    close(argument.fd);
}

static double
ioctl_export_dma_buf(void *state)
{
    TIMED(ioctl_export_one());
}

/* With a kernel fence attached: a value that the fence never reaches. */
#define ATTACHED (UINT64_C(1) << 62)

static uint32_t attached_to, raw;
static uint64_t attached_point, raw_point;

static void
export_one_attached(void)
{
    int fd;
    OK(umf_fence_export_sync_file(fence, ATTACHED, NULL, 0, FOREVER, &fd));
    close(fd);
}

static double
export_attached(void *state)
{
    TIMED(export_one_attached());
}

static double
duplicate(void *state)
{
    TIMED(close(fcntl(sync_file, F_DUPFD_CLOEXEC, 3)));
}

static double
export_attached_to_syncobj(void *state)
{
    TIMED(OK(umf_fence_export_syncobj(fence, ATTACHED, device, attached_to, ++attached_point, 0,
                                      FOREVER)));
}

/* What no driver can do without, to put a sync_file at a point that nobody has passed. */
static void
submit_raw(void)
{
    uint64_t last;
    struct drm_syncobj_timeline_array query = {.handles = (uintptr_t)&raw,
                                               .points = (uintptr_t)&last,
                                               .count_handles = 1,
                                               .flags = DRM_SYNCOBJ_QUERY_FLAGS_LAST_SUBMITTED};
    OK(call(DRM_IOCTL_SYNCOBJ_QUERY, &query));
    CHECK(last == raw_point);
    uint32_t binary = new_syncobj(0);
    struct drm_syncobj_handle import = {.handle = binary,
                                        .flags = DRM_SYNCOBJ_FD_TO_HANDLE_FLAGS_IMPORT_SYNC_FILE,
                                        .fd = sync_file};
    OK(call(DRM_IOCTL_SYNCOBJ_FD_TO_HANDLE, &import));
    struct drm_syncobj_transfer transfer = {
        .src_handle = binary, .dst_handle = raw, .dst_point = ++raw_point};
    OK(call(DRM_IOCTL_SYNCOBJ_TRANSFER, &transfer));
    struct drm_syncobj_destroy destroy = {.handle = binary};
    OK(call(DRM_IOCTL_SYNCOBJ_DESTROY, &destroy));
}

static double
ioctls_to_point(void *state)
{
    TIMED(submit_raw());
}

static double
export_attached_to_dma_buf(void *state)
{
    TIMED(OK(umf_fence_export_dma_buf(fence, ATTACHED, NULL, buffer, UMF_DMA_BUF_WRITE, FOREVER)));
}

static void
compare_two(const char *row, double (*ours)(void *), const char *peer, double (*theirs)(void *))
{
    const struct contender list[] = {{"libumf", ours, NULL, NULL}, {peer, theirs, NULL, NULL}};
    compare(row, "ns", ROUNDS, list, 2);
}

static void
link_open(struct link *link)
{
    for (int way = 0; way < 2; way++)
        link->ways[way].number = (int)new_syncobj(0);
}

/* Each process has its own open file, as two drivers do. On a shared file, a call from another
 * process than the last waits for the kernel's RCU, which takes milliseconds. */
static void
link_enter_child(struct link *link)
{
    int fds[2];
    for (int way = 0; way < 2; way++)
        fds[way] = to_fd((uint32_t)link->ways[way].number, 0);
    CHECK(open_device());
    for (int way = 0; way < 2; way++) {
        struct drm_syncobj_handle argument = {.fd = fds[way]};
        OK(call(DRM_IOCTL_SYNCOBJ_FD_TO_HANDLE, &argument));
        link->ways[way].number = (int)argument.handle;
        close(fds[way]);
    }
}

static void
link_send(struct link *link, int way, uint32_t number)
{
    OK(timeline_signal((uint32_t)link->ways[way].number, number));
}

static void
link_receive(struct link *link, int way, uint32_t number)
{
    OK(timeline_wait((uint32_t)link->ways[way].number, number));
}

/* On one core: waking a halted core costs what the machine makes of it, milliseconds if it is
 * emulated. */
static void
compare_round_trips(void)
{
    struct link links[] = {
        UMF_LINK,
        {"timeline syncobj", link_open, link_send, link_receive, link_enter_child, .absent = NULL},
    };
    struct cpus cpus = usable_cpus();
    start_links(links, 2);
    compare_links("round trip, one core", links, 2, cpus.cpu[0], cpus.cpu[0]);
    stop_links(links, 2);
}

static void
count_files(void)
{
    enum { COUNT = 100 };
    int fds[COUNT], before = open_fds(), page_fd;
    struct umf_page *page = new_page(COUNT);
    OK(umf_page_export(page, 0, &page_fd));
    int ours = open_fds() - before;
    close(page_fd);
    umf_page_unref(page);

    before = open_fds();
    for (int i = 0; i < COUNT; i++)
        fds[i] = to_fd(new_syncobj(0), 0);
    report_count("descriptors of 100 shared fences", "", ours, "syncobj", open_fds() - before);
    for (int i = 0; i < COUNT; i++)
        close(fds[i]);
}

/* Converted by a loop. As in a compositor, an eventfd tells when the point exists. */

static uint32_t watched;
static struct umf_syncobj *syncobj;

static void
converted_arm(struct delivery *delivery)
{
    struct syncobj_eventfd argument = {.handle = watched,
                                       .point = delivery->value,
                                       .fd = delivery->event};
    OK(call(SYNCOBJ_EVENTFD, &argument));
    OK(umf_loop_export_syncobj(delivery->loop, delivery->fence, delivery->value, syncobj,
                               delivery->value, 0, NULL, NULL));
}

/* The lower bound: the same path without the conversion, plus the ioctl that makes a point and
 * raises its eventfd. */
static double
sample_least(void *state)
{
    struct delivery *delivery = state;
    double passed_on = sample_delivery(delivery);
    struct syncobj_eventfd argument = {.handle = timeline,
                                       .point = ++point,
                                       .fd = delivery->event};
    OK(call(SYNCOBJ_EVENTFD, &argument));
    uint64_t begin = now_ns();
    OK(timeline_signal(timeline, point));
    double made = (double)(now_ns() - begin);
    event_receive(delivery);
    return passed_on + made;
}

static void
compare_conversions(void)
{
    struct delivery converted = WATCHED("libumf"), least = WATCHED("");
    struct syncobj_eventfd probe = {.handle = signaled, .fd = -1};
    int cpu = usable_cpus().cpu[0];
    if (call(SYNCOBJ_EVENTFD, &probe) == -EINVAL) {
        report_absent("signal to point, by a loop", "not run: no SYNCOBJ_EVENTFD");
        return;
    }
    converted.arm = converted_arm;
    pin(0, cpu);
    start_receiver();
    pin_receiver(cpu);
    watched_open(&converted, cpu);
    watched_open(&least, cpu);
    watched = new_syncobj(0);
    OK(umf_syncobj_open(device, watched, 0, &syncobj));
    const struct contender list[] = {
        {converted.name, sample_delivery, &converted, NULL},
        {"watch to eventfd, plus TIMELINE_SIGNAL", sample_least, &least, NULL}};
    compare("signal to point, by a loop, one core", "ns", ROUNDS, list, 2);
    umf_syncobj_unref(syncobj);
    watched_close(&converted);
    watched_close(&least);
    stop_receiver();
    unpin();
}

/* Memory of a process and of the kernel. */
struct holdings {
    long process_kib, kernel_kib;
    int files;
    uint32_t next_handle; /* the lowest free one */
};

static long
kib_in(const char *path, const char *key)
{
    char line[128];
    long kib = -1;
    FILE *file = fopen(path, "re");
    CHECK(file);
    while (kib < 0 && fgets(line, sizeof(line), file))
        if (strncmp(line, key, strlen(key)) == 0)
            kib = atol(line + strlen(key));
    fclose(file);
    CHECK(kib >= 0);
    return kib;
}

static struct holdings
holdings(void)
{
    struct holdings now = {.files = open_fds(), .next_handle = new_syncobj(0)};
    struct drm_syncobj_destroy destroy = {.handle = now.next_handle};
    OK(call(DRM_IOCTL_SYNCOBJ_DESTROY, &destroy));
    now.process_kib = kib_in("/proc/self/status", "VmRSS:");
    now.kernel_kib = kib_in("/proc/meminfo", "SUnreclaim:");
    return now;
}

#define BATCH 1000

static atomic_uint callbacks;

static void
on_converted(void *data, int result)
{
    OK(result);
    if (atomic_fetch_add(&callbacks, 1) + 1 == BATCH)
        OK(umf_fence_signal(data, umf_fence_value(data) + 1));
}

/* Points are made in batches. Each point of a batch waits for its own value. */
static void
convert_batch(struct umf_loop *loop, struct umf_fence *batches, uint64_t batch)
{
    struct umf_callback callback = {on_converted, NULL, batches};
    atomic_store(&callbacks, 0);
    for (unsigned i = 1; i <= BATCH; i++)
        OK(umf_loop_export_syncobj(loop, fence, value + i, syncobj, batch * BATCH + i, 0, &callback,
                                   NULL));
    value += BATCH;
    OK(umf_fence_signal(fence, value));
    OK(umf_fence_wait(batches, batch + 1, FOREVER));
}

/* Memory that remains after a million points, or after as many as there is time for, beside what
 * the bare ioctl leaves. */
static void
count_what_is_left(void)
{
    static char rows[4][80];
    struct holdings before[2], after[2];
    struct umf_page *page = new_page(1);
    struct umf_fence *batches = new_fence(page);
    struct umf_loop *loop;
    uint64_t end = in_ns(quick ? SECOND : 15 * SECOND), batch = 0;
    umf_page_unref(page);
    watched = new_syncobj(0);
    before[0] = holdings();
    OK(umf_loop_create(UMF_LOOP_THREAD, &loop));
    OK(umf_syncobj_open(device, watched, 0, &syncobj));
    while (batch < 1000000 / BATCH && (batch == 0 || now_ns() < end))
        convert_batch(loop, batches, batch++);
    umf_syncobj_unref(syncobj);
    umf_loop_unref(loop);
    after[0] = holdings();

    uint32_t bare = new_syncobj(0);
    before[1] = holdings();
    for (uint64_t at = 1; at <= batch * BATCH; at++)
        OK(timeline_signal(bare, at));
    after[1] = holdings();

    static const char *const kinds[] = {"VmRSS", "kernel slabs", "descriptors", "next handle"};
    double grown[4][2];
    for (int i = 0; i < 2; i++) {
        grown[0][i] = (double)(after[i].process_kib - before[i].process_kib);
        grown[1][i] = (double)(after[i].kernel_kib - before[i].kernel_kib);
        grown[2][i] = after[i].files - before[i].files;
        grown[3][i] = (double)after[i].next_handle - before[i].next_handle;
    }
    for (int kind = 0; kind < 4; kind++) {
        snprintf(rows[kind], sizeof(rows[kind]), "%s: grown by %u points", kinds[kind],
                 (unsigned)batch * BATCH);
        report_count(rows[kind], kind < 2 ? "KiB" : "", grown[kind][0], "TIMELINE_SIGNAL",
                     grown[kind][1]);
    }
    umf_fence_unref(batches);
}

static void
compare_attached(void)
{
    section("With a kernel fence attached, likewise");
    OK(umf_fence_attach_sync_file(fence, ATTACHED, sync_file, 0));
    attached_to = new_syncobj(0);
    raw = new_syncobj(0);
    compare_two("to a sync_file, attached", export_attached, "fcntl(F_DUPFD_CLOEXEC)", duplicate);
    compare_two("to a timeline's point, attached", export_attached_to_syncobj,
                "QUERY, CREATE, import, TRANSFER, DESTROY", ioctls_to_point);
    if (buffer >= 0)
        compare_two("to a dma-buf, attached", export_attached_to_dma_buf, "IMPORT_SYNC_FILE",
                    ioctl_import_sync_file);
}

static bool
set_up(void)
{
    if (!open_device())
        return false;
    OK(umf_device_create(drm, 0, &device));

    struct umf_page *page = new_page(1);
    fence = new_fence(page);
    umf_page_unref(page);
    value = 1;
    OK(umf_fence_signal(fence, value));

    timeline = new_syncobj(0);
    exported = new_syncobj(0);
    signaled = new_syncobj(DRM_SYNCOBJ_CREATE_SIGNALED);
    sync_file = to_fd(signaled, DRM_SYNCOBJ_HANDLE_TO_FD_FLAGS_EXPORT_SYNC_FILE);
    buffer = new_buffer();
    return true;
}

void
bench_drm(void)
{
    section("Against timeline syncobjs");
    if (!set_up()) {
        report_absent("all", "not run: no DRM device with timeline syncobjs");
        return;
    }
    compare_two("signal", signal_umf, "TIMELINE_SIGNAL", signal_timeline);
    compare_two("value", value_umf, "QUERY", query_timeline);
    compare_two("wait for what is reached", wait_umf, "TIMELINE_WAIT", wait_timeline);
    compare_round_trips();
    count_files();

    section("Conversions, against the ioctl they end in");
    compare_two("to a sync_file", export_sync_file, "HANDLE_TO_FD",
                ioctl_export_sync_file);
    const struct contender from_sync_file[] = {
        {"libumf", import_sync_file, NULL, NULL},
        {"SYNC_IOC_FILE_INFO", ask_sync_file, NULL, NULL},
        {"poll: tells no errors", poll_sync_file, NULL, NULL}};
    compare("from a sync_file", "ns", ROUNDS, from_sync_file, 3);
    compare_two("to a timeline's point", export_syncobj, "TIMELINE_SIGNAL", signal_timeline);
    compare_two("from a timeline's point", import_syncobj,
                "TIMELINE_WAIT: tells no errors", wait_timeline);
    compare_conversions();
    count_what_is_left();
    if (buffer >= 0) {
        compare_two("to a dma-buf", export_dma_buf, "IMPORT_SYNC_FILE",
                    ioctl_import_sync_file);
        compare_two("from a dma-buf", import_dma_buf, "EXPORT_SYNC_FILE",
                    ioctl_export_dma_buf);
    } else {
        report_absent("to and from a dma-buf", "not run: no device gives us one");
    }
    compare_attached();
    umf_fence_unref(fence);
    umf_device_unref(device);
    close(sync_file);
    close(buffer);
    close(drm);
}
#endif
