// SPDX-License-Identifier: MIT
/*
 * Watches: the time from a signal to its eventfd or callback, and what a large number of other
 * watches costs, at a signal and while nothing happens.
 */
#include "delivery.h"
#include "futex.h"

#include <dirent.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#define CROWD 100000
#define CROWD_NAME "100000"
/* watches made and canceled in one sample */
#define TIMES 200

/* The receiver */

static struct {
    pthread_t pthread;
    pid_t thread;
    sem_t begin, ended;
    struct delivery *_Atomic delivery;
    atomic_bool at_it;
    uint64_t returned_at;
} receiver;

static void
wait_for(sem_t *semaphore)
{
    while (sem_wait(semaphore) != 0)
        CHECK(errno == EINTR);
}

static void *
receiver_main(void *argument)
{
    (void)argument;
    receiver.thread = thread_id();
    CHECK(sem_post(&receiver.ended) == 0);
    for (;;) {
        wait_for(&receiver.begin);
        struct delivery *delivery = receiver.delivery;
        if (!delivery)
            return NULL;
        receiver.at_it = true;
        delivery->receive(delivery);
        receiver.returned_at = now_ns();
        receiver.at_it = false;
        CHECK(sem_post(&receiver.ended) == 0);
    }
}

void
start_receiver(void)
{
    CHECK(sem_init(&receiver.begin, 0, 0) == 0 && sem_init(&receiver.ended, 0, 0) == 0);
    CHECK(pthread_create(&receiver.pthread, NULL, receiver_main, NULL) == 0);
    wait_for(&receiver.ended);
}

void
pin_receiver(int cpu)
{
    pin(receiver.thread, cpu);
}

void
stop_receiver(void)
{
    receiver.delivery = NULL;
    CHECK(sem_post(&receiver.begin) == 0);
    CHECK(pthread_join(receiver.pthread, NULL) == 0);
}

double
sample_delivery(void *state)
{
    struct delivery *delivery = state;
    delivery->value++;
    delivery->arm(delivery);
    receiver.delivery = delivery;
    CHECK(sem_post(&receiver.begin) == 0);
    do {
        sleep_ns(20000);
    } while (!receiver.at_it || !is_asleep(receiver.thread) ||
             (delivery->deliverer && !is_asleep(delivery->deliverer)));
    uint64_t begin = now_ns();
    delivery->signal(delivery);
    uint64_t called = now_ns();
    wait_for(&receiver.ended);
    return (double)((delivery->call_only ? called : receiver.returned_at) - begin);
}

/* Ways to deliver */

/* The thread that was started last is listed last, unless thread numbers began again. */
static pid_t
newest_thread(void)
{
    DIR *tasks = opendir("/proc/self/task");
    struct dirent *entry;
    long newest = 0;
    CHECK(tasks);
    while ((entry = readdir(tasks)))
        newest = atol(entry->d_name) > 0 ? atol(entry->d_name) : newest;
    closedir(tasks);
    return (pid_t)newest;
}

static void
events_open(struct delivery *delivery)
{
    delivery->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    CHECK(delivery->event >= 0);
}

void
event_receive(struct delivery *delivery)
{
    struct pollfd entry = {.fd = delivery->event, .events = POLLIN};
    eventfd_t count;
    CHECK(poll(&entry, 1, -1) == 1);
    CHECK(eventfd_read(delivery->event, &count) == 0 && count == 1);
}

static void
fence_open(struct delivery *delivery)
{
    struct umf_page *page = new_page(1);
    delivery->fence = new_fence(page);
    umf_page_unref(page);
}

void
watched_open(struct delivery *delivery, int cpu)
{
    fence_open(delivery);
    events_open(delivery);
    pid_t before = newest_thread();
    OK(umf_loop_create(UMF_LOOP_THREAD, &delivery->loop));
    /* The loop's thread starts with the first watch, which is met at once. */
    struct umf_condition met = {.fence = delivery->fence, .value = 0};
    eventfd_t count;
    OK(umf_loop_export_eventfd(delivery->loop, &met, 0, delivery->event, NULL, NULL));
    struct pollfd readable = {.fd = delivery->event, .events = POLLIN};
    CHECK(poll(&readable, 1, -1) == 1);
    CHECK(eventfd_read(delivery->event, &count) == 0);
    delivery->deliverer = newest_thread();
    CHECK(delivery->deliverer != before);
    pin(delivery->deliverer, cpu);
}

