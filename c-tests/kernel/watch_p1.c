// SPDX-License-Identifier: MIT
/*
 * No kernel fence waits for a UMF, not even one that a loop makes. Exports run all the time: with
 * fences that are reached, that fail, that never come, with cancellations, loops that end and
 * processes that are killed. Another process looks at the timelines all the time through its own
 * open file. Every fence that it can get has signaled.
 *
 * Nothing is left of any number of exports, neither in the process nor in the kernel.
 */
#include "drm_machine.h"
#include "sleeper.h"
#include "syncobj.h"
#include "vgem.h"
#include "watch.h"

#include <sys/prctl.h>

#define LAST_SUBMITTED DRM_SYNCOBJ_QUERY_FLAGS_LAST_SUBMITTED
#define TIMELINES 4

/* Memory that the exporters and the observer share. */
struct shared {
    atomic_bool stop;
    _Atomic uint64_t asked[TIMELINES]; /* the highest requested point */
    _Atomic uint64_t seen;             /* fences that were looked at */
    _Atomic uint64_t made, canceled, failed, refused;
};

static struct shared *
new_shared(void)
{
    struct shared *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
                                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(shared != MAP_FAILED);
    return shared;
}

/* A fence must have signaled when it is first seen. */
static void
look_at(int gpu, uint32_t handle, uint64_t point, uint32_t binary, struct shared *shared)
{
    int result = syncobj_transfer(gpu, handle, point, binary, 0);
    if (result == -EINVAL)
        return; /* no fence there */
    OK(result);
    int sync_file = syncobj_export_sync_file(gpu, binary);
    CHECK(sync_file >= 0);
    EXPECT(1, sync_file_status(sync_file));
    close(sync_file);
    shared->seen++;
}

static void
watch_timelines(const int *syncobj_fds, struct shared *shared, uint32_t single_fd)
{
    int gpu = open_drm("virtio_gpu", "renderD");
    uint32_t handles[TIMELINES], binary = syncobj_create(gpu, 0);
    uint32_t single = syncobj_from_fd(gpu, (int)single_fd);
    unsigned seed = 1;
    for (int i = 0; i < TIMELINES; i++)
        handles[i] = syncobj_from_fd(gpu, syncobj_fds[i]);
    while (!shared->stop) {
        int single_file = syncobj_export_sync_file(gpu, single);
        if (single_file >= 0) {
            EXPECT(1, sync_file_status(single_file));
            close(single_file);
            shared->seen++;
        }
        for (int i = 0; i < TIMELINES; i++) {
            uint64_t asked = shared->asked[i];
            uint64_t last = syncobj_query(gpu, handles[i], LAST_SUBMITTED);
            CHECK(syncobj_query(gpu, handles[i], 0) >= last);
            if (last > 0)
                look_at(gpu, handles[i], last, binary, shared);
            look_at(gpu, handles[i], last + 1, binary, shared);
            if (asked > last) {
                look_at(gpu, handles[i], asked, binary, shared);
                look_at(gpu, handles[i], last + 1 + (uint64_t)rand_r(&seed) % (asked - last),
                        binary, shared);
            }
        }
    }
}

