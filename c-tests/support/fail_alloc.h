/* SPDX-License-Identifier: MIT */
/*
 * Counts allocations, and lets the n-th one fail. One file of a program may include this: it
 * replaces malloc and its relatives for the whole program, the library included. glibc only. Under
 * valgrind, which does the same, nothing is counted and nothing fails.
 */
#ifndef ALLOCATIONS_H
#define ALLOCATIONS_H

#include <errno.h>
#include <limits.h>
#include <stddef.h>

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

/* How many allocations this thread made, and how many more may succeed. */
static _Thread_local long allocations;
static _Thread_local long allocations_left = LONG_MAX;
/* Whether no thread may allocate. */
static int memory_is_out;

static int
may_allocate(void)
{
    allocations++;
    if (allocations_left == 0 || __atomic_load_n(&memory_is_out, __ATOMIC_SEQ_CST)) {
        errno = ENOMEM;
        return 0;
    }
    allocations_left--;
    return 1;
}

void *
malloc(size_t size)
{
    return may_allocate() ? __libc_malloc(size) : NULL;
}

void *
calloc(size_t count, size_t size)
{
    return may_allocate() ? __libc_calloc(count, size) : NULL;
}

void *
realloc(void *old, size_t size)
{
    return may_allocate() ? __libc_realloc(old, size) : NULL;
}

void *
memalign(size_t alignment, size_t size)
{
    return may_allocate() ? __libc_memalign(alignment, size) : NULL;
}

void *
aligned_alloc(size_t alignment, size_t size)
{
    return may_allocate() ? __libc_memalign(alignment, size) : NULL;
}

int
posix_memalign(void **out, size_t alignment, size_t size)
{
    void *memory = may_allocate() ? __libc_memalign(alignment, size) : NULL;
    if (!memory)
        return ENOMEM;
    *out = memory;
    return 0;
}

#endif
