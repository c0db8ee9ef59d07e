// SPDX-License-Identifier: MIT
/*
 * Syncobjs that the library makes, gives to another process, and whose lost points are given up.
 * The other side of each test is a second open file of the device, with raw ioctls, as a compositor
 * has it.
 */
#include "drm_machine.h"
#include "process.h"
#include "sleeper.h"
#include "syncobj.h"
#include "vgem.h"
#include "watch.h"

#define LAST_SUBMITTED DRM_SYNCOBJ_QUERY_FLAGS_LAST_SUBMITTED

/* A timeline of the library's, and the compositor's handle of it. */
struct shared {
    struct umf_syncobj *umf;
    int compositor;
    uint32_t handle;
};

static int compositor;

static struct shared
new_shared(const struct machine *m)
{
    struct shared s = { .compositor = compositor };
    int fd = -1;
    OK(umf_syncobj_create(m->device, 0, &s.umf));
    KEEPS_ERRNO(0, umf_syncobj_export(s.umf, 0, &fd));
    CHECK(fd > 2 && fcntl(fd, F_GETFD) == FD_CLOEXEC);
    s.handle = syncobj_from_fd(compositor, fd);
    close(fd);
    return s;
}

static void
end_shared(struct shared *s)
{
    umf_syncobj_unref(s->umf);
    syncobj_destroy(s->compositor, s->handle);
}

static uint64_t
last_point(const struct shared *s)
{
    uint64_t submitted = syncobj_query(s->compositor, s->handle, LAST_SUBMITTED);
    CHECK(syncobj_query(s->compositor, s->handle, 0) >= submitted);
    return submitted;
}

/* What a compositor sees that waits for a point. */
static bool
has_come(const struct shared *s, uint64_t point)
{
    int result = syncobj_wait(s->compositor, s->handle, point, WAIT_FOR_SUBMIT, 0);
    CHECK(result == 0 || result == -ETIME);
    return result == 0;
}

static struct umf_watch *
export_point(struct umf_loop *l, struct umf_fence *fence, uint64_t value, const struct shared *s,
             uint64_t point)
{
    struct umf_watch *watch;
    OK(umf_loop_export_syncobj(l, fence, value, s->umf, point, 0, NULL, &watch));
    return watch;
}

static void
a_device_without_syncobjs_makes_none(const struct machine *m)
{
    struct umf_device *vgem;
    struct umf_syncobj *syncobj = NULL;
    OK(umf_device_create(m->vgem, 0, &vgem));
    EXPECT(-EOPNOTSUPP, umf_syncobj_create(vgem, 0, &syncobj));
    if (!m->syncobj)
        EXPECT(-EOPNOTSUPP, umf_syncobj_create(m->device, 0, &syncobj));
    CHECK(!syncobj);
    umf_device_unref(vgem);
}

static void
bad_arguments_are_refused(const struct machine *m)
{
    struct shared s = new_shared(m);
    struct umf_syncobj *none = NULL;
    int fd = -1;
    struct leftovers before = leftovers(m);
    EXPECT(-EINVAL, umf_syncobj_create(NULL, 0, &none));
    EXPECT(-EINVAL, umf_syncobj_create(m->device, 1, &none));
    EXPECT(-EINVAL, umf_syncobj_create(m->device, 0, NULL));
    EXPECT(-EINVAL, umf_syncobj_export(NULL, 0, &fd));
    EXPECT(-EINVAL, umf_syncobj_export(s.umf, 1, &fd));
    EXPECT(-EINVAL, umf_syncobj_export(s.umf, 0, NULL));
    EXPECT(-EINVAL, umf_syncobj_signal(NULL, 1, 0));
    EXPECT(-EINVAL, umf_syncobj_signal(s.umf, 1, 1));
    CHECK(!none && fd == -1 && last_point(&s) == 0);
    check_leftovers(m, before);
    end_shared(&s);
}

