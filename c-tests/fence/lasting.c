// SPDX-License-Identifier: MIT
/*
 * A fence with UMF_FENCE_LASTING belongs to its page, not to its creator. It lives as long as the
 * page: until the last mapping and the last descriptor are closed (umf_fence_create()).
 */
#include "process.h"
#include "sleeper.h"

/* Creates a page with one fence, sends it, and exits. */
static void
create_and_go(int sock)
{
    struct umf_page *page;
    struct umf_fence *fence;
    OK(umf_page_create(1, 0, &page));
    OK(umf_fence_create(page, 3, UMF_FENCE_LASTING, &fence));
    send_page(sock, page);
    umf_fence_unref(fence);
    umf_page_unref(page);
}

static void
it_can_be_opened_and_signaled_after_its_creator_is_gone(void)
{
    struct peer peer = start_peer(create_and_go);
    struct umf_page *page = recv_page(peer.sock);
    struct umf_fence *fence;
    end_peer(&peer);
    OK(umf_fence_open(page, 0, 0, &fence));
    CHECK(umf_fence_value(fence) == 3);
    OK(umf_fence_signal(fence, 4));
    OK(umf_fence_wait(fence, 4, FOREVER));
    umf_fence_unref(fence);
    umf_page_unref(page);
}

static void
it_outlives_every_handle_while_a_descriptor_is_left(void)
{
    struct umf_page *page;
    struct umf_fence *fence;
    int fd;
    OK(umf_page_create(1, 0, &page));
    OK(umf_fence_create(page, 0, UMF_FENCE_LASTING, &fence));
    OK(umf_fence_submit(fence, 9));
    OK(umf_fence_signal(fence, 8));
    OK(umf_page_export(page, 0, &fd));
    umf_fence_unref(fence);
    umf_page_unref(page);

    OK(umf_page_import(fd, 0, &page));
    CHECK(close(fd) == 0);
    OK(umf_fence_open(page, 0, 0, &fence));
    CHECK(umf_fence_value(fence) == 8);
    CHECK(umf_fence_pending_value(fence) == 9);
    umf_fence_unref(fence);
    umf_page_unref(page);
}

static void
its_creator_ends_no_wait_by_letting_go_and_its_slot_stays_taken(void)
{
    struct umf_page *page;
    struct umf_fence *fence, *other;
    OK(umf_page_create(1, 0, &page));
    OK(umf_fence_create(page, 0, UMF_FENCE_LASTING, &fence));
    umf_fence_unref(fence);
    EXPECT(-ENOSPC, umf_fence_create(page, 0, 0, &other));
    OK(umf_fence_open(page, 0, 0, &fence));
    EXPECT(-ETIME, umf_fence_wait(fence, 1, 0));
    umf_fence_unref(fence);
    umf_page_unref(page);
}

int
main(void)
{
    watchdog(30);
    it_can_be_opened_and_signaled_after_its_creator_is_gone();
    it_outlives_every_handle_while_a_descriptor_is_left();
    its_creator_ends_no_wait_by_letting_go_and_its_slot_stays_taken();
    return 0;
}
