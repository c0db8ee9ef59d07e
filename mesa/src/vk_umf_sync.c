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

/* The slots of a shareable payload's page.  A timeline has only the first one. */
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

/* Get the number of fences in a shareable payload. */
static uint32_t
payload_fence_count(const struct vk_umf_sync *sync)
{
   return is_timeline(sync) ? PAYLOAD_TIMELINE_FENCES : PAYLOAD_BINARY_FENCES;
}

/* Convert an error of libumf to a VkResult.
 *
 * A fence that failed will never be signaled, so a wait for it returns VK_ERROR_DEVICE_LOST.  The
 * device itself is not marked as lost, because the cause may be a peer that shares the semaphore.
 * vk_umf_waits_wait() decides what the failure means for a queue.
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
      return vk_errorf(device, VK_ERROR_UNKNOWN, "libumf returned an unexpected error: %d", ret);
   }
}

/* For entrypoints that may not return VK_ERROR_TOO_MANY_OBJECTS: treat a lack of file descriptors
 * as a lack of memory.
 */
static int
as_no_memory(int ret)
{
   return ret == -EMFILE || ret == -ENFILE ? -ENOMEM : ret;
}

/* Pages in the address space of the device */

/* Map a page, unless the device does not access fences. */
static int
map_page(const struct vk_umf_mapper *mapper,
         struct umf_page *page,
         struct vk_umf_mapping **mapping_out)
{
   if (mapper == NULL)
      return 0;

   /* The application's allocator is not used, because any thread may drop the last reference. */
   struct vk_umf_mapping *mapping = calloc(1, sizeof(*mapping));
   if (mapping == NULL)
      return -ENOMEM;
   mapping->mapper = mapper;
   mapping->ref_count = 1;

   int ret = mapper->notifier ? umf_page_set_notifier(page, mapper->notifier) : 0;
   if (ret == 0)
      ret = mapper->map(mapper, page, mapping);
   if (ret < 0) {
      free(mapping);
      return ret;
   }
   *mapping_out = mapping;
   return 0;
}

static struct vk_umf_mapping *
ref_mapping(struct vk_umf_mapping *mapping)
{
   if (mapping)
      p_atomic_inc(&mapping->ref_count);
   return mapping;
}

static void
unref_mapping(struct vk_umf_mapping *mapping)
{
   if (mapping == NULL || !p_atomic_dec_zero(&mapping->ref_count))
      return;
   mapping->mapper->unmap(mapping->mapper, mapping);
   free(mapping);
}

static uint64_t
fence_flags(const struct vk_umf_sync_type *type)
{
   return type->mapper ? UMF_FENCE_DEVICE : 0;
}

/* Fences that are not shareable.  Many of them use one page. */

static int
add_page(struct vk_umf_sync_type *type)
{
   const uint32_t i = type->page_count;
   if (i == VK_UMF_MAX_PAGES)
      return -ENOSPC;

   int ret = umf_page_create(VK_UMF_FIRST_PAGE_FENCES << i, 0, &type->pages[i]);
   if (ret < 0)
      return ret;
   ret = map_page(type->mapper, type->pages[i], &type->mappings[i]);
   if (ret < 0) {
      umf_page_unref(type->pages[i]);
      return ret;
   }
   type->page_hint = type->page_count++;
   return 0;
}

static int
create_fence_locked(struct vk_umf_sync_type *type, uint64_t value, struct umf_fence **fence_out)
{
   for (uint32_t i = 0; i < type->page_count; i++) {
      uint32_t page = (type->page_hint + i) % type->page_count;
      int ret = umf_fence_create(type->pages[page], value, fence_flags(type), fence_out);
      if (ret != -ENOSPC) {
         type->page_hint = page;
         return ret;
      }
   }

   int ret = add_page(type);
   if (ret < 0)
      return ret;
   return umf_fence_create(type->pages[type->page_hint], value, fence_flags(type), fence_out);
}

/* mapping_out may be NULL. */
static int
create_fence(struct vk_umf_sync_type *type,
             uint64_t value,
             struct umf_fence **fence_out,
             struct vk_umf_mapping **mapping_out)
{
   simple_mtx_lock(&type->lock);
   int ret = create_fence_locked(type, value, fence_out);
   if (ret == 0 && mapping_out)
      *mapping_out = ref_mapping(type->mappings[type->page_hint]);
   simple_mtx_unlock(&type->lock);
   return ret;
}

int
vk_umf_sync_type_get_loop(struct vk_umf_sync_type *type, struct umf_loop **loop_out)
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

