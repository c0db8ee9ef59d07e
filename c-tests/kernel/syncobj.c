// SPDX-License-Identifier: MIT
/* Conversions between a UMF and a drm_syncobj, binary and timeline. */
#include "drm_machine.h"
#include "sleeper.h"
#include "syncobj.h"
#include "vgem.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/eventfd.h>

#define LAST_SUBMITTED DRM_SYNCOBJ_QUERY_FLAGS_LAST_SUBMITTED
#define TIMEOUTS 3

/* Deadlines: long past, a moment ago, soon. */
static uint64_t
timeout(int i)
{
    return i == 0 ? 0 : i == 1 ? now_ns() - 1 : in_ns(10 * MS);
}

static void
without_syncobjs_nothing_is_tried(const struct machine *m)
{
    struct umf_fence *fence = new_fence(m, 0);
    for (uint64_t point = 0; point < 2; point++) {
        EXPECT(-EOPNOTSUPP, umf_fence_export_syncobj(fence, 1, m->device, 1, point, 0, FOREVER));
        EXPECT(-EOPNOTSUPP, umf_fence_import_syncobj(fence, 1, m->device, 1, point, 0, FOREVER));
    }
    umf_fence_unref(fence);
}

static void
a_reached_fence_signals_a_binary_syncobj(const struct machine *m)
{
    struct umf_fence *fence = new_fence(m, 5);
    uint32_t syncobj = syncobj_create(m->gpu, 0);
    OK(umf_fence_export_syncobj(fence, 5, m->device, syncobj, 0, 0, 0));
    check_signaled(m->gpu, syncobj, 0);
    OK(umf_fence_export_syncobj(fence, 4, m->device, syncobj, 0, 0, FOREVER));
    check_signaled(m->gpu, syncobj, 0);
    syncobj_destroy(m->gpu, syncobj);
    umf_fence_unref(fence);
}

static void
a_binary_syncobj_gets_a_new_fence(const struct machine *m)
{
    struct umf_fence *fence = new_fence(m, 1);
    uint32_t kernel_fence, syncobj = syncobj_create(m->gpu, 0);
    int pending = vgem_sync_file(m->vgem, &kernel_fence);
    syncobj_import_sync_file(m->gpu, syncobj, pending);
    EXPECT(-ETIME, syncobj_wait(m->gpu, syncobj, 0, 0, 0));
    OK(umf_fence_export_syncobj(fence, 1, m->device, syncobj, 0, 0, 0));
    check_signaled(m->gpu, syncobj, 0);
    CHECK(sync_file_status(pending) == 0);
    vgem_signal(m->vgem, kernel_fence);
    close(pending);
    syncobj_destroy(m->gpu, syncobj);
    umf_fence_unref(fence);
}

static void
reached_values_signal_points(const struct machine *m)
{
    static const uint64_t points[] = { 1, 2, 9, UINT64_C(1) << 32, UINT64_MAX - 1, UINT64_MAX };
    struct umf_fence *fence = new_fence(m, 0);
    uint32_t syncobj = syncobj_create(m->gpu, 0);
    for (size_t i = 0; i < ARRAY_SIZE(points); i++) {
        OK(umf_fence_signal(fence, i));
        OK(umf_fence_export_syncobj(fence, i, m->device, syncobj, points[i], 0,
                                    i % 2 ? 0 : FOREVER));
        check_signaled(m->gpu, syncobj, points[i]);
        CHECK(syncobj_query(m->gpu, syncobj, 0) == points[i]);
        CHECK(syncobj_query(m->gpu, syncobj, LAST_SUBMITTED) == points[i]);
        /* Points in between have signaled as well. */
        OK(syncobj_wait(m->gpu, syncobj, points[i] - (points[i] > 1), 0, 0));
    }
    syncobj_destroy(m->gpu, syncobj);
    umf_fence_unref(fence);
}

