/* SPDX-License-Identifier: MIT */
/*
 * Notifiers of descriptors and functions, as drivers make them.
 */
#ifndef NOTIFIER_H
#define NOTIFIER_H

#include "check.h"

static inline struct umf_notifier *
notifier_of(int fd)
{
    const struct umf_interrupt interrupt = { .size = sizeof(interrupt), .fd = fd };
    struct umf_notifier *notifier;
    OK(umf_notifier_create(&interrupt, 0, &notifier));
    return notifier;
}

/* Gives a fence a notifier that ends with the fence. */
static inline void
notify_by(struct umf_fence *fence, int fd)
{
    struct umf_notifier *notifier = notifier_of(fd);
    OK(umf_fence_set_notifier(fence, notifier));
    umf_notifier_unref(notifier);
}

#endif
