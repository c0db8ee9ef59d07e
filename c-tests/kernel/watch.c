// SPDX-License-Identifier: MIT
/*
 * Points of a syncobj that are made when fences are reached, without a blocked thread; and
 * umf_syncobj.
 */
#include "drm_machine.h"
#include "process.h"
#include "sleeper.h"
#include "syncobj.h"
#include "vgem.h"
#include "watch.h"

#include <sys/eventfd.h>

#define LAST_SUBMITTED DRM_SYNCOBJ_QUERY_FLAGS_LAST_SUBMITTED

/* A timeline, as the kernel and as the library know it. */
struct timeline {
    uint32_t handle;
    struct umf_syncobj *umf;
};

static struct timeline
new_timeline(const struct machine *m)
{
    struct timeline t = { .handle = syncobj_create(m->gpu, 0) };
    OK(umf_syncobj_open(m->device, t.handle, 0, &t.umf));
    return t;
}

static void
end_timeline(const struct machine *m, struct timeline *t)
{
    umf_syncobj_unref(t->umf);
    syncobj_destroy(m->gpu, t->handle);
}

static uint64_t
last_point(const struct machine *m, const struct timeline *t)
{
    uint64_t submitted = syncobj_query(m->gpu, t->handle, LAST_SUBMITTED);
    CHECK(syncobj_query(m->gpu, t->handle, 0) >= submitted); /* the earlier points have signaled */
    return submitted;
}

static struct umf_watch *
export_point(struct umf_loop *l, struct umf_fence *fence, uint64_t value, struct timeline *t,
             uint64_t point)
{
    struct umf_watch *watch;
    OK(umf_loop_export_syncobj(l, fence, value, t->umf, point, 0, NULL, &watch));
    return watch;
}

static int
refusal(struct umf_loop *l, struct umf_fence *fence, uint64_t value, struct timeline *t,
        uint64_t point)
{
    struct umf_watch *watch = NULL;
    struct told told = { 0 };
    struct umf_callback callback = callback_to(&told);
    int result = umf_loop_export_syncobj(l, fence, value, t->umf, point, 0, &callback, &watch);
    /* A call that fails leaves the data to the caller. */
    CHECK(result < 0 && !watch && told.calls == 0 && told.releases == 0);
    return result;
}

/* umf_syncobj */

static void
without_syncobjs_none_is_opened(const struct machine *m)
{
    struct umf_device *vgem;
    struct umf_syncobj *syncobj = NULL;
    OK(umf_device_create(m->vgem, 0, &vgem));
    for (uint32_t handle = 0; handle < 2; handle++)
        EXPECT(-EOPNOTSUPP, umf_syncobj_open(vgem, handle, 0, &syncobj));
    if (!m->syncobj)
        EXPECT(-EOPNOTSUPP, umf_syncobj_open(m->device, 1, 0, &syncobj));
    CHECK(!syncobj);
    umf_device_unref(vgem);
}

static void
only_what_exists_is_opened(const struct machine *m)
{
    struct umf_syncobj *syncobj = NULL;
    uint32_t gone = syncobj_create(m->gpu, 0), handle = syncobj_create(m->gpu, 0);
    syncobj_destroy(m->gpu, gone);
    struct leftovers before = leftovers(m);
    EXPECT(-ENOENT, umf_syncobj_open(m->device, gone, 0, &syncobj));
    EXPECT(-ENOENT, umf_syncobj_open(m->device, 0, 0, &syncobj));
    EXPECT(-ENOENT, umf_syncobj_open(m->device, UINT32_MAX, 0, &syncobj));
    EXPECT(-EINVAL, umf_syncobj_open(NULL, handle, 0, &syncobj));
    EXPECT(-EINVAL, umf_syncobj_open(m->device, handle, 1, &syncobj));
    EXPECT(-EINVAL, umf_syncobj_open(m->device, handle, 0, NULL));
    CHECK(!syncobj);
    check_leftovers(m, before);

    OK(umf_syncobj_open(m->device, handle, 0, &syncobj));
    CHECK(umf_syncobj_ref(syncobj) == syncobj);
    umf_syncobj_unref(syncobj);
    struct leftovers held = leftovers(m);
    EXPECT(before.fds, held.fds);
    CHECK(held.next_handle > before.next_handle);
    umf_syncobj_unref(syncobj);
    check_leftovers(m, before);
    CHECK(umf_syncobj_ref(NULL) == NULL);
    umf_syncobj_unref(NULL);
    syncobj_destroy(m->gpu, handle);
}

