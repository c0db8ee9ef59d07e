/*
 * What the processes of a soak share: a table in which each counts what it does, and says what it takes of the machine.
 *
 * Whoever starts them (soak.c) never uses the library, so each of them has one of its own, as programs have that were started
 * by themselves.
 */
#ifndef SOAK_H
#define SOAK_H

#include "check.h"

/* What a process takes of the machine, at a moment when it has nothing under way. */
struct figures {
    int64_t memory; /* KiB resident */
    int64_t heap;   /* bytes allocated */
    int64_t files, threads, mappings;
    int64_t handle; /* the next syncobj that its device would make: the kernel gives out the lowest that is free */
};

enum count {
    ROUNDS,    /* what the one who watches over them looks at: goes on as long as nothing is slept through */
    SIGNALS,   /* by the two who wait for each other */
    WAKES,     /* waits of theirs that returned */
    SLEEPS,    /* times that the process gave its processor away: it was asleep */
    ARMED,     /* watches, of all kinds */
    CALLED,    /* callbacks of theirs */
    CANCELLED, /* the rest */
    RELEASED,  /* callbacks' data that was given back */
    EVENTS,    /* what eventfds were raised by */
    JOBS,      /* of queues, that ran */
    CONVERTED, /* between fences of ours and the kernel's, either way */
    KILLS,     /* of signallers */
    TOLD,      /* waits, watches and jobs that were told so */
    COUNTS,
};

struct process {
    _Alignas(64) _Atomic uint64_t count[COUNTS];
    struct figures before, after;
    atomic_bool has_before, has_after;
};

/* Two processes and what they talk through. */
struct pair {
    const char *name;
    void (*run[2])(struct pair *pair, struct process *process, int sock);
    uint64_t page_flags;
    /* The last value that the first signals before it says that this is the end: known before that. */
    _Atomic uint64_t last;
    struct process process[2];
};

/* Of all processes. */
struct orders {
    atomic_bool warm;  /* take down the first figures */
    atomic_bool stop;  /* come to an end, and take down the second */
    atomic_bool leave; /* everybody has */
};

extern struct orders *orders;

/* The open file of a device, if this process makes syncobjs there; else -1. */
extern int syncobjs_of;

static inline void
count(struct process *process, enum count what, uint64_t more)
{
    /* One thread writes it. */
    uint64_t before = atomic_load_explicit(&process->count[what], memory_order_relaxed);
    atomic_store_explicit(&process->count[what], before + more, memory_order_relaxed);
}

/* To be called where nothing is under way: what is counted there must not grow. */
void at_rest(struct process *process);

/* Whether it is time to come to an end. */
bool is_last(const struct process *process);

/* To be called at the end, with everything still there. Returns when all have come to it. */
void until_leave(struct process *process);

/* The processes: two who wait for each other, in all ways; one whose loops and queues hear of the other; one that converts
 * what the other signals; and one that kills signallers again and again (the second is who starts those). */
void ping(struct pair *pair, struct process *process, int sock);
void pong(struct pair *pair, struct process *process, int sock);
void signal_many(struct pair *pair, struct process *process, int sock);
void watch_many(struct pair *pair, struct process *process, int sock);
void signal_ahead(struct pair *pair, struct process *process, int sock);
void convert(struct pair *pair, struct process *process, int sock);
void kill_signallers(struct pair *pair, struct process *process, int sock);
void start_signallers(struct pair *pair, struct process *process, int sock);

/* Whether this machine has anything to convert to or from. Says what. */
bool can_convert(void);

#endif
