/* SPDX-License-Identifier: MIT */
/*
 * The peer of calls that only touch memory: the same instruction behind a function call into a
 * shared library.
 */
#ifndef BENCH_PEER_H
#define BENCH_PEER_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

uint64_t peer_exchange(_Atomic uint64_t *word, uint64_t value);
uint64_t peer_load(_Atomic uint64_t *word);
/* 0 when the word has reached value. */
int peer_poll(_Atomic uint64_t *word, uint64_t value);
/* Allocates and frees so many bytes. */
int peer_allocate(size_t size);

#endif
