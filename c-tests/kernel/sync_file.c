// SPDX-License-Identifier: MIT
/* Conversions between a UMF and a sync_file. */
#include "drm_machine.h"
#include "sleeper.h"
#include "vgem.h"

#define TIMEOUTS 3

/* Deadlines: long past, a moment ago, soon. A wait that is not met must return at each, and
 * leave nothing behind. */
static uint64_t
timeout(int i)
{
    return i == 0 ? 0 : i == 1 ? now_ns() - 1 : in_ns(10 * MS);
}

static void
an_export_is_signaled_from_birth(const struct machine *m, struct umf_device *device)
{
    struct umf_fence *fence = new_fence(m, 5);
    for (uint64_t value = 4; value <= 5; value++) {
        int fd;
        OK(umf_fence_export_sync_file(fence, value, device, 0, value == 4 ? 0 : FOREVER, &fd));
        EXPECT(1, sync_file_status(fd));
        CHECK(is_ready(fd, POLLIN));
        CHECK(fcntl(fd, F_GETFD) == FD_CLOEXEC);
        close(fd);
    }
    umf_fence_unref(fence);
}

static void
an_export_waits_for_another_process(const struct machine *m, struct umf_device *device)
{
    struct umf_fence *fence = new_fence(m, 0);
    pid_t driver;
    int fd;
    IN_CHILD(driver, {
        until_blocked(getppid());
        OK(umf_fence_signal(fence, 1)); /* below the exported value */
        until_blocked(getppid());
        OK(umf_fence_signal(fence, 2));
    });
    OK(umf_fence_export_sync_file(fence, 2, device, 0, FOREVER, &fd));
    EXPECT(1, sync_file_status(fd));
    CHECK(umf_fence_value(fence) == 2);
    close(fd);
    join_child(driver);
    umf_fence_unref(fence);
}

static void
a_timeout_makes_no_sync_file(const struct machine *m, struct umf_device *device)
{
    struct umf_fence *fence = new_fence(m, 4);
    struct leftovers before = leftovers(m);
    int fd = -7;
    for (int i = 0; i < TIMEOUTS; i++) {
        uint64_t deadline = timeout(i);
        EXPECT(-ETIME, umf_fence_export_sync_file(fence, 5, device, 0, deadline, &fd));
        CHECK(now_ns() >= deadline);
    }
    CHECK(fd == -7);
    check_leftovers(m, before);
    umf_fence_unref(fence);
}

static void
an_error_makes_no_sync_file(const struct machine *m, struct umf_device *device)
{
    static const int errors[][2] = { { -ECANCELED, -EIO }, { -EOWNERDEAD, -EOWNERDEAD } };
    for (int i = 0; i < 2; i++) {
        struct umf_fence *fence = new_fence(m, 0);
        struct leftovers before = leftovers(m);
        int fd = -7;
        pid_t driver;
        IN_CHILD(driver, {
            until_blocked(getppid());
            OK(umf_fence_set_error(fence, errors[i][0]));
        });
        EXPECT(errors[i][1], umf_fence_export_sync_file(fence, 1, device, 0, FOREVER, &fd));
        EXPECT(errors[i][1], umf_fence_export_sync_file(fence, 1, device, 0, 0, &fd));
        CHECK(fd == -7);
        join_child(driver);
        check_leftovers(m, before);
        /* Values that it reached before still count. */
        OK(umf_fence_export_sync_file(fence, 0, device, 0, 0, &fd));
        EXPECT(1, sync_file_status(fd));
        close(fd);
        umf_fence_unref(fence);
    }
}

static void
a_fence_that_ends_makes_no_sync_file(const struct machine *m, struct umf_device *device)
{
    struct umf_fence *fence = new_fence(m, 0);
    pid_t waiter;
    IN_CHILD(waiter, {
        struct leftovers before = leftovers(m);
        int fd = -7;
        EXPECT(-ESTALE, umf_fence_export_sync_file(fence, 1, device, 0, FOREVER, &fd));
        CHECK(fd == -7);
        check_leftovers(m, before);
    });
    until_blocked(waiter);
    umf_fence_unref(fence);
    join_child(waiter);
}

static void
bad_exports_are_refused(const struct machine *m)
{
    struct umf_fence *fence = new_fence(m, 0);
    int fd = -7;
    EXPECT(-EINVAL, umf_fence_export_sync_file(NULL, 0, m->device, 0, 0, &fd));
    EXPECT(-EINVAL, umf_fence_export_sync_file(fence, 0, m->device, 0, 0, NULL));
    CHECK(fd == -7);
    umf_fence_unref(fence);
}

static void
minus_one_has_signaled(const struct machine *m)
{
    struct umf_fence *fence = new_fence(m, 0);
    OK(umf_fence_import_sync_file(fence, 3, -1, 0, 0));
    CHECK(umf_fence_value(fence) == 3);
    OK(umf_fence_import_sync_file(fence, 3, -1, 0, FOREVER)); /* the value that it has already */
    umf_fence_unref(fence);
}

