// SPDX-License-Identifier: MIT
/*
 * Fences in a DRM driver's memory: a page that a driver imports by PRIME, and a fence whose value
 * is in a driver's buffer. Values are written through the driver's mapping, as a GPU would write
 * them, and wake nobody.
 */
#include "device_memory.h"
#include "drm_machine.h"
#include "process.h"
#include "raw_page.h"
#include "sleeper.h"
#include "vgem.h"

#include <linux/udmabuf.h>

#define AT 128

static uint64_t
monitored(const struct raw *raw, struct umf_fence *fence)
{
    return __atomic_load_n((uint64_t *)(void *)(raw->bytes + umf_fence_monitored_offset(fence)),
                           __ATOMIC_SEQ_CST);
}

static void
until_monitored(const struct raw *raw, struct umf_fence *fence, uint64_t below)
{
    uint64_t end = in_ns(40 * SECOND);
    while (monitored(raw, fence) != below)
        CHECK(now_ns() < end);
}

/* A driver imports a page as a dma-buf; the test maps the driver's buffer and writes to it. */
static void
a_driver_imports_the_page(const struct machine *m)
{
    struct umf_fence *fences[2];
    struct umf_page *page;
    pid_t device;
    int dma_buf;
    OK(umf_page_create(100, 0, &page)); /* four memory pages */
    for (int i = 0; i < 2; i++)
        OK(umf_fence_create(page, 0, UMF_FENCE_DEVICE | (i ? UMF_FENCE_32BIT : 0), &fences[i]));
    int before = open_fds();
    OK(umf_page_export_dma_buf(page, 0, &dma_buf));
    CHECK(fcntl(dma_buf, F_GETFD) == FD_CLOEXEC);

    struct drm_prime_handle import = { .fd = dma_buf },
                            export = { .flags = DRM_CLOEXEC | DRM_RDWR };
    CHECK(ioctl(m->vgem, DRM_IOCTL_PRIME_FD_TO_HANDLE, &import) == 0 && import.handle != 0);
    close(dma_buf);
    export.handle = import.handle;
    CHECK(ioctl(m->vgem, DRM_IOCTL_PRIME_HANDLE_TO_FD, &export) == 0);
    struct raw raw = map_raw(page);
    /* The dma-buf has the fences, and not their names, which only the page's file has. */
    const size_t length = (size_t)lseek(export.fd, 0, SEEK_END);
    CHECK(length >= umf_fence_offset(fences[1]) + 99 * 64 && length <= raw.length);
    uint8_t *device_view = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, export.fd, 0);
    CHECK(device_view != MAP_FAILED);

    IN_CHILD(device, for (uint64_t v = 1; v <= 20; v++) for (int i = 0; i < 2; i++) {
        until_monitored(&raw, fences[i], v - 1);
        if (i)
            __atomic_store_n((uint32_t *)(void *)(device_view + umf_fence_offset(fences[i])), v,
                             __ATOMIC_RELEASE);
        else
            __atomic_store_n((uint64_t *)(void *)(device_view + umf_fence_offset(fences[i])), v,
                             __ATOMIC_RELEASE);
    });
    for (uint64_t v = 1; v <= 20; v++)
        for (int i = 0; i < 2; i++)
            OK(umf_fence_wait(fences[i], v, FOREVER));
    join_child(device);

    /* A device that polls sees a signal of the CPU there. */
    OK(umf_fence_signal(fences[0], 77));
    CHECK(__atomic_load_n((uint64_t *)(void *)(device_view + umf_fence_offset(fences[0])),
                          __ATOMIC_ACQUIRE) == 77);

    struct drm_gem_close close_handle = { .handle = import.handle };
    CHECK(ioctl(m->vgem, DRM_IOCTL_GEM_CLOSE, &close_handle) == 0);
    for (int i = 0; i < 2; i++)
        umf_fence_unref(fences[i]);
    umf_page_unref(page);
    /* The memory stays as long as the driver has it. */
    device_view[length - 1] = 1;
    CHECK(munmap(device_view, length) == 0);
    unmap_raw(&raw);
    close(export.fd);
    CHECK(open_fds() == before - 1);
}

static void
limit_to(unsigned megabytes)
{
    FILE *limit = fopen("/sys/module/udmabuf/parameters/size_limit_mb", "we");
    CHECK(limit && fprintf(limit, "%u", megabytes) > 0 && fclose(limit) == 0);
}

static unsigned
limit(void)
{
    unsigned megabytes;
    FILE *file = fopen("/sys/module/udmabuf/parameters/size_limit_mb", "re");
    CHECK(file && fscanf(file, "%u", &megabytes) == 1 && fclose(file) == 0);
    return megabytes;
}

/* The largest page that udmabuf accepts where a megabyte is the limit, and the first that it
 * refuses. */
static void
a_page_may_be_too_large(void)
{
    struct umf_page *page;
    const unsigned before = limit();
    int dma_buf = 1234;
    printf("  size_limit_mb is %u\n", before);
    limit_to(1);
    OK(umf_page_create((1 << 14) - 64, 0, &page));
    OK(umf_page_export_dma_buf(page, 0, &dma_buf));
    close(dma_buf);
    umf_page_unref(page);
    OK(umf_page_create((1 << 14) - 63, 0, &page));
    dma_buf = 1234;
    EXPECT(-EOPNOTSUPP, umf_page_export_dma_buf(page, 0, &dma_buf));
    CHECK(dma_buf == 1234);
    umf_page_unref(page);
    limit_to(before);
}

