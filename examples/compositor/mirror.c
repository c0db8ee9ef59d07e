// SPDX-License-Identifier: MIT
/* See mirror.h. */
#define _GNU_SOURCE
#include "mirror.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <wlr/types/wlr_buffer.h>

static size_t size_of(uint32_t width, uint32_t height)
{
    return sizeof(struct mirror) + (size_t)width * height * sizeof(uint32_t);
}

struct mirror *mirror_create(const char *path, int width, int height)
{
    size_t size = size_of(width, height);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, (off_t)size) < 0)
        return NULL;
    struct mirror *mirror = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (mirror == MAP_FAILED)
        return NULL;
    mirror->width = width;
    mirror->height = height;
    return mirror;
}

void mirror_update(struct mirror *mirror, struct wlr_buffer *buffer)
{
    void *data;
    uint32_t format;
    size_t stride;
    if ((uint32_t)buffer->width != mirror->width || (uint32_t)buffer->height != mirror->height ||
        !wlr_buffer_begin_data_ptr_access(buffer, WLR_BUFFER_DATA_PTR_ACCESS_READ, &data, &format,
                                          &stride))
        return;
    atomic_fetch_add(&mirror->sequence, 1);
    for (uint32_t row = 0; row < mirror->height; row++)
        memcpy(mirror->pixels + (size_t)row * mirror->width, (char *)data + row * stride,
               mirror->width * sizeof(uint32_t));
    atomic_fetch_add(&mirror->sequence, 1);
    wlr_buffer_end_data_ptr_access(buffer);
}

void mirror_destroy(struct mirror *mirror)
{
    if (mirror)
        munmap(mirror, size_of(mirror->width, mirror->height));
}
