// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Kernel fences of jobs. The firmware signals one when its queue has got to a position, or fails it
 * when the queue fails or ends.
 *
 * Such a fence must be finite, and a queue may wait for a value in memory that nobody will ever
 * write. So the time is limited from the fence's creation on, also while an eviction waits for it.
 */

#include <drm/drm_syncobj.h>
#include <linux/dma-fence-chain.h>
#include <linux/dma-fence-unwrap.h>
#include <linux/uaccess.h>

#include "gpu.h"

static const char *job_driver_name(struct dma_fence *fence)
{
	return "umf_gpu";
}

static const char *job_timeline_name(struct dma_fence *fence)
{
	return "queue";
}

static const struct dma_fence_ops job_ops = {
	.get_driver_name = job_driver_name,
	.get_timeline_name = job_timeline_name,
};

/* The hang limit of the oldest fence may have passed. */
void umf_gpu_check_hang(struct work_struct *work)
{
	struct umf_gpu_queue *queue =
		container_of(to_delayed_work(work), struct umf_gpu_queue, hang);
	struct umf_gpu_device *device = queue->client->device;
	struct umf_gpu_job *oldest;
	s64 left;

	mutex_lock(&device->lock);
	oldest = list_first_entry_or_null(&queue->pending, struct umf_gpu_job, link);
	if (oldest) {
		left = ktime_to_ns(ktime_sub(ktime_add(oldest->created, queue->hang_limit),
					     ktime_get()));
		if (left > 0)
			queue_delayed_work(device->limits, &queue->hang,
					   nsecs_to_jiffies64(left) + 1);
		else
			queue->reset = -ETIME;
	}
	mutex_unlock(&device->lock);
	umf_gpu_kick(device);
}

/* Arrays of handles and points, and the syncobjs. */

struct targets {
	u32 count;
	u32 handles[UMF_GPU_MAX_SYNCOBJS];
	u64 points[UMF_GPU_MAX_SYNCOBJS];
	struct drm_syncobj *syncobjs[UMF_GPU_MAX_SYNCOBJS];
	struct dma_fence_chain *chains[UMF_GPU_MAX_SYNCOBJS];
};

static void targets_free(struct targets *targets)
{
	u32 i;

	for (i = 0; i < targets->count; i++) {
		if (targets->syncobjs[i])
			drm_syncobj_put(targets->syncobjs[i]);
		dma_fence_chain_free(targets->chains[i]);
	}
	kvfree(targets);
}

static struct targets *targets_copy(u64 handles, u64 points, u32 count)
{
	struct targets *targets;

	if (!count || count > UMF_GPU_MAX_SYNCOBJS)
		return ERR_PTR(-EINVAL);
	targets = kvzalloc(sizeof(*targets), GFP_KERNEL);
	if (!targets)
		return ERR_PTR(-ENOMEM);
	targets->count = count;
	if (copy_from_user(targets->handles, u64_to_user_ptr(handles),
			   count * sizeof(*targets->handles)) ||
	    (points && copy_from_user(targets->points, u64_to_user_ptr(points),
				      count * sizeof(*targets->points)))) {
		targets_free(targets);
		return ERR_PTR(-EFAULT);
	}
	return targets;
}

static int targets_find(struct targets *targets, struct drm_file *file)
{
	u32 i;

	for (i = 0; i < targets->count; i++) {
		targets->syncobjs[i] = drm_syncobj_find(file, targets->handles[i]);
		if (!targets->syncobjs[i])
			return -ENOENT;
		if (!targets->points[i])
			continue;
		targets->chains[i] = dma_fence_chain_alloc();
		if (!targets->chains[i])
			return -ENOMEM;
	}
	return 0;
}

/* Cannot fail: all memory is there. */
static void targets_fill(struct targets *targets, struct dma_fence *fence)
{
	u32 i;

	for (i = 0; i < targets->count; i++) {
		if (targets->points[i]) {
			drm_syncobj_add_point(targets->syncobjs[i], targets->chains[i], fence,
					      targets->points[i]);
			targets->chains[i] = NULL;
		} else {
			drm_syncobj_replace_fence(targets->syncobjs[i], fence);
		}
	}
}

/* SIGNAL */

/* Makes the fence that was allocated one of what is in the ring. -EAGAIN while evicted. */
static int add_job(struct umf_gpu_queue *queue, struct umf_gpu_job *job)
{
	struct umf_gpu_client *client = queue->client;
	struct umf_gpu_device *device = client->device;
	u64 *written;

	lockdep_assert_held(&device->lock);
	if (queue->ending)
		return -ENOENT;
	if (queue->error || queue->reset)
		return -EIO;
	/*
	 * From when an eviction is wanted, no fence is added for it to wait for: it waits for
	 * finitely many. The memory's return does not need a fence of this client.
	 */
	if (READ_ONCE(client->eviction->wanted))
		return -EAGAIN;
	written = umf_gpu_translate(client, queue->write_at, sizeof(*written));
	if (!written)
		return -EFAULT;
	job->position = smp_load_acquire(written);
	if (job->position < queue->position ||
	    job->position - queue->position > queue->ring_packets)
		return -EINVAL;
	/* Positions never go back, so the list is in order, and fences signal in order. */
	if (job->position < queue->owed)
		return -EINVAL;
	queue->owed = job->position;
	queue->look = true;
	job->device = device;
	job->created = ktime_get();
	job->count_address = UMF_GPU_COUNTS_ADDRESS + queue->count * sizeof(u64);
	job->count_value = queue->count_base + job->position;
	spin_lock_init(&job->lock);
	dma_fence_init(&job->base, &job_ops, &job->lock, queue->context, ++queue->next_job);
	list_add_tail(&job->link, &queue->pending);
	client->owed++;
	dma_fence_get(&job->base); /* the list's. The firmware signals it, even if it is due now */
	queue_delayed_work(device->limits, &queue->hang,
			   nsecs_to_jiffies64(ktime_to_ns(queue->hang_limit)) + 1);
	return 0;
}

