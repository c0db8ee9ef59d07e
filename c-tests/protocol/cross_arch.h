/* SPDX-License-Identifier: MIT */
/*
 * What the two processes of cross_arch have, in both parts of the test.
 */
#ifndef CROSS_ARCH_H
#define CROSS_ARCH_H

#include "check.h"

/* The other process, and a page that both have. */
extern int sock;
extern pid_t other_pid;
extern struct umf_page *page;

/* What both processes must agree about. */
void agree(uint64_t number);

/* Creates a fence, which the other process receives with recv_fence(). */
struct umf_fence *hand_over(struct umf_page *of, uint64_t value, uint64_t flags);

/* Returns when the graph, which is read from the page's wait table, shows that the other process
 * waits. */
void until_recorded(const struct umf_fence *fence, uint64_t target);

/* Plays with fences without order. */
void play_unordered(bool first);

#endif
