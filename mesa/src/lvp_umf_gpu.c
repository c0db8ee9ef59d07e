/*
 * Copyright © 2026 The libumf authors
 * SPDX-License-Identifier: MIT
 */

#include "lvp_umf_gpu.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "util/macros.h"

#define PAGE UINT64_C(4096)

/* Where the first buffer is.  Address 0 stays unmapped. */
#define FIRST_ADDRESS (16 * PAGE)

/* The device numbers its queues from 0, and uses a number again after the queue has ended. */
#define NO_QUEUE UINT32_MAX

/* How long the work of a kernel fence may take: the most that the device allows */
#define HANG_LIMIT_MS 10000

/* The write position is in another cache line than the read position. */
#define WRITE_OFFSET 64

static int
gpu_ioctl(int fd, unsigned long request, void *arg)
{
   int ret;
   do {
      ret = ioctl(fd, request, arg);
   } while (ret == -1 && (errno == EINTR || errno == EAGAIN));
   return ret == -1 ? -errno : 0;
}

/* Memory */

static void
close_handle(const struct lvp_umf_gpu *gpu, uint32_t handle)
{
   struct drm_gem_close close = { .handle = handle };
   (void)gpu_ioctl(gpu->fd, DRM_IOCTL_GEM_CLOSE, &close);
}

/* Bind a buffer to addresses of its own.  A gap follows each buffer. */
static int
bind(struct lvp_umf_gpu *gpu, uint32_t handle, uint64_t size, uint64_t *address_out)
{
   struct umf_gpu_vm_bind bind = {
      .op = UMF_GPU_MAP,
      .handle = handle,
      .address = atomic_fetch_add(&gpu->next_address, ALIGN_POT(size, PAGE) + PAGE),
   };
   *address_out = bind.address;
   return gpu_ioctl(gpu->fd, DRM_IOCTL_UMF_GPU_VM_BIND, &bind);
}

static void
unbind(const struct lvp_umf_gpu *gpu, uint64_t address)
{
   struct umf_gpu_vm_bind bind = { .op = UMF_GPU_UNMAP, .address = address };
   (void)gpu_ioctl(gpu->fd, DRM_IOCTL_UMF_GPU_VM_BIND, &bind);
}

static int
create_mapped(const struct lvp_umf_gpu *gpu,
              uint64_t size,
              uint32_t flags,
              uint32_t *handle_out,
              void **map_out)
{
   struct umf_gpu_bo_create create = { .size = size, .flags = flags };
   int ret = gpu_ioctl(gpu->fd, DRM_IOCTL_UMF_GPU_BO_CREATE, &create);
   if (ret < 0)
      return ret;

   void *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, gpu->fd,
                    (off_t)create.mmap_offset);
   if (map == MAP_FAILED) {
      ret = -errno;
      close_handle(gpu, create.handle);
      return ret;
   }
   *handle_out = create.handle;
   *map_out = map;
   return 0;
}

static int
buffer_init(struct lvp_umf_gpu *gpu, uint64_t size, struct lvp_umf_buffer *buffer)
{
   buffer->size = size;
   int ret = create_mapped(gpu, size, 0, &buffer->handle, &buffer->map);
   if (ret < 0)
      return ret;

   ret = bind(gpu, buffer->handle, size, &buffer->address);
   if (ret < 0) {
      munmap(buffer->map, size);
      close_handle(gpu, buffer->handle);
      buffer->map = NULL;
   }
   return ret;
}

static void
buffer_finish(const struct lvp_umf_gpu *gpu, struct lvp_umf_buffer *buffer)
{
   if (buffer->map == NULL)
      return;
   munmap(buffer->map, buffer->size);
   unbind(gpu, buffer->address);
   close_handle(gpu, buffer->handle);
}

/* Import a page of fences as a dma-buf, and bind it. */
static int
map_page(const struct vk_umf_mapper *mapper, struct umf_page *page, struct vk_umf_mapping *mapping)
{
   struct lvp_umf_gpu *gpu = container_of(mapper, struct lvp_umf_gpu, mapper);
   int dma_buf;

   int ret = umf_page_export_dma_buf(page, 0, &dma_buf);
   if (ret < 0)
      return ret;

   struct drm_prime_handle import = { .fd = dma_buf };
   ret = gpu_ioctl(gpu->fd, DRM_IOCTL_PRIME_FD_TO_HANDLE, &import);
   const off_t size = lseek(dma_buf, 0, SEEK_END);
   close(dma_buf);
   if (ret < 0)
      return ret;

   mapping->handle = import.handle;
   ret = bind(gpu, mapping->handle, (uint64_t)size, &mapping->address);
   if (ret < 0)
      close_handle(gpu, mapping->handle);
   return ret;
}

static void
unmap_page(const struct vk_umf_mapper *mapper, struct vk_umf_mapping *mapping)
{
   const struct lvp_umf_gpu *gpu = container_of(mapper, struct lvp_umf_gpu, mapper);

   unbind(gpu, mapping->address);
   close_handle(gpu, mapping->handle);
}

/* The device */

