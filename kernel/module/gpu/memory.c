// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Buffers.
 *
 * Each has pinned pages in the system's memory. One with UMF_GPU_BO_VIDEO also has video memory
 * (which is only other memory, of a limited size), and its contents are there until it is evicted.
 */

#include <drm/drm_prime.h>
#include <linux/dma-buf.h>
#include <linux/iosys-map.h>
#include <linux/vmalloc.h>

#include "gpu.h"

#define MAX_SIZE (64ULL << 20)

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 2, 0)
#define dma_buf_vmap_unlocked dma_buf_vmap
#define dma_buf_vunmap_unlocked dma_buf_vunmap
#endif

/* Video memory. */

static void *video_alloc(struct umf_gpu_device *device, u64 size)
{
	void *video;

	mutex_lock(&device->lock);
	if (size > device->info.video_size - device->video_used) {
		mutex_unlock(&device->lock);
		return ERR_PTR(-ENOSPC);
	}
	device->video_used += size;
	mutex_unlock(&device->lock);

	video = __vmalloc(size, GFP_KERNEL_ACCOUNT | __GFP_ZERO);
	if (video)
		return video;
	mutex_lock(&device->lock);
	device->video_used -= size;
	mutex_unlock(&device->lock);
	return ERR_PTR(-ENOMEM);
}

static void video_free(struct umf_gpu_device *device, void *video, u64 size)
{
	if (!video)
		return;
	/* Somebody else's from here on: a stale mapping of it would show this. */
	memset(video, 0xde, size);
	vfree(video);
	mutex_lock(&device->lock);
	device->video_used -= size;
	mutex_unlock(&device->lock);
}

static void set_device_view(struct umf_gpu_device *device, struct umf_gpu_bo *bo, void *view,
			    u64 moved)
{
	mutex_lock(&device->lock);
	bo->device_view = view;
	device->info.bytes_moved += moved;
	mutex_unlock(&device->lock);
}

/* All mappings of processes. Their next access waits in bo_fault() until the buffer has moved. */
static void unmap_from_processes(struct umf_gpu_bo *bo)
{
	drm_vma_node_unmap(&bo->base.vma_node, bo->base.dev->anon_inode->i_mapping);
}

/* Moves a buffer to the system's memory. No queue of its client runs. */
void umf_gpu_bo_move_out(struct umf_gpu_bo *bo)
{
	struct umf_gpu_device *device = to_device(bo->base.dev);
	void *video = bo->video;

	if (!video)
		return;
	set_device_view(device, bo, NULL, bo->base.size);
	mutex_lock(&bo->lock);
	unmap_from_processes(bo);
	memcpy(bo->system, video, bo->base.size);
	bo->video = NULL;
	mutex_unlock(&bo->lock);
	video_free(device, video, bo->base.size);
}

/* And back. */
int umf_gpu_bo_move_in(struct umf_gpu_bo *bo)
{
	struct umf_gpu_device *device = to_device(bo->base.dev);
	void *video;

	if (bo->video)
		return 0;
	video = video_alloc(device, bo->base.size);
	if (IS_ERR(video))
		return PTR_ERR(video);
	mutex_lock(&bo->lock);
	unmap_from_processes(bo);
	memcpy(video, bo->system, bo->base.size);
	bo->video = video;
	mutex_unlock(&bo->lock);
	set_device_view(device, bo, video, bo->base.size);
	return 0;
}

/* What a buffer is to DRM. */

static vm_fault_t bo_fault(struct vm_fault *fault)
{
	struct vm_area_struct *vma = fault->vma;
	struct umf_gpu_bo *bo = to_bo(vma->vm_private_data);
	struct umf_gpu_device *device = to_device(bo->base.dev);
	pgoff_t index = fault->pgoff - drm_vma_node_start(&bo->base.vma_node);
	vm_fault_t ret = VM_FAULT_SIGBUS;
	struct page *page;

	/* A move unmaps under the same lock, so no address of the old place is left. */
	mutex_lock(&bo->lock);
	if (index < bo->base.size >> PAGE_SHIFT) {
		page = bo->video ? vmalloc_to_page(bo->video + (index << PAGE_SHIFT)) :
				   bo->pages[index];
		ret = vmf_insert_pfn(vma, fault->address, page_to_pfn(page));
	}
	mutex_unlock(&bo->lock);
	if (bo->flags & UMF_GPU_BO_DOORBELL) {
		/* In this order: the firmware sleeps only if no fault came since it unmapped. */
		atomic64_inc(&device->doorbell_faults);
		umf_gpu_kick(device);
	}
	return ret;
}

static const struct vm_operations_struct bo_vm_ops = {
	.fault = bo_fault,
	.open = drm_gem_vm_open,
	.close = drm_gem_vm_close,
};

static int bo_mmap(struct drm_gem_object *object, struct vm_area_struct *vma)
{
	const unsigned long flags = VM_PFNMAP | VM_DONTEXPAND | VM_DONTDUMP;

	/* A private mapping that is written has pages of its own, which a move would miss. */
	if (!(vma->vm_flags & VM_SHARED))
		return -EINVAL;
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 3, 0)
	vma->vm_flags |= flags;
#else
	vm_flags_set(vma, flags);
#endif
	vma->vm_page_prot = vm_get_page_prot(vma->vm_flags);
	return 0;
}

static struct dma_buf *bo_export(struct drm_gem_object *object, int flags)
{
	/* Only memory that stays where it is. */
	if (to_bo(object)->flags)
		return ERR_PTR(-EOPNOTSUPP);
	return drm_gem_prime_export(object, flags);
}

