// SPDX-License-Identifier: MIT
/*
 * A wait never misses its signal, whatever happens between any two of its instructions. The waiter
 * is stopped before each instruction of the call in turn. There each event that could wake it
 * happens, completely, and the wait must end. Then the other way round: the signaler is stopped,
 * and a waiter arrives between two instructions.
 */
#include "raw_page.h"
#include "single_step.h"
#include "sleeper.h"

/* The fence's first value, the value waited for, and a value with the same residue: 32 less. */
#define START 100
#define TARGET 140
#define ALIAS (TARGET - 32)

static struct umf_page *page, *other_page;
static struct umf_fence *fence, *idle, *elsewhere;
static struct raw raw;

/* Fresh pages: waiter bits of earlier waits would change the code path. */
static void
create(uint64_t value)
{
    OK(umf_page_create(2, 0, &page));
    OK(umf_page_create(1, 0, &other_page));
    OK(umf_fence_create(page, 0, 0, &idle));
    OK(umf_fence_create(page, value, 0, &fence));
    OK(umf_fence_create(other_page, 0, 0, &elsewhere));
    raw = map_raw(page);
}

static void
destroy(void)
{
    unmap_raw(&raw);
    umf_fence_unref(fence);
    umf_fence_unref(idle);
    umf_fence_unref(elsewhere);
    umf_page_unref(page);
    umf_page_unref(other_page);
}

/* Ways to wait. They run in the child, and return what a process can return. */
static int wait_one(void) { return -umf_fence_wait(fence, TARGET, FOREVER); }

static int
wait_list(uint64_t flags, struct umf_fence *with)
{
    /* The fence under test is behind another entry, which is met for all, and never for any. */
    bool any = flags & UMF_WAIT_ANY;
    struct umf_condition list[2] = { { with, any ? 1 : 0, UMF_OP_GE, 0, 0 },
                                     { fence, TARGET, UMF_OP_GE, 0, 0 } };
    return -umf_wait(list, 2, flags, FOREVER, NULL);
}

static int wait_all(void) { return wait_list(0, idle); }
static int wait_any(void) { return wait_list(UMF_WAIT_ANY, idle); }
static int wait_any_pages(void) { return wait_list(UMF_WAIT_ANY, elsewhere); }
static int wait_pending(void) { return wait_list(UMF_WAIT_PENDING, idle); }

/* An error of a fence that the wait does not sleep on: it is behind the entry that never comes. */
static int
wait_all_in_front(void)
{
    struct umf_condition list[2] = { { idle, 1, UMF_OP_GE, 0, 0 },
                                     { fence, TARGET, UMF_OP_GE, 0, 0 } };
    return -umf_wait(list, 2, 0, FOREVER, NULL);
}

/* The events. */
static void nothing(void) {}
static void signal_target(void) { OK(umf_fence_signal(fence, TARGET)); }
static void signal_alias(void) { OK(umf_fence_signal(fence, ALIAS)); }
static void signal_far(void) { OK(umf_fence_signal(fence, START + (UINT64_C(1) << 32))); }
static void submit_target(void) { OK(umf_fence_submit(fence, TARGET)); }
static void fail(void) { OK(umf_fence_set_error(fence, -ENODEV)); }
static void end(void) { umf_fence_unref(fence); fence = NULL; }
static void device_writes(void) { write_raw(&raw, fence, TARGET); OK(umf_fence_notify(fence)); }
static void needless_notify(void) { OK(umf_fence_notify(fence)); }

static const struct {
    const char *what;
    int (*wait)(void);
    /* At the stopped instruction; and later, once the waiter sleeps, if that did not yet fulfill
     * its condition. */
    void (*happens)(void), (*then)(void);
    int expected;
} waits[] = {
    { "signal", wait_one, signal_target, NULL, 0 },
    { "jump by 2^32", wait_one, signal_far, NULL, 0 },
    { "write by a device", wait_one, device_writes, NULL, 0 },
    { "error", wait_one, fail, NULL, EIO },
    { "end of the fence", wait_one, end, NULL, ESTALE },
    { "signal for another, then for this one", wait_one, signal_alias, signal_target, 0 },
    { "needless notification, then a signal", wait_one, needless_notify, signal_target, 0 },
    { "nothing, then a signal", wait_one, nothing, signal_target, 0 },
    { "wait for all: signal", wait_all, signal_target, NULL, 0 },
    { "wait for all: signal for another, then this one", wait_all, signal_alias, signal_target, 0 },
    { "wait for all: error", wait_all, fail, NULL, EIO },
    { "wait for all: error of one behind", wait_all_in_front, fail, NULL, EIO },
    { "wait for all: end of one behind", wait_all_in_front, end, NULL, ESTALE },
    { "wait for any: signal", wait_any, signal_target, NULL, 0 },
    { "wait for any: signal for another, then this one", wait_any, signal_alias, signal_target, 0 },
    { "wait for any: end of the fence", wait_any, end, NULL, ESTALE },
    { "wait for any of two pages: signal", wait_any_pages, signal_target, NULL, 0 },
    { "wait for any of two pages: error", wait_any_pages, fail, NULL, EIO },
    { "pending: submission", wait_pending, submit_target, NULL, 0 },
    { "pending: signal", wait_pending, signal_target, NULL, 0 },
};

