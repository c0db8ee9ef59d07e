/* SPDX-License-Identifier: MIT */
/*
 * What the parts of the benchmark share. A part describes contenders, compare() runs them in turn,
 * and the report prints ratios. A time is never a failure. A call that gives a wrong result is.
 */
#ifndef BENCH_H
#define BENCH_H

#include "check.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* report.c: rounds, ratios, the table. */

/* One way to do a thing. */
struct contender {
    const char *name;
    /* Does it once and returns its cost in the unit of the comparison, usually nanoseconds. */
    double (*sample)(void *state);
    void *state;
    /* Why it cannot be done here. Set instead of the above. */
    const char *absent;
};

/* Few rounds, for a quick look. */
extern bool quick;

void report_begin(bool table, FILE *tsv);
void report_end(void);
/* What the watchdog prints when the benchmark hangs. */
const char *report_position(void);

void section(const char *title);

/* The fewest and the most rounds of a comparison. Between them, the elapsed time decides. */
struct rounds {
    unsigned least;
    unsigned most;
};
#define ROUNDS ((struct rounds){quick ? 5 : 11, quick ? 101 : 401})

/* Takes one sample of each contender, in turn, for many rounds: a disturbance meets all of them.
 * The first contender is libumf. A ratio is taken within a round. The report gives its median
 * and the range of the middle four fifths. */
void compare(const char *row, const char *unit, struct rounds rounds, const struct contender *list,
             size_t count);

/* The same for samples taken elsewhere: samples[contender * rounds + round]. */
void report(const char *row, const char *unit, unsigned rounds, const struct contender *list,
            size_t count, const double *samples);

/* A value that is counted, not measured: one sample is enough. */
void report_count(const char *row, const char *unit, double ours, const char *peer, double theirs);

/* A row that this machine or this run leaves out, and why. */
void report_absent(const char *row, const char *reason);

/* machine.c: processors, threads, counters. */

/* The processors that this process may use, at most two of them. */
struct cpus {
    int count;
    int cpu[2];
};
struct cpus usable_cpus(void);
/* 0 is the calling thread. */
void pin(pid_t task, int cpu);
void unpin(void);

pid_t thread_id(void);
bool is_asleep(pid_t thread);
void sleep_ns(uint64_t ns);
uint64_t thread_cpu_ns(void);
/* Zeroed memory that forked children share. */
void *shared_memory(size_t size);
/* Raises the limit of descriptors as far as this user may. Returns how many more may be opened. */
size_t spare_fds(void);
/* cost.c: what the calling thread allocated. */
long allocations_so_far(void);

struct umf_page *new_page(uint32_t fences);
struct umf_fence *new_fence(struct umf_page *page);

/* The comparisons. */
void bench_calls(void);
void bench_round_trips(void);
void bench_crowds(void);
void bench_wait_many(void);
void bench_watches(void);
void bench_xshmfences(void);
void bench_queues(void);
void bench_costs(void);
void bench_devices(void);
void bench_drm(void);
void bench_growth(void);

#endif