/* Keep the fence of a finished binary sync for the next binary sync
 *
 * The runtime creates a sync for every wait on a binary semaphore and for every vkQueueWaitIdle().
 * Destroying a fence is expensive: it wakes every thread that waits for several fences of the same
 * page.
 *
 * The next sync starts after the last point of the fence.  The fence is not kept while a point is
 * still pending, because a moved copy may wait for that point.
 */
static bool
keep_fence(struct vk_umf_sync *sync)
{
   struct vk_umf_sync_type *type = to_type(&sync->base);
   int error;

   if (is_timeline(sync) || sync->page || sync->is_moved_copy || sync->fence == NULL ||
       umf_fence_error(sync->fence, &error) < 0 || error != 0 ||
       umf_fence_value(sync->fence) < umf_fence_pending_value(sync->fence))
      return false;

   simple_mtx_lock(&type->lock);
   const bool keep = type->free_binary_count < VK_UMF_MAX_FREE_BINARY;
   if (keep) {
      type->free_binary[type->free_binary_count++] = (struct vk_umf_free_fence) {
         .fence = sync->fence,
         .mapping = ref_mapping(sync->mapping),
      };
   }
   simple_mtx_unlock(&type->lock);
   return keep;
}

static struct vk_umf_free_fence
take_free_binary(struct vk_umf_sync_type *type)
{
   struct vk_umf_free_fence free_fence = { 0 };

   simple_mtx_lock(&type->lock);
   if (type->free_binary_count > 0)
      free_fence = type->free_binary[--type->free_binary_count];
   simple_mtx_unlock(&type->lock);
   return free_fence;
}

static int
init_timeline_payload(struct vk_umf_sync *sync, uint64_t initial_value)
{
   return create_fence(to_type(&sync->base), initial_value, &sync->fence, &sync->mapping);
}

static int
init_binary_payload(struct vk_umf_sync *sync, bool signaled)
{
   struct vk_umf_sync_type *type = to_type(&sync->base);
   const struct vk_umf_free_fence free_fence = take_free_binary(type);
   if (free_fence.fence == NULL)
      return create_fence(type, signaled, &sync->fence, &sync->mapping);

   const uint64_t last_reset = umf_fence_pending_value(free_fence.fence);
   int ret = signaled ? umf_fence_signal(free_fence.fence, last_reset + 1) : 0;
   if (ret < 0) {
      umf_fence_unref(free_fence.fence);
      unref_mapping(free_fence.mapping);
      return ret;
   }
   sync->fence = free_fence.fence;
   sync->mapping = free_fence.mapping;
   sync->last_reset = last_reset;
   return 0;
}

static void
finish_payload(struct vk_umf_sync *sync)
{
   if (!keep_fence(sync))
      umf_fence_unref(sync->fence);
   umf_fence_unref(sync->resets);
   umf_page_unref(sync->page);
   unref_mapping(sync->mapping);
}

/* Replace the payload of sync by the payload of from. */
static void
take_payload(struct vk_umf_sync *sync, struct vk_umf_sync *from)
{
   finish_payload(sync);
   from->base = sync->base;
   *sync = *from;
}

/* Create a payload that can be exported
 *
 * It has a page of its own, so its file descriptor gives access to this payload only.  Its fences
 * live as long as the page: until the last sync and the last file descriptor are gone.
 */
static int
init_shareable_payload(struct vk_umf_sync *sync, uint64_t initial_value)
{
   const struct vk_umf_sync_type *type = to_type(&sync->base);

   int ret = umf_page_create(payload_fence_count(sync), 0, &sync->page);
   if (ret == 0)
      ret = map_page(type->mapper, sync->page, &sync->mapping);
   if (ret == 0)
      ret = umf_fence_create(sync->page, initial_value, UMF_FENCE_LASTING | fence_flags(type),
                             &sync->fence);
   if (ret == 0 && !is_timeline(sync))
      ret = umf_fence_create(sync->page, 0, UMF_FENCE_LASTING, &sync->resets);
   if (ret < 0)
      finish_payload(sync);
   return ret;
}

/* Open a fence and check that it has 64 bits
 *
 * A 32-bit fence refuses a wait for UINT64_MAX.
 */
static int
open_fence(struct umf_page *page, uint32_t index, struct umf_fence **fence_out)
{
   int ret = umf_fence_open(page, index, 0, fence_out);
   return ret == 0 && umf_fence_wait(*fence_out, UINT64_MAX, 0) == -EINVAL ? -EINVAL : ret;
}