/* A program without libdrm: it has no handle, only descriptors. */
static void
a_compositor_gets_points_early(const struct machine *m, struct umf_loop *l)
{
    struct umf_fence *fence = new_fence(m, 0), *released = new_fence(m, 0);
    struct shared acquire = new_shared(m), release = new_shared(m);
    struct umf_watch *releasing;
    struct umf_watch *acquiring = export_point(l, fence, 1, &acquire, 1);
    OK(umf_loop_import_syncobj(l, released, 1, release.umf, 1, 0, NULL, &releasing));
    check_not_materialized(compositor, acquire.handle, 1);
    OK(umf_fence_signal(fence, 1));
    OK(outcome_of(l, acquiring));
    check_signaled(compositor, acquire.handle, 1);
    CHECK(umf_fence_value(released) == 0);
    syncobj_timeline_signal(compositor, release.handle, 1);
    OK(outcome_of(l, releasing));
    CHECK(umf_fence_value(released) == 1);
    end_shared(&acquire);
    end_shared(&release);
    umf_fence_unref(fence);
    umf_fence_unref(released);
}

/* The library's handles share their numbers with those of the caller. One of its own syncobjs may
 * have the number of a syncobj that the caller destroyed, and shares no order with that. */
static void
a_made_syncobj_has_an_order_of_its_own(const struct machine *m, struct umf_loop *l)
{
    struct umf_fence *never = new_fence(m, 0), *fence = new_fence(m, 1);
    struct umf_syncobj *gone;
    struct umf_watch *pending;
    uint32_t handle = syncobj_create(m->gpu, 0);
    OK(umf_syncobj_open(m->device, handle, 0, &gone));
    OK(umf_loop_export_syncobj(l, never, 1, gone, 1, 0, NULL, &pending));
    syncobj_destroy(m->gpu, handle); /* the library's next handle has this number */
    struct shared s = new_shared(m);
    OK(outcome_of(l, export_point(l, fence, 1, &s, 2)));
    OK(umf_syncobj_signal(s.umf, 3, 0));
    CHECK(last_point(&s) == 3);
    OK(umf_watch_cancel(pending));
    umf_watch_unref(pending);
    umf_syncobj_unref(gone);
    end_shared(&s);
    umf_fence_unref(never);
    umf_fence_unref(fence);
}

static void
the_child_of_a_fork_gets_nothing(const struct machine *m, struct umf_loop *l)
{
    struct umf_fence *fence = new_fence(m, 0);
    struct shared s = new_shared(m);
    pid_t child;
    struct umf_watch *watch = export_point(l, fence, 1, &s, 1);
    IN_CHILD(child, {
        int fd = -1;
        EXPECT(-ESTALE, umf_syncobj_export(s.umf, 0, &fd));
        EXPECT(-ESTALE, umf_syncobj_signal(s.umf, 5, 0));
        EXPECT(-ESTALE, umf_syncobj_signal(s.umf, 0, 0));
        CHECK(fd == -1);
        umf_syncobj_unref(s.umf);
    });
    join_child(child);
    OK(umf_fence_signal(fence, 1));
    OK(outcome_of(l, watch));
    CHECK(last_point(&s) == 1);
    end_shared(&s);
    umf_fence_unref(fence);
}

static void
a_point_is_signaled_at_once(const struct machine *m)
{
    struct shared s = new_shared(m);
    for (uint64_t point = 1; point <= 9; point += 2) {
        KEEPS_ERRNO(0, umf_syncobj_signal(s.umf, point, 0));
        check_signaled(compositor, s.handle, point);
        CHECK(last_point(&s) == point);
        EXPECT(-EINVAL, umf_syncobj_signal(s.umf, point, 0));
        EXPECT(-EINVAL, umf_syncobj_signal(s.umf, point - 1 ? point - 1 : point, 0));
        CHECK(last_point(&s) == point);
    }
    OK(umf_syncobj_signal(s.umf, UINT64_MAX, 0));
    CHECK(last_point(&s) == UINT64_MAX);
    end_shared(&s);
    struct shared binary = new_shared(m);
    check_not_materialized(compositor, binary.handle, 0);
    OK(umf_syncobj_signal(binary.umf, 0, 0));
    check_signaled(compositor, binary.handle, 0);
    end_shared(&binary);
}

