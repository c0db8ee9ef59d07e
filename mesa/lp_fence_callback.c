/*
 * Copyright © 2026 The libumf authors
 * SPDX-License-Identifier: MIT
 */

#include "lp_fence_callback.h"

#include <assert.h>
#include <stdlib.h>

#include "lp_fence.h"

struct lp_fence_callback {
   struct lp_fence_callback *next;
   void (*call)(void *data);
   void *data;
};

bool
lp_fence_add_callback(struct lp_fence *fence, void (*call)(void *data), void *data)
{
   assert(fence->type == LP_FENCE_TYPE_SW);

   mtx_lock(&fence->mutex);
   const bool pending = fence->count < fence->rank;
   struct lp_fence_callback *callback = pending ? malloc(sizeof(*callback)) : NULL;
   if (callback) {
      *callback = (struct lp_fence_callback) { .call = call, .data = data };
      struct lp_fence_callback **end = &fence->callbacks;
      while (*end)
         end = &(*end)->next;
      *end = callback;
   }
   mtx_unlock(&fence->mutex);

   /* Without memory, the caller has to wait for it. */
   if (pending && !callback)
      lp_fence_wait(fence);
   return callback != NULL;
}

void
lp_fence_run_callbacks(struct lp_fence *fence)
{
   if (fence->count < fence->rank)
      return;

   struct lp_fence_callback *callback = fence->callbacks;
   fence->callbacks = NULL;
   while (callback) {
      struct lp_fence_callback *next = callback->next;
      callback->call(callback->data);
      free(callback);
      callback = next;
   }
}
