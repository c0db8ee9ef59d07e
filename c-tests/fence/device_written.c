// SPDX-License-Identifier: MIT
/*
 * Fences that a device writes without waking anybody. A process plays the device and touches only
 * the value, the monitored value and an interrupt. Waits notice the value by polling, by a
 * descriptor, by a callback or by umf_fence_notify(), and ask for interrupts only while somebody
 * waits.
 */
#include "notifier.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>

static struct umf_page *page;
static struct umf_fence *fence;
static uint8_t *memory;
static size_t size;

static uint64_t *
word(uint64_t offset)
{
    return (uint64_t *)(memory + offset);
}

static void
start(uint64_t flags, uint64_t value)
{
    struct stat stat;
    int fd;
    OK(umf_page_create(4, 0, &page));
    OK(umf_fence_create(page, value, UMF_FENCE_DEVICE | flags, &fence));
    OK(umf_page_export(page, 0, &fd));
    CHECK(fstat(fd, &stat) == 0);
    size = (size_t)stat.st_size;
    memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(memory != MAP_FAILED);
    close(fd);
}

static void
finish(void)
{
    munmap(memory, size);
    umf_fence_unref(fence);
    umf_page_unref(page);
}

/* The device: writes, then interrupts if a waiter asked. Returns whether it interrupted. */
static int
device_writes(uint64_t value, int interrupt)
{
    __atomic_store_n(word(umf_fence_offset(fence)), value, __ATOMIC_RELEASE);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    uint64_t monitored = __atomic_load_n(word(umf_fence_monitored_offset(fence)), __ATOMIC_RELAXED);
    if (monitored == UINT64_MAX || value <= monitored)
        return 0;
    if (interrupt >= 0)
        CHECK(write(interrupt, &(uint64_t){ 1 }, 8) == 8);
    return 1;
}

/* Returns once the monitored value says that somebody waits for a value above `below`. */
static void
until_monitored(uint64_t below)
{
    uint64_t end = in_ns(20 * SECOND);
    while (__atomic_load_n(word(umf_fence_monitored_offset(fence)), __ATOMIC_ACQUIRE) != below)
        CHECK(now_ns() < end);
}

static void
polling_notices_it(void)
{
    pid_t device;
    start(0, 0);
    IN_CHILD(device, for (uint64_t v = 1; v <= 200; v++) {
        until_monitored(v - 1);
        device_writes(v, -1);
    });
    for (uint64_t v = 1; v <= 200; v++)
        OK(umf_fence_wait(fence, v, in_ns(20 * SECOND)));
    join_child(device);
    EXPECT(-ETIME, umf_fence_wait(fence, 201, in_ns(3 * MS)));
    finish();
}

static void
without_a_waiter_there_is_no_interrupt(void)
{
    start(0, 0);
    CHECK(device_writes(1, -1) == 0);
    /* The waiter waits for 10: of the values up to 10, only that one interrupts. */
    EXPECT(-ETIME, umf_fence_wait(fence, 10, in_ns(1 * MS)));
    CHECK(device_writes(2, -1) == 0);
    CHECK(device_writes(9, -1) == 0);
    CHECK(device_writes(10, -1) == 1);
    OK(umf_fence_notify(fence));
    CHECK(device_writes(11, -1) == 0);
    finish();
}

/* Ping-pong with a device that interrupts through an eventfd, and only if a waiter asked. The
 * waiter may see a value before the interrupt for it. That interrupt then disturbs the next wait,
 * which for a moment does not ask. */
static void
a_descriptor_hears_it(void)
{
    int interrupt = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pid_t device;
    CHECK(interrupt >= 0);
    start(0, 0);
    notify_by(fence, interrupt);
    IN_CHILD(device, {
        int interrupts = 0;
        for (uint64_t v = 1; v <= 2000; v++) {
            until_monitored(v - 1);
            interrupts += device_writes(v, interrupt);
        }
        CHECK(interrupts > 1000);
    });
    for (uint64_t v = 1; v <= 2000; v++)
        OK(umf_fence_wait(fence, v, in_ns(20 * SECOND)));
    join_child(device);
    close(interrupt);
    finish();
}

