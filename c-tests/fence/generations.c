// SPDX-License-Identifier: MIT
/*
 * A handle to a fence that has ended is never taken for one to a later fence of its slot, however
 * often the slot is reused. The test writes the slot's counter, where it would take years to count.
 */
#include "process.h"
#include "raw_page.h"
#include "sleeper.h"

static struct umf_page *page;
static struct raw raw;

static void
write_state(uint64_t state)
{
    __atomic_store_n((uint64_t *)(void *)(raw.bytes + SLOTS_AT + SLOT_STATE), state,
                     __ATOMIC_RELEASE);
}

/* A process with a handle to the first fence of the slot, at the value 5. */
static void
hold_the_first(int sock)
{
    struct umf_page *their_page = recv_page(sock);
    struct umf_fence *first = recv_fence(sock, their_page);
    tell(sock, 1);
    while (hear(sock)) {
        int error;
        EXPECT(-ESTALE, umf_fence_wait(first, 1000, 0));
        EXPECT(-ESTALE, umf_fence_signal(first, 2000));
        EXPECT(-ESTALE, umf_fence_submit(first, 2000));
        EXPECT(-ESTALE, umf_fence_set_error(first, -EIO));
        EXPECT(-ESTALE, umf_fence_error(first, &error));
        CHECK(umf_fence_value(first) == 5);
        tell(sock, 1);
    }
    umf_fence_unref(first);
    umf_page_unref(their_page);
}

/* The slot was reused until its counter was `count`. Its next fences are new to the old handle. */
static void
reuse_from(struct peer peer, uint64_t count)
{
    struct umf_fence *fence;
    write_state(STATE_COUNT(count) | STATE_FREE);
    for (int i = 0; i < 4; i++) {
        OK(umf_fence_create(page, 1000, 0, &fence));
        tell(peer.sock, 1);
        hear(peer.sock);
        CHECK(umf_fence_value(fence) == 1000 && error_of(fence) == 0);
        OK(umf_fence_wait(fence, 1000, 0));
        umf_fence_unref(fence);
    }
}

static void
a_slot_that_counted_to_the_end_is_not_reused(struct peer peer)
{
    const uint64_t last = (UINT64_C(1) << 57) - 1;
    struct umf_fence *fence, *opened;
    write_state(STATE_COUNT(last - 1) | STATE_FREE);
    OK(umf_fence_create(page, 1000, 0, &fence));
    tell(peer.sock, 1);
    hear(peer.sock);
    umf_fence_unref(fence);
    for (int i = 0; i < 3; i++)
        EXPECT(-ENOSPC, umf_fence_create(page, 1000, 0, &fence));
    OK(umf_page_reclaim(page, 0, NULL));
    EXPECT(-ENOSPC, umf_fence_create(page, 1000, 0, &fence));
    tell(peer.sock, 1);
    hear(peer.sock);
    /* Nor does a fence live there, whatever a peer writes. */
    write_state(STATE_COUNT(last) | STATE_LIVE);
    EXPECT(-ENOENT, umf_fence_open(page, 0, 0, &opened));
}

int
main(void)
{
    struct umf_fence *first;
    watchdog(30);
    struct peer peer = start_peer(hold_the_first);
    OK(umf_page_create(1, 0, &page));
    OK(umf_fence_create(page, 5, 0, &first));
    raw = map_raw(page);
    send_page(peer.sock, page);
    tell(peer.sock, umf_fence_index(first));
    hear(peer.sock);
    umf_fence_unref(first);
    reuse_from(peer, 1);
    for (int bits = 8; bits <= 56; bits++)
        reuse_from(peer, (UINT64_C(1) << bits) - 2);
    a_slot_that_counted_to_the_end_is_not_reused(peer);
    tell(peer.sock, 0);
    end_peer(&peer);
    unmap_raw(&raw);
    umf_page_unref(page);
    return 0;
}
