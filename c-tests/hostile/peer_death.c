// SPDX-License-Identifier: MIT
/*
 * When a process dies, the values that it had announced fail, for every kind of wait, wherever in
 * its code it was killed.
 *
 *     peer_death [ROUNDS]     kills so often
 */
#include "follower.h"
#include "process.h"
#include "sleeper.h"

#include <poll.h>
#include <sys/un.h>

static pid_t
start_signaler(int (*sock)[2], void (*run)(int sock))
{
    pid_t pid;
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, *sock) == 0);
    IN_CHILD(pid, {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close((*sock)[0]);
        run((*sock)[1]);
    });
    close((*sock)[1]);
    return pid;
}

/* Announces values of two fences and never signals them. */
static void
owe_in(int sock, uint64_t page_flags)
{
    struct umf_page *page;
    struct umf_fence *fences[2];
    OK(umf_page_create(4, page_flags, &page));
    OK(umf_fence_create(page, 0, 0, &fences[0]));
    OK(umf_fence_create(page, 0, 0, &fences[1]));
    send_page(sock, page);
    tell(sock, 1);
    for (;;)
        pause();
}

static void
owe(int sock)
{
    owe_in(sock, 0);
}

/* The same in a page that nobody else can write to: its creator's end cannot be recorded there. */
static void
owe_alone(int sock)
{
    owe_in(sock, UMF_PAGE_SINGLE_WRITER);
}

struct told {
    atomic_int result, released;
};

static void
on_call(void *data, int result)
{
    ((struct told *)data)->result = result;
}

static void
on_release(void *data)
{
    ((struct told *)data)->released = 1;
}

static void
until_released(struct told *told)
{
    while (!told->released)
        sched_yield();
}

static void
job_release(void *data, int result)
{
    on_call(data, result);
    on_release(data);
}