void
watched_arm(struct delivery *delivery)
{
    struct umf_condition wait = {.fence = delivery->fence, .value = delivery->value};
    OK(umf_loop_export_eventfd(delivery->loop, &wait, 0, delivery->event, NULL, NULL));
}

void
watched_signal(struct delivery *delivery)
{
    OK(umf_fence_signal(delivery->fence, delivery->value));
}

void
watched_close(struct delivery *delivery)
{
    umf_loop_unref(delivery->loop);
    umf_fence_unref(delivery->fence);
    close(delivery->event);
}

/* A thread that sleeps on a word and writes the eventfd: the alternative to watches. */
static pthread_t passer;
static _Atomic pid_t passer_thread;

static void *
pass_on(void *argument)
{
    struct delivery *delivery = argument;
    passer_thread = thread_id();
    for (uint32_t value = 1;; value++) {
        futex_wait_for(delivery->word, value);
        if (delivery->event < 0)
            return NULL;
        CHECK(eventfd_write(delivery->event, 1) == 0);
    }
}

static void
by_hand_open(struct delivery *delivery, int cpu)
{
    events_open(delivery);
    delivery->word = shared_memory(sizeof(*delivery->word));
    passer_thread = 0;
    CHECK(pthread_create(&passer, NULL, pass_on, delivery) == 0);
    while (!passer_thread)
        sched_yield();
    delivery->deliverer = passer_thread;
    pin(delivery->deliverer, cpu);
}

static void
by_hand_arm(struct delivery *delivery)
{
    (void)delivery;
}

static void
by_hand_signal(struct delivery *delivery)
{
    futex_signal(delivery->word, (uint32_t)delivery->value, 1);
}

static void
by_hand_close(struct delivery *delivery)
{
    close(delivery->event);
    delivery->event = -1;
    delivery->value++;
    by_hand_signal(delivery);
    CHECK(pthread_join(passer, NULL) == 0);
}

/* A loop that the receiver dispatches itself. */

static void
on_dispatched(void *data, int result)
{
    OK(result);
    *(bool *)data = true;
}

static bool dispatched;

static void
dispatched_open(struct delivery *delivery, int cpu)
{
    fence_open(delivery);
    pid_t before = newest_thread();
    OK(umf_loop_create(0, &delivery->loop));
    /* Another thread may have to make its descriptor readable. */
    if (newest_thread() != before) {
        delivery->deliverer = newest_thread();
        pin(delivery->deliverer, cpu);
    }
}

static void
dispatched_arm(struct delivery *delivery)
{
    struct umf_condition wait = {.fence = delivery->fence, .value = delivery->value};
    struct umf_callback callback = {on_dispatched, NULL, &dispatched};
    dispatched = false;
    OK(umf_loop_watch(delivery->loop, &wait, 0, &callback, NULL));
}

static void
dispatched_receive(struct delivery *delivery)
{
    struct pollfd entry = {.fd = umf_loop_fd(delivery->loop), .events = POLLIN};
    while (!dispatched) {
        CHECK(poll(&entry, 1, -1) == 1);
        OK(umf_loop_dispatch(delivery->loop, 0));
    }
}

static void
dispatched_close(struct delivery *delivery)
{
    umf_loop_unref(delivery->loop);
    umf_fence_unref(delivery->fence);
}

