// SPDX-License-Identifier: MIT
/*
 * Functions that are marked async-signal-safe are. A handler may call them whatever it interrupts,
 * even a call that holds a lock or allocates, and both calls give the right result.
 */
#include "notifier.h"
#include "sleeper.h"

#include <sys/eventfd.h>

static struct umf_page *page;
static struct umf_fence *ticks, *announced, *work, *written;
static atomic_uint handled;
/* Where the handler found an error. */
static atomic_int wrong_line;

#define WRONG_UNLESS(condition)                                                                    \
    do {                                                                                           \
        if (!(condition))                                                                          \
            atomic_store(&wrong_line, __LINE__);                                                   \
    } while (0)

/* Every function that a handler may call. */
static void
handler(int signal)
{
    int saved = errno, error = 1;
    uint32_t index = 2;
    uint64_t next = umf_fence_value(ticks) + 1;
    struct umf_condition list[2] = { { announced, UINT64_MAX, UMF_OP_GE, 0, 0 },
                                     { ticks, next, UMF_OP_GE, 0, 0 } };
    (void)signal;
    WRONG_UNLESS(umf_fence_wait(ticks, next, 0) == -ETIME);
    WRONG_UNLESS(umf_fence_wait(ticks, next, 1) == -ETIME);
    WRONG_UNLESS(umf_wait(list, 2, UMF_WAIT_ANY, 1, &index) == -ETIME);
    WRONG_UNLESS(umf_fence_submit(announced, next) == 0);
    WRONG_UNLESS(umf_fence_pending_value(announced) == next);
    WRONG_UNLESS(umf_fence_update(ticks, UMF_UPDATE_ADD, 1, 0, NULL) == -EINVAL);
    WRONG_UNLESS(umf_fence_signal(ticks, next) == 0);
    WRONG_UNLESS(umf_fence_signal(ticks, next - 1) == -EINVAL);
    WRONG_UNLESS(umf_fence_value(ticks) == next);
    WRONG_UNLESS(umf_fence_wait(ticks, next, FOREVER) == 0);
    WRONG_UNLESS(umf_wait(list, 2, UMF_WAIT_ANY, FOREVER, &index) == 0 && index == 1);
    WRONG_UNLESS(umf_wait(list + 1, 1, 0, FOREVER, NULL) == 0);
    WRONG_UNLESS(umf_fence_notify(work) == 0);
    WRONG_UNLESS(umf_page_notify(page) == 0);
    list[0].fence = written;
    list[1] = list[0];
    WRONG_UNLESS(umf_fence_wait(written, 1, in_ns(1000)) == -ETIME);
    WRONG_UNLESS(umf_wait(list, 2, UMF_WAIT_ANY, in_ns(1000), &index) == -ETIME);
    WRONG_UNLESS(umf_notifier_ref(NULL) == NULL);
    WRONG_UNLESS(umf_fence_error(work, &error) == 0 && error == 0);
    WRONG_UNLESS(umf_fence_set_error(work, 0) == -EINVAL);
    WRONG_UNLESS(umf_fence_page(ticks) == page);
    WRONG_UNLESS(umf_fence_index(ticks) < umf_page_fence_count(page));
    WRONG_UNLESS(umf_fence_offset(ticks) % 64 == 0);
    WRONG_UNLESS(umf_page_ref(NULL) == NULL && umf_version() != 0);
    WRONG_UNLESS(errno == saved);
    atomic_fetch_add(&handled, 1);
}

static atomic_bool enough;

/* Sends signals as fast as the handler can run, so that it interrupts calls at many points. */
static void *
interrupt_main(void *thread)
{
    while (!atomic_load(&enough)) {
        unsigned before = atomic_load(&handled);
        CHECK(pthread_kill(*(pthread_t *)thread, SIGUSR1) == 0);
        while (atomic_load(&handled) == before && !atomic_load(&enough))
            sched_yield();
    }
    return NULL;
}

static void
a_handler_may_interrupt_any_call(void)
{
    const unsigned enough_signals = rounds(30000, 500);
    pthread_t self = pthread_self(), thread;
    CHECK(pthread_create(&thread, NULL, interrupt_main, &self) == 0);
    for (uint64_t i = 1; atomic_load(&handled) < enough_signals; i++) {
        struct umf_page *more, *again;
        struct umf_fence *fence, *opened;
        int fd;
        OK(umf_page_create(1 + i % 100, 0, &more));
        OK(umf_page_export(more, 0, &fd));
        OK(umf_page_import(fd, 0, &again));
        close(fd);
        OK(umf_fence_create(more, i, 0, &fence));
        OK(umf_fence_open(again, umf_fence_index(fence), 0, &opened));
        OK(umf_fence_signal(work, i));
        OK(umf_fence_wait(work, i, FOREVER));
        EXPECT(-ETIME, umf_fence_wait(work, i + 1, in_ns(20000)));
        EXPECT(-ETIME, umf_fence_wait(written, 1, in_ns(20000)));
        struct umf_condition list[2] = { { work, i, UMF_OP_GE, 0, 0 },
                                         { fence, i + 1, UMF_OP_GE, 0, 0 } };
        EXPECT(-ETIME, umf_wait(list, 2, 0, in_ns(20000), NULL));
        OK(umf_wait(list, 2, UMF_WAIT_ANY, FOREVER, NULL));
        umf_fence_unref(opened);
        umf_fence_unref(fence);
        umf_page_unref(again);
        umf_page_unref(more);
        CHECK(atomic_load(&wrong_line) == 0);
    }
    atomic_store(&enough, true);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(umf_fence_value(ticks) == atomic_load(&handled));
}

static void
signal_work(int signal)
{
    (void)signal;
    WRONG_UNLESS(umf_fence_signal(work, umf_fence_value(work) + 1) == 0);
}

static void *
interrupt_the_sleeper(void *thread)
{
    until_asleep(getpid(), getpid());
    CHECK(pthread_kill(*(pthread_t *)thread, SIGUSR2) == 0);
    return NULL;
}

static void
a_handler_may_signal_what_it_interrupts_the_wait_for(void)
{
    pthread_t self = pthread_self(), thread;
    for (int kind = 0; kind < 3; kind++) {
        struct umf_condition entry = { work, umf_fence_value(work) + 1, UMF_OP_GE, 0, 0 };
        CHECK(pthread_create(&thread, NULL, interrupt_the_sleeper, &self) == 0);
        if (kind == 0)
            OK(umf_fence_wait(work, entry.value, FOREVER));
        else
            OK(umf_wait(&entry, 1, kind == 1 ? 0 : UMF_WAIT_ANY, FOREVER, NULL));
        CHECK(pthread_join(thread, NULL) == 0);
        CHECK(atomic_load(&wrong_line) == 0);
    }
}

int
main(void)
{
    watchdog(40);
    OK(umf_page_create(4, 0, &page));
    OK(umf_fence_create(page, 0, 0, &ticks));
    OK(umf_fence_create(page, 0, 0, &announced));
    OK(umf_fence_create(page, 0, 0, &work));
    OK(umf_fence_create(page, 0, UMF_FENCE_DEVICE, &written));
    notify_by(written, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    CHECK(signal(SIGUSR1, handler) != SIG_ERR && signal(SIGUSR2, signal_work) != SIG_ERR);
    a_handler_may_interrupt_any_call();
    a_handler_may_signal_what_it_interrupts_the_wait_for();
    umf_fence_unref(ticks);
    umf_fence_unref(announced);
    umf_fence_unref(work);
    umf_page_unref(page);
    return 0;
}