/* The caller destroys its handle, and the number goes to another syncobj. */
static void
the_callers_handle_may_go(const struct machine *m, struct umf_loop *l, uint64_t point)
{
    struct umf_fence *fence = new_fence(m, 0), *imported = new_fence(m, 0);
    struct timeline t = new_timeline(m);
    struct umf_watch *importing;
    int syncobj_fd = syncobj_to_fd(m->gpu, t.handle);
    struct umf_watch *exporting = export_point(l, fence, 1, &t, point);
    OK(umf_loop_import_syncobj(l, imported, 1, t.umf, point, 0, NULL, &importing));
    syncobj_destroy(m->gpu, t.handle);
    uint32_t other = syncobj_create(m->gpu, 0);
    CHECK(other == t.handle);
    OK(umf_fence_signal(fence, 1));
    OK(outcome_of(l, exporting));
    OK(outcome_of(l, importing));
    CHECK(umf_fence_value(imported) == 1);
    check_not_materialized(m->gpu, other, point);
    uint32_t same = syncobj_from_fd(m->gpu, syncobj_fd);
    check_signaled(m->gpu, same, point);
    close(syncobj_fd);
    syncobj_destroy(m->gpu, same);
    syncobj_destroy(m->gpu, other);
    umf_syncobj_unref(t.umf);
    umf_fence_unref(fence);
    umf_fence_unref(imported);
}

/* The child of a fork has the same open file of the device, and so the same handles. */
static void
the_child_of_a_fork_leaves_the_handle_alone(const struct machine *m, struct umf_loop *l)
{
    struct umf_fence *fence = new_fence(m, 0), *imported = new_fence(m, 0);
    struct timeline t = new_timeline(m);
    struct umf_watch *importing, *watch;
    pid_t child;
    /* Gives the umf_syncobj every resource that it can have. */
    OK(umf_loop_import_syncobj(l, imported, 1, t.umf, 1, 0, NULL, &importing));
    struct leftovers before = leftovers(m);
    IN_CHILD(child, {
        EXPECT(-ESTALE, umf_loop_export_syncobj(l, fence, 1, t.umf, 1, 0, NULL, &watch));
        EXPECT(-ESTALE, umf_loop_import_syncobj(l, fence, 1, t.umf, 1, 0, NULL, &watch));
        EXPECT(-ESTALE, umf_watch_cancel(importing));
        umf_watch_unref(importing);
        umf_syncobj_unref(t.umf);
        umf_loop_unref(l);
    });
    join_child(child);
    IN_CHILD(child, {
        /* A syncobj whose only reference is the inherited one. */
        umf_syncobj_unref(t.umf);
        raise(SIGKILL);
    });
    CHECK(waitpid(child, NULL, 0) == child);
    check_leftovers(m, before);
    watch = export_point(l, fence, 1, &t, 1);
    OK(umf_fence_signal(fence, 1));
    OK(outcome_of(l, watch));
    check_signaled(m->gpu, t.handle, 1);
    OK(outcome_of(l, importing));
    end_timeline(m, &t);
    umf_fence_unref(fence);
    umf_fence_unref(imported);
}

static void
the_child_of_a_fork_may_have_the_last_reference(const struct machine *m)
{
    struct timeline t = new_timeline(m);
    struct leftovers before = leftovers(m);
    pid_t child;
    IN_CHILD(child, umf_syncobj_unref(t.umf));
    join_child(child);
    check_leftovers(m, before);
    end_timeline(m, &t);
}

/* Exports */

static void
a_point_comes_when_the_fence_is_reached(const struct machine *m, struct umf_loop *l, uint64_t point)
{
    struct umf_fence *fence = new_fence(m, 0);
    struct timeline t = new_timeline(m);
    struct told told = { 0 };
    struct umf_callback callback = callback_to(&told);
    struct umf_watch *watch;
    /* A compositor with its own open file was given the point before it existed. */
    int compositor = open_drm("virtio_gpu", "renderD"), fd = syncobj_to_fd(m->gpu, t.handle);
    struct syncobj_eventfd arg = { .handle = syncobj_from_fd(compositor, fd), .point = point,
                                   .fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) };
    uint64_t count;
    close(fd);
    OK(syncobj_ioctl(compositor, SYNCOBJ_EVENTFD, &arg));

    OK(umf_loop_export_syncobj(l, fence, 2, t.umf, point, 0, &callback, &watch));
    check_not_materialized(m->gpu, t.handle, point);
    OK(umf_fence_submit(fence, 2)); /* a pending value */
    OK(umf_fence_signal(fence, 1));
    settle(l, m->page);
    check_not_materialized(m->gpu, t.handle, point);
    CHECK(!is_ready(arg.fd, POLLIN) && umf_watch_result(watch) == -ETIME && told.calls == 0);

    OK(umf_fence_signal(fence, 2));
    OK(outcome_of(l, watch));
    check_signaled(m->gpu, t.handle, point);
    check_signaled(compositor, arg.handle, point);
    CHECK(read(arg.fd, &count, sizeof(count)) == sizeof(count) && count == 1);
    settle(l, m->page);
    CHECK(told.calls == 1 && told.result == 0 && told.releases == 1);
    if (point)
        CHECK(last_point(m, &t) == point);
    close(arg.fd);
    close(compositor);
    end_timeline(m, &t);
    umf_fence_unref(fence);
}

