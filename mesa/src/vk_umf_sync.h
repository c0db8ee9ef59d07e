/*
 * Copyright © 2026 The libumf authors
 * SPDX-License-Identifier: MIT
 */

#ifndef VK_UMF_SYNC_H
#define VK_UMF_SYNC_H

#include <libumf.h>

#include "util/simple_mtx.h"

#include "vk_sync.h"

#ifdef __cplusplus
extern "C" {
#endif

struct vk_queue;
struct vk_queue_submit;

/* The first page has room for 256 fences.  Each later page has room for twice as many as the page
 * before it.
 */
#define VK_UMF_FIRST_PAGE_FENCES 256
#define VK_UMF_MAX_PAGES 13

/* How many fences of finished binary syncs are kept for new ones */
#define VK_UMF_MAX_FREE_BINARY 64

/** A page of fences in the address space of a device.  Reference counted.
 *
 * A device may access the page as long as a reference exists.
 */
struct vk_umf_mapping {
   const struct vk_umf_mapper *mapper;
   uint32_t ref_count;

   /** Set by vk_umf_mapper::map.  The handle is the driver's. */
   uint32_t handle;
   uint64_t address;
};

/** How a device that signals or waits by itself reaches the fences
 *
 * The driver stores the mapper in its physical device.  With a mapper, fences are created with
 * UMF_FENCE_DEVICE, and every page of fences is mapped before a sync uses it.
 */
struct vk_umf_mapper {
   /** Make a page readable and writable for the device
    *
    * Usually umf_page_export_dma_buf(), PRIME and a bind.  Returns 0 or a negative errno.
    */
   int (*map)(const struct vk_umf_mapper *mapper,
              struct umf_page *page,
              struct vk_umf_mapping *mapping);

   /** Undo map.  Any thread may drop the last reference. */
   void (*unmap)(const struct vk_umf_mapper *mapper, struct vk_umf_mapping *mapping);

   /** Finish the points of submissions that are complete
    *
    * This is called before a shareable payload ends.  Its page and its file descriptor would
    * otherwise stay until the next submission.
    */
   void (*finish_complete)(struct vk_device *device);

   /** Get a kernel fence for work that was submitted, as a sync_file
    *
    * The work signals the fence up to the value.  The kernel fence must be finite: NULL or a
    * negative errno if the work waits for userspace, or if the device has no such fences.  Then an
    * export waits for the work.
    */
   int (*get_kernel_fence)(struct vk_device *device, struct umf_fence *fence, uint64_t value);

   /** The device's interrupt, or NULL if its handler calls umf_page_notify() */
   struct umf_notifier *notifier;
};

/** A vk_sync_type with native timelines, built on the userspace memory fences of libumf
 *
 * One type serves both binary and timeline syncs, so that a wait for syncs of both kinds is one
 * call.  The driver stores the type in its physical device.  A supported_sync_types list of this
 * type and NULL is complete.
 */
struct vk_umf_sync_type {
   struct vk_sync_type sync;

   /** Creates signaled sync_files.  NULL if there is no DRM device. */
   struct umf_device *device;

   /** NULL if the device does not access fences */
   const struct vk_umf_mapper *mapper;

   /** Protects the fields below */
   simple_mtx_t lock;

   /** Watches pending sync_files.  Created on first use, because it starts a thread. */
   struct umf_loop *loop;

   /** Pages with the fences of syncs that are not shareable */
   struct umf_page *pages[VK_UMF_MAX_PAGES];
   struct vk_umf_mapping *mappings[VK_UMF_MAX_PAGES];
   uint32_t page_count;

   /** Index of the page that last had a free slot */
   uint32_t page_hint;

   /** Fences of finished binary syncs, which new binary syncs reuse */
   struct vk_umf_free_fence {
      struct umf_fence *fence;
      struct vk_umf_mapping *mapping;
   } free_binary[VK_UMF_MAX_FREE_BINARY];
   uint32_t free_binary_count;
};

/** Initialize a vk_umf_sync_type
 *
 * drm_fd is -1, or a DRM device that is used to create sync_files.  The caller keeps ownership of
 * drm_fd.  mapper is NULL if the device does not access fences.
 */
VkResult vk_umf_sync_type_init(struct vk_umf_sync_type *type,
                               int drm_fd,
                               const struct vk_umf_mapper *mapper);

/** Finish a vk_umf_sync_type
 *
 * The caller must have finished every sync of the type.
 */
void vk_umf_sync_type_finish(struct vk_umf_sync_type *type);

/** Get the event loop of a type
 *
 * The first call creates it.  Returns 0 or a negative errno.
 */
int vk_umf_sync_type_get_loop(struct vk_umf_sync_type *type, struct umf_loop **loop_out);

struct vk_umf_sync {
   struct vk_sync base;

   /** The fence that is signaled
    *
    * In timeline mode, the value of the sync is the value of this fence.
    *
    * In binary mode, the fence is a timeline too.  Every signal operation has a point on it: the
    * point after the last one that was reset.  The sync is signaled if the fence has reached that
    * point.  It is pending if umf_fence_submit() has announced that point.
    */
   struct umf_fence *fence;

   /** Binary mode: the last point that was reset
    *
    * A shareable payload stores the point in the fence resets, where other processes see it.  Any
    * other payload stores it in last_reset.
    */
   struct umf_fence *resets;
   uint64_t last_reset;

   /** Set if the payload is shareable: a page that has only this payload */
   struct umf_page *page;

   /** Where the device finds the fence.  NULL if the type has no mapper. */
   struct vk_umf_mapping *mapping;

   /** Set if vk_sync_move() copied the fence from another sync
    *
    * Such a sync can only be waited for.  It is never signaled or reset.
    */
   bool is_moved_copy;

   /** Set if is_moved_copy is set and the other sync had a shareable payload
    *
    * Another process can fail the fence of a shareable payload.
    */
   bool is_imported;
};

/** Get the fence and the value that complete a wait
 *
 * For a binary sync, the signal operation must have been submitted before this is called.  See
 * VK_SYNC_WAIT_PENDING.
 */
struct umf_condition vk_umf_sync_get_wait(const struct vk_sync_wait *wait);

/** Block until the waits of a submission are complete
 *
 * For devices that cannot wait.  Call this from vk_queue::driver_submit.
 *
 * A shareable payload that failed counts as complete, as a drm_syncobj does when its kernel fence
 * fails.  A peer can therefore corrupt the data that it shares, but it cannot make this device
 * lost.
 */
VkResult vk_umf_waits_wait(struct vk_device *device,
                           uint32_t wait_count,
                           const struct vk_sync_wait *waits);

/** Reset the binary syncs that a submission waited for
 *
 * Call this from vk_queue::driver_submit, after the waits and before the signals.
 *
 * A wait resets a binary semaphore.  The runtime resets permanent payloads, but not temporary
 * ones.  A temporary payload may be shared with another process, so it must be reset too.
 */
void vk_umf_waits_complete(uint32_t wait_count, const struct vk_sync_wait *waits);

/** Announce that a submission will signal
 *
 * This ends the waits with VK_SYNC_WAIT_PENDING.  It allocates the points of binary syncs, and
 * records them in the submission, where vk_umf_signals_create() finds them.
 *
 * Call this from vk_queue::driver_announce if the queue has a submit thread: vkQueueSubmit and
 * vkQueuePresentKHR then do not wait for the thread.  Otherwise call it from
 * vk_queue::driver_submit, before vk_umf_signals_create().
 */
void vk_umf_signals_announce(uint32_t signal_count, struct vk_sync_signal *signals);

/** The signals of one submission */
struct vk_umf_signals {
   uint32_t count;
   struct umf_signal list[];
};

/** Record what a submission will signal
 *
 * Call this from vk_queue::driver_submit, after the waits.  The syncs may then be finished, reset
 * or moved before the work is done.
 *
 * Every list must be passed to vk_umf_signals_complete().  Otherwise its waiters sleep forever.
 */
VkResult vk_umf_signals_create(struct vk_device *device,
                               uint32_t signal_count,
                               const struct vk_sync_signal *signals,
                               struct vk_umf_signals **signals_out);

/** Signal everything in the list, and free the list
 *
 * Call this when the work is done.  Any thread may call it, and it does not block.
 */
void vk_umf_signals_complete(struct vk_umf_signals *signals);

/** A wait or a signal that the device does by itself
 *
 * It keeps the fence and the mapping until vk_umf_point_finish().  The driver calls that when the
 * device is done with the submission.
 */
struct vk_umf_point {
   struct umf_fence *fence;
   uint64_t value;
   struct vk_umf_mapping *mapping;

   /** Where the device finds the value and the monitored value */
   uint64_t address;
   uint64_t monitored_address;

   /** Set if another process can fail the fence.  The device does not see that. */
   bool can_peer_fail;
};

/** Get the point that a device waits for
 *
 * The rules of vk_umf_sync_get_wait() apply.  The type must have a mapper.
 */
struct vk_umf_point vk_umf_wait_point(const struct vk_sync_wait *wait);

/** Get the point that a device signals, and announce it
 *
 * The rules of vk_umf_signals_create() apply: call this after vk_umf_waits_complete(), and signal
 * or fail the fence.  The type must have a mapper.
 */
struct vk_umf_point vk_umf_signal_point(const struct vk_sync_signal *signal);

void vk_umf_point_finish(struct vk_umf_point *point);

/** Mark a queue as lost, and fail what it would have signaled
 *
 * Call this from vk_queue::driver_submit when the submission fails.  The submissions in the
 * queue's list will never run, so the fences that they would have signaled fail too.  Every
 * process that waits for one of these fences sees the failure.
 */
void vk_umf_queue_fail(struct vk_queue *queue, const struct vk_queue_submit *submit);

#ifdef __cplusplus
}
#endif

#endif /* VK_UMF_SYNC_H */