static atomic_int releases;

static void
released(void *data)
{
    CHECK(data);
    releases++;
}

static int
blocks(void *data, uint64_t abs_timeout_ns)
{
    struct pollfd pollfd = { .fd = *(int *)data, .events = POLLIN };
    uint64_t now = now_ns();
    int ms = abs_timeout_ns > now ? (int)((abs_timeout_ns - now + MS - 1) / MS) : 0;
    if (poll(&pollfd, 1, ms) == 1)
        CHECK(read(pollfd.fd, &(uint64_t){ 0 }, 8) == 8);
    return -EAGAIN; /* whatever the result */
}

static void *
waits_in_a_thread(void *data)
{
    OK(umf_fence_wait(fence, *(uint64_t *)data, in_ns(20 * SECOND)));
    return NULL;
}

/* Four threads and another process wait. One thread notices the device, and all waits end. */
static void
one_thread_notices_and_wakes_the_others(void)
{
    uint64_t values[4] = { 1, 2, 3, 3 };
    pthread_t threads[4];
    pid_t other;
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    const struct umf_interrupt interrupt = {
        .size = sizeof(interrupt), .fd = -1, .wait = blocks, .data = &fd, .release = released
    };
    struct umf_notifier *notifier;
    start(0, 0);
    OK(umf_notifier_create(&interrupt, 0, &notifier));
    OK(umf_fence_set_notifier(fence, notifier));
    umf_notifier_unref(notifier);
    IN_CHILD(other, OK(umf_fence_wait(fence, 3, in_ns(20 * SECOND))));
    for (int i = 0; i < 4; i++)
        CHECK(pthread_create(&threads[i], NULL, waits_in_a_thread, &values[i]) == 0);
    for (uint64_t v = 1; v <= 3; v++) {
        until_monitored(v - 1);
        device_writes(v, fd);
    }
    for (int i = 0; i < 4; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    join_child(other);
    CHECK(releases == 0);
    finish();
    /* The notifier's thread may be in the driver's function for up to a second. */
    for (uint64_t end = in_ns(20 * SECOND); releases == 0;)
        CHECK(now_ns() < end && poll(NULL, 0, 1) == 0);
    CHECK(releases == 1);
    close(fd);
}

/* The driver closed its end of the descriptor: the wait sleeps on and does not spin. */
static void
a_descriptor_that_hung_up(void)
{
    struct timespec before, after;
    pid_t device;
    int pipes[2];
    CHECK(pipe2(pipes, O_CLOEXEC | O_NONBLOCK) == 0);
    start(0, 0);
    notify_by(fence, pipes[0]);
    close(pipes[1]);
    CHECK(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before) == 0);
    EXPECT(-ETIME, umf_fence_wait(fence, 1, in_ns(500 * MS)));
    CHECK(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after) == 0);
    /* What it writes is noticed all the same. */
    IN_CHILD(device, {
        until_monitored(0);
        device_writes(1, -1);
    });
    OK(umf_fence_wait(fence, 1, in_ns(20 * SECOND)));
    join_child(device);
    CHECK((after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000 < 100);
    close(pipes[0]);
    finish();
}

static void
does_nothing(int signal)
{
    (void)signal;
    umf_fence_wait(fence, 1, 0);
    umf_fence_wait(fence, 1, in_ns(20000));
}

/* A signal handler that waits interrupts the thread that sets a notifier. */
static void
a_wait_in_a_signal_handler(void)
{
    int interrupt = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct umf_notifier *notifier = notifier_of(interrupt);
    struct itimerval often = { { 0, 700 }, { 0, 700 } }, never = { { 0, 0 }, { 0, 0 } };
    struct sigaction action = { .sa_handler = does_nothing };
    start(0, 0);
    CHECK(sigaction(SIGALRM, &action, NULL) == 0 && setitimer(ITIMER_REAL, &often, NULL) == 0);
    for (int i = 0; i < 20000; i++)
        OK(umf_fence_set_notifier(fence, notifier));
    CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);
    umf_notifier_unref(notifier);
    close(interrupt);
    finish();
}

/* The device's interrupt calls umf_fence_notify() in a process where nobody waits. Errors are
 * noticed as well. */