static void
a_reached_fence_needs_no_wait(const struct machine *m, struct umf_loop *l)
{
    static const uint64_t points[] = { 1, 2, 9, UINT64_C(1) << 32, UINT64_MAX - 1, UINT64_MAX };
    struct umf_fence *fence = new_fence(m, 5);
    struct timeline t = new_timeline(m);
    for (size_t i = 0; i < ARRAY_SIZE(points); i++) {
        OK(outcome_of(l, export_point(l, fence, 5 - i % 2, &t, points[i])));
        check_signaled(m->gpu, t.handle, points[i]);
        CHECK(last_point(m, &t) == points[i]);
    }
    end_timeline(m, &t);
    umf_fence_unref(fence);
}

/* The thread that sees the point spins, so that it asks for the result as early as it can. */
static void
a_point_that_is_seen_has_a_result(const struct machine *m)
{
    struct umf_loop *l = create_loop(UMF_LOOP_THREAD);
    struct umf_fence *fence = new_fence(m, 0);
    struct timeline t = new_timeline(m);
    for (uint64_t i = 1; i <= 500; i++) {
        struct umf_watch *watch = export_point(l, fence, i, &t, i);
        OK(umf_fence_signal(fence, i));
        while (syncobj_query(m->gpu, t.handle, 0) < i)
            sched_yield();
        OK(umf_watch_result(watch));
        EXPECT(-EALREADY, umf_watch_cancel(watch));
        umf_watch_unref(watch);
    }
    end_timeline(m, &t);
    umf_fence_unref(fence);
    umf_loop_unref(l);
}

/* Many points of one timeline, each of its own fence, are reached in any order and requested in
 * any order, on one loop or two. They are made in their order. */
#define POINTS 40

static void
points_come_in_order(const struct machine *m, struct umf_loop *l, struct umf_loop *other,
                     unsigned seed)
{
    struct timeline t = new_timeline(m);
    struct umf_fence *fences[POINTS];
    struct umf_watch *watches[POINTS];
    unsigned order[POINTS]; /* in reverse, or in a random order */
    bool reached[POINTS] = { false };
    for (unsigned i = 0; i < POINTS; i++)
        order[i] = POINTS - 1 - i;
    for (unsigned i = POINTS - 1; seed && i > 0; i--) {
        unsigned j = (unsigned)rand_r(&seed) % (i + 1), swapped = order[i];
        order[i] = order[j];
        order[j] = swapped;
    }
    for (unsigned i = 0; i < POINTS; i++) {
        unsigned n = order[POINTS - 1 - i];
        fences[n] = new_fence(m, 0);
        watches[n] = export_point(n % 2 ? other : l, fences[n], 1, &t, 10 * (n + 1));
    }
    for (unsigned i = 0, next = 0; i < POINTS; i++) {
        OK(umf_fence_signal(fences[order[i]], 1));
        reached[order[i]] = true;
        while (next < POINTS && reached[next])
            next++;
        /* All points that can exist do, and no others, whichever loop had to make them. */
        while (last_point(m, &t) < 10 * next) {
            if (loop_has_thread(l) && loop_has_thread(other)) {
                turn_loop(l);
                continue;
            }
            settle(l, m->page);
            settle(other, m->page);
        }
        if (i % 8 == 0) {
            settle(l, m->page);
            settle(other, m->page);
        }
        CHECK(last_point(m, &t) == 10 * next);
    }
    for (unsigned i = 0; i < POINTS; i++) {
        OK(outcome_of(i % 2 ? other : l, watches[i]));
        umf_fence_unref(fences[i]);
    }
    end_timeline(m, &t);
}

