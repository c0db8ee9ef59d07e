// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Evictions: memory is synchronized apart from work.
 *
 * Each buffer of a client in video memory has the client's eviction fence in its reservation
 * object. It is pending as long as queues may use the buffer. Nobody waits for it until somebody
 * wants the memory: then enable_signaling() asks the firmware to stop the client's queues. The
 * firmware waits for the jobs' fences that are pending, which are finite. It stops the queues
 * wherever they are, also in a WAIT for a UMF that nobody will ever signal, and signals the fence.
 *
 * Why the jobs' fences come first: a job that is stopped cannot signal its fence before the memory
 * is back, and bringing memory back may wait for that very fence. Until then all of the client's
 * queues go on: one may wait, by a UMF, for another.
 */

#include <linux/dma-resv.h>
#include <linux/slab.h>

#include "gpu.h"

static const char *eviction_driver_name(struct dma_fence *fence)
{
	return "umf_gpu";
}

static const char *eviction_timeline_name(struct dma_fence *fence)
{
	return "eviction";
}

/* Called with the fence's lock, in any context. */
static bool enable_signaling(struct dma_fence *fence)
{
	struct umf_gpu_eviction *eviction = container_of(fence, struct umf_gpu_eviction, base);

	eviction->wanted_at = ktime_get();
	/* The kick orders the two before what the firmware reads. */
	WRITE_ONCE(eviction->wanted, true);
	umf_gpu_kick(eviction->device);
	return true;
}

static const struct dma_fence_ops eviction_ops = {
	.get_driver_name = eviction_driver_name,
	.get_timeline_name = eviction_timeline_name,
	.enable_signaling = enable_signaling,
};

struct umf_gpu_eviction *umf_gpu_eviction_create(struct umf_gpu_client *client)
{
	struct umf_gpu_eviction *eviction = kzalloc(sizeof(*eviction), GFP_KERNEL_ACCOUNT);

	if (!eviction)
		return NULL;
	eviction->device = client->device;
	spin_lock_init(&eviction->lock);
	dma_fence_init(&eviction->base, &eviction_ops, &eviction->lock, client->context,
		       ++client->next_eviction);
	return eviction;
}

/* A task that moves the buffer waits for the eviction from now on. */
int umf_gpu_eviction_add(struct umf_gpu_eviction *eviction, struct umf_gpu_bo *bo)
{
	struct dma_resv *resv = bo->base.resv;
	int ret;

	ret = dma_resv_lock(resv, NULL);
	if (ret)
		return ret;
	ret = dma_resv_reserve_fences(resv, 1);
	if (!ret)
		dma_resv_add_fence(resv, &eviction->base, DMA_RESV_USAGE_BOOKKEEP);
	dma_resv_unlock(resv);
	return ret;
}

#define for_each_mapping(node, client) \
	for (node = interval_tree_iter_first(&(client)->mappings, 0, ULONG_MAX); node; \
	     node = interval_tree_iter_next(node, 0, ULONG_MAX))

static struct umf_gpu_bo *bo_of(struct interval_tree_node *node)
{
	return container_of(node, struct umf_gpu_mapping, node)->bo;
}

static bool is_video(struct interval_tree_node *node)
{
	return bo_of(node)->flags & UMF_GPU_BO_VIDEO;
}

/* Stops the client's queues. What a memory manager does: waits for the fences of the buffers. */
static int preempt(struct umf_gpu_client *client)
{
	struct interval_tree_node *node;
	long ret;

	for_each_mapping(node, client) {
		if (!is_video(node))
			continue;
		ret = dma_resv_wait_timeout(bo_of(node)->base.resv, DMA_RESV_USAGE_BOOKKEEP, true,
					    MAX_SCHEDULE_TIMEOUT);
		if (ret < 0)
			return ret;
	}
	/* Also where no buffer is in video memory. */
	return dma_fence_wait(&client->eviction->base, true);
}

static int evict(struct umf_gpu_client *client)
{
	struct umf_gpu_device *device = client->device;
	struct interval_tree_node *node;
	int ret;

	lockdep_assert_held(&client->vm_lock);
	if (client->evicted)
		return -EALREADY;
	ret = preempt(client);
	if (ret) /* interrupted; if the queues stop all the same, umf_gpu_restore() comes */
		return ret;
	client->evicted = true;
	for_each_mapping(node, client)
		umf_gpu_bo_move_out(bo_of(node));
	mutex_lock(&device->lock);
	device->info.evictions++;
	mutex_unlock(&device->lock);
	return 0;
}

static int bring_back(struct umf_gpu_client *client, struct umf_gpu_eviction *eviction)
{
	struct interval_tree_node *node;
	int ret;

	for_each_mapping(node, client) {
		if (!is_video(node))
			continue;
		ret = umf_gpu_bo_move_in(bo_of(node));
		if (!ret)
			ret = umf_gpu_eviction_add(eviction, bo_of(node));
		if (ret)
			return ret;
	}
	return 0;
}

/* Brings the memory back, then lets the queues go on under a new fence. */
static int restore(struct umf_gpu_client *client)
{
	struct umf_gpu_device *device = client->device;
	struct umf_gpu_eviction *eviction, *old;
	struct interval_tree_node *node;
	int ret;

	lockdep_assert_held(&client->vm_lock);
	eviction = umf_gpu_eviction_create(client);
	if (!eviction)
		return -ENOMEM;
	ret = bring_back(client, eviction);
	if (ret) {
		dma_fence_signal(&eviction->base);
		dma_fence_put(&eviction->base);
		for_each_mapping(node, client)
			umf_gpu_bo_move_out(bo_of(node));
		return ret;
	}
	/* If somebody wants the memory already, the firmware sees that at its first look. */
	mutex_lock(&device->lock);
	old = client->eviction;
	client->eviction = eviction;
	WRITE_ONCE(client->restores, client->restores + 1);
	mutex_unlock(&device->lock);
	dma_fence_put(&old->base);
	umf_gpu_kick(device);
	wake_up_all(&client->restored);
	return 0;
}

/*
 * Runs after each preemption, and does nothing if UMF_GPU_EVICT asked for it. Otherwise somebody
 * else waited for a buffer, or the ioctl was interrupted: the queues go on.
 */
void umf_gpu_restore(struct work_struct *work)
{
	struct umf_gpu_client *client =
		container_of(to_delayed_work(work), struct umf_gpu_client, restore);
	int ret = 0;

	mutex_lock(&client->vm_lock);
	if (!client->evicted && dma_fence_is_signaled(&client->eviction->base))
		ret = restore(client);
	mutex_unlock(&client->vm_lock);

	mutex_lock(&client->device->lock);
	if (ret && !client->closing)
		schedule_delayed_work(&client->restore, msecs_to_jiffies(10));
	mutex_unlock(&client->device->lock);
}

int umf_gpu_evict_ioctl(struct drm_device *drm, void *data, struct drm_file *file)
{
	struct umf_gpu_client *client = file->driver_priv;
	const struct umf_gpu_evict *args = data;
	int ret;

	if (args->op > UMF_GPU_RESTORE || args->pad)
		return -EINVAL;
	ret = mutex_lock_interruptible(&client->vm_lock);
	if (ret)
		return ret;
	if (args->op == UMF_GPU_EVICT) {
		ret = evict(client);
	} else if (!client->evicted) {
		ret = -EALREADY;
	} else {
		ret = restore(client);
		if (!ret)
			client->evicted = false;
	}
	mutex_unlock(&client->vm_lock);
	return ret;
}