static void
a_handler_notifies(void)
{
    pid_t handler;
    int error;
    start(UMF_FENCE_32BIT, UINT32_MAX);
    IN_CHILD(handler, {
        until_monitored(1);
        __atomic_store_n((uint32_t *)word(umf_fence_offset(fence)), 2, __ATOMIC_RELEASE);
        OK(umf_fence_notify(fence));
    });
    OK(umf_fence_wait(fence, 2, in_ns(20 * SECOND)));
    join_child(handler);
    IN_CHILD(handler, {
        until_monitored(6);
        OK(umf_fence_set_error(fence, -EIO));
    });
    EXPECT(-EIO, umf_fence_wait(fence, 7, in_ns(20 * SECOND)));
    join_child(handler);
    OK(umf_fence_error(fence, &error));
    CHECK(error == -EIO);
    finish();
}

/* In a wait for many, beside fences that wake their waiters. */
static void
among_others(void)
{
    struct umf_fence *plain;
    pid_t device;
    uint32_t index;
    start(0, 0);
    OK(umf_fence_create(page, 0, 0, &plain));
    struct umf_condition waits[2] = { { .fence = plain, .value = 1 },
                                      { .fence = fence, .value = 5 } };
    for (int all = 0; all < 2; all++) {
        IN_CHILD(device, {
            until_monitored(all ? 9 : 4);
            device_writes(all ? 10 : 5, -1);
        });
        if (all) {
            OK(umf_fence_signal(plain, 1));
            waits[1].value = 10;
            OK(umf_wait(waits, 2, 0, in_ns(20 * SECOND), NULL));
        } else {
            OK(umf_wait(waits, 2, UMF_WAIT_ANY, in_ns(20 * SECOND), &index));
            CHECK(index == 1);
        }
        join_child(device);
    }
    umf_fence_unref(plain);
    finish();
}

/* A value that a device wrote silently takes precedence over the failure of another fence, which
 * wakes. */
static void
what_is_met_counts_before_a_failure(void)
{
    struct umf_fence *plain;
    pid_t fails;
    uint32_t index = 7;
    start(0, 0);
    OK(umf_fence_create(page, 0, 0, &plain));
    struct umf_condition waits[2] = { { .fence = plain, .value = 1 },
                                      { .fence = fence, .value = 5 } };
    for (int round = 0; round < 20; round++) {
        struct umf_fence *doomed;
        OK(umf_fence_create(page, 0, 0, &doomed));
        waits[0].fence = doomed;
        waits[1].value = (uint64_t)round * 10 + 5;
        IN_CHILD(fails, {
            until_monitored(waits[1].value - 1);
            device_writes(waits[1].value, -1);
            OK(umf_fence_set_error(doomed, -EIO));
        });
        OK(umf_wait(waits, 2, UMF_WAIT_ANY, in_ns(20 * SECOND), &index));
        CHECK(index == 1);
        join_child(fails);
        umf_fence_unref(doomed);
    }
    umf_fence_unref(plain);
    finish();
}

/* A long wait without a notifier polls less and less often. */
static void
idle_waits_cost_little(void)
{
    struct timespec before, after;
    start(0, 0);
    CHECK(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &before) == 0);
    EXPECT(-ETIME, umf_fence_wait(fence, 1, in_ns(1 * SECOND)));
    CHECK(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &after) == 0);
    int64_t us = (after.tv_sec - before.tv_sec) * 1000000 + (after.tv_nsec - before.tv_nsec) / 1000;
    printf("a wait of 1 s for a silent device: %" PRId64 " us of CPU time\n", us);
    CHECK(us < 100000);
    finish();
}

int
main(void)
{
    int fds = open_fds();
    polling_notices_it();
    without_a_waiter_there_is_no_interrupt();
    a_descriptor_hears_it();
    one_thread_notices_and_wakes_the_others();
    a_descriptor_that_hung_up();
    a_wait_in_a_signal_handler();
    a_handler_notifies();
    among_others();
    what_is_met_counts_before_a_failure();
    idle_waits_cost_little();
    CHECK(open_fds() == fds);
    return 0;
}