static void
a_point_that_would_go_back_is_refused(const struct machine *m, struct umf_loop *l)
{
    struct umf_fence *fence = new_fence(m, 0);
    struct timeline t = new_timeline(m);
    syncobj_timeline_signal(m->gpu, t.handle, 4);
    uint32_t kernel_fence;
    int pending = vgem_sync_file(m->vgem, &kernel_fence);
    syncobj_submit(m->gpu, t.handle, 10, pending);
    for (uint64_t point = 1; point <= 10; point++) {
        EXPECT(-EINVAL, refusal(l, fence, 1, &t, point)); /* of a fence that is not reached */
        EXPECT(-EINVAL, refusal(l, fence, 0, &t, point)); /* of one that is */
    }
    CHECK(syncobj_query(m->gpu, t.handle, LAST_SUBMITTED) == 10);
    vgem_signal(m->vgem, kernel_fence);
    CHECK(last_point(m, &t) == 10);
    close(pending);
    end_timeline(m, &t);
    umf_fence_unref(fence);
}

static void
bad_arguments_are_refused(const struct machine *m, struct umf_loop *l)
{
    struct umf_fence *fence = new_fence(m, 0);
    struct timeline t = new_timeline(m);
    struct umf_callback nobody = { 0 };
    struct leftovers before = leftovers(m);
    EXPECT(-EINVAL, umf_loop_export_syncobj(NULL, fence, 1, t.umf, 1, 0, NULL, NULL));
    EXPECT(-EINVAL, umf_loop_export_syncobj(l, NULL, 1, t.umf, 1, 0, NULL, NULL));
    EXPECT(-EINVAL, umf_loop_export_syncobj(l, fence, 1, NULL, 1, 0, NULL, NULL));
    EXPECT(-EINVAL, umf_loop_export_syncobj(l, fence, 1, t.umf, 1, 1, NULL, NULL));
    EXPECT(-EINVAL, umf_loop_export_syncobj(l, fence, 1, t.umf, 1, 0, &nobody, NULL));
    EXPECT(-EINVAL, umf_loop_import_syncobj(NULL, fence, 1, t.umf, 1, 0, NULL, NULL));
    EXPECT(-EINVAL, umf_loop_import_syncobj(l, NULL, 1, t.umf, 1, 0, NULL, NULL));
    EXPECT(-EINVAL, umf_loop_import_syncobj(l, fence, 1, NULL, 1, 0, NULL, NULL));
    EXPECT(-EINVAL, umf_loop_import_syncobj(l, fence, 1, t.umf, 1, 1, NULL, NULL));
    EXPECT(-EINVAL, umf_loop_import_syncobj(l, fence, 1, t.umf, 1, 0, &nobody, NULL));
    check_leftovers(m, before);
    end_timeline(m, &t);
    umf_fence_unref(fence);
}

/* A refused request does not take the place of the earlier one. */
static void
a_point_is_requested_once(const struct machine *m, struct umf_loop *l)
{
    struct umf_fence *fences[2] = { new_fence(m, 0), new_fence(m, 0) };
    struct timeline t = new_timeline(m);
    struct umf_watch *first = export_point(l, fences[0], 1, &t, 5);
    EXPECT(-EINVAL, refusal(l, fences[1], 1, &t, 5));
    struct umf_watch *second = export_point(l, fences[1], 1, &t, 6);
    EXPECT(-EINVAL, refusal(l, fences[0], 1, &t, 6));
    OK(umf_fence_signal(fences[1], 1));
    settle(l, m->page);
    CHECK(last_point(m, &t) == 0);
    OK(umf_fence_signal(fences[0], 1));
    OK(outcome_of(l, first));
    OK(outcome_of(l, second));
    CHECK(last_point(m, &t) == 6);
    /* A canceled point can be requested again. */
    first = export_point(l, fences[0], 2, &t, 7);
    OK(umf_watch_cancel(first));
    umf_watch_unref(first);
    OK(outcome_of(l, export_point(l, fences[0], 1, &t, 7)));
    CHECK(last_point(m, &t) == 7);
    end_timeline(m, &t);
    umf_fence_unref(fences[0]);
    umf_fence_unref(fences[1]);
}

