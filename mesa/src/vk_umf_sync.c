/*
 * Copyright © 2026 The libumf authors
 * SPDX-License-Identifier: MIT
 */

#include "vk_umf_sync.h"

#include <errno.h>
#include <stdlib.h>

#include "util/list.h"
#include "util/macros.h"
#include "util/u_atomic.h"

#include "vk_device.h"
#include "vk_log.h"
#include "vk_queue.h"
#include "vk_util.h"

/* Where the fences of a shareable payload are in its page.  A timeline has the first alone. */
enum {
   PAYLOAD_FENCE,
   PAYLOAD_RESETS,
   PAYLOAD_BINARY_FENCES,
   PAYLOAD_TIMELINE_FENCES = PAYLOAD_RESETS,
};

static struct vk_umf_sync_type *
to_type(struct vk_sync *sync)
{
   return container_of((struct vk_sync_type *)sync->type, struct vk_umf_sync_type, sync);
}

static struct vk_umf_sync *
to_umf(struct vk_sync *sync)
{
   return container_of(sync, struct vk_umf_sync, base);
}

static bool
is_timeline(const struct vk_umf_sync *sync)
{
   return sync->base.flags & VK_SYNC_IS_TIMELINE;
}

/* The one place where an errno of libumf becomes a VkResult.
 *
 * A fence that failed will never be signaled.  Who waits for it is told so by VK_ERROR_DEVICE_LOST, and no more than that: it may
 * be a peer who failed a semaphore that he shares with us, and all else goes on.  What a queue makes of it, vk_umf_waits_wait() says.
 */
static VkResult
to_result(struct vk_device *device, int ret)
{
   switch (ret) {
   case 0:
      return VK_SUCCESS;
   case -ETIME:
      return VK_TIMEOUT;
   case -EIO:
   case -EOWNERDEAD:
   case -ESTALE:
      return vk_errorf(device, VK_ERROR_DEVICE_LOST, "A fence failed: %d", ret);
   case -EMFILE:
   case -ENFILE:
      return vk_error(device, VK_ERROR_TOO_MANY_OBJECTS);
   case -ENOMEM:
   case -ENOSPC:
      return vk_error(device, VK_ERROR_OUT_OF_HOST_MEMORY);
   default:
      return vk_errorf(device, VK_ERROR_UNKNOWN, "libumf: %d", ret);
   }
}

/* Where Vulkan knows no other error: descriptors that have run out. */
static int
as_no_memory(int ret)
{
   return ret == -EMFILE || ret == -ENFILE ? -ENOMEM : ret;
}

/* Fences that are not shared: many to a page. */

static int
add_page(struct vk_umf_sync_type *type)
{
   if (type->page_count == VK_UMF_MAX_PAGES)
      return -ENOSPC;

   int ret = umf_page_create(VK_UMF_FIRST_PAGE_FENCES << type->page_count, 0,
                             &type->pages[type->page_count]);
   if (ret == 0)
      type->page_hint = type->page_count++;
   return ret;
}

static int
create_fence_locked(struct vk_umf_sync_type *type, uint64_t value, struct umf_fence **fence_out)
{
   for (uint32_t i = 0; i < type->page_count; i++) {
      uint32_t page = (type->page_hint + i) % type->page_count;
      int ret = umf_fence_create(type->pages[page], value, 0, fence_out);
      if (ret != -ENOSPC) {
         type->page_hint = page;
         return ret;
      }
   }

   int ret = add_page(type);
   if (ret < 0)
      return ret;
   return umf_fence_create(type->pages[type->page_hint], value, 0, fence_out);
}

static int
create_fence(struct vk_umf_sync_type *type, uint64_t value, struct umf_fence **fence_out)
{
   simple_mtx_lock(&type->lock);
   int ret = create_fence_locked(type, value, fence_out);
   simple_mtx_unlock(&type->lock);
   return ret;
}

static int
get_loop(struct vk_umf_sync_type *type, struct umf_loop **loop_out)
{
   int ret = 0;
   simple_mtx_lock(&type->lock);
   if (type->loop == NULL)
      ret = umf_loop_create(UMF_LOOP_THREAD, &type->loop);
   *loop_out = type->loop;
   simple_mtx_unlock(&type->lock);
   return ret;
}

