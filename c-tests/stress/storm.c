// SPDX-License-Identifier: MIT
/*
 * 10,000 signals a second, whose handler returns, end no call early, keep none from ending, and
 * lose nothing: calls that create, wait, watch, dispatch, drain, write the graph, and end.
 * (interrupted.c stops between any two instructions.)
 */
#include "notifier.h"
#include "raw_page.h"
#include "sleeper.h"
#include "watch.h"

/* Under valgrind, a tenth of that rate: valgrind takes about as long to deliver one, so on a busy
 * machine the program would do nothing but handle signals. */
#define EVERY_NS (RUNNING_ON_VALGRIND ? 1000000 : 100000)

static struct umf_page *page;
static struct umf_fence *fence, *other;
static atomic_uint interruptions;

static void
interrupt(int signal)
{
    (void)signal;
    atomic_fetch_add(&interruptions, 1);
}

static timer_t
begin_storm(void)
{
    timer_t timer;
    struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };
    struct itimerspec every = { { 0, EVERY_NS }, { 0, EVERY_NS } };
    /* no SA_RESTART: the kernel restarts nothing */
    struct sigaction action = { .sa_handler = interrupt };
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
    CHECK(timer_settime(timer, 0, &every, NULL) == 0);
    return timer;
}

/* Returns when the other threads were interrupted so often. */
static void
let_it_storm(unsigned times)
{
    unsigned until = atomic_load(&interruptions) + times;
    while ((int)(until - atomic_load(&interruptions)) > 0)
        sched_yield();
}

/* Does something a little later, on a thread that gets no signals. */
struct later {
    void (*act)(void);
    pthread_t thread;
};

static void *
do_later(void *argument)
{
    const struct later *later = argument;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    CHECK(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0);
    let_it_storm(20);
    later->act();
    return NULL;
}

#define MEANWHILE(action, ...)                                                                     \
    do {                                                                                           \
        struct later later_ = { .act = (action) };                                                 \
        CHECK(pthread_create(&later_.thread, NULL, do_later, &later_) == 0);                       \
        __VA_ARGS__;                                                                               \
        CHECK(pthread_join(later_.thread, NULL) == 0);                                             \
    } while (0)

static void
signal_fence(void)
{
    OK(umf_fence_signal(fence, umf_fence_value(fence) + 1));
}

static void
pages_of_every_size(void)
{
    static const uint32_t sizes[] = { 1, 1000, UMF_PAGE_MAX_FENCES };
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        struct umf_page *more, *again;
        int fd;
        OK(umf_page_create(sizes[i], 0, &more));
        OK(umf_page_export(more, 0, &fd));
        OK(umf_page_import(fd, 0, &again));
        CHECK(umf_page_fence_count(again) == sizes[i]);
        umf_page_unref(again);
        umf_page_unref(more);
        close(fd);
    }
}

static void
waits(void)
{
    for (unsigned i = 0; i < rounds(20, 3); i++) {
        struct umf_condition both[2] = { { other, umf_fence_value(other), UMF_OP_GE, 0, 0 },
                                         { fence, umf_fence_value(fence) + 1, UMF_OP_GE, 0, 0 } };
        uint64_t deadline = in_ns(5 * MS);
        uint32_t index;
        EXPECT(-ETIME, umf_fence_wait(fence, both[1].value, deadline));
        CHECK(now_ns() >= deadline);
        deadline = in_ns(5 * MS);
        EXPECT(-ETIME, umf_wait(both, 2, 0, deadline, NULL));
        CHECK(now_ns() >= deadline);
        MEANWHILE(signal_fence, OK(umf_fence_wait(fence, both[1].value, FOREVER)));
        both[1].value++;
        MEANWHILE(signal_fence, OK(umf_wait(both, 2, 0, FOREVER, NULL)));
        both[0].value += 100;
        both[1].value++;
        MEANWHILE(signal_fence, OK(umf_wait(both, 2, UMF_WAIT_ANY, FOREVER, &index)));
        CHECK(index == 1);
    }
}

