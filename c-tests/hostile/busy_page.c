// SPDX-License-Identifier: MIT
/*
 * A peer that only spends this process's time: with events that tell nothing, with wake-ups of
 * unchanged words, with notifications, with signals that every watch of a fence is checked for, or
 * with fences that it forged to be written by a device. A loop that watches the page uses a
 * twentieth of a core for it at most, and serves another page meanwhile.
 */
#include "process.h"
#include "raw_page.h"
#include "sleeper.h"
#include "watch.h"

#include <limits.h>
#include <linux/futex.h>

#define WATCHES 20000
#define SOME_WATCHES 2000
/* The loop's thread sleeps on the words of so few slots, once it was woken for fences of others. */
#define FEW_WATCHES 8
#define LASTS (rounds(10, 1) * 100 * MS)
/* What a page may waste at once, and one check of all its fences. */
#define BURST (15 * MS)
/* What the loop's thread may do before it serves another page, in processor time: a busy machine
 * may give the thread none for longer. */
#define SERVED_WITHIN (5 * MS)
/* The same by the clock. */
#define SOON (5 * SECOND)
/* How often the other page is served at least. */
#define TURNS 6
/* After so much processor time, the thread is in the first part of a check. */
#define CHECK_HAS_BEGUN (MS / 20)
/* After so much processor time, a loop's thread that slept is in the check of a page's fences. */
#define CHECK_IS_UNDER_WAY (MS / 5)

enum attack { RING, WAKE, NOTIFY, SIGNAL, FORGE };

static const char *const names[] = { "events", "wake-ups", "notifications", "signals of one fence",
                                     "device fences" };

/* Bits that no value of these tests has. */
#define NEVER_SET (UINT64_C(1) << 40)