/* Once the caller knows that an export is over, a point that it gives up waits for nothing. */
static void
an_export_that_is_over_delays_nothing(const struct machine *m)
{
    struct umf_loop *l = create_loop(UMF_LOOP_THREAD);
    struct umf_fence *reached = new_fence(m, 1);
    struct shared s = new_shared(m);
    for (uint64_t point = 1; point < 8000; point += 2) {
        struct umf_watch *watch = export_point(l, reached, 1, &s, point);
        int result;
        while ((result = umf_watch_result(watch)) == -ETIME)
            ;
        OK(result);
        OK(umf_syncobj_signal(s.umf, point + 1, 0));
        CHECK(last_point(&s) == point + 1);
        umf_watch_unref(watch);
    }
    umf_loop_unref(l);
    end_shared(&s);
    umf_fence_unref(reached);
}

/* The signaler of three frames dies. The compositor waits for their points until a later one is
 * signaled; the timeline then goes on. */
static void
lost_points_are_given_up(const struct machine *m, struct umf_loop *l)
{
    struct umf_fence *lost = new_fence(m, 0), *next = new_fence(m, 0);
    struct umf_watch *watches[3];
    struct shared s = new_shared(m);
    for (uint64_t i = 0; i < 3; i++)
        watches[i] = export_point(l, lost, i + 1, &s, i + 1);
    OK(umf_fence_set_error(lost, -EOWNERDEAD));
    for (int i = 0; i < 3; i++)
        EXPECT(-EOWNERDEAD, outcome_of(l, watches[i]));
    settle(l, m->page);
    for (uint64_t point = 1; point <= 4; point++)
        CHECK(!has_come(&s, point));
    OK(umf_syncobj_signal(s.umf, 4, 0));
    for (uint64_t point = 1; point <= 4; point++)
        CHECK(has_come(&s, point));
    CHECK(!has_come(&s, 5));
    struct umf_watch *again = export_point(l, next, 1, &s, 5);
    settle(l, m->page);
    CHECK(!has_come(&s, 5));
    OK(umf_fence_signal(next, 1));
    OK(outcome_of(l, again));
    CHECK(has_come(&s, 5));
    end_shared(&s);
    umf_fence_unref(lost);
    umf_fence_unref(next);
}

static void
a_given_up_point_waits_for_lower_ones(const struct machine *m, struct umf_loop *l,
                                      struct umf_loop *other)
{
    struct umf_fence *fences[4];
    struct umf_watch *watches[4];
    struct shared s = new_shared(m);
    for (unsigned i = 0; i < 4; i++)
        fences[i] = new_fence(m, 0);
    watches[0] = export_point(l, fences[0], 1, &s, 1);
    watches[1] = export_point(other, fences[1], 1, &s, 3);
    OK(umf_syncobj_signal(s.umf, 5, 0));
    OK(umf_syncobj_signal(s.umf, 2, 0)); /* between the exports */
    OK(umf_syncobj_signal(s.umf, 6, 0)); /* right behind one that is given up */
    EXPECT(-EINVAL, umf_syncobj_signal(s.umf, 5, 0));
    EXPECT(-EINVAL, umf_syncobj_signal(s.umf, 3, 0));
    EXPECT(-EINVAL, umf_loop_export_syncobj(l, fences[2], 1, s.umf, 5, 0, NULL, NULL));
    watches[2] = export_point(l, fences[2], 1, &s, 7);
    OK(umf_syncobj_signal(s.umf, 9, 0));
    watches[3] = export_point(other, fences[3], 1, &s, 8);
    CHECK(last_point(&s) == 0);