/* One round of all that can happen, on a loop that may end with it. */
static void
exports(const struct machine *m, const uint32_t *handles, uint32_t single, struct shared *shared,
        unsigned *seed, bool die)
{
    enum { EACH = 16 };
    struct umf_loop *l = create_loop(rand_r(seed) % 2 ? UMF_LOOP_THREAD : 0);
    struct umf_syncobj *timelines[TIMELINES], *binary;
    struct umf_fence *fences[TIMELINES][EACH], *never = new_fence(m, 0);
    struct umf_watch *watches[TIMELINES][EACH];
    OK(umf_syncobj_open(m->device, single, 0, &binary));
    for (int i = 0; i < TIMELINES; i++) {
        OK(umf_syncobj_open(m->device, handles[i], 0, &timelines[i]));
        uint64_t base = syncobj_query(m->gpu, handles[i], LAST_SUBMITTED);
        if (shared->asked[i] < base + EACH)
            shared->asked[i] = base + EACH;
        for (int n = 0; n < EACH; n++) {
            OK(umf_fence_create(m->page, 0, 0, &fences[i][n]));
            OK(umf_loop_export_syncobj(l, fences[i][n], 1, timelines[i], base + (uint64_t)n + 1,
                                       0, NULL, &watches[i][n]));
        }
    }
    OK(umf_loop_export_syncobj(l, never, 1, binary, 0, 0, NULL, NULL));
    /* In any order: most are reached, some fail, some are canceled, some stay pending. */
    const int start = rand_r(seed), stride = 1 + 2 * (rand_r(seed) % 32);
    for (int count = 0; count < TIMELINES * EACH; count++) {
        int next = (start % 64 + count * stride) % (TIMELINES * EACH);
        int i = next % TIMELINES, n = next / TIMELINES;
        int what = rand_r(seed) % 64;
        if (what < 1)
            umf_fence_set_error(fences[i][n], -ENODEV);
        else if (what < 6)
            umf_watch_cancel(watches[i][n]);
        else
            umf_fence_signal(fences[i][n], 1);
        if (die && count == TIMELINES * EACH / 2)
            raise(SIGKILL);
        if (!loop_has_thread(l) && count % 8 == 0)
            OK(umf_loop_dispatch(l, 0));
    }
    if (rand_r(seed) % 2)
        settle(l, m->page);
    umf_loop_unref(l);
    for (int i = 0; i < TIMELINES; i++) {
        for (int n = 0; n < EACH; n++) {
            int result = umf_watch_result(watches[i][n]);
            shared->made += result == 0;
            shared->canceled += result == -ECANCELED;
            shared->failed += result == -EIO;
            CHECK(result == 0 || result == -ECANCELED || result == -EIO);
            umf_watch_unref(watches[i][n]);
            umf_fence_unref(fences[i][n]);
        }
        umf_syncobj_unref(timelines[i]);
    }
    umf_syncobj_unref(binary);
    umf_fence_unref(never);
}

static void
a_storm(const struct machine *m)
{
    struct leftovers before = leftovers(m);
    struct shared *shared = new_shared();
    uint32_t handles[TIMELINES], single = syncobj_create(m->gpu, 0);
    int fds[TIMELINES], single_fd = syncobj_to_fd(m->gpu, single);
    unsigned seed = 4711, killed = 0, rounds = 0;
    pid_t watcher;
    for (int i = 0; i < TIMELINES; i++) {
        handles[i] = syncobj_create(m->gpu, 0);
        fds[i] = syncobj_to_fd(m->gpu, handles[i]);
    }
    IN_CHILD(watcher, {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        watch_timelines(fds, shared, (uint32_t)single_fd);
    });
    for (uint64_t end = in_ns(8 * SECOND); now_ns() < end; rounds++) {
        if (rounds % 4 == 3) {
            /* A process that dies with all that it has in progress: threads, fences, watches. */
            int status;
            pid_t exporter;
            IN_CHILD(exporter, {
                struct machine own = *m;
                own.gpu = open_drm("virtio_gpu", "renderD");
                uint32_t ours[TIMELINES];
                for (int i = 0; i < TIMELINES; i++)
                    ours[i] = syncobj_from_fd(own.gpu, fds[i]);
                OK(umf_device_create(own.gpu, 0, &own.device));
                OK(umf_page_create(128, 0,
                                   &own.page)); /* leaks of the dead process do not matter */
                exports(&own, ours, syncobj_from_fd(own.gpu, single_fd), shared, &seed, true);
            });
            CHECK(waitpid(exporter, &status, 0) == exporter);
            CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
            seed++;
            killed++;
            continue;
        }
        exports(m, handles, single, shared, &seed, false);
        CHECK(waitpid(watcher, NULL, WNOHANG) == 0); /* its checks held */
    }
    shared->stop = true;
    join_child(watcher);
    printf("    %u rounds, %u of them killed: %" PRIu64 " points made, %" PRIu64
           " canceled, %" PRIu64 " failed; %" PRIu64 " fences seen\n",
           rounds, killed, shared->made, shared->canceled, shared->failed, shared->seen);
    CHECK(shared->made > 0 && shared->canceled > 0 && shared->failed > 0 && shared->seen > 0);
    check_not_materialized(m->gpu, single, 0);
    for (int i = 0; i < TIMELINES; i++) {
        syncobj_destroy(m->gpu, handles[i]);
        close(fds[i]);
    }
    syncobj_destroy(m->gpu, single);
    close(single_fd);
    munmap(shared, sizeof(*shared));
    check_leftovers(m, before);
}