/* A device with an interrupt descriptor, and one whose waits sleep in a call of the program. */
static struct umf_fence *device;
static struct raw raw;
static int event;

static void
device_writes(void)
{
    uint64_t one = 1;
    write_raw(&raw, device, umf_fence_value(device) + 1);
    CHECK(write(event, &one, sizeof(one)) == sizeof(one));
}

static void
waits_for_a_device(void)
{
    OK(umf_fence_create(page, 0, UMF_FENCE_DEVICE, &device));
    notify_by(device, event);
    for (unsigned i = 0; i < rounds(10, 2); i++) {
        uint64_t deadline = in_ns(5 * MS), next = umf_fence_value(device) + 1;
        EXPECT(-ETIME, umf_fence_wait(device, next, deadline));
        CHECK(now_ns() >= deadline);
        MEANWHILE(device_writes, OK(umf_fence_wait(device, next, FOREVER)));
    }
    umf_fence_unref(device);
}

static struct umf_queue *queue;
static struct umf_loop *loop;
static atomic_int jobs_run, jobs_released;

static int
run_job(void *data)
{
    (void)data;
    atomic_fetch_add(&jobs_run, 1);
    return UMF_JOB_DONE;
}

static void
release_job(void *data, int result)
{
    (void)data;
    OK(result);
    atomic_fetch_add(&jobs_released, 1);
}

static void
submit_for(uint64_t value)
{
    struct umf_condition wait = { fence, value, UMF_OP_GE, 0, 0 };
    struct umf_signal signal = { other, umf_fence_pending_value(other) + 1 };
    struct umf_job job = { .size = sizeof(job), .wait_count = 1, .waits = &wait, .signal_count = 1,
                           .signals = &signal, .run = run_job, .release = release_job };
    OK(umf_queue_submit(queue, &job, 0));
}

/* Watches of all kinds, each met amid the signals. */
static void
watches(uint64_t mode)
{
    for (unsigned i = 0; i < rounds(10, 2); i++) {
        struct told told, gone;
        struct umf_watch *watch;
        pid_t pid;
        uint64_t count, next = umf_fence_value(fence) + 1;
        struct umf_condition wait = { fence, next, UMF_OP_GE, 0, 0 };
        loop = create_loop(mode);
        watch = watch_value(loop, fence, next, &told);
        OK(umf_loop_export_eventfd(loop, &wait, 0, event, NULL, NULL));

        /* A process ends amid the signals, and the fences that it would have signaled fail. */
        struct umf_fence *owed;
        int ends[2];
        CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
        OK(umf_fence_create(page, 0, 0, &owed));
        IN_CHILD(pid, (close(ends[1]), read(ends[0], &count, 1)));
        int pidfd = (int)syscall(434 /* pidfd_open */, pid, 0);
        struct umf_callback callback = callback_to(&gone);
        if (pidfd >= 0)
            OK(umf_loop_tie_fence(loop, owed, pidfd, 0, &callback, NULL));
        close(pidfd);

        MEANWHILE(signal_fence, until_called(loop, &told, 0));
        OK(umf_watch_result(watch));
        umf_watch_unref(watch);
        /* One watch after the other is done. */
        while (read(event, &count, sizeof(count)) != sizeof(count))
            turn_loop(loop);
        close(ends[0]);
        close(ends[1]);
        if (pidfd >= 0) {
            until_called(loop, &gone, 0);
            EXPECT(-EOWNERDEAD, umf_fence_wait(owed, 1, FOREVER));
        }
        while (waitpid(pid, NULL, 0) != pid)
            CHECK(errno == EINTR);
        umf_fence_unref(owed);
        umf_loop_unref(loop);
    }
}

