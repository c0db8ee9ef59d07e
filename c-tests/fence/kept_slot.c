// SPDX-License-Identifier: MIT
/*
 * A fence that ended while a device may still write it: its slot is not used again before its
 * creator ends the last reference. A late write reaches no other fence.
 */
#include "raw_page.h"
#include "process.h"
#include "sleeper.h"

static struct umf_page *page;

/* The number of fences that can be created now. */
static unsigned
free_slots(void)
{
    struct umf_fence *made[8];
    unsigned count = 0;
    while (count < 8 && umf_fence_create(page, 0, 0, &made[count]) == 0)
        count++;
    for (unsigned i = 0; i < count; i++)
        umf_fence_unref(made[i]);
    return count;
}

/* What goes wrong without the call: the device's late write signals the slot's next fence. */
static void
a_late_write_hits_the_next_fence_of_a_free_slot(void)
{
    struct umf_fence *ended, *next;
    OK(umf_page_create(1, 0, &page));
    struct raw raw = map_raw(page);
    OK(umf_fence_create(page, 0, UMF_FENCE_DEVICE, &ended));
    uint64_t offset = umf_fence_offset(ended);
    umf_fence_unref(ended);
    OK(umf_fence_create(page, 0, UMF_FENCE_DEVICE, &next));
    CHECK(umf_fence_offset(next) == offset);
    write_raw(&raw, next, 7);
    CHECK(umf_fence_value(next) == 7);
    umf_fence_unref(next);
    unmap_raw(&raw);
    umf_page_unref(page);
}

static void
its_slot_is_kept(void)
{
    struct umf_fence *fence, *next;
    OK(umf_page_create(2, 0, &page));
    struct raw raw = map_raw(page);
    OK(umf_fence_create(page, 0, UMF_FENCE_DEVICE, &fence));
    uint32_t index = umf_fence_index(fence);
    uint64_t offset = umf_fence_offset(fence);
    write_raw(&raw, fence, 2);
    struct sleeper sleeper = { .fence = fence, .value = 3 };
    fall_asleep(&sleeper);

    OK(umf_fence_end(fence));
    EXPECT(-ESTALE, end_of(&sleeper));
    EXPECT(-ESTALE, umf_fence_end(fence));
    EXPECT(-ESTALE, umf_fence_signal(fence, 3));
    EXPECT(-ESTALE, umf_fence_set_error(fence, -EIO));
    EXPECT(-ENOENT, umf_fence_open(page, index, 0, &next));
    OK(umf_fence_wait(fence, 2, 0)); /* what is reached stays reached */

    /* Only the other slot is used, again and again. */
    for (int i = 0; i < 100; i++) {
        OK(umf_fence_create(page, 0, UMF_FENCE_DEVICE, &next));
        CHECK(umf_fence_index(next) != index);
        __atomic_store_n((uint64_t *)(void *)(raw.bytes + offset), 1000 + i, __ATOMIC_RELEASE);
        CHECK(umf_fence_value(next) == 0);
        CHECK(free_slots() == 0);
        umf_fence_unref(next);
    }
    /* Each reference counts. */
    umf_fence_unref(umf_fence_ref(fence));
    CHECK(free_slots() == 1);
    umf_fence_unref(fence);
    CHECK(free_slots() == 2);
    OK(umf_fence_create(page, 0, 0, &fence));
    OK(umf_fence_create(page, 0, 0, &next));
    CHECK(umf_fence_value(fence) == 0 && umf_fence_value(next) == 0);
    umf_fence_unref(fence);
    umf_fence_unref(next);
    unmap_raw(&raw);
    umf_page_unref(page);
}

/* The creator was killed with the slot kept. The slot can be reclaimed then, and not before. */
static void
a_dead_process_keeps_no_slot(void)
{
    int ends[2];
    pid_t child;
    uint32_t count = 7;
    OK(umf_page_create(1, 0, &page));
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0);
    IN_CHILD(child, {
        struct umf_fence *fence;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        OK(umf_fence_create(page, 0, UMF_FENCE_DEVICE, &fence));
        OK(umf_fence_end(fence));
        tell(ends[1], 1);
        for (;;)
            pause();
    });
    hear(ends[0]);
    OK(umf_page_reclaim(page, 0, &count));
    CHECK(count == 0 && free_slots() == 0);
    CHECK(kill(child, SIGKILL) == 0 && waitpid(child, NULL, 0) == child);
    CHECK(free_slots() == 0);
    OK(umf_page_reclaim(page, 0, &count));
    CHECK(count == 1 && free_slots() == 1);
    umf_page_unref(page);
    close(ends[0]);
    close(ends[1]);
}

/* Only the creator ends a fence; the child of a fork and another process do not. */
static void
others_cannot_end_it(int sock)
{
    struct umf_page *theirs = recv_page(sock);
    struct umf_fence *fence = recv_fence(sock, theirs);
    EXPECT(-EACCES, umf_fence_end(fence));
    umf_fence_unref(fence);
    umf_page_unref(theirs);
}

static void
only_the_creator_ends_it(struct peer *peer)
{
    struct umf_fence *fence, *lasting;
    pid_t child;
    OK(umf_page_create(2, 0, &page));
    OK(umf_fence_create(page, 0, 0, &fence));
    OK(umf_fence_create(page, 0, UMF_FENCE_LASTING, &lasting));
    EXPECT(-EINVAL, umf_fence_end(NULL));
    EXPECT(-EACCES, umf_fence_end(lasting));
    send_page(peer->sock, page);
    tell(peer->sock, umf_fence_index(fence));
    end_peer(peer);
    IN_CHILD(child, {
        EXPECT(-EACCES, umf_fence_end(fence));
        umf_fence_unref(fence);
    });
    join_child(child);
    OK(umf_fence_signal(fence, 1));
    OK(umf_fence_signal(lasting, 1));
    /* The child of a fork that inherits a kept slot does not free it. */
    OK(umf_fence_end(fence));
    IN_CHILD(child, umf_fence_unref(fence));
    join_child(child);
    CHECK(free_slots() == 0);
    umf_fence_unref(fence);
    CHECK(free_slots() == 1);
    umf_fence_unref(lasting);
    umf_page_unref(page);
}

int
main(void)
{
    struct peer peer = start_peer(others_cannot_end_it);
    watchdog(30);
    a_late_write_hits_the_next_fence_of_a_free_slot();
    its_slot_is_kept();
    a_dead_process_keeps_no_slot();
    only_the_creator_ends_it(&peer);
    return 0;
}
