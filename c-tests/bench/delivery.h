/* SPDX-License-Identifier: MIT */
/* The time from a signal, through a relay that notices it, to a receiver that sleeps. */
#ifndef BENCH_DELIVERY_H
#define BENCH_DELIVERY_H

#include "bench.h"

struct delivery {
    const char *name;
    /* Not measured: prepares everything that must exist before the signal. */
    void (*arm)(struct delivery *delivery);
    void (*signal)(struct delivery *delivery);
    /* Sleeps until it is delivered. On the receiver's thread. */
    void (*receive)(struct delivery *delivery);
    /* Reports how long the signaler's call took, not the whole delivery. */
    bool call_only;

    /* The relay's thread, which must sleep before the signal. 0 if unknown. */
    pid_t deliverer;
    struct umf_loop *loop;
    struct umf_fence *fence;
    uint64_t value;
    /* The eventfd that a watch of this loop writes. */
    int event;
    _Atomic uint32_t *word;
    /* of a conversion */
    struct umf_syncobj *syncobj;
    uint64_t point;
};

/* the receiver */
void start_receiver(void);
void pin_receiver(int cpu);
void stop_receiver(void);

/* One delivery, for compare(). */
double sample_delivery(void *state);

/* A loop whose thread runs on a given processor, with a fence and an eventfd. */
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
