/* SPDX-License-Identifier: MIT */
/* What every kind of call is given where system calls are refused (allowed.c, refused.c). */
#ifndef INPUTS_H
#define INPUTS_H

#include "process.h"
#include "watch.h"

/* A page of another process, an eventfd, two ends of a socket, this process, and /dev/null. */
static struct peer page_owner;
static int their_page, event, ends[2], pidfd, null;

static inline void
make_a_page(int sock)
{
    struct umf_page *page;
    struct umf_fence *fence;
    OK(umf_page_create(1, 0, &page));
    OK(umf_fence_create(page, 0, 0, &fence));
    send_page(sock, page);
    hear(sock);
    umf_fence_unref(fence);
    umf_page_unref(page);
}

/* To be called first: the library of this process has then not seen the page. False where the
 * kernel has no pidfds. */
static inline bool
open_inputs(void)
{
    page_owner = start_peer(make_a_page);
    their_page = recv_fd(page_owner.sock);
    event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    pidfd = (int)syscall(434 /* pidfd_open */, getpid(), 0);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    CHECK(event >= 0 && null >= 0);
    if (pidfd < 0)
        printf("not available: pidfds\n");
    return pidfd >= 0;
}

static inline void
end_page_owner(void)
{
    tell(page_owner.sock, 1);
    end_peer(&page_owner);
}

#endif