/* Payloads */

/* The fence of a binary sync can be that of the next one, which begins after its last point: if nothing is to come of that
 * any more, for which somebody may still wait.  So the runtime can make a sync for every wait on a binary semaphore, and for
 * every vkQueueWaitIdle(), without a fence ending.  The end of a fence is told to everybody who waits for many of its page.
 */
static bool
keep_fence(struct vk_umf_sync *sync)
{
   struct vk_umf_sync_type *type = to_type(&sync->base);
   int error;

   if (is_timeline(sync) || sync->page || sync->moved_here || sync->fence == NULL ||
       umf_fence_error(sync->fence, &error) < 0 || error != 0 ||
       umf_fence_value(sync->fence) < umf_fence_pending_value(sync->fence))
      return false;

   simple_mtx_lock(&type->lock);
   const bool keep = type->idle_count < VK_UMF_MAX_IDLE;
   if (keep)
      type->idle[type->idle_count++] = sync->fence;
   simple_mtx_unlock(&type->lock);
   return keep;
}

static struct umf_fence *
take_idle_fence(struct vk_umf_sync_type *type)
{
   simple_mtx_lock(&type->lock);
   struct umf_fence *fence = type->idle_count > 0 ? type->idle[--type->idle_count] : NULL;
   simple_mtx_unlock(&type->lock);
   return fence;
}

static int
init_timeline_payload(struct vk_umf_sync *sync, uint64_t initial_value)
{
   return create_fence(to_type(&sync->base), initial_value, &sync->fence);
}

static int
init_binary_payload(struct vk_umf_sync *sync, bool signaled)
{
   sync->fence = take_idle_fence(to_type(&sync->base));
   if (sync->fence == NULL)
      return create_fence(to_type(&sync->base), signaled, &sync->fence);

   sync->last_reset = umf_fence_pending_value(sync->fence);
   int ret = signaled ? umf_fence_signal(sync->fence, sync->last_reset + 1) : 0;
   if (ret < 0) {
      umf_fence_unref(sync->fence);
      sync->fence = NULL;
   }
   return ret;
}

static void
finish_payload(struct vk_umf_sync *sync)
{
   if (!keep_fence(sync))
      umf_fence_unref(sync->fence);
   umf_fence_unref(sync->resets);
   umf_page_unref(sync->page);
}

/* Gives sync the payload that from has, instead of its own. */
static void
take_payload(struct vk_umf_sync *sync, struct vk_umf_sync *from)
{
   finish_payload(sync);
   from->base = sync->base;
   *sync = *from;
}

/* A payload that can be exported has a page to itself, which is all that its file descriptor gives away.  The fences are the
 * page's: they are there as long as anybody has a sync or a descriptor of it.
 */
static int
init_shareable_payload(struct vk_umf_sync *sync, uint64_t initial_value)
{
   const bool timeline = is_timeline(sync);
   int ret = umf_page_create(timeline ? PAYLOAD_TIMELINE_FENCES : PAYLOAD_BINARY_FENCES, 0, &sync->page);
   if (ret == 0)
      ret = umf_fence_create(sync->page, initial_value, UMF_FENCE_LASTING, &sync->fence);
   if (ret == 0 && !timeline)
      ret = umf_fence_create(sync->page, 0, UMF_FENCE_LASTING, &sync->resets);
   if (ret < 0)
      finish_payload(sync);
   return ret;
}

/* A fence that is open, and that has 64 bits: one of 32 refuses to be waited for at most values. */
static int
open_fence(struct umf_page *page, uint32_t index, struct umf_fence **fence_out)
{
   int ret = umf_fence_open(page, index, 0, fence_out);
   return ret == 0 && umf_fence_wait(*fence_out, UINT64_MAX, 0) == -EINVAL ? -EINVAL : ret;
}

/* The page may come from anybody.  libumf lets it do no more than what a peer may do to its own fences: signal them, or not. */
static int
import_payload(struct vk_umf_sync *sync, int fd)
{
   const bool timeline = is_timeline(sync);
   int ret = umf_page_import(fd, 0, &sync->page);
   if (ret < 0)
      return ret;

   if (umf_page_flags(sync->page) != 0 ||
       umf_page_fence_count(sync->page) != (timeline ? PAYLOAD_TIMELINE_FENCES : PAYLOAD_BINARY_FENCES))
      ret = -EINVAL;
   if (ret == 0)
      ret = open_fence(sync->page, PAYLOAD_FENCE, &sync->fence);
   if (ret == 0 && !timeline)
      ret = open_fence(sync->page, PAYLOAD_RESETS, &sync->resets);
   if (ret < 0)
      finish_payload(sync);
   return ret;
}

