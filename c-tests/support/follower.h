/* SPDX-License-Identifier: MIT */
/* Waiters that follow a signaler, until the signaler dies. */
#ifndef FOLLOWER_H
#define FOLLOWER_H

#include "check.h"

/* It sleeps on the fence's futex word, or on the page's event count. */
struct follower {
    struct umf_fence *fence;
    bool by_event_count;
    pthread_t thread;
};

/* A queue's job that waits for a fence whose signaler dies. */
static inline int
must_not_run(void *data)
{
    (void)data;
    CHECK(!"the job of a fence that failed runs");
    return 0;
}

static inline void *
follow(void *data)
{
    struct follower *f = data;
    int result = 0;
    while (result == 0) {
        struct umf_condition wait = { .fence = f->fence, .value = umf_fence_value(f->fence) + 3 };
        result = f->by_event_count ? umf_wait(&wait, 1, UMF_WAIT_ANY, FOREVER, NULL)
                            : umf_fence_wait(f->fence, wait.value, FOREVER);
    }
    EXPECT(-EOWNERDEAD, result);
    return NULL;
}

#endif
