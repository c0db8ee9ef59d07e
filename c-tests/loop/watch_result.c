// SPDX-License-Identifier: MIT
/*
 * Once a thread has seen what a watch did, umf_watch_result() tells how the watch ended. The thread
 * here sees it as early as it can: it spins on the eventfd or the fence that the watch changes. And
 * a loop is stopped at the instruction that changes the fence.
 */
#include "single_step.h"
#include "watch.h"

#include <sys/mman.h>


static struct umf_loop *loop;
static struct umf_page *page;
static unsigned times;

/* A thread of the child that asks for the result when it has seen the value. */
static struct asker {
    struct umf_watch *watch;
    struct umf_fence *target;
    _Atomic pid_t tid;
    atomic_bool has_asked;
    _Atomic int result;
} *asker;

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
    for (uint64_t i = 1; i <= times; i++) {
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
    for (uint64_t i = 1; i <= times; i++) {
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
    for (unsigned i = 0; i < times; i++) {
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

static void *
ask(void *unused)
{
    atomic_store(&asker->tid, (pid_t)syscall(SYS_gettid));
    while (umf_fence_value(asker->target) < 1)
        sched_yield();
    atomic_store(&asker->result, umf_watch_result(asker->watch));
    atomic_store(&asker->has_asked, true);
    return unused;
}

/* Dispatches, stopped before that, a watch that signals the target. */
static void
dispatch_stopped(struct umf_fence *fence)
{
    struct umf_loop *own = create_loop(0);
    pthread_t thread;
    OK(umf_loop_export_fence(own, fence, 1, asker->target, 1, 0, NULL, &asker->watch));
    OK(umf_fence_signal(fence, 1));
    until_due(own);
    CHECK(pthread_create(&thread, NULL, ask, NULL) == 0);
    while (atomic_load(&asker->tid) == 0)
        sched_yield();
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
        _exit(SKIPPED);
    raise(SIGSTOP);
    OK(umf_loop_dispatch(own, 0));
    CHECK(pthread_join(thread, NULL) == 0);
}

static void
a_loop_is_stopped_when_it_has_signaled(void)
{
    struct umf_fence *fence = create_fence();
    int status;
    pid_t pid;
    asker = mmap(NULL, sizeof(*asker), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(asker != MAP_FAILED);
    asker->target = create_fence();
    IN_CHILD(pid, {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dispatch_stopped(fence);
    });
    CHECK(waitpid(pid, &status, 0) == pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED) {
        printf("not available: ptrace\n");
    } else {
        while (umf_fence_value(asker->target) < 1) {
            CHECK(WIFSTOPPED(status) && ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) == 0);
            CHECK(waitpid(pid, &status, 0) == pid);
        }
        while (!atomic_load(&asker->has_asked) && !is_asleep(pid, atomic_load(&asker->tid)))
            sched_yield();
        CHECK(WIFSTOPPED(status) && ptrace(PTRACE_CONT, pid, NULL, NULL) == 0);
        CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
        CHECK(atomic_load(&asker->has_asked));
        EXPECT(0, atomic_load(&asker->result));
    }
    umf_fence_unref(asker->target);
    umf_fence_unref(fence);
    CHECK(munmap(asker, sizeof(*asker)) == 0);
}

int
main(void)
{
    times = rounds(3000, 500);
    watchdog(50);
    OK(umf_page_create(64, 0, &page));
    if (CAN_STEP && !SANITIZES_THREADS)
        a_loop_is_stopped_when_it_has_signaled();
    loop = create_loop(UMF_LOOP_THREAD);
    an_eventfd_is_written();
    a_fence_is_signaled();
    a_fence_is_failed();
    a_page_is_failed();
    umf_loop_unref(loop);
    umf_page_unref(page);
    return 0;
}
