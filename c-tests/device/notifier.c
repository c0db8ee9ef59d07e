// SPDX-License-Identifier: MIT
/*
 * Notifiers: one interrupt for all waits on the fences of a device. A process plays the device. It
 * writes values through its own mapping and interrupts by an eventfd, where a test wants it only if
 * a waiter asked (the monitored value).
 *
 * No wait polls: a wait that hears nothing ends 20 seconds late, where the test does not expect it.
 */
#include "notifier.h"
#include "raw_page.h"
#include "watch.h"

#include <setjmp.h>
#include <sys/eventfd.h>
#include <sys/resource.h>

#define MANY 1000

static struct umf_page *page;
static struct umf_fence *device[MANY], *plain;
static struct umf_notifier *notifier;
static struct raw raw;
static int interrupt;

static void
start(void)
{
    interrupt = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    CHECK(interrupt >= 0);
    OK(umf_page_create(MANY + 8, 0, &page));
    OK(umf_fence_create(page, 0, 0, &plain));
    /* Half of the fences are there before the notifier. */
    for (int i = 0; i < MANY / 2; i++)
        OK(umf_fence_create(page, 0, UMF_FENCE_DEVICE, &device[i]));
    notifier = notifier_of(interrupt);
    OK(umf_page_set_notifier(page, notifier));
    for (int i = MANY / 2; i < MANY; i++)
        OK(umf_fence_create(page, 0, UMF_FENCE_DEVICE, &device[i]));
    raw = map_raw(page);
}

static void
finish(void)
{
    for (int i = 0; i < MANY; i++)
        umf_fence_unref(device[i]);
    umf_fence_unref(plain);
    umf_notifier_unref(notifier);
    umf_page_unref(page);
    unmap_raw(&raw);
    close(interrupt);
}

static void
raise_interrupt(int fd)
{
    CHECK(write(fd, &(uint64_t){ 1 }, 8) == 8);
}

static uint64_t
monitored(const struct umf_fence *fence)
{
    return __atomic_load_n((uint64_t *)(void *)(raw.bytes + umf_fence_monitored_offset(fence)),
                           __ATOMIC_SEQ_CST);
}

static void
until_monitored(const struct umf_fence *fence, uint64_t below)
{
    uint64_t end = in_ns(20 * SECOND);
    while (monitored(fence) != below)
        CHECK(now_ns() < end);
}

/* Writes a value once somebody waits for it, and interrupts because of that. */
static void
write_and_interrupt(struct umf_fence *fence, uint64_t value)
{
    until_monitored(fence, value - 1);
    write_raw(&raw, fence, value);
    raise_interrupt(interrupt);
}

/* How often the threads of this process, but for this one, went to sleep. */
static long
sleeps_of_others(void)
{
    struct rusage all, own;
    CHECK(getrusage(RUSAGE_SELF, &all) == 0 && getrusage(RUSAGE_THREAD, &own) == 0);
    return all.ru_nvcsw - own.ru_nvcsw;
}

static uint64_t
cpu_ns(void)
{
    return clock_ns(CLOCK_PROCESS_CPUTIME_ID);
}

static void
one_descriptor_serves_all_fences(void)
{
    int before = open_fds(), tasks = threads();
    start();
    /* The page's, the mapping's, the interrupt's, its duplicate, and two to end sleeps there. */
    CHECK(open_fds() == before + 6 && threads() == tasks + 1);
    finish();
    CHECK(open_fds() == before);
    until_threads(tasks);
}

/* Every kind of wait hears the interrupt, and nobody waits afterwards. */
static void
every_wait_hears_it(void)
{
    pid_t pid;
    uint32_t index;
    static struct umf_condition waits[MANY];
    const unsigned count = rounds(200, 10);
    start();
    IN_CHILD(pid, for (uint64_t value = 1; value <= 5 * count; value++)
                      write_and_interrupt(device[7], value));
    for (uint64_t value = 1; value <= 5 * count;) {
        for (int i = 0; i < MANY; i++)
            waits[i] = (struct umf_condition){ .fence = device[i], .value = i == 7 ? value : 1 };
        OK(umf_fence_wait(device[7], value++, FOREVER));
        waits[7].value = value++;
        OK(umf_wait(waits + 6, 2, UMF_WAIT_ANY, FOREVER, &index));
        CHECK(index == 1);
        waits[7].value = value++;
        OK(umf_wait(waits, MANY, UMF_WAIT_ANY, FOREVER, &index));
        CHECK(index == 7);
        waits[7].value = value++;
        OK(umf_wait(waits + 7, 1, 0, FOREVER, NULL));
        waits[6] = (struct umf_condition){ .fence = device[7], .value = value - 1 };
        waits[7].value = value++;
        OK(umf_wait(waits + 6, 2, 0, FOREVER, NULL));
    }
    join_child(pid);
    finish();
}

