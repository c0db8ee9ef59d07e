/* SPDX-License-Identifier: MIT */
/*
 * What the processes of a soak share: a table in which each counts its operations and records its
 * resources.
 *
 * The supervisor (soak.c) never uses the library, so each process has a library of its own, as
 * separately started programs have.
 */
#ifndef SOAK_H
#define SOAK_H

#include "check.h"

/* The resources of a process at a moment when it has nothing in progress. */
struct figures {
    int64_t memory; /* KiB resident */
    int64_t heap;   /* bytes allocated */
    int64_t files, threads, mappings;
    int64_t handle; /* the next syncobj handle of its device: the kernel gives out the lowest free
                       one */
};

enum count {
    ROUNDS,    /* progress that the supervisor checks: stops when a wake-up is lost */
    SIGNALS,   /* by the two processes that wait for each other */
    WAKES,     /* returned waits of these two */
    SLEEPS,    /* voluntary context switches of the process */
    ARMED,     /* watches, of all kinds */
    CALLED,    /* their callbacks */
    CANCELED, /* watches that were canceled */
    RELEASED,  /* releases of callbacks' data */
    EVENTS,    /* writes to eventfds */
    JOBS,      /* jobs of queues that ran */
    CONVERTED, /* between UMFs and kernel fences, either way */
    KILLS,     /* killed signalers */
    TOLD,      /* waits, watches and jobs that learned of that */
    COUNTS,
};

struct process {
    _Alignas(64) _Atomic uint64_t count[COUNTS];
    struct figures before, after;
    atomic_bool has_before, has_after;
};

/* Two processes and what they share. */
struct pair {
    const char *name;
    void (*run[2])(struct pair *pair, struct process *process, int sock);
    uint64_t page_flags;
    /* The last value of the first process, stored before it announces the end. */
    _Atomic uint64_t last;
    struct process process[2];
};

/* Orders to all processes. */
struct orders {
    atomic_bool warm;  /* record the first figures */
    atomic_bool stop;  /* end, and record the second figures */
    atomic_bool leave; /* all have ended: exit */
};

extern struct orders *orders;

/* The open file of the device where this process makes syncobjs, or -1. */
extern int syncobjs_of;

static inline void
count(struct process *process, enum count what, uint64_t more)
{
    /* only one thread writes it */
    uint64_t before = atomic_load_explicit(&process->count[what], memory_order_relaxed);
    atomic_store_explicit(&process->count[what], before + more, memory_order_relaxed);
}

/* To be called when nothing is in progress: the figures taken there must not grow. */
void at_rest(struct process *process);

/* Whether the process should end. */
bool is_last(const struct process *process);

/* To be called at the end, with all objects alive. Returns when all processes have called it. */
void until_leave(struct process *process);

/* The processes: two that wait for each other in all ways; one whose loops and queues react to
 * the other; one that converts what the other signals; and one that kills signalers again and
 * again, which the last one starts. */
void ping(struct pair *pair, struct process *process, int sock);
void pong(struct pair *pair, struct process *process, int sock);
void signal_many(struct pair *pair, struct process *process, int sock);
void watch_many(struct pair *pair, struct process *process, int sock);
void signal_ahead(struct pair *pair, struct process *process, int sock);
void convert(struct pair *pair, struct process *process, int sock);
void kill_signalers(struct pair *pair, struct process *process, int sock);
void start_signalers(struct pair *pair, struct process *process, int sock);

/* Whether this machine can convert anything. Prints what it can. */
bool can_convert(void);

#endif
