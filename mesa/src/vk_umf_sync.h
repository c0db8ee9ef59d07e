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

/* The first page of fences has room for 256; each further one for twice as many as the one before. */
#define VK_UMF_FIRST_PAGE_FENCES 256
#define VK_UMF_MAX_PAGES 13

/* How many fences of finished binary syncs are kept for new ones */
#define VK_UMF_MAX_IDLE 64

/** A vk_sync_type whose timelines are native: userspace memory fences of libumf
 *
 * One type is both binary and timeline, so that a wait for many syncs of both kinds is one call.  It lives in the physical
 * device, in front of NULL in vk_physical_device::supported_sync_types, and is all there need be in it.
 */
struct vk_umf_sync_type {
   struct vk_sync_type sync;

   /** Makes sync_files that have signaled; NULL where there is no DRM device */
   struct umf_device *device;

   /** Guards what is below */
   simple_mtx_t lock;

   /** Signals what pending sync_files were imported into; made when it is first needed, for it has a thread */
   struct umf_loop *loop;

   /** Fences of syncs that are not shared */
   struct umf_page *pages[VK_UMF_MAX_PAGES];
   uint32_t page_count;

   /** The page that had a free fence last */
   uint32_t page_hint;

   /** Fences of binary syncs that were finished */
   struct umf_fence *idle[VK_UMF_MAX_IDLE];
   uint32_t idle_count;
};

/** Initializes a vk_umf_sync_type
 *
 * drm_fd is -1, or a DRM device whose syncobjs sync_files are made with.  It stays the caller's.
 */
VkResult vk_umf_sync_type_init(struct vk_umf_sync_type *type, int drm_fd);

/** Finishes one; all syncs of the type are finished by now */
void vk_umf_sync_type_finish(struct vk_umf_sync_type *type);

struct vk_umf_sync {
   struct vk_sync base;

   /** What is signaled.  The value of a timeline is the value of this fence.
    *
    * A binary sync is a timeline as well: every signal operation is a point of it, one beyond the last that was reset.
    * It is signaled if the fence has reached that point, pending if umf_fence_submit() has announced it.
    */
   struct umf_fence *fence;

   /** Binary: the last point that was reset, in resets if the payload is shareable, else in last_reset */
   struct umf_fence *resets;
   uint64_t last_reset;

   /** Shareable: a page with nothing but this payload in it */
   struct umf_page *page;

   /** The fence is that of the sync which this one was moved from: to be waited for, and no more */
   bool moved_here;

   /** Moved here from a shareable payload, which another process may fail */
   bool is_peers;
};

/** What a wait waits for: a fence, and the value that it has to reach
 *
 * For drivers whose device waits by itself: the fence's page, umf_fence_offset() and the value are all that it needs.  Not to be
 * asked of a binary sync before somebody has submitted its signal (VK_SYNC_WAIT_PENDING).
 */
struct umf_wait vk_umf_sync_get_wait(const struct vk_sync_wait *wait);

/** Waits for what a submission has to wait for
 *
 * For drivers whose device cannot wait: to be called by vk_queue::driver_submit.  A shareable payload that failed is waited for no
 * longer, as its kin in the kernel are when their fence fails: a peer can spoil what he shares, and not take the device away.
 */
VkResult vk_umf_waits_wait(struct vk_device *device, uint32_t wait_count, const struct vk_sync_wait *waits);

/** The waits of a submission are over
 *
 * To be called by vk_queue::driver_submit, between its waits and its signals.  A wait resets a binary sync.  The runtime has seen
 * to that where it could; but a payload that was imported temporarily may be another's who shares it with us.
 */
void vk_umf_waits_complete(uint32_t wait_count, const struct vk_sync_wait *waits);

/** What one submission signals when its work is done
 *
 * A device that writes fences by itself is given the list.
 */
struct vk_umf_signals {
   uint32_t count;
   struct umf_signal list[];
};

/** Takes note of what a submission signals
 *
 * To be called by vk_queue::driver_submit, after its waits.  The syncs may be finished, reset and moved before the work is done.
 */
VkResult vk_umf_signals_create(struct vk_device *device,
                               uint32_t signal_count,
                               const struct vk_sync_signal *signals,
                               struct vk_umf_signals **signals_out);

/** Says that work was submitted which will signal: who waits with VK_SYNC_WAIT_PENDING goes on
 *
 * To be called before work that takes time, or goes on after driver_submit has returned.
 */
void vk_umf_signals_announce(struct vk_umf_signals *signals);

/** The work is done: signals, and frees.  On any thread; does not block. */
void vk_umf_signals_complete(struct vk_umf_signals *signals);

/** Fails what was submitted to a queue that is lost
 *
 * To be called by vk_queue::driver_submit when it fails.  Nothing that is in the queue's list will run any more, so all that this
 * submission and they would have signaled fails, for this and for other processes.
 */
void vk_umf_queue_fail(struct vk_queue *queue, const struct vk_queue_submit *submit);

#ifdef __cplusplus
}
#endif

#endif /* VK_UMF_SYNC_H */
