// SPDX-License-Identifier: MIT
/*
 * How soon the CPU sees what a device wrote, and at what cost. The device is another process: it
 * notes the time, writes the value through its own mapping, and wakes nobody. The peer of libumf is
 * a loop that only looks at the value, a loop that sleeps 20 us between looks, or a bare poll() of
 * an interrupt's descriptor.
 *
 *     device_latency [ROUNDS]     rounds of each; the last line repeats that many values
 */
#include "late.h"
#include "notifier.h"
#include "raw_page.h"
#include "sleeper.h"

#include <sys/eventfd.h>

/* Where the device interrupts: nowhere, at the notifier, or at a descriptor of its own. The thread
 * of a notifier would take the interrupt of a bare poll(). */
enum line { NONE, NOTIFIER, BARE, LINES };

enum how { BARE_LOOP, SPINNING, BARE_NAPS, SLEEPING, BARE_POLL, NOTIFIED };

/* What the device is asked to do, besides the page. */
struct order {
    _Atomic uint64_t number; /* the value to write */
    _Atomic uint64_t delay_ns;
    _Atomic int in_its_sleep; /* whether the device sleeps for that time or spins */
    _Atomic enum line line; /* what it interrupts; it then writes the second fence */
    _Atomic uint64_t written_ns;
};

static struct order *order;
static struct umf_page *page;
static struct umf_fence *fences[2]; /* the second has a notifier */
static struct raw raw;
static int interrupts[LINES]; /* eventfds */

/* In a run by hand each process has its own processor, so that a loop does not take the other's.
 * -1 is all. */
static void
move_to(int processor)
{
    cpu_set_t one;
    CPU_ZERO(&one);
    for (int i = 0; i < CPU_SETSIZE; i++)
        if (i == processor || processor < 0)
            CPU_SET(i, &one);
    if (sched_setaffinity(0, sizeof(one), &one) != 0)
        printf("not kept apart: %s\n", strerror(errno));
}

static _Noreturn void
device(void)
{
    for (uint64_t v = 1;; v++) {
        for (unsigned looks = 0; order->number < v; looks++)
            if (looks > 2000)
                nanosleep(&(struct timespec){ .tv_nsec = 20000 }, NULL);
        uint64_t due = in_ns(order->delay_ns);
        if (order->in_its_sleep) {
            const struct timespec until = { .tv_sec = (time_t)(due / SECOND),
                                            .tv_nsec = (long)(due % SECOND) };
            clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
        }
        while (now_ns() < due)
            ;
        order->written_ns = now_ns();
        const enum line line = order->line;
        write_raw(&raw, fences[line != NONE], v);
        if (line != NONE)
            CHECK(write(interrupts[line], &(uint64_t){ 1 }, 8) == 8);
    }
}

static void
wait_for(enum how how, uint64_t value)
{
    struct umf_fence *fence = fences[how == NOTIFIED || how == BARE_POLL];
    const _Atomic uint64_t *word = (const void *)(raw.bytes + umf_fence_offset(fence));
    switch (how) {
    case BARE_LOOP:
        look_until(word, value);
        break;
    case BARE_NAPS:
        nap_until(word, value);
        break;
    case BARE_POLL:
        poll_until(word, value, interrupts[BARE]);
        break;
    default:
        OK(umf_fence_wait(fence, value, FOREVER));
    }
}

static double
cpu_ns(void)
{
    struct timespec t;
    CHECK(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t) == 0);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

struct figures {
    struct late late;
    double cpu_percent;
};

/* Both take turns, so that a disturbance meets both. The delay varies by this percentage. */
static void
measure(const enum how *hows, int count, unsigned rounds, uint64_t delay_ns, unsigned percent,
        struct figures *out)
{
    static uint64_t value;
    static unsigned seed = 1;
    double *late[2] = { NULL, NULL }, cpu[2] = { 0, 0 }, wall[2] = { 0, 0 };
    for (int i = 0; i < count; i++)
        CHECK((late[i] = calloc(rounds, sizeof(double))));
    value = order->number;
    for (unsigned round = 0; round < rounds; round++) {
        for (int i = 0; i < count; i++) {
            OK(umf_set_spin(hows[i] == SPINNING                          ? 1000
                            : hows[i] == NOTIFIED || hows[i] == SLEEPING ? 0
                                                                         : 10,
                            1000000, 0));
            order->line = hows[i] == NOTIFIED ? NOTIFIER : hows[i] == BARE_POLL ? BARE : NONE;
            order->in_its_sleep = hows[i] == SLEEPING || hows[i] == BARE_NAPS;
            const int64_t range = (int64_t)(delay_ns * percent / 100);
            const int64_t jitter =
                range ? (int64_t)(rand_r(&seed) % (2 * (uint64_t)range + 1)) - range : 0;
            order->delay_ns = (uint64_t)((int64_t)delay_ns + jitter);
            double began = (double)now_ns(), used = cpu_ns();
            order->number = ++value;
            wait_for(hows[i], value);
            double ended = (double)now_ns();
            CHECK(umf_fence_value(fences[order->line != NONE]) == value);
            late[i][round] = (ended - (double)order->written_ns) / 1e3;
            cpu[i] += cpu_ns() - used;
            wall[i] += ended - began;
        }
    }
    for (int i = 0; i < count; i++) {
        out[i] = (struct figures){ late_of(late[i], rounds), 100 * cpu[i] / wall[i] };
        free(late[i]);
    }
}