/* Check that the device's signals reach the waiters of a fence that was opened
 *
 * The waiters of other processes hear only of a fence that was created with UMF_FENCE_DEVICE.  That
 * fails for the payload of a driver whose device does not write fences.
 */
static int
check_device_fence(const struct vk_umf_mapper *mapper, struct umf_fence *fence)
{
   return mapper && mapper->notifier ? umf_fence_set_notifier(fence, mapper->notifier) : 0;
}

/* Open the payload of a file descriptor
 *
 * The page may come from a hostile process.  libumf ensures that the process can do nothing but
 * signal the payload's fences, fail them, or leave them unsignaled.
 */
static int
import_payload(struct vk_umf_sync *sync, int fd)
{
   const struct vk_umf_mapper *mapper = to_type(&sync->base)->mapper;

   int ret = umf_page_import(fd, 0, &sync->page);
   if (ret < 0)
      return ret;

   if (umf_page_flags(sync->page) != 0 ||
       umf_page_fence_count(sync->page) != payload_fence_count(sync))
      ret = -EINVAL;
   if (ret == 0)
      ret = map_page(mapper, sync->page, &sync->mapping);
   if (ret == 0)
      ret = open_fence(sync->page, PAYLOAD_FENCE, &sync->fence);
   if (ret == 0)
      ret = check_device_fence(mapper, sync->fence);
   if (ret == 0 && !is_timeline(sync))
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

/* Get the point that signals a binary sync
 *
 * There is no point after UINT64_MAX, where the sync stays signaled.  Only a peer can reset so far.
 */
static uint64_t
binary_point(const struct vk_umf_sync *sync)
{
   const uint64_t last = last_reset(sync);
   return last == UINT64_MAX ? last : last + 1;
}

/* Reset a binary sync up to a point: signals up to that point no longer signal it. */
static int
reset_to(struct vk_umf_sync *sync, uint64_t point)
{
   if (sync->resets) {
      /* -EINVAL means that a peer has already reset a later point. */
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
finish_complete_points(struct vk_device *device, const struct vk_umf_sync *sync)
{
   if (sync->page && sync->mapping)
      sync->mapping->mapper->finish_complete(device);
}

static void
vk_umf_sync_finish(struct vk_device *device, struct vk_sync *vk_sync)
{
   finish_complete_points(device, to_umf(vk_sync));
   finish_payload(to_umf(vk_sync));
}

static VkResult
vk_umf_sync_signal(struct vk_device *device, struct vk_sync *vk_sync, uint64_t value)
{
   struct vk_umf_sync *sync = to_umf(vk_sync);
   assert(!sync->is_moved_copy);

   if (!is_timeline(sync))
      value = binary_point(sync);
   int ret = umf_fence_signal(sync->fence, value);

   /* The fence is already past the value.  For a shareable or binary sync, a peer or a later signal
    * may have caused that.  For any other timeline, it is an application error.
    */
   if (ret == -EINVAL && (sync->page || !is_timeline(sync)))
      return VK_SUCCESS;
   if (ret == -EINVAL)
      return vk_device_set_lost(device, "A timeline was signaled below its current value");
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
   assert(!sync->is_moved_copy);
   return to_result(device, reset_binary(sync));
}

/* Check whether another process can fail the payload. */
static bool
can_peer_fail(const struct vk_umf_sync *sync)
{
   return sync->page != NULL || sync->is_imported;
}

/* Move the next point of src to dst, and reset src
 *
 * Waits on dst wait for that point, whatever happens to src.  The runtime moves a sync only to wait
 * for it, and only after its signal was submitted.  So dst does not support signals and resets.
 */
static VkResult
vk_umf_sync_move(struct vk_device *device, struct vk_sync *vk_dst, struct vk_sync *vk_src)
{
   struct vk_umf_sync *src = to_umf(vk_src);
   assert(!src->is_moved_copy && !(vk_dst->flags & VK_SYNC_IS_SHAREABLE));

   const uint64_t point = binary_point(src);
   struct vk_umf_sync moved = {
      .fence = umf_fence_ref(src->fence),
      .mapping = ref_mapping(src->mapping),
      .last_reset = point - 1,
      .is_moved_copy = true,
      .is_imported = can_peer_fail(src),
   };
   take_payload(to_umf(vk_dst), &moved);
   return to_result(device, reset_to(src, point));
}

struct umf_condition
vk_umf_sync_get_wait(const struct vk_sync_wait *wait)
{
   struct vk_umf_sync *sync = to_umf(wait->sync);

   return (struct umf_condition) {
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

   STACK_ARRAY(struct umf_condition, list, wait_count);
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

   /* A fence that failed counts as pending.  The caller then waits for its value, and that wait
    * returns the failure.
    */
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
      return vk_errorf(device, VK_ERROR_INVALID_EXTERNAL_HANDLE,
                       "The file descriptor has no payload of this type: %d", ret);

   finish_complete_points(device, to_umf(vk_sync));
   take_payload(to_umf(vk_sync), &imported);
   return VK_SUCCESS;
}

/* Replace the payload of a sync_file import by a shareable payload
 *
 * Vulkan allows a payload that was imported as SYNC_FD to be exported as OPAQUE_FD.
 */
static int
make_shareable(struct vk_umf_sync *sync)
{
   struct vk_umf_sync shareable = { .base = sync->base };
   const uint64_t point = binary_point(sync);
   const bool pending = umf_fence_value(sync->fence) < point &&
                        umf_fence_pending_value(sync->fence) >= point;
   struct umf_loop *loop;

   int ret = init_shareable_payload(&shareable, umf_fence_value(sync->fence) >= point);
   if (ret < 0)
      return ret;

   if (pending) {
      ret = umf_fence_submit(shareable.fence, 1);
      if (ret == 0)
         ret = vk_umf_sync_type_get_loop(to_type(&sync->base), &loop);
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

/* The point to signal when a pending sync_file has ended */
struct sync_file_end {
   struct umf_fence *fence;
   uint64_t point;
};

/* Check whether a wait's result means that the sync_file has signaled or failed. */
static bool
has_ended(int result)
{
   return result == 0 || result == -EIO || result == -EOWNERDEAD;
}

/* Signal the point when the sync_file has ended
 *
 * Any other result means that libumf stopped waiting early, for example for lack of memory.  The
 * point must not be signaled then, so the fence fails.
 */
static void
sync_file_ended(void *data, int result)
{
   struct sync_file_end *end = data;
   if (has_ended(result))
      (void)umf_fence_signal(end->fence, end->point);
   else
      (void)umf_fence_set_error(end->fence, result);
}

static void
free_sync_file_end(void *data)
{
   struct sync_file_end *end = data;
   umf_fence_unref(end->fence);
   free(end);
}

static int
watch_sync_file(struct vk_umf_sync *sync,
                uint64_t point,
                struct umf_fence *proxy,
                int sync_file)
{
   struct umf_loop *loop;
   int ret = vk_umf_sync_type_get_loop(to_type(&sync->base), &loop);
   if (ret < 0)
      return ret;

   struct sync_file_end *end = malloc(sizeof(*end));
   if (end == NULL)
      return -ENOMEM;
   *end = (struct sync_file_end) { umf_fence_ref(sync->fence), point };

   const struct umf_callback callback = { sync_file_ended, free_sync_file_end, end };
   ret = umf_loop_import_sync_file(loop, proxy, 1, sync_file, 0, &callback, NULL);
   if (ret < 0)
      free_sync_file_end(end);
   return ret;
}

/* Signal the next point of sync when the sync_file has ended
 *
 * A sync_file that failed also signals the point, as it does in the rest of Mesa.  Its work has
 * ended, and this device did not cause the failure.  The sync_file is therefore imported into a
 * proxy fence, which can fail without affecting the sync.
 */
static int
import_sync_file(struct vk_umf_sync *sync, int sync_file)
{
   const uint64_t point = binary_point(sync);
   struct umf_fence *proxy;

   int ret = umf_fence_submit(sync->fence, point);
   if (ret == 0)
      ret = create_fence(to_type(&sync->base), 0, &proxy, NULL);
   if (ret < 0)
      return ret;

   ret = umf_fence_import_sync_file(proxy, 1, sync_file, 0, 0);
   if (ret == -ETIME)
      ret = watch_sync_file(sync, point, proxy, sync_file);
   else if (has_ended(ret))
      ret = umf_fence_signal(sync->fence, point);
   umf_fence_unref(proxy);
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
   vk_sync->flags |= VK_SYNC_IS_SHAREABLE; /* See make_shareable(). */
   return VK_SUCCESS;
}

/* Get the device's kernel fence for the work that signals the point.  Returns a sync_file, or a
 * negative errno if there is none.
 */
static int
get_kernel_fence(struct vk_device *device, const struct vk_umf_sync *sync, uint64_t point)
{
   const struct vk_umf_mapper *mapper = to_type(&sync->base)->mapper;

   if (mapper == NULL || mapper->get_kernel_fence == NULL ||
       umf_fence_value(sync->fence) >= point)
      return -ENOENT;
   return mapper->get_kernel_fence(device, sync->fence, point);
}

/* Export a sync_file
 *
 * It is pending if the device has a finite kernel fence for the work.  Otherwise the kernel must
 * not wait for userspace.  So this blocks until the sync is signaled, and waits for nothing else.
 * If the system cannot create sync_files, the result is -1, which Vulkan defines to mean a
 * sync_file that has signaled.
 */
static VkResult
vk_umf_sync_export_sync_file(struct vk_device *device, struct vk_sync *vk_sync, int *sync_file)
{
   struct vk_umf_sync *sync = to_umf(vk_sync);
   const uint64_t point = binary_point(sync);

   *sync_file = get_kernel_fence(device, sync, point);
   if (*sync_file >= 0)
      return VK_SUCCESS;

   int ret = umf_fence_export_sync_file(sync->fence, point, to_type(vk_sync)->device, 0, UINT64_MAX,
                                        sync_file);
   if (ret == -EOPNOTSUPP) {
      ret = umf_fence_wait(sync->fence, point, UINT64_MAX);
      if (ret == 0)
         *sync_file = -1;
   }
   return to_result(device, ret);
}

VkResult
vk_umf_sync_type_init(struct vk_umf_sync_type *type,
                      int drm_fd,
                      const struct vk_umf_mapper *mapper)
{
   *type = (struct vk_umf_sync_type) {
      .mapper = mapper,
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

   /* Create the first page now.  Otherwise the first semaphore would report the failure. */
   int ret = add_page(type);
   if (ret == 0 && drm_fd >= 0)
      ret = umf_device_create(drm_fd, 0, &type->device);
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
   for (uint32_t i = 0; i < type->free_binary_count; i++) {
      umf_fence_unref(type->free_binary[i].fence);
      unref_mapping(type->free_binary[i].mapping);
   }
   for (uint32_t i = 0; i < type->page_count; i++) {
      umf_page_unref(type->pages[i]);
      unref_mapping(type->mappings[i]);
   }
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
vk_umf_waits_wait(struct vk_device *device,
                  uint32_t wait_count,
                  const struct vk_sync_wait *waits)
{
   for (uint32_t i = 0; i < wait_count; i++) {
      struct vk_sync *sync = waits[i].sync;

      VkResult result = vk_sync_wait(device, sync, waits[i].wait_value, VK_SYNC_WAIT_COMPLETE,
                                     UINT64_MAX);
      if (result == VK_ERROR_DEVICE_LOST && is_umf(sync) && can_peer_fail(to_umf(sync)))
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
      if (!is_timeline(sync) && !sync->is_moved_copy)
         (void)reset_to(sync, binary_point(sync));
   }
}

/* The runtime's signal_value for a binary sync.  No point has this value. */
#define NO_POINT 0

/* Get the point of the next signal operation on a binary sync
 *
 * The last signal operation counts.  An earlier one, pending or complete, is therefore reset.
 */
static uint64_t
next_binary_point(struct vk_umf_sync *sync)
{
   (void)reset_binary(sync);
   return binary_point(sync);
}

/* Get the fence and the value of a signal operation
 *
 * If a peer has failed the payload, this does nothing about it: the waiters see the failure.
 */
static struct umf_signal
next_signal(const struct vk_sync_signal *signal)
{
   struct vk_umf_sync *sync = to_umf(signal->sync);
   assert(!sync->is_moved_copy);

   uint64_t value = signal->signal_value;
   if (!is_timeline(sync) && value == NO_POINT)
      value = next_binary_point(sync);

   return (struct umf_signal) {
      .fence = umf_fence_ref(sync->fence),
      .value = value,
   };
}

void
vk_umf_signals_announce(uint32_t signal_count, struct vk_sync_signal *signals)
{
   for (uint32_t i = 0; i < signal_count; i++) {
      struct vk_umf_sync *sync = to_umf(signals[i].sync);
      if (!is_timeline(sync))
         signals[i].signal_value = next_binary_point(sync);
      (void)umf_fence_submit(sync->fence, signals[i].signal_value);
   }
}

/* Takes over the reference to the fence. */
static struct vk_umf_point
device_point(const struct vk_umf_sync *sync, struct umf_fence *fence, uint64_t value)
{
   const uint64_t page = sync->mapping->address;

   return (struct vk_umf_point) {
      .fence = fence,
      .value = value,
      .mapping = ref_mapping(sync->mapping),
      .address = page + umf_fence_offset(fence),
      .monitored_address = page + umf_fence_monitored_offset(fence),
      .can_peer_fail = can_peer_fail(sync),
   };
}

struct vk_umf_point
vk_umf_wait_point(const struct vk_sync_wait *wait)
{
   const struct umf_condition condition = vk_umf_sync_get_wait(wait);
   return device_point(to_umf(wait->sync), umf_fence_ref(condition.fence), condition.value);
}

struct vk_umf_point
vk_umf_signal_point(const struct vk_sync_signal *signal)
{
   const struct umf_signal next = next_signal(signal);

   (void)umf_fence_submit(next.fence, next.value);
   return device_point(to_umf(signal->sync), next.fence, next.value);
}

void
vk_umf_point_finish(struct vk_umf_point *point)
{
   umf_fence_unref(point->fence);
   unref_mapping(point->mapping);
}

static struct vk_umf_signals *
alloc_signals(uint32_t count)
{
   return malloc(sizeof(struct vk_umf_signals) + count * sizeof(struct umf_signal));
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
   /* The application's allocator is not used, because any thread may free the list. */
   struct vk_umf_signals *signals = alloc_signals(signal_count);
   if (signals == NULL)
      return vk_error(device, VK_ERROR_OUT_OF_HOST_MEMORY);

   signals->count = signal_count;
   for (uint32_t i = 0; i < signal_count; i++)
      signals->list[i] = next_signal(&list[i]);

   *signals_out = signals;
   return VK_SUCCESS;
}

/* A fence that cannot be signaled has failed, or is past the value.  Its waiters know already. */
void
vk_umf_signals_complete(struct vk_umf_signals *signals)
{
   for (uint32_t i = 0; i < signals->count; i++)
      (void)umf_fence_signal(signals->list[i].fence, signals->list[i].value);
   finish_signals(signals);
}

typedef void (*fence_visitor)(struct vk_umf_signals *signals, struct umf_fence *fence);

static void
count_fence(struct vk_umf_signals *signals, struct umf_fence *fence)
{
   signals->count++;
}

static void
add_fence(struct vk_umf_signals *signals, struct umf_fence *fence)
{
   signals->list[signals->count++].fence = umf_fence_ref(fence);
}

static void
fail_fence(struct vk_umf_signals *signals, struct umf_fence *fence)
{
   (void)umf_fence_set_error(fence, -EIO);
}

static void
visit_submission(const struct vk_queue_submit *submit,
                 fence_visitor visit,
                 struct vk_umf_signals *signals)
{
   for (uint32_t i = 0; i < submit->signal_count; i++)
      visit(signals, to_umf(submit->signals[i].sync)->fence);
}

/* Visit the fences that a lost queue would have signaled
 *
 * These are the fences of the failed submission and of the submissions in the queue's list.  The
 * failed submission may be in the list too.
 */
static void
visit_lost_fences_locked(struct vk_queue *queue,
                         const struct vk_queue_submit *failed,
                         fence_visitor visit,
                         struct vk_umf_signals *signals)
{
   visit_submission(failed, visit, signals);
   list_for_each_entry(struct vk_queue_submit, submit, &queue->submit.submits, link) {
      if (submit != failed)
         visit_submission(submit, visit, signals);
   }
}

void
vk_umf_queue_fail(struct vk_queue *queue, const struct vk_queue_submit *submit)
{
   struct vk_umf_signals counted = { 0 };

   /* Once the device is lost, the application may destroy its syncs.  So the list takes a reference
    * to each fence first.  Without memory for the list, the fences fail here instead.
    */
   mtx_lock(&queue->submit.mutex);
   visit_lost_fences_locked(queue, submit, count_fence, &counted);
   struct vk_umf_signals *signals = alloc_signals(counted.count);
   if (signals) {
      signals->count = 0;
      visit_lost_fences_locked(queue, submit, add_fence, signals);
   } else {
      visit_lost_fences_locked(queue, submit, fail_fence, NULL);
   }
   (void)vk_queue_set_lost(queue, "A submission failed");
   mtx_unlock(&queue->submit.mutex);

   if (signals == NULL)
      return;
   for (uint32_t i = 0; i < signals->count; i++)
      (void)umf_fence_set_error(signals->list[i].fence, -EIO);
   finish_signals(signals);
}
