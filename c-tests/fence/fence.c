// SPDX-License-Identifier: MIT
/*
 * Fences: a value only grows, every process sees a pending value and an error, and an ended fence
 * is never confused with the next one in its slot.
 */
#include "process.h"
#include "sleeper.h"

#include <limits.h>

static struct umf_page *page;

static struct umf_fence *
fence_at(uint64_t value)
{
    struct umf_fence *fence;
    OK(umf_fence_create(page, value, 0, &fence));
    return fence;
}

static void
a_value_goes_forward_and_never_back(void)
{
    struct umf_fence *fence = fence_at(5);
    CHECK(umf_fence_value(fence) == 5);
    OK(umf_fence_signal(fence, 6));
    OK(umf_fence_signal(fence, 6));
    EXPECT(-EINVAL, umf_fence_signal(fence, 5));
    EXPECT(-EINVAL, umf_fence_signal(fence, 0));
    CHECK(umf_fence_value(fence) == 6);
    OK(umf_fence_signal(fence, 6 + (UINT64_C(1) << 32)));
    EXPECT(-EINVAL, umf_fence_signal(fence, UINT32_MAX));
    OK(umf_fence_signal(fence, UINT64_C(1) << 63));
    OK(umf_fence_signal(fence, UINT64_MAX));
    OK(umf_fence_signal(fence, UINT64_MAX));
    EXPECT(-EINVAL, umf_fence_signal(fence, 0));
    EXPECT(-EINVAL, umf_fence_signal(fence, UINT64_MAX - 1));
    CHECK(umf_fence_value(fence) == UINT64_MAX);
    OK(umf_fence_wait(fence, UINT64_MAX, 0));
    umf_fence_unref(fence);
}

static void
what_a_fence_starts_with_is_reached(void)
{
    const uint64_t starts[] = {
        0, 1, 31, 32, UINT32_MAX, UINT64_C(1) << 63, UINT64_MAX - 1, UINT64_MAX,
    };
    for (size_t i = 0; i < ARRAY_SIZE(starts); i++) {
        struct umf_fence *fence = fence_at(starts[i]);
        CHECK(umf_fence_value(fence) == starts[i] && umf_fence_pending_value(fence) == starts[i]);
        CHECK(error_of(fence) == 0);
        OK(umf_fence_wait(fence, 0, 0));
        OK(umf_fence_wait(fence, starts[i], 0));
        if (starts[i] < UINT64_MAX)
            EXPECT(-ETIME, umf_fence_wait(fence, starts[i] + 1, 0));
        umf_fence_unref(fence);
    }
}

static void
what_was_submitted_is_pending_until_it_is_passed(void)
{
    struct umf_fence *fence = fence_at(5);
    OK(umf_fence_submit(fence, 9));
    OK(umf_fence_submit(fence, 7));
    CHECK(umf_fence_pending_value(fence) == 9 && umf_fence_value(fence) == 5);
    OK(umf_fence_signal(fence, 8));
    CHECK(umf_fence_pending_value(fence) == 9 && umf_fence_value(fence) == 8);
    OK(umf_fence_signal(fence, 20));
    CHECK(umf_fence_pending_value(fence) == 20);
    OK(umf_fence_submit(fence, 10));
    CHECK(umf_fence_pending_value(fence) == 20);
    OK(umf_fence_submit(fence, UINT64_MAX));
    CHECK(umf_fence_pending_value(fence) == UINT64_MAX && umf_fence_value(fence) == 20);
    EXPECT(-ETIME, umf_fence_wait(fence, 21, 0));
    umf_fence_unref(fence);
}

static void
the_first_error_stays_and_reached_values_stay_reached(void)
{
    const int errors[] = { -1, -EIO, -ETIME, -EINVAL, -ESTALE, -EOWNERDEAD, -4095 };
    for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
        struct umf_fence *fence = fence_at(5);
        int answer = errors[i] == -EOWNERDEAD ? -EOWNERDEAD : -EIO;
        OK(umf_fence_submit(fence, 8));
        OK(umf_fence_set_error(fence, errors[i]));
        OK(umf_fence_set_error(fence, -ENODEV));
        CHECK(error_of(fence) == errors[i]);
        OK(umf_fence_wait(fence, 4, FOREVER));
        OK(umf_fence_wait(fence, 5, FOREVER));
        EXPECT(answer, umf_fence_wait(fence, 6, FOREVER));
        EXPECT(answer, umf_fence_wait(fence, 6, 0));
        EXPECT(answer, umf_fence_wait(fence, UINT64_MAX, 1));
        EXPECT(answer, umf_fence_signal(fence, 6));
        EXPECT(answer, umf_fence_submit(fence, 9));
        EXPECT(answer, umf_fence_import_sync_file(fence, 6, -1, 0, 0));
        OK(umf_fence_notify(fence));
        CHECK(umf_fence_value(fence) == 5 && umf_fence_pending_value(fence) == 8);
        umf_fence_unref(fence);
        /* not the next fence's value */
        fence = fence_at(5);
        CHECK(error_of(fence) == 0 && umf_fence_pending_value(fence) == 5);
        umf_fence_unref(fence);
    }
}

