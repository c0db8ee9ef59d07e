// SPDX-License-Identifier: MIT
/*
 * A peer that only spends the time of threads that block in a wait, for a list or a set. It sends
 * events that tell nothing or name one fence without end, wakes the words without a change, or
 * forges fences to be written by a device. The threads of this process together use a twentieth of
 * a core for that at most. A signal ends each wait soon nevertheless, and a fence of another page
 * as soon as ever.
 */
#include "process.h"
#include "raw_page.h"
#include "sleeper.h"

#include <limits.h>
#include <linux/futex.h>

#define THREADS 4
#define LIST 2000
#define SHORT_LIST 8
#define CROWD 3000
#define LASTS (rounds(10, 2) * 100 * MS)
/* What a page may waste at once, and what the test itself uses. */
#define BURST (25 * MS)
/* The header says a quarter of a millisecond for each thread, and more for a long list. The rest is
 * for a busy machine. */
#define SOON ((is_emulated() ? 8 : 2) * SECOND)

enum attack { RING, WAKE, LOG, BURSTS, FORGE };
enum way { ONE, ANY, ALL, ANY_OF_MANY, ALL_OF_MANY, ANY_OF_CROWD };

static const char *const attacks[] = { "events", "wake-ups", "false entries", "bursts of events",
                                       "device fences" };
static const char *const ways[] = { "one", "any of 8", "all of 8", "any of 2000", "all of 2000",
                                    "any of 3000 for one fence" };

static uint32_t
length(enum way way)
{
    return way == ONE ? 1 : way < ANY_OF_MANY ? SHORT_LIST : way < ANY_OF_CROWD ? LIST : CROWD;
}

static uint32_t
fences_in_the_page(enum way way)
{
    return way == ANY_OF_CROWD ? SHORT_LIST : length(way);
}

/* Of a fence each, or of the first one, with no order among the conditions. */
static struct umf_condition
condition(enum way way, struct umf_fence *const *fences, uint32_t i)
{
    if (way == ANY_OF_CROWD)
        return (struct umf_condition){ fences[0], 1, UMF_OP_EQ, 0, 1 };
    return (struct umf_condition){ .fence = fences[i], .value = 1 };
}

static void
wake(uint32_t *word, uint32_t moves)
{
    __atomic_fetch_add(word, moves, __ATOMIC_RELEASE);
    syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

/* Wakes the threads that sleep on the words of the page, without end. */
static void
disturb(int sock)
{
    enum attack attack = (enum attack)hear(sock);
    int fd = recv_fd(sock);
    size_t length = SLOTS_AT + SHORT_LIST * SLOT_SIZE;
    char *bytes = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(bytes != MAP_FAILED);
    uint64_t *log = (uint64_t *)(void *)(bytes + EVENT_LOG);
    uint32_t *events = (uint32_t *)(void *)(bytes + EVENT_COUNT);
    for (;;) {
        for (uint32_t i = 0; (attack == LOG || attack == BURSTS) && i < EVENT_LOG_LENGTH; i++) {
            uint32_t event = __atomic_load_n(events, __ATOMIC_RELAXED) + i;
            uint32_t slot = attack == LOG ? i % SHORT_LIST : 0;
            log[event % EVENT_LOG_LENGTH] = (uint64_t)(event + 1) << 32 | slot;
        }
        wake(events, attack == BURSTS ? EVENT_LOG_LENGTH : attack != WAKE);
        for (size_t at = SLOTS_AT + SLOT_FUTEX; at < length; at += SLOT_SIZE)
            wake((uint32_t *)(void *)(bytes + at), attack != WAKE);
        /* One processor is left to those who wait. A burst is one that the log holds in whole. */
        nanosleep(&(struct timespec){ .tv_nsec = attack == BURSTS ? 60 * MS : 20000 }, NULL);
    }
}

/* The fences of a page that was forged: a device writes each, if one believes the page. */
static void
forge_device_fences(struct umf_page *page, uint32_t count)
{
    struct raw raw = map_raw(page);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t *state = (uint32_t *)(void *)(raw.bytes + SLOTS_AT + i * SLOT_SIZE + SLOT_STATE);
        *state = 0xa; /* live, and written by a device */
    }
    unmap_raw(&raw);
}