static struct sg_table *bo_get_sg_table(struct drm_gem_object *object)
{
	return drm_prime_pages_to_sg(object->dev, to_bo(object)->pages, object->size >> PAGE_SHIFT);
}

static void bo_free(struct drm_gem_object *object)
{
	struct umf_gpu_bo *bo = to_bo(object);
	struct umf_gpu_device *device = to_device(object->dev);

	if (bo->flags & UMF_GPU_BO_DOORBELL) {
		mutex_lock(&device->doorbell_lock);
		list_del(&bo->doorbell_link);
		mutex_unlock(&device->doorbell_lock);
	}
	if (bo->imported) {
		struct iosys_map map = IOSYS_MAP_INIT_VADDR(bo->system);

		dma_buf_vunmap_unlocked(object->import_attach->dmabuf, &map);
		drm_prime_gem_destroy(object, bo->imported);
	} else {
		video_free(device, bo->video, object->size);
		vunmap(bo->system);
		if (bo->pages)
			drm_gem_put_pages(object, bo->pages, true, false);
	}
	drm_gem_object_release(object);
	mutex_destroy(&bo->lock);
	kfree(bo);
}

static const struct drm_gem_object_funcs bo_funcs = {
	.free = bo_free,
	.export = bo_export,
	.get_sg_table = bo_get_sg_table,
	.mmap = bo_mmap,
	.vm_ops = &bo_vm_ops,
};

static struct umf_gpu_bo *bo_new(void)
{
	struct umf_gpu_bo *bo = kzalloc(sizeof(*bo), GFP_KERNEL_ACCOUNT);

	if (bo) {
		mutex_init(&bo->lock);
		INIT_LIST_HEAD(&bo->doorbell_link);
		bo->base.funcs = &bo_funcs;
	}
	return bo;
}

static struct umf_gpu_bo *bo_create(struct umf_gpu_client *client, u64 size, u32 flags)
{
	struct umf_gpu_device *device = client->device;
	struct umf_gpu_bo *bo = bo_new();
	int ret;

	if (!bo)
		return ERR_PTR(-ENOMEM);
	ret = drm_gem_object_init(&device->drm, &bo->base, size);
	if (ret) {
		mutex_destroy(&bo->lock);
		kfree(bo);
		return ERR_PTR(ret);
	}
	bo->client = client->number;

	bo->pages = drm_gem_get_pages(&bo->base);
	if (IS_ERR(bo->pages)) {
		ret = PTR_ERR(bo->pages);
		bo->pages = NULL;
		goto put;
	}
	bo->system = vmap(bo->pages, size >> PAGE_SHIFT, VM_MAP, PAGE_KERNEL);
	if (!bo->system) {
		ret = -ENOMEM;
		goto put;
	}
	bo->device_view = bo->system;
	if (flags & UMF_GPU_BO_VIDEO) {
		void *video = video_alloc(device, size);

		if (IS_ERR(video)) {
			ret = PTR_ERR(video);
			goto put;
		}
		bo->video = video;
		bo->device_view = video;
	}
	ret = drm_gem_create_mmap_offset(&bo->base);
	if (ret)
		goto put;
	if (flags & UMF_GPU_BO_DOORBELL) {
		mutex_lock(&device->doorbell_lock);
		list_add(&bo->doorbell_link, &device->doorbells);
		mutex_unlock(&device->doorbell_lock);
	}
	bo->flags = flags; /* last: says what bo_free() has to undo */
	return bo;

put:
	drm_gem_object_put(&bo->base);
	return ERR_PTR(ret);
}

int umf_gpu_bo_create_ioctl(struct drm_device *drm, void *data, struct drm_file *file)
{
	struct umf_gpu_bo_create *args = data;
	struct umf_gpu_bo *bo;
	int ret;

	if (!args->size || args->size % PAGE_SIZE || args->size >= MAX_SIZE)
		return -EINVAL;
	switch (args->flags) {
	case 0:
	case UMF_GPU_BO_VIDEO:
		break;
	case UMF_GPU_BO_DOORBELL:
		if (args->size != PAGE_SIZE)
			return -EINVAL;
		break;
	default:
		return -EINVAL;
	}
	bo = bo_create(file->driver_priv, args->size, args->flags);
	if (IS_ERR(bo))
		return PTR_ERR(bo);
	args->mmap_offset = drm_vma_node_offset_addr(&bo->base.vma_node);
	ret = drm_gem_handle_create(file, &bo->base, &args->handle);
	drm_gem_object_put(&bo->base);
	return ret;
}

/* The dma-buf's memory is pinned by the attachment. It must be ordinary memory. */
struct drm_gem_object *umf_gpu_import(struct drm_device *drm, struct dma_buf_attachment *attachment,
				      struct sg_table *table)
{
	struct dma_buf *dma_buf = attachment->dmabuf;
	struct iosys_map map;
	struct umf_gpu_bo *bo;
	int ret;

	if (!dma_buf->size || dma_buf->size % PAGE_SIZE || dma_buf->size >= MAX_SIZE)
		return ERR_PTR(-EINVAL);
	bo = bo_new();
	if (!bo)
		return ERR_PTR(-ENOMEM);
	ret = dma_buf_vmap_unlocked(dma_buf, &map);
	if (ret)
		goto free;
	if (map.is_iomem) {
		dma_buf_vunmap_unlocked(dma_buf, &map);
		ret = -EOPNOTSUPP;
		goto free;
	}
	bo->system = map.vaddr;
	bo->device_view = map.vaddr;
	bo->imported = table;
	drm_gem_private_object_init(drm, &bo->base, dma_buf->size);
	return &bo->base;

free:
	mutex_destroy(&bo->lock);
	kfree(bo);
	return ERR_PTR(ret);
}