/* The promise: until the fence is reached, the kernel has nothing to wait for. */
static void
no_kernel_fence_before_the_fence_is_reached(const struct machine *m, uint64_t point)
{
    struct umf_fence *fence = new_fence(m, 0);
    uint32_t syncobj = syncobj_create(m->gpu, 0);
    pid_t exporter;

    IN_CHILD(exporter,
             OK(umf_fence_export_syncobj(fence, 2, m->device, syncobj, point, 0, FOREVER)));
    until_blocked(exporter);
    check_not_materialized(m->gpu, syncobj, point);
    OK(umf_fence_signal(fence, 1));
    EXPECT(-ETIME,
           syncobj_wait(m->gpu, syncobj, point, WAIT_MATERIALIZED, (int64_t)in_ns(10 * MS)));
    until_blocked(exporter);
    check_not_materialized(m->gpu, syncobj, point);
    OK(umf_fence_signal(fence, 2));
    join_child(exporter);
    check_signaled(m->gpu, syncobj, point);
    syncobj_destroy(m->gpu, syncobj);
    umf_fence_unref(fence);
}

/* A consumer in another process has the syncobj from the start, and waits for the point in each
 * way that exists. */
static void
a_point_is_handed_over_before_it_exists(const struct machine *m, uint64_t point)
{
    struct umf_fence *fence = new_fence(m, 0);
    uint32_t syncobj = syncobj_create(m->gpu, 0);
    int syncobj_fd = syncobj_to_fd(m->gpu, syncobj);
    pid_t consumers[2];

    for (int i = 0; i < 2; i++)
        IN_CHILD(consumers[i], {
            /* Another process has its own open file. */
            int gpu = open_drm("virtio_gpu", "renderD");
            uint32_t ours = syncobj_from_fd(gpu, syncobj_fd);
            check_not_materialized(gpu, ours, point);
            if (i == 0) {
                OK(syncobj_wait(gpu, ours, point, WAIT_FOR_SUBMIT, INT64_MAX));
            } else {
                struct pollfd event = { .fd = eventfd(0, EFD_CLOEXEC), .events = POLLIN };
                struct syncobj_eventfd arg = { .handle = ours, .point = point, .fd = event.fd };
                OK(syncobj_ioctl(gpu, SYNCOBJ_EVENTFD, &arg));
                CHECK(poll(&event, 1, -1) == 1);
            }
            check_signaled(gpu, ours, point);
        });
    until_blocked(consumers[0]);
    until_blocked(consumers[1]);
    OK(umf_fence_signal(fence, 1));
    OK(umf_fence_export_syncobj(fence, 1, m->device, syncobj, point, 0, FOREVER));
    join_child(consumers[0]);
    join_child(consumers[1]);
    close(syncobj_fd);
    syncobj_destroy(m->gpu, syncobj);
    umf_fence_unref(fence);
}

/* The timeline must stay unchanged: a failed call leaves nothing. */
static void
check_timeline(const struct machine *m, uint32_t syncobj, uint64_t signaled, uint64_t submitted)
{
    CHECK(syncobj_query(m->gpu, syncobj, 0) == signaled);
    CHECK(syncobj_query(m->gpu, syncobj, LAST_SUBMITTED) == submitted);
    for (uint64_t point = 1; point <= signaled; point++)
        OK(syncobj_wait(m->gpu, syncobj, point, 0, 0));
    for (uint64_t point = signaled + 1; point <= submitted; point++)
        EXPECT(-ETIME, syncobj_wait(m->gpu, syncobj, point, 0, 0));
    check_not_materialized(m->gpu, syncobj, submitted + 1);
}

static void
points_never_go_back(const struct machine *m)
{
    struct umf_fence *reached = new_fence(m, 1), *unreached = new_fence(m, 0);
    uint32_t syncobj = syncobj_create(m->gpu, 0);
    syncobj_timeline_signal(m->gpu, syncobj, 4);
    syncobj_timeline_signal(m->gpu, syncobj, 10);
    for (uint64_t point = 10; point > 0; point--) {
        EXPECT(-EINVAL, umf_fence_export_syncobj(reached, 1, m->device, syncobj, point, 0, 0));
        check_timeline(m, syncobj, 10, 10);
        /* At once, not after the wait. */
        EXPECT(-EINVAL,
               umf_fence_export_syncobj(unreached, 1, m->device, syncobj, point, 0, FOREVER));
        check_timeline(m, syncobj, 10, 10);
    }
    OK(umf_fence_export_syncobj(reached, 1, m->device, syncobj, 11, 0, 0));
    check_timeline(m, syncobj, 11, 11);
    syncobj_destroy(m->gpu, syncobj);
    umf_fence_unref(reached);
    umf_fence_unref(unreached);
}

