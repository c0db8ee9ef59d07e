// SPDX-License-Identifier: MIT
/*
 * No call changes errno, whether it succeeds, fails, sleeps or is interrupted. (bad_input.c checks
 * the same for wrong arguments.)
 */
#include "sleeper.h"
#include "watch.h"

static void
interrupted(int signal)
{
    (void)signal;
}

static void *
signal_later(void *fence)
{
    until_asleep(getpid(), getpid());
    OK(umf_fence_signal(fence, umf_fence_value(fence) + 1));
    return NULL;
}

int
main(void)
{
    struct umf_caps caps = { .size = sizeof(caps) };
    struct umf_page *page, *again;
    struct umf_fence *fence, *opened, *failed, *full;
    pthread_t thread;
    int fd, error;
    uint64_t time;
    watchdog(30);

    KEEPS_ERRNO(0, umf_query_caps(&caps));
    KEEPS_ERRNO(umf_version(), umf_version());
    KEEPS_ERRNO(0, umf_page_create(2, 0, &page));
    KEEPS_ERRNO(2, umf_page_fence_count(page));
    KEEPS_ERRNO(0, umf_page_ref(page) != page);
    KEEPS_ERRNO(0, umf_page_export(page, 0, &fd));
    KEEPS_ERRNO(0, umf_page_import(fd, 0, &again));
    KEEPS_ERRNO(0, (umf_page_unref(again), umf_page_unref(again), 0));
    KEEPS_ERRNO(0, umf_fence_create(page, 0, 0, &fence));
    KEEPS_ERRNO(0, umf_fence_page(fence) != page);
    KEEPS_ERRNO(0, umf_fence_index(fence));
    KEEPS_ERRNO(0, umf_fence_open(page, 0, 0, &opened));
    KEEPS_ERRNO(0, (umf_fence_ref(opened), umf_fence_unref(opened), umf_fence_unref(opened), 0));
    KEEPS_ERRNO(0, umf_fence_offset(fence) % 64);
    KEEPS_ERRNO(0, umf_fence_value(fence));
    KEEPS_ERRNO(0, umf_fence_signal(fence, 1));
    KEEPS_ERRNO(0, umf_fence_notify(fence));
    KEEPS_ERRNO(0, umf_fence_submit(fence, 2));
    KEEPS_ERRNO(-EINVAL, umf_fence_update(fence, UMF_UPDATE_ADD, 1, 0, NULL));
    KEEPS_ERRNO(2, umf_fence_pending_value(fence));
    KEEPS_ERRNO(-ENOENT, umf_fence_timestamp(fence, 1, &time));
    KEEPS_ERRNO(0, umf_fence_error(fence, &error));
    KEEPS_ERRNO(0, umf_fence_import_sync_file(fence, 1, -1, 0, 0));
    KEEPS_ERRNO(0, umf_fence_create(page, 0, 0, &failed));
    KEEPS_ERRNO(-ENOSPC, umf_fence_create(page, 0, 0, &full));
    KEEPS_ERRNO(0, umf_fence_set_error(failed, -ENODEV));
    KEEPS_ERRNO(-EIO, umf_fence_signal(failed, 1));
    KEEPS_ERRNO(-EIO, umf_fence_wait(failed, 1, FOREVER));

    /* Waits: met, polled, timed out, slept, and interrupted by a signal handler. */
    struct umf_condition met[2] = { { fence, 1, UMF_OP_GE, 0, 0 }, { failed, 0, UMF_OP_GE, 0, 0 } };
    struct umf_condition unmet[2] = { { failed, 0, UMF_OP_GE, 0, 0 },
                                      { fence, 9, UMF_OP_GE, 0, 0 } };
    KEEPS_ERRNO(0, umf_fence_wait(fence, 1, 0));
    KEEPS_ERRNO(0, umf_wait(met, 2, 0, 0, NULL));
    KEEPS_ERRNO(0, umf_wait(met, 2, UMF_WAIT_ANY, 0, NULL));
    KEEPS_ERRNO(-ETIME, umf_fence_wait(fence, 9, 0));
    KEEPS_ERRNO(-ETIME, umf_wait(unmet, 2, 0, 0, NULL));
    for (int interrupt = 0; interrupt < 2; interrupt++) {
        struct itimerspec every_ms = { { 0, MS }, { 0, MS } };
        struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };
        struct sigaction action = { .sa_handler = interrupted };
        timer_t timer;
        CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
        CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
        if (interrupt)
            CHECK(timer_settime(timer, 0, &every_ms, NULL) == 0);
        uint64_t deadline = in_ns(10 * MS);
        KEEPS_ERRNO(-ETIME, umf_fence_wait(fence, 9, deadline));
        KEEPS_ERRNO(-ETIME, umf_wait(unmet, 2, 0, deadline + 10 * MS, NULL));
        KEEPS_ERRNO(-ETIME, umf_wait(unmet + 1, 1, UMF_WAIT_ANY, deadline + 20 * MS, NULL));
        uint64_t next = umf_fence_value(fence) + 1;
        CHECK(pthread_create(&thread, NULL, signal_later, fence) == 0);
        KEEPS_ERRNO(0, umf_fence_wait(fence, next, FOREVER));
        CHECK(pthread_join(thread, NULL) == 0);
        CHECK(timer_delete(timer) == 0);
    }

    /* Loops and watches. */
    for (uint64_t flags = 0; flags <= UMF_LOOP_THREAD; flags++) {
        struct umf_loop *loop, *more;
        struct umf_watch *watch, *other;
        struct told told;
        struct umf_callback callback = callback_to(&told);
        uint64_t next = umf_fence_value(fence) + 1;
        struct umf_condition wait = { fence, next, UMF_OP_GE, 0, 0 };
        int event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        KEEPS_ERRNO(0, umf_loop_create(flags, &loop));
        KEEPS_ERRNO(-EINVAL, umf_loop_create(4, &more));
        KEEPS_ERRNO(0, umf_loop_ref(loop) != loop);
        KEEPS_ERRNO(0, (umf_loop_unref(loop), 0));
        KEEPS_ERRNO(flags ? -EINVAL : 0, umf_loop_fd(loop) < 0 ? umf_loop_fd(loop) : 0);
        KEEPS_ERRNO(flags ? -EINVAL : 0, umf_loop_dispatch(loop, 0));
        KEEPS_ERRNO(0, umf_loop_watch(loop, &wait, 0, &callback, &watch));
        KEEPS_ERRNO(0, umf_loop_export_eventfd(loop, &wait, 0, event, NULL, &other));
        KEEPS_ERRNO(-EBADF, umf_loop_export_eventfd(loop, &wait, 0, -1, NULL, NULL));
        KEEPS_ERRNO(0, umf_loop_export_fence(loop, fence, next, fence, next + 1, 0, NULL, NULL));
        KEEPS_ERRNO(0, umf_loop_import_sync_file(loop, fence, next - 1, -1, 0, NULL, NULL));
        KEEPS_ERRNO(-ETIME, umf_watch_result(watch));
        KEEPS_ERRNO(0, umf_watch_ref(watch) != watch);
        KEEPS_ERRNO(0, (umf_watch_unref(watch), 0));
        KEEPS_ERRNO(0, umf_watch_cancel(other));
        KEEPS_ERRNO(0, umf_watch_cancel(other));
        KEEPS_ERRNO(-ECANCELED, umf_watch_result(other));
        KEEPS_ERRNO(0, umf_fence_signal(fence, next));
        while (told.releases == 0) {
            if (flags == 0 && is_readable(umf_loop_fd(loop)))
                KEEPS_ERRNO(0, umf_loop_dispatch(loop, 0));
        }
        KEEPS_ERRNO(0, umf_watch_result(watch));
        KEEPS_ERRNO(-EALREADY, umf_watch_cancel(watch));
        KEEPS_ERRNO(0, (umf_watch_unref(watch), umf_watch_unref(other), 0));
        callback = callback_to(&told);
        wait.value = next + 100;
        KEEPS_ERRNO(0, umf_loop_watch(loop, &wait, 0, &callback, NULL));
        KEEPS_ERRNO(0, (umf_loop_unref(loop), 0));
        CHECK(told.calls == 0 && told.releases == 1);
        close(event);
    }

    /* A signal that wakes a waiter. */
    struct sleeper sleeper = { .fence = fence, .value = 20 };
    fall_asleep(&sleeper);
    KEEPS_ERRNO(0, umf_fence_signal(fence, 20));
    EXPECT(0, end_of(&sleeper));

    KEEPS_ERRNO(0, (umf_fence_unref(fence), umf_fence_unref(failed), 0));
    KEEPS_ERRNO(0, (umf_page_unref(page), 0));
    close(fd);
    return 0;
}