static void
compare_deliveries(const char *row, const char *dispatched_row, int our_cpu, int their_cpu)
{
    struct delivery watched = WATCHED("libumf");
    struct delivery by_hand = {"a thread, hand-written", by_hand_arm, by_hand_signal,
                               event_receive, .call_only = false};
    struct delivery own = {"libumf", dispatched_arm, watched_signal, dispatched_receive,
                           .call_only = false};
    pin(0, our_cpu);
    pin_receiver(their_cpu);
    watched_open(&watched, their_cpu);
    by_hand_open(&by_hand, their_cpu);
    dispatched_open(&own, their_cpu);
    struct contender list[] = {{watched.name, sample_delivery, &watched, NULL},
                               {by_hand.name, sample_delivery, &by_hand, NULL}};
    compare(row, "ns", ROUNDS, list, 2);
    list[0] = (struct contender){own.name, sample_delivery, &own, NULL};
    compare(dispatched_row, "ns", ROUNDS, list, 2);
    watched_close(&watched);
    by_hand_close(&by_hand);
    dispatched_close(&own);
    unpin();
}

/* A crowd of watches that nothing happens to */

static atomic_uint released;

static void
never(void *data, int result)
{
    (void)data;
    EXPECT(-ETIME, result);
    CHECK(!"a watch of the crowd fired");
}

static void
on_released(void *data)
{
    (void)data;
    atomic_fetch_add(&released, 1);
}

/* Watches for values that never come: one on each of these fences, or all on the one fence. */
static void
add_crowd(struct umf_loop *loop, struct umf_fence *const *fences, struct umf_fence *fence)
{
    struct umf_callback callback = {never, on_released, NULL};
    for (unsigned i = 0; i < CROWD; i++) {
        struct umf_condition wait = {.fence = fences ? fences[i] : fence,
                                     .value = (UINT64_C(1) << 40) + i};
        OK(umf_loop_watch(loop, &wait, 0, &callback, NULL));
    }
}

/* The cost of a signal and of its delivery beside many watches, against that watch alone. The
 * delivery runs on one core that never halts. The signal is measured with the loops on another
 * core: a thread that is woken on the same core may run first, and the call would include that. */
static void
compare_crowded(struct delivery *crowded, struct delivery *alone, const char *call_row,
                const char *row)
{
    struct cpus cpus = usable_cpus();
    int other = cpus.cpu[cpus.count - 1];
    const struct contender list[] = {{crowded->name, sample_delivery, crowded, NULL},
                                     {"the only watch", sample_delivery, alone, NULL}};
    compare(row, "ns", ROUNDS, list, 2);
    crowded->call_only = alone->call_only = true;
    pin(crowded->deliverer, other);
    pin(alone->deliverer, other);
    compare(call_row, "ns", ROUNDS, list, 2);
    crowded->call_only = alone->call_only = false;
    pin(crowded->deliverer, cpus.cpu[0]);
    pin(alone->deliverer, cpus.cpu[0]);
}

static double
signal_unwatched(void *state)
{
    struct delivery *delivery = state;
    uint64_t begin = now_ns();
    for (unsigned i = 0; i < TIMES; i++)
        OK(umf_fence_signal(delivery->fence, ++delivery->value));
    return (double)(now_ns() - begin) / TIMES;
}

static void
compare_unwatched(const char *row, struct delivery *crowded, struct delivery *alone)
{
    struct umf_condition wait = {.fence = alone->fence, .value = UINT64_C(1) << 40};
    struct umf_callback callback = {never, NULL, NULL};
    struct umf_watch *watch;
    OK(umf_loop_watch(alone->loop, &wait, 0, &callback, &watch));
    const struct contender list[] = {{crowded->name, signal_unwatched, crowded, NULL},
                                     {"one watch above", signal_unwatched, alone, NULL}};
    compare(row, "ns", ROUNDS, list, 2);
    OK(umf_watch_cancel(watch));
    umf_watch_unref(watch);
}

static double
make_and_cancel(void *state)
{
    struct delivery *delivery = state;
    struct umf_condition wait = {.fence = delivery->fence, .value = UINT64_C(1) << 41};
    struct umf_callback callback = {never, NULL, NULL};
    uint64_t begin = now_ns();
    for (unsigned i = 0; i < TIMES; i++) {
        struct umf_watch *watch;
        OK(umf_loop_watch(delivery->loop, &wait, 0, &callback, &watch));
        OK(umf_watch_cancel(watch));
        umf_watch_unref(watch);
    }
    return (double)(now_ns() - begin) / TIMES;
}