/* The last submitted point decides, not the last signaled one. */
static void
points_never_go_below_pending_ones(const struct machine *m)
{
    struct umf_fence *fence = new_fence(m, 1);
    uint32_t kernel_fence, syncobj = syncobj_create(m->gpu, 0);
    int pending = vgem_sync_file(m->vgem, &kernel_fence);
    syncobj_timeline_signal(m->gpu, syncobj, 3);
    syncobj_submit(m->gpu, syncobj, 10, pending);
    const uint64_t signaled = syncobj_query(m->gpu, syncobj, 0); /* 0 or 3: kernels differ */
    for (uint64_t point = 10; point > 2; point--) {
        EXPECT(-EINVAL, umf_fence_export_syncobj(fence, 1, m->device, syncobj, point, 0, 0));
        CHECK(syncobj_query(m->gpu, syncobj, 0) == signaled);
        CHECK(syncobj_query(m->gpu, syncobj, LAST_SUBMITTED) == 10);
        EXPECT(-ETIME, syncobj_wait(m->gpu, syncobj, 10, 0, 0));
    }
    /* A point above it is allowed; on the timeline it comes after the pending one. */
    OK(umf_fence_export_syncobj(fence, 1, m->device, syncobj, 11, 0, 0));
    CHECK(syncobj_query(m->gpu, syncobj, LAST_SUBMITTED) == 11);
    vgem_signal(m->vgem, kernel_fence);
    check_timeline(m, syncobj, 11, 11);
    close(pending);
    syncobj_destroy(m->gpu, syncobj);
    umf_fence_unref(fence);
}

static void
a_point_that_others_passed_meanwhile_is_refused(const struct machine *m, uint64_t passed)
{
    struct umf_fence *fence = new_fence(m, 0);
    uint32_t syncobj = syncobj_create(m->gpu, 0);
    pid_t exporter;
    IN_CHILD(exporter,
             EXPECT(-EINVAL,
                    umf_fence_export_syncobj(fence, 1, m->device, syncobj, 5, 0, FOREVER)));
    until_blocked(exporter);
    syncobj_timeline_signal(m->gpu, syncobj, passed);
    OK(umf_fence_signal(fence, 1));
    join_child(exporter);
    check_timeline(m, syncobj, passed, passed);
    syncobj_destroy(m->gpu, syncobj);
    umf_fence_unref(fence);
}

static void
a_handle_of_nothing_is_refused_at_once(const struct machine *m)
{
    struct umf_fence *fence = new_fence(m, 0);
    uint32_t gone = syncobj_create(m->gpu, 0);
    syncobj_destroy(m->gpu, gone);
    const uint32_t handles[] = { 0, gone, UINT32_MAX };
    struct leftovers before = leftovers(m);
    for (int i = 0; i < 3; i++)
        for (uint64_t point = 0; point < 2; point++) {
            EXPECT(-ENOENT, umf_fence_export_syncobj(fence, 0, m->device, handles[i], point, 0, 0));
            EXPECT(-ENOENT,
                   umf_fence_export_syncobj(fence, 1, m->device, handles[i], point, 0, FOREVER));
            EXPECT(-ENOENT, umf_fence_import_syncobj(fence, 1, m->device, handles[i], point, 0, 0));
            EXPECT(-ENOENT,
                   umf_fence_import_syncobj(fence, 1, m->device, handles[i], point, 0, FOREVER));
        }
    CHECK(umf_fence_value(fence) == 0 && error_of(fence) == 0);
    check_leftovers(m, before);
    umf_fence_unref(fence);
}

