// SPDX-License-Identifier: MIT
/*
 * A handler may call functions that are marked async-signal-safe between any two instructions of
 * any call of the library, and both calls give the right result. The caller is stopped before each
 * instruction in turn, and a signal is delivered there. (signal_safe.c does the same at random, but
 * faster.)
 */
#include "notifier.h"
#include "single_step.h"
#include "sleeper.h"

#include <sys/eventfd.h>

static struct umf_page *page;
static struct umf_fence *fence, *other, *device, *failing;
static struct umf_notifier *notifier;
static int event;

#define EXIT_WRONG 3

/* For a handler, where CHECK may not print. */
#define RIGHT(condition)                                                                           \
    do {                                                                                           \
        static const char text_[] = "in the handler, does not hold: " #condition "\n";             \
        if (!(condition)) {                                                                        \
            if (write(STDERR_FILENO, text_, sizeof(text_) - 1) < 0)                                \
                _exit(EXIT_WRONG + 1);                                                             \
            _exit(EXIT_WRONG);                                                                     \
        }                                                                                          \
    } while (0)

static void
handler(int signal)
{
    int saved = errno, error = 1;
    uint64_t next = umf_fence_value(fence) + 1;
    struct umf_condition list[2] = { { .fence = other, .value = UINT64_MAX },
                                     { .fence = fence, .value = next } };
    (void)signal;
    RIGHT(umf_fence_wait(fence, next, 0) == -ETIME);
    RIGHT(umf_fence_wait(fence, next, in_ns(1000)) == -ETIME);
    RIGHT(umf_wait(list, 2, UMF_WAIT_ANY, in_ns(1000), NULL) == -ETIME);
    RIGHT(umf_fence_wait(device, UINT64_MAX, in_ns(100000)) == -ETIME);
    RIGHT(umf_fence_notify(device) == 0 && umf_fence_notify(fence) == 0);
    RIGHT(umf_fence_submit(fence, next) == 0);
    RIGHT(umf_fence_pending_value(fence) >= next);
    RIGHT(umf_fence_signal(fence, next) == 0 && umf_fence_value(fence) == next);
    RIGHT(umf_fence_wait(fence, next, FOREVER) == 0);
    RIGHT(umf_wait(list, 2, UMF_WAIT_ANY, FOREVER, NULL) == 0);
    RIGHT(umf_fence_error(fence, &error) == 0 && error == 0);
    RIGHT(umf_fence_index(fence) < umf_page_fence_count(page));
    RIGHT(errno == saved);
}

/* The interrupted calls. Their results depend on what the handler does in between. */
static int
wait_met(void)
{
    umf_fence_wait(fence, 1, FOREVER);
    return 0;
}

static int
wait_one(void)
{
    umf_fence_wait(fence, 1000, in_ns(50000));
    return 0;
}

static int
wait_list(uint64_t flags)
{
    struct umf_condition list[2] = { { .fence = other, .value = flags ? UINT64_MAX : 0 },
                                     { .fence = fence, .value = 1000 } };
    umf_wait(list, 2, flags, in_ns(50000), NULL);
    return 0;
}

static int wait_all(void) { return wait_list(0); }
static int wait_any(void) { return wait_list(UMF_WAIT_ANY); }

static int
wait_for_device(void)
{
    umf_fence_wait(device, 1000, in_ns(50000));
    return 0;
}

static int
signals(void)
{
    umf_fence_signal(fence, 2000);
    umf_fence_notify(fence);
    umf_fence_submit(fence, 3000);
    umf_fence_set_error(failing, -EIO);
    return 0;
}

static int
life_of_a_fence(void)
{
    struct umf_fence *more, *opened;
    OK(umf_fence_create(page, 1, 0, &more));
    OK(umf_fence_open(page, umf_fence_index(more), 0, &opened));
    umf_fence_unref(opened);
    umf_fence_unref(more);
    return 0;
}

static int
life_of_a_page(void)
{
    struct umf_page *more, *again;
    int fd;
    OK(umf_page_create(1, 0, &more));
    OK(umf_page_export(more, 0, &fd));
    OK(umf_page_import(fd, 0, &again));
    umf_page_unref(again);
    umf_page_unref(more);
    return 0;
}

static int
notify_page(void)
{
    OK(umf_page_notify(page));
    return 0;
}

static const struct {
    const char *what;
    int (*run)(void);
} calls[] = {
    { "a wait that is met", wait_met },
    { "a wait", wait_one },
    { "a wait for all", wait_all },
    { "a wait for any", wait_any },
    { "a wait for a device", wait_for_device },
    { "signals", signals },
    { "the life of a fence", life_of_a_fence },
    { "the life of a page", life_of_a_page },
    { "a page is notified", notify_page },
};

/* Created anew for each child, as the handler's signals stay. */
static void
create(void)
{
    OK(umf_page_create(5, 0, &page));
    OK(umf_fence_create(page, 1, 0, &fence));
    OK(umf_fence_create(page, 0, 0, &other));
    OK(umf_fence_create(page, 0, 0, &failing));
    OK(umf_fence_create(page, 0, UMF_FENCE_DEVICE, &device));
    notifier = notifier_of(event);
    OK(umf_fence_set_notifier(device, notifier));
}

static void
destroy(void)
{
    umf_notifier_unref(notifier);
    umf_fence_unref(device);
    umf_fence_unref(failing);
    umf_fence_unref(other);
    umf_fence_unref(fence);
    umf_page_unref(page);
}

static void
interrupt_everywhere(size_t i)
{
    static struct points points;
    unsigned done = 0;
    create();
    find_points(&points, calls[i].run);
    destroy();
    for (unsigned k = 0; k < points.count; k++) {
        int code = 255;
        create();
        /* A code path that depends on the clock does not always reach the instruction. */
        pid_t pid = try_to_stop_at(calls[i].run, points.at[k]);
        if (pid > 0) {
            CHECK(ptrace(PTRACE_CONT, pid, NULL, SIGUSR1) == 0);
            enum progress progress = until_ended(pid, &code);
            if (progress != ENDED || code != 0) {
                fprintf(stderr, "%s, interrupted at %#" PRIxPTR ": %s\n", calls[i].what,
                        points.at[k], progress == ENDED ? "goes wrong" : "hangs");
                exit(1);
            }
            done++;
        }
        destroy();
    }
    printf("%s: interrupted at %u of %u instructions\n", calls[i].what, done, points.count);
    CHECK(done > points.count / 2);
}

int
main(void)
{
    watchdog(50);
    if (!prepare_to_step())
        return SKIPPED;
    event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    CHECK(event >= 0 && signal(SIGUSR1, handler) != SIG_ERR);

    /* Runs each call once, since the dynamic linker is not under test. */
    create();
    if (!can_be_stopped(wait_met))
        return SKIPPED;
    handler(SIGUSR1);
    for (size_t i = 0; i < ARRAY_SIZE(calls); i++)
        calls[i].run();
    destroy();

    for (size_t i = 0; i < ARRAY_SIZE(calls); i++)
        interrupt_everywhere(i);
    close(event);
    return 0;
}
