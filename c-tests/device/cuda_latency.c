// SPDX-License-Identifier: MIT
/*
 * How soon the CPU sees what a CUDA device wrote. The device waits for a value that a thread
 * signals, then it writes: the time runs from that signal to the return of the wait, so each row
 * contains the way to the device and back. The peers are a loop that only looks at the value, one
 * that sleeps 20 us between looks, a bare poll() of the descriptor that a host function writes, and
 * the driver's own waits for an event.
 *
 *     cuda_latency [ROUNDS]     rounds of each
 */
#include "cuda.h"
#include "late.h"
#include "notifier.h"

#include <sys/eventfd.h>

enum how { BARE_LOOP, SPINNING, EVENT_SPINNING, BARE_POLL, NOTIFIED, EVENT_BLOCKING, BARE_NAPS,
           SLEEPING };

static const char *const names[] = {
    "a bare loop",
    "libumf spinning",
    "cuEventSynchronize(), spinning",
    "a bare poll(), host function",
    "libumf notified by it",
    "cuEventSynchronize(), blocking",
    "bare naps",
    "libumf without a notifier",
};

/* What the thread is asked to do. */
static _Atomic uint64_t ordered, delay_ns, signaled_ns;

static struct umf_fence *notified;
static int interrupt, polled; /* the first is the notifier's */
static CUevent spinning, blocking;

static void *
signal_on_order(void *unused)
{
    for (uint64_t v = 1;; v++) {
        while (ordered < v)
            ;
        for (uint64_t due = in_ns(delay_ns); now_ns() < due;)
            ;
        signaled_ns = now_ns();
        OK(umf_fence_signal(go, v));
    }
    return unused;
}

static void
write_eventfd(void *fd)
{
    CHECK(write(*(int *)fd, &(uint64_t){ 1 }, 8) == 8);
}

static void
submit(enum how how, uint64_t value)
{
    wait_value(go, value);
    write_value(how == NOTIFIED ? notified : progress, value);
    switch (how) {
    case BARE_POLL:
        CU(cuLaunchHostFunc(stream, write_eventfd, &polled));
        break;
    case NOTIFIED:
        CU(cuLaunchHostFunc(stream, write_eventfd, &interrupt));
        break;
    case EVENT_SPINNING:
        CU(cuEventRecord(spinning, stream));
        break;
    case EVENT_BLOCKING:
        CU(cuEventRecord(blocking, stream));
        break;
    default:
        break;
    }
}

static void
wait_for(enum how how, uint64_t value)
{
    const _Atomic uint64_t *word = (const void *)((char *)page_memory + umf_fence_offset(progress));
    switch (how) {
    case BARE_LOOP:
        look_until(word, value);
        break;
    case BARE_NAPS:
        nap_until(word, value);
        break;
    case BARE_POLL:
        poll_until(word, value, polled);
        break;
    case EVENT_SPINNING:
        CU(cuEventSynchronize(spinning));
        break;
    case EVENT_BLOCKING:
        CU(cuEventSynchronize(blocking));
        break;
    case SPINNING:
    case NOTIFIED:
    case SLEEPING:
        OK(umf_set_spin(how == SPINNING ? 1000 : 0, 1000000, 0));
        OK(umf_fence_wait(how == NOTIFIED ? notified : progress, value, FOREVER));
        break;
    }
}

/* All kinds of a group take turns, so that a disturbance meets all. The ratio is that to the first.
 * The delay varies by 3%. */
static void
measure(const enum how *hows, unsigned kinds, unsigned count, uint64_t delay)
{
    static uint64_t value;
    double *samples[3];
    struct late first = { 0 };
    uint64_t cpu[3] = { 0 }, wall[3] = { 0 };
    unsigned seed = 1;
    for (unsigned kind = 0; kind < kinds; kind++)
        CHECK((samples[kind] = calloc(count, sizeof(double))));
    for (unsigned round = 0; round < count; round++)
        for (unsigned kind = 0; kind < kinds; kind++) {
            submit(hows[kind], ++value);
            delay_ns = delay + (uint64_t)rand_r(&seed) % (delay / 33 + 1);
            uint64_t began = now_ns(), used = clock_ns(CLOCK_THREAD_CPUTIME_ID);
            ordered = value;
            wait_for(hows[kind], value);
            uint64_t ended = now_ns();
            cpu[kind] += clock_ns(CLOCK_THREAD_CPUTIME_ID) - used;
            wall[kind] += ended - began;
            samples[kind][round] = (double)(ended - signaled_ns) / 1e3;
            CHECK(umf_fence_value(hows[kind] == NOTIFIED ? notified : progress) == value);
            CU(cuStreamSynchronize(stream));
        }
    printf("\njobs of %.2f ms: ", (double)delay / 1e6);
    print_late_header();
    printf("%10s\n", "CPU");
    for (unsigned kind = 0; kind < kinds; kind++) {
        struct late late = late_of(samples[kind], count);
        if (kind == 0)
            first = late;
        print_late(names[hows[kind]], late, &first);
        printf("%9.2f%%\n", 100 * (double)cpu[kind] / (double)wall[kind]);
        free(samples[kind]);
    }
}

int
main(int argc, char **argv)
{
    const unsigned count = argc > 1 ? (unsigned)atoi(argv[1]) : 10;
    pthread_t thread;
    setvbuf(stdout, NULL, _IOLBF, 0);
    watchdog(argc > 1 ? 600 : 50);
    open_device();
    create_device_fences();
    OK(umf_fence_create(page, 0, UMF_FENCE_DEVICE, &notified));
    register_page();
    CHECK((interrupt = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) >= 0);
    CHECK((polled = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) >= 0);
    notify_by(notified, interrupt);
    CU(cuEventCreate(&spinning, CU_EVENT_DISABLE_TIMING));
    CU(cuEventCreate(&blocking, CU_EVENT_DISABLE_TIMING | CU_EVENT_BLOCKING_SYNC));
    CHECK(pthread_create(&thread, NULL, signal_on_order, NULL) == 0);

    measure((const enum how[]){ BARE_LOOP, SPINNING, EVENT_SPINNING }, 3, count, 20000);
    measure((const enum how[]){ BARE_POLL, NOTIFIED, EVENT_BLOCKING }, 3, count, 200000);
    measure((const enum how[]){ BARE_NAPS, SLEEPING, EVENT_BLOCKING }, 3, count, 1 * MS);
    measure((const enum how[]){ BARE_NAPS, SLEEPING, EVENT_BLOCKING }, 3, count / 4 + 1, 16 * MS);

    CU(cuEventDestroy_v2(spinning));
    CU(cuEventDestroy_v2(blocking));
    close_device();
    umf_fence_unref(notified);
    destroy_device_fences();
    return 0;
}
