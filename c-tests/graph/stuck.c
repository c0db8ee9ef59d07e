// SPDX-License-Identifier: MIT
/*
 * Two processes that wait and go on only when this program's stdin ends: for a test of umf-info.
 *
 *     stuck circle     a queue of each waits for what the other's will signal
 *     stuck creator    one waits for a fence that the other created and signals nothing
 *
 * Prints the ids of both and the inode number of their page once both are stuck.
 */
#include "process.h"
#include "sleeper.h"

static struct umf_page *page;
static struct umf_fence *fences[2];

static int
is_done(void *data)
{
    (void)data;
    return UMF_JOB_DONE;
}

/* A queue that waits for one fence and will signal the other. */
static struct umf_queue *
blocked_queue(struct umf_loop *loop, int waits_for, int signals)
{
    struct umf_queue *queue;
    struct umf_condition wait = { .fence = fences[waits_for], .value = 1 };
    struct umf_signal signal = { .fence = fences[signals], .value = 1 };
    struct umf_job job = { .size = sizeof(job), .wait_count = 1, .waits = &wait,
                           .signal_count = 1, .signals = &signal, .run = is_done };
    OK(umf_queue_create(loop, UMF_QUEUE_INLINE, &queue));
    OK(umf_queue_submit(queue, &job, 0));
    return queue;
}

static void
in_circle(int waits_for, int signals, void (*meanwhile)(int), int sock)
{
    struct umf_loop *loop;
    OK(umf_loop_create(UMF_LOOP_THREAD, &loop));
    struct umf_queue *queue = blocked_queue(loop, waits_for, signals);
    meanwhile(sock);
    OK(umf_queue_drain(queue, FOREVER));
    umf_queue_unref(queue);
    umf_loop_unref(loop);
}

static void
report_blocked(int sock)
{
    tell(sock, 1);
    hear(sock);
}

static void
other_in_circle(int sock)
{
    page = recv_page(sock);
    for (int i = 0; i < 2; i++)
        OK(umf_fence_open(page, (uint32_t)i, 0, &fences[i]));
    in_circle(0, 1, report_blocked, sock);
}

static void
waiter(int sock)
{
    page = recv_page(sock);
    struct umf_fence *fence = recv_fence(sock, page);
    OK(umf_fence_wait(fence, 5, FOREVER));
}

static void
show_until_stdin_ends(pid_t other)
{
    char byte;
    int fd;
    struct stat stat_;
    OK(umf_page_export(page, 0, &fd));
    CHECK(fstat(fd, &stat_) == 0);
    close(fd);
    printf("%d %d %lu\n", (int)getpid(), (int)other, (unsigned long)stat_.st_ino);
    fflush(stdout);
    while (read(STDIN_FILENO, &byte, 1) > 0)
        ;
}

static struct peer peer;

static void
start_other(int sock)
{
    (void)sock;
    send_page(peer.sock, page);
    hear(peer.sock);
    show_until_stdin_ends(peer.pid);
    OK(umf_fence_signal(fences[0], 1));
    tell(peer.sock, 1);
}

int
main(int argc, char **argv)
{
    watchdog(50);
    CHECK(argc == 2);
    bool circle = strcmp(argv[1], "circle") == 0;
    peer = start_peer(circle ? other_in_circle : waiter);
    OK(umf_page_create(8, 0, &page));
    for (int i = 0; i < 2; i++)
        OK(umf_fence_create(page, 0, 0, &fences[i]));
    if (circle) {
        in_circle(1, 0, start_other, -1);
    } else {
        OK(umf_fence_signal(fences[1], 4));
        OK(umf_page_set_name(page, "frames"));
        OK(umf_fence_set_name(fences[1], "frame 5"));
        send_page(peer.sock, page);
        tell(peer.sock, umf_fence_index(fences[1]));
        while (!is_asleep(peer.pid, peer.pid))
            sched_yield();
        show_until_stdin_ends(peer.pid);
        OK(umf_fence_signal(fences[1], 5));
    }
    end_peer(&peer);
    return 0;
}
