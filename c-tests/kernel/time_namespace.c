// SPDX-License-Identifier: MIT
/*
 * A time namespace: this process's CLOCK_MONOTONIC differs from the one that the ioctls of DRM
 * count in. A conversion's deadline is that of this process, and it sleeps until then. No timestamp
 * is in this process's future, whichever process signaled it.
 */
#include "drm_machine.h"
#include "process.h"
#include "sleeper.h"
#include "syncobj.h"

#include <sys/resource.h>

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif

/* Nobody signals. The wait ends at its deadline, long before the clocks' distance has passed. */
static void
ends_at_its_deadline(const struct machine *m, uint64_t point)
{
    struct umf_fence *fence = new_fence(m, 0);
    uint32_t syncobj = syncobj_create(m->gpu, 0);
    uint64_t start = now_ns(), busy = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    uint64_t deadline = in_ns(SECOND / 2);
    EXPECT(-ETIME, umf_fence_import_syncobj(fence, 5, m->device, syncobj, point, 0, deadline));
    uint64_t took = now_ns() - start;
    busy = clock_ns(CLOCK_THREAD_CPUTIME_ID) - busy;
    printf("    point %u: ended after %u ms, busy for %u ms\n", (unsigned)point,
           (unsigned)(took / MS), (unsigned)(busy / MS));
    CHECK(now_ns() >= deadline && took < 10 * SECOND && busy < took / 2);
    syncobj_destroy(m->gpu, syncobj);
    umf_fence_unref(fence);
}

/* Signaled by a process with the host's clock, by a kernel fence, and by this process. */
static struct umf_page *page;
static struct umf_fence *fence;

static void
signal_with_the_host_s_clock(void)
{
    OK(umf_page_create(1, UMF_PAGE_TIMESTAMPS, &page));
    OK(umf_fence_create(page, 0, 0, &fence));
    OK(umf_fence_signal(fence, 1));
}

static void
no_timestamp_is_in_the_future(const struct machine *m)
{
    uint64_t time, start = now_ns();
    uint32_t signaled = syncobj_create(m->gpu, DRM_SYNCOBJ_CREATE_SIGNALED);
    int fd = syncobj_export_sync_file(m->gpu, signaled);
    syncobj_destroy(m->gpu, signaled);
    OK(umf_fence_import_sync_file(fence, 2, fd, 0, 0));
    close(fd);
    OK(umf_fence_signal(fence, 3));
    for (uint64_t value = 1; value <= 3; value++) {
        int result = umf_fence_timestamp(fence, value, &time);
        CHECK(result == -ENOENT || (result == 0 && time <= now_ns()));
        CHECK(value == 1 || result == 0);
        CHECK(value != 3 || time >= start);
    }
}

static void
in_the_namespace(const struct machine *m)
{
    no_timestamp_is_in_the_future(m);
    ends_at_its_deadline(m, 7);
    ends_at_its_deadline(m, 0);
}

static void
with_an_offset(const struct machine *m, const char *offset)
{
    pid_t outer, inner;
    IN_CHILD(outer, {
        printf("  %s\n", offset);
        int fd = unshare(CLONE_NEWTIME) == 0
                     ? open("/proc/self/timens_offsets", O_WRONLY | O_CLOEXEC)
                     : -1;
        if (fd < 0) {
            printf("not available: time namespaces\n");
            fflush(stdout);
            _exit(SKIPPED);
        }
        CHECK(write(fd, offset, strlen(offset)) == (ssize_t)strlen(offset));
        signal_with_the_host_s_clock();
        IN_CHILD(inner, (in_the_namespace(m), fflush(stdout)));
        join_child(inner);
    });
    if (!join_child_unless_skipped(outer))
        exit(SKIPPED);
}

int
main(void)
{
    struct machine m = open_machine();
    watchdog(50);
    if (!m.syncobj) {
        printf("not available: syncobjs\n");
        return SKIPPED;
    }
    signal_with_the_host_s_clock();
    RUN(in_the_namespace, &m);
    with_an_offset(&m, "monotonic 20 0\n");
    with_an_offset(&m, "monotonic -1 0\n");
    return 0;
}