static void
a_handle_destroyed_meanwhile_is_noticed(const struct machine *m, uint64_t point)
{
    struct umf_fence *fence = new_fence(m, 0);
    uint32_t syncobj = syncobj_create(m->gpu, 0);
    pid_t exporter;
    IN_CHILD(exporter, EXPECT(-ENOENT, umf_fence_export_syncobj(fence, 1, m->device, syncobj, point,
                                                                0, FOREVER)));
    until_blocked(exporter);
    syncobj_destroy(m->gpu, syncobj);
    OK(umf_fence_signal(fence, 1));
    join_child(exporter);
    umf_fence_unref(fence);
}

static void
bad_arguments_are_refused(const struct machine *m)
{
    struct umf_fence *fence = new_fence(m, 3);
    uint32_t syncobj = syncobj_create(m->gpu, 0), binary = syncobj_create(m->gpu, 0);
    EXPECT(-EINVAL, umf_fence_export_syncobj(NULL, 3, m->device, syncobj, 1, 0, 0));
    EXPECT(-EINVAL, umf_fence_export_syncobj(fence, 3, NULL, syncobj, 1, 0, 0));
    EXPECT(-EINVAL, umf_fence_import_syncobj(NULL, 3, m->device, syncobj, 1, 0, 0));
    EXPECT(-EINVAL, umf_fence_import_syncobj(fence, 3, NULL, syncobj, 1, 0, 0));
    EXPECT(-EINVAL, umf_fence_export_syncobj(fence, 3, m->device, syncobj, 1, 1, 0));
    EXPECT(-EINVAL, umf_fence_import_syncobj(fence, 3, m->device, syncobj, 1, 1, FOREVER));
    /* A value that the fence has passed is refused at once, not when the point comes. */
    EXPECT(-EINVAL, umf_fence_import_syncobj(fence, 2, m->device, syncobj, 1, 0, FOREVER));
    EXPECT(-EINVAL, umf_fence_import_syncobj(fence, 2, m->device, binary, 0, 0, FOREVER));
    check_not_materialized(m->gpu, syncobj, 1);
    check_not_materialized(m->gpu, binary, 0);
    CHECK(umf_fence_value(fence) == 3 && error_of(fence) == 0);
    syncobj_destroy(m->gpu, syncobj);
    syncobj_destroy(m->gpu, binary);
    umf_fence_unref(fence);
}

static void
a_failed_export_leaves_the_syncobj_alone(const struct machine *m, uint64_t point)
{
    struct umf_fence *fence = new_fence(m, 1);
    uint32_t syncobj = syncobj_create(m->gpu, 0);
    struct leftovers before = leftovers(m);
    pid_t driver;

    for (int i = 0; i < TIMEOUTS; i++) {
        uint64_t deadline = timeout(i);
        EXPECT(-ETIME, umf_fence_export_syncobj(fence, 2, m->device, syncobj, point, 0, deadline));
        CHECK(now_ns() >= deadline);
        check_not_materialized(m->gpu, syncobj, point);
    }
    IN_CHILD(driver, {
        until_blocked(getppid());
        OK(umf_fence_set_error(fence, -EOWNERDEAD));
    });
    EXPECT(-EOWNERDEAD, umf_fence_export_syncobj(fence, 2, m->device, syncobj, point, 0, FOREVER));
    check_not_materialized(m->gpu, syncobj, point);
    join_child(driver);
    check_leftovers(m, before);
    syncobj_destroy(m->gpu, syncobj);
    umf_fence_unref(fence);
}

static void
a_signaled_point_signals(const struct machine *m)
{
    struct umf_fence *fence = new_fence(m, 0);
    uint32_t binary = syncobj_create(m->gpu, DRM_SYNCOBJ_CREATE_SIGNALED);
    uint32_t timeline = syncobj_create(m->gpu, 0);
    struct leftovers before = leftovers(m);
    syncobj_timeline_signal(m->gpu, timeline, 5);
    OK(umf_fence_import_syncobj(fence, 1, m->device, binary, 0, 0, 0));
    CHECK(umf_fence_value(fence) == 1);
    OK(umf_fence_import_syncobj(fence, 2, m->device, timeline, 5, 0, 0));
    CHECK(umf_fence_value(fence) == 2);
    OK(umf_fence_import_syncobj(fence, UINT64_MAX, m->device, timeline, 3, 0, FOREVER));
    CHECK(umf_fence_value(fence) == UINT64_MAX);
    check_signaled(m->gpu, binary, 0); /* an import consumes nothing */
    check_timeline(m, timeline, 5, 5);
    check_leftovers(m, before);
    syncobj_destroy(m->gpu, binary);
    syncobj_destroy(m->gpu, timeline);
    umf_fence_unref(fence);
}

