// SPDX-License-Identifier: MIT
/*
 * X11's fences: the time from a trigger to the thread that waits for the UMF, through a loop and
 * through a thread that waits for the xshmfence. One fence, and one of a hundred.
 */
#include "delivery.h"

#ifdef HAVE_XSHMFENCE

#include <X11/xshmfence.h>
#include <pthread.h>

#define FENCES 100

/* The first fence is the one that is triggered. */
struct relay {
    struct delivery delivery;
    unsigned count;
    int fds[FENCES];
    struct xshmfence *x[FENCES];
    /* of a thread for each fence */
    pthread_t threads[FENCES];
    _Atomic pid_t first_thread;
    atomic_bool over;
};

static void
relay_open(struct relay *relay)
{
    struct umf_page *page = new_page(1);
    relay->delivery.fence = new_fence(page);
    umf_page_unref(page);
    for (unsigned i = 0; i < relay->count; i++) {
        relay->fds[i] = xshmfence_alloc_shm();
        CHECK(relay->fds[i] >= 0 && (relay->x[i] = xshmfence_map_shm(relay->fds[i])));
    }
}

static void
relay_close(struct relay *relay)
{
    for (unsigned i = 0; i < relay->count; i++) {
        xshmfence_unmap_shm(relay->x[i]);
        close(relay->fds[i]);
    }
    umf_fence_unref(relay->delivery.fence);
}

static void
trigger(struct delivery *delivery)
{
    struct relay *relay = (struct relay *)delivery;
    CHECK(xshmfence_trigger(relay->x[0]) == 0);
}

static void
receive_value(struct delivery *delivery)
{
    OK(umf_fence_wait(delivery->fence, delivery->value, FOREVER));
}

/* A loop */

static pid_t thread_told;

static void
tell_thread(void *data, int result)
{
    OK(result);
    thread_told = thread_id();
    atomic_store((atomic_bool *)data, true);
}

static void
loop_arm(struct delivery *delivery)
{
    struct relay *relay = (struct relay *)delivery;
    xshmfence_reset(relay->x[0]);
    OK(umf_loop_import_xshmfence(delivery->loop, delivery->fence, delivery->value, relay->fds[0], 0,
                                 NULL, NULL));
}

static void
loop_open(struct relay *relay, int cpu)
{
    atomic_bool told = false;
    struct umf_callback callback = {tell_thread, NULL, &told};
    relay_open(relay);
    OK(umf_loop_create(UMF_LOOP_THREAD, &relay->delivery.loop));
    CHECK(xshmfence_trigger(relay->x[0]) == 0);
    OK(umf_loop_import_xshmfence(relay->delivery.loop, relay->delivery.fence, 0, relay->fds[0], 0,
                                 &callback, NULL));
    while (!atomic_load(&told))
        sched_yield();
    relay->delivery.deliverer = thread_told;
    pin(relay->delivery.deliverer, cpu);
    for (unsigned i = 1; i < relay->count; i++)
        OK(umf_loop_import_xshmfence(relay->delivery.loop, relay->delivery.fence,
                                     UINT64_C(1) << 40, relay->fds[i], 0, NULL, NULL));
}

static void
loop_close(struct relay *relay)
{
    umf_loop_unref(relay->delivery.loop);
    relay_close(relay);
}

/* A thread for each fence */

struct awaiter {
    struct relay *relay;
    unsigned index;
};

static void *
await(void *argument)
{
    struct awaiter awaiter = *(struct awaiter *)argument;
    struct relay *relay = awaiter.relay;
    free(argument);
    if (awaiter.index == 0)
        relay->first_thread = thread_id();
    for (uint64_t value = 1;; value++) {
        CHECK(xshmfence_await(relay->x[awaiter.index]) == 0);
        if (atomic_load(&relay->over))
            return NULL;
        xshmfence_reset(relay->x[awaiter.index]);
        OK(umf_fence_signal(relay->delivery.fence, value));
    }
}

static void
threads_arm(struct delivery *delivery)
{
    (void)delivery;
}

static void
threads_open(struct relay *relay, int cpu)
{
    relay_open(relay);
    for (unsigned i = 0; i < relay->count; i++) {
        struct awaiter *awaiter = malloc(sizeof(*awaiter));
        CHECK(awaiter);
        *awaiter = (struct awaiter){relay, i};
        CHECK(pthread_create(&relay->threads[i], NULL, await, awaiter) == 0);
    }
    while (!relay->first_thread)
        sched_yield();
    relay->delivery.deliverer = relay->first_thread;
    pin(relay->delivery.deliverer, cpu);
}

static void
threads_close(struct relay *relay)
{
    atomic_store(&relay->over, true);
    for (unsigned i = 0; i < relay->count; i++)
        CHECK(xshmfence_trigger(relay->x[i]) == 0);
    for (unsigned i = 0; i < relay->count; i++)
        CHECK(pthread_join(relay->threads[i], NULL) == 0);
    relay_close(relay);
}

static void
compare_relays(const char *row, unsigned count, int our_cpu, int their_cpu)
{
    static struct relay ours, theirs;
    ours = (struct relay){.delivery = {.name = "libumf", .arm = loop_arm, .signal = trigger,
                                       .receive = receive_value},
                          .count = count};
    theirs = (struct relay){.delivery = {.name = "a thread in xshmfence_await", .arm = threads_arm,
                                         .signal = trigger, .receive = receive_value},
                            .count = count};
    pin(0, our_cpu);
    pin_receiver(their_cpu);
    loop_open(&ours, their_cpu);
    threads_open(&theirs, their_cpu);
    const struct contender list[] = {
        {ours.delivery.name, sample_delivery, &ours.delivery, NULL},
        {theirs.delivery.name, sample_delivery, &theirs.delivery, NULL},
    };
    compare(row, "ns", ROUNDS, list, 2);
    loop_close(&ours);
    threads_close(&theirs);
    unpin();
}

void
bench_xshmfences(void)
{
    struct cpus cpus = usable_cpus();
    int other = cpus.cpu[cpus.count - 1];
    section("X11's fences: a trigger to a value");
    start_receiver();
    compare_relays("one fence", 1, cpus.cpu[0], other);
    compare_relays("one of 100 fences", FENCES, cpus.cpu[0], other);
    report_count("threads for 100 fences", "", 1, "a thread each", FENCES);
    stop_receiver();
}

#else

void
bench_xshmfences(void)
{
    section("X11's fences: a trigger to a value");
    report_absent("one fence", "not built: no xshmfence");
}

#endif
