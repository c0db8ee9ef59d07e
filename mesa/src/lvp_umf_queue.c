/*
 * Copyright © 2026 The libumf authors
 * SPDX-License-Identifier: MIT
 */

#include "lvp_umf_queue.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "util/list.h"
#include "util/u_thread.h"

#include "lvp_private.h"
#include "lvp_umf_gpu.h"
#include "vk_alloc.h"

/* How long a submission waits for room in the ring while the device completes no packet */
#define ROOM_TIMEOUT_MS 1000

/* How often to look for the device's position after it has signaled */
#define MAX_YIELDS 1000

struct wait {
   struct vk_umf_point point;
   uint64_t position; /* of the WAIT packet */

   /* Only for a fence that a peer can fail: tells of the failure. */
   struct umf_watch *watch;
};

/* A submission that is in the ring.  The worker and the submitting thread find it in the list. */
struct submission {
   struct list_head link;

   uint64_t exec; /* the position of the EXEC packet */
   uint64_t end;  /* the position after the last packet */

   /* The command buffers and binds.  Its waits and signals are empty. */
   struct vk_queue_submit work;

   uint32_t wait_count;
   uint32_t signal_count;
   struct wait *waits;
   struct vk_umf_point *signals;
};

struct lvp_umf_queue {
   struct lvp_queue *lvp;
   thrd_t worker;

   /* Of the sync type.  It watches waits that a peer can fail. */
   struct umf_loop *loop;

   /* The position after the last EXEC packet whose work is done.  Only the worker uses it. */
   uint64_t executed;

   /* Protects the fields below.  The worker waits for EXEC packets without it. */
   mtx_t lock;
   struct lvp_umf_ring ring;
   struct list_head submissions;

   /* Set if a wait has failed.  The queue was reset for that, and continues behind the wait. */
   bool wait_failed;
   bool lost;
   bool finishing;

   /* The number of watches that may still call back */
   uint32_t watch_count;
   cnd_t no_watch;
};

static bool
has_work(const struct submission *submission)
{
   return submission->work.command_buffer_count > 0 || vk_queue_submit_has_bind(&submission->work);
}

/* The end of submissions */

static void
finish_submission(struct submission *submission)
{
   for (uint32_t i = 0; i < submission->wait_count; i++) {
      struct wait *wait = &submission->waits[i];
      if (wait->watch) {
         (void)umf_watch_cancel(wait->watch);
         umf_watch_unref(wait->watch);
      }
      vk_umf_point_finish(&wait->point);
   }
   for (uint32_t i = 0; i < submission->signal_count; i++)
      vk_umf_point_finish(&submission->signals[i]);
   vk_free(vk_default_allocator(), submission);
}

/* The caller does not hold the lock, because canceling a watch takes it. */
static void
finish_submissions(struct list_head *list)
{
   list_for_each_entry_safe(struct submission, submission, list, link)
      finish_submission(submission);
}

/* Move the submissions that the device has completed to a list. */
static void
take_done_locked(struct lvp_umf_queue *queue, struct list_head *done)
{
   const uint64_t position = lvp_umf_ring_done(&queue->ring);

   list_inithead(done);
   list_for_each_entry_safe(struct submission, submission, &queue->submissions, link) {
      if (submission->end > position)
         break;
      list_move_to(&submission->link, done);
   }
}

/* Check whether a signal of the first submission shows that the device has got to its end. */
static bool
is_ending_locked(const struct lvp_umf_queue *queue)
{
   if (list_is_empty(&queue->submissions))
      return false;

   const struct submission *first =
      list_first_entry(&queue->submissions, struct submission, link);
   if (first->signal_count == 0)
      return false;
   const struct vk_umf_point *last = &first->signals[first->signal_count - 1];
   return umf_fence_value(last->fence) >= last->value;
}

/* The device moves its position after a signal, so a waiter may get here first. */
void
lvp_umf_queue_finish_complete(struct lvp_umf_queue *queue)
{
   if (queue == NULL)
      return;
   for (unsigned i = 0; i < MAX_YIELDS; i++) {
      struct list_head done;

      mtx_lock(&queue->lock);
      take_done_locked(queue, &done);
      const bool retry = is_ending_locked(queue);
      mtx_unlock(&queue->lock);

      finish_submissions(&done);
      if (!retry)
         return;
      thrd_yield();
   }
}