/* Handles that were opened for the same handle of the kernel, also after points were signaled. */
static void
two_handles_share_one_order(const struct machine *m, struct umf_loop *l, struct umf_loop *other)
{
    struct umf_fence *fences[2] = { new_fence(m, 0), new_fence(m, 0) };
    struct timeline one = new_timeline(m), two = { .handle = one.handle };
    OK(umf_syncobj_open(m->device, one.handle, 0, &two.umf));
    for (uint64_t value = 1; value <= 2; value++) {
        uint64_t point = 10 * value;
        struct umf_watch *first = export_point(l, fences[0], value, &one, point);
        struct umf_watch *second = export_point(other, fences[1], value, &two, point + 1);
        EXPECT(-EINVAL, refusal(l, fences[1], value, &two, point));
        OK(umf_fence_signal(fences[1], value));
        settle(other, m->page);
        settle(l, m->page);
        /* The frame of the first point is pending. */
        CHECK(last_point(m, &one) < point);
        OK(umf_fence_signal(fences[0], value));
        OK(outcome_of(l, first));
        OK(outcome_of(other, second));
        CHECK(last_point(m, &one) == point + 1);
        umf_syncobj_unref(two.umf);
        OK(umf_syncobj_open(m->device, one.handle, 0, &two.umf));
    }
    /* The later point fails with the earlier one. */
    struct umf_watch *first = export_point(l, fences[0], 3, &one, 30);
    struct umf_watch *second = export_point(other, fences[1], 3, &two, 31);
    OK(umf_fence_set_error(fences[0], -EIO));
    EXPECT(-EIO, outcome_of(l, first));
    EXPECT(-EIO, outcome_of(other, second));
    CHECK(last_point(m, &one) == 21);
    umf_syncobj_unref(two.umf);
    end_timeline(m, &one);
    umf_fence_unref(fences[0]);
    umf_fence_unref(fences[1]);
}

/* The kernel gives the number of a destroyed handle to the next syncobj. */
static void
a_handle_that_names_another_timeline_has_another_order(const struct machine *m, struct umf_loop *l)
{
    struct umf_fence *never = new_fence(m, 0), *fence = new_fence(m, 1);
    struct timeline gone = new_timeline(m);
    OK(outcome_of(l, export_point(l, fence, 1, &gone, 3)));
    struct umf_watch *pending = export_point(l, never, 1, &gone, 4);
    syncobj_destroy(m->gpu, gone.handle);
    struct timeline next = new_timeline(m);
    CHECK(next.handle == gone.handle);
    OK(outcome_of(l, export_point(l, fence, 1, &next, 4)));
    CHECK(last_point(m, &next) == 4);
    OK(umf_watch_cancel(pending));
    umf_watch_unref(pending);
    umf_syncobj_unref(gone.umf);
    end_timeline(m, &next);
    umf_fence_unref(never);
    umf_fence_unref(fence);
}

static void
others_pass_a_point_meanwhile(const struct machine *m, struct umf_loop *l, uint64_t passed)
{
    struct umf_fence *fence = new_fence(m, 0);
    struct timeline t = new_timeline(m);
    struct umf_watch *watch = export_point(l, fence, 1, &t, 5);
    struct umf_watch *behind = export_point(l, fence, 2, &t, 6);
    struct umf_watch *far_behind = export_point(l, fence, 2, &t, 20);
    syncobj_timeline_signal(m->gpu, t.handle, passed);
    OK(umf_fence_signal(fence, 1));
    EXPECT(-EINVAL, outcome_of(l, watch));
    EXPECT(-EINVAL, outcome_of(l, behind));
    EXPECT(-EINVAL, outcome_of(l, far_behind));
    CHECK(last_point(m, &t) == passed);
    OK(outcome_of(l, export_point(l, fence, 1, &t, passed + 1)));
    CHECK(last_point(m, &t) == passed + 1);
    end_timeline(m, &t);
    umf_fence_unref(fence);
}

/* One of the fences fails: its point, and later points that were requested before, are never
 * made. Earlier ones are, and so are those that are requested afterwards. */
static void
a_fence_fails(const struct machine *m, struct umf_loop *l, struct umf_loop *other, int error)
{
    const int answer = error == EOWNERDEAD ? -EOWNERDEAD : -EIO;
    struct umf_fence *fences[5];
    struct umf_watch *watches[5];
    struct timeline t = new_timeline(m);
    for (unsigned i = 0; i < 5; i++) {
        fences[i] = new_fence(m, 0);
        watches[i] = export_point(i % 2 ? other : l, fences[i], 1, &t, i + 1);
    }
    OK(umf_fence_signal(fences[3], 1)); /* reached; the point waits for its turn */
    settle(other, m->page);
    OK(umf_fence_set_error(fences[2], -error));
    for (unsigned i = 2; i < 5; i++)
        EXPECT(answer, outcome_of(i % 2 ? other : l, watches[i]));
    CHECK(last_point(m, &t) == 0);
    CHECK(error_of(fences[3]) == 0 && error_of(fences[4]) == 0);
    /* Requested anew; the number may be one that was never made. */
    struct umf_watch *again = export_point(other, fences[3], 1, &t, 4);
    settle(other, m->page);
    CHECK(last_point(m, &t) == 0);
    OK(umf_fence_signal(fences[1], 1));
    OK(umf_fence_signal(fences[0], 1));
    OK(outcome_of(l, watches[0]));
    OK(outcome_of(other, watches[1]));
    OK(outcome_of(other, again));
    CHECK(last_point(m, &t) == 4);
    for (unsigned i = 0; i < 5; i++)
        umf_fence_unref(fences[i]);
    end_timeline(m, &t);
}

