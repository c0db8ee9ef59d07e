/* SPDX-License-Identifier: MIT */
/*
 * The hand-written futex that a fence is measured against: the least that is correct. One 32-bit
 * word holds a value of 31 bits and a bit that says that somebody sleeps. It has one signaler, its
 * values must not wrap, every signal wakes every sleeper, and there are no errors, no timeouts, and
 * no protection from peers.
 */
#ifndef BENCH_FUTEX_H
#define BENCH_FUTEX_H

#include <linux/futex.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SLEEPER (UINT32_C(1) << 31)

static inline long
futex(_Atomic uint32_t *word, int operation, uint32_t argument)
{
    return syscall(SYS_futex, word, operation, argument, NULL, NULL, 0);
}

/* Either this exchange comes after the waiter's and finds the bit, or it comes before and the
 * waiter finds the value. */
static inline void
futex_signal(_Atomic uint32_t *word, uint32_t value, uint32_t wake)
{
    if (atomic_exchange(word, value) & SLEEPER)
        futex(word, FUTEX_WAKE, wake);
}

static inline void
futex_wait_for(_Atomic uint32_t *word, uint32_t value)
{
    uint32_t seen = atomic_load(word);
    while ((seen & ~SLEEPER) < value) {
        if (!(seen & SLEEPER) && !atomic_compare_exchange_weak(word, &seen, seen | SLEEPER))
            continue;
        futex(word, FUTEX_WAIT, seen | SLEEPER);
        seen = atomic_load(word);
    }
}

#endif