static uint64_t
last_reset(const struct vk_umf_sync *sync)
{
   return sync->resets ? umf_fence_value(sync->resets) : p_atomic_read(&sync->last_reset);
}

/* The point that makes a binary sync signaled.  At the end of all points, where only a peer can bring it, it stays signaled. */
static uint64_t
binary_point(const struct vk_umf_sync *sync)
{
   const uint64_t last = last_reset(sync);
   return last == UINT64_MAX ? last : last + 1;
}

/* The sync is not signaled any more by anything up to this point. */
static int
reset_to(struct vk_umf_sync *sync, uint64_t point)
{
   if (sync->resets) {
      /* -EINVAL: a peer has reset it beyond that. */
      int ret = umf_fence_signal(sync->resets, point);
      return ret == -EINVAL ? 0 : ret;
   }
   p_atomic_set(&sync->last_reset, point);
   return 0;
}

static int
reset_binary(struct vk_umf_sync *sync)
{
   return reset_to(sync, umf_fence_pending_value(sync->fence));
}

/* vk_sync_type */

static VkResult
vk_umf_sync_init(struct vk_device *device, struct vk_sync *vk_sync, uint64_t initial_value)
{
   struct vk_umf_sync *sync = to_umf(vk_sync);
   const bool signaled = initial_value != 0;
   int ret;

   if (vk_sync->flags & VK_SYNC_IS_SHAREABLE)
      ret = init_shareable_payload(sync, is_timeline(sync) ? initial_value : signaled);
   else if (is_timeline(sync))
      ret = init_timeline_payload(sync, initial_value);
   else
      ret = init_binary_payload(sync, signaled);

   return to_result(device, as_no_memory(ret));
}

static void
vk_umf_sync_finish(struct vk_device *device, struct vk_sync *vk_sync)
{
   finish_payload(to_umf(vk_sync));
}

static VkResult
vk_umf_sync_signal(struct vk_device *device, struct vk_sync *vk_sync, uint64_t value)
{
   struct vk_umf_sync *sync = to_umf(vk_sync);
   assert(!sync->moved_here);

   if (!is_timeline(sync))
      value = binary_point(sync);
   int ret = umf_fence_signal(sync->fence, value);

   /* It is beyond the value.  A peer may have brought it there; else the application broke the rules. */
   if (ret == -EINVAL && (sync->page || !is_timeline(sync)))
      return VK_SUCCESS;
   if (ret == -EINVAL)
      return vk_device_set_lost(device, "Timeline values must only ever strictly increase.");
   return to_result(device, ret);
}

static VkResult
vk_umf_sync_get_value(struct vk_device *device, struct vk_sync *vk_sync, uint64_t *value)
{
   struct vk_umf_sync *sync = to_umf(vk_sync);
   int error = 0;

   int ret = umf_fence_error(sync->fence, &error);
   if (ret < 0 || error != 0)
      return to_result(device, ret < 0 ? ret : -EIO);

   *value = umf_fence_value(sync->fence);
   return VK_SUCCESS;
}

static VkResult
vk_umf_sync_reset(struct vk_device *device, struct vk_sync *vk_sync)
{
   struct vk_umf_sync *sync = to_umf(vk_sync);
   assert(!sync->moved_here);
   return to_result(device, reset_binary(sync));
}

/* Whether another process may have failed it. */
static bool
is_peers(const struct vk_umf_sync *sync)
{
   return sync->page != NULL || sync->is_peers;
}

/* dst waits for the point of src's that is next, whatever becomes of src.  The runtime moves only what was submitted to where
 * it will be waited for, so dst need not be able to do more.
 */