static void
one_fence_is_one_object_however_often_it_is_opened(void)
{
    struct umf_fence *fence = fence_at(5), *again, *other = fence_at(5);
    OK(umf_fence_open(page, umf_fence_index(fence), 0, &again));
    CHECK(again == fence && umf_fence_ref(fence) == fence && other != fence);
    umf_fence_unref(fence);
    umf_fence_unref(again);
    OK(umf_fence_signal(fence, 6));
    CHECK(umf_fence_value(fence) == 6 && umf_fence_value(other) == 5);
    umf_fence_unref(fence);
    umf_fence_unref(other);
}

static void
a_child_that_drops_what_it_inherited_ends_nothing(void)
{
    struct umf_fence *fence = fence_at(5);
    pid_t pid;
    IN_CHILD(pid, {
        struct umf_fence *opened;
        OK(umf_fence_signal(fence, 6));
        umf_fence_unref(fence);
        OK(umf_fence_open(page, 0, 0, &opened));
        CHECK(umf_fence_value(opened) == 6);
        umf_fence_unref(opened);
        umf_page_unref(page);
    });
    join_child(pid);
    CHECK(umf_fence_value(fence) == 6);
    OK(umf_fence_signal(fence, 7));
    umf_fence_unref(fence);
}

static void
what_a_child_creates_ends_with_the_child_that_ends_it(void)
{
    struct umf_fence *fence = fence_at(5), *gone;
    uint32_t index;
    int pipe_fds[2];
    pid_t pid;
    CHECK(pipe2(pipe_fds, O_CLOEXEC) == 0);
    IN_CHILD(pid, {
        struct umf_fence *child = fence_at(50);
        index = umf_fence_index(child);
        CHECK(index != umf_fence_index(fence));
        umf_fence_unref(child);
        CHECK(write(pipe_fds[1], &index, sizeof(index)) == sizeof(index));
    });
    join_child(pid);
    CHECK(read(pipe_fds[0], &index, sizeof(index)) == sizeof(index));
    EXPECT(-ENOENT, umf_fence_open(page, index, 0, &gone));
    umf_fence_unref(fence);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
}

/* The peer of the next test. It is sent a page and an index, waits for 10, and tells how that
 * ended. */
static void
wait_for_ten(int sock)
{
    struct umf_page *its = recv_page(sock);
    struct umf_fence *fence = recv_fence(sock, its);
    tell(sock, 1);
    tell(sock, (uint64_t)(int64_t)umf_fence_wait(fence, 10, FOREVER));
    int error = 0, answer = umf_fence_error(fence, &error);
    tell(sock, (uint64_t)(int64_t)(answer ? answer : error));
    umf_fence_unref(fence);
    umf_page_unref(its);
}

static struct peer
waiting_peer(struct peer peer, struct umf_page *of, const struct umf_fence *fence)
{
    send_page(peer.sock, of);
    tell(peer.sock, umf_fence_index(fence));
    hear(peer.sock);
    until_asleep(peer.pid, peer.pid);
    return peer;
}

static void
an_error_ends_the_sleep_of_another_process(struct peer peer, int error, int answer)
{
    struct umf_fence *fence = fence_at(9);
    waiting_peer(peer, page, fence);
    OK(umf_fence_set_error(fence, error));
    EXPECT(answer, (int64_t)hear(peer.sock));
    EXPECT(error, (int64_t)hear(peer.sock));
    end_peer(&peer);
    umf_fence_unref(fence);
}

static void
the_end_of_a_fence_ends_the_sleep_of_another_process(struct peer peer)
{
    struct umf_fence *fence = fence_at(9);
    waiting_peer(peer, page, fence);
    umf_fence_unref(fence);
    EXPECT(-ESTALE, (int64_t)hear(peer.sock));
    EXPECT(-ESTALE, (int64_t)hear(peer.sock));
    end_peer(&peer);
}

