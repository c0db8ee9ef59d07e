/*
 * A signal, somebody who hears of it and passes it on, and who sleeps at the other end: how long it
 * takes all the way.
 */
#ifndef BENCH_DELIVERY_H
#define BENCH_DELIVERY_H

#include "bench.h"

struct delivery {
    const char *name;
    /* Not measured: everything that has to be there before the signal. */
    void (*arm)(struct delivery *delivery);
    void (*signal)(struct delivery *delivery);
    /* Sleeps until it is delivered. On the receiver's thread. */
    void (*receive)(struct delivery *delivery);
    /* Report how long the signaller's call took instead of the whole way. */
    bool call_only;

    /* Who passes it on, to be asleep before the signal. 0 if it is not to be known. */
    pid_t deliverer;
    struct umf_loop *loop;
    struct umf_fence *fence;
    uint64_t value;
    /* Where a watch of this loop ends: an eventfd. */
    int event;
    _Atomic uint32_t *word;
    /* A conversion's. */
    struct umf_syncobj *syncobj;
    uint64_t point;
};

/* The thread at the other end. */
void start_receiver(void);
void pin_receiver(int cpu);
void stop_receiver(void);

/* One delivery, for compare(). */
double sample_delivery(void *state);

/* A loop with a thread, on a processor, with a fence of its own and an eventfd. */
void watched_open(struct delivery *delivery, int cpu);
void watched_arm(struct delivery *delivery);
void watched_signal(struct delivery *delivery);
void event_receive(struct delivery *delivery);
void watched_close(struct delivery *delivery);
#define WATCHED(title)                                                              \
    {                                                                               \
        .name = title, .arm = watched_arm, .signal = watched_signal,                \
        .receive = event_receive                                                    \
    }

#endif