/* A callback that learns of the failure requests a point at once, before the loop has come to
 * those that fail with it. */
struct afresh {
    struct umf_loop *l;
    struct timeline *t;
    struct umf_fence *fence;
    struct umf_watch *watch;
};

static void
ask_again(void *data, int result)
{
    struct afresh *a = data;
    EXPECT(-EIO, result);
    OK(umf_loop_export_syncobj(a->l, a->fence, 1, a->t->umf, 9, 0, NULL, &a->watch));
}

static void
a_point_that_is_asked_for_at_the_failure_is_spared(const struct machine *m, struct umf_loop *l)
{
    struct umf_fence *fences[3] = { new_fence(m, 0), new_fence(m, 0), new_fence(m, 0) };
    struct timeline t = new_timeline(m);
    struct afresh afresh = { .l = l, .t = &t, .fence = fences[2] };
    struct umf_callback callback = { .call = ask_again, .data = &afresh };
    struct umf_watch *first;
    OK(umf_loop_export_syncobj(l, fences[0], 1, t.umf, 1, 0, &callback, &first));
    struct umf_watch *second = export_point(l, fences[1], 1, &t, 2);
    OK(umf_fence_set_error(fences[0], -ENODEV));
    EXPECT(-EIO, outcome_of(l, first));
    EXPECT(-EIO, outcome_of(l, second));
    settle(l, m->page);
    EXPECT(-ETIME, umf_watch_result(afresh.watch));
    OK(umf_fence_signal(fences[2], 1));
    OK(outcome_of(l, afresh.watch));
    CHECK(last_point(m, &t) == 9);
    for (int i = 0; i < 3; i++)
        umf_fence_unref(fences[i]);
    end_timeline(m, &t);
}

/* Cancels a point in the middle whose fence is not reached, and a point whose fence was reached
 * early. */
static void
canceled_points_do_not_hold_up_others(const struct machine *m, struct umf_loop *l)
{
    struct umf_fence *fences[5];
    struct umf_watch *watches[5];
    struct told told[5] = { 0 };
    struct timeline t = new_timeline(m);
    for (unsigned i = 0; i < 5; i++) {
        struct umf_callback callback = callback_to(&told[i]);
        fences[i] = new_fence(m, 0);
        OK(umf_loop_export_syncobj(l, fences[i], 1, t.umf, i + 1, 0, &callback, &watches[i]));
    }
    OK(umf_fence_signal(fences[2], 1));
    OK(umf_fence_signal(fences[3], 1));
    OK(umf_fence_signal(fences[4], 1));
    settle(l, m->page);
    OK(umf_watch_cancel(watches[3])); /* reached early */
    OK(umf_watch_cancel(watches[3]));
    EXPECT(-ECANCELED, umf_watch_result(watches[3]));
    CHECK(told[3].releases == 1 && told[3].calls == 0);
    settle(l, m->page);
    CHECK(last_point(m, &t) == 0);
    OK(umf_watch_cancel(watches[1])); /* not reached */
    settle(l, m->page);
    CHECK(last_point(m, &t) == 0);
    OK(umf_watch_cancel(watches[0]));
    while (umf_watch_result(watches[4]) == -ETIME)
        turn_loop(l);
    OK(umf_watch_result(watches[2]));
    OK(umf_watch_result(watches[4]));
    CHECK(last_point(m, &t) == 5);
    EXPECT(-EALREADY, umf_watch_cancel(watches[4]));
    settle(l, m->page);
    for (unsigned i = 0; i < 5; i++) {
        CHECK(told[i].releases == 1 && told[i].calls == (i == 2 || i == 4));
        umf_watch_unref(watches[i]);
        umf_fence_unref(fences[i]);
    }
    end_timeline(m, &t);
}

/* A loop ends with points whose fences are not reached and one that was reached early: all are
 * canceled, and later points of another loop are made. */