/* Keeps a handle of a fence that ends, while another fence begins in its slot. */
static void
hold_a_stale_handle(int sock)
{
    struct umf_page *its = recv_page(sock);
    struct umf_fence *old = recv_fence(sock, its), *new;
    CHECK(umf_fence_value(old) == 5);
    tell(sock, 1);
    for (int life = 1; life <= 3; life++) {
        /* The slot is in use again, by a fence that is far ahead and has failed. */
        hear(sock);
        struct umf_condition list[1] = { { old, 6, UMF_OP_GE, 0, 0 } };
        int error = 1;
        CHECK(umf_fence_value(old) == 5 && umf_fence_pending_value(old) == 5);
        OK(umf_fence_wait(old, 5, FOREVER));
        EXPECT(-ESTALE, umf_fence_wait(old, 6, FOREVER));
        EXPECT(-ESTALE, umf_fence_wait(old, 6, 0));
        EXPECT(-ESTALE, umf_wait(list, 1, 0, FOREVER, NULL));
        EXPECT(-ESTALE, umf_wait(list, 1, UMF_WAIT_ANY, FOREVER, NULL));
        EXPECT(-ESTALE, umf_wait(list, 1, UMF_WAIT_PENDING, FOREVER, NULL));
        EXPECT(-ESTALE, umf_fence_signal(old, 2000));
        EXPECT(-ESTALE, umf_fence_notify(old));
        EXPECT(-ESTALE, umf_fence_submit(old, 2000));
        EXPECT(-ESTALE, umf_fence_set_error(old, -EIO));
        EXPECT(-ESTALE, umf_fence_error(old, &error));
        EXPECT(-ESTALE, umf_fence_import_sync_file(old, 2000, -1, 0, 0));
        CHECK(error == 1);
        /* Opening by index gives the fence that is alive there now. */
        OK(umf_fence_open(its, umf_fence_index(old), 0, &new));
        CHECK(new != old && umf_fence_value(new) == 1000 && error_of(new) == -ENODEV);
        umf_fence_unref(new);
        tell(sock, 1);
    }
    /* Releasing the old handle does not affect the new fence. */
    OK(umf_fence_open(its, umf_fence_index(old), 0, &new));
    umf_fence_unref(old);
    OK(umf_fence_open(its, umf_fence_index(new), 0, &old));
    CHECK(old == new);
    umf_fence_unref(old);
    CHECK(umf_fence_value(new) == 1000);
    umf_fence_unref(new);
    umf_page_unref(its);
}

static void
a_stale_handle_never_sees_the_next_fence_of_its_slot(struct peer peer)
{
    struct umf_page *small;
    struct umf_fence *fence;
    OK(umf_page_create(1, 0, &small));
    OK(umf_fence_create(small, 5, 0, &fence));
    send_page(peer.sock, small);
    tell(peer.sock, umf_fence_index(fence));
    hear(peer.sock);
    for (int life = 1; life <= 3; life++) {
        umf_fence_unref(fence);
        OK(umf_fence_create(small, 1000, 0, &fence));
        OK(umf_fence_submit(fence, 3000));
        OK(umf_fence_set_error(fence, -ENODEV));
        tell(peer.sock, 1);
        hear(peer.sock);
        CHECK(umf_fence_value(fence) == 1000 && umf_fence_pending_value(fence) == 3000);
        CHECK(error_of(fence) == -ENODEV);
    }
    end_peer(&peer);
    umf_fence_unref(fence);
    umf_page_unref(small);
}

/* A process that opened a fence may fail it, signal it and release it. Only the creator ends it. */
static void
use_and_let_go(int sock)
{
    struct umf_page *its = recv_page(sock);
    struct umf_fence *fence = recv_fence(sock, its);
    OK(umf_fence_submit(fence, 12));
    OK(umf_fence_signal(fence, 11));
    OK(umf_fence_set_error(fence, -ENODEV));
    umf_fence_unref(fence);
    umf_page_unref(its);
}

static void
letting_go_of_a_fence_that_was_opened_does_not_end_it(struct peer peer)
{
    struct umf_fence *fence = fence_at(9);
    send_page(peer.sock, page);
    tell(peer.sock, umf_fence_index(fence));
    end_peer(&peer);
    CHECK(umf_fence_value(fence) == 11 && umf_fence_pending_value(fence) == 12);
    CHECK(error_of(fence) == -ENODEV);
    umf_fence_unref(fence);
}

/* Otherwise a handle that looks a moment too late would see another fence in the slot. */
static void
slots_take_turns(void)
{
    struct umf_page *page;
    OK(umf_page_create(3, 0, &page));
    for (uint32_t i = 0; i < 12; i++) {
        struct umf_fence *fence;
        OK(umf_fence_create(page, 0, 0, &fence));
        CHECK(umf_fence_index(fence) == i % 3);
        umf_fence_unref(fence);
    }
    umf_page_unref(page);
}

int
main(void)
{
    watchdog(30);
    struct peer waiters[4], holder, user;
    for (int i = 0; i < 4; i++)
        waiters[i] = start_peer(wait_for_ten);
    holder = start_peer(hold_a_stale_handle);
    user = start_peer(use_and_let_go);

    OK(umf_page_create(2, 0, &page));
    a_value_goes_forward_and_never_back();
    what_a_fence_starts_with_is_reached();
    what_was_submitted_is_pending_until_it_is_passed();
    the_first_error_stays_and_reached_values_stay_reached();
    one_fence_is_one_object_however_often_it_is_opened();
    a_child_that_drops_what_it_inherited_ends_nothing();
    what_a_child_creates_ends_with_the_child_that_ends_it();
    an_error_ends_the_sleep_of_another_process(waiters[0], -ENODEV, -EIO);
    an_error_ends_the_sleep_of_another_process(waiters[1], -ETIME, -EIO);
    an_error_ends_the_sleep_of_another_process(waiters[2], -EOWNERDEAD, -EOWNERDEAD);
    the_end_of_a_fence_ends_the_sleep_of_another_process(waiters[3]);
    a_stale_handle_never_sees_the_next_fence_of_its_slot(holder);
    letting_go_of_a_fence_that_was_opened_does_not_end_it(user);
    umf_page_unref(page);
    slots_take_turns();
    return 0;
}