/* pc 0 stands for the sleep itself. */
static void
stop_the_waiter_at(size_t i, uintptr_t pc)
{
    enum progress progress = ASLEEP;
    pid_t pid;
    int code = 255;
    create(START);
    if (pc) {
        pid = start_stopped_at(waits[i].wait, pc);
    } else {
        pid = start_stopped(waits[i].wait);
        progress = run_on(pid, &code);
        CHECK(progress == ASLEEP);
    }
    waits[i].happens();
    if (pc)
        progress = run_on(pid, &code);
    else if (!waits[i].then)
        progress = until_ended(pid, &code);
    if (waits[i].then && progress == ASLEEP) {
        waits[i].then();
        progress = until_ended(pid, &code);
    }
    if (progress != ENDED || code != waits[i].expected) {
        fprintf(stderr, "%s, at %#" PRIxPTR ": ", waits[i].what, pc);
        if (progress == ENDED)
            fprintf(stderr, "the wait returned -%d\n", code);
        else
            fprintf(stderr, "the waiter missed it\n");
        exit(1);
    }
    destroy();
}

static void
the_waiter_is_stopped_everywhere(size_t i)
{
    struct points points;
    create(START);
    find_points(&points, waits[i].wait);
    destroy();
    for (unsigned k = 0; k < points.count; k++)
        stop_the_waiter_at(i, points.at[k]);
    stop_the_waiter_at(i, 0);
    printf("%s: at %u instructions\n", waits[i].what, points.count);
}

/* The other way round. */
static int do_signal(void) { return -umf_fence_signal(fence, TARGET); }
static int do_alias(void) { return -umf_fence_signal(fence, ALIAS); }
static int do_fail(void) { return -umf_fence_set_error(fence, -ENODEV); }
static int do_notify(void) { return -umf_fence_notify(fence); }
static int do_submit(void) { return -umf_fence_submit(fence, TARGET); }

static const struct {
    const char *what;
    int (*signal)(void);
    uint64_t flags; /* UINT64_MAX: umf_fence_wait() */
    void (*before)(void), (*then)(void);
    int expected;
} signals[] = {
    { "signal", do_signal, UINT64_MAX, NULL, NULL, 0 },
    { "signal, wait for all", do_signal, 0, NULL, NULL, 0 },
    { "signal, wait for any", do_signal, UMF_WAIT_ANY, NULL, NULL, 0 },
    { "signal for another, then for this one", do_alias, UINT64_MAX, NULL, signal_target, 0 },
    { "signal for another, then for this one, wait for any", do_alias, UMF_WAIT_ANY, NULL,
      signal_target, 0 },
    { "error", do_fail, UINT64_MAX, NULL, NULL, -EIO },
    { "error, wait for all", do_fail, 0, NULL, NULL, -EIO },
    { "notification, then a signal", do_notify, UINT64_MAX, NULL, signal_target, 0 },
    { "submission", do_submit, UMF_WAIT_PENDING, NULL, NULL, 0 },
};

static struct sleeper
sleeper_for(size_t i, const struct umf_condition *entry)
{
    if (signals[i].flags == UINT64_MAX)
        return (struct sleeper){ .fence = fence, .value = TARGET };
    return (struct sleeper){ .waits = entry, .count = 1, .flags = signals[i].flags };
}

static void
stop_the_signaler_at(size_t i, uintptr_t pc)
{
    int code = 255;
    create(START);
    struct umf_condition entry = { fence, TARGET, UMF_OP_GE, 0, 0 };
    struct sleeper early = sleeper_for(i, &entry), late = early;
    /* One waiter sleeps already. Another arrives now and falls asleep too if the value is not
     * there yet. */
    fall_asleep(&early);
    pid_t pid = start_stopped_at(signals[i].signal, pc);
    start_sleeper(&late);
    sleeps_on(&late);
    CHECK(run_on(pid, &code) == ENDED && code == 0);
    if (signals[i].then)
        signals[i].then();
    uint64_t give_up = in_ns(5 * SECOND);
    while (!atomic_load(&early.done) || !atomic_load(&late.done)) {
        if (now_ns() > give_up) {
            fprintf(stderr, "%s, at %#" PRIxPTR ": the waiter that %s missed it\n", signals[i].what,
                    pc, atomic_load(&early.done) ? "arrived then" : "slept before");
            exit(1);
        }
        sched_yield();
    }
    EXPECT(signals[i].expected, end_of(&early));
    EXPECT(signals[i].expected, end_of(&late));
    destroy();
}

static void
the_signaler_is_stopped_everywhere(size_t i)
{
    struct points points;
    create(START);
    struct umf_condition entry = { fence, TARGET, UMF_OP_GE, 0, 0 };
    struct sleeper sleeper = sleeper_for(i, &entry);
    fall_asleep(&sleeper);
    find_points(&points, signals[i].signal);
    if (signals[i].then)
        signals[i].then();
    EXPECT(signals[i].expected, end_of(&sleeper));
    destroy();
    for (unsigned k = 0; k < points.count; k++)
        stop_the_signaler_at(i, points.at[k]);
    printf("the signaler, %s: at %u instructions\n", signals[i].what, points.count);
}

int
main(void)
{
    watchdog(50);
    if (!prepare_to_step())
        return SKIPPED;
    /* Runs each call once: the dynamic linker binds it, and the library detects features. */
    create(TARGET);
    CHECK(wait_one() == 0 && wait_all() == 0 && wait_any() == 0 && wait_any_pages() == 0);
    CHECK(do_signal() == 0 && do_notify() == 0 && do_submit() == 0 && do_fail() == 0);
    if (!can_be_stopped(wait_one))
        return SKIPPED;
    destroy();

    for (size_t i = 0; i < ARRAY_SIZE(waits); i++)
        the_waiter_is_stopped_everywhere(i);
    for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
        the_signaler_is_stopped_everywhere(i);
    return 0;
}
