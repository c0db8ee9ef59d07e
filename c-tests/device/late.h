/* SPDX-License-Identifier: MIT */
/*
 * How late waits ended, as the programs print it that measure latencies.
 */
#ifndef LATE_H
#define LATE_H

#include "check.h"

#include <poll.h>

struct late {
    double p25_us, median_us, p90_us;
};

static inline int
by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Sorts the samples. */
static inline struct late
late_of(double *samples, unsigned count)
{
    qsort(samples, count, sizeof(double), by_size);
    return (struct late){ samples[count / 4], samples[count / 2], samples[count * 9 / 10] };
}

static inline void
print_late_header(void)
{
    printf("%-33s%10s%10s%10s%8s", "late by, in us", "p25", "median", "p90", "ratio");
}

/* Without an end of the line. The ratio is that to the peer's median. */
static inline void
print_late(const char *what, struct late late, const struct late *peer)
{
    printf("%-33s%10.2f%10.2f%10.2f", what, late.p25_us, late.median_us, late.p90_us);
    if (peer)
        printf("%8.2f", late.median_us / peer->median_us);
    else
        printf("%8s", "");
}

/* What a program without the library does until a device has written a value: look all the time. */
static inline void
look_until(const _Atomic uint64_t *word, uint64_t value)
{
    while (*word < value)
        ;
}

/* Look every 20 us. */
static inline void
nap_until(const _Atomic uint64_t *word, uint64_t value)
{
    while (*word < value)
        nanosleep(&(struct timespec){ .tv_nsec = 20000 }, NULL);
}

/* Look after each interrupt, which an eventfd counts. */
static inline void
poll_until(const _Atomic uint64_t *word, uint64_t value, int interrupt)
{
    struct pollfd entry = { interrupt, POLLIN, 0 };
    while (*word < value) {
        CHECK(poll(&entry, 1, -1) == 1);
        CHECK(read(interrupt, &(uint64_t){ 0 }, 8) == 8);
    }
}

#endif