static bool
is_umf_gpu(int fd)
{
   char name[16] = "";
   struct drm_version version = { .name = name, .name_len = sizeof(name) - 1 };

   return gpu_ioctl(fd, DRM_IOCTL_VERSION, &version) == 0 && strcmp(name, "umf_gpu") == 0;
}

static int
open_render_node(void)
{
   for (unsigned minor = 128; minor < 192; minor++) {
      char path[32];
      snprintf(path, sizeof(path), "/dev/dri/renderD%u", minor);
      int fd = open(path, O_RDWR | O_CLOEXEC);
      if (fd >= 0 && is_umf_gpu(fd))
         return fd;
      if (fd >= 0)
         close(fd);
   }
   return -ENODEV;
}

/* Hear the interrupts of all clients, because queues of other processes signal shared fences. */
static int
init_interrupt(struct lvp_umf_gpu *gpu)
{
   gpu->interrupt = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
   if (gpu->interrupt < 0)
      return -errno;

   struct umf_gpu_interrupt request = { .fd = gpu->interrupt, .flags = UMF_GPU_INTERRUPT_ALL };
   int ret = gpu_ioctl(gpu->fd, DRM_IOCTL_UMF_GPU_INTERRUPT, &request);
   if (ret < 0)
      return ret;

   const struct umf_interrupt interrupt = { .size = sizeof(interrupt), .fd = gpu->interrupt };
   return umf_notifier_create(&interrupt, 0, &gpu->mapper.notifier);
}

int
lvp_umf_gpu_open(struct lvp_umf_gpu **gpu_out)
{
   struct lvp_umf_gpu *gpu = calloc(1, sizeof(*gpu));
   if (gpu == NULL)
      return -ENOMEM;
   gpu->interrupt = -1;
   gpu->next_address = FIRST_ADDRESS;
   gpu->mapper.map = map_page;
   gpu->mapper.unmap = unmap_page;

   gpu->fd = open_render_node();
   int ret = gpu->fd < 0 ? gpu->fd : init_interrupt(gpu);
   void *doorbell_page = NULL;
   if (ret == 0)
      ret = create_mapped(gpu, PAGE, UMF_GPU_BO_DOORBELL, &gpu->doorbells, &doorbell_page);
   if (ret < 0) {
      lvp_umf_gpu_close(gpu);
      return ret;
   }
   gpu->doorbell_page = doorbell_page;
   *gpu_out = gpu;
   return 0;
}

void
lvp_umf_gpu_close(struct lvp_umf_gpu *gpu)
{
   if (gpu == NULL)
      return;
   umf_notifier_unref(gpu->mapper.notifier);
   if (gpu->doorbell_page)
      munmap((void *)gpu->doorbell_page, PAGE);
   if (gpu->interrupt >= 0)
      close(gpu->interrupt);
   if (gpu->fd >= 0)
      close(gpu->fd); /* This also frees the address space and the handles. */
   free(gpu);
}

/* Rings */

static struct umf_gpu_packet *
packet_at(const struct lvp_umf_ring *ring, uint64_t position)
{
   struct umf_gpu_packet *packets = ring->packets.map;
   return &packets[(position - ring->start) % LVP_UMF_RING_PACKETS];
}

/* Create the device's queue on the packets that are in the ring
 *
 * The doorbell of a new queue is 0, so that every later store changes it.  The device looks at the
 * write position once without it.
 */
static int
create_queue(struct lvp_umf_ring *ring)
{
   struct lvp_umf_gpu *gpu = ring->gpu;
   const uint32_t index = atomic_fetch_add(&gpu->next_doorbell, 1) % (PAGE / sizeof(uint64_t));
   struct umf_gpu_queue_create create = {
      .ring_address = ring->packets.address,
      .read_address = ring->positions.address,
      .write_address = ring->positions.address + WRITE_OFFSET,
      .ring_packets = LVP_UMF_RING_PACKETS,
      .hang_limit_ms = HANG_LIMIT_MS,
      .doorbell = gpu->doorbells,
      .doorbell_index = index,
   };

   ring->doorbell = &gpu->doorbell_page[index];
   atomic_store(ring->doorbell, 0);
   atomic_store(ring->read, 0);
   atomic_store(ring->write, ring->next - ring->start);
   int ret = gpu_ioctl(gpu->fd, DRM_IOCTL_UMF_GPU_QUEUE_CREATE, &create);
   if (ret == 0)
      ring->id = create.queue;
   return ret;
}

static int
queue_op(const struct lvp_umf_ring *ring, uint32_t op, struct umf_gpu_queue_op *answer)
{
   *answer = (struct umf_gpu_queue_op) { .queue = ring->id, .op = op };
   return gpu_ioctl(ring->gpu->fd, DRM_IOCTL_UMF_GPU_QUEUE_OP, answer);
}

static void
destroy_queue(struct lvp_umf_ring *ring)
{
   struct umf_gpu_queue_op answer;

   if (ring->id != NO_QUEUE)
      (void)queue_op(ring, UMF_GPU_QUEUE_DESTROY, &answer);
   ring->id = NO_QUEUE;
}