static void
bad_imports_are_refused(const struct machine *m)
{
    struct umf_fence *fence = new_fence(m, 3);
    struct leftovers before = leftovers(m);
    uint32_t kernel_fence;
    int pending = vgem_sync_file(m->vgem, &kernel_fence), pipes[2];
    int closed = dup(pending);

    CHECK(pipe2(pipes, O_CLOEXEC) == 0);
    close(closed);
    CHECK(write(pipes[1], "", 1) == 1); /* readable, as a signaled sync_file is */
    EXPECT(-EINVAL, umf_fence_import_sync_file(NULL, 4, -1, 0, 0));
    EXPECT(-EBADF, umf_fence_import_sync_file(fence, 4, -2, 0, 0));
    EXPECT(-EBADF, umf_fence_import_sync_file(fence, 4, closed, 0, FOREVER));
    EXPECT(-EINVAL, umf_fence_import_sync_file(fence, 4, pipes[0], 0, FOREVER));
    EXPECT(-EINVAL, umf_fence_import_sync_file(fence, 4, m->gpu, 0, FOREVER));
    /* A value that the fence has passed is refused at once. */
    EXPECT(-EINVAL, umf_fence_import_sync_file(fence, 2, -1, 0, FOREVER));
    EXPECT(-EINVAL, umf_fence_import_sync_file(fence, 2, pending, 0, FOREVER));
    CHECK(sync_file_status(pending) == 0);
    CHECK(umf_fence_value(fence) == 3 && error_of(fence) == 0);
    /* So is a fence that failed. */
    OK(umf_fence_set_error(fence, -ENODEV));
    EXPECT(-EIO, umf_fence_import_sync_file(fence, 4, -1, 0, FOREVER));
    EXPECT(-EIO, umf_fence_import_sync_file(fence, 4, pending, 0, FOREVER));
    CHECK(sync_file_status(pending) == 0);
    EXPECT(-ENODEV, error_of(fence));

    vgem_signal(m->vgem, kernel_fence);
    close(pending);
    close(pipes[0]);
    close(pipes[1]);
    check_leftovers(m, before);
    umf_fence_unref(fence);
}

static void
a_signaled_sync_file_signals(const struct machine *m)
{
    struct umf_fence *fence = new_fence(m, 0);
    uint32_t kernel_fence;
    int fd = vgem_sync_file(m->vgem, &kernel_fence);
    vgem_signal(m->vgem, kernel_fence);
    OK(umf_fence_import_sync_file(fence, UINT64_MAX, fd, 0, 0));
    CHECK(umf_fence_value(fence) == UINT64_MAX);
    close(fd);
    umf_fence_unref(fence);
}

static void
a_pending_sync_file_signals_when_it_does(const struct machine *m)
{
    struct umf_fence *fence = new_fence(m, 1);
    uint32_t kernel_fence;
    int fd = vgem_sync_file(m->vgem, &kernel_fence);
    pid_t importer, waiter;

    IN_CHILD(importer, OK(umf_fence_import_sync_file(fence, 7, fd, 0, FOREVER)));
    IN_CHILD(waiter, OK(umf_fence_wait(fence, 7, FOREVER)));
    until_blocked(importer);
    until_blocked(waiter);
    EXPECT(-ETIME, umf_fence_wait(fence, 2, in_ns(20 * MS)));
    CHECK(umf_fence_value(fence) == 1 && umf_fence_pending_value(fence) == 1);
    CHECK(sync_file_status(fd) == 0);
    vgem_signal(m->vgem, kernel_fence);
    join_child(importer);
    join_child(waiter);
    CHECK(umf_fence_value(fence) == 7);
    close(fd);
    umf_fence_unref(fence);
}

static void
a_timeout_leaves_the_fence_alone(const struct machine *m)
{
    struct umf_fence *fence = new_fence(m, 1);
    uint32_t kernel_fence;
    int fd = vgem_sync_file(m->vgem, &kernel_fence);
    struct leftovers before = leftovers(m);
    for (int i = 0; i < TIMEOUTS; i++) {
        uint64_t deadline = timeout(i);
        EXPECT(-ETIME, umf_fence_import_sync_file(fence, 2, fd, 0, deadline));
        CHECK(now_ns() >= deadline);
    }
    CHECK(umf_fence_value(fence) == 1 && umf_fence_pending_value(fence) == 1);
    CHECK(error_of(fence) == 0);
    check_leftovers(m, before);
    /* Nothing else has changed: the same import succeeds later. */
    vgem_signal(m->vgem, kernel_fence);
    OK(umf_fence_import_sync_file(fence, 2, fd, 0, 0));
    CHECK(umf_fence_value(fence) == 2);
    close(fd);
    umf_fence_unref(fence);
}