/* Adds the job, once the client's memory is there. */
static int submit(struct umf_gpu_queue *queue, struct umf_gpu_job *job)
{
	struct umf_gpu_client *client = queue->client;
	u64 restores;
	int ret;

	for (;;) {
		mutex_lock(&client->device->lock);
		restores = client->restores;
		ret = add_job(queue, job);
		mutex_unlock(&client->device->lock);
		if (ret != -EAGAIN)
			return ret;
		ret = wait_event_interruptible(client->restored,
					       READ_ONCE(client->restores) != restores ||
					       READ_ONCE(queue->error) ||
					       READ_ONCE(queue->ending));
		if (ret)
			return ret;
	}
}

int umf_gpu_signal_ioctl(struct drm_device *drm, void *data, struct drm_file *file)
{
	struct umf_gpu_client *client = file->driver_priv;
	struct umf_gpu_signal *args = data;
	struct umf_gpu_queue *queue;
	struct umf_gpu_job *job;
	struct targets *targets;
	int ret;

	targets = targets_copy(args->handles, args->points, args->count);
	if (IS_ERR(targets))
		return PTR_ERR(targets);
	ret = targets_find(targets, file);
	if (ret)
		goto free_targets;
	queue = umf_gpu_queue_get(client, args->queue);
	if (!queue) {
		ret = -ENOENT;
		goto free_targets;
	}
	job = kzalloc(sizeof(*job), GFP_KERNEL_ACCOUNT);
	if (!job) {
		ret = -ENOMEM;
		goto put_queue;
	}
	ret = submit(queue, job);
	if (ret) {
		kfree(job);
		goto put_queue;
	}
	args->position = job->position;
	targets_fill(targets, &job->base);
	dma_fence_put(&job->base);
	umf_gpu_kick(client->device);

put_queue:
	umf_gpu_queue_put(queue);
free_targets:
	targets_free(targets);
	return ret;
}

/* WAIT */

struct pairs {
	u32 count;
	struct umf_gpu_pair pairs[COUNTS]; /* one for each queue at most */
};

static void add_pair(struct pairs *pairs, const struct umf_gpu_job *job)
{
	struct umf_gpu_pair *pair;

	for (pair = pairs->pairs; pair < pairs->pairs + pairs->count; pair++) {
		if (pair->address == job->count_address) {
			pair->value = max(pair->value, job->count_value);
			return;
		}
	}
	*pair = (struct umf_gpu_pair){ job->count_address, job->count_value };
	pairs->count++;
}

/* A fence of this device becomes a pair. The call waits for one of another driver. */
static int add_fence(struct pairs *pairs, struct dma_fence *fence)
{
	struct dma_fence_unwrap cursor;
	struct dma_fence *leaf;
	int ret = 0;

	dma_fence_unwrap_for_each(leaf, &cursor, fence) {
		if (ret || dma_fence_is_signaled(leaf))
			continue; /* the end of the loop drops the cursor's references */
		if (leaf->ops == &job_ops)
			add_pair(pairs, container_of(leaf, struct umf_gpu_job, base));
		else
			ret = dma_fence_wait(leaf, true);
	}
	return ret;
}

int umf_gpu_wait_ioctl(struct drm_device *drm, void *data, struct drm_file *file)
{
	struct umf_gpu_wait *args = data;
	struct targets *targets;
	struct pairs *pairs;
	u32 i;
	int ret = 0;

	if (args->pad)
		return -EINVAL;
	targets = targets_copy(args->handles, args->points, args->count);
	if (IS_ERR(targets))
		return PTR_ERR(targets);
	pairs = kvzalloc(sizeof(*pairs), GFP_KERNEL);
	if (!pairs) {
		ret = -ENOMEM;
		goto free_targets;
	}
	for (i = 0; i < targets->count && !ret; i++) {
		struct dma_fence *fence;

		ret = drm_syncobj_find_fence(file, targets->handles[i], targets->points[i], 0,
					     &fence);
		if (ret)
			break;
		ret = add_fence(pairs, fence);
		dma_fence_put(fence);
	}
	if (ret)
		goto free_pairs;
	args->pair_count = pairs->count;
	if (pairs->count > args->capacity)
		ret = -ENOSPC;
	else if (copy_to_user(u64_to_user_ptr(args->pairs), pairs->pairs,
			      pairs->count * sizeof(*pairs->pairs)))
		ret = -EFAULT;

free_pairs:
	kvfree(pairs);
free_targets:
	targets_free(targets);
	return ret;
}