/* First nobody has submitted, then a pending fence is there, then it signals. */
static void
an_import_waits_for_submit_and_for_signal(const struct machine *m, uint64_t point)
{
    struct umf_fence *fence = new_fence(m, 0);
    uint32_t kernel_fence, syncobj = syncobj_create(m->gpu, 0);
    pid_t importer;

    IN_CHILD(importer,
             OK(umf_fence_import_syncobj(fence, 3, m->device, syncobj, point, 0, FOREVER)));
    until_blocked(importer);
    CHECK(umf_fence_value(fence) == 0);
    int pending = vgem_sync_file(m->vgem, &kernel_fence);
    if (point)
        syncobj_submit(m->gpu, syncobj, point, pending);
    else
        syncobj_import_sync_file(m->gpu, syncobj, pending);
    EXPECT(-ETIME, umf_fence_wait(fence, 1, in_ns(20 * MS)));
    until_blocked(importer);
    CHECK(umf_fence_value(fence) == 0 && sync_file_status(pending) == 0);
    vgem_signal(m->vgem, kernel_fence);
    join_child(importer);
    CHECK(umf_fence_value(fence) == 3);
    close(pending);
    syncobj_destroy(m->gpu, syncobj);
    umf_fence_unref(fence);
}

/* Wait-before-signal from the kernel's side: another process submits and signals in one call. */
static void
an_import_waits_for_another_process(const struct machine *m, uint64_t point)
{
    struct umf_fence *fence = new_fence(m, 0);
    uint32_t syncobj = syncobj_create(m->gpu, 0);
    int syncobj_fd = syncobj_to_fd(m->gpu, syncobj);
    pid_t submitter;

    IN_CHILD(submitter, {
        int gpu = open_drm("virtio_gpu", "renderD");
        uint32_t ours = syncobj_from_fd(gpu, syncobj_fd);
        until_blocked(getppid());
        if (point)
            syncobj_timeline_signal(gpu, ours, point);
        else
            syncobj_signal(gpu, ours);
    });
    OK(umf_fence_import_syncobj(fence, 1, m->device, syncobj, point, 0, FOREVER));
    CHECK(umf_fence_value(fence) == 1);
    join_child(submitter);
    close(syncobj_fd);
    syncobj_destroy(m->gpu, syncobj);
    umf_fence_unref(fence);
}

static void
a_point_below_a_pending_one_is_pending(const struct machine *m)
{
    struct umf_fence *fence = new_fence(m, 0);
    uint32_t kernel_fence, syncobj = syncobj_create(m->gpu, 0);
    int pending = vgem_sync_file(m->vgem, &kernel_fence);
    syncobj_submit(m->gpu, syncobj, 5, pending);
    EXPECT(-ETIME, umf_fence_import_syncobj(fence, 1, m->device, syncobj, 3, 0, 0));
    EXPECT(-ETIME, umf_fence_import_syncobj(fence, 1, m->device, syncobj, 6, 0, 0));
    vgem_signal(m->vgem, kernel_fence);
    OK(umf_fence_import_syncobj(fence, 1, m->device, syncobj, 3, 0, 0));
    EXPECT(-ETIME, umf_fence_import_syncobj(fence, 2, m->device, syncobj, 6, 0, 0));
    CHECK(umf_fence_value(fence) == 1);
    close(pending);
    syncobj_destroy(m->gpu, syncobj);
    umf_fence_unref(fence);
}

