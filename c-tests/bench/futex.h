/*
 * The hand-written futex that a fence is measured against: as little as a correct one can be. One
 * word of 32 bits holds a value of 31, and a bit that says that somebody sleeps. It has one
 * signaller, its values must not wrap around, every signal wakes whoever sleeps, and there is
 * neither error nor timeout nor peer that might misbehave.
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

/*
 * Either this exchange comes after the waiter's, and finds the bit, or before it, and the waiter
 * finds the value.
 */
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