static double
epoll_add_and_delete(void *state)
{
    struct delivery *delivery = state;
    struct epoll_event event = {.events = EPOLLIN};
    static int epoll = -1;
    if (epoll < 0)
        epoll = epoll_create1(EPOLL_CLOEXEC);
    uint64_t begin = now_ns();
    for (unsigned i = 0; i < TIMES; i++) {
        CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, delivery->event, &event) == 0);
        CHECK(epoll_ctl(epoll, EPOLL_CTL_DEL, delivery->event, NULL) == 0);
    }
    return (double)(now_ns() - begin) / TIMES;
}

static size_t
heap_in_use(void)
{
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

static uint64_t
process_cpu_ns(void)
{
    struct timespec t;
    CHECK(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t) == 0);
    return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

static void
measure_idling(void)
{
    uint64_t before = process_cpu_ns();
    sleep_ns(quick ? SECOND : 3 * SECOND);
    report_count(quick ? "CPU time of the process, " CROWD_NAME " watches pending for 1 s"
                       : "CPU time of the process, " CROWD_NAME " watches pending for 3 s",
                 "ms", (double)(process_cpu_ns() - before) / 1e6, "", 0);
}

static void
compare_crowds(void)
{
    static struct umf_fence *fences[CROWD];
    struct delivery alone = WATCHED("the only watch");
    struct delivery others = WATCHED("libumf"), same = WATCHED("libumf");
    int cpu = usable_cpus().cpu[0];
    struct umf_page *page = new_page(CROWD);
    for (unsigned i = 0; i < CROWD; i++)
        fences[i] = new_fence(page);
    umf_page_unref(page);
    pin(0, cpu);
    pin_receiver(cpu);
    watched_open(&alone, cpu);
    watched_open(&others, cpu);
    watched_open(&same, cpu);

    section("Beside " CROWD_NAME " watches");
    const struct contender making[] = {
        {"libumf", make_and_cancel, &alone, NULL},
        {"epoll_ctl: an eventfd added and deleted", epoll_add_and_delete, &alone, NULL},
    };
    compare("make a watch and cancel it, no others", "ns", ROUNDS, making, 2);

    size_t heap = heap_in_use();
    int files = open_fds();
    add_crowd(others.loop, fences, NULL);
    files = open_fds() - files;
    heap = heap_in_use() - heap;
    add_crowd(same.loop, NULL, same.fence);

    const struct contender crowded[] = {{"libumf", make_and_cancel, &others, NULL},
                                        {"no others", make_and_cancel, &alone, NULL}};
    compare("make a watch and cancel it", "ns", ROUNDS, crowded, 2);
    compare_crowded(&others, &alone, "signal, the others on other fences",
                    "delivered, the others on other fences");
    compare_crowded(&same, &alone, "signal, the others on the same fence",
                    "delivered, the others on the same fence");
    compare_unwatched("signal of what nobody watches, the others above it", &same, &alone);
    measure_idling();
    report_count("descriptors of " CROWD_NAME " watches", "", files, "", 0);
    report_count("heap of a watch", "bytes", (double)heap / CROWD, "", 0);

    watched_close(&alone);
    watched_close(&others);
    watched_close(&same);
    /* All watches are gone when each has released its data. */
    CHECK(atomic_load(&released) == 2 * CROWD);
    for (unsigned i = 0; i < CROWD; i++)
        umf_fence_unref(fences[i]);
    unpin();
}

void
bench_watches(void)
{
    struct cpus cpus = usable_cpus();
    section("Watched: signal to an eventfd, or a callback");
    start_receiver();
    compare_deliveries("an eventfd, one core", "a callback in the caller's loop, one core",
                       cpus.cpu[0], cpus.cpu[0]);
    if (cpus.count > 1)
        compare_deliveries("an eventfd, two cores", "a callback in the caller's loop, two cores",
                           cpus.cpu[0], cpus.cpu[1]);
    else
        report_absent("two cores", "not run: one processor");
    compare_crowds();
    stop_receiver();
}
