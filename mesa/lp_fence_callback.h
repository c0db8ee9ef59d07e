/*
 * Copyright © 2026 The libumf authors
 * SPDX-License-Identifier: MIT
 */

#ifndef LP_FENCE_CALLBACK_H
#define LP_FENCE_CALLBACK_H

#include <stdbool.h>

struct lp_fence;

/** Has call(data) called once the fence has signaled, by the thread that signals it: it must not block.
 *
 * Callbacks of one fence are called in the order in which they were added, those of one context's fences in the order of the
 * fences.  Returns false if the fence has signaled by now; call is not called then.
 */
bool lp_fence_add_callback(struct lp_fence *fence, void (*call)(void *data), void *data);

/** Calls and frees the callbacks if the fence has signaled.  Called with fence->mutex held. */
void lp_fence_run_callbacks(struct lp_fence *fence);

#endif /* LP_FENCE_CALLBACK_H */
