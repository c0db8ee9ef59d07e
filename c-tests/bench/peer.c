// SPDX-License-Identifier: MIT
#include "peer.h"

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