static void
a_merged_sync_file_signals_with_the_last(const struct machine *m)
{
    struct umf_fence *fence = new_fence(m, 0);
    uint32_t first, second;
    int one = vgem_sync_file(m->vgem, &first), other = vgem_sync_file(m->vgem, &second);
    int both = sync_file_merge(one, other);
    pid_t importer;

    IN_CHILD(importer, OK(umf_fence_import_sync_file(fence, 1, both, 0, FOREVER)));
    until_blocked(importer);
    vgem_signal(m->vgem, second);
    EXPECT(-ETIME, umf_fence_import_sync_file(fence, 1, both, 0, in_ns(10 * MS)));
    until_blocked(importer);
    CHECK(umf_fence_value(fence) == 0);
    vgem_signal(m->vgem, first);
    join_child(importer);
    CHECK(umf_fence_value(fence) == 1);
    close(one);
    close(other);
    close(both);
    umf_fence_unref(fence);
}

/* The fence may change while the import waits for the kernel. Its state at the end decides. */
static void
the_fence_may_change_meanwhile(const struct machine *m)
{
    struct umf_fence *beyond = new_fence(m, 0), *failed = new_fence(m, 0);
    uint32_t kernel_fence;
    int fd = vgem_sync_file(m->vgem, &kernel_fence);
    pid_t importers[2];

    IN_CHILD(importers[0], EXPECT(-EINVAL, umf_fence_import_sync_file(beyond, 5, fd, 0, FOREVER)));
    IN_CHILD(importers[1], EXPECT(-EIO, umf_fence_import_sync_file(failed, 5, fd, 0, FOREVER)));
    until_blocked(importers[0]);
    until_blocked(importers[1]);
    OK(umf_fence_signal(beyond, 6));
    OK(umf_fence_set_error(failed, -ENODEV));
    vgem_signal(m->vgem, kernel_fence);
    join_child(importers[0]);
    join_child(importers[1]);
    CHECK(umf_fence_value(beyond) == 6 && error_of(beyond) == 0);
    CHECK(umf_fence_value(failed) == 0 && error_of(failed) == -ENODEV);
    close(fd);
    umf_fence_unref(beyond);
    umf_fence_unref(failed);
}

static void
signal_handlers_do_not_end_an_import(const struct machine *m)
{
    struct umf_fence *fence = new_fence(m, 0);
    uint32_t kernel_fence;
    int fd = vgem_sync_file(m->vgem, &kernel_fence);
    const struct sigaction old = let_signals_interrupt();
    pid_t importer;

    IN_CHILD(importer, OK(umf_fence_import_sync_file(fence, 1, fd, 0, FOREVER)));
    interrupt_wait_of(importer);
    CHECK(umf_fence_value(fence) == 0);
    vgem_signal(m->vgem, kernel_fence);
    join_child(importer);
    CHECK(umf_fence_value(fence) == 1);
    let_signals_be(&old);
    close(fd);
    umf_fence_unref(fence);
}

static void
there_and_back(const struct machine *m, struct umf_device *device)
{
    struct umf_fence *from = new_fence(m, 1), *to = new_fence(m, 0);
    int fd;
    OK(umf_fence_export_sync_file(from, 1, device, 0, 0, &fd));
    OK(umf_fence_import_sync_file(to, 9, fd, 0, 0));
    CHECK(umf_fence_value(to) == 9);
    close(fd);
    umf_fence_unref(from);
    umf_fence_unref(to);
}

static void
all_exports(const struct machine *m, struct umf_device *device)
{
    RUN(an_export_is_signaled_from_birth, m, device);
    RUN(an_export_waits_for_another_process, m, device);
    RUN(a_timeout_makes_no_sync_file, m, device);
    RUN(an_error_makes_no_sync_file, m, device);
    RUN(a_fence_that_ends_makes_no_sync_file, m, device);
    RUN(there_and_back, m, device);
}

int
main(void)
{
    struct machine m = open_machine();
    watchdog(50);

    /* kernel_device checks what a kernel without both returns. */
    if (m.syncobj)
        RUN(all_exports, &m, m.device);
    if (m.udmabuf)
        RUN(all_exports, &m, NULL);
    RUN(bad_exports_are_refused, &m);
    RUN(minus_one_has_signaled, &m);
    RUN(bad_imports_are_refused, &m);
    RUN(a_signaled_sync_file_signals, &m);
    RUN(a_pending_sync_file_signals_when_it_does, &m);
    RUN(a_timeout_leaves_the_fence_alone, &m);
    RUN(a_merged_sync_file_signals_with_the_last, &m);
    RUN(the_fence_may_change_meanwhile, &m);
    RUN(signal_handlers_do_not_end_an_import, &m);
    return 0;
}