static VkResult
vk_umf_sync_move(struct vk_device *device, struct vk_sync *vk_dst, struct vk_sync *vk_src)
{
   struct vk_umf_sync *src = to_umf(vk_src);
   assert(!src->moved_here && !(vk_dst->flags & VK_SYNC_IS_SHAREABLE));

   const uint64_t point = binary_point(src);
   struct vk_umf_sync moved = {
      .fence = umf_fence_ref(src->fence),
      .last_reset = point - 1,
      .moved_here = true,
      .is_peers = is_peers(src),
   };
   take_payload(to_umf(vk_dst), &moved);
   return to_result(device, reset_to(src, point));
}

struct umf_wait
vk_umf_sync_get_wait(const struct vk_sync_wait *wait)
{
   struct vk_umf_sync *sync = to_umf(wait->sync);

   return (struct umf_wait) {
      .fence = sync->fence,
      .value = is_timeline(sync) ? wait->wait_value : binary_point(sync),
      .op = UMF_OP_GE,
   };
}

static VkResult
vk_umf_sync_wait_many(struct vk_device *device,
                      uint32_t wait_count,
                      const struct vk_sync_wait *waits,
                      enum vk_sync_wait_flags wait_flags,
                      uint64_t abs_timeout_ns)
{
   if (wait_count == 0)
      return VK_SUCCESS;

   STACK_ARRAY(struct umf_wait, list, wait_count);
   if (list == NULL)
      return vk_error(device, VK_ERROR_OUT_OF_HOST_MEMORY);

   for (uint32_t i = 0; i < wait_count; i++)
      list[i] = vk_umf_sync_get_wait(&waits[i]);

   uint64_t flags = 0;
   if (wait_flags & VK_SYNC_WAIT_ANY)
      flags |= UMF_WAIT_ANY;
   if (wait_flags & VK_SYNC_WAIT_PENDING)
      flags |= UMF_WAIT_PENDING;
   int ret = umf_wait(list, wait_count, flags, abs_timeout_ns, NULL);
   STACK_ARRAY_FINISH(list);

   /* What cannot be waited for is as good as submitted: who waits until it can be goes on, waits, and is told there. */
   if ((wait_flags & VK_SYNC_WAIT_PENDING) && ret != -ETIME)
      return VK_SUCCESS;
   return to_result(device, ret);
}

static VkResult
vk_umf_sync_wait(struct vk_device *device,
                 struct vk_sync *vk_sync,
                 uint64_t wait_value,
                 enum vk_sync_wait_flags wait_flags,
                 uint64_t abs_timeout_ns)
{
   struct vk_umf_sync *sync = to_umf(vk_sync);

   if (wait_flags != VK_SYNC_WAIT_COMPLETE) {
      const struct vk_sync_wait wait = { .sync = vk_sync, .wait_value = wait_value };
      return vk_umf_sync_wait_many(device, 1, &wait, wait_flags, abs_timeout_ns);
   }

   if (!is_timeline(sync))
      wait_value = binary_point(sync);
   return to_result(device, umf_fence_wait(sync->fence, wait_value, abs_timeout_ns));
}

static VkResult
vk_umf_sync_import_opaque_fd(struct vk_device *device, struct vk_sync *vk_sync, int fd)
{
   struct vk_umf_sync imported = { .base = *vk_sync };

   int ret = as_no_memory(import_payload(&imported, fd));
   if (ret == -ENOMEM)
      return to_result(device, ret);
   if (ret < 0)
      return vk_errorf(device, VK_ERROR_INVALID_EXTERNAL_HANDLE, "No such payload: %d", ret);

   take_payload(to_umf(vk_sync), &imported);
   return VK_SUCCESS;
}

/* What was imported from a sync_file may be exported as anything. */
static int
make_shareable(struct vk_umf_sync *sync)
{
   struct vk_umf_sync shareable = { .base = sync->base };
   const uint64_t point = binary_point(sync);
   const bool pending = umf_fence_value(sync->fence) < point && umf_fence_pending_value(sync->fence) >= point;
   struct umf_loop *loop;

   int ret = init_shareable_payload(&shareable, umf_fence_value(sync->fence) >= point);
   if (ret < 0)
      return ret;

   if (pending) {
      ret = umf_fence_submit(shareable.fence, 1);
      if (ret == 0)
         ret = get_loop(to_type(&sync->base), &loop);
      if (ret == 0)
         ret = umf_loop_export_fence(loop, sync->fence, point, shareable.fence, 1, 0, NULL, NULL);
      if (ret < 0) {
         finish_payload(&shareable);
         return ret;
      }
   }

   take_payload(sync, &shareable);
   return 0;
}

