// SPDX-License-Identifier: MIT
#include "peer.h"

#include <stdlib.h>

uint64_t
peer_exchange(_Atomic uint64_t *word, uint64_t value)
{
    return atomic_exchange(word, value);
}

uint64_t
peer_load(_Atomic uint64_t *word)
{
    return atomic_load(word);
}

int
peer_poll(_Atomic uint64_t *word, uint64_t value)
{
    return atomic_load(word) >= value ? 0 : -1;
}

int
peer_allocate(size_t size)
{
    /* The compiler may not leave both out. */
    char *volatile memory = malloc(size);
    if (!memory)
        return -1;
    *memory = 0;
    free(memory);
    return 0;
}