/* Every kind of wait ends with -EOWNERDEAD. */
static void
everybody_hears_of_it(bool by_socket, bool one_by_one, bool single_writer)
{
    int sock[2];
    pid_t pid = start_signaler(&sock, single_writer ? owe_alone : owe);
    struct umf_page *page = recv_page(sock[0]), *ours = page;
    struct umf_fence *fences[2], *own;
    struct umf_loop *loop;
    struct umf_queue *queue;
    struct told watched = { 0 }, queued = { 0 }, tied = { 0 };
    hear(sock[0]);
    OK(umf_fence_open(page, 0, 0, &fences[0]));
    OK(umf_fence_open(page, 1, 0, &fences[1]));
    if (single_writer)
        OK(umf_page_create(2, 0, &ours));
    OK(umf_fence_create(ours, 0, 0, &own));
    OK(umf_loop_create(UMF_LOOP_THREAD, &loop));
    OK(umf_queue_create(loop, 0, &queue));

    int peer = by_socket ? sock[0] : pidfd_of(pid);
    CHECK(peer >= 0);
    struct umf_callback to_call = { on_call, on_release, &tied };
    if (one_by_one) {
        OK(umf_loop_tie_fence(loop, fences[0], peer, 0, NULL, NULL));
        OK(umf_loop_tie_fence(loop, fences[1], peer, 0, &to_call, NULL));
    } else {
        OK(umf_loop_tie_page(loop, page, peer, 0, &to_call, NULL));
    }
    struct umf_condition list[2] = { { .fence = fences[0], .value = 1 },
                                     { .fence = fences[1], .value = 1 } };
    struct sleeper one = { .fence = fences[0], .value = 5 };
    struct sleeper any = { .waits = list, .count = 2, .flags = UMF_WAIT_ANY };
    struct sleeper all = { .waits = list, .count = 2 };
    fall_asleep(&one);
    fall_asleep(&any);
    fall_asleep(&all);
    struct umf_callback to_watch = { on_call, on_release, &watched };
    OK(umf_loop_watch(loop, &list[1], 0, &to_watch, NULL));
    struct umf_signal mark = { own, 1 };
    struct umf_job job = { .size = sizeof(job),
                           .wait_count = 1,
                           .signal_count = 1,
                           .waits = list,
                           .signals = &mark,
                           .run = must_not_run,
                           .release = job_release,
                           .data = &queued };
    OK(umf_queue_submit(queue, &job, 0));

    uint64_t began = now_ns();
    kill_child(pid);
    EXPECT(-EOWNERDEAD, end_of(&one));
    EXPECT(-EOWNERDEAD, end_of(&any));
    EXPECT(-EOWNERDEAD, end_of(&all));
    until_released(&watched);
    until_released(&queued);
    until_released(&tied);
    printf("by %s, %s%s: all %d know after %" PRIu64 " us\n", by_socket ? "a socket" : "a pidfd",
           one_by_one ? "fence by fence" : "the page", single_writer ? " of one writer" : "", 5,
           (now_ns() - began) / 1000);
    EXPECT(-EOWNERDEAD, watched.result);
    EXPECT(-EOWNERDEAD, queued.result);
    EXPECT(0, tied.result);
    /* And the fence that depends on the job. An own fence in a tied page fails too. */
    int error;
    OK(umf_fence_error(own, &error));
    CHECK(error == -EOWNERDEAD);
    OK(umf_fence_error(fences[0], &error));
    CHECK(error == -EOWNERDEAD);
    /* A page that this process can write to can be used again: later values are its own. */
    struct umf_fence *again;
    OK(umf_fence_create(ours, 0, 0, &again));
    OK(umf_fence_signal(again, 1));
    OK(umf_fence_wait(again, 1, FOREVER));
    umf_fence_unref(again);
    /* The page's fences have failed for as long as this process has the page. */
    if (single_writer && !one_by_one) {
        umf_fence_unref(fences[1]);
        OK(umf_fence_open(page, 1, 0, &fences[1]));
        EXPECT(-EOWNERDEAD, umf_fence_wait(fences[1], 1, FOREVER));
    }

    umf_queue_unref(queue);
    umf_loop_unref(loop);
    umf_fence_unref(own);
    umf_fence_unref(fences[0]);
    umf_fence_unref(fences[1]);
    umf_page_unref(page);
    if (single_writer)
        umf_page_unref(ours);
    if (!by_socket)
        close(peer);
    close(sock[0]);
}

/* Other events are not mistaken for its end, and a canceled tie leaves the fence alone. */
static void
only_the_end_counts(void)
{
    int sock[2], pipes[2];
    struct umf_page *page;
    struct umf_fence *fence;
    struct umf_loop *loop;
    struct umf_watch *watch;
    struct told tied = { 0 };
    struct umf_callback to_call = { on_call, on_release, &tied };
    OK(umf_page_create(1, 0, &page));
    OK(umf_fence_create(page, 0, 0, &fence));
    OK(umf_loop_create(0, &loop));
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sock) == 0 && pipe(pipes) == 0);
    EXPECT(-EINVAL, umf_loop_tie_fence(loop, fence, pipes[0], 0, NULL, NULL));
    EXPECT(-EINVAL, umf_loop_tie_fence(loop, fence, umf_loop_fd(loop), 0, NULL, NULL));
    EXPECT(-EBADF, umf_loop_tie_fence(loop, fence, -1, 0, NULL, NULL));
    EXPECT(-EINVAL, umf_loop_tie_fence(loop, fence, sock[0], 2, NULL, NULL));
    EXPECT(-EINVAL, umf_loop_tie_fence(loop, NULL, sock[0], 0, NULL, NULL));
    EXPECT(-EINVAL, umf_loop_tie_page(loop, NULL, sock[0], 0, NULL, NULL));

    OK(umf_loop_tie_fence(loop, fence, sock[0], 0, &to_call, &watch));
    CHECK(write(sock[1], "still here", 10) == 10);
    struct pollfd pollfd = { .fd = umf_loop_fd(loop), .events = POLLIN };
    CHECK(poll(&pollfd, 1, 0) == 0);
    OK(umf_loop_dispatch(loop, 0));
    EXPECT(-ETIME, umf_watch_result(watch));
    OK(umf_watch_cancel(watch));
    CHECK(tied.released);
    umf_watch_unref(watch);
    close(sock[1]);
    CHECK(poll(&pollfd, 1, 0) == 0);
    int error;
    OK(umf_fence_error(fence, &error));
    CHECK(error == 0);
    /* A process that is already dead is reported as well. */
    OK(umf_loop_tie_fence(loop, fence, sock[0], 0, NULL, &watch));
    CHECK(poll(&pollfd, 1, -1) == 1);
    OK(umf_loop_dispatch(loop, 0));
    OK(umf_watch_result(watch));
    OK(umf_fence_error(fence, &error));
    CHECK(error == -EOWNERDEAD);
    umf_watch_unref(watch);
    umf_loop_unref(loop);
    umf_fence_unref(fence);
    umf_page_unref(page);
    close(sock[0]);
    close(pipes[0]);
    close(pipes[1]);
}

