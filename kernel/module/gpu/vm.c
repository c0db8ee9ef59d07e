// SPDX-License-Identifier: MIT OR GPL-2.0
/* Address spaces: which buffer a client's packets find at an address. */

#include "gpu.h"

#define MAX_MAPPINGS 4096 /* of a client */

/*
 * Returns what the firmware finds at an address, or NULL. Good until umf_gpu_device.lock is
 * released: buffers move, and mappings go, under that lock.
 */
void *umf_gpu_translate(struct umf_gpu_client *client, u64 address, u64 size)
{
	struct interval_tree_node *node;
	struct umf_gpu_bo *bo;

	lockdep_assert_held(&client->device->lock);
	node = interval_tree_iter_first(&client->mappings, address, address);
	if (!node || !size || size - 1 > node->last - address)
		return NULL;
	bo = container_of(node, struct umf_gpu_mapping, node)->bo;
	return bo->device_view ? bo->device_view + (address - node->start) : NULL;
}

static int map(struct umf_gpu_client *client, struct umf_gpu_bo *bo, u64 address)
{
	struct umf_gpu_device *device = client->device;
	const u64 last = address + bo->base.size - 1; /* cannot overflow: both are limited */
	struct umf_gpu_mapping *mapping;
	int ret;

	if (!address || address % PAGE_SIZE || last >= UMF_GPU_ADDRESS_END ||
	    (bo->flags & UMF_GPU_BO_DOORBELL))
		return -EINVAL;
	if ((bo->flags & UMF_GPU_BO_VIDEO) && bo->client != client->number)
		return -EBUSY;
	if (client->mapping_count == MAX_MAPPINGS)
		return -ENOSPC;
	if (interval_tree_iter_first(&client->mappings, address, last))
		return -EEXIST;
	if ((bo->flags & UMF_GPU_BO_VIDEO) && !client->evicted) {
		ret = umf_gpu_bo_move_in(bo);
		if (!ret)
			ret = umf_gpu_eviction_add(client->eviction, bo);
		if (ret)
			return ret;
	}
	mapping = kzalloc(sizeof(*mapping), GFP_KERNEL_ACCOUNT);
	if (!mapping)
		return -ENOMEM;
	drm_gem_object_get(&bo->base);
	mapping->bo = bo;
	mapping->node.start = address;
	mapping->node.last = last;
	mutex_lock(&device->lock);
	interval_tree_insert(&mapping->node, &client->mappings);
	mutex_unlock(&device->lock);
	client->mapping_count++;
	return 0;
}

static void unmap(struct umf_gpu_client *client, struct interval_tree_node *node)
{
	struct umf_gpu_mapping *mapping = container_of(node, struct umf_gpu_mapping, node);

	mutex_lock(&client->device->lock);
	interval_tree_remove(node, &client->mappings);
	mutex_unlock(&client->device->lock);
	client->mapping_count--;
	drm_gem_object_put(&mapping->bo->base);
	kfree(mapping);
}

void umf_gpu_unmap_all(struct umf_gpu_client *client)
{
	struct interval_tree_node *node;

	while ((node = interval_tree_iter_first(&client->mappings, 0, ULONG_MAX)))
		unmap(client, node);
}

int umf_gpu_vm_bind_ioctl(struct drm_device *drm, void *data, struct drm_file *file)
{
	struct umf_gpu_client *client = file->driver_priv;
	const struct umf_gpu_vm_bind *args = data;
	struct interval_tree_node *node;
	struct drm_gem_object *object;
	int ret;

	if (args->op > UMF_GPU_UNMAP || args->address >= UMF_GPU_ADDRESS_END)
		return -EINVAL;
	ret = mutex_lock_interruptible(&client->vm_lock);
	if (ret)
		return ret;
	if (args->op == UMF_GPU_MAP) {
		object = drm_gem_object_lookup(file, args->handle);
		ret = -ENOENT;
		if (object) {
			ret = map(client, to_bo(object), args->address);
			drm_gem_object_put(object);
		}
	} else {
		node = interval_tree_iter_first(&client->mappings, args->address, args->address);
		ret = -ENOENT;
		if (node && node->start == args->address) {
			unmap(client, node);
			ret = 0;
		}
	}
	mutex_unlock(&client->vm_lock);
	return ret;
}