static void
queues(uint64_t mode)
{
    loop = create_loop(mode);
    OK(umf_queue_create(loop, 0, &queue));
    atomic_store(&jobs_run, 0);
    atomic_store(&jobs_released, 0);
    for (int i = 1; i <= 10; i++) {
        submit_for(umf_fence_value(fence) + 1);
        EXPECT(mode ? -ETIME : -EINVAL, umf_queue_drain(queue, mode ? in_ns(2 * MS) : FOREVER));
        if (mode)
            MEANWHILE(signal_fence, OK(umf_queue_drain(queue, FOREVER)));
        else
            MEANWHILE(signal_fence, UNTIL(loop, atomic_load(&jobs_released) == i));
        OK(umf_queue_drain(queue, 0));
        CHECK(jobs_run == i);
    }
    umf_queue_unref(queue);
    umf_loop_unref(loop);
    CHECK(jobs_released == 10);
}

/* Ending a loop waits for the running callback, however often it is interrupted. */
static atomic_int in_callback, callback_over;

static void
stay_a_while(void *data, int result)
{
    (void)data;
    OK(result);
    atomic_store(&in_callback, 1);
    let_it_storm(50);
    atomic_store(&callback_over, 1);
}

static void
the_end_of_a_loop(void)
{
    for (unsigned i = 0; i < rounds(10, 2); i++) {
        struct umf_callback callback = { .call = stay_a_while };
        struct umf_condition wait = { fence, umf_fence_value(fence), UMF_OP_GE, 0, 0 };
        atomic_store(&in_callback, 0);
        atomic_store(&callback_over, 0);
        loop = create_loop(UMF_LOOP_THREAD);
        OK(umf_loop_watch(loop, &wait, 0, &callback, NULL));
        while (!atomic_load(&in_callback))
            sched_yield();
        umf_loop_unref(loop);
        CHECK(callback_over == 1);
        until_threads(1);
    }
}

/* The graph, into a pipe that accepts only a little at a time. */
static int ends[2];

static void
read_slowly(void)
{
    char some[512];
    ssize_t got;
    do {
        let_it_storm(5);
        got = read(ends[0], some, sizeof(some));
    } while (got > 0 || (got < 0 && errno == EINTR));
    CHECK(got == 0);
}

static void
the_graph(void)
{
    struct umf_watch *watches_of_it[40];
    struct told told[40];
    char much[65536] = "";
    loop = create_loop(UMF_LOOP_THREAD);
    for (unsigned i = 0; i < 40; i++)
        watches_of_it[i] = watch_value(loop, fence, umf_fence_value(fence) + 100 + i, &told[i]);
    CHECK(pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
    CHECK(fcntl(ends[0], F_SETFL, 0) == 0 && fcntl(ends[1], F_SETPIPE_SZ, 4096) >= 0);
    CHECK(write(ends[1], much, sizeof(much)) > 0);
    MEANWHILE(read_slowly, OK(umf_graph_write(ends[1], 0, NULL)); close(ends[1]));
    close(ends[0]);
    for (unsigned i = 0; i < 40; i++)
        umf_watch_unref(watches_of_it[i]);
    umf_loop_unref(loop);
}

int
main(void)
{
    watchdog(50);
    event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    CHECK(event >= 0);
    timer_t timer = begin_storm();
    pages_of_every_size();
    OK(umf_page_create(8, 0, &page));
    raw = map_raw(page);
    OK(umf_fence_create(page, 0, 0, &fence));
    OK(umf_fence_create(page, 0, 0, &other));
    int fds = open_fds();
    waits();
    waits_for_a_device();
    for (uint64_t mode = 0; mode <= UMF_LOOP_THREAD; mode++) {
        watches(mode);
        queues(mode);
    }
    the_end_of_a_loop();
    the_graph();
    CHECK(open_fds() == fds);
    CHECK(timer_delete(timer) == 0);
    printf("%u interruptions\n", atomic_load(&interruptions));
    CHECK(interruptions > 500);
    unmap_raw(&raw);
    umf_fence_unref(other);
    umf_fence_unref(fence);
    umf_page_unref(page);
    close(event);
    return 0;
}