/* Connects, owes a value, tells when its connection has ended, and goes on living. */
static void
outlive_the_connection(const struct sockaddr_un *address, socklen_t size, int told_by)
{
    int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    struct umf_page *page;
    struct umf_fence *fence;
    char byte;
    CHECK(connect(sock, (const struct sockaddr *)address, size) == 0);
    OK(umf_page_create(1, 0, &page));
    OK(umf_fence_create(page, 0, 0, &fence));
    send_page(sock, page);
    CHECK(read(sock, &byte, 1) <= 0);
    CHECK(write(told_by, "x", 1) == 1);
    for (;;)
        pause();
}

/* A tie to the process behind a socket keeps no connection open, and needs none. */
static void
the_caller_ends_the_connection(bool dead_before)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    socklen_t size = sizeof(address);
    struct umf_fence *fence;
    struct umf_loop *loop;
    struct umf_watch *watch;
    int pipes[2], result, error = 1, listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    char byte;
    pid_t pid;
    CHECK(bind(listener, (struct sockaddr *)&address, sizeof(sa_family_t)) == 0);
    CHECK(listen(listener, 1) == 0 && pipe2(pipes, O_CLOEXEC) == 0);
    CHECK(getsockname(listener, (struct sockaddr *)&address, &size) == 0);
    IN_CHILD(pid, {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        outlive_the_connection(&address, size, pipes[1]);
    });
    int sock = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    CHECK(sock >= 0);
    struct umf_page *page = recv_page(sock);
    OK(umf_fence_open(page, 0, 0, &fence));
    OK(umf_loop_create(0, &loop));
    EXPECT(-EINVAL, umf_loop_tie_fence(loop, fence, listener, UMF_TIE_PROCESS, NULL, NULL));
    EXPECT(-EINVAL, umf_loop_tie_fence(loop, fence, pipes[0], UMF_TIE_PROCESS, NULL, NULL));
    EXPECT(-EBADF, umf_loop_tie_page(loop, page, -1, UMF_TIE_PROCESS, NULL, NULL));
    if (dead_before)
        kill_child(pid);
    result = umf_loop_tie_page(loop, page, sock, UMF_TIE_PROCESS, NULL, &watch);
    if (result == -EOPNOTSUPP) {
        printf("not tried: UMF_TIE_PROCESS, which takes Linux 6.5\n");
    } else {
        OK(result);
        if (!dead_before) {
            close(sock);
            CHECK(read(pipes[0], &byte, 1) == 1);
            EXPECT(-ETIME, umf_watch_result(watch));
            OK(umf_fence_error(fence, &error));
            EXPECT(0, error);
            kill_child(pid);
        }
        struct pollfd pollfd = { .fd = umf_loop_fd(loop), .events = POLLIN };
        CHECK(poll(&pollfd, 1, -1) == 1);
        OK(umf_loop_dispatch(loop, 0));
        OK(umf_watch_result(watch));
        OK(umf_fence_error(fence, &error));
        EXPECT(-EOWNERDEAD, error);
        umf_watch_unref(watch);
    }
    umf_loop_unref(loop);
    umf_fence_unref(fence);
    umf_page_unref(page);
    if (dead_before || result != 0) {
        close(sock);
        if (!dead_before)
            kill_child(pid);
    }
    close(listener);
    close(pipes[0]);
    close(pipes[1]);
}

