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

   struct lp_fence_callback *callback = malloc(sizeof(*callback));
   if (callback == NULL) {
      lp_fence_wait(fence);
      return false;
   }
   *callback = (struct lp_fence_callback) { .call = call, .data = data };

   mtx_lock(&fence->mutex);
   const bool pending = fence->count < fence->rank;
   if (pending) {
      struct lp_fence_callback **end = &fence->callbacks;
      while (*end)
         end = &(*end)->next;
      *end = callback;
   }
   mtx_unlock(&fence->mutex);

   if (!pending)
      free(callback);
   return pending;
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
