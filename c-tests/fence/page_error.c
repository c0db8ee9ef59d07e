// SPDX-License-Identifier: MIT
/*
 * One call fails every fence of a page, for a device that is lost: all waits end with its error, in
 * all processes, and what was reached stays reached.
 */
#include "process.h"
#include "sleeper.h"
#include "watch.h"

#define FENCES 40

static struct umf_page *page;
static struct umf_fence *fences[FENCES];

static void
start(void)
{
    OK(umf_page_create(FENCES + 2, 0, &page));
    for (unsigned i = 0; i < FENCES; i++)
        OK(umf_fence_create(page, 0, i % 2 ? UMF_FENCE_DEVICE : 0, &fences[i]));
}

static void
finish(void)
{
    for (unsigned i = 0; i < FENCES; i++)
        umf_fence_unref(fences[i]);
    umf_page_unref(page);
}

/* The process that hears of the first failure finds the others failed as well. */
static void
wait_in_another_process(int sock)
{
    struct umf_page *theirs = recv_page(sock);
    struct umf_fence *opened[FENCES];
    for (unsigned i = 0; i < FENCES; i++)
        opened[i] = recv_fence(sock, theirs);
    tell(sock, 1);
    EXPECT(-EIO, umf_fence_wait(opened[0], 1, FOREVER));
    for (unsigned i = 0; i < FENCES; i++)
        CHECK(error_of(opened[i]) == (i == 5 ? -ETIMEDOUT : -EIO));
    for (unsigned i = 0; i < FENCES; i++)
        umf_fence_unref(opened[i]);
    umf_page_unref(theirs);
}

static void
every_wait_ends(struct peer *peer)
{
    struct told told;
    struct umf_loop *loop = create_loop(UMF_LOOP_THREAD);
    struct umf_callback callback = callback_to(&told);
    start();
    send_page(peer->sock, page);
    for (unsigned i = 0; i < FENCES; i++)
        tell(peer->sock, umf_fence_index(fences[i]));
    hear(peer->sock);
    OK(umf_fence_set_error(fences[5], -ETIMEDOUT));
    OK(umf_fence_signal(fences[6], 3));
    struct umf_condition any[3], all[2];
    for (unsigned i = 0; i < 3; i++)
        any[i] = (struct umf_condition){ .fence = fences[10 + i], .value = 1 };
    for (unsigned i = 0; i < 2; i++)
        all[i] = (struct umf_condition){ .fence = fences[20 + i], .value = 1 };
    struct umf_condition watched = { .fence = fences[30], .value = 1 };
    OK(umf_loop_watch(loop, &watched, 0, &callback, NULL));
    struct sleeper sleepers[4] = { { .fence = fences[2], .value = 1 },
                                   { .fence = fences[3], .value = 1 },
                                   { .waits = any, .count = 3, .flags = UMF_WAIT_ANY },
                                   { .waits = all, .count = 2 } };
    for (unsigned i = 0; i < 4; i++)
        fall_asleep(&sleepers[i]);
    OK(umf_page_set_error(page, -EIO));
    for (unsigned i = 0; i < 4; i++)
        EXPECT(-EIO, end_of(&sleepers[i]));
    UNTIL(loop, told.calls == 1);
    CHECK(told.result == -EIO);
    end_peer(peer);
    /* The first error stays. What is reached stays reached. */
    CHECK(error_of(fences[5]) == -ETIMEDOUT && error_of(fences[6]) == -EIO);
    OK(umf_fence_wait(fences[6], 3, 0));
    EXPECT(-EIO, umf_fence_signal(fences[6], 4));
    umf_loop_unref(loop);
    finish();
}

/* A fence that is created later has not failed, in a slot of a failed one neither. */
static void
later_fences_are_not_failed(void)
{
    struct umf_fence *later[3];
    start();
    OK(umf_page_set_error(page, -EIO));
    umf_fence_unref(fences[0]);
    for (unsigned i = 0; i < 3; i++) {
        OK(umf_fence_create(page, 0, 0, &later[i]));
        CHECK(error_of(later[i]) == 0);
    }
    for (unsigned i = 0; i < 3; i++) {
        OK(umf_fence_signal(later[i], 1));
        umf_fence_unref(later[i]);
    }
    OK(umf_fence_create(page, 0, 0, &fences[0]));
    finish();
}

static void
a_page_without_fences(void)
{
    OK(umf_page_create(1, 0, &page));
    OK(umf_page_set_error(page, -EIO));
    EXPECT(-EINVAL, umf_page_set_error(page, 0));
    EXPECT(-EINVAL, umf_page_set_error(page, EIO));
    EXPECT(-EINVAL, umf_page_set_error(page, -4096));
    EXPECT(-EINVAL, umf_page_set_error(NULL, -EIO));
    umf_page_unref(page);
}

/* Who may not write to the page cannot fail it. */
static void
a_reader_cannot_fail_it(void)
{
    struct umf_page *inspected;
    int fd;
    start();
    OK(umf_page_export(page, 0, &fd));
    OK(umf_page_import(fd, UMF_PAGE_READ_ONLY, &inspected));
    EXPECT(-EACCES, umf_page_set_error(inspected, -EIO));
    CHECK(error_of(fences[0]) == 0);
    umf_page_unref(inspected);
    close(fd);
    finish();
}

int
main(void)
{
    struct peer peer = start_peer(wait_in_another_process);
    watchdog(30);
    every_wait_ends(&peer);
    later_fences_are_not_failed();
    a_page_without_fences();
    a_reader_cannot_fail_it();
    return 0;
}
