// SPDX-License-Identifier: MIT
/*
 * Two processes and a fence without order, for a test that runs this with LIBUMF_TRACE: an update
 * that ends a wait, one that stores nothing, a rewind while the waiter is stopped, and an update
 * that is refused.
 *
 * Prints the ids of the two processes, and the inode number of their page.
 */
#include "process.h"
#include "sleeper.h"

static struct umf_page *page;
static struct umf_fence *fence;

static void
waits(int sock)
{
    page = recv_page(sock);
    OK(umf_fence_open(page, 0, 0, &fence));
    struct umf_condition wait = { .fence = fence, .value = 0, .op = UMF_OP_EQ };
    OK(umf_wait(&wait, 1, 0, FOREVER, NULL));
    tell(sock, 1);
    OK(umf_fence_wait(fence, 7, FOREVER));
}

/* The waiter is not there to see the value. */
static void
rewind_unseen(pid_t waiter)
{
    int status;
    until_asleep(waiter, waiter);
    CHECK(kill(waiter, SIGSTOP) == 0);
    CHECK(waitpid(waiter, &status, WUNTRACED) == waiter && WIFSTOPPED(status));
    OK(umf_fence_signal(fence, 7));
    OK(umf_fence_signal(fence, 3));
    CHECK(kill(waiter, SIGCONT) == 0);
}

int
main(void)
{
    watchdog(50);
    struct peer peer = start_peer(waits);
    OK(umf_page_create(1, 0, &page));
    OK(umf_fence_create(page, 2, UMF_FENCE_UNORDERED, &fence));
    send_page(peer.sock, page);
    until_asleep(peer.pid, peer.pid);
    OK(umf_fence_update(fence, UMF_UPDATE_SUBTRACT, 1, 0, NULL));
    OK(umf_fence_update(fence, UMF_UPDATE_SUBTRACT, 1, 0, NULL));
    hear(peer.sock);
    OK(umf_fence_update(fence, UMF_UPDATE_COMPARE_EXCHANGE, 9, 5, NULL));
    rewind_unseen(peer.pid);
    end_peer(&peer);
    OK(umf_fence_set_error(fence, -ENODATA));
    EXPECT(-EIO, umf_fence_update(fence, UMF_UPDATE_ADD, 1, 0, NULL));

    struct stat status;
    int fd;
    OK(umf_page_export(page, 0, &fd));
    CHECK(fstat(fd, &status) == 0);
    printf("%d %d %lu\n", (int)getpid(), (int)peer.pid, (unsigned long)status.st_ino);
    return 0;
}