    OK(umf_fence_signal(fences[2], 1)); /* reached; waits for its turn */
    OK(umf_fence_signal(fences[1], 1));
    settle(l, m->page);
    settle(other, m->page);
    CHECK(last_point(&s) == 0);
    OK(umf_fence_signal(fences[0], 1));
    for (unsigned i = 0; i < 3; i++)
        OK(outcome_of(i == 1 ? other : l, watches[i]));
    settle(l, m->page);
    settle(other, m->page);
    CHECK(last_point(&s) == 7);
    OK(umf_fence_signal(fences[3], 1));
    OK(outcome_of(other, watches[3]));
    settle(other, m->page);
    CHECK(last_point(&s) == 9);
    /* Nothing is left in the order. */
    OK(umf_syncobj_signal(s.umf, 10, 0));
    CHECK(last_point(&s) == 10);
    end_shared(&s);
    for (unsigned i = 0; i < 4; i++)
        umf_fence_unref(fences[i]);
}

/* Exports that fail take those behind them along, up to a point that is given up. */
static void
a_failure_stops_at_a_given_up_point(const struct machine *m, struct umf_loop *l,
                                    struct umf_loop *other)
{
    struct umf_fence *fences[4];
    struct umf_watch *watches[4];
    struct shared s = new_shared(m);
    for (unsigned i = 0; i < 4; i++)
        fences[i] = new_fence(m, 0);
    watches[0] = export_point(l, fences[0], 1, &s, 1);
    watches[1] = export_point(other, fences[1], 1, &s, 2);
    watches[2] = export_point(l, fences[2], 1, &s, 3);
    OK(umf_syncobj_signal(s.umf, 4, 0));
    watches[3] = export_point(other, fences[3], 1, &s, 5);
    OK(umf_fence_set_error(fences[1], -ENODEV));
    EXPECT(-EIO, outcome_of(other, watches[1]));
    EXPECT(-EIO, outcome_of(l, watches[2]));
    settle(l, m->page);
    settle(other, m->page);
    CHECK(last_point(&s) == 0); /* the first is not reached */
    EXPECT(-ETIME, umf_watch_result(watches[3]));
    OK(umf_fence_signal(fences[0], 1));
    OK(outcome_of(l, watches[0]));
    settle(l, m->page);
    CHECK(last_point(&s) == 4 && has_come(&s, 2) && has_come(&s, 3));
    OK(umf_fence_signal(fences[3], 1));
    OK(outcome_of(other, watches[3]));
    CHECK(last_point(&s) == 5);
    end_shared(&s);
    for (unsigned i = 0; i < 4; i++)
        umf_fence_unref(fences[i]);
}

/* Kernel fences that are attached take their points in the same order: while an export waits, and
 * before it is requested. The order of a syncobj without a handle follows attachments too. */
static void
attachments_and_given_up_points_share_an_order(const struct machine *m, struct umf_loop *l,
                                               struct umf_loop *other)
{
    struct umf_fence *first = new_fence(m, 0), *second = new_fence(m, 0);
    uint32_t jobs[2];
    int files[2];
    for (int i = 0; i < 2; i++)
        files[i] = vgem_sync_file(m->vgem, &jobs[i]);
    struct shared s = new_shared(m);
    struct umf_watch *waits = export_point(l, first, 1, &s, 2);
    OK(umf_syncobj_signal(s.umf, 4, 0));
    OK(umf_fence_attach_sync_file(second, 1, files[1], 0));
    struct umf_watch *behind = export_point(other, second, 1, &s, 6);
    struct umf_watch *before = export_point(other, second, 1, &s, 1);
    OK(umf_syncobj_signal(s.umf, 7, 0));
    OK(outcome_of(other, before)); /* nothing comes before it, so the call added it */
    settle(l, m->page);
    settle(other, m->page);
    CHECK(syncobj_query(compositor, s.handle, LAST_SUBMITTED) == 1);
    EXPECT(-ETIME, umf_watch_result(behind));

