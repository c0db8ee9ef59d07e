// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Kernel fences that a test can fail. Debian's kernels have no driver with such fences: those of
 * vgem never fail, and sw_sync is not built.
 */

#include <linux/dma-fence.h>
#include <linux/errno.h>
#include <linux/fcntl.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/sync_file.h>
#include <linux/uaccess.h>
#include <linux/version.h>

#include "umf_test_fence.h"

struct test_fence {
	struct dma_fence base; /* first, because dropping its last reference frees the struct */
	spinlock_t lock;
	struct mutex signal; /* serializes signals */
	spinlock_t deadline_lock;
	u64 deadline; /* the earliest; 0 for none */
};

static const char *test_fence_name(struct dma_fence *fence)
{
	return "umf_test_fence";
}

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 4, 0)
static void test_fence_set_deadline(struct dma_fence *base, ktime_t deadline)
{
	struct test_fence *fence = container_of(base, struct test_fence, base);
	u64 ns = ktime_to_ns(deadline);
	unsigned long flags;

	spin_lock_irqsave(&fence->deadline_lock, flags);
	if (!fence->deadline || ns < fence->deadline)
		fence->deadline = ns;
	spin_unlock_irqrestore(&fence->deadline_lock, flags);
}
#endif

static const struct dma_fence_ops test_fence_ops = {
	.get_driver_name = test_fence_name,
	.get_timeline_name = test_fence_name,
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 4, 0)
	.set_deadline = test_fence_set_deadline,
#endif
};

static int test_fence_deadline(struct test_fence *fence, u64 __user *out)
{
	u64 deadline;

	if (LINUX_VERSION_CODE < KERNEL_VERSION(6, 4, 0))
		return -EOPNOTSUPP;
	spin_lock_irq(&fence->deadline_lock);
	deadline = fence->deadline;
	spin_unlock_irq(&fence->deadline_lock);
	return put_user(deadline, out);
}

static int test_fence_signal(struct test_fence *fence, int error)
{
	int ret = 0;

	mutex_lock(&fence->signal);
	if (dma_fence_is_signaled(&fence->base)) {
		ret = -EALREADY;
	} else {
		if (error)
			dma_fence_set_error(&fence->base, -error);
		dma_fence_signal(&fence->base);
	}
	mutex_unlock(&fence->signal);
	return ret;
}

static int test_fence_export(struct test_fence *fence)
{
	struct sync_file *sync_file;
	int fd;

	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0)
		return fd;
	sync_file = sync_file_create(&fence->base);
	if (!sync_file) {
		put_unused_fd(fd);
		return -ENOMEM;
	}
	fd_install(fd, sync_file->file);
	return fd;
}

static int test_fence_open(struct inode *inode, struct file *file)
{
	struct test_fence *fence = kzalloc(sizeof(*fence), GFP_KERNEL);

	if (!fence)
		return -ENOMEM;
	spin_lock_init(&fence->lock);
	spin_lock_init(&fence->deadline_lock);
	mutex_init(&fence->signal);
	dma_fence_init(&fence->base, &test_fence_ops, &fence->lock, dma_fence_context_alloc(1), 1);
	file->private_data = fence;
	return 0;
}

/* No fence is pending forever: closing the file cancels it, at the latest when the process dies. */
static int test_fence_close(struct inode *inode, struct file *file)
{
	struct test_fence *fence = file->private_data;

	test_fence_signal(fence, ECANCELED);
	dma_fence_put(&fence->base);
	return 0;
}

static long test_fence_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct test_fence *fence = file->private_data;

	switch (cmd) {
	case UMF_TEST_FENCE_EXPORT:
		return arg ? -EINVAL : test_fence_export(fence);
	case UMF_TEST_FENCE_SIGNAL:
		return arg > MAX_ERRNO ? -EINVAL : test_fence_signal(fence, arg);
	case UMF_TEST_FENCE_DEADLINE:
		return test_fence_deadline(fence, (u64 __user *)arg);
	default:
		return -ENOTTY;
	}
}

static const struct file_operations test_fence_fops = {
	.owner = THIS_MODULE,
	.open = test_fence_open,
	.release = test_fence_close,
	.unlocked_ioctl = test_fence_ioctl,
	.compat_ioctl = test_fence_ioctl,
};

static struct miscdevice test_fence_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "umf_test_fence",
	.fops = &test_fence_fops,
	.mode = 0600,
};

/* The module cannot be unloaded: fences outlive their files, and use the names defined here. */
static int __init test_fence_init(void)
{
	BUILD_BUG_ON(offsetof(struct test_fence, base) != 0);
	return misc_register(&test_fence_device);
}
module_init(test_fence_init);

MODULE_DESCRIPTION("Kernel fences that fail on demand, for the tests of libumf");
MODULE_LICENSE("Dual MIT/GPL");
