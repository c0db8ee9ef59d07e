/* SPDX-License-Identifier: MIT */
/* Two processes that signal and wait for each other. */
#ifndef BENCH_LINK_H
#define BENCH_LINK_H

#include "bench.h"

/* Direction 0 is there, 1 is back. The numbers sent are 1, 2, 3, ... */
struct link {
    const char *name;
    void (*open)(struct link *link);
    void (*send)(struct link *link, int way, uint32_t number);
    void (*receive)(struct link *link, int way, uint32_t number);
    /* May be NULL. What the other process must do first. */
    void (*enter_child)(struct link *link);
    /* Why there is no such link here. Set instead of the above. */
    const char *absent;

    union {
        void *memory;
        int number;
    } ways[2];

    /* The other process sleeps here between measurements: an idle link costs nothing. */
    int turn;
    pid_t child;
    uint32_t sent;
};

#define UMF_LINK {"libumf", umf_link_open, umf_link_send, umf_link_receive, .absent = NULL}
void umf_link_open(struct link *link);
void umf_link_send(struct link *link, int way, uint32_t number);
void umf_link_receive(struct link *link, int way, uint32_t number);

void start_links(struct link *links, size_t count);
void compare_links(const char *row, struct link *links, size_t count, int our_cpu, int their_cpu);
void stop_links(struct link *links, size_t count);

#endif