    OK(umf_fence_attach_sync_file(first, 1, files[0], 0));
    OK(outcome_of(l, waits));
    OK(outcome_of(other, behind));
    settle(other, m->page);
    CHECK(syncobj_query(compositor, s.handle, LAST_SUBMITTED) == 7);
    for (uint64_t point = 1; point <= 7; point++)
        CHECK(!has_come(&s, point));
    vgem_signal(m->vgem, jobs[1]);
    CHECK(has_come(&s, 1) && !has_come(&s, 2) && !has_come(&s, 4) && !has_come(&s, 7));
    vgem_signal(m->vgem, jobs[0]);
    for (uint64_t point = 1; point <= 7; point++)
        CHECK(has_come(&s, point));
    CHECK(umf_fence_value(first) == 0 && umf_fence_value(second) == 0);
    for (int i = 0; i < 2; i++)
        close(files[i]);
    end_shared(&s);
    umf_fence_unref(first);
    umf_fence_unref(second);
}

static void
canceled_exports_let_it_come(const struct machine *m, struct umf_loop *l, bool end_the_loop)
{
    struct umf_fence *never = new_fence(m, 0), *reached = new_fence(m, 1);
    struct umf_loop *ends = create_loop(loop_has_thread(l) ? UMF_LOOP_THREAD : 0);
    struct umf_watch *watches[3];
    struct shared s = new_shared(m);
    watches[0] = export_point(ends, never, 1, &s, 1);
    watches[1] = export_point(ends, reached, 1, &s, 2);
    OK(umf_syncobj_signal(s.umf, 3, 0));
    watches[2] = export_point(l, reached, 1, &s, 4);
    settle(l, m->page);
    CHECK(last_point(&s) == 0);
    if (end_the_loop) {
        umf_loop_unref(ends);
        EXPECT(-ECANCELED, outcome_of(l, watches[0]));
        EXPECT(-ECANCELED, outcome_of(l, watches[1]));
    } else {
        OK(umf_watch_cancel(watches[1]));
        CHECK(last_point(&s) == 0);
        OK(umf_watch_cancel(watches[0]));
        umf_watch_unref(watches[0]);
        umf_watch_unref(watches[1]);
    }
    CHECK(last_point(&s) >= 3);
    OK(outcome_of(l, watches[2]));
    CHECK(last_point(&s) == 4);
    if (!end_the_loop)
        umf_loop_unref(ends);
    end_shared(&s);
    umf_fence_unref(never);
    umf_fence_unref(reached);
}

/* The compositor, or a driver, adds a point in between: the one that was given up is not added. */
static void
others_pass_it_meanwhile(const struct machine *m, struct umf_loop *l)
{
    struct umf_fence *fence = new_fence(m, 0);
    struct shared s = new_shared(m);
    struct umf_watch *watch = export_point(l, fence, 1, &s, 1);
    OK(umf_syncobj_signal(s.umf, 2, 0));
    syncobj_timeline_signal(compositor, s.handle, 7);
    EXPECT(-EINVAL, umf_syncobj_signal(s.umf, 6, 0));
    OK(umf_watch_cancel(watch));
    umf_watch_unref(watch);
    CHECK(last_point(&s) == 7);
    OK(umf_syncobj_signal(s.umf, 8, 0));
    CHECK(last_point(&s) == 8);
    end_shared(&s);
    umf_fence_unref(fence);
}

/* The caller ends its handle while a point waits for its turn. */
static void
the_handle_may_go(const struct machine *m, struct umf_loop *l)
{
    struct umf_fence *fence = new_fence(m, 0);
    struct shared s = new_shared(m);
    OK(umf_loop_export_syncobj(l, fence, 1, s.umf, 1, 0, NULL, NULL));
    OK(umf_syncobj_signal(s.umf, 2, 0));
    umf_syncobj_unref(s.umf);
    OK(umf_fence_signal(fence, 1));
    UNTIL(l, syncobj_query(compositor, s.handle, LAST_SUBMITTED) == 2);
    settle(l, m->page);
    syncobj_destroy(compositor, s.handle);
    umf_fence_unref(fence);
}

/* Points are given up while two loops add others. One that is requested after a higher one may be
 * refused. None goes back. */