static void
ring(int sock)
{
    int fd = recv_fd(sock);
    char *bytes = mmap(NULL, SLOTS_AT, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(bytes != MAP_FAILED);
    uint32_t *word = (uint32_t *)(void *)(bytes + EVENT_COUNT);
    for (;;) {
        __atomic_fetch_add(word, 1, __ATOMIC_RELEASE);
        syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
        nanosleep(&(struct timespec){ .tv_nsec = 500000 }, NULL);
    }
}

static void
wake(uint32_t *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

/* Wakes the loop's thread on each word where it may sleep, without a change. */
static void
wake_all(int sock)
{
    int fd = recv_fd(sock);
    uint64_t watches = hear(sock);
    size_t length = SLOTS_AT + watches * SLOT_SIZE;
    char *bytes = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(bytes != MAP_FAILED);
    uint32_t *events = (uint32_t *)(void *)(bytes + EVENT_COUNT);
    uint64_t *log = (uint64_t *)(void *)(bytes + EVENT_LOG);
    for (uint32_t event = 0; event < 20; event++) {
        /* Of a fence that nobody watches: with few watches, the thread moves to their words. */
        log[event] = (uint64_t)(event + 1) << 32 | watches;
        __atomic_fetch_add(events, 1, __ATOMIC_RELEASE);
        wake(events);
        nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL);
    }
    for (;;) {
        wake(events);
        for (size_t at = SLOTS_AT + SLOT_FUTEX; at < length; at += SLOT_SIZE)
            wake((uint32_t *)(void *)(bytes + at));
    }
}

static void
notify(int sock)
{
    struct umf_page *page = recv_page(sock);
    struct umf_fence *fence = recv_fence(sock, page);
    for (;;)
        OK(umf_fence_notify(fence));
}

/* Signals values that no watch waits for. */
static void
signal_all(int sock)
{
    struct umf_page *page = recv_page(sock);
    struct umf_fence *fence = recv_fence(sock, page);
    for (uint64_t value = 1;; value++)
        OK(umf_fence_signal(fence, value));
}

/* How often the watch of the other page was called, and when: on the clock of the loop's thread. */
struct served {
    atomic_uint calls;
    _Atomic uint64_t at;
};

static void
count(void *data, int result)
{
    struct served *served = data;
    EXPECT(0, result);
    atomic_store(&served->at, clock_ns(CLOCK_THREAD_CPUTIME_ID));
    atomic_fetch_add(&served->calls, 1);
}

/* The processor time of the loop's only thread. */
static clockid_t
clock_of_the_loop(void)
{
    pid_t tid = 0;
    while (loop_threads(&tid, 1) != 1) /* a thread of the loop before may still exit */
        sched_yield();
    return (clockid_t)(~(uint32_t)tid << 3 | 6); /* of a thread, what the scheduler counts */
}

/* The processor time of all threads but the caller's, which polls when it waits for the loop. */
static uint64_t
used_by_other_threads(void)
{
    return clock_ns(CLOCK_PROCESS_CPUTIME_ID) - clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

static void
ignore(void *data, int result)
{
    (void)data;
    (void)result;
}

/* A condition that is never met, and has no order among others. */
static struct umf_condition
never(struct umf_fence *fence)
{
    return (struct umf_condition){ fence, NEVER_SET, UMF_OP_EQ, 0, NEVER_SET };
}

static void
wastes_little(enum attack attack, uint32_t watches)
{
    struct peer peer = { 0 };
    if (attack != FORGE)
        peer = start_peer(attack == RING     ? ring
                          : attack == WAKE   ? wake_all
                          : attack == NOTIFY ? notify
                                             : signal_all);
    struct umf_page *page, *other;
    struct umf_fence *fence = NULL, *served, *first = NULL;
    struct umf_loop *loop;
    watches = rounds(watches, 100);
    OK(umf_page_create(watches, 0, &page));
    OK(umf_page_create(1, 0, &other));
    OK(umf_fence_create(other, 0, 0, &served));
    OK(umf_loop_create(UMF_LOOP_THREAD, &loop));
    for (uint32_t i = 0; i < watches; i++) {
        struct umf_callback callback = { .call = ignore };
        if (!first || attack != SIGNAL)
            OK(umf_fence_create(page, 0, attack == FORGE ? UMF_FENCE_DEVICE : 0, &fence));
        struct umf_condition wait = { .fence = fence, .value = 1 };
        if (attack == SIGNAL)
            wait = never(fence);
        OK(umf_loop_watch(loop, &wait, 0, &callback, NULL));
        if (!first)
            first = fence;
        else if (attack != SIGNAL)
            umf_fence_unref(fence);
    }
    if (attack != FORGE) {
        send_page(peer.sock, page);
        if (attack == NOTIFY || attack == SIGNAL)
            tell(peer.sock, umf_fence_index(first));
        if (attack == WAKE)
            tell(peer.sock, watches);
    }
    uint64_t start = now_ns(), used = used_by_other_threads();
    struct served told = { 0 };
    unsigned turns = 0;
    uint64_t most = 0, slowest = 0;
    clockid_t loops_time = clock_of_the_loop();
    while (now_ns() - start < LASTS || turns < TURNS) {
        struct umf_callback callback = { .call = count, .data = &told };
        struct umf_condition wait = { .fence = served, .value = ++turns };
        OK(umf_loop_watch(loop, &wait, 0, &callback, NULL));
        uint64_t before = clock_ns(loops_time), signaled = now_ns();
        OK(umf_fence_signal(served, turns));
        while (atomic_load(&told.calls) < turns)
            nanosleep(&(struct timespec){ .tv_nsec = 100000 }, NULL);
        uint64_t work = atomic_load(&told.at) - before, took = now_ns() - signaled;
        most = work > most ? work : most;
        slowest = took > slowest ? took : slowest;
        nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL);
    }
    uint64_t lasted = now_ns() - start;
    used = used_by_other_threads() - used;
    printf("%s, %u watches: %.1f %% of a core", names[attack], watches,
           100.0 * (double)used / (double)lasted);
    printf("; another page is served after %.1f ms of processor time, %.1f ms by the clock\n",
           (double)most / 1e6, (double)slowest / 1e6);
    if (!RUNNING_ON_VALGRIND && !is_emulated() && !SANITIZES_THREADS) {
        CHECK(used < lasted / 20 + BURST);
        CHECK(most < SERVED_WITHIN);
        CHECK(slowest < SOON);
    }
    if (attack != FORGE)
        kill_peer(&peer);
    umf_loop_unref(loop);
    umf_fence_unref(first);
    umf_fence_unref(served);
    umf_page_unref(other);
    umf_page_unref(page);
}

/* The next of a fence's watches is called once its value is signaled. */
static void
watch_next(struct umf_loop *loop, struct umf_fence *fence, struct served *told)
{
    struct umf_callback callback = { .call = count, .data = told };
    struct umf_condition wait = { .fence = fence, .value = umf_fence_value(fence) + 1 };
    OK(umf_loop_watch(loop, &wait, 0, &callback, NULL));
}

static void
signal_next(struct umf_fence *fence)
{
    OK(umf_fence_signal(fence, umf_fence_value(fence) + 1));
}

static int
compare(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return left < right ? -1 : left > right;
}

static uint64_t
median(uint64_t *of, size_t count)
{
    qsort(of, count, sizeof(*of), compare);
    return of[count / 2];
}

/* A check that takes long: of every fence of a page, for an event without an entry in the page's
 * log; of device fences, at an interval; of every watch of one fence, whose conditions have no
 * order, for an event of that fence. */
enum long_check { FENCES, DEVICE_FENCES, UNORDERED_WATCHES };

static const char *const checked[] = { "fences", "device fences", "watches of a fence" };

/* Adds watches that are never met: of a fence each, or of this one. */
static void
add_watches(struct umf_loop *loop, struct umf_page *page, enum long_check what,
            struct umf_fence *crowded, uint32_t watches)
{
    for (uint32_t i = 0; i < watches; i++) {
        struct umf_callback callback = { .call = ignore };
        struct umf_condition wait = never(crowded);
        struct umf_fence *fence = NULL;
        if (what != UNORDERED_WATCHES) {
            OK(umf_fence_create(page, 0, what == DEVICE_FENCES ? UMF_FENCE_DEVICE : 0, &fence));
            wait = (struct umf_condition){ .fence = fence, .value = 1 };
        }
        OK(umf_loop_watch(loop, &wait, 0, &callback, NULL));
        umf_fence_unref(fence);
    }
}

/* Another page is signaled amid a long check.
 *
 * Both times are the processor time of the loop's thread: to the callback, and to the end of the
 * check. So the second is the measure of the first, on any machine. */
static void
is_served_amid_a_check(enum long_check what)
{
    enum { TIMES = 9 };
    struct umf_page *page, *other;
    struct umf_fence *served, *found;
    struct umf_loop *loop;
    struct served told = { 0 }, told_found = { 0 };
    uint64_t served_after[TIMES], check_took[TIMES];
    uint32_t watches = rounds(WATCHES, 500);
    OK(umf_page_create(watches + 1, 0, &page));
    OK(umf_page_create(1, 0, &other));
    OK(umf_fence_create(page, 0, 0, &found));
    OK(umf_fence_create(other, 0, 0, &served));
    OK(umf_loop_create(UMF_LOOP_THREAD, &loop));
    add_watches(loop, page, what, found, watches);
    struct raw raw = map_raw(page);
    uint32_t *events = (uint32_t *)(void *)(raw.bytes + EVENT_COUNT);
    uint64_t *log = (uint64_t *)(void *)(raw.bytes + EVENT_LOG);
    clockid_t loops_time = clock_of_the_loop();
    for (unsigned i = 0; i < TIMES; i++) {
        watch_next(loop, served, &told);
        if (what != DEVICE_FENCES)
            watch_next(loop, found, &told_found);
        until_loop_sleeps();
        uint64_t before = clock_ns(loops_time), signaled = before;
        if (what == DEVICE_FENCES) {
            while (clock_ns(loops_time) < before + CHECK_IS_UNDER_WAY)
                sched_yield();
            signal_next(served);
            signaled = clock_ns(loops_time); /* before the call, another program may have run */
        } else {
            /* A check that finds nothing would be charged to the page, which would rest. */
            write_raw(&raw, found, umf_fence_value(found) + 1);
            uint32_t event = __atomic_load_n(events, __ATOMIC_RELAXED);
            uint64_t entry = (uint64_t)(event + 1) << 32 | umf_fence_index(found);
            if (what == UNORDERED_WATCHES)
                log[event % EVENT_LOG_LENGTH] = entry;
            __atomic_fetch_add(events, 1, __ATOMIC_RELEASE); /* noticed by the next wake-up */
            signal_next(served);
        }
        while (atomic_load(&told.calls) <= i ||
               (what != DEVICE_FENCES && atomic_load(&told_found.calls) <= i))
            sched_yield();
        until_loop_sleeps();
        check_took[i] = clock_ns(loops_time) - before;
        uint64_t called = atomic_load(&told.at);
        served_after[i] = called > signaled ? called - signaled : 0;
    }
    uint64_t served_in = median(served_after, TIMES), checked_in = median(check_took, TIMES);
    printf("%u %s: another page is served after %.2f ms of a check of %.2f ms\n", watches,
           checked[what], (double)served_in / 1e6, (double)checked_in / 1e6);
    if (!RUNNING_ON_VALGRIND && !is_emulated() && !SANITIZES_THREADS) {
        CHECK(served_in < checked_in / 3);
        CHECK(served_in < SERVED_WITHIN);
    }
    unmap_raw(&raw);
    umf_loop_unref(loop);
    umf_fence_unref(found);
    umf_fence_unref(served);
    umf_page_unref(other);
    umf_page_unref(page);
}

/* A check in parts finds each value that a peer wrote without an event, although it removes the
 * fences that it finds. Those that remain are found by their events. */
static void
leaves_no_fence_out(void)
{
    struct umf_page *page;
    struct umf_fence **fences;
    struct umf_loop *loop;
    struct served told = { 0 };
    uint64_t random = 7;
    uint32_t watches = rounds(WATCHES, 500), written = 0;
    OK(umf_page_create(watches, 0, &page));
    OK(umf_loop_create(UMF_LOOP_THREAD, &loop));
    CHECK((fences = calloc(watches, sizeof(*fences))));
    for (uint32_t i = 0; i < watches; i++) {
        OK(umf_fence_create(page, 0, 0, &fences[i]));
        watch_next(loop, fences[i], &told);
    }
    struct raw raw = map_raw(page);
    uint32_t *events = (uint32_t *)(void *)(raw.bytes + EVENT_COUNT);
    for (int step = 0; step < 3; step++) {
        for (uint32_t i = 0; step > 0 && i < watches; i += watches / 50) {
            if (umf_fence_value(fences[i]) == 0) {
                signal_next(fences[i]);
                written++;
            }
            while (atomic_load(&told.calls) < written)
                sched_yield();
        }
        until_loop_sleeps();
        for (uint32_t i = 0; i < watches; i++) {
            if (umf_fence_value(fences[i]) == 0 && (step == 2 || random_word(&random) % 2)) {
                write_raw(&raw, fences[i], 1);
                written++;
            }
        }
        __atomic_fetch_add(events, 1, __ATOMIC_RELEASE);
        wake(events);
        while (atomic_load(&told.calls) < written)
            nanosleep(&(struct timespec){ .tv_nsec = 100000 }, NULL);
    }
    CHECK(atomic_load(&told.calls) == watches);
    unmap_raw(&raw);
    umf_loop_unref(loop);
    for (uint32_t i = 0; i < watches; i++)
        umf_fence_unref(fences[i]);
    free(fences);
    umf_page_unref(page);
}

/* The same for one fence with many watches whose conditions have no order. Its value grows amid
 * the checks, and some watches are canceled then. */
static void
leaves_no_watch_out(void)
{
    struct umf_page *page;
    struct umf_fence *fence;
    struct umf_loop *loop;
    struct served told = { 0 };
    struct umf_watch **canceled;
    const uint32_t watches = rounds(WATCHES, 500);
    uint32_t cancellations = 0, last = (watches + 6) / 7;
    uint64_t random = 7;
    OK(umf_page_create(1, 0, &page));
    OK(umf_fence_create(page, 0, 0, &fence));
    OK(umf_loop_create(UMF_LOOP_THREAD, &loop));
    CHECK((canceled = calloc(watches, sizeof(*canceled))));
    for (uint32_t i = 0; i < watches; i++) {
        struct umf_callback callback = { .call = count, .data = &told };
        struct umf_condition wait = { .fence = fence, .value = i + 1, .mask = UINT64_MAX };
        OK(umf_loop_watch(loop, &wait, 0, &callback, i % 7 ? NULL : &canceled[i / 7]));
    }
    for (uint64_t value = 0; value < watches;) {
        value += 1 + random_word(&random) % (watches / 50);
        OK(umf_fence_signal(fence, value));
        if (last > 0)
            cancellations += ONE_OF(umf_watch_cancel(canceled[--last]), 0, -EALREADY) == 0;
        if (random_word(&random) % 4 == 0)
            until_loop_sleeps();
    }
    while (atomic_load(&told.calls) < watches - cancellations)
        nanosleep(&(struct timespec){ .tv_nsec = 100000 }, NULL);
    CHECK(cancellations > 0);
    for (uint32_t i = 0; i < watches; i += 7)
        umf_watch_unref(canceled[i / 7]);
    free(canceled);
    umf_loop_unref(loop);
    CHECK(atomic_load(&told.calls) == watches - cancellations);
    umf_fence_unref(fence);
    umf_page_unref(page);
}

/* A signal that comes amid a check of its fence's watches is heard by a watch that the check has
 * passed. */
static void
is_heard_amid_a_check(void)
{
    struct umf_page *page;
    struct umf_fence *fence;
    struct umf_loop *loop;
    struct served told = { 0 };
    OK(umf_page_create(1, 0, &page));
    OK(umf_fence_create(page, 0, 0, &fence));
    OK(umf_loop_create(UMF_LOOP_THREAD, &loop));
    add_watches(loop, page, UNORDERED_WATCHES, fence, rounds(WATCHES, 500));
    clockid_t loops_time = clock_of_the_loop();
    for (unsigned i = 0; i < 9; i++) {
        struct umf_callback callback = { .call = count, .data = &told };
        const uint64_t value = umf_fence_value(fence);
        /* The last watch, which each check begins with. */
        struct umf_condition wait = { fence, value + 2, UMF_OP_GE, 0, UINT64_MAX };
        OK(umf_loop_watch(loop, &wait, 0, &callback, NULL));
        until_loop_sleeps();
        uint64_t before = clock_ns(loops_time);
        OK(umf_fence_signal(fence, value + 1));
        while (clock_ns(loops_time) < before + CHECK_HAS_BEGUN)
            sched_yield();
        OK(umf_fence_signal(fence, value + 2));
        while (atomic_load(&told.calls) <= i)
            nanosleep(&(struct timespec){ .tv_nsec = 100000 }, NULL);
    }
    umf_loop_unref(loop);
    umf_fence_unref(fence);
    umf_page_unref(page);
}

int
main(void)
{
    watchdog(50);
    leaves_no_fence_out();
    leaves_no_watch_out();
    is_heard_amid_a_check();
    is_served_amid_a_check(FENCES);
    is_served_amid_a_check(DEVICE_FENCES);
    is_served_amid_a_check(UNORDERED_WATCHES);
    wastes_little(RING, WATCHES);
    wastes_little(RING, SOME_WATCHES);
    wastes_little(WAKE, 100);
    wastes_little(WAKE, FEW_WATCHES);
    wastes_little(NOTIFY, 100);
    wastes_little(SIGNAL, WATCHES);
    wastes_little(SIGNAL, SOME_WATCHES);
    wastes_little(FORGE, WATCHES);
    wastes_little(FORGE, SOME_WATCHES);
    return 0;
}