static void
fail_signals(const struct submission *submission)
{
   for (uint32_t i = 0; i < submission->signal_count; i++) {
      const struct vk_umf_point *point = &submission->signals[i];
      if (umf_fence_value(point->fence) < point->value)
         (void)umf_fence_set_error(point->fence, -EIO);
   }
}

/* Fail what the device will not signal. */
static void
fail_submissions(struct lvp_umf_queue *queue)
{
   struct list_head done, rest;

   mtx_lock(&queue->lock);
   take_done_locked(queue, &done);
   list_replace(&queue->submissions, &rest);
   list_inithead(&queue->submissions);
   mtx_unlock(&queue->lock);

   list_for_each_entry(struct submission, submission, &rest, link)
      fail_signals(submission);
   finish_submissions(&done);
   finish_submissions(&rest);
}

static void
lose(struct lvp_umf_queue *queue, int error)
{
   mtx_lock(&queue->lock);
   queue->lost = true;
   (void)vk_queue_set_lost(&queue->lvp->vk, "The device's queue failed: %d", error);
   mtx_unlock(&queue->lock);

   fail_submissions(queue);
}

/* Kernel fences
 *
 * That of the device is for everything in the ring, and has to be finite.  So there is one only
 * while the device waits for nothing: no other queue, process or host.
 */

static bool
has_reached(const struct vk_umf_point *point)
{
   return umf_fence_value(point->fence) >= point->value;
}

static bool
is_finite_locked(const struct lvp_umf_queue *queue)
{
   list_for_each_entry(struct submission, submission, &queue->submissions, link) {
      for (uint32_t i = 0; i < submission->wait_count; i++) {
         if (!has_reached(&submission->waits[i].point))
            return false;
      }
   }
   return true;
}

static bool
will_signal_locked(const struct lvp_umf_queue *queue, const struct umf_fence *fence, uint64_t value)
{
   list_for_each_entry(struct submission, submission, &queue->submissions, link) {
      for (uint32_t i = 0; i < submission->signal_count; i++) {
         const struct vk_umf_point *signal = &submission->signals[i];
         if (signal->fence == fence && signal->value >= value)
            return true;
      }
   }
   return false;
}

int
lvp_umf_queue_get_kernel_fence(struct lvp_umf_queue *queue,
                               const struct umf_fence *fence,
                               uint64_t value)
{
   int ret = -ENOENT;

   if (queue == NULL)
      return ret;
   mtx_lock(&queue->lock);
   if (!queue->lost && will_signal_locked(queue, fence, value) && is_finite_locked(queue))
      ret = lvp_umf_ring_get_kernel_fence(&queue->ring);
   mtx_unlock(&queue->lock);
   return ret;
}

/* Waits that fail
 *
 * The device waits for a value in memory, and does not see that a fence has failed.  A fence of
 * this process fails only if the whole device is lost.  A fence that a peer can fail has a watch.
 * If it fails, the queue is reset and continues behind the wait, as vk_umf_waits_wait() does.
 */

struct watched_wait {
   struct lvp_umf_queue *queue;
   uint64_t position;
};

static bool
is_waiting_locked(const struct lvp_umf_queue *queue, uint64_t position)
{
   return !queue->finishing && !queue->lost && position >= lvp_umf_ring_done(&queue->ring);
}

static void
wait_ended(void *data, int result)
{
   const struct watched_wait *watched = data;
   struct lvp_umf_queue *queue = watched->queue;

   if (result == 0)
      return;
   mtx_lock(&queue->lock);
   if (is_waiting_locked(queue, watched->position)) {
      lvp_umf_ring_skip(&queue->ring, watched->position);
      queue->wait_failed = true;
      (void)lvp_umf_ring_reset(&queue->ring);
   }
   mtx_unlock(&queue->lock);
}

static void
release_watched(void *data)
{
   struct watched_wait *watched = data;
   struct lvp_umf_queue *queue = watched->queue;

   free(watched);
   mtx_lock(&queue->lock);
   if (--queue->watch_count == 0)
      cnd_signal(&queue->no_watch);
   mtx_unlock(&queue->lock);
}

static int
watch_locked(struct lvp_umf_queue *queue, struct wait *wait)
{
   struct watched_wait *watched = malloc(sizeof(*watched));
   if (watched == NULL)
      return -ENOMEM;
   *watched = (struct watched_wait) { queue, wait->position };

   const struct umf_condition condition = {
      .fence = wait->point.fence,
      .value = wait->point.value,
      .op = UMF_OP_GE,
   };
   const struct umf_callback callback = { wait_ended, release_watched, watched };
   int ret = umf_loop_watch(queue->loop, &condition, 0, &callback, &wait->watch);
   if (ret < 0)
      free(watched);
   else
      queue->watch_count++;
   return ret;
}