/* Neither the creator, nor the importer, nor a process that asks the kernel itself. */
static void
no_dma_buf_of_a_page_for_one_writer(void)
{
    struct umf_page *page;
    int fd, dma_buf = 1234, udmabuf = open("/dev/udmabuf", O_RDWR | O_CLOEXEC);
    pid_t importer;
    OK(umf_page_create(2, UMF_PAGE_SINGLE_WRITER, &page));
    EXPECT(-EACCES, umf_page_export_dma_buf(page, 0, &dma_buf));
    OK(umf_page_export(page, 0, &fd));
    char *self;
    CHECK((self = realpath("/proc/self/exe", NULL)));
    IN_CHILD(importer, {
        char number[16];
        snprintf(number, sizeof(number), "%d", fd);
        fcntl(fd, F_SETFD, 0);
        execl(self, self, "importer", number, (char *)NULL);
        _exit(3);
    });
    join_child(importer);
    free(self);
    struct udmabuf_create create = { .memfd = (uint32_t)fd,
                                     .flags = UDMABUF_FLAGS_CLOEXEC,
                                     .size = 4096 };
    CHECK(udmabuf >= 0);
    int answer = ioctl(udmabuf, UDMABUF_CREATE, &create);
    printf("  the kernel itself: %s\n",
           answer < 0 ? strerror(errno) : "makes one, so only its owner's device is safe");
    CHECK(answer < 0 && errno == EINVAL);
    close(udmabuf);
    close(fd);
    CHECK(dma_buf == 1234);
    umf_page_unref(page);
}

static int
importer(int fd)
{
    struct umf_page *page;
    int dma_buf = 1234;
    OK(umf_page_import(fd, 0, &page));
    EXPECT(-EACCES, umf_page_export_dma_buf(page, 0, &dma_buf));
    CHECK(dma_buf == 1234);
    umf_page_unref(page);
    return 0;
}

/* A buffer of vgem, whose mapping refuses futexes: two processes wait for a value in it that a
 * third one writes. */
static void
waits_elsewhere(int sock)
{
    struct umf_page *page = recv_page(sock);
    struct umf_fence *fence;
    struct device_memory memory;
    map_device_memory(&memory, recv_fd(sock));
    struct umf_mapping mapping = device_memory_at(&memory, AT);
    OK(umf_fence_open_in(page, (uint32_t)hear(sock), &mapping, 0, &fence));
    for (uint64_t v = 1; v <= 20; v++)
        OK(umf_fence_wait(fence, v * 2, FOREVER));
    umf_fence_unref(fence);
    CHECK(memory.releases == 1);
    umf_page_unref(page);
    unmap_device_memory(&memory);
}

static void
a_value_in_a_driver_s_buffer(const struct machine *m, struct peer *peer)
{
    struct vgem_buffer buffer = vgem_buffer_create(m->vgem);
    struct device_memory memory;
    struct umf_page *page;
    struct umf_fence *fence;
    pid_t device;
    map_device_memory(&memory, dup(buffer.dma_buf));
    uint32_t word = __atomic_load_n((uint32_t *)(void *)(memory.cpu + AT), __ATOMIC_RELAXED);
    CHECK(syscall(SYS_futex, memory.cpu + AT, 1 /* FUTEX_WAKE, shared */, 1, NULL, NULL, 0) == -1 &&
          errno == EFAULT);
    CHECK(word == 0);

    struct umf_mapping mapping = device_memory_at(&memory, AT);
    OK(umf_page_create(4, 0, &page));
    OK(umf_fence_create_in(page, &mapping, 0, &fence));
    send_page(peer->sock, page);
    send_fd(peer->sock, buffer.dma_buf);
    tell(peer->sock, umf_fence_index(fence));
    struct raw raw = map_raw(page);
    IN_CHILD(device, for (uint64_t v = 1; v <= 40; v++) {
        /* Odd values are waited for only here, even ones there too. */
        until_monitored(&raw, fence, v - 1);
        device_writes_at(&memory, AT, v);
    });
    for (uint64_t v = 1; v <= 40; v++)
        OK(umf_fence_wait(fence, v, FOREVER));
    join_child(device);
    end_peer(peer);
    unmap_raw(&raw);
    umf_fence_unref(fence);
    CHECK(memory.releases == 1);
    umf_page_unref(page);
    unmap_device_memory(&memory);
    vgem_buffer_destroy(&buffer);
}

int
main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "importer") == 0)
        return importer(atoi(argv[2]));
    watchdog(50);
    struct peer peer = start_peer(waits_elsewhere);
    struct machine m = open_machine();
    int fds = open_fds();
    RUN(a_value_in_a_driver_s_buffer, &m, &peer);
    CHECK(open_fds() == fds - 1); /* the peer's socket */
    if (!m.udmabuf) {
        int fd = 1234;
        EXPECT(-EOPNOTSUPP, umf_page_export_dma_buf(m.page, 0, &fd));
        CHECK(fd == 1234);
        printf("  this kernel has no udmabuf: no page as a dma-buf, as is said\n");
        return 0;
    }
    RUN(a_driver_imports_the_page, &m);
    RUN(a_page_may_be_too_large);
    RUN(no_dma_buf_of_a_page_for_one_writer);
    return 0;
}
