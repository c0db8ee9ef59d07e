// SPDX-License-Identifier: MIT OR GPL-2.0
/* The DRM driver: the device, its open files, and the table of ioctls. */

#include <drm/drm_drv.h>
#include <drm/drm_ioctl.h>
#include <drm/drm_prime.h>
#include <linux/dma-mapping.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/platform_device.h>

#include "gpu.h"

static unsigned int video_mb = 64;
module_param(video_mb, uint, 0444);
MODULE_PARM_DESC(video_mb, "size of the video memory in MiB");

static int info_ioctl(struct drm_device *drm, void *data, struct drm_file *file)
{
	struct umf_gpu_device *device = to_device(drm);
	struct umf_gpu_info *info = data;

	mutex_lock(&device->lock);
	*info = device->info;
	device->info.oldest_job_ns = 0;
	device->info.longest_preemption_ns = 0;
	info->video_used = device->video_used;
	mutex_unlock(&device->lock);
	return 0;
}

static int client_open(struct drm_device *drm, struct drm_file *file)
{
	static atomic64_t numbers;
	struct umf_gpu_device *device = to_device(drm);
	struct umf_gpu_client *client = kzalloc(sizeof(*client), GFP_KERNEL);

	if (!client)
		return -ENOMEM;
	client->device = device;
	client->number = atomic64_inc_return(&numbers);
	client->context = dma_fence_context_alloc(1);
	client->eviction = umf_gpu_eviction_create(client);
	if (!client->eviction) {
		kfree(client);
		return -ENOMEM;
	}
	mutex_init(&client->vm_lock);
	client->mappings = RB_ROOT_CACHED;
	INIT_DELAYED_WORK(&client->restore, umf_gpu_restore);
	init_waitqueue_head(&client->restored);
	xa_init_flags(&client->queues, XA_FLAGS_ALLOC1);

	mutex_lock(&device->lock);
	list_add_tail(&client->link, &device->clients);
	mutex_unlock(&device->lock);
	file->driver_priv = client;
	return 0;
}

/* No ioctl of the file runs any more. Also how the queues of a killed process end. */
static void client_close(struct drm_device *drm, struct drm_file *file)
{
	struct umf_gpu_device *device = to_device(drm);
	struct umf_gpu_client *client = file->driver_priv;

	mutex_lock(&device->lock);
	client->closing = true; /* no restore begins from here on */
	mutex_unlock(&device->lock);
	cancel_delayed_work_sync(&client->restore);
	umf_gpu_end_all_queues(client);

	mutex_lock(&device->lock);
	list_del(&client->link);
	mutex_unlock(&device->lock);

	/* The firmware does not know the client any more, so nothing uses its memory. */
	dma_fence_signal(&client->eviction->base);
	dma_fence_put(&client->eviction->base);
	umf_gpu_unmap_all(client);
	if (client->interrupt)
		eventfd_ctx_put(client->interrupt);
	xa_destroy(&client->queues);
	mutex_destroy(&client->vm_lock);
	kfree(client);
}

#define IOCTL(name, function) DRM_IOCTL_DEF_DRV(UMF_GPU_##name, function, DRM_RENDER_ALLOW)

static const struct drm_ioctl_desc ioctls[] = {
	IOCTL(INFO, info_ioctl),
	IOCTL(BO_CREATE, umf_gpu_bo_create_ioctl),
	IOCTL(VM_BIND, umf_gpu_vm_bind_ioctl),
	IOCTL(EVICT, umf_gpu_evict_ioctl),
	IOCTL(QUEUE_CREATE, umf_gpu_queue_create_ioctl),
	IOCTL(QUEUE_OP, umf_gpu_queue_op_ioctl),
	IOCTL(EXEC_WAIT, umf_gpu_exec_wait_ioctl),
	IOCTL(EXEC_DONE, umf_gpu_exec_done_ioctl),
	IOCTL(SIGNAL, umf_gpu_signal_ioctl),
	IOCTL(WAIT, umf_gpu_wait_ioctl),
	IOCTL(INTERRUPT, umf_gpu_interrupt_ioctl),
	IOCTL(WAIT_USER_FENCE, umf_gpu_wait_user_fence_ioctl),
};

