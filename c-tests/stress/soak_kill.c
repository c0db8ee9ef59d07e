// SPDX-License-Identifier: MIT
/* Signalers are killed at any time and started again. Every waiter learns of it each time. */
#include "follower.h"
#include "process.h"
#include "soak.h"

/* Slots of dead processes stay in use, so each page serves a limited number. */
#define DEATHS 16

/* where a signaler's fence is */
enum { ENOUGH, IN_ITS_OWN_PAGE, IN_OUR_PAGE };

/* Signals, creates and ends fences as fast as it can, until it is killed. Without a page, in a
 * page that nobody else can write to. */
static void
signal_for_ever(int fd, int sock)
{
    struct umf_page *page;
    struct umf_fence *fence, *other;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    tell(sock, (uint64_t)getpid());
    if (fd >= 0) {
        OK(umf_page_import(fd, 0, &page));
    } else {
        OK(umf_page_create(2, UMF_PAGE_SINGLE_WRITER, &page));
        send_page(sock, page);
    }
    OK(umf_fence_create(page, 0, 0, &fence));
    tell(sock, umf_fence_index(fence));
    for (uint64_t value = 1;; value++) {
        OK(umf_fence_signal(fence, value));
        if (value % 64 == 0) {
            OK(umf_fence_create(page, 0, 0, &other));
            umf_fence_unref(other);
        }
    }
}

/* Starts signalers, and says when one has ended. Their waiters have threads and cannot fork.
 * Nothing here uses the library before the fork, so each signaler has its own. */
void
start_signalers(struct pair *pair, struct process *process, int sock)
{
    int status;
    uint64_t where;
    (void)pair;
    while ((where = hear(sock)) != ENOUGH) {
        pid_t pid;
        int fd = where == IN_OUR_PAGE ? recv_fd(sock) : -1;
        IN_CHILD(pid, signal_for_ever(fd, sock));
        if (fd >= 0)
            close(fd);
        CHECK(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) &&
              WTERMSIG(status) == SIGKILL);
        tell(sock, 0);
        count(process, ROUNDS, 1);
        at_rest(process);
    }
    until_leave(process);
}

/* The three that a loop tells: a watch, a queue's job, and the tie of the fence to the process.
 * Each signals that it was told. */
struct survivors {
    struct umf_fence *told;
    uint64_t count;
};

static void
on_call(void *data, int result)
{
    (void)data;
    EXPECT(-EOWNERDEAD, result);
}

static void
on_tie(void *data, int result)
{
    (void)data;
    OK(result);
}

static void
on_release(void *data)
{
    struct survivors *survivors = data;
    OK(umf_fence_signal(survivors->told, ++survivors->count));
}

static void
on_job_release(void *data, int result)
{
    on_call(data, result);
    on_release(data);
}

/* life counts from 1. */
static void
one_life(struct umf_page *own, struct umf_loop *loop, struct umf_queue *queue,
         struct survivors *survivors, int sock, uint64_t life)
{
    struct umf_fence *fence;
    struct umf_page *page;
    const uint64_t where = life % 4 < 2 ? IN_OUR_PAGE : IN_ITS_OWN_PAGE;
    tell(sock, where);
    if (where == IN_OUR_PAGE)
        send_page(sock, own);
    pid_t pid = (pid_t)hear(sock);
    page = where == IN_OUR_PAGE ? umf_page_ref(own) : recv_page(sock);
    OK(umf_fence_open(page, (uint32_t)hear(sock), 0, &fence));
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    CHECK(pidfd >= 0);

    const struct umf_callback to_tie = { on_tie, on_release, survivors },
                              to_watch = { on_call, on_release, survivors };
    const struct umf_condition wait = { .fence = fence, .value = UINT64_MAX };
    const struct umf_job job = { .size = sizeof(job),
                                 .wait_count = 1,
                                 .waits = &wait,
                                 .run = must_not_run,
                                 .release = on_job_release,
                                 .data = survivors };
    if (life % 2)
        OK(umf_loop_tie_page(loop, page, pidfd, 0, &to_tie, NULL));
    else
        OK(umf_loop_tie_fence(loop, fence, pidfd, 0, &to_tie, NULL));
    OK(umf_loop_watch(loop, &wait, 0, &to_watch, NULL));
    OK(umf_queue_submit(queue, &job, 0));
    struct follower followers[2] = { { .fence = fence },
                                     { .fence = fence, .by_event_count = true } };
    for (int i = 0; i < 2; i++)
        CHECK(pthread_create(&followers[i].thread, NULL, follow, &followers[i]) == 0);
    nanosleep(&(struct timespec){ .tv_nsec = rand() % (300 * 1000) }, NULL);

    CHECK(kill(pid, SIGKILL) == 0);
    for (int i = 0; i < 2; i++)
        CHECK(pthread_join(followers[i].thread, NULL) == 0);
    OK(umf_fence_wait(survivors->told, 3 * life, FOREVER));
    EXPECT(0, (int64_t)hear(sock));
    close(pidfd);
    umf_fence_unref(fence);
    umf_page_unref(page);
}

void
kill_signalers(struct pair *pair, struct process *process, int sock)
{
    struct survivors survivors = { 0 };
    struct umf_page *own;
    struct umf_loop *loop;
    struct umf_queue *queue;
    uint64_t life = 0;
    (void)pair;
    OK(umf_set_spin(0, 0, 0));
    OK(umf_page_create(1, 0, &own));
    OK(umf_fence_create(own, 0, 0, &survivors.told));
    OK(umf_loop_create(UMF_LOOP_THREAD, &loop));
    OK(umf_queue_create(loop, 0, &queue));
    for (unsigned generation = 0; generation < 2 || !is_last(process); generation++) {
        struct umf_page *page;
        OK(umf_page_create(4 * DEATHS, 0, &page));
        for (int i = 0; i < DEATHS; i++) {
            one_life(page, loop, queue, &survivors, sock, ++life);
            count(process, KILLS, 1);
            count(process, TOLD, 5);
            count(process, ROUNDS, 1);
        }
        umf_page_unref(page);
        if (generation >= 1)
            at_rest(process);
    }
    tell(sock, ENOUGH);
    until_leave(process);
    umf_queue_unref(queue);
    umf_loop_unref(loop);
    umf_fence_unref(survivors.told);
    umf_page_unref(own);
}
