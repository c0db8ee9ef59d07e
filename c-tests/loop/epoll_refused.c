// SPDX-License-Identifier: MIT
/*
 * A sandbox refuses epoll_wait(), which the loop's thread sleeps in. Ties fire all the same. Where
 * poll() is refused too, a tie says so: its callback gets the error.
 */
#include "sandbox.h"
#include "watch.h"

#define EPOLL_PWAIT2 441
#define PIDFD_OPEN 434

static const uint64_t modes[] = { 0, UMF_LOOP_THREAD };
static struct umf_page *page;

static void
refuse(const long *calls, size_t count)
{
    struct sock_filter steps[32] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
    };
    unsigned short used = 1;
    for (size_t i = 0; i < count; i++) {
        steps[used++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
                                                     (uint32_t)calls[i], 0, 1);
        steps[used++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
    }
    steps[used++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    install_filter(steps, used);
}

static const long epoll_calls[] = {
#ifdef SYS_epoll_wait
    SYS_epoll_wait,
#endif
    SYS_epoll_pwait,
    EPOLL_PWAIT2,
};

static const long poll_calls[] = {
#ifdef SYS_poll
    SYS_poll,
#endif
    SYS_ppoll,
};

static struct umf_watch *
tie(struct umf_loop *loop, struct umf_fence *fence, int peer, struct told *told)
{
    struct umf_callback callback = callback_to(told);
    struct umf_watch *watch;
    OK(umf_loop_tie_fence(loop, fence, peer, 0, &callback, &watch));
    return watch;
}

static void
ties_fire(uint64_t mode)
{
    struct umf_loop *loop = create_loop(mode);
    struct umf_fence *by_socket, *by_pidfd, *lives;
    struct told told[3];
    int sockets[2], other[2];
    pid_t child;
    OK(umf_fence_create(page, 0, 0, &by_socket));
    OK(umf_fence_create(page, 0, 0, &by_pidfd));
    OK(umf_fence_create(page, 0, 0, &lives));
    IN_CHILD(child, (pause())); /* has no end of a socket */
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) == 0);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, other) == 0);
    int pidfd = (int)syscall(PIDFD_OPEN, child, 0);
    CHECK(pidfd >= 0);
    umf_watch_unref(tie(loop, by_socket, sockets[0], &told[0]));
    umf_watch_unref(tie(loop, by_pidfd, pidfd, &told[1]));
    struct umf_watch *watch = tie(loop, lives, other[0], &told[2]);
    CHECK(write(other[1], "", 1) == 1 && write(sockets[1], "", 1) == 1); /* data is no end */
    close(sockets[1]);
    until_called(loop, &told[0], 0);
    EXPECT(-EOWNERDEAD, error_of(by_socket));
    CHECK(kill(child, SIGKILL) == 0);
    until_called(loop, &told[1], 0);
    EXPECT(-EOWNERDEAD, error_of(by_pidfd));
    CHECK(waitpid(child, NULL, 0) == child);
    CHECK(told[2].calls == 0);
    EXPECT(0, error_of(lives));
    OK(umf_watch_cancel(watch));
    umf_watch_unref(watch);
    umf_loop_unref(loop);
    umf_fence_unref(by_socket);
    umf_fence_unref(by_pidfd);
    umf_fence_unref(lives);
    close(sockets[0]);
    close(other[0]);
    close(other[1]);
    close(pidfd);
}

static void
a_tie_says_that_it_cannot_fire(void)
{
    struct umf_loop *loop = create_loop(UMF_LOOP_THREAD);
    struct umf_fence *fence;
    struct told told;
    int sockets[2];
    OK(umf_fence_create(page, 0, 0, &fence));
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) == 0);
    umf_watch_unref(tie(loop, fence, sockets[0], &told));
    until_called(loop, &told, -EACCES);
    EXPECT(0, error_of(fence));
    umf_loop_unref(loop);
    umf_fence_unref(fence);
    close(sockets[0]);
    close(sockets[1]);
}

int
main(void)
{
    if (cannot_be_refused_calls())
        return SKIPPED;
    watchdog(20);
    OK(umf_page_create(4, 0, &page));
    refuse(epoll_calls, ARRAY_SIZE(epoll_calls));
    for (size_t m = 0; m < ARRAY_SIZE(modes); m++)
        ties_fire(modes[m]);
    refuse(poll_calls, ARRAY_SIZE(poll_calls));
    a_tie_says_that_it_cannot_fire();
    umf_page_unref(page);
    return 0;
}