/* Creates the page and its fences. */
static struct umf_page *
create(enum attack attack, enum way way, struct umf_fence **fences)
{
    struct umf_page *page;
    uint32_t count = fences_in_the_page(way);
    OK(umf_page_create(count, 0, &page));
    if (attack == FORGE)
        forge_device_fences(page, count);
    for (uint32_t i = 0; i < count; i++) {
        if (attack == FORGE)
            OK(umf_fence_open(page, i, 0, &fences[i]));
        else
            OK(umf_fence_create(page, 0, 0, &fences[i]));
    }
    return page;
}

/* The processor time of this process while it does nothing but to wait. */
static uint64_t
used_in(uint64_t *lasted)
{
    uint64_t start = now_ns(), used = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    while (now_ns() - start < LASTS)
        nanosleep(&(struct timespec){ .tv_nsec = 50000000 }, NULL);
    *lasted = now_ns() - start;
    return clock_ns(CLOCK_PROCESS_CPUTIME_ID) - used;
}

static void
end_attack(enum attack attack, struct peer *peer)
{
    if (attack != FORGE)
        kill_peer(peer);
}

static void
wastes_little(enum attack attack, enum way way)
{
    static struct umf_fence *fences[LIST];
    static struct umf_condition waits[CROWD + 1];
    struct sleeper sleepers[THREADS], other = { 0 };
    struct peer peer = { 0 };
    struct umf_page *page, *quiet;
    struct umf_fence *served;
    uint32_t count = length(way);
    if (attack != FORGE)
        peer = start_peer(disturb);
    page = create(attack, way, fences);
    OK(umf_page_create(1, 0, &quiet));
    OK(umf_fence_create(quiet, 0, 0, &served));
    for (uint32_t i = 0; i < count; i++)
        waits[i] = condition(way, fences, i);
    waits[count] = (struct umf_condition){ .fence = served, .value = 1 };
    bool any = way == ANY || way == ANY_OF_MANY || way == ANY_OF_CROWD;
    for (int i = 0; i < THREADS; i++) {
        sleepers[i] = (struct sleeper){ .fence = fences[0], .value = 1 };
        if (way != ONE) {
            sleepers[i].waits = waits;
            sleepers[i].count = count;
            sleepers[i].flags = any ? UMF_WAIT_ANY : 0;
        }
        fall_asleep(&sleepers[i]);
    }
    /* One more waits for the other page too. */
    if (any) {
        other.waits = waits;
        other.count = count + 1;
        other.flags = UMF_WAIT_ANY;
        fall_asleep(&other);
    }
    if (attack != FORGE) {
        tell(peer.sock, attack);
        send_page(peer.sock, page);
    }

    uint64_t lasted, used = used_in(&lasted), start = now_ns();
    printf("%s, %s: %.1f %% of a core", attacks[attack], ways[way],
           100.0 * (double)used / (double)lasted);
    if (any) {
        OK(umf_fence_signal(served, 1));
        OK(end_of(&other));
        CHECK(other.index == count);
        printf(", the other page's after %.1f ms", (double)(now_ns() - start) / 1e6);
        CHECK(now_ns() - start < SOON);
    }
    start = now_ns();
    for (uint32_t i = 0; i < (any ? 1 : count); i++)
        OK(umf_fence_signal(fences[i], 1));
    for (int i = 0; i < THREADS; i++)
        OK(end_of(&sleepers[i]));
    printf(", signal to the last of %d threads: %.1f ms\n", THREADS,
           (double)(now_ns() - start) / 1e6);
    CHECK(now_ns() - start < SOON);
    if (!RUNNING_ON_VALGRIND && !is_emulated() && !SANITIZES_THREADS)
        CHECK(used < lasted / 20 + BURST);

    end_attack(attack, &peer);
    for (uint32_t i = 0; i < fences_in_the_page(way); i++)
        umf_fence_unref(fences[i]);
    umf_fence_unref(served);
    umf_page_unref(quiet);
    umf_page_unref(page);
}