static int
run_job(void *data)
{
    atomic_store((atomic_int *)data, 1);
    return UMF_JOB_DONE;
}

static void
loops_and_queues_hear_it(uint64_t mode)
{
    pid_t pid;
    struct told told;
    struct umf_watch *watch;
    struct umf_queue *queue;
    struct umf_fence *target;
    const unsigned count = rounds(100, 5);
    start();
    IN_CHILD(pid, for (uint64_t value = 1; value <= 4 * count; value++)
                      write_and_interrupt(device[7], value));
    struct umf_loop *loop = create_loop(mode);
    int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    OK(umf_queue_create(loop, 0, &queue));
    OK(umf_fence_create(page, 0, 0, &target));
    for (uint64_t value = 1; value <= 4 * count;) {
        umf_watch_unref(watch_value(loop, device[7], value++, &told));
        until_called(loop, &told, 0);
        struct umf_condition wait = { .fence = device[7], .value = value++ };
        OK(umf_loop_export_eventfd(loop, &wait, 0, event, NULL, &watch));
        OK(outcome_of(loop, watch));
        CHECK(read(event, &(uint64_t){ 0 }, 8) == 8);
        OK(umf_loop_export_fence(loop, device[7], value, target, value, 0, NULL, &watch));
        OK(outcome_of(loop, watch));
        CHECK(umf_fence_value(target) == value++);
        atomic_int ran = 0;
        wait.value = value++;
        const struct umf_job job = { .size = sizeof(job), .wait_count = 1, .waits = &wait,
                                     .run = run_job, .data = &ran };
        OK(umf_queue_submit(queue, &job, 0));
        UNTIL(loop, atomic_load(&ran));
    }
    join_child(pid);
    umf_queue_unref(queue);
    umf_loop_unref(loop);
    umf_fence_unref(target);
    close(event);
    finish();
}