/* The worker */

static struct submission *
find_submission_locked(struct lvp_umf_queue *queue, uint64_t exec)
{
   list_for_each_entry(struct submission, submission, &queue->submissions, link) {
      if (has_work(submission) && submission->exec == exec)
         return submission;
   }
   return NULL;
}

/* Do the work of an EXEC packet.  The cookie is the packet's position. */
static int
execute(struct lvp_umf_queue *queue, uint64_t cookie)
{
   struct list_head done;

   mtx_lock(&queue->lock);
   take_done_locked(queue, &done);
   struct submission *submission = find_submission_locked(queue, cookie);
   mtx_unlock(&queue->lock);

   finish_submissions(&done);
   if (submission == NULL)
      return -EINVAL;
   VkResult result = queue->lvp->execute(&queue->lvp->vk, &submission->work);
   return result == VK_SUCCESS ? 0 : -EIO;
}

/* Continue after the device's queue was reset or has failed
 *
 * Returns 0 if there is a new queue, or if the worker should end.
 */
static int
recover(struct lvp_umf_queue *queue)
{
   uint64_t position;
   int error;

   mtx_lock(&queue->lock);
   int ret = 0;
   if (!queue->finishing) {
      ret = lvp_umf_ring_query(&queue->ring, &error, &position);
      if (ret == 0 && (error != -ETIME || !queue->wait_failed))
         ret = error;
      if (ret == 0)
         ret = lvp_umf_ring_restart(&queue->ring, MAX2(position, queue->executed));
      queue->wait_failed = false;
   }
   mtx_unlock(&queue->lock);
   return ret;
}

static int
run_worker(void *data)
{
   struct lvp_umf_queue *queue = data;
   uint64_t cookie, sequence;
   int ret;

   u_thread_setname("lvp-umf");
   do {
      ret = lvp_umf_ring_wait_exec(&queue->ring, &cookie, &sequence);
      if (ret == 0) {
         const int result = execute(queue, cookie);
         queue->executed = cookie + 1;
         /* -ENOENT: the queue was reset meanwhile.  The next call tells so. */
         ret = lvp_umf_ring_end_exec(&queue->ring, sequence, result);
         ret = ret == -ENOENT ? 0 : ret;
      } else if (ret == -EIO) {
         ret = recover(queue);
      }
   } while (ret == 0 && !p_atomic_read(&queue->finishing));

   if (ret < 0)
      lose(queue, ret);
   return 0;
}

/* Submissions */