static void
a_loop_ends_before_its_points_come(const struct machine *m, struct umf_loop *l, bool has_thread)
{
    struct umf_loop *ends = create_loop(has_thread ? UMF_LOOP_THREAD : 0);
    struct umf_fence *fences[5];
    struct umf_watch *watches[5];
    struct told told[5] = { 0 };
    struct timeline t = new_timeline(m);
    for (unsigned i = 0; i < 5; i++) {
        struct umf_callback callback = callback_to(&told[i]);
        fences[i] = new_fence(m, 0);
        OK(umf_loop_export_syncobj(i == 0 || i == 4 ? l : ends, fences[i], 1, t.umf, i + 1,
                                   0, &callback, &watches[i]));
    }
    OK(umf_fence_signal(fences[2], 1));
    OK(umf_fence_signal(fences[4], 1));
    settle(ends, m->page);
    settle(l, m->page);
    CHECK(last_point(m, &t) == 0);
    OK(umf_fence_signal(fences[3], 1));
    umf_loop_unref(ends);
    for (unsigned i = 1; i < 4; i++) {
        EXPECT(-ECANCELED, umf_watch_result(watches[i]));
        CHECK(told[i].calls == 0 && told[i].releases == 1);
        umf_watch_unref(watches[i]);
    }
    OK(umf_fence_signal(fences[1], 1));
    OK(umf_fence_signal(fences[0], 1));
    OK(outcome_of(l, watches[0]));
    OK(outcome_of(l, watches[4]));
    CHECK(last_point(m, &t) == 5);
    settle(l, m->page); /* a result is there before the callback was called */
    for (unsigned i = 0; i < 5; i += 4)
        CHECK(told[i].calls == 1 && told[i].releases == 1);
    for (unsigned i = 0; i < 5; i++)
        umf_fence_unref(fences[i]);
    end_timeline(m, &t);
}

/* The same, when the loop is ended by one of its own callbacks. */
static void
end_loop(void *data, int result)
{
    struct umf_loop *l = data;
    OK(result);
    umf_loop_unref(l);
}

static void
a_loop_is_ended_by_its_callback(const struct machine *m, struct umf_loop *l)
{
    const int fds = open_fds();
    struct umf_loop *ends = create_loop(UMF_LOOP_THREAD);
    struct umf_fence *fences[3] = { new_fence(m, 0), new_fence(m, 0), new_fence(m, 0) };
    struct timeline t = new_timeline(m), ended = new_timeline(m);
    struct umf_callback callback = { .call = end_loop, .data = ends };
    struct told told[2] = { 0 };
    struct umf_callback tell[2] = { callback_to(&told[0]), callback_to(&told[1]) };
    struct umf_watch *early, *late, *last;
    struct umf_watch *first = export_point(l, fences[0], 1, &t, 1);
    OK(umf_loop_export_syncobj(ends, fences[1], 1, t.umf, 2, 0, &tell[0], &early));
    OK(umf_loop_export_syncobj(ends, fences[0], 2, t.umf, 3, 0, &tell[1], &late));
    last = export_point(l, fences[1], 1, &t, 4);
    OK(umf_loop_export_syncobj(ends, fences[2], 1, ended.umf, 1, 0, &callback, NULL));
    OK(umf_fence_signal(fences[1], 1));
    settle(ends, m->page);
    OK(umf_fence_signal(fences[2], 1));
    /* The loop is gone and cannot be turned. */
    while (told[0].releases + told[1].releases < 2)
        sched_yield();
    EXPECT(-ECANCELED, umf_watch_result(early));
    EXPECT(-ECANCELED, umf_watch_result(late));
    CHECK(told[0].calls + told[1].calls == 0);
    umf_watch_unref(early);
    umf_watch_unref(late);
    OK(umf_fence_signal(fences[0], 1));
    OK(outcome_of(l, first));
    OK(outcome_of(l, last));
    CHECK(last_point(m, &t) == 4);
    for (int i = 0; i < 3; i++)
        umf_fence_unref(fences[i]);
    end_timeline(m, &t);
    end_timeline(m, &ended);
    while (open_fds() > fds) /* its threads end when the callback has returned */
        sched_yield();
}

/* Two loops are about to make one point each; the lower was requested last. It may be refused,
 * but it is never made second. */
static void
two_loops_race(const struct machine *m)
{
    struct umf_loop *l = create_loop(UMF_LOOP_THREAD), *other = create_loop(UMF_LOOP_THREAD);
    struct umf_fence *fence = new_fence(m, 1);
    struct timeline t = new_timeline(m);
    unsigned late = 0;
    const uint64_t rounds = 3000;
    for (uint64_t point = 2; point <= 2 * rounds; point += 2) {
        struct umf_watch *low = NULL, *high = export_point(l, fence, 1, &t, point);
        int result = umf_loop_export_syncobj(other, fence, 1, t.umf, point - 1, 0, NULL, &low);
        CHECK(result == 0 || result == -EINVAL);
        if (low)
            result = outcome_of(other, low);
        CHECK(result == 0 || result == -EINVAL);
        late += result != 0;
        OK(outcome_of(l, high));
        CHECK(last_point(m, &t) == point);
        OK(syncobj_wait(m->gpu, t.handle, point, 0, 0));
    }
    printf("    %u of %" PRIu64 " too late\n", late, rounds);
    end_timeline(m, &t);
    umf_fence_unref(fence);
    umf_loop_unref(l);
    umf_loop_unref(other);
}

