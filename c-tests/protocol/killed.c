// SPDX-License-Identifier: MIT
/*
 * A process that is killed in the middle of a signal blocks nobody for good. When a survivor fails
 * the fence, or its creator ends it, every wait for it ends. The signaler is killed before each
 * instruction of the call in turn.
 */
#include "single_step.h"
#include "sleeper.h"

#define START 100
#define TARGET 140
#define ALIAS (TARGET - 32)

static struct umf_page *page;
static struct umf_fence *fence;

/* The calls that are cut short. */
static int do_signal(void) { return -umf_fence_signal(fence, TARGET); }
static int do_alias(void) { return -umf_fence_signal(fence, ALIAS); }
static int do_notify(void) { return -umf_fence_notify(fence); }
static int do_fail(void) { return -umf_fence_set_error(fence, -ENODEV); }

/* The calls of a survivor. */
static void fail(void) { OK(umf_fence_set_error(fence, -EOWNERDEAD)); }
static void end(void) { umf_fence_unref(fence); fence = NULL; }

/* The waiter, in another process. */
static int wait_one(void) { return -umf_fence_wait(fence, TARGET, FOREVER); }

static int
wait_list(uint64_t flags)
{
    struct umf_condition entry = { fence, TARGET, UMF_OP_GE, 0, 0 };
    return -umf_wait(&entry, 1, flags, FOREVER, NULL);
}

static int wait_all(void) { return wait_list(0); }
static int wait_any(void) { return wait_list(UMF_WAIT_ANY); }

static const struct {
    const char *what;
    int (*killed)(void);
    void (*survivor)(void);
} deaths[] = {
    { "killed while it signals; another fails the fence", do_signal, fail },
    { "killed while it signals; the fence ends", do_signal, end },
    { "killed while it signals for others; another fails the fence", do_alias, fail },
    { "killed while it signals for others; the fence ends", do_alias, end },
    { "killed while it notifies; another fails the fence", do_notify, fail },
    { "killed while it notifies; the fence ends", do_notify, end },
    { "killed while it fails the fence; another fails it too", do_fail, fail },
    { "killed while it fails the fence; the fence ends", do_fail, end },
};

static const struct {
    const char *what;
    int (*wait)(void);
} waits[] = {
    { "umf_fence_wait", wait_one },
    { "wait for all", wait_all },
    { "wait for any", wait_any },
};

/* A fresh page: waiter bits of earlier waits would change the signaler's code path. */
static void
create(uint64_t value)
{
    OK(umf_page_create(1, 0, &page));
    OK(umf_fence_create(page, value, 0, &fence));
}

static void
destroy(void)
{
    umf_fence_unref(fence);
    umf_page_unref(page);
}

static pid_t
start_waiter(size_t k)
{
    int code;
    pid_t pid = start_stopped(waits[k].wait);
    CHECK(pid > 0 && run_on(pid, &code) == ASLEEP);
    return pid;
}

/* Whether the survivor's call wakes the waiter. The kernel wakes it before that call returns. */
static bool
is_woken(size_t i, size_t k, uintptr_t pc)
{
    int code = 0;
    create(START);
    pid_t waiter = start_waiter(k);
    end_child(start_stopped_at(deaths[i].killed, pc));
    deaths[i].survivor();
    enum progress progress = watch_child(waiter, &code);
    CHECK(progress != STOPPED);
    if (progress == ENDED)
        CHECK(code == 0 || code == EIO || code == EOWNERDEAD || code == ESTALE);
    else
        end_child(waiter);
    destroy();
    return progress == ENDED;
}

/* The instructions of the call while a waiter sleeps in this way. */
static void
find_points_of(struct points *points, size_t i, size_t k)
{
    create(START);
    pid_t waiter = start_waiter(k);
    find_points(points, deaths[i].killed);
    end_child(waiter);
    destroy();
}

int
main(void)
{
    int failures = 0;
    watchdog(50);
    if (!prepare_to_step())
        return SKIPPED;
    /* Runs each call once, for the dynamic linker. */
    create(TARGET);
    CHECK(do_signal() == 0 && do_notify() == 0 && wait_one() == 0 && wait_all() == 0);
    CHECK(do_fail() == 0);
    if (!can_be_stopped(do_signal))
        return SKIPPED;
    destroy();

    for (size_t i = 0; i < ARRAY_SIZE(deaths); i++) {
        for (size_t k = 0; k < ARRAY_SIZE(waits); k++) {
            struct points points;
            unsigned lost = 0;
            find_points_of(&points, i, k);
            for (unsigned n = 0; n < points.count; n++)
                lost += !is_woken(i, k, points.at[n]);
            if (lost) {
                fprintf(stderr, "%s: %s slept on, at %u of %u instructions\n", deaths[i].what,
                        waits[k].what, lost, points.count);
                failures++;
            }
        }
    }
    return failures != 0;
}