/* The same for threads that wait for a set of these entries. */
static void
set_wastes_little(enum attack attack, enum way way)
{
    static struct umf_fence *fences[LIST];
    struct set_sleeper sleepers[THREADS];
    struct peer peer = { 0 };
    struct umf_page *page, *quiet;
    struct umf_fence *served;
    struct umf_wait_set *set;
    uint32_t count = length(way);
    uint64_t id;
    if (attack != FORGE)
        peer = start_peer(disturb);
    page = create(attack, way, fences);
    OK(umf_page_create(1, 0, &quiet));
    OK(umf_fence_create(quiet, 0, 0, &served));
    OK(umf_wait_set_create(0, &set));
    for (uint32_t i = 0; i < count; i++) {
        struct umf_condition wait = condition(way, fences, i);
        OK(umf_wait_set_add(set, &wait, 0, i, &id));
    }
    struct umf_condition other = { .fence = served, .value = 1 };
    OK(umf_wait_set_add(set, &other, 0, count, &id));
    for (int i = 0; i < THREADS; i++)
        fall_asleep_for_set(&sleepers[i], set);
    if (attack != FORGE) {
        tell(peer.sock, attack);
        send_page(peer.sock, page);
    }

    uint64_t lasted, used = used_in(&lasted), start = now_ns();
    OK(umf_fence_signal(served, 1));
    for (int i = 0; i < THREADS; i++)
        ends_by_entry(&sleepers[i], count, 0);
    printf("%s, %s, by a set: %.1f %% of a core, the other page's after %.1f ms\n",
           attacks[attack], ways[way], 100.0 * (double)used / (double)lasted,
           (double)(now_ns() - start) / 1e6);
    CHECK(now_ns() - start < SOON);
    OK(umf_wait_set_remove(set, id));
    fall_asleep_for_set(&sleepers[0], set);
    start = now_ns();
    OK(umf_fence_signal(fences[0], 1));
    CHECK(pthread_join(sleepers[0].thread, NULL) == 0);
    OK(sleepers[0].result);
    CHECK(now_ns() - start < SOON);
    if (!RUNNING_ON_VALGRIND && !is_emulated() && !SANITIZES_THREADS)
        CHECK(used < lasted / 20 + BURST);

    end_attack(attack, &peer);
    umf_wait_set_unref(set);
    for (uint32_t i = 0; i < fences_in_the_page(way); i++)
        umf_fence_unref(fences[i]);
    umf_fence_unref(served);
    umf_page_unref(quiet);
    umf_page_unref(page);
}

int
main(void)
{
    watchdog(50);
    wastes_little(RING, ONE);
    wastes_little(RING, ANY);
    wastes_little(RING, ALL);
    wastes_little(RING, ANY_OF_MANY);
    wastes_little(RING, ALL_OF_MANY);
    wastes_little(WAKE, ONE);
    wastes_little(WAKE, ANY);
    wastes_little(LOG, ANY);
    wastes_little(LOG, ANY_OF_MANY);
    wastes_little(FORGE, ANY_OF_MANY);
    wastes_little(FORGE, ALL_OF_MANY);
    wastes_little(BURSTS, ANY_OF_CROWD);
    set_wastes_little(RING, ANY_OF_MANY);
    set_wastes_little(WAKE, ANY_OF_MANY);
    set_wastes_little(LOG, ANY_OF_MANY);
    set_wastes_little(BURSTS, ANY_OF_CROWD);
    set_wastes_little(FORGE, ANY_OF_MANY);
    return 0;
}
