// SPDX-License-Identifier: MIT
/* Prints what this kernel has for libumf's conversions. Exits with 0 whatever it finds. */

#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <libdrm/drm.h>
#include <linux/dma-buf.h>
#include <linux/sync_file.h>
#include <linux/udmabuf.h>

/* No package installs the kernel's vgem_drm.h. */
struct drm_vgem_fence_attach {
	uint32_t handle, flags, out_fence, pad;
};
struct drm_vgem_fence_signal {
	uint32_t fence, flags;
};
#define VGEM_FENCE_WRITE 1
#define DRM_IOCTL_VGEM_FENCE_ATTACH DRM_IOWR(DRM_COMMAND_BASE + 1, struct drm_vgem_fence_attach)
#define DRM_IOCTL_VGEM_FENCE_SIGNAL DRM_IOW(DRM_COMMAND_BASE + 2, struct drm_vgem_fence_signal)

static const char *yes_or_errno(int result)
{
	return result < 0 ? strerrorname_np(errno) : "yes";
}

static const char *capability(int fd, uint64_t number)
{
	struct drm_get_cap cap = { .capability = number };

	if (ioctl(fd, DRM_IOCTL_GET_CAP, &cap) < 0)
		return strerrorname_np(errno);
	return cap.value ? "yes" : "no";
}

/* Returns the status of SYNC_IOC_FILE_INFO: 0 if pending, 1 if signaled, negative if failed. */
static int fence_status(int sync_file)
{
	struct sync_file_info info = { 0 };

	return ioctl(sync_file, SYNC_IOC_FILE_INFO, &info) < 0 ? -errno : info.status;
}

/* Attaches a fence to a vgem buffer, exports it as a sync_file, and signals it. */
static void probe_vgem_fence(int card)
{
	struct drm_mode_create_dumb dumb = { .width = 64, .height = 64, .bpp = 32 };
	struct drm_vgem_fence_attach attach = { .flags = VGEM_FENCE_WRITE };
	struct drm_prime_handle prime = { .flags = DRM_CLOEXEC };
	struct dma_buf_export_sync_file export = { .flags = DMA_BUF_SYNC_READ };

	int result = ioctl(card, DRM_IOCTL_MODE_CREATE_DUMB, &dumb);
	printf("  dumb buffer: %s\n", yes_or_errno(result));
	if (result < 0)
		return;

	attach.handle = prime.handle = dumb.handle;
	result = ioctl(card, DRM_IOCTL_VGEM_FENCE_ATTACH, &attach);
	printf("  fence attach: %s\n", yes_or_errno(result));
	if (result < 0 || ioctl(card, DRM_IOCTL_PRIME_HANDLE_TO_FD, &prime) < 0)
		return;

	result = ioctl(prime.fd, DMA_BUF_IOCTL_EXPORT_SYNC_FILE, &export);
	printf("  sync_file from it: %s\n", yes_or_errno(result));
	if (result >= 0) {
		struct drm_vgem_fence_signal signal = { .fence = attach.out_fence };
		int before = fence_status(export.fd);
		int signaled = ioctl(card, DRM_IOCTL_VGEM_FENCE_SIGNAL, &signal);

		printf("  signal: %s, status %d before, %d after\n", yes_or_errno(signaled), before,
		       fence_status(export.fd));
		close(export.fd);
	}
	close(prime.fd);
}

static void probe_drm_node(const char *name)
{
	char path[300], driver[64] = "";
	struct drm_version version = { .name = driver, .name_len = sizeof(driver) - 1 };
	int fd;

	snprintf(path, sizeof(path), "/dev/dri/%s", name);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0 || ioctl(fd, DRM_IOCTL_VERSION, &version) < 0) {
		printf("%s: %s\n", path, strerrorname_np(errno));
	} else {
		printf("%s: %s %d.%d, syncobj %s, timeline %s\n", path, driver,
		       version.version_major, version.version_minor,
		       capability(fd, DRM_CAP_SYNCOBJ), capability(fd, DRM_CAP_SYNCOBJ_TIMELINE));
		if (strcmp(driver, "vgem") == 0)
			probe_vgem_fence(fd);
	}
	if (fd >= 0)
		close(fd);
}

static int is_drm_node(const struct dirent *entry)
{
	return strncmp(entry->d_name, "card", 4) == 0 || strncmp(entry->d_name, "renderD", 7) == 0;
}

/*
 * Creates a dma-buf from a memfd, and exports a sync_file. The dma-buf has no fences, so the
 * sync_file has signaled.
 */
static void probe_udmabuf(void)
{
	struct dma_buf_export_sync_file export = { .flags = DMA_BUF_SYNC_READ };
	long page = sysconf(_SC_PAGESIZE);
	int device = open("/dev/udmabuf", O_RDWR | O_CLOEXEC);
	int memfd, buffer, result;

	if (device < 0) {
		printf("/dev/udmabuf: %s\n", strerrorname_np(errno));
		return;
	}
	memfd = memfd_create("probe", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (memfd < 0 || ftruncate(memfd, page) < 0 ||
	    fcntl(memfd, F_ADD_SEALS, F_SEAL_SHRINK) < 0) {
		perror("memfd");
		exit(1);
	}
	struct udmabuf_create create = {
		.memfd = memfd,
		.flags = UDMABUF_FLAGS_CLOEXEC,
		.size = page,
	};
	buffer = ioctl(device, UDMABUF_CREATE, &create);
	printf("/dev/udmabuf: %s", yes_or_errno(buffer));
	if (buffer >= 0) {
		result = ioctl(buffer, DMA_BUF_IOCTL_EXPORT_SYNC_FILE, &export);
		printf(", sync_file from it: %s", yes_or_errno(result));
		if (result >= 0)
			printf(", status %d", fence_status(export.fd));
	}
	printf("\n");
}

int main(void)
{
	struct dirent **nodes;
	struct utsname name;
	int count;

	uname(&name);
	printf("%s %s %s\n", name.sysname, name.release, name.version);

	count = scandir("/dev/dri", &nodes, is_drm_node, versionsort);
	if (count <= 0)
		printf("/dev/dri: no nodes\n");
	for (int i = 0; i < count; i++)
		probe_drm_node(nodes[i]->d_name);

	probe_udmabuf();
	printf("/dev/dma_heap/system: %s\n", yes_or_errno(access("/dev/dma_heap/system", F_OK)));
	return 0;
}