/* What programs do ends the same waits. The device is silent. */
static void
signals_and_errors_are_heard(void)
{
    pid_t pid;
    start();
    struct umf_condition waits[2] = { { .fence = plain, .value = 1 },
                                 { .fence = device[0], .value = 9 } };
    struct sleeper any = { .waits = waits, .count = 2, .flags = UMF_WAIT_ANY };
    start_sleeper(&any);
    until_monitored(device[0], 8);
    IN_CHILD(pid, OK(umf_fence_signal(plain, 1)));
    CHECK(pthread_join(any.thread, NULL) == 0 && any.result == 0 && any.index == 0);
    join_child(pid);

    struct sleeper one = { .fence = device[1], .value = 9 };
    start_sleeper(&one);
    until_monitored(device[1], 8);
    IN_CHILD(pid, OK(umf_fence_signal(device[1], 9)));
    CHECK(pthread_join(one.thread, NULL) == 0 && one.result == 0);
    join_child(pid);

    one = (struct sleeper){ .fence = device[2], .value = 9 };
    start_sleeper(&one);
    until_monitored(device[2], 8);
    IN_CHILD(pid, OK(umf_fence_set_error(device[2], -EIO)));
    CHECK(pthread_join(one.thread, NULL) == 0 && one.result == -EIO);
    join_child(pid);

    one = (struct sleeper){ .fence = device[3], .value = 9 };
    any = (struct sleeper){ .waits = waits + 1, .count = 1 };
    waits[1].fence = device[3];
    start_sleeper(&one);
    start_sleeper(&any);
    until_monitored(device[3], 8);
    struct umf_loop *loop = create_loop(UMF_LOOP_THREAD);
    int ends[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    OK(umf_loop_tie_fence(loop, device[3], ends[0], 0, NULL, NULL));
    close(ends[1]); /* the signaler died */
    CHECK(pthread_join(one.thread, NULL) == 0 && one.result == -EOWNERDEAD);
    CHECK(pthread_join(any.thread, NULL) == 0 && any.result == -EOWNERDEAD);
    umf_loop_unref(loop);
    close(ends[0]);

    one = (struct sleeper){ .fence = device[4], .value = 9 };
    start_sleeper(&one);
    until_monitored(device[4], 8);
    OK(umf_fence_notify(device[4])); /* not yet */
    until_monitored(device[4], 8);
    write_raw(&raw, device[4], 9);
    OK(umf_fence_notify(device[4]));
    CHECK(pthread_join(one.thread, NULL) == 0 && one.result == 0);
    finish();
}

/* umf_page_notify() wakes the waiters of what was written, and no others. */
static void
a_page_is_notified(void)
{
    pid_t pid;
    long slept;
    struct umf_fence *external;
    static _Atomic uint64_t value;
    const struct umf_mapping memory = { .size = sizeof(memory), .value = (void *)&value };
    start();
    OK(umf_fence_create_in(page, &memory, 0, &external));
    struct sleeper written = { .fence = device[0], .value = 5 };
    struct sleeper others[2] = { { .fence = device[1], .value = 5 },
                                 { .fence = device[0], .value = 6 } };
    struct sleeper outside = { .fence = external, .value = 1 };
    start_sleeper(&written);
    until_monitored(device[0], 4);
    for (int i = 0; i < 2; i++)
        start_sleeper(&others[i]);
    start_sleeper(&outside);
    until_monitored(device[1], 4);
    until_monitored(external, 0);
    poll(NULL, 0, 50);
    slept = sleeps_of_others();
    for (int i = 0; i < 100; i++)
        OK(umf_page_notify(page));
    /* The value that the library cannot read in the page may be any. */
    CHECK(sleeps_of_others() - slept <= 110);
    IN_CHILD(pid, {
        write_raw(&raw, device[0], 5);
        OK(umf_page_notify(page));
    });
    join_child(pid);
    CHECK(pthread_join(written.thread, NULL) == 0 && written.result == 0);
    /* The waiter that is left asks for its value. */
    until_monitored(device[0], 5);
    CHECK(monitored(device[1]) == 4);
    CHECK(!atomic_load(&others[0].done) && !atomic_load(&others[1].done));
    value = 1;
    OK(umf_page_notify(page));
    CHECK(pthread_join(outside.thread, NULL) == 0);
    write_raw(&raw, device[0], 6);
    write_raw(&raw, device[1], 5);
    OK(umf_page_notify(page));
    for (int i = 0; i < 2; i++)
        CHECK(pthread_join(others[i].thread, NULL) == 0 && others[i].result == 0);
    umf_fence_unref(external);
    finish();
}

/* The device moves a fence in one step, past a value for which two threads wait. The waiter that
 * hears the interrupt wakes the other, although 32 bits stand for the value that was announced. */
static void
one_step_wakes_everybody(uint64_t from, uint64_t awaited, uint64_t to)
{
    start();
    struct umf_fence *fence;
    OK(umf_fence_create(page, from, UMF_FENCE_DEVICE, &fence));
    struct umf_condition waits[2] = { { .fence = device[1], .value = 1 },
                                      { .fence = fence, .value = awaited } };
    struct sleeper one = { .fence = fence, .value = awaited };
    struct sleeper any = { .waits = waits, .count = 2, .flags = UMF_WAIT_ANY };
    start_sleeper(&one);
    until_monitored(fence, awaited - 1);
    start_sleeper(&any);
    until_monitored(device[1], 0);
    write_raw(&raw, fence, to);
    raise_interrupt(interrupt);
    CHECK(pthread_join(one.thread, NULL) == 0 && one.result == 0);
    CHECK(pthread_join(any.thread, NULL) == 0 && any.result == 0 && any.index == 1);
    umf_fence_unref(fence);
    finish();
}

static void
large_values_wake_everybody(void)
{
    one_step_wakes_everybody(0, 1, UINT64_MAX);
    for (unsigned bit = 0; bit < 64; bit += 3) {
        uint64_t power = UINT64_C(1) << bit;
        one_step_wakes_everybody(power - 1, power, power);
        one_step_wakes_everybody(power - 1, power, power + 20);
        one_step_wakes_everybody(0, power, power);
    }
}

/* With 1,000 waits, nothing happens in a second in which the device is silent; nor while it
 * interrupts, if nobody waits. */
static void
nobody_wakes_up_for_nothing(void)
{
    enum { THREADS = 20 };
    static struct sleeper sleepers[THREADS];
    static struct told told[MANY];
    static struct umf_watch *watches[MANY];
    start();
    struct umf_loop *loop = create_loop(UMF_LOOP_THREAD);
    for (int i = 0; i < THREADS; i++) {
        sleepers[i] = (struct sleeper){ .fence = device[i], .value = 1 };
        start_sleeper(&sleepers[i]);
        until_monitored(device[i], 0);
    }
    for (int i = THREADS; i < MANY; i++)
        watches[i] = watch_value(loop, device[i], 1, &told[i]);
    poll(NULL, 0, 100);
    long slept = sleeps_of_others();
    poll(NULL, 0, 1000);
    slept = sleeps_of_others() - slept;
    printf("1,000 waits, 1 s: slept %ld times\n", slept);
    /* valgrind and an emulator have threads of their own */
    CHECK(slept == 0 || RUNNING_ON_VALGRIND || is_emulated());
    for (int i = 0; i < THREADS; i++)
        write_raw(&raw, device[i], 1);
    raise_interrupt(interrupt);
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_join(sleepers[i].thread, NULL) == 0 && sleepers[i].result == 0);
    for (int i = THREADS; i < MANY; i++) {
        OK(umf_watch_cancel(watches[i]));
        umf_watch_unref(watches[i]);
    }
    umf_loop_unref(loop);
    /* One interrupt may still be taken for the waits that are over. */
    raise_interrupt(interrupt);
    poll(NULL, 0, 50);
    slept = sleeps_of_others();
    for (int i = 0; i < 100; i++) {
        raise_interrupt(interrupt);
        poll(NULL, 0, 1);
    }
    CHECK(sleeps_of_others() - slept <= 1 || RUNNING_ON_VALGRIND || is_emulated());
    finish();
}