/* The three kinds of binds have members of the same names, and structs of their own. */
#define ADD_BIND_COUNTS(total, submit, kind)                                \
   for (uint32_t i = 0; i < (submit)->kind##_bind_count; i++)               \
      (total) += (submit)->kind##_binds[i].bindCount

/* Copy the infos of a kind, and the lists of binds that they point to. */
#define COPY_BINDS(work, submit, kind, infos, lists)                        \
   do {                                                                     \
      (work)->kind##_bind_count = (submit)->kind##_bind_count;              \
      (work)->kind##_binds = (infos);                                       \
      for (uint32_t i = 0; i < (submit)->kind##_bind_count; i++) {          \
         (infos)[i] = (submit)->kind##_binds[i];                            \
         typed_memcpy((lists), (infos)[i].pBinds, (infos)[i].bindCount);    \
         (infos)[i].pBinds = (lists);                                       \
         (lists) += (infos)[i].bindCount;                                   \
      }                                                                     \
   } while (0)

/* Copy what the worker needs.  The runtime frees its own when driver_submit returns. */
static struct submission *
create_submission(const struct vk_queue_submit *submit)
{
   uint32_t bind_count = 0, image_bind_count = 0;
   ADD_BIND_COUNTS(bind_count, submit, buffer);
   ADD_BIND_COUNTS(bind_count, submit, image_opaque);
   ADD_BIND_COUNTS(image_bind_count, submit, image);

   VK_MULTIALLOC(ma);
   VK_MULTIALLOC_DECL(&ma, struct submission, submission, 1);
   VK_MULTIALLOC_DECL(&ma, struct wait, waits, submit->wait_count);
   VK_MULTIALLOC_DECL(&ma, struct vk_umf_point, signals, submit->signal_count);
   VK_MULTIALLOC_DECL(&ma, struct vk_command_buffer *, command_buffers,
                      submit->command_buffer_count);
   VK_MULTIALLOC_DECL(&ma, VkSparseBufferMemoryBindInfo, buffer_binds, submit->buffer_bind_count);
   VK_MULTIALLOC_DECL(&ma, VkSparseImageOpaqueMemoryBindInfo, image_opaque_binds,
                      submit->image_opaque_bind_count);
   VK_MULTIALLOC_DECL(&ma, VkSparseImageMemoryBindInfo, image_binds, submit->image_bind_count);
   VK_MULTIALLOC_DECL(&ma, VkSparseMemoryBind, binds, bind_count);
   VK_MULTIALLOC_DECL(&ma, VkSparseImageMemoryBind, image_bind_list, image_bind_count);
   if (!vk_multialloc_zalloc(&ma, vk_default_allocator(), VK_SYSTEM_ALLOCATION_SCOPE_DEVICE))
      return NULL;

   submission->waits = waits;
   submission->signals = signals;
   submission->work.command_buffer_count = submit->command_buffer_count;
   submission->work.command_buffers = command_buffers;
   typed_memcpy(command_buffers, submit->command_buffers, submit->command_buffer_count);

   COPY_BINDS(&submission->work, submit, buffer, buffer_binds, binds);
   COPY_BINDS(&submission->work, submit, image_opaque, image_opaque_binds, binds);
   COPY_BINDS(&submission->work, submit, image, image_binds, image_bind_list);
   return submission;
}

/* Wait until the ring has room.  The worker and the watches may take the lock meanwhile. */
static VkResult
reserve_locked(struct lvp_umf_queue *queue, uint64_t count)
{
   struct lvp_umf_ring *ring = &queue->ring;
   uint64_t done = lvp_umf_ring_done(ring);

   for (unsigned ms = 0; count > LVP_UMF_RING_PACKETS - (ring->next - done); ms++) {
      if (queue->lost)
         return VK_ERROR_DEVICE_LOST;
      if (count > LVP_UMF_RING_PACKETS || ms == ROOM_TIMEOUT_MS)
         return vk_errorf(queue->lvp->device, VK_ERROR_OUT_OF_DEVICE_MEMORY, "The ring is full");

      mtx_unlock(&queue->lock);
      thrd_sleep(&(struct timespec) { .tv_nsec = 1000 * 1000 }, NULL);
      mtx_lock(&queue->lock);
      if (lvp_umf_ring_done(ring) > done) {
         done = lvp_umf_ring_done(ring);
         ms = 0;
      }
   }
   return VK_SUCCESS;
}

/* Check whether the device can leave a wait out, because its fence has failed already. */
static bool
has_failed(const struct vk_umf_point *point)
{
   int error = 0;
   return point->can_peer_fail && (umf_fence_error(point->fence, &error) < 0 || error != 0);
}

/* Take the points that the submission waits for, and watch those that a peer can fail. */
static int
add_waits_locked(struct lvp_umf_queue *queue,
                 struct submission *submission,
                 const struct vk_queue_submit *submit)
{
   uint64_t position = queue->ring.next;

   for (uint32_t i = 0; i < submit->wait_count; i++) {
      struct wait wait = {
         .point = vk_umf_wait_point(&submit->waits[i]),
         .position = position,
      };
      if (has_failed(&wait.point)) {
         vk_umf_point_finish(&wait.point);
         continue;
      }
      submission->waits[submission->wait_count++] = wait;
      position++;
      if (!wait.point.can_peer_fail)
         continue;
      int ret = watch_locked(queue, &submission->waits[submission->wait_count - 1]);
      if (ret < 0)
         return ret;
   }
   return 0;
}

static void
push_packets_locked(struct lvp_umf_ring *ring, struct submission *submission)
{
   for (uint32_t i = 0; i < submission->wait_count; i++) {
      const struct vk_umf_point *point = &submission->waits[i].point;
      lvp_umf_ring_push(ring, (struct umf_gpu_packet) {
         .op = UMF_GPU_PACKET_WAIT,
         .flags = UMF_GPU_OP_GE,
         .wait = { .address = point->address, .value = point->value },
      });
   }

   submission->exec = ring->next;
   if (has_work(submission)) {
      lvp_umf_ring_push(ring, (struct umf_gpu_packet) {
         .op = UMF_GPU_PACKET_EXEC,
         .exec = { .cookie = submission->exec },
      });
   }

   for (uint32_t i = 0; i < submission->signal_count; i++) {
      const struct vk_umf_point *point = &submission->signals[i];
      lvp_umf_ring_push(ring, (struct umf_gpu_packet) {
         .op = UMF_GPU_PACKET_SIGNAL,
         .flags = UMF_GPU_SIGNAL_MONITORED,
         .signal = {
            .address = point->address,
            .value = point->value,
            .monitored = point->monitored_address,
         },
      });
   }
   submission->end = ring->next;
}

/* An error of this function changes nothing. */
static VkResult
submit_locked(struct lvp_umf_queue *queue,
              struct submission *submission,
              const struct vk_queue_submit *submit)
{
   VkResult result = reserve_locked(queue, submit->wait_count + 1 + submit->signal_count);
   if (result != VK_SUCCESS)
      return result;
   if (add_waits_locked(queue, submission, submit) < 0)
      return vk_error(queue->lvp->device, VK_ERROR_OUT_OF_HOST_MEMORY);

   vk_umf_waits_complete(submit->wait_count, submit->waits);
   for (uint32_t i = 0; i < submit->signal_count; i++)
      submission->signals[submission->signal_count++] = vk_umf_signal_point(&submit->signals[i]);

   push_packets_locked(&queue->ring, submission);
   list_addtail(&submission->link, &queue->submissions);
   lvp_umf_ring_submit(&queue->ring);
   return VK_SUCCESS;
}

/* This runs on the thread that calls vkQueueSubmit().  It does not wait, unless the ring is full.
 */
static VkResult
driver_submit(struct vk_queue *vk_queue, struct vk_queue_submit *submit)
{
   struct lvp_umf_queue *queue = container_of(vk_queue, struct lvp_queue, vk)->umf;
   struct list_head done;

   struct submission *submission = create_submission(submit);
   if (submission == NULL)
      return vk_error(queue->lvp->device, VK_ERROR_OUT_OF_HOST_MEMORY);

   mtx_lock(&queue->lock);
   take_done_locked(queue, &done);
   VkResult result = queue->lost ? VK_ERROR_DEVICE_LOST :
                                   submit_locked(queue, submission, submit);
   mtx_unlock(&queue->lock);

   finish_submissions(&done);
   if (result != VK_SUCCESS)
      finish_submission(submission);
   if (result == VK_ERROR_DEVICE_LOST)
      vk_umf_queue_fail(vk_queue, submit);
   return result;
}

VkResult
lvp_umf_queue_create(struct lvp_queue *lvp, struct lvp_umf_gpu *gpu)
{
   struct lvp_umf_queue *queue = calloc(1, sizeof(*queue));
   if (queue == NULL)
      return vk_error(lvp->device, VK_ERROR_OUT_OF_HOST_MEMORY);
   queue->lvp = lvp;
   list_inithead(&queue->submissions);
   mtx_init(&queue->lock, mtx_plain);
   cnd_init(&queue->no_watch);

   int ret = vk_umf_sync_type_get_loop(&lvp->device->physical_device->umf_sync_type, &queue->loop);
   if (ret == 0)
      ret = lvp_umf_ring_init(gpu, &queue->ring);
   if (ret == 0 && u_thread_create(&queue->worker, run_worker, queue) != thrd_success) {
      lvp_umf_ring_finish(&queue->ring);
      ret = -ENOMEM;
   }
   if (ret < 0) {
      cnd_destroy(&queue->no_watch);
      mtx_destroy(&queue->lock);
      free(queue);
      return vk_errorf(lvp->device, VK_ERROR_INITIALIZATION_FAILED, "No user queue: %d", ret);
   }

   lvp->umf = queue;
   lvp->vk.driver_submit = driver_submit;
   return VK_SUCCESS;
}

void
lvp_umf_queue_destroy(struct lvp_umf_queue *queue)
{
   if (queue == NULL)
      return;

   /* The device's queue stays until the worker has ended: otherwise its number could be another
    * queue's when the worker calls for it.
    */
   mtx_lock(&queue->lock);
   p_atomic_set(&queue->finishing, true);
   (void)lvp_umf_ring_reset(&queue->ring);
   mtx_unlock(&queue->lock);
   thrd_join(queue->worker, NULL);
   fail_submissions(queue);

   mtx_lock(&queue->lock);
   while (queue->watch_count > 0)
      cnd_wait(&queue->no_watch, &queue->lock);
   mtx_unlock(&queue->lock);

   lvp_umf_ring_finish(&queue->ring);
   cnd_destroy(&queue->no_watch);
   mtx_destroy(&queue->lock);
   free(queue);
}