/* Signals as fast as it can, and creates and ends fences, until it is killed. */
static void
signal_for_ever(int fd, int sock)
{
    struct umf_page *page;
    struct umf_fence *fence, *other;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    OK(umf_page_import(fd, 0, &page));
    OK(umf_fence_create(page, 0, 0, &fence));
    tell(sock, (uint64_t)getpid());
    tell(sock, umf_fence_index(fence));
    for (uint64_t value = 1;; value++) {
        OK(umf_fence_signal(fence, value));
        if (value % 64 == 0) {
            OK(umf_fence_create(page, 0, 0, &other));
            umf_fence_unref(other);
        }
    }
}

/* Starts a signaler for each page that arrives. The main process has threads by then, so a
 * forked child could inherit a held lock. */
static void
start_signalers(int sock)
{
    while (hear(sock)) {
        pid_t pid;
        int status, fd = recv_fd(sock);
        IN_CHILD(pid, signal_for_ever(fd, sock));
        close(fd);
        CHECK(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
    }
}

static void
killed_at_any_time(unsigned times, int sock)
{
    struct umf_page *page;
    struct umf_loop *loop;
    unsigned seed = (unsigned)getpid();
    OK(umf_page_create(64, 0, &page));
    OK(umf_loop_create(UMF_LOOP_THREAD, &loop));
    OK(umf_set_spin(0, 0, 0));
    for (unsigned i = 0; i < times; i++) {
        struct umf_fence *fence;
        tell(sock, 1);
        send_page(sock, page);
        pid_t pid = (pid_t)hear(sock);
        OK(umf_fence_open(page, (uint32_t)hear(sock), 0, &fence));
        int peer = pidfd_of(pid);
        OK(umf_loop_tie_fence(loop, fence, peer, 0, NULL, NULL));
        struct follower followers[2] = { { .fence = fence },
                                         { .fence = fence, .by_event_count = true } };
        for (int k = 0; k < 2; k++)
            CHECK(pthread_create(&followers[k].thread, NULL, follow, &followers[k]) == 0);
        uint64_t at = now_ns() + (uint64_t)rand_r(&seed) % (300 * 1000);
        while (now_ns() < at)
            sched_yield();
        CHECK(kill(pid, SIGKILL) == 0);
        for (int k = 0; k < 2; k++)
            CHECK(pthread_join(followers[k].thread, NULL) == 0);
        umf_fence_unref(fence);
        close(peer);
        /* Slots of dead processes stay in use. With one page for each peer that does not matter. */
        if (i % 16 == 15) {
            umf_page_unref(page);
            OK(umf_page_create(64, 0, &page));
        }
    }
    printf("%u kills, no waiter left asleep\n", times);
    umf_loop_unref(loop);
    umf_page_unref(page);
}

int
main(int argc, char **argv)
{
    unsigned times = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : rounds(200, 5);
    int probe = (int)syscall(SYS_pidfd_open, getpid(), 0);
    if (probe < 0) {
        printf("not available: pidfds\n");
        return SKIPPED;
    }
    close(probe);
    struct peer starter = start_peer(start_signalers);
    if (argc == 1)
        watchdog(50);
    only_the_end_counts();
    the_caller_ends_the_connection(false);
    the_caller_ends_the_connection(true);
    for (int i = 0; i < 8; i++)
        everybody_hears_of_it(i & 1, i & 2, i & 4);
    killed_at_any_time(times, starter.sock);
    tell(starter.sock, 0);
    end_peer(&starter);
    return 0;
}