/* An interrupt that is raised all the time costs little, and a value is noticed all the same. */
static void
a_descriptor_that_is_always_readable(void)
{
    pid_t pid;
    start();
    int zero = open("/dev/zero", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    CHECK(zero >= 0);
    struct umf_page *own;
    struct umf_fence *fence;
    OK(umf_page_create(1, 0, &own));
    OK(umf_fence_create(own, 0, UMF_FENCE_DEVICE, &fence));
    notify_by(fence, zero);
    uint64_t used = cpu_ns(), began = now_ns();
    EXPECT(-ETIME, umf_fence_wait(fence, 1, in_ns(SECOND)));
    used = cpu_ns() - used;
    printf("always readable: %.1f%% of a core\n",
           100 * (double)used / (double)(now_ns() - began));
    CHECK(used < 100 * MS * rounds(1, 10));
    struct raw own_raw = map_raw(own);
    IN_CHILD(pid, write_raw(&own_raw, fence, 1));
    OK(umf_fence_wait(fence, 1, FOREVER));
    join_child(pid);
    unmap_raw(&own_raw);
    umf_fence_unref(fence);
    umf_page_unref(own);
    close(zero);
    finish();
}

/* The device closes its end of the descriptor while threads wait, in both ways in which one sleeps.
 * Its values are noticed all the same, and so is that the driver fails its fences. */
static void
a_descriptor_whose_other_end_is_closed(bool in_time)
{
    int ends[2];
    struct umf_page *own;
    struct umf_fence *fence;
    start();
    CHECK(pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
    OK(umf_page_create(1, 0, &own));
    OK(umf_fence_create(own, 0, UMF_FENCE_DEVICE, &fence));
    notify_by(fence, ends[0]);
    struct raw own_raw = map_raw(own);
    struct umf_condition both[2] = { { .fence = device[0], .value = 1 },
                                     { .fence = fence, .value = 1 } };
    struct sleeper alone = { .fence = fence, .value = 1 };
    struct sleeper any = { .waits = both, .count = 2, .flags = UMF_WAIT_ANY };
    struct sleeper lost = { .fence = fence, .value = 2 };
    if (!in_time)
        close(ends[1]);
    start_sleeper(&alone);
    start_sleeper(&any);
    start_sleeper(&lost);
    if (in_time)
        close(ends[1]);
    uint64_t used = cpu_ns(), began = now_ns();
    EXPECT(-ETIME, umf_fence_wait(fence, 1, in_ns(SECOND)));
    used = cpu_ns() - used;
    printf("closed: %.1f%% of a core\n", 100 * (double)used / (double)(now_ns() - began));
    CHECK(used < 200 * MS * rounds(1, 10));
    write_raw(&own_raw, fence, 1);
    CHECK(pthread_join(alone.thread, NULL) == 0 && alone.result == 0);
    CHECK(pthread_join(any.thread, NULL) == 0 && any.result == 0 && any.index == 1);
    OK(umf_fence_set_error(fence, -ENODEV));
    CHECK(pthread_join(lost.thread, NULL) == 0 && lost.result == -EIO);
    unmap_raw(&own_raw);
    umf_fence_unref(fence);
    umf_page_unref(own);
    close(ends[0]);
    finish();
}

/* A smaller value counts as not written. */
static void
a_device_that_writes_backwards(void)
{
    pid_t pid;
    start();
    IN_CHILD(pid, {
        write_and_interrupt(device[0], 5);
        until_monitored(device[0], 5);
        write_raw(&raw, device[0], 3);
        raise_interrupt(interrupt);
        write_and_interrupt(device[0], 6);
    });
    OK(umf_fence_wait(device[0], 5, FOREVER));
    OK(umf_fence_wait(device[0], 6, FOREVER));
    CHECK(umf_fence_value(device[0]) == 6);
    join_child(pid);
    finish();
}

/* A wait that never comes back does not keep others from hearing the device. */
static sigjmp_buf before_the_wait;

static void
jump(int signal)
{
    (void)signal;
    siglongjmp(before_the_wait, 1);
}

static void
a_wait_that_a_signal_handler_leaves(void)
{
    pid_t pid, parent = getpid();
    start();
    CHECK(signal(SIGUSR1, jump) != SIG_ERR);
    IN_CHILD(pid, {
        until_monitored(device[0], 0);
        CHECK(kill(parent, SIGUSR1) == 0);
        write_and_interrupt(device[1], 1);
    });
    if (sigsetjmp(before_the_wait, 1) == 0) {
        EXPECT(0, umf_fence_wait(device[0], 1, FOREVER)); /* does not return */
        CHECK(false);
    }
    OK(umf_fence_wait(device[1], 1, FOREVER));
    join_child(pid);
    finish();
}

/* The child of a fork has no notifier: its waits poll, until it makes one of its own. */
static void
the_child_of_a_fork(void)
{
    pid_t pid, child;
    start();
    IN_CHILD(child, {
        watchdog(20);
        EXPECT(-ESTALE, umf_fence_set_notifier(device[0], notifier));
        EXPECT(-ESTALE, umf_page_set_notifier(page, notifier));
        IN_CHILD(pid, {
            until_monitored(device[0], 0);
            write_raw(&raw, device[0], 1);
        });
        OK(umf_fence_wait(device[0], 1, FOREVER));
        join_child(pid);
        int own_interrupt = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        struct umf_notifier *own = notifier_of(own_interrupt);
        OK(umf_page_set_notifier(page, own));
        OK(umf_fence_set_notifier(device[1], own));
        IN_CHILD(pid, {
            until_monitored(device[1], 1);
            write_raw(&raw, device[1], 2);
            raise_interrupt(own_interrupt);
        });
        OK(umf_fence_wait(device[1], 2, FOREVER));
        join_child(pid);
        umf_notifier_unref(own);
        umf_notifier_unref(notifier);
        umf_fence_unref(device[0]);
    });
    join_child(child);
    finish();
}

/* A device that forgets to interrupt: the notifier notices after 20 seconds, and then sooner. */
static void
a_device_that_does_not_interrupt(void)
{
    struct umf_page *own;
    struct umf_fence *fence;
    int silent = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    OK(umf_page_create(1, 0, &own));
    OK(umf_fence_create(own, 0, UMF_FENCE_DEVICE, &fence));
    notify_by(fence, silent);
    struct raw own_raw = map_raw(own);
    uint64_t late[3];
    for (uint64_t value = 1; value <= 3; value++) {
        struct sleeper sleeper = { .fence = fence, .value = value };
        start_sleeper(&sleeper);
        const uint64_t *at = (void *)(own_raw.bytes + umf_fence_monitored_offset(fence));
        while (__atomic_load_n(at, __ATOMIC_ACQUIRE) != value - 1)
            sched_yield();
        uint64_t written = now_ns();
        write_raw(&own_raw, fence, value);
        CHECK(pthread_join(sleeper.thread, NULL) == 0 && sleeper.result == 0);
        late[value - 1] = now_ns() - written;
    }
    printf("without interrupts: noticed after %.1f, %.2f and %.3f s\n", (double)late[0] / 1e9,
           (double)late[1] / 1e9, (double)late[2] / 1e9);
    CHECK(late[2] < late[0] / 2);
    unmap_raw(&own_raw);
    umf_fence_unref(fence);
    umf_page_unref(own);
    close(silent);
}

int
main(void)
{
    int fds = open_fds();
    watchdog(55);
    one_descriptor_serves_all_fences();
    every_wait_hears_it();
    loops_and_queues_hear_it(0);
    loops_and_queues_hear_it(UMF_LOOP_THREAD);
    signals_and_errors_are_heard();
    a_page_is_notified();
    large_values_wake_everybody();
    nobody_wakes_up_for_nothing();
    a_descriptor_that_is_always_readable();
    a_descriptor_whose_other_end_is_closed(false);
    a_descriptor_whose_other_end_is_closed(true);
    a_device_that_writes_backwards();
    a_wait_that_a_signal_handler_leaves();
    the_child_of_a_fork();
    a_device_that_does_not_interrupt();
    CHECK(open_fds() == fds);
    return 0;
}