static VkResult
vk_umf_sync_export_opaque_fd(struct vk_device *device, struct vk_sync *vk_sync, int *fd)
{
   struct vk_umf_sync *sync = to_umf(vk_sync);
   assert(sync->page || !is_timeline(sync));

   int ret = sync->page ? 0 : make_shareable(sync);
   if (ret == 0)
      ret = umf_page_export(sync->page, 0, fd);
   return to_result(device, ret);
}

/* What a pending sync_file signals when it is over. */
struct sync_file_end {
   struct umf_fence *fence;
   uint64_t point;
};

static bool
is_over(int result)
{
   return result == 0 || result == -EIO || result == -EOWNERDEAD;
}

/* If it is not over, and nobody can wait for it any more (no memory), the sync fails: it would be early. */
static void
sync_file_ended(void *data, int result)
{
   struct sync_file_end *end = data;
   (void)(is_over(result) ? umf_fence_signal(end->fence, end->point) : umf_fence_set_error(end->fence, result));
}

static void
free_sync_file_end(void *data)
{
   struct sync_file_end *end = data;
   umf_fence_unref(end->fence);
   free(end);
}

static int
watch_sync_file(struct vk_umf_sync *sync, uint64_t point, struct umf_fence *kernels, int sync_file)
{
   struct umf_loop *loop;
   int ret = get_loop(to_type(&sync->base), &loop);
   if (ret < 0)
      return ret;

   struct sync_file_end *end = malloc(sizeof(*end));
   if (end == NULL)
      return -ENOMEM;
   *end = (struct sync_file_end) { umf_fence_ref(sync->fence), point };

   const struct umf_callback callback = { sync_file_ended, free_sync_file_end, end };
   ret = umf_loop_import_sync_file(loop, kernels, 1, sync_file, 0, &callback, NULL);
   if (ret < 0)
      free_sync_file_end(end);
   return ret;
}

/* A sync_file that failed signals all the same, as everywhere in Mesa: its work is over, and it is no fault of this device.  So
 * it is imported into a fence of its own, which may fail.
 */
static int
import_sync_file(struct vk_umf_sync *sync, int sync_file)
{
   const uint64_t point = binary_point(sync);
   struct umf_fence *kernels;

   int ret = umf_fence_submit(sync->fence, point);
   if (ret == 0)
      ret = create_fence(to_type(&sync->base), 0, &kernels);
   if (ret < 0)
      return ret;

   ret = umf_fence_import_sync_file(kernels, 1, sync_file, 0);
   if (ret == -ETIME)
      ret = watch_sync_file(sync, point, kernels, sync_file);
   else if (is_over(ret))
      ret = umf_fence_signal(sync->fence, point);
   umf_fence_unref(kernels);
   return ret;
}

static VkResult
vk_umf_sync_import_sync_file(struct vk_device *device, struct vk_sync *vk_sync, int sync_file)
{
   struct vk_umf_sync imported = { .base = *vk_sync };

   int ret = init_binary_payload(&imported, false);
   if (ret < 0)
      return to_result(device, as_no_memory(ret));

   ret = import_sync_file(&imported, sync_file);
   if (ret < 0) {
      finish_payload(&imported);
      if (ret == -EINVAL || ret == -EBADF)
         return vk_error(device, VK_ERROR_INVALID_EXTERNAL_HANDLE);
      return to_result(device, as_no_memory(ret));
   }

   take_payload(to_umf(vk_sync), &imported);
   vk_sync->flags |= VK_SYNC_IS_SHAREABLE; /* see make_shareable() */
   return VK_SUCCESS;
}

/* The kernel may not wait for userspace, so what is given out has signaled: this waits for the sync, and for nothing else.
 * Where nothing can make a sync_file, -1 stands for one that has signaled, as Vulkan has it.
 */
