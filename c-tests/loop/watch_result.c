/*
 * Once a thread has seen what a watch did, umf_watch_result() tells how the watch ended. The thread
 * here sees it as early as it can: it spins on the eventfd or the fence that the watch changes.
 */
#include "watch.h"

#define ROUNDS 3000

static struct umf_loop *loop;
static struct umf_page *page;

static struct umf_fence *
create_fence(void)
{
    struct umf_fence *fence;
    OK(umf_fence_create(page, 0, 0, &fence));
    return fence;
}

/* Returns once a counter was read, without a sleep that would give the loop's thread a lead. */
static void
until_added(int fd)
{
    uint64_t count;
    while (read(fd, &count, sizeof(count)) < 0) {
        CHECK(errno == EAGAIN);
        sched_yield();
    }
}

static void
has_ended(int expected, struct umf_watch *watch)
{
    EXPECT(expected, umf_watch_result(watch));
    EXPECT(-EALREADY, umf_watch_cancel(watch));
    umf_watch_unref(watch);
}

static void
an_eventfd_is_written(void)
{
    struct umf_fence *fence = create_fence();
    struct umf_watch *watch;
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    CHECK(fd >= 0);
    for (uint64_t i = 1; i <= ROUNDS; i++) {
        struct umf_condition wait = { fence, i, UMF_OP_GE, 0, 0 };
        OK(umf_loop_export_eventfd(loop, &wait, 0, fd, NULL, &watch));
        OK(umf_fence_signal(fence, i));
        until_added(fd);
        has_ended(0, watch);
    }
    close(fd);
    umf_fence_unref(fence);
}

static void
a_fence_is_signaled(void)
{
    struct umf_fence *fence = create_fence(), *target = create_fence();
    struct umf_watch *watch;
    for (uint64_t i = 1; i <= ROUNDS; i++) {
        OK(umf_loop_export_fence(loop, fence, i, target, i, 0, NULL, &watch));
        OK(umf_fence_signal(fence, i));
        while (umf_fence_value(target) < i)
            sched_yield();
        has_ended(0, watch);
    }
    umf_fence_unref(target);
    umf_fence_unref(fence);
}

static void
a_fence_is_failed(void)
{
    struct umf_watch *watch;
    for (int i = 0; i < ROUNDS; i++) {
        struct umf_fence *fence = create_fence(), *target = create_fence();
        int error = 0;
        OK(umf_loop_export_fence(loop, fence, 1, target, 1, 0, NULL, &watch));
        OK(umf_fence_set_error(fence, -ENXIO));
        while (umf_fence_error(target, &error) == 0 && error == 0)
            sched_yield();
        has_ended(-EIO, watch);
        umf_fence_unref(target);
        umf_fence_unref(fence);
    }
}

static void
a_page_is_failed(void)
{
    struct umf_fence *fence = create_fence();
    struct umf_watch *watch;
    int sockets[2], error = 0;
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) == 0);
    OK(umf_loop_tie_page(loop, page, sockets[0], 0, NULL, &watch));
    close(sockets[1]);
    while (umf_fence_error(fence, &error) == 0 && error == 0)
        sched_yield();
    EXPECT(-EOWNERDEAD, error);
    has_ended(0, watch);
    close(sockets[0]);
    umf_fence_unref(fence);
}

int
main(void)
{
    watchdog(50);
    OK(umf_page_create(64, 0, &page));
    loop = create_loop(UMF_LOOP_THREAD);
    an_eventfd_is_written();
    a_fence_is_signaled();
    a_fence_is_failed();
    a_page_is_failed();
    umf_loop_unref(loop);
    umf_page_unref(page);
    return 0;
}