static void
print(const char *what, const struct figures *figures, const struct figures *peer)
{
    print_late(what, figures->late, peer ? &peer->late : NULL);
    printf("%9.2f%%\n", figures->cpu_percent);
}

int
main(int argc, char **argv)
{
    const bool in_suite = argc < 2;
    const unsigned rounds = in_suite ? 50 : (unsigned)atoi(argv[1]);
    struct figures figures[2];
    pid_t pid;
    setvbuf(stdout, NULL, _IOLBF, 0);
    watchdog(in_suite ? 50 : 1200);
    order = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(order != MAP_FAILED);
    for (int line = NOTIFIER; line < LINES; line++) {
        interrupts[line] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        CHECK(interrupts[line] >= 0);
    }
    OK(umf_page_create(2, 0, &page));
    for (int i = 0; i < 2; i++)
        OK(umf_fence_create(page, 0, UMF_FENCE_DEVICE, &fences[i]));
    notify_by(fences[1], interrupts[NOTIFIER]);
    raw = map_raw(page);
    IN_CHILD(pid, {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (!in_suite)
            move_to(0);
        device();
    });

    if (!in_suite)
        move_to(1);
    print_late_header();
    printf("%10s\n", "CPU");
    measure((const enum how[]){ BARE_LOOP, SPINNING }, 2, rounds, 10000, 50, figures);
    print("a bare loop, 10 us", &figures[0], NULL);
    print("libumf spinning", &figures[1], &figures[0]);
    measure((const enum how[]){ BARE_POLL, NOTIFIED }, 2, rounds, 200000, 50, figures);
    print("a bare poll() of the interrupt", &figures[0], NULL);
    print("libumf with it as notifier", &figures[1], &figures[0]);
    if (!in_suite)
        move_to(-1); /* the sleeps are those of any program */
    const struct {
        uint64_t ms;
        unsigned percent;
    } jobs[] = { { 1, 3 }, { 4, 3 }, { 16, 1 }, { 16, 3 }, { 16, 10 }, { 16, 90 }, { 100, 3 } };
    for (size_t i = 0; i < ARRAY_SIZE(jobs) && !(in_suite && i > 2); i++) {
        const unsigned few = in_suite ? 20
                             : rounds < 4000 / (unsigned)jobs[i].ms
                                 ? rounds
                                 : 4000 / (unsigned)jobs[i].ms + 20;
        measure((const enum how[]){ BARE_NAPS, SLEEPING }, 2, few, jobs[i].ms * MS, jobs[i].percent,
                figures);
        char what[64];
        snprintf(what, sizeof(what), "bare naps, %d ms +- %u%%", (int)jobs[i].ms, jobs[i].percent);
        print(what, &figures[0], NULL);
        print("libumf without a notifier", &figures[1], &figures[0]);
    }
    uint64_t count = in_suite ? 2000 : 1000000, lost = 0, began = now_ns();
    order->in_its_sleep = 0;
    order->line = NONE;
    order->delay_ns = 0;
    OK(umf_set_spin(1000, 1000000, 0));
    for (uint64_t i = 0, value = order->number; i < count; i++) {
        order->number = ++value;
        OK(umf_fence_wait(fences[0], value, FOREVER));
        lost += umf_fence_value(fences[0]) != value;
    }
    printf("%" PRIu64 " values, one at a time: %" PRIu64 " lost, %.2f us each\n", count, lost,
           (double)(now_ns() - began) / 1e3 / (double)count);
    CHECK(lost == 0);
    kill(pid, SIGKILL);
    CHECK(waitpid(pid, NULL, 0) == pid);
    for (int i = 0; i < 2; i++)
        umf_fence_unref(fences[i]);
    umf_page_unref(page);
    unmap_raw(&raw);
    close(interrupts[NOTIFIER]);
    close(interrupts[BARE]);
    return 0;
}