/* An import waits for the submission, and then for the signal. */
static void
an_import_that_times_out_leaves_nothing(const struct machine *m, uint64_t point)
{
    struct umf_fence *fence = new_fence(m, 1);
    uint32_t kernel_fence, syncobj = syncobj_create(m->gpu, 0);
    struct leftovers before = leftovers(m);
    int pending = -1;

    for (int submitted = 0; submitted < 2; submitted++) {
        if (submitted) {
            pending = vgem_sync_file(m->vgem, &kernel_fence);
            if (point)
                syncobj_submit(m->gpu, syncobj, point, pending);
            else
                syncobj_import_sync_file(m->gpu, syncobj, pending);
            before = leftovers(m);
        }
        for (int i = 0; i < TIMEOUTS; i++) {
            uint64_t deadline = timeout(i);
            EXPECT(-ETIME,
                   umf_fence_import_syncobj(fence, 2, m->device, syncobj, point, 0, deadline));
            CHECK(now_ns() >= deadline);
        }
        CHECK(umf_fence_value(fence) == 1 && umf_fence_pending_value(fence) == 1);
        CHECK(error_of(fence) == 0);
        check_leftovers(m, before);
        if (!submitted)
            check_not_materialized(m->gpu, syncobj, point);
    }
    vgem_signal(m->vgem, kernel_fence);
    OK(umf_fence_import_syncobj(fence, 2, m->device, syncobj, point, 0, 0));
    close(pending);
    syncobj_destroy(m->gpu, syncobj);
    umf_fence_unref(fence);
}

/* Makes every syncobj wait of this process and its children return ETIME at once. */
static void
make_the_kernel_impatient(void)
{
    const uint32_t wait = _IOC_TYPE(DRM_IOCTL_SYNCOBJ_TIMELINE_WAIT) << 8 |
                          _IOC_NR(DRM_IOCTL_SYNCOBJ_TIMELINE_WAIT);
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 4),
        /* The low half of the request, on little-endian machines, without the size of the
         * struct. */
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
        BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0xffff),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, wait, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ETIME),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { .len = ARRAY_SIZE(filter), .filter = filter };
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

/* The kernel measures its syncobj waits in timer ticks, from a count that may lag: on a busy
 * machine they have been seen to end early. */
static void
a_timeout_is_never_early(const struct machine *m, uint64_t point)
{
    struct umf_fence *fence = new_fence(m, 0);
    uint32_t syncobj = syncobj_create(m->gpu, 0);
    pid_t importer;
    IN_CHILD(importer, {
        uint64_t deadline = in_ns(20 * MS);
        make_the_kernel_impatient();
        EXPECT(-ETIME, umf_fence_import_syncobj(fence, 1, m->device, syncobj, point, 0, deadline));
        CHECK(now_ns() >= deadline);
        EXPECT(-ETIME, umf_fence_import_syncobj(fence, 1, m->device, syncobj, point, 0, 0));
    });
    join_child(importer);
    syncobj_destroy(m->gpu, syncobj);
    umf_fence_unref(fence);
}

/* The kernel's time is signed, and UINT64_MAX alone is never. */
static void
a_far_deadline_is_far(const struct machine *m, uint64_t point)
{
    static const uint64_t deadlines[] = { INT64_MAX - 1, INT64_MAX, INT64_MAX + UINT64_C(1),
                                          UINT64_MAX - 1 };
    struct umf_fence *fence = new_fence(m, 0);
    uint32_t kernel_fence, syncobj = syncobj_create(m->gpu, 0);
    int pending = vgem_sync_file(m->vgem, &kernel_fence);
    pid_t importers[4];
    for (int i = 0; i < 4; i++)
        IN_CHILD(importers[i],
                 OK(umf_fence_import_syncobj(fence, 1, m->device, syncobj, point, 0,
                                             deadlines[i])));
    for (int i = 0; i < 4; i++)
        until_blocked(importers[i]);
    if (point)
        syncobj_submit(m->gpu, syncobj, point, pending);
    else
        syncobj_import_sync_file(m->gpu, syncobj, pending);
    EXPECT(-ETIME, umf_fence_wait(fence, 1, in_ns(20 * MS)));
    for (int i = 0; i < 4; i++)
        until_blocked(importers[i]);
    CHECK(umf_fence_value(fence) == 0);
    vgem_signal(m->vgem, kernel_fence);
    for (int i = 0; i < 4; i++)
        join_child(importers[i]);
    close(pending);
    syncobj_destroy(m->gpu, syncobj);
    umf_fence_unref(fence);
}

