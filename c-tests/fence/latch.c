// SPDX-License-Identifier: MIT
/*
 * A value that this process once saw as signaled stays signaled here, whatever a peer does to the
 * memory afterwards: a smaller value, zeros, a hole in the file. Nor does any of that crash this
 * process.
 */
#include "raw_page.h"
#include "sleeper.h"

static struct umf_page *page;
static struct umf_fence *fence, *unseen;
static struct raw peer;

static void
create(void)
{
    OK(umf_page_create(64, 0, &page));
    OK(umf_fence_create(page, 0, 0, &fence));
    OK(umf_fence_create(page, 0, 0, &unseen));
    peer = map_raw(page);
}

static void
destroy(void)
{
    unmap_raw(&peer);
    umf_fence_unref(fence);
    umf_fence_unref(unseen);
    umf_page_unref(page);
}

/* The ways in which a process can have seen a value. */
static void
by_value(void)
{
    CHECK(umf_fence_value(fence) == 50);
}

static void
by_wait(void)
{
    OK(umf_fence_wait(fence, 50, 0));
}

static void
by_wait_for_less(void)
{
    OK(umf_fence_wait(fence, 1, 0));
}

static void
by_wait_all(void)
{
    struct umf_condition list[2] = { { fence, 50, UMF_OP_GE, 0, 0 },
                                     { fence, 1, UMF_OP_GE, 0, 0 } };
    OK(umf_wait(list, 2, 0, 0, NULL));
}

static void
by_wait_any(void)
{
    struct umf_condition list[2] = { { unseen, 1, UMF_OP_GE, 0, 0 },
                                     { fence, 50, UMF_OP_GE, 0, 0 } };
    OK(umf_wait(list, 2, UMF_WAIT_ANY, 0, NULL));
}

static void
by_failing_wait_all(void)
{
    /* An entry that was met during the call stays met, even if the call fails. */
    struct umf_condition list[2] = { { fence, 50, UMF_OP_GE, 0, 0 },
                                     { unseen, 1, UMF_OP_GE, 0, 0 } };
    EXPECT(-ETIME, umf_wait(list, 2, 0, 0, NULL));
}

static void
by_pending_value(void)
{
    CHECK(umf_fence_pending_value(fence) == 50);
}

/* What a peer can do afterwards. */
static void
smaller_value(void)
{
    write_raw(&peer, fence, 3);
}

static void
all_zero(void)
{
    memset(peer.bytes, 0, peer.length);
}

static void
all_ones(void)
{
    memset(peer.bytes, 0xff, peer.length);
    write_raw(&peer, fence, 3);
}

static void
hole(void)
{
    int flags = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    CHECK(fallocate(peer.fd, flags, 0, (off_t)peer.length) == 0);
}

static void *
another_thread_agrees(void *unused)
{
    OK(umf_fence_wait(fence, 50, FOREVER));
    CHECK(umf_fence_value(fence) == 50);
    return unused;
}

static void
it_is_still_signaled(bool lives)
{
    struct umf_condition list[2] = { { fence, 50, UMF_OP_GE, 0, 0 },
                                     { fence, 49, UMF_OP_GE, 0, 0 } };
    uint32_t index = 2;
    pthread_t thread;
    CHECK(umf_fence_value(fence) == 50 && umf_fence_pending_value(fence) == 50);
    OK(umf_fence_wait(fence, 50, FOREVER));
    OK(umf_fence_wait(fence, 1, FOREVER));
    OK(umf_wait(list, 2, 0, FOREVER, NULL));
    OK(umf_wait(list, 2, UMF_WAIT_PENDING, FOREVER, NULL));
    OK(umf_wait(list, 2, UMF_WAIT_ANY, FOREVER, &index));
    CHECK(index < 2);
    CHECK(pthread_create(&thread, NULL, another_thread_agrees, NULL) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(umf_page_fence_count(page) == 64);
    if (!lives) {
        EXPECT(-ESTALE, umf_fence_wait(fence, 51, FOREVER));
        EXPECT(-ESTALE, umf_fence_signal(fence, 51));
        return;
    }
    /* Also for a handle that is opened again while another one is open. */
    struct umf_page *again;
    struct umf_fence *opened;
    OK(umf_page_import(peer.fd, 0, &again));
    OK(umf_fence_open(again, umf_fence_index(fence), 0, &opened));
    CHECK(umf_fence_value(opened) == 50);
    OK(umf_fence_wait(opened, 50, FOREVER));
    umf_fence_unref(opened);
    umf_page_unref(again);
}

static void
what_was_seen_stays_seen(void)
{
    static void (*const ways_to_see[])(void) = {
        by_value, by_wait, by_wait_all, by_wait_any, by_failing_wait_all, by_pending_value,
    };
    static const struct {
        void (*attack)(void);
        bool lives;
    } attacks[] = {
        { smaller_value, true },
        { all_zero, false },
        { all_ones, false },
        { hole, false },
    };

    for (size_t way = 0; way < ARRAY_SIZE(ways_to_see); way++) {
        for (size_t i = 0; i < ARRAY_SIZE(attacks); i++) {
            create();
            /* The peer writes it, so that only the way under test has seen it. */
            write_raw(&peer, fence, 50);
            ways_to_see[way]();
            attacks[i].attack();
            it_is_still_signaled(attacks[i].lives);
            destroy();
        }
    }
}

static void
a_wait_sees_the_whole_value_and_not_just_enough_of_it(void)
{
    create();
    write_raw(&peer, fence, 50);
    by_wait_for_less();
    smaller_value();
    CHECK(umf_fence_value(fence) == 50);
    destroy();
}

static void
a_waiter_that_was_woken_has_seen_it(void)
{
    create();
    struct sleeper sleeper = { .fence = fence, .value = 50 };
    fall_asleep(&sleeper);
    write_raw(&peer, fence, 50);
    OK(umf_fence_notify(fence));
    EXPECT(0, end_of(&sleeper));
    hole();
    it_is_still_signaled(false);
    destroy();
}

/* The peer punches the hole while the waiter sleeps: the waiter's word is gone, and the waiter
 * is told that the fence has ended. */
static void
a_hole_under_a_waiter_does_no_harm(void)
{
    create();
    struct sleeper sleeper = { .fence = fence, .value = 50 };
    fall_asleep(&sleeper);
    hole();
    CHECK(!atomic_load(&sleeper.done));
    /* The sleep ends with the page's next futex wake, which the peer makes itself, on all words
     * of the page. */
    for (size_t at = 0; at < peer.length; at += 4)
        syscall(SYS_futex, peer.bytes + at, 1 /* FUTEX_WAKE */, INT32_MAX, NULL, NULL, 0);
    EXPECT(-ESTALE, end_of(&sleeper));
    destroy();
}

int
main(void)
{
    watchdog(30);
    what_was_seen_stays_seen();
    a_wait_sees_the_whole_value_and_not_just_enough_of_it();
    a_waiter_that_was_woken_has_seen_it();
    a_hole_under_a_waiter_does_no_harm();
    return 0;
}
