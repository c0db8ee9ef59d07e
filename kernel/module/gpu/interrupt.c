// SPDX-License-Identifier: MIT OR GPL-2.0
/* Interrupts: an eventfd of the program, and the wait for one value in memory. */

#include <linux/sched/signal.h>
#include <linux/uaccess.h>

#include "gpu.h"

/* What is left until an absolute time. KTIME_MAX for no limit. */
ktime_t umf_gpu_time_left(u64 timeout_ns)
{
	if (timeout_ns > KTIME_MAX)
		return KTIME_MAX;
	return max_t(ktime_t, ktime_sub(ns_to_ktime(timeout_ns), ktime_get()), 0);
}

/* Tells waiters to look again. By the firmware, for a client's queue. */
void umf_gpu_interrupt(struct umf_gpu_client *from)
{
	struct umf_gpu_device *device = from->device;
	struct umf_gpu_client *client;

	mutex_lock(&device->lock);
	device->info.interrupts++;
	list_for_each_entry(client, &device->clients, link) {
		if (!client->interrupt || (client != from && !client->interrupt_by_all))
			continue;
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 8, 0)
		eventfd_signal(client->interrupt, 1);
#else
		eventfd_signal(client->interrupt);
#endif
	}
	mutex_unlock(&device->lock);
	wake_up_all(&device->interrupted);
}

int umf_gpu_interrupt_ioctl(struct drm_device *drm, void *data, struct drm_file *file)
{
	struct umf_gpu_client *client = file->driver_priv;
	const struct umf_gpu_interrupt *args = data;
	struct eventfd_ctx *eventfd = NULL;

	if (args->flags & ~UMF_GPU_INTERRUPT_ALL || args->fd < -1)
		return -EINVAL;
	if (args->fd >= 0) {
		eventfd = eventfd_ctx_fdget(args->fd);
		if (IS_ERR(eventfd))
			return PTR_ERR(eventfd);
	}
	mutex_lock(&client->device->lock);
	swap(eventfd, client->interrupt);
	client->interrupt_by_all = args->flags & UMF_GPU_INTERRUPT_ALL;
	mutex_unlock(&client->device->lock);
	if (eventfd)
		eventfd_ctx_put(eventfd);
	return 0;
}

/* 0 once the condition holds, -EAGAIN before. */
static int check(const struct umf_gpu_wait_user_fence *args, struct umf_gpu_queue *queue)
{
	u64 value;

	/* One access of 8 bytes, since the pointer is aligned. */
	if (get_user(value, (u64 __user *)u64_to_user_ptr(args->pointer)))
		return -EFAULT;
	if (umf_gpu_compare(args->op, value, args->value, args->mask))
		return 0;
	return queue && READ_ONCE(queue->error) ? -EIO : -EAGAIN;
}

/* Reading user memory may sleep, so this is no wait_event(): woken_wake_function() remembers an
 * interrupt that comes while the value is read. */
static int wait_for_value(struct umf_gpu_device *device,
			  const struct umf_gpu_wait_user_fence *args, struct umf_gpu_queue *queue)
{
	DEFINE_WAIT_FUNC(wait, woken_wake_function);
	int ret;

	add_wait_queue(&device->interrupted, &wait);
	while ((ret = check(args, queue)) == -EAGAIN) {
		ktime_t left = umf_gpu_time_left(args->timeout_ns);
		long timeout = MAX_SCHEDULE_TIMEOUT;

		ret = -ETIME;
		if (left <= 0)
			break;
		ret = -ERESTARTSYS;
		if (signal_pending(current))
			break;
		if (left != KTIME_MAX)
			timeout = min_t(u64, nsecs_to_jiffies64(ktime_to_ns(left)) + 1,
					MAX_SCHEDULE_TIMEOUT - 1);
		wait_woken(&wait, TASK_INTERRUPTIBLE, timeout);
	}
	remove_wait_queue(&device->interrupted, &wait);
	return ret;
}

int umf_gpu_wait_user_fence_ioctl(struct drm_device *drm, void *data, struct drm_file *file)
{
	struct umf_gpu_client *client = file->driver_priv;
	const struct umf_gpu_wait_user_fence *args = data;
	struct umf_gpu_queue *queue = NULL;
	int ret;

	if (args->op > UMF_GPU_OP_LE || args->pointer % sizeof(u64))
		return -EINVAL;
	if (args->queue) {
		queue = umf_gpu_queue_get(client, args->queue);
		if (!queue)
			return -ENOENT;
	}
	ret = wait_for_value(client->device, args, queue);
	if (queue)
		umf_gpu_queue_put(queue);
	return ret;
}
