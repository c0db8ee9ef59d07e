// SPDX-License-Identifier: MIT OR GPL-2.0
/* The driver's side of queues: create, end, reset, and the workers that answer EXEC packets. */

#include <linux/log2.h>

#include "gpu.h"

#define DEFAULT_HANG_LIMIT_MS 2000
#define MAX_HANG_LIMIT_MS 10000

static void release(struct kref *ref)
{
	struct umf_gpu_queue *queue = container_of(ref, struct umf_gpu_queue, ref);

	drm_gem_object_put(&queue->doorbell_bo->base);
	kfree(queue);
}

void umf_gpu_queue_put(struct umf_gpu_queue *queue)
{
	kref_put(&queue->ref, release);
}

/* Returns a reference, or NULL. */
struct umf_gpu_queue *umf_gpu_queue_get(struct umf_gpu_client *client, u32 id)
{
	struct umf_gpu_queue *queue;

	xa_lock(&client->queues);
	queue = xa_load(&client->queues, id);
	if (queue)
		kref_get(&queue->ref);
	xa_unlock(&client->queues);
	return queue;
}

static struct umf_gpu_bo *find_doorbells(struct drm_file *file, u32 handle)
{
	struct drm_gem_object *object = drm_gem_object_lookup(file, handle);

	if (object && !(to_bo(object)->flags & UMF_GPU_BO_DOORBELL)) {
		drm_gem_object_put(object);
		object = NULL;
	}
	return object ? to_bo(object) : NULL;
}

/* Makes the queue known to the firmware. */
static int start(struct umf_gpu_queue *queue)
{
	struct umf_gpu_client *client = queue->client;
	struct umf_gpu_device *device = client->device;
	const u64 ring_size = (u64)queue->ring_packets * sizeof(struct umf_gpu_packet);
	int ret = 0;

	mutex_lock(&device->lock);
	queue->count = find_first_zero_bit(device->counts_used, COUNTS);
	if (!umf_gpu_translate(client, queue->ring, ring_size) ||
	    !umf_gpu_translate(client, queue->read_at, sizeof(u64)) ||
	    !umf_gpu_translate(client, queue->write_at, sizeof(u64))) {
		ret = -EFAULT;
	} else if (queue->count == COUNTS) {
		ret = -ENOSPC;
	} else {
		set_bit(queue->count, device->counts_used);
		queue->count_base = device->counts[queue->count];
		list_add_tail(&queue->link, &device->queues);
	}
	mutex_unlock(&device->lock);
	umf_gpu_kick(device);
	return ret;
}

/* Returns when the firmware has forgotten the queue. Its fences have signaled then. */
static void end(struct umf_gpu_queue *queue)
{
	struct umf_gpu_device *device = queue->client->device;

	mutex_lock(&device->lock);
	queue->ending = true; /* no fence is added from here on */
	mutex_unlock(&device->lock);
	wake_up_all(&queue->exec_wait);
	wake_up_all(&queue->client->restored);
	umf_gpu_kick(device);
	/* Finite: the firmware looks at every queue between two slices. */
	wait_for_completion(&queue->gone);
	cancel_delayed_work_sync(&queue->hang);
	umf_gpu_queue_put(queue);
}

void umf_gpu_end_all_queues(struct umf_gpu_client *client)
{
	struct umf_gpu_queue *queue;
	unsigned long id;

	xa_for_each(&client->queues, id, queue) {
		xa_erase(&client->queues, id);
		end(queue);
	}
}

int umf_gpu_queue_create_ioctl(struct drm_device *drm, void *data, struct drm_file *file)
{
	struct umf_gpu_client *client = file->driver_priv;
	struct umf_gpu_queue_create *args = data;
	struct umf_gpu_queue *queue;
	int ret;

	if (!is_power_of_2(args->ring_packets) || args->ring_packets < 8 ||
	    args->ring_packets > 65536 || args->ring_address % sizeof(struct umf_gpu_packet) ||
	    args->read_address % sizeof(u64) || args->write_address % sizeof(u64) ||
	    args->doorbell_index >= PAGE_SIZE / sizeof(u64) ||
	    args->hang_limit_ms > MAX_HANG_LIMIT_MS || args->pad)
		return -EINVAL;
	queue = kzalloc(sizeof(*queue), GFP_KERNEL_ACCOUNT);
	if (!queue)
		return -ENOMEM;
	queue->doorbell_bo = find_doorbells(file, args->doorbell);
	if (!queue->doorbell_bo) {
		kfree(queue);
		return -ENOENT;
	}
	queue->doorbell = (u64 *)queue->doorbell_bo->system + args->doorbell_index;
	queue->rung = READ_ONCE(*queue->doorbell);
	kref_init(&queue->ref);
	queue->client = client;
	queue->ring = args->ring_address;
	queue->read_at = args->read_address;
	queue->write_at = args->write_address;
	queue->ring_packets = args->ring_packets;
	queue->hang_limit = ms_to_ktime(args->hang_limit_ms ?: DEFAULT_HANG_LIMIT_MS);
	queue->context = dma_fence_context_alloc(1);
	INIT_LIST_HEAD(&queue->pending);
	INIT_DELAYED_WORK(&queue->hang, umf_gpu_check_hang);
	init_completion(&queue->gone);
	init_waitqueue_head(&queue->exec_wait);

	ret = start(queue);
	if (ret) {
		umf_gpu_queue_put(queue);
		return ret;
	}
	/* From here on another thread may guess the number, and end the queue. */
	ret = xa_alloc(&client->queues, &args->queue, queue, xa_limit_32b, GFP_KERNEL_ACCOUNT);
	if (ret)
		end(queue);
	return ret;
}