DEFINE_DRM_GEM_FOPS(fops);

static const struct drm_driver driver = {
	.driver_features = DRIVER_GEM | DRIVER_RENDER | DRIVER_SYNCOBJ | DRIVER_SYNCOBJ_TIMELINE,
	.open = client_open,
	.postclose = client_close,
	.gem_prime_import_sg_table = umf_gpu_import,
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 6, 0) /* later ones do this unasked */
	.prime_handle_to_fd = drm_gem_prime_handle_to_fd,
	.prime_fd_to_handle = drm_gem_prime_fd_to_handle,
	.gem_prime_mmap = drm_gem_prime_mmap,
#endif
	.ioctls = ioctls,
	.num_ioctls = ARRAY_SIZE(ioctls),
	.fops = &fops,
	.name = "umf_gpu",
	.desc = "GPU with user queues, emulated for the tests of libumf",
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 14, 0) /* later ones have no date */
	.date = "20261127",
#endif
	.major = 1,
};

static int device_init(struct umf_gpu_device *device)
{
	int ret = -ENOMEM;

	init_waitqueue_head(&device->wake);
	mutex_init(&device->lock);
	INIT_LIST_HEAD(&device->clients);
	INIT_LIST_HEAD(&device->queues);
	init_waitqueue_head(&device->interrupted);
	mutex_init(&device->doorbell_lock);
	INIT_LIST_HEAD(&device->doorbells);
	INIT_WORK(&device->arm, umf_gpu_arm_doorbells);
	device->info.video_size = (u64)video_mb << 20;

	device->counts = (u64 *)get_zeroed_page(GFP_KERNEL);
	if (!device->counts)
		return -ENOMEM;
	/* Memory reclaim may wait for fences, so what bounds them must not wait for memory. */
	device->limits = alloc_workqueue("umf_gpu_limits", WQ_MEM_RECLAIM | WQ_UNBOUND, 0);
	if (!device->limits)
		goto no_limits;
	ret = umf_gpu_firmware_start(device);
	if (ret)
		goto no_firmware;
	return 0;

no_firmware:
	destroy_workqueue(device->limits);
no_limits:
	free_page((unsigned long)device->counts);
	return ret;
}

static void device_stop(struct umf_gpu_device *device)
{
	kthread_stop(device->firmware);
	destroy_workqueue(device->limits);
	free_page((unsigned long)device->counts);
}

/*
 * The module cannot be unloaded: fences outlive their files, and use functions and the device that
 * are defined here.
 */
static int __init umf_gpu_init(void)
{
	struct platform_device *platform;
	struct umf_gpu_device *device;
	int ret;

	platform = platform_device_register_simple("umf_gpu", PLATFORM_DEVID_NONE, NULL, 0);
	if (IS_ERR(platform))
		return PTR_ERR(platform);
	ret = dma_coerce_mask_and_coherent(&platform->dev, DMA_BIT_MASK(64));
	if (ret)
		goto unregister;
	if (!devres_open_group(&platform->dev, NULL, GFP_KERNEL)) {
		ret = -ENOMEM;
		goto unregister;
	}
	device = devm_drm_dev_alloc(&platform->dev, &driver, struct umf_gpu_device, drm);
	if (IS_ERR(device)) {
		ret = PTR_ERR(device);
		goto release;
	}
	ret = device_init(device);
	if (ret)
		goto release;
	ret = drm_dev_register(&device->drm, 0);
	if (ret)
		goto stop;
	return 0;

stop:
	device_stop(device);
release:
	devres_release_group(&platform->dev, NULL);
unregister:
	platform_device_unregister(platform);
	return ret;
}
module_init(umf_gpu_init);

MODULE_DESCRIPTION("GPU with user queues, emulated for the tests of libumf");
MODULE_LICENSE("Dual MIT/GPL");
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 13, 0)
MODULE_IMPORT_NS(DMA_BUF);
#else
MODULE_IMPORT_NS("DMA_BUF");
#endif
