// SPDX-License-Identifier: MIT
/*
 * A value that was reached before the fence ended stays reached. A program that signals its last
 * value and then releases the fence has signaled it. -ESTALE is for values that were not reached
 * (umf_fence_wait(), umf_wait()).
 */
#include "process.h"
#include "sleeper.h"

/* Opens a fence, and looks at it only after it ended. */
static void
look_late(int sock)
{
    struct umf_page *page = recv_page(sock);
    struct umf_fence *done = recv_fence(sock, page);
    tell(sock, 1);
    hear(sock);
    struct umf_condition list[1] = { { done, 10, UMF_OP_GE, 0, 0 } };
    EXPECT(-ESTALE, umf_fence_wait(done, 11, FOREVER));
    OK(umf_fence_wait(done, 10, FOREVER));
    OK(umf_wait(list, 1, 0, FOREVER, NULL));
    OK(umf_wait(list, 1, UMF_WAIT_ANY, FOREVER, NULL));
    CHECK(umf_fence_value(done) == 10);
    umf_fence_unref(done);
    umf_page_unref(page);
}

static void
a_value_signaled_last_is_reached_for_a_later_look(struct peer peer)
{
    struct umf_page *page;
    struct umf_fence *fence;
    OK(umf_page_create(2, 0, &page));
    OK(umf_fence_create(page, 0, 0, &fence));
    send_page(peer.sock, page);
    tell(peer.sock, umf_fence_index(fence));
    hear(peer.sock);
    OK(umf_fence_signal(fence, 10));
    umf_fence_unref(fence);
    tell(peer.sock, 1);
    end_peer(&peer);
    umf_page_unref(page);
}

/* Waits for both of two fences; the first is reached last. */
static void
wait_for_both(int sock)
{
    struct umf_page *page = recv_page(sock);
    struct umf_fence *first = recv_fence(sock, page), *second = recv_fence(sock, page);
    struct umf_condition list[2] = { { first, 10, UMF_OP_GE, 0, 0 },
                                     { second, 10, UMF_OP_GE, 0, 0 } };
    tell(sock, 1);
    OK(umf_wait(list, 2, 0, FOREVER, NULL));
    umf_fence_unref(first);
    umf_fence_unref(second);
    umf_page_unref(page);
}

static void
an_entry_that_was_met_stays_met_though_its_fence_ends(struct peer peer)
{
    struct umf_page *page;
    struct umf_fence *first, *second;
    OK(umf_page_create(2, 0, &page));
    OK(umf_fence_create(page, 0, 0, &first));
    OK(umf_fence_create(page, 0, 0, &second));
    send_page(peer.sock, page);
    tell(peer.sock, umf_fence_index(first));
    tell(peer.sock, umf_fence_index(second));
    hear(peer.sock);
    until_asleep(peer.pid, peer.pid);
    OK(umf_fence_signal(second, 10));
    umf_fence_unref(second);
    until_asleep(peer.pid, peer.pid);
    OK(umf_fence_signal(first, 10));
    end_peer(&peer);
    umf_fence_unref(first);
    umf_page_unref(page);
}

int
main(void)
{
    watchdog(30);
    struct peer late = start_peer(look_late), both = start_peer(wait_for_both);
    a_value_signaled_last_is_reached_for_a_later_look(late);
    an_entry_that_was_met_stays_met_though_its_fence_ends(both);
    return 0;
}