static void
signal_handlers_do_not_end_an_import(const struct machine *m, uint64_t point)
{
    struct umf_fence *fence = new_fence(m, 0);
    uint32_t syncobj = syncobj_create(m->gpu, 0);
    const struct sigaction old = let_signals_interrupt();
    pid_t importer;

    IN_CHILD(importer,
             OK(umf_fence_import_syncobj(fence, 1, m->device, syncobj, point, 0, FOREVER)));
    interrupt_wait_of(importer);
    CHECK(umf_fence_value(fence) == 0);
    if (point)
        syncobj_timeline_signal(m->gpu, syncobj, point);
    else
        syncobj_signal(m->gpu, syncobj);
    join_child(importer);
    CHECK(umf_fence_value(fence) == 1);
    let_signals_be(&old);
    syncobj_destroy(m->gpu, syncobj);
    umf_fence_unref(fence);
}

/* A chain of both directions: what one process reaches arrives in a fence of another page, in
 * order. */
static void
there_and_back(const struct machine *m)
{
    struct umf_fence *from = new_fence(m, 0), *to = new_fence(m, 0);
    uint32_t syncobj = syncobj_create(m->gpu, 0);
    pid_t importer;
    IN_CHILD(importer, {
        for (uint64_t value = 1; value <= 50; value++) {
            OK(umf_fence_import_syncobj(to, value, m->device, syncobj, value, 0, FOREVER));
            CHECK(umf_fence_value(from) >= value);
        }
    });
    for (uint64_t value = 1; value <= 50; value++) {
        OK(umf_fence_signal(from, value));
        OK(umf_fence_export_syncobj(from, value, m->device, syncobj, value, 0, 0));
        OK(umf_fence_wait(to, value, FOREVER));
    }
    join_child(importer);
    CHECK(syncobj_query(m->gpu, syncobj, 0) == 50);
    syncobj_destroy(m->gpu, syncobj);
    umf_fence_unref(from);
    umf_fence_unref(to);
}

int
main(void)
{
    struct machine m = open_machine();
    watchdog(50);
    if (!m.syncobj) {
        RUN(without_syncobjs_nothing_is_tried, &m);
        return 0;
    }

    RUN(a_reached_fence_signals_a_binary_syncobj, &m);
    RUN(a_binary_syncobj_gets_a_new_fence, &m);
    RUN(reached_values_signal_points, &m);
    for (uint64_t point = 0; point <= 5; point += 5) {
        printf(point ? "  timeline:\n" : "  binary:\n");
        RUN(no_kernel_fence_before_the_fence_is_reached, &m, point);
        RUN(a_point_is_handed_over_before_it_exists, &m, point);
        RUN(a_handle_destroyed_meanwhile_is_noticed, &m, point);
        RUN(a_failed_export_leaves_the_syncobj_alone, &m, point);
        RUN(an_import_waits_for_submit_and_for_signal, &m, point);
        RUN(an_import_waits_for_another_process, &m, point);
        RUN(an_import_that_times_out_leaves_nothing, &m, point);
        RUN(a_timeout_is_never_early, &m, point);
        RUN(a_far_deadline_is_far, &m, point);
        RUN(signal_handlers_do_not_end_an_import, &m, point);
    }
    RUN(points_never_go_back, &m);
    RUN(points_never_go_below_pending_ones, &m);
    RUN(a_point_that_others_passed_meanwhile_is_refused, &m, 5);
    RUN(a_point_that_others_passed_meanwhile_is_refused, &m, 8);
    RUN(a_handle_of_nothing_is_refused_at_once, &m);
    RUN(bad_arguments_are_refused, &m);
    RUN(a_signaled_point_signals, &m);
    RUN(a_point_below_a_pending_one_is_pending, &m);
    RUN(there_and_back, &m);
    return 0;
}