int
lvp_umf_ring_init(struct lvp_umf_gpu *gpu, struct lvp_umf_ring *ring)
{
   *ring = (struct lvp_umf_ring) { .gpu = gpu, .id = NO_QUEUE };
   int ret = buffer_init(gpu, LVP_UMF_RING_PACKETS * sizeof(struct umf_gpu_packet),
                         &ring->packets);
   if (ret == 0)
      ret = buffer_init(gpu, PAGE, &ring->positions);
   if (ret == 0) {
      ring->read = ring->positions.map;
      ring->write = (_Atomic uint64_t *)((char *)ring->positions.map + WRITE_OFFSET);
      ret = create_queue(ring);
   }
   if (ret < 0)
      lvp_umf_ring_finish(ring);
   return ret;
}

void
lvp_umf_ring_finish(struct lvp_umf_ring *ring)
{
   destroy_queue(ring);
   buffer_finish(ring->gpu, &ring->packets);
   buffer_finish(ring->gpu, &ring->positions);
}

uint64_t
lvp_umf_ring_done(const struct lvp_umf_ring *ring)
{
   return ring->start + atomic_load_explicit(ring->read, memory_order_acquire);
}

void
lvp_umf_ring_push(struct lvp_umf_ring *ring, struct umf_gpu_packet packet)
{
   *packet_at(ring, ring->next++) = packet;
}

void
lvp_umf_ring_submit(struct lvp_umf_ring *ring)
{
   const uint64_t write = ring->next - ring->start;

   /* Sequentially consistent: a full barrier is between the two stores. */
   atomic_store(ring->write, write);
   atomic_store(ring->doorbell, write);
}

void
lvp_umf_ring_skip(struct lvp_umf_ring *ring, uint64_t position)
{
   *packet_at(ring, position) = (struct umf_gpu_packet) { .op = UMF_GPU_PACKET_NOP };
}


int
lvp_umf_ring_reset(struct lvp_umf_ring *ring)
{
   struct umf_gpu_queue_op answer;
   return queue_op(ring, UMF_GPU_QUEUE_RESET, &answer);
}

int
lvp_umf_ring_query(const struct lvp_umf_ring *ring, int *error_out, uint64_t *position_out)
{
   struct umf_gpu_queue_op answer;
   int ret = queue_op(ring, UMF_GPU_QUEUE_QUERY, &answer);

   *error_out = answer.error;
   *position_out = ring->start + answer.position;
   return ret;
}

/* The device numbers the packets of a new queue from 0, so the rest of the packets moves to the
 * beginning of the ring.
 */
int
lvp_umf_ring_restart(struct lvp_umf_ring *ring, uint64_t position)
{
   const uint64_t count = ring->next - position;
   struct umf_gpu_packet *rest = malloc(MAX2(count, 1) * sizeof(*rest));
   if (rest == NULL)
      return -ENOMEM;

   destroy_queue(ring);
   for (uint64_t i = 0; i < count; i++)
      rest[i] = *packet_at(ring, position + i);
   ring->start = position;
   memcpy(ring->packets.map, rest, count * sizeof(*rest));
   free(rest);
   return create_queue(ring);
}

int
lvp_umf_ring_get_kernel_fence(const struct lvp_umf_ring *ring)
{
   const int fd = ring->gpu->fd;
   struct drm_syncobj_create create = { 0 };
   int ret = gpu_ioctl(fd, DRM_IOCTL_SYNCOBJ_CREATE, &create);
   if (ret < 0)
      return ret;

   struct umf_gpu_signal signal = {
      .queue = ring->id,
      .count = 1,
      .handles = (uintptr_t)&create.handle,
   };
   struct drm_syncobj_handle export = {
      .handle = create.handle,
      .flags = DRM_SYNCOBJ_HANDLE_TO_FD_FLAGS_EXPORT_SYNC_FILE,
      .fd = -1,
   };
   ret = gpu_ioctl(fd, DRM_IOCTL_UMF_GPU_SIGNAL, &signal);
   if (ret == 0)
      ret = gpu_ioctl(fd, DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD, &export);

   struct drm_syncobj_destroy destroy = { .handle = create.handle };
   (void)gpu_ioctl(fd, DRM_IOCTL_SYNCOBJ_DESTROY, &destroy);
   return ret < 0 ? ret : export.fd;
}

int
lvp_umf_ring_wait_exec(const struct lvp_umf_ring *ring,
                       uint64_t *cookie_out,
                       uint64_t *sequence_out)
{
   struct umf_gpu_exec_wait wait = { .queue = ring->id, .timeout_ns = UINT64_MAX };
   int ret = gpu_ioctl(ring->gpu->fd, DRM_IOCTL_UMF_GPU_EXEC_WAIT, &wait);

   *cookie_out = wait.cookie;
   *sequence_out = wait.sequence;
   return ret;
}

int
lvp_umf_ring_end_exec(const struct lvp_umf_ring *ring, uint64_t sequence, int result)
{
   struct umf_gpu_exec_done done = { .queue = ring->id, .result = result, .sequence = sequence };
   return gpu_ioctl(ring->gpu->fd, DRM_IOCTL_UMF_GPU_EXEC_DONE, &done);
}