static VkResult
vk_umf_sync_export_sync_file(struct vk_device *device, struct vk_sync *vk_sync, int *sync_file)
{
   struct vk_umf_sync *sync = to_umf(vk_sync);
   const uint64_t point = binary_point(sync);

   int ret = umf_fence_export_sync_file(sync->fence, point, to_type(vk_sync)->device, UINT64_MAX, sync_file);
   if (ret == -EOPNOTSUPP) {
      ret = umf_fence_wait(sync->fence, point, UINT64_MAX);
      if (ret == 0)
         *sync_file = -1;
   }
   return to_result(device, ret);
}

VkResult
vk_umf_sync_type_init(struct vk_umf_sync_type *type, int drm_fd)
{
   *type = (struct vk_umf_sync_type) {
      .sync = {
         .size = sizeof(struct vk_umf_sync),
         .features = VK_SYNC_FEATURE_BINARY |
                     VK_SYNC_FEATURE_TIMELINE |
                     VK_SYNC_FEATURE_GPU_WAIT |
                     VK_SYNC_FEATURE_GPU_MULTI_WAIT |
                     VK_SYNC_FEATURE_CPU_WAIT |
                     VK_SYNC_FEATURE_CPU_RESET |
                     VK_SYNC_FEATURE_CPU_SIGNAL |
                     VK_SYNC_FEATURE_WAIT_ANY |
                     VK_SYNC_FEATURE_WAIT_PENDING |
                     VK_SYNC_FEATURE_WAIT_BEFORE_SIGNAL,
         .init = vk_umf_sync_init,
         .finish = vk_umf_sync_finish,
         .signal = vk_umf_sync_signal,
         .get_value = vk_umf_sync_get_value,
         .reset = vk_umf_sync_reset,
         .move = vk_umf_sync_move,
         .wait = vk_umf_sync_wait,
         .wait_many = vk_umf_sync_wait_many,
         .import_opaque_fd = vk_umf_sync_import_opaque_fd,
         .export_opaque_fd = vk_umf_sync_export_opaque_fd,
         .import_sync_file = vk_umf_sync_import_sync_file,
         .export_sync_file = vk_umf_sync_export_sync_file,
      },
   };
   simple_mtx_init(&type->lock, mtx_plain);

   /* One that cannot be had is known now, and not when the first semaphore is created. */
   int ret = add_page(type);
   if (ret == 0 && drm_fd >= 0)
      ret = umf_device_create(drm_fd, &type->device);
   if (ret < 0) {
      vk_umf_sync_type_finish(type);
      return ret == -ENOMEM ? VK_ERROR_OUT_OF_HOST_MEMORY : VK_ERROR_INITIALIZATION_FAILED;
   }
   return VK_SUCCESS;
}

void
vk_umf_sync_type_finish(struct vk_umf_sync_type *type)
{
   umf_loop_unref(type->loop);
   for (uint32_t i = 0; i < type->idle_count; i++)
      umf_fence_unref(type->idle[i]);
   for (uint32_t i = 0; i < type->page_count; i++)
      umf_page_unref(type->pages[i]);
   umf_device_unref(type->device);
   simple_mtx_destroy(&type->lock);
}

/* Submissions */

static bool
is_umf(const struct vk_sync *sync)
{
   return sync->type->init == vk_umf_sync_init;
}

VkResult
vk_umf_waits_wait(struct vk_device *device, uint32_t wait_count, const struct vk_sync_wait *waits)
{
   for (uint32_t i = 0; i < wait_count; i++) {
      VkResult result = vk_sync_wait(device, waits[i].sync, waits[i].wait_value, VK_SYNC_WAIT_COMPLETE, UINT64_MAX);
      if (result == VK_ERROR_DEVICE_LOST && is_umf(waits[i].sync) && is_peers(to_umf(waits[i].sync)))
         continue;
      if (result != VK_SUCCESS)
         return result;
   }
   return VK_SUCCESS;
}

void
vk_umf_waits_complete(uint32_t wait_count, const struct vk_sync_wait *waits)
{
   for (uint32_t i = 0; i < wait_count; i++) {
      if (!is_umf(waits[i].sync))
         continue;

      struct vk_umf_sync *sync = to_umf(waits[i].sync);
      if (!is_timeline(sync) && !sync->moved_here)
         (void)reset_to(sync, binary_point(sync));
   }
}

/* A binary sync that has been signaled, or will be, is signaled anew: the last signal operation counts.  A payload that a peer
 * has failed is none of the queue's business: its waiters know.
 */