static void query(struct umf_gpu_queue *queue, struct umf_gpu_queue_op *args)
{
	args->error = queue->error;
	args->running = queue->running;
	args->position = queue->position;
}

int umf_gpu_queue_op_ioctl(struct drm_device *drm, void *data, struct drm_file *file)
{
	struct umf_gpu_client *client = file->driver_priv;
	struct umf_gpu_queue_op *args = data;
	struct umf_gpu_queue *queue;

	if (args->op > UMF_GPU_QUEUE_QUERY)
		return -EINVAL;
	if (args->op == UMF_GPU_QUEUE_DESTROY) {
		queue = xa_erase(&client->queues, args->queue);
		if (!queue)
			return -ENOENT;
		end(queue);
		return 0;
	}
	queue = umf_gpu_queue_get(client, args->queue);
	if (!queue)
		return -ENOENT;
	mutex_lock(&client->device->lock);
	if (args->op == UMF_GPU_QUEUE_RESET)
		queue->reset = -ETIME;
	else
		query(queue, args);
	mutex_unlock(&client->device->lock);
	umf_gpu_kick(client->device);
	umf_gpu_queue_put(queue);
	return 0;
}

/* Whether a worker need not sleep for the queue. */
static bool has_news(struct umf_gpu_queue *queue)
{
	return READ_ONCE(queue->exec) == EXEC_OFFERED || READ_ONCE(queue->error) ||
	       READ_ONCE(queue->ending);
}

/* Takes the packet. -EAGAIN if there is none. */
static int take_exec(struct umf_gpu_queue *queue, struct umf_gpu_exec_wait *args)
{
	struct umf_gpu_device *device = queue->client->device;
	int ret = -EAGAIN;

	mutex_lock(&device->lock);
	if (queue->ending) {
		ret = -ECANCELED;
	} else if (queue->error) {
		ret = -EIO;
	} else if (queue->exec == EXEC_OFFERED) {
		queue->exec = EXEC_TAKEN;
		args->sequence = queue->exec_sequence;
		args->cookie = queue->packet.exec.cookie;
		ret = 0;
	}
	mutex_unlock(&device->lock);
	return ret;
}

int umf_gpu_exec_wait_ioctl(struct drm_device *drm, void *data, struct drm_file *file)
{
	struct umf_gpu_exec_wait *args = data;
	struct umf_gpu_queue *queue;
	int ret;

	if (args->pad)
		return -EINVAL;
	queue = umf_gpu_queue_get(file->driver_priv, args->queue);
	if (!queue)
		return -ENOENT;
	while ((ret = take_exec(queue, args)) == -EAGAIN) {
		ret = wait_event_interruptible_hrtimeout(queue->exec_wait, has_news(queue),
							 umf_gpu_time_left(args->timeout_ns));
		if (ret)
			break;
	}
	umf_gpu_queue_put(queue);
	return ret;
}

int umf_gpu_exec_done_ioctl(struct drm_device *drm, void *data, struct drm_file *file)
{
	struct umf_gpu_client *client = file->driver_priv;
	const struct umf_gpu_exec_done *args = data;
	struct umf_gpu_queue *queue;
	int ret = -ENOENT;

	if (args->result > 0 || args->result < -MAX_ERRNO)
		return -EINVAL;
	queue = umf_gpu_queue_get(client, args->queue);
	if (!queue)
		return -ENOENT;
	mutex_lock(&client->device->lock);
	if (queue->exec == EXEC_TAKEN && queue->exec_sequence == args->sequence) {
		queue->exec = EXEC_ANSWERED;
		queue->exec_result = args->result;
		ret = 0;
	}
	mutex_unlock(&client->device->lock);
	umf_gpu_kick(client->device);
	umf_gpu_queue_put(queue);
	return ret;
}