/* Memory of a process and of the kernel, in KiB. */
struct memory {
    long resident, unreclaimable;
};

static long
kib(const char *path, const char *name)
{
    char line[128];
    long value = -1;
    FILE *file = fopen(path, "re");
    CHECK(file);
    while (value < 0 && fgets(line, sizeof(line), file))
        if (strncmp(line, name, strlen(name)) == 0)
            CHECK(sscanf(line + strlen(name), ": %ld kB", &value) == 1);
    fclose(file);
    CHECK(value >= 0);
    return value;
}

static struct memory
memory(void)
{
    return (struct memory){ .resident = kib("/proc/self/status", "VmRSS"),
                            .unreclaimable = kib("/proc/meminfo", "SUnreclaim") };
}

/* There and back: a fence's values become points of a timeline, and the points another fence's
 * values. Some are requested before they exist and some after. */
static void
nothing_is_left(const struct machine *m, bool has_thread)
{
    struct leftovers before = leftovers(m);
    struct umf_loop *l = create_loop(has_thread ? UMF_LOOP_THREAD : 0);
    struct umf_fence *from = new_fence(m, 0), *to = new_fence(m, 0);
    uint32_t handle = syncobj_create(m->gpu, 0);
    struct umf_syncobj *syncobj;
    struct memory first = { 0 };
    uint64_t points = 0, warm = 0;
    OK(umf_syncobj_open(m->device, handle, 0, &syncobj));
    for (uint64_t end = in_ns(6 * SECOND), warm_end = in_ns(2 * SECOND); now_ns() < end;) {
        enum { AT_ONCE = 32 };
        struct umf_watch *last;
        if (!first.resident && now_ns() > warm_end) {
            first = memory();
            warm = points;
        }
        for (int i = 0; i < AT_ONCE; i++) {
            uint64_t point = points + (uint64_t)i + 1;
            OK(umf_loop_export_syncobj(l, from, point, syncobj, point, 0, NULL, NULL));
            if (i % 2)
                OK(umf_loop_import_syncobj(l, to, point, syncobj, point, 0, NULL, NULL));
        }
        points += AT_ONCE;
        OK(umf_fence_signal(from, points));
        OK(umf_loop_import_syncobj(l, to, points, syncobj, points, 0, NULL, &last));
        OK(outcome_of(l, last));
    }
    CHECK(syncobj_query(m->gpu, handle, 0) == points);
    settle(l, m->page);
    struct memory last = memory();
    printf("    %" PRIu64 " points there and back: VmRSS %+ld KiB, SUnreclaim %+ld KiB\n",
           points - warm, last.resident - first.resident, last.unreclaimable - first.unreclaimable);
    CHECK(last.resident - first.resident < 256);
    CHECK(last.unreclaimable - first.unreclaimable < 1024);
    umf_syncobj_unref(syncobj);
    syncobj_destroy(m->gpu, handle);
    umf_loop_unref(l);
    umf_fence_unref(from);
    umf_fence_unref(to);
    check_leftovers(m, before);
}

int
main(void)
{
    struct machine m = open_machine();
    watchdog(110);
    if (!m.syncobj) {
        printf("needs syncobjs, which this kernel's virtio-gpu does not have\n");
        return SKIPPED;
    }
    umf_page_unref(m.page);
    OK(umf_page_create(1024, 0, &m.page));
    RUN(a_storm, &m);
    RUN(nothing_is_left, &m, false);
    RUN(nothing_is_left, &m, true);
    return 0;
}
