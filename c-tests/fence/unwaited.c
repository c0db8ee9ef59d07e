// SPDX-License-Identifier: MIT
/*
 * A fence that nobody waited for is created and ends without a system call. A fence that somebody
 * waits for ends that wait, wherever the waiter is: registered, robbed of its registration by a
 * signaler that was killed, or asleep for another fence of a wait for all.
 */
#include "process.h"
#include "raw_page.h"
#include "sandbox.h"
#include "sleeper.h"

static struct umf_fence *
new_fence(struct umf_page *page)
{
    struct umf_fence *fence;
    OK(umf_fence_create(page, 0, 0, &fence));
    return fence;
}

static void
a_fence_that_nobody_waited_for_takes_no_system_call(void)
{
    pid_t child;
    IN_CHILD(child, {
        struct umf_page *page;
        OK(umf_page_create(4, 0, &page));
        struct umf_fence *kept = new_fence(page);
        umf_fence_unref(new_fence(page)); /* what this process asks once */
        OK(umf_fence_signal(kept, 1));
        forbid_system_calls();
        for (int i = 0; i < 1000; i++) {
            struct umf_fence *fence = new_fence(page);
            OK(umf_fence_signal(fence, 1));
            OK(umf_fence_wait(fence, 1, FOREVER));
            EXPECT(-ETIME, umf_fence_wait(fence, 2, 0));
            umf_fence_unref(fence);
        }
    });
    join_child(child);
}

/* Waits for 5 of one fence, or for 5 of two. */
static void
wait_for_the_end(int sock)
{
    struct umf_page *page = recv_page(sock);
    struct umf_fence *first = recv_fence(sock, page), *second = recv_fence(sock, page);
    struct umf_condition list[2] = { { first, 5, UMF_OP_GE, 0, 0 },
                                     { second, 5, UMF_OP_GE, 0, 0 } };
    bool all = hear(sock);
    tell(sock, 1);
    int result = all ? umf_wait(list, 2, 0, FOREVER, NULL) : umf_fence_wait(second, 5, FOREVER);
    EXPECT(-ESTALE, result);
    umf_fence_unref(first);
    umf_fence_unref(second);
    umf_page_unref(page);
}

/* What a signaler does between its look at the bits and the moment when it is killed. */
static void
clear_bits_and_die(struct umf_page *page, const struct umf_fence *fence)
{
    struct raw raw = map_raw(page);
    char *slot = raw.bytes + umf_fence_offset(fence);
    uint64_t *bits = (uint64_t *)(void *)(slot + SLOT_WAITER_BITS);
    __atomic_fetch_add((uint32_t *)(void *)(slot + SLOT_FUTEX), 1, __ATOMIC_SEQ_CST);
    CHECK(__atomic_exchange_n(bits, 0, __ATOMIC_SEQ_CST) != 0);
    unmap_raw(&raw);
}

/* Whether the peer sleeps for the fence alone, and what a signaler has done to it. */
static void
the_end_wakes(bool all, bool killed)
{
    struct peer peer = start_peer(wait_for_the_end);
    struct umf_page *page;
    OK(umf_page_create(4, 0, &page));
    struct umf_fence *first = new_fence(page), *second = new_fence(page);
    send_page(peer.sock, page);
    tell(peer.sock, umf_fence_index(first));
    tell(peer.sock, umf_fence_index(second));
    tell(peer.sock, all);
    hear(peer.sock);
    until_asleep(peer.pid, peer.pid);
    if (killed)
        clear_bits_and_die(page, second);
    umf_fence_unref(second);
    end_peer(&peer);
    umf_fence_unref(first);
    umf_page_unref(page);
}

int
main(void)
{
    watchdog(30);
    the_end_wakes(false, false);
    the_end_wakes(false, true);
    the_end_wakes(true, false); /* asleep for the first, which is not reached */
    if (!cannot_be_refused_calls())
        a_fence_that_nobody_waited_for_takes_no_system_call();
    return 0;
}