/* The syncobj works without its handles. */
static void
all_handles_may_go(const struct machine *m, struct umf_loop *l)
{
    struct leftovers before = leftovers(m);
    struct umf_fence *fence = new_fence(m, 0), *again;
    struct timeline t = new_timeline(m);
    int syncobj_fd = syncobj_to_fd(m->gpu, t.handle);
    uint32_t index = umf_fence_index(fence);
    OK(umf_loop_export_syncobj(l, fence, 1, t.umf, 3, 0, NULL, NULL));
    end_timeline(m, &t);
    OK(umf_fence_open(m->page, index, 0, &again));
    umf_fence_unref(again);
    OK(umf_fence_signal(fence, 1));
    uint32_t same = syncobj_from_fd(m->gpu, syncobj_fd);
    while (syncobj_query(m->gpu, same, 0) < 3)
        turn_loop(l);
    settle(l, m->page);
    syncobj_destroy(m->gpu, same);
    close(syncobj_fd);
    umf_fence_unref(fence);
    check_leftovers(m, before);
}

int
main(void)
{
    struct machine m = open_machine();
    watchdog(55);

    RUN(without_syncobjs_none_is_opened, &m);
    if (!m.syncobj) {
        printf("    (this kernel has no syncobjs, so nothing else can be tried)\n");
        return 0;
    }
    RUN(only_what_exists_is_opened, &m);
    RUN(the_child_of_a_fork_may_have_the_last_reference, &m);
    struct leftovers before = leftovers(&m);
    RUN(two_loops_race, &m);
    RUN(a_point_that_is_seen_has_a_result, &m);
    for (int has_thread = 0; has_thread < 2; has_thread++) {
        struct umf_loop *l = create_loop(has_thread ? UMF_LOOP_THREAD : 0),
                        *other = create_loop(has_thread ? UMF_LOOP_THREAD : 0),
                        *mixed = create_loop(has_thread ? 0 : UMF_LOOP_THREAD);
        printf(has_thread ? "  with a thread:\n" : "  dispatched:\n");
        settle(l, m.page); /* opens the loop's files */
        for (uint64_t point = 0; point <= 5; point += 5) {
            RUN(the_callers_handle_may_go, &m, l, point);
            RUN(a_point_comes_when_the_fence_is_reached, &m, l, point);
        }
        RUN(the_child_of_a_fork_leaves_the_handle_alone, &m, l);
        RUN(a_reached_fence_needs_no_wait, &m, l);
        RUN(bad_arguments_are_refused, &m, l);
        RUN(a_point_that_would_go_back_is_refused, &m, l);
        RUN(a_point_is_requested_once, &m, l);
        for (unsigned seed = 0; seed < 4; seed++) {
            RUN(points_come_in_order, &m, l, l, seed);
            RUN(points_come_in_order, &m, l, other, seed);
            RUN(points_come_in_order, &m, l, mixed, seed);
        }
        RUN(two_handles_share_one_order, &m, l, l);
        RUN(two_handles_share_one_order, &m, l, other);
        RUN(two_handles_share_one_order, &m, l, mixed);
        RUN(a_handle_that_names_another_timeline_has_another_order, &m, l);
        RUN(others_pass_a_point_meanwhile, &m, l, 5);
        RUN(others_pass_a_point_meanwhile, &m, l, 8);
        RUN(a_fence_fails, &m, l, l, ENODEV);
        RUN(a_fence_fails, &m, l, other, EOWNERDEAD);
        RUN(a_fence_fails, &m, l, mixed, ETIME);
        RUN(a_point_that_is_asked_for_at_the_failure_is_spared, &m, l);
        RUN(canceled_points_do_not_hold_up_others, &m, l);
        RUN(a_loop_ends_before_its_points_come, &m, l, false);
        RUN(a_loop_ends_before_its_points_come, &m, l, true);
        RUN(a_loop_is_ended_by_its_callback, &m, l);
        RUN(all_handles_may_go, &m, l);
        umf_loop_unref(l);
        umf_loop_unref(other);
        umf_loop_unref(mixed);
    }
    check_leftovers(&m, before);
    return 0;
}