static void *
watch_the_timeline(void *data)
{
    const struct shared *s = data;
    uint64_t last = 0, point;
    while ((point = syncobj_query(s->compositor, s->handle, LAST_SUBMITTED)) < UINT64_MAX) {
        CHECK(point >= last);
        last = point;
    }
    return NULL;
}

static void
exports_and_given_up_points_race(const struct machine *m)
{
    struct umf_loop *l = create_loop(UMF_LOOP_THREAD), *other = create_loop(UMF_LOOP_THREAD);
    struct umf_fence *fence = new_fence(m, 1);
    struct shared s = new_shared(m);
    const uint64_t rounds = 1000;
    unsigned late = 0;
    pthread_t observer;
    CHECK(pthread_create(&observer, NULL, watch_the_timeline, &s) == 0);
    for (uint64_t point = 4; point <= 4 * rounds; point += 4) {
        struct umf_watch *low = NULL, *high = NULL;
        bool in_order = point % 8 == 0;
        if (!in_order)
            high = export_point(l, fence, 1, &s, point);
        int result = umf_loop_export_syncobj(other, fence, 1, s.umf, point - 2, 0, NULL, &low);
        int given_up = umf_syncobj_signal(s.umf, point - 1, 0);
        if (in_order)
            high = export_point(l, fence, 1, &s, point);
        if (low)
            result = outcome_of(other, low);
        CHECK(result == 0 || (result == -EINVAL && !in_order));
        CHECK(given_up == 0 || (given_up == -EINVAL && !in_order));
        late += (result != 0) + (given_up != 0);
        OK(outcome_of(l, high));
        CHECK(last_point(&s) == point);
    }
    printf("    %u of %" PRIu64 " too late\n", late, 2 * rounds);
    OK(umf_syncobj_signal(s.umf, UINT64_MAX, 0));
    CHECK(pthread_join(observer, NULL) == 0);
    end_shared(&s);
    umf_fence_unref(fence);
    umf_loop_unref(l);
    umf_loop_unref(other);
}

int
main(void)
{
    struct machine m = open_machine();
    watchdog(55);

    RUN(a_device_without_syncobjs_makes_none, &m);
    if (!m.syncobj) {
        printf("    (this kernel has no syncobjs, so nothing else can be tried)\n");
        return 0;
    }
    compositor = open_drm("virtio_gpu", "renderD");
    CHECK(compositor >= 0);
    struct leftovers before = leftovers(&m);
    RUN(bad_arguments_are_refused, &m);
    RUN(a_point_is_signaled_at_once, &m);
    RUN(exports_and_given_up_points_race, &m);
    RUN(an_export_that_is_over_delays_nothing, &m);
    for (int has_thread = 0; has_thread < 2; has_thread++) {
        struct umf_loop *l = create_loop(has_thread ? UMF_LOOP_THREAD : 0),
                        *mixed = create_loop(has_thread ? 0 : UMF_LOOP_THREAD);
        printf(has_thread ? "  with a thread:\n" : "  dispatched:\n");
        RUN(a_compositor_gets_points_early, &m, l);
        RUN(a_made_syncobj_has_an_order_of_its_own, &m, l);
        RUN(the_child_of_a_fork_gets_nothing, &m, l);
        RUN(lost_points_are_given_up, &m, l);
        RUN(a_given_up_point_waits_for_lower_ones, &m, l, l);
        RUN(a_given_up_point_waits_for_lower_ones, &m, l, mixed);
        RUN(a_failure_stops_at_a_given_up_point, &m, l, l);
        RUN(a_failure_stops_at_a_given_up_point, &m, l, mixed);
        RUN(attachments_and_given_up_points_share_an_order, &m, l, l);
        RUN(attachments_and_given_up_points_share_an_order, &m, l, mixed);
        RUN(canceled_exports_let_it_come, &m, l, false);
        RUN(canceled_exports_let_it_come, &m, l, true);
        RUN(others_pass_it_meanwhile, &m, l);
        RUN(the_handle_may_go, &m, l);
        umf_loop_unref(l);
        umf_loop_unref(mixed);
    }
    check_leftovers(&m, before);
    return 0;
}
