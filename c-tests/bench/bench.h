/*
 * What the pieces of the benchmark share. Nothing here measures anything: a piece describes
 * contenders, compare() runs them in turn, and the report prints ratios. A time is never a failure;
 * a call that does not do what it should is.
 */
#ifndef BENCH_H
#define BENCH_H

#include "check.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* bench_report.c: rounds, ratios, the table. */

/* One way of doing a thing. */
struct contender {
    const char *name;
    /* Does it, and returns what it cost in the unit of the comparison: nanoseconds, mostly. */
    double (*sample)(void *state);
    void *state;
    /* Why it cannot be done here, instead of the above. */
    const char *absent;
};

/* Shorter, for a look in between. */
extern bool quick;

void report_begin(bool table, FILE *tsv);
void report_end(void);
/* What a hanging benchmark is at. */
const char *report_position(void);

void section(const char *title);

/* The fewest and the most rounds of a comparison; between them, time decides. */
struct rounds {
    unsigned least;
    unsigned most;
};
#define ROUNDS ((struct rounds){quick ? 5 : 11, quick ? 101 : 401})

/*
 * Takes one sample of each contender, then again, for many rounds: whatever else the machine does
 * meets all of them. The first contender is ours. A ratio is taken within a round; its median is
 * reported, and where four of five lie.
 */
void compare(const char *row, const char *unit, struct rounds rounds, const struct contender *list,
             size_t count);

/* The same for samples taken elsewhere: samples[contender * rounds + round]. */
void report(const char *row, const char *unit, unsigned rounds, const struct contender *list,
            size_t count, const double *samples);

/* What is counted and not measured: once is enough. */
void report_count(const char *row, const char *unit, double ours, const char *peer, double theirs);

/* A row that this machine or this run leaves out, and why. */
void report_absent(const char *row, const char *reason);

/* bench_machine.c: processors, threads, counters. */

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
/* Zeroed, and shared with the children of a fork. */
void *shared_memory(size_t size);
/* As many as root, or the hard limit, allows. Returns how many may be opened from here on. */
size_t spare_fds(void);
/* bench_cost.c: what the calling thread allocated. */
long allocations_so_far(void);

struct umf_page *new_page(uint32_t fences);
struct umf_fence *new_fence(struct umf_page *page);

/* The comparisons. */
void bench_calls(void);
void bench_round_trips(void);
void bench_crowds(void);
void bench_wait_many(void);
void bench_watches(void);
void bench_queues(void);
void bench_costs(void);
void bench_drm(void);

#endif