static struct umf_signal
next_signal(const struct vk_sync_signal *signal)
{
   struct vk_umf_sync *sync = to_umf(signal->sync);
   assert(!sync->moved_here);

   if (!is_timeline(sync))
      (void)reset_binary(sync);

   return (struct umf_signal) {
      .fence = umf_fence_ref(sync->fence),
      .value = is_timeline(sync) ? signal->signal_value : binary_point(sync),
   };
}

static void
finish_signals(struct vk_umf_signals *signals)
{
   for (uint32_t i = 0; i < signals->count; i++)
      umf_fence_unref(signals->list[i].fence);
   free(signals);
}

VkResult
vk_umf_signals_create(struct vk_device *device,
                      uint32_t signal_count,
                      const struct vk_sync_signal *list,
                      struct vk_umf_signals **signals_out)
{
   /* Not the application's allocator: it is freed by whoever does the work. */
   struct vk_umf_signals *signals = malloc(sizeof(*signals) + signal_count * sizeof(signals->list[0]));
   if (signals == NULL)
      return vk_error(device, VK_ERROR_OUT_OF_HOST_MEMORY);

   signals->count = signal_count;
   for (uint32_t i = 0; i < signal_count; i++)
      signals->list[i] = next_signal(&list[i]);

   *signals_out = signals;
   return VK_SUCCESS;
}

void
vk_umf_signals_announce(struct vk_umf_signals *signals)
{
   for (uint32_t i = 0; i < signals->count; i++)
      (void)umf_fence_submit(signals->list[i].fence, signals->list[i].value);
}

/* What cannot be signaled failed, or is beyond the value: its waiters know. */
void
vk_umf_signals_complete(struct vk_umf_signals *signals)
{
   for (uint32_t i = 0; i < signals->count; i++)
      (void)umf_fence_signal(signals->list[i].fence, signals->list[i].value);
   finish_signals(signals);
}

/* What the queue's list and this submission signal, each with a reference.  NULL without memory. */
static struct vk_umf_signals *
gather_signals(struct vk_queue *queue, const struct vk_queue_submit *submit)
{
   uint32_t count = submit->signal_count;
   list_for_each_entry(struct vk_queue_submit, behind, &queue->submit.submits, link)
      count += behind == submit ? 0 : behind->signal_count;

   struct vk_umf_signals *signals = malloc(sizeof(*signals) + count * sizeof(signals->list[0]));
   if (signals == NULL)
      return NULL;

   signals->count = 0;
   for (uint32_t i = 0; i < submit->signal_count; i++)
      signals->list[signals->count++].fence = umf_fence_ref(to_umf(submit->signals[i].sync)->fence);
   list_for_each_entry(struct vk_queue_submit, behind, &queue->submit.submits, link) {
      for (uint32_t i = 0; behind != submit && i < behind->signal_count; i++)
         signals->list[signals->count++].fence = umf_fence_ref(to_umf(behind->signals[i].sync)->fence);
   }
   return signals;
}

/* The same signals, without memory for a list of them. */
static void
fail_signals(struct vk_queue *queue, const struct vk_queue_submit *submit)
{
   for (uint32_t i = 0; i < submit->signal_count; i++)
      (void)umf_fence_set_error(to_umf(submit->signals[i].sync)->fence, -EIO);
   list_for_each_entry(struct vk_queue_submit, behind, &queue->submit.submits, link) {
      for (uint32_t i = 0; behind != submit && i < behind->signal_count; i++)
         (void)umf_fence_set_error(to_umf(behind->signals[i].sync)->fence, -EIO);
   }
}

void
vk_umf_queue_fail(struct vk_queue *queue, const struct vk_queue_submit *submit)
{
   /* Once the device is lost the application may destroy everything: the syncs are not looked at any more then. */
   mtx_lock(&queue->submit.mutex);
   struct vk_umf_signals *signals = gather_signals(queue, submit);
   if (signals == NULL)
      fail_signals(queue, submit);
   (void)vk_queue_set_lost(queue, "A submission failed");
   mtx_unlock(&queue->submit.mutex);

   if (signals == NULL)
      return;
   for (uint32_t i = 0; i < signals->count; i++)
      (void)umf_fence_set_error(signals->list[i].fence, -EIO);
   finish_signals(signals);
}
